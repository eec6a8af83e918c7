"""Writing one poll: one transaction, fence first.

    fence ─▶ newest row ─▶ same outcome and content? ──yes──▶ extend it: one UPDATE
                                   │no
                                   ▼
             known regions ─▶ judge ─▶ open a row (payload, digests) ─▶ derive

The newest row is remembered between polls; the fence tells whether it is still the newest. So an unchanged
poll is two statements, and where even the bytes are equal nothing is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeGuard

import sqlalchemy as sa

from collector.errors import ClockError, DatabaseError
from collector.gcore.client import Exchange, Failure
from collector.gcore.document import Document
from collector.gcore.listing import listing_of
from collector.inventory.entities import Listing
from collector.inventory.judgement import APPLIED, GUARD, Guard, Judgement, Outcome, judge
from collector.inventory.transitions import Look, Transition
from collector.store import evidence
from collector.store.derive import Derived, at_insert, derive, known_of
from collector.store.engine import LEASE_SECONDS, checkpoint, writing
from collector.store.evidence import Failed, NewRow, Observer, OpenRow, Times
from collector.store.findings import new_drift
from collector.store.lease import Lease, fence
from collector.store.tables import observations

MAX_CLOCK_OFFSET = timedelta(hours=1)
MAX_PAGING = 300
"""Characters that are kept of what makes an answer look like a page."""


@dataclass(frozen=True, slots=True)
class Poll:
    """What the writer needs to know of a poll, whatever was answered."""

    exchange: Exchange
    observer: Observer
    expected_interval: timedelta
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a poll left in the database."""

    seq: int
    outcome: Outcome
    head: str
    """The newest opening digest."""
    polls: int
    """Polls of the stretch, this one included; 1: the poll opened a row."""
    listed: int | None
    """Number of records in the answer; None of a failed poll."""
    derived: Derived
    """What the poll changed."""
    missing: frozenset[int] = frozenset()
    """Regions that were present and are not listed."""
    paging: str | None = None
    """What makes the answer look like one page of several."""
    refused: Failure | None = None
    """Why a usable answer was recorded as a failed poll."""

    @property
    def transitions(self) -> tuple[Transition, ...]:
        return self.derived.transitions


@dataclass(frozen=True, slots=True)
class _Memory:
    """The newest row as this writer left it, and the answer that stands in it."""

    row: OpenRow
    body_hash: bytes | None = None
    listing: Listing | None = None


class Writer:
    """Writes the polls of one source, as long as the lease lasts. For one thread at a time."""

    def __init__(self, engine: sa.Engine, lease: Lease, guard: Guard = GUARD) -> None:
        self.engine = engine
        self.lease = lease
        self._guard = guard
        self._memory: _Memory | None = None
        self._after: _Memory | None = None
        self._doubt: tuple[Exchange, OpenRow] | None = None
        """A poll whose commit may have come through without our being told, and the row as it left it."""

    def remembers(self, body_hash: bytes, observer: Observer) -> bool:
        """Whether these are the bytes that this observer got at the newest poll, and all was well."""
        memory = self._memory
        return (
            memory is not None
            and memory.body_hash == body_hash
            and memory.row.outcome == "ok"
            and memory.row.observer == observer
        )

    def repeat(self, poll: Poll, body_hash: bytes) -> Recorded | None:
        """Record an answer whose bytes are those of the last one, without reading them.

        Returns None, with nothing written, where it can't be told that they are.
        """
        memory = self._memory
        if memory is None or not self.remembers(body_hash, poll.observer):
            return None
        times = _times(poll, memory.row).of_an_answer(poll.exchange.age)
        is_page = memory.listing is None or _signs_of_paging(poll.exchange, memory.listing)
        if is_page or _is_stale(poll, memory.row) or not _continues(memory.row, times, poll):
            return None
        with self._transaction(poll) as (connection, before, _):
            if before is memory.row:
                return self._extend(connection, memory, times)
        return None

    def record(self, poll: Poll, document: Document, body_hash: bytes) -> Recorded:
        """Record a usable answer; one that may be older than the last one that was applied as a failure."""
        listing = listing_of(document)
        paging = _signs_of_paging(poll.exchange, listing)
        answer = (body_hash, listing)
        with self._transaction(poll) as (connection, before, remembered):
            if self._is_recorded(before, poll):
                return _recorded(before)
            times = _times(poll, before)
            if poll.exchange.age and _is_stale(poll, self._newest_applied(connection, before)):
                return self._write_failure(connection, before, poll, times, _stale(poll), poll.exchange.age)
            times = times.of_an_answer(poll.exchange.age)
            continued = before if before is not None and _continues(before, times, poll) else None
            if continued and continued.paging != paging:
                continued = None
            if continued and continued.payload == document.address and continued.outcome != "held":
                return self._extend(connection, _Memory(continued, *answer), times)
            known = known_of(connection, self.lease.source_id, "region")
            present = {k.id: k.state for k in known.values() if k.present}
            judgement = self._judge(connection, listing, present, poll.observer, paging)
            if continued and continued.outcome == judgement.outcome:
                if continued.payload == document.address:
                    same_again = _Memory(continued, *answer)
                    return self._extend(connection, same_again, times, missing=judgement.missing)
                said = remembered or self._said(connection, continued)
                young = times.answered_at - continued.first_at < evidence.VARIANT_EVIDENCE
                same = young and listing.says_the_same_as(said)
                if same and not new_drift(connection, self.lease.source_id, listing):
                    return self._extend(
                        connection, _Memory(continued, None, said), times, True, judgement.missing
                    )
            new = NewRow(
                outcome=judgement.outcome,
                times=times,
                observer=poll.observer,
                expected_interval=poll.expected_interval,
                recorded_at=poll.recorded_at,
                clock_offset=poll.exchange.clock_offset,
                document=document,
                listed=listing.listed,
                declared=listing.declared,
                rejected=len(listing.rejected),
                missing=judgement.missing,
                paging=paging,
                age=poll.exchange.age,
            )
            row = evidence.open_row(connection, self.lease, before, new)
            derived = derive(connection, self.lease.source_id, at_insert(row), listing, known)
            self._after = _Memory(row, *answer)
            return _recorded(row, listing, derived, judgement.missing)

    def record_failure(self, poll: Poll, failure: Failure) -> Recorded:
        """Record that there was no usable answer. Failures are equal by cause, status and class."""
        with self._transaction(poll) as (connection, before, _):
            if self._is_recorded(before, poll):
                return _recorded(before)
            return self._write_failure(connection, before, poll, _times(poll, before), failure)

    def _write_failure(
        self,
        connection: sa.Connection,
        before: OpenRow | None,
        poll: Poll,
        times: Times,
        failure: Failure,
        age: timedelta = timedelta(0),
    ) -> Recorded:
        failed = Failed(failure.cause, failure.http_status, failure.exception_class)
        if before and before.failed == failed and _continues(before, times, poll):
            return replace(self._extend(connection, _Memory(before), times), refused=failure)
        new = NewRow(
            outcome="failed",
            times=times,
            observer=poll.observer,
            expected_interval=poll.expected_interval,
            recorded_at=poll.recorded_at,
            clock_offset=poll.exchange.clock_offset,
            failed=failed,
            message=failure.message,
            request_id=failure.request_id,
            age=age,
        )
        row = evidence.open_row(connection, self.lease, before, new)
        self._after = _Memory(row)
        return replace(_recorded(row), refused=failure)

    def _newest_applied(self, connection: sa.Connection, before: OpenRow | None) -> OpenRow | Look | None:
        if before is None or before.outcome in APPLIED:
            return before
        return evidence.newest_applied_before(connection, self.lease.source_id, before.seq)

    @contextmanager
    def _transaction(self, poll: Poll) -> Iterator[tuple[sa.Connection, OpenRow | None, Listing | None]]:
        """A write transaction behind the fence; yields also the newest row and what it says, if remembered.

        Only a commit lets anything be remembered: after an error it is not known what the database holds.
        """
        memory, self._memory, self._after = self._memory, None, None
        with self._noticing_loss(poll), writing(self.engine) as connection:
            seq = fence(connection, self.lease)
            if memory is None or memory.row.seq != seq:
                row = evidence.newest(connection, self.lease.source_id) if seq else None
                yield connection, row, None
            else:
                yield connection, memory.row, memory.listing
        self._memory, self._doubt = self._after, None
        if self._after is not None and self._after.row.polls == 1:
            checkpoint(self.engine)  # an unchanged poll can be made good from memory, an observation can't

    @contextmanager
    def _noticing_loss(self, poll: Poll) -> Iterator[None]:
        """Where the database went away, perhaps the commit had come through and only its confirmation was lost."""
        try:
            yield
        except DatabaseError:
            if self._after is not None:
                self._doubt = (poll.exchange, self._after.row)
            raise

    def _is_recorded(self, before: OpenRow | None, poll: Poll) -> TypeGuard[OpenRow]:
        """Whether this very poll is in the database already: a commit whose confirmation got lost is tried again.

        Its times don't tell: they may have been moved forward, and a clock that steps back shows them twice.
        """
        if before is None or self._doubt is None:
            return False
        exchange, left = self._doubt
        is_as_left = (before.opening_digest, before.polls) == (left.opening_digest, left.polls)
        return exchange is poll.exchange and is_as_left

    def _extend(
        self,
        connection: sa.Connection,
        memory: _Memory,
        times: Times,
        variant: bool = False,
        missing: frozenset[int] = frozenset(),
    ) -> Recorded:
        row = evidence.extend(connection, self.lease, memory.row, times, variant=variant)
        self._after = _Memory(row, memory.body_hash, memory.listing)
        return _recorded(row, memory.listing, missing=missing)

    def _judge(
        self,
        connection: sa.Connection,
        listing: Listing,
        present: Mapping[int, str | None],
        observer: Observer,
        paging: str | None,
    ) -> Judgement:
        o = observations.c
        ever_complete = bool(listing.listed) or connection.scalar(
            sa.select(sa.exists().where(o.source_id == self.lease.source_id, o.outcome == "ok"))
        )
        return judge(
            listing,
            present,
            evidence.earlier(connection, self.lease.source_id, observer),
            ever_complete=bool(ever_complete),
            paging=paging,
            guard=self._guard,
        )

    def _said(self, connection: sa.Connection, row: OpenRow) -> Listing:
        assert row.payload is not None  # noqa: S101 - a constraint: every answer has its payload
        return listing_of(evidence.load(connection, self.lease.source_id, row.payload))


def _continues(row: OpenRow, times: Times, poll: Poll) -> bool:
    return evidence.extends(row, times, poll.observer, poll.expected_interval)


def _recorded(
    row: OpenRow,
    listing: Listing | None = None,
    derived: Derived | None = None,
    missing: frozenset[int] = frozenset(),
) -> Recorded:
    return Recorded(
        seq=row.seq,
        outcome=row.outcome,
        head=row.opening_digest,
        polls=row.polls,
        listed=listing.listed if listing else None,
        derived=derived or Derived(),
        missing=missing,
        paging=row.paging,
    )


def _signs_of_paging(exchange: Exchange, listing: Listing) -> str | None:
    """What makes an answer look like one page of several, as it is kept: in its members, and in its headers."""
    signs = [*listing.paging, *exchange.paging]
    if exchange.total not in (None, listing.listed):
        signs.append("header x-total-count")
    return ", ".join(signs)[:MAX_PAGING] or None


def _is_stale(poll: Poll, applied: OpenRow | Look | None) -> bool:
    """Whether a cache gave this answer, and what it shows may have been so before the last answer that was applied."""
    exchange = poll.exchange
    return bool(exchange.age) and applied is not None and exchange.asked_at - exchange.age < applied.last_at


def _stale(poll: Poll) -> Failure:
    age = timedelta(seconds=round(poll.exchange.age.total_seconds()))
    return Failure(
        poll.exchange,
        "stale",
        f"a cache between here and the API gave this answer, which is {age} old: older perhaps than the last one "
        "that was recorded, so it was not applied; let this URL bypass the cache",
        200,
    )


def _times(poll: Poll, before: OpenRow | None) -> Times:
    """The poll's times, moved forward a little where needed. Raises ClockError beyond that."""
    asked_at, answered_at = poll.exchange.asked_at, poll.exchange.answered_at
    offset = poll.exchange.clock_offset
    if offset is not None and abs(offset) > MAX_CLOCK_OFFSET:
        raise ClockError(
            f"this machine's clock differs by {abs(offset)} from that of the API; "
            "the poll was not written; set the clock (is NTP running?)"
        )
    if answered_at - asked_at > MAX_CLOCK_OFFSET and not poll.observer.is_import:
        raise ClockError(
            f"this poll took {answered_at - asked_at} by this machine's clock: it was set meanwhile, or the machine "
            "slept; the poll was not written"
        )
    if before is not None and before.last_at - answered_at > timedelta(seconds=LEASE_SECONDS):
        raise ClockError(
            f"this machine's clock says {answered_at:%Y-%m-%d %H:%M:%S} UTC, but this source was already polled "
            f"at {before.last_at:%Y-%m-%d %H:%M:%S} UTC; the poll was not written; set the clock, or, if it was "
            "wrong then and is right now, see Clocks in docs/history.md"
        )
    try:
        return evidence.forward(asked_at, answered_at, before)
    except OverflowError:
        raise ClockError("this machine's clock is at the end of time; set the clock") from None
