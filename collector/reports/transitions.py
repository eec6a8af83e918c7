"""What changed state or presence, and within which window."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.reports.columns import AREA, OF_ENTITY, OF_SOURCE, PLACE, Column, Heading, Report, names_of
from collector.reports.filters import Row, find_region, is_region, is_word
from collector.store.tables import (
    keystones,
    regions,
    sources,
    state_transitions,
)

TRANSITIONS = Report(
    columns=(
        *PLACE,
        Column("entity", "text", "`region` or `keystone`"),
        Column("entity_id", "integer", "id of the region or of the keystone"),
        Column("kind", "text", "`appeared`, `changed`, `disappeared`, `reappeared`"),
        Column("from_state", "text or null", "state before; null: not listed"),
        Column("to_state", "text or null", "state after; null: not listed"),
        Column(
            "not_before",
            "time or null",
            "when the last poll that confirmed the old state was asked; null: no lower bound is known",
        ),
        Column("observed_at", "time", "when the first poll that showed the new state was answered"),
        Column(
            "basis",
            "text",
            "`baseline`, `direct`, `across_gap`, `absence`, `observer_change`, `other_copy`",
        ),
        Column("first_missing_at", "time or null", "for a disappearance: when it was first not shown"),
        Column("seq", "integer", "observation that first showed the new state"),
        Column("transition", "text", "reference for `collector explain`"),
        *AREA,
    ),
    table={
        "source": OF_SOURCE,
        "entity": OF_ENTITY,
        "entity_id": Heading("id", 5),
        "display_name": Heading("region"),
        "from_state": Heading("from"),
        "to_state": Heading("to"),
        "not_before": Heading("not before", 2),
        "observed_at": Heading("observed"),
        "basis": Heading("basis", 4),
        "transition": Heading("transition", 3),
    },
)


class Place(NamedTuple):
    """The position of a transition in the order of `transitions`."""

    observed_at: datetime
    source: str
    entity: str
    entity_id: int


_REGION_ID: sa.ColumnElement[Any] = sa.case(
    (state_transitions.c.entity == "region", state_transitions.c.entity_id),
    else_=keystones.c.witness_region_id,
)
TOLD: tuple[sa.ColumnElement[Any], ...] = (
    _REGION_ID.label("region_id"),
    regions.c.slug,
    regions.c.display_name,
    *(
        state_transitions.c[name]
        for name in (
            *("entity", "entity_id", "kind", "from_state", "to_state"),
            *("not_before", "observed_at", "basis", "first_missing_at"),
        )
    ),
)
"""The facts of a transition, besides its source and its observation."""


@dataclass(frozen=True, slots=True)
class TransitionFilter:
    """Which transitions; empty means any. Times are those of `observed_at`, half open."""

    source: str | None = None
    region: str | None = None
    entity: str | None = None
    from_state: str | None = None
    to_state: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    seq: int | None = None
    """Only those that this observation showed first."""
    limit: int | None = None
    offset: int = 0
    """Leave out this number of the newest ones."""
    after: Place | None = None
    """Only those that come after this one: the next page."""


def transitions(connection: sa.Connection, wanted: TransitionFilter) -> list[Row]:
    """Changes of state and presence, newest first, with the window that contains the true time."""
    t, s = state_transitions.c, sources.c
    query = selected(connection, wanted).order_by(t.observed_at.desc(), s.name, t.entity.desc(), t.entity_id)
    if wanted.after:
        query = query.where(_comes_after(wanted.after))
    rows = [
        dict(row)
        for row in connection.execute(query.limit(wanted.limit).offset(wanted.offset or None)).mappings()
    ]
    return [{name: row[name] for name in TRANSITIONS.fields} for row in map(with_reference, rows)]


def count_transitions(connection: sa.Connection, wanted: TransitionFilter) -> int:
    """How many there are, regardless of `limit`, `offset` and `after`."""
    found = selected(connection, wanted).subquery()
    return connection.scalar(sa.select(sa.func.count()).select_from(found)) or 0


def with_reference(row: Row) -> Row:
    """A transition with the reference by which `explain` finds it."""
    return row | {"transition": f"{row['seq']}/{row['entity']}/{row['entity_id']}"}


def _comes_after(place: Place) -> sa.ColumnElement[bool]:
    """True if a transition comes after another one, in the order of `transitions`."""
    t, s = state_transitions.c, sources.c
    # The first condition repeats the others, so that the index on the time is used.
    return (t.observed_at <= place.observed_at) & (
        (t.observed_at < place.observed_at)
        | (s.name > place.source)
        | (
            (s.name == place.source)
            & ((t.entity < place.entity) | ((t.entity == place.entity) & (t.entity_id > place.entity_id)))
        )
    )


def with_names(left: sa.FromClause) -> sa.FromClause:
    """Transitions with their regions, as the fields in `TOLD` need them."""
    t, r, k = state_transitions.c, regions.c, keystones.c
    is_its_keystone = (k.source_id == t.source_id) & (k.id == t.entity_id) & (t.entity == "keystone")
    named = left.outerjoin(keystones, is_its_keystone)
    return named.outerjoin(regions, (r.source_id == t.source_id) & (r.id == _REGION_ID))


def selected(connection: sa.Connection, wanted: TransitionFilter) -> sa.Select[Any]:
    """The query for these transitions, in no order and without a limit."""
    t, s = state_transitions.c, sources.c
    query: sa.Select[Any] = sa.select(
        s.name.label("source"), *TOLD, t.seq, *(regions.c[name] for name in names_of(AREA))
    ).select_from(with_names(state_transitions.join(sources, s.id == t.source_id)))
    if wanted.region:
        query = query.where(
            is_region(find_region(connection, wanted.region, wanted.source), t.source_id, _REGION_ID)
        )
    for column, value in (
        (s.name, wanted.source),
        (t.entity, wanted.entity),
        (t.seq, wanted.seq),
    ):
        query = query.where(column == value) if value is not None else query
    for column, word in ((t.from_state, wanted.from_state), (t.to_state, wanted.to_state)):
        query = query.where(is_word(column, word)) if word else query
    if wanted.since:
        query = query.where(t.observed_at >= wanted.since)
    if wanted.until:
        query = query.where(t.observed_at < wanted.until)
    return query
