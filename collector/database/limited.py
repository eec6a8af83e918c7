"""Reading for a limited time: a query that takes longer is cancelled with an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import sqlalchemy as sa

from collector.database.transactions import reading
from collector.database.url import is_sqlite
from collector.errors import TooLongError

_STEPS = 20_000
"""SQLite instructions between two time checks: about a millisecond."""


@contextmanager
def reading_at_most(engine: sa.Engine, seconds: float) -> Iterator[sa.Connection]:
    """A transaction that reads one consistent state. Raises TooLongError if a statement exceeds its time.

    PostgreSQL limits each statement; SQLite limits the time from here on.
    """
    with reading(engine) as connection:
        raw: Any = connection.connection.dbapi_connection
        on_sqlite = is_sqlite(connection)
        if on_sqlite:
            ends = monotonic() + seconds
            raw.set_progress_handler(lambda: monotonic() > ends, _STEPS)
        else:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(round(seconds * 1000), 1)}")
        try:
            yield connection
        except sa.exc.DBAPIError as error:
            if not _was_given_up(error):
                raise
            raise TooLongError(f"the database took longer than {seconds:g} s for this question") from error
        finally:
            if on_sqlite:
                raw.set_progress_handler(None, 0)


def _was_given_up(error: sa.exc.DBAPIError) -> bool:
    said: Any = error.orig
    return getattr(said, "sqlite_errorname", "") == "SQLITE_INTERRUPT" or (
        getattr(said, "sqlstate", "") == "57014"  # query_canceled
    )
