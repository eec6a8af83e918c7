"""One poll, start to end.

    look    key ─▶ fetch ─▶ Answer ─▶ same bytes as the last one? ──yes──▶ (nothing is parsed)
                                 │no
                                 ▼
                         read, redact ─▶ Document                     (gcore: only new records take the slow way)

    write   one transaction, its first statement is the fence                                      (store.writer)

            Document ─▶ Listing ─▶ same Document as the newest Observation? ──yes──▶ extend it
                           │no
                           ▼
            Known (gathered, or remembered) ─▶ judge ─▶ same outcome and meaning? ──yes──▶ extend it
                           │no                                                     (store.gather, inventory)
                           ▼
            Observation.opened ─▶ changes ─▶ apply                 (inventory.changes, store.apply, store.outbox)

This is the only place where the API meets the store. Metrics and logs read the value that `poll` returns; webhooks
and reports read rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import perf_counter

from collector.clock import Clock, utc_now
from collector.errors import SettingsError
from collector.gcore.document import Document
from collector.gcore.evidence import read
from collector.gcore.exchange import Answer, Exchange, Failure, Request
from collector.gcore.reader import Reader
from collector.inventory.observation import Failed, Observer, Outcome, Poll
from collector.settings.models import Source
from collector.store.writer import Recorded, Writer

Fetch = Callable[[Request], Answer | Failure]


@dataclass(frozen=True, slots=True, repr=False)
class Unread:
    """An answer with the bytes of the last one. It is read only if another writer wrote since."""

    answer: Answer
    key: str
    reader: Reader

    def read(self) -> Document | Failure:
        return read(self.answer, self.key, self.reader)


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one look at the API, not yet written."""

    poll: Poll
    said: Document | Failure | Unread
    body_hash: bytes
    fetch_seconds: float
    read_seconds: float
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one poll did, for logs and metrics."""

    source: str
    recorded: Recorded
    failure: Failed | None
    fetch_seconds: float
    read_seconds: float
    decide_seconds: float
    write_seconds: float
    """Seconds for everything after the look, except `decide_seconds`."""
    attempts: int
    """Number of requests that were sent until one was answered or time was up."""
    answered_at: datetime
    write_began_at: datetime
    """Later than `answered_at` if the database was unreachable."""

    @property
    def outcome(self) -> Outcome:
        return self.recorded.outcome


def poll(source: Source, fetch: Fetch, writer: Writer, clock: Clock = utc_now) -> PollResult:
    """Poll a source once and write the result, in one transaction.

    A failed poll is recorded and returned. Raises LeaseLostError, ClockError or DatabaseError if nothing could be
    written.
    """
    return write(source, look(source, fetch, writer, clock), writer, clock)


def look(source: Source, fetch: Fetch, writer: Writer, clock: Clock = utc_now) -> Seen:
    """Ask the API, and read its answer. Does not use the database."""
    began = perf_counter()
    try:
        key = source.key()
    except SettingsError as error:
        key, now = "", clock()
        answer: Answer | Failure = Failure(Exchange(now, now), "key", str(error))
    else:
        answer = fetch(request_of(source, key))
    fetched = perf_counter()
    observer = Observer(writer.lease.fingerprint(key) if key else "", source.base_url, source.auth_scheme)
    body_hash = answer.body_hash() if isinstance(answer, Answer) else b""
    said: Document | Failure | Unread
    if isinstance(answer, Failure):
        said = answer
    else:
        unread = Unread(answer, key, writer.reader)
        said = unread if writer.remembers(body_hash, observer) else unread.read()
    return Seen(
        poll=poll_of(answer.exchange, observer, source.interval),
        said=said,
        body_hash=body_hash,
        fetch_seconds=fetched - began,
        read_seconds=perf_counter() - fetched,
        attempts=answer.exchange.attempts,
    )


def write(source: Source, seen: Seen, writer: Writer, clock: Clock = utc_now) -> PollResult:
    """Write the result of a look, in one transaction. Raises what `poll` raises."""
    began = perf_counter()
    said, recorded_at = seen.said, clock()
    if isinstance(said, Unread):
        recorded = writer.repeat(seen.poll, seen.body_hash)
        said = said if recorded else said.read()
    if isinstance(said, Document):
        recorded = writer.record(seen.poll, said, seen.body_hash, recorded_at)
    elif isinstance(said, Failure):
        recorded = writer.record_failure(seen.poll, failed(said), recorded_at)
    assert recorded is not None  # noqa: S101 - one of the three cases applies
    return PollResult(
        source=source.name,
        recorded=recorded,
        failure=recorded.failure,
        fetch_seconds=seen.fetch_seconds,
        read_seconds=seen.read_seconds,
        decide_seconds=recorded.decide_seconds,
        write_seconds=perf_counter() - began - recorded.decide_seconds,
        attempts=seen.attempts,
        answered_at=seen.poll.answered_at,
        write_began_at=recorded_at,
    )


def request_of(source: Source, key: str) -> Request:
    """The request for a source, and the limits of the answer."""
    return Request(source.base_url, key, source.auth_scheme, source.deadline, source.max_body)


def poll_of(exchange: Exchange, observer: Observer, interval: timedelta) -> Poll:
    """When and by whom a source was asked, as far as history needs it."""
    return Poll(
        asked_at=exchange.asked_at,
        answered_at=exchange.answered_at,
        observer=observer,
        interval=interval,
        clock_offset=exchange.clock_offset,
        age=exchange.age,
        paging=exchange.paging,
        total=exchange.total,
    )


def failed(failure: Failure) -> Failed:
    """The recorded reason why there was no usable answer."""
    return Failed(
        failure.cause, failure.http_status, failure.exception_class, failure.message, failure.request_id
    )
