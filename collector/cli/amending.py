"""Commands that remove something from a history, and leave proof of what they removed."""

from __future__ import annotations

import getpass
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from collector.cli.anchoring import outside_of_settings
from collector.cli.common import Word, for_each, open_existing, open_for_writing, progress_bar, settings_of
from collector.cli.printing import say
from collector.errors import UsageError
from collector.reports.words import counted, show_time

if TYPE_CHECKING:
    from collector.store.redacting import Redacted


class Lasting(click.ParamType[timedelta]):
    """A duration like `400d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from collector.spelling import parse_duration

        try:
            lasting: timedelta = parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is not a duration; write one like 400d", param, ctx)
        return lasting


def who() -> str:
    """Who does it: user, host and process."""
    from collector.store.lease import process_name

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return f"{user}@{process_name()}"


@click.command()
@click.argument("path", metavar="PATH", type=Word())
@click.option(
    "--dry-run", is_flag=True, help="Only count the answers that have a value there; changes nothing."
)
@click.option(
    "--future", is_flag=True, help="Redact later answers, even if no stored answer has a value there."
)
@click.option("--source", metavar="NAME", type=Word(), help="Only this source of the database.")
@click.pass_context
def redact(context: click.Context, path: str, dry_run: bool, future: bool, source: str | None) -> None:
    """Remove a secret from all stored answers, and from all later ones.

    PATH is the place of the secret, spelled as in schema_drift. The values there are replaced in every answer, and in
    everything that was derived from it. Each later poll replaces them before anything else. A record remains of who
    did that and when, and `audit verify` reports it. This can't be undone, so a path at which nothing was recorded is
    refused, except with --future. Change the secret as well: backups, packs, exports and receivers still have it.

    \b
    Example:
      collector db redact 'results[].keystone.extra.notes' --dry-run
    """
    from collector.audit import retention
    from collector.clock import utc_now
    from collector.database.transactions import reading
    from collector.database.vacuum import vacuum as give_back
    from collector.gcore.paths import Path
    from collector.store import redacting
    from collector.store.sources import source_names

    try:
        place = Path.parse(path)
    except ValueError as error:
        raise UsageError(str(error)) from None
    settings = settings_of(context)
    engine = open_existing(context) if dry_run else open_for_writing(context)
    with reading(engine) as connection:
        names = source_names(connection, source)
    if dry_run:
        for name in names:
            with progress_bar(name) as progress, reading(engine) as connection:
                foreseen = redacting.foreseen(connection, name, place, progress)
            say(f"{name}: {place.text} is in {counted(foreseen.answers, 'answer')}")
        return

    done: dict[str, Redacted] = {}

    def take_out(name: str, future: bool = future) -> None:
        with progress_bar(name) as progress:
            made = done[name] = retention.redact(
                engine,
                name,
                place,
                made_at=utc_now(),
                made_by=who(),
                future=future,
                outside=outside_of_settings(settings),
                progress=progress,
            )
        if made.digest is not None:
            say(f"{name}: {place.text} was redacted in {counted(made.answers, 'answer')}")
            say(f"  {counted(made.derived, 'derived row')} changed; later polls redact it from the start")
            say(f"  proof: {made.digest}; `audit verify --head` accepts it like a head")

    code = for_each(names, take_out)
    is_any = any(each.digest for each in done.values())
    if is_any:  # a secret of one source may come to the others
        others = [name for name, each in done.items() if each.digest is None]
        code = for_each(others, lambda name: take_out(name, True)) or code
    unchanged = [each for each in done.values() if each.digest is None]
    for each in unchanged:
        known = "is redacted already" if each.is_rule else "is in no stored answer"
        say(f"{each.source}: {place.text} {known}; nothing changed")
    if not all(each.is_rule for each in unchanged):
        raise UsageError(
            "check the spelling of the path: `collector coverage` and schema_drift have it. --future redacts it in "
            "later answers all the same"
        )
    if is_any and give_back(engine) is None:
        say(
            "old versions of rows stay in PostgreSQL's files until VACUUM FULL payloads, and in its log and backups"
        )
    sys.exit(code)


@click.command()
@click.option(
    "--keep", type=Lasting(), metavar="DURATION", help="How much to keep: 400d. Default: COLLECTOR_KEEP."
)
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("--vacuum", is_flag=True, help="SQLite: afterwards shrink the file, which locks it meanwhile.")
@click.option("--source", metavar="NAME", type=Word(), help="Only this source of the database.")
@click.pass_context
def prune(
    context: click.Context, keep: timedelta | None, dry_run: bool, vacuum: bool, source: str | None
) -> None:
    """Delete the beginning of the history, and keep the state that it led to.

    Older observations, answers and facts are deleted. Facts that are still true stay, and so do the first
    appearance and the last state of each region and keystone. A snapshot of the state stays, and its hash is in the
    chain of digests. So verify, rebuild and reports continue from there, and older heads still match. The history is
    verified first.

    \b
    Example:
      collector db prune --keep 400d --dry-run
    """
    from collector.audit import retention
    from collector.clock import utc_now
    from collector.database.transactions import reading
    from collector.database.vacuum import vacuum as give_back
    from collector.store import pruning
    from collector.store.sources import source_names

    settings = settings_of(context)
    keep = keep if keep is not None else settings.keep
    if keep is None:
        raise UsageError("say how much to keep: --keep 400d, or COLLECTOR_KEEP")
    if keep < retention.LEAST:
        raise UsageError(
            f"at least a day has to be kept, not {keep.total_seconds():g} seconds: write --keep 400d for 400 days"
        )
    engine = open_existing(context) if dry_run else open_for_writing(context)
    now = utc_now()
    with reading(engine) as connection:
        names = source_names(connection, source)

    def take_out(name: str) -> None:
        if dry_run:
            with reading(engine) as connection:
                done = pruning.foreseen(connection, name, now - keep)
        else:
            with progress_bar(name) as progress:
                done = retention.prune(
                    engine,
                    name,
                    now - keep,
                    made_at=now,
                    made_by=who(),
                    outside=outside_of_settings(settings),
                    progress=progress,
                )
        if not done.observations:
            say(f"{name}: nothing is older than {show_time(now - keep)}")
            return
        assert done.begins is not None  # noqa: S101 - something was deleted
        begins = show_time(done.begins.begins_at)
        what = f"{counted(done.observations, 'observation')} and {counted(done.answers, 'answer')}"
        if dry_run:
            say(f"{name}: the history would begin at {begins}; at most {what} would be deleted")
            return
        say(f"{name}: the history begins at {begins}; {what} were deleted")
        say(f"  proof: {done.digest}; `audit verify --head` accepts it like a head")

    code = for_each(names, take_out)
    if vacuum and not dry_run:
        sizes = give_back(engine)
        if sizes is None:
            say("PostgreSQL: autovacuum makes the space reusable")
        else:
            say(f"the file had {sizes[0]:,} bytes and now has {sizes[1]:,}")
    sys.exit(code)
