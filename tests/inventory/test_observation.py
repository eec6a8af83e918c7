"""When a stretch of equal polls goes on, and the time of each poll. No database, no clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from collector.errors import ClockError
from collector.inventory.observation import TICK, Answered, Observation, Observer, Poll, gap_limit

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = Observer("key-a", "https://api.example", "apikey")


def moment(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def poll(at: float, took: float = 1, interval: timedelta = MINUTE, who: Observer = KEY) -> Poll:
    return Poll(asked_at=moment(at - took), answered_at=moment(at), observer=who, interval=interval)


def opened(by: Poll) -> Observation:
    said = Answered("address", 1, 1, 0, frozenset(), None)
    return Observation.opened(
        "gcore", None, by, 1, "ok", said, recorded_at=by.answered_at, collector_version="1"
    )


@pytest.mark.parametrize(
    ("following", "continues"),
    [
        (poll(60), True),
        (poll(150), True),
        (poll(150.001), False),
        (poll(60, interval=MINUTE * 2), False),
        (poll(60, interval=MINUTE / 2), False),
        (poll(60, who=replace(KEY, key_fingerprint="key-b")), False),
        (poll(60, who=replace(KEY, base_url="https://reseller.example")), False),
        (poll(60, who=replace(KEY, auth_scheme="Bearer")), False),
    ],
)
def test_a_stretch_goes_on_by_the_same_key_at_the_same_interval_without_a_gap(
    following: Poll, continues: bool
) -> None:
    assert opened(poll(0)).is_continued_by(following) is continues


def test_a_stretch_ends_at_midnight() -> None:
    late = opened(poll(12 * 3600 - 30))
    assert not late.is_continued_by(poll(12 * 3600 + 30))
    assert late.extended(poll(12 * 3600 - 1)).is_continued_by(poll(12 * 3600 - 0.001))


def test_the_longest_interval_is_that_of_any_two_polls() -> None:
    row = opened(poll(0))
    for at in (60, 180, 240):
        row = row.extended(poll(at))
    assert (row.longest_interval_ms, row.polls, row.last_at) == (120_000, 4, moment(240))


def test_the_longer_of_two_intervals_says_what_a_gap_is() -> None:
    assert gap_limit(MINUTE, MINUTE * 3) == gap_limit(MINUTE * 3, MINUTE) == MINUTE * 7.5


def test_an_answer_is_never_before_its_question() -> None:
    """The clock was set back while the API was asked."""
    back = replace(poll(0), asked_at=moment(20))
    assert back.after(None) == replace(back, answered_at=moment(20))
    assert back.after(opened(poll(30))) == replace(back, answered_at=moment(30) + TICK)


def test_time_only_moves_forward_and_the_question_stays() -> None:
    before = opened(poll(0)).extended(poll(60))
    late = poll(59, took=5)
    assert late.after(before) == replace(late, answered_at=moment(60) + TICK)
    assert poll(120).after(before) == poll(120)
    with pytest.raises(ClockError, match="was already polled at 2026-05-01 12:01:00"):
        poll(-1).after(before)


@pytest.mark.parametrize(("age", "may"), [(0, False), (30, False), (59, False), (59.1, True), (110, True)])
def test_a_cached_answer_may_be_older_than_the_last_poll_of_the_last_stretch(age: float, may: bool) -> None:
    applied = opened(poll(0)).extended(poll(60))
    cached = replace(poll(120), age=timedelta(seconds=age))
    assert cached.may_precede(applied) is may
    assert not cached.may_precede(None)
    assert cached.of_an_answer().asked_at == moment(119 - age)
