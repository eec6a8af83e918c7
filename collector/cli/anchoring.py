"""Commands that send digests outside, and list those that were sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from collector.cli.common import open_for_questions, open_for_writing, settings_of, source_option
from collector.cli.printing import note, say
from collector.cli.rows import format_option, print_rows
from collector.errors import SettingsError
from collector.reports.words import show_time

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy as sa

    from collector.anchors import Anchor
    from collector.audit.anchoring.outside import Outside
    from collector.audit.anchoring.record import Made
    from collector.audit.anchoring.signing import Signer
    from collector.audit.anchoring.stored import Anchored
    from collector.settings.models import Settings


def usable_anchors(settings: Settings) -> tuple[tuple[Anchor, ...], Signer | None]:
    """The anchors of the settings, and the signer. Raises SettingsError if a library, a key or a file is missing."""
    from collector.audit.anchoring import timestamps
    from collector.audit.anchoring.signing import signer_of

    for each in settings.anchors:
        if each.kind == "tsa":
            timestamps.check_available()
        if each.ca_file is not None:
            timestamps.certificates_in(each.ca_file)
    key = settings.signing_key_file
    return settings.anchors, signer_of(key) if key else None


def outside_of_settings(settings: Settings) -> Outside:
    """What anchors of the settings are compared with. Raises SettingsError, UsageError."""
    from collector.audit.anchoring.outside import outside_of

    return outside_of(settings.anchors, ca_file=settings.anchor_ca_file, key_file=settings.signing_key_file)


def anchor_what_is_due(engine: sa.Engine, settings: Settings, sources: list[str]) -> list[Made]:
    """Make the anchors that are due after a command's polls, as `collector run` would."""
    from collector.audit.anchoring.record import is_due, last_anchored, make, newest
    from collector.clock import utc_now

    made: list[Made] = []
    anchors, signer = usable_anchors(settings)
    for each in anchors:
        for source in sources:
            last, now = last_anchored(engine, source, each.name), newest(engine, source)
            if is_due(last, now, utc_now(), settings.anchor_every, settings.anchor_pause):
                made += filter(None, [make(engine, source, each, signer)])
    return made


def tell(made: Made, path: Path | None = None) -> None:
    """Print the line for an anchor that was made or failed. `path`: its file."""
    if made.outcome == "failed":
        where = f"{made.target} ({path})" if path else made.target
        note(f"{made.source}: not anchored at {where}: {made.error}")
        return
    attested = f", time-stamped {show_time(made.attested_at)}" if made.attested_at else ""
    say(
        f"{made.source}: anchor {made.number} at {made.target}, observation {made.seq}{attested}, value {made.value}"
    )


PROOFS = {
    "token": "a time-stamping authority signed it",
    "outside": "it was found outside the database",
    "signature": "it is signed, and the owner of the key could sign another history",
    "unchecked token": "its token is for this value, but its signature was not checked, since no CA file is set",
    "on record": "according to the database; compare it with what the place itself has",
}


def in_words(place: Anchored, begins_seq: int = 1) -> str:
    """What a place has of a source, after the check. `begins_seq`: where the source's history begins."""
    failed = f", {place.failed} not accepted" if place.failed else ""
    if place.seq is None:
        return f"anchor {place.target}: none accepted{failed}: {place.failing}"
    said = f"anchor {place.target}: {place.anchored} accepted{failed}; number {place.number} "
    if place.seq < begins_seq:
        said += f"is of observation {place.seq}, which is before the beginning of the history"
    else:
        said += f"covers observations {begins_seq} to {place.seq}, up to {show_time(place.until)}"
    if place.attested_at:
        said += f", time-stamped {show_time(place.attested_at)}"
    said += f": {PROOFS[place.proof]}"
    if place.proven_seq not in (None, place.seq):
        said += f" up to observation {place.proven_seq}, not the newest ones"
    return said + (f"; the newest was not accepted: {place.failing}" if place.failing else "")


@click.command()
@source_option
@click.pass_context
def anchor(context: click.Context, source: str | None) -> None:
    """Send the newest digest of each source to every anchor of the settings, now.

    `collector run` does that by itself, and `collector poll` when it is due. Exits with 1 if a required anchor did
    not accept the digest, 3 if another anchor did not.

    \b
    Example:
      COLLECTOR_ANCHOR="file:/mnt/other/heads" collector audit anchor
    """
    from collector.audit.anchoring.record import make
    from collector.database.transactions import reading
    from collector.store.sources import source_names

    anchors, signer = usable_anchors(settings_of(context))
    if not anchors:
        raise SettingsError(
            "there is no anchor: set COLLECTOR_ANCHOR to a file on another disk (file:/mnt/other/heads), a webhook, "
            "syslog or a time-stamping authority (tsa+https://…)"
        )
    engine = open_for_writing(context)
    with reading(engine) as connection:
        names = source_names(connection, source)
    if not names:
        note("nothing was polled into this database yet, so there is nothing to anchor")
    code = 0
    for each in anchors:
        for name in names:
            made = make(engine, name, each, signer)
            if made is None:
                note(f"{name}: nothing to anchor at {each.name}, or another process is doing that")
                continue
            tell(made, each.path)
            if made.outcome == "failed":
                code = 1 if each.mode == "required" or code == 1 else 3
    engine.dispose()
    sys.exit(code)


@click.command()
@source_option
@format_option
@click.pass_context
def anchors(context: click.Context, source: str | None, format_: str) -> None:
    """List the digests that were sent, newest first, with the part of the history that each one added.

    `collector audit verify` checks that they were not altered, and that the history still matches them.

    \b
    Example:
      collector audit anchors --format json
    """
    from collector.reports.anchored import ANCHORS, anchors

    with open_for_questions(context, source, even_if_stale=True, even_if_empty=True) as connection:
        rows = anchors(connection, source)
    print_rows(rows, format_, ANCHORS, "nothing was anchored yet")
