"""The views that people query, one .sql file each, and how they get into a database.

The files are written once for both dialects, with a few words that are spelled for each:

    SECONDS_BETWEEN(a, b)   seconds from time a to time b, with microseconds; plain column names only
    CAST(… AS UTC_TIME)     a time; on SQLite, which has no such type to cast to, the text as it is
    NOW                     the database's clock
    UTC_DAY(a)              the day of a time, NEXT_DAY(a) the one after a time or a day, START_OF(d) a day's first
                            moment, DAY_TYPE its type; plain column names only

and words for text that views of regions and of keystones share:

    STATE_INTERVALS_OF(kind), CHANGES_OF(kind)  the file of this name under parts/, its ENTITY being the kind
    FIELDS_OF(kind)         the names of the typed columns, as rows
    VALUE_OF(kind, t, f)    of the row t the typed column whose name is f, as text
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import sqlalchemy as sa

from collector.errors import SchemaError
from collector.store.engine import JsonList, UtcTime
from collector.store.tables import TYPED, VERSIONS

NAMES = (
    "current_regions",
    "current_keystones",
    "current_metrics_databases",
    "region_transitions",
    "keystone_transitions",
    "region_changes",
    "keystone_changes",
    "coverage_gaps",
    "region_state_intervals",
    "keystone_state_intervals",
    "poll_health",
)
"""In the order in which they build on one another."""

_SQLITE = (
    (
        r"SECONDS_BETWEEN\(([\w.]+), ([\w.]+)\)",
        r"(CAST(strftime('%s', substr(\2, 1, 19)) AS INTEGER) - CAST(strftime('%s', substr(\1, 1, 19)) AS INTEGER)"
        r" + (CAST(substr(\2, 21, 6) AS REAL) - CAST(substr(\1, 21, 6) AS REAL)) / 1000000)",
    ),
    (r"\bNOW\b", "(strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z')"),
    (r"UTC_DAY\(([\w.]+)\)", r"substr(\1, 1, 10)"),
    (r"NEXT_DAY\(([\w.]+)\)", r"date(substr(\1, 1, 10), '+1 day')"),
    (r"START_OF\(([\w.]+)\)", r"(\1 || 'T00:00:00.000000Z')"),
    (r"\bDAY_TYPE\b", "TEXT"),
)
_POSTGRESQL = (
    (r"SECONDS_BETWEEN\(([\w.]+), ([\w.]+)\)", r"CAST(EXTRACT(EPOCH FROM (\2 - \1)) AS DOUBLE PRECISION)"),
    (r"\bUTC_TIME\b", "TIMESTAMP WITH TIME ZONE"),
    (r"\bNOW\b", "CURRENT_TIMESTAMP"),
    (r"UTC_DAY\(([\w.]+)\)", r"CAST(\1 AT TIME ZONE 'UTC' AS DATE)"),
    (r"NEXT_DAY\(([\w.]+_at)\)", r"(CAST(\1 AT TIME ZONE 'UTC' AS DATE) + 1)"),
    (r"NEXT_DAY\(([\w.]+)\)", r"(\1 + 1)"),
    (r"START_OF\(([\w.]+)\)", r"(CAST(\1 AS TIMESTAMP) AT TIME ZONE 'UTC')"),
    (r"\bDAY_TYPE\b", "DATE"),
)


def source_text(name: str) -> str:
    """The .sql file of a view, as people read it."""
    return _file(f"{name}.sql")


def what_a_row_is(name: str) -> str:
    """The first sentence of the file: what a row of the view is."""
    return source_text(name).splitlines()[0].removeprefix("-- ")


def definition(name: str, dialect: str) -> str:
    """The SELECT of a view in a dialect."""
    text = with_parts(source_text(name).rstrip().rstrip(";"))
    text = re.sub(r"FIELDS_OF\((\w+)\)", lambda m: _fields_of(m[1]), text)
    text = re.sub(r"VALUE_OF\((\w+), (\w+), ([\w.]+)\)", lambda m: _value_of(m[1], m[2], m[3], dialect), text)
    if dialect == "sqlite":
        text = _without_casts_to_time(text)
    for word, spelled in _SQLITE if dialect == "sqlite" else _POSTGRESQL:
        text = re.sub(word, spelled, text)
    return text


def with_parts(text: str) -> str:
    """A view's text with the parts that it shares with others in their places."""

    def part(match: re.Match[str]) -> str:
        return _file(f"parts/{match[1].lower()}.sql").rstrip().replace("ENTITY", match[2])

    return re.sub(r"(?m)^(STATE_INTERVALS|CHANGES)_OF\((\w+)\)", part, text)


def _file(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _fields_of(kind: Any) -> str:
    return " UNION ALL ".join(
        f"SELECT CAST('{name}' AS TEXT) AS field" if n == 0 else f"SELECT '{name}'"
        for n, name in enumerate(TYPED[kind])
    )


def _value_of(kind: Any, table: str, field: str, dialect: str) -> str:
    """Text that is the same on both databases: true and false, times as SQLite has them.

    All is cast to text, since DuckDB reads a view on an attached SQLite file by its own rules.
    """
    cases = []
    for name in TYPED[kind]:
        value, of_type = f"{table}.{name}", VERSIONS[kind].c[name].type
        if isinstance(of_type, sa.Boolean):
            value = f"CASE WHEN {value} THEN 'true' WHEN NOT {value} THEN 'false' END"
        elif isinstance(of_type, UtcTime) and dialect == "postgresql":
            value = f"to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        elif not isinstance(of_type, sa.Text | JsonList):
            value = f"CAST({value} AS TEXT)"
        cases.append(f"WHEN '{name}' THEN {value}")
    return f"CASE {field} {' '.join(cases)} END"


def _without_casts_to_time(text: str) -> str:
    """A cast to TEXT would hide from DuckDB and others that a column is a time."""
    while end := re.search(r"\s+AS UTC_TIME\)", text):
        start, depth = end.start(), 1
        while depth:
            start -= 1
            depth += {")": 1, "(": -1}.get(text[start], 0)
        text = f"{text[: start - len('CAST')]}({text[start + 1 : end.start()]}){text[end.end() :]}"
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
