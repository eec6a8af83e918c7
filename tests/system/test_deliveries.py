"""The poller and the receiver are killed at random: every event arrives, in order, with a valid signature.

A process polls two sources in which something changes at every poll. It sends events to a receiver, another process,
which verifies each request before it answers. Both are killed by SIGKILL again and again, at any moment, and are
started again. At the end nobody is killed any longer, and the waiting events are delivered.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports.events import events
from collector.service.webhooks.announcing import Announcer
from collector.service.webhooks.once import deliver_once
from collector.store import outbox
from collector.store.tables import observations
from tests.support import forks
from tests.support.loopback import unused_port
from tests.support.paths import ROOT
from tests.support.receivers import Receiver
from tests.support.services import until
from tests.support.teller import SOURCES

PATIENCE = 120.0
Place = tuple[int, int]


class Life:
    """A process that is started again whenever it has been killed."""

    def __init__(self, *arguments: str, log: Path) -> None:
        self._command = [sys.executable, "-m", "tests.support.teller", *arguments]
        self._log = log.open("ab")
        self.deaths = 0
        self.begin()

    def begin(self) -> None:
        self._process = forks.Popen(self._command, stderr=self._log, stdout=subprocess.DEVNULL, cwd=ROOT)

    def die(self) -> None:
        assert self._process.poll() is None, "it ended by itself"
        self._process.kill()
        self._process.wait()
        self.deaths += 1

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


@contextmanager
def lives(*made: Life) -> Iterator[None]:
    try:
        yield
    finally:
        for each in made:
            each.end()


def kill_at_random(
    chance: random.Random,
    collecting: Sequence[Life],
    receiving: Life,
    polled: Callable[[], int],
    deaths: int,
    seconds: float,
) -> None:
    """Kill one or the other, so often, and for so long. What was killed is left alone until something was polled."""
    ends, turns = monotonic() + seconds, list[bool]()
    while sum(each.deaths for each in (*collecting, receiving)) < deaths or monotonic() < ends:
        before = polled()
        until(lambda before=before: polled() > before)
        sleep(chance.expovariate(5.0))
        turns = turns or chance.sample([True, False], 2)
        victim = receiving if turns.pop() else chance.choice(collecting)
        victim.die()
        sleep(chance.choice([0.0, 0.0, 0.3]))
        victim.begin()


def received(log: Path) -> dict[str, list[Place]]:
    """What arrived, by source, in the order in which it did."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {name: [(seq, ordinal) for source, seq, ordinal, _ in lines if source == name] for name in SOURCES}


def happened(engine: sa.Engine) -> dict[str, list[Place]]:
    """What the JSON API says of changes of state since the first answers."""
    with reading(engine) as connection:
        rows = events(connection, limit=10_000_000).rows
    return {
        name: [
            (row["seq"], row["ordinal"])
            for row in rows
            if row["source"] == name and row["event"] == "transition" and row["basis"] != "baseline"
        ]
        for name in SOURCES
    }


def check(told: list[Place], expected: list[Place]) -> None:
    """Each at least once, and none before all that come before it."""
    assert set(expected) <= set(told)
    order = sorted(set(told))
    seen = -1
    for place in told:
        number = order.index(place) if place > order[max(seen, 0)] or seen < 0 else -1
        assert number <= seen + 1, f"{place} came before {order[seen + 1]}"
        seen = max(seen, number)


def tell_under_fire(
    url: str, tmp_path: Path, seed: int, *, collectors: int = 1, deaths: int = 0, seconds: float = 0.0
) -> dict[str, int]:
    """Returns how often each died, how many events there were and how many requests."""
    log, port, chance = tmp_path / "received", unused_port(), random.Random(seed)
    log.touch()
    hook = f"http://127.0.0.1:{port}/hook"
    collecting = [
        Life("collect", url, hook, "0.05", log=tmp_path / f"collect-{n}.log") for n in range(collectors)
    ]
    receiving = Life("receive", str(port), str(log), log=tmp_path / "receive.log")
    engine = open_engine(url)

    def polled() -> int:
        with reading(engine) as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(observations)) or 0

    with lives(*collecting, receiving):
        kill_at_random(chance, collecting, receiving, polled, deaths, seconds)
        for each in collecting:
            each.die()
        ends = monotonic() + PATIENCE
        settings = Receiver.configured(hook)
        while True:
            outbox.retry(engine, None)
            deliver_once(engine, [settings], Announcer([settings]), [], timedelta(days=1))
            with reading(engine) as connection:
                waiting = connection.scalar(
                    sa.text("SELECT count(*) FROM webhook_deliveries WHERE delivered_at IS NULL")
                )
            if not waiting:
                break
            assert monotonic() < ends, f"{waiting} events still wait"
    told, expected = received(log), happened(engine)
    engine.dispose()
    for name in SOURCES:
        assert len(expected[name]) > 5
        check(told[name], expected[name])
    refused = (tmp_path / "receive.log").read_text()
    assert "standardwebhooks" not in refused, "a signature that is not valid"
    assert "cloudevents" not in refused, "no event"
    return {
        "collector died": sum(each.deaths for each in collecting),
        "receiver died": receiving.deaths,
        "events": sum(len(set(each)) for each in told.values()),
        "requests": sum(map(len, told.values())),
    }


def replicas(url: str) -> int:
    """On PostgreSQL two processes: one polls a source at a time, and both tell what waits."""
    return 1 if url.startswith("sqlite") else 2


def test_every_event_arrives_in_order_whoever_is_killed(sqlite_url: str, tmp_path: Path) -> None:
    found = tell_under_fire(sqlite_url, tmp_path, seed=4, deaths=6)
    assert min(found["collector died"], found["receiver died"]) > 1


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_event_arrives_on_both_databases(database_url: str, tmp_path: Path, seed: int) -> None:
    found = tell_under_fire(database_url, tmp_path, seed, collectors=replicas(database_url), deaths=25)
    assert min(found["collector died"], found["receiver died"]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_every_event_arrives_after_minutes_under_fire(database_url: str, tmp_path: Path, seed: int) -> None:
    found = tell_under_fire(
        database_url, tmp_path, seed, collectors=replicas(database_url), deaths=50, seconds=120
    )
    print(found)
    assert min(found["collector died"], found["receiver died"]) > 20


def test_the_check_finds_what_is_missing_or_out_of_order() -> None:
    one, two, three = (2, 2), (2, 3), (3, 2)
    for good in ([one, two, three], [one, two, one, two, three], [one, one, two, two, three]):
        check(good, [one, two, three])
    for bad in ([one, three], [one, three, two], [two, one, three], [three, one, two, three]):
        with pytest.raises(AssertionError):
            check(bad, [one, two, three])
