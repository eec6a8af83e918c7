"""The parameters of questions, read strictly. An unknown one is refused, not ignored."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from collector.printable import printable
from collector.reports.cursors import CURSOR_PATTERN
from collector.reports.transitions import Place

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):(\d\d)(?:\.(\d+))?(?:(Z)|([+\- ])(\d\d):(\d\d))", re.ASCII | re.IGNORECASE
)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_NO_CURSOR = "that is not a cursor: take it unchanged from `next` of the previous answer"
MOST_ROWS = 10_000
"""Rows per page."""


def parse_moment(value: Any) -> Any:
    """A time of RFC 3339, or a date (its start in UTC). Times outside the years 1 to 9999 count as the nearest valid
    time.
    """
    text = str(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        return datetime.combine(_date(text), time(), UTC)
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{printable(text)!r} is not a time with its zone; write a time like 2026-05-01T12:30:00Z, or a date"
        )
    day, minutes, seconds, fraction, _, sign, hours_off, minutes_off = found.groups()
    try:
        moment = datetime.combine(_date(day), time.fromisoformat(minutes), UTC)
    except ValueError:
        raise ValueError(f"{text!r} is not a time") from None
    offset = timedelta(hours=int(hours_off or 0), minutes=int(minutes_off or 0))
    if int(seconds) > 60 or int(minutes_off or 0) > 59 or offset >= timedelta(days=1):
        raise ValueError(f"{text!r} is not a time")
    moment += timedelta(seconds=min(int(seconds), 59), microseconds=int(f"{fraction or '0':0<6.6}"))
    try:
        return (moment + offset if sign == "-" else moment - offset).astimezone(UTC)
    except OverflowError:
        return _LAST if sign == "-" else _FIRST


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text) if text[:4] != "0000" else date.fromisoformat(f"0001{text[4:]}")
    except ValueError:
        raise ValueError(f"{text!r} is not a date") from None


def parse_switch(value: Any) -> Any:
    """`true` or `false`."""
    if value not in ("true", "false", True, False):
        raise ValueError("write true or false")
    return value in ("true", True)


def parse_whole(value: Any) -> Any:
    """A whole number, in digits."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,20}", value, re.ASCII):
        raise ValueError("write a whole number")
    return int(value)


def parse_cursor(value: Any) -> Any:
    """Check a cursor, so that it is refused together with the other parameters."""
    if not re.fullmatch(CURSOR_PATTERN, value, re.ASCII):
        raise ValueError(_NO_CURSOR)
    return value


_PLACE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)/([^/\x00]{1,100})/(region|keystone)/(-?[0-9]{1,19})"
)


def parse_place(value: Any) -> Any:
    """Where a page of transitions ended."""
    found = _PLACE.fullmatch(value)
    if found is None:
        raise ValueError(_NO_CURSOR)
    return value


def place_of(text: str) -> Place:
    """The place that a cursor of transitions names. An empty time means the beginning."""
    found = _PLACE.fullmatch(text)
    assert found is not None  # noqa: S101 - see parse_place
    try:
        moment = datetime.fromisoformat(found[1])
    except ValueError:
        moment = _FIRST
    entity_id = max(min(int(found[4]), 2**63 - 1), -(2**63))  # databases can't count further
    return Place(moment, found[2], found[3], entity_id)


_MOMENT = WithJsonSchema(
    {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}
)
PlaceText = Annotated[
    str, BeforeValidator(parse_place), WithJsonSchema({"type": "string", "pattern": f"^{_PLACE.pattern}$"})
]
CursorText = Annotated[
    str, BeforeValidator(parse_cursor), WithJsonSchema({"type": "string", "pattern": f"^({CURSOR_PATTERN})$"})
]
Moment = Annotated[datetime, BeforeValidator(parse_moment), _MOMENT]
Switch = Annotated[bool, BeforeValidator(parse_switch), WithJsonSchema({"type": "boolean"})]
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Entity = Literal["region", "keystone"]
Limit = Annotated[
    int,
    Field(ge=1, le=MOST_ROWS),
    BeforeValidator(parse_whole),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST_ROWS}),
]

_SOURCE = Field(default=None, description="Only this source")
_REGION = Field(default=None, description="Only this region: id, slug or display name")
_AS_OF = Field(
    default=None,
    description="The time of the answer: what was in force then; not in the future; default: now",
)
_FROM = Field(default=None, alias="from", description="From this time on")
_TO = Field(default=None, alias="to", description="Before this time")
_WITHOUT_ABSENT = Field(
    default=False, description="Leave out entities that are absent now, from their last disappearance on"
)


class Query(BaseModel):
    """Parameters of every question."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    source: Text | None = _SOURCE


class AsOf(Query):
    """A question about one time."""

    as_of: Moment | None = _AS_OF


class Regions(AsOf):
    """Filters for regions."""

    region: Text | None = _REGION
    state: Text | None = Field(default=None, description="Only regions in this state, in upper or lower case")
    country: Text | None = Field(
        default=None, description="Only regions of this country, in upper or lower case"
    )
    zone: Text | None = Field(default=None, description="Only regions of this zone, in upper or lower case")
    gpu: Switch | None = Field(
        default=None, description="true: only where GPU clusters can be created; false: only where they can't"
    )


class Keystones(AsOf):
    """Filters for keystones."""

    region: Text | None = _REGION
    state: Text | None = Field(
        default=None, description="Only keystones in this state, in upper or lower case"
    )


class MetricsDatabases(AsOf):
    """Filters for metrics databases."""

    region: Text | None = _REGION


class Interval(Query):
    """A question about a time from one moment to before another."""

    since: Moment | None = _FROM
    until: Moment | None = _TO

    @property
    def is_empty(self) -> bool:
        return self.since is not None and self.until is not None and self.since >= self.until


class Transitions(Interval):
    """Filters for transitions; times are those of `observed_at`."""

    region: Text | None = _REGION
    entity: Entity | None = Field(default=None, description="Only regions, or only keystones")
    from_state: Text | None = Field(
        default=None, description="Only changes from this state, in upper or lower case"
    )
    to_state: Text | None = Field(
        default=None, description="Only changes to this state, in upper or lower case"
    )
    after: PlaceText | None = Field(default=None, description="`next` of the previous page")
    limit: Limit = Field(default=1000, description="Maximum number of rows on this page")


class Spans(Interval):
    """Filters for spans: those that overlap the time."""

    entity: Entity = Field(default="region", description="Regions or keystones")
    region: list[Text] = Field(
        default=[], max_length=20, description="Only these regions: id, slug or display name"
    )
    without_absent: Switch = _WITHOUT_ABSENT


class Availability(Interval):
    """The time and the state of a share."""

    state: Text = Field(
        default="ACTIVE", description="Share of the time in this state, in upper or lower case; ABSENT is one"
    )
    region: Text | None = _REGION
    by: Literal["day", "week", "month"] | None = Field(
        default=None, description="One row for each of these; default: one in all"
    )
    time_zone: Text = Field(
        default="UTC", description="Time zone of days, weeks and months, like Europe/Luxembourg"
    )
    without_absent: Switch = _WITHOUT_ABSENT


class Coverage(Interval):
    """Filters for gaps: those that overlap the time."""

    unseen: Switch = Field(default=False, description="Also times in which a single entity was not shown")
    limit: Limit = Field(default=1000, description="Maximum number of rows; the newest come first")


class Events(Query):
    """Where to continue."""

    after: CursorText | None = Field(
        default=None, description="`next` of the previous answer; default: from the first event"
    )
    limit: Limit = Field(default=1000, description="Maximum number of rows")
