"""Temporary databases: SQLite files in a folder of their own, deleted at the end."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from collector.database.engine import open_engine
from collector.database.url import sqlite_url
from collector.errors import DatabaseError


def statements_of(tables: Iterable[sa.Table]) -> tuple[str, ...]:
    """The statements that create these tables in a scratch database."""
    texts: list[Any] = []
    for table in tables:
        texts.append(CreateTable(table).compile(dialect=sqlite.dialect()))
        texts += [CreateIndex(index).compile(dialect=sqlite.dialect()) for index in table.indexes]
    return tuple(str(text) for text in texts)


@contextmanager
def scratch(statements: Iterable[str]) -> Iterator[sa.Connection]:
    """A temporary database on disk, created by these statements.

    Raises DatabaseError if there is no folder or no room for it.
    """
    with (
        _engine("scratch.db", "foreign_keys = OFF", "synchronous = OFF") as engine,
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
    ):
        for statement in statements:
            connection.exec_driver_sql(statement)
        yield connection


@contextmanager
def trial_engine() -> Iterator[sa.Engine]:
    """An engine on an empty database that need not survive a crash. Raises DatabaseError as `scratch` does."""
    with _engine("trial.db", "synchronous = OFF") as engine:
        yield engine


@contextmanager
def _engine(name: str, *pragmas: str) -> Iterator[sa.Engine]:
    try:
        folder = tempfile.mkdtemp(prefix="collector-")
    except OSError as error:
        raise DatabaseError(
            f"there is no folder for a scratch database: {error.strerror}; set TMPDIR to one with room for a copy of "
            "the history"
        ) from None
    engine = open_engine(sqlite_url(Path(folder) / name))

    @sa.event.listens_for(engine, "connect")
    def connect(raw: Any, _: Any) -> None:
        for pragma in pragmas:
            raw.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "handle_error")
    def handle_error(context: sa.engine.ExceptionContext) -> None:
        # Don't name the database that is being checked: that would mislead.
        if isinstance(context.original_exception, sqlite3.OperationalError):
            raise DatabaseError(
                f"the scratch database in {folder} can't be used: {context.original_exception}; set TMPDIR to a "
                "folder with room for a copy of the history"
            ) from None

    try:
        yield engine
    finally:
        engine.dispose()
        shutil.rmtree(folder, ignore_errors=True)
