"""What an answer held that does not belong in a table of entities: rejected records, and schema drift."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from collector.gcore.listing import MAX_REJECTED
from collector.inventory.entities import Drift, Listing
from collector.inventory.transitions import Look
from collector.store.engine import insert
from collector.store.tables import rejected_records, schema_drift

MAX_DRIFT = 100
"""So many rows of drift for the fields of one place, and so many for one field."""


def new_drift(connection: sa.Connection, source_id: int, listing: Listing) -> list[Drift]:
    """Drift of an answer that is not on record yet, in order, as far as there is room for it."""
    if not listing.drift:
        return []
    d = schema_drift.c
    rows = connection.execute(sa.select(d.path, d.kind, d.detail).where(d.source_id == source_id))
    on_record = {Drift(*row) for row in rows}
    room = Counter(place for drift in on_record for place in _places(drift))
    new = []
    for drift in sorted(listing.drift - on_record):
        if all(room[place] < MAX_DRIFT for place in _places(drift)):
            new.append(drift)
            room.update(_places(drift))
    return new


def _places(drift: Drift) -> tuple[tuple[str, str], ...]:
    """What is counted: the field itself, and for unknown fields the object that they stand in."""
    own = (drift.path, "")
    if drift.kind != "unknown_field":
        return (own,)
    return (own, (drift.path.rpartition(".")[0], "unknown_field"))


def write_rejected(connection: sa.Connection, source_id: int, seq: int, listing: Listing) -> None:
    rows = [
        {
            "source_id": source_id,
            "seq": seq,
            "position": r.position,
            "region_id": r.id,
            "reason": r.reason,
            "payload": r.payload,
        }
        for r in listing.rejected[:MAX_REJECTED]
    ]
    insert(connection, rejected_records, rows)


def write_drift(connection: sa.Connection, source_id: int, now: Look, listing: Listing) -> None:
    """Put what is new on record."""
    rows = [
        {
            "source_id": source_id,
            "path": drift.path,
            "kind": drift.kind,
            "detail": drift.detail,
            "first_seen_at": now.first_at,
            "seq": now.seq,
        }
        for drift in new_drift(connection, source_id, listing)
    ]
    insert(connection, schema_drift, rows)
