"""A URL is called after each round in which every source was seen, and no poll waits for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from collector.errors import SettingsError
from collector.poll import PollResult
from collector.service.heartbeat import Heartbeat
from collector.service.view import View
from collector.settings.loading import load
from collector.settings.origins import origins
from tests.support.builders import region
from tests.support.history import NOON, History, failure
from tests.support.loopback import Server, flood, hang, head, reply, reset
from tests.support.service_views import source_view, view_of
from tests.support.services import PATIENCE, until

SECRET = "canary-of-the-heartbeat"


def view(*names: str, standby: tuple[str, ...] = ()) -> View:
    elsewhere = [source_view(name, condition="standby", holds_lease=False) for name in standby]
    return view_of(*map(source_view, names), *elsewhere)


@contextmanager
def beating(url: str, engine: sa.Engine, seen: Callable[[], View]) -> Iterator[Heartbeat]:
    heartbeat = Heartbeat(url, engine, seen, clock=lambda: NOON)
    heartbeat.start()
    try:
        yield heartbeat
    finally:
        heartbeat.stop()


@pytest.fixture
def good(history: History) -> PollResult:
    return history.poll([region(1)], at=0)


def of(result: PollResult, source: str) -> PollResult:
    return replace(result, source=source)


def test_it_is_called_once_all_sources_were_seen_and_then_again(history: History, good: PollResult) -> None:
    with (
        Server(reply()) as server,
        beating(f"{server.url}/ping/x", history.engine, lambda: view("a", "b")) as beat,
    ):
        for calls in (1, 2, 3):
            for _ in range(3):
                beat.hear(of(good, "a"))
            beat.hear(of(good, "b"))
            until(lambda calls=calls: len(server.requests) == calls)
    assert {(each.method, each.target) for each in server.requests} == {("GET", "/ping/x")}
    assert server.requests[0].headers["user-agent"].startswith("gcore-collector/")
    assert len(server.requests) == 3


def test_a_source_that_fails_is_not_seen(history: History, good: PollResult) -> None:
    bad = history.poll(failure(), at=60)
    with Server(reply()) as server, beating(server.url, history.engine, lambda: view("a", "b")) as beat:
        for result in (of(good, "a"), of(bad, "b"), of(good, "a")):
            beat.hear(result)
        until(beat._heard.empty)
        beat.hear(of(good, "b"))
        until(lambda: len(server.requests) == 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("seconds", "calls"), [(0, 1), (-3600, 0)])
def test_what_another_replica_polls_counts_by_what_it_wrote(
    history: History, good: PollResult, seconds: float, calls: int
) -> None:
    History(history.engine, name="theirs").poll([region(1)], at=seconds)
    with Server(reply()) as server:
        with beating(server.url, history.engine, lambda: view("a", standby=("theirs",))) as beat:
            beat.hear(of(good, "a"))
            until(lambda: beat._heard.empty() and len(server.requests) == calls)
        assert len(server.requests) == calls


def test_a_replica_that_only_stands_by_calls_nobody(history: History, good: PollResult) -> None:
    with Server(reply()) as server:
        with beating(server.url, history.engine, lambda: view(standby=("gcore",))) as beat:
            beat.hear(good)
            until(beat._heard.empty)
        assert server.requests == []


def test_a_failure_is_said_once_and_so_is_its_end(history: History, good: PollResult) -> None:
    with (
        capture_logs() as lines,
        Server(reply(500)) as server,
        beating(f"{server.url}/{SECRET}", history.engine, lambda: view("gcore")) as beat,
    ):
        for calls in (1, 2):
            beat.hear(good)
            until(lambda calls=calls: len(server.requests) == calls)
        server.turn_to(reset)
        beat.hear(good)
        until(lambda: len(server.requests) == 3)
        server.turn_to(reply(204))
        beat.hear(good)
        until(lambda: any(line["event"] == "heartbeat_recovered" for line in lines))
    assert [(line["event"], line.get("why")) for line in lines] == [
        ("heartbeat_failed", "status 500"),
        ("heartbeat_recovered", None),
    ]
    assert SECRET not in str(lines)


@pytest.mark.parametrize(
    ("no_proxy", "why"), [("127.0.0.0/8,fd00::/8", None), ("fd00::/8", "ALL_PROXY can't be used")]
)
def test_proxies_and_networks_of_the_environment_do_not_end_it(
    history: History, good: PollResult, monkeypatch: pytest.MonkeyPatch, no_proxy: str, why: str | None
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://user:{SECRET}@127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    with (
        capture_logs() as lines,
        Server(reply()) as server,
        beating(server.url, history.engine, lambda: view("gcore")) as beat,
    ):
        beat.hear(good)
        until(lambda: bool(lines or server.requests))
        assert beat._thread.is_alive()
    assert len(server.requests) == (why is None)
    assert [line["why"].partition(":")[0] for line in lines] == ([] if why is None else [why])
    assert SECRET not in str(lines)


def test_an_endless_answer_is_not_read(history: History, good: PollResult) -> None:
    with (
        Server(flood(head(), b"x" * 65536)) as server,
        beating(server.url, history.engine, lambda: view("gcore")) as beat,
    ):
        for calls in (1, 2):
            beat.hear(good)
            until(lambda calls=calls: len(server.requests) == calls)


def test_a_url_that_no_request_can_have_is_a_failure(history: History, good: PollResult) -> None:
    with (
        capture_logs() as lines,
        beating(f"http://x:{SECRET}", history.engine, lambda: view("gcore")) as beat,
    ):
        beat.hear(good)
        until(lambda: bool(lines))
    assert [(line["event"], line["why"]) for line in lines] == [("heartbeat_failed", "InvalidURL")]


def test_nobody_waits_for_a_url_that_hangs(history: History, good: PollResult) -> None:
    """Polls go on being heard, and the service ends, while a call is under way."""
    with Server(hang) as server:
        with beating(server.url, history.engine, lambda: view("gcore")) as beat:
            beat.hear(good)
            until(lambda: len(server.requests) == 1)
            for _ in range(1000):
                beat.hear(good)
        assert beat._thread.is_alive()  # it was not waited for
        server.stop()
        beat._thread.join(PATIENCE)
        assert not beat._thread.is_alive()


def test_the_url_is_a_secret() -> None:
    given = {"COLLECTOR_HEARTBEAT_URL": f"https://checks.example/{SECRET}"}
    settings = load(given)
    assert settings.heartbeat_url is not None
    assert settings.heartbeat_url.get_secret_value() == given["COLLECTOR_HEARTBEAT_URL"]
    assert SECRET not in repr(settings) + repr(origins(given))
    with pytest.raises(SettingsError, match="COLLECTOR_HEARTBEAT_URL") as refused:
        load({"COLLECTOR_HEARTBEAT_URL": f"ftp://{SECRET}"})
    assert SECRET not in str(refused.value)
    assert load({}).heartbeat_url is None
