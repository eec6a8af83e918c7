"""The arguments of the tools, as a model reads them before it asks. Unknown ones are refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from collector.errors import UsageError
from collector.reports.times import parse_time
from collector.reports.words import show_time

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

    source: Text | None = Field(default=None, description="Only this source, by its name in the settings")


class Paged(Asked):
    """A question whose answer has rows."""

    limit: Limit = Field(default=50, description="At most this many rows; an answer may have fewer")
    offset: Offset = Field(
        default=0, description="Leave out this many rows; to continue, `next_offset` of the last answer"
    )


class Interval(Paged):
    """A question about a time from one moment to before another."""

    from_time: Time | None = Field(default=None, description="From this time on")
    to_time: Time | None = Field(default=None, description="Before this time; default: now")


class States(Paged):
    """The regions and the time that are asked for."""

    time: Time | None = Field(
        default=None, description="A past time: a date, ISO 8601, `yesterday`, `2 days ago`; default: now"
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

    state: Text = Field(default="ACTIVE", description="The state, in upper or lower case; ABSENT is one")
    region: Text | None = Field(
        default=None,
        description="Only this region; default: each one, then totals by zone, country and source",
    )
    by: Literal["day", "week", "month"] | None = Field(default=None, description="One row for each of these")


class Coverage(Interval):
    """The gaps that are asked for."""

    unseen: bool = Field(
        default=False, description="Also times in which single regions were not shown, although the rest was"
    )


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
