"""One poll, start to end.

    key ─▶ fetch ─▶ same bytes as last time? ──yes──▶ extend the newest observation
                         │no
                         ▼
              read strictly, redact ─▶ record: evidence, then everything that follows from it

The only place where the cloud meets the store. Who wants to know what happened reads the value that comes
back (metrics, logs) or the rows (webhooks, reports).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import sqlalchemy as sa

from collector.clock import Clock, utc_now
from collector.errors import ObserverChangedError, SchemaError, SettingsError
from collector.gcore.client import Answer, Exchange, Failure, Request, error_fields
from collector.gcore.jsontext import StrictJSONError, dumps
from collector.gcore.payload import Document, NotAListingError, document_of
from collector.gcore.redaction import scrub_message
from collector.inventory.judgement import Outcome
from collector.settings import Source
from collector.store import evidence, lease
from collector.store.engine import reading
from collector.store.evidence import Observer
from collector.store.rebuild import rebuild
from collector.store.tables import DERIVATION_REVISION
from collector.store.writer import Poll, Recorded, Writer

Fetch = Callable[[Request], Answer | Failure]


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one poll did, for logs and metrics."""

    source: str
    recorded: Recorded
    failure: Failure | None
    fetch_seconds: float
    read_seconds: float
    write_seconds: float

    @property
    def outcome(self) -> Outcome:
        return self.recorded.outcome


def open_writer(
    engine: sa.Engine, source: Source, owner: str, *, wait_seconds: float = 0.0, accept_base_url: bool = False
) -> Writer:
    """Become the writer of a source; its history is derived again first, if by older rules.

    Raises LeaseHeldError, ObserverChangedError (another base URL than before, and not accepted), and
    SchemaError where a newer version derived the history.
    """
    taken = lease.acquire(engine, source.name, owner, wait_seconds=wait_seconds)
    try:
        with reading(engine) as connection:
            newest = evidence.newest(connection, taken.source_id)
        if newest and newest.observer.base_url != source.base_url and not accept_base_url:
            raise ObserverChangedError(
                f"source {source.name!r} was polled at {newest.observer.base_url} and is now set to "
                f"{source.base_url}. Other platforms use the same ids for other regions: give the new one a name "
                "of its own (COLLECTOR_SOURCE), or, if it is the same platform at a new address, poll once with "
                "--accept-base-url"
            )
        if taken.derivation_revision > DERIVATION_REVISION:
            raise SchemaError(
                f"the history of source {source.name!r} was derived by a newer version (revision "
                f"{taken.derivation_revision}, this one has {DERIVATION_REVISION}); update this collector"
            )
        if taken.derivation_revision < DERIVATION_REVISION:
            rebuild(engine, source.name)
    except BaseException:
        lease.release(engine, taken)
        raise
    return Writer(engine, taken, confirmations=source.confirmations)


def poll(source: Source, fetch: Fetch, writer: Writer, clock: Clock = utc_now) -> PollResult:
    """Poll a source once and write what came of it, in one transaction.

    A poll that fails is recorded and returned. Raises LeaseLostError, ClockError or DatabaseError where
    nothing could be written.
    """
    began = perf_counter()
    try:
        key = source.key()
    except SettingsError as error:
        now = clock()
        key = ""
        answer: Answer | Failure = Failure(Exchange(now, now), "key", str(error))
    else:
        answer = fetch(Request(source.base_url, key, source.auth_scheme, source.deadline))
    fetched = perf_counter()

    observer = Observer(writer.lease.fingerprint(key), source.base_url, source.auth_scheme)
    facts = Poll(answer.exchange, observer, source.interval, recorded_at=clock())
    failure, recorded, read_seconds = None, None, 0.0
    if isinstance(answer, Answer):
        body_hash = answer.body_hash()
        recorded = writer.repeat(facts, body_hash)
        if recorded is None:
            reading_began = perf_counter()
            document = read(answer, key)
            read_seconds = perf_counter() - reading_began
            if isinstance(document, Document):
                recorded = writer.record(facts, document, body_hash)
            else:
                failure = document
    else:
        failure = answer
    if failure is not None:
        recorded = writer.record_failure(facts, failure)
    assert recorded is not None  # noqa: S101 - every answer was recorded one way
    return PollResult(
        source=source.name,
        recorded=recorded,
        failure=failure,
        fetch_seconds=fetched - began,
        read_seconds=read_seconds,
        write_seconds=perf_counter() - fetched - read_seconds,
    )


def read(answer: Answer, key: str) -> Document | Failure:
    """The answer as evidence, or why it is none."""
    try:
        return document_of(answer.body, (key,))
    except StrictJSONError as error:
        looks = "; it looks like an HTML page" if answer.body.lstrip()[:1] == b"<" else ""
        looks = "; the body is empty" if not answer.body.strip() else looks
        return Failure(answer.exchange, "not_json", f"status 200, but {error}{looks}", 200)
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
