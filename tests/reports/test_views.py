"""The views that people query: what they say of known histories, and how they are kept up to date."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, get_args

import pytest
import sqlalchemy as sa

from collector.database import migrate
from collector.database.transactions import migrating, reading, writing
from collector.errors import SchemaError
from collector.gcore.exchange import Cause
from collector.reports import views
from collector.reports.changes import region_history
from tests.support.builders import MISSING, answer, keystone, metrics_database, region
from tests.support.effort import effort_of
from tests.support.history import History, Row, failure
from tests.support.views import TIMES, Change, add_a_column, ask, columns, plan_of, remove_a_column

_numbers = itertools.count(1)
INTERVAL = (
    *("state", "from_earliest", "from_latest", "to_earliest", "to_latest"),
    *("seconds_at_least", "seconds_at_most"),
)
"""Columns of an interval of a state."""


# What they say


def test_every_view_begins_with_source_region_id_slug_and_display_name(engine: sa.Engine) -> None:
    for view in views.NAMES:
        found = columns(engine, view)
        if view in ("coverage_gaps", "poll_health"):  # a gap belongs to a source, not to a region
            assert found[0] == "source"
            assert not {"region_id", "slug", "display_name"} & set(found)
        else:
            assert found[:6] == ["source", "region_id", "slug", "display_name", "zone", "country"], view
        assert "source_id" in found[-2:], view
        assert len(set(found)) == len(found)


def test_current_regions_are_those_present_now_with_their_keystone_and_metrics_database(
    history: History,
) -> None:
    history.poll(
        [
            region(1, "NEW", metrics_database_id=5, metrics_database=metrics_database(5), slug="one"),
            region(2, has_ai_gpu=True),
            region(3),
        ],
        at=0,
    )
    changed = region(
        1,
        metrics_database_id=5,
        metrics_database=metrics_database(5),
        slug="one",
        keystone=keystone(1001, state="NEW"),
    )
    history.poll([changed, region(2, has_ai_gpu=True)], at=60)
    history.poll([changed, region(2, has_ai_gpu=True)], at=120)
    one, two = ask(history, "current_regions", "region_id")
    assert (one["source"], one["region_id"], one["slug"], one["display_name"]) == (
        "gcore",
        1,
        "one",
        "Region 1",
    )
    assert (one["state"], one["keystone_state"], one["keystone_id"]) == ("ACTIVE", "NEW", 1001)
    assert one["keystone_url"] == "https://ed-1001.cloud.example:5000/v3"
    assert (one["metrics_database_id"], one["metrics_database_host"], one["metrics_database_port"]) == (
        5,
        "10.100.167.20",
        9097,
    )
    assert two["metrics_database_host"] is None
    assert (bool(one["has_ai_gpu"]), bool(two["has_ai_gpu"])) == (False, True)
    assert one["available_volume_types"] == '["ssd_hiiops","standard"]'
    assert (one["first_seen_at"], one["changed_at"]) == (history.time(0), history.time(60))
    assert (two["first_seen_at"], two["changed_at"]) == (history.time(0), history.time(0))
    assert one["last_seen_at"] == two["last_seen_at"] == history.time(120)


def test_a_region_that_was_not_shown_lately_says_when_it_last_was(history: History) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll([region(1), region(2)], at=60)
    history.poll(answer([region(1)], count=2), at=120)
    history.poll(failure(), at=180)
    one, two = ask(history, "current_regions", "region_id")
    assert one["last_seen_at"] == history.time(120)
    assert two["last_seen_at"] == history.time(60)


def test_region_transitions_say_what_changed_within_which_window(history: History) -> None:
    history.poll([region(1, "NEW"), region(2), region(3)], at=0, took=1)
    history.poll([region(1, "ACTIVE"), region(2), region(3)], at=60.25, took=2)
    history.poll([region(1, "ACTIVE"), region(2)], at=120, took=3)
    rows = ask(history, "region_transitions", "seq, region_id")
    assert [(r["region_id"], r["kind"], r["from_state"], r["to_state"], r["basis"]) for r in rows] == [
        (1, "appeared", None, "NEW", "baseline"),
        (2, "appeared", None, "ACTIVE", "baseline"),
        (3, "appeared", None, "ACTIVE", "baseline"),
        (1, "changed", "NEW", "ACTIVE", "direct"),
        (3, "disappeared", "ACTIVE", None, "absence"),
    ]
    assert (rows[0]["not_before"], rows[0]["window_seconds"]) == (None, None)
    change, gone = rows[3:]
    assert (change["not_before"], change["observed_at"]) == (history.time(-1), history.time(60.25))
    assert change["window_seconds"] == pytest.approx(61.25)
    assert (gone["not_before"], gone["observed_at"]) == (history.time(58.25), history.time(120))
    assert gone["window_seconds"] == pytest.approx(61.75)
    assert (gone["slug"], gone["display_name"], gone["first_missing_at"]) == (
        "region-3",
        "Region 3",
        history.time(120),
    )
    assert [r["seq"] for r in rows] == [1, 1, 1, 2, 3]


def test_keystone_transitions_name_the_region_whose_copy_counts(history: History) -> None:
    def regions(state: str) -> list[Row]:
        shared = keystone(7, state=state, url="https://seven.example/v3")
        return [
            region(2, keystone_id=7, keystone=shared),
            region(1, keystone_id=7, keystone=shared, slug="first"),
        ]

    history.poll(regions("NEW"), at=0)
    history.poll(regions("INITIALIZED"), at=60)
    appeared, changed = ask(history, "keystone_transitions", "seq")
    assert (appeared["kind"], appeared["to_state"], appeared["basis"]) == ("appeared", "NEW", "baseline")
    assert (changed["source"], changed["region_id"], changed["slug"], changed["display_name"]) == (
        "gcore",
        1,
        "first",
        "Region 1",
    )
    assert (changed["keystone_id"], changed["keystone_url"]) == (7, "https://seven.example/v3")
    assert (changed["from_state"], changed["to_state"], changed["basis"]) == ("NEW", "INITIALIZED", "direct")
    assert (changed["not_before"], changed["observed_at"]) == (history.time(-0.5), history.time(60))
    assert changed["window_seconds"] == pytest.approx(60.5)
    assert not ask(history, "region_transitions", "seq", "kind = 'changed'")


def test_state_intervals_count_blind_time_once_where_a_gap_and_an_unseen_span_overlap(
    history: History,
) -> None:
    """Region 1, by hand. Gaps: 60…300, 660…960, 1140…1500. Unseen: 60…420, 600…960. All begin with the question of the
    last poll that showed it, half a second before its answer."""

    def shows(state: str, *at: float) -> None:
        for moment in at:
            history.poll([region(1, state), region(2)], at=moment)

    def hides(*at: float) -> None:
        for moment in at:
            history.poll(answer([region(2)], count=2), at=moment)

    shows("ACTIVE", 0, 60)
    hides(300, 360)  # a gap of 240 s, then not shown: unseen since 60
    shows("ACTIVE", 420, 480, 540, 600)
    hides(660)  # unseen since 600, and then a gap of 300 s inside
    shows("ACTIVE", 960, 1020)
    shows("MAINTENANCE", 1080, 1140)
    shows("INACTIVE", 1500, 1560)  # a gap of 360 s at the border of two intervals
    for moment in (1620, 1680):
        history.poll([region(2)], at=moment)
    shows("ACTIVE", 1740, 1800)
    hides(1860)

    rows = ask(history, "region_state_intervals", "from_latest", "region_id = 1 AND state <> 'UNKNOWN'")
    t = history.time
    assert [(*(r[name] for name in INTERVAL), bool(r["is_open"])) for r in rows] == [
        # 1019.5 s less 59.5…420 and 599.5…960
        ("ACTIVE", None, t(0), t(1019.5), t(1080), pytest.approx(298.5), None, False),
        ("MAINTENANCE", t(1019.5), t(1080), t(1139.5), t(1500), pytest.approx(59.5), approx(480.5), False),
        ("INACTIVE", t(1139.5), t(1500), t(1559.5), t(1620), approx(59.5), approx(480.5), False),
        ("ABSENT", t(1559.5), t(1620), t(1679.5), t(1740), approx(59.5), approx(180.5), False),
        ("ACTIVE", t(1679.5), t(1740), t(1799.5), None, approx(59.5), None, True),
    ]
    assert {(r["source"], r["slug"], r["display_name"]) for r in rows} == {("gcore", "region-1", "Region 1")}
    unknown = ask(history, "region_state_intervals", "from_latest", "region_id = 1 AND state = 'UNKNOWN'")
    assert [
        (r["from_earliest"], r["from_latest"], r["to_earliest"], r["to_latest"]) for r in unknown[:-1]
    ] == [(t(begin), t(begin), t(end), t(end)) for begin, end in ((59.5, 420), (599.5, 960), (1139.5, 1500))]
    assert [(r["seconds_at_least"], r["seconds_at_most"]) for r in unknown[:-1]] == [(approx(360.5),) * 2] * 3
    assert [bool(r["is_open"]) for r in unknown] == [False, False, False, True]
    assert (unknown[-1]["from_latest"], unknown[-1]["to_latest"]) == (t(1799.5), None)
    (other,) = ask(history, "region_state_intervals", "seq", "region_id = 2 AND state <> 'UNKNOWN'")
    # Region 2 was shown all along; three gaps of 240, 300 and 360 s.
    assert (other["to_earliest"], other["seconds_at_least"]) == (t(1859.5), approx(1859.5 - 901.5))


def approx(seconds: float) -> Any:
    return pytest.approx(seconds, abs=1e-5)


def test_a_blind_span_that_begins_in_a_gap_and_outlasts_it_is_counted_as_one(history: History) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll(answer([region(2)], count=2), at=200)  # gap 0…200, unseen 0…
    history.poll(answer([region(2)], count=2), at=260)
    history.poll(answer([region(2)], count=2), at=500)  # gap 260…500
    history.poll([region(1), region(2)], at=560)  # unseen …560
    history.poll([region(1), region(2)], at=620)
    history.poll([region(1), region(2)], at=1000)  # gap 620…1000
    history.poll([region(1), region(2)], at=1060)
    (row,) = ask(history, "region_state_intervals", "seq", "region_id = 1 AND state <> 'UNKNOWN'")
    assert row["seconds_at_least"] == approx(1059.5 - 560 - 380.5)


def test_a_state_seen_in_a_single_poll_lasts_at_least_no_time_at_all(history: History) -> None:
    for at, state in ((0, "ACTIVE"), (300, "MAINTENANCE"), (600, "ACTIVE")):
        history.poll([region(1, state)], at=at, took=3)
    middle = ask(history, "region_state_intervals", "seq", "state <> 'UNKNOWN'")[1]
    assert (middle["from_earliest"], middle["from_latest"]) == (history.time(-3), history.time(300))
    assert (middle["to_earliest"], middle["to_latest"]) == (history.time(297), history.time(600))
    assert (middle["seconds_at_least"], middle["seconds_at_most"]) == (0, approx(603))


def test_a_state_that_only_the_newest_poll_showed_was_confirmed_when_that_one_asked(history: History) -> None:
    history.poll([region(1), region(2, "NEW")], at=0, took=3)
    history.poll([region(1, "MAINTENANCE"), region(2, "")], at=60, took=3)
    one, two = (
        ask(history, "region_state_intervals", "seq DESC", f"region_id = {i} AND state <> 'UNKNOWN'")[0]
        for i in (1, 2)
    )
    assert (one["state"], one["from_latest"], one["to_earliest"]) == (
        "MAINTENANCE",
        history.time(60),
        history.time(57),
    )
    assert (two["state"], two["from_latest"], two["to_earliest"]) == (
        "NEW",
        history.time(0),
        history.time(-3),
    )


def test_seconds_are_exact_to_the_microsecond_just_before_a_full_second(history: History) -> None:
    history.poll([region(1)], at=0.000001, took=0)
    history.poll([region(1)], at=59.999999, took=0)
    (row,) = ask(history, "region_state_intervals", "seq", "state <> 'UNKNOWN'")
    assert row["seconds_at_least"] == pytest.approx(59.999998, abs=1e-7)


def test_an_absence_is_confirmed_by_complete_answers_only(history: History) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll([region(2)], at=60)
    history.poll([region(2)], at=120)
    history.poll(answer([region(2)], count=9), at=180)  # may well have left region 1 out
    absent = ask(history, "region_state_intervals", "seq", "region_id = 1 AND state <> 'UNKNOWN'")[-1]
    assert (absent["state"], bool(absent["is_open"])) == ("ABSENT", True)
    assert absent["to_earliest"] == history.time(119.5)
    assert absent["seconds_at_least"] == approx(59.5)


def test_sources_are_kept_apart(engine: sa.Engine) -> None:
    for name, state in (("one", "NEW"), ("two", "ACTIVE")):
        source = History(engine, name)
        source.poll([region(1, state)], at=0)
        source.poll([region(1, "MAINTENANCE")], at=60)
        source.poll([region(1, "MAINTENANCE")], at=1000 if name == "one" else 120)
    history = History(engine, "one")
    rows = ask(history, "region_state_intervals", "source, seq", "state <> 'UNKNOWN'")
    assert [(r["source"], r["state"]) for r in rows] == [
        ("one", "NEW"),
        ("one", "MAINTENANCE"),
        ("two", "ACTIVE"),
        ("two", "MAINTENANCE"),
    ]
    assert [r["seconds_at_least"] for r in rows if r["is_open"]] == [approx(0), approx(59.5)]
    gaps = ask(history, "coverage_gaps", "source", "until_at IS NOT NULL")
    assert [g["source"] for g in gaps] == ["one"]
    assert len(ask(history, "current_regions", "source")) == 2


def test_current_keystones_are_those_present_now_each_once_and_say_how_many_regions_share_them(
    history: History,
) -> None:
    shared = {"keystone_id": 7, "keystone": keystone(7, url="https://seven.example/v3", username="root")}
    listed = [region(3, **shared), region(2, slug="two", **shared), region(4), region(5), region(6, **shared)]
    history.change(max_missing=2)
    history.poll(listed, at=0)
    moved = {"keystone_id": 7, "keystone": keystone(7, state="NEW", url="https://seven.example/v3", id=8)}
    history.poll([region(3, **moved), region(2, slug="two", **moved), region(4)], at=60)
    history.poll(answer([region(4)], count=3), at=120)
    seven, four = ask(history, "current_keystones", "keystone_id")
    assert (seven["source"], seven["region_id"], seven["slug"], seven["display_name"]) == (
        "gcore",
        2,
        "two",
        "Region 2",
    )
    assert (seven["keystone_id"], seven["own_id"], seven["url"]) == (7, 8, "https://seven.example/v3")
    assert (seven["state"], seven["username"], bool(seven["has_password"])) == ("NEW", "admin", True)
    assert seven["created_on"] == datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert (seven["first_seen_at"], seven["changed_at"]) == (history.time(0), history.time(60))
    assert (seven["regions"], four["regions"]) == (2, 1)
    assert (four["keystone_id"], four["region_id"]) == (1004, 4)
    assert seven["last_seen_at"] == history.time(60), "the last answer did not show it"
    assert four["last_seen_at"] == history.time(120)


def test_current_metrics_databases_are_those_present_now(history: History) -> None:
    def with_database(region_id: int, **overrides: Any) -> Row:
        return region(
            region_id, metrics_database_id=5, metrics_database=metrics_database(5, **overrides), slug="one"
        )

    gone = region(3, metrics_database_id=6, metrics_database=metrics_database(6))
    history.poll([with_database(1), with_database(2), gone], at=0)
    history.poll([with_database(1, port=1), with_database(2, port=1), region(3)], at=60)
    history.poll(answer([region(3)], count=3), at=120)  # does not show it
    history.poll(failure(), at=180)
    (row,) = ask(history, "current_metrics_databases", "metrics_database_id")
    assert list(row.values())[:7] == ["gcore", 1, "one", "Region 1", "EMEA", "LU", 5]
    assert (row["host"], row["port"], row["username"], bool(row["has_password"]), row["own_id"]) == (
        "10.100.167.20",
        1,
        "metrics",
        True,
        5,
    )
    assert (row["regions"], row["first_seen_at"], row["changed_at"], row["last_seen_at"]) == (
        2,
        history.time(0),
        history.time(60),
        history.time(60),
    )


def changes_of(history: History, view: str, where: str = "1 = 1") -> list[tuple[Any, ...]]:
    """seq, window in seconds after NOON, field, old, new."""
    rows = ask(history, view, "seq, field", where)
    return [
        (
            r["seq"],
            r["not_before"] and (r["not_before"] - history.time(0)).total_seconds(),
            (r["observed_at"] - history.time(0)).total_seconds(),
            r["field"],
            r["old"],
            r["new"],
        )
        for r in rows
    ]


def test_region_changes_have_a_row_for_each_field_and_what_last_confirmed_it_as_it_was(
    history: History,
) -> None:
    """A change, one over a gap, one after not being shown, an absence, and a return."""
    others = [region(2), region(3)]
    history.poll([region(1, "NEW"), *others], at=0)
    history.poll([region(1, has_ai_gpu=True), *others], at=60)
    history.poll(failure(), at=120)
    history.poll(failure(), at=600)
    history.poll([region(1, has_ai_gpu=True, available_volume_types=["b", "a"]), *others], at=660)
    history.poll(answer(others, count=3), at=720)
    history.poll(answer(others, count=3), at=780)
    back = region(1, has_ai_gpu=None, available_volume_types=None, created_on="2020-02-29T12:00:00.5Z")
    history.poll([back, *others], at=840)
    history.poll(others, at=900)
    history.poll(others, at=960)
    history.poll([region(1, "NEW", display_name="Berlin", keystone_id=9), *others], at=1020, took=2)
    assert changes_of(history, "region_changes", "region_id = 1") == sorted_by_field(
        (1, None, 0, None, None, "NEW"),
        (2, -0.5, 60, "has_ai_gpu", "false", "true"),
        (2, -0.5, 60, "state", "NEW", "ACTIVE"),
        (5, 59.5, 660, "available_volume_types", '["ssd_hiiops","standard"]', '["a","b"]'),
        (7, 659.5, 840, "available_volume_types", '["a","b"]', None),
        (7, 659.5, 840, "created_on", "2019-12-31T23:59:59.000000Z", "2020-02-29T12:00:00.500000Z"),
        (7, 659.5, 840, "has_ai_gpu", "true", None),
        (8, 839.5, 900, None, "ACTIVE", None),
        (9, 959.5, 1020, None, None, "NEW"),
        (9, 959.5, 1020, "available_volume_types", None, '["ssd_hiiops","standard"]'),
        (9, 959.5, 1020, "created_on", "2020-02-29T12:00:00.500000Z", "2019-12-31T23:59:59.000000Z"),
        (9, 959.5, 1020, "display_name", "Region 1", "Berlin"),
        (9, 959.5, 1020, "has_ai_gpu", None, "false"),
        (9, 959.5, 1020, "keystone_id", "1001", "9"),
        (9, 959.5, 1020, "keystone_name", "ED-1001", "ED-9"),
        (9, 959.5, 1020, "state", "ACTIVE", "NEW"),
        backend=history.engine.dialect.name,
    )
    (row,) = ask(history, "region_changes", "seq", "field = 'display_name'")
    assert list(row.values())[:4] == ["gcore", 1, "region-1", "Berlin"]


def sorted_by_field(*rows: tuple[Any, ...], backend: str) -> list[tuple[Any, ...]]:
    """In the order of seq and field; NULL comes first on SQLite, last on PostgreSQL."""
    return sorted(rows, key=lambda r: (r[0], (r[3] is None) == (backend == "postgresql"), r[3] or ""))


def test_region_changes_say_the_same_as_the_history_command(history: History) -> None:
    random = Random(5)
    for step in range(40):
        listed = [
            region(
                n,
                random.choice(["ACTIVE", "NEW"]),
                has_k8s=random.choice([True, False, None]),
                country=random.choice(["LU", "DE"]),
            )
            for n in range(1, 5)
            if random.random() < 0.8
        ]
        said: Any = listed if random.random() < 0.7 else answer(listed, count=9)
        history.poll(failure() if random.random() < 0.1 else said, at=step * 60 + (step // 9) * 900)
    with reading(history.engine) as connection:
        told = [row for n in range(1, 5) for row in region_history(connection, str(n))]
    expected = {
        (
            r["region_id"],
            r["seq"],
            r["not_before"],
            r["valid_from"],
            r["field"],
            _text(r["old"]),
            _text(r["new"]),
        )
        for r in told
    }
    rows = ask(history, "region_changes", "seq", "field IS NOT NULL OR old IS NULL")
    found = [
        (r["region_id"], r["seq"], r["not_before"], r["observed_at"], r["field"], r["old"], r["new"])
        for r in rows
    ]
    assert len(found) == len(set(found)) > 60
    assert set(found) == expected
    assert {field for *_, field, _, _ in found} == {None, "state", "has_k8s", "country"}
    gone = ask(history, "region_changes", "seq, region_id", "new IS NULL AND field IS NULL")
    left = ask(history, "region_transitions", "seq, region_id", "kind = 'disappeared'")
    assert [(r["region_id"], r["not_before"], r["observed_at"], r["old"]) for r in gone] == [
        (r["region_id"], r["not_before"], r["observed_at"], r["from_state"]) for r in left
    ]
    assert left


def _text(value: Any) -> str | None:
    return str(value).lower() if isinstance(value, bool) else value


def test_keystone_changes_come_from_the_copy_that_counts(history: History) -> None:
    def sharing(region_id: int, *, url: str = "https://a.example/v3", **overrides: Any) -> Row:
        return region(region_id, keystone_id=7, keystone=keystone(7, url=url, **overrides))

    one, two = sharing(1), sharing(2, url="https://b.example/v3", state="NEW")
    history.poll([one, two, region(3)], at=0)
    history.poll([two, region(3)], at=60)  # the other copy counts now
    history.poll(failure(), at=120)
    history.poll(answer([region(3)], count=2), at=180)  # unseen
    history.poll([sharing(2, state="NEW"), region(3)], at=240)
    history.poll([region(2, keystone_id=8), region(3)], at=300)  # nobody refers to it
    history.poll([sharing(2, password=None), region(3)], at=360)
    assert changes_of(history, "keystone_changes", "keystone_id = 7") == sorted_by_field(
        (1, None, 0, None, None, "INITIALIZED"),
        (2, -0.5, 60, "state", "INITIALIZED", "NEW"),
        (2, -0.5, 60, "url", "https://a.example/v3", "https://b.example/v3"),
        (5, 59.5, 240, "url", "https://b.example/v3", "https://a.example/v3"),
        (6, 239.5, 300, None, "NEW", None),
        (7, 299.5, 360, None, None, "INITIALIZED"),
        (7, 299.5, 360, "has_password", "true", "false"),
        (7, 299.5, 360, "state", "NEW", "INITIALIZED"),
        backend=history.engine.dialect.name,
    )
    (row,) = ask(history, "keystone_changes", "seq", "field = 'has_password'")
    assert list(row.values())[:7] == ["gcore", 2, "region-2", "Region 2", "EMEA", "LU", 7]


def test_keystone_state_intervals_leave_out_gaps_and_unseen_time_and_know_absence(history: History) -> None:
    def sharing(state: str) -> Row:
        return region(1, keystone_id=7, keystone=keystone(7, state=state, url="https://seven.example/v3"))

    history.poll([sharing("NEW"), region(2)], at=0)
    history.poll([region(1, keystone_id=7, keystone=None), region(2)], at=60)  # unseen since 0
    history.poll([sharing("NEW"), region(2)], at=120)
    history.poll([sharing("NEW"), region(2)], at=480)  # a gap since 120
    history.poll([sharing("NEW"), region(2)], at=540)
    history.poll([sharing("INITIALIZED"), region(2)], at=600)
    history.poll([region(1), region(2)], at=660)  # another keystone
    history.poll([region(1), region(2)], at=720)
    history.poll([region(1), region(2, keystone_id=MISSING, keystone=MISSING)], at=780)  # proves nothing
    history.poll([region(1), region(2)], at=840)
    history.poll([region(1), region(2)], at=900)
    history.poll([sharing("NEW"), region(2)], at=960)
    history.poll([sharing("NEW"), region(2)], at=1020)
    rows = ask(history, "keystone_state_intervals", "from_latest", "keystone_id = 7 AND state <> 'UNKNOWN'")
    t = history.time
    assert [tuple(r[name] for name in INTERVAL) for r in rows] == [
        (
            "NEW",
            None,
            t(0),
            t(539.5),
            t(600),
            approx(539.5 - 480),
            None,
        ),  # blind from the first poll's question on
        ("INITIALIZED", t(539.5), t(600), t(599.5), t(660), 0, approx(120.5)),
        # An answer that proves nothing is nothing like a gap, as long as others do often enough.
        ("ABSENT", t(599.5), t(660), t(899.5), t(960), approx(239.5), approx(360.5)),
        ("NEW", t(899.5), t(960), t(1019.5), None, approx(59.5), None),
    ]
    assert [bool(r["is_open"]) for r in rows] == [False, False, False, True]
    place = ["gcore", 1, "region-1", "Region 1", "EMEA", "LU"]
    assert list(rows[0].values())[:8] == [*place, 7, "https://seven.example/v3"]


# Coverage


def test_poll_health_counts_the_polls_of_each_day_by_outcome_and_cause(history: History) -> None:
    midnight = 12 * 3600
    three = [region(1), region(2), region(3)]
    history.poll(three, at=midnight - 180)
    history.poll(failure("timeout"), at=midnight - 120)
    history.poll(failure("timeout"), at=midnight - 60)
    history.poll(failure("connect"), at=midnight + 60)
    for at in (midnight + 120, midnight + 180):
        history.poll(three, at=at)
    history.poll(answer([region(1)], count=3), at=midnight + 240)
    history.poll([], at=midnight + 300)
    history.poll([], at=midnight + 360)
    history.poll(three, at=midnight + 360 + 2 * 86400)
    history.poll(three, at=midnight + 420 + 2 * 86400)
    rows = ask(history, "poll_health", "day", "day <= '2026-05-04'")
    assert [str(r["day"]) for r in rows] == [f"2026-05-0{n}" for n in (1, 2, 3, 4)]
    counts = ("polls", "ok_polls", "partial_polls", "held_polls", "failed_polls", "failed_timeout")
    assert [tuple(r[name] for name in (*counts, "failed_connect")) for r in rows] == [
        (3, 1, 0, 0, 2, 2, 0),
        (6, 2, 1, 2, 1, 0, 1),
        (0, 0, 0, 0, 0, 0, 0),
        (2, 2, 0, 0, 0, 0, 0),
    ]
    assert {r["source"] for r in rows} == {"gcore"}
    first, second, silent, last = rows
    # One gap of 300 s over midnight, and one of two days.
    assert (first["seconds"], first["longest_gap_seconds"], first["share_covered"]) == (
        approx(180),
        approx(180),
        approx(0),
    )
    assert (second["seconds"], second["longest_gap_seconds"]) == (86400, approx(86400 - 360))
    assert second["share_covered"] == pytest.approx((360 - 120) / 86400)
    assert (silent["seconds"], silent["longest_gap_seconds"], silent["share_covered"]) == (86400, 86400, 0)
    # … and one since the newest poll
    assert last["longest_gap_seconds"] == approx(86400 - 420)
    assert last["share_covered"] == pytest.approx(60 / 86400)


def test_poll_health_ends_now_and_covers_what_no_gap_does(history: History, now: datetime) -> None:
    for at in range(0, 3600, 60):
        history.poll([region(1)], at=at)
    rows = ask(history, "poll_health", "day")
    assert sum(r["polls"] for r in rows) == 60
    assert sum(r["seconds"] for r in rows) == pytest.approx(3600, abs=60)
    assert {r["share_covered"] for r in rows} == {1}
    assert {r["longest_gap_seconds"] for r in rows} == {0}


def test_poll_health_has_a_row_for_today_also_where_nothing_was_polled(
    history: History, now: datetime
) -> None:
    history.poll([region(1)], at=-3 * 86400)
    *_, last = ask(history, "poll_health", "day")
    assert str(last["day"]) in (f"{now:%Y-%m-%d}", f"{datetime.now(UTC):%Y-%m-%d}")
    assert (last["polls"], last["share_covered"]) == (0, 0)


def test_poll_health_has_a_column_for_each_cause_of_a_failure(engine: sa.Engine) -> None:
    found = [name for name in columns(engine, "poll_health") if name.startswith("failed_")]
    assert found == ["failed_polls", *(f"failed_{cause}" for cause in get_args(Cause))]


def closed_gaps(history: History) -> list[Row]:
    return ask(history, "coverage_gaps", "seq", "until_at IS NOT NULL")


def test_a_gap_by_failures_has_their_most_frequent_cause_and_its_error(history: History) -> None:
    history.poll([region(1, "NEW")], at=0)
    history.poll([region(1, "NEW")], at=60)
    history.poll(failure("timeout", message="no whole answer"), at=120)
    history.poll(failure("connect", message="nobody there"), at=180)
    history.poll(failure("connect", message="still nobody"), at=240)
    history.poll([region(1, "ACTIVE"), region(2)], at=300)
    (gap,) = closed_gaps(history)
    assert (gap["source"], gap["from_at"], gap["until_at"]) == ("gcore", history.time(60), history.time(300))
    assert (gap["cause"], gap["error"], gap["failed_polls"]) == ("connect", "nobody there", 3)
    assert gap["seconds"] == approx(240)
    assert gap["transitions"] == 3, "region 1 changed; region 2 and its keystone appeared"
    assert gap["seq"] == 1


def test_the_error_of_a_gap_is_that_of_the_longest_stretch_of_its_cause(history: History) -> None:
    history.poll([region(1)], at=0)
    history.poll(failure("connect", message="nobody there"), at=60)
    history.poll(failure("timeout", message="no whole answer"), at=120)
    for at in (180, 240):
        history.poll(failure("connect", message="still nobody"), at=at)
    history.poll([region(1)], at=300)
    (gap,) = closed_gaps(history)
    assert (gap["cause"], gap["error"], gap["failed_polls"]) == ("connect", "still nobody", 4)


def test_a_source_that_fails_from_its_first_poll_on_has_a_gap_from_there(history: History) -> None:
    for at in (0, 60, 120):
        history.poll(failure(), at=at)
    history.restart()
    history.poll([region(1)], at=180)
    (gap,) = closed_gaps(history)
    assert (gap["from_at"], gap["until_at"]) == (history.time(0), history.time(180))
    assert (gap["cause"], gap["failed_polls"], gap["seq"]) == ("connect", 3, 0)


def test_a_gap_counts_also_what_was_first_seen_some_polls_after_it(history: History) -> None:
    history.poll([region(i) for i in (1, 2, 3)], at=0)
    history.poll([region(i) for i in (1, 2)], at=60)  # 3 is gone
    history.poll(
        answer([region(2, "MAINTENANCE")], count=3), at=600
    )  # 1 is not shown, and 3 may be there again
    history.poll(answer([region(2, "MAINTENANCE")], count=3), at=660)
    history.poll([region(2, "ACTIVE"), region(3), region(4)], at=720)  # 1 is not listed, 3 is back, 4 is new
    history.poll([region(2, "ACTIVE"), region(3, "NEW"), region(4)], at=780)
    (gap,) = closed_gaps(history)
    spanning = history.query("SELECT * FROM state_transitions WHERE entity = 'region' AND seq > 2")
    assert sorted((t["entity_id"], t["kind"], t["seq"]) for t in spanning) == [
        (1, "disappeared", 4),
        (2, "changed", 3),
        (2, "changed", 4),
        (3, "changed", 5),
        (3, "reappeared", 4),
        (4, "appeared", 4),
    ]
    # Answers with regions 1, 2, 3 and 4, and the keystones of 1, 3 and 4.
    assert gap["transitions"] == 4 + 3


def test_a_gap_counts_also_what_came_back_long_after_it(history: History) -> None:
    history.poll([region(1), region(2, "NEW")], at=0)
    hidden = {"id": 2, "state": ""}  # a record that can't be used exempts its id from absence
    for at in (600, 660, 720):
        history.poll([region(1), hidden], at=at)
    history.poll([region(1), region(2)], at=780)
    (gap,) = closed_gaps(history)
    assert gap["transitions"] == 1


def test_a_gap_by_silence_has_the_cause_no_polls(history: History) -> None:
    history.poll([region(1)], at=0)
    history.poll([region(1)], at=3600)
    (gap,) = closed_gaps(history)
    assert (gap["cause"], gap["error"], gap["failed_polls"]) == ("no_polls", None, 0)
    assert (gap["seconds"], gap["transitions"]) == (approx(3600), 0)


def test_partial_and_held_answers_and_short_failures_are_no_gap(history: History) -> None:
    history.poll([region(1), region(2), region(3)], at=0)
    history.poll(answer([region(1)], count=3), at=100)
    history.poll([], at=200)
    history.poll(failure(), at=260)
    history.poll([region(1), region(2), region(3)], at=320)
    assert closed_gaps(history) == []


def test_midnight_is_no_gap_and_exactly_the_limit_is_none_either(history: History) -> None:
    midnight = 12 * 3600
    for at in (midnight - 90, midnight - 30, midnight + 30, midnight + 180):
        history.poll([region(1)], at=at)
    assert len(history.rows("observations")) == 2
    assert closed_gaps(history) == []
    history.poll([region(1)], at=midnight + 330.001)
    (gap,) = closed_gaps(history)
    assert (gap["from_at"], gap["seconds"]) == (history.time(midnight + 180), approx(150.001))


def test_the_limit_is_that_of_the_interval_that_was_expected_then(history: History) -> None:
    history.poll([region(1)], at=0)
    history.change(interval=timedelta(minutes=10))
    for at in (100, 700, 1300):
        history.poll([region(1)], at=at)
    assert closed_gaps(history) == []


def test_a_gap_is_open_until_the_next_poll_that_succeeds(history: History, now: datetime) -> None:
    history.poll([region(1)], at=0)
    history.poll(failure("timeout", message="too slow"), at=60)
    (gap,) = ask(history, "coverage_gaps", "seq")
    assert (gap["from_at"], gap["until_at"]) == (now - timedelta(hours=1), None)
    assert gap["seconds"] == pytest.approx(3600, abs=60)
    assert (gap["cause"], gap["error"], gap["failed_polls"], gap["transitions"]) == (
        "timeout",
        "too slow",
        1,
        0,
    )
    history.poll([region(1)], at=3599)
    (gap,) = ask(history, "coverage_gaps", "seq")
    assert (gap["until_at"], gap["seconds"]) == (now - timedelta(seconds=1), approx(3599))


# How they are read: by which indexes, and by others


@pytest.mark.parametrize("name", ["current_regions", "current_keystones", "current_metrics_databases"])
def test_what_is_current_is_read_without_versions_and_without_a_walk_over_observations(
    engine: sa.Engine, name: str
) -> None:
    plan = plan_of(engine, f"SELECT * FROM {name}")
    assert "versions" not in plan
    assert "transitions" not in plan
    if engine.dialect.name == "sqlite":
        assert "SEARCH o USING INDEX sqlite_autoindex_observations_1 (source_id=?)" in plan
        assert "SEARCH u USING INDEX ix_unseen_open (source_id=? AND entity=? AND entity_id=?)" in plan
        assert "SCAN o" not in plan
        assert "SCAN u" not in plan
    else:
        assert "Index Scan Backward using pk_observations" in plan
        assert not re.search(r"Seq Scan on (observations|unseen)", plan)


@pytest.mark.parametrize("kind", ["region", "keystone"])
def test_the_changes_of_one_entity_are_found_by_index_seeks(engine: sa.Engine, kind: str) -> None:
    plan = plan_of(engine, f"SELECT * FROM {kind}_changes WHERE {kind}_id = 76")
    if engine.dialect.name == "sqlite":
        assert (
            f"SEARCH v USING INDEX sqlite_autoindex_{kind}_versions_1 (source_id=? AND {kind}_id=?)" in plan
        )
        assert f"({'source_id=? AND ' + kind}_id=? AND valid_from=?)" in plan
        assert "(source_id=? AND entity=? AND entity_id=?)" in plan
        assert not re.search(r"SCAN (v|b|e|t|o|u)\b", plan)
    else:
        assert not re.search(r"Seq Scan on (\w+_versions|state_transitions|observations|unseen)", plan)
        assert re.search(rf"Index Cond: .*{kind}_id = 76", plan)


TYPED_IN_DUCKDB = (
    "current_regions",
    "current_keystones",
    "current_metrics_databases",
    "region_changes",
    "keystone_changes",
)
"""The others reckon with times, which is spelled in SQLite's own functions: sqlite_query() reads them, as text."""


def test_duckdb_knows_the_types_of_columns_on_an_attached_sqlite_file(
    sqlite_history: History, duckdb_of: Callable[[sa.Engine], Any]
) -> None:
    duck = duckdb_of(sqlite_history.engine)
    for view in TYPED_IN_DUCKDB:
        seen = dict(duck.execute(f"SELECT column_name, column_type FROM (DESCRIBE c.{view})").fetchall())
        assert list(seen) == columns(sqlite_history.engine, view)
        numbers = ("has_", "own_id", "regions", "seq")
        expected = {
            name: "TIMESTAMP"
            if name.endswith(TIMES)
            else "BIGINT"
            if name.startswith(numbers)
            or name.endswith(("port", "region_id", "keystone_id", "database_id", "source_id"))
            else "VARCHAR"
            for name in seen
        }
        assert seen == expected, view


def test_duckdb_reads_the_same_from_every_view_as_sqlite(
    sqlite_history: History, duckdb_of: Callable[[sa.Engine], Any]
) -> None:
    duck = duckdb_of(sqlite_history.engine)
    for view in views.NAMES:
        where = {  # not what ends now
            "coverage_gaps": "WHERE until_at IS NOT NULL",
            "poll_health": "WHERE day < '2026-05-02'",
            "region_state_spans": "WHERE until_at < '2026-05-02'",
            "keystone_state_spans": "WHERE until_at < '2026-05-02'",
            "region_state_intervals": "WHERE to_latest IS NOT NULL",
            "keystone_state_intervals": "WHERE to_latest IS NOT NULL",
            "daily_region_states": "WHERE day < '2026-05-02'",
            "availability_monthly": "WHERE month < '2026-06-01'",
        }.get(view, "")
        ours = sqlite_history.query(f"SELECT * FROM {view} {where}")
        asked = f"SELECT * FROM {view} {where}".replace("'", "''")
        as_text = duck.execute(f"SELECT * FROM sqlite_query('c', '{asked}')").fetchall()
        assert sorted(str([_plain(v) for v in row]) for row in as_text) == sorted(
            str([_plain(v) for v in row.values()]) for row in ours
        )
        assert as_text, view
        if view in TYPED_IN_DUCKDB:
            theirs = duck.execute(f"SELECT * FROM c.{view}").fetchall()
            assert sorted(str([_plain(v) for v in row]) for row in theirs) == sorted(
                str([_plain(v) for v in row.values()]) for row in ours
            )


def _plain(value: Any) -> str:
    """A value as text: numbers without what SQLite cuts off, and times, which DuckDB has as such, in one spelling."""
    text = str(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\d[ T][\d:.]+Z?", text):
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S.%f}"
    return f"{float(text):.9g}" if re.fullmatch(r"\d+(\.\d+)?", text) else text


# How they are kept up to date


@pytest.fixture
def analyst(postgresql_engine: sa.Engine) -> Iterator[str]:
    """A role of the server, gone after the test."""
    role = f'"Analyst {os.getpid()}-{next(_numbers)}"'
    with writing(postgresql_engine) as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role}")
    yield role
    with writing(postgresql_engine) as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}")
        connection.exec_driver_sql(f"DROP ROLE {role}")


def grants(engine: sa.Engine) -> dict[str, str | None]:
    with reading(engine) as connection:
        rows = connection.exec_driver_sql(
            "SELECT relname, relacl::text FROM pg_class"
            " WHERE relkind = 'v' AND relnamespace = CURRENT_SCHEMA()::regnamespace"
        )
        return {row[0]: row[1] and ",".join(sorted(row[1].strip("{}").split(","))) for row in rows}


def oids(engine: sa.Engine) -> dict[str, int]:
    with reading(engine) as connection:
        rows = connection.exec_driver_sql(
            "SELECT relname, oid FROM pg_class"
            " WHERE relkind = 'v' AND relnamespace = CURRENT_SCHEMA()::regnamespace"
        )
        return {row[0]: row[1] for row in rows}


def install(engine: sa.Engine) -> None:
    with migrating(engine) as connection:
        views.install(connection)


def are_current(engine: sa.Engine) -> bool:
    with reading(engine) as connection:
        return views.are_current(connection)


def execute(engine: sa.Engine, *statements: str) -> None:
    with writing(engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_views_are_current_until_their_text_changes_or_one_is_gone(
    engine: sa.Engine, changed: Callable[[Change], None]
) -> None:
    assert are_current(engine)
    execute(engine, "DROP VIEW region_transitions")
    assert not are_current(engine)
    install(engine)
    assert are_current(engine)
    changed(add_a_column)
    assert not are_current(engine)
    install(engine)
    assert are_current(engine)
    assert columns(engine, "current_regions")[-1] == "one_more"


def test_an_upgrade_puts_the_newest_views_in_place_even_where_the_schema_is_the_newest(
    engine: sa.Engine, changed: Callable[[Change], None]
) -> None:
    changed(remove_a_column)
    migrate.upgrade(engine)
    assert "zone" not in columns(engine, "current_regions")
    assert are_current(engine)


def test_on_postgresql_a_view_with_a_new_column_is_replaced_in_place(
    postgresql_engine: sa.Engine, analyst: str, changed: Callable[[Change], None]
) -> None:
    execute(
        postgresql_engine,
        f"GRANT SELECT ON current_regions TO {analyst}",
        "CREATE VIEW mine AS SELECT source, slug FROM current_regions",
    )
    before, granted = oids(postgresql_engine), grants(postgresql_engine)
    changed(add_a_column)
    install(postgresql_engine)
    assert oids(postgresql_engine) == before
    assert grants(postgresql_engine) == granted
    assert columns(postgresql_engine, "current_regions")[-1] == "one_more"


def test_on_postgresql_grants_survive_if_a_view_must_be_created_again(
    postgresql_engine: sa.Engine, analyst: str, changed: Callable[[Change], None]
) -> None:
    execute(
        postgresql_engine,
        f"GRANT SELECT ON current_regions TO {analyst}",
        f"GRANT SELECT, TRIGGER ON region_transitions TO {analyst} WITH GRANT OPTION",
        "GRANT SELECT ON coverage_gaps TO PUBLIC",
    )
    granted = grants(postgresql_engine)
    assert sum(acl is not None for acl in granted.values()) == 3
    changed(remove_a_column)
    install(postgresql_engine)
    assert "zone" not in columns(postgresql_engine, "current_regions")
    assert grants(postgresql_engine) == granted


def test_on_postgresql_grants_on_single_columns_survive_too(
    postgresql_engine: sa.Engine, analyst: str, changed: Callable[[Change], None]
) -> None:
    execute(postgresql_engine, f"GRANT SELECT (slug, state) ON current_regions TO {analyst}")
    changed(remove_a_column)
    install(postgresql_engine)
    with reading(postgresql_engine) as connection:
        rows = connection.exec_driver_sql(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'current_regions'::regclass"
            " AND attacl IS NOT NULL ORDER BY 1"
        )
        assert [row[0] for row in rows] == ["slug", "state"]


def test_on_postgresql_the_grants_of_a_function_survive_if_it_must_be_created_again(
    postgresql_engine: sa.Engine, analyst: str, changed: Callable[[Change], None]
) -> None:
    execute(
        postgresql_engine,
        "REVOKE EXECUTE ON FUNCTION regions_as_of FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION regions_as_of TO {analyst}",
    )
    before = _callers(postgresql_engine)
    assert before["keystones_as_of"] is None
    assert "=X/" in str(before["regions_as_of"])
    changed(remove_a_column)
    install(postgresql_engine)
    assert _callers(postgresql_engine) == before


def _callers(engine: sa.Engine) -> dict[str, str | None]:
    with reading(engine) as connection:
        rows = connection.exec_driver_sql(
            "SELECT proname, proacl::text FROM pg_proc WHERE pronamespace = CURRENT_SCHEMA()::regnamespace"
        )
        return {row[0]: row[1] and ",".join(sorted(row[1].strip("{}").split(","))) for row in rows}


def test_on_postgresql_what_others_build_on_a_function_is_named(
    postgresql_engine: sa.Engine, changed: Callable[[Change], None]
) -> None:
    execute(postgresql_engine, "CREATE VIEW mine AS SELECT * FROM regions_as_of(CURRENT_TIMESTAMP)")
    changed(remove_a_column)
    with pytest.raises(
        SchemaError, match=r"these depend on views or functions of the collector .*: public\.mine"
    ):
        install(postgresql_engine)


def test_on_postgresql_other_peoples_views_are_named_and_nothing_changes(
    postgresql_engine: sa.Engine, changed: Callable[[Change], None]
) -> None:
    execute(
        postgresql_engine,
        'CREATE SCHEMA "Reports"',
        'CREATE VIEW "Reports".mine AS SELECT slug FROM public.current_regions',
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM region_state_intervals",
        "CREATE VIEW unrelated AS SELECT name FROM sources",
    )
    before = oids(postgresql_engine)
    changed(remove_a_column)
    with pytest.raises(SchemaError) as raised:
        install(postgresql_engine)
    assert '"Reports".mine' in str(raised.value)
    assert "public.kept" in str(raised.value)
    assert "unrelated" not in str(raised.value)
    assert oids(postgresql_engine) == before
    assert "zone" in columns(postgresql_engine, "current_regions")


def test_on_postgresql_a_downgrade_names_other_peoples_views_and_changes_nothing(
    postgresql_engine: sa.Engine,
) -> None:
    execute(postgresql_engine, "CREATE VIEW mine AS SELECT slug FROM current_regions")
    with pytest.raises(SchemaError, match=r"public\.mine"):
        migrate.downgrade(postgresql_engine, "base")
    assert migrate.current_revision(postgresql_engine) == migrate.newest_revision()
    assert are_current(postgresql_engine)


def test_on_sqlite_a_view_of_ones_own_goes_on_over_an_upgrade(
    engine: sa.Engine, changed: Callable[[Change], None]
) -> None:
    execute(engine, "CREATE VIEW mine AS SELECT source, slug FROM current_regions")
    changed(add_a_column)
    migrate.upgrade(engine)
    History(engine).poll([region(1)])
    assert History(engine).query("SELECT * FROM mine") == [{"source": "gcore", "slug": "region-1"}]


def test_every_view_and_function_says_what_a_row_is_and_postgresql_says_no_more(
    postgresql_engine: sa.Engine,
) -> None:
    assert all(views.what_a_row_is(name).startswith("One row: ") for name in (*views.NAMES, *views.FUNCTIONS))
    said = {name: views.what_a_row_is(name) for name in (*views.NAMES, *views.FUNCTIONS)}
    with reading(postgresql_engine) as connection:
        rows = connection.exec_driver_sql(
            "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class"
            " WHERE relkind = 'v' AND relnamespace = CURRENT_SCHEMA()::regnamespace"
            " UNION ALL SELECT proname, obj_description(oid, 'pg_proc') FROM pg_proc"
            " WHERE pronamespace = CURRENT_SCHEMA()::regnamespace"
        )
        assert dict(rows.all()) == said


def work_of(engine: sa.Engine, question: str) -> int:
    """Steps of SQLite's machine, or rows that PostgreSQL's nodes gave: what a question costs, without a clock."""
    if engine.dialect.name == "sqlite":
        return effort_of(engine, lambda connection: connection.exec_driver_sql(question).all()).steps
    with reading(engine) as connection:
        said = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {question}").scalar_one()

    def rows(node: dict[str, Any]) -> int:
        return int(node["Actual Rows"] * node["Actual Loops"]) + sum(map(rows, node.get("Plans", ())))

    return rows(said[0]["Plan"])


def test_what_is_asked_of_one_source_by_its_number_reads_no_other(engine: sa.Engine) -> None:
    costs = list[dict[str, int]]()
    for more in (1, 30):
        for n in range(more):
            history = History(engine, f"source {more} {n}")
            for at in (0.0, 60.0, 120.0, 3600.0):
                history.poll([region(i, ("NEW", "ACTIVE")[at > 60 * i]) for i in (1, 2, 3)], at=at)
        with engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
        costs.append(
            {view: work_of(engine, f"SELECT * FROM {view} WHERE source_id = 1") for view in views.NAMES}
        )
    alone, among_others = costs
    # These two count the regions of today, and `poll_health` the polls of each day: a row a day.
    cheap = {"current_keystones", "current_metrics_databases", "poll_health"}
    assert {view for view in views.NAMES if among_others[view] > 3 * alone[view] + 100} <= cheap
