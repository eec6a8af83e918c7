"""Views that share out time: spans, days and months; and the functions that look back."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports.inventory import REGIONS, RegionFilter, regions_as_of
from collector.store.tables import TYPED
from tests.support import large
from tests.support.builders import MISSING, answer, keystone, region
from tests.support.claims import agreed
from tests.support.databases import new_database
from tests.support.history import History, Row, failure
from tests.support.views import ask, plan_of

DAY = 86_400.0


def spans(history: History, where: str = "1 = 1", view: str = "region_state_spans") -> list[tuple[Any, ...]]:
    """State, begin and end in seconds after noon, and what is said of UNKNOWN; not what lies after the newest poll.

    The view's; our own reports must say the same.
    """
    agreed(history, view.partition("_")[0], is_open=True)

    def seconds(moment: datetime) -> float:
        return (moment - history.time(0)).total_seconds()

    rows = ask(history, view, "from_at", f"({where}) AND (cause IS NULL OR later_state IS NOT NULL)")
    names = ("earlier_state", "later_state", "cause")
    return [
        (r["state"], seconds(r["from_at"]), seconds(r["until_at"]), *(r[n] for n in names if r["cause"]))
        for r in rows
    ]


def test_a_state_is_known_from_its_first_answer_to_the_last_question_that_it_answered(
    history: History,
) -> None:
    for at, state in ((0, "NEW"), (60, "NEW"), (120, "ACTIVE"), (180, "ACTIVE")):
        history.poll([region(1, state)], at=at, took=2)
    assert spans(history) == [
        ("NEW", 0, 58),
        ("UNKNOWN", 58, 120, "NEW", "ACTIVE", "change"),
        ("ACTIVE", 120, 178),
    ]
    assert [r["seq"] for r in ask(history, "region_state_spans", "from_at", "later_state IS NOT NULL")] == [1]


def test_a_gap_is_unknown_from_the_last_question_before_to_the_first_answer_after(history: History) -> None:
    for at, state in ((0, "NEW"), (60, "NEW"), (400, "NEW"), (460, "NEW"), (800, "ACTIVE"), (860, "ACTIVE")):
        history.poll([region(1, state)], at=at, took=2)
    assert spans(history) == [
        ("NEW", 0, 58),
        ("UNKNOWN", 58, 400, "NEW", "NEW", "unobserved"),
        ("NEW", 400, 458),
        ("UNKNOWN", 458, 800, "NEW", "ACTIVE", "unobserved"),
        ("ACTIVE", 800, 858),
    ]


@pytest.mark.parametrize(("late", "cause"), [(0, "change"), (0.001, "unobserved")])
def test_only_more_than_two_and_a_half_intervals_are_a_gap(history: History, late: float, cause: str) -> None:
    for at, state in ((0, "NEW"), (60, "NEW"), (210 + late, "ACTIVE"), (270, "ACTIVE")):
        history.poll([region(1, state)], at=at)
    assert spans(history) == [
        ("NEW", 0, 59.5),
        ("UNKNOWN", 59.5, 210 + late, "NEW", "ACTIVE", cause),
        ("ACTIVE", 210 + late, 269.5),
    ]
    gaps = ask(history, "coverage_gaps", "from_at", "until_at IS NOT NULL")
    assert [gap["from_at"] for gap in gaps] == ([history.time(60)] if late else [])


def test_a_state_that_one_poll_showed_is_known_at_no_time_but_named(history: History) -> None:
    for at, state in ((0, "NEW"), (60, "ACTIVE"), (120, "MAINTENANCE"), (500, "ACTIVE"), (900, "NEW")):
        history.poll([region(1, state)], at=at)
    assert spans(history) == [
        ("UNKNOWN", 0, 59.5, "NEW", "ACTIVE", "change"),
        # Between the question and the answer of the poll at 60 lie the windows of two changes.
        ("UNKNOWN", 59.5, 60, "NEW", "ACTIVE", "unobserved"),
        ("UNKNOWN", 60, 119.5, "ACTIVE", "MAINTENANCE", "change"),
        # The gap begins with the question that was answered at 120.
        ("UNKNOWN", 119.5, 120, "ACTIVE", "MAINTENANCE", "unobserved"),
        ("UNKNOWN", 120, 500, "MAINTENANCE", "ACTIVE", "unobserved"),
        ("UNKNOWN", 500, 900, "ACTIVE", "NEW", "unobserved"),
    ]


def test_a_moment_in_which_it_was_seen_does_not_divide_unknown_time(history: History) -> None:
    """Seen at 120, between a poll that did not show it and a gap; and at 500, between two gaps."""
    history.poll([region(1, "NEW"), region(2)], at=0, took=0)
    history.poll([{"id": 1}, region(2)], at=60, took=0)
    for at in (120, 500, 900, 960):
        history.poll([region(1, "NEW"), region(2)], at=at, took=0)
    assert spans(history, "region_id = 1") == [
        ("UNKNOWN", 0, 900, "NEW", "NEW", "unobserved"),
        ("NEW", 900, 960),
    ]


def test_where_windows_overlap_it_may_have_been_in_any_state(history: History) -> None:
    """Truly NEW to 19, MAINTENANCE to 22, then ACTIVE."""
    history.poll([region(1, "NEW")], at=0, took=0)
    history.poll([region(1, "MAINTENANCE")], at=60, took=40)
    for at in (120, 180):
        history.poll([region(1, "ACTIVE")], at=at, took=0)
    assert spans(history) == [
        ("UNKNOWN", 0, 20, "NEW", "MAINTENANCE", "change"),
        ("UNKNOWN", 20, 60, "NEW", "MAINTENANCE", "unobserved"),
        ("UNKNOWN", 60, 120, "MAINTENANCE", "ACTIVE", "change"),
        ("ACTIVE", 120, 180),
    ]


def test_while_an_answer_that_ends_an_absence_was_on_its_way_it_may_have_been_in_any_state(
    history: History,
) -> None:
    """The answer at 120 shows what was so at some time since 80, and the next answer does not show it."""
    history.poll([region(1), region(2)], at=0, took=0)
    history.poll([region(2)], at=60, took=0)
    history.poll([region(1, "NEW"), region(2)], at=120, took=40)
    history.poll([{"id": 1}, region(2)], at=180, took=0)
    history.poll([region(1, "NEW"), region(2)], at=240, took=0)
    history.poll([region(1, "NEW"), region(2)], at=300, took=0)
    assert spans(history, "region_id = 1") == [
        ("UNKNOWN", 0, 60, "ACTIVE", "ABSENT", "change"),
        ("UNKNOWN", 60, 80, "ABSENT", "NEW", "change"),
        ("UNKNOWN", 80, 120, "ABSENT", "NEW", "unobserved"),
        ("UNKNOWN", 120, 240, "NEW", "NEW", "unobserved"),
        ("NEW", 240, 300),
    ]


def test_while_an_answer_that_misses_it_was_on_its_way_it_may_have_been_in_any_state(
    history: History,
) -> None:
    """The next answer names it, so that nothing proves the absence from 80 on."""
    history.poll([region(1), region(2)], at=0, took=0)
    history.poll([region(2)], at=120, took=40)
    history.poll([{"id": 1}, region(2)], at=180, took=0)
    history.poll([region(2)], at=240, took=0)
    history.poll([region(2)], at=300, took=0)
    assert spans(history, "region_id = 1") == [
        ("UNKNOWN", 0, 80, "ACTIVE", "ABSENT", "change"),
        ("UNKNOWN", 80, 120, "ACTIVE", "ABSENT", "unobserved"),
        ("UNKNOWN", 120, 240, "ABSENT", "ABSENT", "unobserved"),
        ("ABSENT", 240, 300),
    ]


def test_where_a_later_question_was_asked_earlier_the_windows_of_both_changes_begin_with_it(
    history: History,
) -> None:
    """As with saved answers, whose times are known to a minute or so."""
    history.poll([region(1, "NEW")], at=0, took=0)
    history.poll([region(1, "NEW")], at=60, took=0)
    history.poll([region(1, "MAINTENANCE")], at=100, took=80)
    history.poll([region(1, "ACTIVE")], at=150, took=0)
    history.poll([region(1, "ACTIVE")], at=210, took=0)
    assert spans(history) == [
        ("NEW", 0, 20),
        ("UNKNOWN", 20, 100, "NEW", "MAINTENANCE", "unobserved"),
        ("UNKNOWN", 100, 150, "MAINTENANCE", "ACTIVE", "change"),
        ("ACTIVE", 150, 210),
    ]


def test_what_another_key_did_not_see_is_in_doubt_only_until_it_is_seen_again(history: History) -> None:
    history.poll([region(1), region(2)], at=0, took=0)
    history.change(api_key="key-two")
    history.poll([region(2)], at=60, took=0)
    history.change(api_key="key-one")
    for at in (120, 180):
        history.poll([region(1), region(2)], at=at, took=0)
    for at in (240, 300):
        history.poll([region(2)], at=at, took=0)
    assert spans(history, "region_id = 1") == [
        ("UNKNOWN", 0, 60, "ACTIVE", "ABSENT", "unobserved"),
        ("UNKNOWN", 60, 120, "ABSENT", "ACTIVE", "unobserved"),
        ("ACTIVE", 120, 180),
        ("UNKNOWN", 180, 240, "ACTIVE", "ABSENT", "change"),
        ("ABSENT", 240, 300),
    ]


def test_what_the_newest_answer_showed_first_may_have_been_over_when_it_came(
    history: History, now: datetime
) -> None:
    """The next answer may tell of a change whose window begins with the same question."""
    history.poll([region(1, "NEW")], at=3540, took=0)
    history.poll([region(1, "MAINTENANCE")], at=3599, took=39)
    rows = ask(history, "region_state_spans", "from_at")
    assert [
        (r["from_at"], r["until_at"], r["earlier_state"], r["later_state"], r["cause"]) for r in rows
    ] == [
        (history.time(3540), history.time(3560), "NEW", "MAINTENANCE", "change"),
        (history.time(3560), history.time(3599), "NEW", "MAINTENANCE", "unobserved"),
    ]


def test_a_newest_answer_to_a_question_from_before_the_first_sight_leaves_all_of_it_unseen(
    history: History, now: datetime
) -> None:
    """It was saved with an uncertain time: what it shows may have been so before everything else."""
    for at in (3480, 3510):
        history.poll([region(1, "NEW")], at=at, took=0)
    history.poll([region(1, "ACTIVE")], at=3540, took=0)
    history.poll([region(1, "DELETED")], at=3599, took=600)
    rows = ask(history, "region_state_spans", "from_at")
    assert [(r["from_at"], r["until_at"], r["earlier_state"], r["cause"]) for r in rows] == [
        (history.time(3480), history.time(3540), "NEW", "unobserved"),
        (history.time(3540), history.time(3599), "ACTIVE", "unobserved"),
    ]


def test_who_is_not_shown_now_was_confirmed_by_the_last_answer_that_showed_it(
    history: History, now: datetime
) -> None:
    """One region's record has lost its state, another is not proven absent any more."""
    for at in (3000, 3060):
        history.poll([region(1), region(2), region(3)], at=at)
    for at in (3120, 3180):
        history.poll([region(1), region(2)], at=at)  # 3 is absent
    for at in (3240, 3300, 3599):
        history.poll(answer([region(1, ""), region(2)], count=9), at=at)
        rows = {
            (r["region_id"], r["state"]): r for r in ask(history, "region_state_intervals", "from_latest")
        }
        for key in ((1, "ACTIVE"), (3, "ABSENT")):
            assert (rows[key]["to_earliest"], rows[key]["to_latest"]) == (history.time(3179.5), None)
            unknown = rows[key[0], "UNKNOWN"]
            assert (unknown["from_latest"], unknown["to_latest"]) == (history.time(3179.5), None)
            assert bool(unknown["is_open"])
        (last,) = ask(history, "region_state_spans", "from_at", "region_id = 1 AND cause = 'unobserved'")
        assert (last["from_at"], last["earlier_state"], last["later_state"]) == (
            history.time(3179.5),
            "ACTIVE",
            None,
        )


def test_the_newest_poll_after_a_gap_says_what_is_so_now(history: History, now: datetime) -> None:
    for at in (0, 60, 3599):
        history.poll([region(1)], at=at)
    (unknown,) = ask(history, "region_state_spans", "from_at", "state = 'UNKNOWN'")
    assert (unknown["until_at"], unknown["later_state"]) == (history.time(3599), "ACTIVE")
    assert not ask(history, "region_state_intervals", "seq", "state = 'UNKNOWN' AND to_latest IS NULL")


def test_an_absence_that_only_another_key_saw_is_unknown(history: History) -> None:
    both, one = [region(1), region(2)], [region(2)]
    for at in (0, 60):
        history.poll(both, at=at)
    history.change(api_key="narrower")
    for at in (120, 180, 240):
        history.poll(one, at=at)
    history.change(api_key="key-one")
    for at in (300, 360):
        history.poll(both, at=at)
    assert spans(history, "region_id = 1") == [
        ("ACTIVE", 0, 59.5),
        ("UNKNOWN", 59.5, 120, "ACTIVE", "ABSENT", "unobserved"),
        ("UNKNOWN", 120, 300, "ABSENT", "ACTIVE", "unobserved"),
        ("ACTIVE", 300, 359.5),
    ]


def test_when_another_key_stopped_seeing_it_is_not_when_it_disappeared(history: History) -> None:
    history.poll([region(1), region(2)], at=0, took=0)
    history.change(api_key="narrower")
    for at in (60, 120):
        history.poll([region(2)], at=at, took=0)
    assert spans(history, "region_id = 1") == [("UNKNOWN", 0, 60, "ACTIVE", "ABSENT", "unobserved")]


def test_a_state_of_the_cloud_that_is_called_as_our_words_stands_in_quotation_marks(history: History) -> None:
    for n, state in enumerate(("UNKNOWN", "absent", '"ABSENT"')):
        for at in (0, 60):
            history.poll([region(1, state), region(2)], at=n * 120 + at, took=0)
    for at in (360, 420, 960, 1020):
        history.poll([region(2)], at=at, took=0)
    assert [s[:3] for s in spans(history, "region_id = 1 AND (cause IS NULL OR cause = 'unobserved')")] == [
        ('"UNKNOWN"', 0, 60),
        ('"absent"', 120, 180),
        ('""ABSENT""', 240, 300),
        ("ABSENT", 360, 420),
        ("UNKNOWN", 420, 960),
        ("ABSENT", 960, 1020),
    ]
    days = ask(history, "daily_region_states", "state", "region_id = 1 AND day = '2026-05-01'")
    assert {r["state"]: r["seconds_at_least"] for r in days if r["state"] != "UNKNOWN"} == {
        '"UNKNOWN"': 60,
        '"absent"': 60,
        '""ABSENT""': 60,
        "ABSENT": 120,
    }
    states = ask(history, "region_state_intervals", "from_latest", "region_id = 1")
    assert {r["state"] for r in states} == {'"UNKNOWN"', '"absent"', '""ABSENT""', "ABSENT", "UNKNOWN"}


def test_the_limit_of_a_gap_is_that_of_the_longer_interval(history: History) -> None:
    for at in (0, 60):
        history.poll([region(1)], at=at)
    history.change(interval=timedelta(minutes=10))
    for at in (660, 1260):
        history.poll([region(1)], at=at)
    history.change(interval=timedelta(minutes=1))
    for at in (2000, 2060):
        history.poll([region(1)], at=at)
    assert spans(history) == [("ACTIVE", 0, 2059.5)]
    assert not ask(history, "coverage_gaps", "seq", "until_at IS NOT NULL")


def test_what_was_not_shown_is_unknown_while_the_rest_is_not(history: History) -> None:
    def says_nothing_of_one(*at: float) -> None:
        for moment in at:
            history.poll(answer([region(2)], count=9), at=moment)

    history.poll([region(1), region(2)], at=0)
    says_nothing_of_one(60)
    for at in (120, 180):
        history.poll([region(1), region(2)], at=at)
    history.poll([region(2)], at=240)
    says_nothing_of_one(300)
    history.poll([region(2)], at=360)
    says_nothing_of_one(420, 480)
    for at in (540, 600):
        history.poll([region(2)], at=at)
    assert spans(history, "region_id = 2") == [("ACTIVE", 0, 599.5)]
    assert spans(history, "region_id = 1") == [
        ("UNKNOWN", 0, 120, "ACTIVE", "ACTIVE", "unobserved"),
        ("ACTIVE", 120, 179.5),
        ("UNKNOWN", 179.5, 240, "ACTIVE", "ABSENT", "change"),
        ("ABSENT", 240, 359.5),  # complete answers at 240 and 360 are near enough
        ("UNKNOWN", 359.5, 540, "ABSENT", "ABSENT", "unobserved"),
        ("ABSENT", 540, 599.5),
    ]


def test_an_absent_keystone_that_an_answer_names_may_have_been_there(history: History) -> None:
    def sharing() -> Row:
        return region(1, keystone_id=7, keystone=keystone(7))

    history.poll([sharing(), region(2)], at=0)
    history.poll([region(1), region(2)], at=60)
    history.poll([region(1), region(2)], at=120)
    history.poll([region(1, keystone_id=7, keystone=MISSING), region(2)], at=180)
    history.poll([region(1), region(2)], at=240)
    history.poll([region(1), region(2)], at=300)
    assert spans(history, "keystone_id = 7", "keystone_state_spans")[-3:] == [
        ("ABSENT", 60, 119.5),
        ("UNKNOWN", 119.5, 240, "ABSENT", "ABSENT", "unobserved"),
        ("ABSENT", 240, 299.5),
    ]


def test_an_absence_was_proven_up_to_the_last_question_of_its_proof_even_if_the_clock_was_set_back(
    history: History,
) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll([region(1)], at=60)
    history.poll([region(1)], at=120)
    history.poll(answer([region(1)], count=2), at=80)
    assert spans(history, "region_id = 2")[1:2] == [("ABSENT", 60, 119.5)]
    agreed(history, "region", is_open=True)


def test_a_doubt_goes_back_to_the_last_answer_that_could_prove_an_absence(history: History) -> None:
    def say(at: float, **keystone_of_one: Any) -> None:
        history.poll([region(1, **keystone_of_one), region(2)], at=at)

    nothing_stated = {"keystone_id": MISSING, "keystone": MISSING}
    say(0, keystone_id=7, keystone=keystone(7))
    say(60)
    say(120)
    say(180, **nothing_stated)
    say(240, keystone_id=7, keystone=MISSING)
    say(300, **nothing_stated)
    say(360)
    say(420)
    assert spans(history, "keystone_id = 7", "keystone_state_spans")[-3:] == [
        ("ABSENT", 60, 119.5),
        ("UNKNOWN", 119.5, 360, "ABSENT", "ABSENT", "unobserved"),
        ("ABSENT", 360, 419.5),
    ]


def test_without_an_open_gap_spans_end_with_the_newest_successful_poll(
    history: History, now: datetime
) -> None:
    for at in (3480, 3540, 3599):
        history.poll([region(1)], at=at, took=1)
    history.poll(failure(), at=3599.5)
    (row,) = ask(history, "region_state_spans", "from_at")
    assert row["until_at"] == history.time(3598)


def test_an_open_gap_is_unknown_until_now(history: History, now: datetime) -> None:
    for at in (0, 60):
        history.poll([region(1)], at=at)
    _, row = ask(history, "region_state_spans", "from_at")
    assert (row["state"], row["earlier_state"], row["later_state"], row["cause"]) == (
        "UNKNOWN",
        "ACTIVE",
        None,
        "unobserved",
    )
    assert row["from_at"] == history.time(59.5)
    assert row["until_at"] >= now


@pytest.mark.parametrize(("ago", "is_open"), [(30, False), (250, True)])
def test_a_gap_is_open_from_two_and_a_half_intervals_on(
    history: History, now: datetime, ago: float, is_open: bool
) -> None:
    """The interval is 60 s, so two minutes are left until the first gap would be open, too."""
    for at in (0, 60):
        history.poll([region(1)], at=3600 - ago - 60 + at, took=0)
    assert spans(history) == [("ACTIVE", 3540 - ago, 3600 - ago)]
    open_spans = ask(history, "region_state_spans", "from_at", "later_state IS NULL AND cause IS NOT NULL")
    assert bool(open_spans) == is_open


def test_spans_have_neither_holes_nor_overlaps_and_agree_with_intervals_days_and_months(
    told: History,
) -> None:
    for kind in ("region", "keystone"):
        by_entity = defaultdict(list)
        for row in ask(told, f"{kind}_state_spans", f"source, {kind}_id, from_at"):
            by_entity[row["source"], row[f"{kind}_id"]].append(row)
        assert by_entity
        seen = {key: min(r["from_latest"] for r in rows) for key, rows in intervals(told, kind).items()}
        for key, rows in by_entity.items():
            assert rows[0]["from_at"] == seen[key]
            for before, after in itertools.pairwise(rows):
                assert before["until_at"] == after["from_at"]
                assert before["from_at"] < before["until_at"]
                # One UNKNOWN follows another only around a state that no time is known to have been in, or where
                # windows overlap.
                assert (
                    before["state"] != "UNKNOWN"
                    or after["earlier_state"] in (None, before["later_state"])
                    or {before["cause"], after["cause"]} == {"change", "unobserved"}
                )
            for row in rows:
                assert row["seconds"] == pytest.approx(
                    (row["until_at"] - row["from_at"]).total_seconds(), abs=1e-5
                )
        for key, rows in intervals(told, kind).items():
            known = [r for r in by_entity[key] if r["cause"] != "change"]
            assert sum(r["seconds_at_least"] for r in rows) == pytest.approx(
                sum(r["seconds"] for r in known), rel=1e-6
            )

    of_days: dict[Any, float] = defaultdict(float)
    for row in ask(told, "daily_region_states", "day"):
        of_days[row["source"], row["region_id"], str(row["day"])] += row["seconds_at_least"]
        assert row["seconds_at_least"] <= row["seconds_at_most"] + 1e-6
        assert row["seconds_at_most"] <= DAY + 1e-6
    expected: dict[Any, float] = defaultdict(float)
    for row in ask(told, "region_state_spans", "from_at"):
        for day, seconds in days_of(row["from_at"], row["until_at"]):
            expected[row["source"], row["region_id"], str(day)] += seconds
    assert of_days.keys() == expected.keys()
    for key, seconds in expected.items():
        assert of_days[key] == pytest.approx(
            seconds, abs=120 if key[2] == str(datetime.now(UTC).date()) else 1e-3
        )
    months = ask(told, "availability_monthly", "month")
    for row in months:
        days = {k: s for k, s in of_days.items() if (k[0], k[1]) == (row["source"], row["region_id"])}
        whole = sum(s for k, s in days.items() if k[2][:7] == str(row["month"])[:7])
        assert row["seconds"] == pytest.approx(whole, abs=120)
        assert 0 <= row["share_at_least"] <= row["share_at_most"] <= 1
        assert row["share_at_least"] == pytest.approx(row["seconds_at_least"] / row["seconds"])


def intervals(history: History, kind: str) -> dict[Any, list[Row]]:
    found = defaultdict(list)
    for row in ask(history, f"{kind}_state_intervals", "from_latest"):
        found[row["source"], row[f"{kind}_id"]].append(row)
    return found


def days_of(begin: datetime, end: datetime) -> Iterator[tuple[date, float]]:
    while begin < end:
        midnight = datetime.combine(begin.date() + timedelta(days=1), datetime.min.time(), UTC)
        yield begin.date(), (min(end, midnight) - begin).total_seconds()
        begin = midnight


def test_a_day_says_for_how_long_a_region_was_in_each_state_at_least_and_at_most(history: History) -> None:
    """Noon is 12 h into the first day."""
    hour = 3600
    history.change(interval=timedelta(hours=1))
    for at in (0, 1, 2, 3):
        history.poll([region(1, "ACTIVE")], at=at * hour, took=0)
    for at in (4, 5):
        history.poll([region(1, "MAINTENANCE")], at=at * hour, took=0)
    # a gap of two and a half days
    for at in (65, 66):
        history.poll([region(1, "ACTIVE")], at=at * hour, took=0)
    rows = ask(history, "daily_region_states", "day, state", "day < '2026-05-04'")
    said = [
        (
            str(r["day"]),
            r["state"],
            *(r[f"seconds_{n}"] / hour for n in ("at_least", "at_most", "unobserved")),
        )
        for r in rows
    ]
    assert said == [
        # 12 to 15 h ACTIVE, turned until 16 h, MAINTENANCE to 17 h, 7 h unseen.
        ("2026-05-01", "ACTIVE", 3, 11, 7),
        ("2026-05-01", "MAINTENANCE", 1, 9, 7),
        ("2026-05-01", "UNKNOWN", 8, 8, 7),
        ("2026-05-02", "ACTIVE", 0, 24, 24),
        ("2026-05-02", "MAINTENANCE", 0, 24, 24),
        ("2026-05-02", "UNKNOWN", 24, 24, 24),
        ("2026-05-03", "ACTIVE", 0, 24, 24),
        ("2026-05-03", "MAINTENANCE", 0, 24, 24),
        ("2026-05-03", "UNKNOWN", 24, 24, 24),
    ]
    (month,) = ask(history, "availability_monthly", "month", "month = '2026-05-01'")
    fourth = ask(history, "daily_region_states", "day", "day = '2026-05-04' AND state = 'ACTIVE'")[0]
    assert fourth["seconds_at_least"] == pytest.approx(hour)  # from 5 to 6 o'clock
    later = 27 * DAY  # 5 to 31 May: an open gap
    assert month["seconds_at_least"] == pytest.approx(4 * hour)
    assert month["seconds_at_most"] == pytest.approx((11 + 24 + 24 + 24) * hour + later)
    assert month["seconds"] == pytest.approx((12 + 72) * hour + later)
    assert month["share_at_least"] == pytest.approx(4 * hour / month["seconds"])


# Looking back


def test_the_functions_say_what_the_command_says_of_any_time(told: History) -> None:
    if told.engine.dialect.name == "sqlite":
        with (
            reading(told.engine) as connection,
            pytest.raises(sa.exc.OperationalError, match="no such table"),
        ):
            connection.exec_driver_sql("SELECT * FROM regions_as_of('2026-05-01')")
        return
    moments = {
        moment + timedelta(microseconds=step)
        for row in told.query("SELECT first_at, last_at FROM observations ORDER BY first_at")
        for moment in row.values()
        for step in (-1, 0, 1, 30_000_000)
    }
    compared = 0
    with reading(told.engine) as connection:
        for moment in sorted(moments):
            ours = regions_as_of(connection, moment, RegionFilter())
            query = sa.text("SELECT * FROM regions_as_of(:moment) ORDER BY source, region_id")
            theirs = [dict(row) for row in connection.execute(query, {"moment": moment}).mappings()]
            assert [list(row) for row in theirs[:1]] == [list(REGIONS.fields)] * len(theirs[:1])
            lists = ("available_volume_types", "ddos_client_ids")
            for row in theirs:
                assert row["source"]
            assert [{k: v for k, v in row.items() if k not in lists} for row in theirs] == [
                {k: v for k, v in row.items() if k not in lists} for row in ours
            ]
            compared += len(ours)
            keystones = {
                (row.source, row.keystone_id): row.state
                for row in connection.execute(
                    sa.text("SELECT * FROM keystones_as_of(:moment)"), {"moment": moment}
                )
            }
            for row in ours:
                if row["keystone_state"] is not None:
                    assert keystones[row["source"], row["keystone_id"]] == row["keystone_state"]
    assert compared > 20


def test_a_function_has_the_columns_of_its_kind(postgresql_template: sa.URL) -> None:
    engine = open_engine(new_database(postgresql_template, postgresql_template.database))
    with reading(engine) as connection:
        found = connection.exec_driver_sql("SELECT * FROM keystones_as_of(CURRENT_TIMESTAMP)").keys()
    engine.dispose()
    assert list(found) == [
        *("source", "region_id", "slug", "display_name", "keystone_id"),
        *TYPED["keystone"],
        *("first_seen_at", "changed_at", "last_seen_at", "zone", "country"),
    ]


# How much of a long history is read


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path / 'long.db'}")
    else:
        engine = open_engine(new_database(request.getfixturevalue("postgresql_server")))
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


MOMENT = "2020-01-08 00:00:00+00"
QUESTIONS_OF_ONE_REGION = (
    "SELECT * FROM region_transitions WHERE region_id = 76",
    "SELECT * FROM region_changes WHERE region_id = 76",
    "SELECT * FROM region_state_spans WHERE region_id = 76",
    "SELECT * FROM region_state_intervals WHERE region_id = 76 AND state = 'ACTIVE'",
    f"SELECT * FROM region_states WHERE region_id = 76 AND from_at <= '{MOMENT}' AND '{MOMENT}' < until_at",
    "SELECT * FROM daily_region_states WHERE region_id = 76 AND day > '2020-01-05'",
    "SELECT * FROM availability_monthly WHERE source = 'gcore' AND region_id = 76",
)
QUESTIONS_OF_ALL = (
    "SELECT * FROM current_regions",
    "SELECT * FROM coverage_gaps",
    "SELECT * FROM poll_health",
)
"""These need no more than a few transitions, or none."""


def check_plans(engine: sa.Engine, regions: int, transitions: int) -> None:
    large.fill(engine, regions=regions, transitions=transitions, observations=20 * transitions, gap_every=100)
    for question in QUESTIONS_OF_ONE_REGION:
        plan = plan_of(engine, question, seqscan=True)
        if engine.dialect.name == "sqlite":
            key = "region_versions_1 (source_id=? AND region_id=?"
            if "region_changes" not in question:
                key = "state_transitions_1 (source_id=? AND entity=? AND entity_id=?"
            assert f"USING INDEX sqlite_autoindex_{key}" in plan
            assert not re.search(r"(?m)SCAN [tvnou]$", plan), plan
        else:
            assert not re.search(r"Seq Scan on (state_transitions|region_versions)", plan), plan
        with reading(engine) as connection:
            assert len(connection.exec_driver_sql(question).all()) > 0, question
    for question in QUESTIONS_OF_ALL:
        plan = plan_of(engine, question, seqscan=True)
        assert not re.search(r"(?m)SCAN [tv]$|Seq Scan on (state_transitions|region_versions)", plan), plan
        if "coverage_gaps" in question:
            bounded = r"source_id=\? AND observed_at>\? AND observed_at<\?|observed_at >= .*\.until_at"
            assert re.search(bounded, plan), plan
        with reading(engine) as connection:
            assert len(connection.exec_driver_sql(question).all()) > 0, question
    with reading(engine) as connection:
        found = regions_as_of(connection, datetime.fromisoformat(MOMENT), RegionFilter())
        assert len(found) == regions
    if engine.dialect.name == "postgresql":
        question = f"SELECT * FROM regions_as_of('{MOMENT}')"
        plan = plan_of(engine, question, seqscan=True)
        assert "Index Only Scan Backward using pk_region_versions on region_versions" in plan, plan
        assert re.search(
            r"Index Cond: .*region_id = regions.id\) AND \(valid_from = \(SubPlan \d+\)", plan
        ), plan
        with reading(engine) as connection:
            assert len(connection.exec_driver_sql(question).all()) == regions


def test_a_question_about_one_region_reads_that_region_of_a_long_history(empty_engine: sa.Engine) -> None:
    check_plans(empty_engine, regions=100, transitions=400)


def steps_of(file: Path, question: str, *, gap_every: int) -> int:
    """About how many steps SQLite's machine takes over a history of 2,000 transitions; the same on each machine."""
    engine = open_engine(f"sqlite:///{file}")
    migrate.upgrade(engine)
    large.fill(engine, regions=5, transitions=400, observations=8000, gap_every=gap_every)
    engine.dispose()
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1000
        return 0

    connection = sqlite3.connect(file)
    connection.set_progress_handler(count, 1000)
    assert len(connection.execute(question).fetchall()) > 2000
    connection.close()
    return taken


@pytest.mark.parametrize("view", ["region_state_spans", "region_state_intervals"])
def test_each_gap_is_not_laid_beside_each_transition(tmp_path: Path, view: str) -> None:
    few, many = (
        steps_of(tmp_path / f"{gap_every}.db", f"SELECT * FROM {view}", gap_every=gap_every)
        for gap_every in (8000, 20)
    )
    assert many < 4 * few


@pytest.mark.slow
def test_a_question_about_one_region_reads_that_region_of_a_million_transitions(
    empty_engine: sa.Engine,
) -> None:
    check_plans(empty_engine, regions=1000, transitions=1000)
