"""What an event is: for each kind of event, the statement that reads it.

Each statement reads the events of some ranges of observations, by source, observation and key. So its cost depends on
its result, however long the history is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.clock import time_text
from collector.database.joins import InOrder
from collector.database.listed import list_of, listed
from collector.database.types import UtcTime
from collector.database.url import is_sqlite
from collector.inventory.entities import WITH_STATE, Kind
from collector.reports.asof import version_before
from collector.reports.filters import Row
from collector.reports.transitions import TOLD, with_names, with_reference
from collector.store.tables import (
    TYPED,
    VERSIONS,
    gaps,
    metrics_database_versions,
    observations,
    rejected_records,
    schema_drift,
    state_transitions,
    unseen,
)

OBSERVATION_FIELDS = (
    "outcome",
    "listed",
    "declared",
    "rejected",
    "missing",
    "cause",
    "http_status",
    "exception_class",
    "message",
    "request_id",
    "paging",
    "payload",
    "opening_digest",
)
LAST_KEY = 2**63 - 1
"""No key is higher."""


class Stretch(NamedTuple):
    """Consecutive observations of a source. For the first one, only the events after a key are wanted."""

    source_id: int
    after_seq: int
    after_key: int
    last_seq: int
    first_at: str = ""
    last_at: str = ""
    """Times of the first and the last one, as stored."""

    @property
    def is_any(self) -> bool:
        """True if it may contain an event."""
        return self.after_seq < self.last_seq or self.after_key < LAST_KEY


_STRETCH: dict[str, sa.types.TypeEngine[Any]] = {
    "source_id": sa.Integer(),
    "after_seq": sa.BigInteger(),
    "after_key": sa.BigInteger(),
    "last_seq": sa.BigInteger(),
    "first_at": UtcTime(),
    "last_at": UtcTime(),
}


class Event(NamedTuple):
    """One event, in the order in which events are returned."""

    source_id: int
    seq: int
    rank: int
    key: int
    row: Row
    """Its content: `event`, and the facts of that kind."""


class EventKind:
    """Events of one kind. `columns`: the facts of each event; `key` distinguishes those of one observation.

    `at`: a time of the observation that is in an index of the table, if no index has `seq`.
    """

    def __init__(
        self,
        event: str,
        table: sa.Table,
        columns: Sequence[sa.ColumnElement[Any]],
        *,
        seq: sa.ColumnElement[Any],
        key: sa.ColumnElement[Any],
        at: sa.ColumnElement[Any] | None = None,
        where: sa.ColumnElement[bool] | None = None,
        joined: Callable[[sa.FromClause], sa.FromClause] = lambda left: left,
        finished: Callable[[Row], Row] = lambda row: row,
    ) -> None:
        self._event, self._table, self._columns = event, table, columns
        self._seq, self._key, self._at, self._where = seq, key, at, where
        self._joined, self._finished = joined, finished
        self._queries: dict[bool, sa.Select[Any]] = {}

    def of(
        self, connection: sa.Connection, rank: int, stretches: Sequence[Stretch], limit: int
    ) -> list[Event]:
        """The first of these ranges, in order."""
        on_sqlite = is_sqlite(connection)
        if on_sqlite not in self._queries:
            self._queries[on_sqlite] = self._query(on_sqlite)
        given = {"stretches": list_of(stretches), "most": limit}
        rows = connection.execute(self._queries[on_sqlite], given).mappings()
        return [self._event_of(rank, dict(row)) for row in rows]

    def _query(self, on_sqlite: bool) -> sa.Select[Any]:
        asked = listed("stretches", _STRETCH, on_sqlite=on_sqlite)
        a, source_id, seq, key = asked.c, self._table.c.source_id, self._seq, self._key
        is_wanted = (source_id == a.source_id) & (seq <= a.last_seq)
        is_wanted &= (seq > a.after_seq) | ((seq == a.after_seq) & (key > a.after_key))
        # The database first looks at what is in an index.
        if self._at is None:
            is_wanted &= seq >= a.after_seq
        else:
            is_wanted &= self._at.between(a.first_at, a.last_at)
        query = sa.select(
            source_id.label("of_source"), key.label("event_key"), seq.label("seq"), *self._columns
        )
        query = query.select_from(self._joined(InOrder(asked, self._table, is_wanted)))
        query = query if self._where is None else query.where(self._where)
        return query.order_by(source_id, seq, key).limit(sa.bindparam("most", type_=sa.BigInteger))

    def _event_of(self, rank: int, row: Row) -> Event:
        source_id, key, seq = row.pop("of_source"), row.pop("event_key"), row["seq"]
        return Event(source_id, seq, rank, key, {"event": self._event, **self._finished(row)})


def times_of(connection: sa.Connection, stretches: Sequence[Stretch]) -> dict[tuple[int, int], Any]:
    """When the observations of these ranges began, by source and seq."""
    query = _times(is_sqlite(connection))
    rows = connection.execute(query, {"stretches": list_of(stretches)})
    return {(source_id, seq): first_at for source_id, seq, first_at in rows}


@cache
def _times(on_sqlite: bool) -> sa.Select[Any]:
    o = observations.c
    asked = listed("stretches", _STRETCH, on_sqlite=on_sqlite)
    is_wanted = (o.source_id == asked.c.source_id) & o.seq.between(asked.c.after_seq, asked.c.last_seq)
    return sa.select(o.source_id, o.seq, o.first_at).select_from(InOrder(asked, observations, is_wanted))


def with_times(stretch: Stretch, times: dict[tuple[int, int], Any]) -> Stretch:
    """The range, with the times between which its events were observed."""
    source_id, first, last = stretch.source_id, max(stretch.after_seq, 1), stretch.last_seq
    return stretch._replace(
        first_at=time_text(times[source_id, first]), last_at=time_text(times[source_id, last])
    )


def _of_observations() -> EventKind:
    o = observations.c
    return EventKind(
        "observation", observations, [o[name] for name in OBSERVATION_FIELDS], seq=o.seq, key=o.seq
    )


def _of_gaps() -> EventKind:
    g = gaps.c

    def finished(row: Row) -> Row:
        return row | {"seconds": (row["until_at"] - row["from_at"]).total_seconds()}

    columns = [g.from_at, g.until_at, g.cause, g.error, g.failed_polls]
    return EventKind("gap", gaps, columns, seq=g.until_seq, key=g.until_seq, finished=finished)


def _of_transitions(entity: str) -> EventKind:
    t = state_transitions.c
    return EventKind(
        "transition",
        state_transitions,
        TOLD,
        seq=t.seq,
        key=t.entity_id,
        at=t.observed_at,
        where=t.entity == entity,
        joined=with_names,
        finished=with_reference,
    )


def _of_versions(kind: Kind) -> EventKind:
    """What an entity is from now on, and which fields changed."""
    table, names = VERSIONS[kind], TYPED[kind]
    v, own = table.c, table.c[f"{kind}_id"]
    before, is_before = version_before(kind)

    def finished(row: Row) -> Row:
        changed = [name for name in row["changed_fields"] or () if name in names]
        changes = [{"field": n, "old": row[f"old_{n}"], "new": row[f"new_{n}"]} for n in changed]
        head = {name: row[name] for name in ("entity", "entity_id", "not_before", "basis")}
        return head | {"changes": changes}

    return EventKind(
        "version",
        table,
        [
            sa.literal(kind).label("entity"),
            own.label("entity_id"),
            *(v.not_before, v.basis, v.changed_fields),
            *(v[name].label(f"new_{name}") for name in names),
            *(before.c[name].label(f"old_{name}") for name in names),
        ],
        seq=v.seq,
        key=own,
        at=v.valid_from,
        joined=lambda left: left.outerjoin(before, is_before),
        finished=finished,
    )


def _of_the_gone() -> EventKind:
    """Metrics databases that are no longer there. For regions and keystones a transition says so."""
    v, o = metrics_database_versions.c, observations.alias("ended_by")
    n = metrics_database_versions.alias("n").c
    follows = sa.exists().where(
        n.source_id == v.source_id,
        n.metrics_database_id == v.metrics_database_id,
        n.valid_from == v.valid_to,
    )
    ended_by = (
        sa.select(o.c.seq).where(o.c.source_id == v.source_id, o.c.first_at == v.valid_to).scalar_subquery()
    )
    return EventKind(
        "gone",
        metrics_database_versions,
        [
            sa.literal("metrics_database").label("entity"),
            v.metrics_database_id.label("entity_id"),
        ],
        seq=ended_by,
        key=v.metrics_database_id,
        at=v.valid_to,
        where=~follows,
    )


def _of_unseen(event: str, entity: str) -> EventKind:
    u = unseen.c
    seq, ended = (u.missed_seq, ()) if event == "unseen" else (u.until_seq, (u.until_at,))
    columns = [u.entity, u.entity_id, u.from_at, *ended, u.cause]
    return EventKind(event, unseen, columns, seq=seq, key=u.entity_id, where=u.entity == entity)


def _of_rejected() -> EventKind:
    r = rejected_records.c
    return EventKind(
        "rejected", rejected_records, [r.position, r.region_id, r.reason], seq=r.seq, key=r.position
    )


class _Drift(EventKind):
    """Drift is counted by path, kind and detail, which databases sort differently, so it is sorted here."""

    def __init__(self) -> None:
        d = schema_drift.c
        super().__init__(
            "drift", schema_drift, [d.path, d.kind, d.detail], seq=d.seq, key=sa.literal(LAST_KEY)
        )

    def of(
        self, connection: sa.Connection, rank: int, stretches: Sequence[Stretch], limit: int
    ) -> list[Event]:
        after = {each.source_id: (each.after_seq, each.after_key) for each in stretches}
        # An observation that was returned in part is read completely, so that the numbers are the same.
        whole = [each._replace(after_key=0) for each in stretches]
        found = super().of(connection, rank, whole, LAST_KEY)
        found.sort(key=lambda each: (*each[:2], each.row["path"], each.row["kind"], each.row["detail"]))
        numbered = _numbered(found)
        return [each for each in numbered if (each.seq, each.key) > after[each.source_id]][:limit]


def _numbered(found: Sequence[Event]) -> Iterator[Event]:
    """Each event with its place among those of its observation."""
    number, of = 0, (0, 0)
    for each in found:
        number, of = (number + 1 if each[:2] == of else 1), each[:2]
        yield each._replace(key=number)


KINDS: tuple[EventKind, ...] = (
    _of_observations(),
    _of_gaps(),
    *(_of_transitions(kind) for kind in WITH_STATE),
    *(_of_versions(kind) for kind in VERSIONS),
    _of_the_gone(),
    *(_of_unseen(event, kind) for event in ("unseen", "shown") for kind in VERSIONS),
    _of_rejected(),
    _Drift(),
)
"""The order in which the events of one observation are counted. The rank of an event is its place here."""
