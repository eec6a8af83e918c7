"""The data dictionary is current, and the examples in it run."""

from __future__ import annotations

import re

import sqlalchemy as sa

from collector.database.transactions import reading
from collector.reports import views
from collector.store.tables import metadata
from tests.support import dictionary


def test_the_data_dictionary_is_current() -> None:
    current = dictionary.PAGE.read_text(encoding="utf-8") == dictionary.page()
    assert current, "run `python -m tests.support.dictionary --write`"


def test_every_table_and_view_and_each_of_their_columns_stands_in_it() -> None:
    sections = dict(re.findall(r"(?ms)^### `(\w+)`\n(.*?)(?=^##|\Z)", dictionary.page()))
    found = {name: re.findall(r"(?m)^\| \*{0,2}`(\w+)`", text) for name, text in sections.items()}
    tables = {name: [c.name for c in table.columns] for name, table in metadata.tables.items()}
    functions = {name: found.pop(name) for name in views.FUNCTIONS}
    assert found == tables | {name: [c.name for c in views.columns(name)] for name in views.NAMES}
    assert all("last_seen_at" in columns for columns in functions.values())


def test_the_example_of_every_view_and_function_runs(engine: sa.Engine) -> None:
    examples = re.findall(r"(?s)```sql\n(.*?)\n```", dictionary.page())
    names = (*views.NAMES, *views.FUNCTIONS)
    assert len(examples) == len(names)
    with reading(engine) as connection:
        for name, example in zip(names, examples, strict=True):
            assert f"FROM {name}" in example
            if name in views.FUNCTIONS and engine.dialect.name == "sqlite":
                continue
            connection.exec_driver_sql(
                example.replace("%", "%%") if engine.dialect.name != "sqlite" else example
            )
