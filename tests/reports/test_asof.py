"""What was in force at a time is found by one index seek per entity."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from collector.clock import time_text
from collector.database.transactions import reading, writing
from collector.database.types import UtcTime, earlier
from collector.inventory.entities import Kind, NestedKind
from collector.reports.asof import as_of, at
from collector.reports.nested import NestedFilter, nested_as_of, nested_report
from collector.store.tables import CURRENT, VERSIONS
from tests.support.builders import metrics_database, region
from tests.support.history import History
from tests.support.views import plan_of

MOMENT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def make_long(connection: sa.Connection, table: sa.Table) -> None:
    """Give every entity 200 versions more, on PostgreSQL, which reads few all at once."""
    aged = {
        "valid_from": f"valid_from - (n + 1) * {A_YEAR}",
        "valid_to": f"valid_from - n * {A_YEAR}",
    }
    names = ", ".join(column.name for column in table.columns)
    values = ", ".join(aged.get(column.name, column.name) for column in table.columns)
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {table.name}, generate_series(0, 199) n"
        f" WHERE valid_from = (SELECT MIN(valid_from) FROM {table.name})"
    )
    connection.exec_driver_sql(f"ANALYZE {table.name}")


A_YEAR = "INTERVAL '1 year'"


@pytest.mark.parametrize("kind", VERSIONS)
def test_versions_are_found_by_one_index_seek_per_entity(history: History, kind: Kind) -> None:
    listed = [region(n, metrics_database_id=n, metrics_database=metrics_database(n)) for n in range(1, 100)]
    history.poll(listed)
    if history.engine.dialect.name == "postgresql":
        with writing(history.engine) as connection:
            for table in VERSIONS.values():
                make_long(connection, table)
    spelled = {
        "sqlite": f"'{time_text(MOMENT)}'",
        "postgresql": f"CAST('{MOMENT.isoformat()}' AS TIMESTAMP WITH TIME ZONE)",
    }
    moment = sa.literal_column(spelled[history.engine.dialect.name], UtcTime())
    query = str(as_of(kind, moment).compile(history.engine, compile_kwargs={"literal_binds": True}))
    plan = plan_of(history.engine, query, seqscan=True)
    if history.engine.dialect.name == "sqlite":
        assert set(re.findall(r"SCAN (\w+)", plan)) <= {"looked", "sources", CURRENT[kind].name}, plan
        assert re.search(
            rf"SEARCH v USING INDEX \w+ \(source_id=\? AND {kind}_id=\? AND valid_from=\?\)", plan
        )
    else:
        assert re.search(rf"Index Scan using pk_{kind}_versions on {kind}_versions v\b", plan), plan
        assert re.search(r"Index Cond: .*valid_from = \(SubPlan \d+\)", plan), plan


def test_a_nested_entity_has_the_place_that_its_region_had_then(history: History) -> None:
    nested = {"metrics_database_id": 7, "metrics_database": metrics_database(7)}
    history.poll([region(1, zone="EMEA", country="LU", slug="old", **nested)])
    before = history.time(history.at)
    history.poll([region(1, zone="APAC", country="SG", slug="new", **nested)])
    now = history.time(history.at)
    kinds: tuple[NestedKind, ...] = ("keystone", "metrics_database")
    for kind in kinds:
        for moment, place in ((before, ("old", "EMEA", "LU")), (now, ("new", "APAC", "SG"))):
            with reading(history.engine) as connection:
                (row,) = nested_as_of(connection, kind, moment, NestedFilter())
            assert (row["slug"], row["zone"], row["country"]) == place
            assert tuple(row) == nested_report(kind).fields


@pytest.mark.parametrize("milliseconds", [0, 1, 999, 1000, 61_001, 86_400_000 * 400])
@pytest.mark.parametrize(
    "moment", [MOMENT, MOMENT.replace(microsecond=1), MOMENT.replace(microsecond=999_999)]
)
def test_an_earlier_time_keeps_its_microseconds(
    engine: sa.Engine, moment: datetime, milliseconds: int
) -> None:
    with reading(engine) as connection:
        found = connection.scalar(sa.select(earlier(at(moment), sa.literal(milliseconds, sa.BigInteger()))))
    assert found == moment - timedelta(milliseconds=milliseconds)
