"""Writes one poll: one transaction, fence first.

    fence ─▶ newest row ─▶ same answer as in it? ───────────────────────yes──▶ extend it: one UPDATE
                                   │no
                                   ▼
               gather ─▶ judge ─▶ same outcome and meaning? ────────────yes──▶ extend it
                                   │no
                                   ▼
               open a row (payload, digests) ─▶ changes ─▶ apply ─▶ outbox, if there are receivers

A `held` row waits for a number of polls, so each of them is judged, even if the answer is the same. The newest row,
its meaning and what is known are remembered between polls. The fence returns the source's newest seq, which shows
whether they are still valid. So an unchanged poll takes two statements, and nothing is parsed if the bytes are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import perf_counter
from typing import TypeGuard

import sqlalchemy as sa

from collector.database.timeouts import LEASE_SECONDS
from collector.database.transactions import checkpoint, writing
from collector.errors import DatabaseError
from collector.gcore.document import LIMITS, Document, Limits
from collector.gcore.listing import listing_of
from collector.gcore.paths import Path, cleaned
from collector.gcore.reader import Reader
from collector.inventory.changes import Changes, Transition, changes, new_drift
from collector.inventory.entities import Listing
from collector.inventory.judgement import GUARD, Guard, Judgement, judge, signs_of_paging
from collector.inventory.known import Known, known_after
from collector.inventory.observation import (
    APPLIED,
    MAX_STEP_BACK,
    Answered,
    Failed,
    Observation,
    Observer,
    Outcome,
    Poll,
)
from collector.store import amendments, observations, outbox, payloads
from collector.store.apply import apply
from collector.store.gather import gather
from collector.store.lease import Lease, fence
from collector.store.redacting import rules_of

assert timedelta(seconds=LEASE_SECONDS) <= MAX_STEP_BACK  # noqa: S101 - a lease may last as long


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a poll left in the database."""

    seq: int
    outcome: Outcome
    head: str
    """The newest opening digest."""
    polls: int
    """Number of polls in the stretch, including this one. 1: the poll opened a row."""
    listed: int | None
    """Number of records in the answer; None for a failed poll."""
    changes: Changes = field(default_factory=Changes)
    """What the poll changed."""
    missing: frozenset[int] = frozenset()
    """Regions that were present and are not listed; empty for an `ok` answer that is repeated."""
    paging: str | None = None
    """What makes the answer look like one page of several."""
    rejected: int = 0
    """Number of records in the answer that can't be used."""
    failure: Failed | None = None
    """Why the poll counts as failed."""
    decide_seconds: float = 0.0
    """Seconds to gather, judge and decide; 0: the answer was the same."""

    @property
    def transitions(self) -> tuple[Transition, ...]:
        return self.changes.transitions


@dataclass(frozen=True, slots=True)
class _Memory:
    """The newest row as this writer left it, its answer, and what is known."""

    row: Observation | None = None
    body_hash: bytes | None = None
    listing: Listing | None = None
    known: Known | None = None
    """As it was after the last applied observation."""
    stored: payloads.Stored | None = None
    """The newest stored answer."""

    def known_to(self, observer: Observer) -> Known | None:
        """What was known after the last applied observation, if it is remembered for the same key and URL."""
        applied = self.known.applied if self.known else None
        return self.known if applied is not None and applied.observer.access == observer.access else None


class Writer:
    """Writes the polls of one source, as long as the lease lasts. For one thread at a time."""

    def __init__(
        self,
        engine: sa.Engine,
        lease: Lease,
        guard: Guard = GUARD,
        limits: Limits = LIMITS,
        announce: outbox.Announce | None = None,
    ) -> None:
        """`announce`: returns an observation's events for receivers; None: there are no receivers."""
        self.engine = engine
        self.lease = lease
        self.reader = Reader(limits)
        """Reads the source's answers, and remembers their records."""
        self._guard = guard
        self._announce = announce
        self._memory: _Memory | None = None
        self._after: _Memory | None = None
        self._understood: tuple[Document, Listing] | None = None
        """The last answer, and its meaning."""
        self._amendment: amendments.Amendment | None = None
        """The newest prune or redaction."""
        self._rules: tuple[Path, ...] = ()
        """Paths that are redacted in every answer before anything else."""
        self._corrections = 0
        """Number of rebuilds that corrected derived rows, when this writer last read them."""
        self._unconfirmed: tuple[Poll, Observation] | None = None
        """A poll whose commit may have succeeded without a confirmation, and the row as it left it."""

    def remembers(self, body_hash: bytes, observer: Observer) -> bool:
        """True if this observer got the same bytes at the newest poll and that poll was `ok`."""
        memory = self._memory
        return (
            memory is not None
            and memory.row is not None
            and memory.body_hash == body_hash
            and memory.row.outcome == "ok"
            and memory.row.observer == observer
        )

    def repeat(self, poll: Poll, body_hash: bytes) -> Recorded | None:
        """Record an answer whose bytes are those of the last one, without reading them.

        Returns None, with nothing written, if that is not certain.
        """
        memory = self._memory
        if memory is None or memory.listing is None or not self.remembers(body_hash, poll.observer):
            return None
        before = memory.row
        timed = poll.after(before)
        is_other = signs_of_paging(poll, memory.listing) or timed.may_precede(before)
        if before is None or is_other or not before.is_continued_by(timed):
            return None
        with self._transaction(poll) as (connection, found):
            if found is memory:
                return self._extend(connection, memory, timed.of_an_answer())
        return None

    def record(self, poll: Poll, document: Document, body_hash: bytes, recorded_at: datetime) -> Recorded:
        """Record a usable answer.

        An answer that may be older than the last applied one is recorded as a failure.
        """
        rules = self._rules
        document, listing = self._understand(document)
        with self._transaction(poll) as (connection, memory):
            if self._rules is not rules:  # one was added a moment ago
                document, listing = self._understand(document)
            paging = signs_of_paging(poll, listing)
            before = memory.row
            if self._is_recorded(before, poll):
                return _recorded(before)
            timed = poll.after(before)
            if timed.may_precede(self._applied(connection, before) if timed.age else None):
                return self._write_failure(connection, memory, timed, _stale(timed.age), recorded_at)
            timed = timed.of_an_answer()
            continued = before if before is not None and before.is_continued_by(timed) else None
            if continued and continued.paging != paging:
                continued = None
            answered = replace(memory, body_hash=body_hash, listing=listing)
            is_same_answer = continued is not None and continued.payload == document.address
            if is_same_answer and continued is not None and continued.outcome != "held":
                return self._extend(connection, answered, timed)
            seq = before.seq + 1 if before else 1
            began = perf_counter()
            remembered = memory.known_to(poll.observer)
            known = gather(connection, self.lease.source_id, seq, poll.observer, listing, remembered, before)
            judgement = self._judge(connection, listing, known, poll.observer, paging)
            deciding = perf_counter() - began
            if continued and continued.outcome == judgement.outcome:
                if is_same_answer:
                    return self._extend(connection, answered, timed, decide_seconds=deciding)
                said = memory.listing or self._said(connection, continued)
                is_young = continued.is_varied_by(timed)
                if is_young and listing.says_the_same_as(said) and not new_drift(listing.drift, known.drift):
                    varied = replace(memory, body_hash=None, listing=said)
                    return self._extend(connection, varied, timed, is_variant=True, decide_seconds=deciding)
            newest = known.applied.payload if known.applied else None
            stored = payloads.store(connection, self.lease.source_id, document, newest, memory.stored)
            answer = Answered(
                payload=document.address,
                listed=listing.listed,
                declared=listing.declared,
                rejected=len(listing.rejected),
                missing=judgement.missing,
                paging=paging,
            )
            now = self._open(connection, before, timed, judgement.outcome, answer, recorded_at)
            began = perf_counter()
            decided = changes(now, listing, known)
            deciding += perf_counter() - began
            apply(connection, self.lease.source_id, now, decided)
            if self._announce is not None:
                told = self._announce(connection, self.lease.source, now.seq, known.applied is None)
                outbox.queue(connection, self.lease.source_id, told, recorded_at)
            self._after = _Memory(now, body_hash, listing, known_after(known, now, listing, decided), stored)
            return replace(_recorded(now, listing, decided), decide_seconds=deciding)

    def _understand(self, document: Document) -> tuple[Document, Listing]:
        """What the redaction rules leave of an answer, and its meaning."""
        document = cleaned(document, self._rules) if self._rules else document
        listing = listing_of(document, self._understood)
        self._understood = document, listing
        return document, listing

    def record_failure(self, poll: Poll, failure: Failed, recorded_at: datetime) -> Recorded:
        """Record that there was no usable answer."""
        with self._transaction(poll) as (connection, memory):
            if self._is_recorded(memory.row, poll):
                return _recorded(memory.row)
            timed = replace(poll.after(memory.row), age=timedelta(0))
            return self._write_failure(connection, memory, timed, failure, recorded_at)

    def _write_failure(
        self,
        connection: sa.Connection,
        memory: _Memory,
        timed: Poll,
        failure: Failed,
        recorded_at: datetime,
    ) -> Recorded:
        before = memory.row
        without_answer = replace(memory, body_hash=None, listing=None)
        if before is not None and failure.equals(before) and before.is_continued_by(timed):
            return replace(self._extend(connection, without_answer, timed), failure=failure)
        row = self._open(connection, before, timed, "failed", failure, recorded_at)
        known = memory.known.with_final(before) if memory.known and before else None
        self._after = _Memory(row, known=known, stored=memory.stored)
        return replace(_recorded(row), failure=failure)

    def _open(
        self,
        connection: sa.Connection,
        before: Observation | None,
        timed: Poll,
        outcome: Outcome,
        said: Answered | Failed,
        recorded_at: datetime,
    ) -> Observation:
        amended = amendments.due(self._amendment, before.seq if before else 0)
        return observations.open_next(
            connection, self.lease, before, timed, outcome, said, recorded_at, amended
        )

    def _applied(self, connection: sa.Connection, before: Observation | None) -> Observation | None:
        if before is None or before.outcome in APPLIED:
            return before
        return observations.newest(connection, self.lease.source_id, "applied", before=before.seq)

    @contextmanager
    def _transaction(self, poll: Poll) -> Iterator[tuple[sa.Connection, _Memory]]:
        """A write transaction behind the fence, with the memory if it is still valid.

        The memory is set only after a commit: after an error it is not known what the database holds. If no
        transaction began, nothing was written, and the memory stays: if SQLite's log was lost, the next poll restores
        from it what the newest row counted.
        """
        memory, self._memory, self._after = self._memory, None, None
        with self._noticing_loss(poll):
            self._memory = memory
            with writing(self.engine) as connection:
                self._memory = None
                seq, amended, corrections = fence(connection, self.lease)
                # Not its number: a prune replaces its own amendment if no observation was added between two rounds.
                newest = amendments.newest(connection, self.lease.source_id) if amended else None
                if newest != self._amendment:
                    # After a prune or redaction, the memory may hold something that is no longer recorded.
                    found = amendments.all_of(connection, self.lease.source_id)
                    self._amendment = found[-1] if found else None
                    self._rules = rules_of(found)
                    memory = self._understood = None
                if corrections != self._corrections:
                    self._corrections = corrections
                    memory = None
                if memory is None or memory.row is None or memory.row.seq != seq:
                    memory = _Memory(observations.newest(connection, self.lease.source_id) if seq else None)
                yield connection, memory
            if self._after is not None and self._after.row is not None and self._after.row.polls == 1:
                checkpoint(self.engine)  # an unchanged poll can be retried from memory, an observation can't
        self._memory, self._unconfirmed = self._after, None

    @contextmanager
    def _noticing_loss(self, poll: Poll) -> Iterator[None]:
        """If the connection is lost, the commit may have succeeded and only its confirmation is missing."""
        try:
            yield
        except DatabaseError:
            if self._after is not None and self._after.row is not None:
                self._unconfirmed = (poll, self._after.row)
            raise

    def _is_recorded(self, before: Observation | None, poll: Poll) -> TypeGuard[Observation]:
        """True if this very poll is in the database already, because a commit without confirmation is being retried.

        The poll's times alone don't show that: they may have been moved forward, and a clock that is set back repeats
        them.
        """
        if before is None or self._unconfirmed is None:
            return False
        unconfirmed, left = self._unconfirmed
        is_as_left = (before.opening_digest, before.polls) == (left.opening_digest, left.polls)
        return unconfirmed is poll and is_as_left

    def _extend(
        self,
        connection: sa.Connection,
        memory: _Memory,
        timed: Poll,
        *,
        is_variant: bool = False,
        decide_seconds: float = 0.0,
    ) -> Recorded:
        assert memory.row is not None  # noqa: S101 - it is continued
        row = memory.row.extended(timed, is_variant=is_variant)
        observations.extend(connection, self.lease, row)
        self._after = replace(memory, row=row)
        return replace(_recorded(row, memory.listing), decide_seconds=decide_seconds)

    def _judge(
        self,
        connection: sa.Connection,
        listing: Listing,
        known: Known,
        observer: Observer,
        paging: str | None,
    ) -> Judgement:
        source_id = self.lease.source_id
        return judge(
            listing,
            known.present(listing.kind),
            observations.earlier(connection, source_id, observer),
            ever_complete=bool(listing.listed) or observations.was_ever_complete(connection, source_id),
            paging=paging,
            guard=self._guard,
        )

    def _said(self, connection: sa.Connection, row: Observation) -> Listing:
        assert row.payload is not None  # noqa: S101 - guaranteed by a constraint
        return listing_of(payloads.load(connection, self.lease.source_id, row.payload))


def _recorded(
    row: Observation,
    listing: Listing | None = None,
    decided: Changes | None = None,
) -> Recorded:
    return Recorded(
        seq=row.seq,
        outcome=row.outcome,
        head=row.opening_digest,
        polls=row.polls,
        listed=listing.listed if listing else None,
        changes=decided or Changes(),
        missing=frozenset(() if row.outcome == "ok" and row.polls > 1 else row.missing or ()),
        paging=row.paging,
        rejected=row.rejected or 0,
    )


def _stale(age: timedelta) -> Failed:
    old = timedelta(seconds=round(age.total_seconds()))
    return Failed(
        "stale",
        200,
        message=f"a cache between here and the API gave this answer, which is {old} old. It may be older than the "
        "last recorded one, so it was not applied; make the cache pass this URL through",
    )
