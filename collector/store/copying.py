"""Copies whole histories to another database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from collector.database.statements import number_on
from collector.database.transactions import migrating, reading
from collector.errors import DatabaseError, LeaseHeldError, UsageError
from collector.store.lease import is_over
from collector.store.tables import metadata, observations, sources, webhook_queues

BATCH = 1000
Progress = Callable[[str, int], None]
"""Called with the name of a table and the number of rows copied since the last call."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied; both sides agree on it."""

    rows: dict[str, int]
    """Number of rows by table."""
    heads: dict[str, str | None]
    """Newest opening digest by source."""


def copy(origin: sa.Engine, target: sa.Engine, progress: Progress | None = None) -> Copied:
    """Copy all rows of all tables into an empty database with the same schema, all or nothing.

    Leases are not copied. Events that wait for receivers are, and they wait on in the target. Row counts and heads of
    both sides are compared before the commit.

    Raises LeaseHeldError if a collector polls the origin or started to during the copy, because its later polls would
    be in only one of the two histories. Raises UsageError if the target is not empty.
    """
    with reading(origin) as source, migrating(target) as sink:
        polling = source.execute(sa.select(sources.c.name, sources.c.lease_owner).where(~is_over())).first()
        if polling is not None:
            raise LeaseHeldError(
                f"source {polling.name!r} is being polled by {polling.lease_owner}; stop it first"
            )
        if _count(sink, sources):
            raise UsageError("the target database is not empty; nothing was copied")
        for table in metadata.sorted_tables:
            _copy_rows(source, sink, table, progress=progress)
        number_on(sink, sources)
        theirs, ours = _summary(sink), _summary(source)
        if theirs != ours:
            raise DatabaseError(f"the copy differs: {theirs} instead of {ours}; nothing was copied")
        with reading(origin) as now:
            if _leases(now) != _leases(source):
                raise LeaseHeldError(
                    "a collector started to poll during the copy; nothing was copied; stop it first"
                )
        return ours


def copy_source(origin: sa.Connection, target: sa.Connection, source: str) -> None:
    """Copy one source into an empty database for a trial. Nobody holds its lease there."""
    source_id = origin.scalar(sa.select(sources.c.id).where(sources.c.name == source))
    for table in metadata.sorted_tables:
        column = table.c.id if table is sources else table.c.source_id
        _copy_rows(origin, target, table, column == source_id)


def _copy_rows(
    origin: sa.Connection,
    target: sa.Connection,
    table: sa.Table,
    *where: sa.ColumnElement[bool],
    progress: Progress | None = None,
) -> None:
    """Copy the rows of a table in batches, without leases and claims."""
    rows = origin.execute(sa.select(table).where(*where), execution_options={"yield_per": BATCH})
    for batch in rows.mappings().partitions(BATCH):
        values = [dict(row) for row in batch]
        if table is sources:
            values = [row | {"lease_owner": None, "lease_expires_at": None} for row in values]
        if table is webhook_queues:
            values = [row | {"claimed_by": None, "claimed_until": None} for row in values]
        target.execute(sa.insert(table), values)
        if progress:
            progress(table.name, len(values))


def _summary(connection: sa.Connection) -> Copied:
    o, s = observations.c, sources.c
    newest = sa.select(s.name, o.opening_digest).outerjoin(
        observations, (o.source_id == s.id) & (o.seq == s.newest_seq)
    )
    return Copied(
        rows={table.name: _count(connection, table) for table in metadata.sorted_tables},
        heads={row.name: row.opening_digest for row in connection.execute(newest.select_from(sources))},
    )


def _leases(connection: sa.Connection) -> dict[str, int]:
    """The epoch of each source's lease. It grows whenever a process starts to poll."""
    rows = connection.execute(sa.select(sources.c.name, sources.c.lease_epoch))
    return {row.name: row.lease_epoch for row in rows}


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
