"""`python -m tests.benchmarks.disk`: bytes that a year of one source takes, whatever the cloud does.

35 regions, polled each minute of simulated time for some hours by the real `poll()`, into a SQLite file; what the
second half of the polls adds to it is taken for a year. With `--pruned`: the size of a file that is pruned repeatedly.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.vacuum import vacuum
from collector.store import pruning
from tests.support.builders import region
from tests.support.history import History, failure

REGIONS, YEAR = 35, 365 * 24 * 60


def said(number: int, **changed: Any) -> list[dict[str, Any]]:
    first = changed.pop("first", {})
    return [
        region(i, **(first if i == number % REGIONS + 1 else {}), **changed) for i in range(1, REGIONS + 1)
    ]


CLOUDS: dict[str, Callable[[int], Any]] = {
    "quiet: nothing changes": lambda _: said(0),
    "busy: one region changes its state at each poll": lambda n: said(
        n, first={"state": ("ACTIVE", "MAINTENANCE")[n // REGIONS % 2]}
    ),
    "answers that alternate": lambda n: said(0, first={"state": ("ACTIVE", "NEW")[n % 2]}),
    "a volatile unknown field": lambda n: said(0, uptime=n),
    "flapping failures": lambda n: failure(("connect", "timeout")[n % 2]),
    "a region with a new id instead of another at each poll": lambda n: [region(100 + n), *said(0)[1:]],
    "a new unknown name at each poll": lambda n: said(0, **{f"name_{n}": 1}),
}


@contextmanager
def new_history() -> Iterator[tuple[Path, History]]:
    """A history in a file that goes afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "collector.db"
        engine = open_engine(f"sqlite:///{path}")
        migrate.upgrade(engine)
        yield path, History(engine)
        engine.dispose()


def grown(cloud: Callable[[int], Any], polls: int) -> float:
    """Bytes a poll."""
    with new_history() as (path, history):
        sizes = []
        for half in range(2):
            for number in range(polls // 2):
                history.poll(cloud(half * (polls // 2) + number))
            vacuum(history.engine)
            sizes.append(path.stat().st_size)
        return (sizes[1] - sizes[0]) / (polls // 2)


def kept(cloud: Callable[[int], Any], polls: int, rounds: int = 4) -> list[int]:
    """Bytes of a file that is pruned to its last polls each time as many came together."""
    with new_history() as (path, history):
        sizes = []
        for number in range(polls * rounds):
            history.poll(cloud(number))
            if (number + 1) % polls == 0:
                now = history.time(history.at)
                how: Any = {"made_at": now, "made_by": "a benchmark"}
                pruning.prune(history.engine, "gcore", now - polls * history.source.interval, **how)
                vacuum(history.engine)
                sizes.append(path.stat().st_size)
        history.verify()
        return sizes


def main() -> None:
    if "--pruned" in sys.argv:
        for name, cloud in CLOUDS.items():
            print(f"| {name} | {' | '.join(f'{size:,}' for size in kept(cloud, 300))} |", flush=True)
        return
    polls = int(sys.argv[1]) if len(sys.argv) > 1 else 1400
    for name, cloud in CLOUDS.items():
        size = grown(cloud, polls)
        print(f"| {name} | {size:,.0f} | {size * YEAR / 1e6:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
