"""Datasette shows the database with descriptions, and asks the cookbook's questions, with our metadata."""

from __future__ import annotations

import asyncio
import gc
import html
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from collector.reports import views
from collector.store.tables import metadata
from tests.support import datasette_metadata
from tests.support.demo import DemoDatabase

# Datasette leaves connections open, some when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")

METADATA = json.loads(datasette_metadata.FILE.read_text(encoding="utf-8"))


def ask(file: Path, *paths: str) -> Sequence[Any]:
    """What Datasette answers at these paths."""
    from datasette.app import Datasette

    async def asked() -> list[Any]:
        served = Datasette([str(file)], metadata=METADATA, settings={"sql_time_limit_ms": 10_000})
        try:
            return [await served.client.get(path) for path in paths]
        finally:
            served.executor.shutdown()  # its threads have connections

    answers = asyncio.run(asked())
    gc.collect()  # while its warnings are ignored
    return answers


def test_the_metadata_is_what_would_be_made_now() -> None:
    made = datasette_metadata.text()
    assert datasette_metadata.FILE.read_text(encoding="utf-8") == made, (
        "run: python -m tests.support.datasette_metadata --write"
    )


def test_every_question_of_the_cookbook_gives_its_rows(demo_database: DemoDatabase, tmp_path: Path) -> None:
    file = tmp_path / "collector.db"
    shutil.copy(demo_database.file, file)
    queries = datasette_metadata.queries()
    assert len(queries) > 20
    forms = [f"/collector/{q.recipe.slug}.json?_shape=arrays&{urlencode(q.parameters)}" for q in queries]
    empty = [f"/collector/{q.recipe.slug}.json?_shape=arrays" for q in queries if q.parameters]
    answers = ask(file, *forms, *empty)
    for query, answer in zip(queries, answers, strict=False):
        assert answer.status_code == 200, (query.recipe.question, answer.text)
        columns, rows = demo_database.table(query.recipe.sql)
        assert answer.json()["columns"] == list(columns), query.recipe.question
        # Here the clock goes on: there is an open gap since the demo's end.
        assert {row[0] for row in rows} <= {row[0] for row in answer.json()["rows"]}, query.recipe.question
    assert any(query.parameters for query in queries)
    assert all(answer.status_code == 200 for answer in answers[len(forms) :]), (
        "an empty form is a question, too"
    )


def test_tables_and_views_are_described(demo_database: DemoDatabase, tmp_path: Path) -> None:
    file = tmp_path / "collector.db"
    shutil.copy(demo_database.file, file)
    described = METADATA["databases"]["collector"]["tables"]
    assert {*views.NAMES, *metadata.tables} <= {*described}
    for name, said in described.items():
        sorted_by = [said["sort_desc"]] if "sort_desc" in said else []
        assert {*said.get("facets", []), *sorted_by} <= {*said.get("columns", {})}, name
    overview, page = ask(file, "/collector", "/collector/region_transitions")
    assert "Which maintenance was the longest?" in overview.text
    said = described["region_transitions"]
    for text in (said["description"], said["columns"]["observed_at"]):
        assert text in html.unescape(page.text)
