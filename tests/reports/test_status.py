"""`status` of many sources: as many statements as for one, and one bad source of many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.transactions import reading
from collector.reports.status import SourceStatus, exit_code, statuses
from tests.support.builders import answer, region
from tests.support.command import collector
from tests.support.history import History, failure

BOTH = [region(1), {"id": 2}]


@contextmanager
def counting(engine: sa.Engine) -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


def test_many_sources_cost_as_many_statements_as_one_and_each_has_its_own_facts(engine: sa.Engine) -> None:
    first = History(engine, "s0")
    first.poll(answer(BOTH))
    with reading(engine) as connection, counting(engine) as for_one:
        statuses(connection, first.time(first.at))
    for n in range(1, 8):
        history = History(engine, f"s{n}")
        history.poll(answer([*BOTH, region(100 + n)][: n + 1]), at=0)
        if n % 2:
            history.poll(failure(), at=60)
    with reading(engine) as connection, counting(engine) as for_many:
        found = statuses(connection, first.time(60))
        alone = [statuses(connection, first.time(60), f"s{n}")[0] for n in range(8)]
    assert len(for_many[: len(for_one)]) * 9 == len(for_many)
    assert found == alone
    assert [each.last_outcome for each in found] == ["ok", "failed"] * 4
    assert found[0].rejected == 1
    assert {each.regions for each in found} == {1, 2}


def of(verdict: Any) -> SourceStatus:
    values: dict[str, Any] = {field.name: None for field in fields(SourceStatus)}
    return SourceStatus(**(values | {"verdict": verdict}))


@pytest.mark.parametrize(
    ("verdicts", "most_bad", "code"),
    [
        ("good good", 0, 0),
        ("good left", 0, 0),
        ("good degraded", 0, 3),
        ("good stale", 0, 1),
        ("good stale", 1, 3),
        ("good stale stale", 1, 1),
        ("good stale", "50%", 3),
        ("good stale stale", "50%", 1),
        ("good good stale left left left", "50%", 3),
        ("stale stale", "100%", 1),
        ("stale", 5, 1),
        ("degraded degraded", "0%", 3),
        ("", "50%", 1),
    ],
)
def test_the_given_number_of_sources_may_be_bad(verdicts: str, most_bad: int | str, code: int) -> None:
    assert exit_code([of(verdict) for verdict in verdicts.split()], most_bad) == code


@pytest.mark.parametrize("share", ["-1", "101%", "half", "1.5", "%", "nan%"])
def test_a_share_that_is_none_is_refused(share: str) -> None:
    said = collector("status", "--max-bad", share)
    assert said.code == 2
    said.explains(share, "10%")
