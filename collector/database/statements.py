"""Statements that the two databases spell differently."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from collector.database.sessions import INTRODUCTION_LOCK
from collector.database.url import is_sqlite


def insert_if_new(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows; existing ones stay unchanged."""
    statement = sqlite.insert if is_sqlite(connection) else postgresql.insert
    if rows:
        connection.execute(statement(table).on_conflict_do_nothing(), rows)


def forget_deleted(connection: sa.Connection) -> None:
    """Let SQLite overwrite what this connection deletes from now on with zeros, instead of leaving it in free pages."""
    if is_sqlite(connection):
        connection.exec_driver_sql("PRAGMA secure_delete = ON").close()


def one_at_a_time(connection: sa.Connection) -> None:
    """Wait for other write transactions that reached this point; SQLite allows only one anyway."""
    if not is_sqlite(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({INTRODUCTION_LOCK})")


def number_on(connection: sa.Connection, table: sa.Table) -> None:
    """After rows with ids were copied in: let PostgreSQL number new ones after the highest id."""
    if not is_sqlite(connection):
        connection.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), (SELECT MAX(id) FROM {table.name}))"  # noqa: S608 - our own table
        )
