"""The text of views and functions, spelled for a dialect.

The files are written once for both dialects, with a few words that are spelled for each:

    SECONDS_BETWEEN(a, b)   seconds from time a to time b, with microseconds; plain column names only
    CAST(… AS UTC_TIME)     a time; on SQLite, which has no such type to cast to, the text as it is
    NOW                     the database's clock
    UTC_DAY(a)              the day of a time, NEXT_DAY(a) the one after a time or a day, START_OF(d) a day's first
                            moment, DAY_TYPE its type; plain column names only
    FIRST_OF_MONTH(d)       the first day of the month of a day
    EACH_DAY(a, b) t        rows, one for each day from that of a to that of b, with a column `key` that counts from 0;
                            DAY_AFTER(a, t.key) is that day

and words for text that views of regions and of keystones share:

    STATE_INTERVALS_OF(kind), SPANS_OF(kind), CHANGES_OF(kind)
                            the file of this name under parts/, its ENTITY being the kind
    FIELDS_OF(kind)         the names of the typed columns, as rows
    VALUE_OF(kind, t, f)    of the row t the typed column whose name is f, as text
    LOOKED_AT, COLUMNS_OF(kind), VALUES_OF(kind, t)
                            of functions: the file of this name under parts/; the typed columns with their types; these
                            columns of a row t
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.database.types import JsonList, UtcTime
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
    "region_state_spans",
    "keystone_state_spans",
    "region_state_intervals",
    "keystone_state_intervals",
    "daily_region_states",
    "availability_monthly",
    "poll_health",
)
"""In the order in which they build on one another."""

FUNCTIONS = ("regions_as_of", "keystones_as_of")
"""On PostgreSQL only: each takes a time."""

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

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
    (r"FIRST_OF_MONTH\(([\w.]+)\)", r"(substr(\1, 1, 8) || '01')"),
    (r"DAY_AFTER\(([\w.]+), ([\w.]+)\)", r"date(substr(\1, 1, 10), '+' || \2 || ' days')"),
    (
        # SQLite has no series of numbers, but reads JSON arrays: of [0,0,…] the keys count.
        r"EACH_DAY\(([\w.]+), ([\w.]+)\) (\w+)",
        r"json_each('[' || substr(replace(hex(zeroblob(1 + CAST(julianday(substr(\2, 1, 10))"
        r" - julianday(substr(\1, 1, 10)) AS INTEGER))), '00', ',0'), 2) || ']') \3",
    ),
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
    (r"FIRST_OF_MONTH\(([\w.]+)\)", r"CAST(date_trunc('month', \1) AS DATE)"),
    (r"DAY_AFTER\(([\w.]+), ([\w.]+)\)", r"(CAST(\1 AT TIME ZONE 'UTC' AS DATE) + \2)"),
    (
        r"EACH_DAY\(([\w.]+), ([\w.]+)\) (\w+)",
        r"LATERAL generate_series(0, CAST(\2 AT TIME ZONE 'UTC' AS DATE) - CAST(\1 AT TIME ZONE 'UTC' AS DATE))"
        r" AS \3(key)",
    ),
)


def source_text(name: str) -> str:
    """The .sql file of a view, as people read it."""
    return _file(f"{name}.sql")


def what_a_row_is(name: str) -> str:
    """The first line of the file: what a row of the view, or of the function's answer, is."""
    text = function_text(name) if name in FUNCTIONS else source_text(name)
    return text.splitlines()[0].removeprefix("-- ")


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
        return with_parts(_file(f"parts/{match[1].lower()}.sql").rstrip().replace("ENTITY", match[2]))

    return re.sub(r"(?m)^(STATE_INTERVALS|SPANS|CHANGES)_OF\((\w+)\)", part, text)


def function_text(name: str) -> str:
    """The .sql file of a function, as people read it."""
    return _file(f"functions/{name}.sql")


def function_definition(name: str) -> str:
    """The CREATE FUNCTION of a function, on PostgreSQL."""
    lines = function_text(name).splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("--"))
    looked = "".join(
        line for line in _file("parts/looked_at.sql").splitlines(keepends=True) if line[:2] != "--"
    )
    text = text.replace("LOOKED_AT", looked.rstrip())
    text = re.sub(r"COLUMNS_OF\((\w+)\)", lambda m: _columns_of(m[1]), text)
    return re.sub(
        r"VALUES_OF\((\w+), (\w+)\)", lambda m: ", ".join(f"{m[2]}.{c}" for c in _typed(m[1])), text
    )


def _typed(kind: Any) -> tuple[str, ...]:
    return TYPED[kind]


def _columns_of(kind: Any) -> str:
    columns = VERSIONS[kind].c
    return ", ".join(f"{n} {columns[n].type.compile(_DIALECT)}" for n in TYPED[kind])


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


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
