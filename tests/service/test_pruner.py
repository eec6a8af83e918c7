"""Pruning beside the polls: of the sources that this process polls, again and again, whatever went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs
from structlog.typing import EventDict

from collector.audit import retention
from collector.audit.anchoring.outside import Outside
from collector.database.transactions import writing
from collector.service import pruner
from collector.service.pruner import Pruner
from collector.service.tally import Tallies
from tests.support.builders import region
from tests.support.history import History
from tests.support.service_views import source_view, view_of
from tests.support.services import until

DAY = 86400
KEEP = timedelta(days=30)


def lived(engine: sa.Engine, name: str) -> History:
    """Polled once a day for 40 days."""
    history = History(engine, name)
    for number in range(40):
        history.poll([region(1)], at=number * DAY)
    return history


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EventDict]]:
    """Lines of the log, while the pruner looks many times a second."""
    monkeypatch.setattr(pruner, "ROUND_SECONDS", 0.02)
    with capture_logs() as lines:
        yield lines


def started(history: History, *, polls_other: bool = False, tallies: Tallies | None = None) -> Pruner:
    """It polls `gcore`; another replica polls `other`, unless this one does."""
    view = view_of(source_view("gcore"), source_view("other", holds_lease=polls_other))
    now = history.time(history.at)
    companion = Pruner(
        history.engine,
        KEEP,
        lambda: view,
        "a test",
        Outside,
        count=(tallies or Tallies()).count_prune,
        clock=lambda: now,
        first_seconds=0.02,
    )
    companion.start()
    return companion


@pytest.mark.long
def test_what_is_due_of_our_sources_is_pruned_once(sqlite_engine: sa.Engine, said: list[EventDict]) -> None:
    ours, other = lived(sqlite_engine, "gcore"), lived(sqlite_engine, "other")
    companion = started(ours)
    until(lambda: said, 10)
    companion.stop()
    (line,) = said
    assert (line["event"], line["source"], line["begins_at"]) == ("pruned", "gcore", ours.time(9 * DAY))
    assert [row["made_by"] for row in ours.rows("amendments")] == ["a test"]
    ours.verify()
    other.verify()


def test_a_history_that_is_not_good_is_left_alone_until_it_is(
    sqlite_engine: sa.Engine, said: list[EventDict]
) -> None:
    history = lived(sqlite_engine, "gcore")
    state = sa.text("UPDATE regions SET state = :state")
    with writing(sqlite_engine) as connection:
        connection.execute(state, {"state": "FROZEN"})
    companion = started(history)
    until(lambda: len(said) > 1, 10)
    assert {line["event"] for line in said} == {"not_pruned"}
    assert "`collector audit verify` says" in said[0]["why"]
    assert not history.rows("amendments")
    with writing(sqlite_engine) as connection:
        connection.execute(state, {"state": "ACTIVE"})
    until(lambda: said[-1]["event"] == "pruned", 10)
    companion.stop()
    history.verify()


@pytest.mark.parametrize("breaks", [False, True])
def test_a_source_that_can_not_be_pruned_stops_no_other(
    sqlite_engine: sa.Engine, said: list[EventDict], monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    bad, good = lived(sqlite_engine, "gcore"), lived(sqlite_engine, "other")
    with writing(sqlite_engine) as connection:
        connection.execute(sa.text("UPDATE regions SET state = 'FROZEN' WHERE source_id = 1"))
    if breaks:
        prune = retention.prune

        def broken(engine: sa.Engine, source: str, *arguments: Any, **more: Any) -> Any:
            if source == "gcore":
                raise RuntimeError("a bug")
            return prune(engine, source, *arguments, **more)

        monkeypatch.setattr(retention, "prune", broken)
    tallies = Tallies()
    companion = started(bad, polls_other=True, tallies=tallies)
    until(lambda: tallies.prunes().get(("gcore", "failed"), 0) > 1, 10)
    companion.stop()
    word = "pruner_broke" if breaks else "not_pruned"
    assert {(line["event"], line["source"]) for line in said} == {(word, "gcore"), ("pruned", "other")}
    assert tallies.prunes()["other", "pruned"] == 1
    good.verify()
