"""Column types and expressions that mean the same on both databases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles

from collector.clock import time_text

TIME_PATTERN = (
    "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    ".[0-9][0-9][0-9][0-9][0-9][0-9]Z"
)


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware time. On SQLite it is fixed-width text, so that comparing strings compares times."""

    impl = sa.TIMESTAMP
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_SQLiteTime())
        return dialect.type_descriptor(sa.TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive time can't be stored: {value.isoformat()}")
        return time_text(value) if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC)


class _SQLiteTime(sa.types.UserDefinedType[str]):
    """Text, declared as TIMESTAMP: SQLite keeps it unchanged, and DuckDB and others recognize it as a time."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TIMESTAMP"


class JsonList(sa.types.TypeDecorator[tuple[Any, ...]]):
    """A tuple as a compact JSON list; None is NULL."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[Any, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else list_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[Any, ...] | None:
        return None if value is None else tuple(json.loads(value))


def list_text(values: Sequence[Any]) -> str:
    """A list as it is stored: compact JSON."""
    return json.dumps(list(values), separators=(",", ":"))


def time_check(table: str, column: str) -> sa.CheckConstraint:
    """SQLite has no time type, so a constraint keeps the text well-formed."""
    check = sa.CheckConstraint(f"{column} GLOB '{TIME_PATTERN}'", name=f"ck_{table}_{column}_is_utc")
    return check.ddl_if(dialect="sqlite")


def only_where(condition: str) -> dict[str, Any]:
    """The options of an index that contains only the rows of a condition."""
    return {f"{dialect}_where": sa.text(condition) for dialect in ("sqlite", "postgresql")}


def only_on_sqlite(key: sa.ForeignKeyConstraint) -> sa.ForeignKeyConstraint:
    """A foreign key to rows that may be pruned, on SQLite only.

    PostgreSQL would scan every referring table for each deleted row; SQLite can switch the check off for a
    transaction. `audit verify` finds what either would refuse.
    """
    return key.ddl_if(dialect="sqlite")


class seconds_between(sa.sql.functions.FunctionElement[float]):  # noqa: N801 - reads as an SQL function
    """Seconds from one time to another, with microseconds. Takes two columns of times."""

    type = sa.Double()
    inherit_cache = True
    name = "seconds_between"

    def __init__(self, begin: sa.Column[datetime], end: sa.Column[datetime]) -> None:
        super().__init__(begin, end)


@compiles(seconds_between, "sqlite")
def _sqlite_seconds(element: Any, compiler: Any, **kw: Any) -> str:
    """Whole seconds and microseconds separately, because SQLite's days have only milliseconds."""
    begin, end = (compiler.process(each, **kw) for each in element.clauses)

    def rest(text: str) -> str:
        return f"CAST(substr({text}, 21, 6) AS REAL)"

    return f"({_whole_seconds(end)} - {_whole_seconds(begin)} + ({rest(end)} - {rest(begin)}) / 1000000)"


def _whole_seconds(moment: str) -> str:
    """The whole seconds of a time on SQLite since 1970."""
    return f"CAST(strftime('%s', substr({moment}, 1, 19)) AS INTEGER)"


@compiles(seconds_between, "postgresql")
def _postgresql_seconds(element: Any, compiler: Any, **kw: Any) -> str:
    begin, end = (compiler.process(each, **kw) for each in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM ({end} - {begin})) AS DOUBLE PRECISION)"


class database_time(sa.sql.functions.FunctionElement[datetime]):  # noqa: N801 - reads as an SQL function
    """The database's own clock, `seconds` from now: leases are judged by one clock, not by those of the writers."""

    type = UtcTime()
    inherit_cache = True
    name = "database_time"

    def __init__(self, seconds: int = 0) -> None:
        super().__init__(sa.literal(int(seconds), sa.Integer()))


@compiles(database_time, "sqlite")
def _sqlite_time(element: Any, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(strftime('%Y-%m-%dT%H:%M:%f', 'now', {seconds} || ' seconds') || '000Z')"


@compiles(database_time, "postgresql")
def _postgresql_time(element: Any, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


class earlier(sa.sql.functions.FunctionElement[datetime]):  # noqa: N801 - reads as an SQL function
    """A time minus this many milliseconds, with its microseconds."""

    type = UtcTime()
    inherit_cache = True
    name = "earlier"

    def __init__(self, moment: Any, milliseconds: Any) -> None:
        super().__init__(moment, milliseconds)


@compiles(earlier, "sqlite")
def _sqlite_earlier(element: Any, compiler: Any, **kw: Any) -> str:
    moment, milliseconds = (compiler.process(part, **kw) for part in element.clauses)
    # In microseconds since 1970, because SQLite's own time functions only have milliseconds.
    then = f"({_whole_seconds(moment)} * 1000000 + CAST(substr({moment}, 21, 6) AS INTEGER) - ({milliseconds}) * 1000)"
    return f"(strftime('%Y-%m-%dT%H:%M:%S', {then} / 1000000, 'unixepoch') || printf('.%06dZ', {then} % 1000000))"


@compiles(earlier, "postgresql")
def _postgresql_earlier(element: Any, compiler: Any, **kw: Any) -> str:
    moment, milliseconds = (compiler.process(part, **kw) for part in element.clauses)
    return f"({moment} - ({milliseconds}) * INTERVAL '1 millisecond')"
