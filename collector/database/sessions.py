"""What we need from a PostgreSQL session, whatever the environment, a role, a database or the server set.

Everything is set within the transaction that needs it, because a pooler may give each transaction another session and
does not pass on the start-up settings of a role or an environment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from collector.database.url import is_sqlite
from collector.errors import SchemaError

if TYPE_CHECKING:
    import psycopg  # SQLite works without it

ENCODINGS = ("UTF8", "SQL_ASCII")
"""Supported database encodings. SQL_ASCII keeps bytes unchanged, and ours are UTF-8; all others lack characters."""

MIGRATION_LOCK = 0x67636F7265
"""Advisory lock of PostgreSQL: the letters of gcore."""
INTRODUCTION_LOCK = MIGRATION_LOCK + 1

_SPELLING = {
    "TimeZone": "UTC",  # times are returned in it, and not every zone can represent every time
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "row_security": "on",
}
"""How values are written and read."""


STANDBY = (
    "the database is a standby, which takes no writes: set COLLECTOR_DATABASE_URL to the primary; to a list of hosts, "
    "add ?target_session_attrs=primary"
)


def opening(*, reads: bool, timeouts: Mapping[str, str], server_version: int) -> str:
    """The statements that begin a transaction, with exactly these time-outs."""
    kind = "REPEATABLE READ, READ ONLY" if reads else "READ COMMITTED, READ WRITE"
    none = ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"]
    none += ["transaction_timeout"] if server_version >= 170000 else []
    values = {**_SPELLING, **dict.fromkeys(none, "0"), **timeouts}
    return "; ".join(
        [
            f"SET TRANSACTION ISOLATION LEVEL {kind}, NOT DEFERRABLE",
            *(f"SET LOCAL {name} = '{value}'" for name, value in values.items()),
        ]
    )


def is_of_a_standby(error: BaseException | None, statement: str | None) -> bool:
    """True if a server refused to begin a transaction that writes, as a standby does."""
    is_refused = getattr(error, "sqlstate", None) == "0A000"  # feature_not_supported
    return is_refused and (statement or "").startswith("SET TRANSACTION")


def speak_plainly(raw: psycopg.Connection[Any]) -> None:
    """Make a new session treat backslashes literally; SQLAlchemy reads that setting before its first transaction."""
    if raw.info.parameter_status("standard_conforming_strings") == "off":
        raw.execute("SET standard_conforming_strings = on")
        raw.commit()


def lossy_encoding(raw: psycopg.Connection[Any]) -> str | None:
    """Why text would be lost in this database, and what to do; None if all text can be stored."""
    encoding = raw.info.parameter_status("server_encoding")
    if encoding is None or encoding in ENCODINGS:
        return None
    return (
        f"the database {raw.info.dbname} is encoded in {encoding}, which can't represent every name: create one with "
        "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0; `collector db copy` copies a history into it"
    )


def hindrance(connection: sa.Connection) -> str | None:
    """Why a poll can't write to this database, and what to do; None if no reason is known."""
    if is_sqlite(connection):
        return None
    raw: Any = connection.connection.dbapi_connection
    if lossy := lossy_encoding(raw):
        return lossy
    if connection.exec_driver_sql("SELECT PG_IS_IN_RECOVERY()").scalar():
        return STANDBY
    return unusable_path(connection)


def check_path(connection: sa.Connection) -> None:
    """Raise SchemaError, with what to do, if the search path does not begin with a schema for our tables."""
    if why := unusable_path(connection):
        raise SchemaError(why)


def unusable_path(connection: sa.Connection) -> str | None:
    """Why the search path does not begin with a schema for our tables, and what to do; None if it does."""
    if is_sqlite(connection):
        return None
    row = connection.exec_driver_sql("SELECT CURRENT_SCHEMA(), CURRENT_SETTING('search_path'), CURRENT_USER")
    schema, path, role = row.one()
    if schema is None:
        return (
            f"no schema of the search path ({path}) exists and may be used by {role}: CREATE SCHEMA, GRANT USAGE, "
            "or ALTER ROLE … SET search_path"
        )
    if str(schema).startswith("pg_"):
        return (
            f"the search path ({path}) begins with a schema of PostgreSQL's own: leave that out, as it is searched "
            "first anyway, by ALTER ROLE … SET search_path"
        )
    return None


def missing_privileges(
    connection: sa.Connection, tables: Collection[str], views: Collection[str]
) -> list[str]:
    """Privileges that the collector needs and this role lacks, like `INSERT on observations`; those to read come first.

    Without our tables, that is the privilege to create them.
    """
    if is_sqlite(connection):
        return []
    query = """
        SELECT privilege || ' on ' || relname
        FROM pg_class, UNNEST(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'USAGE'])
            WITH ORDINALITY AS p (privilege, n)
        WHERE oid IN (SELECT to_regclass(name) FROM UNNEST(CAST(:names AS text[])) AS name)
            AND CASE
                WHEN relkind = 'S' THEN n = 5 AND NOT has_sequence_privilege(oid, 'USAGE, UPDATE')
                WHEN relname = ANY(CAST(:tables AS text[])) THEN n < 5 AND NOT has_table_privilege(oid, privilege)
                ELSE n = 1 AND NOT has_table_privilege(oid, privilege) END
        ORDER BY n, relname"""
    names = [*tables, *views, "alembic_version", "sources_id_seq"]
    lacking = list(connection.scalars(sa.text(query), {"names": names, "tables": list(tables)}))
    query = """
        SELECT 'CREATE on schema ' || CURRENT_SCHEMA()
        WHERE to_regclass('sources') IS NULL
            AND NOT has_schema_privilege(QUOTE_IDENT(CURRENT_SCHEMA())::regnamespace, 'CREATE')"""
    return lacking + list(connection.scalars(sa.text(query.replace("::", r"\:\:"))))


def tables_of_extensions(connection: sa.Connection) -> set[str]:
    """Tables in our schema that belong to extensions."""
    if is_sqlite(connection):
        return set()
    query = """
        SELECT relname FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
        WHERE d.deptype = 'e' AND relnamespace = QUOTE_IDENT(CURRENT_SCHEMA())::regnamespace"""
    return set(connection.scalars(sa.text(query)))
