"""Every statement of the cookbook gives, on both databases, what stands under it: asked of the demo, at a fixed time.

A block of SQL is followed by a block with its rows; one that begins with `-- PostgreSQL` or `-- SQLite` runs there
only. Nobody writes rows by hand:

    python -m tests.reports.test_cookbook --write
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from collector.cli import cli
from collector.clock import time_text
from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import writing
from collector.reports import views
from tests.support import duckdb_views
from tests.support.builders import region
from tests.support.databases import a_postgresql_server, execute
from tests.support.demo import DemoDatabase, DemoOnPostgreSQL, Table, stop_the_clock_of_views
from tests.support.history import History
from tests.support.paths import ROOT
from tests.support.views import add_a_column, plan_of, remove_a_column

PAGE = ROOT / "docs" / "cookbook.md"
NO_ROWS = "(no rows)"
BLOCK = re.compile(r"^```sql\n(?P<sql>.*?)^```\n\n```\n(?P<shown>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """A statement, and the rows that stand under it."""

    question: str
    sql: str
    shown: str

    @property
    def runs_on(self) -> frozenset[str]:
        named = re.match(r"-- (PostgreSQL|SQLite)\b", self.sql)
        return frozenset([named[1]] if named else ["PostgreSQL", "SQLite", "DuckDB"])


def recipes(page: str) -> Iterator[Recipe]:
    for match in BLOCK.finditer(page):
        question = re.findall(r"(?m)^###? (.+)$", page[: match.start()])[-1]
        yield Recipe(question, match["sql"], match["shown"].rstrip())


TEXT = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
ALL = list(recipes(TEXT))


def shown(table: Table) -> str:
    """A table as `sqlite3 -column -header` shows it."""
    columns, rows = table
    if not rows:
        return NO_ROWS
    cells = [columns, *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _cell(value: Any) -> str:
    """A value as SQLite has it, whichever database gave it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, datetime):
        return time_text(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return value.isoformat()
    return str(float(value)) if isinstance(value, Decimal) else str(value)


# Every statement


@pytest.mark.parametrize("recipe", [r for r in ALL if "SQLite" in r.runs_on], ids=lambda r: r.question)
def test_a_statement_gives_on_sqlite_what_stands_under_it(
    recipe: Recipe, demo_database: DemoDatabase
) -> None:
    assert shown(demo_database.table(recipe.sql)) == recipe.shown


@pytest.mark.parametrize("recipe", [r for r in ALL if "PostgreSQL" in r.runs_on], ids=lambda r: r.question)
def test_a_statement_gives_on_postgresql_what_stands_under_it(
    recipe: Recipe, demo_postgresql: DemoOnPostgreSQL
) -> None:
    assert shown(demo_postgresql.table(recipe.sql)) == recipe.shown


def test_statements_give_in_duckdb_what_stands_under_them(
    demo_database: DemoDatabase,
    duckdb_of: Any,
    tmp_path: Path,
) -> None:
    shutil.copy(demo_database.file, tmp_path / "demo.db")
    engine = open_engine(f"sqlite:///{tmp_path / 'demo.db'}")
    stop_the_clock_of_views(engine)
    duck = duckdb_of(engine)
    duck.execute(duckdb_views.FILE.read_text(encoding="utf-8"))
    for recipe in ALL:
        if "DuckDB" in recipe.runs_on:
            found = duck.execute(recipe.sql)
            assert shown(([c[0] for c in found.description], found.fetchall())) == recipe.shown, (
                recipe.question
            )
    engine.dispose()


def test_every_block_of_sql_is_tested() -> None:
    blocks = re.findall(r"(?ms)^```sql\n(.*?)^```", TEXT)
    assert blocks.count(ROLE) == 1
    assert sorted(blocks) == sorted([*(r.sql for r in ALL), ROLE])
    assert len({r.question for r in ALL}) >= 20
    assert [len(r.runs_on) for r in ALL].count(1) == 3, "the rest runs everywhere"


# Their order


def test_no_statement_leaves_an_order_to_the_database(demo_database: DemoDatabase) -> None:
    """Rows that a statement holds for equal are put in two opposite orders: it must say which comes first."""
    for recipe in ALL:
        if "SQLite" in recipe.runs_on:
            width = len(demo_database.table(recipe.sql)[0])
            one, other = (demo_database.query(in_doubt(recipe.sql, width, word)) for word in ("ASC", "DESC"))
            assert one == other, recipe.question


def in_doubt(statement: str, width: int, word: str) -> str:
    """A statement that orders by each of its columns, after the order that it has itself."""
    by = ", ".join(f"{number} {word}" for number in range(1, width + 1))
    ordered, own, limit = re.fullmatch(
        r"(.*?)((?<=\n)ORDER BY [^\n]+\n)?((?<=\n)LIMIT [^\n]+\n)?", statement, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    return f"{ordered}{own.rstrip() + ', ' if own else 'ORDER BY '}{by}\n{limit or ''}"


@pytest.mark.parametrize(
    ("statement", "tie"),
    [
        ("SELECT a, b FROM t\nORDER BY a\n", True),
        ("SELECT a, b FROM t\nORDER BY a, b\n", False),
        ("SELECT a FROM t\nORDER BY a\n", False),
        ("SELECT b FROM t\n", True),
        ("SELECT b FROM t\nORDER BY a\nLIMIT 1\n", True),
        ("SELECT MAX(b) FROM t\n", False),
    ],
)
def test_rows_that_a_statement_holds_for_equal_are_found(statement: str, tie: bool) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 1), (1, 2), (1, 1)")
        width = len(connection.execute(statement).description)
        one, other = (
            connection.execute(in_doubt(statement, width, word)).fetchall() for word in ("ASC", "DESC")
        )
        assert (one != other) is tie


# The state at a time


def test_a_state_at_a_time_is_found_by_index_seeks(
    demo_database: DemoDatabase, demo_postgresql: DemoOnPostgreSQL
) -> None:
    as_of = next(r.sql for r in ALL if "was ACTIVE in EMEA" in r.question)
    engine = open_engine(f"sqlite:///{demo_database.file}", read_only=True)
    on_sqlite = plan_of(engine, as_of)
    engine.dispose()
    assert re.search(r"SEARCH v USING .*\(source_id=\? AND region_id=\? AND valid_from=\?\)", on_sqlite)
    assert re.search(r"SEARCH x USING .*\(source_id=\? AND region_id=\? AND valid_from<\?\)", on_sqlite)
    on_postgresql = plan_of(demo_postgresql.engine, as_of)
    assert re.search(r"Index Cond: .*valid_from <= ", on_postgresql)
    assert not re.search(r"Seq Scan on region_versions", on_postgresql)


# The role that reads

ROLE = (re.findall(r"(?ms)^```sql\n(-- PostgreSQL, once.*?)^```", TEXT) or [""])[0]


@pytest.fixture
def owner(postgresql_server: sa.URL) -> Iterator[sa.Engine]:
    """A database `collector` as the role `collector` made it, which is no administrator; the page's role is in it."""
    execute(postgresql_server, "CREATE ROLE collector LOGIN", "CREATE DATABASE collector OWNER collector")
    database = postgresql_server.set(database="collector")
    try:
        engine = open_engine(database.set(username="collector"))
        migrate.upgrade(engine)
        execute(database, *ROLE.strip().split("\n"))
        yield engine
        engine.dispose()
    finally:
        execute(postgresql_server, "DROP DATABASE collector", "DROP ROLE analyst", "DROP ROLE collector")


def as_analyst(owner: sa.Engine) -> str:
    url = owner.url.set(drivername="postgresql", username="analyst", password="choose-another")
    return url.render_as_string(hide_password=False)


def test_the_role_that_reads_keeps_its_grants_over_upgrades(
    owner: sa.Engine,
    changed: Any,
) -> None:
    changed(add_a_column)
    migrate.upgrade(owner)  # replaces a view in place
    changed(remove_a_column)
    migrate.upgrade(owner)  # makes all of them anew
    with writing(owner) as connection:
        connection.exec_driver_sql("CREATE TABLE of_a_later_version (id INTEGER)")
        connection.exec_driver_sql("CREATE VIEW view_of_a_later_version AS SELECT * FROM of_a_later_version")
    with psycopg.connect(as_analyst(owner), autocommit=True) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v')"
            " AND relnamespace = 'public'::regnamespace ORDER BY 1"
        ).fetchall()
        names = [row[0] for row in found]
        assert {"of_a_later_version", "view_of_a_later_version", "payloads", *views.NAMES} <= set(names)
        for name in names:
            connection.execute(f"SELECT * FROM {name} LIMIT 1").fetchall()  # type: ignore[arg-type]
        for name in views.FUNCTIONS:
            connection.execute(f"SELECT * FROM {name}(now())").fetchall()  # type: ignore[arg-type]


def test_the_role_that_reads_can_write_nothing(owner: sa.Engine) -> None:
    with psycopg.connect(as_analyst(owner), autocommit=True) as connection:
        assert connection.execute("SHOW TimeZone").fetchone() == ("UTC",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM sources")
        connection.execute(
            "SET default_transaction_read_only = off"
        )  # is a courtesy; what counts is the rest
        for statement in (
            "INSERT INTO sources (name, newest_seq) VALUES ('mine', 0)",
            "UPDATE regions SET state = 'ACTIVE'",
            "DELETE FROM sources",
            "TRUNCATE state_transitions",
            "DROP VIEW current_regions",
            "CREATE TABLE mine (id INTEGER)",
            "CREATE VIEW mine AS SELECT 1 AS one",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)  # type: ignore[arg-type]


def test_questions_of_the_command_line_need_no_more_than_that_role(owner: sa.Engine) -> None:
    History(owner).poll([region(1)])
    said = CliRunner().invoke(cli, ["regions"], env={"COLLECTOR_DATABASE_URL": as_analyst(owner)})
    assert said.exit_code == 0, said.output
    assert "Region 1" in said.output


# How it is written


def write() -> None:
    """Put the rows that the demo gives under each statement; look at the difference before you keep it."""
    with tempfile.TemporaryDirectory() as folder:
        demo = DemoDatabase.make(Path(folder))
        (Path(folder) / "pg").mkdir()
        with a_postgresql_server(Path(folder) / "pg") as server, DemoOnPostgreSQL.make(demo, server) as moved:

            def renewed(block: re.Match[str]) -> str:
                recipe = Recipe("", block["sql"], block["shown"])
                table = (demo if "SQLite" in recipe.runs_on else moved).table(recipe.sql)
                return f"```sql\n{recipe.sql}```\n\n```\n{shown(table)}\n```"

            PAGE.write_text(BLOCK.sub(renewed, TEXT), encoding="utf-8")


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    write()
