"""What is known of each region or keystone over time: rows of the views of spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.reports.filters import Row, find_region
from collector.store.engine import UtcTime
from collector.store.tables import keystones, regions, sources, state_transitions

UNKNOWN, ABSENT = "UNKNOWN", "ABSENT"

SPAN_FIELDS = (
    "source",
    "region_id",
    "slug",
    "display_name",
    "entity",
    "entity_id",
    "state",
    "from_at",
    "until_at",
    "seconds",
    "earlier_state",
    "later_state",
    "cause",
    "seq",
)


class Span(NamedTuple):
    """A state from one time to another; of UNKNOWN also the states around it, and why."""

    state: str
    from_at: datetime
    until_at: datetime
    earlier_state: str | None = None
    later_state: str | None = None
    cause: str | None = None
    seq: int = 0

    @property
    def is_change(self) -> bool:
        """Only the moment of a change is unknown: the state was the earlier one, then the later one."""
        return self.cause == "change"


@dataclass(frozen=True, slots=True)
class Name:
    """Who a lane is about."""

    source: str
    entity_id: int
    text: str
    country: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class LaneFilter:
    """Which spans; empty means any. Times: spans that touch the time from the one to before the other."""

    entity: str = "region"
    regions: tuple[str, ...] = ()
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def spans(connection: sa.Connection, wanted: LaneFilter) -> Iterator[Row]:
    """Spans in the fields of SPAN_FIELDS, whole (not cut to the times asked for): by source, id and time.

    Raises UsageError for a region that does not exist, naming the closest.
    """
    view = _view(wanted.entity)
    columns = [view.c[n] for n in SPAN_FIELDS if n not in ("entity", "entity_id")]
    query = sa.select(
        *columns, sa.literal(wanted.entity).label("entity"), view.c[f"{wanted.entity}_id"].label("entity_id")
    )
    query = query.where(view.c.source == wanted.source) if wanted.source else query
    query = query.where(view.c.until_at > wanted.since) if wanted.since else query
    query = query.where(view.c.from_at < wanted.until) if wanted.until else query
    query = query.order_by(view.c.source, "entity_id", view.c.from_at)
    # Of one entity the views read its own rows only: so few are asked for one by one, all in one query.
    keys = _keys(connection, wanted)
    questions = (
        [query]
        if keys is None
        else [
            query.where(view.c.source == source, view.c[f"{wanted.entity}_id"] == entity_id)
            for source, entity_id in keys
        ]
    )
    for question in questions:
        rows = connection.execution_options(yield_per=2000).execute(question)
        for row in rows.mappings():
            yield {name: row[name] for name in SPAN_FIELDS}


def lanes(connection: sa.Connection, wanted: LaneFilter) -> Iterator[tuple[Name, Iterator[Span]]]:
    """Each entity with its spans in order of time. The spans of one are to be read before the next is asked for."""
    places = _places(connection, wanted.source)

    def key(row: Row) -> tuple[str, int, Any, Any, Any]:
        return row["source"], row["entity_id"], row["region_id"], row["display_name"], row["slug"]

    for (source, entity_id, region_id, display_name, slug), rows in groupby(spans(connection, wanted), key):
        text = display_name or slug or (f"region {region_id}" if region_id is not None else "")
        if wanted.entity == "keystone":
            text = f"{text} · {entity_id}" if text else f"keystone {entity_id}"
        country, zone = places.get((source, region_id), (None, None))
        yield (
            Name(source, entity_id, text, country, zone),
            (Span(*(row[f] for f in Span._fields)) for row in rows),
        )


def first_sight(connection: sa.Connection, wanted: LaneFilter) -> datetime | None:
    """When the first of these entities was first seen; None: none ever was."""
    t = state_transitions.c
    found: list[datetime] = []
    query = sa.select(sa.type_coerce(sa.func.min(t.observed_at), UtcTime())).join(
        sources, sources.c.id == t.source_id
    )
    query = query.where(t.entity == wanted.entity)
    query = query.where(sources.c.name == wanted.source) if wanted.source else query
    keys = _keys(connection, wanted)
    for source, entity_id in keys if keys is not None else [(None, None)]:
        one = query if source is None else query.where(sources.c.name == source, t.entity_id == entity_id)
        found += [moment for moment in connection.scalars(one) if moment is not None]
    return min(found, default=None)


def _keys(connection: sa.Connection, wanted: LaneFilter) -> Sequence[tuple[str, int]] | None:
    """The sources and ids of the regions that were named, or of their keystones; None: all."""
    if not wanted.regions:
        return None
    names = {i: str(name) for i, name in connection.execute(sa.select(sources.c.id, sources.c.name)).all()}
    found = {pair for text in wanted.regions for pair in find_region(connection, text, wanted.source)}
    if wanted.entity == "keystone":
        r, k = regions.c, keystones.c
        pairs = (
            sa.select(r.source_id, r.keystone_id, r.id)
            .where(r.keystone_id.is_not(None))
            .union(sa.select(k.source_id, k.id, k.witness_region_id))
        )
        found = {(s, i) for s, i, region_id in connection.execute(pairs) if (s, region_id) in found}
    return sorted((names[s], i) for s, i in found)


def _view(entity: str) -> Any:
    times = {"from_at", "until_at"}
    names = [n for n in SPAN_FIELDS if n not in ("entity", "entity_id", "region_id")]
    ids = dict.fromkeys(["region_id", f"{entity}_id"])
    return sa.table(
        f"{entity}_state_spans",
        *(sa.column(n, UtcTime()) if n in times else sa.column(n) for n in [*ids, *names]),
    )


def _places(connection: sa.Connection, source: str | None) -> dict[tuple[str, int], tuple[Any, Any]]:
    r = regions.c
    query = sa.select(sources.c.name, r.id, r.country, r.zone).join(sources, sources.c.id == r.source_id)
    query = query.where(sources.c.name == source) if source else query
    return {(name, i): (country, zone) for name, i, country, zone in connection.execute(query)}
