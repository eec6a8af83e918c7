"""The views that people query, one .sql file each, and how they get into a database.

The files are written once for both dialects, with a few words that are spelled for each:

    SECONDS_BETWEEN(a, b)   seconds from time a to time b, with microseconds; plain column names only
    UTC_TIME                the type of a time, for CAST
    NOW                     the database's clock
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources

import sqlalchemy as sa

from collector.errors import SchemaError

NAMES = (
    "current_regions",
    "region_transitions",
    "keystone_transitions",
    "coverage_gaps",
    "region_state_intervals",
)
"""In the order in which they build on one another."""

_SQLITE = (
    (
        r"SECONDS_BETWEEN\(([\w.]+), ([\w.]+)\)",
        r"(CAST(strftime('%s', substr(\2, 1, 19)) AS INTEGER) - CAST(strftime('%s', substr(\1, 1, 19)) AS INTEGER)"
        r" + (CAST(substr(\2, 21, 6) AS REAL) - CAST(substr(\1, 21, 6) AS REAL)) / 1000000)",
    ),
    (r"\bUTC_TIME\b", "TEXT"),
    (r"\bNOW\b", "(strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z')"),
)
_POSTGRESQL = (
    (r"SECONDS_BETWEEN\(([\w.]+), ([\w.]+)\)", r"CAST(EXTRACT(EPOCH FROM (\2 - \1)) AS DOUBLE PRECISION)"),
    (r"\bUTC_TIME\b", "TIMESTAMP WITH TIME ZONE"),
    (r"\bNOW\b", "CURRENT_TIMESTAMP"),
)


def source_text(name: str) -> str:
    """The .sql file of a view, as people read it."""
    return resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def what_a_row_is(name: str) -> str:
    """The first sentence of the file: what a row of the view is."""
    return source_text(name).splitlines()[0].removeprefix("-- ")


def definition(name: str, dialect: str) -> str:
    """The SELECT of a view in a dialect."""
    text = source_text(name).rstrip().rstrip(";")
    for word, spelled in _SQLITE if dialect == "sqlite" else _POSTGRESQL:
        text = re.sub(word, spelled, text)
    return text


def install(connection: sa.Connection) -> None:
    """Put the newest text of every view in place.

    On PostgreSQL they are replaced, so that grants and other people's views stay. Where columns were
    removed or changed that can't be: then they are made anew and their grants restored. Raises SchemaError,
    naming other people's views that stand on ours and would have to go.
    """
    dialect = connection.dialect.name
    if dialect == "sqlite":
        _drop(connection)
        for name in NAMES:
            connection.exec_driver_sql(f"CREATE VIEW {name} AS\n{definition(name, dialect)}")
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
    """Remove all our views. Raises SchemaError where other people's views stand on them."""
    if connection.dialect.name == "postgresql":
        others = _dependents(connection)
        if others:
            raise SchemaError(
                f"these views stand on views of the collector that have to be made anew: {', '.join(others)}; "
                "drop them, upgrade, and create them again"
            )
    _drop(connection)


def are_current(connection: sa.Connection) -> bool:
    """Whether every view is in place with its newest text."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
        expected = {name: f"CREATE VIEW {name} AS\n{definition(name, 'sqlite')}" for name in NAMES}
    else:
        rows = connection.exec_driver_sql(
            "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class"
            " WHERE relkind = 'v' AND relnamespace = CURRENT_SCHEMA()::regnamespace"
        )
        expected = {name: _comment(name) for name in NAMES}
    there = {row[0]: row[1] for row in rows}
    return all(there.get(name) == text for name, text in expected.items())


def _create(connection: sa.Connection) -> None:
    for name in NAMES:
        text = definition(name, "postgresql")
        connection.exec_driver_sql(f"CREATE OR REPLACE VIEW {name} AS\n{text}".replace("%", "%%"))
        quoted = _comment(name).replace("'", "''")
        connection.exec_driver_sql(f"COMMENT ON VIEW {name} IS '{quoted}'".replace("%", "%%"))


def _comment(name: str) -> str:
    digest = hashlib.sha256(definition(name, "postgresql").encode()).hexdigest()[:12]
    return f"{what_a_row_is(name)} [{digest}]"


def _drop(connection: sa.Connection) -> None:
    for name in reversed(NAMES):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")


def _grants(connection: sa.Connection) -> Sequence[str]:
    """The GRANT statements that give our views, and single columns of them, the privileges that they have now."""
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
        ),
        {"names": list(NAMES)},
    )
    return [row[0] for row in rows]


def _dependents(connection: sa.Connection) -> Sequence[str]:
    """Other people's views on ours."""
    rows = connection.execute(
        sa.text(
            "SELECT DISTINCT format('%I.%I', n.nspname, c.relname)"
            " FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class c ON c.oid = r.ev_class"
            " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class ours ON ours.oid = d.refobjid"
            " WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass"
            "   AND ours.relname = ANY(:names) AND ours.relnamespace = CURRENT_SCHEMA()::regnamespace"
            "   AND NOT (c.relname = ANY(:names) AND c.relnamespace = ours.relnamespace)"
            " ORDER BY 1"
        ),
        {"names": list(NAMES)},
    )
    return [row[0] for row in rows]
