"""The tools: which report each asks, and what its answer does not say.

A tool asks no question that `reports` does not answer. A model reads its description before it asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.mcp.answers import Row, rows_answer, short
from collector.mcp.arguments import (
    Asked,
    Availability,
    Changes,
    Coverage,
    Paged,
    States,
    Timeline,
    interval,
    moment,
)
from collector.reports.availability import AVAILABILITY, availability
from collector.reports.columns import AREA, PLACE, names_of
from collector.reports.coverage import COVERAGE, coverage
from collector.reports.inventory import RegionFilter, is_seen, looks, regions_as_of, unwatched
from collector.reports.overview import state_since
from collector.reports.periods import time_zone
from collector.reports.recorded import never_recorded
from collector.reports.spans import ASSUMPTION, SPANS, SpanFilter, spans
from collector.reports.standing import last_confirmed_at
from collector.reports.transitions import TransitionFilter, count_transitions, transitions
from collector.reports.words import show_time
from collector.store.sources import source_names

BETWEEN_POLLS = f"{ASSUMPTION[0].upper()}{ASSUMPTION[1:]}."
_VISIBILITY = (
    "A region that is not listed may exist: which regions a key sees depends on the key, and a regular client's key "
    "sees ACTIVE ones only."
)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as a model sees it, and the function that answers."""

    name: str
    title: str
    description: str
    arguments: type[Asked]
    answer: Callable[[sa.Connection, Any, datetime], str]
    """The answer to arguments at a time, as JSON."""


def _states(connection: sa.Connection, asked: States, now: datetime) -> str:
    at = moment("time", asked.time, now) or now
    wanted = RegionFilter(asked.source, asked.region, asked.state, asked.country, asked.zone)
    found = regions_as_of(connection, at, wanted, _READ)
    never = []
    if not found:
        never = never_recorded(connection, states=[asked.state], zone=asked.zone, country=asked.country)
    seen = looks(connection, at, asked.source)
    page = found[asked.offset : asked.offset + asked.limit]
    since = state_since(connection, at, [(row["source"], row["region_id"]) for row in page])
    rows = []
    for row in page:
        change = since.get((row["source"], row["region_id"])) or {}
        is_confirmed = is_seen(seen[row["source"]], row)
        rows.append(
            row
            | {name: change.get(name) for name in ("not_before", "observed_at")}
            | {"unknown_since": None if is_confirmed else row["last_seen_at"]}
        )
    states = Counter(short(row["state"]) for row in found)
    heading = {
        "as_of": at,
        "confirmed_until": last_confirmed_at(connection, at, asked.source),
        "count_by_state": dict(states.most_common(10)),
    }
    return rows_answer(
        *_given(connection, asked, heading, _STATES),
        rows,
        offset=asked.offset,
        total_count=len(found),
        not_said=[
            _VISIBILITY,
            BETWEEN_POLLS,
            *_unwatched(connection, asked, at),
            *_sentences(never),
        ],
    )


_PLACE = ("source", "region_id", "display_name", "state", "country", "zone")
_STATES = (*_PLACE, "not_before", "observed_at", "unknown_since")
_READ = (*_PLACE, "last_seen_at")
"""What is read of each region."""


def _changes(connection: sa.Connection, asked: Changes, now: datetime) -> str:
    since, until = interval(asked, now)
    wanted = TransitionFilter(
        source=asked.source,
        region=asked.region,
        entity=asked.entity,
        from_state=asked.from_state,
        to_state=asked.to_state,
        since=since,
        until=until if asked.to_time else None,
        limit=asked.limit,
        offset=asked.offset,
    )
    rows = transitions(connection, wanted)
    total_count = count_transitions(connection, wanted)
    never = []
    if not total_count:
        words = [asked.from_state, asked.to_state]
        never = never_recorded(connection, states=words, entity=asked.entity)
    return rows_answer(
        *_given(connection, asked, {"from": since, "to": until}, _CHANGES),
        rows,
        offset=asked.offset,
        total_count=total_count,
        not_said=[
            BETWEEN_POLLS,
            "Only states and presence are compared here, no other fields.",
            "Basis observer_change: another key or URL was used before, so it may be a change of view only.",
            *_unwatched(connection, asked, since or until),
            *_sentences(never),
        ],
    )


_CHANGES = (
    *("source", "entity", "entity_id", "display_name", "from_state", "to_state"),
    *("not_before", "observed_at", "basis", "transition"),
)


def _timeline(connection: sa.Connection, asked: Timeline, now: datetime) -> str:
    since, until = interval(asked, now)
    wanted = SpanFilter(asked.entity, (asked.region,), asked.source, since, until)
    rows = list(spans(connection, wanted))
    hidden = {"entity", "entity_id", *names_of((*PLACE, *AREA))} - {"source"}
    names = sorted({short(str(row["display_name"] or row["slug"])) for row in rows})
    heading = {"region": ", ".join(names), "from": since, "to": until}
    return _page_of(
        connection,
        asked,
        heading,
        [name for name in SPANS.fields if name not in hidden],
        rows,
        not_said=[
            BETWEEN_POLLS,
            "Spans are whole: the first may begin before from_time, the last may end after to_time.",
            "In a span of UNKNOWN the state was earlier_state or later_state; if cause is unobserved, it may have been "
            "any.",
        ],
    )


def _availability(connection: sa.Connection, asked: Availability, now: datetime) -> str:
    since, until = interval(asked, now)
    rows = availability(
        connection,
        now=now,
        state=asked.state,
        region=asked.region,
        source=asked.source,
        since=since,
        until=until,
        by=asked.by,
        zone=time_zone("UTC"),
    )
    never = []
    if not any(row["seconds_at_least"] for row in rows):
        never = never_recorded(connection, states=[asked.state], or_absent=True)
    hidden = {"slug"} | ({*names_of(AREA)} if asked.region else set())
    hidden |= set() if asked.by else {"from_at", "until_at"}
    first = since or min((row["from_at"] for row in rows), default=None)
    heading = {"state": asked.state, "from": first, "to": until}
    return _page_of(
        connection,
        asked,
        heading,
        [name for name in AVAILABILITY.fields if name not in hidden],
        rows,
        not_said=[
            BETWEEN_POLLS,
            "The true share lies between the two bounds: unknown time counts for the upper bound only.",
            "Days, weeks and months are those of UTC. A region counts from its first sighting on.",
            *_sentences(never),
        ],
    )


def _coverage(connection: sa.Connection, asked: Coverage, now: datetime) -> str:
    since, until = interval(asked, now)
    rows = coverage(connection, asked.source, since=since, until=until, unseen_too=asked.unseen)
    hidden = () if asked.unseen else ("entity", "entity_id", "display_name")
    return _page_of(
        connection,
        asked,
        {"from": since, "to": until},
        [name for name in COVERAGE.fields if name not in hidden],
        rows,
        not_said=[
            "What happened within a gap is unknown, even if the state before it and after it is the same.",
            *([] if asked.unseen else ["Times in which only single regions were not shown; see `unseen`."]),
            *_unwatched(connection, asked, since or until),
        ],
    )


def _given(
    connection: sa.Connection, asked: Paged, heading: Row, columns: Sequence[str]
) -> tuple[Row, Sequence[str]]:
    """The heading and the columns. If all rows are of one source, its name is in the heading and not in each row."""
    names = source_names(connection, asked.source)
    if len(names) != 1:
        return heading, columns
    return {"source": names[0], **heading}, [name for name in columns if name != "source"]


def _unwatched(connection: sa.Connection, asked: Paged, at: datetime) -> list[str]:
    """Which sources were not watched yet at a time, so that no rows are not taken for no changes."""
    found = [
        (short(name), show_time(begin)) for name, begin in unwatched(connection, at, asked.source).items()
    ]
    return [f"Source {name} was not watched before {begin}." for name, begin in found[:3]]


def _sentences(said: Sequence[str]) -> list[str]:
    """What was said, as sentences. A word of the question may be in it, and is no longer than that may be."""
    return [f"{each[0].upper()}{each[1:]}." for each in said]


def _page_of(
    connection: sa.Connection,
    asked: Paged,
    heading: Row,
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    not_said: Sequence[str],
) -> str:
    """The page that is asked for of rows that were all read."""
    return rows_answer(
        *_given(connection, asked, heading, columns),
        rows[asked.offset : asked.offset + asked.limit],
        offset=asked.offset,
        total_count=len(rows),
        not_said=not_said,
    )


def by_name(tools: Sequence[Tool]) -> Mapping[str, Tool]:
    return {tool.name: tool for tool in tools}


TOOLS = (
    Tool(
        "states_at",
        "States at a time",
        "The regions that exist, or existed at a time, and the state of each. The state began between not_before and "
        "observed_at. unknown_since: no answer has shown the region after that time; null: it is confirmed.",
        States,
        _states,
    ),
    Tool(
        "changes_between",
        "Changes between two times",
        "Changes of state, appearances and disappearances of regions and keystones, newest first. Each happened "
        "between not_before and observed_at; basis says how sure that is. A null state means not listed.",
        Changes,
        _changes,
    ),
    Tool(
        "region_timeline",
        "Timeline of a region",
        "What is known of one region over time, without holes: spans with a state, with ABSENT (not listed) or with "
        "UNKNOWN.",
        Timeline,
        _timeline,
    ),
    Tool(
        "availability",
        "Availability",
        "For which share of a time each region was in a state: at least, and at most. Then totals by zone, country and "
        "source.",
        Availability,
        _availability,
    ),
    Tool(
        "coverage",
        "Coverage",
        "Times that no successful poll covers, newest first, and why. until_at null: the gap is open.",
        Coverage,
        _coverage,
    ),
)
"""All but the one of `mcp.evidence`."""
