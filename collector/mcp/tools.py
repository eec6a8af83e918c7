"""The tools: their arguments, which report each asks, and what its answer does not say.

A tool asks no question that `reports` does not answer. Its description and those of its arguments are what a model
reads before it asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from collector.errors import UsageError
from collector.mcp.answers import Row, rows_answer, short
from collector.reports.availability import AVAILABILITY, availability
from collector.reports.coverage import COVERAGE, coverage
from collector.reports.inventory import RegionFilter, first_looks, is_seen, looks, regions_as_of
from collector.reports.overview import state_since
from collector.reports.periods import time_zone
from collector.reports.spans import ASSUMPTION, SPANS, SpanFilter, spans
from collector.reports.standing import last_confirmed_at
from collector.reports.times import parse_time
from collector.reports.transitions import TransitionFilter, count_transitions, transitions
from collector.reports.words import show_time
from collector.store.sources import source_names

BETWEEN_POLLS = f"{ASSUMPTION[0].upper()}{ASSUMPTION[1:]}."
_VISIBILITY = (
    "A region that is not listed may exist: which regions a key sees depends on the key, and a regular client's key "
    "sees ACTIVE ones only."
)

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Time = Annotated[
    str, Field(min_length=1, max_length=60), WithJsonSchema({"type": "string", "examples": ["2026-05-01"]})
]


def _digits(value: Any) -> Any:
    """A number that a model wrote as text is one."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10 else value


Limit = Annotated[
    int,
    Field(ge=1, le=200),
    BeforeValidator(_digits),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 200}),
]
Offset = Annotated[
    int, Field(ge=0, le=10**9), BeforeValidator(_digits), WithJsonSchema({"type": "integer", "minimum": 0})
]


class Asked(BaseModel):
    """Arguments that every tool takes."""

    model_config = ConfigDict(extra="forbid")

    source: Text | None = Field(default=None, description="Only this source: a name of the settings")


class Paged(Asked):
    """A question whose answer has rows."""

    limit: Limit = Field(default=50, description="At most this many rows; an answer may hold fewer")
    offset: Offset = Field(
        default=0, description="Leave out this many rows: `next_offset` of the last answer"
    )


class Interval(Paged):
    """A question about a time from one moment to before another."""

    from_time: Time | None = Field(default=None, description="From this time on")
    to_time: Time | None = Field(default=None, description="Up to before this time; else now")


class States(Paged):
    """The regions and the time that are asked for."""

    time: Time | None = Field(
        default=None, description="A past time: a date, ISO 8601, `yesterday`, `2 days ago`; else now"
    )
    region: Text | None = Field(default=None, description="Only this region: id, slug or display name")
    state: Text | None = Field(default=None, description="Only regions in this state, like ACTIVE")
    country: Text | None = Field(default=None, description="Only regions of this country, like LU")
    zone: Text | None = Field(default=None, description="Only regions of this zone, like EMEA")


class Changes(Interval):
    """The changes that are asked for."""

    region: Text | None = Field(default=None, description="Only this region: id, slug or display name")
    entity: Literal["region", "keystone"] | None = Field(
        default=None, description="Only changes of regions, or of their keystones"
    )
    from_state: Text | None = Field(default=None, description="Only changes out of this state")
    to_state: Text | None = Field(default=None, description="Only changes into this state")


class Timeline(Interval):
    """The region that is asked for."""

    region: Text = Field(description="The region: id, slug or display name")
    entity: Literal["region", "keystone"] = Field(default="region", description="The region, or its keystone")


class Availability(Interval):
    """The state whose share is asked for."""

    state: Text = Field(default="ACTIVE", description="The state; ABSENT is one")
    region: Text | None = Field(
        default=None, description="Only this region; else each one, then totals by zone, country and source"
    )
    by: Literal["day", "week", "month"] | None = Field(default=None, description="Rows for each of these")


class Coverage(Interval):
    """The gaps that are asked for."""

    unseen: bool = Field(
        default=False, description="Also times in which single regions were not shown, though the rest was"
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


def moment(name: str, text: str | None, now: datetime) -> datetime | None:
    """A time as `parse_time` reads it. Raises UsageError, which names the argument."""
    try:
        return parse_time(text, now) if text is not None else None
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def interval(asked: Interval, now: datetime) -> tuple[datetime | None, datetime]:
    """The time that is asked for. Raises UsageError if it is empty."""
    since = moment("from_time", asked.from_time, now)
    until = moment("to_time", asked.to_time, now) or now
    if since is not None and since >= until:
        raise UsageError(f"from_time {show_time(since)} is not before to_time {show_time(until)}")
    return since, until


def _states(connection: sa.Connection, asked: States, now: datetime) -> str:
    at = moment("time", asked.time, now) or now
    wanted = RegionFilter(asked.source, asked.region, asked.state, asked.country, asked.zone)
    found = regions_as_of(connection, at, wanted, _READ)
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
    first = first_looks(connection, asked.source)
    unwatched = [f"{name} before {show_time(begin)}" for name, begin in first.items() if at < begin]
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
            *(f"Nothing was watched of {short(each)}." for each in unwatched[:3]),
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
    return rows_answer(
        *_given(connection, asked, {"from": since, "to": until}, _CHANGES),
        rows,
        offset=asked.offset,
        total_count=count_transitions(connection, wanted),
        not_said=[
            BETWEEN_POLLS,
            "Only states and presence are compared here, no other fields.",
            "Basis observer_change: another key was used than before, so it may be a change of view only.",
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
    hidden = ("region_id", "slug", "entity", "entity_id", "display_name")
    names = sorted({short(str(row["display_name"] or row["slug"])) for row in rows})
    heading = {"region": ", ".join(names), "from": since, "to": until}
    return rows_answer(
        *_given(connection, asked, heading, [name for name in SPANS.fields if name not in hidden]),
        _page(rows, asked),
        offset=asked.offset,
        total_count=len(rows),
        not_said=[
            BETWEEN_POLLS,
            "Spans are whole: the first may begin before from_time, the last may end after to_time.",
            "In a span of UNKNOWN the state may have been earlier_state, later_state or, if cause is unobserved, any.",
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
    hidden = {"slug"} | ({"zone", "country"} if asked.region else set())
    hidden |= set() if asked.by else {"from_at", "until_at"}
    first = since or min((row["from_at"] for row in rows), default=None)
    heading = {"state": asked.state, "from": first, "to": until}
    return rows_answer(
        *_given(connection, asked, heading, [name for name in AVAILABILITY.fields if name not in hidden]),
        _page(rows, asked),
        offset=asked.offset,
        total_count=len(rows),
        not_said=[
            BETWEEN_POLLS,
            "The true share lies between the two bounds: unknown time counts for the upper bound only.",
            "Days, weeks and months are those of UTC. A region counts from its first sight on.",
        ],
    )


def _coverage(connection: sa.Connection, asked: Coverage, now: datetime) -> str:
    since, until = interval(asked, now)
    rows = coverage(connection, asked.source, since=since, until=until, unseen_too=asked.unseen)
    hidden = () if asked.unseen else ("entity", "entity_id", "display_name")
    return rows_answer(
        *_given(
            connection,
            asked,
            {"from": since, "to": until},
            [name for name in COVERAGE.fields if name not in hidden],
        ),
        _page(rows, asked),
        offset=asked.offset,
        total_count=len(rows),
        not_said=[
            "What happened within a gap is unknown: a state before and after it that is the same proves nothing.",
            *([] if asked.unseen else ["Times in which only single regions were not shown; see `unseen`."]),
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


def _page(rows: Sequence[Row], asked: Paged) -> Sequence[Row]:
    return rows[asked.offset : asked.offset + asked.limit]


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
        "For which share of a time each region was in a state: at least, and at most. Then totals by zone and country.",
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
