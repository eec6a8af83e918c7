"""docs/duckdb.sql: every table and view as DuckDB should see it on an attached SQLite file, with types.

python -m tests.support.duckdb_views --write      after a change of a table or a view
"""

from __future__ import annotations

import sqlalchemy as sa

from collector.reports import views
from collector.reports.types import word_of
from collector.store.tables import metadata
from tests.support.dictionary import PAGE
from tests.support.generated import write_if_asked

FILE = PAGE.parent / "duckdb.sql"

_HEAD = """-- The tables and views of the collector, with types, for DuckDB on an attached SQLite file; made by
-- `python -m tests.support.duckdb_views --write`. First attach the file as `c`, then read this one:
--
--   ATTACH 'collector.db' AS c (TYPE sqlite, READ_ONLY);
--   .read docs/duckdb.sql
--
-- A TIMESTAMP is in UTC. What rows and columns mean is in docs/data-dictionary.md.

-- Tables: DuckDB knows their types, but for booleans, and asks SQLite for what it needs of them.
"""
_BEFORE_VIEWS = """
-- Views: SQLite answers each as a whole, and its columns get their types here.
"""
_TYPES = {
    "time": "TIMESTAMP",
    "date": "DATE",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "bigint": "BIGINT",
    "integer": "BIGINT",
    "text": "VARCHAR",
    "list": "VARCHAR",
}


def text() -> str:
    """The whole file."""
    tables = [_table(table) for table in metadata.tables.values()]
    return "\n".join([_HEAD, *tables, _BEFORE_VIEWS, *map(_view, views.NAMES)])


def _table(table: sa.Table) -> str:
    booleans = [c.name for c in table.columns if isinstance(c.type, sa.Boolean)]
    replaced = ",\n".join(f"    {name}::BOOLEAN AS {name}" for name in booleans)
    what = f"* REPLACE (\n{replaced}\n)" if booleans else "*"
    return f"CREATE OR REPLACE VIEW {table.name} AS SELECT {what} FROM c.{table.name};"


def _view(name: str) -> str:
    typed = ",\n".join(f"    {c.name}::{_TYPES[word_of(c.type)]} AS {c.name}" for c in views.columns(name))
    return (
        f"-- {views.what_a_row_is(name)}\n"
        f"CREATE OR REPLACE VIEW {name} AS\nSELECT\n{typed}\n"
        f"FROM sqlite_query('c', 'SELECT * FROM {name}');\n"
    )


if __name__ == "__main__":
    write_if_asked(FILE, text, __doc__)
