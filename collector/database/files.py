"""The files of a SQLite connection: which they are, if they are still the same, and reading a file's contents."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event

from collector.database import wal
from collector.database.transactions import undecoded
from collector.database.url import sqlite_path
from collector.errors import DatabaseError


def watch(engine: sa.Engine, path: Path, *, read_only: bool) -> None:
    """Watch the files of each connection.

    SQLite goes on writing into deleted or replaced files, and a file that was opened read-only or damaged stays that
    way for the connection after it was repaired.

    A connection whose files are gone is closed together with all others before a new one is opened, also those of
    other engines, because connections of one process share what they know of the write-ahead log. Closing the last one
    still saves what only the lost log held. A truncated file is noticed by its size, since SQLite goes on with the
    pages that it has in memory.
    """
    was_there, size = False, 0
    with _guard:
        _engines.add(engine)

    def close_all() -> None:
        with _guard:
            engines = list(_engines)
        for each in engines:
            own = sqlite_path(each)
            if own is not None and own.absolute() == path.absolute():
                each.pool.dispose()  # disposes of all idle connections

    @event.listens_for(engine, "do_connect")
    def do_connect(*_: Any) -> None:
        if was_there and _is_gone(path):
            raise DatabaseError(
                f"the database {path} is gone: it was deleted or moved away while in use; put it back "
                "(otherwise a new history begins after a restart)"
            )

    @event.listens_for(engine, "connect")
    def connect(_: Any, record: Any) -> None:
        nonlocal was_there
        record.info["file"] = _identity(path)
        was_there = was_there or record.info["file"] is not None

    @event.listens_for(engine, "checkin")
    def checkin(raw: Any, record: Any) -> None:
        if raw is not None and None in record.info.get("log", (None,)):
            record.info["log"] = _log_of(
                path
            )  # they don't exist before the first transaction that needs them
        elif raw is not None and _has_lost(record.info["log"], path):
            record.invalidate()  # others may wait for that

    @event.listens_for(engine, "checkout")
    def checkout(_raw: Any, record: Any, _proxy: Any) -> None:
        nonlocal size
        is_same = record.info.get("file") == _identity(path)
        has_lost = is_same and _has_lost(record.info.get("log", ()), path)
        if is_same and not has_lost and not read_only and not wal.is_sound(path):
            wal.forget(path)
            has_lost = True
        if is_same and "file" in record.info and not has_lost:
            before, size = size, path.stat().st_size
            if size >= before or (size and _is_whole(path)):
                return
            now, size = size, before
            close_all()
            record.invalidate()
            raise DatabaseError(
                f"the database {path} was truncated from {before:,} to {now:,} bytes while in use; restore a backup"
            )
        close_all()  # the next line closes this one
        if is_same and "file" in record.info:
            record.invalidate()
            raise DatabaseError(
                f"the write-ahead log of the database {path} (its -wal or -shm file) was removed or replaced "
                "while in use; the files are opened again. Leave these files alone while a collector runs, and run "
                "`collector audit verify`"
            )
        raise sa.exc.DisconnectionError  # makes the pool open the file again

    @event.listens_for(engine, "handle_error")
    def handle_error(context: sa.engine.ExceptionContext) -> None:
        code = getattr(context.original_exception, "sqlite_errorcode", 0)
        if code & 0xFF in _OF_THE_FILE and context.connection is not None:
            context.connection.info.pop("file", None)  # not used again after its transaction


def _log_of(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """The identities of the current write-ahead log and its index."""
    return tuple(_identity(path.with_name(f"{path.name}-{end}")) for end in ("wal", "shm"))


def _has_lost(known: Sequence[tuple[int, int] | None], path: Path) -> bool:
    """True if a file that a connection knows was removed or replaced. A file that appeared later does not count."""
    return any(one is not None and one != other for one, other in zip(known, _log_of(path), strict=False))


@contextmanager
def peek(path: Path) -> Iterator[sa.Connection]:
    """A connection that reads any SQLite file and leaves no files beside it.

    Raises DatabaseError if it is not a SQLite database.
    """
    # If no other program has it open, reading must not create files beside it.
    mode = "mode=ro" if path.with_name(path.name + "-wal").exists() else "mode=ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True))
    try:
        with engine.connect() as connection:
            yield connection
    except sa.exc.DBAPIError as error:
        raise DatabaseError(f"{path} can't be read as a SQLite database: {error.orig}") from error
    except UnicodeDecodeError as error:
        raise DatabaseError(f"{path} can't be read as a SQLite database: {undecoded(error)}") from error
    finally:
        engine.dispose()


def is_blank(connection: sa.Connection) -> bool:
    """True if a SQLite database is completely empty."""
    return not connection.exec_driver_sql("SELECT COUNT(*) FROM sqlite_master").scalar()


_engines, _guard = WeakSet[sa.Engine](), Lock()
_OF_THE_FILE = frozenset(
    (
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    )
)
"""Errors after which a connection is no longer trusted: the low byte of SQLite's error code."""


def _is_gone(path: Path) -> bool:
    """True if the file does not exist; if that is unknown, SQLite reports why."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _is_whole(path: Path) -> bool:
    """True if the whole database can be read: a vacuumed one is smaller as well."""
    try:
        # Not by opening the file itself: closing it would release the locks that SQLite holds in this process.
        with closing(sqlite3.connect(path)) as fresh:
            return bool(fresh.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the current file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
