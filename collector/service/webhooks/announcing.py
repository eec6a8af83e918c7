"""Decides which events an observation causes, and for which receivers. Runs in the poll's transaction, after its
rows.

It reads what the JSON API reads, so both report the same events with the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.receivers import EVENT_KINDS, EventKind, Receiver
from collector.reports.coverage import coverage
from collector.reports.cursors import Cursor, Position
from collector.reports.events import events
from collector.reports.filters import Row
from collector.service.webhooks.events import TYPE_PREFIX, Event, cloud_event, kind_of, text_of
from collector.service.webhooks.messages import message
from collector.store.outbox import GAP_OPENED, VERIFICATION_FAILED, Delivery
from collector.store.tables import (
    CURRENT,
    metrics_database_versions,
    metrics_databases,
    observations,
    regions,
    sources,
)

_ALL = 10_000_000
"""More events than one observation causes."""
_CHUNK = 500
MESSAGE_TYPE = f"{TYPE_PREFIX}message"


class Announcer:
    """Decides what the settings' receivers get."""

    def __init__(self, receivers: Sequence[Receiver], public_url: str | None = None) -> None:
        self.receivers = receivers
        self._public_url = public_url

    @property
    def names(self) -> list[str]:
        """The names of the receivers."""
        return [each.name for each in self.receivers]

    def __call__(
        self, connection: sa.Connection, source: str, seq: int, is_first: bool
    ) -> Sequence[Delivery]:
        """The deliveries of an observation. `is_first`: it is the first applied one of its source."""
        if not any(_may_want(each, source, is_first) for each in self.receivers):
            return ()
        return self._deliveries(happened(connection, source, seq, is_first))

    def gap_opened(self, connection: sa.Connection, source: str, now: datetime) -> Sequence[Delivery]:
        """The deliveries for an open gap; none if there is no gap."""
        gap = next((row for row in coverage(connection, source, limit=1) if row["until_at"] is None), None)
        if gap is None:
            return ()
        names = ("from_at", "until_at", "cause", "error", "failed_polls", "seconds")
        return self._of_source(
            connection,
            "gap_opened",
            source,
            max(gap["seq"], 1),
            GAP_OPENED,
            now,
            {"event": "gap", **{n: gap[n] for n in names}},
        )

    def verification_failed(
        self, connection: sa.Connection, source: str, found: str, now: datetime
    ) -> Sequence[Delivery]:
        """The deliveries for a failed verification. `found`: what is wrong, in words."""
        seq = connection.scalar(sa.select(sources.c.newest_seq).where(sources.c.name == source))
        row = {"event": "verification", "found": found}
        return self._of_source(
            connection, "verification_failed", source, seq or 0, VERIFICATION_FAILED, now, row
        )

    def _of_source(
        self,
        connection: sa.Connection,
        kind: EventKind,
        source: str,
        seq: int,
        ordinal: int,
        now: datetime,
        more: Row,
    ) -> Sequence[Delivery]:
        head = _head(connection, source, seq)
        row = {"source": source, "seq": seq, "ordinal": ordinal, "observed_at": now, **more}
        return self._deliveries([Event(kind, row, head)]) if head else ()

    def _deliveries(self, found: Sequence[Event]) -> list[Delivery]:
        made: dict[int, str] = {}
        deliveries: list[Delivery] = []
        for receiver in self.receivers:
            wanted = [each for each in found if is_wanted(receiver, each)]
            if not wanted:
                continue
            first = wanted[0].row
            if receiver.apprise is not None:
                text = text_of(message(wanted, self._public_url))
                deliveries.append(Delivery(receiver.name, first["seq"], first["ordinal"], MESSAGE_TYPE, text))
                continue
            for each in wanted:
                ordinal = each.row["ordinal"]
                if ordinal not in made:
                    made[ordinal] = text_of(cloud_event(each, self._public_url))
                kind = TYPE_PREFIX + each.kind
                deliveries.append(Delivery(receiver.name, each.row["seq"], ordinal, kind, made[ordinal]))
        return deliveries


def _may_want(receiver: Receiver, source: str, is_first: bool) -> bool:
    """True if any event of an observation of this source could pass a receiver's filters."""
    of_observations = set(receiver.kinds or EVENT_KINDS) - {"gap_opened", "verification_failed"}
    is_ours = not receiver.sources or source in receiver.sources
    return bool(of_observations) and is_ours and (receiver.baseline or not is_first)


def is_wanted(receiver: Receiver, event: Event) -> bool:
    """True if a receiver gets an event."""
    return receiver.wants(
        event.kind,
        source=event.row["source"],
        entity=event.row.get("entity"),
        states=event.states,
        is_baseline=event.is_baseline,
    )


def happened(connection: sa.Connection, source: str, seq: int, is_first: bool) -> list[Event]:
    """The events that an observation showed and that receivers may get, in order."""
    source_id = connection.scalar(sa.select(sources.c.id).where(sources.c.name == source))
    assert source_id is not None  # noqa: S101 - the observation is of this source
    page = events(connection, Cursor({source_id: Position(seq - 1)}), source=source, limit=_ALL)
    rows = [row for row in page.rows if row["seq"] == seq]
    head = str(rows[0]["opening_digest"])  # the first event of an observation is the observation itself
    arrived = _arrived(connection, source_id, rows)
    told = [(kind, row) for row in rows if (kind := kind_of(row, arrived)) is not None]
    named = _with_names(connection, source_id, (row for _, row in told))
    return [
        Event(kind, row, head, is_first or row.get("basis") == "baseline")
        for (kind, _), row in zip(told, named, strict=True)
    ]


def _arrived(connection: sa.Connection, source_id: int, rows: Sequence[Row]) -> dict[int, EventKind]:
    """Metrics databases that were not present before: seen for the first time, or again."""
    ids = [r["entity_id"] for r in rows if r["event"] == "version" and r["entity"] == "metrics_database"]
    m, v = metrics_databases.c, metrics_database_versions.c
    goes_on = sa.exists().where(
        v.source_id == m.source_id, v.metrics_database_id == m.id, v.valid_to == m.changed_at
    )
    query = sa.select(m.id, m.first_seen_at, m.changed_at).where(m.source_id == source_id, ~goes_on)
    arrived: dict[int, EventKind] = {}
    for start in range(0, len(ids), _CHUNK):
        for row in connection.execute(query.where(m.id.in_(ids[start : start + _CHUNK]))):
            arrived[row.id] = "appeared" if row.first_seen_at == row.changed_at else "returned"
    return arrived


def _with_names(connection: sa.Connection, source_id: int, rows: Iterable[Row]) -> list[Row]:
    """Events with the names of each entity's region; transitions have them already."""
    listed = list(rows)
    wanted: defaultdict[Any, set[int]] = defaultdict(set)
    for row in listed:
        if "entity" in row and "display_name" not in row:
            wanted[row["entity"]].add(row["entity_id"])
    names = {
        (kind, found["id"]): {n: found[n] for n in ("region_id", "slug", "display_name")}
        for kind, ids in wanted.items()
        for found in _names(connection, source_id, kind, sorted(ids))
    }
    nobody = dict.fromkeys(("region_id", "slug", "display_name"))
    return [
        row | names.get((row["entity"], row["entity_id"]), nobody)
        if "entity" in row and "display_name" not in row
        else row
        for row in listed
    ]


def _names(connection: sa.Connection, source_id: int, kind: Any, ids: Sequence[int]) -> Iterator[Row]:
    table, r = CURRENT[kind], regions.alias("named").c
    region_id = table.c.id if kind == "region" else table.c.witness_region_id
    query = (
        sa.select(table.c.id, region_id.label("region_id"), r.slug, r.display_name)
        .outerjoin(r.id.table, (r.source_id == table.c.source_id) & (r.id == region_id))
        .where(table.c.source_id == source_id)
    )
    for start in range(0, len(ids), _CHUNK):
        some = query.where(table.c.id.in_(ids[start : start + _CHUNK]))
        yield from (dict(row) for row in connection.execute(some).mappings())


def _head(connection: sa.Connection, source: str, seq: int) -> str:
    o, s = observations.c, sources.c
    query = sa.select(o.opening_digest).join(sources, s.id == o.source_id)
    return connection.scalar(query.where(s.name == source, o.seq == seq)) or ""
