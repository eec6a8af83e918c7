"""A consistent copy of a SQLite file that is used."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.database.url import sqlite_path
from collector.errors import DatabaseError, UsageError


def backup(engine: sa.Engine, target: Path, finish: Callable[[sa.Engine], object] = lambda copy: None) -> int:
    """Copy a SQLite database while it is used, consistently; returns the size in bytes.

    `finish`: is given the copy before it has its name.

    Raises UsageError for PostgreSQL and where the target exists, DatabaseError where the copy is not sound.
    """
    path = sqlite_path(engine)
    if path is None:
        raise UsageError("only a SQLite file can be backed up so; for PostgreSQL use pg_dump")
    if target.exists():
        raise UsageError(f"{target} exists already; choose another name")
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")  # nobody else's
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy, pages=1000)
            verdict = copy.execute("PRAGMA quick_check").fetchone()[0]
            if verdict != "ok":
                raise DatabaseError(f"the copy is not sound: {verdict}")
        copied = open_engine(sa.URL.create("sqlite", database=str(part)))
        finish(copied)
        copied.dispose()
        part.rename(target)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"{path} can't be copied to {target}: {error}") from error
    finally:
        for end in ("", "-wal", "-shm"):
            with suppress(OSError):
                part.with_name(part.name + end).unlink(missing_ok=True)
    return target.stat().st_size
