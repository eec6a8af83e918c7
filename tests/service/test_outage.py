"""A database that is away: nobody's thread is held up by it, and nothing that was kept is lost to another replica."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from collector.database import timeouts
from collector.database.engine import open_engine
from collector.database.silence import ImpatientConnection
from collector.database.transactions import waiting_at_most, writing
from collector.errors import DatabaseAwayError, DatabaseError, LeaseHeldError
from collector.service.outage import Outage
from collector.service.runner import SPARED
from collector.store.tables import sources
from tests.support.builders import region
from tests.support.databases import new_database, outage
from tests.support.services import Polled
from tests.support.wire import Wire

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def test_only_one_tries_while_the_database_is_away() -> None:
    away = Outage()
    with pytest.raises(DatabaseAwayError, match="silent"), away.using():
        raise DatabaseAwayError("silent")
    with pytest.raises(DatabaseAwayError, match="still silent"), away.using():  # noqa: PT012
        with pytest.raises(DatabaseAwayError, match="silent"), away.using():
            pytest.fail("another one tries it already")
        raise DatabaseAwayError("still silent")
    with away.using(), pytest.raises(DatabaseAwayError, match="still silent"), away.using():
        pytest.fail("another one tries it already")
    with away.using(), away.using():
        pass  # the trial succeeded


@pytest.mark.parametrize(
    "error", [LeaseHeldError("held"), DatabaseError("no such table"), RuntimeError("a bug")]
)
def test_any_other_error_comes_from_a_database_that_is_there(error: Exception) -> None:
    away = Outage()
    with pytest.raises(DatabaseAwayError), away.using():
        raise DatabaseAwayError
    with pytest.raises(type(error)), away.using():
        raise error
    with away.using(), away.using():
        pass


@pytest.fixture
def wire(
    postgresql_template: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Wire, sa.Engine, sa.Engine]]:
    """A wire to a database, and the database through it and directly."""
    monkeypatch.setattr(timeouts, "CONNECT_SECONDS", 2)  # the least that libpq accepts
    database = new_database(postgresql_template, postgresql_template.database)
    with Wire(Path(str(database.query["host"])) / ".s.PGSQL.5432") as wire:
        far = open_engine(database.difference_update_query(["host"]).set(host="127.0.0.1", port=wire.port))
        near = open_engine(database)
        yield wire, far, near
        wire.restore()
        far.dispose()
        near.dispose()


def test_a_silent_database_holds_up_one_thread_and_every_answer_is_kept(
    wire: tuple[Wire, sa.Engine, sa.Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    way, far, near = wire
    away = Outage()
    names = [f"source-{number}" for number in range(20)]
    polled = [Polled(far, name, away=away) for name in names]
    for each in polled:
        each.turn()
    connects = threading.Semaphore(0)
    connect = ImpatientConnection.connect

    def connecting(*arguments: Any, **more: Any) -> Any:
        connects.release()
        return connect(*arguments, **more)

    monkeypatch.setattr(ImpatientConnection, "connect", connecting)
    way.cut()
    polled[0].turn()
    assert polled[0].runner.condition == "database"
    trying = threading.Thread(target=polled[0].turn)
    while connects.acquire(blocking=False):
        pass
    trying.start()
    assert connects.acquire(timeout=30), "one tries to connect"
    for each in polled[1:]:
        each.turn()
        each.turn()
    assert trying.is_alive(), "all others were polled twice while it tried"
    assert not connects.acquire(blocking=False)
    trying.join()
    assert [each.runner.kept for each in polled] == [2] * 20
    way.restore()
    for each in polled:
        each.turn()
    assert [each.runner.kept for each in polled] == [0] * 20
    with near.connect() as connection:
        query = (
            "SELECT s.name, SUM(o.polls) FROM observations o JOIN sources s ON s.id = o.source_id GROUP BY 1"
        )
        polls = {name: int(number) for name, number in connection.exec_driver_sql(query)}
    assert polls == dict.fromkeys(names, 4)


# Another replica


@pytest.fixture
def both(engine: sa.Engine) -> tuple[Polled, Polled]:
    """Two replicas for which the database was away for so long that the first one's lease has expired."""
    impatient = waiting_at_most(engine, 0.02)
    first, second = Polled(impatient), Polled(impatient)
    first.turn([region(1, "NEW")])
    second.turn()
    assert second.runner.condition == "standby"
    url = engine.url.render_as_string(hide_password=False)
    with outage(url):
        for _ in range(3):
            first.turn([region(1, "MAINTENANCE")])
            second.turn()
    assert (first.runner.condition, second.runner.condition) == ("database", "database")
    with writing(engine) as connection:
        connection.execute(sa.update(sources).values(lease_expires_at=LONG_AGO))
    return first, second


def test_the_one_that_polled_before_an_outage_may_write_what_it_kept(both: tuple[Polled, Polled]) -> None:
    first, second = both
    with capture_logs() as lines:
        second.turn(seconds=1.0)
        assert second.runner.condition == "standby"
        first.turn([region(1, "ACTIVE")])
    assert [line["outcome"] for line in lines if line["event"] == "poll"] == ["ok"] * 4
    assert first.runner.kept == 0
    second.turn()
    assert second.runner.condition == "standby"


def test_it_has_some_seconds_and_then_another_one_takes_over(both: tuple[Polled, Polled]) -> None:
    _, second = both
    seconds = SPARED.total_seconds()
    second.turn(seconds=1.0)
    second.turn(seconds=seconds - 2.0)
    assert second.runner.condition == "standby"
    second.turn(seconds=3.0)
    assert second.runner.condition is None


def test_a_clock_that_is_set_back_does_not_make_that_longer(both: tuple[Polled, Polled]) -> None:
    _, second = both
    second.turn(seconds=1.0)
    assert second.runner.condition == "standby"
    second.turn(seconds=-3600.0)
    assert second.runner.held is not None


def test_a_replica_that_did_not_lose_the_database_takes_over_at_once(engine: sa.Engine) -> None:
    first, second = Polled(engine), Polled(engine)
    first.turn()
    second.turn()
    with writing(engine) as connection:
        connection.execute(sa.update(sources).values(lease_expires_at=LONG_AGO))
    second.turn()
    assert second.runner.condition is None
