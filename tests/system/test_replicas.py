"""Several `collector run` on one PostgreSQL: real processes, each as on its own host (tests/support/replica.py).

The promise: each source is polled by one of them. Another one takes over within a lease when that one dies, hangs or
is cut off. A replica that was replaced can't write anything more, whatever it had begun. All of this holds directly,
and through PgBouncer in transaction mode.

The lease lasts twelve seconds here, and all time-outs are shorter by the same factor. A busy machine may be slow, so
the tests assert in which order things happen, not how soon.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from collector.audit.verify import verify
from collector.clock import utc_now
from collector.database.engine import open_engine
from collector.database.timeouts import LEASE_SECONDS
from collector.database.transactions import writing
from collector.simulator.scenario import KEY, story
from collector.simulator.server import Simulator
from collector.simulator.world import World
from tests.support import forks
from tests.support.builders import region
from tests.support.command import collector, environment
from tests.support.databases import new_database
from tests.support.history import History
from tests.support.loopback import unused_port
from tests.support.replica import SHARE
from tests.support.services import Running, looking_into, owners, until, write_settings
from tests.support.tools import tool
from tests.support.wire import Wire

INTERVAL = 1.0
LEASE = LEASE_SECONDS / SHARE


# The cloud, the database, and ways to it


class Cloud:
    """A simulated cloud that counts by source what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._world = story(utc_now() - timedelta(days=30))
        self.simulator = Simulator(self._world_of, keys={KEY: False})
        self.url = self.simulator.base_url
        self.port = int(self.url.rpartition(":")[2])

    def _world_of(self, source: str) -> World:
        self.asked[source] += 1
        return self._world


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    with cloud.simulator:
        yield cloud


@pytest.fixture
def database(postgresql_template: sa.URL) -> sa.URL:
    return new_database(postgresql_template, postgresql_template.database)


def socket_of(database: sa.URL) -> Path:
    return Path(str(database.query["host"])) / ".s.PGSQL.5432"


def through(database: sa.URL, port: int, host: str = "127.0.0.1") -> sa.URL:
    """The same database, at another place."""
    return database.difference_update_query(["host"]).set(host=host, port=port)


def text(url: sa.URL) -> str:
    return url.render_as_string(hide_password=False)


@contextmanager
def pgbouncer(database: sa.URL) -> Iterator[tuple[int, Wire]]:
    """PgBouncer in transaction mode, with fewer sessions than clients. Yields its port, and its way to the database."""
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer"))  # pytest's own folders are closed to other users
    port = unused_port()
    with Wire(socket_of(database)) as wire:
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={wire.port} user={database.username}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n"
        )
        folder.chmod(0o755)
        command = [tool("pgbouncer", package="pgbouncer"), str(folder / "pgbouncer.ini")]
        if os.geteuid() == 0:  # which it refuses to run as
            command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as running:
            try:
                until(lambda: answers(port))
                yield port, wire
            finally:
                running.kill()
    shutil.rmtree(folder)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(params=["directly", "through PgBouncer"])
def way(request: pytest.FixtureRequest, database: sa.URL) -> Iterator[sa.URL]:
    """The database, as the replicas reach it."""
    if request.param == "directly":
        yield database
        return
    with pgbouncer(database) as (port, _):
        yield through(database, port)


# Replicas


class Replica(Running):
    """A `collector run` as on a host of its own, in a folder of its own."""

    def __init__(
        self, folder: Path, database: sa.URL, cloud: Cloud, sources: Sequence[str], prefix: Sequence[str] = ()
    ) -> None:
        folder.mkdir()
        self.folder, self.sources = folder, sources
        write_settings(
            folder / "collector.toml",
            *({"name": s, "base_url": f"{cloud.url}/{s}", "interval": f"{INTERVAL:g}s"} for s in sources),
        )
        settings = {"database_url": text(database), "config": str(folder / "collector.toml")}
        command = [*prefix, sys.executable, "-m", "tests.support.replica", folder.name]
        super().__init__(command, folder / "log", environment(settings), forks.LIBRARIES)

    def stop_at(self, moment: str) -> None:
        """Let it stop itself as SIGSTOP would, at a moment that tests/support/replica.py knows, and wait for that."""
        (self.folder / f"stop at {moment}").touch()
        until(lambda: self.is_stopped)

    @property
    def is_stopped(self) -> bool:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


Start = Callable[..., Replica]


@pytest.fixture
def start(tmp_path: Path, cloud: Cloud) -> Iterator[Start]:
    """Starts a replica: a name, the database as it reaches it, and sources."""
    started: list[Replica] = []

    def start(name: str, database: sa.URL, *sources: str, prefix: Sequence[str] = ()) -> Replica:
        started.append(Replica(tmp_path / name, database, cloud, sources, prefix))
        return started[-1]

    yield start
    for each in started:
        with suppress(ProcessLookupError):
            each.kill()


def time_of(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])


def polls_of(replica: Running, source: str) -> list[tuple[int, int]]:
    """What it says that it wrote: observation, and which poll of it."""
    return [(line["observation"], line["polls"]) for line in replica.lines("poll", source=source)]


def hold_against_each_other(
    database: sa.URL, cloud: Cloud, replicas: Sequence[Running], *, unsaid: Mapping[str, int] | None = None
) -> None:
    """The database has what the replicas reported as written: no poll twice, none half, none lost.

    `unsaid`: sources that may have more polls, and how many, because their writers never learned that they were
    committed.
    """
    engine = open_engine(database)
    history = History(engine)
    sources = {row["name"]: row["id"] for row in history.rows("sources")}
    assert set(sources) == {line["source"] for replica in replicas for line in replica.lines("poll")}
    for name, source_id in sources.items():
        said = [poll for replica in replicas for poll in polls_of(replica, name)]
        rows = history.rows("observations", source_id=source_id)
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        assert {row["outcome"] for row in rows} == {"ok"}
        written = {(row["seq"], n) for row in rows for n in range(1, row["polls"] + 1)}
        assert len(said) == len(set(said)), f"a poll of {name} was written twice"
        assert set(said) <= written
        unknown = written - set(said)
        assert len(unknown) <= (unsaid or {}).get(name, 0), f"nobody knows of {unknown}"
        assert len(written) <= cloud.asked[name]
        assert verify(engine, name).verdict == "good"
    engine.dispose()


def epochs(database: sa.URL) -> dict[str, int]:
    with looking_into(text(database)) as history:
        return {row["name"]: row["lease_epoch"] for row in history.rows("sources")}


# All is well


@pytest.mark.long
def test_however_many_replicas_run_each_source_is_polled_once_an_interval(
    start: Start, database: sa.URL, cloud: Cloud
) -> None:
    sources = ("a", "b", "c", "d")
    replicas = [start(name, database, *sources) for name in ("one", "two", "three")]
    for replica in replicas:
        until(lambda: len(replica.lines("writing") + replica.lines("not_written")) == len(sources))  # noqa: B023
    began, before = monotonic(), Counter(cloud.asked)
    until(lambda: all(cloud.asked[s] - before[s] >= 8 for s in sources))
    seconds = monotonic() - began
    for source in sources:
        asked = cloud.asked[source] - before[source]
        assert asked <= 1.06 * seconds / INTERVAL + 2, "the schedule adds at most a twentieth"
        assert sum(bool(replica.lines("poll", source=source)) for replica in replicas) == 1
    assert set(epochs(database).values()) == {1}

    # One after another is stopped, as when they are updated.
    for replica in replicas[:-1]:
        assert replica.stop() == 0
        seen = Counter(cloud.asked)
        until(lambda: all(cloud.asked[s] - seen[s] >= 2 for s in sources))  # noqa: B023
    assert {line["source"] for line in replicas[-1].lines("poll")} == set(sources)
    assert replicas[-1].stop() == 0
    assert owners(text(database)) == dict.fromkeys(sources)
    hold_against_each_other(database, cloud, replicas)
    for source in sources:
        polls = sum(len(replica.lines("poll", source=source)) for replica in replicas)
        assert polls == cloud.asked[source], "no answer was given up"


# One dies, or is stopped

MOMENTS = ("begin", "fence", "write", "commit")
FATES = ("dies", "pauses", *MOMENTS)


@pytest.mark.long
def test_a_replica_that_dies_or_is_stopped_is_replaced_and_can_write_no_more(
    start: Start, database: sa.URL, way: sa.URL, cloud: Cloud
) -> None:
    first = {fate: start(f"first-{fate}", way, fate) for fate in FATES}
    for replica in first.values():
        replica.until("poll", 2)
    successor = start("successor", way, *FATES)
    for fate in FATES:
        successor.until("not_written", source=fate)

    first["dies"].kill()
    first["pauses"].until_polled()
    first["pauses"].send(signal.SIGSTOP)
    for moment in MOMENTS:
        first[moment].stop_at(moment)
    for fate in FATES:
        successor.until("poll", 2, source=fate)
        took = successor.lines("writing", source=fate)[0]
        waited = (time_of(took) - time_of(first[fate].lines("poll")[-1])).total_seconds()
        print(f"{fate}: replaced {waited:.1f} s after its last poll")
        assert waited > LEASE / 2, "the lease, minus the time from the write to the line on a busy machine"

    stopped = [first[fate] for fate in FATES[1:]]
    for replica in stopped:
        replica.send(signal.SIGCONT)
    for replica in stopped:
        replica.until("lease_lost")
        replica.until("not_written", condition="standby")
        successor.until_polled(2, source=replica.sources[0])
        assert replica.stop() == 0
    assert successor.stop() == 0
    hold_replaced(database, first, successor)
    hold_against_each_other(database, cloud, [*first.values(), successor], unsaid={"dies": 1})


def hold_replaced(database: sa.URL, first: Mapping[str, Running], successor: Running) -> None:
    """Each was replaced once, and wrote nothing after its successor had begun."""
    assert epochs(database) == dict.fromkeys(first, 2)
    for source, replica in first.items():
        assert max(polls_of(replica, source)) < min(polls_of(successor, source))


# One is cut off

CUTS: dict[str, Callable[[Wire], None]] = {
    "idle": Wire.cut,
    "behind-pgbouncer": Wire.cut,
    "fence-unanswered": lambda wire: wire.cut_after(b"UPDATE sources"),
    "write-held": lambda wire: wire.cut_before(b"UPDATE observations"),
    "commit-held": lambda wire: wire.cut_before(b"COMMIT"),
    "commit-unanswered": lambda wire: wire.cut_after(b"COMMIT"),
}


@pytest.mark.long
def test_a_replica_that_is_cut_off_notices_and_is_replaced_and_stands_by_when_it_is_back(
    start: Start, database: sa.URL, cloud: Cloud
) -> None:
    with ExitStack() as stack:
        wires = {cut: stack.enter_context(Wire(socket_of(database))) for cut in CUTS}
        ports = {cut: wire.port for cut, wire in wires.items()}
        pooled = "behind-pgbouncer"
        ports[pooled], wires[pooled] = stack.enter_context(pgbouncer(database))
        first = {cut: start(f"first-{cut}", through(database, ports[cut]), cut) for cut in CUTS}
        for replica in first.values():
            replica.until("poll", 2)
        successor = start("successor", database, *CUTS)
        for cut in CUTS:
            successor.until("not_written", source=cut)

        for cut, happens in CUTS.items():
            happens(wires[cut])
        for cut, replica in first.items():
            (noticed,) = replica.until("not_written", condition="database")
            assert wires[cut].is_cut
            waited = (time_of(noticed) - time_of(replica.lines("poll")[-1])).total_seconds()
            print(f"{cut}: noticed {waited:.1f} s after its last poll")
        for cut in CUTS:
            successor.until("poll", 2, source=cut)
        for cut, replica in first.items():
            wires[cut].restore()
            replica.until("lease_lost")
            replica.until("not_written", condition="standby")
            successor.until_polled(source=cut)
            assert replica.stop() == 0
        assert successor.stop() == 0
    hold_replaced(database, first, successor)
    hold_against_each_other(database, cloud, [*first.values(), successor], unsaid={"commit-unanswered": 1})


@pytest.mark.long
def test_a_poll_whose_commit_was_not_answered_is_not_written_twice_when_the_network_is_back(
    start: Start, database: sa.URL, cloud: Cloud
) -> None:
    with Wire(socket_of(database)) as wire:
        replica = start("replica", through(database, wire.port), "a")
        replica.until("poll", 2)
        wire.cut_after(b"COMMIT")
        replica.until("not_written", condition="database")
        wire.restore()
        replica.until("recovered")
        replica.until_polled(2)
        assert replica.stop() == 0
    assert replica.lines("lease_lost") == []
    hold_against_each_other(database, cloud, [replica])
    assert len(replica.lines("poll")) == cloud.asked["a"], "and none was given up"


class Network:
    """A network of its own for a process, with a link to the database and another to the rest of the world."""

    DATABASE, CLOUD = "198.18.97", "198.19.97"  # set aside for measuring networks: nobody's addresses

    def __init__(self) -> None:
        number = os.getpid()
        self._name = f"collector-{number}"
        self._ip_tool = tool("ip", package="iproute2")
        self.enter = (self._ip_tool, "netns", "exec", self._name)
        self._link = f"db{number}"
        self._ip("netns", "add", self._name)
        for here, net in ((self._link, self.DATABASE), (f"api{number}", self.CLOUD)):
            there = f"{here}-in"
            self._ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self._name)
            self._ip("addr", "add", f"{net}.1/24", "dev", here)
            self._ip("link", "set", here, "up")
            self._ip("-n", self._name, "addr", "add", f"{net}.2/24", "dev", there)
            self._ip("-n", self._name, "link", "set", there, "up")

    def set_database(self, state: str) -> None:
        self._ip("link", "set", self._link, state)

    def remove(self) -> None:
        self._ip("netns", "del", self._name)

    def _ip(self, *arguments: str) -> None:
        subprocess.run([self._ip_tool, *arguments], check=True, capture_output=True)


@pytest.fixture
def network() -> Iterator[Network]:
    try:
        network = Network()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine allows no network namespaces: {error}")
    yield network
    network.remove()


@pytest.mark.long
def test_a_replica_whose_network_is_down_is_replaced_and_stands_by_when_it_is_up(
    start: Start, database: sa.URL, cloud: Cloud, network: Network
) -> None:
    with (
        Wire(socket_of(database), f"{network.DATABASE}.1") as to_database,
        Wire(("127.0.0.1", cloud.port), f"{network.CLOUD}.1") as to_cloud,
    ):
        cloud.url = f"http://{network.CLOUD}.1:{to_cloud.port}"
        far = through(database, to_database.port, f"{network.DATABASE}.1")
        first = start("first", far, "a", prefix=network.enter)
        first.until("poll", 2)
        successor = start("successor", database, "a")
        successor.until("not_written")
        network.set_database("down")
        first.until("not_written", condition="database")
        successor.until("poll", 2)
        network.set_database("up")
        first.until("lease_lost")
        first.until("not_written", condition="standby")
        successor.until_polled()
        assert first.stop() == 0
        assert successor.stop() == 0
    hold_replaced(database, {"a": first}, successor)
    hold_against_each_other(database, cloud, [first, successor], unsaid={"a": 1})


# A pooler


@pytest.mark.long
def test_every_command_works_through_pgbouncer_and_leaves_nothing_behind_in_its_sessions(
    postgresql_server: sa.URL, cloud: Cloud
) -> None:
    database = new_database(postgresql_server)
    with pgbouncer(database) as (port, _):
        url = text(through(database, port))
        settings = {"database_url": url, "base_url": cloud.url, "api_key": KEY}
        replica_of = new_database(postgresql_server)

        def run(*arguments: str) -> str:
            said = collector(*arguments, **settings)
            assert said.code == 0, said
            return said.out

        run("db", "upgrade")
        run("poll")
        run("poll")
        spoil(database)
        assert collector("db", "rebuild", "--check", **settings).code == 1
        run("db", "rebuild")
        run("db", "rebuild", "--check")
        run("db", "check")
        run("audit", "verify")
        run("db", "copy", "--to", text(through(replica_of, port)))
        assert len(json.loads(run("regions", "--format", "json"))) == 14
        for question in ("status", "transitions", "coverage"):
            assert run(question)
        assert run("history", "luxembourg-2")

        engine = open_engine(url)
        with ThreadPoolExecutor(8) as pool:
            histories = [History(engine, f"source-{n}") for n in range(8)]
            for state in ("NEW", "ACTIVE", "MAINTENANCE"):
                list(pool.map(lambda each: each.poll([region(1, state)]), histories))  # noqa: B023
        for n in range(8):
            assert verify(engine, f"source-{n}").verdict == "good"
        engine.dispose()

        sessions = {}
        with ExitStack() as stack:
            for _ in range(4):  # all that there are, each held by a transaction
                connection = stack.enter_context(psycopg.connect(url.replace("+psycopg", "")))
                (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or ()
                sessions[pid] = connection.execute(LEFT_BEHIND).fetchall()
        assert len(sessions) == 4
        assert all(left == [] for left in sessions.values()), sessions


LEFT_BEHIND = """
SELECT name FROM pg_settings WHERE source = 'session' AND setting IS DISTINCT FROM reset_val
    AND name NOT IN ('application_name', 'client_encoding')
UNION ALL SELECT name FROM pg_prepared_statements
UNION ALL SELECT locktype FROM pg_locks WHERE locktype = 'advisory'
"""
"""What a transaction may leave in its session for the next one, which may be another program's."""


def spoil(database: sa.URL) -> None:
    engine = open_engine(database)
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE regions SET state = 'WRONG' WHERE id = 76"))
    engine.dispose()


# Everything at once


class Place:
    """Where a replica runs, and what befalls it there; `befall` is for a thread of its own."""

    def __init__(
        self, number: int, start: Start, wire: Wire, database: sa.URL, sources: Sequence[str]
    ) -> None:
        self.wire = wire
        self.replicas: list[Replica] = []
        self.events = 0
        self._chance = random.Random(number)
        self._start = lambda: start(
            f"place-{number}-{len(self.replicas)}", through(database, wire.port), *sources
        )
        self.replicas.append(self._start())

    @property
    def replica(self) -> Replica:
        return self.replicas[-1]

    def befall(self, ends: float) -> None:
        while monotonic() < ends:
            sleep(self._chance.uniform(0, LEASE / 2))
            self.events += 1
            self._chance.choice((self._die, self._pause, self._pause_at_a_moment, self._be_cut_off))()

    def _die(self) -> None:
        self.replica.kill()
        self.replicas.append(self._start())

    def _pause(self) -> None:
        self.replica.send(signal.SIGSTOP)
        self._last()
        self.replica.send(signal.SIGCONT)

    def _pause_at_a_moment(self) -> None:
        order = self.replica.folder / f"stop at {self._chance.choice(MOMENTS)}"
        order.touch()
        self._last()
        order.unlink(missing_ok=True)
        self.replica.send(signal.SIGCONT)

    def _be_cut_off(self) -> None:
        self._chance.choice(list(CUTS.values()))(self.wire)
        self._last()
        self.wire.restore()

    def _last(self) -> None:
        """Sometimes less than the lease, sometimes more."""
        sleep(self._chance.uniform(0, 2 * LEASE))


@pytest.mark.slow
def test_five_minutes_of_everything_leave_every_poll_written_once(
    start: Start, database: sa.URL, cloud: Cloud
) -> None:
    sources = ("a", "b", "c", "d")
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(socket_of(database))) for _ in range(3)]
        places = [Place(n, start, wire, database, sources) for n, wire in enumerate(wires)]
        with ThreadPoolExecutor(len(places)) as pool:
            list(pool.map(lambda place: place.befall(monotonic() + 300), places))
        seen = Counter(cloud.asked)
        until(lambda: all(cloud.asked[s] - seen[s] >= 3 for s in sources))
        for place in places:
            place.replica.stop()
    events = sum(place.events for place in places)
    replicas = [replica for place in places for replica in place.replicas]
    assert min(epochs(database).values()) > 1, "each source was taken over"
    hold_against_each_other(database, cloud, replicas, unsaid=dict.fromkeys(sources, events))
