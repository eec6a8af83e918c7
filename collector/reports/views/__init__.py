"""The views and functions that people query, one .sql file each, and how they get into a database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources

import sqlalchemy as sa

from collector.errors import SchemaError
from collector.reports.views.bodies import altered
from collector.reports.views.declared import Column, columns
from collector.reports.views.text import FUNCTIONS, NAMES, definition, head, source_text, what_a_row_is

__all__ = [
    "FUNCTIONS",
    "NAMES",
    "Column",
    "altered",
    "are_current",
    "columns",
    "definition",
    "digest",
    "drop",
    "expected_digest",
    "head",
    "install",
    "source_text",
    "statements",
    "what_a_row_is",
]


def install(connection: sa.Connection) -> None:
    """Put the newest text of every view, and on PostgreSQL of every function, in place.

    On PostgreSQL they are replaced, so that grants and other people's views stay. This is impossible if columns were
    removed or changed: then they are created again and their grants restored. Raises SchemaError with the names of
    other people's views that depend on ours and would have to go.
    """
    if connection.dialect.name == "sqlite":
        _drop(connection)
        for name in NAMES:
            for statement in statements(name, "sqlite"):
                connection.exec_driver_sql(statement)
        return
    try:
        with connection.begin_nested():
            _create(connection)
    except sa.exc.DBAPIError:
        grants = _grants(connection)
        drop(connection)
        _create(connection)
        for grant in grants:
            connection.exec_driver_sql(grant)


def drop(connection: sa.Connection) -> None:
    """Remove all our views. Raises SchemaError if other people's views depend on them."""
    if connection.dialect.name == "postgresql":
        others = _dependents(connection)
        if others:
            raise SchemaError(
                f"these depend on views or functions of the collector that must be created again: {', '.join(others)}; "
                "drop them, upgrade, and create them again"
            )
    _drop(connection)


def are_current(connection: sa.Connection) -> bool:
    """True if every view, and on PostgreSQL every function, is in place with its newest text.

    PostgreSQL does not keep the original text, so a digest of all texts is stored beside the revision of the schema.
    """
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
        there = {row[0]: row[1] for row in rows}
        return _digest(there.get(name) or "" for name in NAMES) == expected_digest("sqlite")
    names = connection.scalars(
        sa.text(
            "SELECT relname FROM pg_class"
            " WHERE relkind = 'v' AND relnamespace = QUOTE_IDENT(CURRENT_SCHEMA())::regnamespace"
            " UNION ALL SELECT proname FROM pg_proc"
            " WHERE pronamespace = QUOTE_IDENT(CURRENT_SCHEMA())::regnamespace"
        )
    )
    if not {*NAMES, *FUNCTIONS} <= set(names):
        return False
    # As JSON, so that a schema without the column says no instead of failing.
    digests = connection.scalars(
        sa.text("SELECT to_jsonb(a) ->> 'views_digest' FROM alembic_version a")
    ).all()
    return digests == [expected_digest("postgresql")]


def expected_digest(dialect: str) -> str:
    """`digest` as it was when the texts were last changed, so that writers need not render them at every start."""
    kept: str = json.loads(resources.files(__package__).joinpath("digests.json").read_text("utf-8"))[dialect]
    return kept


def digest(dialect: str) -> str:
    """SHA-256 over all statements that create views and functions."""
    names = NAMES if dialect == "sqlite" else (*NAMES, *FUNCTIONS)
    return _digest(statement for name in names for statement in statements(name, dialect))


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def statements(name: str, dialect: str) -> Iterator[str]:
    """The statements that create a view or function with its comments."""
    text = definition(name, dialect)
    if dialect == "sqlite":
        yield f"CREATE VIEW {name} AS\n{text}"
    elif name in FUNCTIONS:
        yield text
        yield f"COMMENT ON FUNCTION {name} IS {_quoted(what_a_row_is(name))}"
    else:
        yield f"CREATE OR REPLACE VIEW {name} AS\n{text}"
        yield f"COMMENT ON VIEW {name} IS {_quoted(what_a_row_is(name))}"
        for column in columns(name):
            yield f"COMMENT ON COLUMN {name}.{column.name} IS {_quoted(column.comment)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _create(connection: sa.Connection) -> None:
    for name in (*NAMES, *FUNCTIONS):
        for statement in statements(name, "postgresql"):
            connection.exec_driver_sql(statement.replace("%", "%%"))
    newest = {"digest": expected_digest("postgresql")}
    connection.execute(sa.text("UPDATE alembic_version SET views_digest = :digest"), newest)


def _drop(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        for name in FUNCTIONS:
            connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {name}")
    for name in reversed(NAMES):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")


def _grants(connection: sa.Connection) -> Sequence[str]:
    """The GRANT statements for the privileges that our views, and single columns of them, have now."""
    rows = connection.execute(
        sa.text(
            "WITH given AS ("
            "   SELECT c.relname, c.relnamespace, c.relowner, NULL AS column_name, acl.*"
            "   FROM pg_class c, aclexplode(c.relacl) AS acl WHERE c.relkind = 'v'"
            "   UNION ALL"
            "   SELECT c.relname, c.relnamespace, c.relowner, a.attname, acl.*"
            "   FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) AS acl"
            "   WHERE c.relkind = 'v'"
            ") "
            "SELECT format('GRANT %s%s ON %I.%I TO %s%s', privilege_type,"
            "   CASE WHEN column_name IS NULL THEN '' ELSE format(' (%I)', column_name) END, nspname, relname,"
            "   CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,"
            "   CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), column_name"
            " FROM given JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = CURRENT_SCHEMA() AND relname = ANY(:names) AND grantee <> relowner"
            " UNION ALL"
            # By default everybody may call a new function. If that right was revoked, it stays revoked.
            " SELECT format('REVOKE ALL ON FUNCTION %I.%I FROM PUBLIC', nspname, proname), NULL"
            " FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace"
            " WHERE nspname = CURRENT_SCHEMA() AND proname = ANY(:functions) AND proacl IS NOT NULL"
            " UNION ALL"
            " SELECT format('GRANT EXECUTE ON FUNCTION %I.%I TO %s%s', nspname, proname,"
            "   CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,"
            "   CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), NULL"
            " FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace, aclexplode(p.proacl)"
            " WHERE nspname = CURRENT_SCHEMA() AND proname = ANY(:functions) AND grantee <> proowner"
        ),
        {"names": list(NAMES), "functions": list(FUNCTIONS)},
    )
    return [row[0] for row in rows]


def _dependents(connection: sa.Connection) -> Sequence[str]:
    """Other people's views and functions that depend on ours."""
    rows = connection.execute(
        sa.text(
            "WITH ours AS ("
            "   SELECT 'pg_class'::regclass AS kind, oid FROM pg_class"
            "   WHERE relname = ANY(:names) AND relnamespace = QUOTE_IDENT(CURRENT_SCHEMA())::regnamespace"
            "   UNION ALL"
            "   SELECT 'pg_proc'::regclass, oid FROM pg_proc"
            "   WHERE proname = ANY(:functions) AND pronamespace = QUOTE_IDENT(CURRENT_SCHEMA())::regnamespace"
            ") "
            "SELECT format('%I.%I', n.nspname, c.relname)"
            " FROM ours JOIN pg_depend d ON d.refclassid = ours.kind AND d.refobjid = ours.oid"
            " JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid"
            " JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.oid NOT IN (SELECT oid FROM ours)"
            " UNION"
            " SELECT format('%I.%I', n.nspname, p.proname)"
            " FROM ours JOIN pg_depend d ON d.refclassid = ours.kind AND d.refobjid = ours.oid"
            " JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid"
            " JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE p.oid NOT IN (SELECT oid FROM ours)"
            " ORDER BY 1"
        ),
        {"names": list(NAMES), "functions": list(FUNCTIONS)},
    )
    return [row[0] for row in rows]
