"""Many rows at once: one statement a table, built once, and each value converted once.

SQLAlchemy looks at every value of every row that it is given; for ten thousand rows that takes longer than the
database does. What a value becomes is still decided by its column's type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect

Row = Mapping[str, Any]
_ROWS_AT_ONCE = 1000


def insert(connection: sa.Connection, table: sa.Table, rows: Iterable[Row]) -> None:
    """Insert rows, all with the same columns."""
    _execute(connection, table, rows, _insert)


def update(connection: sa.Connection, table: sa.Table, rows: Iterable[Row]) -> None:
    """Update rows, all with the same columns: those of the primary key, and those to change."""
    _execute(connection, table, rows, _update)


def delete(connection: sa.Connection, table: sa.Table, rows: Iterable[Row]) -> None:
    """Delete rows, which give the columns of the primary key."""
    _execute(connection, table, rows, _delete)


_Text = Callable[[str, Sequence[str], Sequence[str], str], tuple[str, Sequence[str]]]
"""From table, key, other columns and parameter mark to the statement and the order of its parameters."""


def _insert(table: str, key: Sequence[str], others: Sequence[str], mark: str) -> tuple[str, Sequence[str]]:
    names = [*key, *others]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})", names  # noqa: S608 - our own names


def _update(table: str, key: Sequence[str], others: Sequence[str], mark: str) -> tuple[str, Sequence[str]]:
    new = ", ".join(f"{name} = {mark}" for name in others)
    return f"UPDATE {table} SET {new} WHERE {_is(key, mark)}", [*others, *key]  # noqa: S608 - our own names


def _delete(table: str, key: Sequence[str], others: Sequence[str], mark: str) -> tuple[str, Sequence[str]]:
    return f"DELETE FROM {table} WHERE {_is(key, mark)}", key  # noqa: S608 - our own names


def _is(key: Sequence[str], mark: str) -> str:
    return " AND ".join(f"{name} = {mark}" for name in key)


def _execute(connection: sa.Connection, table: sa.Table, rows: Iterable[Row], text: _Text) -> None:
    waiting = iter(rows)
    while some := list(islice(waiting, _ROWS_AT_ONCE)):
        statement, names = _statement(table, tuple(some[0]), text, connection.dialect.paramstyle)
        columns = [_converted(table, name, some, connection.dialect) for name in names]
        connection.exec_driver_sql(statement, list(zip(*columns, strict=True)))


def _converted(
    table: sa.Table, name: str, rows: Sequence[Row], dialect: Dialect
) -> Sequence[Any] | Iterator[Any]:
    values = [row[name] for row in rows]
    convert = table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
    return values if convert is None else map(convert, values)


@lru_cache(maxsize=200)
def _statement(
    table: sa.Table, names: tuple[str, ...], text: _Text, paramstyle: str
) -> tuple[str, Sequence[str]]:
    key = [c.name for c in table.primary_key.columns]
    others = [name for name in names if name not in key]
    return text(table.name, key, others, "?" if paramstyle == "qmark" else "%s")
