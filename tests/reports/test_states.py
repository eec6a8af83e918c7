"""What is known now about the state at a time, and all regions that were ever seen."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from collector.clock import time_text
from collector.database.transactions import reading
from collector.reports.inventory import RegionFilter, regions_as_of
from tests.support.builders import answer, region
from tests.support.history import History, Row
from tests.support.views import ask

FOREVER = datetime(2200, 1, 1, tzinfo=UTC)


def state_at(history: History, seconds: float, view: str = "region_states") -> dict[int, tuple[Any, ...]]:
    """State and last known state at a time, by id: asked as the cookbook asks."""
    moment = time_text(history.time(seconds))
    key = view.split("_")[0] + "_id"
    rows = ask(history, view, key, f"from_at <= '{moment}' AND '{moment}' < until_at")
    assert len({row[key] for row in rows}) == len(rows)
    return {row[key]: (row["state"], row["last_known_state"]) for row in rows}


def test_a_state_at_a_time_is_one_row_of_each_region_that_was_seen_by_then(
    history: History, now: datetime
) -> None:
    history.poll([region(1, "NEW"), region(2)], at=0)
    history.poll([region(1, "NEW"), region(2)], at=60)
    history.poll([region(1, "ACTIVE"), region(2)], at=120)
    history.poll([region(1, "ACTIVE")], at=180)
    history.poll([region(1, "ACTIVE")], at=240)
    history.poll([region(1, "ACTIVE"), region(3)], at=900)
    assert state_at(history, -1) == {}
    assert state_at(history, 0) == {1: ("NEW", "NEW"), 2: ("ACTIVE", "ACTIVE")}
    assert state_at(history, 90) == {1: ("UNKNOWN", "NEW"), 2: ("ACTIVE", "ACTIVE")}
    assert state_at(history, 120)[1] == ("ACTIVE", "ACTIVE")
    assert state_at(history, 200)[2] == ("ABSENT", "ABSENT")
    assert state_at(history, 500) == {1: ("UNKNOWN", "ACTIVE"), 2: ("UNKNOWN", "ABSENT")}
    # A gap has been open since the newest poll.
    assert state_at(history, 3000)[1] == ("UNKNOWN", "ACTIVE")
    assert state_at(history, 3000, "keystone_states")[1001] == ("UNKNOWN", "INITIALIZED")


def test_the_newest_state_goes_on_and_says_up_to_when_it_was_confirmed(
    history: History, now: datetime
) -> None:
    history.poll([region(1), region(2, "NEW")], at=3480, took=1)
    history.poll([region(1), region(2, "NEW")], at=3540, took=1)
    history.poll([region(1), region(2, "ACTIVE")], at=3599, took=1)
    assert {number: state for number, (state, _) in state_at(history, 4000).items()} == {
        1: "ACTIVE",
        2: "ACTIVE",
    }
    one, two = ask(history, "region_states", "region_id", f"until_at = '{time_text(FOREVER)}'")
    assert (one["last_confirmed_at"], one["from_at"]) == (history.time(3598), history.time(3480))
    # The answer that showed it first is the only one.
    assert (two["last_confirmed_at"], two["from_at"]) == (history.time(3599), history.time(3599))


def test_a_region_that_one_answer_showed_has_a_state(history: History, now: datetime) -> None:
    history.poll([region(1)], at=3599)
    assert not ask(history, "region_state_spans", "from_at")
    assert state_at(history, 3600) == {1: ("ACTIVE", "ACTIVE")}


def test_states_have_no_holes_or_overlaps_and_agree_with_spans_and_as_of(told: History) -> None:
    for kind in ("region", "keystone"):
        key, by_entity = f"{kind}_id", defaultdict[tuple[str, int], list[Row]](list)
        for row in ask(told, f"{kind}_states", f"source, {key}, from_at"):
            by_entity[row["source"], row[key]].append(row)
        for rows in by_entity.values():
            assert rows[-1]["until_at"] == FOREVER
            for before, after in itertools.pairwise(rows):
                assert before["from_at"] < before["until_at"] == after["from_at"]
            for row in rows:
                assert (row["last_confirmed_at"] is None) == (row["state"] == "UNKNOWN") == bool(row["cause"])
        spans = ask(told, f"{kind}_state_spans", f"source, {key}, from_at")
        assert spans
        of_states = {
            (source, number, row["from_at"]): (row["state"], row["cause"], row["seq"])
            for (source, number), rows in by_entity.items()
            for row in rows
        }
        for span in spans:
            place = span["source"], span[key], span["from_at"]
            assert of_states[place] == (span["state"], span["cause"], span["seq"])

    for seconds in range(0, 60 * 45, 97):
        with reading(told.engine) as connection:
            listed = regions_as_of(connection, told.time(seconds), RegionFilter(source="gcore"))
        states = {
            row["region_id"]: row["last_known_state"]
            for row in ask(
                told,
                "region_states",
                "region_id",
                f"source = 'gcore' AND from_at <= '{time_text(told.time(seconds))}'"
                f" AND '{time_text(told.time(seconds))}' < until_at",
            )
        }
        assert {row["region_id"]: row["state"] for row in listed} == {
            number: state for number, state in states.items() if state != "ABSENT"
        }, seconds


def test_all_regions_has_present_and_absent_ones_as_last_known(history: History) -> None:
    history.poll([region(1), region(2, "NEW", zone="APAC", country="SG"), region(3)], at=0)
    history.poll([region(1), region(2, "NEW", zone="APAC", country="SG"), region(3)], at=60)
    history.poll(answer([region(1), region(3)], count=3), at=120)
    history.poll([region(1), region(3)], at=180)
    history.poll([region(1)], at=240)
    history.poll([region(1)], at=300)
    one, two, three = ask(history, "all_regions", "region_id")
    assert (bool(one["is_present"]), one["last_seen_at"]) == (True, history.time(300))
    assert (bool(two["is_present"]), two["state"], two["zone"], two["country"]) == (
        False,
        "NEW",
        "APAC",
        "SG",
    )
    # The partial answer did not show it.
    assert (two["first_seen_at"], two["last_seen_at"]) == (history.time(0), history.time(60))
    assert (three["last_seen_at"], three["first_seen_at"]) == (history.time(180), history.time(0))
    present = history.query("SELECT region_id FROM all_regions WHERE is_present")
    assert present == history.query("SELECT region_id FROM current_regions")
    # Facts join it by the same two columns.
    (row,) = history.query(
        "SELECT r.zone, t.zone AS own FROM region_transitions t JOIN all_regions r"
        " ON r.source_id = t.source_id AND r.region_id = t.region_id WHERE t.kind = 'disappeared' AND r.zone = 'APAC'"
    )
    assert row == {"zone": "APAC", "own": "APAC"}


def test_views_of_the_past_carry_zone_and_country_as_last_known(history: History) -> None:
    history.poll([region(1, "NEW", zone="EMEA", country="DE")], at=0)
    history.poll([region(1, "ACTIVE", zone="APAC", country="SG")], at=60)
    history.poll([region(1, "ACTIVE", zone="APAC", country="SG")], at=120)
    for view in (
        *("region_transitions", "region_changes", "region_state_spans", "region_states"),
        *("region_state_intervals", "daily_region_states", "availability_monthly", "all_regions"),
    ):
        rows = history.query(f"SELECT DISTINCT zone, country FROM {view}")
        assert rows == [{"zone": "APAC", "country": "SG"}], view
