"""The stream of all that happened: whole, in order, and the same in pages of any size."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from collector.database.transactions import reading
from collector.errors import UsageError
from collector.reports.filters import Row
from collector.reports.happening_kinds import KINDS
from collector.reports.happenings import HappeningFilter, happenings
from tests.support.builders import region
from tests.support.effort import effort_of
from tests.support.history import NOON, History


def stream(history: History, **wanted: object) -> list[Row]:
    with reading(history.engine) as connection:
        return happenings(connection, HappeningFilter(**{"limit": 10_000} | wanted))  # type: ignore[arg-type]


def test_everything_of_every_kind_is_there_newest_first(shared_told: History) -> None:
    rows = stream(shared_told)
    assert {row["happening"] for row in rows} == set(KINDS)
    times = [row["at"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert len({row["reference"] for row in rows}) == len(rows)
    transitions = [
        t
        for t in shared_told.rows("state_transitions")
        if t["basis"] != "baseline" and t["entity"] == "region"
    ]
    assert sum(row["happening"] == "state" for row in rows) == len(transitions)
    changed = [
        name
        for version in shared_told.rows("region_versions")
        for name in version["changed_fields"] or ()
        if name != "state"
    ]
    assert sorted(row["field"] for row in rows if row["happening"] == "field") == sorted(changed)
    assert sum(row["happening"] == "drift" for row in rows) == len(shared_told.rows("schema_drift"))
    assert sum(row["count"] for row in rows if row["happening"] == "unseen") == len(
        shared_told.rows("unseen")
    )


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 2, 7])
def test_pages_of_any_size_make_the_whole(shared_told: History, size: int) -> None:
    whole = [row["reference"] for row in stream(shared_told)]
    paged: list[str] = []
    while rows := stream(shared_told, limit=size, after=paged[-1] if paged else None):
        paged += [row["reference"] for row in rows]
    assert paged == whole


def test_a_page_may_end_amid_what_happened_at_one_moment(history: History) -> None:
    history.poll([region(i) for i in range(1, 30)], at=0)
    history.poll([region(i, state="NEW") for i in range(1, 30)], at=60)
    whole = stream(history)
    first = stream(history, limit=10)
    second = stream(history, limit=10, after=first[-1]["reference"])
    third = stream(history, limit=1000, after=second[-1]["reference"])
    assert [r["reference"] for r in first + second + third] == [r["reference"] for r in whole]


def test_what_is_asked_for_is_what_is_given(shared_told: History) -> None:
    whole = stream(shared_told)
    for kind in KINDS:
        assert stream(shared_told, kinds=(kind,)) == [row for row in whole if row["happening"] == kind]
    for name in ("gcore", "preprod"):
        assert stream(shared_told, source=name) == [row for row in whole if row["source"] == name]
    since, until = NOON + timedelta(seconds=100), NOON + timedelta(seconds=900)
    assert stream(shared_told, since=since, until=until) == [
        row for row in whole if since <= row["at"] < until
    ]
    into = stream(shared_told, to_state="maintenance")
    assert {row["new"] for row in into} <= {"MAINTENANCE"}


def test_the_first_sighting_of_one_region_is_shown_too(shared_told: History) -> None:
    rows = stream(shared_told, region="1", source="gcore")
    assert {row["region_id"] for row in rows if row["happening"] in ("state", "keystone")} == {1}
    assert rows[-1]["kind"] == "appeared"


@pytest.mark.parametrize(
    "after", ["", "x", "1~2~3", "20260501T120000.000000Z~planet~1~gcore~", "9~state~1~a~b"]
)
def test_a_place_that_is_none_is_refused(shared_told: History, after: str) -> None:
    if not after:
        assert stream(shared_told, after=after) == stream(shared_told)
        return
    with pytest.raises(UsageError, match="is not a place in this list"):
        stream(shared_told, after=after)


# What it costs


def test_a_page_costs_what_stands_on_it_however_long_the_history_is(
    long_history: Callable[..., sa.Engine],
) -> None:
    def page(connection: sa.Connection) -> None:
        assert len(happenings(connection, HappeningFilter(limit=50))) == 50

    few, many = (effort_of(long_history(n), page) for n in (1, 10))
    assert many.statements == few.statements
    assert many.steps < 1.5 * few.steps


def test_a_page_takes_no_more_statements_for_many_sources(sqlite_engine: sa.Engine) -> None:
    taken = set()
    for number in range(3):
        history = History(sqlite_engine, name=f"source-{number}")
        history.poll([region(1), region(2)], at=0)
        history.poll([region(1, "NEW"), region(2, display_name="Two")], at=60)
        page = effort_of(sqlite_engine, lambda connection: happenings(connection, HappeningFilter()))
        taken.add(page.statements)
    assert len(taken) == 1


def test_a_page_may_end_amid_what_sources_saw_at_one_moment(engine: sa.Engine) -> None:
    """However the names of sources are sorted, and what databases think of that."""
    for name in ("b", "B", "a-b", "ab", "Z"):
        history = History(engine, name=name)
        history.poll([region(1), region(2)], at=0)
        history.poll(
            [region(1, "NEW", **{"x-y": 1}), region(2, "NEW", **{"xA": 1, "xa": 1, "x-b": 1})], at=60
        )
    whole = [row["reference"] for row in stream(history)]
    assert len(set(whole)) == len(whole)
    paged: list[str] = []
    while rows := stream(history, limit=3, after=paged[-1] if paged else None):
        paged += [row["reference"] for row in rows]
    assert paged == whole
