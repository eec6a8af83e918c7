"""Views asked: rows, columns, plans; on DuckDB; and as a newer version has them."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.clock import time_text
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.database.url import sqlite_path
from collector.reports import views
from collector.reports.views.text import templates
from tests.support.builders import keystone, metrics_database, region
from tests.support.history import History, Row


def ask(history: History, view: str, order: str, where: str = "1 = 1") -> list[Row]:
    """Rows of a view, with times as times on both databases."""
    rows = history.query(f"SELECT * FROM {view} WHERE {where} ORDER BY {order}")
    return [
        {name: _as_time(value) if name.endswith(TIMES) else value for name, value in row.items()}
        for row in rows
    ]


TIMES = ("_at", "_on", "not_before", "_earliest", "_latest")


def _as_time(value: Any) -> datetime | None:
    if isinstance(value, str):
        assert len(value) == 27, value
        value = datetime.fromisoformat(value)
    return None if value is None else value.astimezone(UTC)


def columns(engine: sa.Engine, view: str) -> list[str]:
    with reading(engine) as connection:
        return list(connection.exec_driver_sql(f"SELECT * FROM {view}").keys())


def plan_of(engine: sa.Engine, query: str, *, seqscan: bool = False) -> str:
    """`seqscan`: true if tables are big enough for an index; otherwise PostgreSQL is forced to use indexes."""
    with reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            return "\n".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}"))
        if not seqscan:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {query}"))


@pytest.fixture
def duckdb_of() -> Iterator[Callable[[sa.Engine], Any]]:
    """DuckDB with a SQLite file attached as `c`. Its reader of such files comes as a wheel: nothing is downloaded."""
    import duckdb

    extension = importlib.util.find_spec("duckdb_extension_sqlite_scanner")
    assert extension is not None
    assert extension.origin is not None
    (reader,) = Path(extension.origin).parent.rglob("*.duckdb_extension")
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        connection.execute(f"LOAD '{reader}'")

        def attach(engine: sa.Engine) -> Any:
            connection.execute(f"ATTACH '{sqlite_path(engine)}' AS c (TYPE sqlite, READ_ONLY)")
            return connection

        yield attach


@pytest.fixture
def sqlite_history(sqlite_template: Path, tmp_path: Path) -> Iterator[History]:
    shutil.copy(sqlite_template, tmp_path / "collector.db")
    engine = open_engine(f"sqlite:///{tmp_path / 'collector.db'}")
    history = History(engine)
    database = {"metrics_database_id": 5, "metrics_database": metrics_database(5)}
    history.poll([region(1, **database), region(2)], at=0)
    moved = keystone(1002, url="https://b.example/v3", created_on="2020-01-01")
    history.poll([region(1, "NEW", has_ai=None, **database), region(2, keystone=moved)], at=60)
    history.poll([region(1, "NEW", has_ai=None, **database)], at=400)
    yield history
    engine.dispose()


@contextmanager
def clock_of_views_stopped(moment: datetime | None) -> Iterator[None]:
    """Views that are installed meanwhile take a moment for now; None: they ask the database again."""
    with pytest.MonkeyPatch.context() as patch:
        for dialect, spelled in (
            ("sqlite", moment and f"'{time_text(moment)}'"),
            ("postgresql", moment and f"CAST('{moment.isoformat()}' AS TIMESTAMP WITH TIME ZONE)"),
        ):
            words = templates(dialect).globals
            patch.setitem(words, "now", spelled or _NOW[dialect])
        patch.setattr(views, "expected_digest", views.digest)
        yield


_NOW = {dialect: templates(dialect).globals["now"] for dialect in ("sqlite", "postgresql")}

Change = Callable[[str], str]


def add_a_column(text: str) -> str:
    return text.replace("\nFROM regions r\n", "\n    , r.seq AS one_more\nFROM regions r\n")


def remove_a_column(text: str) -> str:
    return text.replace("    r.zone,\n", "")


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """A newer version has another text of current_regions."""
    original, declared = views.definition, views.columns

    def use(change: Change) -> None:
        def definition(name: str, dialect: str) -> str:
            text = original(name, dialect)
            if name != "current_regions":
                return text
            assert change(text) != text
            return change(text)

        def columns(name: str) -> tuple[views.Column, ...]:
            is_removed = name == "current_regions" and "    r.zone," not in definition(name, "sqlite")
            return tuple(c for c in declared(name) if not (is_removed and c.name == "zone"))

        monkeypatch.setattr(views, "definition", definition)
        monkeypatch.setattr(views, "columns", columns)
        monkeypatch.setattr(views, "expected_digest", views.digest)

    return use
