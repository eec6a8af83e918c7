"""An engine with our connection settings, for either database."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.url import is_sqlite, parse_url


def open_engine(url: str | sa.URL, *, read_only: bool = False, may_create: bool = True) -> sa.Engine:
    """An engine with our connection settings. `read_only`: for questions; never creates a file.

    Raises DatabaseError if a SQLite file does not exist, unless `may_create`.
    """
    url = parse_url(url) if isinstance(url, str) else url
    if is_sqlite(url):
        from collector.database.sqlite import open_sqlite

        return open_sqlite(url, read_only=read_only, may_create=may_create and not read_only)
    from collector.database.postgresql import open_postgresql  # imports the driver

    return open_postgresql(url, read_only=read_only)
