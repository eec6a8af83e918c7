"""What is drawn: regions or keystones, each with its spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.inventory.spans import Span
from collector.reports.spans import SpanFilter, keys_of, spans_by_entity
from collector.store.tables import sources, state_transitions


@dataclass(frozen=True, slots=True)
class Name:
    """The entity of a lane."""

    source: str
    entity_id: int
    text: str
    country: str | None = None
    zone: str | None = None


def lanes(connection: sa.Connection, wanted: SpanFilter) -> Iterator[tuple[Name, Sequence[Span]]]:
    """Each entity with its spans in order of time."""
    for head, found in spans_by_entity(connection, wanted):
        source, entity_id, region_id = head["source"], head["entity_id"], head["region_id"]
        text = (
            head["display_name"] or head["slug"] or (f"region {region_id}" if region_id is not None else "")
        )
        if wanted.entity == "keystone":
            text = f"{text} · {entity_id}" if text else f"keystone {entity_id}"
        yield Name(source, entity_id, text, head["country"], head["zone"]), found


def first_sight(connection: sa.Connection, wanted: SpanFilter) -> datetime | None:
    """When the first of these entities was first seen; None if none ever was."""
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
