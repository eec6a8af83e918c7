"""Reports of durations against single polls and the hidden truth, in random worlds.

A world's truth is made after its polls: between two polls that say something of a region it turns once where they
differ and not at all where they agree; where they leave a doubt, it does anything. So every bound must hold it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from collector.database.transactions import reading
from collector.inventory.spans import ABSENT
from collector.reports.availability import availability
from collector.reports.lead_time import lead_times
from tests.support.builders import answer, region
from tests.support.claims import check_spans, is_sure, says
from tests.support.history import History, failure
from tests.support.worlds import Ledger, Look, read

STATES = ("ACTIVE", "NEW", "MAINTENANCE", "UNKNOWN", "ABSENT", "unknown", '"ACTIVE"')
IDS = (1, 2, 3)
KEYS = ("key-one", "key-two")


@dataclass
class Told:
    """A history and the ledger of its polls."""

    history: History
    ledger: Ledger = field(default_factory=Ledger)
    key: str = KEYS[0]

    def poll(self, said: Any, at: float, took: float) -> None:
        result = self.history.poll(said, at=at, took=took)
        document = said if isinstance(said, dict) else None
        reading_ = read(json.loads(json.dumps(document))) if document else None
        before = self.ledger.looks[-1] if self.ledger.looks else None
        missing = frozenset[int]()
        if reading_:
            listed = reading_.shown["region"].keys() | reading_.named["region"]
            missing = frozenset(self.ledger.present("region") - listed)
        time = self.history.time(at)
        look = Look(
            number=len(self.ledger.looks),
            outcome=result.outcome,
            reading=reading_,
            missing=missing,
            asked_at=time - timedelta(seconds=took),
            at=max(time, before.at + timedelta(microseconds=1)) if before else time,
            observer=self.key,
            interval=self.history.source.interval,
        )
        self.ledger.apply(look)


Turn = tuple[float, float, float]
"""When a poll was answered, how long it took, and the interval that is expected then, in seconds."""


def polled(random: Random, polls: int) -> Iterator[Turn]:
    """Each poll asks after the answer to the one before."""
    at, interval = 0.0, 60.0
    for _ in range(polls):
        pause = random.choice((20, 30, 30, 59, 60, 60, 110, 151, 400))
        took = random.choice((0, 0.5, 0.5, 5, 40, 100)) if pause > 20 else 0.5
        if random.random() < 0.06:
            interval = random.choice((20.0, 60.0, 300.0))
        at += pause + took
        yield at, took, interval


def saved(random: Random, polls: int) -> Iterator[Turn]:
    """As answers that were saved: when each was given is not known to the minute, so that many windows overlap."""
    at, margin = 0.0, random.choice((20, 60, 100, 300))
    pauses = random.choice(((20, 30, 60, 110), (60,), (60, 400), (5, 20, 60)))
    for _ in range(polls):
        at += random.choice(pauses)
        yield at, 2 * margin if random.random() < 0.9 else random.choice((0, 1, 50, 200)), 60.0


def set_back(random: Random, polls: int) -> Iterator[Turn]:
    """The clock is set back now and then, by less than a minute."""
    at = newest = 0.0
    for _ in range(polls):
        pause = random.choice((-55, -30, -5, 20, 30, 60, 60, 110, 151, 400))
        took = random.choice((0, 0.5, 5) if pause < 0 else (0, 0.5, 0.5, 5, 40, 100))
        at = max(at + pause + took, newest - 59)
        newest = max(newest, at)
        yield at, took, 60.0


def tell(history: History, random: Random, turns: Iterable[Turn]) -> Told:
    """Poll at random, so that the newest poll is answered at 0 s."""
    told = Told(history)
    plan = list(turns)
    at = plan[-1][0]
    states: dict[int, str | None] = dict.fromkeys(IDS, "ACTIVE")
    for when, took, interval in plan:
        if random.random() < 0.05:
            told.key = random.choice(KEYS)
            history.change(api_key=told.key)
        history.change(interval=timedelta(seconds=interval))
        for i in IDS:
            if random.random() < 0.35:
                states[i] = random.choice((*STATES, None, None))
        visible = [i for i in IDS if told.key == KEYS[0] or i != 3]
        shown: list[Any] = [region(i, states[i]) for i in visible if states[i] is not None]
        fate = random.random()
        said: Any = answer([*shown, region(9), region(10), region(11)])
        if fate < 0.1:
            said = failure(random.choice(("connect", "timeout")))
        elif fate < 0.2:
            said["count"] = 99
            said["results"] = [r for r in said["results"] if random.random() < 0.7]
        elif fate < 0.3 and shown:
            random.choice(shown)["state"] = ""
            said = answer([*shown, region(9), region(10), region(11)])
        elif fate < 0.34:
            said = answer([*said["results"], {"state": "NEW"}])
        elif fate < 0.38:
            said = answer([])
        elif fate < 0.45:
            hidden = [r for r in said["results"] if r["id"] in (9, 10, 11) or random.random() < 0.8]
            said = answer([*hidden, {"id": random.choice(IDS), "state": None}])
            said["results"] = list({r["id"]: r for r in said["results"]}.values())
            said["count"] = len(said["results"]) + random.choice((0, 0, 1))
        told.poll(said, when - at, took)
    return told


@dataclass
class Truth:
    """What a region really was: since when which state."""

    times: list[datetime] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    def turn(self, at: datetime, state: str) -> None:
        if not self.states or self.states[-1] != state:
            self.times.append(at)
            self.states.append(state)

    def roam(self, since: datetime, until: datetime, random: Random) -> None:
        """Anything may happen."""
        for share in sorted(random.random() for _ in range(random.randrange(5))):
            self.turn(
                since + (until - since) * share, random.choice(("NEW", "ACTIVE", "MAINTENANCE", ABSENT))
            )

    def seconds(self, state: str, since: datetime, until: datetime) -> float:
        ends = [*self.times[1:], until]
        return sum(
            max((min(end, until) - max(begin, since)).total_seconds(), 0.0)
            for begin, end, was in zip(self.times, ends, self.states, strict=True)
            if was.upper() == state.upper()
        )

    def journeys(self, from_state: str, to_state: str) -> list[Journey]:
        found = []
        began: datetime | None = None
        for at, state in zip(self.times, self.states, strict=True):
            if state in (to_state, ABSENT):
                if began:
                    found.append(Journey(began, at, is_ended=state == to_state))
                began = None
            elif state == from_state:
                began = began or at
        return [*found, Journey(began, None, is_ended=False)] if began else found


class Journey(NamedTuple):
    began: datetime
    until: datetime | None
    """When it ended or was given up; None: it is under way."""
    is_ended: bool

    @property
    def seconds(self) -> float:
        return math.inf if self.until is None else (self.until - self.began).total_seconds()


def truth_of(ledger: Ledger, region_id: int, end: datetime, random: Random) -> Truth:
    """A truth that all polls of a region agree with, and nothing that they do not forbid is left out."""
    said = [(look, state) for look in ledger.looks if (state := says(look, "region", region_id))]
    said = said[next(n for n, (_, state) in enumerate(said) if state != ABSENT) :]
    truth = Truth()
    moment = said[0][0].at
    before: tuple[Look, str] | None = None
    is_hidden = False
    """True if only another key does not see it."""
    for look, state in said:
        asked = max(look.asked_at, moment)
        then = asked + (max(look.at, asked) - asked) * random.choice((0.0, 1.0, random.random()))
        other_eyes = before is not None and before[0].observer != look.observer
        is_hidden = state == ABSENT and (
            is_hidden or (other_eyes and before is not None and before[1] != ABSENT)
        )
        is_blind = is_hidden or (other_eyes and before is not None and before[1] == ABSENT != state)
        if before is None:
            truth.turn(moment, state)
        elif is_blind or not is_sure(ledger, before[0], look, "region", region_id):
            truth.roam(moment, then, random)
            truth.turn(then, random.choice(("ACTIVE", "NEW", ABSENT)) if is_hidden else state)
        elif before[1] != state:
            truth.turn(moment + (then - moment) * random.choice((0.001, 0.999, random.random())), state)
        moment, before = then, (look, state)
    newest = next(look for look in reversed(ledger.looks) if look.reading)
    if before is None or is_hidden or before[0] is not newest or end > newest.at:
        truth.roam(moment, end, random)
    return truth


def check_bounds(told: Told, now: datetime, random: Random) -> int:
    """Availability and lead times hold the truth."""
    source = told.history.source.name
    ids = sorted(i for k, i in told.ledger.values if k == "region" and i in IDS)
    truths = {i: truth_of(told.ledger, i, now, random) for i in ids}
    checked = 0
    with reading(told.history.engine) as connection:
        for state in ("ACTIVE", "NEW", "MAINTENANCE", ABSENT, '"UNKNOWN"', '"ABSENT"'):
            rows = availability(connection, now=now, source=source, state=state, until=now, zone=UTC)
            for row in rows:
                if row["level"] != "region" or row["region_id"] not in truths:
                    continue
                truth = truths[row["region_id"]]
                begin = truth.times[0]
                seconds = truth.seconds(state, begin, begin + timedelta(seconds=row["seconds"]))
                assert row["seconds_at_least"] - 1e-3 <= seconds <= row["seconds_at_most"] + 1e-3, (
                    state,
                    row,
                )
                checked += 1
        for pair in (("NEW", "ACTIVE"), ("MAINTENANCE", "ACTIVE"), ("ACTIVE", "NEW")):
            for row in lead_times(connection, from_state=pair[0], to_state=pair[1], source=source):
                if row["region_id"] not in truths:
                    continue
                journeys = truths[row["region_id"]].journeys(*pair)
                # It was under way at the first sight of it: what ended before is another one.
                seen = [journey for journey in journeys if journey.began <= row["from_latest"]][-1]
                assert row["seconds_at_least"] - 1e-3 <= seen.seconds, row
                for journey in journeys if row["seconds_at_most"] is not None else ():
                    if journey.is_ended and row["to_earliest"] <= journey.until <= row["to_latest"]:
                        assert journey.seconds <= row["seconds_at_most"] + 1e-3, row
                checked += 1
    return checked


def test_the_truth_of_a_journey_is_the_one_that_was_under_way_when_first_seen() -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    truth = Truth()
    for at, state in (
        (0, "ACTIVE"),
        (100, "NEW"),
        (124, "ACTIVE"),
        (600, "NEW"),
        (700, ABSENT),
        (800, "NEW"),
    ):
        truth.turn(start + timedelta(seconds=at), state)
    assert [(j.is_ended, j.seconds) for j in truth.journeys("NEW", "ACTIVE")] == [
        (True, 24),
        (False, 100),
        (False, math.inf),
    ]


def explore(
    engine: sa.Engine,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
    seeds: range,
    truths: int = 2,
    how: Callable[[Random, int], Iterator[Turn]] = polled,
) -> None:
    checked = 0
    for seed in seeds:
        now = datetime.now(UTC) if end == "now" else datetime(2026, 5, 1, 12, tzinfo=UTC)
        monkeypatch.setattr("tests.support.history.NOON", now)
        random = Random(seed)
        name = f"{how.__name__}-{end}-{seed}"
        told = tell(History(engine, name), random, how(random, random.choice((3, 8, 25))))
        check_spans(told.history, told.ledger, ("region", "keystone"))
        until = max(now + timedelta(hours=1 if end == "past" else 0), told.ledger.looks[-1].at)
        for _ in range(truths):
            checked += check_bounds(told, until, random)
    assert checked > len(seeds)


@pytest.mark.parametrize("how", [polled, saved])
@pytest.mark.parametrize("end", ["now", "past"])
def test_reports_say_what_single_polls_said_and_hold_the_truth(
    shared_engine: sa.Engine, end: str, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    explore(shared_engine, end, monkeypatch, range(3), truths=1, how=how)


@pytest.mark.slow
@pytest.mark.parametrize("how", [polled, saved, set_back])
@pytest.mark.parametrize("end", ["now", "past"])
def test_reports_of_hundreds_of_worlds_hold_the_truth(
    engine: sa.Engine, end: str, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    explore(engine, end, monkeypatch, range(1000, 1300), truths=5, how=how)
