"""What receivers are notified of: some of the events, each with a kind, names, its head and the cursor after it.

The service pushes notices when they happen, and the JSON API returns them at any time later. Both come from here, so
they are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from collector.database.joins import InOrder
from collector.database.listed import list_of, listed
from collector.database.url import is_sqlite
from collector.inventory.entities import Kind
from collector.receivers import EventKind
from collector.reports.cursors import Cursor, Position, digest_over, opening_digests
from collector.reports.events import Events
from collector.reports.filters import Row
from collector.store.tables import CURRENT, metrics_database_versions, metrics_databases, regions

_NAMES = ("region_id", "slug", "display_name")
_KINDS: Mapping[str, EventKind] = {
    "changed": "state_changed",
    "appeared": "appeared",
    "disappeared": "disappeared",
    "reappeared": "returned",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened, before its receivers are known."""

    kind: EventKind
    row: Row
    """An event of `reports.events`, with names."""
    head: str
    """Opening digest of the observation that showed it."""
    cursor: str
    """From where the source's next events can be read."""

    @property
    def states(self) -> Mapping[str, str | None]:
        """The states before and after."""
        return {name: self.row[name] for name in ("from_state", "to_state") if name in self.row}


def notices(connection: sa.Connection, page: Events) -> list[Notice]:
    """Those events of a page of which receivers are notified, in the same order."""
    arrived = _arrived(connection, page)
    told = []
    for row, place in zip(page.rows, page.places, strict=True):
        kind = _kind_of(row, arrived.get((place[0], row["seq"], row.get("entity_id", 0))))
        if kind is not None:
            told.append((kind, row, place))
    heads = opening_digests(connection, ((source_id, at.seq) for _, _, (source_id, at) in told))
    named = _with_names(connection, [(source_id, row) for _, row, (source_id, _) in told])
    return [
        Notice(kind, row, heads[source_id, at.seq], cursor_at(source_id, at, heads[source_id, at.seq]))
        for (kind, _, (source_id, at)), row in zip(told, named, strict=True)
    ]


def cursor_at(source_id: int, at: Position, head: str) -> str:
    """The cursor of a reader who has read one source up to a position. `head`: opening digest of its observation."""
    return str(Cursor({source_id: at}, digest_over({(source_id, at.seq): head})))


def _kind_of(row: Row, arrived: EventKind | None) -> EventKind | None:
    """The kind of notice for an event; None: there is none.

    A version adds nothing to its transition if only the state differs, or if nothing is known about the time before.
    `arrived`: how a metrics database came; it has no state and so no transitions.
    """
    if row["event"] == "transition":
        return _KINDS[row["kind"]]
    if row["event"] == "version":
        if arrived is not None and row["entity"] == "metrics_database":
            return arrived
        return "fields_changed" if any(each["field"] != "state" for each in row["changes"]) else None
    kinds: Mapping[str, EventKind] = {"gone": "disappeared", "gap": "gap_closed", "drift": "drift"}
    return kinds.get(row["event"])


def _arrived(connection: sa.Connection, page: Events) -> dict[tuple[int, int, int], EventKind]:
    """Metrics databases that were not present before, by source id, seq and id: seen for the first time, or again."""
    versions = [
        (source_id, row["seq"], row["entity_id"])
        for row, (source_id, _) in zip(page.rows, page.places, strict=True)
        if row["event"] == "version" and row["entity"] == "metrics_database"
    ]
    if not versions:
        return {}
    rows = connection.execute(_arrivals(is_sqlite(connection)), {"versions": list_of(versions)})
    return {tuple(key): "appeared" if is_first else "returned" for *key, is_first in rows}


@cache
def _arrivals(on_sqlite: bool) -> sa.Select[Any]:
    numbers = {"source_id": sa.Integer(), "seq": sa.BigInteger(), "id": sa.BigInteger()}
    asked = listed("versions", numbers, on_sqlite=on_sqlite)
    m, v, b = metrics_databases.c, metrics_database_versions.c, metrics_database_versions.alias("before").c
    is_asked = (v.source_id == asked.c.source_id) & (v.metrics_database_id == asked.c.id)
    goes_on = sa.exists().where(
        b.source_id == v.source_id,
        b.metrics_database_id == v.metrics_database_id,
        b.valid_to == v.valid_from,
    )
    found = InOrder(asked, metrics_database_versions, is_asked & (v.seq == asked.c.seq))
    of_it = (m.source_id == v.source_id) & (m.id == v.metrics_database_id)
    return (
        sa.select(v.source_id, v.seq, m.id, v.valid_from == m.first_seen_at)
        .select_from(InOrder(found, metrics_databases, of_it))
        .where(~goes_on)
    )


def _with_names(connection: sa.Connection, rows: Sequence[tuple[int, Row]]) -> list[Row]:
    """Events with the names of each entity's region; transitions have them already."""
    wanted: defaultdict[Kind, set[tuple[int, int]]] = defaultdict(set)
    for source_id, row in rows:
        if _is_nameless(row):
            wanted[row["entity"]].add((source_id, row["entity_id"]))
    names = {
        (source_id, kind, entity_id): dict(zip(_NAMES, found, strict=True))
        for kind, entities in wanted.items()
        for source_id, entity_id, *found in connection.execute(
            _named(kind, is_sqlite(connection)), {"entities": list_of(entities)}
        )
    }
    nobody = dict.fromkeys(_NAMES)
    return [
        row | names.get((source_id, row["entity"], row["entity_id"]), nobody) if _is_nameless(row) else row
        for source_id, row in rows
    ]


def _is_nameless(row: Row) -> bool:
    return "entity" in row and "display_name" not in row


@cache
def _named(kind: Kind, on_sqlite: bool) -> sa.Select[Any]:
    asked = listed("entities", {"source_id": sa.Integer(), "id": sa.BigInteger()}, on_sqlite=on_sqlite)
    table, named = CURRENT[kind], regions.alias("named")
    t, r = table.c, named.c
    region_id = t.id if kind == "region" else t.witness_region_id
    found = InOrder(asked, table, (t.source_id == asked.c.source_id) & (t.id == asked.c.id))
    return sa.select(t.source_id, t.id, region_id.label("region_id"), r.slug, r.display_name).select_from(
        found.outerjoin(named, (r.source_id == t.source_id) & (r.id == region_id))
    )
