"""Fixtures that several files of this room use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from tests.support.databases import new_database
from tests.support.demo import DemoDatabase, DemoOnPostgreSQL
from tests.support.views import changed, duckdb_of, sqlite_history  # noqa: F401


@pytest.fixture(scope="session")
def demo_postgresql(demo_database: DemoDatabase, postgresql_server: sa.URL) -> Iterator[DemoOnPostgreSQL]:
    with DemoOnPostgreSQL.make(demo_database, postgresql_server) as demo:
        yield demo


@pytest.fixture
def postgresql_engine(postgresql_template: sa.URL) -> Iterator[sa.Engine]:
    engine = open_engine(new_database(postgresql_template, postgresql_template.database))
    yield engine
    engine.dispose()
