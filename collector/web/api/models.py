"""What answers look like, for the OpenAPI document: made of the tables' columns and the reports' fields.

Answers are not checked against these while they are given; the tests do that.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, create_model

from collector.database.types import JsonList, UtcTime
from collector.inventory.entities import Kind
from collector.reports.availability import AVAILABILITY_FIELDS
from collector.reports.changes import HISTORY_FIELDS
from collector.reports.coverage import COVERAGE_FIELDS
from collector.reports.events import OBSERVATION_FIELDS
from collector.reports.inventory import REGION_FIELDS
from collector.reports.nested import Nested, nested_fields
from collector.reports.spans import SPAN_FIELDS
from collector.reports.transitions import TRANSITION_FIELDS
from collector.store.tables import (
    CURRENT,
    VERSIONS,
    gaps,
    observations,
    rejected_records,
    schema_drift,
    sources,
    state_transitions,
    unseen,
)

Model = type[BaseModel]
_Field = tuple[Any, Any]
_STRICT = ConfigDict(extra="forbid")
_TYPES: tuple[tuple[type[Any], Any], ...] = (
    (UtcTime, datetime),
    (JsonList, list[Any]),
    (sa.Boolean, bool),
    (sa.Integer, int),
    (sa.Text, str),
)


def _column(column: sa.Column[Any], *, null: bool | None = None) -> _Field:
    """A field as its column is: of its type, with its comment."""
    kind = next(ours for theirs, ours in _TYPES if isinstance(column.type, theirs))
    is_null = column.nullable if null is None else null
    return (kind | None if is_null else kind), Field(description=column.comment)


def _text(description: str, *, null: bool = False) -> _Field:
    return (str | None if null else str), Field(description=description)


def _number(description: str, *, null: bool = False) -> _Field:
    return (float | None if null else float), Field(description=description)


def _whole(description: str, *, null: bool = False) -> _Field:
    return (int | None if null else int), Field(description=description)


def _list(model: Any, description: str | None) -> _Field:
    return list[model], Field(description=description)


def _time(description: str, *, null: bool = False) -> _Field:
    return (datetime | None if null else datetime), Field(description=description)


_SOURCE = _column(sources.c.name)
_PLACE: dict[str, _Field] = {
    "source": _SOURCE,
    "region_id": _whole("The region; of a keystone the one whose copy counts", null=True),
    "slug": _column(CURRENT["region"].c.slug),
    "display_name": _column(CURRENT["region"].c.display_name),
}
_ENTITY: dict[str, _Field] = {
    "entity": _text("Kind of entity: region, keystone, metrics_database"),
    "entity_id": _whole("Its id"),
}
_LAST_SEEN = {"last_seen_at": _time("When it was last confirmed, as far as that is sure", null=True)}


def _row(name: str, fields: Iterable[str], *known: dict[str, _Field], doc: str) -> Model:
    """A row with these fields, each as the first of `known` says that has it."""
    return _model(
        name, {field: next(each[field] for each in known if field in each) for field in fields}, doc
    )


def _model(name: str, fields: dict[str, Any], doc: str | None = None) -> Model:
    made: Model = create_model(name, __config__=_STRICT, __doc__=doc, **fields)
    return made


def _of(table: sa.Table, **null: bool) -> dict[str, _Field]:
    return {column.name: _column(column, null=null.get(column.name)) for column in table.columns}


def _version(kind: Kind) -> dict[str, _Field]:
    typed = _of(VERSIONS[kind])
    return typed | {
        "first_seen_at": _column(CURRENT[kind].c.first_seen_at),
        "changed_at": _time("When it was first seen like this"),
    }


Region = _row(
    "Region",
    REGION_FIELDS,
    _LAST_SEEN,
    {"source": _SOURCE, "keystone_state": _text("State of its keystone; null: not known then", null=True)},
    _version("region"),
    doc="A region in force at a time",
)


def _nested(kind: Nested, name: str, doc: str) -> Model:
    place = _PLACE | {"region_id": _whole("The region whose copy counts", null=True)}
    return _row(name, nested_fields(kind), _LAST_SEEN, place, _version(kind), doc=doc)


Keystone = _nested("keystone", "Keystone", "A keystone in force at a time")
MetricsDatabase = _nested("metrics_database", "MetricsDatabase", "A metrics database in force at a time")

_VALUE: dict[str, _Field] = {
    "old": (Any, Field(description="Value before; null: none, or not listed")),
    "new": (Any, Field(description="Value from then on")),
}
Version = _row(
    "Version",
    HISTORY_FIELDS,
    _VALUE,
    {"field": _text("What changed; null: it was listed for the first time, or again", null=True)},
    _PLACE | {"region_id": _whole("The region")},
    _of(VERSIONS["region"]),
    doc="One field that changed, or the beginning of a region's history",
)
_TRANSITION = {"transition": _text("By this reference `collector explain` finds it")}
Transition = _row(
    "Transition",
    TRANSITION_FIELDS,
    _TRANSITION,
    _PLACE,
    _of(state_transitions),
    doc="A change of state or of presence; its true time lies in [not_before, observed_at]",
)
Span = _row(
    "Span",
    SPAN_FIELDS,
    _PLACE,
    _ENTITY,
    {
        "state": _text("The state, ABSENT, or UNKNOWN"),
        "from_at": _time("Its beginning"),
        "until_at": _time("Its end, or up to where it is known"),
        "seconds": _number("Its length"),
        "earlier_state": _text("Of an unknown time: the state before", null=True),
        "later_state": _text("Of an unknown time: the state after", null=True),
        "cause": _text("Why it is unknown; null: it is known", null=True),
        "seq": _whole("Observation that showed the state, or the last one before"),
    },
    doc="A time in one state, or a time whose state is not known",
)
Share = _row(
    "Share",
    AVAILABILITY_FIELDS,
    {
        "of": (
            Literal["region", "zone", "country", "source"],
            Field(description="Of what this is the share"),
        ),
        "from_at": _time("Beginning of the period"),
        "until_at": _time("End of the period"),
        "regions": _whole("Number of regions that count"),
        "seconds": _number("Time on record, of all of them"),
        "seconds_at_least": _number("Surely in the state"),
        "seconds_at_most": _number("Perhaps in the state"),
        "seconds_unknown": _number("Time whose state is not known"),
        "share_at_least": _number("seconds_at_least of seconds"),
        "share_at_most": _number("seconds_at_most of seconds"),
    },
    _PLACE | {"zone": _text("Zone", null=True), "country": _text("Country", null=True)},
    doc="For which share of a time a region, or several, were in a state",
)
Gap = _row(
    "Gap",
    COVERAGE_FIELDS,
    _PLACE,
    {
        "from_at": _time("The newest successful poll before, or that showed the entity"),
        "until_at": _time("When it was seen again; null: not yet", null=True),
        "seconds": _number("Length, until now while it is open"),
        "cause": _text("Why nothing was seen"),
        "error": _text("Message of the longest stretch of failed polls", null=True),
        "failed_polls": _whole("Failed polls in it"),
        "transitions": _whole("Changes of state or presence whose window spans it"),
        "seq": _whole("Observation before it; 0: none"),
        "entity": _text("Kind of the entity that alone was not shown; null: the whole source", null=True),
        "entity_id": _whole("Its id", null=True),
    },
    doc="A time that no successful poll covers",
)
Source = _model(
    "Source",
    {
        "source": _SOURCE,
        "verdict": (Literal["good", "degraded", "stale", "left"], Field(description="How it is")),
        "why": _text("What makes it less than good"),
        "last_outcome": _text("Outcome of the newest poll", null=True),
        "cause": _text("Why it failed", null=True),
        "message": _text("What was said then", null=True),
        "last_poll_at": _time("When the newest poll was answered", null=True),
        "last_seen_at": _time("When the newest successful poll was answered", null=True),
        "next_poll_at": _time("When the next poll is expected", null=True),
        "interval_seconds": _number("Polls are expected so far apart", null=True),
        "lease_owner": _text("The process that polls it", null=True),
        "regions": _whole("Regions that are present"),
        "unseen": _whole("Regions that are present and not shown"),
        "held": _whole("Regions whose absence waits to be confirmed"),
        "gaps_last_day": _whole("Gaps of the last 24 hours"),
        "rejected": _whole("Records of the newest answer that could not be used"),
        "drift": _whole("Things on record that the documented schema does not say"),
        "newest_observation": _whole("Its number; 0: none"),
        "head": _text("Opening digest of the newest observation", null=True),
    },
    "How a source is now",
)
Change: Any = _model("Change", {"field": _text("Its name"), **_VALUE}, "A field that changed")

_EVENT: dict[str, _Field] = {
    "source": _SOURCE,
    "seq": _whole("The observation that brought it"),
    "ordinal": _whole("Counts from 1 within the observation"),
    "observed_at": _time("When the first poll of the observation was answered"),
}


def _event(name: str, fields: Iterable[str], *known: dict[str, _Field], doc: str) -> Model:
    event = {"event": (Literal[name], Field(description=doc))}
    names = ["source", "seq", "ordinal", "event", "observed_at"]
    names += [each for each in fields if each not in names]
    return _row(f"{name.capitalize()}Event", names, event, _EVENT, *known, doc=doc)


_WINDOW = ("entity", "entity_id", "from_at")
EVENTS: tuple[Model, ...] = (
    _event(
        "observation",
        OBSERVATION_FIELDS,
        _of(observations),
        doc="Another outcome or content, or a new day",
    ),
    _event(
        "gap",
        ("from_at", "until_at", "seconds", "cause", "error", "failed_polls"),
        {"seconds": _number("Its length")},
        _of(gaps),
        doc="A time that no successful poll covers has ended",
    ),
    _event(
        "transition",
        TRANSITION_FIELDS,
        _TRANSITION,
        _PLACE,
        _of(state_transitions),
        doc="Another state or presence",
    ),
    _event(
        "version",
        ("entity", "entity_id", "not_before", "basis", "changes"),
        {
            "changes": (
                list[Change],
                Field(description="Fields that differ from the version before; none: there is none"),
            )
        },
        _ENTITY,
        _of(VERSIONS["region"]),
        doc="An entity is otherwise than before, or was listed first",
    ),
    _event("gone", ("entity", "entity_id"), _ENTITY, doc="A metrics database is no longer given"),
    _event("unseen", (*_WINDOW, "cause"), _of(unseen), doc="An entity that is present was not shown"),
    _event(
        "shown",
        (*_WINDOW, "until_at", "cause"),
        _of(unseen, until_at=False),
        doc="It was shown again, or found absent",
    ),
    _event(
        "rejected",
        ("position", "region_id", "reason"),
        _of(rejected_records),
        doc="A record could not be used",
    ),
    _event(
        "drift",
        ("path", "kind", "detail"),
        _of(schema_drift),
        doc="Something that the documented schema does not say",
    ),
)
Event: Any = Annotated[reduce(or_, EVENTS), Field(discriminator="event")]
"""Any of them."""

_HEADING: dict[str, Any] = {
    "as_of": _time("The time of which this is the answer"),
    "last_confirmed_at": _time(
        "Up to when it was confirmed: the newest successful poll until then; of several sources, of the one that was "
        "seen least recently; null: nothing was seen until then",
        null=True,
    ),
    "head": _text(
        "The digest on which the answer rests; of several sources SHA-256 over lines of name, blank, head and newline; "
        "null: nothing was ever polled",
        null=True,
    ),
}


ASSUMED = _text("What all that is said of known time rests on")
MORE: _Field = (bool, Field(description="Whether more is known already: ask again at once"))


def cursor(what: str, *, null: bool = False) -> _Field:
    """Where to go on."""
    return _text(f"Give it as `after` to get {what}", null=null)


def rows(model: Model) -> _Field:
    """A list of them."""
    return _list(model, model.__doc__)


def or_none(model: Any) -> _Field:
    """One, or null."""
    return model | None, ...


def answer(name: str, **content: _Field) -> Model:
    """An answer that carries this beside its heading."""
    return _model(name, _HEADING | content)
