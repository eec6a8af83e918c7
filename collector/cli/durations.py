"""Commands for durations: shares of time in a state, and the time from one state to another."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import click

from collector.cli.common import Word, entity_option, open_for_questions, source_option
from collector.cli.printing import note, say
from collector.cli.rows import format_option, print_rows
from collector.cli.times import Time, check_order, echo_times, note_beginnings
from collector.clock import utc_now
from collector.errors import UsageError
from collector.reports.words import show_span

if TYPE_CHECKING:
    from collector.reports.periods import Unit

FROM = click.option("--from", "since", type=Time(), metavar="TIME", help="From this time on.")
TO = click.option("--to", "until", type=Time(), metavar="TIME", help="Up to this time; default: now.")


@click.command()
@click.option(
    "--state",
    type=Word(),
    metavar="STATE",
    default="ACTIVE",
    show_default=True,
    help="The state whose share of time is shown.",
)
@click.option("--region", type=Word(), metavar="REGION", help="Only this one: id, slug or display name.")
@FROM
@TO
@click.option(
    "--by",
    type=click.Choice(["day", "week", "month"]),
    help="One row for each of these; weeks begin on Monday.",
)
@click.option(
    "--tz",
    "zone",
    type=Word(),
    metavar="ZONE",
    default="UTC",
    show_default=True,
    help="Time zone of days, weeks and months.",
)
@click.option(
    "--without-absent",
    is_flag=True,
    help="Don't count the time since a region disappeared, if it is still absent.",
)
@source_option
@format_option
@click.pass_context
def availability(
    context: click.Context,
    state: str,
    region: str | None,
    since: datetime | None,
    until: datetime | None,
    by: str | None,
    zone: str,
    without_absent: bool,
    source: str | None,
    format_: str,
) -> None:
    """Show for which share of time regions were in a state, at least and at most.

    There is a row for each region, and totals. Time in which nobody saw the state counts for the upper bound only. A
    region counts from its first sighting on, even after it disappeared; see --without-absent.

    \b
    Example:
      collector availability --from 2026-05-01 --by month
      collector availability --region luxembourg-2 --by day --tz Europe/Luxembourg
    """
    from collector.reports.availability import AVAILABILITY
    from collector.reports.availability import availability as measure
    from collector.reports.columns import Heading
    from collector.reports.periods import time_zone
    from collector.reports.recorded import check_state
    from collector.reports.spans import ASSUMPTION

    if state.upper() == "UNKNOWN":
        raise UsageError(
            "UNKNOWN is not a state; every row has the time for which the state is unknown. To ask for a state of the "
            "API with this name, put it in quotation marks: --state '\"UNKNOWN\"'"
        )
    place = time_zone(zone)
    check_order(since, until)
    never = None
    with open_for_questions(context, source) as connection:
        rows = measure(
            connection,
            now=utc_now(),
            state=state,
            region=region,
            source=source,
            since=since,
            until=until,
            by=cast("Unit | None", by),
            zone=place,
            without_absent=without_absent,
        )
        if not any(row["seconds_at_least"] for row in rows):
            never = check_state(connection, state.strip('"'), "region", or_absent=True)
        echo_times(since, until)
        note_beginnings(connection, since or until, source)
    if never:
        note(never)
    note(f"assumed: {ASSUMPTION}")
    if format_ == "table":
        rows = [row | _availability_in_words(row, place) for row in rows]
    shown = {**AVAILABILITY.table, "period": Heading(by or "from", 2)}
    print_rows(rows, format_, AVAILABILITY, "nothing is on record of that time", shown=shown)


def _availability_in_words(row: dict[str, Any], zone: Any) -> dict[str, Any]:
    name = {
        "region": row["display_name"] or row["slug"] or f"region {row['region_id']}",
        "zone": row["zone"] or "(no zone)",
        "country": row["country"] or "(no country)",
        "source": f"all {row['regions']} regions" if row["regions"] != 1 else "the only region",
    }[row["level"]]
    local = row["from_at"].astimezone(zone)
    whole_day = local.hour == local.minute == local.second == local.microsecond == 0
    return {
        "name": name,
        "period": f"{local:%Y-%m-%d}" if whole_day else row["from_at"],
        "at_least": _percent(row["share_at_least"], math.floor),
        "at_most": _percent(row["share_at_most"], math.ceil),
        "unknown": show_span(row["seconds_unknown"]) if row["seconds_unknown"] else "",
        "on_record": show_span(row["seconds"]),
    }


def _percent(share: float, rounded: Any) -> str:
    """A percentage, rounded so that a bound remains one."""
    return f"{rounded(round(share * 1e6, 3) / 10) / 1000:.3f} %"


@click.command("lead-time")
@click.option(
    "--from-state",
    type=Word(),
    metavar="STATE",
    default="NEW",
    show_default=True,
    help="State in which it begins.",
)
@click.option(
    "--to-state",
    type=Word(),
    metavar="STATE",
    default="ACTIVE",
    show_default=True,
    help="State in which it ends.",
)
@entity_option
@click.option("--region", type=Word(), metavar="REGION", help="Only this one: id, slug or display name.")
@FROM
@TO
@click.option("--summary", is_flag=True, help="Only the quantiles, one row each.")
@source_option
@format_option
@click.pass_context
def lead_time(
    context: click.Context,
    from_state: str,
    to_state: str,
    entity: str,
    region: str | None,
    since: datetime | None,
    until: datetime | None,
    summary: bool,
    source: str | None,
    format_: str,
) -> None:
    """Show how long it took from one state to another.

    Each row is one time that a region or keystone went this way, with the shortest and the longest possible duration.
    It may have arrived and begun again during a gap, so the shortest duration ends at the first gap. --from and --to
    select rows by their beginning. Rows that have not ended are listed, but don't count for the quantiles.

    \b
    Example:
      collector lead-time
      collector lead-time --entity keystone --to-state INITIALIZED --summary
    """
    from collector.reports.lead_time import LEAD_TIME_SUMMARY, LEAD_TIMES, lead_times
    from collector.reports.lead_time import summary as quantiles
    from collector.reports.recorded import never_recorded
    from collector.reports.spans import ASSUMPTION

    check_order(since, until)
    with open_for_questions(context, source) as connection:
        journeys = lead_times(
            connection,
            from_state=from_state,
            to_state=to_state,
            entity=entity,
            region=region,
            source=source,
            since=since,
            until=until,
        )
        if all(row["is_open"] for row in journeys):
            words = [from_state, to_state]
            for never in never_recorded(connection, states=words, entity=entity, or_absent=True):
                note(never)
        echo_times(since, until)
        note_beginnings(connection, since or until, source)
    note(f"assumed: {ASSUMPTION}")
    in_all = quantiles(journeys)
    if format_ == "table":
        journeys = [row | _duration_in_words(row) for row in journeys]
        in_all = [row | _duration_in_words(row) for row in in_all]
    if not summary:
        print_rows(journeys, format_, LEAD_TIMES, "nothing went that way")
    if summary or (format_ == "table" and in_all):
        if not summary:
            say()
        print_rows(in_all, format_, LEAD_TIME_SUMMARY, "nothing went that way to its end")


def _duration_in_words(row: dict[str, Any]) -> dict[str, str]:
    at_most = row["seconds_at_most"]
    unbounded = "not there yet" if row.get("is_open") else "not known"
    return {
        "at_least": show_span(row["seconds_at_least"]),
        "at_most": unbounded if at_most is None else show_span(at_most),
        "unobserved": show_span(row["seconds_unobserved"]) if row.get("seconds_unobserved") else "",
    }
