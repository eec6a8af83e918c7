"""The views in a database are those of the files, and their columns what the heads of the files declare."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.transactions import reading
from collector.database.types import JsonList
from collector.reports import views
from collector.reports.types import word_of
from collector.reports.views import declared, text
from tests.support import view_digests
from tests.support.history import History
from tests.support.paths import ROOT
from tests.support.views import columns

IS: dict[str, Callable[[Any], bool]] = {
    "time": lambda value: len(value) == 27 and datetime.fromisoformat(value).tzinfo is not None,
    "date": lambda value: re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None,
    "double": lambda value: isinstance(value, float),
    "bigint": lambda value: isinstance(value, int),
    "integer": lambda value: isinstance(value, int),
    "boolean": lambda value: value in (0, 1) and isinstance(value, int),
    "list": lambda value: value.startswith("[") and value.endswith("]"),
    "text": lambda value: isinstance(value, str),
}
"""What a value of SQLite, which has no types of columns, is where its column is of this type."""


def test_the_digests_are_current() -> None:
    current = view_digests.FILE.read_text(encoding="utf-8") == view_digests.text()
    assert current, "run `python -m tests.support.view_digests --write`"


def test_views_are_found_to_be_current_without_jinja(engine: sa.Engine) -> None:
    asked = """
import sys
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports import views
with reading(open_engine(sys.argv[1], read_only=True)) as connection:
    print(views.are_current(connection), "jinja2" in sys.modules)
"""
    url = engine.url.render_as_string(hide_password=False)
    done = subprocess.run([sys.executable, "-c", asked, url], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_every_view_has_the_columns_that_its_file_declares(engine: sa.Engine) -> None:
    for view in views.NAMES:
        assert [column.name for column in views.columns(view)] == columns(engine, view), view


def test_postgresql_has_columns_of_the_declared_types_and_says_what_they_mean(
    postgresql_engine: sa.Engine,
) -> None:
    with reading(postgresql_engine) as connection:
        rows = connection.exec_driver_sql(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)"
            " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " WHERE c.relkind = 'v' AND a.attnum > 0 AND c.relnamespace = CURRENT_SCHEMA()::regnamespace"
            " ORDER BY c.relname, a.attnum"
        ).all()
        expected = [
            (view, c.name, c.type.compile(connection.dialect).lower(), c.comment)
            for view in sorted(views.NAMES)
            for c in views.columns(view)
        ]
    assert [tuple(row) for row in rows] == expected
    available = {c.name: c.type for c in views.columns("current_regions")}["available_volume_types"]
    assert isinstance(available, JsonList)


def test_sqlite_gives_values_of_the_declared_types(sqlite_history: History) -> None:
    seen = set()
    for view in views.NAMES:
        types = {column.name: word_of(column.type) for column in views.columns(view)}
        for row in sqlite_history.query(f"SELECT * FROM {view}"):
            for name, value in row.items():
                if value is not None:
                    assert IS[types[name]](value), (view, name, value)
                    seen.add(types[name])
    assert seen == set(IS)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("zone", "must give the type and the meaning of zone"),
        ("zone  text", "must give the type and the meaning of zone"),
        ("zone  string  A word", "must give the type and the meaning of zone"),
        ("zone  = regions.zones", "says that zone is regions.zones, which does not exist"),
        ("zone  = nothing.zone", "says that zone is nothing.zone, which does not exist"),
        ("zone  = current_regions.zone", "says that zone is current_regions.zone, which does not exist"),
        ("zone  = coverage_gaps.zone", "says that zone is coverage_gaps.zone, which does not exist"),
    ],
)
def test_a_column_that_is_not_declared_well_is_named(
    monkeypatch: pytest.MonkeyPatch, line: str, says: str
) -> None:
    def head(name: str) -> text.Head:
        found = text.head(name)
        return found._replace(columns=(line,)) if name == "current_regions" else found

    monkeypatch.setattr(declared, "head", head)
    with pytest.raises(LookupError, match=f"the file of current_regions {re.escape(says)}"):
        views.columns("current_regions")


def test_a_file_without_an_example_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_file", lambda name: "-- One row: nothing.\nSELECT 1 AS one")
    with pytest.raises(
        LookupError, match="the file of poll_health must say what a row is, and give an example"
    ):
        text.head("poll_health")


def test_every_file_of_a_view_or_function_is_installed() -> None:
    folder = ROOT / "collector" / "reports" / "views"
    assert {path.stem for path in folder.glob("*.sql")} == {*views.NAMES}
    assert {path.stem for path in folder.glob("functions/*.sql")} == {*views.FUNCTIONS}
