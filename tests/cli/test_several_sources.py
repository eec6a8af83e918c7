"""Commands that change several histories: one that can't be changed stops no other, and nothing is left unsaid."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.database.transactions import writing
from tests.support.builders import region
from tests.support.command import collector
from tests.support.history import History

DAY = 86400
EDITED = "UPDATE regions SET state = 'FROZEN' WHERE source_id = 1"
DAMAGED = "UPDATE payloads SET body = X'00' WHERE source_id = 1"


@pytest.fixture
def url(sqlite_url: str) -> str:
    """Two sources, each polled once a day for ten days. Both tell the same secret."""
    engine = open_engine(sqlite_url)
    for name in ("bad", "good"):
        history = History(engine, name)
        for number in range(10):
            history.poll([region(1, "ACTIVE" if number % 2 else "NEW", notes="hush")], at=number * DAY)
        history.restart()
    engine.dispose()
    return sqlite_url


def damage(url: str, statement: str) -> None:
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.mark.parametrize(
    ("command", "statement", "done"),
    [
        (("db", "prune", "--keep", "5d"), EDITED, "good: the history begins at"),
        (("db", "redact", "results[].notes"), EDITED, "good: results[].notes was redacted in 2 answers"),
        (("db", "rebuild"), DAMAGED, "good: 10 observations"),
        (("db", "rebuild", "--check"), DAMAGED, "good: 10 observations"),
    ],
)
def test_one_that_can_not_be_changed_stops_no_other(
    url: str, command: tuple[str, ...], statement: str, done: str
) -> None:
    damage(url, statement)
    said = collector(*command, database_url=url)
    assert said.code == 1
    assert done in said.out
    assert said.err.startswith("bad: ")
    assert "Traceback" not in said.err
    verified = collector("audit", "verify", "--source", "good", database_url=url)
    assert verified.code == 0, verified


def test_one_that_is_asked_for_alone_has_its_error_as_always(url: str) -> None:
    damage(url, EDITED)
    said = collector("db", "prune", "--keep", "5d", "--source", "bad", database_url=url)
    said.refused(1, "the history of source 'bad' is altered")
    assert said.err.startswith("collector: ")


def test_a_secret_of_one_source_is_redacted_in_the_others_before_they_tell_it(
    sqlite_url: str, tmp_path: Path
) -> None:
    engine = open_engine(sqlite_url)
    for name, more in (("first", {}), ("second", {"notes": "hush"}), ("third", {})):
        history = History(engine, name)
        history.poll([region(1, **more)])
        history.restart()
    engine.dispose()
    said = collector("db", "redact", "results[].notes", database_url=sqlite_url)
    assert said.code == 0, said
    for name, number in (("first", 0), ("second", 1), ("third", 0)):
        assert f"{name}: results[].notes was redacted in {number} answer" in said.out
