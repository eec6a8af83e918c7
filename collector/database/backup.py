"""A consistent copy of a SQLite file that is in use."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.database.transactions import undecoded
from collector.database.url import sqlite_path
from collector.errors import DatabaseError, UsageError


def backup(engine: sa.Engine, target: Path, finish: Callable[[sa.Engine], object] = lambda copy: None) -> int:
    """Copy a SQLite database consistently while it is in use; returns the size in bytes.

    `finish`: called with the copy before it gets its final name.

    Raises UsageError for PostgreSQL or if the target exists, DatabaseError if the copy is damaged.
    """
    path = sqlite_path(engine)
    if path is None:
        raise UsageError("this command backs up SQLite files only; for PostgreSQL use pg_dump")
    if not target.parent.is_dir():
        why = "is not a folder" if target.parent.exists() else "does not exist"
        raise UsageError(f"{target} can't be written: {target.parent} {why}")
    if target.exists():
        raise UsageError(f"{target} exists already; choose another name")
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")  # a name that no other process uses
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy, pages=1000)
            verdict = copy.execute("PRAGMA quick_check").fetchone()[0]
            if verdict != "ok":
                raise DatabaseError(f"the copy is damaged: {verdict}")
        copied = open_engine(sa.URL.create("sqlite", database=str(part)))
        finish(copied)
        copied.dispose()
        part.rename(target)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"{path} can't be copied to {target}: {error}") from error
    except UnicodeDecodeError as error:
        raise DatabaseError(f"{path} can't be copied to {target}: {undecoded(error)}") from error
    finally:
        for end in ("", "-wal", "-shm"):
            with suppress(OSError):
                part.with_name(part.name + end).unlink(missing_ok=True)
    return target.stat().st_size
