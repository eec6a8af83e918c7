"""docs/duckdb.sql gives DuckDB the tables and views of an attached SQLite file, with types and the rows of SQLite."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.reports import views
from collector.store.tables import metadata
from tests.support import duckdb_views
from tests.support.history import History
from tests.support.views import columns

PARSED: dict[str, Callable[[Any], Any]] = {
    "TIMESTAMP": lambda text: datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None),
    "DATE": date.fromisoformat,
    "BOOLEAN": bool,
    "DOUBLE": lambda number: pytest.approx(number, rel=1e-12),
    "BIGINT": int,
    "VARCHAR": str,
}
"""What a value of SQLite should be in DuckDB."""


def test_the_file_is_current() -> None:
    current = duckdb_views.FILE.read_text(encoding="utf-8") == duckdb_views.text()
    assert current, "run `python -m tests.support.duckdb_views --write`"


def test_duckdb_knows_every_type_and_reads_what_sqlite_reads(
    sqlite_history: History,
    duckdb_of: Callable[[sa.Engine], Any],
) -> None:
    duck = duckdb_of(sqlite_history.engine)
    duck.execute("SET TimeZone = 'America/St_Johns'")  # that of an analyst: UTC stays UTC
    duck.execute(duckdb_views.FILE.read_text(encoding="utf-8"))
    assert duck.execute(
        "SELECT TIMESTAMP '2026-05-01' = TIMESTAMPTZ '2026-05-01 00:00:00+00'"
    ).fetchone() == (True,)
    seen_types = set()
    for view in views.NAMES:
        types = dict(duck.execute(f"SELECT column_name, column_type FROM (DESCRIBE {view})").fetchall())
        names = columns(sqlite_history.engine, view)
        assert types == {name: type_that_the_name_tells(name) for name in names}, view
        seen_types |= set(types.values())
        where, order = that_ended(names), ", ".join(names)
        expected = [
            tuple(None if v is None else PARSED[types[n]](v) for n, v in row.items())
            for row in sqlite_history.query(f"SELECT * FROM {view} WHERE {where} ORDER BY {order}")
        ]
        found = duck.execute(f"SELECT * FROM {view} WHERE {where}").fetchall()
        assert found, view
        assert sorted(found, key=str) == sorted(expected, key=as_text), view
    assert seen_types == set(PARSED)


def test_duckdb_knows_every_type_of_tables(
    sqlite_history: History,
    duckdb_of: Callable[[sa.Engine], Any],
) -> None:
    duck = duckdb_of(sqlite_history.engine)
    duck.execute(duckdb_views.FILE.read_text(encoding="utf-8"))
    of_types = {UtcTime: "TIMESTAMP", sa.Boolean: "BOOLEAN", sa.Integer: "BIGINT", sa.LargeBinary: "BLOB"}
    for name, table in metadata.tables.items():
        types = dict(duck.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})").fetchall())
        assert types == {
            c.name: next((said for t, said in of_types.items() if isinstance(c.type, t)), "VARCHAR")
            for c in table.columns
        }, name
    (shown,) = duck.execute("SELECT COUNT(*) FROM keystone_versions WHERE has_password").fetchone()
    assert (
        shown
        == sqlite_history.query("SELECT COUNT(*) AS n FROM keystone_versions WHERE has_password")[0]["n"]
        > 0
    )


def type_that_the_name_tells(name: str) -> str:
    """By other means than the file: the names of columns follow conventions."""
    if name.endswith(("_at", "_on", "not_before", "_earliest", "_latest", "_since")):
        return "TIMESTAMP"
    if name in ("day", "month"):
        return "DATE"
    if "seconds" in name or name.startswith("share_"):
        return "DOUBLE"
    if name.startswith(("is_", "has_")):
        return "BOOLEAN"
    counts = ("seq", "regions", "polls", "transitions", "own_id", "port")
    if name in ("source_id", "region_id", "keystone_id", "metrics_database_id") or name.endswith(counts):
        return "BIGINT"
    return "BIGINT" if name.startswith("failed_") else "VARCHAR"


def that_ended(names: list[str]) -> str:
    """Not what ends now."""
    ends = {"until_at": "2026-05-02", "to_latest": "2026-05-02", "day": "2026-05-02", "month": "2026-06-01"}
    return " AND ".join(f"{name} < '{end}'" for name, end in ends.items() if name in names) or "1 = 1"


def as_text(row: tuple[Any, ...]) -> str:
    """As a row of DuckDB is spelled."""
    return str(tuple(getattr(value, "expected", value) for value in row))
