"""Everything that happened, in order: what each observation brought, source by source, safe to resume from.

    source ─▶ seq ─▶ observation, gap, transition, version, gone, unseen, shown, rejected, drift

An observation and all that follows from it are committed at once and never added to. So a reader who remembers how far
it read of each source misses nothing and gets nothing twice, whatever is written meanwhile. A cursor is that memory. It
also knows the digests of the observations up to which it read: one of another history, or of what was there before a
backup was put back, is refused rather than continued at a wrong place.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from collector.errors import CollectorError, UsageError
from collector.inventory.entities import Kind
from collector.reports.asof import version_before
from collector.reports.filters import Row
from collector.reports.transitions import TransitionFilter, selected, with_reference
from collector.store.tables import (
    TYPED,
    VERSIONS,
    gaps,
    metrics_database_versions,
    observations,
    rejected_records,
    schema_drift,
    sources,
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
CURSOR_PATTERN = (
    r"z[0-9A-Za-z_-]{8,8000}|"
    r"([0-9]{1,9}\.[0-9]{1,18}(\.[0-9]{1,9}\.[0-9]{1,2}\.-?[0-9]{1,19})?_)*[0-9a-f]{16}"
)
_LONG_CURSOR = 500
"""A longer one, of many sources, is packed: an address has its limits."""
MOST_SOURCES = 50
"""A page reads of so many sources at most, so that it takes no longer than the time for one question."""
_CHUNK = 400
"""So many pairs are asked for in one statement."""


class AnotherHistoryError(CollectorError):
    """The cursor comes from another history than this one, or from before a backup was put back."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far one source was read."""

    seq: int = 0
    ordinal: int | None = None
    """Events of this seq that were read; None: all."""
    rank: int = 0
    key: int = 0
    """Which event of the seq was the last one."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far each source was read, by its id, and the digest of all that this rests on."""

    positions: Mapping[int, Position] = field(default_factory=dict)
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises UsageError for what no cursor looks like, AnotherHistoryError for what only looks like one."""
        if not re.fullmatch(CURSOR_PATTERN, text, re.ASCII):
            raise UsageError(
                "that is no cursor; take it from `next` of the answer before, as it stands there"
            )
        if text[0] == "z":
            text = _unpacked(text[1:])
        *places, digest = text.split("_")
        positions = {}
        for place in places:
            source_id, *numbers = (int(number) for number in place.split("."))
            positions[source_id] = Position(*numbers)
            if abs(positions[source_id].key) >= 2**63:  # no database counts further
                raise AnotherHistoryError
        return cls(positions, digest)

    def __str__(self) -> str:
        places = []
        for source_id, at in sorted(self.positions.items()):
            inside = "" if at.ordinal is None else f".{at.ordinal}.{at.rank}.{at.key}"
            places.append(f"{source_id}.{at.seq}{inside}_")
        text = "".join(places) + self.digest
        return text if len(text) <= _LONG_CURSOR else f"z{_packed(text)}"


def _packed(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def _unpacked(packed: str) -> str:
    """Raises AnotherHistoryError for what was never packed."""
    try:
        compressed = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        text = zlib.decompressobj().decompress(compressed, 1_000_000).decode()
    except (ValueError, zlib.error):
        raise AnotherHistoryError from None
    if text[:1] == "z" or not re.fullmatch(CURSOR_PATTERN, text, re.ASCII):
        raise AnotherHistoryError
    return text


@dataclass(frozen=True, slots=True)
class Events:
    """One page of what happened."""

    rows: Sequence[Row]
    """Each with `source`, `seq`, `ordinal`, `event` and `observed_at`, and what belongs to that event."""
    cursor: Cursor
    """Where to go on; the same as before where nothing happened since."""
    more: bool
    """Whether more is known already; then the page may have fewer rows than it could."""


def events(
    connection: sa.Connection, after: Cursor | None = None, *, source: str | None = None, limit: int = 1000
) -> Events:
    """What happened after a cursor, or from the first, by source (in the order in which sources came), seq and ordinal.

    Raises AnotherHistoryError where the cursor is not one of this history.
    """
    after = after or Cursor()
    if after.digest and after.digest != _digest(connection, after.positions):
        raise AnotherHistoryError
    s = sources.c
    query = sa.select(s.id, s.name, s.newest_seq).where(s.newest_seq > 0).order_by(s.id)
    known = connection.execute(query.where(s.name == source) if source else query).all()
    positions, rows, more, read = dict(after.positions), list[Row](), False, 0
    for source_id, name, newest in known:
        at = positions.get(source_id, Position())
        if at.seq >= newest and at.ordinal is None:
            continue
        if len(rows) == limit or read == MOST_SOURCES:
            more = True
            break
        read += 1
        found = _of_source(connection, source_id, at, limit - len(rows) + 1)
        more = len(found) > limit - len(rows)
        ordinal = at.ordinal or 0
        for rank, key, row in found[: limit - len(rows)]:
            ordinal = ordinal + 1 if row["seq"] == at.seq else 1
            at = Position(row["seq"], ordinal, rank, key)
            first = {n: row.pop(n) for n in ("seq", "event", "observed_at")}
            rows.append({"source": name, "seq": first.pop("seq"), "ordinal": ordinal, **first, **row})
        positions[source_id] = at if more else Position(newest)
        if more:
            break
    digest = after.digest if positions == after.positions and after.digest else _digest(connection, positions)
    return Events(rows, Cursor(positions, digest), more)


def _digest(connection: sa.Connection, positions: Mapping[int, Position]) -> str:
    """Over the opening digests of the observations up to which was read, each of which seals all before it."""
    o = observations.c
    pairs = [(source_id, at.seq) for source_id, at in sorted(positions.items()) if at.seq]
    found: dict[tuple[int, int], str] = {}
    for n in range(0, len(pairs), _CHUNK):
        query = sa.select(o.source_id, o.seq, o.opening_digest)
        rows = connection.execute(query.where(sa.tuple_(o.source_id, o.seq).in_(pairs[n : n + _CHUNK])))
        found |= {(source_id, seq): digest for source_id, seq, digest in rows}
    text = "".join(f"{source_id} {seq} {found.get((source_id, seq))}\n" for source_id, seq in pairs)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_Event = tuple[int, int, Row]
"""Rank and key, by which events of one observation are in order, and the event."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Observations that follow a position: as many as events are wanted, since each is one."""

    source_id: int
    after: Position
    first_seq: int
    last_seq: int
    first_at: Any
    last_at: Any
    limit: int

    def rows(
        self, connection: sa.Connection, rank: int, query: sa.Select[Any], seq: Any, key: Any
    ) -> Iterator[_Event]:
        """The first events of one rank. `query` selects `seq` and `key`, the latter as `event_key`."""
        after = self.after
        wanted = seq.between(self.first_seq, self.last_seq)
        if after.ordinal is not None and rank <= after.rank:
            rest = seq > after.seq
            wanted &= (rest | ((seq == after.seq) & (key > after.key))) if rank == after.rank else rest
        for found in connection.execute(query.where(wanted).order_by(seq, key).limit(self.limit)).mappings():
            row = dict(found)
            yield rank, row.pop("event_key"), row


def _of_source(connection: sa.Connection, source_id: int, after: Position, limit: int) -> list[_Event]:
    """The first events of a source after a position, in order."""
    o = observations.c
    first = after.seq if after.ordinal is not None else after.seq + 1
    query = sa.select(o.seq, o.first_at).where(o.source_id == source_id, o.seq >= first)
    # One more, since all of the first may have been read.
    times = dict(connection.execute(query.order_by(o.seq).limit(limit + 1)).all())
    if not times:
        return []
    window = _Window(
        source_id, after, min(times), max(times), min(times.values()), max(times.values()), limit
    )
    found: list[_Event] = []
    for rank, ask in enumerate(_RANKS):
        if rank < after.rank and after.ordinal is not None and window.last_seq == after.seq:
            continue
        found += ask(connection, window, rank)
        if sum(event[2]["seq"] == window.first_seq for event in found) >= limit:
            break  # events of later ranks follow all of these
    found.sort(key=lambda event: (event[2]["seq"], event[0], event[1]))
    for _, _, row in found:
        row["observed_at"] = times[row["seq"]]
    return found[:limit]


def _observations(connection: sa.Connection, window: _Window, rank: int) -> Iterator[_Event]:
    o = observations.c
    query = sa.select(
        o.seq, o.seq.label("event_key"), _named("observation"), *(o[n] for n in OBSERVATION_FIELDS)
    )
    return window.rows(connection, rank, query.where(o.source_id == window.source_id), o.seq, o.seq)


def _gaps(connection: sa.Connection, window: _Window, rank: int) -> Iterator[_Event]:
    g = gaps.c
    query = sa.select(
        g.until_seq.label("seq"),
        g.until_seq.label("event_key"),
        _named("gap"),
        g.from_at,
        g.until_at,
        g.cause,
        g.error,
        g.failed_polls,
    )
    query = query.where(g.source_id == window.source_id)
    for rank_, key, row in window.rows(connection, rank, query, g.until_seq, g.until_seq):
        yield rank_, key, row | {"seconds": (row["until_at"] - row["from_at"]).total_seconds()}


def _transitions(entity: str) -> Any:
    def ask(connection: sa.Connection, window: _Window, rank: int) -> Iterator[_Event]:
        t = state_transitions.c
        # By time, which has an index, though seq says the same.
        query = selected(connection, TransitionFilter(entity=entity)).where(
            t.source_id == window.source_id, t.observed_at.between(window.first_at, window.last_at)
        )
        query = query.add_columns(t.entity_id.label("event_key"), _named("transition"))
        for rank_, key, row in window.rows(connection, rank, query, t.seq, t.entity_id):
            del row["source"]
            yield rank_, key, with_reference(row)

    return ask


def _versions(kind: Kind) -> Any:
    """What an entity is from now on, and which fields differ from before."""
    table = VERSIONS[kind]
    own = table.c[f"{kind}_id"]

    def ask(connection: sa.Connection, window: _Window, rank: int) -> Iterator[_Event]:
        v, (before, is_before) = table.c, version_before(kind)
        query = (
            sa.select(
                v.seq,
                own.label("event_key"),
                _named("version"),
                sa.literal(kind).label("entity"),
                own.label("entity_id"),
                v.not_before,
                v.basis,
                v.changed_fields,
                *(v[name].label(f"new_{name}") for name in TYPED[kind]),
                *(before.c[name].label(f"old_{name}") for name in TYPED[kind]),
            )
            .select_from(table)
            .outerjoin(before, is_before)
            .where(v.source_id == window.source_id, v.valid_from.between(window.first_at, window.last_at))
        )
        for rank_, key, row in window.rows(connection, rank, query, v.seq, own):
            values = {n: row.pop(n) for n in list(row) if n.startswith(("old_", "new_"))}
            changes = [
                {"field": name, "old": values[f"old_{name}"], "new": values[f"new_{name}"]}
                for name in row.pop("changed_fields") or ()
                if name in TYPED[kind]
            ]
            yield rank_, key, row | {"changes": changes}

    return ask


def _gone(connection: sa.Connection, window: _Window, rank: int) -> Iterator[_Event]:
    """Metrics databases that are there no more; of regions and keystones a transition says so."""
    v, n, o = metrics_database_versions.c, metrics_database_versions.alias("n").c, observations.c
    follows = sa.exists().where(
        n.source_id == v.source_id,
        n.metrics_database_id == v.metrics_database_id,
        n.valid_from == v.valid_to,
    )
    query = (
        sa.select(
            o.seq,
            v.metrics_database_id.label("event_key"),
            _named("gone"),
            sa.literal("metrics_database").label("entity"),
            v.metrics_database_id.label("entity_id"),
        )
        .join(observations, (o.source_id == v.source_id) & (o.first_at == v.valid_to))
        .where(v.source_id == window.source_id, v.valid_to.is_not(None), ~follows)
    )
    query = query.where(v.valid_to.between(window.first_at, window.last_at))
    return window.rows(connection, rank, query, o.seq, v.metrics_database_id)


def _unseen(event: str, entity: str) -> Any:
    def ask(connection: sa.Connection, window: _Window, rank: int) -> Iterator[_Event]:
        u = unseen.c
        seq = u.missed_seq if event == "unseen" else u.until_seq
        ended = () if event == "unseen" else (u.until_at,)
        query = sa.select(
            seq.label("seq"),
            u.entity_id.label("event_key"),
            _named(event),
            u.entity,
            u.entity_id,
            u.from_at,
            *ended,
            u.cause,
        ).where(u.source_id == window.source_id, u.entity == entity)
        return window.rows(connection, rank, query, seq, u.entity_id)

    return ask


def _rejected(connection: sa.Connection, window: _Window, rank: int) -> Iterator[_Event]:
    r = rejected_records.c
    query = sa.select(
        r.seq, r.position.label("event_key"), _named("rejected"), r.position, r.region_id, r.reason
    )
    return window.rows(connection, rank, query.where(r.source_id == window.source_id), r.seq, r.position)


def _drift(connection: sa.Connection, window: _Window, rank: int) -> Iterator[_Event]:
    """Counted by path, kind and detail, which databases sort in ways of their own: so they are sorted here."""
    d, after = schema_drift.c, window.after
    query = sa.select(d.seq, _named("drift"), d.path, d.kind, d.detail).where(
        d.source_id == window.source_id, d.seq.between(window.first_seq, window.last_seq)
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    rows.sort(key=lambda row: (row["seq"], row["path"], row["kind"], row["detail"]))
    place, of = 0, 0
    for row in rows:
        place, of = (place + 1 if row["seq"] == of else 1), row["seq"]
        if after.ordinal is None or (row["seq"], rank, place) > (after.seq, after.rank, after.key):
            yield rank, place, row


def _named(event: str) -> Any:
    return sa.literal(event).label("event")


_RANKS: tuple[Any, ...] = (
    _observations,
    _gaps,
    _transitions("region"),
    _transitions("keystone"),
    _versions("region"),
    _versions("keystone"),
    _versions("metrics_database"),
    _gone,
    *(_unseen(event, kind) for event in ("unseen", "shown") for kind in VERSIONS),
    _rejected,
    _drift,
)
"""In this order the events of one observation are counted."""
