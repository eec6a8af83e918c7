"""The simulated cloud: its answers are what it knows to be true, and it misbehaves on request.

The demo is compared with it: every window that the demo recorded contains the true time.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tracemalloc
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from collector.cli.demo import _make_room
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.gcore.client import PATH, Client
from collector.gcore.evidence import read
from collector.gcore.exchange import Answer, Failure, Request
from collector.gcore.reader import Reader
from collector.poll import poll
from collector.settings.models import Source
from collector.simulator import scenario
from collector.simulator.scenario import CLIENT_KEY, KEY, random_world, story
from collector.simulator.server import FAULTS, Fault, Simulator
from collector.simulator.world import Track, TrueChange, World
from collector.store import rederive
from collector.store.opening import open_writer
from collector.store.tables import observations, state_transitions
from tests.support import forks
from tests.support.command import Said, collector, environment, process
from tests.support.history import History
from tests.support.loopback import unused_port

START = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
Json = Any


def at(hours: float) -> datetime:
    return START + hours * HOUR


# Worlds


def test_a_track_is_nothing_before_its_first_time_and_holds_from_each_time_on() -> None:
    track = Track().set(at(1), state="NEW", slug="one").set(at(2), state="ACTIVE")
    assert track.at(at(1) - timedelta(microseconds=1)) is None
    assert track.at(at(1)) == {"state": "NEW", "slug": "one"}
    assert track.at(at(2) - timedelta(microseconds=1)) == {"state": "NEW", "slug": "one"}
    assert track.at(at(2)) == track.at(at(99)) == {"state": "ACTIVE", "slug": "one"}


def test_what_vanished_comes_back_as_it_last_was_but_for_what_changed() -> None:
    track = Track().set(at(1), state="ACTIVE", slug="one").vanish(at(2)).come_back(at(3), state="NEW")
    assert track.at(at(2)) is None
    assert track.at(at(3)) == {"state": "NEW", "slug": "one"}
    assert track.at(at(1)) == {"state": "ACTIVE", "slug": "one"}, "the past stays as it was"


@pytest.mark.parametrize("hours", [0.5, 1])
def test_a_track_only_grows_into_the_future(hours: float) -> None:
    track = Track().set(at(1), state="ACTIVE")
    for change in (track.set, track.vanish, track.come_back):
        with pytest.raises(ValueError, match="not later"):
            change(at(hours))


def world_of_two() -> World:
    """Two regions that share a keystone; the first has a metrics database."""
    common = {"keystone_id": 8, "metrics_database_id": None}
    return World(
        regions={
            1: Track()
            .set(at(1), state="NEW", **common | {"metrics_database_id": 3})
            .set(at(5), state="ACTIVE"),
            2: Track().set(at(2), state="ACTIVE", **common).vanish(at(6)),
        },
        keystones={8: Track().set(at(0), state="NEW").set(at(3), state="INITIALIZED")},
        databases={3: Track().set(at(0), host="10.0.0.1")},
    )


def test_a_document_shows_what_is_there_and_counts_it() -> None:
    world = world_of_two()
    assert world.document(at(0)) == {"count": 0, "results": []}
    (only,) = world.document(at(1))["results"]
    assert (only["id"], only["state"]) == (1, "NEW")
    assert only["keystone"] == {"id": 8, "state": "NEW"}
    assert only["metrics_database"] == {"id": 3, "host": "10.0.0.1"}
    both = world.document(at(5))
    assert both["count"] == 2
    assert both["results"][1]["metrics_database"] is None
    assert world.document(at(6))["count"] == 1


def test_a_regular_client_sees_only_active_regions() -> None:
    world = world_of_two()
    assert [r["id"] for r in world.document(at(2))["results"]] == [1, 2]
    assert [r["id"] for r in world.document(at(2), only_active=True)["results"]] == [2]


def test_changes_are_those_of_states_and_of_presence() -> None:
    def change(
        entity: str, entity_id: int, hours: float, before: str | None, after: str | None
    ) -> TrueChange:
        return TrueChange(entity, entity_id, at(hours), before, after)

    assert list(world_of_two().changes()) == [
        change("region", 1, 1, None, "NEW"),
        change("region", 1, 5, "NEW", "ACTIVE"),
        change("region", 2, 2, None, "ACTIVE"),
        change("region", 2, 6, "ACTIVE", None),
        change("keystone", 8, 1, None, "NEW"),
        change("keystone", 8, 3, "NEW", "INITIALIZED"),
    ]


States = dict[tuple[str, int], str]


def told(document: Json) -> States:
    """The states that an answer shows."""
    states: States = {}
    for record in document["results"]:
        states["region", record["id"]] = record["state"]
        if record["keystone"] is not None:
            states["keystone", record["keystone_id"]] = record["keystone"]["state"]
    return states


def fold(world: World, moment: datetime) -> States:
    """The states after all true changes up to a moment."""
    states: States = {}
    for change in world.changes():
        if change.at <= moment:
            if change.to_state is None:
                states.pop((change.entity, change.entity_id), None)
            else:
                states[change.entity, change.entity_id] = change.to_state
    return states


MINUTES = st.integers(0, 30)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Anything that can happen: keystones that are shared, exchanged, missing."""

    def track(fields: st.SearchStrategy[dict[str, Any]]) -> Track:
        track = Track()
        for minute in sorted(draw(st.sets(MINUTES, max_size=5))):
            moment = START + timedelta(minutes=minute)
            step = draw(st.sampled_from(["set", "set", "vanish"]))
            if step == "vanish" and track.values:
                track.vanish(moment)
            else:
                track.come_back(moment, **draw(fields))
        return track

    of_region = st.fixed_dictionaries(
        {
            "state": st.sampled_from(["NEW", "ACTIVE"]),
            "keystone_id": st.sampled_from([1, 2]),
            "metrics_database_id": st.sampled_from([None, 1]),
        }
    )
    of_keystone = st.fixed_dictionaries({"state": st.sampled_from(["NEW", "INITIALIZED"])})
    return World(
        regions={n: track(of_region) for n in (1, 2, 3)},
        keystones={n: track(of_keystone) for n in (1, 2)},
        databases={1: track(st.fixed_dictionaries({"host": st.just("10.0.0.1")}))},
    )


@given(worlds(), MINUTES)
def test_the_fold_of_all_changes_is_what_the_document_says_whatever_happens(
    world: World, minute: int
) -> None:
    for moment in (START + timedelta(minutes=minute), START + timedelta(minutes=minute, seconds=30)):
        assert fold(world, moment) == told(world.document(moment))


@given(st.integers(0, 10**6), st.integers(1, 20), st.floats(0, 100))
def test_the_fold_of_all_changes_is_what_the_document_says_in_random_worlds(
    seed: int, regions: int, hours: float
) -> None:
    world = random_world(seed, START, regions=regions, mean_hold=5 * HOUR, until=at(90))
    assert fold(world, at(hours)) == told(world.document(at(hours)))


@given(st.integers(0, 10**6))
def test_the_same_seed_makes_the_same_world_and_states_are_held_a_while(seed: int) -> None:
    def made(seed: int) -> World:
        return random_world(seed, START, regions=6, mean_hold=HOUR, until=at(50))

    world = made(seed)
    assert world == made(seed) != made(seed + 1)
    for life in world.regions.values():
        track = life.whole()
        assert track.times[0] == START
        assert track.times[-1] < at(50)
        assert all(b - a >= HOUR / 10 for a, b in zip(track.times, track.times[1:], strict=False))


@given(st.integers(0, 10**6), st.lists(st.floats(-1, 60), max_size=20))
def test_a_life_that_is_asked_in_any_order_tells_what_the_whole_of_it_tells(
    seed: int, hours: list[float]
) -> None:
    world = random_world(seed, START, regions=2, mean_hold=HOUR, until=at(50))
    for life in world.regions.values():
        whole = life.whole()
        for moment in [at(h) for h in hours] + whole.times[::-7]:
            assert life.at(moment) == whole.at(moment)


def test_worlds_of_many_sources_are_bounded_and_one_that_was_dropped_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scenario, "KEPT_REGIONS", 50)
    world_of = scenario.random_worlds(1, START, regions=5, mean_hold=HOUR / 60, until=at(24))
    first = world_of("0").document(at(7))
    worlds = [weakref.ref(world_of(str(n))) for n in range(40)]
    assert sum(ref() is not None for ref in worlds) == 10
    assert worlds[0]() is None
    assert world_of("0").document(at(7)) == first != world_of("1").document(at(7))


@pytest.mark.long
@pytest.mark.usefixtures("garbage_is_collected_as_usual")
def test_a_world_takes_no_more_memory_for_a_long_history() -> None:
    def taken_by(hours: float) -> int:
        tracemalloc.start()
        try:
            worlds = [random_world(n, START, regions=5, mean_hold=HOUR / 60, until=at(99)) for n in range(10)]
            assert all(world.document(at(hours))["results"] for world in worlds)
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    taken_by(1)  # what is made once and shared
    assert taken_by(20) < 1.5 * taken_by(1)


def test_the_story_changes_nothing_after_its_three_weeks() -> None:
    changes = [c for c in story(START).changes() if c.at > START]
    assert max(c.at for c in changes) < START + timedelta(days=21)
    assert len(changes) > 20


# The server


@contextmanager
def simulating(world: World | Callable[[str], World] | None = None, **more: Any) -> Iterator[Simulator]:
    with Simulator(world or story(START), clock=lambda: datetime.now(UTC), **more) as simulator:
        yield simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A cloud in which nothing changes any more."""
    with simulating() as running:
        yield running


@pytest.fixture
def client() -> Iterator[Client]:
    with closing(Client(max_attempts=1)) as client:
        yield client


def ask(
    url: str, *, method: str = "GET", key: str | None = KEY, body: Any = None, scheme: str = "apikey"
) -> Json:
    """The status and the JSON of an answer."""
    headers = {} if key is None else {"Authorization": f"{scheme} {key}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_it_answers_as_the_world_is_at_the_moment() -> None:
    now = at(1)
    with Simulator(world_of_two(), clock=lambda: now) as simulator:
        for hours in (1, 2, 5, 6):
            now = at(hours)
            assert ask(simulator.base_url + PATH) == (200, world_of_two().document(now))
        assert simulator.requests == 4


@pytest.mark.parametrize(
    ("key", "scheme"), [(None, "apikey"), ("wrong", "apikey"), ("", "apikey"), (KEY, "bearer")]
)
def test_without_a_key_that_it_knows_it_refuses_in_the_apis_own_format(
    simulator: Simulator, key: str | None, scheme: str
) -> None:
    status, said = ask(simulator.base_url + PATH, key=key, scheme=scheme)
    assert status == 401
    assert said.keys() == {"exception_class", "message", "request_id"}
    assert said["exception_class"] == "not_authenticated"


def test_a_refused_key_does_not_stand_in_what_the_client_reports(
    simulator: Simulator, client: Client
) -> None:
    failure = client.fetch(Request(simulator.base_url, "9999$aWr0ngKey"))
    assert isinstance(failure, Failure)
    assert (failure.cause, failure.http_status, failure.exception_class) == (
        "http_status",
        401,
        "not_authenticated",
    )
    assert "9999" not in failure.message
    assert failure.request_id


def test_the_key_of_a_regular_client_shows_only_active_regions(simulator: Simulator) -> None:
    _, everything = ask(simulator.base_url + PATH)
    _, active = ask(simulator.base_url + PATH, key=CLIENT_KEY)
    assert active["results"] == [r for r in everything["results"] if r["state"] == "ACTIVE"]
    assert 0 < active["count"] < everything["count"]


def test_the_path_before_that_of_the_api_names_the_source() -> None:
    asked: list[str] = []

    def world_of(source: str) -> World:
        asked.append(source)
        return random_world(len(source), START, regions=1 + len(source), mean_hold=HOUR, until=at(1))

    with simulating(world_of) as simulator:
        counts = [ask(f"{simulator.base_url}{path}{PATH}")[1]["count"] for path in ("", "/a", "/b/c/")]
    assert asked == ["", "a", "b/c"]
    assert counts == [1, 2, 4]


def test_the_truth_can_be_asked_for(simulator: Simulator) -> None:
    status, truth = ask(simulator.base_url + "/control/truth", key=None)
    assert status == 200
    known = [asdict(change) for change in story(START).changes()]
    assert [change | {"at": datetime.fromisoformat(change["at"])} for change in truth] == known


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/cloud/v1/regions"), ("PUT", "/control/truth")]
)
def test_there_is_nothing_anywhere_else(simulator: Simulator, method: str, path: str) -> None:
    status, said = ask(simulator.base_url + path, method=method)
    assert (status, said["exception_class"]) == (404, "NotFoundError")


# Faults

CAUSES: dict[str, tuple[Json, tuple[str, int | None]]] = {
    "503": ({"kind": "status"}, ("http_status", 503)),
    "401": ({"kind": "status", "status": 401}, ("http_status", 401)),
    "429": ({"kind": "status", "status": 429, "retry_after": 7}, ("http_status", 429)),
    "520, which the standard does not know": ({"kind": "status", "status": 520}, ("http_status", 520)),
    "delay": ({"kind": "delay", "seconds": 3.0}, ("timeout", None)),
    "truncated": ({"kind": "truncated"}, ("protocol", None)),
    "html": ({"kind": "html"}, ("not_json", 200)),
    "reset": ({"kind": "reset"}, ("protocol", None)),
}


@pytest.mark.parametrize("name", CAUSES)
def test_a_fault_is_seen_by_the_client_as_what_it_is_until_it_ends(
    simulator: Simulator, client: Client, name: str
) -> None:
    fault, seen = CAUSES[name]
    control = simulator.base_url + "/control/fault"
    request = Request(simulator.base_url, KEY, deadline=timedelta(seconds=1))

    def looked() -> Any:
        said = client.fetch(request)
        return read(said, KEY, Reader()) if isinstance(said, Answer) else said

    assert not isinstance(looked(), Failure)
    status, confirmed = ask(control, method="PUT", body=fault)
    assert status == 200
    assert confirmed.items() >= fault.items()
    for _ in range(2 if fault["kind"] != "delay" else 1):
        failure = looked()
        assert isinstance(failure, Failure)
        assert (failure.cause, failure.http_status) == seen
    assert ask(control, method="DELETE") == (200, {})
    assert not isinstance(looked(), Failure)


def test_retry_after_is_sent_and_respected(simulator: Simulator) -> None:
    simulator.misbehave(Fault("status", times=1, status=429, retry_after=7))
    paused: list[float] = []
    with closing(Client(pause=paused.append)) as client:
        said = client.fetch(Request(simulator.base_url, KEY))
    assert isinstance(said, Answer)
    assert paused == [7.0]


def test_a_fault_lasts_for_the_given_number_of_requests(simulator: Simulator, client: Client) -> None:
    ask(simulator.base_url + "/control/fault", method="PUT", body={"kind": "reset", "times": 2})
    said = [client.fetch(Request(simulator.base_url, KEY)) for _ in range(4)]
    assert [isinstance(each, Failure) for each in said] == [True, True, False, False]


def test_wrong_counts_are_partial_and_empty_answers_are_held(
    simulator: Simulator, client: Client, sqlite_engine: sa.Engine
) -> None:
    source = Source(name="gcore", base_url=simulator.base_url, api_key=KEY)
    writer = open_writer(sqlite_engine, source, "one")
    outcomes = []
    for kind in (None, "wrong_count", "empty", None):
        simulator.misbehave(Fault(kind) if kind else None)
        outcomes.append(poll(source, client.fetch, writer).outcome)
    assert outcomes == ["ok", "partial", "held", "ok"]


def test_every_fault_is_tested() -> None:
    assert {fault["kind"] for fault, _ in CAUSES.values()} | {"wrong_count", "empty"} == set(FAULTS)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "earthquake"},
        {},
        {"kind": "html", "colour": 1},
        [],
        "html",
        None,
        {"kind": "status", "status": "abc"},
        {"kind": "status", "status": 99},
        {"kind": "status", "status": None},
        {"kind": "status", "retry_after": "soon"},
        {"kind": "delay", "seconds": "long"},
        {"kind": "delay", "seconds": -1},
        {"kind": "delay", "seconds": float("nan")},
        {"kind": "html", "times": 0},
        {"kind": "html", "times": True},
    ],
)
def test_a_fault_that_does_not_exist_is_refused_and_changes_nothing(
    simulator: Simulator, fault: Json
) -> None:
    control = simulator.base_url + "/control/fault"
    request = urllib.request.Request(control, json.dumps(fault).encode(), method="PUT")
    with pytest.raises(urllib.error.HTTPError) as raised, urllib.request.urlopen(request, timeout=10):
        pass
    with raised.value as error:
        assert (error.code, json.load(error)["exception_class"]) == (400, "ValidationError")
    assert ask(simulator.base_url + PATH)[0] == 200


def test_an_error_of_its_own_is_printed_and_a_client_that_hangs_up_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def world_of(source: str) -> World:
        raise ZeroDivisionError(f"no world for {source}")

    with simulating(world_of) as simulator:
        with socket.create_connection(("127.0.0.1", urlsplit(simulator.base_url).port or 0)) as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hasty.sendall(b"GET /")
        with pytest.raises((OSError, HTTPException)):
            ask(f"{simulator.base_url}/somewhere{PATH}")
    said = capsys.readouterr().err
    assert "no world for somewhere" in said
    assert "ConnectionResetError" not in said


# collector simulate


@contextmanager
def simulate(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command as a process: its URL, and the process."""
    command = [sys.executable, "-m", "collector", "simulate", "--port", "0", *arguments]
    with forks.Popen(command, env=environment({}), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            said = running.stdout.readline()
            assert said.startswith("listening on http://127.0.0.1:"), said
            assert KEY in said
            yield said.split()[2].rstrip(","), running
        finally:
            running.kill()


def test_simulate_serves_a_world_that_lives_until_it_is_interrupted() -> None:
    flags = ("--regions", "5", "--hold", "3600", "--seed", "3", "--fault", "status", "--status", "500")
    with simulate(*flags, "--times", "1", "--retry-after", "9") as (url, running):
        assert ask(url + PATH)[0] == 500
        status, document = ask(url + PATH)
        assert (status, document["count"]) == (200, 5)
        assert ask(url + PATH, key="wrong")[0] == 401
        names = {ask(f"{url}/{name}{PATH}")[1]["count"] for name in ("one", "two")}
        assert names == {5}
        truth = ask(url + "/control/truth")[1]
        status, of_one = ask(url + "/one/control/truth")
        assert (status, len(of_one) > 20, of_one == truth) == (200, True, False)
        now = {r["id"]: r["state"] for r in document["results"]}
        began = min(datetime.fromisoformat(change["at"]) for change in truth)
        same = random_world(3, began, regions=5, mean_hold=HOUR, until=began + 24 * HOUR)
        assert {r["id"]: r["state"] for r in same.document(datetime.now(UTC))["results"]} == now
        assert len(list(same.changes())) == len(truth) > 20
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0


def test_each_source_of_simulate_has_a_world_of_its_own() -> None:
    with simulate("--regions", "60", "--hold", "3600") as (url, _):
        one, other, same = (
            [record["state"] for record in ask(f"{url}{path}{PATH}")[1]["results"]]
            for path in ("", "/other", "")
        )
    assert one == same != other


def test_wrong_use_of_simulate_is_explained() -> None:
    process("simulate", "--port", "0", "--fault", "earthquake").refused(2, "earthquake", "wrong_count")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        collector("simulate", "--port", port).refused(2, port, "in use")
    said = collector("simulate", "--regions", "0")
    assert said.code == 2
    said.explains("--regions")


# collector demo


class Demo:
    """The demo, run once in an empty folder in which another database is configured."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "collector-demo.db"
        self.said = self.run()
        self.names = sorted(path.name for path in folder.iterdir())

    def run(self, *arguments: str) -> Said:
        configured = f"sqlite:///{self.folder / 'configured.db'}"
        return process("demo", *arguments, cwd=self.folder, database_url=configured, api_key="not-a-key")

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        engine = open_engine(f"sqlite:///{self.file}")
        with reading(engine) as connection:
            yield connection
        engine.dispose()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("demo"))


@pytest.mark.long
def test_the_demo_tells_its_story(demo: Demo) -> None:
    assert (demo.said.code, demo.said.err) == (0, ""), demo.said
    (luxembourg,) = [line for line in demo.said.out.splitlines() if line.startswith("76 ")]
    assert "Luxembourg-2" in luxembourg
    assert "MAINTENANCE" in luxembourg
    assert "Luxembourg-2 went from ACTIVE to MAINTENANCE" in demo.said.out
    (outage,) = [line for line in demo.said.out.splitlines() if "the service is down for a while" in line]
    assert "12 h 20 min" in outage
    assert "no poll was made" in demo.said.out
    assert "polls were not written, because the machine's clock differed" in demo.said.out
    assert "COLLECTOR_DATABASE_URL=sqlite:///collector-demo.db" in demo.said.out
    assert f" {demo.file.stat().st_size / 1e6:.1f} MB in collector-demo.db" in demo.said.out


def test_the_demo_writes_one_file_and_not_where_the_settings_point(demo: Demo) -> None:
    assert demo.names == ["collector-demo.db"]


def test_every_window_of_the_demo_contains_the_truth_and_nothing_visible_was_missed(demo: Demo) -> None:
    with demo.connected() as connection:
        found = connection.execute(sa.select(state_transitions).order_by(state_transitions.c.seq)).all()
        looked = connection.execute(sa.select(observations).order_by(observations.c.seq)).all()
    first = looked[0].first_at.replace(second=0, microsecond=0)
    start = first - timedelta(minutes=20)
    truth = [c for c in story(start).changes() if c.at < start + timedelta(days=21)]
    of_views = {"baseline", "observer_change"}
    explained: list[TrueChange] = []
    for t in found:
        after = fold(story(start), t.observed_at).get((t.entity, t.entity_id))
        if t.basis in of_views:
            assert after == t.to_state or (t.basis == "observer_change" and t.to_state is None), t
            continue
        inside = [
            c
            for c in truth
            if (c.entity, c.entity_id, c.to_state) == (t.entity, t.entity_id, t.to_state)
            and t.not_before <= c.at <= t.observed_at
        ]
        assert inside, f"no true change in the window of {t}"
        explained += inside
    missed = {(c.entity, c.entity_id, c.to_state) for c in truth if c.at > first and c not in explained}
    # London-2 was deleted while the collector looked with a key that shows ACTIVE regions only.
    assert missed == {("region", 196, "DELETED")}
    outcomes = {row.outcome for row in looked}
    assert outcomes == {"ok", "partial", "held", "failed"}


def test_the_history_of_the_demo_follows_from_its_evidence(demo: Demo) -> None:
    with closing(sqlite3.connect(demo.file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    engine = open_engine(f"sqlite:///{demo.file}")
    assert rederive.rebuild(engine, "demo", check_only=True).different == 0
    engine.dispose()


@pytest.mark.parametrize("name", ["a.db#1", "a.db?1", "%61.db"])
def test_the_demo_refuses_another_file_whose_name_looks_like_a_url(
    tmp_path: Path, demo: Demo, name: str
) -> None:
    shutil.copy(demo.file, tmp_path / "a.db")
    (tmp_path / name).write_text("a letter")
    said = process("demo", "--file", name, cwd=tmp_path)
    assert (tmp_path / name).read_text() == "a letter"
    said.refused(2, name)


def text_file(path: Path) -> None:
    path.write_text("a letter")


def database_of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE sources (id INTEGER)")
        connection.commit()


def database_of_a_collector(path: Path) -> None:
    collected(path, "gcore")


def database_of_a_collector_whose_only_source_is_called_demo(path: Path) -> None:
    collected(path, "demo")


def collected(path: Path, source: str) -> None:
    said = collector("db", "upgrade", database_url=f"sqlite:///{path}")
    assert said.code == 0
    engine = open_engine(f"sqlite:///{path}")
    history = History(engine, source)
    history.poll([])
    history.restart()
    engine.dispose()


@pytest.mark.parametrize(
    "make",
    [
        text_file,
        database_of_another_program,
        database_of_a_collector,
        database_of_a_collector_whose_only_source_is_called_demo,
    ],
)
def test_the_demo_refuses_any_other_file_and_leaves_it_as_it_is(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "precious.db"
    make(path)
    before = path.read_bytes()
    for live in ([], ["--live"]):
        said = process("demo", "--file", str(path), *live, cwd=tmp_path)
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["precious.db"]
        said.refused(2, str(path), "--file")


def nothing(path: Path) -> None:
    path.touch()


def only_tables(path: Path) -> None:
    assert collector("db", "upgrade", database_url=f"sqlite:///{path}").code == 0


@pytest.mark.parametrize("make", [nothing, only_tables])
def test_what_a_demo_leaves_that_was_interrupted_early_is_replaced(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "early.db"
    make(path)
    _make_room(path, is_configured=False)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_does_not_make_the_configured_database(tmp_path: Path) -> None:
    for settings in ({}, {"database_url": "sqlite:///mine.db"}):
        name = "mine.db" if settings else "collector.db"
        said = process("demo", "--file", f"./{name}", cwd=tmp_path, **settings)
        said.refused(2, name, "is the database of the settings")
        assert list(tmp_path.iterdir()) == []


def test_a_configured_file_that_holds_a_demo_may_be_replaced(tmp_path: Path, demo: Demo) -> None:
    shutil.copy(demo.file, tmp_path / "demo.db")
    _make_room(tmp_path / "demo.db", is_configured=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_demo_writes_the_given_file_whatever_its_name_means_in_a_url(tmp_path: Path) -> None:
    name = "a%20b?c#.db"
    with live_demo(tmp_path, "--file", name) as (running, log):
        (hint,) = [
            line for line in said_until(running, log, '"event": "poll"') if "COLLECTOR_DATABASE_URL" in line
        ]
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    written = {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()}
    assert written == {name, "log"}
    setting = shlex.split(hint)[0].removeprefix("COLLECTOR_DATABASE_URL=")
    rows = process("regions", "--format", "json", cwd=tmp_path, database_url=setting).json
    assert len(rows) == 14


@contextmanager
def live_demo(
    folder: Path, *arguments: str, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], IO[str]]]:
    """`collector demo --live` until the end of the block: the process, and its log."""
    command = [sys.executable, "-m", "collector", "demo", "--live", *arguments]
    settings = environment({"database_url": f"sqlite:///{folder / 'configured.db'}"}) | variables
    with (
        (folder / "log").open("wb") as log,
        forks.Popen(command, env=settings, cwd=folder, stderr=log) as running,
        (folder / "log").open() as lines,
    ):
        try:
            yield running, lines
        finally:
            with suppress(ProcessLookupError):
                os.kill(running.pid, signal.SIGKILL)


def said_until(running: subprocess.Popen[bytes], log: IO[str], text: str) -> list[str]:
    """All lines up to one with this text."""
    said = ""
    while text not in said.rpartition("\n")[0]:
        said += log.read()
        assert running.poll() is None, said
    return said.splitlines()


def polled(running: subprocess.Popen[bytes], log: IO[str], times: int) -> list[Json]:
    """The lines of a number of polls."""
    found: list[Json] = []
    text = ""
    while len(found) < times:
        text += log.read()
        assert running.poll() is None, text
        *whole, text = text.split("\n")
        found += [json.loads(line) for line in whole if '"event": "poll"' in line]
    return found


@pytest.mark.long
def test_the_live_demo_polls_until_it_is_interrupted_and_a_second_one_replaces_its_file(
    tmp_path: Path,
) -> None:
    salts = set()
    for times in (3, 1):
        with live_demo(tmp_path) as (running, log):
            lines = polled(running, log, times)
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == 0
        assert {line["outcome"] for line in lines} == {"ok"}
        assert lines[0]["observation"] == 1
        with closing(sqlite3.connect(tmp_path / "collector-demo.db")) as connection:
            assert connection.execute("SELECT name, lease_owner FROM sources").fetchall() == [("demo", None)]
            assert connection.execute("SELECT COUNT(*) FROM regions").fetchone() == (14,)
            salts |= set(connection.execute("SELECT key_salt FROM sources"))
    assert len(salts) == 2, "nothing of the first is left"
    assert not (tmp_path / "configured.db").exists()


@pytest.mark.long
def test_a_demo_that_runs_keeps_its_file_and_one_that_was_killed_does_not(tmp_path: Path) -> None:
    with live_demo(tmp_path) as (running, log):
        polled(running, log, 1)
        for live in ([], ["--live"]):
            said = process("demo", *live, cwd=tmp_path)
            said.refused(2, "a demo runs on collector-demo.db", "end it first")
        assert len(polled(running, log, 2)) >= 2, "it goes on undisturbed"
        running.kill()
        running.wait(30)
    _make_room(tmp_path / "collector-demo.db", is_configured=False)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_demo_needs_no_proxy_even_if_one_is_set(tmp_path: Path) -> None:
    proxy = f"http://127.0.0.1:{unused_port()}"
    with live_demo(tmp_path, HTTP_PROXY=proxy, http_proxy=proxy, ALL_PROXY=proxy) as (running, log):
        (line, *_) = polled(running, log, 1)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    assert line["outcome"] == "ok"
