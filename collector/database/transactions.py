"""Transactions that read, write or migrate, and the errors of failed ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa

from collector.database import timeouts
from collector.database.sessions import STANDBY, is_of_a_standby
from collector.database.url import not_allowed, place, sqlite_path
from collector.errors import DatabaseAwayError, DatabaseError


def checkpoint(engine: sa.Engine) -> None:
    """Copy committed data from SQLite's write-ahead log into the database file, as far as no reader needs the old
    data.

    Deleting the log then loses little. On PostgreSQL there is nothing to do. If the file can't be written now, the
    log keeps the data. Raises DatabaseError if the file is damaged.
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
    """The same engine, with write transactions that wait for a lock at most this long, and no longer than before."""
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
    """A write transaction that deletes rows together with everything that refers to them: SQLite does not check that.

    The caller decides which rows stay. Checking every table for every deleted row would take hours.
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
    """Turn a database error about its own state into a message without a traceback or a password.

    Errors about a row (DataError, IntegrityError) are bugs and are raised unchanged, except that SQLite finds a row
    too large only if the file is damaged.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        is_too_large = getattr(error.orig, "sqlite_errorcode", 0) == sqlite3.SQLITE_TOOBIG
        if isinstance(error, (sa.exc.DataError, sa.exc.IntegrityError)) and not is_too_large:
            raise
        if is_of_a_standby(error.orig, error.statement):
            raise DatabaseError(STANDBY) from error
        said = " ".join(str(error.orig).split()) + ": the file is damaged" * is_too_large
        path = sqlite_path(engine)
        if path is not None and getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _OF_FILE_MODES:
            said += not_allowed(path)
        if (facts := getattr(error.orig, "diag", None)) and facts.message_primary:
            # Without the statement that failed, and the place in it.
            said = "; ".join(filter(None, (facts.message_primary, facts.message_detail)))
        said += "".join(f"; {todo}" for part, todo in _REMEDIES.items() if part in said)
        kind = DatabaseAwayError if _is_away(error) else DatabaseError
        raise kind(f"the database {place(engine.url)} can't be used: {said}") from error
    except UnicodeDecodeError as error:
        raise DatabaseError(f"the database {place(engine.url)} can't be used: {undecoded(error)}") from error


def _is_away(error: sa.exc.DBAPIError) -> bool:
    """True if no server answered, or another process holds the lock of the whole SQLite file."""
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
    return isinstance(error, sa.exc.OperationalError) and getattr(error.orig, "sqlstate", None) is None


def undecoded(error: UnicodeDecodeError) -> str:
    """What SQLite says about a damaged schema: it quotes bytes that are no text, which Python can't read. Any other
    error is raised again."""
    if not error.object.startswith(b"malformed database schema"):
        raise error
    return error.object.decode("utf-8", "replace")


_OF_FILE_MODES = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
_REMEDIES = {
    "permission denied for schema": "make the collector's role the owner: ALTER DATABASE … OWNER TO …",
    "permission denied for table": "`collector doctor` names every privilege that this role lacks",
    "permission denied for view": "`collector doctor` names every privilege that this role lacks",
    "permission denied for sequence": "`collector doctor` names every privilege that this role lacks",
    "in statement pooling mode": "PgBouncer needs pool_mode = transaction for this database",
    "unsupported startup parameter": "unset PGOPTIONS, or let PgBouncer ignore it (ignore_startup_parameters)",
    "certificate verify failed": "sslrootcert or PGSSLROOTCERT must name the certificate of the server's authority",
    "no password supplied": "write it into the URL, PGPASSWORD, or a ~/.pgpass that only this user may read",
}
"""What to do about an error of PostgreSQL, by a part of what it says in English."""
