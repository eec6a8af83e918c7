"""One statement of a person's, in a transaction that can't write.

On SQLite an authorizer refuses everything but reading when the statement is compiled: writing, ATTACH, PRAGMA and
extensions. On PostgreSQL the transaction is READ ONLY, and its protocol takes one statement. That does not refuse
functions with side effects (pg_terminate_backend, dblink, lo_export): the role decides who may call them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from collector.database.limited import reading_at_most
from collector.database.url import is_sqlite
from collector.errors import TooLongError, UsageError

_HARMLESS = (
    *(sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE),
    sqlite3.SQLITE_FUNCTION,
)
_MISSING_ON_SQLITE = re.compile(r"no such (table|column|function): (\S+)")
_MISSING_ON_POSTGRESQL = {"42P01": "relation", "42703": "column", "42883": "function"}


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of an answer."""

    names: tuple[str, ...]
    """Names of its columns."""
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool
    """True if there are more."""


class RefusedError(UsageError):
    """The database refused a statement."""

    def __init__(self, said: str, what: str | None = None, name: str | None = None) -> None:
        super().__init__(said)
        self.said, self.what, self.name = said, what, name
        """In words; and which `relation`, `column` or `function` is missing, if one is."""


def ask(engine: sa.Engine, sql: str, values: Mapping[str, object], *, most: int, seconds: float) -> Result:
    """Ask one statement for at most some rows. `sql`: with parameters as the driver of this database writes them.

    Raises RefusedError, and TooLongError if it takes longer than `seconds`.
    """
    with reading_at_most(engine, seconds) as connection:
        raw: Any = connection.connection.dbapi_connection
        read = _on_sqlite if is_sqlite(connection) else _on_postgresql
        with read(raw, sql, values, seconds) as (names, rows):
            found = tuple(islice(rows, most + 1))
    return Result(names, found[:most], len(found) > most)


@contextmanager
def _on_sqlite(
    raw: sqlite3.Connection, sql: str, values: Mapping[str, object], seconds: float
) -> Iterator[tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]]:
    raw.set_authorizer(_may)
    try:
        with closing(raw.execute(sql, dict(values))) as cursor:
            yield tuple(column[0] for column in cursor.description or ()), cursor
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            raise TooLongError(_too_long(seconds)) from error
        raise _refused_by_sqlite(error) from error
    finally:
        raw.set_authorizer(None)


def _may(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _HARMLESS else sqlite3.SQLITE_DENY


def _refused_by_sqlite(error: sqlite3.Error) -> RefusedError:
    said = str(error)
    if "not authorized" in said or "prohibited" in said:
        return RefusedError("refused: collector sql only reads")
    if "has no name" in said:
        return RefusedError("a parameter without a name has no value; write it like :name")
    if missing := _MISSING_ON_SQLITE.search(said):
        return RefusedError(said, {"table": "relation"}.get(missing[1], missing[1]), missing[2].rstrip("()"))
    return RefusedError(said)


@contextmanager
def _on_postgresql(
    raw: Any, sql: str, values: Mapping[str, object], seconds: float
) -> Iterator[tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]]:
    import psycopg

    try:
        # One row at a time, by the protocol that takes a single statement.
        with raw.cursor() as cursor, closing(cursor.stream(sql, values)) as rows:
            first = list(islice(rows, 1))
            names = tuple(column.name for column in cursor.description or ())
            yield names, (row for part in (first, rows) for row in part)
    except psycopg.Error as error:
        if error.sqlstate == "57014":  # query_canceled
            raise TooLongError(_too_long(seconds)) from error
        said = error.diag.message_primary or str(error)
        named = re.search(r'"([^"]+)"|column (\S+)|(\S+)\(', said)
        name = next((each for each in named.groups() if each), None) if named else None
        raise RefusedError(said, _MISSING_ON_POSTGRESQL.get(error.sqlstate or ""), name) from error


def _too_long(seconds: float) -> str:
    return f"the database took longer than {seconds:g} s for this statement"
