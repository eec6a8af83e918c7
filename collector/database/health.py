"""What a database reports as wrong: damage, broken references, columns of another type."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

import sqlalchemy as sa

from collector.database.url import is_sqlite, sqlite_path


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, in bytes."""

    free: int
    """What an unprivileged process may still write."""
    total: int


def server_version(connection: sa.Connection) -> str:
    """The database and its version, for people."""
    if is_sqlite(connection):
        return f"SQLite {connection.scalar(sa.text('SELECT sqlite_version()'))}"
    return f"PostgreSQL {connection.scalar(sa.text('SHOW server_version'))}"


def size_bytes(connection: sa.Connection) -> int:
    """Size of the database in bytes; for SQLite the file without the write-ahead log."""
    if is_sqlite(connection):
        pages, size = (connection.scalar(sa.text(f"PRAGMA {name}")) for name in ("page_count", "page_size"))
        return int(pages or 0) * int(size or 0)
    return int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)


def disk_of(connection: sa.Connection) -> Disk | None:
    """The file system of a SQLite file; None for a database in memory or on a server, or if it can't be read."""
    path = sqlite_path(connection.engine)
    if path is None:
        return None
    try:
        usage = shutil.disk_usage(path.parent)
    except OSError:
        return None
    return Disk(usage.free, usage.total)


def is_too_old(version: str) -> bool:
    """True if a version, as `server_version` gives it, is older than PostgreSQL 14."""
    name, number = version.split(maxsplit=1)
    return name == "PostgreSQL" and int("".join(c if c.isdigit() else " " for c in number).split()[0]) < 14


def integrity_errors(
    connection: sa.Connection, metadata: sa.MetaData, *, thorough: bool = False
) -> list[str]:
    """What the database itself reports as wrong: damage (SQLite), broken references, missing tables.

    `thorough`: also checks indexes and constraints, row by row.
    """
    missing = set(metadata.tables) - set(sa.inspect(connection).get_table_names())
    errors = [f"table {name} is missing" for name in sorted(missing)]
    if is_sqlite(connection):
        pragma = "integrity_check" if thorough else "quick_check"
        for (text,) in connection.exec_driver_sql(f"PRAGMA {pragma}"):
            errors += [] if text == "ok" else [text]
        try:
            for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                errors.append(f"row {row[1]} of {row[0]} refers to a row of {row[2]} that does not exist")
        except sa.exc.OperationalError as error:  # the referenced key is gone
            errors.append(str(error.orig))
    return errors


def is_unreadable(error: sa.exc.DBAPIError) -> bool:
    """True if a stored value is invalid for its type: an infinite time, or text that is not UTF-8."""
    return isinstance(error, sa.exc.DataError) or "Could not decode" in str(error.orig)


def shape_errors(connection: sa.Connection, metadata: sa.MetaData) -> list[str]:
    """Tables whose columns have another type, so that equal values would not compare as equal, or that hide rows from
    some roles.
    """
    errors = []
    look = _sqlite_shape if is_sqlite(connection) else _postgresql_shape
    for table in metadata.sorted_tables:
        expected = {c.name: str(c.type.compile(connection.dialect)).lower() for c in table.columns}
        columns, remarks = look(connection, table.name)
        if columns:  # integrity_errors reports missing tables
            errors += [
                f"column {name} of {table.name} is {columns.get(name, 'missing')}, not {kind}"
                for name, kind in expected.items()
                if columns.get(name) != kind
            ]
            errors += [f"column {name} of {table.name} is not ours" for name in columns.keys() - expected]
        errors += [f"table {table.name} {remark}" for remark in remarks]
    return errors


def _sqlite_shape(connection: sa.Connection, table: str) -> tuple[dict[str, str], list[str]]:
    rows = connection.exec_driver_sql(f"PRAGMA table_xinfo({table})").all()
    columns = {row[1]: row[2].lower() + (" generated" if row[6] else "") for row in rows}
    text = connection.scalar(
        sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name"), {"name": table}
    )
    collates = re.search(r"\bCOLLATE\b", text or "", re.IGNORECASE)
    return columns, ["compares text in another way"] if collates else []


def _postgresql_shape(connection: sa.Connection, table: str) -> tuple[dict[str, str], list[str]]:
    query = """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod)
            || CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN ' of another collation' ELSE '' END
            || CASE WHEN a.attgenerated <> '' THEN ' generated' ELSE '' END
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = to_regclass(:name) AND a.attnum > 0 AND NOT a.attisdropped"""
    columns = {row[0]: row[1] for row in connection.execute(sa.text(query), {"name": table})}
    query = """
        SELECT CASE WHEN c.relkind <> 'r' THEN 'is no table' END,
            CASE WHEN c.relrowsecurity THEN 'does not show every row to everybody' END,
            CASE WHEN c.relhasrules THEN 'has rules' END,
            CASE WHEN c.relnamespace <> QUOTE_IDENT(CURRENT_SCHEMA())::regnamespace
                THEN 'is hidden by another of its name' END
        FROM pg_class c WHERE c.oid = to_regclass(:name)"""
    row = connection.execute(sa.text(query), {"name": table}).one_or_none()
    return columns, [remark for remark in row or () if remark]
