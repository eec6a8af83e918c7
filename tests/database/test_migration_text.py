"""The printed statements of a migration make the tables that the models have."""

from __future__ import annotations

import textwrap

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from collector.database.engine import open_engine
from collector.database.transactions import writing
from collector.store.tables import metadata
from tests.support.migration_text import statements
from tests.support.schemas import described


def test_printed_statements_make_the_tables_of_the_models() -> None:
    printed, modelled = open_engine("sqlite://"), open_engine("sqlite://")
    # The check of `payloads.links` stands beside its column, where Alembic prints none.
    tables = [table for table in metadata.sorted_tables if table.name != "payloads"]
    with writing(printed) as connection:
        op = Operations(MigrationContext.configure(connection))
        exec(textwrap.dedent(f"    {statements(tables).strip()}"), {"op": op, "sa": sa})  # noqa: S102 - our own text
    with writing(modelled) as connection:
        metadata.create_all(connection, tables)
    assert described(printed) == described(modelled)
    printed.dispose()
    modelled.dispose()


def test_what_only_sqlite_has_is_marked() -> None:
    """The format of times, which PostgreSQL needs no check for, and the key to rows that may be pruned."""
    text = statements([metadata.tables["keystone_versions"]])
    marked = [line for line in text.splitlines() if '.ddl_if(dialect="sqlite")' in line]
    times = ("created_on", "not_before", "valid_from", "valid_to")
    assert len(marked) == len(times) + 1
    assert all(any(f"_{name}_is_utc" in line for line in marked) for name in times)
    assert any("fk_keystone_versions_seq" in line for line in marked)
