"""Giving room that deleted rows have left back to the file system."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.transactions import friendly
from collector.database.url import sqlite_path


def vacuum(engine: sa.Engine) -> tuple[int, int] | None:
    """Write a SQLite file again without its free pages; returns its size before and after.

    None: on PostgreSQL nothing is done, whose autovacuum lets the room be used again. Needs room for a second copy,
    and keeps writers out meanwhile. Raises DatabaseError where others use the file for too long.
    """
    path = sqlite_path(engine)
    if path is None:
        return None
    before = path.stat().st_size
    with friendly(engine):
        raw = engine.raw_connection()
        try:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                raw.cursor().execute(statement).close()
        finally:
            raw.close()
    return before, path.stat().st_size
