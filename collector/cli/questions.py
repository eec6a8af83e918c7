"""Commands that show what exists, what existed, and what differs. They only read."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from collector.cli.common import Share, Word, open_for_questions, settings_of, source_option
from collector.cli.printing import note, say
from collector.cli.rows import format_option, print_rows
from collector.cli.times import Time, note_beginnings
from collector.clock import utc_now
from collector.errors import UsageError
from collector.reports.words import show_span, show_time


@click.command()
@source_option
@format_option
@click.option(
    "--max-bad",
    type=Share(),
    default="0",
    metavar="N|P%",
    help="How many sources may be stale (5 or 10%) before it exits with 1; if all are stale, it always does.",
)
@click.pass_context
def status(context: click.Context, source: str | None, format_: str, max_bad: int | str) -> None:
    """Show the condition of each source. Usable as a health check.

    Columns: last poll, next poll, gaps, and what needs attention. Exits with 0 if everything is good, 3 if something
    needs attention, 1 if nothing was seen for too long. Sources that are no longer in the settings don't count,
    except if no other source is left. For a probe of many sources, add --max-bad: it exits with 3, not 1, while no
    more sources than that are stale.

    \b
    Example:
      collector status --format json
    """
    from dataclasses import asdict

    from collector.reports.status import STATUS, exit_code, statuses

    settings = settings_of(context)
    names = {each.name for each in settings.sources}
    with open_for_questions(context, source, even_if_stale=True, even_if_empty=True) as connection:
        now = utc_now()
        found = statuses(connection, now, source, names, settings.required_anchors)
    rows = [asdict(each) for each in found]
    if format_ == "table":
        for row in rows:
            seen = row["last_seen_at"]
            row["age"] = show_span(max((now - seen).total_seconds(), 0.0)) if seen else "never"
    print_rows(rows, format_, STATUS, "no source was ever polled; run `collector poll`")
    sys.exit(exit_code(found, max_bad))


@click.command()
@click.option(
    "--as-of", type=Time(), metavar="TIME", help="The inventory in force at this time; default: now."
)
@click.option("--region", type=Word(), metavar="REGION", help="Only this one: id, slug or display name.")
@click.option("--state", type=Word(), metavar="STATE", help="Only regions in this state.")
@click.option("--country", type=Word(), metavar="CC", help="Only regions of this country.")
@click.option("--zone", type=Word(), metavar="ZONE", help="Only regions of this zone.")
@click.option(
    "--gpu/--no-gpu", default=None, help="Only regions where GPU clusters can, or can't, be created."
)
@source_option
@format_option
@click.pass_context
def regions(
    context: click.Context,
    as_of: datetime | None,
    region: str | None,
    state: str | None,
    country: str | None,
    zone: str | None,
    gpu: bool | None,
    source: str | None,
    format_: str,
) -> None:
    """Show the regions that exist, or existed at a time. Each row says when it was last confirmed.

    \b
    Example:
      collector regions --as-of 2026-05-01 --state ACTIVE
      collector regions --gpu
    """
    from collector.reports.inventory import REGIONS, RegionFilter, regions_as_of
    from collector.reports.recorded import never_recorded

    wanted = RegionFilter(source=source, region=region, state=state, country=country, zone=zone, gpu=gpu)
    with open_for_questions(context, source) as connection:
        rows = regions_as_of(connection, as_of or utc_now(), wanted)
        if not rows:
            for never in never_recorded(connection, states=[state], zone=zone, country=country):
                note(never)
        if as_of:
            say(f"as of {show_time(as_of)}", err=True)
        note_beginnings(connection, as_of, source)
    print_rows(rows, format_, REGIONS, "no regions")


@click.command()
@click.argument("region", type=Word())
@source_option
@format_option
@click.pass_context
def history(context: click.Context, region: str, source: str | None, format_: str) -> None:
    """Show everything that changed in a region. Each changed field is shown as old → new.

    \b
    Example:
      collector history luxembourg-2
    """
    from collector.reports.changes import HISTORY, region_history

    with open_for_questions(context, source) as connection:
        rows = region_history(connection, region, source)
    if format_ == "table":
        rows = [row | {"field": row["field"] or "(listed)"} for row in rows]
    print_rows(rows, format_, HISTORY, "no versions")


@click.command()
@click.argument("earlier", type=Time(), metavar="T1")
@click.argument("later", type=Time(), metavar="[T2]", default="now")
@source_option
@format_option
@click.pass_context
def diff(
    context: click.Context, earlier: datetime, later: datetime, source: str | None, format_: str
) -> None:
    """Show what differs between two times. T2 is now by default. A change that was reversed in between is not shown.

    \b
    Example:
      collector diff 2026-05-01 yesterday
    """
    from collector.reports.changes import DIFF, inventory_diff

    if earlier >= later:
        raise UsageError(f"{show_time(earlier)} is not before {show_time(later)}")
    with open_for_questions(context, source) as connection:
        rows = inventory_diff(connection, earlier, later, source)
        say(f"from {show_time(earlier)} to {show_time(later)}", err=True)
        note_beginnings(connection, earlier, source)
    print_rows(rows, format_, DIFF, "nothing differs")
