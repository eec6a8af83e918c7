"""`collector run` as a process: what it did is what it says of itself."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from collector.database.engine import open_engine
from collector.simulator.server import Simulator
from tests.support.builders import region
from tests.support.history import History
from tests.support.loopback import Server, reply
from tests.support.samples import value
from tests.support.services import Running, until

Start = Callable[..., Running]


@pytest.mark.long
def test_a_process_that_polls_says_what_it_did(start: Start, sqlite_url: str, simulator: Simulator) -> None:
    with Server(reply()) as heart:
        running = start(
            sqlite_url,
            base_url=simulator.base_url,
            http_bind="127.0.0.1:0",
            heartbeat_url=f"{heart.url}/beat",
        )
        (line,) = running.until("serving")
        running.until("poll", 3)
        with httpx.Client(base_url=line["url"], trust_env=False, timeout=30) as client:
            assert client.get("healthz").json()["status"] == "alive"
            assert client.get("readyz").status_code == 200
            text = client.get("metrics").text
            polls = value(text, "polls_total", source="gcore", outcome="ok") or 0
            assert 3 <= polls <= len(running.lines("poll")) + 1
            assert value(text, "polls_total", source="gcore", outcome="failed") == 0
            assert value(text, "lease_held", source="gcore") == 1
            assert value(text, "source_leased", source="gcore") == 1
            assert value(text, "kept_answers", source="gcore") == 0
            assert value(text, "source_condition", source="gcore", condition="written") == 1
            assert (value(text, "poll_phase_seconds_count", phase="fetch") or 0) >= 3
            said = client.get("api/v1/sources").json()["sources"]
            assert [(row["source"], row["verdict"]) for row in said] == [("gcore", "good")]
        until(lambda: len(heart.requests) >= 3)
        assert {each.target for each in heart.requests} == {"/beat"}


@pytest.mark.long
def test_polls_go_on_while_questions_take_all_threads(
    start: Start, sqlite_url: str, simulator: Simulator
) -> None:
    """While four ask the API without pause, polls go on."""
    running = start(sqlite_url, base_url=simulator.base_url, http_bind="127.0.0.1:0")
    (line,) = running.until("serving")
    running.until("poll", 2)

    def ask(_: int) -> set[int]:
        with httpx.Client(base_url=line["url"], trust_env=False, timeout=60) as client:
            return {client.get("api/v1/availability?by=day").status_code for _ in range(25)}

    before = len(running.lines("poll"))
    with ThreadPoolExecutor(4) as askers:
        statuses = set().union(*askers.map(ask, range(4)))
    assert statuses == {200}
    running.until("poll", before + 3)


@pytest.mark.long
def test_pages_alone_end_well_when_they_are_stopped_amid_an_answer_that_nobody_reads(
    start: Start, sqlite_url: str
) -> None:
    engine = open_engine(sqlite_url)
    History(engine).poll([region(number) for number in range(1, 1500)], at=0)
    engine.dispose()
    command = [sys.executable, "-m", "collector", "web", "--log-format", "json"]
    running = start(sqlite_url, command=command, http_bind="127.0.0.1:0")
    (line,) = running.until("serving")
    port = httpx.URL(line["url"]).port or 0
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b"GET /api/v1/regions HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow.recv(15) == b"HTTP/1.1 200 OK"
        assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()
