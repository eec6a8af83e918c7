"""Writes many rows at once: one statement per table, built once, with each value converted once.

SQLAlchemy looks at every value of every row; for ten thousand rows that takes longer than the database does.

SQLite takes rows one after another at little cost. PostgreSQL would parse and plan the statement for each row, so it
gets one array per column. That costs half as much as rows in JSON and no more than COPY.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.clock import time_text
from collector.database.types import JsonList, UtcTime, list_text
from collector.database.url import is_sqlite

Act = Literal["delete", "update", "insert"]
Columns = Mapping[str, Iterable[Any]]
_ROWS_AT_ONCE = 1000
_DIALECT: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
_SQLITE: dict[Act, str] = {
    "delete": "DELETE FROM {table} WHERE {is_it}",
    "update": "UPDATE {table} SET {changes} WHERE {is_it}",
    "insert": "INSERT INTO {table} ({names}) VALUES ({values})",
}
# ANY rather than =: with an equality the planner joins by the rest of the key alone, and reads all rows of the source.
_POSTGRESQL: dict[Act, str] = {
    "delete": "DELETE FROM {table} USING {rows} WHERE {is_it} AND {table}.{source} = ANY (%s::INTEGER[])",
    "update": "UPDATE {table} SET {changes} FROM {rows} WHERE {is_it} AND {table}.{source} = ANY (%s::INTEGER[])",
    "insert": "INSERT INTO {table} ({names}) SELECT {values} FROM {rows}",
}


def write(connection: sa.Connection, act: Act, table: sa.Table, columns: Columns) -> None:
    """Insert, update or delete rows, if there are any.

    `columns`: the values of each column, row by row, including the primary key. A column with the same value in all
    rows may be an infinite iterator. All rows are of one source: a statement that changes rows says so, which a
    database whose tables are divided by source needs to know before it plans. Raises ValueError for rows of several.
    """
    on_sqlite, names = is_sqlite(connection), tuple(columns)
    statement = _statement(act, table, names, on_sqlite)
    converters = _converters(table, names, on_sqlite)
    converted = {
        name: map(converters[name], values) if name in converters else values
        for name, values in columns.items()
    }
    order = _order(act, table, names, on_sqlite)
    place = order.index(_source(table))
    rows = zip(*(converted[name] for name in order), strict=False)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        if on_sqlite:
            connection.exec_driver_sql(statement, some)
        else:
            arrays = tuple(map(_array, zip(*some, strict=True)))
            one = () if act == "insert" else (_array([_only([row[place] for row in some])]),)
            connection.exec_driver_sql(statement, (*arrays, *one))


def _source(table: sa.Table) -> str:
    """The column that says which source a row is of: the first of every key."""
    return table.primary_key.columns[0].name


def _only(values: Sequence[Any]) -> Any:
    first = values[0]
    if any(value != first for value in values):
        raise ValueError("rows of several sources are not written at once")
    return first


def write_row(connection: sa.Connection, act: Act, table: sa.Table, row: Mapping[str, Any]) -> None:
    """The same for one row."""
    write(connection, act, table, {name: (value,) for name, value in row.items()})


@lru_cache(maxsize=200)
def _statement(act: Act, table: sa.Table, names: tuple[str, ...], on_sqlite: bool) -> str:
    # Not ?1: Python's sqlite3 treats that as a name, and from 3.14 on it takes no sequence for names.
    value = {name: "?" if on_sqlite else f"new.{name}" for name in names}
    key = [c.name for c in table.primary_key.columns]
    arrays = (f"%s::{table.c[name].type.compile(_DIALECT)}[]" for name in names)
    return (_SQLITE if on_sqlite else _POSTGRESQL)[act].format(
        table=table.name,
        names=", ".join(names),
        values=", ".join(value.values()),
        changes=", ".join(f"{name} = {value[name]}" for name in names if name not in key),
        is_it=" AND ".join(f"{table.name}.{name} = {value[name]}" for name in key),
        source=_source(table),
        rows=f"unnest({', '.join(arrays)}) AS new({', '.join(names)})",
    )


@lru_cache(maxsize=200)
def _order(act: Act, table: sa.Table, names: tuple[str, ...], on_sqlite: bool) -> Sequence[str]:
    """The columns in the order in which the statement takes them."""
    if not on_sqlite or act == "insert":
        return names
    key = [c.name for c in table.primary_key.columns]
    return key if act == "delete" else [*(name for name in names if name not in key), *key]


@lru_cache(maxsize=200)
def _converters(
    table: sa.Table, names: tuple[str, ...], on_sqlite: bool
) -> Mapping[str, Callable[[Any], Any]]:
    """Converters for the columns that need one."""
    lists = {name: _list_text for name in names if isinstance(table.c[name].type, JsonList)}
    times = {name: _time_text for name in names if isinstance(table.c[name].type, UtcTime)}
    return lists | times if on_sqlite else lists


def _array(values: Sequence[Any]) -> str:
    """An array in PostgreSQL's syntax: like JSON except for braces and control characters."""
    text = msgspec.json.encode(values).decode()
    if "\\" in text:
        text = _ESCAPE.sub(lambda m: m[0] if m[0][1] in '"\\' else msgspec.json.decode(f'"{m[0]}"'), text)
    return f"{{{text[1:-1]}}}"


_ESCAPE = re.compile(r"\\(?:u....|.)")


@lru_cache(1024)
def _time_text(value: datetime | None) -> str | None:
    """Cached, because most rows of a poll share the same few times."""
    return None if value is None else time_text(value)


@lru_cache(1024)
def _list_text(value: Sequence[Any] | None) -> str | None:
    return None if value is None else list_text(value)
