"""What receivers are notified of: some of the events, each with a kind, names, its head and the cursor after it.

The service pushes notices when they happen, and the JSON API returns them at any time later. Both come from here, so
they are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from collector.receivers import EventKind
from collector.reports.cursors import Cursor, Position, digest_over, opening_digests
from collector.reports.events import Events
from collector.reports.filters import Row
from collector.store.tables import CURRENT, metrics_database_versions, metrics_databases, regions

_CHUNK = 500
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
    came: defaultdict[int, list[Row]] = defaultdict(list)
    for row, (source_id, _) in zip(page.rows, page.places, strict=True):
        if row["event"] == "version" and row["entity"] == "metrics_database":
            came[source_id].append(row)
    m, v, b = metrics_databases.c, metrics_database_versions.c, metrics_database_versions.alias("before").c
    goes_on = sa.exists().where(
        b.source_id == v.source_id,
        b.metrics_database_id == v.metrics_database_id,
        b.valid_to == v.valid_from,
    )
    is_its_own = (m.source_id == v.source_id) & (m.id == v.metrics_database_id)
    query = (
        sa.select(v.seq, m.id, v.valid_from == m.first_seen_at)
        .join(metrics_databases, is_its_own)
        .where(~goes_on)
    )
    arrived: dict[tuple[int, int, int], EventKind] = {}
    for source_id, rows in came.items():
        times = [row["observed_at"] for row in rows]
        then = (v.source_id == source_id) & v.valid_from.between(min(times), max(times))
        for ids in _chunks(row["entity_id"] for row in rows):
            for seq, entity_id, is_first in connection.execute(
                query.where(then, v.metrics_database_id.in_(ids))
            ):
                arrived[source_id, seq, entity_id] = "appeared" if is_first else "returned"
    return arrived


def _with_names(connection: sa.Connection, rows: Sequence[tuple[int, Row]]) -> list[Row]:
    """Events with the names of each entity's region; transitions have them already."""
    wanted: defaultdict[tuple[int, Any], set[int]] = defaultdict(set)
    for source_id, row in rows:
        if _is_nameless(row):
            wanted[source_id, row["entity"]].add(row["entity_id"])
    names = {
        (source_id, kind, found["id"]): {n: found[n] for n in _NAMES}
        for (source_id, kind), ids in wanted.items()
        for found in _names(connection, source_id, kind, ids)
    }
    nobody = dict.fromkeys(_NAMES)
    return [
        row | names.get((source_id, row["entity"], row["entity_id"]), nobody) if _is_nameless(row) else row
        for source_id, row in rows
    ]


def _is_nameless(row: Row) -> bool:
    return "entity" in row and "display_name" not in row


def _names(connection: sa.Connection, source_id: int, kind: Any, ids: Iterable[int]) -> Iterator[Row]:
    table, r = CURRENT[kind], regions.alias("named").c
    region_id = table.c.id if kind == "region" else table.c.witness_region_id
    query = (
        sa.select(table.c.id, region_id.label("region_id"), r.slug, r.display_name)
        .outerjoin(r.id.table, (r.source_id == table.c.source_id) & (r.id == region_id))
        .where(table.c.source_id == source_id)
    )
    for some in _chunks(ids):
        yield from (dict(row) for row in connection.execute(query.where(table.c.id.in_(some))).mappings())


def _chunks(ids: Iterable[int]) -> Iterator[list[int]]:
    whole = sorted(set(ids))
    for start in range(0, len(whole), _CHUNK):
        yield whole[start : start + _CHUNK]
