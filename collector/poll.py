"""One poll, start to end.

    look    key ─▶ fetch ─▶ same bytes as last time? ──yes──▶ (nothing to read)
                                 │no
                                 ▼
              read strictly and redact what the last answer did not hold ─▶ Document                 (gcore)
    write   Document ─▶ Listing ─▶ says what the newest Observation says? ──yes──▶ extend it      (store.writer)
                                 │no
                                 ▼
            Known (gather, or remembered) ─▶ judge ─▶ Observation.opened            (store.gather, inventory)
                                 │                           │
                                 └────────▶ changes ◀────────┘                            (inventory.changes)
                                               │
                                               ▼
                                             apply, in the same transaction     (store.apply, store.outbox)

Nothing is decided in SQL. This is the only place where the cloud meets the store. Who wants to know what happened reads
the value that comes back (metrics, logs) or the rows (webhooks, reports).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from time import perf_counter

import sqlalchemy as sa

from collector.clock import Clock, utc_now
from collector.database.transactions import reading
from collector.errors import ObserverChangedError, SettingsError
from collector.gcore.body import error_fields
from collector.gcore.document import Document, Limits, NotAListingError
from collector.gcore.exchange import Answer, Exchange, Failure, Request
from collector.gcore.jsontext import StrictJSONError, dumps
from collector.gcore.reader import Reader
from collector.gcore.redaction import scrub_message
from collector.inventory.judgement import Guard
from collector.inventory.observation import Failed, Observer, Outcome, Poll
from collector.settings import Source
from collector.store import lease, observations
from collector.store.outbox import Announce
from collector.store.rederive import rebuild
from collector.store.sources import check_rules
from collector.store.tables import DERIVATION_REVISION
from collector.store.writer import Recorded, Writer

Fetch = Callable[[Request], Answer | Failure]


@dataclass(frozen=True, slots=True, repr=False)
class Unread:
    """An answer whose bytes are those of the newest poll; read only if that turns out to be outdated."""

    answer: Answer
    key: str
    reader: Reader

    def read(self) -> Document | Failure:
        return read(self.answer, self.key, self.reader)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the cloud brought, not yet written."""

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
    """Of the transaction, without what was decided in it."""
    attempts: int
    """Requests that were sent, until one was answered or time was up."""
    answered_at: datetime
    """When the source answered,"""
    write_began_at: datetime
    """and when its answer began to be written: later, where the database was away."""

    @property
    def outcome(self) -> Outcome:
        return self.recorded.outcome


def open_writer(
    engine: sa.Engine,
    source: Source,
    owner: str,
    *,
    wait_seconds: float = 0.0,
    accept_base_url: bool = False,
    announce: Announce | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Writer:
    """Become the writer of a source; its history is derived again first, if by older rules.

    `announce`: what polls bring to receivers. `alive`: called now and then while deriving takes its time.

    Raises LeaseHeldError, ObserverChangedError (another base URL than before, and not accepted), and
    SchemaError where a newer version derived the history.
    """
    taken = lease.acquire(engine, source.name, owner, wait_seconds=wait_seconds)
    try:
        with reading(engine) as connection:
            before = observations.newest_base_url(connection, taken.source_id)
        if before not in (None, source.base_url) and not accept_base_url:
            raise ObserverChangedError(
                f"source {source.name!r} was polled at {before} and is now set to "
                f"{source.base_url}. Other platforms use the same ids for other regions: give the new one a name "
                "of its own (COLLECTOR_SOURCE), or, if it is the same platform at a new address, poll once with "
                "--accept-base-url"
            )
        check_rules(source.name, taken.derivation_revision)
        if taken.derivation_revision < DERIVATION_REVISION:
            with lease.kept(engine, taken):
                rebuild(engine, source.name, progress=lambda _done, _all: alive())
    except BaseException:
        lease.release(engine, taken)
        raise
    return Writer(engine, taken, guard_of(source), limits_of(source), announce)


@contextmanager
def writer_for_once(
    engine: sa.Engine,
    source: Source,
    owner: str,
    *,
    wait_seconds: float = 0.0,
    accept_base_url: bool = False,
    announce: Announce | None = None,
) -> Iterator[Writer]:
    """The writer of a source, for one piece of work: its lease is kept, and given back at the end.

    Raises as `open_writer` does.
    """
    writer = open_writer(
        engine,
        source,
        owner,
        wait_seconds=wait_seconds,
        accept_base_url=accept_base_url,
        announce=announce,
    )
    try:
        with lease.kept(engine, writer.lease):
            yield writer
    finally:
        lease.release(engine, writer.lease)


def limits_of(source: Source) -> Limits:
    """What an answer of a source may cost, by its settings."""
    return Limits(bytes=source.max_body, records=source.max_regions, values=source.max_values)


def guard_of(source: Source) -> Guard:
    """What absences of a source have to wait for, by its settings."""
    return Guard(**{field.name: getattr(source, field.name) for field in fields(Guard)})


def poll(source: Source, fetch: Fetch, writer: Writer, clock: Clock = utc_now) -> PollResult:
    """Poll a source once and write what came of it, in one transaction.

    A poll that fails is recorded and returned. Raises LeaseLostError, ClockError or DatabaseError where
    nothing could be written.
    """
    return write(source, look(source, fetch, writer, clock), writer, clock)


def look(source: Source, fetch: Fetch, writer: Writer, clock: Clock = utc_now) -> Seen:
    """Ask the cloud, and read what it says. Touches no database."""
    began = perf_counter()
    try:
        key = source.key()
    except SettingsError as error:
        key, now = "", clock()
        answer: Answer | Failure = Failure(Exchange(now, now), "key", str(error))
    else:
        answer = fetch(Request(source.base_url, key, source.auth_scheme, source.deadline, source.max_body))
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
    """Write what a look brought, in one transaction. Raises as `poll` does."""
    began = perf_counter()
    said, recorded_at = seen.said, clock()
    if isinstance(said, Unread):
        recorded = writer.repeat(seen.poll, seen.body_hash)
        said = said if recorded else said.read()
    if isinstance(said, Document):
        recorded = writer.record(seen.poll, said, seen.body_hash, recorded_at)
    elif isinstance(said, Failure):
        recorded = writer.record_failure(seen.poll, failed(said), recorded_at)
    assert recorded is not None  # noqa: S101 - one of the three cases holds
    return PollResult(
        source=source.name,
        recorded=recorded,
        failure=recorded.refused,
        fetch_seconds=seen.fetch_seconds,
        read_seconds=seen.read_seconds,
        decide_seconds=recorded.decide_seconds,
        write_seconds=perf_counter() - began - recorded.decide_seconds,
        attempts=seen.attempts,
        answered_at=seen.poll.answered_at,
        write_began_at=recorded_at,
    )


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
    """Why there was no usable answer, as it is recorded."""
    return Failed(
        failure.cause, failure.http_status, failure.exception_class, failure.message, failure.request_id
    )


def read(answer: Answer, key: str, reader: Reader) -> Document | Failure:
    """The answer as evidence, or why it is none."""
    try:
        return reader.read(answer.body, (key,))
    except StrictJSONError as error:
        looks = "; it looks like an HTML page" if answer.body.lstrip()[:1] == b"<" else ""
        looks = "; it looks compressed, and is not labelled so" if answer.body[:2] == b"\x1f\x8b" else looks
        looks = "; the body is empty" if not answer.body.strip() else looks
        message = scrub_message(f"status 200, but {error}{looks}", (key,))
        return Failure(answer.exchange, "not_json", message, 200)
    except NotAListingError as error:
        said = error_fields(dumps(error.document).encode()) if error.document else {}
        said = {name: scrub_message(text, (key,), 200) for name, text in said.items()}
        return Failure(
            answer.exchange,
            "not_a_listing",
            f"status 200, but {error}" + (f": {said['message']}" if "message" in said else ""),
            200,
            exception_class=said.get("exception_class"),
            request_id=said.get("request_id"),
        )
