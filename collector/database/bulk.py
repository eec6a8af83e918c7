"""Many rows at once: one statement a table, built once, and each value converted once.

SQLAlchemy looks at every value of every row that it is given; for ten thousand rows that takes longer than the
database does.

SQLite takes rows one after another, each at little cost. PostgreSQL would parse and plan the statement again for each:
it takes all rows as one parameter, a JSON list, in a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.clock import time_text
from collector.database.types import JsonList, UtcTime, list_text
from collector.database.url import is_sqlite

Act = Literal["delete", "update", "insert"]
Rows = Sequence[tuple[Any, ...]]
_ROWS_AT_ONCE = 1000
_DIALECT: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
_SQLITE: dict[Act, str] = {
    "delete": "DELETE FROM {table} WHERE {is_it}",
    "update": "UPDATE {table} SET {changes} WHERE {is_it}",
    "insert": "INSERT INTO {table} ({names}) VALUES ({values})",
}
_POSTGRESQL: dict[Act, str] = {
    "delete": "DELETE FROM {table} USING {rows} WHERE {is_it}",
    "update": "UPDATE {table} SET {changes} FROM {rows} WHERE {is_it}",
    "insert": "INSERT INTO {table} ({names}) SELECT {values} FROM {rows}",
}


def write(connection: sa.Connection, act: Act, table: sa.Table, names: tuple[str, ...], rows: Rows) -> None:
    """Insert rows, update them or delete them. `names`: their columns; those of the primary key are among them."""
    on_sqlite = is_sqlite(connection)
    statement = _statement(act, table, names, on_sqlite)
    converters = _converters(table, names, on_sqlite)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        columns: list[Any] = list(zip(*rows[start : start + _ROWS_AT_ONCE], strict=True))
        for place, convert in converters:
            columns[place] = [None if value is None else convert(value) for value in columns[place]]
        some = list(zip(*columns, strict=True))
        if on_sqlite:
            connection.exec_driver_sql(statement, some)
        else:
            objects = [dict(zip(names, row, strict=True)) for row in some]
            connection.exec_driver_sql(statement, (msgspec.json.encode(objects).decode(),))


@lru_cache(maxsize=200)
def _statement(act: Act, table: sa.Table, names: tuple[str, ...], on_sqlite: bool) -> str:
    value = {name: f"?{n}" if on_sqlite else f"new.{name}" for n, name in enumerate(names, 1)}
    key = [c.name for c in table.primary_key.columns]
    types = (f"{name} {table.c[name].type.compile(_DIALECT)}" for name in names)
    return (_SQLITE if on_sqlite else _POSTGRESQL)[act].format(
        table=table.name,
        names=", ".join(names),
        values=", ".join(value.values()),
        changes=", ".join(f"{name} = {value[name]}" for name in names if name not in key),
        is_it=" AND ".join(f"{table.name}.{name} = {value[name]}" for name in key),
        rows=f"json_to_recordset(%s) AS new({', '.join(types)})",
    )


@lru_cache(maxsize=200)
def _converters(
    table: sa.Table, names: tuple[str, ...], on_sqlite: bool
) -> Sequence[tuple[int, Callable[[Any], Any]]]:
    """The places of columns whose values are not taken as they are."""
    kinds = [(place, table.c[name].type) for place, name in enumerate(names)]
    lists = [(place, _list_text) for place, kind in kinds if isinstance(kind, JsonList)]
    times = [(place, _time_text) for place, kind in kinds if isinstance(kind, UtcTime)]
    return [*lists, *times] if on_sqlite else lists


_time_text, _list_text = lru_cache(1024)(time_text), lru_cache(1024)(list_text)
"""Most rows of a poll have the same times, and lists are few."""
