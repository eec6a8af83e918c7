"""Tables and views as files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.cli import streams
from collector.cli.common import Word, open_for_questions, progress_bar, source_option
from collector.cli.printing import note, say
from collector.cli.times import Time, check_order, echo_times
from collector.clock import utc_now
from collector.errors import UsageError
from collector.nearest import instead
from collector.reports.words import counted, printable

if TYPE_CHECKING:
    from collector.reports.export import Exported


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["parquet", "csv", "jsonl"]),
    default="parquet",
    show_default=True,
    help="Format of the files; parquet needs the extra `export`.",
)
@click.option("--from", "since", type=Time(), metavar="TIME", help="Only rows at this time or later.")
@click.option("--to", "until", type=Time(), metavar="TIME", help="Only rows before this time.")
@click.option(
    "--compact",
    is_flag=True,
    help="Merge the small files of incremental exports in DIR. Reads no database, and takes no other option.",
)
@click.option("--incremental", is_flag=True, help="Continue from the export in DIR.")
@click.option(
    "--partition-by",
    type=click.Choice(["day", "month", "source"]),
    help="Folders like day=2026-05-01 in each table.",
)
@click.option(
    "--only", multiple=True, type=Word(), metavar="NAME", help="Only this table or view; repeatable."
)
@click.option(
    "--without", multiple=True, type=Word(), metavar="NAME", help="Not this table or view; repeatable."
)
@source_option
@click.pass_context
def export(
    context: click.Context,
    folder: Path,
    format_: str,
    since: datetime | None,
    until: datetime | None,
    compact: bool,
    incremental: bool,
    partition_by: str | None,
    only: tuple[str, ...],
    without: tuple[str, ...],
    source: str | None,
) -> None:
    """Write tables and views as files into DIR.

    Readers see either the previous export or the new one, never a mix. Tables of the current state are exported as
    they are now; --from and --to don't limit them.

    \b
    Example:
      collector export lake
      duckdb -c "SELECT * FROM 'lake/region_transitions/**/*.parquet'"
      collector export lake --incremental --partition-by day
      collector export lake --compact
      collector export may --format csv --from 2026-05-01 --to 2026-06-01
    """
    from collector.reports.export import export as export_into
    from collector.reports.export.manifest import Asked
    from collector.reports.export.relations import names

    streams.what_is_done_counts()
    if compact:
        if incremental or since or until or partition_by or only or without or source or format_ != "parquet":
            raise UsageError("--compact works on the export in DIR as it is: it takes no other option")
        _compact(folder)
        return
    check_order(since, until)
    if incremental and (since or until):
        raise UsageError("--incremental continues from the last export: it takes no --from and no --to")
    if only and without:
        raise UsageError("give --only or --without, not both")
    for name in (*only, *without):
        if name not in names():
            raise UsageError(f"there is no table or view {printable(name)!r}; {instead(name, names())}")
    asked = Asked(
        format_, since, until, partition_by, source, tuple(sorted({*only})), tuple(sorted({*without}))
    )
    with open_for_questions(context, source) as connection, progress_bar("export") as progress:
        done = export_into(
            connection, folder, asked, made_at=utc_now(), incremental=incremental, progress=progress
        )
    echo_times(since, until)
    if done.anew_because:
        note(f"exported again from the beginning: {done.anew_because}")
    _tell(done, folder)


def _compact(folder: Path) -> None:
    from collector.reports.export.compacting import compact as compact_files

    done = compact_files(folder)
    before, after = (sum(len(table.files) for table in each.tables) for each in (done.before, done.after))
    if done.after is done.before:
        say(f"{folder}: nothing to merge, {counted(before, 'file')}")
    else:
        say(f"{folder}: export {done.after.export}, {counted(before, 'file')} became {after:,}")


def _tell(done: Exported, folder: Path) -> None:
    manifest = done.manifest
    say(f"{'':<26} {'rows':>12}" + f" {'added':>12}" * done.goes_on)
    for table in manifest.tables:
        added = sum(f.rows for f in table.files if f.settled and f.export == manifest.export)
        more = f" {added:>12,}" if done.goes_on and table.grows else ""
        say(f"{table.name:<26} {table.rows:>12,}{more}")
    rows = sum(table.rows for table in manifest.tables)
    files = sum(len(table.files) for table in manifest.tables)
    tables = counted(len(manifest.tables), "table or view", "tables and views")
    say(f"{folder}: export {manifest.export}, {tables}, {counted(rows, 'row')}, {counted(files, 'file')}")
    for state in manifest.sources:
        where = f"observation {state.newest_seq}, {state.head}" if state.head else "none yet"
        say(f"head of {state.source}: {where}")
