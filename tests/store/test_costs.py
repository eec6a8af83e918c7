"""What each kind of poll costs, in counts that need no clock. What they take in time is in docs/performance.md."""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest
import sqlalchemy as sa

import collector.poll
from collector.gcore import reader
from tests.benchmarks.answers import ALL, FIRST, KINDS, ORDER, PART, SPELLING, UNCHANGED, Answer, Kind, after
from tests.support.history import History

SIZE = 100
"""Regions, each with a keystone and a metrics database of its own."""
_SET_UP = ("BEGIN", "SET LOCAL", "SET TRANSACTION")


@dataclass
class Costs:
    statements: int = 0
    """Those that one transaction begins with are left out."""
    rows: int = 0
    """Inserted, changed or deleted."""
    evidence: int = 0
    """Bytes that were stored of what the answer says, before they are compressed."""
    bodies: int = 0
    """Answers that were parsed."""
    records: int = 0
    """Records of an answer that were read; others are known by their bytes from the last one."""


@contextmanager
def counted(engine: sa.Engine, history: History) -> Iterator[Costs]:
    """Fills the value that it gives when its block ends."""
    costs, calls = Costs(), Counter[Any]()

    def on_call(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            calls[frame.f_code] += 1

    def on_statement(_c: Any, cursor: Any, statement: str, parameters: Any, _x: Any, many: bool) -> None:
        if not statement.startswith(_SET_UP):
            costs.statements += 1
            if statement.startswith(("INSERT", "UPDATE", "DELETE")):
                # SQLite counts the rows of a RETURNING only when they are fetched: it is the lease's, one row.
                costs.rows += len(parameters) if many else max(cursor.rowcount, int("RETURNING" in statement))

    before = evidence_of(history)
    sa.event.listen(engine, "after_cursor_execute", on_statement)
    sys.setprofile(on_call)
    try:
        yield costs
    finally:
        sys.setprofile(None)
        sa.event.remove(engine, "after_cursor_execute", on_statement)
    costs.evidence = evidence_of(history) - before
    costs.bodies = calls[collector.poll.read.__code__]
    costs.records = calls[reader._record.__code__]


def evidence_of(history: History) -> int:
    return sum(len(zlib.decompress(row["body"])) for row in history.rows("payloads"))


EXPECTED = {
    FIRST.name: Costs(statements=16, rows=1405, evidence=116_869, bodies=1, records=100),
    UNCHANGED.name: Costs(statements=2, rows=2, evidence=0, bodies=0, records=0),
    ORDER.name: Costs(statements=2, rows=2, evidence=0, bodies=1, records=0),
    SPELLING.name: Costs(statements=2, rows=2, evidence=0, bodies=1, records=100),
    PART.name: Costs(statements=11, rows=9, evidence=51, bodies=1, records=1),
    ALL.name: Costs(statements=11, rows=405, evidence=4002, bodies=1, records=100),
}
"""On both databases alike."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_of_poll_costs_exactly_this(engine: sa.Engine, kind: Kind) -> None:
    history, answer = History(engine), Answer(SIZE)
    for _ in range(2 if kind is not FIRST else 0):
        history.poll(answer.body())
    history.writer  # noqa: B018 - it takes the lease, once
    body = after(answer, kind).body()
    with counted(engine, history) as costs:
        assert history.poll(body).outcome == "ok"
    assert costs == EXPECTED[kind.name]


def test_an_unchanged_poll_leaves_the_database_as_large_as_it_was(engine: sa.Engine) -> None:
    history, body = History(engine), Answer(SIZE).body()

    def size() -> int:
        if engine.dialect.name == "sqlite":
            return int(history.query("SELECT page_count AS n FROM pragma_page_count()")[0]["n"])
        return sum(len(history.rows(table)) for table in ("observations", "payloads"))

    history.poll(body)
    history.poll(body)
    before = size()
    for _ in range(20):
        history.poll(body)
    assert size() == before
