"""Spark reads an exported lake as docs/tools.md shows, and answers as DuckDB does."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest

from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports.export import export
from collector.reports.export.compacting import compact
from collector.reports.export.manifest import Asked
from collector.reports.recipes import recipes
from tests.support.demo import DemoDatabase
from tests.support.frozen import NOW
from tests.support.paths import ROOT
from tests.support.tools import tool
from tests.support.venvs import new_venv

TEXT = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
QUESTIONS = (
    "Which maintenance was the longest?",
    "How available was each zone this month?",
    "When could nothing be seen, and why?",
)
ASK = """
import json, sys
for statement in json.load(sys.stdin):
    rows = [list(map(str, row)) for row in spark.sql(statement).collect()]
    print("ROWS " + json.dumps(rows))
spark.stop()
"""


def statements() -> list[str]:
    by_question = {recipe.question: recipe.sql for recipe in recipes("SQLite")}
    return [by_question[question] for question in QUESTIONS]


def test_the_questions_are_in_the_cookbook() -> None:
    """Here, because the other test takes minutes and so runs seldom."""
    assert len(statements()) == len(QUESTIONS) == 3
    assert len(re.findall(r"pip install pyspark==\S+", TEXT)) == 1


def answers_of_duckdb(lake: Path) -> list[Any]:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for folder in lake.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
            connection.execute(f"CREATE VIEW {folder.name} AS SELECT * FROM {files}")
    return [connection.execute(statement).fetchall() for statement in statements()]


def as_shown(row: Any) -> list[str]:
    """Values as Spark's come: times without a zone, numbers without zeros at their ends."""
    return [re.sub(r"(\.\d*?)0+$", r"\1", re.sub(r"\+00:00$", "", str(value))) for value in row]


@pytest.mark.slow
def test_spark_answers_three_questions_of_the_cookbook_as_duckdb_does(
    demo_database: DemoDatabase, tmp_path: Path
) -> None:
    tool("java", package="openjdk-17-jre-headless")
    engine, lake = open_engine(f"sqlite:///{demo_database.file}", read_only=True), tmp_path / "lake"
    for _ in range(2):  # the second compacts
        with reading(engine) as connection:
            asked = Asked("parquet", partition_by="month", without=("payloads",))
            export(connection, lake, asked, made_at=NOW, incremental=True)
    engine.dispose()
    compact(lake)

    (version,) = re.findall(r"pip install (pyspark==\S+)", TEXT)
    (tmp_path / "requirements.txt").write_text(version)
    python = new_venv(tmp_path / "venv", tmp_path / "requirements.txt") / "python"
    (program,) = re.findall(r"(?ms)^```python\n(from pyspark.*?)^```", TEXT)
    done = subprocess.run(
        [str(python), "-c", program + ASK],
        input=json.dumps(statements()),
        env=os.environ | {"TZ": "UTC", "SPARK_LOCAL_IP": "127.0.0.1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("ROWS ")]
    expected = answers_of_duckdb(lake)
    assert [[as_shown(row) for row in rows] for rows in found] == [
        [as_shown(row) for row in rows] for rows in expected
    ]
    assert all(len(rows) >= 3 for rows in found)
    assert "Chester" in done.stdout, "what the page shows prints rows"
