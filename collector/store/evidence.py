"""Observations and payloads: what was seen, and when.

A poll either extends the source's newest observation or opens the next one. `extends` decides, from what is
in the row alone; nothing is ever rewritten but the counters of the newest row.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from collector import __version__
from collector.errors import IntegrityError
from collector.gcore.document import Document, stored_document
from collector.gcore.jsontext import CANONICAL_VERSION
from collector.inventory.judgement import APPLIED, Earlier, Outcome
from collector.inventory.transitions import TICK, Look, gap_limit
from collector.store import chain
from collector.store.engine import insert_if_new
from collector.store.lease import Lease
from collector.store.tables import observations, observers, payloads, sources

VARIANT_EVIDENCE = timedelta(hours=1)
"""Answers that say the same in other words are kept as evidence at most so often."""


IMPORT = "import"
"""Scheme of the observer that stands for whoever saved the answers that are imported. It has no key."""


@dataclass(frozen=True, slots=True)
class Observer:
    """Who looks at a source."""

    key_fingerprint: str
    base_url: str
    auth_scheme: str

    @classmethod
    def of_import(cls, base_url: str) -> Observer:
        """Somebody who saved answers of this platform; with which key is not known."""
        return cls("", base_url, IMPORT)

    @property
    def is_import(self) -> bool:
        return (self.key_fingerprint, self.auth_scheme) == ("", IMPORT)

    @property
    def eyes(self) -> tuple[str, str]:
        """What decides what can be seen: the key and the URL. The scheme is only how the key is shown."""
        return self.key_fingerprint, self.base_url


@dataclass(frozen=True, slots=True)
class Times:
    """Of one poll, moved forward where the clock stepped back a little."""

    asked_at: datetime
    answered_at: datetime

    def of_an_answer(self, age: timedelta) -> Times:
        """The times of a usable answer that was as old as this: what it shows may have been so before the question."""
        return replace(self, asked_at=self.asked_at - age)


@dataclass(frozen=True, slots=True)
class Failed:
    """What makes two failures equal."""

    cause: str
    http_status: int | None
    exception_class: str | None


@dataclass(frozen=True, slots=True)
class OpenRow:
    """The newest observation of a source: what decides whether a poll extends it."""

    seq: int
    outcome: Outcome
    payload: str | None
    failed: Failed | None
    observer: Observer
    observer_id: int
    expected_interval: timedelta
    first_at: datetime
    last_at: datetime
    last_asked_at: datetime
    polls: int
    longest_interval_ms: int
    variants: int
    opening_digest: str
    paging: str | None

    def digest(self) -> str:
        """The digest that closes the row."""
        return chain.closing_digest(
            {
                "opening_digest": self.opening_digest,
                "last_asked_at": self.last_asked_at,
                "last_at": self.last_at,
                "polls": self.polls,
                "longest_interval_ms": self.longest_interval_ms,
                "variants": self.variants,
            }
        )


def extends(row: OpenRow, times: Times, observer: Observer, expected_interval: timedelta) -> bool:
    """Whether a poll of the same outcome and content continues this row's stretch. Pure."""
    return (
        row.observer == observer
        and row.expected_interval == expected_interval
        and times.answered_at - row.last_at <= gap_limit(row.expected_interval)
        and times.answered_at.date() == row.last_at.date() == row.first_at.date()
    )


def forward(asked_at: datetime, answered_at: datetime, row: OpenRow | None) -> Times:
    """Within a source time only moves forward: an answer comes at least one tick after the one before.

    When it was asked for stays as the clock had it: later would narrow windows that begin there.
    """
    if row is not None:
        answered_at = max(answered_at, row.last_at + TICK)
    return Times(asked_at, max(answered_at, asked_at))


def newest(connection: sa.Connection, source_id: int) -> OpenRow | None:
    """The newest observation of a source, or None before the first."""
    o, who = observations.c, observers.c
    row = connection.execute(
        sa.select(observations, who.key_fingerprint, who.base_url, who.auth_scheme)
        .join(observers, (who.source_id == o.source_id) & (who.id == o.observer_id))
        .where(o.source_id == source_id)
        .order_by(o.seq.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return OpenRow(
        seq=row.seq,
        outcome=row.outcome,
        payload=row.payload,
        failed=Failed(row.cause, row.http_status, row.exception_class) if row.cause else None,
        observer=Observer(row.key_fingerprint, row.base_url, row.auth_scheme),
        observer_id=row.observer_id,
        expected_interval=timedelta(milliseconds=row.expected_interval_ms),
        first_at=row.first_at,
        last_at=row.last_at,
        last_asked_at=row.last_asked_at,
        polls=row.polls,
        longest_interval_ms=row.longest_interval_ms,
        variants=row.variants,
        opening_digest=row.opening_digest,
        paging=row.paging,
    )


def extend(connection: sa.Connection, lease: Lease, row: OpenRow, times: Times, *, variant: bool) -> OpenRow:
    """One poll more in the stretch: one UPDATE. Returns the row as it is now."""
    since_last = (times.answered_at - row.last_at) // timedelta(milliseconds=1)
    changed: dict[str, Any] = {
        "last_at": times.answered_at,
        "last_asked_at": times.asked_at,
        "polls": row.polls + 1,
        "longest_interval_ms": max(row.longest_interval_ms, since_last),
        "variants": row.variants + variant,
    }
    connection.execute(
        sa.update(observations)
        .where(observations.c.source_id == lease.source_id, observations.c.seq == row.seq)
        .values(**changed)
    )
    return replace(row, **changed)


@dataclass(frozen=True, slots=True)
class NewRow:
    """What a poll that opens an observation has to say."""

    outcome: Outcome
    times: Times
    observer: Observer
    expected_interval: timedelta
    recorded_at: datetime
    clock_offset: timedelta | None
    document: Document | None = None
    listed: int | None = None
    declared: int | None = None
    rejected: int | None = None
    missing: frozenset[int] = frozenset()
    failed: Failed | None = None
    message: str | None = None
    request_id: str | None = None
    paging: str | None = None
    age: timedelta = timedelta(0)


def open_row(connection: sa.Connection, lease: Lease, before: OpenRow | None, new: NewRow) -> OpenRow:
    """Close the newest observation and open the next one. Returns the new row."""
    source_id = lease.source_id
    previous_digest = chain.GENESIS
    if before is not None:
        previous_digest = before.digest()
        connection.execute(
            sa.update(observations)
            .where(observations.c.source_id == source_id, observations.c.seq == before.seq)
            .values(digest=previous_digest)
        )
    if new.document is not None:
        _store(connection, source_id, new.document)
    failed = new.failed
    row: dict[str, Any] = {
        "source_id": source_id,
        "seq": before.seq + 1 if before else 1,
        "outcome": new.outcome,
        "first_at": new.times.answered_at,
        "last_at": new.times.answered_at,
        "polls": 1,
        "listed": new.listed,
        "declared": new.declared,
        "rejected": new.rejected,
        "missing": tuple(sorted(new.missing)) or None,
        "variants": 0,
        "cause": failed and failed.cause,
        "http_status": failed and failed.http_status,
        "exception_class": failed and failed.exception_class,
        "message": new.message,
        "request_id": new.request_id,
        "first_asked_at": new.times.asked_at,
        "last_asked_at": new.times.asked_at,
        "expected_interval_ms": new.expected_interval // timedelta(milliseconds=1),
        "longest_interval_ms": 0,
        "clock_offset_ms": None
        if new.clock_offset is None
        else new.clock_offset // timedelta(milliseconds=1),
        "payload": new.document.address if new.document else None,
        "observer_id": _observer_id(connection, source_id, new.observer, new.times.asked_at, before),
        "collector_version": __version__,
        "recorded_at": new.recorded_at,
        "previous_digest": previous_digest,
        "paging": new.paging,
        "age_ms": new.age // timedelta(milliseconds=1) or None,
    }
    who = {name: getattr(new.observer, name) for name in chain.OBSERVER}
    row["opening_digest"] = chain.opening_digest(lease.source, row, who)
    connection.execute(sa.insert(observations), row)
    connection.execute(sa.update(sources).where(sources.c.id == source_id).values(newest_seq=row["seq"]))
    return OpenRow(
        seq=row["seq"],
        outcome=new.outcome,
        payload=row["payload"],
        failed=failed,
        observer=new.observer,
        observer_id=row["observer_id"],
        expected_interval=new.expected_interval,
        first_at=row["first_at"],
        last_at=row["last_at"],
        last_asked_at=row["last_asked_at"],
        polls=1,
        longest_interval_ms=0,
        variants=0,
        opening_digest=row["opening_digest"],
        paging=new.paging,
    )


def _observer_id(
    connection: sa.Connection, source_id: int, observer: Observer, at: datetime, before: OpenRow | None
) -> int:
    if before is not None and before.observer == observer:
        return before.observer_id
    who = {name: getattr(observer, name) for name in chain.OBSERVER}
    known = connection.execute(
        sa.select(observers).where(observers.c.source_id == source_id).order_by(observers.c.id)
    ).all()
    for row in known:
        if all(getattr(row, name) == value for name, value in who.items()):
            return int(row.id)
    observer_id = len(known) + 1
    connection.execute(
        sa.insert(observers), {"source_id": source_id, "id": observer_id, "first_used_at": at, **who}
    )
    return observer_id


def _store(connection: sa.Connection, source_id: int, document: Document) -> None:
    there = sa.select(payloads.c.address).where(
        payloads.c.source_id == source_id, payloads.c.address == document.address
    )
    if connection.scalar(there) is not None:
        return
    canonical = document.canonical()
    body = zlib.compress(canonical, 6)
    row = {
        "source_id": source_id,
        "address": document.address,
        "canonical_version": CANONICAL_VERSION,
        "size": len(canonical),
        "compressed_size": len(body),
        "body": body,
    }
    insert_if_new(connection, payloads, [row])


def load(connection: sa.Connection, source_id: int, address: str) -> Document:
    """A stored answer. Raises IntegrityError where it does not match its address."""
    body = connection.scalar(
        sa.select(payloads.c.body).where(payloads.c.source_id == source_id, payloads.c.address == address)
    )
    try:
        document = stored_document(zlib.decompress(body or b""))
    except (ValueError, TypeError, KeyError, zlib.error):
        raise IntegrityError(f"payload {address} of source {source_id} can't be read") from None
    if document.address != address:
        raise IntegrityError(f"payload {address} of source {source_id} has the content of {document.address}")
    return document


# Looking back


def look(connection: sa.Connection, source_id: int, seq: int) -> Look:
    """An earlier observation, as windows need it."""
    row = connection.execute(
        _look_columns().where(observations.c.source_id == source_id, observations.c.seq == seq)
    ).one()
    return _look(row)


def newest_applied_before(connection: sa.Connection, source_id: int, seq: int) -> Look | None:
    """The last observation before `seq` whose records were applied."""
    row = connection.execute(
        _look_columns()
        .where(
            observations.c.source_id == source_id,
            observations.c.seq < seq,
            observations.c.outcome.in_(APPLIED),
        )
        .order_by(observations.c.seq.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _look(row)


def newest_base_url(connection: sa.Connection, source_id: int) -> str | None:
    """Where the newest answer that was applied came from."""
    o, who = observations.c, observers.c
    return connection.scalar(
        sa.select(who.base_url)
        .join(observations, (who.source_id == o.source_id) & (who.id == o.observer_id))
        .where(o.source_id == source_id, o.outcome.in_(APPLIED))
        .order_by(o.seq.desc())
        .limit(1)
    )


def first_own_poll(connection: sa.Connection, source_id: int) -> datetime | None:
    """When a source was first polled, rather than imported; None: never. An import records no failures."""
    o, who = observations.c, observers.c
    is_import = (who.key_fingerprint == "") & (who.auth_scheme == IMPORT) & (o.outcome != "failed")
    return connection.scalar(
        sa.select(o.first_at)
        .join(observers, (who.source_id == o.source_id) & (who.id == o.observer_id))
        .where(o.source_id == source_id, ~is_import)
        .order_by(o.seq)
        .limit(1)
    )


@dataclass(frozen=True, slots=True)
class Stretch:
    """When an answer was seen, and which."""

    first_at: datetime
    last_at: datetime
    payload: str


def stretches(connection: sa.Connection, source_id: int) -> list[Stretch]:
    """All observations of a source that have an answer, oldest first."""
    o = observations.c
    query = sa.select(o.first_at, o.last_at, o.payload).where(
        o.source_id == source_id, o.payload.is_not(None)
    )
    return [Stretch(*row) for row in connection.execute(query.order_by(o.seq))]


def earlier(connection: sa.Connection, source_id: int, observer: Observer) -> Iterator[Earlier]:
    """All observations of a source, newest first, read only as far as the caller goes.

    `observer`: who looks now.
    """
    o, who = observations.c, observers.c
    below: int | None = None
    while True:
        rows = connection.execute(
            sa.select(o.seq, o.outcome, o.missing, o.polls, who.key_fingerprint, who.base_url)
            .join(observers, (who.source_id == o.source_id) & (who.id == o.observer_id))
            .where(o.source_id == source_id, *([] if below is None else [o.seq < below]))
            .order_by(o.seq.desc())
            .limit(50)
        ).all()
        for row in rows:
            same_eyes = (row.key_fingerprint, row.base_url) == observer.eyes
            yield Earlier(row.outcome, frozenset(row.missing or ()), row.polls, same_eyes)
        if not rows:
            return
        below = rows[-1].seq


def _look_columns() -> sa.Select[Any]:
    o, who = observations.c, observers.c
    return sa.select(
        o.seq,
        o.outcome,
        o.first_at,
        o.last_at,
        o.last_asked_at,
        o.expected_interval_ms,
        who.key_fingerprint,
        who.base_url,
    ).join(observers, (who.source_id == o.source_id) & (who.id == o.observer_id))


def _look(row: sa.Row[Any]) -> Look:
    return Look(
        seq=row.seq,
        outcome=row.outcome,
        first_at=row.first_at,
        last_at=row.last_at,
        last_asked_at=row.last_asked_at,
        expected_interval=timedelta(milliseconds=row.expected_interval_ms),
        eyes=(row.key_fingerprint, row.base_url),
    )
