"""Compares the stored rows of a source with the rows that were derived again in a scratch database.

The stored rows are copied there unchanged and compared in SQL, so memory use does not grow with the history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from collector.database.scratch import scratch, statements_of
from collector.database.types import JsonList
from collector.database.url import is_sqlite
from collector.store.tables import DERIVED, metadata

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """One derived row that differs from what the evidence gives.

    Values are in SQLite's form: times as text, lists as JSON, booleans as 0 and 1.
    """

    table: str
    key: Mapping[str, Any]
    stored: Mapping[str, Any] | None
    """None: the row is missing."""
    derived: Mapping[str, Any] | None
    """None: the row should not exist."""

    def fields(self) -> list[tuple[str, Any, Any]]:
        """The columns that differ, each with the stored and the derived value; empty if one of the rows is missing."""
        stored, derived = self.stored or {}, self.derived or {}
        return [(n, v, derived[n]) for n, v in stored.items() if n in derived and v != derived[n]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much was compared, and what differs."""

    observations: int
    rows: int
    """Number of derived rows."""
    different: int
    """Number of rows that differ, are missing, or should not exist."""
    examples: tuple[Difference, ...]
    """The first differences, at most ten."""


class _AsStored(sa.types.UserDefinedType[Any]):
    """A value exactly as the database stores it: reading must not correct it."""

    cache_ok = True


def _table(name: str, like: sa.Table, retype: Callable[[Any], Any] = lambda type_: type_) -> sa.Table:
    """A table with the columns of another one, without its constraints."""
    return sa.Table(name, sa.MetaData(), *(sa.Column(c.name, retype(c.type)) for c in like.columns))


@cache
def as_stored(table: sa.Table) -> sa.Table:
    """The same table with untyped values."""
    return _table(table.name, table, lambda _: _AsStored())


@cache
def _lists_as_text(table: sa.Table) -> sa.Table:
    return _table(table.name, table, lambda type_: sa.Text() if isinstance(type_, JsonList) else type_)


STORED = {table: _table(f"stored_{table.name}", table) for table in DERIVED}
"""In the scratch database: copies of the derived rows of the real one."""
SURPLUS = {table: _table(f"surplus_{table.name}", table) for table in DERIVED}
"""Stored rows that do not follow exactly from the evidence."""
LACKING = {table: _table(f"lacking_{table.name}", table) for table in DERIVED}
"""Derived rows that are not stored exactly like that in the real database."""


@cache
def _scratch_schema() -> tuple[str, ...]:
    """The statements that create a scratch database's tables. Cached, because verifying many sources creates many."""
    copies = (table for tables in (STORED, SURPLUS, LACKING) for table in tables.values())
    tables = [*metadata.sorted_tables, *copies]
    return statements_of(tables)


def scratch_database() -> AbstractContextManager[sa.Connection]:
    """An empty database with our schema and the tables for the comparison. Raises as
    `collector.database.scratch.scratch`.
    """
    return scratch(_scratch_schema())


def compare(live: sa.Connection, scratch: sa.Connection, source_id: int, done: int) -> Comparison:
    """Find all differences and keep them in the scratch database, ready to be applied.

    `done`: the newest observation that was replayed.
    """
    rows = different = 0
    examples: list[Difference] = []
    for table, stored in STORED.items():
        surplus, lacking = SURPLUS[table], LACKING[table]
        for each in (stored, surplus, lacking):
            scratch.execute(sa.delete(each))
        retyped = as_stored if is_sqlite(live) else _lists_as_text
        copy_rows(live, scratch, retyped(table), retyped(stored), source_id)
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
    """Rows that are stored more than once, because the key's constraint is gone. All of them differ."""
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


def copy_rows(
    live: sa.Connection, scratch: sa.Connection, table: sa.Table, into: sa.Table, source_id: int, *where: Any
) -> None:
    """Copy the rows of one source, in batches."""
    rows = live.execute(
        sa.select(table).where(table.c.source_id == source_id, *where), execution_options={"yield_per": BATCH}
    )
    for batch in rows.mappings().partitions(BATCH):
        scratch.execute(sa.insert(into), [dict(row) for row in batch])
