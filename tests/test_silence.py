"""A PostgreSQL that no longer answers: what is given up, and what may take its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import sqlalchemy as sa

from collector.errors import DatabaseError
from collector.store import engine as engine_module
from collector.store.engine import migrating, open_engine, reading, writing

Transaction = Callable[[sa.Engine], AbstractContextManager[sa.Connection]]
SLOW = sa.text("SELECT 'done' FROM pg_sleep(1.5)")


@pytest.fixture
def open_impatient(
    monkeypatch: pytest.MonkeyPatch, postgresql_template: sa.URL
) -> Iterator[Callable[..., sa.Engine]]:
    """Opens engines that give up after half a second of silence."""
    monkeypatch.setattr(engine_module, "_SILENCE_SECONDS", 0.5)
    opened: list[sa.Engine] = []

    def open_(*, read_only: bool = False) -> sa.Engine:
        opened.append(open_engine(postgresql_template, read_only=read_only))
        return opened[-1]

    yield open_
    for each in opened:
        each.dispose()


@pytest.mark.parametrize("transaction", [writing, reading])
def test_a_statement_of_a_poll_that_is_not_answered_is_given_up_and_the_next_one_is_not(
    open_impatient: Callable[..., sa.Engine], transaction: Transaction
) -> None:
    engine = open_impatient()
    with pytest.raises(DatabaseError, match=r"no answer for 0\.5 s"), transaction(engine) as connection:
        connection.execute(SLOW)
    with transaction(engine) as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1, "on another connection"


@pytest.mark.parametrize(("transaction", "read_only"), [(migrating, False), (reading, True)])
def test_migrations_and_questions_may_take_their_time(
    open_impatient: Callable[..., sa.Engine], transaction: Transaction, read_only: bool
) -> None:
    with transaction(open_impatient(read_only=read_only)) as connection:
        assert connection.scalar(SLOW) == "done"


def test_an_answer_that_comes_slowly_is_not_silence(open_impatient: Callable[..., sa.Engine]) -> None:
    with writing(open_impatient()) as connection:
        rows = connection.execute(
            sa.text("SELECT repeat('x', 10000), pg_sleep(0.2) FROM generate_series(1, 6)")
        )
        assert len(rows.all()) == 6
