"""The service as a process, and one source of it in this process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from collector.clock import utc_now
from collector.database.engine import open_engine
from collector.gcore.exchange import Answer, Exchange, Failure, Request
from collector.service.outage import Outage
from collector.service.runner import Runner
from collector.service.schedule import Schedule
from collector.settings.models import Source
from collector.simulator.scenario import KEY, story
from collector.simulator.server import Simulator
from collector.store import lease
from tests.support import forks
from tests.support.builders import answer, body, region
from tests.support.command import environment
from tests.support.history import NOON, History, Row

OTHER_KEY = "5678$another-reseller-key"
PATIENCE = 90.0
"""Seconds until a test gives up waiting for what comes soon."""

Line = dict[str, Any]
T = TypeVar("T")


def until(found: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Wait until something is found, and return it."""
    ends = monotonic() + seconds
    while not (result := found()):
        assert monotonic() < ends, f"it did not come about within {seconds:g} s"
        sleep(0.02)
    return result


class Running:
    """A process that logs JSON lines into a file, one of its own."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        imported: tuple[str, ...] = forks.COLLECTOR,
    ) -> None:
        self.log = log
        with log.open("wb") as stderr:
            self.process = forks.Popen(
                command,
                imported=imported,
                env=environment,
                stderr=stderr,
                stdout=subprocess.DEVNULL,
                cwd=log.parent,
            )

    def lines(self, event: str | None = None, **where: Any) -> list[Line]:
        """All whole lines so far, or those of an event with these values."""
        whole = self.log.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [
            line
            for line in lines
            if event in (None, line["event"]) and all(line.get(k) == v for k, v in where.items())
        ]

    def until(self, event: str, times: int = 1, **where: Any) -> list[Line]:
        """Wait for `times` lines of an event."""

        def found() -> list[Line]:
            seen = self.lines(event, **where)
            assert len(seen) >= times or self.process.poll() is None, self.log.read_text()
            return seen if len(seen) >= times else []

        return until(found)

    def until_polled(self, times: int = 1, **where: Any) -> list[Line]:
        """Wait for `times` further polls."""
        return self.until("poll", len(self.lines("poll", **where)) + times, **where)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def reload(self) -> None:
        """Send SIGHUP, and wait until it took effect."""
        done = len(self.lines("settings_reloaded") + self.lines("settings_not_reloaded"))
        self.send(signal.SIGHUP)
        until(lambda: len(self.lines("settings_reloaded") + self.lines("settings_not_reloaded")) > done)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ends(self, seconds: float = PATIENCE) -> int:
        return self.process.wait(seconds)

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.ends()


_numbers = count(1)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `collector run`, or another command; what still runs at the end is killed.

    Names in lower case are settings, other names variables of the environment.
    """
    started: list[Running] = []

    def start(
        database_url: str,
        *arguments: str,
        command: Sequence[str] | None = None,
        imported: tuple[str, ...] = forks.COLLECTOR,
        **values: str,
    ) -> Running:
        settings = {name: value for name, value in values.items() if name.islower()}
        variables = {name: value for name, value in values.items() if not name.islower()}
        config = settings.pop("config", None)
        if config is None:
            settings = {"api_key": KEY, "interval": "1s"} | settings
        command = command or [
            *(sys.executable, "-m", "collector"),
            *(["--config", config] if config else []),
            *("run", *arguments),
        ]
        known = environment(settings | {"database_url": database_url})
        known = {name: value for name, value in known.items() if not name.startswith(("NOTIFY_", "WATCHDOG"))}
        started.append(Running(command, tmp_path / f"log-{next(_numbers)}", known | variables, imported))
        return started[-1]

    yield start
    for each in started:
        with suppress(ProcessLookupError):
            each.kill()


Start = Callable[..., Running]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A cloud in which nothing changes any more."""
    keys = {KEY: False, OTHER_KEY: False}
    with Simulator(story(utc_now() - timedelta(days=30)), keys=keys) as running:
        yield running


@contextmanager
def looking_into(url: str) -> Iterator[History]:
    """The history in a database that another process writes."""
    engine = open_engine(url)
    yield History(engine)
    engine.dispose()


def write_settings(path: Path, *tables: Mapping[str, str]) -> None:
    """A TOML file with these sources."""
    texts = [
        "[[sources]]\n" + "".join(f"{name} = '{value}'\n" for name, value in ({"api_key": KEY} | t).items())
        for t in tables
    ]
    path.write_text("\n".join(texts))


def owners(url: str) -> dict[str, str | None]:
    with looking_into(url) as history:
        return {row["name"]: row["lease_owner"] for row in history.rows("sources")}


class Cloud:
    """Gives the answers that the test sets, at times that the test invents."""

    def __init__(self) -> None:
        self.now = NOON
        self.says: Any = [region(1)]
        self.keys: list[str] = []

    def clock(self) -> datetime:
        return self.now

    def fetch(self, request: Request) -> Answer | Failure:
        self.keys.append(request.key)
        asked_at = self.now
        self.now += timedelta(seconds=0.5)
        exchange = Exchange(asked_at, self.now)
        if isinstance(self.says, Failure):
            return replace(self.says, exchange=exchange)
        return Answer(exchange, body(answer(self.says)))


class Polled:
    """A runner and its cloud; `turn` is one scheduled poll, an interval after the last."""

    def __init__(
        self, engine: sa.Engine, name: str = "gcore", *, away: Outage | None = None, **source: Any
    ) -> None:
        self.cloud = Cloud()
        setting = Source(name=name, **({"api_key": "key-one"} | source))
        owner = lease.process_name()
        self.runner = Runner(engine, setting, self.cloud.fetch, owner, self.cloud.clock, away=away)

    def turn(self, says: Any = None, *, seconds: float = 60.0) -> None:
        self.cloud.now = self.cloud.now.replace(microsecond=0) + timedelta(seconds=seconds)
        if says is not None:
            self.cloud.says = says
        self.runner.attempt()


def facts(engine: sa.Engine, name: str) -> dict[str, list[Row]]:
    """Everything about a source that depends neither on its name nor on when rows were written."""
    history = History(engine)
    source_id = history.row("sources", name=name)["id"]
    tables = ("observations", "observers", "regions", "keystones", "region_versions", "state_transitions")
    other = {"source_id", "recorded_at", "previous_digest", "opening_digest", "digest", "first_seen_at"}
    rows = {table: history.rows(table, source_id=source_id) for table in (*tables, "unseen", "payloads")}
    return {t: [{k: v for k, v in row.items() if k not in other} for row in rows[t]] for t in rows}


def events(lines: Sequence[Mapping[str, Any]], *names: str) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["event"] in names]


WATCHED = """
import sys
from datetime import timedelta
from threading import Event
from apscheduler.schedulers.background import BackgroundScheduler
from collector import logs
from collector.gcore.client import Client
from collector.service.runtime import Service
from collector.settings.models import Settings, Source
from collector.database.engine import open_engine

names = ["gcore"]
really_fetch, really_process = Client.fetch, BackgroundScheduler._process_jobs
{situation}
logs.configure()
second = timedelta(seconds=1)
sources = tuple(Source(name=n, base_url=sys.argv[1], api_key=sys.argv[2], interval=second) for n in names)
settings = Settings(sources=sources)
engine = open_engine(sys.argv[3])
sys.exit(Service(engine, lambda: settings, grace_seconds=1.0, patience_seconds=2.0).run())
"""

SCHEDULER_DIES = """
from time import monotonic
began = monotonic()
def process_jobs(self):
    if monotonic() - began > 1.5:
        raise SystemExit
    return min(really_process(self) or 0.2, 0.2)
BackgroundScheduler._process_jobs = process_jobs
"""


@pytest.fixture
def watched(start: Start, sqlite_url: str, simulator: Simulator, tmp_path: Path) -> Callable[[str], Running]:
    """Starts a service whose watchdog has a patience of two seconds, in a situation."""

    def run(situation: str) -> Running:
        script = tmp_path / "watched.py"
        script.write_text(WATCHED.replace("{situation}", situation))
        command = [sys.executable, str(script), simulator.base_url, KEY, sqlite_url]
        return start(sqlite_url, command=command, imported=forks.LIBRARIES)

    return run


@pytest.fixture
def schedule() -> Iterator[Schedule]:
    schedule = Schedule()
    yield schedule
    schedule.stop()


SOON = timedelta(seconds=0.05)
