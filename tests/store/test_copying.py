"""Whole databases: backups of a file that is in use, and the move to another database."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database import migrate
from collector.database.backup import backup
from collector.database.engine import open_engine
from collector.database.transactions import reading, writing
from collector.errors import LeaseHeldError, UsageError
from collector.printable import counted
from collector.store import copying, lease
from collector.store.rederive import rebuild
from collector.store.sources import source_names
from collector.store.tables import metadata, sources
from tests.support.builders import answer, keystone, metrics_database, region
from tests.support.command import collector
from tests.support.databases import new_database
from tests.support.history import NOON, History, failure
from tests.support.proofs import prove

Rows = dict[str, list[dict[str, Any]]]
NewUrl = Callable[[str], str]
BOTH_WAYS = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]


def tell(engine: sa.Engine) -> list[History]:
    """Two sources, and something in every table that can hold anything."""
    histories = []
    for name in ("gcore", "preprod"):
        history = History(engine, name=name, base_url=f"https://{name}.example")
        one = region(1, "NEW", metrics_database_id=5, metrics_database=metrics_database(5))
        three = region(3, display_name="Zürich 東京 \U0001f600 'quoted'", available_volume_types=[])
        history.poll([one, region(2), three])
        history.poll([one, region(2), three])
        history.poll(failure("http_status", http_status=503, message="down\twhile ünder repair"))
        history.poll([one, region(2, state=7), {"id": "x"}, three])
        history.poll(answer([one | {"state": "ACTIVE"}], count=3))
        history.change(api_key="key-two")
        history.poll([one, region(2, keystone=keystone(1002, has_no_schema=1e400)), three])
        history.poll([])
        history.poll([one, region(2), three], at=history.at + 200)
        history.restart()
        histories.append(history)
    with writing(engine) as connection:
        connection.execute(
            sa.insert(metadata.tables["webhook_deliveries"]),
            {
                "source_id": 1,
                "receiver": "team",
                "seq": 1,
                "ordinal": 2,
                "type": "gcore-collector.appeared",
                "event": '{"a": 1}',
                "created_at": NOON,
                "attempts": 2,
                "last_error": "503",
            },
        )
        connection.execute(
            sa.insert(metadata.tables["webhook_queues"]),
            {
                "source_id": 1,
                "receiver": "team",
                "failures": 2,
                "failing_since": NOON,
                "next_try_at": NOON + timedelta(microseconds=1),
            },
        )
    prove(engine)
    return histories


def everything(engine: sa.Engine) -> Rows:
    """All rows of all tables, in the order of their keys."""
    with reading(engine) as connection:
        return {
            name: [
                dict(row)
                for row in connection.execute(
                    sa.select(table).order_by(*table.primary_key.columns)
                ).mappings()
            ]
            for name, table in metadata.tables.items()
        }


def without_leases(rows: Rows) -> Rows:
    free = {"lease_owner": None, "lease_expires_at": None}
    return rows | {"sources": [row | free for row in rows["sources"]]}


def nothing_in(engine: sa.Engine) -> bool:
    return not any(everything(engine).values())


@contextmanager
def opened(*urls: str) -> Iterator[list[sa.Engine]]:
    engines = [open_engine(url) for url in urls]
    try:
        yield engines
    finally:
        for engine in engines:
            engine.dispose()


@pytest.fixture
def new(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """Makes a new database with our schema."""
    made = iter(range(100))

    def new(dialect: str) -> str:
        if dialect == "postgresql":
            template = request.getfixturevalue("postgresql_template")
            return new_database(template, template.database).render_as_string(hide_password=False)
        path = tmp_path / f"{next(made)}.db"
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        return f"sqlite:///{path}"

    return new


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


# Backup


def test_a_backup_while_a_writer_writes_is_consistent(new: NewUrl, tmp_path: Path) -> None:
    url = new("sqlite")
    with opened(url) as (engine,):
        history = History(engine)
        many = [region(n) for n in range(1, 60)]
        history.poll(many)
        stop, written = threading.Event(), []

        def write() -> None:
            while not stop.is_set():
                state = f"STATE_{len(written)}"
                history.poll([many[0] | {"state": state}, many[1] | {"display_name": state}, *many[2:]])
                written.append(state)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            copies = []
            while len(copies) < 6 and writer.is_alive():
                if len(written) < 3 * len(copies):
                    stop.wait(0.005)
                    continue
                copies.append(tmp_path / f"backup-{len(copies)}.db")
                said = collector("db", "backup", str(copies[-1]), database_url=url)
                assert (said.code, said.err) == (0, "")
                assert said.out == f"{copies[-1]}: {copies[-1].stat().st_size:,} bytes\n"
        finally:
            stop.set()
            writer.join()
        assert len(copies) == 6
        seqs = []
        for copy in copies:
            checked = collector("db", "rebuild", "--check", database_url=f"sqlite:///{copy}")
            assert checked.code == 0, checked
            assert "nothing would change" in checked.out
            assert collector("db", "check", database_url=f"sqlite:///{copy}").code == 0
            with closing(sqlite3.connect(copy)) as connection:
                seqs.append(connection.execute("SELECT MAX(seq) FROM observations").fetchone()[0])
        assert seqs == sorted(seqs)
        assert seqs[-1] > seqs[0], "the writer wrote meanwhile"
        assert history.rebuilt().different == 0, "the original went on undisturbed"


def test_a_backup_has_all_that_was_committed_also_what_is_not_yet_in_the_file(
    new: NewUrl, tmp_path: Path
) -> None:
    url, target = new("sqlite"), tmp_path / "copy.db"
    with opened(url) as (engine,):
        tell(engine)
        assert path_of(url + "-wal").stat().st_size > 0
        size = backup(engine, target)
        assert size == target.stat().st_size
        with opened(f"sqlite:///{target}") as (copy,):
            assert everything(copy) == everything(engine)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("copy.db")} == {"copy.db"}


def test_polling_goes_on_in_a_restored_backup(new: NewUrl, tmp_path: Path) -> None:
    url, target = new("sqlite"), tmp_path / "copy.db"
    with opened(url) as (engine,):
        history, _ = tell(engine)
        backup(engine, target)
        newest = history.rows("observations", source_id=1)[-1]["seq"]
    with opened(f"sqlite:///{target}") as (copy,):
        restored = History(copy, base_url="https://gcore.example")
        assert restored.poll([region(1)], at=5000).recorded.seq == newest + 1
        assert restored.rebuilt().different == 0


def test_an_existing_target_is_refused_and_left_alone(new: NewUrl, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("something that somebody wrote")
    collector("db", "backup", str(target), database_url=new("sqlite")).refused(
        2, str(target), "exists already"
    )
    assert target.read_text() == "something that somebody wrote"
    own = new("sqlite")
    collector("db", "backup", str(path_of(own)), database_url=own).refused(2, "exists already")


def test_postgresql_is_refused_with_the_tool_that_can(new: NewUrl, tmp_path: Path) -> None:
    said = collector("db", "backup", str(tmp_path / "copy.db"), database_url=new("postgresql"))
    said.refused(2, "SQLite files only", "pg_dump")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_not_there_is_not_backed_up(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    said = collector("db", "backup", str(target), database_url=f"sqlite:///{tmp_path}/none.db")
    said.refused(1, "none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_reported(new: NewUrl, tmp_path: Path) -> None:
    target = tmp_path / "none" / "copy.db"
    said = collector("db", "backup", str(target), database_url=new("sqlite"))
    said.refused(2, str(target), "none does not exist")
    assert not target.parent.exists()


def test_a_file_where_a_folder_should_be_is_reported(new: NewUrl, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("something that somebody wrote")
    target = tmp_path / "a-file" / "copy.db"
    said = collector("db", "backup", str(target), database_url=new("sqlite"))
    said.refused(2, str(target), "a-file is not a folder")


def test_a_file_of_somebody_else_beside_the_target_stays(new: NewUrl, tmp_path: Path) -> None:
    (tmp_path / "copy.db.part").write_text("something that somebody wrote")
    assert collector("db", "backup", str(tmp_path / "copy.db"), database_url=new("sqlite")).code == 0
    assert (tmp_path / "copy.db.part").read_text() == "something that somebody wrote"
    assert sorted(path.name for path in tmp_path.glob("copy.db*")) == ["copy.db", "copy.db.part"]


def test_a_damaged_database_leaves_no_half_backup(new: NewUrl, tmp_path: Path) -> None:
    url = new("sqlite")
    with opened(url) as (engine,):
        History(engine).poll([region(n) for n in range(1, 200)])
    path = path_of(url)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\xaa" * (len(data) - len(data) // 2)
    path.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    said = collector("db", "backup", str(tmp_path / "copy.db"), database_url=url)
    said.refused(1)
    assert sorted(p for p in tmp_path.iterdir() if "copy" in p.name) == []
    assert sorted(tmp_path.iterdir())[: len(before)] == before


def test_an_interruption_leaves_no_half_backup(
    new: NewUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> Any:
            if "quick_check" in sql:
                raise KeyboardInterrupt
            return super().execute(sql, *rest)

    connect = sqlite3.connect
    with opened(new("sqlite")) as (engine,):
        tell(engine)
        monkeypatch.setattr(sqlite3, "connect", lambda path: connect(path, factory=Interrupted))
        with pytest.raises(KeyboardInterrupt):
            backup(engine, tmp_path / "copy.db")
        monkeypatch.undo()
    assert [path for path in tmp_path.iterdir() if path.name.startswith("copy")] == []


# Copy


@pytest.mark.parametrize(("dialect", "other"), BOTH_WAYS)
def test_all_rows_and_heads_are_equal_and_back_again(new: NewUrl, dialect: str, other: str) -> None:
    origin, target, back = new(dialect), new(other), new(dialect)
    with opened(origin, target, back) as (engine, sink, again):
        tell(engine)
        before = everything(engine)
        assert all(before[name] for name in metadata.tables if name != "amendments"), (
            "something in every table"
        )
        said = collector("db", "copy", "--to", target, database_url=origin)
        assert (said.code, said.err) == (0, "")
        for name, rows in before.items():
            assert f"{name}: {counted(len(rows), 'row')}\n" in said.out
        heads = {
            s["name"]: next(
                o["opening_digest"]
                for o in before["observations"]
                if (o["source_id"], o["seq"]) == (s["id"], s["newest_seq"])
            )
            for s in before["sources"]
        }
        for name, head in heads.items():
            assert f"head of {name}: {head}\n" in said.out
        assert everything(sink) == without_leases(before)
        assert everything(engine) == before, "the origin is as it was"
        copied = copying.copy(sink, again)
        assert copied.heads == heads
        assert copied.rows == {name: len(rows) for name, rows in before.items()}
        assert everything(again) == without_leases(before)
        with reading(sink) as connection:
            names = source_names(connection)
        for name in names:
            assert rebuild(sink, name, check_only=True).different == 0


@pytest.mark.long
@pytest.mark.parametrize(("dialect", "other"), BOTH_WAYS)
def test_polling_goes_on_in_the_copy_where_it_ended(new: NewUrl, dialect: str, other: str) -> None:
    with opened(new(dialect), new(other)) as (engine, sink):
        tell(engine)
        copying.copy(engine, sink)
        results = []
        for each in (engine, sink):
            history = History(each, base_url="https://gcore.example")
            seen = history.rows("observations", source_id=1)[-1]["seq"]
            history.change(api_key="key-two")
            result = history.poll([region(1), region(2)], at=1000)
            assert result.recorded.seq == seen + 1
            results.append((result.recorded.outcome, result.recorded.missing, len(history.rows("observers"))))
            third = History(each, name="third")
            assert third.poll([region(1)], at=0).recorded.seq == 1
            (row,) = third.rows("sources", name="third")
            assert row["id"] == 3, "numbered after those that were copied"
            assert row["key_salt"] == history.rows("sources")[0]["key_salt"]
            assert history.rebuilt().different == third.rebuilt().different == 0
        assert results[0] == results[1]


def test_an_equal_answer_after_the_move_extends_the_stretch(new: NewUrl) -> None:
    with opened(new("sqlite"), new("postgresql")) as (engine, sink):
        history = History(engine)
        history.poll([region(1)], at=0)
        history.restart()
        copying.copy(engine, sink)
        moved = History(sink)
        assert moved.poll([region(1)], at=60).recorded.polls == 2
        assert [(o["seq"], o["polls"]) for o in moved.rows("observations")] == [(1, 2)]
        assert [o["seq"] for o in history.rows("observations")] == [1]


@pytest.mark.parametrize(("dialect", "other"), BOTH_WAYS)
def test_a_target_that_holds_anything_is_refused(new: NewUrl, dialect: str, other: str) -> None:
    origin, target = new(dialect), new(other)
    with opened(origin, target) as (engine, sink):
        tell(engine)
        History(sink, name="mine").poll([region(9)])
        before = everything(sink)
        said = collector("db", "copy", "--to", target, database_url=origin)
        said.refused(2, "not empty; nothing was copied")
        assert everything(sink) == before


def test_a_database_is_not_copied_onto_itself(new: NewUrl) -> None:
    url = new("sqlite")
    with opened(url) as (engine,):
        tell(engine)
        before = everything(engine)
        collector("db", "copy", "--to", url, database_url=url).refused(2, "not empty")
        assert everything(engine) == before


@pytest.mark.parametrize(("dialect", "other"), BOTH_WAYS)
def test_a_source_that_is_polled_is_not_moved_away_under_its_writer(
    new: NewUrl, dialect: str, other: str
) -> None:
    origin, target = new(dialect), new(other)
    with opened(origin, target) as (engine, sink):
        tell(engine)
        held = lease.acquire(engine, "preprod", "another-host:42:abc")
        said = collector("db", "copy", "--to", target, database_url=origin)
        said.refused(3, "'preprod'", "another-host:42:abc", "stop it first")
        assert nothing_in(sink)
        lease.release(engine, held)
        assert collector("db", "copy", "--to", target, database_url=origin).code == 0


@pytest.mark.parametrize(("dialect", "other"), BOTH_WAYS)
@pytest.mark.parametrize("name", ["gcore", "new"])
def test_a_poll_while_it_copies_is_not_left_behind(new: NewUrl, dialect: str, other: str, name: str) -> None:
    """Also one that a timer made, and that is over."""
    polled: list[History] = []
    with opened(new(dialect), new(other)) as (engine, sink):
        tell(engine)

        def poll_once(table: str, _rows: int) -> None:
            if table == "observations" and not polled:
                polled.append(History(engine, name=name, base_url="https://gcore.example"))
                polled[0].poll([region(1, "MAINTENANCE")], at=1000)
                polled[0].restart()

        with pytest.raises(LeaseHeldError, match="started to poll during the copy"):
            copying.copy(engine, sink, poll_once)
        assert polled
        assert nothing_in(sink)
        copying.copy(engine, sink)


def test_a_lease_that_ran_out_is_no_obstacle_and_is_not_copied(new: NewUrl) -> None:
    with opened(new("sqlite"), new("postgresql")) as (engine, sink):
        tell(engine)
        lease.acquire(engine, "gcore", "dead")
        with writing(engine) as connection:
            connection.execute(sa.update(sources).values(lease_expires_at=NOON))
        copying.copy(engine, sink)
        assert {(s["lease_owner"], s["lease_expires_at"]) for s in everything(sink)["sources"]} == {
            (None, None)
        }
        epochs = [[s["lease_epoch"] for s in everything(each)["sources"]] for each in (engine, sink)]
        assert epochs[0] == epochs[1], "so that the dead writer stays fenced out"


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the cursor on the origin stays open
@pytest.mark.parametrize(("dialect", "other"), BOTH_WAYS[:2])
@pytest.mark.parametrize("table", ["observers", "observations", "webhook_deliveries"])
def test_a_failure_in_the_middle_leaves_the_target_empty(
    new: NewUrl, dialect: str, other: str, table: str
) -> None:
    with opened(new(dialect), new(other)) as (engine, sink):
        tell(engine)

        def unplugged(name: str, rows: int) -> None:
            if name == table:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copying.copy(engine, sink, unplugged)
        assert nothing_in(sink)
        counted: dict[str, int] = {}
        copying.copy(engine, sink, lambda name, rows: counted.update({name: counted.get(name, 0) + rows}))
        assert counted == {name: len(rows) for name, rows in everything(engine).items() if rows}


def test_a_row_that_the_target_refuses_leaves_it_empty(new: NewUrl) -> None:
    with opened(new("sqlite"), new("postgresql")) as (engine, sink):
        tell(engine)
        with writing(engine) as connection:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            connection.exec_driver_sql("UPDATE regions SET country = 'a' || char(0) || 'b' WHERE id = 1")
        with pytest.raises(sa.exc.DBAPIError):
            copying.copy(engine, sink)
        assert nothing_in(sink)


@pytest.mark.parametrize("batch", [1, 3])
def test_what_does_not_fit_into_one_batch_is_copied_too(
    new: NewUrl, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(copying, "BATCH", batch)
    for dialect, other in BOTH_WAYS[:2]:
        with opened(new(dialect), new(other)) as (engine, sink):
            tell(engine)
            copying.copy(engine, sink)
            assert everything(sink) == without_leases(everything(engine))


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_another_schema_in_the_target_is_refused(new: NewUrl, dialect: str) -> None:
    origin, target = new("sqlite"), new(dialect)
    with opened(origin, target) as (engine, sink):
        tell(engine)
        with writing(sink) as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
        said = collector("db", "copy", "--to", target, database_url=origin)
        said.refused(2, "0000", migrate.newest_revision(), "upgrade it first")
        assert nothing_in(sink)


def test_a_target_without_tables_gets_them(new: NewUrl, empty_database_url: str) -> None:
    origin = new("sqlite")
    with opened(origin, empty_database_url) as (engine, sink):
        tell(engine)
        assert collector("db", "copy", "--to", empty_database_url, database_url=origin).code == 0
        assert everything(sink) == without_leases(everything(engine))
        assert collector("db", "check", database_url=empty_database_url).code == 0


def test_a_target_that_does_not_answer_is_shown_without_its_password(new: NewUrl) -> None:
    said = collector(
        "db", "copy", "--to", "postgresql://u:canary7f@127.0.0.1:1/x", database_url=new("sqlite")
    )
    said.refused(1, "127.0.0.1")
    assert "canary7f" not in said.err


def test_the_functions_refuse_by_errors_that_commands_know(new: NewUrl, tmp_path: Path) -> None:
    with opened(new("sqlite"), new("sqlite")) as (engine, sink):
        tell(engine)
        tell(sink)
        with pytest.raises(UsageError, match="not empty"):
            copying.copy(engine, sink)
        lease.acquire(engine, "gcore", "somebody")
        with pytest.raises(LeaseHeldError, match="somebody"):
            copying.copy(engine, sink)
        with pytest.raises(UsageError, match="does not exist"):
            backup(engine, tmp_path / "none" / "copy.db")


def test_an_origin_that_is_not_there_is_reported(new: NewUrl, tmp_path: Path) -> None:
    missing = tmp_path / "typo.db"
    said = collector("db", "copy", "--to", new("sqlite"), database_url=f"sqlite:///{missing}")
    assert not missing.exists()
    assert said.code == 1


def test_a_target_that_is_no_url_is_reported_as_such(new: NewUrl) -> None:
    said = collector("db", "copy", "--to", "nonsense", database_url=new("sqlite"))
    assert said.code == 2
    assert "--to" in said.err
