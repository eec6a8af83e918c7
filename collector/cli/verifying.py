"""`collector audit verify`: what was checked, and what was found, in words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collector.cli.anchoring import in_words
from collector.cli.common import open_existing, open_for_writing, progress_bar, settings_of, source_option
from collector.cli.printing import note, say, say_sentence
from collector.cli.rows import as_json, object_option
from collector.errors import CollectorError, UsageError
from collector.reports.words import counted, show_time

if TYPE_CHECKING:
    from collector.audit.findings import Break, Verdict, Verification
    from collector.store.amendments import Amendment


@click.command()
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="DIGEST",
    help="A head that was kept outside the database; can be given several times.",
)
@click.option(
    "--anchors",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A file of anchor lines that was kept elsewhere; files of the settings are read anyway.",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Trusted certificates (PEM) for tokens of time-stamping authorities; default: those of the settings.",
)
@click.option(
    "--public-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Public key of signatures; default: that of COLLECTOR_SIGNING_KEY_FILE.",
)
@click.option(
    "--record",
    "keep",
    is_flag=True,
    help="Store the result in the database, for metrics and pages; nothing else is written.",
)
@source_option
@click.option(
    "--tell",
    is_flag=True,
    help="If something was altered, send an event to the settings' receivers.",
)
@object_option("json: one object with everything that was checked.")
@click.pass_context
def verify(
    context: click.Context,
    heads: tuple[str, ...],
    files: tuple[Path, ...],
    ca_file: Path | None,
    public_key: Path | None,
    keep: bool,
    source: str | None,
    tell: bool,
    format_: str,
) -> None:
    """Check digests and answers, derive the whole history again, and compare. Writes only for --record and --tell.

    Anchors of the settings are checked too, and show up to where the history is proven. Exits with 0 if everything is
    good, and with 1 if something was altered or a head is missing. Exits with 3 if a required anchor or a given file
    proves nothing, or if the history or the views are of an older version: run `collector db rebuild` or `collector
    db upgrade`. It can't detect a history that was completely rewritten or cut off without an anchor or a --head.

    \b
    Example:
      collector audit verify --head 5d0f…
    """
    from collector.audit.anchoring.outside import outside_of
    from collector.audit.anchoring.stored import useless
    from collector.audit.results import record
    from collector.audit.verify import UNPROVEN, verify, verify_database
    from collector.audit.words import break_in_words
    from collector.clock import utc_now
    from collector.database.engine import open_engine
    from collector.database.sessions import check_path
    from collector.database.transactions import reading
    from collector.reports import views
    from collector.store.sources import source_names

    wanted = _digests(heads)
    settings = settings_of(context)
    outside = outside_of(
        settings.anchors,
        files=files,
        ca_file=ca_file or settings.anchor_ca_file,
        key_file=public_key or settings.signing_key_file,
    )
    started_at = utc_now()
    engine = open_existing(context)
    with reading(engine) as connection:
        check_path(connection)
        names = source_names(connection, source)
        has_views = views.are_current(connection)
    damage = verify_database(engine, views.NAMES)
    found: list[Verification] = []
    for name in names:
        with progress_bar(name) as progress:
            found.append(verify(engine, name, heads=wanted, outside=outside, progress=progress))
    with reading(engine) as connection:
        idle = useless(connection, outside, files, ca_file, public_key)
    engine.dispose()
    lost = [h for h in wanted if not any(h in each.heads for each in found)]
    verdicts: set[Verdict] = {each.verdict for each in found}
    verdicts |= {"altered"} if damage or lost else set()
    verdicts |= set() if has_views else {"stale"}
    missing = [
        (each.source, anchor.name)
        for each in found
        for anchor in settings.anchors
        if anchor.mode == "required" and each.head is not None and not _is_proven_at(each, anchor.name)
    ]
    code = 1 if "altered" in verdicts else 3 if "stale" in verdicts or missing or idle else 0
    if keep:
        try:
            writer = open_engine(settings.database_url.get_secret_value())
            record(writer, found, damage, lost, started_at, utc_now())
            writer.dispose()
        except CollectorError as error:
            note(f"the result was not recorded: {error}")
            code = 1
    if tell and "altered" in verdicts:
        try:
            _tell_receivers(context, found, damage, lost)
        except CollectorError as error:
            note(f"no event was sent: {error}")
    if format_ == "json":
        say(
            json.dumps(
                _as_json(found, damage, lost, wanted)
                | {"views_current": has_views, "required_anchors_missing": missing, "proves_nothing": idle},
                indent=2,
                default=as_json,
            )
        )
        sys.exit(code)
    if not has_views:
        _say("views: edited, or of another version; `collector db upgrade` installs those of this version")
    for broken in damage:
        _say(break_in_words(broken))
    for each in found:
        _tell(each, wanted)
    begun = [each.begins for each in found if each.begins]
    for digest in lost:
        why = "the history was rewritten or cut off after it was taken, or it is of another history or source"
        why += ", or from before this history begins" if begun else ""
        _say(f"head {digest}: no observation has it; {why}")
    for text in idle:
        _say(f"{text}, so it proves nothing")
    for name, why in outside.unread.items():
        _say(f"anchor {name}: {why}, so nothing was compared with it")
    for name, anchor_name in missing:
        _say(f"{name}: the required anchor {anchor_name} proves nothing about it")
    if not wanted and not all(each.proven_seq for each in found):
        _say(
            "no --head was given, and no anchor proves it: a history that was completely rewritten or cut off can't be "
            "detected"
        )
    _say("not covered by any proof:")
    for table, columns in UNPROVEN.items():
        _say(f"  {table}: {', '.join(columns)}")
    sys.exit(code)


def _tell_receivers(
    context: click.Context, found: list[Verification], damage: list[Break], lost: list[str]
) -> None:
    """Queue an event for each source that can't be verified; for all sources if the database itself is damaged."""
    from collector.audit.words import break_in_words
    from collector.cli.webhooks import announcer_of
    from collector.service.webhooks.companion import announce_verification

    settings = settings_of(context)
    if not settings.webhooks:
        note("--tell: the settings name no receiver, so no event is sent")
        return
    general = [break_in_words(each) for each in damage] + [
        f"no observation has the head {each}" for each in lost
    ]
    engine = open_for_writing(context)
    for each in found:
        wrong = [break_in_words(one) for one in each.breaks] if each.verdict == "altered" else []
        if wrong := wrong + general:
            rest = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            announce_verification(engine, announcer_of(settings), each.source, wrong[0] + rest)
    engine.dispose()


def _is_proven_at(found: Verification, target: str) -> bool:
    return any(each.target == target and each.proven_seq is not None for each in found.anchored)


def _digests(given: tuple[str, ...]) -> tuple[str, ...]:
    wanted = tuple(digest.strip().lower() for digest in given)
    for digest in wanted:
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise UsageError(
                f"{digest[:80]!r} is not a head: a head is 64 hex digits, as `collector audit head` prints it"
            )
    return wanted


def _tell(found: Verification, asked: tuple[str, ...]) -> None:
    from collector.audit.words import break_in_words

    observations, polls = counted(found.observations, "observation"), counted(found.polls, "poll")
    checked = f"{observations} of {polls}, {counted(found.payloads, 'answer')}"
    if found.derived_rows is not None:
        checked += f", {counted(found.derived_rows, 'derived row')}"
    _say(f"{found.source}: {found.verdict}; checked {checked}")
    if found.verdict == "stale":
        _say("  it was derived by older rules: run `collector db rebuild`, then verify again")
        _say(f"  {counted(found.different, 'derived row')} would change; the evidence is good")
    for broken in found.breaks if found.verdict == "altered" else ():
        _say(f"  {break_in_words(broken)}")
    more = found.different - len({(b.table, str(b.key)) for b in found.breaks})
    if more > 0 and found.verdict == "altered":
        _say(f"  and {counted(more, 'more derived row')}")
    if found.derived_rows is None:
        _say("  the evidence is damaged, so what was derived from it was not compared")
    begins = found.begins
    if begins is not None:
        _say(
            f"  the history begins with observation {begins.begins_seq}, at {show_time(begins.begins_at)}; everything "
            f"before, from {show_time(begins.pruned_from_at)} on, was pruned"
        )
    for each in found.amendments:
        _say(f"  {_amended(each)}")
    if found.amendments and not _is_covered(found):
        _say(
            "  BUT no checked head or anchor is newer than the last of these: you have to trust the person who did it"
        )
    for digest, seq in found.heads.items():
        said = ""
        if found.derived_rows is not None:
            since = f" from observation {begins.begins_seq} on" if begins else ""
            said = f", and nothing before it{since} was edited"
            if begins and seq <= begins.begins_seq:
                said = ", from before the history begins"
        _say(f"  head {digest}: observation {seq}{said}")
    if asked and not found.heads and found.verdict != "altered":
        _say("  BUT none of the given heads is of this source: it may have been rewritten or cut off")
    for place in found.anchored:
        _say(f"  {in_words(place, begins.begins_seq if begins else 1)}")
    if found.proven_seq is not None and found.proven_seq < found.newest_seq:
        is_anchored = any(place.proven_seq == found.proven_seq for place in found.anchored)
        nor = "" if is_anchored else ", nor how long that one went on"
        _say(f"  observations after {found.proven_seq} are not covered by any checked anchor or head{nor}")
    _say(f"  head now: {found.head or 'none yet'}")


def _say(text: str) -> None:
    say_sentence(text, further="  " + " " * (len(text) - len(text.lstrip())))


def _is_covered(found: Verification) -> bool:
    """True if a head or a proven anchor covers the newest amendment; the observation after one holds its digest."""
    newest = found.amendments[-1]
    return newest.digest in found.heads or (found.proven_seq or 0) > newest.at_seq


def _amended(each: Amendment) -> str:
    """A prune or a redaction, as one line."""
    facts = each.read()
    where = (
        f"after observation {each.at_seq}, {show_time(each.made_at)}, by {each.made_by}, digest {each.digest}"
    )
    if each.kind == "prune":
        return f"pruned up to observation {facts.get('begins_seq')} ({where})"
    number = facts.get("redacted")
    answers = counted(number, "answer") if isinstance(number, int) else "answers"
    return f"redacted {facts.get('path')} in {answers} ({where})"


def _as_json(
    found: list[Verification], damage: list[Break], lost: list[str], wanted: tuple[str, ...]
) -> dict[str, Any]:
    from dataclasses import asdict

    from collector.audit.verify import UNPROVEN

    return {
        "sources": [asdict(each) for each in found],
        "database": [asdict(each) for each in damage],
        "heads_asked": list(wanted),
        "heads_missing": lost,
        "unproven": {table: list(columns) for table, columns in UNPROVEN.items()},
    }
