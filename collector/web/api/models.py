"""Models of the answers for the OpenAPI document, made from the tables' columns and the reports' fields.

Answers are not checked against them at run time; the tests do that.
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
from collector.reports.availability import AVAILABILITY
from collector.reports.changes import HISTORY
from collector.reports.cloudevents import TYPE_PREFIX
from collector.reports.columns import AREA, Report
from collector.reports.coverage import COVERAGE
from collector.reports.event_kinds import OBSERVATION_FIELDS
from collector.reports.inventory import REGIONS
from collector.reports.nested import nested_report
from collector.reports.spans import SPANS
from collector.reports.status import STATUS, Verdict
from collector.reports.transitions import TRANSITIONS
from collector.store.tables import (
    VERSIONS,
    gaps,
    observations,
    rejected_records,
    schema_drift,
    sources,
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
    """A field with the type and the comment of its column, which says what NULL means only if it can be null."""
    kind = next(ours for theirs, ours in _TYPES if isinstance(column.type, theirs))
    is_null = column.nullable if null is None else null
    said, of_null, meaning = str(column.comment).partition("; NULL")
    said += f"; null{meaning}" if of_null and is_null else ""
    return (kind | None if is_null else kind), Field(description=said)


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
_ENTITY: dict[str, _Field] = {
    "entity": _text("Kind of entity: region, keystone, metrics_database"),
    "entity_id": _whole("Id of the entity"),
}


def _row(name: str, fields: Iterable[str], *known: dict[str, _Field], doc: str) -> Model:
    """A row with these fields, each from the first of `known` that has it."""
    return _model(
        name, {field: next(each[field] for each in known if field in each) for field in fields}, doc
    )


def _model(name: str, fields: dict[str, Any], doc: str | None = None) -> Model:
    made: Model = create_model(name, __config__=_STRICT, __doc__=doc, **fields)
    return made


def _of(table: sa.Table, **null: bool) -> dict[str, _Field]:
    return {column.name: _column(column, null=null.get(column.name)) for column in table.columns}


def _report(name: str, report: Report, doc: str, **types: Any) -> Model:
    return _model(name, _fields(report, **types), doc)


def _fields(report: Report, **types: Any) -> dict[str, _Field]:
    """The fields of a report's rows; `types`: those that are not only text."""
    fields: dict[str, _Field] = {}
    for column in report.columns:
        word, null = column.type.removesuffix(" or null"), column.type.endswith(" or null")
        kind = types.get(column.name, _KINDS[word])
        fields[column.name] = (kind | None if null else kind), Field(description=column.meaning)
    return fields


_KINDS: dict[str, Any] = {
    "text": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "time": datetime,
    "list of text": list[str],
    "list of integers": list[int],
    "any": Any,
}

Region = _report("Region", REGIONS, "A region in force at a time")
Keystone = _report("Keystone", nested_report("keystone"), "A keystone in force at a time")
MetricsDatabase = _report(
    "MetricsDatabase", nested_report("metrics_database"), "A metrics database in force at a time"
)
Version = _report("Version", HISTORY, "One field that changed, or the beginning of a region's history")
Transition = _report(
    "Transition",
    TRANSITIONS,
    "A change of state or presence; its true time is between not_before and observed_at",
)
Span = _report("Span", SPANS, "A time in one state, or a time whose state is not known")
Share = _report(
    "Share",
    AVAILABILITY,
    "The share of a time for which a region, or several, were in a state",
    level=Literal["region", "zone", "country", "source"],
)
Gap = _report("Gap", COVERAGE, "A time that no successful poll covers")
Source = _model(
    "Source",
    _fields(STATUS, verdict=Verdict)
    | {
        "head": _text("Opening digest of the newest observation", null=True),
        "anchored_at": _time("When an anchor last accepted a digest; null: none did", null=True),
        "anchored_seq": _whole("Newest observation of which an anchor has the digest", null=True),
        "anchored_until": _time("Time of the newest answer that this digest covers", null=True),
        "verified_at": _time("When it was last verified with a stored result; null: never", null=True),
        "verified": (
            Literal["good", "stale", "altered"] | None,
            Field(description="Verdict of that verification; stale: derived by older rules"),
        ),
    },
    "The current state of a source",
)
Change: Any = _model(
    "Change",
    {
        "field": _text("Name of the field"),
        "old": (Any, Field(description="Value before; null: none, or not listed")),
        "new": (Any, Field(description="Value from then on")),
    },
    "A field that changed",
)

_EVENT: dict[str, _Field] = {
    "source": _SOURCE,
    "seq": _whole("The observation that caused it"),
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
        doc="A run of equal polls began: another outcome or content, or a new day",
    ),
    _event(
        "gap",
        ("from_at", "until_at", "seconds", "cause", "error", "failed_polls"),
        {"seconds": _number("Length of the gap")},
        _of(gaps),
        doc="A time that no successful poll covers has ended",
    ),
    _event(
        "transition",
        [column.name for column in TRANSITIONS.columns if column not in AREA],
        _fields(TRANSITIONS),
        doc="A region or keystone changed its state or its presence",
    ),
    _event(
        "version",
        ("entity", "entity_id", "not_before", "basis", "changes"),
        {
            "not_before": _time(
                "The change happened between this time and observed_at; null: no lower bound is known",
                null=True,
            ),
            "changes": (
                list[Change],
                Field(description="Fields that differ from the previous version; empty: there is none"),
            ),
        },
        _ENTITY,
        _of(VERSIONS["region"]),
        doc="Fields of an entity changed, or it was listed for the first time",
    ),
    _event("gone", ("entity", "entity_id"), _ENTITY, doc="A metrics database is no longer listed"),
    _event("unseen", (*_WINDOW, "cause"), _of(unseen), doc="An entity that is present was not shown"),
    _event(
        "shown",
        (*_WINDOW, "until_at", "cause"),
        _of(unseen, until_at=False),
        doc="An unseen entity was shown again, or found absent",
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
        doc="Something was seen that the documented schema does not describe",
    ),
)
Event: Any = Annotated[reduce(or_, EVENTS), Field(discriminator="event")]
"""Any of these events."""
CloudEvent = _model(
    "CloudEvent",
    {
        "specversion": (Literal["1.0"], Field(description="Version of CloudEvents")),
        "id": _text("Is the same whenever this event is returned or sent, and no other event has it"),
        "source": _text("`urn:gcore-collector:` and the name of the source"),
        "type": _text(f"`{TYPE_PREFIX}` and the kind of event, like {TYPE_PREFIX}state_changed"),
        "subject": _text("Kind and id of the entity, or the kind of event"),
        "time": _time("When the first poll that showed it was answered"),
        "datacontenttype": (Literal["application/json"], Field(description="Format of `data`")),
        "data": (
            dict[str, Any],
            Field(
                description="The event as `/events` returns it, with names, `head`, `certainty`, `words`, `link` and "
                "`cursor`: give this as `after`, with the source, to get what happened next"
            ),
        ),
    },
    "An event as receivers get it",
)

_HEADING: dict[str, Any] = {
    "as_of": _time("The time for which this is the answer"),
    "last_confirmed_at": _time(
        "When the newest successful poll by then confirmed the answer; for several sources, the time of the source "
        "that was seen least recently; null: nothing was seen by then",
        null=True,
    ),
    "head": _text(
        "The digest that covers the evidence of the answer; for several sources, SHA-256 over one line per source, "
        "ordered by name: the name, a space, the head, and a newline; null: nothing was ever polled",
        null=True,
    ),
}


ASSUMED = _text("The assumption of every statement about known time")
MORE: _Field = (bool, Field(description="True: more events are already available, so ask again at once"))


def cursor(what: str, *, null: bool = False) -> _Field:
    """Where to continue."""
    return _text(f"Give it as `after` to get {what}", null=null)


def rows(model: Any, description: str | None = None) -> _Field:
    """A list of these rows, described by their model."""
    return _list(model, description or model.__doc__)


def or_none(model: Model, null: str) -> _Field:
    """One row, or null, and what that means."""
    return model | None, Field(description=f"{model.__doc__}; null: {null}")


def answer(name: str, **content: _Field) -> Model:
    """An answer with these contents and its heading."""
    return _model(name, _HEADING | content)
