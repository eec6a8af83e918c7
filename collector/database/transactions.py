"""Transactions that read, write or migrate, and what the database says when one fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa

from collector.database import timeouts
from collector.database.url import place, sqlite_path
from collector.errors import DatabaseError


def checkpoint(engine: sa.Engine) -> None:
    """Bring all that was committed from SQLite's write-ahead log into the database file, as far as nobody reads what
    was before; on PostgreSQL there is nothing to do. Who removes the log then takes little with it.

    Where the file can't be written now, the log keeps it. Raises DatabaseError where the file is damaged.
    """
    if sqlite_path(engine) is None:
        return
    damage: Exception | None = None
    with suppress(DatabaseError), friendly(engine), engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        try:
            raw.execute("PRAGMA wal_checkpoint(PASSIVE)").close()
        except sqlite3.Error as error:
            connection.info.pop("file", None)  # not used again: see `files.watch`
            damage = error if error.sqlite_errorcode & 0xFF in _DAMAGED else None
    if damage is not None:
        raise DatabaseError(f"the database {place(engine.url)} is damaged: {damage}")


_DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


def waiting_at_most(engine: sa.Engine, seconds: float) -> sa.Engine:
    """The same engine, whose write transactions wait for a lock no longer than this, nor than before."""
    before = engine.get_execution_options().get("lock_seconds", timeouts.LOCK_SECONDS)
    return engine.execution_options(lock_seconds=min(seconds, before))


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that reads one consistent state."""
    with friendly(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A write transaction: commits at the end, rolls back on any exception."""
    with friendly(engine), engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def pruning(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A write transaction that takes rows out together with all that refers to them: SQLite does not look for those.

    Who prunes says which rows stay. To look for each row that goes through every table would take hours.
    """
    with friendly(engine), engine.connect().execution_options(writes=True, prunes=True) as connection:
        try:
            with connection.begin():
                yield connection
        finally:
            if sqlite_path(engine) is not None:
                raw: Any = connection.connection.dbapi_connection
                raw.execute("PRAGMA foreign_keys = ON").close()


@contextmanager
def migrating(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that changes the schema: one at a time, and as long as it takes."""
    with (
        friendly(engine),
        engine.connect().execution_options(migrates=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def friendly(engine: sa.Engine) -> Iterator[None]:
    """Turn what the database says of its own state into a message without a traceback or a password.

    What is wrong with a row (DataError, IntegrityError) is a bug, and stays loud.
    """
    try:
        yield
    except (sa.exc.DataError, sa.exc.IntegrityError):
        raise
    except sa.exc.DBAPIError as error:
        said = " ".join(str(error.orig).split())
        raise DatabaseError(f"the database {place(engine.url)} can't be used: {said}") from error
