"""One writer per source: who may write, who may not any more, and what is checked before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from time import sleep
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.timeouts import LEASE_SECONDS
from collector.database.transactions import writing
from collector.errors import LeaseHeldError, LeaseLostError, ObserverChangedError, SchemaError
from collector.settings.models import Source
from collector.store import lease
from collector.store.opening import open_writer
from collector.store.rederive import rebuild
from collector.store.tables import DERIVATION_REVISION, metadata, regions, sources, state_transitions
from tests.support.builders import answer, body, region
from tests.support.command import collector
from tests.support.databases import copy_of
from tests.support.history import History
from tests.support.loopback import Peer, Server, reply
from tests.support.services import until

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def expire(engine: sa.Engine) -> None:
    set_source(engine, lease_expires_at=LONG_AGO)


def set_source(engine: sa.Engine, **values: Any) -> None:
    with writing(engine) as connection:
        connection.execute(sa.update(sources).values(**values))


def source_row(engine: sa.Engine) -> dict[str, Any]:
    return History(engine).row("sources")


def everything(engine: sa.Engine) -> dict[str, list[dict[str, Any]]]:
    history = History(engine)
    return {name: history.rows(name) for name in metadata.tables}


@pytest.fixture
def other_database(engine: sa.Engine, tmp_path: Path) -> Iterator[sa.Engine]:
    """Another database with our schema, of the same kind."""
    with copy_of(engine, tmp_path / "other.db") as other:
        yield other


# Who may write


def test_nobody_else_gets_a_lease_while_it_is_held_and_learns_who_holds_it(engine: sa.Engine) -> None:
    first = lease.acquire(engine, "gcore", "host-a:1:xyz")
    with pytest.raises(LeaseHeldError, match="host-a:1:xyz") as raised:
        lease.acquire(engine, "gcore", "host-b:2:abc")
    assert "gcore" in str(raised.value)
    assert raised.value.exit_code == 3
    row = source_row(engine)
    assert (row["lease_owner"], row["lease_epoch"]) == ("host-a:1:xyz", first.epoch)


def test_a_lease_is_kept_while_a_large_answer_is_read_unless_another_took_it(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "KEEP_SECONDS", 0.01)
    ours = lease.acquire(engine, "gcore", "one")
    with lease.kept(engine, ours):
        set_source(engine, lease_expires_at=datetime.now(UTC) + timedelta(seconds=5))
        until(lambda: left(engine) > timedelta(seconds=LEASE_SECONDS - 10), 30)
        expire(engine)
        until(lambda: left(engine) > timedelta(seconds=LEASE_SECONDS - 10), 30)
        set_source(engine, lease_owner="two", lease_epoch=ours.epoch + 1, lease_expires_at=LONG_AGO)
        sleep(0.2)
        assert source_row(engine)["lease_expires_at"] == LONG_AGO


def test_polling_once_keeps_its_lease_while_it_waits_and_reads(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "KEEP_SECONDS", 0.01)

    def answer_late(peer: Peer) -> None:
        expire(engine)
        until(lambda: left(engine) > timedelta(0), 30)
        reply(body=body(answer([region(1)])))(peer)

    url = engine.url.render_as_string(hide_password=False)
    with Server(answer_late) as server:
        said = collector("poll", database_url=url, base_url=server.url, api_key="key-one")
    assert (said.code, said.err) == (0, "")


def left(engine: sa.Engine) -> timedelta:
    ends = source_row(engine)["lease_expires_at"]
    assert isinstance(ends, datetime)
    return ends - datetime.now(UTC)


def test_a_lease_lasts_as_long_as_it_says_by_the_databases_clock(engine: sa.Engine) -> None:
    lease.acquire(engine, "gcore", "one")
    left = source_row(engine)["lease_expires_at"] - datetime.now(UTC)
    assert timedelta(seconds=LEASE_SECONDS - 10) < left <= timedelta(seconds=LEASE_SECONDS + 1)


def test_every_write_renews_the_lease(history: History) -> None:
    history.poll([region(1)])
    soon = datetime.now(UTC) + timedelta(seconds=5)
    set_source(history.engine, lease_expires_at=soon)
    history.poll([region(1)])
    assert history.row("sources")["lease_expires_at"] > soon + timedelta(seconds=30)


def test_each_source_has_a_lease_of_its_own(engine: sa.Engine) -> None:
    one = lease.acquire(engine, "one", "a")
    two = lease.acquire(engine, "two", "b")
    assert one.source_id != two.source_id


def test_a_lease_that_ran_out_goes_to_the_next_and_the_epoch_grows(engine: sa.Engine) -> None:
    first = lease.acquire(engine, "gcore", "one")
    expire(engine)
    second = lease.acquire(engine, "gcore", "two")
    assert second.epoch > first.epoch
    assert second.source_id == first.source_id
    assert source_row(engine)["lease_owner"] == "two"


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(days=3650)])
def test_a_lease_from_a_clock_of_the_database_that_was_set_back_locks_nobody_out(
    history: History, ahead: timedelta
) -> None:
    history.poll([region(1)])
    set_source(history.engine, lease_expires_at=source_row(history.engine)["lease_expires_at"] + ahead)
    assert lease.free(history.engine) == {"gcore"}
    second = lease.acquire(history.engine, "gcore", "two")
    with pytest.raises(LeaseLostError):
        history.poll([region(2)])
    assert second.epoch == history.writer.lease.epoch + 1
    assert source_row(history.engine)["lease_expires_at"] < datetime.now(UTC) + timedelta(
        seconds=LEASE_SECONDS + 5
    )


def test_a_lease_from_such_a_clock_is_shortened_while_its_holder_lives(history: History) -> None:
    history.poll([region(1)])
    set_source(history.engine, lease_expires_at=datetime.now(UTC) + timedelta(days=3650))
    lease.renew(history.engine, history.owner, [history.writer.lease])
    assert lease.free(history.engine) == set()
    with pytest.raises(LeaseHeldError):
        lease.acquire(history.engine, "gcore", "two")


def test_a_small_correction_of_the_databases_clock_costs_nobody_the_lease(history: History) -> None:
    history.poll([region(1)])
    ends = source_row(history.engine)["lease_expires_at"]
    set_source(history.engine, lease_expires_at=ends + timedelta(seconds=LEASE_SECONDS / 2))
    with pytest.raises(LeaseHeldError):
        lease.acquire(history.engine, "gcore", "two")
    history.poll([region(1)])
    assert source_row(history.engine)["lease_expires_at"] < ends + timedelta(seconds=LEASE_SECONDS / 4)


def test_a_writer_that_was_replaced_learns_it_and_has_written_nothing(history: History) -> None:
    history.poll([region(1, "NEW")])
    expire(history.engine)
    lease.acquire(history.engine, "gcore", "the successor")
    before = everything(history.engine)
    with pytest.raises(LeaseLostError):
        history.poll([region(1, "ACTIVE"), region(2)])
    assert everything(history.engine) == before


def test_a_writer_whose_lease_ran_out_writes_nothing_even_if_nobody_took_it(history: History) -> None:
    history.poll([region(1, "NEW")])
    expire(history.engine)
    before = everything(history.engine)
    with pytest.raises(LeaseLostError):
        history.poll([region(1, "ACTIVE")])
    assert everything(history.engine) == before


def test_a_process_that_takes_its_lease_again_fences_its_own_older_writer(history: History) -> None:
    history.poll([region(1, "NEW")])
    again = lease.acquire(history.engine, "gcore", history.owner)
    assert again.epoch > history.writer.lease.epoch
    with pytest.raises(LeaseLostError):
        history.poll([region(1, "ACTIVE")])


def test_a_released_lease_is_free_at_once_and_its_epoch_is_not_used_again(engine: sa.Engine) -> None:
    first = lease.acquire(engine, "gcore", "one")
    lease.release(engine, first)
    row = source_row(engine)
    assert (row["lease_owner"], row["lease_expires_at"]) == (None, None)
    second = lease.acquire(engine, "gcore", "two")
    assert second.epoch > first.epoch


def test_releasing_a_lease_that_went_to_another_leaves_it_with_the_other(engine: sa.Engine) -> None:
    first = lease.acquire(engine, "gcore", "one")
    expire(engine)
    lease.acquire(engine, "gcore", "two")
    lease.release(engine, first)
    assert source_row(engine)["lease_owner"] == "two"


def test_waiting_for_a_lease_ends_when_it_is_given_back(engine: sa.Engine) -> None:
    first = lease.acquire(engine, "gcore", "one")
    rounds: list[float] = []

    def pause(seconds: float) -> None:
        rounds.append(seconds)
        lease.release(engine, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "sleep", pause)
        second = lease.acquire(engine, "gcore", "two", wait_seconds=30)
    assert second.owner == "two"
    assert len(rounds) == 1


def test_a_lease_that_is_given_back_while_its_holder_is_looked_up_is_taken(engine: sa.Engine) -> None:
    first = lease.acquire(engine, "gcore", "one")
    really_execute = sa.Connection.execute
    is_over = False

    def execute(connection: sa.Connection, statement: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal is_over
        if isinstance(statement, sa.Select) and not is_over and "lease_owner" in str(statement):
            # On SQLite nobody else can write now; what stands there by another's commit is the same.
            is_over = True
            connection.execute(sa.update(sources).values(lease_owner=None, lease_expires_at=None))
        return really_execute(connection, statement, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sa.Connection, "execute", execute)
        second = lease.acquire(engine, "gcore", "two")
    assert (second.owner, second.epoch) == ("two", first.epoch + 1)


def test_two_processes_never_have_the_same_name() -> None:
    assert lease.process_name() != lease.process_name()


# A holder that has exited


@pytest.fixture
def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_holder_that_died_on_this_host_is_replaced_at_once(engine: sa.Engine, dead_process: int) -> None:
    dead = lease.process_name().replace(f":{os.getpid()}:", f":{dead_process}:")
    first = lease.acquire(engine, "gcore", dead)
    assert lease.is_dead(dead)
    assert lease.acquire(engine, "gcore", "two").epoch == first.epoch + 1


def test_a_holder_whose_number_another_process_has_now_is_waited_for(engine: sa.Engine) -> None:
    lease.acquire(engine, "gcore", lease.process_name())
    with pytest.raises(LeaseHeldError):
        lease.acquire(engine, "gcore", "two")


@pytest.mark.parametrize(
    "here",
    [
        pytest.param(lambda here: here[:-8] + "0" * 8, id="a machine or container of the same name"),
        pytest.param(lambda here: here[:-9], id="a system that does not tell"),
        pytest.param(lambda here: "x" + here, id="another host"),
        pytest.param(lambda here: f"{here}:1", id="a name with colons"),
    ],
)
def test_a_holder_elsewhere_is_never_taken_for_dead(
    engine: sa.Engine, dead_process: int, here: Callable[[str], str]
) -> None:
    elsewhere = f"{here(lease._here())}:{dead_process}:abcdef"
    lease.acquire(engine, "gcore", elsewhere)
    assert not lease.is_dead(elsewhere)
    with pytest.raises(LeaseHeldError):
        lease.acquire(engine, "gcore", "two")


def test_machines_cloned_from_one_image_are_two_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same host name, same machine id, same number of the first process namespace; but each was started for itself."""
    really = Path.read_text
    places = set()
    for boot in ("one", "two"):

        def read(path: Path, *a: Any, boot: str = boot, **k: Any) -> str:
            return boot if path.name == "boot_id" else really(path, *a, **k)

        monkeypatch.setattr(Path, "read_text", read)
        places.add(lease._here())
    assert len(places) == 2


# Who looked


def test_a_fingerprint_tells_keys_apart_without_telling_what_they_are(
    engine: sa.Engine, other_database: sa.Engine
) -> None:
    one, two = lease.acquire(engine, "one", "a"), lease.acquire(engine, "two", "a")
    elsewhere = lease.acquire(other_database, "one", "a")
    key = "1234$abcdef"
    assert one.fingerprint(key) == two.fingerprint(key), "the same key is known across sources"
    assert one.fingerprint(key) != one.fingerprint(key + "0")
    assert one.fingerprint(key) != elsewhere.fingerprint(key), "but not across databases"
    assert key not in one.fingerprint(key)
    assert len(one.fingerprint(key)) == 32


def test_the_first_sources_of_a_database_share_a_salt_even_if_they_come_at_once(engine: sa.Engine) -> None:
    together = Barrier(4)

    def acquire(source: str) -> lease.Lease:
        together.wait()
        return lease.acquire(engine, source, "a")

    for round_ in range(5):
        with ThreadPoolExecutor(4) as pool:
            leases = list(pool.map(acquire, [f"{round_}-{n}" for n in range(4)]))
        assert len({each.salt for each in leases}) == 1
        with writing(engine) as connection:
            connection.execute(sa.delete(sources))


def test_a_fingerprint_is_the_same_after_a_restart(history: History) -> None:
    history.poll([region(1)])
    history.restart()
    history.poll([region(1)])
    assert len(history.rows("observers")) == 1


def test_another_base_url_under_a_known_name_is_refused_and_the_lease_given_back(history: History) -> None:
    history.poll([region(1)])
    history.restart()
    moved = Source(name="gcore", api_key="key-one", base_url="https://other.example")
    with pytest.raises(ObserverChangedError) as raised:
        open_writer(history.engine, moved, "one")
    for named in ("https://other.example", "https://api.gcore.com", "--accept-base-url", "COLLECTOR_SOURCE"):
        assert named in str(raised.value)
    row = history.row("sources")
    assert (row["lease_owner"], row["lease_expires_at"]) == (None, None)
    accepted = open_writer(history.engine, moved, "one", accept_base_url=True)
    assert accepted.lease.owner == "one"


def test_another_key_or_scheme_at_the_same_address_is_not_refused(history: History) -> None:
    history.poll([region(1)])
    history.restart()
    for changed in (
        {"api_key": "key-two"},
        {"auth_scheme": "bearer"},
        {"base_url": "https://api.gcore.com/"},
    ):
        source = Source(**({"name": "gcore", "api_key": "key-one"} | changed))
        lease.release(history.engine, open_writer(history.engine, source, "one").lease)


# By which rules the history was derived


def test_a_history_that_a_newer_version_derived_is_refused_and_the_lease_given_back(
    history: History,
) -> None:
    history.poll([region(1)])
    history.restart()
    set_source(history.engine, derivation_revision=DERIVATION_REVISION + 1)
    before = everything(history.engine)
    with pytest.raises(SchemaError, match="newer version"):
        open_writer(history.engine, history.source, "one")
    after = everything(history.engine)
    assert after["sources"][0]["lease_owner"] is None
    assert {name: rows for name, rows in after.items() if name != "sources"} == {
        name: rows for name, rows in before.items() if name != "sources"
    }


def test_a_history_that_older_rules_derived_is_derived_again_before_the_first_poll(history: History) -> None:
    history.poll([region(1, "NEW"), region(2)])
    history.poll([region(1, "ACTIVE"), region(2)])
    history.restart()
    good = everything(history.engine)
    with writing(history.engine) as connection:
        connection.execute(sa.update(regions).where(regions.c.id == 1).values(state="WRONG"))
        connection.execute(sa.delete(state_transitions).where(state_transitions.c.seq == 2))
    set_source(history.engine, derivation_revision=DERIVATION_REVISION - 1)
    open_writer(history.engine, history.source, "one")
    after = everything(history.engine)
    assert after["sources"][0]["derivation_revision"] == DERIVATION_REVISION
    assert after["sources"][0]["lease_owner"] == "one"
    del good["sources"], after["sources"]
    assert after == good


def test_the_lease_is_kept_while_a_long_history_is_derived_again(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "KEEP_SECONDS", 0.01)
    history.poll([region(1)])
    history.restart()
    set_source(history.engine, derivation_revision=DERIVATION_REVISION - 1)
    signs_of_life: list[str] = []

    def rebuild_for_long(*given: Any, **named: Any) -> None:
        expire(history.engine)
        until(lambda: left(history.engine) > timedelta(0), 30)
        rebuild(*given, **named)

    monkeypatch.setattr("collector.store.opening.rebuild", rebuild_for_long)
    open_writer(history.engine, history.source, "one", alive=lambda: signs_of_life.append("one"))
    row = history.row("sources")
    assert (row["lease_owner"], row["derivation_revision"]) == ("one", DERIVATION_REVISION)
    assert signs_of_life == ["one"]


def test_a_rebuild_that_fails_gives_the_lease_back(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    history.poll([region(1)])
    history.restart()
    set_source(history.engine, derivation_revision=DERIVATION_REVISION - 1)
    monkeypatch.setattr("collector.store.opening.rebuild", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_writer(history.engine, history.source, "one")
    row = history.row("sources")
    assert (row["lease_owner"], row["derivation_revision"]) == (None, DERIVATION_REVISION - 1)


def test_the_newest_rules_are_not_applied_again(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    history.poll([region(1)])
    history.restart()
    monkeypatch.setattr("collector.store.opening.rebuild", lambda *_, **__: 1 / 0)
    open_writer(history.engine, history.source, "one")
