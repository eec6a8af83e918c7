"""The whole service through everything at once: faults, kills, a database outage, a new key, a pause.

At the end the history is held against what the simulated cloud knows to be true. The short form runs always, the
long one with `-m slow`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.simulator.scenario import KEY, random_world
from collector.simulator.server import Fault, Simulator
from collector.simulator.world import World
from collector.store import rederive
from collector.store.tables import observations, state_transitions
from tests.support import forks
from tests.support.databases import outage

OTHER_KEY = "5678$another-reseller-key"


class Service:
    """`collector run` as a process of its own."""

    def __init__(self, database_url: str, base_url: str, key_file: Path, log: Path) -> None:
        self._log = log
        self._starts = 0
        self._environment = {
            **os.environ,
            "COLLECTOR_DATABASE_URL": database_url,
            "COLLECTOR_BASE_URL": base_url,
            "COLLECTOR_API_KEY_FILE": str(key_file),
            "COLLECTOR_INTERVAL": "1s",
            "COLLECTOR_HTTP_BIND": "off",
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "collector", "run"]
        self._starts += 1
        with self._log.open("ab") as log:
            return forks.Popen(command, env=self._environment, stderr=log)

    def kill_and_restart(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = self._start()
        self.until_it_polls()

    def until_it_polls(self) -> None:
        """To start takes as long as the machine is busy: that is no part of what happens."""
        ends = monotonic() + 60
        while True:
            said = self._log.read_text().split('"event": "started"')
            if len(said) > self._starts and '"event": "poll"' in said[-1]:
                return
            assert monotonic() < ends, said
            sleep(0.1)

    def pause(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGSTOP)
        sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


def misbehave_now_and_then(simulator: Simulator, stop: threading.Event) -> None:
    chance = random.Random(7)
    faults = [
        Fault("status", times=2, status=503),
        Fault("status", times=1, status=429, retry_after=0),
        Fault("empty", times=1),
        Fault("wrong_count", times=1),
        Fault("reset", times=1),
        Fault("truncated", times=1),
        Fault("html", times=1),
        Fault("delay", times=1, seconds=0.3),
    ]
    while not stop.wait(chance.uniform(1.0, 4.0)):
        simulator.misbehave(chance.choice(faults))


def live_through(database_url: str, tmp_path: Path, seconds: float) -> World:
    """Run the service for so long through all that can happen to it. Returns the world it looked at."""
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    start = datetime.now(UTC)
    world = random_world(
        3,
        start,
        regions=12,
        mean_hold=timedelta(seconds=min(seconds / 7.5, 8)),
        until=start + timedelta(seconds=seconds + 600),
    )
    stop = threading.Event()
    with Simulator(world, keys={KEY: False, OTHER_KEY: False}) as simulator:
        service = Service(database_url, simulator.base_url, key_file, tmp_path / "log")
        threading.Thread(target=misbehave_now_and_then, args=(simulator, stop), daemon=True).start()

        def be_without_database() -> None:
            with outage(database_url):
                sleep(seconds * 0.2)

        events: list[tuple[float, Callable[[], object]]] = [
            (0.15, service.kill_and_restart),
            (0.30, be_without_database),
            (0.60, lambda: key_file.write_text(OTHER_KEY)),
            (0.70, lambda: service.pause(seconds * 0.1)),
            (0.85, service.kill_and_restart),
        ]
        service.until_it_polls()
        began = monotonic()
        for share, happen in events:
            sleep(max(0.0, began + seconds * share - monotonic()))
            happen()
        sleep(max(0.0, began + seconds - monotonic()))
        stop.set()
        assert service.stop() == 0, (tmp_path / "log").read_text()[-2000:]
    return world


def hold_against_the_truth(database_url: str, world: World, seconds: float) -> None:
    """Nothing would be derived otherwise, and every window contains the true time of a change to that state."""
    engine = open_engine(database_url)
    result = rederive.rebuild(engine, "gcore", check_only=True)
    assert result.different == 0, result.examples
    truth = defaultdict(list)
    for change in world.changes():
        truth[change.entity, change.entity_id].append(change)
    with reading(engine) as connection:
        found = connection.execute(sa.select(state_transitions)).all()
        looked = connection.execute(sa.select(observations).order_by(observations.c.seq)).all()
    engine.dispose()
    assert [row.seq for row in looked] == list(range(1, len(looked) + 1))
    assert sum(row.polls for row in looked) > seconds / 4
    assert {"ok", "failed"} <= {row.outcome for row in looked}
    assert len([t for t in found if t.basis == "direct"]) > seconds / 6
    for t in found:
        changes = truth[t.entity, t.entity_id]
        true = [c for c in changes if c.to_state == t.to_state and c.at <= t.observed_at]
        true = [c for c in true if t.not_before is None or t.not_before <= c.at]
        assert true, f"no true change in the window of {t}; there were {changes}"


@pytest.mark.long
@pytest.mark.parametrize("seconds", [20, *(pytest.param(n, marks=pytest.mark.slow) for n in (60, 600))])
def test_some_time_of_everything_leaves_a_true_history(
    database_url: str, tmp_path: Path, seconds: float
) -> None:
    world = live_through(database_url, tmp_path, seconds)
    hold_against_the_truth(database_url, world, seconds)
