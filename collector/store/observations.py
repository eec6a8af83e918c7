"""Observations in the database: the only mapping between the value and its row, and queries for earlier ones.

Only the counters and the digest of the newest row are ever changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from collector import __version__
from collector.database import bulk
from collector.inventory import chain
from collector.inventory.judgement import Earlier
from collector.inventory.observation import (
    APPLIED,
    COLUMNS,
    COUNTERS,
    IMPORT,
    Answered,
    Failed,
    Observation,
    Observer,
    Outcome,
    Poll,
)
from collector.store.lease import Lease
from collector.store.tables import observations, observers, sources

_o, _who = observations.c, observers.c
_IS_OBSERVER = (_who.source_id == _o.source_id) & (_who.id == _o.observer_id)
_WHOLE = sa.select(*(_o[name] for name in COLUMNS), *(_who[name] for name in chain.OBSERVER)).join(
    observers, _IS_OBSERVER
)


def _observation(row: sa.Row[Any]) -> Observation:
    return Observation(
        **{name: getattr(row, name) for name in COLUMNS},
        observer=Observer(*(getattr(row, name) for name in chain.OBSERVER)),
    )


def newest(
    connection: sa.Connection,
    source_id: int,
    outcome: Literal["any", "applied", "ok"] = "any",
    *conditions: sa.ColumnElement[bool],
    before: int | None = None,
) -> Observation | None:
    """The newest observation of a source (with this outcome and these conditions), or the newest one before a seq."""
    query = _WHOLE.where(_o.source_id == source_id, *conditions).order_by(_o.seq.desc()).limit(1)
    if before is not None:
        query = query.where(_o.seq < before)
    if outcome != "any":
        query = query.where(_o.outcome == "ok" if outcome == "ok" else _o.outcome.in_(APPLIED))
    row = connection.execute(query).one_or_none()
    return None if row is None else _observation(row)


def by_seq(connection: sa.Connection, source_id: int, seqs: Iterable[int]) -> dict[int, Observation]:
    """Observations by their numbers."""
    wanted = sorted(set(seqs))
    found: dict[int, Observation] = {}
    for start in range(0, len(wanted), 500):
        query = _WHOLE.where(_o.source_id == source_id, _o.seq.in_(wanted[start : start + 500]))
        found |= {row.seq: _observation(row) for row in connection.execute(query)}
    return found


def applied(connection: sa.Connection, source_id: int, after: int, until: int) -> list[Observation]:
    """Observations between two numbers whose records were applied, oldest first."""
    query = _WHOLE.where(_o.source_id == source_id, _o.seq > after, _o.seq <= until, _o.payload.is_not(None))
    return [_observation(row) for row in connection.execute(query.order_by(_o.seq))]


_EXTEND = (
    sa.update(observations)
    .where(_o.source_id == sa.bindparam("source"), _o.seq == sa.bindparam("number"))
    .values({name: sa.bindparam(f"new_{name}") for name in COUNTERS})
)


def extend(connection: sa.Connection, lease: Lease, row: Observation) -> None:
    """Write the counters of the newest row after one more poll: one UPDATE."""
    counters = {f"new_{name}": getattr(row, name) for name in COUNTERS}
    connection.execute(_EXTEND, {"source": lease.source_id, "number": row.seq, **counters})


def open_next(
    connection: sa.Connection,
    lease: Lease,
    before: Observation | None,
    poll: Poll,
    outcome: Outcome,
    said: Answered | Failed,
    recorded_at: datetime,
    amended: str | None = None,
) -> Observation:
    """Close the newest observation and open the next one. The payload of an answer is already stored.

    `amended`: digest of the newest amendment, if no observation holds it yet.
    """
    source_id = lease.source_id
    observer_id = _observer_id(connection, source_id, poll, before)
    now = Observation.opened(
        lease.source,
        before,
        poll,
        observer_id,
        outcome,
        said,
        recorded_at=recorded_at,
        collector_version=__version__,
        amended=amended,
    )
    if before is not None:
        # The counters are written again: a lost write-ahead log may have lost some of them.
        closed = {name: getattr(before, name) for name in COUNTERS} | {"digest": now.previous_digest}
        row = {"source_id": source_id, "seq": before.seq, **closed}
        bulk.write_row(connection, "update", observations, row)
    bulk.write_row(connection, "insert", observations, {"source_id": source_id, **now.columns()})
    bulk.write_row(connection, "update", sources, {"id": source_id, "newest_seq": now.seq})
    return now


def _observer_id(connection: sa.Connection, source_id: int, poll: Poll, before: Observation | None) -> int:
    if before is not None and before.observer == poll.observer:
        return before.observer_id
    who = asdict(poll.observer)
    known = connection.execute(
        sa.select(observers).where(_who.source_id == source_id).order_by(_who.id)
    ).all()
    for row in known:
        if all(getattr(row, name) == value for name, value in who.items()):
            return int(row.id)
    observer_id = len(known) + 1
    new = {"source_id": source_id, "id": observer_id, "first_used_at": poll.asked_at, **who}
    connection.execute(sa.insert(observers), new)
    return observer_id


def earlier(connection: sa.Connection, source_id: int, observer: Observer) -> Iterator[Earlier]:
    """All observations of a source, newest first, read only as far as the caller goes.

    `observer`: the current one.
    """
    below: int | None = None
    while True:
        rows = connection.execute(
            sa.select(_o.seq, _o.outcome, _o.missing, _o.polls, _who.key_fingerprint, _who.base_url)
            .join(observers, _IS_OBSERVER)
            .where(_o.source_id == source_id, *([] if below is None else [_o.seq < below]))
            .order_by(_o.seq.desc())
            .limit(50)
        ).all()
        for row in rows:
            same_access = (row.key_fingerprint, row.base_url) == observer.access
            yield Earlier(row.outcome, frozenset(row.missing or ()), row.polls, same_access)
        if not rows:
            return
        below = rows[-1].seq


def was_ever_complete(connection: sa.Connection, source_id: int) -> bool:
    """True if the source ever had an answer that was judged complete."""
    found = connection.scalar(sa.select(sa.exists().where(_o.source_id == source_id, _o.outcome == "ok")))
    return bool(found)


def newest_base_url(connection: sa.Connection, source_id: int) -> str | None:
    """The base URL of the newest applied answer."""
    return connection.scalar(
        sa.select(_who.base_url)
        .join(observations, _IS_OBSERVER)
        .where(_o.source_id == source_id, _o.outcome.in_(APPLIED))
        .order_by(_o.seq.desc())
        .limit(1)
    )


def first_own_poll(connection: sa.Connection, source_id: int) -> datetime | None:
    """When a source was first polled rather than imported; None: never. An import records no failures."""
    is_import = (_who.key_fingerprint == "") & (_who.auth_scheme == IMPORT) & (_o.outcome != "failed")
    return connection.scalar(
        sa.select(_o.first_at)
        .join(observers, _IS_OBSERVER)
        .where(_o.source_id == source_id, ~is_import)
        .order_by(_o.seq)
        .limit(1)
    )


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which answer was seen, and when."""

    first_at: datetime
    last_at: datetime
    payload: str


def stretches(connection: sa.Connection, source_id: int) -> list[Stretch]:
    """All observations of a source that have an answer, oldest first."""
    query = sa.select(_o.first_at, _o.last_at, _o.payload).where(
        _o.source_id == source_id, _o.payload.is_not(None)
    )
    return [Stretch(*row) for row in connection.execute(query.order_by(_o.seq))]
