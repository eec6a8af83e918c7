"""Derive a source's history again from its evidence, and apply what differs.

    1. in one read transaction: derive everything into a scratch SQLite database, observation by observation,
       copy the stored rows beside it, and let SQL compare both
    2. in one write transaction: lock the source; if nothing was recorded meanwhile, write the differences,
       else go back to 1 for what is new

Readers go on all the while, and so does the poller, but for the moment of 2. Memory does not grow with the
history.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from collector.errors import SchemaError, UsageError
from collector.gcore.payload import listing_of
from collector.store import evidence
from collector.store.derive import derive, without_finals
from collector.store.engine import open_engine, reading, writing
from collector.store.tables import (
    CURRENT,
    DERIVATION_REVISION,
    DERIVED,
    metadata,
    observations,
    observers,
    sources,
)

BATCH = 1000
Progress = Callable[[int, int], None]
"""Called with observations done and observations in all."""


MAX_ROUNDS = 5
"""After so many rounds in which the poller was faster, the comparison is made under the lock."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One derived row that is not as the evidence has it."""

    table: str
    key: Mapping[str, Any]
    stored: Mapping[str, Any] | None
    """None: the row is missing."""
    derived: Mapping[str, Any] | None
    """None: the row should not be there."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found in one source."""

    source: str
    observations: int
    rows: int
    """Derived rows compared."""
    different: int
    """Rows that differ, are missing, or should not be there."""
    examples: tuple[Difference, ...]
    """The first differences, at most ten."""


def rebuild(
    engine: sa.Engine, source: str, *, check_only: bool = False, progress: Progress | None = None
) -> Rebuilt:
    """Derive one source again. With `check_only` nothing is written. Raises UsageError, IntegrityError."""
    with _scratch() as scratch:
        done = 0
        for round_ in range(1, MAX_ROUNDS + 1):
            with reading(engine) as live:
                source_id = _source_id(live, source)
                done = _replay(live, scratch, source_id, done, progress)
                result = _compare(live, scratch, source, source_id, done)
            if check_only:
                return result
            with writing(engine) as live:
                newest = _lock(live, source_id)
                if newest != done and round_ < MAX_ROUNDS:
                    continue
                if newest != done:
                    done = _replay(live, scratch, source_id, done, progress)
                    result = _compare(live, scratch, source, source_id, done)
                _apply(live, scratch)
                live.execute(
                    sa.update(sources)
                    .where(sources.c.id == source_id)
                    .values(derivation_revision=DERIVATION_REVISION)
                )
                return result
        raise AssertionError("the last round returns")


def _lock(live: sa.Connection, source_id: int) -> int:
    """Keep every writer of the source out. Not the lease's fence: another process may hold the lease, and
    waits at its own fence. Returns the newest seq."""
    same = {"derivation_revision": sources.c.derivation_revision}
    statement = sa.update(sources).where(sources.c.id == source_id).values(same)
    return int(live.execute(statement.returning(sources.c.newest_seq)).scalar_one())


def source_names(engine: sa.Engine) -> list[str]:
    """All sources that the database knows, by id."""
    with reading(engine) as connection:
        return list(connection.scalars(sa.select(sources.c.name).order_by(sources.c.id)))


def _beside(name: str) -> dict[sa.Table, sa.Table]:
    """In the scratch database: a table like each derived one, without its constraints."""
    return {
        table: sa.Table(
            f"{name}_{table.name}", sa.MetaData(), *(sa.Column(c.name, c.type) for c in table.columns)
        )
        for table in DERIVED
    }


_STORED = _beside("stored")
"""The derived rows as they stand in the real database."""
_SURPLUS = _beside("surplus")
"""Those of them that do not follow from the evidence, exactly so."""
_LACKING = _beside("lacking")
"""Derived rows that do not stand in the real database, exactly so."""


@contextmanager
def _scratch() -> Iterator[sa.Connection]:
    with tempfile.TemporaryDirectory(prefix="collector-") as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'scratch.db'}")

        @sa.event.listens_for(engine, "connect")
        def connect(raw: Any, _: Any) -> None:
            for pragma in ("foreign_keys = OFF", "synchronous = OFF"):
                raw.execute(f"PRAGMA {pragma}").close()

        try:
            with engine.connect().execution_options(writes=True) as connection, connection.begin():
                metadata.create_all(connection)
                for tables in (_STORED, _SURPLUS, _LACKING):
                    for table in tables.values():
                        table.create(connection)
                yield connection
        finally:
            engine.dispose()


def _source_id(connection: sa.Connection, source: str) -> int:
    found = connection.execute(
        sa.select(sources.c.id, sources.c.derivation_revision).where(sources.c.name == source)
    ).one_or_none()
    if found is None:
        known = ", ".join(connection.scalars(sa.select(sources.c.name).order_by(sources.c.id)))
        raise UsageError(f"there is no source {source!r}; known are: {known or 'none yet'}")
    if found.derivation_revision > DERIVATION_REVISION:
        raise SchemaError(
            f"the history of source {source!r} was derived by a newer version (revision {found.derivation_revision}, "
            f"this one has {DERIVATION_REVISION}); update this collector"
        )
    return int(found.id)


def _replay(
    live: sa.Connection, scratch: sa.Connection, source_id: int, after: int, progress: Progress | None
) -> int:
    """Derive all observations after seq `after`. Returns the newest seq."""
    o = observations.c
    newest = live.scalar(sa.select(sources.c.newest_seq).where(sources.c.id == source_id)) or 0
    # The row that was the newest may have been extended since, and an observer may be new.
    scratch.execute(sa.delete(observations).where(o.seq == after))
    scratch.execute(sa.delete(observers))
    _copy(live, scratch, observers, observers, source_id)
    for start in range(after, newest, BATCH):
        end = min(start + BATCH, newest)
        first = start if start == after else start + 1
        _copy(live, scratch, observations, observations, source_id, o.seq.between(first, end))
        applied = scratch.execute(
            sa.select(o.seq, o.payload)
            .where(o.seq > start, o.seq <= end, o.payload.is_not(None))
            .order_by(o.seq)
        ).all()
        for seq, payload in applied:
            listing = listing_of(evidence.load(live, source_id, payload))
            derive(scratch, source_id, without_finals(evidence.look(scratch, source_id, seq)), listing)
            if progress:
                progress(seq, newest)
    return newest


def _copy(
    live: sa.Connection, scratch: sa.Connection, table: sa.Table, into: sa.Table, source_id: int, *where: Any
) -> int:
    """Copy rows of one source, in batches. Returns how many."""
    copied = 0
    rows = live.execute(
        sa.select(table).where(table.c.source_id == source_id, *where), execution_options={"yield_per": BATCH}
    )
    for batch in rows.mappings().partitions(BATCH):
        scratch.execute(sa.insert(into), [dict(row) for row in batch])
        copied += len(batch)
    return copied


def _compare(live: sa.Connection, scratch: sa.Connection, source: str, source_id: int, done: int) -> Rebuilt:
    """Find all differences and keep them in the scratch database, so that applying them takes no thought."""
    rows = different = 0
    examples: list[Difference] = []
    for table, stored in _STORED.items():
        surplus, lacking = _SURPLUS[table], _LACKING[table]
        for each in (stored, surplus, lacking):
            scratch.execute(sa.delete(each))
        _copy(live, scratch, table, stored, source_id)
        names = [c.name for c in table.columns]
        ours, theirs = sa.select(table), sa.select(stored)
        scratch.execute(sa.insert(lacking).from_select(names, ours.except_(theirs)))
        scratch.execute(sa.insert(surplus).from_select(names, theirs.except_(ours)))
        rows += scratch.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        sides = [sa.select(*(side.c[k] for k in _keys(table))) for side in (surplus, lacking)]
        differing = sides[0].union(sides[1]).subquery()
        different += scratch.scalar(sa.select(sa.func.count()).select_from(differing)) or 0
        first = sa.select(differing).order_by(*differing.c).limit(10 - len(examples))
        examples += [_difference(scratch, table, tuple(key)) for key in scratch.execute(first)]
    return Rebuilt(source, done, rows, different, tuple(examples))


def _keys(table: sa.Table) -> list[str]:
    return [c.name for c in table.primary_key.columns]


def _difference(scratch: sa.Connection, table: sa.Table, key: tuple[Any, ...]) -> Difference:
    named = dict(zip(_keys(table), key, strict=True))

    def row(side: sa.Table) -> dict[str, Any] | None:
        found = scratch.execute(sa.select(side).filter_by(**named)).mappings().one_or_none()
        return None if found is None else dict(found)

    return Difference(table.name, named, row(_STORED[table]), row(table))


def _apply(live: sa.Connection, scratch: sa.Connection) -> None:
    """Make the stored rows equal to the derived ones: children go first, parents come first.

    Current rows that stay are updated, since others refer to them; all other rows are replaced.
    """
    for table in reversed(DERIVED):
        surplus = _SURPLUS[table]
        doomed: Any = sa.select(*(surplus.c[k] for k in _keys(table)))
        if table in CURRENT.values():
            doomed = doomed.except_(sa.select(*(table.c[k] for k in _keys(table))))
        for rows in scratch.execute(doomed).mappings().partitions(BATCH):
            live.execute(_by_key(sa.delete(table), table), [_as_keys(row) for row in rows])
    for table in DERIVED:
        lacking, surplus = _LACKING[table], _SURPLUS[table]
        query: Any = sa.select(lacking)
        if table in CURRENT.values():
            stays = sa.exists().where(*(surplus.c[k] == lacking.c[k] for k in _keys(table)))
            for rows in scratch.execute(query.where(stays)).mappings().partitions(BATCH):
                new = {c.name: sa.bindparam(f"new_{c.name}", type_=c.type) for c in table.columns}
                keyed = [
                    _as_keys({k: r[k] for k in _keys(table)}) | {f"new_{n}": r[n] for n in r} for r in rows
                ]
                live.execute(_by_key(sa.update(table), table).values(new), keyed)
            query = query.where(~stays)
        for rows in scratch.execute(query).mappings().partitions(BATCH):
            live.execute(sa.insert(table), [dict(row) for row in rows])


def _by_key(statement: Any, table: sa.Table) -> Any:
    return statement.where(*(table.c[k] == sa.bindparam(f"key_{k}") for k in _keys(table)))


def _as_keys(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {f"key_{name}": value for name, value in row.items()}
