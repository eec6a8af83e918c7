"""What happened, in order, read page by page while more of it happens."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.transactions import reading
from collector.errors import UsageError
from collector.reports.cursors import AnotherHistoryError, Cursor, Position, digest_of
from collector.reports.events import events
from collector.reports.transitions import Place, TransitionFilter, transitions
from collector.store.tables import TYPED, sources
from tests.support.builders import keystone, metrics_database, region
from tests.support.effort import effort_of
from tests.support.history import History, Row, failure


def read(
    engine: sa.Engine, limit: int = 10_000, after: str | None = None, source: str | None = None
) -> tuple[list[Row], str]:
    """All that happened after a cursor, in pages of `limit`, and where to go on."""
    rows: list[Row] = []
    while True:
        with reading(engine) as connection:
            page = events(connection, Cursor.parse(after) if after else None, source=source, limit=limit)
        rows += page.rows
        after = str(page.cursor)
        if not page.more:
            return rows, after
        assert len(page.rows) == limit


def counted(history: History) -> Counter[Any]:
    """How many rows each observation left in each table."""
    names = {row["id"]: row["name"] for row in history.rows("sources")}
    found: Counter[Any] = Counter()
    for event, table, seq in [
        ("observation", "observations", "seq"),
        ("gap", "gaps", "until_seq"),
        ("transition", "state_transitions", "seq"),
        ("version", "region_versions", "seq"),
        ("version", "keystone_versions", "seq"),
        ("version", "metrics_database_versions", "seq"),
        ("unseen", "unseen", "missed_seq"),
        ("shown", "unseen", "until_seq"),
        ("rejected", "rejected_records", "seq"),
        ("drift", "schema_drift", "seq"),
    ]:
        for row in history.rows(table):
            if row[seq] is not None:
                found[names[row["source_id"]], row[seq], event] += 1
    return found


def test_everything_in_the_tables_is_an_event_once(shared_told: History) -> None:
    rows, _ = read(shared_told.engine)
    said = Counter((row["source"], row["seq"], row["event"]) for row in rows if row["event"] != "gone")
    assert said == counted(shared_told)
    assert {row["event"] for row in rows} >= {
        "observation",
        "gap",
        "transition",
        "version",
        "unseen",
        "shown",
    }
    assert {row["event"] for row in rows} >= {"rejected", "drift"}


def test_events_are_in_the_order_of_their_numbers(shared_told: History) -> None:
    rows, _ = read(shared_told.engine)
    by_source = {name: [r for r in rows if r["source"] == name] for name in ("gcore", "preprod")}
    assert rows == by_source["gcore"] + by_source["preprod"]
    for mine in by_source.values():
        places = [(row["seq"], row["ordinal"]) for row in mine]
        assert places == sorted(places)
        for seq in {seq for seq, _ in places}:
            ordinals = [ordinal for of, ordinal in places if of == seq]
            assert ordinals == list(range(1, len(ordinals) + 1))
            assert mine[places.index((seq, 1))]["event"] == "observation"


@pytest.mark.long
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_pages_of_any_length_say_the_same(shared_told: History, limit: int) -> None:
    assert read(shared_told.engine, limit) == read(shared_told.engine)


def test_a_source_returns_only_its_own_events(shared_told: History) -> None:
    everything, _ = read(shared_told.engine)
    rows, cursor = read(shared_told.engine, 3, source="preprod")
    assert rows == [row for row in everything if row["source"] == "preprod"]
    rest, _ = read(shared_told.engine, 3, after=cursor)
    assert rest == [row for row in everything if row["source"] == "gcore"]


@pytest.mark.long
def test_a_reader_that_resumes_misses_nothing_and_gets_nothing_twice(engine: sa.Engine) -> None:
    """Two sources write while somebody reads pages of random length."""
    chance = random.Random(7)
    both = [History(engine, name=name) for name in ("b", "a")]
    read_so_far: list[Row] = []
    cursor: str | None = None
    at = 0.0
    for _ in range(40):
        history = chance.choice(both)
        at += 60.0 * chance.choice([1, 1, 10])
        said: Any = [
            region(i, chance.choice(["ACTIVE", "NEW"]), keystone=keystone(i + 1000, url=chance.choice("xy")))
            for i in range(1, chance.randint(2, 6))
        ]
        history.poll(chance.choice([said, said, failure()]), at=at)
        for _ in range(chance.randint(0, 3)):
            with reading(engine) as connection:
                page = events(
                    connection, Cursor.parse(cursor) if cursor else None, limit=chance.randint(1, 9)
                )
            read_so_far += page.rows
            cursor = str(page.cursor)
    rest, _ = read(engine, 4, after=cursor)
    everything, _ = read(engine)
    key = lambda row: (row["source"], row["seq"], row["ordinal"])  # noqa: E731 - used here alone
    assert sorted(read_so_far + rest, key=key) == sorted(everything, key=key)


def test_nothing_new_gives_an_empty_page_and_the_same_cursor(shared_told: History) -> None:
    _, cursor = read(shared_told.engine)
    assert read(shared_told.engine, after=cursor) == ([], cursor)


def test_what_changed_stands_beside_what_it_was(history: History) -> None:
    history.poll(
        [region(1, display_name="Old", metrics_database_id=7, metrics_database=metrics_database(7))], at=0
    )
    history.poll([region(1, "MAINTENANCE", display_name="New")], at=60)
    rows, _ = read(history.engine)
    (version,) = [row for row in rows if row["event"] == "version" and row["seq"] == 2]
    assert (version["entity"], version["entity_id"]) == ("region", 1)
    assert version["changes"] == [
        {"field": "display_name", "old": "Old", "new": "New"},
        {"field": "metrics_database_id", "old": 7, "new": None},
        {"field": "state", "old": "ACTIVE", "new": "MAINTENANCE"},
    ]
    (gone,) = [row for row in rows if row["event"] == "gone"]
    assert (gone["entity"], gone["entity_id"], gone["seq"]) == ("metrics_database", 7, 2)
    assert gone["observed_at"] == history.time(60)


def test_every_typed_field_can_change(history: History) -> None:
    assert {"display_name", "state", "available_volume_types"} <= set(TYPED["region"])
    history.poll([region(1, available_volume_types=["a"])], at=0)
    history.poll([region(1, available_volume_types=["a", "b"])], at=60)
    rows, _ = read(history.engine)
    (change,) = rows[-1]["changes"]
    assert change == {"field": "available_volume_types", "old": ("a",), "new": ("a", "b")}


def test_a_cursor_of_another_history_is_refused(shared_told: History) -> None:
    _, cursor = read(shared_told.engine)
    places, _, digest = cursor.rpartition("_")
    for other in (f"{places}_{digest[::-1]}", f"1.999_{digest}", f"1.3_{digest}"):
        with reading(shared_told.engine) as connection, pytest.raises(AnotherHistoryError):
            events(connection, Cursor.parse(other))


def test_a_cursor_of_many_sources_fits_into_an_address() -> None:
    places = {i: Position(10_000 + i * 37 % 9973) for i in range(1, 1001)}
    cursor = Cursor(places, "0123456789abcdef")
    assert len(str(cursor)) < 7000
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["zAAAAAAAA", "z" + "A" * 7999, "zeJxLBAAAYgBi"])
def test_what_was_never_packed_is_no_cursor_of_this_history(text: str) -> None:
    with pytest.raises(AnotherHistoryError):
        Cursor.parse(text)


@pytest.mark.parametrize(
    "text", ["", "x", "1.2", "1.2_", "1.2.3_" + "0" * 16, "1_" + "0" * 16, "0" * 16 + "\n"]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Cursor.parse(text)


@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
def test_pages_of_transitions_say_what_all_at_once_say(shared_told: History, limit: int) -> None:
    with reading(shared_told.engine) as connection:
        everything = transitions(connection, TransitionFilter())
        rows: list[Row] = []
        while page := transitions(
            connection,
            TransitionFilter(
                limit=limit, after=Place(*(rows[-1][name] for name in Place._fields)) if rows else None
            ),
        ):
            rows += page
    assert rows == everything
    assert len(rows) > 20


# What it costs


def test_a_page_costs_what_stands_on_it_however_long_the_history_is(
    long_history: Callable[..., sa.Engine],
) -> None:
    engines = [long_history(length) for length in (1, 10)]
    few, many = (effort_of(engine, lambda connection: events(connection, limit=50)) for engine in engines)
    assert many.steps < 1.5 * few.steps
    cursor = [reading_to_the_end(engine) for engine in engines]
    few, many = (
        effort_of(engine, lambda connection, at=at: events(connection, at, limit=50))  # type: ignore[misc]
        for engine, at in zip(engines, cursor, strict=True)
    )
    assert many.steps < 1.5 * few.steps


def reading_to_the_end(engine: sa.Engine) -> Cursor:
    """A cursor from which ten observations are left."""
    with reading(engine) as connection:
        newest = connection.scalar(sa.select(sources.c.newest_seq)) or 0
        at = {1: Position(newest - 10)}
        return Cursor(at, digest_of(connection, at))


def test_a_page_of_many_sources_takes_no_more_statements_than_one_of_a_few(sqlite_engine: sa.Engine) -> None:
    taken = {}
    for number in range(1, 13):
        history = History(sqlite_engine, name=f"source-{number}")
        history.poll([region(1)], at=0)
        history.poll([region(1, "NEW")], at=60)
        if number in (2, 12):
            taken[number] = effort_of(sqlite_engine, lambda connection: events(connection))
    assert taken[12].statements == taken[2].statements
