"""Commands that take something out of a history, and leave proof of what they took."""

from __future__ import annotations

import getpass
from datetime import timedelta
from typing import Any

import click

from collector.cli.anchoring import outside_of_settings
from collector.cli.common import Word, open_existing, open_for_writing, progress_bar, settings_of
from collector.cli.printing import say
from collector.errors import UsageError
from collector.reports.words import show_time


class Lasting(click.ParamType[timedelta]):
    """How long: `400d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from collector.spelling import parse_duration

        try:
            lasting: timedelta = parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is no duration; write one like 400d", param, ctx)
        return lasting


def who() -> str:
    """Who does it: user, host and process."""
    from collector.store.lease import process_name

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user needs no name
        user = "unknown"
    return f"{user}@{process_name()}"


@click.command()
@click.argument("path", metavar="PATH", type=Word())
@click.option("--dry-run", is_flag=True, help="Only say how many answers have a value there.")
@click.option("--source", metavar="NAME", type=Word(), help="Only this source of the database.")
@click.pass_context
def redact(context: click.Context, path: str, dry_run: bool, source: str | None) -> None:
    """Take a secret out of all stored answers, and out of all that come.

    PATH says where it stands, as schema_drift spells it. The values there are replaced in every answer, and in all that
    was derived of it; each later poll replaces them before anything else. A record stays of who did so and when, and
    `audit verify` says so. Change the secret all the same: backups, packs, exports and receivers have it.

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
    for name in names:
        with progress_bar(name) as progress:
            if dry_run:
                with reading(engine) as connection:
                    done = redacting.foreseen(connection, name, place, progress)
            else:
                done = retention.redact(
                    engine,
                    name,
                    place,
                    made_at=utc_now(),
                    made_by=who(),
                    outside=outside_of_settings(settings),
                    progress=progress,
                )
        say(f"{name}: {place.text} {'stands' if dry_run else 'was redacted'} in {done.answers} answers")
        if not dry_run:
            say(f"  {done.derived} derived rows changed; later polls redact it at once")
            say(f"  proof: {done.digest}; `audit verify --head` knows it like a head")
    if not dry_run and give_back(engine) is None:
        say(
            "old versions of rows stay in PostgreSQL's files until VACUUM FULL payloads, and in its log and backups"
        )


@click.command()
@click.option(
    "--keep", type=Lasting(), metavar="DURATION", help="How much stays: 400d. Else COLLECTOR_KEEP says so."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--vacuum", is_flag=True, help="SQLite: then give the room back to the file system, which locks the file."
)
@click.option("--source", metavar="NAME", type=Word(), help="Only this source of the database.")
@click.pass_context
def prune(
    context: click.Context, keep: timedelta | None, dry_run: bool, vacuum: bool, source: str | None
) -> None:
    """Let the beginning of the history go, and keep what it had come to.

    Observations, answers and facts from before go. What is still so stays, and of each region and keystone when it
    first appeared and its last state. A snapshot of the state then is kept, of which the chain of digests holds the
    hash: verify, rebuild and reports go on from there, and older heads still match. The history is verified first.

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
        raise UsageError("say how much stays: --keep 400d, or COLLECTOR_KEEP")
    if keep < retention.LEAST:
        raise UsageError("at least a day stays: --keep 1d")
    engine = open_existing(context) if dry_run else open_for_writing(context)
    now = utc_now()
    with reading(engine) as connection:
        names = source_names(connection, source)
    for name in names:
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
            continue
        assert done.begins is not None  # noqa: S101 - something went
        would = "would go, at most" if dry_run else "went"
        say(
            f"{name}: the history {'would begin' if dry_run else 'begins'} at {show_time(done.begins.begins_at)}; "
            f"{done.observations} observations and {done.answers} answers {would}"
        )
        if not dry_run:
            say(f"  proof: {done.digest}; `audit verify --head` knows it like a head")
    if vacuum and not dry_run:
        sizes = give_back(engine)
        if sizes is None:
            say("PostgreSQL: autovacuum lets the room be used again")
        else:
            say(f"the file had {sizes[0]:,} bytes, and has {sizes[1]:,}")
