"""Rows that are written in bulk are those that SQLAlchemy writes one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import repeat
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database import bulk
from collector.database.transactions import writing
from collector.store.tables import regions
from tests.support.history import History

TIMES = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    None,
)
TEXTS = (
    "",
    'a "quote"',
    "back\\slash \\u0000 %s %(x)s ?1 {rows}",
    "line\r\nend\t\x01",
    "Zürich 東京 😀",
    "null",
    None,
)
NUMBERS = (0, -1, 2**63 - 1, -(2**63), None)
FLAGS = (True, False, None)
LISTS: tuple[Any, ...] = ((), ("b", 'a"\\'), (1, 2**53 + 1), None)


def rows(source_id: int, first: int, count: int) -> list[dict[str, Any]]:
    def one(n: int) -> dict[str, Any]:
        return {
            "source_id": source_id,
            "id": first + n,
            "state": TEXTS[n % 6],
            "slug": TEXTS[n % 7],
            "has_ai": FLAGS[n % 3],
            "keystone_id": NUMBERS[n % 5],
            "available_volume_types": LISTS[n % 4],
            "created_on": TIMES[n % 4],
            "first_seen_at": TIMES[n % 3],
            "changed_at": TIMES[(n + 1) % 3],
            "seq": 1,
            "content_hash": "h",
        }

    return [one(n) for n in range(count)]


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("count", [1, 84, 2003])
def test_bulk_writes_what_sqlalchemy_writes(engine: sa.Engine, count: int) -> None:
    history = History(engine)
    history.poll([])
    source_id = history.row("sources")["id"]
    plain, quick = rows(source_id, 1, count), rows(source_id, 10_001, count)
    with writing(engine) as connection:
        connection.execute(sa.insert(regions), plain)
        bulk.write(connection, "insert", regions, _columns(quick))

    def same() -> list[dict[str, Any]]:
        stored = history.rows("regions")
        assert [row | {"id": row["id"] - 10_000} for row in stored if row["id"] > 10_000] == [
            row for row in stored if row["id"] <= 10_000
        ]
        return stored

    assert len(same()) == 2 * count
    moved = {name: [*(row[name] for row in plain[1:]), plain[0][name]] for name in ("slug", "created_on")}
    changes = [(source_id, 1 + n, moved["slug"][n], moved["created_on"][n]) for n in range(count)]
    with writing(engine) as connection:
        for _, region_id, slug, created_on in changes:
            row = sa.update(regions).where(regions.c.source_id == source_id, regions.c.id == region_id)
            connection.execute(row.values(slug=slug, created_on=created_on))
        ids = [region_id + 10_000 for _, region_id, *_ in changes]
        bulk.write(connection, "update", regions, {"source_id": repeat(source_id), "id": ids, **moved})
    assert [row["slug"] for row in same()[:count]] == moved["slug"]
    with writing(engine) as connection:
        ids = [10_001 + n for n in range(count)]
        bulk.write(connection, "delete", regions, {"source_id": repeat(source_id), "id": ids})
        bulk.write(connection, "delete", regions, {"source_id": repeat(source_id), "id": []})
    assert history.present() == set(range(1, count + 1))


def test_rows_of_several_sources_are_not_written_at_once(postgresql_template: sa.URL) -> None:
    engine = sa.create_engine(postgresql_template)
    with engine.connect() as connection, pytest.raises(ValueError, match="several sources"):
        bulk.write(connection, "delete", regions, {"source_id": [1, 2], "id": [1, 1]})
    engine.dispose()
