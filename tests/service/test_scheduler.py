"""The schedule when polls take too long or hang, or the clock is set; and the supervisor that restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler.schedulers import base
from structlog.testing import capture_logs

from collector.service import schedule as schedule_module
from collector.service.runtime import STUCK_EXIT_CODE
from collector.service.schedule import Schedule
from collector.simulator.server import Fault, Simulator
from tests.support.builders import answer, body, region
from tests.support.databases import outage
from tests.support.loopback import Peer, Server, reply
from tests.support.services import (
    SCHEDULER_DIES,
    SOON,
    Running,
    Start,
    events,
    looking_into,
    owners,
    until,
    write_settings,
)

DAY = timedelta(days=1)


class Jumping(datetime):
    """The wall clock, with an error that a test sets."""

    error = timedelta()

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(tz) + cls.error


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Jumping]]:
    """What the schedule takes for the time."""
    monkeypatch.setattr(Jumping, "error", timedelta())
    monkeypatch.setattr(base, "datetime", Jumping)
    monkeypatch.setattr(schedule_module, "utc_now", lambda: Jumping.now(UTC))
    return Jumping


def test_a_clock_that_is_set_forward_by_decades_costs_one_run(
    schedule: Schedule, wall: type[Jumping]
) -> None:
    """And not a list of the thirty thousand million that were missed."""
    runs: list[int] = []
    schedule.put("one", SOON, lambda: runs.append(1))
    schedule.start()
    until(lambda: len(runs) >= 2)
    wall.error = 56 * 365 * DAY
    before = len(runs)
    until(lambda: len(runs) >= before + 5)
    assert schedule.missed == 0
    following = schedule.next_run("one")
    assert following is not None
    assert abs(following - wall.now(UTC)) < timedelta(minutes=1)


def test_a_clock_that_is_set_back_stops_no_job(schedule: Schedule, wall: type[Jumping]) -> None:
    runs: dict[str, int] = {"quick": 0, "slow": 0}

    def job(name: str) -> Callable[[], None]:
        def run() -> None:
            runs[name] += 1

        return run

    schedule.put("quick", SOON, job("quick"))
    schedule.put("slow", timedelta(hours=1), job("slow"))
    schedule.start()
    until(lambda: runs["quick"] >= 2 and runs["slow"])
    with capture_logs() as lines:
        schedule.notice_clock_changes()
        assert events(lines, "clock_set_back") == [], "all is well"
        wall.error = -365 * DAY
        schedule.notice_clock_changes()
    assert {line["source"] for line in events(lines, "clock_set_back")} == {"quick", "slow"}
    before = runs["quick"]
    until(lambda: runs["quick"] >= before + 3 and runs["slow"] == 2)
    following = schedule.next_run("slow")
    assert following is not None
    assert following - wall.now(UTC) < timedelta(hours=2)


def test_a_cloud_that_is_slower_than_the_interval_costs_each_poll_and_delays_none(
    start: Start, sqlite_url: str
) -> None:
    def slowly(peer: Peer) -> None:
        peer.rest(2.2)
        reply(body=body(answer([region(1)])))(peer)

    with Server(slowly) as server:
        service = start(sqlite_url, base_url=server.url)
        service.until("poll", 3)
        assert service.stop() == 0
    assert {(line["outcome"], line["cause"]) for line in service.lines("poll")} == {("failed", "timeout")}
    with looking_into(sqlite_url) as history:
        assert set(history.outcomes()) == {"failed"}
        rows = history.rows("observations")
        assert sum(row["polls"] for row in rows) == len(service.lines("poll"))


@pytest.mark.long
def test_polls_that_come_due_while_one_still_waits_to_be_written_are_skipped_and_logged(
    start: Start, sqlite_url: str, simulator: Simulator
) -> None:
    service = start(sqlite_url, base_url=simulator.base_url)
    service.until("poll")
    # Neither an answer nor a lock alone is waited for until the next poll is due.
    simulator.misbehave(Fault("delay", seconds=0.85))
    with outage(sqlite_url):
        service.until("poll_skipped", 2, source="gcore")
    simulator.misbehave(None)
    service.until_polled(3)
    assert service.stop() == 0
    assert service.lines("poll_skipped")[0]["why"] == "the previous poll has not ended"
    with looking_into(sqlite_url) as history:
        rows = history.rows("observations")
        assert sum(row["polls"] for row in rows) == len(service.lines("poll"))


EIGHT_HANG = """
names = ["gcore", *(f"source {n}" for n in range(7))]
Client.fetch = lambda *_: Event().wait()
"""
"""As many as there are threads."""


@pytest.mark.long
@pytest.mark.parametrize(
    "situation", [SCHEDULER_DIES, EIGHT_HANG], ids=["scheduler dies", "all threads hang"]
)
def test_a_supervisor_that_starts_a_stuck_service_again_has_all_sources_polled_at_once(
    watched: Callable[[str], Running],
    start: Start,
    sqlite_url: str,
    simulator: Simulator,
    tmp_path: Path,
    situation: str,
) -> None:
    stuck = watched(situation)
    assert stuck.ends() == STUCK_EXIT_CODE
    held = owners(sqlite_url)
    assert held
    assert None not in held.values(), "it died with the leases in its hands"
    config = tmp_path / "collector.toml"
    write_settings(
        config, *({"name": name, "base_url": simulator.base_url, "interval": "1s"} for name in held)
    )
    again = start(sqlite_url, config=str(config))
    for name in held:
        again.until("poll", 2, source=name)
    assert again.stop() == 0
    assert again.lines("not_written", condition="standby") == [], "no lease of the dead was in the way"
    with looking_into(sqlite_url) as history:
        assert set(history.outcomes()) == {"ok"}
        for row in history.rows("sources"):
            seen = history.rows("observations", source_id=row["id"])
            assert [o["seq"] for o in seen] == list(range(1, row["newest_seq"] + 1))
