"""How costs grow: with regions, with the length of history, with sources."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence, Sized
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import sqlalchemy as sa

from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports.changes import region_history
from collector.reports.inventory import RegionFilter, regions_as_of
from collector.reports.status import statuses
from collector.store import lease
from tests.benchmarks.answers import ALL, FIRST, PART, UNCHANGED, Answer, after
from tests.benchmarks.rounds import Ring, reason, say
from tests.support.builders import region
from tests.support.databases import new_database
from tests.support.history import History
from tests.support.large import fill

MIDDLE = datetime(2020, 1, 11, tzinfo=UTC)
"""Roughly the middle of the history of `tests.support.large`."""
QUESTIONS: dict[str, Callable[[sa.Connection], Sized]] = {
    "all regions as of the middle": lambda connection: regions_as_of(connection, MIDDLE, RegionFilter()),
    "one region as of the middle": lambda connection: regions_as_of(
        connection, MIDDLE, RegionFilter(region="500")
    ),
    "the history of one region": lambda connection: region_history(connection, "500"),
}


def exponent(points: Iterable[Sequence[float]]) -> float:
    """The exponent of the power law that fits best, by least squares of logarithms."""
    logs = [(math.log(x), math.log(y)) for x, y in points if y > 0]
    mean_x, mean_y = (sum(each) / len(logs) for each in zip(*logs, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / spread if spread else math.nan


def regions(ring: Ring, most: int) -> list[dict[str, Any]]:
    """CPU seconds of polls of 50 … `most` regions; it ends where the collector refuses an answer."""
    rows = []
    for size in [size for size in (50, 200, 1000, 3000, 10_000, 30_000, 100_000) if size <= most]:
        say(f"{size:,} regions")
        for name in ("collector-sqlite", "get-sha256"):
            with ring.worker(name) as worker:
                worker.do("begin")
                answer = Answer(size)
                for kind in (FIRST, UNCHANGED, PART, ALL) if name != "get-sha256" else (UNCHANGED,):
                    costs = []
                    for _ in range(1 if kind is FIRST else 3):
                        answer = after(answer, kind)
                        try:
                            costs.append(ring.poll(worker, answer)["cpu"])
                        except RuntimeError as error:
                            why = reason(error)
                            return [*rows, {"size": size, "contestant": name, "refused": why}]
                    rows.append({"size": size, "contestant": name, "kind": kind.name, "cpu": median(costs)})
    return rows


def history(folder: Path, server: sa.URL, most: int) -> list[dict[str, Any]]:
    """Seconds of questions to histories of 10,000 … `most` transitions of 1,000 regions; SQLite up to a million."""
    rows = []
    for transitions in [n for n in (10_000, 100_000, 1_000_000, 10_000_000) if n <= most]:
        for dialect in ("sqlite", "postgresql"):
            if dialect == "sqlite" and transitions > 1_000_000:
                continue
            say(f"a history of {transitions:,} transitions on {dialect}")
            is_sqlite = dialect == "sqlite"
            engine = open_engine(
                f"sqlite:///{folder / f'{transitions}.db'}" if is_sqlite else new_database(server)
            )
            migrate.upgrade(engine)
            began = perf_counter()
            fill(engine, regions=1000, transitions=transitions // 1000, observations=20_000, gap_every=100)
            filled = perf_counter() - began
            with reading(engine) as connection:
                for question, ask in QUESTIONS.items():
                    cost = _median(ask, connection, 5)
                    rows.append(
                        {"transitions": transitions, "database": dialect, "question": question, **cost}
                    )
                    rows[-1]["filled"] = filled
            engine.dispose()
            if is_sqlite:
                (folder / f"{transitions}.db").unlink()
    return rows


def _median(ask: Callable[[sa.Connection], Sized], connection: sa.Connection, times: int) -> dict[str, float]:
    costs = []
    for _ in range(times):
        cpu, wall = process_time(), perf_counter()
        rows = len(ask(connection))
        costs.append((process_time() - cpu, perf_counter() - wall))
    cpu, wall = (median(each) for each in zip(*costs, strict=True))
    return {"rows": rows, "cpu": cpu, "wall": wall}


def sources(folder: Path, most: int) -> list[dict[str, Any]]:
    """CPU seconds of a minute of polls of 1 … `most` sources of 10 regions, by simulated time, without HTTP."""
    rows = []
    engine = open_engine(f"sqlite:///{folder / 'sources.db'}")
    migrate.upgrade(engine)
    owner = lease.process_name()
    listed = [region(i) for i in range(1, 11)]
    histories: list[History] = []
    for count in [n for n in (1, 10, 100, 1000, 10_000) if n <= most]:
        say(f"{count:,} sources")
        renewed = perf_counter()

        def renew() -> None:
            nonlocal renewed
            if perf_counter() - renewed > lease.LEASE_SECONDS / 4:
                lease.renew(engine, owner, [each.writer.lease for each in histories])
                renewed = perf_counter()

        cpu = process_time()
        new = count - len(histories)
        while len(histories) < count:
            one = History(engine, name=f"source-{len(histories)}")
            one.owner = owner
            one.poll(listed)
            histories.append(one)
            renew()
        first = (process_time() - cpu) / new
        lease.renew(engine, owner, [each.writer.lease for each in histories])
        minutes = 3 if count <= 1000 else 1
        cpu = process_time()
        for _ in range(minutes):
            for one in histories:
                one.poll(listed)
                renew()
        each_minute = (process_time() - cpu) / minutes
        with reading(engine) as connection:
            cpu = process_time()
            statuses(connection, History.time(histories[0].at) + timedelta(seconds=1))
            status = process_time() - cpu
        rows.append({"sources": count, "first": first, "minute": each_minute, "status": status})
    engine.dispose()
    return rows
