"""The state of a source after an observation, as canonical text.

It holds everything that later decisions depend on, and the facts that stay when a history's beginning is pruned:

    observers, observations     those that the rest refers to, or that later decisions read
    failures                    failed polls since the last applied answer, by cause
    rows                        the rows of each derived table that stay: see `kept`

The same evidence gives the same text. `content_hash` is left out, since it follows from the values.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.database.types import JsonList, UtcTime
from collector.errors import IntegrityError
from collector.inventory.chain import plain
from collector.inventory.entities import ENTITIES, Kind, content_hash
from collector.inventory.known import Failures
from collector.store.amendments import text_of
from collector.store.tables import (
    CURRENT,
    DERIVATION_REVISION,
    DERIVED,
    TYPED,
    amendments,
    observations,
    observers,
    payloads,
)

MAX_SNAPSHOT = 1 << 30
"""Bytes: more than the state of ten thousand regions."""
_LEFT_OUT = frozenset({"source_id", "content_hash"})
_KINDS = {table: kind for kind, table in CURRENT.items()}


def snapshot_text(
    connection: sa.Connection, source_id: int, failures: Iterable[Failures], observers_up_to: int
) -> str:
    """The state in a database that holds nothing else of the source except later observers."""

    def rows(table: sa.Table, *where: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
        query = sa.select(table).where(table.c.source_id == source_id, *where)
        found = connection.execute(query.order_by(*table.primary_key.columns)).mappings()
        return [{name: plain(value) for name, value in row.items() if name not in _LEFT_OUT} for row in found]

    return text_of(
        {
            "revision": DERIVATION_REVISION,
            "observers": rows(observers, observers.c.id <= observers_up_to),
            "observations": rows(observations),
            "failures": [asdict(each) for each in failures],
            "rows": {table.name: rows(table) for table in DERIVED},
        }
    )


def hash_of(text: str) -> str:
    """SHA-256, 64 hex digits."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def answers_hash(connection: sa.Connection, source_id: int) -> str:
    """SHA-256 over what redactions left of answers.

    It covers the list of [address, address of what remains, number of the newest redaction that changed it], by
    address.
    """
    p = payloads.c
    query = sa.select(p.address, p.content, p.redaction).where(
        p.source_id == source_id, p.content.is_not(None) | p.redaction.is_not(None)
    )
    return hash_of(text_of([list(row) for row in connection.execute(query.order_by(p.address))]))


def packed(text: str) -> bytes:
    return zlib.compress(text.encode("ascii"), 9)


def stored_text(connection: sa.Connection, source_id: int) -> str:
    """The snapshot of the newest prune. Raises IntegrityError if it is missing or can't be read."""
    a = amendments.c
    query = sa.select(a.snapshot).where(a.source_id == source_id, a.snapshot.is_not(None))
    body = connection.scalar(query.order_by(a.number.desc()).limit(1))
    if body is None:
        raise IntegrityError("the snapshot with which the history begins is missing")
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(body, MAX_SNAPSHOT)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("not all of it")
        return text.decode("ascii")
    except (ValueError, zlib.error):
        raise IntegrityError("the snapshot with which the history begins can't be read") from None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot, parsed."""

    revision: int
    observers: list[dict[str, Any]]
    observations: list[dict[str, Any]]
    failures: tuple[Failures, ...]
    rows: Mapping[str, list[dict[str, Any]]]


def parsed(text: str) -> Snapshot:
    """Parse a snapshot. Raises ValueError, KeyError or TypeError if the text is not one."""
    value = json.loads(text)
    return Snapshot(
        value["revision"],
        [_of_json(observers, row) for row in value["observers"]],
        [_of_json(observations, row) for row in value["observations"]],
        tuple(Failures(**each) for each in value["failures"]),
        {
            table.name: [_of_json(table, row) for row in value["rows"].get(table.name, ())]
            for table in DERIVED
        },
    )


def load(snapshot: Snapshot, connection: sa.Connection, source_id: int) -> None:
    """Put a snapshot's rows into a database that holds nothing of the source."""

    def insert(table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            lacking = dict.fromkeys(c.name for c in table.columns)
            connection.execute(sa.insert(table), [lacking | row | {"source_id": source_id} for row in rows])

    insert(observers, snapshot.observers)
    insert(observations, snapshot.observations)
    for table in DERIVED:
        rows = snapshot.rows[table.name]
        if (kind := _KINDS.get(table)) is not None:
            rows = [row | {"content_hash": _hash(kind, row)} for row in rows]
        insert(table, rows)


def _hash(kind: Kind, row: Mapping[str, Any]) -> str:
    make: Any = ENTITIES[kind]
    return content_hash(make(id=row["id"], **{name: row.get(name) for name in TYPED[kind]}))


def carried_failures(connection: sa.Connection, source_id: int) -> tuple[Failures, ...]:
    """The failed polls that a snapshot counts because their observations are gone."""
    return parsed(stored_text(connection, source_id)).failures


def _of_json(table: sa.Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's values in the form that the database takes. An unknown column is an error."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        kind = table.c[name].type
        if value is not None and isinstance(kind, UtcTime):
            value = datetime.fromisoformat(value)
        elif value is not None and isinstance(kind, JsonList):
            value = tuple(value)
        found[name] = value
    return found
