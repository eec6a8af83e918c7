"""Returns the room of deleted rows to the file system."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.transactions import friendly
from collector.database.url import sqlite_path


def vacuum(engine: sa.Engine) -> tuple[int, int] | None:
    """Rewrite a SQLite file without its free pages; returns its size before and after.

    None on PostgreSQL, where nothing is done because autovacuum makes the room reusable. It needs room for a second
    copy and keeps writers out meanwhile. Raises DatabaseError if others use the file for too long.
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
