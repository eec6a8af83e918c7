"""Who is drawn: regions or keystones, each with its spans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.reports.filters import Row, places
from collector.reports.spans import Span, SpanFilter, keys_of, spans
from collector.store.tables import sources, state_transitions


@dataclass(frozen=True, slots=True)
class Name:
    """Who a lane is about."""

    source: str
    entity_id: int
    text: str
    country: str | None = None
    zone: str | None = None


def lanes(connection: sa.Connection, wanted: SpanFilter) -> Iterator[tuple[Name, Iterator[Span]]]:
    """Each entity with its spans in order of time. The spans of one are to be read before the next is asked for."""
    known = places(connection, wanted.source)

    def key(row: Row) -> tuple[str, int, Any, Any, Any]:
        return row["source"], row["entity_id"], row["region_id"], row["display_name"], row["slug"]

    for (source, entity_id, region_id, display_name, slug), rows in groupby(spans(connection, wanted), key):
        text = display_name or slug or (f"region {region_id}" if region_id is not None else "")
        if wanted.entity == "keystone":
            text = f"{text} · {entity_id}" if text else f"keystone {entity_id}"
        place = known.get((source, region_id), {})
        yield (
            Name(source, entity_id, text, place.get("country"), place.get("zone")),
            (Span(*(row[f] for f in Span._fields)) for row in rows),
        )


def first_sight(connection: sa.Connection, wanted: SpanFilter) -> datetime | None:
    """When the first of these entities was first seen; None: none ever was."""
    t = state_transitions.c
    found: list[datetime] = []
    query = sa.select(sa.type_coerce(sa.func.min(t.observed_at), UtcTime())).join(
        sources, sources.c.id == t.source_id
    )
    query = query.where(t.entity == wanted.entity)
    query = query.where(sources.c.name == wanted.source) if wanted.source else query
    keys = keys_of(connection, wanted)
    for source, entity_id in keys if keys is not None else [(None, None)]:
        one = query if source is None else query.where(sources.c.name == source, t.entity_id == entity_id)
        found += [moment for moment in connection.scalars(one) if moment is not None]
    return min(found, default=None)
