"""Many sources, three replicas on one PostgreSQL, one of them killed half-way: nothing is left out or done twice.

The short form always runs; the long one, 1,000 sources of 40 regions, with `-m slow`. Add `-s` for its figures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic, sleep, time
from typing import Any

import pytest
import sqlalchemy as sa

from collector.audit.verify import verify
from collector.database.engine import open_engine
from collector.service.lanes import QUICK, SLOW
from collector.simulator.scenario import KEY
from tests.support import forks
from tests.support.command import environment
from tests.support.databases import new_database
from tests.support.history import History

CLOUD = """
import json, sys, threading, zlib
from collections import defaultdict
from datetime import timedelta
from functools import cache
from time import time
from collector.clock import utc_now
from collector.simulator.scenario import random_world
from collector.simulator.server import Simulator

regions, minutes = int(sys.argv[1]), float(sys.argv[2])
start, asked = utc_now(), defaultdict(list)

@cache
def world(source):
    until = start + timedelta(minutes=minutes)
    return random_world(
        zlib.crc32(source.encode()), start, regions=regions, mean_hold=timedelta(hours=1), until=until
    )

def world_of(source):
    asked[source].append(time())
    return world(source)

with Simulator(world_of) as simulator:
    print(simulator.base_url, flush=True)
    sys.stdin.read()
    print(json.dumps(asked))
"""
"""A cloud in a process of its own, which tells at its end when it was asked for which source."""

REPLICA = """
import sys
from collector.database import timeouts
seconds, host = int(sys.argv.pop(1)), sys.argv.pop(1)
timeouts.LEASE_SECONDS = seconds
timeouts.LOCK_SECONDS, timeouts.STATEMENT_SECONDS, timeouts.IDLE_SECONDS = seconds / 6, seconds / 2, seconds / 3
from collector.store import lease
lease._here = lambda: host
from collector.cli import main
main()
"""
"""`collector run` with a lease of a number of seconds, on a host of its own, so that nobody else can know if it is
dead."""


LATE = 10.0
"""Seconds by which a poll may be late: an interval varies by a twentieth, a keeper looks now and then, and the machine
has other things to do."""


@dataclass(frozen=True)
class Load:
    sources: int
    regions: int
    interval: float
    lease: int
    seconds: float


class Replica:
    def __init__(self, number: int, load: Load, config: Path, log: Path) -> None:
        self.log = log
        command = [sys.executable, "-c", REPLICA, str(load.lease), f"host-{number}", "--config", str(config)]
        with log.open("wb") as stderr:
            self.process = forks.Popen(
                [*command, "run"], imported=forks.LIBRARIES, env=environment({}), stderr=stderr
            )

    def lines(self) -> list[dict[str, Any]]:
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process, and of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def cloud(load: Load, asked: dict[str, list[float]]) -> Iterator[tuple[str, int]]:
    """Its URL and process; at the end `asked` holds when it was asked for which source."""
    command = [sys.executable, "-c", CLOUD, str(load.regions), str(load.seconds / 60 + 5)]
    with forks.Popen(
        command, env=environment({}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip(), process.pid
        said, _ = process.communicate()
        asked |= json.loads(said)


def carry(load: Load, template: sa.URL, folder: Path) -> None:
    """Run the load, print figures, and hold what the cloud was asked against what was recorded."""
    url = new_database(template, template.database)
    engine = open_engine(url)
    history = History(engine)
    names = [f"s{n:04}" for n in range(load.sources)]
    asked: dict[str, list[float]] = {}
    with cloud(load, asked) as (base_url, cloud_pid):
        config = folder / "collector.toml"
        config.write_text(
            f'database_url = "{url.render_as_string(hide_password=False)}"\n'
            + "".join(
                f'[[sources]]\nname = "{name}"\nbase_url = "{base_url}/{name}"\napi_key = "{KEY}"\n'
                f'interval = "{load.interval:g}s"\n'
                for name in names
            )
        )
        (postmaster,) = history.query("SELECT pg_backend_pid() AS pid")
        postmaster_pid = int(
            Path(f"/proc/{postmaster['pid']}/stat").read_text().rpartition(")")[2].split()[1]
        )
        db_before = cpu_seconds(postmaster_pid) + sum(map(cpu_seconds, children(postmaster_pid)))
        began = time()
        replicas = [Replica(n, load, config, folder / f"replica-{n}.log") for n in range(3)]
        sleep(load.seconds / 2)
        held = Counter(
            row["lease_owner"].partition(":")[0] for row in history.rows("sources") if row["lease_owner"]
        )
        victim = replicas[int(max(held, key=lambda host: held[host]).removeprefix("host-"))]
        figures = [figures_of(victim.process.pid)]
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        killed = time()
        ends = monotonic() + load.seconds / 2
        while monotonic() < ends:
            sleep(1)
            assert all(r.process.poll() is None for r in replicas if r is not victim)
        others = [r for r in replicas if r is not victim]
        figures += [figures_of(r.process.pid) for r in others]
        figures.append(f"cloud {figures_of(cloud_pid)}")
        db_cpu = cpu_seconds(postmaster_pid) + sum(map(cpu_seconds, children(postmaster_pid))) - db_before
        ended = time()
        for replica in others:
            replica.process.terminate()
        assert [r.process.wait(60) for r in others] == [0, 0]

    (db,) = history.query(
        "SELECT xact_commit, xact_rollback, deadlocks, pg_database_size(datname) / 1048576 AS megabytes"
        " FROM pg_stat_database WHERE datname = current_database()"
    )
    rows = history.query(
        "SELECT s.name, s.lease_epoch, s.key_salt, CAST(SUM(o.polls) AS BIGINT) AS polls, COUNT(*) AS observations,"
        " MAX(o.seq) AS seq FROM sources s JOIN observations o ON o.source_id = s.id"
        " GROUP BY s.name, s.lease_epoch, s.key_salt"
    )
    polls = {row["name"]: row["polls"] for row in rows}
    first = sorted(min(asked[name]) - began for name in names)
    up = began + first[-1]
    moments = {name: [up, *(at for at in asked[name] if at > up), ended] for name in names}
    gaps = sorted(later - before for each in moments.values() for before, later in pairwise(each))
    across = sorted(
        later - before
        for each in moments.values()
        for before, later in pairwise(each)
        if before <= killed < later
    )
    lines = [(line, replica) for replica in replicas for line in replica.lines()]
    writes = sorted(line["write_ms"] for line, _ in lines if line["event"] == "poll")
    told = Counter((line["event"], line.get("condition")) for line, _ in lines)
    print(
        f"\n{load}\n"
        f"load of the machine {os.getloadavg()}; sources held {dict(held)}; killed {victim.log.stem}\n"
        + "\n".join(figures)
        + f"\ndatabase: {db_cpu:.1f} s CPU, {db}\n"
        f"{sum(map(len, asked.values()))} requests, {sum(polls.values())} polls recorded; "
        f"first request of a source after {first[0]:.1f} to {first[-1]:.1f} s\n"
        f"between requests of a source: median {median(gaps):.1f}, 99 % {gaps[len(gaps) * 99 // 100]:.1f}, "
        f"most {gaps[-1]:.1f} s; across the kill: median {median(across):.1f}, most {across[-1]:.1f} s\n"
        f"write: median {median(writes):.1f} ms, 99 % {writes[len(writes) * 99 // 100]:.1f} ms, "
        f"most {writes[-1]:.0f} ms\n"
        f"lines: {dict(told)}"
    )

    assert set(polls) == set(names)
    # The very first polls store everything and take their time: how long depends on the machine.
    assert up < killed
    assert gaps[-1] <= load.interval + load.lease + LATE
    # An answer that is not recorded was under way at the kill, or a line tells of it.
    given_up = sum(
        line.get("given_up", 0) + (line["event"] == "given_up" and line["polls"]) for line, _ in lines
    )
    assert given_up <= sum(map(len, asked.values())) / 50, "leases change hands while their holders live"
    assert all(polls[name] <= len(asked[name]) for name in names), "a poll was counted twice"
    assert sum(map(len, asked.values())) - sum(polls.values()) <= QUICK + SLOW + given_up
    # A source is polled by one replica at a time, and not more often than expected.
    by: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for line, replica in lines:
        if line["event"] == "poll":
            by[line["source"]].append((line["timestamp"], replica.log.name))
    for row in rows:
        turns = [replica for _, replica in sorted(by[row["name"]])]
        assert sum(one != other for one, other in pairwise(turns)) < row["lease_epoch"]
        most = (ended - began) / (load.interval * 0.95) + 1 + row["lease_epoch"]
        assert len(asked[row["name"]]) <= most
        assert row["observations"] == row["seq"]
    assert sum(row["lease_epoch"] for row in rows) == told["writing", None]
    assert len({row["key_salt"] for row in rows}) == 1
    for name in names[:: load.sources // 3]:
        assert verify(engine, name).verdict == "good"
    engine.dispose()


def figures_of(pid: int) -> str:
    return f"process {pid}: {cpu_seconds(pid):.1f} s CPU, {peak_megabytes(pid):.0f} MB"


@pytest.mark.long
@pytest.mark.parametrize(
    "load",
    [
        Load(sources=30, regions=20, interval=4, lease=6, seconds=24),
        pytest.param(Load(sources=100, regions=40, interval=8, lease=8, seconds=60), marks=pytest.mark.slow),
        pytest.param(
            Load(sources=1000, regions=40, interval=60, lease=60, seconds=600), marks=pytest.mark.slow
        ),
    ],
    ids=lambda load: f"{load.sources}-sources",
)
def test_many_sources_with_a_replica_killed(postgresql_template: sa.URL, tmp_path: Path, load: Load) -> None:
    carry(load, postgresql_template, tmp_path)
