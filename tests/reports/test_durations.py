"""For how long: shares of time in a state, and from one state to another, with bounds that hold the truth."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from collector.database.transactions import reading
from collector.errors import UsageError
from collector.reports.availability import availability
from collector.reports.lead_time import _BlindTimes, lead_times, summary
from collector.reports.periods import Periods, time_zone
from collector.reports.spans import SpanFilter, spans
from collector.simulator.scenario import random_world
from collector.simulator.world import World
from tests.support.builders import answer, region
from tests.support.history import NOON, History, Row, failure

HOUR = 3600.0
NOW = NOON + timedelta(days=100)


def measured(history: History, **asked: Any) -> list[Row]:
    with reading(history.engine) as connection:
        return availability(connection, **{"now": NOW, "zone": UTC} | asked)


def journeys(history: History, from_state: str = "NEW", to_state: str = "ACTIVE", **asked: Any) -> list[Row]:
    with reading(history.engine) as connection:
        return lead_times(connection, from_state=from_state, to_state=to_state, **asked)


def watch(history: History, world: World, random: Random, *, until: float, interval: float) -> None:
    """Poll a cloud every so often, with all that can go wrong: for one poll, or for many."""
    history.change(interval=timedelta(seconds=interval))
    at, blind_until, hidden_until, hidden = 0.0, 0.0, 0.0, frozenset[int]()
    while at < until:
        took = random.uniform(0.1, 20)
        document = world.document(history.time(at - took * random.random()))
        fate = random.random()
        if fate < 0.01:
            blind_until = at + interval * random.uniform(3, 60)
        elif fate < 0.03:
            hidden_until = at + interval * random.uniform(1, 60)
            hidden = frozenset(random.sample(sorted(world.regions), 2))
        if at < blind_until:
            if random.random() < 0.5:
                history.poll(failure(), at=at, took=took)
        elif 0.03 < fate < 0.06:
            history.poll(failure(), at=at, took=took)
        elif 0.06 < fate < 0.08:
            history.poll(answer([]), at=at, took=took)
        elif at < hidden_until:
            few = [r for r in document["results"] if r["id"] not in hidden]
            history.poll(answer(few, count=99), at=at, took=took)
        else:
            history.poll(document, at=at, took=took)
        at += interval * random.uniform(0.9, 1.1)


def true_seconds(world: World, region_id: int, state: str, begin: datetime, end: datetime) -> float:
    track, seconds = world.regions[region_id].whole(), 0.0
    changes = [begin, *(t for t in track.times if begin < t < end), end]
    for a, b in itertools.pairwise(changes):
        fields = track.at(a)
        if (fields["state"] if fields else "ABSENT") == state:
            seconds += (b - a).total_seconds()
    return seconds


STATES = ("ACTIVE", "NEW", "MAINTENANCE", "INACTIVE", "DELETING", "DELETED", "DELETION_FAILED", "ABSENT")


@pytest.mark.long
@pytest.mark.parametrize("seed", [3, 8, 12])
def test_the_truth_lies_between_the_bounds(history: History, seed: int) -> None:
    """Every state lasts for 100 minutes at least, polled every 20: over two polls, where there is no gap between."""
    until = timedelta(days=6)
    world = random_world(
        seed, NOON - timedelta(hours=1), regions=6, mean_hold=timedelta(minutes=1000), until=NOON + until
    )
    watch(history, world, Random(seed), until=until.total_seconds(), interval=1200)
    life: dict[int, tuple[datetime, datetime]] = {}
    with reading(history.engine) as connection:
        for row in spans(connection, SpanFilter()):
            if row["later_state"] or row["cause"] is None:
                born, _ = life.get(row["region_id"], (row["from_at"], None))
                life[row["region_id"]] = born, row["until_at"]
    assert len(life) == 6
    newest = min(end for _, end in life.values())
    known, unsure = 0.0, 0.0
    for state in STATES:
        for row in measured(history, state=state, by="day", until=newest):
            if row["level"] != "region":
                continue
            born, _ = life[row["region_id"]]
            begin, end = max(row["from_at"], born), row["until_at"]
            assert row["seconds"] == pytest.approx((end - begin).total_seconds())
            truth = true_seconds(world, row["region_id"], state, begin, end)
            assert row["seconds_at_least"] - 1e-3 <= truth <= row["seconds_at_most"] + 1e-3, (state, row)
            known += row["seconds_at_least"]
            unsure += row["seconds_unknown"] / len(STATES)
    assert known > unsure > 0, "bounds that say nothing would hold any truth"
    for from_state, to_state in (("NEW", "ACTIVE"), ("MAINTENANCE", "ACTIVE"), ("ACTIVE", "MAINTENANCE")):
        for row in journeys(history, from_state, to_state):
            entered = [
                c.at
                for c in world.changes()
                if (c.entity_id, c.entity, c.to_state) == (row["region_id"], "region", from_state)
            ]
            began = [t for t in entered if (row["from_earliest"] or t) <= t <= row["from_latest"]][-1]
            if row["is_open"]:
                continue
            left = [
                c.at
                for c in world.changes()
                if (c.entity_id, c.entity, c.to_state) == (row["region_id"], "region", to_state)
                and c.at > began
            ]
            truth = (left[0] - began).total_seconds()
            assert row["seconds_at_least"] - 1e-3 <= truth, row
            assert row["seconds_at_most"] is None or truth <= row["seconds_at_most"] + 1e-3, row


@pytest.mark.long
def test_the_bounds_close_in_on_the_truth_as_polls_become_denser(history: History) -> None:
    world = random_world(
        1, NOON - timedelta(hours=1), regions=3, mean_hold=timedelta(hours=20), until=NOON + timedelta(days=2)
    )
    widths = []
    for interval in (3600, 1200, 400):
        each = History(history.engine, f"every-{interval}")
        each.change(interval=timedelta(seconds=interval))
        for n in range(int(2 * 24 * HOUR / interval)):
            each.poll(world.document(each.time(n * interval - 1)), at=n * interval, took=2)
        until = each.time(2 * 24 * HOUR - 3602)
        (total,) = [
            r for r in measured(history, source=each.source.name, until=until) if r["level"] == "source"
        ]
        widths.append(total["share_at_most"] - total["share_at_least"])
        truth = sum(true_seconds(world, i, "ACTIVE", NOON, until) for i in world.regions) / total["seconds"]
        assert total["share_at_least"] <= truth <= total["share_at_most"]
    assert widths[0] > 2 * widths[1] > 4 * widths[2] > 0


# By hand


def tell(history: History) -> None:
    """By the hour: NEW 0 and 1, ACTIVE to 4, a gap to 10, ACTIVE to 11, gone 12 and 13, NEW 14, ACTIVE to 16."""
    history.change(interval=timedelta(hours=1))
    seen = {
        0: "NEW",
        1: "NEW",
        2: "ACTIVE",
        3: "ACTIVE",
        4: "ACTIVE",
        10: "ACTIVE",
        11: "ACTIVE",
        12: "",
        13: "",
    }
    for hours, state in (seen | {14: "NEW", 15: "ACTIVE", 16: "ACTIVE"}).items():
        one = [region(1, state, zone="EMEA", country="LU")] if state else []
        history.poll([*one, region(2, zone=None, country="US")], at=hours * HOUR, took=0)


def test_shares_are_said_of_regions_and_summed_by_zone_country_and_source(history: History) -> None:
    tell(history)
    rows = measured(history, until=history.time(16 * HOUR))
    assert [(r["level"], r["region_id"], r["zone"], r["country"], r["regions"]) for r in rows] == [
        ("region", 1, "EMEA", "LU", 1),
        ("region", 2, None, "US", 1),
        ("zone", None, "EMEA", None, 1),
        ("zone", None, None, None, 1),
        ("country", None, None, "LU", 1),
        ("country", None, None, "US", 1),
        ("source", None, None, None, 2),
    ]
    hours = [tuple(r[f"seconds{n}"] / HOUR for n in ("", "_at_least", "_at_most", "_unknown")) for r in rows]
    # ACTIVE 2 to 4, 10 to 11, 15 to 16; turned 1 to 2, 11 to 12, 14 to 15; unseen 4 to 10; not ACTIVE 13 to 14.
    one, two = (16, 4, 13, 10), (16, 10, 16, 6)
    assert hours == [one, two, one, two, one, two, (32, 14, 29, 16)]
    assert [(r["share_at_least"], r["share_at_most"]) for r in rows[:2]] == [(0.25, 13 / 16), (10 / 16, 1.0)]
    assert {(r["from_at"], r["until_at"]) for r in rows} == {(history.time(0), history.time(16 * HOUR))}
    assert [r["level"] for r in measured(history, region="region 1", until=history.time(16 * HOUR))] == [
        "region"
    ]


def test_absence_is_a_state_and_states_may_be_asked_for_in_any_case(history: History) -> None:
    tell(history)
    until = history.time(16 * HOUR)
    (absent,) = measured(history, state="absent", region="1", until=until)
    assert (absent["seconds_at_least"], absent["seconds_at_most"]) == (HOUR, (1 + 2 + 6) * HOUR)
    assert measured(history, state="active", until=until) == measured(history, state="ACTIVE", until=until)
    (never,) = measured(history, state="NO_SUCH_STATE", region="1", until=until)
    assert (never["seconds_at_least"], never["seconds_at_most"]) == (
        0,
        6 * HOUR,
    )  # who knows what was in the gap


def test_time_is_cut_at_midnight_of_the_time_zone_and_at_the_ends_that_were_asked_for(
    history: History,
) -> None:
    tell(history)  # from noon UTC, which is 14:00 in Luxembourg
    rows = measured(
        history,
        region="2",
        by="day",
        zone=ZoneInfo("Europe/Luxembourg"),
        since=history.time(HOUR),
        until=history.time(15 * HOUR),
    )
    assert [(r["from_at"], r["until_at"], r["seconds"] / HOUR) for r in rows] == [
        (history.time(HOUR), history.time(10 * HOUR), 9),
        (history.time(10 * HOUR), history.time(15 * HOUR), 5),
    ]
    assert [r["seconds_unknown"] / HOUR for r in rows] == [6, 0]


def test_nothing_is_on_record_of_a_time_before_the_first_poll(history: History) -> None:
    assert measured(history) == []
    tell(history)
    assert measured(history, until=history.time(-HOUR)) == []
    with pytest.raises(UsageError, match="there is no region 'atlantis'"):
        measured(history, region="atlantis")


def test_a_region_counts_from_its_first_sight_on(history: History) -> None:
    history.poll([region(1)], at=0, took=0)
    for at in (60, 120):
        history.poll([region(1), region(2)], at=at, took=0)
    rows = measured(history, until=history.time(120))
    assert [(r["seconds"], r["share_at_least"]) for r in rows if r["level"] == "region"] == [
        (120, 1.0),
        (60, 1.0),
    ]
    assert [r["seconds"] for r in rows if r["level"] == "source"] == [180]


def test_sources_are_measured_apart(told: History) -> None:
    rows = measured(told)
    assert {r["source"] for r in rows} == {"gcore", "preprod"}
    assert [r for r in rows if r["source"] == "preprod"] == measured(told, source="preprod")


@pytest.mark.parametrize(
    ("zone", "unit", "since", "until", "lengths"),
    [
        # The clock goes forward on 29 March 2026 and back on 25 October.
        ("Europe/Berlin", "day", "2026-03-28T12:00+01:00", "2026-03-30T12:00+02:00", [12, 23, 12]),
        ("Europe/Berlin", "day", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", [25]),
        ("Europe/Berlin", "week", "2026-10-19T00:00+02:00", "2026-10-26T00:00+01:00", [169]),
        ("UTC", "month", "2026-01-31T00:00Z", "2026-03-01T01:00Z", [24, 28 * 24, 1]),
        ("Asia/Kathmandu", "month", "2026-01-31T18:00Z", "2026-02-28T18:16Z", [0.25, 28 * 24, 1 / 60]),
        # There was no midnight on 8 March 2026 in Havana: the clock leapt from 0 to 1 o'clock.
        ("America/Havana", "day", "2026-03-07T12:00Z", "2026-03-09T12:00Z", [17, 23, 8]),
    ],
)
def test_days_weeks_and_months_are_those_of_the_time_zone(
    zone: str, unit: Any, since: str, until: str, lengths: list[float]
) -> None:
    periods = Periods(datetime.fromisoformat(since), datetime.fromisoformat(until), unit, time_zone(zone))
    found = [(b - a).total_seconds() / HOUR for a, b in (periods[i] for i in range(len(periods)))]
    assert found == pytest.approx(lengths)


def test_a_calendar_ends_with_the_year_9999() -> None:
    since, until = datetime(9999, 12, 30, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)
    assert len(Periods(since, until, "day", time_zone("Asia/Tokyo"))) >= 1


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("europe/luxemburg", "did you mean Europe/Luxembourg"),
        ("Tokio", "Asia/Tokyo"),
        ("x", "write it like"),
        ("../etc", ""),
    ],
)
def test_a_wrong_time_zone_is_reported_with_the_closest_names(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"there is no time zone .*{hint}"):
        time_zone(name)


# From one state to another


def test_a_journey_is_bounded_by_the_inner_and_the_outer_edges_of_its_windows(history: History) -> None:
    history.poll([region(1)], at=0)
    for at, state in ((60, "NEW"), (120, "NEW"), (180, "INACTIVE"), (240, "ACTIVE")):
        history.poll([region(1), region(2, state)], at=at)
    (row,) = journeys(history)
    assert (row["region_id"], row["from_state"], row["to_state"], row["is_open"]) == (
        2,
        "NEW",
        "ACTIVE",
        False,
    )
    assert (row["from_earliest"], row["from_latest"]) == (history.time(-0.5), history.time(60))
    assert (row["to_earliest"], row["to_latest"]) == (history.time(179.5), history.time(240))
    assert (row["seconds_at_least"], row["seconds_at_most"]) == (119.5, 240.5)
    assert (row["from_seq"], row["to_seq"]) == (2, 4)


def test_what_was_so_from_the_first_poll_took_nobody_knows_how_long(history: History) -> None:
    for at, state in ((0, "NEW"), (60, "NEW"), (120, "ACTIVE")):
        history.poll([region(1, state)], at=at)
    (row,) = journeys(history)
    assert (row["from_earliest"], row["seconds_at_least"], row["seconds_at_most"]) == (None, 59.5, None)
    assert [r["seconds_at_most"] for r in summary([row])] == [None] * 4


def test_what_has_not_ended_takes_as_long_as_was_confirmed(history: History) -> None:
    history.poll([region(1)], at=0)
    for at in (60, 120):
        history.poll([region(1), region(2, "NEW")], at=at)
    history.poll(answer([region(1)], count=2), at=180)
    history.poll(failure(), at=240)
    (row,) = journeys(history)
    assert (row["is_open"], row["to_latest"], row["to_state"]) == (True, None, None)
    assert (row["seconds_at_least"], row["seconds_at_most"]) == (59.5, None)
    assert summary([row]) == []


def test_who_disappears_gives_up_but_not_where_only_another_key_looked(history: History) -> None:
    others = [region(i) for i in range(9, 40)]  # so many that no absence waits for confirmation

    def see(at: float, *states: str | None) -> None:
        history.poll([*others, *(region(i, s) for i, s in enumerate(states, 1) if s)], at=at)

    see(0, None, None)
    see(60, "NEW", "NEW")
    see(120, None, "NEW")
    see(180, "NEW", "NEW")  # begun again
    history.change(api_key="another")
    see(240, None, None)
    history.change(api_key="key-one")
    see(300, "NEW", "ACTIVE")
    see(360, "ACTIVE", "ACTIVE")
    assert {t["kind"] for t in history.transitions() if t["basis"] == "observer_change"} == {
        "disappeared",
        "reappeared",
    }
    one, two = sorted(journeys(history), key=lambda row: row["region_id"])
    assert (one["from_latest"], one["to_latest"]) == (history.time(180), history.time(360))
    # While the other key looked, from the question at 180 on, it may have been ACTIVE and NEW again.
    assert (one["seconds_at_least"], one["seconds_at_most"], one["seconds_unobserved"]) == (0, 240.5, 119.5)
    # Between the two polls with this key it turned: not before the last that showed it NEW.
    assert (two["from_latest"], two["to_earliest"], two["to_latest"]) == tuple(
        map(history.time, (60, 179.5, 300))
    )
    assert (two["seconds_at_least"], two["seconds_at_most"]) == (119.5, 300.5)


def test_what_a_key_never_saw_before_may_have_ended_while_only_that_key_looked(history: History) -> None:
    """The narrower key proves its own absence at 180, but the state since 0 is not known."""
    history.poll([region(1), region(2)], at=-60)
    history.poll([region(1), region(2), region(3, "NEW")], at=0)
    history.change(api_key="narrower")
    for at in (60, 120, 180):
        history.poll([region(1), region(2)], at=at)
    history.poll([region(1), region(2), region(3, "ACTIVE")], at=240)
    (row,) = journeys(history)
    assert (row["to_earliest"], row["to_latest"]) == (history.time(-0.5), history.time(240))
    assert (row["seconds_at_least"], row["seconds_at_most"]) == (0, 300.5)


@pytest.mark.parametrize(("listed", "at_most"), [(2, 120.5), (3, None)])
def test_a_journey_may_have_begun_before_the_first_sight_unless_its_absence_is_proven(
    history: History, listed: int, at_most: float | None
) -> None:
    """An answer that says that it lists more than it does proves no absence: 3 may have been NEW then."""
    history.poll([region(1), region(2)], at=0)
    history.poll(answer([region(1), region(2)], count=listed), at=60)
    for at, state in ((120, "MAINTENANCE"), (180, "NEW"), (240, "ACTIVE")):
        history.poll([region(1), region(2), region(3, state)], at=at)
    (row,) = journeys(history)
    began = history.time(119.5) if at_most else None
    assert (row["region_id"], row["seconds_at_most"], row["from_earliest"]) == (3, at_most, began)


def test_a_journey_that_has_not_ended_has_no_earliest_beginning_either_if_it_may_have_begun_unseen(
    history: History,
) -> None:
    """Nobody knows what it was before the first poll, which showed it in a third state."""
    history.poll([region(1, "MAINTENANCE")], at=0)
    history.poll([region(1, "NEW")], at=60)
    history.poll([region(1, "NEW")], at=120)
    (row,) = journeys(history)
    assert (row["is_open"], row["from_earliest"], row["from_latest"]) == (True, None, history.time(60))


def test_what_another_key_shows_may_have_begun_long_before(history: History) -> None:
    history.poll([region(1)], at=0)
    history.poll([region(1)], at=60)
    history.change(api_key="another")
    history.poll([region(1), region(2, "NEW")], at=120)
    history.poll([region(1), region(2, "ACTIVE")], at=180)
    (row,) = journeys(history)
    assert (row["seconds_at_least"], row["seconds_at_most"]) == (0, None)
    intervals = history.query(
        "SELECT state, seconds_at_most FROM region_state_intervals WHERE region_id = 2 AND state = 'NEW'"
    )
    assert [(r["state"], r["seconds_at_most"]) for r in intervals] == [("NEW", None)]


def test_what_took_a_gap_or_more_may_have_ended_in_the_gap(history: History) -> None:
    def see(at: float, one: str, two: str, *, hidden: bool = False) -> None:
        listed = [region(1, one), region(2, two), region(3)]
        history.poll(answer(listed[1:], count=3) if hidden else listed, at=at)

    see(0, "ACTIVE", "ACTIVE")
    see(60, "NEW", "NEW")
    see(120, "NEW", "NEW")
    see(180, "NEW", "NEW", hidden=True)
    see(240, "NEW", "NEW")
    see(300, "NEW", "NEW")
    see(900, "NEW", "NEW")  # a gap
    see(960, "ACTIVE", "NEW")
    see(1020, "ACTIVE", "NEW")
    one, two = sorted(journeys(history), key=lambda row: row["region_id"])
    assert (one["seconds_at_least"], one["seconds_at_most"]) == (59.5, 960.5)
    assert one["seconds_unobserved"] == (240 - 119.5) + (899.5 - 299.5)
    assert (one["to_earliest"], one["to_latest"]) == (history.time(899.5), history.time(960))
    assert (two["is_open"], two["seconds_at_least"], two["seconds_unobserved"]) == (True, 239.5, 600.5)


def test_a_journey_is_the_one_under_way_when_first_seen_not_one_that_ended_in_the_gap_before(
    history: History,
) -> None:
    # In the gap it may have been NEW for 24 s, and ACTIVE again. What began then and was seen took 119.5 s or more.
    for at, state in ((0, "ACTIVE"), (600, "NEW"), (660, "NEW"), (720, "NEW"), (780, "ACTIVE")):
        history.poll([region(1, state)], at=at)
    (row,) = journeys(history)
    assert (row["from_earliest"], row["from_latest"]) == (history.time(-0.5), history.time(600))
    assert (row["seconds_at_least"], row["seconds_at_most"]) == (119.5, 780.5)


def test_coming_back_to_the_first_state_on_the_way_is_no_new_beginning(history: History) -> None:
    states = ("MAINTENANCE", "NEW", "MAINTENANCE", "NEW", "ACTIVE", "NEW", "ACTIVE")
    for n, state in enumerate(states):
        history.poll([region(1, state)], at=n * 60)
    rows = journeys(history)
    assert [(r["from_latest"], r["to_latest"]) for r in rows] == [
        (history.time(60), history.time(240)),
        (history.time(300), history.time(360)),
    ]
    # From a state to itself: from one beginning to the next.
    assert len([r for r in journeys(history, "NEW", "new") if not r["is_open"]]) == 2


def test_there_is_no_upper_bound_where_the_journey_may_have_begun_unseen(history: History) -> None:
    def see(at: float, one: str, two: str) -> None:
        history.poll([region(1, one), region(2, two)], at=at)

    see(0, "ACTIVE", "ACTIVE")
    see(60, "ACTIVE", "MAINTENANCE")
    see(600, "MAINTENANCE", "ACTIVE")  # a gap: 1 may have been NEW in it
    see(660, "NEW", "MAINTENANCE")
    see(720, "ACTIVE", "NEW")
    see(780, "MAINTENANCE", "ACTIVE")
    see(840, "NEW", "ACTIVE")
    see(900, "ACTIVE", "ACTIVE")
    assert [(r["region_id"], r["seconds_at_most"], r["from_earliest"]) for r in journeys(history)] == [
        (1, None, None),
        (2, 120.5, history.time(659.5)),
        (1, 120.5, history.time(779.5)),
    ]


def test_who_was_deleted_long_ago_can_be_left_out(history: History) -> None:
    for at in (0, 60):
        history.poll([region(1), region(2)], at=at, took=0)
    for at in (120, 180, 240):
        history.poll([region(2)], at=at, took=0)
    until = history.time(240)

    def seconds(**asked: Any) -> list[float]:
        return [
            r["seconds"]
            for r in measured(history, until=until, **asked)
            if r["level"] in ("region", "source")
        ]

    assert seconds() == [240, 240, 480]
    assert seconds(without_absent=True) == [120, 240, 360]
    assert seconds(without_absent=True, since=history.time(150)) == [90, 90]


def test_quantiles_are_values_that_occur() -> None:
    rows = [
        {"is_open": False, "seconds_at_least": float(n), "seconds_at_most": None if n == 10 else n + 0.5}
        for n in range(1, 11)
    ]
    assert [(r["quantile"], r["seconds_at_least"], r["seconds_at_most"]) for r in summary(rows)] == [
        ("shortest", 1, 1.5),
        ("median", 5, 5.5),
        ("90 %", 9, 9.5),
        ("longest", 10, None),
    ]
    assert {r["count"] for r in summary([*rows, {"is_open": True}])} == {10}


def test_blind_times_are_found_by_when_they_were() -> None:
    random = Random(5)
    for _ in range(300):
        times = [
            tuple(NOON + timedelta(seconds=second) for second in sorted(random.choices(range(20), k=2)))
            for _ in range(random.randrange(8))
        ]
        begin, end = (NOON + timedelta(seconds=second) for second in sorted(random.choices(range(20), k=2)))
        found = _BlindTimes((since, until) for since, until in times)
        overlapping = [time for time in sorted(times) if time[0] < end and time[1] > begin]
        assert [time for time in found.between(begin, end) if time[1] > begin] == overlapping
        assert found.begin_in(begin, end) == any(begin <= since < end for since, _ in times)


def test_a_journey_of_one_source_needs_no_row_of_another(sqlite_engine: sa.Engine) -> None:
    for name in ("one", "other"):
        history = History(sqlite_engine, name)
        for n in range(4):
            history.poll([region(1, ("NEW", "ACTIVE")[n % 2])], at=600.0 * n)
    names = set[str]()

    @sa.event.listens_for(sqlite_engine, "connect")
    def connect(raw: Any, _: Any) -> None:
        raw.row_factory = lambda _, row: names.update(v for v in row if v in ("one", "other")) or row

    sqlite_engine.pool.dispose()
    with reading(sqlite_engine) as connection:
        assert lead_times(connection, from_state="NEW", to_state="ACTIVE", source="one")
    assert names == {"one"}
