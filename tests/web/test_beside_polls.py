"""Pages are served by the process that polls, and do not keep it from polling."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

import httpx
import pytest

from collector.simulator.server import Simulator
from tests.support.loopback import free_port
from tests.support.services import Running, looking_into, until

PATHS = (
    "/",
    "/changes",
    "/coverage",
    "/changes.csv",
    "/regions/gcore/76",
    "/?group=zone",
    "/evidence/gcore/1",
)


def test_run_serves_pages_until_it_stops(
    start: Callable[..., Running], sqlite_url: str, simulator: Simulator
) -> None:
    port = free_port()
    service = start(sqlite_url, base_url=simulator.base_url, http_bind=f"127.0.0.1:{port}")
    (line,) = service.until("serving")
    assert line["url"] == f"http://127.0.0.1:{port}/"
    service.until("poll")
    with httpx.Client(base_url=str(line["url"]), trust_env=False, timeout=20) as client:
        assert "regions" in client.get("/").text
        assert client.get("/healthz").status_code == 200
    assert service.stop() == 0
    assert service.lines("web_broke") == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_run_refuses_a_port_that_is_in_use(
    start: Callable[..., Running], sqlite_url: str, simulator: Simulator
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        service = start(sqlite_url, base_url=simulator.base_url, http_bind=bind)
        assert service.ends() == 2
    said = service.log.read_text()
    assert f"pages can't be served on {bind}: another program listens there; set COLLECTOR_HTTP_BIND" in said
    assert simulator.requests == 0


@pytest.mark.long
def test_polls_go_on_while_pages_are_asked_for_without_a_pause(
    start: Callable[..., Running], sqlite_url: str, simulator: Simulator
) -> None:
    port = free_port()
    # A second's interval leaves 0.9 s for a request. A busy machine takes longer, and the failure would be its own.
    service = start(sqlite_url, interval="5", base_url=simulator.base_url, http_bind=f"127.0.0.1:{port}")
    service.until("poll")
    over, answered = Event(), Counter[int]()

    def ask(number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
            while not over.is_set():
                for path in PATHS[number % len(PATHS) :]:
                    answered[client.get(path).status_code] += 1

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, number) for number in range(8)]
        before = simulator.requests
        until(lambda: simulator.requests >= before + 4)
        over.set()
        for each in asking:
            each.result()
    assert service.stop() == 0
    assert answered[200] > 20
    assert set(answered) <= {200, 503}  # too much at once is refused, and that is said
    assert service.lines("request_broke") == []
    with looking_into(sqlite_url) as history:
        assert sum(row["polls"] for row in history.rows("observations")) >= 4
        assert history.rows("gaps") == []
