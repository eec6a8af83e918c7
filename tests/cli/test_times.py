"""Times as people say them: what is understood, and that everything else is refused in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collector.cli.times import Time
from collector.reports.times import parse_time

NOW = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)  # a Monday
HELP = "write it like 2026-05-01, 2026-05-01T12:30:00Z, yesterday, 2 days ago"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-05-01", utc(2026, 5, 1)),
        ("  2026-05-01  ", utc(2026, 5, 1)),
        ("20260501", utc(2026, 5, 1)),
        ("2026-W18-5", utc(2026, 5, 1)),
        ("2026-05-01T12:30", utc(2026, 5, 1, 12, 30)),
        ("2026-05-01 12:30", utc(2026, 5, 1, 12, 30)),
        ("2026-05-01T12:30:00Z", utc(2026, 5, 1, 12, 30)),
        ("20260501T123000Z", utc(2026, 5, 1, 12, 30)),
        ("2026-05-01T12:30:00.250000Z", utc(2026, 5, 1, 12, 30, 0, 250000)),
        ("2026-05-01T12:30:00,25+00:00", utc(2026, 5, 1, 12, 30, 0, 250000)),
        ("2026-05-01T12:30:00+02:00", utc(2026, 5, 1, 10, 30)),
        ("2026-05-01T00:30:00+0530", utc(2026, 4, 30, 19)),
        ("2026-05-01T23:30:00-08:00", utc(2026, 5, 2, 7, 30)),
        ("2024-02-29", utc(2024, 2, 29)),
        ("0001-01-01", utc(1, 1, 1)),
        ("2026-11-23T12:34:56Z", NOW),
    ],
)
def test_iso_8601_without_a_zone_is_utc_and_a_day_is_its_start(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("today", utc(2026, 11, 23)),
        ("yesterday", utc(2026, 11, 22)),
        ("day before yesterday", utc(2026, 11, 21)),
        ("The  day before yesterday", utc(2026, 11, 21)),
        ("Yesterday", utc(2026, 11, 22)),
        ("now", NOW),
        ("2 days ago", NOW - timedelta(days=2)),
        ("2  DAYS  ago", NOW - timedelta(days=2)),
        ("3 hours ago", NOW - timedelta(hours=3)),
        ("90 minutes ago", NOW - timedelta(minutes=90)),
        ("a day ago", NOW - timedelta(days=1)),
        ("1 month ago", utc(2026, 10, 23, 12, 34, 56)),
        ("last week", NOW - timedelta(days=7)),
        ("May 3", utc(2026, 5, 3)),
        ("3 May 2026", utc(2026, 5, 3)),
        ("May 3, 2026", utc(2026, 5, 3)),
        ("3rd of May 2026 14:00", utc(2026, 5, 3, 14)),
        ("December 24", utc(2025, 12, 24)),
        ("yesterday 14:00", utc(2026, 11, 22, 14)),
        ("today 10:00", utc(2026, 11, 23, 10)),
        ("11:00", utc(2026, 11, 23, 11)),
        ("Sunday", utc(2026, 11, 22)),
        ("Tuesday", utc(2026, 11, 17)),
        ("3 May 2026 14:00 CET", utc(2026, 5, 3, 13)),
    ],
)
def test_words_mean_the_past(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW) == moment


@pytest.mark.parametrize("now", [utc(2026, 3, 1, 0, 0), utc(2026, 3, 1, 23, 59, 59)])
def test_yesterday_is_the_day_before_in_utc(now: datetime) -> None:
    assert parse_time("yesterday", now) == utc(2026, 2, 28)
    assert parse_time("today", now) == utc(2026, 3, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "someday",
        "the beginning",
        "2026-02-30",
        "2025-02-29",
        "2026-13-01",
        "2026-00-10",
        "2026-05-01T25:00",
        "2026-05-01T12:60:00Z",
        "2026-05-01T12:30:00+99:00",
        "2026-05-01T12:30:00 Europe/Berlin",
        "2026-5-1",
        "2026",
        "2026-05",
        "0000-01-01",
        "10000-01-01",
        "1763900000",
        "February 30",
        "30 February 2026",
        "10000 years ago",
        "99999999999999999999 days ago",
        "\0",
        "\ud800",
        "'; DROP TABLE regions",
    ],
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=HELP):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T12:34:56.000001Z",
        "2026-11-24",
        "2026-11-23T12:00:00-08:00",
        "9999-12-31",
        "tomorrow",
        "in 2 days",
        "next week",
        "1 December 2026",
    ],
)
def test_the_future_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is in the future; nothing is known about it yet"):
        parse_time(text, NOW)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"])
def test_a_zone_that_moves_a_time_off_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        parse_time(text, NOW)


def test_a_month_alone_is_its_start() -> None:
    assert parse_time("May 2026", NOW) == utc(2026, 5, 1)


def test_a_single_letter_is_no_time() -> None:
    with pytest.raises(ValueError, match=HELP):
        parse_time("a", NOW)


def test_a_date_that_can_be_read_in_two_ways_is_not_guessed() -> None:
    with pytest.raises(ValueError, match=HELP):
        parse_time("11.12.2025", NOW)


@pytest.mark.parametrize("text", ["x" * 100_000, "1 day " * 2000, "ago " * 2000, "(" * 10_000, "0" * 100_000])
def test_very_long_text_ends_soon_and_in_words(text: str) -> None:
    understood_or_refused(text, NOW)


def test_very_long_text_is_not_repeated() -> None:
    with pytest.raises(ValueError, match=HELP) as refused:
        parse_time("x" * 100_000, NOW)
    assert len(str(refused.value)) < 1000


_WORDS = (
    "ago day days 2 3.5 -1 last next week month year may February 30 31 2026 0 9999 10000 : - / . , + CET UTC "
    "+99:99 am pm 12:00 25:61 yesterday tomorrow before after hours centuries 0001 99999999999999 monday noon T Z "
    "st th e9 % ( ) [ \\ * ? ½ ² ٣ İ ı 2026-366 2026-W53 AD BC"
)
WORDS = _WORDS.split(" ")
MESSAGES = (HELP, "is in the future", "outside the years 1 to 9999")


def understood_or_refused(text: str, now: datetime) -> None:
    """A time in UTC that is not in the future, or a ValueError that helps; nothing else."""
    refused: ValueError | None = None
    moment = now
    try:
        moment = parse_time(text, now)
    except ValueError as error:
        refused = error
    if refused is not None:
        assert type(refused) is ValueError, refused
        assert any(message in str(refused) for message in MESSAGES), refused
    assert moment.utcoffset() == timedelta(0)
    assert moment <= now


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), st.sampled_from(["", " "]))
@example(["0001", "-01-01T00:00:00+10:00"], "")
def test_any_words_are_understood_or_refused(words: list[str], between: str) -> None:
    understood_or_refused(between.join(words), NOW)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused(text: str) -> None:
    understood_or_refused(text, NOW)


@settings(max_examples=150)
@given(
    st.from_regex(r"\A\d{1,5}-\d{1,2}-\d{1,2}([T ]\d{1,2}(:\d{1,2}){0,3}([.,]\d+)?(Z|[+-]\d\d:?\d\d)?)?\Z")
)
def test_anything_like_iso_8601_is_understood_or_refused(text: str) -> None:
    understood_or_refused(text, NOW)


@settings(max_examples=100)
@given(
    st.datetimes(min_value=datetime(1, 1, 3), max_value=NOW.replace(tzinfo=None)),  # noqa: DTZ001
    st.integers(-23 * 60, 23 * 60),
)
def test_every_past_time_is_read_as_it_was_written(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert parse_time(elsewhere.isoformat(), NOW) == moment
    assert parse_time(naive.isoformat(sep=" "), NOW) == moment


@settings(max_examples=50)
@given(st.integers(1, 999), st.sampled_from(["minute", "hour", "day", "week"]))
def test_so_long_ago_is_exact(number: int, unit: str) -> None:
    assert parse_time(f"{number} {unit}s ago", NOW) == NOW - timedelta(**{f"{unit}s": number})


def test_thousands_of_minutes_ago_are_understood() -> None:
    assert parse_time("1440 minutes ago", NOW) == NOW - timedelta(days=1)


def test_the_command_line_takes_times_and_refuses_the_rest_with_the_option() -> None:
    kind = Time()
    option = click.Option(["--as-of"])
    assert kind.convert("2026-05-01", option, None) == utc(2026, 5, 1)
    assert kind.convert(NOW, option, None) is NOW
    with pytest.raises(click.BadParameter, match="'someday' is not a time"):
        kind.convert("someday", option, None)
