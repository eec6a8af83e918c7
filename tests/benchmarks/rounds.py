"""Polls, memory and growth: contestants take turns, so that whatever else the machine does hurts all alike."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.answers import (
    ALL,
    FIRST,
    KINDS,
    ORDER,
    PART,
    SPELLING,
    UNCHANGED,
    Answer,
    Kind,
    after,
    part_of,
)
from tests.benchmarks.cloud import Cloud
from tests.benchmarks.contestants import QUICK
from tests.benchmarks.machine import ServerTime
from tests.benchmarks.worker import Worker

_ONLY = {
    **dict.fromkeys(("get", "get-sha256", "get-update", "json-loads", "json-per-poll"), (UNCHANGED,)),
    **dict.fromkeys(("executemany", "copy"), (FIRST, PART, ALL)),
}
"""Kinds of polls of those to whom the others make no difference."""


@dataclass(frozen=True)
class Ring:
    """Where all this takes place."""

    cloud: Cloud
    folder: Path
    postgresql: str
    server: ServerTime

    def worker(self, name: str) -> Worker:
        return Worker(name, self.cloud.url_for(name), self.folder, self.postgresql)

    def poll(self, worker: Worker, answer: Answer) -> dict[str, float]:
        """Seconds of CPU time (of the process and of a database server) and of wall-clock time."""
        self.cloud.turn(worker.name, answer)
        worker.do("prepare")
        before = self.server.seconds()
        said: dict[str, float] = worker.do("poll")
        own = said["cpu"]
        if worker.name.endswith("postgresql") or worker.name == "copy":
            said["cpu"] += self.server.seconds() - before
        return {"cpu": said["cpu"], "own": own, "wall": said["wall"]}


def kinds_of(name: str, size: int) -> Sequence[Kind]:
    only = _ONLY.get(name, KINDS)
    if (
        size > 1000 and name not in QUICK
    ):  # to them another order or spelling is a poll like the unchanged one
        only = [kind for kind in only if kind not in (ORDER, SPELLING)]
    return only


def polls(ring: Ring, size: int, rounds: int, names: Iterable[str]) -> list[dict[str, Any]]:
    """Medians of each contestant and kind of poll, and the most memory that each took."""
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    refused: dict[str, str] = {}
    with ExitStack() as stack:
        workers = [stack.enter_context(ring.worker(name)) for name in names]
        for number in range(rounds):
            say(f"{size:,} regions, round {number + 1} of {rounds}")
            answers = {worker.name: Answer(size) for worker in workers}
            for worker in workers:
                worker.do("begin")
            for kind in KINDS:
                for worker in workers:
                    if worker.name in refused or kind not in kinds_of(worker.name, size):
                        continue
                    for _ in range(kind.repeats if worker.name in QUICK else 1):
                        answers[worker.name] = answer = after(answers[worker.name], kind)
                        try:
                            found[worker.name, kind.name].append(ring.poll(worker, answer))
                        except RuntimeError as error:
                            refused[worker.name] = reason(error)
                            say(f"{worker.name}: {refused[worker.name]}")
                            break
            workers = [worker for worker in workers if worker.name not in refused]
        memory = {worker.name: worker.do("memory")["bytes"] for worker in workers}
    rows = []
    for (name, kind), each in found.items():
        if name in refused:
            continue
        middle = {what: median(one[what] for one in each) for what in ("cpu", "own", "wall")}
        rows.append({"size": size, "contestant": name, "kind": kind, "polls": len(each), **middle})
    return rows + [
        {"size": size, "contestant": name, "kind": "memory", "bytes": b} for name, b in memory.items()
    ]


def growth(ring: Ring, size: int, names: Iterable[str], times: int) -> list[dict[str, Any]]:
    """Bytes by which a database grows for each region that changes, over polls that change 1 % each."""
    rows = []
    for name in names:
        # A whole answer is stored at most every 16 changed ones: two such runs.
        polls = times if name in QUICK else max(3, times // 5)
        say(f"growth of {name}: {polls} polls")
        with ring.worker(name) as worker:
            worker.do("begin")
            answer = Answer(size)
            for _ in range(2):
                ring.poll(worker, answer)
            for _ in range(2):  # the second time counts
                worker.do("settle")
                before = worker.do("size")["bytes"]
                for _ in range(polls):
                    answer = after(answer, PART)
                    ring.poll(worker, answer)
                grown = worker.do("size")["bytes"] - before
        changed = polls * part_of(size)
        rows.append(
            {"contestant": name, "polls": polls, "changed": changed, "bytes": grown, "each": grown / changed}
        )
    return rows


def memory(ring: Ring, size: int, names: Iterable[str]) -> list[dict[str, Any]]:
    """The most memory of a first load and of a poll with 1 % changed."""
    rows: list[dict[str, Any]] = []
    for name in names:
        say(f"memory of {name}, {size:,} regions")
        with ring.worker(name) as worker:
            row: dict[str, Any] = {"size": size, "contestant": name, "kind": "memory"}
            rows.append(row)
            worker.do("begin")
            answer = Answer(size)
            for kind in (FIRST, PART):
                answer = after(answer, kind)
                try:
                    cost = ring.poll(worker, answer)
                except RuntimeError as error:
                    row["refused"] = reason(error)
                    break
                rows.append({"size": size, "contestant": name, "kind": kind.name, "polls": 1, **cost})
                row["bytes"] = worker.do("memory")["bytes"]
    return rows


def reason(error: RuntimeError) -> str:
    """The last line of what a worker said, as far as a table has room."""
    return str(error).strip().splitlines()[-1][:300].replace("|", "/")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
