"""The running service: its schedule, its sources, what it lives through, and how it ends.

What is about processes is tested with real ones: `collector run` against a simulated cloud on loopback. What is
about one source is tested in this process, with times that the test makes up.
"""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from collector.clock import utc_now
from collector.database.engine import open_engine
from collector.database.timeouts import LEASE_SECONDS
from collector.database.transactions import waiting_at_most, writing
from collector.gcore.exchange import Answer, Failure, Request
from collector.service import runner as runner_module
from collector.service.keeper import OVERDUE_SECONDS, Keeper
from collector.service.notify import notify, wants_watchdog
from collector.service.runner import MAX_KEPT, Reminder, Runner
from collector.service.schedule import SPREAD, Schedule
from collector.settings.models import Source
from collector.simulator.scenario import KEY, story
from collector.simulator.server import Fault, Simulator
from collector.store import lease, writer
from collector.store.tables import payloads, sources
from tests.support import forks
from tests.support.builders import region
from tests.support.command import Said, environment, process
from tests.support.databases import new_database, outage
from tests.support.history import NOON, History, failure
from tests.support.loopback import Server, hang, unused_port
from tests.support.services import (
    OTHER_KEY,
    PATIENCE,
    SCHEDULER_DIES,
    SOON,
    Cloud,
    Polled,
    Running,
    Start,
    events,
    facts,
    looking_into,
    owners,
    until,
    write_settings,
)

ELSEWHERE = "another-host-9f8e7d6c:4194305:abcdef"
"""A holder of leases on a host that is not this one; here no process can have its number."""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


# The service as a process


@pytest.fixture
def postgresql_url(postgresql_template: sa.URL) -> str:
    url = new_database(postgresql_template, postgresql_template.database)
    return url.render_as_string(hide_password=False)


def set_sources(url: str, **values: Any) -> None:
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.execute(sa.update(sources).values(**values))
    engine.dispose()


# Polling

TIMES = {"fetch_ms", "read_ms", "decide_ms", "write_ms"}
ALWAYS = {"source", "outcome", "observation", "polls", "listed", "transitions"} | TIMES
OF_EVERY_LINE = {"event", "level", "timestamp"}


def test_an_unchanged_cloud_gives_one_json_line_a_poll(
    start: Start, database_url: str, simulator: Simulator
) -> None:
    service = start(database_url, base_url=simulator.base_url)
    service.until("poll", 3)
    assert service.stop() == 0
    lines = service.lines("poll")
    assert {(line["source"], line["outcome"], line["listed"]) for line in lines} == {("gcore", "ok", 14)}
    assert [line["transitions"] > 0 for line in lines] == [True] + [False] * (len(lines) - 1)
    assert all(line[name] >= 0 for line in lines for name in TIMES)
    heads: dict[int, str] = {}
    polls: Counter[int] = Counter()
    for line in lines:
        seq = line["observation"]
        polls[seq] += 1
        opened = {"head"} if polls[seq] == 1 else set()
        assert set(line) == ALWAYS | OF_EVERY_LINE | opened
        assert line["polls"] == polls[seq]
        heads.setdefault(seq, line.get("head", ""))
    others = [line["event"] for line in service.lines() if line["event"] != "poll"]
    assert sorted(others[:2]) == ["started", "writing"]
    assert others[2:] == ["stopping", "stopped"]
    with looking_into(database_url) as history:
        rows = history.rows("observations")
    assert {row["seq"]: row["opening_digest"] for row in rows} == heads
    assert {row["seq"]: row["polls"] for row in rows} == polls


def test_the_first_poll_comes_at_once_however_long_the_interval(
    start: Start, sqlite_url: str, simulator: Simulator
) -> None:
    service = start(sqlite_url, base_url=simulator.base_url, interval="1d")
    (poll,) = service.until("poll")
    assert poll["outcome"] == "ok"
    assert service.stop() == 0
    assert simulator.requests == 1


def test_in_a_terminal_the_lines_are_for_people(sqlite_url: str, simulator: Simulator) -> None:
    ours, theirs = pty.openpty()
    settings = {"database_url": sqlite_url, "base_url": simulator.base_url, "api_key": KEY, "interval": "1s"}
    command = [sys.executable, "-m", "collector", "run"]
    said = b""
    with forks.Popen(command, env=environment(settings), stderr=theirs, stdout=theirs) as running:
        os.close(theirs)
        ends = monotonic() + PATIENCE
        while said.count(b"outcome") < 2 and monotonic() < ends:
            if select.select([ours], [], [], 0.1)[0]:
                said += os.read(ours, 65536)
        running.terminate()
        assert running.wait(PATIENCE) == 0
    os.close(ours)
    lines = said.decode().splitlines()
    assert said.count(b"outcome") >= 2, said
    assert not [line for line in lines if line.startswith("{")]
    assert [line for line in lines if "poll" in line and "gcore" in line and "ok" in line]


def test_sources_that_hang_or_fail_delay_no_other(start: Start, sqlite_url: str, tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    with Server(hang) as hanging, Simulator(story(utc_now() - timedelta(days=30))) as good:
        write_settings(
            config,
            {"name": "hanging", "base_url": hanging.url, "interval": "30s"},
            {"name": "failing", "base_url": f"http://127.0.0.1:{unused_port()}", "interval": "1s"},
            {"name": "good", "base_url": good.base_url, "interval": "1s"},
        )
        service = start(sqlite_url, "--grace", "0.3", config=str(config))
        until(lambda: hanging.requests)
        service.until_polled(3, source="good")
        service.until("poll", 2, source="failing", cause="connect")
        assert service.stop() == 0
    assert service.lines("poll", source="hanging") == []
    assert "hanging" in service.lines("stopped")[0]["unfinished"]


# The end


@pytest.mark.parametrize(
    ("database_url", "number"),
    [("sqlite", signal.SIGINT), ("sqlite", signal.SIGTERM), ("postgresql", signal.SIGTERM)],
    indirect=["database_url"],
    ids=["sqlite SIGINT", "sqlite SIGTERM", "postgresql SIGTERM"],
)
def test_a_poll_under_way_is_finished_and_the_lease_given_back(
    start: Start, database_url: str, simulator: Simulator, number: signal.Signals
) -> None:
    simulator.misbehave(Fault("delay", seconds=1.0))
    service = start(database_url, base_url=simulator.base_url, interval="1h")
    until(lambda: simulator.requests)
    service.send(number)
    assert service.ends() == 0
    assert service.lines("stopped")[0]["unfinished"] == []
    assert owners(database_url) == {"gcore": None}
    with looking_into(database_url) as history:
        assert history.outcomes() == ["ok"]


def test_a_poll_that_hangs_is_abandoned_when_the_grace_is_over(start: Start, sqlite_url: str) -> None:
    with Server(hang) as server:
        service = start(sqlite_url, "--grace", "0.3", base_url=server.url, interval="1h")
        until(lambda: server.requests)
        service.send(signal.SIGINT)
        assert service.ends() == 0
    assert service.lines("stopped")[0]["unfinished"] == ["gcore"]
    with looking_into(sqlite_url) as history:
        assert history.rows("observations") == []


def test_the_lease_is_given_back_even_if_the_poll_under_way_is_abandoned(
    start: Start, database_url: str
) -> None:
    with Server(hang) as server:
        service = start(database_url, "--grace", "0.3", base_url=server.url, interval="1h")
        until(lambda: server.requests)
        assert service.stop() == 0
    assert owners(database_url) == {"gcore": None}


@pytest.mark.long
def test_stopping_does_not_wait_for_a_database_that_is_away(
    start: Start, database_url: str, simulator: Simulator, tmp_path: Path
) -> None:
    config = tmp_path / "collector.toml"
    names = ("one", "two")
    write_settings(
        config, *({"name": n, "base_url": f"{simulator.base_url}/{n}", "interval": "3s"} for n in names)
    )
    service = start(database_url, "--grace", "1", config=str(config))
    for name in names:
        service.until("poll", source=name)
    with outage(database_url):
        if database_url.startswith("postgresql"):
            for name in names:
                service.until("not_written", source=name)
        service.send(signal.SIGTERM)
        assert service.ends(9) == 0, "container engines kill after ten seconds"
    given_up = {line["source"] for line in service.lines("given_up") + service.lines("unfinished")}
    assert given_up == {line["source"] for line in service.lines("not_written")}


# Other settings


def test_at_sighup_sources_come_and_go_and_change(
    start: Start, sqlite_url: str, simulator: Simulator, tmp_path: Path
) -> None:
    def source(name: str, interval: str) -> dict[str, str]:
        return {"name": name, "base_url": f"{simulator.base_url}/{name}", "interval": interval}

    config = tmp_path / "collector.toml"
    write_settings(config, source("changes", "1h"), source("goes", "1s"), source("stays", "1s"))
    service = start(sqlite_url, config=str(config))
    for name in ("changes", "goes", "stays"):
        service.until("poll", source=name)
    write_settings(config, source("changes", "1s"), source("stays", "1s"), source("comes", "1s"))
    service.reload()
    polls_of_the_gone = len(service.lines("poll", source="goes"))
    assert service.lines("settings_reloaded")[0]["changed"] == ["changes", "comes"]
    for name in ("changes", "stays", "comes"):
        service.until_polled(source=name)
    assert service.stop() == 0
    assert len(service.lines("poll", source="goes")) == polls_of_the_gone
    with looking_into(sqlite_url) as history:
        ids = {row["name"]: row["id"] for row in history.rows("sources")}
        seen = {name: history.rows("observations", source_id=ids[name]) for name in ids}
        assert set(ids) == {"changes", "goes", "stays", "comes"}
        assert sum(row["polls"] for row in seen["goes"]) == polls_of_the_gone
        assert history.rows("regions", source_id=ids["goes"]) != []
    assert [row["expected_interval_ms"] for row in seen["changes"]][:2] == [3_600_000, 1000]
    assert len(service.lines("writing", source="stays")) == 1, "it was not disturbed"
    assert set(owners(sqlite_url).values()) == {None}


def test_at_sighup_settings_that_need_a_restart_are_named(
    start: Start, sqlite_url: str, simulator: Simulator, tmp_path: Path
) -> None:
    config = tmp_path / "collector.toml"
    source = {"name": "one", "base_url": simulator.base_url, "interval": "1s"}
    write_settings(config, source)
    service = start(sqlite_url, config=str(config))
    service.until("poll")
    service.reload()
    assert service.lines("restart_needed") == []
    write_settings(config, source | {"interval": "2s"})
    config.write_text(f'http_root_path = "/pages"\n{config.read_text()}')
    service.reload()
    (line,) = service.lines("restart_needed")
    assert line["changed"] == ["COLLECTOR_HTTP_ROOT_PATH"]
    assert service.lines("settings_reloaded")[-1]["changed"] == ["one"]
    assert service.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once_a_service_that_waits_for_its_polls(
    start: Start, sqlite_url: str, number: signal.Signals
) -> None:
    with Server(hang) as server:
        service = start(sqlite_url, "--grace", "3600", base_url=server.url, interval="1h")
        until(lambda: server.requests)
        service.send(number)
        service.until("stopping")
        service.send(number)
        assert service.ends() == 128 + number
    with looking_into(sqlite_url) as history:
        assert history.rows("observations") == []


def test_broken_settings_at_sighup_are_logged_and_change_nothing(
    start: Start, sqlite_url: str, simulator: Simulator, tmp_path: Path
) -> None:
    config = tmp_path / "collector.toml"
    good = {"name": "good", "base_url": simulator.base_url, "interval": "1s"}
    write_settings(config, good)
    service = start(sqlite_url, config=str(config))
    service.until("poll")
    for broken in ("[[sources", "interval = 'never'", "colour = 'red'"):
        config.write_text(broken)
        service.reload()
    config.unlink()
    service.reload()
    service.until_polled(2, source="good")
    assert service.stop() == 0
    errors = [line["error"] for line in service.lines("settings_not_reloaded")]
    assert len(errors) == 4
    assert all(str(config) in error for error in errors)
    assert service.lines("settings_reloaded") == []
    assert len(service.lines("writing")) == 1
    with looking_into(sqlite_url) as history:
        assert set(history.outcomes()) == {"ok"}
        assert {row["expected_interval_ms"] for row in history.rows("observations")} == {1000}


def test_another_platform_under_a_known_name_at_sighup_is_refused_and_said_once(
    start: Start, sqlite_url: str, simulator: Simulator, tmp_path: Path
) -> None:
    config = tmp_path / "collector.toml"
    write_settings(config, {"name": "one", "base_url": simulator.base_url, "interval": "1s"})
    service = start(sqlite_url, config=str(config))
    service.until("poll")
    write_settings(
        config,
        {"name": "one", "base_url": f"{simulator.base_url}/other", "interval": "1s"},
        {"name": "two", "base_url": simulator.base_url, "interval": "1s"},
    )
    service.reload()
    service.until_polled(3, source="two")
    assert service.stop() == 0
    (line,) = service.lines("not_written")
    assert (line["source"], line["condition"]) == ("one", "refused")
    assert "--accept-base-url" in line["error"]
    with looking_into(sqlite_url) as history:
        assert len(history.rows("observers")) == 2


@pytest.mark.long
@pytest.mark.parametrize("moment", ["while sources are exchanged", "after sources were exchanged"])
def test_sources_that_hang_keep_neither_a_new_one_nor_the_end_waiting(
    start: Start, sqlite_url: str, simulator: Simulator, tmp_path: Path, moment: str
) -> None:
    config = tmp_path / "collector.toml"
    names = [f"hangs-{number}" for number in range(6)]

    def source(name: str, interval: str) -> dict[str, str]:
        return {"name": name, "base_url": hanging.url, "interval": interval}

    with Server(hang) as hanging:
        write_settings(config, *(source(name, "10m") for name in names))
        service = start(sqlite_url, "--grace", "4", config=str(config))
        until(lambda: len(hanging.requests) == len(names))
        comes = {"name": "comes", "base_url": simulator.base_url, "interval": "1s"}
        write_settings(config, *(source(name, "11m") for name in names), comes)
        service.send(signal.SIGHUP)
        service.until("poll", source="comes")
        assert service.lines("settings_reloaded") == []
        if moment.startswith("after"):
            service.until("settings_reloaded")
        service.send(signal.SIGTERM)
        assert service.ends(20) == 0, "not one after the other: that would take 24 seconds, or 45"
    assert set(names) <= set(service.lines("stopped")[0]["unfinished"])


@pytest.mark.long
def test_one_source_at_another_address_keeps_no_other_from_being_polled(
    start: Start, database_url: str, simulator: Simulator, tmp_path: Path
) -> None:
    config = tmp_path / "collector.toml"
    one, two = (
        {"name": n, "base_url": f"{simulator.base_url}/{n}", "interval": "1s"} for n in ("one", "two")
    )
    write_settings(config, one, two)
    before = start(database_url, config=str(config))
    for name in ("one", "two"):
        before.until("poll", source=name)
    assert before.stop() == 0
    write_settings(config, one, two | {"base_url": f"{simulator.base_url}/moved"})
    service = start(database_url, config=str(config))
    service.until_polled(2, source="one")
    (line,) = service.until("not_written")
    assert (line["source"], line["condition"]) == ("two", "refused")
    assert service.stop() == 0
    assert service.lines("poll", source="two") == []


def test_a_key_file_that_is_rewritten_is_used_at_the_next_poll(
    start: Start, sqlite_url: str, simulator: Simulator, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    simulator.keys = {KEY: False}
    service = start(sqlite_url, base_url=simulator.base_url, api_key="", api_key_file=str(key_file))
    service.until("poll")
    key_file.write_text(f"{OTHER_KEY}\n")
    service.until("poll", http_status=401)
    simulator.keys = {OTHER_KEY: False}
    until(lambda: service.lines("poll")[-1]["outcome"] == "ok")
    assert service.stop() == 0
    with looking_into(sqlite_url) as history:
        rows = history.rows("observations")
        assert {(row["outcome"], row["observer_id"]) for row in rows} == {("ok", 1), ("failed", 2), ("ok", 2)}
        assert (rows[0]["observer_id"], rows[-1]["observer_id"]) == (1, 2)
    assert len(service.lines("writing")) == 1, "without a restart"
    for secret in (KEY, OTHER_KEY):
        assert secret not in service.log.read_text()


# One source, with times that the test makes up


@pytest.fixture
def impatient(engine: sa.Engine) -> sa.Engine:
    """Does not wait ten seconds for a locked database."""
    return waiting_at_most(engine, 0.02)


LIFE: list[Any] = [
    [region(1, "NEW"), region(2)],
    [region(1, "NEW"), region(2)],
    [region(1, "ACTIVE"), region(2)],
    [region(1, "ACTIVE"), region(2)],
    failure("timeout"),
    failure("timeout"),
    [region(1, "MAINTENANCE")],
    [region(1, "MAINTENANCE")],
    [region(1, "ACTIVE"), region(2)],
    [region(1, "ACTIVE"), region(2)],
]


def test_what_was_fetched_while_the_database_was_away_is_written_late_with_its_own_times(
    impatient: sa.Engine, database_url: str
) -> None:
    polled = Polled(impatient)
    with capture_logs() as lines, ExitStack() as stack:
        for n, said in enumerate(LIFE):
            if n == 2:
                stack.enter_context(outage(database_url))
            if n == 8:
                assert (polled.runner.kept, polled.runner.condition) == (6, "database")
                stack.close()
            polled.turn(said)
    assert (polled.runner.kept, polled.runner.condition) == (0, None)
    (away,) = events(lines, "not_written")
    assert (away["condition"], away["source"]) == ("database", "gcore")
    assert "can't be used" in away["error"]
    assert [line["from"] for line in events(lines, "recovered")] == ["database"]
    assert [line.get("late", False) for line in events(lines, "poll")] == [False] * 2 + [True] * 7 + [False]

    undisturbed = Polled(impatient, "undisturbed")
    for said in LIFE:
        undisturbed.turn(said)
    assert facts(impatient, "gcore") == facts(impatient, "undisturbed")
    rows = History(impatient).rows("observations", source_id=1)
    assert [row["outcome"] for row in rows] == ["ok", "ok", "failed", "ok", "ok"]
    limit = timedelta(seconds=150)
    assert all(later["first_at"] - row["last_at"] <= limit for row, later in pairwise(rows)), "no gap"
    (change,) = History(impatient).rows("state_transitions", source_id=1, entity="region", entity_id=1, seq=2)
    assert (change["to_state"], change["basis"]) == ("ACTIVE", "direct")
    assert change["not_before"] == NOON + timedelta(seconds=120)
    assert change["observed_at"] == NOON + timedelta(seconds=180.5)


def test_a_long_outage_costs_bounded_memory_and_the_oldest_answers(
    impatient: sa.Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_KEPT == 1000
    monkeypatch.setattr(runner_module, "MAX_KEPT", 5)
    polled = Polled(impatient)
    polled.turn([region(1, "NEW")])
    with outage(database_url), capture_logs() as lines:
        for _ in range(9):
            polled.turn([region(1, "ACTIVE")])
        assert polled.runner.kept == 5
        documents = {id(seen.said) for seen in polled.runner._kept}
        assert len(documents) == 1, "equal answers share one document"
    assert [line["polls"] for line in events(lines, "given_up")] == [1], "not a line for each"
    with capture_logs() as lines:
        polled.turn()
    assert [line["polls"] for line in events(lines, "given_up")] == [4], "the others"
    before, after = History(impatient).rows("observations")
    assert (before["polls"], after["polls"]) == (1, 5)
    assert after["first_at"] == NOON + timedelta(seconds=60 * 7 + 0.5)
    assert History(impatient).transitions("region", 1)[-1]["basis"] == "across_gap"


def test_a_lease_that_ran_out_during_an_outage_is_resumed_if_nobody_took_it(
    impatient: sa.Engine, database_url: str
) -> None:
    polled = Polled(impatient)
    polled.turn([region(1, "NEW")])
    with outage(database_url):
        polled.turn([region(1, "ACTIVE")])
    set_sources(database_url, lease_expires_at=LONG_AGO)
    with capture_logs() as lines:
        polled.turn()
    assert events(lines, "lease_lost") == []
    assert len(events(lines, "poll")) == 2
    assert [t["basis"] for t in History(impatient).transitions()] == ["baseline", "direct"]


def test_nothing_kept_is_written_after_another_took_over_and_the_time_is_a_gap(
    impatient: sa.Engine, database_url: str
) -> None:
    polled = Polled(impatient)
    polled.turn([region(1, "NEW")])
    with outage(database_url):
        for _ in range(3):
            polled.turn([region(1, "MAINTENANCE")])
    set_sources(database_url, lease_expires_at=LONG_AGO)
    taken = lease.acquire(impatient, "gcore", ELSEWHERE)
    as_it_was = facts(impatient, "gcore")
    with capture_logs() as lines:
        polled.turn([region(1, "ACTIVE")])
    assert facts(impatient, "gcore") == as_it_was
    assert polled.runner.kept == 0
    assert [line["given_up"] for line in events(lines, "lease_lost")] == [4]
    assert [line["event"] for line in lines] == ["lease_lost"], "it says all that there is to say"
    lease.release(impatient, taken)
    with capture_logs() as lines:
        polled.turn()
    assert [line["event"] for line in lines] == ["writing", "poll", "transition", "recovered"]
    assert polled.runner.condition is None
    rows = History(impatient).rows("observations")
    assert [row["polls"] for row in rows] == [1, 1]
    assert rows[1]["first_at"] - rows[0]["last_at"] == timedelta(seconds=300)
    (change,) = History(impatient).transitions("region", 1)[1:]
    assert (change["from_state"], change["to_state"], change["basis"]) == ("NEW", "ACTIVE", "across_gap")
    assert change["not_before"] == NOON + timedelta(seconds=60)


FIRST, CHANGED = [region(1, "NEW")], [region(1, "ACTIVE"), region(2)]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ([], FIRST),
        ([FIRST], FIRST),
        ([FIRST, FIRST, FIRST], FIRST),
        ([FIRST], CHANGED),
        ([FIRST], failure()),
        ([FIRST, failure()], failure()),
        ([FIRST, failure()], FIRST),
        ([[region(1), region(2), region(3)]], [region(1)]),
    ],
    ids=["first", "unchanged", "unchanged bytes", "change", "failure", "failure again", "recovered", "held"],
)
@pytest.mark.parametrize("lost", [1, 2])
def test_a_commit_whose_confirmation_is_lost_is_not_written_twice(
    engine: sa.Engine, before: list[Any], said: Any, lost: int
) -> None:
    undisturbed = Polled(engine, "undisturbed")
    for each in (*before, said, said, CHANGED):
        undisturbed.turn(each)

    polled = Polled(engine)
    for each in before:
        polled.turn(each)
    if not before:
        polled.runner._writer = runner_module.open_writer(engine, polled.runner.source, "me")
    with losing_confirmations(engine, lost):
        polled.turn(said)
        assert (polled.runner.condition, polled.runner.kept) == ("database", 1)
        polled.turn(said)
    assert (polled.runner.condition, polled.runner.kept) == ("database", 2) if lost == 2 else (None, 0)
    polled.turn(CHANGED)
    assert (polled.runner.condition, polled.runner.kept) == (None, 0)
    assert facts(engine, "gcore") == facts(engine, "undisturbed")


@contextmanager
def losing_confirmations(engine: sa.Engine, times: int) -> Iterator[None]:
    """Let this number of commits through without reporting them."""
    really_commit = engine.dialect.do_commit
    left = times

    def commit(connection: Any) -> None:
        nonlocal left
        really_commit(connection)
        if left:
            left -= 1
            raise engine.dialect.loaded_dbapi.OperationalError("the connection broke")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.dialect, "do_commit", commit)
        yield


@pytest.mark.parametrize("said", [FIRST, CHANGED, failure()], ids=["unchanged", "change", "failure"])
def test_a_commit_whose_confirmation_is_lost_after_the_clock_stepped_back_is_not_written_twice(
    engine: sa.Engine, said: Any
) -> None:
    polled = Polled(engine)
    polled.turn(FIRST)
    with losing_confirmations(engine, 1):
        polled.turn(said, seconds=-2.0)
        assert polled.runner.kept == 1
        polled.turn(said)
    assert (polled.runner.condition, polled.runner.kept) == (None, 0)
    assert sum(row["polls"] for row in History(engine).rows("observations")) == 3


@pytest.mark.parametrize("said", [FIRST, CHANGED, failure()], ids=["unchanged", "change", "failure"])
def test_a_commit_whose_confirmation_is_lost_is_not_written_twice_where_the_lease_ran_out_meanwhile(
    engine: sa.Engine, said: Any
) -> None:
    polled = Polled(engine)
    polled.turn(FIRST)
    with losing_confirmations(engine, 1):
        polled.turn(said)
    set_sources(engine.url.render_as_string(hide_password=False), lease_expires_at=LONG_AGO)
    polled.turn(said)
    assert (polled.runner.condition, polled.runner.kept) == (None, 0)
    assert sum(row["polls"] for row in History(engine).rows("observations")) == 3


def test_another_poll_at_the_same_time_is_not_taken_for_the_one_whose_confirmation_was_lost(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "MAX_KEPT", 1)
    polled = Polled(engine)
    polled.turn(FIRST)
    with losing_confirmations(engine, 1):
        polled.turn(FIRST)
    polled.turn(FIRST, seconds=0.0)
    assert (polled.runner.condition, polled.runner.kept) == (None, 0)
    assert sum(row["polls"] for row in History(engine).rows("observations")) == 3


def test_answers_that_are_kept_when_a_source_is_stopped_are_reported(
    impatient: sa.Engine, database_url: str
) -> None:
    polled = Polled(impatient)
    polled.turn()
    with outage(database_url):
        for _ in range(3):
            polled.turn()
        with capture_logs() as lines:
            assert polled.runner.stop(PATIENCE)
    assert polled.runner.kept == 0
    (given_up,) = events(lines, "given_up")
    assert (given_up["source"], given_up["polls"], given_up["log_level"]) == ("gcore", 3, "warning")


def test_an_answer_that_comes_after_its_source_was_stopped_and_cannot_be_written_is_reported(
    impatient: sa.Engine, database_url: str
) -> None:
    polled = Polled(impatient)
    polled.turn()
    asked, go_on = threading.Event(), threading.Event()
    really_fetch = polled.runner._fetch

    def fetch(request: Request) -> Answer | Failure:
        asked.set()
        assert go_on.wait(PATIENCE)
        return really_fetch(request)

    polled.runner._fetch = fetch
    with outage(database_url), capture_logs() as lines, ThreadPoolExecutor() as pool:
        turn = pool.submit(polled.turn)
        assert asked.wait(PATIENCE)
        assert not polled.runner.stop(0.0)
        go_on.set()
        turn.result()
    assert [line["polls"] for line in events(lines, "given_up")] == [1]


@pytest.mark.long
def test_one_line_is_logged_when_the_database_goes_and_one_when_it_comes_back(
    start: Start, postgresql_url: str, simulator: Simulator
) -> None:
    service = start(postgresql_url, base_url=simulator.base_url)
    service.until("poll", 2)
    with outage(postgresql_url):
        service.until("not_written")
        asked = simulator.requests
        until(lambda: simulator.requests > asked)
    service.until("recovered")
    service.until_polled(1)
    assert service.stop() == 0
    (away,) = service.lines("not_written")
    assert (away["condition"], away["level"]) == ("database", "warning")
    assert "password" not in away["error"]
    assert len(service.lines("recovered")) == 1
    assert service.lines("poll", late=True)
    with looking_into(postgresql_url) as history:
        assert sum(row["polls"] for row in history.rows("observations")) == len(service.lines("poll"))


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Another program holds a lock that every write needs."""
    engine = open_engine(url)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.exec_driver_sql("LOCK TABLE sources")
        yield
    engine.dispose()


@pytest.mark.long
def test_polls_go_on_at_their_interval_while_another_program_locks_the_database(
    start: Start, database_url: str, simulator: Simulator
) -> None:
    service = start(database_url, base_url=simulator.base_url)
    service.until("poll", 2)
    with locked(database_url):
        service.until("not_written")
        asked = simulator.requests
        until(lambda: simulator.requests >= asked + 8, 60)
    service.until("recovered")
    service.until_polled(1)
    assert service.stop() == 0
    assert len(service.lines("poll", late=True)) >= 8, "what was seen meanwhile is written late"
    assert len(service.lines("not_written")) == 1
    with looking_into(database_url) as history:
        assert sum(row["polls"] for row in history.rows("observations")) == len(service.lines("poll"))


def test_a_key_file_that_is_gone_is_a_failed_poll_until_it_is_back(engine: sa.Engine, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("key-one\n")
    polled = Polled(engine, api_key=None, api_key_file=key_file)
    polled.turn()
    key_file.unlink()
    with capture_logs() as lines:
        polled.turn()
        polled.turn()
    key_file.write_text("key-one")
    polled.turn()
    assert polled.cloud.keys == ["key-one", "key-one"], "nothing is asked without a key"
    rows = History(engine).rows("observations")
    assert [(row["outcome"], row["cause"], row["polls"]) for row in rows] == [
        ("ok", None, 1),
        ("failed", "key", 2),
        ("ok", None, 1),
    ]
    assert str(key_file) in rows[1]["message"]
    assert [line["cause"] for line in events(lines, "poll")] == ["key", "key"]
    assert polled.runner.condition is None


# What nobody expected


@pytest.fixture
def break_apply_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Puts a bug in the middle of the next transaction that applies something."""
    really_apply, left = writer.apply, [1]

    def apply(*arguments: Any) -> Any:
        if left:
            left.pop()
            raise ZeroDivisionError("a bug")
        return really_apply(*arguments)

    return lambda: monkeypatch.setattr(writer, "apply", apply)


def test_a_bug_in_one_poll_is_counted_and_later_polls_go_on(
    engine: sa.Engine, break_apply_once: Callable[[], None]
) -> None:
    break_apply_once()
    cloud = Cloud()

    def fetch(request: Request) -> Answer | Failure:
        cloud.now = utc_now()
        return cloud.fetch(request)

    source = Source(name="gcore", api_key="key-one", interval=timedelta(seconds=1))
    runner = Runner(engine, source, fetch, lease.process_name())
    schedule = Schedule()
    schedule.put("gcore", timedelta(seconds=0.2), runner.attempt)
    with capture_logs() as lines:
        schedule.start()
        until(lambda: len(events(lines, "poll")) >= 3)
        schedule.stop()
        assert runner.stop(PATIENCE)
    assert schedule.errors == 1
    (broke,) = events(lines, "poll_broke")
    assert (broke["source"], type(broke["exc_info"])) == ("gcore", ZeroDivisionError)
    assert runner.kept == 0
    polls = sum(row["polls"] for row in History(engine).rows("observations"))
    assert polls == len(events(lines, "poll")), "nothing of the poll that broke was written"


def test_a_bug_in_an_answer_that_was_kept_does_not_stand_in_the_way_of_the_others(
    impatient: sa.Engine, database_url: str, break_apply_once: Callable[[], None]
) -> None:
    polled = Polled(impatient)
    polled.turn([region(1)])
    with outage(database_url):
        polled.turn([region(1), region(2)])
        polled.turn([region(1), region(3)])
    break_apply_once()
    with pytest.raises(ZeroDivisionError):
        polled.turn([region(1), region(3)])
    assert polled.runner.kept == 2
    polled.turn()
    assert (polled.runner.kept, polled.runner.condition) == (0, None)
    assert History(impatient).present() == {1, 3}
    assert [row["polls"] for row in History(impatient).rows("observations")] == [1, 3]


def test_evidence_that_was_damaged_does_not_stop_polling_for_good(engine: sa.Engine) -> None:
    before = Polled(engine)
    before.turn([region(1, "NEW"), region(2)])
    assert before.runner.stop(PATIENCE)
    with writing(engine) as connection:
        connection.execute(sa.update(payloads).values(body=b"damaged"))
    polled = Polled(engine)
    polled.cloud.now = before.cloud.now
    for _ in range(5):
        polled.turn([region(1, "ACTIVE"), region(2)])
    assert (polled.runner.kept, polled.runner.condition) == (0, None)
    assert History(engine).row("regions", id=1)["state"] == "ACTIVE"


JOB = """
import sys
from datetime import timedelta
from threading import Event
from collector import logs
from collector.service.schedule import Schedule

def job():
    done.set()
    raise ZeroDivisionError("a bug")

logs.configure()
done, schedule = Event(), Schedule()
schedule.put("gcore", timedelta(hours=1), job)
schedule.start()
done.wait()
while not schedule.errors:
    pass
schedule.stop()
"""


def test_a_bug_is_logged_once_with_its_traceback(tmp_path: Path) -> None:
    done = forks.run([sys.executable, "-c", JOB], env=environment({}), cwd=tmp_path, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["source"], line["level"]) == ("poll_broke", "gcore", "error")
    assert "ZeroDivisionError: a bug" in line["exception"]
    assert ", in job" in line["exception"]


# One writer per source


def test_a_source_that_another_polls_is_left_to_it_and_taken_over_when_it_is_given_back(
    engine: sa.Engine,
) -> None:
    polled = Polled(engine)
    polled.turn([region(1, "NEW")])
    set_sources(engine.url.render_as_string(hide_password=False), lease_expires_at=LONG_AGO)
    taken = lease.acquire(engine, "gcore", ELSEWHERE)
    with capture_logs() as lines:
        for _ in range(4):
            polled.turn()
        assert polled.runner.condition == "standby"
        assert len(polled.cloud.keys) == 2, "who stands by asks nothing"
        lease.release(engine, taken)
        polled.turn([region(1, "ACTIVE")])
    (standby,) = events(lines, "not_written")
    assert standby["condition"] == "standby"
    assert ELSEWHERE in standby["error"]
    assert len(events(lines, "lease_lost")) == 1
    assert [line["from"] for line in events(lines, "recovered")] == ["standby"]
    assert History(engine).row("sources")["lease_epoch"] == 3
    assert [t["to_state"] for t in History(engine).transitions()] == ["NEW", "ACTIVE"]


class Leases:
    """The leases of one source, and a keeper of them."""

    def __init__(self, engine: sa.Engine) -> None:
        self.url = engine.url.render_as_string(hide_password=False)
        self.polled = Polled(engine)
        runner = self.polled.runner
        self.polled_now: list[str] = []
        self.keeper = Keeper(engine, runner._owner, {"gcore": runner}, self.polled_now.append)
        self.history = History(engine)

    @property
    def left(self) -> timedelta:
        return self.history.row("sources")["lease_expires_at"] - utc_now()


@pytest.fixture
def leases(engine: sa.Engine) -> Leases:
    return Leases(engine)


NEARLY_OVER = timedelta(seconds=LEASE_SECONDS / 4)


@pytest.mark.parametrize(
    "left", [NEARLY_OVER, -NEARLY_OVER], ids=["nearly over", "ran out, but nobody took it"]
)
def test_a_lease_is_kept_between_polls(leases: Leases, left: timedelta) -> None:
    leases.polled.turn()
    set_sources(leases.url, lease_expires_at=utc_now() + left)
    leases.keeper.round()
    assert leases.left > timedelta(seconds=LEASE_SECONDS / 2)
    assert leases.history.row("sources")["lease_epoch"] == 1


@pytest.mark.long
def test_the_leases_of_many_sources_are_kept(engine: sa.Engine) -> None:
    held = [lease.acquire(engine, f"source {n}", "one") for n in range(1100)]
    taken = lease.acquire(engine, "source 7", "one")
    set_sources(engine.url.render_as_string(hide_password=False), lease_expires_at=utc_now() + NEARLY_OVER)
    lease.renew(engine, "one", held)
    kept = {
        row["name"]
        for row in History(engine).rows("sources")
        if row["lease_expires_at"] > utc_now() + 2 * NEARLY_OVER
    }
    assert kept == {each.source for each in held} - {taken.source}, "an older lease renews no newer one"


def test_a_lease_that_another_took_or_that_was_given_back_is_not_kept(leases: Leases) -> None:
    leases.polled.turn()
    set_sources(leases.url, lease_expires_at=LONG_AGO, lease_owner=ELSEWHERE, lease_epoch=2)
    leases.keeper.round()
    assert leases.history.row("sources")["lease_expires_at"] == LONG_AGO
    set_sources(leases.url, lease_expires_at=None, lease_owner=None)
    leases.keeper.round()
    assert leases.history.row("sources")["lease_owner"] is None


def test_the_lease_of_a_source_that_is_not_attempted_any_more_runs_out(leases: Leases) -> None:
    leases.polled.turn()
    soon = utc_now() + NEARLY_OVER
    set_sources(leases.url, lease_expires_at=soon)
    leases.polled.runner.last_attempt -= 60 + OVERDUE_SECONDS
    leases.keeper.round()
    assert leases.history.row("sources")["lease_expires_at"] == soon


def test_the_lease_of_a_source_that_was_stopped_is_not_kept_even_if_it_was_not_given_back(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases.polled.turn()
    with monkeypatch.context() as patch:
        patch.setattr(lease, "release", lambda *_: None)
        leases.polled.runner.stop(PATIENCE)
    soon = utc_now() + NEARLY_OVER
    set_sources(leases.url, lease_expires_at=soon)
    leases.keeper.round()
    assert leases.history.row("sources")["lease_expires_at"] == soon


def test_leases_are_kept_past_a_row_that_is_being_written(
    postgresql_url: str,
) -> None:
    with looking_into(postgresql_url) as history:
        engine = history.engine
        held = [lease.acquire(engine, name, "one") for name in ("written", "other")]
        soon = utc_now() + NEARLY_OVER
        set_sources(postgresql_url, lease_expires_at=soon)
        with writing(engine) as connection:
            connection.execute(sa.update(sources).where(sources.c.name == "written").values(newest_seq=0))
            lease.renew(engine, "one", held)
        left = {row["name"]: row["lease_expires_at"] for row in history.rows("sources")}
    assert left["written"] == soon
    assert left["other"] > soon


def test_a_source_whose_holder_is_gone_is_polled_at_once(leases: Leases) -> None:
    theirs = lease.acquire(leases.polled.runner._engine, "gcore", ELSEWHERE)
    leases.polled.turn()
    assert leases.polled.runner.condition == "standby"
    leases.keeper.round()
    assert leases.polled_now == [], "it is held"
    set_sources(leases.url, lease_expires_at=LONG_AGO)
    leases.keeper.round()
    assert leases.polled_now == ["gcore"]
    lease.release(leases.polled.runner._engine, theirs)
    leases.keeper.round()
    assert leases.polled_now == ["gcore"] * 2
    dead = subprocess.Popen(["true"])
    dead.wait()
    here = lease.process_name().split(":")[0]
    lease.acquire(leases.polled.runner._engine, "gcore", f"{here}:{dead.pid}:abc")
    leases.keeper.round()
    assert leases.polled_now == ["gcore"] * 3
    leases.polled.turn()
    leases.keeper.round()
    assert leases.polled_now == ["gcore"] * 3, "it is ours"


@pytest.mark.long
def test_of_two_services_one_takes_over_from_the_other_long_before_the_next_poll(
    start: Start, postgresql_url: str, simulator: Simulator
) -> None:
    first = start(postgresql_url, base_url=simulator.base_url, interval="1h")
    first.until("poll")
    second = start(postgresql_url, base_url=simulator.base_url, interval="1h")
    second.until("not_written", condition="standby")
    first.kill()
    second.until("poll")
    assert second.stop() == 0


@pytest.fixture
def two_sources(tmp_path: Path, simulator: Simulator) -> str:
    config = tmp_path / "two.toml"
    write_settings(
        config,
        *(
            {"name": name, "base_url": f"{simulator.base_url}/{name}", "interval": "1s"}
            for name in ("one", "two")
        ),
    )
    return str(config)


def test_of_two_services_on_one_postgresql_each_source_is_polled_by_one_and_taken_over_after_a_kill(
    start: Start, postgresql_url: str, two_sources: str
) -> None:
    first = start(postgresql_url, config=two_sources)
    for name in ("one", "two"):
        first.until("poll", source=name)
    second = start(postgresql_url, config=two_sources)
    for name in ("one", "two"):
        second.until("not_written", source=name, condition="standby")
    for name in ("one", "two"):
        first.until_polled(source=name)
    assert second.lines("poll") == []
    first.kill()
    for name in ("one", "two"):
        second.until("poll", source=name)
    assert second.stop() == 0
    for name in ("one", "two"):
        assert len(first.lines("writing", source=name) + second.lines("writing", source=name)) == 2
        assert len(second.lines("not_written", source=name)) == 1
        assert len(second.lines("recovered", source=name)) == 1
    with looking_into(postgresql_url) as history:
        assert {row["lease_epoch"] for row in history.rows("sources")} == {2}
        for row in history.rows("sources"):
            seen = history.rows("observations", source_id=row["id"])
            assert [o["seq"] for o in seen] == list(range(1, len(seen) + 1))


def test_a_holder_on_another_host_is_replaced_only_when_its_lease_has_run_out(
    start: Start, postgresql_url: str, simulator: Simulator
) -> None:
    first = start(postgresql_url, base_url=simulator.base_url)
    first.until("poll")
    first.kill()
    renewed = utc_now() + timedelta(seconds=lease.LONGEST_SECONDS - 1)
    set_sources(postgresql_url, lease_owner=ELSEWHERE, lease_expires_at=renewed)
    second = start(postgresql_url, base_url=simulator.base_url)
    (standby,) = second.until("not_written")
    assert ELSEWHERE in standby["error"]
    set_sources(postgresql_url, lease_expires_at=LONG_AGO)
    second.until("poll")
    assert second.stop() == 0
    assert len(second.lines("not_written")) == 1


@pytest.mark.long
def test_a_second_process_on_the_same_sqlite_file_says_who_holds_it_and_ends(
    start: Start, sqlite_url: str, simulator: Simulator
) -> None:
    first = start(sqlite_url, base_url=simulator.base_url)
    holder = first.until("started")[0]["owner"]
    settings = {
        "database_url": sqlite_url,
        "base_url": simulator.base_url,
        "api_key": KEY,
        "interval": "1s",
    }
    first.until("poll")
    with ThreadPoolExecutor() as pool:
        poll, run = pool.map(lambda args: process(*args, **settings), [("poll", "--wait", "0.3"), ("run",)])
    for said in (poll, run):
        assert said.code == 3, said
        said.explains(holder, "gcore")
        assert said.out == ""
    first.until_polled()
    assert first.stop() == 0
    assert process("poll", **settings).code == 0, "and now it is free"
    with looking_into(sqlite_url) as history:
        assert set(history.outcomes()) == {"ok"}


def test_after_a_kill_a_new_process_starts_at_once_but_not_where_the_holder_is_on_another_host(
    start: Start, sqlite_url: str, simulator: Simulator
) -> None:
    first = start(sqlite_url, base_url=simulator.base_url)
    first.until("poll")
    first.kill()
    assert owners(sqlite_url)["gcore"] is not None
    second = start(sqlite_url, base_url=simulator.base_url)
    second.until("poll")
    second.kill()
    set_sources(sqlite_url, lease_owner=ELSEWHERE)
    settings = {"database_url": sqlite_url, "base_url": simulator.base_url, "api_key": KEY}
    said: Said = process("poll", "--wait", "0.3", **settings)
    assert said.code == 3
    said.explains(ELSEWHERE)


# The watchdog
ALL_HANG = """
names = [f"source {n}" for n in range(9)]
Client.fetch = lambda *_: Event().wait()
"""
SLOW_TO_WAKE = """
from time import monotonic
looked = monotonic()
def process_jobs(self):
    global looked
    if monotonic() - looked > 3:
        Event().wait(1.5)
    looked = monotonic()
    return min(really_process(self) or 0.2, 0.2)
BackgroundScheduler._process_jobs = process_jobs
"""
ONE_HANGS = """
names, calls = ["hanging", "good"], []
def fetch(client, request):
    calls.append(request)
    return really_fetch(client, request) if len(calls) > 1 else Event().wait()
Client.fetch = fetch
"""


@pytest.mark.long
@pytest.mark.parametrize("situation", [SCHEDULER_DIES, ALL_HANG], ids=["scheduler dies", "all polls hang"])
def test_the_watchdog_ends_a_process_that_attempts_no_poll_any_more(
    watched: Callable[[str], Running], situation: str
) -> None:
    service = watched(situation)
    assert service.ends() == 70
    last = service.lines()[-1]
    assert (last["event"], last["level"]) == ("stuck", "critical")
    if situation is SCHEDULER_DIES:
        assert service.lines("poll"), "it had polled before"


@pytest.mark.long
def test_the_watchdog_lets_one_hanging_source_be_while_others_are_polled(
    watched: Callable[[str], Running],
) -> None:
    service = watched(ONE_HANGS)
    service.until("poll", 4, source="good")
    assert service.stop() == 0
    assert service.lines("stopped")[0]["unfinished"] == ["hanging"]


@pytest.mark.long
def test_a_process_that_was_stopped_for_longer_than_the_patience_goes_on(
    watched: Callable[[str], Running],
) -> None:
    service = watched(SLOW_TO_WAKE)
    service.until("poll")
    service.send(signal.SIGSTOP)
    sleep(5.2)  # longer than the patience, and than what the watchdog takes for a pause
    service.send(signal.SIGCONT)
    service.until_polled(3)
    assert service.stop() == 0
    assert service.lines("stuck") == []


# Signals at any moment

SIGNALS_EVERYWHERE = """
import signal
from pathlib import Path
from collector.service import runtime

left, is_ready = 400, False
really_notify = runtime.notify

def notify(*lines):
    global is_ready
    is_ready = True
    really_notify(*lines)

def trace(frame, event, _):
    global left
    if event == "line" and is_ready and left and Path(frame.f_code.co_filename).name in FILES:
        left -= 1
        signal.raise_signal(signal.SIGHUP)
    return trace

FILES = ("runtime.py", "threading.py", "queue.py", "selectors.py")
runtime.notify = notify
sys.settrace(trace)
"""


def test_a_signal_may_come_at_any_moment(watched: Callable[[str], Running]) -> None:
    service = watched(SIGNALS_EVERYWHERE)
    service.until("poll", 3)
    service.send(signal.SIGTERM)
    assert service.ends(10) == 0
    assert service.lines("settings_reloaded")


# Telling systemd


@pytest.fixture(params=["file", "abstract"])
def supervisor(request: pytest.FixtureRequest) -> Iterator[tuple[str, socket.socket]]:
    """A socket that listens as systemd does: the address for NOTIFY_SOCKET, and the socket."""
    folder = tempfile.mkdtemp(prefix="notify")  # socket paths are short
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.settimeout(PATIENCE)
        if request.param == "file":
            address = f"{folder}/s"
            listener.bind(address)
        else:
            address = f"@{folder}"
            listener.bind("\0" + folder)
        yield address, listener
    shutil.rmtree(folder)


def heard(listener: socket.socket, assignment: str) -> list[str]:
    """All assignments up to and with this one."""
    said: list[str] = []
    while assignment not in said:
        said += listener.recv(4096).decode().split("\n")
    return said


def test_systemd_is_notified_of_what_goes_on(
    start: Start, sqlite_url: str, simulator: Simulator, supervisor: tuple[str, socket.socket]
) -> None:
    address, listener = supervisor
    service = start(sqlite_url, base_url=simulator.base_url, NOTIFY_SOCKET=address, WATCHDOG_USEC="90000000")
    early = heard(listener, "READY=1")
    assert set(early) <= {"READY=1", "STATUS=polling 1 source", "WATCHDOG=1"}
    heard(listener, "WATCHDOG=1")
    service.send(signal.SIGHUP)
    heard(listener, "RELOADING=1")
    heard(listener, "READY=1")
    service.send(signal.SIGTERM)
    heard(listener, "STOPPING=1")
    assert service.ends() == 0


@pytest.mark.long
def test_systemd_shows_that_nothing_is_written_while_the_database_is_away(
    start: Start, sqlite_url: str, simulator: Simulator, supervisor: tuple[str, socket.socket]
) -> None:
    address, listener = supervisor
    service = start(sqlite_url, base_url=simulator.base_url, NOTIFY_SOCKET=address)
    service.until("poll")
    with outage(sqlite_url):
        heard(listener, "STATUS=polling 1 source; gcore not written (database)")
    heard(listener, "STATUS=polling 1 source")
    assert service.stop() == 0


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "90000000"}, True),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "1"}, False),
    ],
    ids=["none", "one", "ours", "that of another process"],
)
def test_a_watchdog_is_fed_only_where_one_waits_for_us(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: bool
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wants_watchdog() is wanted


def test_a_supervisor_that_does_not_listen_disturbs_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for address in (str(tmp_path / "nobody"), "@nobody", "/" + 200 * "long"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")


# The schedule


def test_runs_that_are_due_while_the_one_before_goes_on_are_counted_and_logged(schedule: Schedule) -> None:
    go_on = threading.Event()
    runs: list[int] = []

    def job() -> None:
        runs.append(1)
        assert go_on.wait(PATIENCE)

    schedule.put("slow", SOON, job)
    with capture_logs() as lines:
        schedule.start()
        until(lambda: schedule.missed >= 2)
        assert len(runs) == 1, "never twice at once"
        before = list(lines)
        go_on.set()
        until(lambda: len(runs) >= 2)
        schedule.stop()
    skipped = events(lines, "poll_skipped")
    assert skipped[0]["source"] == "slow"
    assert len(events(before, "poll_skipped")) == 1, "of those in a row the first is logged"
    assert schedule.errors == 0


def test_a_job_that_raises_is_counted_and_logged_and_runs_again(schedule: Schedule) -> None:
    runs: list[int] = []

    def job() -> None:
        runs.append(1)
        raise ZeroDivisionError(len(runs))

    schedule.put("broken", SOON, job)
    schedule.put("good", SOON, lambda: None)
    with capture_logs() as lines:
        schedule.start()
        until(lambda: schedule.errors >= 2)
        schedule.stop()
    broke = events(lines, "poll_broke")
    assert {line["source"] for line in broke} == {"broken"}
    assert [str(line["exc_info"]) for line in broke[:2]] == ["1", "2"]
    assert schedule.missed == 0


@pytest.mark.parametrize(
    ("interval", "spread"), [(timedelta(hours=1), SPREAD), (timedelta(seconds=2), timedelta(seconds=2))]
)
def test_first_runs_are_spread_within_the_interval(
    schedule: Schedule, interval: timedelta, spread: timedelta
) -> None:
    before = datetime.now(UTC)
    for number in range(4):
        schedule.put(str(number), interval, lambda: None, place=number / 4)
    after = datetime.now(UTC)
    for number in range(4):
        first = schedule.next_run(str(number))
        assert first is not None
        assert before <= first - spread * number / 4 <= after


def test_a_run_out_of_turn_is_one_more_and_no_clock_concerns_it(schedule: Schedule) -> None:
    runs: list[str] = []
    schedule._scheduler.start(paused=True)
    schedule.put("one", timedelta(hours=1), lambda: runs.append("in turn"))
    schedule.soon("one", lambda: runs.append("out of turn"))
    schedule.notice_clock_changes()
    schedule._scheduler.resume()
    until(lambda: len(runs) == 2)
    assert sorted(runs) == ["in turn", "out of turn"]
    following = schedule.next_run("one")
    assert following is not None
    assert following > datetime.now(UTC) + timedelta(minutes=30)


def test_a_job_that_is_dropped_runs_no_more_and_one_that_is_put_again_is_replaced(schedule: Schedule) -> None:
    runs: dict[str, int] = {"dropped": 0, "old": 0, "new": 0}

    def job(name: str) -> Callable[[], None]:
        def run() -> None:
            runs[name] += 1

        return run

    schedule.start()
    schedule.put("one", SOON, job("dropped"))
    schedule.put("other", SOON, job("old"))
    until(lambda: runs["dropped"] and runs["old"])
    schedule.drop("one")
    schedule.put("other", SOON, job("new"))
    until(lambda: runs["new"])
    seen = dict(runs)
    until(lambda: runs["new"] >= seen["new"] + 3)
    assert (runs["dropped"], runs["old"]) == (seen["dropped"], seen["old"])
    assert schedule.next_run("one") is None


def test_what_lasts_is_said_again_after_twice_as_long_each_time_up_to_an_hour() -> None:
    now = [0.0]
    reminder = Reminder(now=lambda: now[0])
    for _ in range(2):  # an outage, and the next
        began = now[0]
        reminder.begin()
        said = []
        while now[0] - began < 4 * 3600:
            now[0] += 1
            if (lasting := reminder.due()) is not None:
                said.append(lasting)
        assert said == [60, 180, 420, 900, 1860, 3780, 7380, 10980]
