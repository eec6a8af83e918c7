"""Become the writer of a source: check its lease, its base URL and the rules that derived its history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields

import sqlalchemy as sa

from collector.database.transactions import reading
from collector.errors import ObserverChangedError
from collector.gcore.document import Limits
from collector.inventory.judgement import Guard
from collector.settings.models import Source
from collector.store import lease, observations
from collector.store.outbox import Announce
from collector.store.rederive import rebuild
from collector.store.sources import check_rules
from collector.store.tables import DERIVATION_REVISION
from collector.store.writer import Writer


def open_writer(
    engine: sa.Engine,
    source: Source,
    owner: str,
    *,
    wait_seconds: float = 0.0,
    accept_base_url: bool = False,
    spares: bool = False,
    announce: Announce | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Writer:
    """Become the writer of a source. A history that older rules derived is derived again first.

    `spares`: as in `lease.acquire`. `alive`: called repeatedly while a history is derived again. `announce`: returns
    the events of a poll for receivers.

    Raises LeaseHeldError, ObserverChangedError (the base URL changed, and the change was not accepted), and
    SchemaError if a newer version derived the history.
    """
    taken = lease.acquire(engine, source.name, owner, wait_seconds=wait_seconds, spares=spares)
    try:
        with reading(engine) as connection:
            before = observations.newest_base_url(connection, taken.source_id)
        if before not in (None, source.base_url) and not accept_base_url:
            raise ObserverChangedError(
                f"source {source.name!r} was polled at {before} and is now set to {source.base_url}. Other platforms "
                "use the same ids for other regions. If this is another platform, give it a source name of its own "
                "(COLLECTOR_SOURCE); if it is the same platform at a new address, poll once with --accept-base-url"
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
def for_once(writer: Writer) -> Iterator[Writer]:
    """A writer for one piece of work. Its lease is kept meanwhile and released at the end."""
    try:
        with lease.kept(writer.engine, writer.lease):
            yield writer
    finally:
        lease.release(writer.engine, writer.lease)


def limits_of(source: Source) -> Limits:
    """What reading an answer of a source may cost, from its settings."""
    return Limits(bytes=source.max_body, records=source.max_regions, values=source.max_values)


def guard_of(source: Source) -> Guard:
    """When absences of a source have to be confirmed, from its settings."""
    return Guard(**{field.name: getattr(source, field.name) for field in fields(Guard)})
