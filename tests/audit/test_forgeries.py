"""Packs forged by a machine: each value of each listing replaced by odd ones, each row moved, and each begin cut.

The checker runs in this process, as a module: a subprocess for each of thousands of packs takes too long.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.audit.bounds import broken_bounds
from collector.clock import time_text
from collector.database.engine import open_engine
from tests.support import builders
from tests.support.builders import region
from tests.support.history import NOON, History, failure
from tests.support.packs import (
    Files,
    Json,
    build,
    checker,
    cut,
    edit,
    hide,
    in_pack,
    rows,
    verdict_on,
)

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 10**6, 2**63, 10**30, 0.0, 1.5, -5),
    *(float("nan"), float("inf"), float("-inf"), [], [1], ["x"], {}, {"a": 1}),
    *("", "x", "ok", "failed", "0" * 64, "2026-06-01T12:00:00.000000Z", "2026-05-01T12:00:00Z"),
    *("1970-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000000Z"),
)
LISTINGS = ("observations", "transitions", "unseen", "gaps", "answers", "claims")
NOT_COVERED = {"collector_version", "made_at", "verification"}
"""What pack.json says beside the claim."""


@pytest.fixture(scope="module")
def packs(told_sqlite: Path) -> dict[str, Files]:
    engine = open_engine(f"sqlite:///{told_sqlite}")
    history = History(engine)
    made = {
        "everything": build(history),
        "a later begin": build(history, 600, 1500),
        "one region": build(history, 300, 1500, regions={5}),
    }
    engine.dispose()
    return made


def is_same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@pytest.mark.long
@pytest.mark.parametrize("name", ["everything", "a later begin", "one region"])
@pytest.mark.parametrize("share", [0.01, pytest.param(0.3, marks=pytest.mark.slow)], ids=["some", "a third"])
def test_no_odd_value_in_a_listing_holds(
    packs: dict[str, Files], tmp_path: Path, name: str, share: float
) -> None:
    chance, true = random.Random(7), packs[name]
    assert verdict_on(true, tmp_path).startswith("HOLDS: ")
    for listing in LISTINGS:
        content = rows(true, listing)
        for number, row in enumerate(content):
            for field, odd in itertools.product(row, ODD):
                if is_same(row[field], odd) or chance.random() > share:
                    continue
                forged = dict(true)
                edit(listing, lambda all_, n=number, f=field, o=odd: all_[n].update({f: o}))(forged)
                assert verdict_on(forged, tmp_path).startswith("BROKEN"), (listing, number, field, odd)


@pytest.mark.long
@pytest.mark.parametrize("name", ["everything", "one region"])
def test_no_odd_value_in_the_newest_observation_holds(
    packs: dict[str, Files], tmp_path: Path, name: str
) -> None:
    """No digest covers its counters."""
    true = packs[name]
    row = rows(true, "observations")[-1]
    for field, odd in itertools.product(row, ODD):
        if not is_same(row[field], odd):
            forged = dict(true)
            edit("observations", lambda all_, f=field, o=odd: all_[-1].update({f: o}))(forged)
            assert verdict_on(forged, tmp_path).startswith("BROKEN"), (field, odd)


def test_a_row_that_was_moved_doubled_or_left_out_is_found(packs: dict[str, Files], tmp_path: Path) -> None:
    true = packs["everything"]
    moves: dict[str, Callable[[list[Json], int], object]] = {
        "left out": lambda all_, n: all_.pop(n),
        "doubled": lambda all_, n: all_.insert(n, all_[n]),
        "moved": lambda all_, n: all_.insert(0, all_.pop(n)),
    }
    for listing, (how, move) in itertools.product(LISTINGS, moves.items()):
        for number in range(1, len(rows(true, listing)), 4):
            forged = dict(true)
            edit(listing, lambda all_, n=number, m=move: m(all_, n))(forged)
            holds = verdict_on(forged, tmp_path).startswith("HOLDS")
            # The order of a listing says nothing, but that of observations, which are a chain, and of claims.
            may_move = listing not in ("observations", "claims")
            assert holds == (how == "moved" and may_move), (listing, how, number)


def test_no_odd_value_in_pack_json_holds(packs: dict[str, Files], tmp_path: Path) -> None:
    for name, true in packs.items():
        facts = json.loads(true["pack.json"])
        for field, odd in itertools.product(facts.keys() - {"files"} - NOT_COVERED, ODD):
            if is_same(facts[field], odd) or (field == "format" and odd == 2):
                continue
            forged = dict(true)
            in_pack(**{field: odd})(forged)
            said = verdict_on(forged, tmp_path)
            if (name, field) == ("everything", "from") and "from 2026-05-01 12:01:00Z to " in said:
                continue  # the claim begins with the first observation
            assert said.startswith("BROKEN"), (name, field, odd, said)


@pytest.mark.parametrize("name", sorted(checker.FILES))
def test_a_file_that_is_missing_or_has_another_name_is_found(
    packs: dict[str, Files], tmp_path: Path, name: str
) -> None:
    for rename in (False, True):
        forged = dict(packs["everything"])
        content = forged.pop(name)
        if rename:
            forged[name.upper()] = content
        assert verdict_on(forged, tmp_path).startswith("BROKEN")


# What begins a pack


@pytest.mark.parametrize("regions", [None, {2}])
@pytest.mark.parametrize("begins", ["partial", "held"])
def test_what_begins_with_an_answer_that_proves_no_absence_is_broken(
    history: History, tmp_path: Path, begins: str, regions: set[int] | None
) -> None:
    """A region known before would appear as new."""
    everything = [region(n) for n in range(1, 7)]
    history.poll(everything, at=0)
    if begins == "partial":
        history.poll(builders.answer([region(1)]) | {"count": 6}, at=60)
    else:
        history.poll([region(1)], at=60)
    history.poll(everything, at=120)
    assert history.outcomes() == ["ok", begins, "ok"]
    files = build(history, 61, 200, regions=regions)
    assert [row["seq"] for row in rows(files, "observations")] == [1, 2, 3]
    assert verdict_on(files, tmp_path).startswith("HOLDS")
    cut(files, 2)
    appeared = {
        "entity": "region",
        "entity_id": 2,
        "kind": "appeared",
        "from_state": None,
        "to_state": "ACTIVE",
        "not_before": None,
        "observed_at": rows(files, "observations")[1]["first_at"],
        "basis": "baseline",
        "first_missing_at": None,
        "seq": 3,
    }
    edit("transitions", lambda all_: all_.append(appeared))(files)
    edit("unseen", lambda all_: all_.clear())(files)
    said = verdict_on(files, tmp_path)
    assert "it begins with observation 2, which proves no absence" in said, said


def test_a_pack_begins_with_an_answer_that_is_complete(history: History, tmp_path: Path) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll([region(1), region(2, "NEW")], at=60)
    history.poll(builders.answer([region(1), region(2, "NEW")]) | {"count": 3}, at=120)
    history.poll([region(1), region(2, "NEW"), {"state": "NEW"}], at=180)
    history.poll([region(1), region(2)], at=240)
    files = build(history, 200, 300)
    assert rows(files, "observations")[0]["seq"] == 2
    assert verdict_on(files, tmp_path).startswith("HOLDS")


def test_an_appearance_before_which_nothing_is_known_needs_the_whole_history(
    history: History, tmp_path: Path
) -> None:
    """An answer names region 2, and later it is shown: it may have been there before the first poll."""
    history.poll([region(1), region(2, None)], at=0)
    history.poll([region(1, "NEW"), region(2, None)], at=60)
    history.poll([region(1, "NEW"), region(2)], at=120)
    for regions in (None, {2}):
        files = build(history, 90, 200, regions=regions)
        assert rows(files, "observations")[0]["seq"] == 1
        assert verdict_on(files, tmp_path).startswith("HOLDS")


def test_a_record_that_could_not_be_used_is_in_a_pack_of_one_region(history: History, tmp_path: Path) -> None:
    """It says not whose it is: where it is hidden, nobody knows whether the region is absent."""
    history.poll([region(1), region(2)], at=0)
    history.poll([region(1), {"state": "NEW"}], at=60)
    history.poll([region(1), region(2)], at=120)
    files = build(history, regions={2})
    assert len(rows(files, "unseen")) == 1
    assert verdict_on(files, tmp_path).startswith("HOLDS: source gcore, region 2, ")
    hide('{"state":"NEW"}')(files)
    assert "rejected 1, but its answer contains 0 such records" in verdict_on(files, tmp_path)


# Gaps


def test_a_gap_has_the_cause_of_most_polls_not_of_the_longest_row(history: History, tmp_path: Path) -> None:
    history.poll([region(1)], at=0)
    for number, cause in enumerate(("timeout", "refused", "timeout", "refused", "refused"), 1):
        for again in range(4 if cause == "timeout" and number == 1 else 2):
            history.poll(failure(cause), at=number * 600 + again * 60)
    history.poll([region(1)], at=4000)
    files = build(history, 0, 5000)
    first, *_ = rows(files, "gaps")
    assert (first["cause"], first["failed_polls"]) == ("timeout", 12)
    assert verdict_on(files, tmp_path).startswith("HOLDS")


def test_an_end_is_no_gap_before_it_is_one(history: History, tmp_path: Path) -> None:
    """How long an open gap is depends on when one asks: a pack says whether it is one at its end."""
    history.poll([region(1)], at=0)
    history.poll([region(1)], at=60)
    for end, gaps in ((61, 0), (60 + 150, 0), (60 + 152, 1)):
        files = build(history, 0, end)
        assert len(rows(files, "gaps")) == gaps
        assert verdict_on(files, tmp_path).startswith("HOLDS")


# Bounds, said twice


ROW: Mapping[str, Any] = {
    "first_asked_at": NOON,
    "first_at": NOON + timedelta(seconds=1),
    "last_asked_at": NOON + timedelta(seconds=120),
    "last_at": NOON + timedelta(seconds=121),
    "recorded_at": NOON,
    "polls": 3,
    "longest_interval_ms": 60_000,
    "variants": 1,
    "expected_interval_ms": 60_000,
}
TIMES = ("first_asked_at", "first_at", "last_asked_at", "last_at")
COUNTERS = ("polls", "longest_interval_ms", "variants", "expected_interval_ms")


def odd_row(chance: random.Random) -> dict[str, Any]:
    """A row with up to three values moved a little, or far."""
    row = dict(ROW)
    if chance.random() < 0.3:
        row |= {"polls": 1, "longest_interval_ms": 0, "variants": 0}
        row |= {"last_at": row["first_at"], "last_asked_at": row["first_asked_at"]}
    for name in chance.sample(TIMES + COUNTERS, chance.randint(0, 3)):
        if name in TIMES:
            seconds = chance.choice([1e-6, 1, 60, 61 * 60, 61 * 60 + 1, 86_400, 30 * 86_400])
            row[name] += timedelta(seconds=chance.choice([-1, 1]) * seconds)
        else:
            by = [-1, 1, -5, 1000, 30_000, 90_001, 2**53, -(2**70)]
            row[name] = chance.choice([0, 1, row[name] + chance.choice(by)])
    return row


def test_the_checker_has_the_same_bounds_as_the_verification() -> None:
    chance, found = random.Random(11), set()
    for _ in range(5000):
        row = odd_row(chance)
        before = chance.choice([None, None, row["first_at"], NOON - timedelta(days=1), NOON])
        ours = broken_bounds(row, before)
        text = {n: time_text(v) if n in (*TIMES, "recorded_at") else v for n, v in row.items()}
        assert checker.broken_bounds(text, before).keys() == ours.keys(), row
        found |= ours.keys()
    assert broken_bounds(ROW) == {}
    assert found == {*TIMES, *COUNTERS}


def test_packs_of_what_the_demo_tells_hold(history: History, tmp_path: Path) -> None:
    """A stretch of many polls, variants in it, and a last one that is open."""
    for number in range(20):
        history.poll([region(1, created_on="2024-01-01T00:00:00" + "Z" * (number % 2))], at=60 * number)
    assert verdict_on(build(history, -60), tmp_path).startswith("HOLDS")
