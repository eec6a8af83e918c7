"""Sources that hang cost the others nothing, and the process no threads."""

from __future__ import annotations

import heapq
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path
from time import monotonic

import pytest

from collector.clock import utc_now
from collector.gcore.client import MAX_THREADS, Client
from collector.gcore.exchange import Answer, Exchange, Failure, Request
from collector.service.lanes import FIRST_SLOW_SECONDS, LEAST_SECONDS, QUICK, SLOW, Lane, Lanes, NotYetError
from tests.support.builders import answer, body, region
from tests.support.loopback import Peer, Server, reply
from tests.support.services import PATIENCE, Running, until, write_settings

MOST_THREADS = QUICK + SLOW + MAX_THREADS + 4
GOOD = body(answer([region(7)]))


class Model:
    """Lanes in a time of their own: what each question takes is given, and threads are taken in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: dict[str, float], interval: float) -> None:
        self.now = 0.0
        self.takes, self.interval = takes, interval
        self.lanes = Lanes(self._fetch)
        self.asked: defaultdict[str, list[float]] = defaultdict(list)
        """When polls ended that are recorded, by source."""
        monkeypatch.setattr("collector.service.lanes.monotonic", lambda: self.now)
        for name in takes:
            self.lanes.enter(name, timedelta(seconds=interval))

    def _fetch(self, request: Request) -> Answer | Failure:
        takes, deadline = self.takes[request.base_url], request.deadline.total_seconds()
        self.now += min(takes, deadline)
        exchange = Exchange(utc_now(), utc_now())
        if takes > deadline:
            return Failure(exchange, "timeout", "no answer", is_transient=True)
        return Answer(exchange, b"")

    def run(self, seconds: float) -> None:
        """Polls are due one after the other, spread over the interval; a lane's threads take them in that order."""
        numbers = count()
        names = list(self.takes)
        due = [(self.interval * n / len(names), next(numbers), name) for n, name in enumerate(names)]
        free: dict[Lane, list[float]] = {"quick": [0.0] * QUICK, "slow": [0.0] * SLOW}
        heapq.heapify(due)
        deadline = timedelta(seconds=min(self.interval * 0.9, 45))
        while due and due[0][0] < seconds:
            at, _, name = heapq.heappop(due)
            following = at + self.interval
            while True:
                threads = free[self.lanes.lane(name)]
                self.now = max(heapq.heappop(threads), at)
                try:
                    self.lanes.fetch(name, Request(name, "", deadline=deadline))
                except NotYetError:
                    at = self.now
                    heapq.heappush(threads, self.now)
                    continue
                heapq.heappush(threads, self.now)
                break
            self.asked[name].append(self.now)
            heapq.heappush(due, (max(following, self.now), next(numbers), name))


@pytest.mark.parametrize(
    ("sources", "hanging", "interval"),
    [(1000, 300, 60.0), (120, 40, 10.0), (30, 10, 1.0), (1000, 333, 60.0)],
)
def test_every_healthy_source_is_polled_at_every_interval_while_others_hang(
    monkeypatch: pytest.MonkeyPatch, sources: int, hanging: int, interval: float
) -> None:
    hangs = hanging_ones(sources, hanging)
    takes = {name: 1e9 if name in hangs else 0.1 for name in (f"s{n}" for n in range(sources))}
    model = Model(monkeypatch, takes, interval)
    model.run(5 * interval)
    healthy = {name for name in takes if takes[name] < 1}
    for name in healthy:
        times = model.asked[name]
        assert len(times) >= 5
        assert max(b - a for a, b in pairwise(times)) < 2 * interval
    late = [
        b - a for name in healthy for a, b in zip(model.asked[name][2:], model.asked[name][3:], strict=False)
    ]
    assert max(late) < 1.1 * interval, "after the first round those that hang cost the others nothing"
    assert {model.lanes.lane(name) for name in healthy} == {"quick"}
    assert {model.lanes.lane(name) for name in set(takes) - healthy} == {"slow"}


def test_a_third_that_begins_to_hang_at_once_makes_no_healthy_source_miss_its_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    takes = {f"s{n}": 0.1 for n in range(1000)}
    model = Model(monkeypatch, takes, 60.0)
    model.run(120)
    takes |= dict.fromkeys(list(takes)[::3], 1000000000.0)
    model.run(360)
    times = [t for name, t in model.asked.items() if takes[name] < 1]
    assert max(b - a for each in times for a, b in pairwise(each)) < 120


class Asked:
    """A source whose next answer comes after a number of seconds, or never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, others: int) -> None:
        self.model = Model(monkeypatch, {"it": 0.1} | {f"s{n}": 0.1 for n in range(others)}, 60.0)
        self.lanes = self.model.lanes

    def ask(self, takes: float) -> bool:
        """True if an answer or a failure came back."""
        self.model.takes["it"] = takes
        try:
            self.lanes.fetch("it", Request("it", ""))
        except NotYetError:
            return False
        return True


def test_a_source_goes_to_the_slow_lane_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, 999)
    assert asked.ask(0.5)
    assert asked.lanes.lane("it") == "quick"
    assert not asked.ask(20.0), "no failure is recorded: the poll goes on"
    assert asked.lanes.lane("it") == "slow"
    assert asked.lanes.seconds("it", timedelta(seconds=45)) == FIRST_SLOW_SECONDS
    assert asked.ask(20.0)
    assert asked.lanes.seconds("it", timedelta(seconds=45)) == 45, "its share is large where it is alone"
    assert asked.ask(20.0)
    assert asked.lanes.lane("it") == "slow", "slow, but it answers"
    assert asked.ask(0.5)
    assert asked.lanes.lane("it") == "quick"


def test_few_sources_have_their_whole_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, 5)
    assert asked.ask(44.0)
    assert asked.ask(1e9)
    assert asked.lanes.lane("it") == "quick"


def test_a_slow_source_that_answers_keeps_its_time_while_others_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, 300)
    for _ in range(2):
        asked.ask(9.0)
    for n in range(300):
        asked.model.takes[f"s{n}"] = 1e9
        for _ in range(2):
            try:
                asked.lanes.fetch(f"s{n}", Request(f"s{n}", ""))
            except NotYetError:
                continue
    assert asked.lanes.seconds("it", timedelta(seconds=45)) == 45
    assert LEAST_SECONDS < asked.lanes.seconds("s1", timedelta(seconds=45)) < 2


def test_a_refusal_stays_in_the_quick_lane_and_a_source_that_left_is_no_error() -> None:
    with Server(reply(401)) as server:
        client = Client()
        lanes = Lanes(client.fetch)
        for n in range(100):
            lanes.enter(f"s{n}", timedelta(seconds=1))
        refused = lanes.fetch("s1", Request(server.url, "key"))
        assert isinstance(refused, Failure)
        assert refused.http_status == 401
        assert lanes.lane("s1") == "quick"
        lanes.leave("s1")
        assert isinstance(lanes.fetch("s1", Request(server.url, "key")), Failure)
        client.close()


def test_attempts_that_hang_are_bounded_and_more_are_failures() -> None:
    go_on = threading.Event()

    def wait(peer: Peer) -> None:
        while not go_on.is_set() and peer.rest(0.02):
            pass
        reply(body=GOOD)(peer)

    with Server(wait) as server:
        client = Client(max_threads=2, max_attempts=1)
        results: list[Answer | Failure] = []

        def ask() -> None:
            results.append(client.fetch(Request(server.url, "key")))

        first = [threading.Thread(target=ask) for _ in range(2)]
        for each in first:
            each.start()
        until(lambda: len(server.requests) == 2)
        third = client.fetch(Request(server.url, "key", deadline=timedelta(seconds=0.05)))
        assert isinstance(third, Failure)
        assert (third.cause, third.is_transient) == ("connect", True)
        assert "2 earlier attempts" in third.message
        go_on.set()
        for each in first:
            each.join()
        assert all(isinstance(each, Answer) for each in results)
        assert isinstance(client.fetch(Request(server.url, "key")), Answer)
        client.close()


def hanging_ones(sources: int, hanging: int) -> set[str]:
    return {f"s{n}" for n in range(sources) if n * hanging // sources != (n + 1) * hanging // sources}


def run_with_hanging(
    start: Callable[..., Running],
    sqlite_url: str,
    folder: Path,
    hangs: set[str],
    sources: int,
    interval: float,
    polls: int,
) -> tuple[Counter[str], int]:
    """Answers by source once each healthy one was asked so often, and the most threads of the process."""
    answered = Counter({f"s{n}": 0 for n in range(sources) if f"s{n}" not in hangs})

    def step(peer: Peer) -> None:
        name = peer.request.target.split("/")[1]
        if name in hangs:
            peer.closing.wait()
            return
        answered[name] += 1
        reply(body=GOOD)(peer)

    most = 0

    def is_over() -> bool:
        nonlocal most
        status = Path(f"/proc/{service.process.pid}/status").read_text()
        most = max(most, int(status.partition("Threads:")[2].split()[0]))
        return min(answered.values()) >= polls

    with Server(step) as server:
        config = folder / "many.toml"
        tables = (
            {"name": f"s{n}", "base_url": f"{server.url}/s{n}", "interval": f"{interval:g}s"}
            for n in range(sources)
        )
        write_settings(config, *tables)
        service = start(sqlite_url, "--grace", "0.3", config=str(config))
        until(is_over, PATIENCE + interval * (polls + 1))
        found = Counter(answered)
        assert service.stop() == 0
    assert {line["cause"] for line in service.lines("poll", outcome="failed")} <= {"timeout"}
    assert not {line["source"] for line in service.lines("poll", outcome="failed")} - hangs
    return found, most


def test_healthy_sources_are_polled_alike_while_a_third_hangs(
    start: Callable[..., Running], sqlite_url: str, tmp_path: Path
) -> None:
    found, most = run_with_hanging(start, sqlite_url, tmp_path, hanging_ones(30, 10), 30, 1.0, 4)
    # A busy machine polls all of them more rarely, and some more rarely than others.
    assert max(found.values()) <= 2 * min(found.values())
    assert most <= MOST_THREADS


@pytest.mark.slow
def test_a_thousand_sources_of_which_three_hundred_hang(
    start: Callable[..., Running], sqlite_url: str, tmp_path: Path
) -> None:
    """Every healthy one is polled at every interval, on few threads. Add `-s` for the figures."""
    began = monotonic()
    found, most = run_with_hanging(start, sqlite_url, tmp_path, hanging_ones(1000, 300), 1000, 60.0, 4)
    print(
        f"{monotonic() - began:.0f} s: {min(found.values())} to {max(found.values())} polls of each healthy source, "
        f"{most} threads at most"
    )
    assert max(found.values()) - min(found.values()) <= 1
    assert most <= MOST_THREADS
