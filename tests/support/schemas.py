"""What a schema is, as a database describes it."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import sqlalchemy as sa

from collector.database.transactions import reading
from tests.support import forks
from tests.support.paths import ROOT

Described = dict[str, Any]


def described(engine: sa.Engine) -> Described:
    """Everything that the database itself reports of our tables, in a form that can be compared."""
    with reading(engine) as connection:
        if connection.dialect.name == "sqlite":
            return _sqlite_described(connection)
        return _postgresql_described(connection)


def _sqlite_described(connection: sa.Connection) -> Described:
    rows = connection.exec_driver_sql(
        "SELECT type, name, tbl_name, sql FROM sqlite_master"
        " WHERE tbl_name <> 'alembic_version' AND type <> 'view' ORDER BY type, name"
    ).all()
    found: Described = {}
    for kind, name, table, sql in rows:
        if kind == "table":
            columns = connection.exec_driver_sql(f"PRAGMA table_xinfo({name})").all()
            foreign = connection.exec_driver_sql(f"PRAGMA foreign_key_list({name})")
            found[f"table {name}"] = {
                "parts": table_parts(sql),
                "columns": [tuple(c) for c in columns],
                "foreign keys": sorted(tuple(row)[1:] for row in foreign),
            }
        else:
            found[f"{kind} {name}"] = (table, _normal(sql))
    return found


def table_parts(sql: str) -> list[str]:
    """The columns of a CREATE TABLE in order, then its constraints sorted: their order has no meaning."""
    inside = _normal(sql[sql.index("(") + 1 : sql.rindex(")")])
    parts, depth, start = [], 0, 0
    for i, char in enumerate(inside):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and not depth:
            parts.append(inside[start:i].strip())
            start = i + 1
    parts.append(inside[start:].strip())
    is_constraint = re.compile(r"(CONSTRAINT|PRIMARY|FOREIGN|UNIQUE|CHECK)\b")
    columns = [p for p in parts if not is_constraint.match(p)]
    return columns + sorted(p for p in parts if is_constraint.match(p))


def _normal(sql: str | None) -> str:
    return " ".join((sql or "").replace('"', "").split())


_POSTGRESQL = {
    "tables": """
        SELECT c.relname, c.relkind, obj_description(c.oid, 'pg_class') FROM pg_class c
        WHERE c.relnamespace = CURRENT_SCHEMA()::regnamespace AND c.relkind IN ('r', 'S', 'p')
          AND c.relname <> 'alembic_version'
        ORDER BY 1""",
    "columns": """
        SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, col_description(c.oid, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = CURRENT_SCHEMA()::regnamespace AND c.relkind = 'r' AND a.attnum > 0
          AND c.relname <> 'alembic_version'
        ORDER BY 1, 2""",
    "constraints": """
        SELECT c.relname, n.conname, n.contype, n.condeferrable, n.convalidated, pg_get_constraintdef(n.oid)
        FROM pg_constraint n JOIN pg_class c ON c.oid = n.conrelid
        WHERE n.connamespace = CURRENT_SCHEMA()::regnamespace AND c.relname <> 'alembic_version'
        ORDER BY 1, 2""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = CURRENT_SCHEMA() AND tablename <> 'alembic_version'
        ORDER BY 1, 2""",
}


def _postgresql_described(connection: sa.Connection) -> Described:
    return {
        what: [tuple(row) for row in connection.exec_driver_sql(sql)] for what, sql in _POSTGRESQL.items()
    }


def described_views(engine: sa.Engine) -> dict[str, tuple[str, str | None]]:
    """Text and comment of every view."""
    with reading(engine) as connection:
        if connection.dialect.name == "sqlite":
            sql = "SELECT name, sql, NULL FROM sqlite_master WHERE type = 'view'"
        else:
            sql = (
                "SELECT relname, pg_get_viewdef(oid), obj_description(oid, 'pg_class') FROM pg_class"
                " WHERE relkind = 'v' AND relnamespace = CURRENT_SCHEMA()::regnamespace"
            )
        return {name: (text, comment) for name, text, comment in connection.exec_driver_sql(sql)}


def alembic(url: str, *arguments: str) -> None:
    """Run plain alembic in the checkout, as a developer does."""
    done = forks.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env=dict(os.environ, COLLECTOR_DATABASE_URL=url),
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
