"""The reports behind the pages: since when, which share of each day, what a gap may hide, and fixed questions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from collector.database.transactions import reading
from collector.inventory.spans import ABSENT, UNKNOWN
from collector.reports.blind import gap_at, unseen_groups
from collector.reports.days import CHANGING, Days, days
from collector.reports.filters import Row
from collector.reports.overview import Wanted, overview
from collector.reports.periods import last_days
from collector.reports.polls import SEEN, sight
from collector.reports.recipes import DEMO, moved, moved_words, recipes
from collector.reports.spans import SpanFilter, known_spans, spans
from collector.reports.timeline.palette import looks
from collector.reports.timeline.strip import Strip, day_in_words
from tests.support.builders import region
from tests.support.demo import DemoDatabase
from tests.support.history import NOON, History, failure

DAY = timedelta(days=1)
KEYS = [(source, number) for source in ("gcore", "preprod") for number in range(1, 12)]


def test_since_when_is_the_newest_change_up_to_the_time(history: History) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll([region(1, state="NEW"), region(2)], at=60)
    history.poll([region(1), region(2)], at=120)
    with reading(history.engine) as connection:
        for seconds, state, since in ((30, "ACTIVE", 0), (90, "NEW", 60), (150, "ACTIVE", 120)):
            found = overview(connection, NOON + timedelta(seconds=seconds), Wanted())
            row = next(row for row in found.rows if row["region_id"] == 1)
            assert (row["state"], row["since"]["observed_at"]) == (state, NOON + timedelta(seconds=since))
            assert row["is_seen"]


def test_what_the_newest_answer_did_not_show_is_not_seen(told: History) -> None:
    with reading(told.engine) as connection:
        for minute in range(30):
            moment = NOON + timedelta(seconds=60 * minute + 1)
            found = overview(connection, moment, Wanted())
            for row in found.rows:
                look = found.looks[row["source"]]
                assert look is not None
                assert row["is_seen"] == (not look.is_blind and row["last_seen_at"] >= look.at)
                assert row["last_seen_at"] <= moment


def test_a_state_takes_as_much_of_a_day_as_the_view_says_at_least(told: History) -> None:
    views = told.query(
        "SELECT source, region_id, day, state, seconds_at_least, seconds_at_most, seconds_unobserved "
        "FROM daily_region_states"
    )
    known = {(v["source"], v["region_id"], str(v["day"]), v["state"]): v for v in views}
    keys = sorted({(str(v["source"]), int(v["region_id"])) for v in views})
    with reading(told.engine) as connection:
        found = days(connection, keys, NOON + 1 * DAY, 3)
    checked = 0
    for (source, region_id), own in found.items():
        for run in own.runs:
            for day, (state, seconds) in product(range(run.first, min(run.end, 2)), run.spent.items()):
                view = known.get((source, region_id, f"{own.begin + day * DAY:%Y-%m-%d}", state))
                if state in (UNKNOWN, CHANGING) or view is None:
                    continue
                checked += 1
                assert seconds == pytest.approx(view["seconds_at_least"], abs=1e-3)
    assert checked >= 10


def test_a_day_is_filled_in_proportion_and_a_short_state_is_never_lost() -> None:
    spent = {"ACTIVE": 86_160.0, "MAINTENANCE": 120.0, CHANGING: 120.0}
    quiet = (1, 2, {"ACTIVE": 86_400.0})
    strip = Strip(Days.of(last_days(datetime(2026, 5, 3, 23, 59, tzinfo=UTC), 3), [quiet, (2, 3, spent)]))
    drawn = strip.svg(looks({"ACTIVE", "MAINTENANCE"}))
    assert 's-maintenance" d="M8 0H12V1.06H8z"' in drawn
    assert 's-changing" d="M8 1.06H12V2.12H8z"' in drawn
    assert strip.summary == "3 days: ACTIVE over 99 %, MAINTENANCE under 1 %, changing within under 1 %"
    assert strip.attribute == (
        "0 not on record|1 ACTIVE|2 ACTIVE 23 h 56 min, MAINTENANCE 2 min, changing within 2 min"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ({UNKNOWN: 3600.0}, "unknown"),
        ({ABSENT: 1.0, "NEW": 5.0}, "NEW 5.0 s, absent 1.0 s"),
        ({}, "not on record"),
    ],
)
def test_a_day_in_words(seconds: dict[str, float], said: str) -> None:
    assert day_in_words(seconds) == said


def test_sight_of_a_source_is_what_lies_in_no_gap(history: History) -> None:
    history.poll([region(1)], at=0)
    history.poll([region(1)], at=60)
    history.poll([region(1)], at=3660)
    with reading(history.engine) as connection:
        (day,) = sight(connection, ["gcore"], NOON + timedelta(seconds=3660), 1)["gcore"].runs
    assert day.spent == {SEEN: 60.0, UNKNOWN: 3600.0}


def test_a_gap_lists_the_changes_that_it_may_hide(history: History) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll([region(1, state="NEW"), region(2)], at=60)
    history.poll([region(1, state="NEW"), region(2, state="DELETING")], at=3660)
    with reading(history.engine) as connection:
        gap, across = gap_at(connection, "gcore", 2)
    assert gap["seconds"] == 3600.0
    assert [(row["region_id"], row["to_state"]) for row in across] == [(2, "DELETING")]


def test_what_was_not_shown_at_once_is_one_row(history: History) -> None:
    history.poll([region(i) for i in range(1, 15)], at=0)
    history.poll([], at=60)
    with reading(history.engine) as connection:
        rows = [row for row in unseen_groups(connection) if row["entity"] == "region"]
    assert [(row["count"], row["open"], row["cause"]) for row in rows] == [(14, 14, "held")]


# Fixed questions


def test_at_the_end_of_the_demo_statements_are_those_of_the_cookbook(demo_database: DemoDatabase) -> None:
    for recipe in recipes("SQLite"):
        assert moved(recipe.sql, DEMO) == recipe.sql
        assert moved_words(recipe.said, DEMO) == recipe.said
        demo_database.table(recipe.sql)
    assert len(recipes("SQLite")) > 20
    assert len(recipes("PostgreSQL")) > 20
    slugs = [recipe.slug for recipe in recipes("SQLite")]
    assert len(slugs) == len(set(slugs))


def test_dates_move_by_days_and_beginnings_of_months_by_months() -> None:
    sql = "WHERE day >= '2026-11-01' AND t < '2026-11-15T12:00:00.000000Z' AND u < '2027-01-01' AND x = '2026-10-31'"
    later = moved(sql, DEMO + timedelta(days=40))
    assert later == (
        "WHERE day >= '2026-12-01' AND t < '2026-12-25T12:00:00.000000Z' AND u < '2027-02-01' AND x = '2026-12-10'"
        if (DEMO + timedelta(days=40)).month == 12
        else "WHERE day >= '2027-01-01' AND t < '2026-12-25T12:00:00.000000Z' AND u < '2027-03-01' AND x = '2026-12-10'"
    )
    assert (
        moved_words("on 15 November (2026-11-15)", DEMO + timedelta(days=20)) == "on 5 December (2026-12-05)"
    )


def test_spans_of_a_time_tell_nothing_that_was_known_only_later(history: History) -> None:
    calm = [region(i) for i in (1, 2, 3)]
    story: list[tuple[float, Any]] = [
        (0, calm),
        (60, [region(1, state="NEW"), region(2), region(3)]),
        (120, [region(1, state="NEW"), region(2)]),
        (180, {"count": 5, "results": [region(1, state="NEW")]}),
        (240, failure()),
        (1200, failure()),
        (1800, [region(1), region(2)]),
        (1860, [region(1), region(2)]),
        (1920, [region(1), {"state": "NEW"}]),
        (1980, [region(1), region(2), region(3)]),
        (2040, []),
        (2100, []),
        (2160, calm),
        (2280, [region(1, state="MAINTENANCE"), region(2), region(3)]),
    ]

    def known(moment: datetime, entity: str) -> list[Row]:
        with reading(history.engine) as connection:
            return list(spans(connection, SpanFilter(entity, known_at=moment)))

    then = {}
    for seconds, said in story:
        history.poll(said, at=seconds)
        for later in (1.0, 149.0, 155.0):
            if later == 1.0 or seconds in (240, 1200):
                moment = NOON + timedelta(seconds=seconds + later)
                then[moment] = [known(moment, entity) for entity in ("region", "keystone")]
    for moment, both in then.items():
        for entity, before in zip(("region", "keystone"), both, strict=True):
            after = known(moment, entity)
            end = max((row["until_at"] for row in after), default=moment)
            assert end <= moment
            assert [cut(row, end) for row in after] == [
                cut(row, end) for row in before if row["from_at"] < end
            ]


def cut(row: Row, end: datetime) -> tuple[Any, ...]:
    is_open = row["until_at"] >= end
    later = None if is_open and row["cause"] != "change" else row["later_state"]
    return row["entity_id"], row["state"], row["from_at"], min(row["until_at"], end), row["cause"], later


def test_periods_are_shared_out_whole_and_in_parts() -> None:
    periods = last_days(NOON, 5)
    begin = periods[0][0]
    lie = lambda *hours: list(periods.stretches_of(*(begin + timedelta(hours=n) for n in hours)))  # noqa: E731
    day = 86_400.0
    assert lie(0, 108) == [(0, 4, day), (4, 5, day / 2)]
    assert lie(-50, 48) == [(0, 2, day)]
    assert lie(1, 2) == [(0, 1, 3600.0)]
    assert lie(12, 36) == [(0, 1, day / 2), (1, 2, day / 2)]
    assert lie(12, 73) == [(0, 1, day / 2), (1, 3, day), (3, 4, 3600.0)]
    assert lie(97, 200) == [(4, 5, 39_600.0)]
    assert lie(96, 200) == [(4, 5, day / 2)]
    assert lie(24, 24) == lie(200, 300) == lie(-2, -1) == []


def test_days_are_the_same_whatever_was_read_of_the_time_before(told: History) -> None:
    """Spans that are cut at the first day, and whole ones, fill days alike."""
    until = NOON + timedelta(minutes=28)
    with reading(told.engine) as connection:
        for minutes in range(0, 28, 2):
            since = NOON + timedelta(minutes=minutes)
            whole, cut = (
                {
                    (source, entity_id): [
                        (s.state, max(s.from_at, since), min(s.until_at, until), *s[3:6]) for s in found
                    ]
                    for source, entity_id, found in known_spans(
                        connection, SpanFilter(since=since, until=until, keys=KEYS, is_cut=is_cut)
                    )
                }
                for is_cut in (False, True)
            )
            assert whole == cut
            assert whole
