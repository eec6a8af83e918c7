"""Opening SQLite: WAL, foreign keys on, synchronous FULL; only write transactions are BEGIN IMMEDIATE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from collector.database import timeouts
from collector.database.files import watch
from collector.database.url import is_nowhere, sqlite_path
from collector.errors import DatabaseError


def open_sqlite(url: sa.URL, *, read_only: bool, may_create: bool) -> sa.Engine:
    path = sqlite_path(url)
    if path is not None:
        if not may_create and not path.exists() and not is_nowhere(path):
            raise DatabaseError(_missing(path))
        if path.is_dir():
            raise DatabaseError(
                f"the database {path} can't be used: it is a folder, and COLLECTOR_DATABASE_URL has to name a file"
            )
        if is_nowhere(path):
            raise DatabaseError(
                f"the current folder is gone, and {path} is relative to it: write an absolute path"
            )
        if not path.parent.is_dir():
            raise DatabaseError(f"the folder {path.parent} for the database does not exist")
    pool: dict[str, Any] = {} if path is not None else {"poolclass": sa.pool.StaticPool}
    engine = sa.create_engine(
        url, connect_args={"timeout": timeouts.LOCK_SECONDS, "check_same_thread": False}, **pool
    )

    @event.listens_for(engine, "connect")
    def connect(raw: Any, _: Any) -> None:
        raw.isolation_level = None  # we execute BEGIN ourselves
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
            if not (read_only and pragma.startswith("journal_mode")):
                raw.execute(f"PRAGMA {pragma}").close()
        if read_only:
            raw.execute("PRAGMA query_only = ON").close()

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        writes = options.get("writes") or options.get("migrates")
        if writes:
            raw: Any = connection.connection.dbapi_connection
            raw.execute(f"PRAGMA busy_timeout = {timeouts.lock_milliseconds(options)}").close()
        if options.get("prunes"):
            raw.execute(
                "PRAGMA foreign_keys = OFF"
            ).close()  # for this transaction only: `transactions.pruning`
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    if path is not None:
        watch(engine, path, read_only=read_only)
    return engine


def _missing(path: Path) -> str:
    where = "" if path.is_absolute() else f" in {Path.cwd()}"
    return f"there is no database {path}{where}: COLLECTOR_DATABASE_URL names it, and `collector poll` creates it"
