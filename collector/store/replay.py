"""A source's history derived again, in a scratch SQLite database, and compared with what is stored.

    replay    every observation, oldest first, through the same `derive` as polling
    compare   the stored rows are copied beside the derived ones, just as they stand, and SQL compares them

Memory does not grow with the history.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from collector.errors import DatabaseError, SchemaError, UsageError
from collector.gcore.listing import listing_of
from collector.inventory.changes import changes
from collector.inventory.known import Known, known_after
from collector.store import observations as stored_observations
from collector.store.apply import apply
from collector.store.engine import JsonList, open_engine
from collector.store.gather import gather
from collector.store.payloads import Reader
from collector.store.tables import DERIVATION_REVISION, DERIVED, metadata, observations, observers, sources

BATCH = 1000
Progress = Callable[[int, int], None]
"""Called with observations done and observations in all."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One derived row that is not as the evidence has it.

    Values are as SQLite stores them: times as text, lists as JSON, booleans as 0 and 1.
    """

    table: str
    key: Mapping[str, Any]
    stored: Mapping[str, Any] | None
    """None: the row is missing."""
    derived: Mapping[str, Any] | None
    """None: the row should not be there."""

    def fields(self) -> list[tuple[str, Any, Any]]:
        """The columns that differ, with the stored and the derived value; none where one of the rows is."""
        stored, derived = self.stored or {}, self.derived or {}
        return [(n, v, derived[n]) for n, v in stored.items() if n in derived and v != derived[n]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared, and what differs."""

    observations: int
    rows: int
    """Derived rows."""
    different: int
    """Rows that differ, are missing, or should not be there."""
    examples: tuple[Difference, ...]
    """The first differences, at most ten."""


def source_names(connection: sa.Connection, only: str | None = None) -> list[str]:
    """All sources that the database knows, by id, or `only` this one. Raises UsageError where it is unknown."""
    known = list(connection.scalars(sa.select(sources.c.name).order_by(sources.c.id)))
    if only is None:
        return known
    if only not in known:
        names = ", ".join(str(name) for name in known)
        raise UsageError(f"there is no source {only!r}; known are: {names or 'none yet'}")
    return [only]


def derived_by_older_rules(connection: sa.Connection, only: str | None = None) -> list[str]:
    """Names of the sources whose history an older version derived."""
    s = sources.c
    query = sa.select(s.name).where(s.derivation_revision < DERIVATION_REVISION, s.newest_seq > 0)
    query = query.where(s.name == only) if only is not None else query
    return list(connection.scalars(query.order_by(s.id)))


def source_id_of(connection: sa.Connection, source: str) -> int:
    source_names(connection, source)
    query = sa.select(sources.c.id, sources.c.derivation_revision).where(sources.c.name == source)
    found = connection.execute(query).first()
    assert found is not None  # noqa: S101 - its name was just found
    revision = found.derivation_revision
    if isinstance(revision, int) and revision > DERIVATION_REVISION:
        raise SchemaError(
            f"the history of source {source!r} was derived by a newer version (revision {found.derivation_revision}, "
            f"this one has {DERIVATION_REVISION}); update this collector"
        )
    return int(found.id)


class _AsStored(sa.types.UserDefinedType[Any]):
    """A value as the database gives it: nothing that stands there may be mended by reading it."""

    cache_ok = True


def _table(name: str, like: sa.Table, retype: Callable[[Any], Any] = lambda type_: type_) -> sa.Table:
    """A table of this name with the columns of another, without its constraints."""
    return sa.Table(name, sa.MetaData(), *(sa.Column(c.name, retype(c.type)) for c in like.columns))


@cache
def as_stored(table: sa.Table) -> sa.Table:
    """The same table, its values untyped."""
    return _table(table.name, table, lambda _: _AsStored())


@cache
def _lists_as_text(table: sa.Table) -> sa.Table:
    return _table(table.name, table, lambda type_: sa.Text() if isinstance(type_, JsonList) else type_)


STORED = {table: _table(f"stored_{table.name}", table) for table in DERIVED}
"""In the scratch database: the derived rows as they stand in the real one."""
SURPLUS = {table: _table(f"surplus_{table.name}", table) for table in DERIVED}
"""Those of them that do not follow from the evidence, exactly so."""
LACKING = {table: _table(f"lacking_{table.name}", table) for table in DERIVED}
"""Derived rows that do not stand in the real database, exactly so."""


@cache
def _schema() -> tuple[str, ...]:
    """What makes the tables of a scratch database: worked out once, since a verification of many sources makes many."""
    copies = (table for tables in (STORED, SURPLUS, LACKING) for table in tables.values())
    tables = [*metadata.sorted_tables, *copies]
    texts = []
    for table in tables:
        texts.append(CreateTable(table).compile(dialect=sqlite.dialect()))
        texts += [CreateIndex(index).compile(dialect=sqlite.dialect()) for index in table.indexes]
    return tuple(str(text) for text in texts)


@contextmanager
def scratch_database() -> Iterator[sa.Connection]:
    """An empty database of our schema, on disk, gone at the end.

    Raises DatabaseError where there is no folder for it, or no room.
    """
    try:
        folder = tempfile.mkdtemp(prefix="collector-")
    except OSError as error:
        raise DatabaseError(
            f"there is no folder for a scratch database: {error.strerror}; set TMPDIR to one with room for a copy of "
            "the history"
        ) from None
    engine = open_engine(f"sqlite:///{Path(folder) / 'scratch.db'}")

    @sa.event.listens_for(engine, "connect")
    def connect(raw: Any, _: Any) -> None:
        for pragma in ("foreign_keys = OFF", "synchronous = OFF"):
            raw.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "handle_error")
    def handle_error(context: sa.engine.ExceptionContext) -> None:
        # Not of the database that is checked: its name would mislead.
        if isinstance(context.original_exception, sqlite3.OperationalError):
            raise DatabaseError(
                f"the scratch database in {folder} can't be used: {context.original_exception}; set TMPDIR to a "
                "folder with room for a copy of the history"
            ) from None

    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            for statement in _schema():
                connection.exec_driver_sql(statement)
            yield connection
    finally:
        engine.dispose()
        shutil.rmtree(folder, ignore_errors=True)


def replay(
    live: sa.Connection, scratch: sa.Connection, source_id: int, after: int, progress: Progress | None
) -> int:
    """Derive all observations after seq `after`. Returns the newest seq."""
    o = observations.c
    newest = live.scalar(sa.select(sources.c.newest_seq).where(sources.c.id == source_id)) or 0
    # The row that was the newest may have been extended since, and an observer may be new.
    scratch.execute(sa.delete(observations).where(o.seq == after))
    scratch.execute(sa.delete(observers))
    _copy(live, scratch, observers, observers, source_id)
    answers = Reader(live, source_id)
    known: Known | None = None
    for start in range(after, newest, BATCH):
        end = min(start + BATCH, newest)
        first = start if start == after else start + 1
        _copy(live, scratch, observations, observations, source_id, o.seq.between(first, end))
        for row in stored_observations.applied(scratch, source_id, start, end):
            assert row.payload is not None  # noqa: S101 - a constraint: every answer has its payload
            now = row.at_insert()
            listing = listing_of(answers.load(row.payload))
            if known and known.applied and known.applied.observer.eyes != now.observer.eyes:
                known = None
            known = gather(scratch, source_id, now.seq, now.observer, listing, known)
            decided = changes(now, listing, known)
            apply(scratch, source_id, now, decided)
            known = known_after(known, now, listing, decided).with_final(row)
            if progress:
                progress(row.seq, newest)
    return newest


def compare(live: sa.Connection, scratch: sa.Connection, source_id: int, done: int) -> Comparison:
    """Find all differences and keep them in the scratch database, so that applying them takes no thought.

    `done`: the newest observation that was replayed.
    """
    rows = different = 0
    examples: list[Difference] = []
    for table, stored in STORED.items():
        surplus, lacking = SURPLUS[table], LACKING[table]
        for each in (stored, surplus, lacking):
            scratch.execute(sa.delete(each))
        retyped = as_stored if live.dialect.name == "sqlite" else _lists_as_text
        _copy(live, scratch, retyped(table), retyped(stored), source_id)
        names = [c.name for c in table.columns]
        ours, theirs = sa.select(table), sa.select(stored)
        scratch.execute(sa.insert(lacking).from_select(names, ours.except_(theirs)))
        scratch.execute(sa.insert(surplus).from_select(names, theirs.except_(ours)))
        _add_copies(scratch, table, stored)
        rows += scratch.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        sides = [
            sa.select(*(side.c[k] for k in keys_of(table)))
            for side in (as_stored(surplus), as_stored(lacking))
        ]
        differing = sides[0].union(sides[1]).subquery()
        different += scratch.scalar(sa.select(sa.func.count()).select_from(differing)) or 0
        first = sa.select(differing).order_by(*differing.c).limit(10 - len(examples))
        examples += [_difference(scratch, table, tuple(key)) for key in scratch.execute(first)]
    return Comparison(done, rows, different, tuple(examples))


def _add_copies(scratch: sa.Connection, table: sa.Table, stored: sa.Table) -> None:
    """Rows that stand there more than once, where the key's constraint is gone: all of them differ."""
    keys = [stored.c[k] for k in keys_of(table)]
    count = sa.select(sa.func.count()).select_from
    distinct = sa.select(*keys).distinct().subquery()
    if scratch.scalar(count(stored)) == scratch.scalar(count(distinct)):
        return
    twice = sa.select(*keys).group_by(*keys).having(sa.func.count() > 1).subquery()
    for side, into in ((table, LACKING[table]), (stored, SURPLUS[table])):
        same_key = [side.c[k] == twice.c[k] for k in keys_of(table)]
        copies = sa.select(side).distinct().where(sa.exists().where(*same_key))
        names = [c.name for c in table.columns]
        scratch.execute(sa.insert(into).from_select(names, copies.except_(sa.select(into))))


def keys_of(table: sa.Table) -> list[str]:
    """Names of the primary key's columns."""
    return [c.name for c in table.primary_key.columns]


def _difference(scratch: sa.Connection, table: sa.Table, key: tuple[Any, ...]) -> Difference:
    named = dict(zip(keys_of(table), key, strict=True))

    def row(side: sa.Table) -> dict[str, Any] | None:
        found = scratch.execute(sa.select(as_stored(side)).filter_by(**named)).mappings().first()
        return None if found is None else dict(found)

    return Difference(table.name, named, row(STORED[table]), row(table))


def _copy(
    live: sa.Connection, scratch: sa.Connection, table: sa.Table, into: sa.Table, source_id: int, *where: Any
) -> None:
    """Copy rows of one source, in batches."""
    rows = live.execute(
        sa.select(table).where(table.c.source_id == source_id, *where), execution_options={"yield_per": BATCH}
    )
    for batch in rows.mappings().partitions(BATCH):
        scratch.execute(sa.insert(into), [dict(row) for row in batch])
