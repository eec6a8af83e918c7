"""Commands for the database itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.cli import streams
from collector.cli.common import (
    Word,
    for_each,
    lasting,
    open_existing,
    open_for_writing,
    progress_bar,
    settings_of,
)
from collector.cli.printing import say
from collector.cli.rows import show
from collector.errors import SchemaError
from collector.printable import counted

if TYPE_CHECKING:
    from collector.store.comparison import Difference


@click.group()
def db() -> None:
    """Check, upgrade, back up, prune and rebuild the database.

    \b
    Example:
      collector db check
      collector db backup /backups/collector-2026-05-01.db
    """


@db.command()
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Bring tables, views and the derived history up to date; creates the tables in an empty database.

    \b
    Example:
      COLLECTOR_DATABASE_URL=postgresql://me@db/collector collector db upgrade
    """
    from collector.database import migrate
    from collector.database.transactions import reading
    from collector.store.rederive import rebuild as derive_again
    from collector.store.sources import derived_by_older_rules

    engine = open_for_writing(context, may_migrate=True, may_create=True)
    with reading(engine) as connection:
        stale = derived_by_older_rules(connection)
    for name in stale:
        with progress_bar(f"derive {name} again") as progress:
            derive_again(engine, name, progress=progress)
    say(f"the database has schema {migrate.current_revision(engine)}, the newest")


@db.command()
@click.pass_context
def current(context: click.Context) -> None:
    """Show the schema of the database, and the one that this version works with.

    \b
    Example:
      collector db current
    """
    from collector.database import migrate
    from collector.database.engine import open_engine

    engine = open_engine(settings_of(context).database_url.get_secret_value(), read_only=True)
    revision, newest = migrate.current_revision(engine), migrate.newest_revision()
    what = f"has schema {revision}" if revision else "is empty"
    say(f"the database {what}; this version works with schema {newest}")
    sys.exit(0 if revision == newest else 3)


@db.command()
@click.pass_context
def check(context: click.Context) -> None:
    """Check the schema, the views and the database's own integrity. Writes nothing.

    \b
    Example:
      collector db check
    """
    from collector.database import migrate
    from collector.database.engine import open_engine
    from collector.database.health import integrity_errors
    from collector.database.sessions import check_path
    from collector.database.transactions import reading
    from collector.reports import views
    from collector.store.tables import DERIVATION_REVISION, metadata, sources

    engine = open_engine(settings_of(context).database_url.get_secret_value(), read_only=True)
    with reading(engine) as connection:
        check_path(connection)
    revision, newest = migrate.current_revision(engine), migrate.newest_revision()
    if revision and not migrate.is_known(revision):
        say(migrate.other_schema(revision))
        sys.exit(1)
    if revision != newest:
        say(f"schema: {revision or 'none'}; this version works with {newest}: run `collector db upgrade`")
        sys.exit(1)
    problems: list[str] = []
    with reading(engine) as connection:
        if not views.are_current(connection):
            problems.append("views: not the newest; run `collector db upgrade`")
        problems += [f"integrity: {text}" for text in integrity_errors(connection, metadata)]
        for row in connection.execute(sources.select()):
            if row.derivation_revision != DERIVATION_REVISION:
                problems.append(
                    f"source {row.name}: derived by revision {row.derivation_revision} of the rules; this version "
                    f"has revision {DERIVATION_REVISION}: run `collector db rebuild`"
                )
    for problem in problems:
        say(problem)
    if problems:
        sys.exit(1)
    say(f"schema {revision}, views and integrity are good")


@db.command()
@click.option(
    "--check", "check_only", is_flag=True, help="Only show what would change; exit 1 if anything would."
)
@click.option("--source", metavar="NAME", type=Word(), help="Only this source of the database.")
@click.pass_context
def rebuild(context: click.Context, check_only: bool, source: str | None) -> None:
    """Derive the whole history again from the evidence, and write what differs.

    \b
    Example:
      collector db rebuild --check
    """
    from collector.database.transactions import reading
    from collector.store.rederive import rebuild as derive_again
    from collector.store.sources import source_names

    engine = open_existing(context) if check_only else open_for_writing(context)
    with reading(engine) as connection:
        names = source_names(connection, source)
    different = 0

    def derive(name: str) -> None:
        nonlocal different
        with progress_bar(name) as progress:
            result = derive_again(engine, name, check_only=check_only, progress=progress)
        different += result.different
        would = "would change" if check_only else "changed"
        what = f"{counted(result.different, 'row')} {would}" if result.different else "nothing " + would
        derived = counted(result.rows, "derived row")
        say(f"{name}: {counted(result.observations, 'observation')}, {derived}, {what}")
        for example in result.examples:
            say(f"  {_in_words(example)}")

    code = for_each(names, derive)
    sys.exit(code or (1 if check_only and different else 0))


def _in_words(difference: Difference) -> str:
    key = ", ".join(f"{name} {show(value)}" for name, value in difference.key.items() if name != "source_id")
    where = f"{difference.table} ({key})"
    if difference.stored is None:
        return f"{where}: missing"
    if difference.derived is None:
        return f"{where}: does not follow from the evidence"
    fields = [
        f"{name}: stored {show(stored) or 'NULL'}, derived {show(derived) or 'NULL'}"
        for name, stored, derived in difference.fields()
    ]
    return f"{where}: {'; '.join(fields) or 'exists more than once'}"


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_context
def backup(context: click.Context, file: Path) -> None:
    """Copy the SQLite database to FILE, consistently, while collectors and readers go on.

    Events that wait for a receiver become dead letters in the copy, so that nothing is delivered twice.

    \b
    Example:
      collector db backup /backups/collector-2026-05-01.db
    """
    from collector.clock import utc_now
    from collector.database.backup import backup as backup_file
    from collector.database.engine import open_engine
    from collector.store.outbox import set_aside

    engine = open_engine(settings_of(context).database_url.get_secret_value(), read_only=True)
    streams.what_is_done_counts()
    size = backup_file(engine, file, finish=lambda copy: set_aside(copy, utc_now()))
    say(f"{file}: {size:,} bytes")


@db.command()
@click.option("--to", "target", required=True, metavar="URL", help="The database to copy to; must be empty.")
@click.pass_context
def copy(context: click.Context, target: str) -> None:
    """Copy everything into another, empty database, for example from SQLite to PostgreSQL. All or nothing.

    \b
    Example:
      collector db copy --to postgresql://collector@db/collector
    """
    from collector.database import migrate
    from collector.database.engine import open_engine
    from collector.database.url import parse_url
    from collector.store import copying

    streams.what_is_done_counts()
    sink = open_engine(lasting(parse_url(target, "--to"), "--to"))
    engine = open_existing(context)
    if migrate.current_revision(sink) is None:
        migrate.upgrade(sink)
    if (revision := migrate.current_revision(sink)) != migrate.newest_revision():
        raise SchemaError(
            f"the target has schema {revision}, not {migrate.newest_revision()}; upgrade it first"
        )
    copied = copying.copy(engine, sink)
    for table, rows in copied.rows.items():
        say(f"{table}: {counted(rows, 'row')}")
    for source, head in copied.heads.items():
        say(f"head of {source}: {head or 'none yet'}")
    say("the numbers of rows and the heads agree; now set COLLECTOR_DATABASE_URL to the new database")
