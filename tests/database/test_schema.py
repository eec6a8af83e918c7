"""The schema: models and migrations are one, on both databases; and how the engine opens them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from collector.database import migrate, timeouts
from collector.database.engine import open_engine
from collector.database.timeouts import LEASE_SECONDS
from collector.database.transactions import reading, writing
from collector.database.types import UtcTime
from collector.errors import DatabaseError
from collector.reports import views
from collector.store.tables import metadata, sources
from tests.support.builders import MISSING, answer, metrics_database, region
from tests.support.command import process
from tests.support.databases import new_database
from tests.support.history import History, failure
from tests.support.paths import ROOT
from tests.support.proofs import prove
from tests.support.schemas import alembic, described, described_views

# What a database says of itself


def another_database(url: str, tmp_path: Path) -> str:
    """An empty database of the same kind."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return f"sqlite:///{tmp_path / 'another.db'}"
    return new_database(parsed).render_as_string(hide_password=False)


@pytest.fixture
def empty_engine(empty_database_url: str) -> Iterator[sa.Engine]:
    engine = open_engine(empty_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql_engine(postgresql_template: sa.URL) -> Iterator[sa.Engine]:
    engine = open_engine(new_database(postgresql_template, postgresql_template.database))
    yield engine
    engine.dispose()


def fill(history: History) -> None:
    """Leave rows in every table that a poller fills: `amendments` only has those of who prunes or redacts."""
    history.poll([region(1, "NEW", metrics_database_id=1, metrics_database=metrics_database()), region(2)])
    history.poll(answer([region(1)], count=2))
    history.poll(failure())
    history.poll([region(1), region(2, unknown=True), region(3, keystone=MISSING), {"id": "no"}])
    history.poll([region(1), region(2), region(3)], at=history.at + 600)
    with writing(history.engine) as connection:
        webhook = {
            "source_id": 1,
            "receiver": "r",
            "seq": 1,
            "ordinal": 1,
            "type": "t",
            "event": "{}",
            "created_at": history.time(0),
            "attempts": 0,
        }
        connection.execute(sa.insert(metadata.tables["webhook_deliveries"]), webhook)
        queue = {"source_id": 1, "receiver": "r", "failures": 0}
        connection.execute(sa.insert(metadata.tables["webhook_queues"]), queue)
    prove(history.engine)
    filled = metadata.tables.keys() - {"amendments"}
    assert all(history.rows(table) for table in filled), "a table has no row"


# Models and migrations


def test_the_revisions_that_commands_know_are_those_of_alembic() -> None:
    scripts = ScriptDirectory.from_config(migrate._config())
    assert [script.revision for script in scripts.walk_revisions()] == migrate._revisions()[::-1]
    assert migrate.newest_revision() == scripts.get_current_head()
    assert migrate.is_known("0001")
    assert not migrate.is_known("9999")


def test_the_models_are_what_the_migrations_make(engine: sa.Engine, tmp_path: Path) -> None:
    by_models = open_engine(another_database(engine.url.render_as_string(hide_password=False), tmp_path))
    with writing(by_models) as connection:
        metadata.create_all(connection)
    migrated, modelled = described(engine), described(by_models)
    by_models.dispose()
    assert migrated.keys() == modelled.keys()
    for what, is_so in modelled.items():
        assert migrated[what] == is_so, what
    tables = set(metadata.tables)
    if engine.dialect.name == "sqlite":
        assert {what.removeprefix("table ") for what in migrated if what.startswith("table ")} >= tables
    else:
        assert {name for name, kind, _ in migrated["tables"] if kind == "r"} == tables


def test_up_down_and_up_again_with_rows_in_every_table(engine: sa.Engine) -> None:
    before, views_before = described(engine), described_views(engine)
    fill(History(engine))
    migrate.downgrade(engine, "base")
    with reading(engine) as connection:
        assert set(sa.inspect(connection).get_table_names()) == {"alembic_version"}
        assert not sa.inspect(connection).get_view_names()
    assert migrate.current_revision(engine) is None
    migrate.upgrade(engine)
    assert (described(engine), described_views(engine)) == (before, views_before)
    assert migrate.current_revision(engine) == migrate.newest_revision()
    fill(History(engine))


@pytest.mark.long
def test_plain_alembic_makes_the_very_same_schema_as_the_command_and_goes_back_with_rows(
    empty_database_url: str, tmp_path: Path
) -> None:
    by_alembic, by_command = empty_database_url, another_database(empty_database_url, tmp_path)
    alembic(by_alembic, "upgrade", "head")
    done = process("db", "upgrade", database_url=by_command)
    assert done.code == 0, done.err
    one, other = open_engine(by_alembic), open_engine(by_command)
    assert described(one) == described(other)
    assert described_views(one) == described_views(other)
    assert set(described_views(one)) == set(views.NAMES)
    fill(History(one))
    one.dispose()
    alembic(by_alembic, "downgrade", "base")
    with reading(one) as connection:
        assert set(sa.inspect(connection).get_table_names()) == {"alembic_version"}
        assert not sa.inspect(connection).get_view_names()
    one.dispose()
    alembic(by_alembic, "upgrade", "head")
    assert described(one) == described(other)
    fill(History(one))
    one.dispose()
    other.dispose()


def test_a_second_upgrade_changes_nothing(engine: sa.Engine) -> None:
    fill(History(engine))
    before = described(engine), described_views(engine), History(engine).rows("observations")
    migrate.upgrade(engine)
    assert before == (described(engine), described_views(engine), History(engine).rows("observations"))


def test_an_upgrade_that_breaks_half_way_leaves_the_database_empty(
    empty_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.current_revision(empty_engine)
    monkeypatch.setattr(views, "install", lambda connection: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        migrate.upgrade(empty_engine)
    monkeypatch.undo()
    assert not any(described(empty_engine).values())
    assert migrate.current_revision(empty_engine) is None
    migrate.upgrade(empty_engine)
    assert migrate.current_revision(empty_engine) == migrate.newest_revision()


def test_every_table_and_column_has_a_comment_that_the_database_knows(postgresql_engine: sa.Engine) -> None:
    found = described(postgresql_engine)
    assert [name for name, kind, comment in found["tables"] if kind == "r" and not comment] == []
    assert [f"{row[0]}.{row[2]}" for row in found["columns"] if not row[-1]] == []
    for table in metadata.tables.values():
        assert table.comment, table.name
        for column in table.columns:
            assert column.comment, f"{table.name}.{column.name}"


def test_postgresql_says_of_tables_and_columns_what_the_dictionary_says(
    postgresql_engine: sa.Engine,
) -> None:
    """Also of those that an earlier migration made: comments are compared after all migrations."""
    with reading(postgresql_engine) as connection:
        rows = connection.exec_driver_sql(
            "SELECT c.relname, a.attname, col_description(c.oid, a.attnum)"
            " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE c.relkind = 'r' AND c.relnamespace = CURRENT_SCHEMA()::regnamespace"
            " UNION ALL SELECT relname, NULL, obj_description(oid, 'pg_class') FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = CURRENT_SCHEMA()::regnamespace"
        )
        found = {(table, column): comment for table, column, comment in rows}
    expected = {(t.name, None): t.comment for t in metadata.tables.values()}
    expected |= {(t.name, c.name): c.comment for t in metadata.tables.values() for c in t.columns}
    assert {k: v for k, v in found.items() if k[0] != "alembic_version"} == expected
    own = {column: comment for (table, column), comment in found.items() if table == "alembic_version"}
    assert set(own) == {None, "version_num", "views_digest"}
    assert all(own.values())
    assert not re.search("[0-9a-f]{32}", " ".join(own.values()))


def test_every_constraint_has_a_name_of_ours(postgresql_engine: sa.Engine, sqlite_engine: sa.Engine) -> None:
    prefixes = {"p": "pk_", "f": "fk_", "c": "ck_", "u": "uq_"}
    for table, name, kind, *_ in described(postgresql_engine)["constraints"]:
        if kind in prefixes:
            assert name.startswith(prefixes[kind] + table), f"{table}: {name}"
    for what, found in described(sqlite_engine).items():
        if what.startswith("table ") and what != "table sqlite_sequence":
            constraints = found["parts"][len(found["columns"]) :]
            assert constraints, what
            assert [c for c in constraints if not re.match(r"CONSTRAINT (pk|fk|ck|uq)_\w+ ", c)] == []
            columns = " ".join(found["parts"][: len(found["columns"])])
            # A column that was added to a table of SQLite has its constraint beside it: under a name as well.
            columns = re.sub(r"CONSTRAINT ck_\w+ CHECK\b", "", columns)
            assert not re.search(r"\b(CHECK|REFERENCES|UNIQUE|PRIMARY)\b", columns), what


def test_no_sql_is_newer_than_postgresql_14() -> None:
    files = [*(ROOT / "migrations").rglob("*.py"), *(ROOT / "collector").rglob("*.py")]
    texts = {str(path): path.read_text() for path in files}
    texts |= {name: views.definition(name, "postgresql") for name in views.NAMES}
    newer = re.compile(
        r"\bMERGE\s+INTO\b|NULLS\s+NOT\s+DISTINCT|nulls_not_distinct|security_invoker|\bANY_VALUE\b"
        r"|\bJSON_TABLE\b|\bJSON_(ARRAY|OBJECT)AGG\b|\bRETURNING\s+(OLD|NEW)\b|\bUUIDV7\b",
        re.IGNORECASE,
    )
    assert {name: newer.findall(text) for name, text in texts.items() if newer.search(text)} == {}


# Times

MOMENTS = [
    datetime(1, 1, 1, 0, 0, 0, 0, UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, UTC),
    datetime(999, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(2026, 5, 1, 12, 30, 0, 123456, UTC),
    datetime(2026, 5, 1, 12, 30, 0, 100000, UTC),
    datetime(2026, 10, 25, 2, 30, 0, 7, timezone(timedelta(hours=2))),
    datetime(2026, 5, 1, 0, 0, 0, 5, timezone(timedelta(hours=-11, minutes=-30))),
    datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
]


@pytest.fixture
def times(engine: sa.Engine) -> sa.Table:
    table = sa.Table(
        "times", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True), sa.Column("at", UtcTime)
    )
    with writing(engine) as connection:
        table.create(connection)
    return table


def test_a_time_comes_back_to_the_microsecond_from_any_zone_and_year(
    engine: sa.Engine, times: sa.Table
) -> None:
    with writing(engine) as connection:
        connection.execute(sa.insert(times), [{"n": n, "at": at} for n, at in enumerate([*MOMENTS, None])])
    with reading(engine) as connection:
        back = list(connection.scalars(sa.select(times.c.at).order_by(times.c.n)))
        in_order = list(
            connection.scalars(sa.select(times.c.at).where(times.c.at.is_not(None)).order_by(times.c.at))
        )
        found = connection.scalar(sa.select(times.c.n).where(times.c.at == MOMENTS[6]))
    assert back == [*MOMENTS, None]
    assert {at.utcoffset() for at in back[:-1]} == {timedelta(0)}
    assert in_order == sorted(MOMENTS)
    assert found == 6


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_the_time_zone_of_a_postgresql_server_makes_no_difference(
    postgresql_engine: sa.Engine, zone: str
) -> None:
    with writing(postgresql_engine) as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {postgresql_engine.url.database} SET timezone = '{zone}'")
    postgresql_engine.dispose()
    history = History(postgresql_engine)
    history.poll(
        [region(1, created_on="9999-12-31T23:59:59"), region(2, created_on="0001-01-01T00:00:00")], at=0
    )
    history.poll([region(1), region(2)], at=60)
    rows = history.rows("region_versions")
    assert {r["created_on"].year for r in rows} == {1, 2019, 9999}
    assert {r["valid_from"] for r in rows} == {history.time(0), history.time(60)}


def test_a_naive_time_is_refused(engine: sa.Engine, times: sa.Table) -> None:
    with pytest.raises(sa.exc.StatementError, match="naive"), writing(engine) as connection:
        connection.execute(sa.insert(times), {"n": 1, "at": datetime(2026, 5, 1, 12)})  # noqa: DTZ001
    with pytest.raises(sa.exc.StatementError, match="naive"), reading(engine) as connection:
        connection.execute(sa.select(times).where(times.c.at == datetime(2026, 5, 1))).all()  # noqa: DTZ001


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-05-01",
        "2026-05-01T12:00:00Z",
        "2026-05-01 12:00:00.000000Z",
        "2026-05-01T12:00:00.000000",
        "2026-05-01T12:00:00.000000z",
        "2026-05-01T12:00:00.000Z",
        "2026-05-01T12:00:00.0000000Z",
        "2026-05-01T12:00:00.000000+00:00",
        "2026-05-01T12:00:00.000000Z ",
        "2026-05-01T32:00:00.000000Z",
        "26-05-01T12:00:00.000000Z",
        "+2026-05-01T12:00:00.000000Z",
        "1777636800",
    ],
)
def test_sqlite_refuses_text_that_is_no_time(sqlite_engine: sa.Engine, text: str) -> None:
    _ = History(sqlite_engine).writer
    with (
        pytest.raises(sa.exc.IntegrityError, match="ck_sources_lease_expires_at_is_utc"),
        writing(sqlite_engine) as connection,
    ):
        connection.exec_driver_sql("UPDATE sources SET lease_expires_at = ?", (text,))


def test_every_time_column_is_checked_on_sqlite(sqlite_engine: sa.Engine) -> None:
    found = described(sqlite_engine)
    checked = 0
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, UtcTime):
                name = f"CONSTRAINT ck_{table.name}_{column.name}_is_utc CHECK ({column.name} GLOB "
                parts = found[f"table {table.name}"]["parts"]
                assert any(part.startswith(name) for part in parts), f"{table.name}.{column.name}"
                checked += 1
    assert checked > 30


# How databases are opened


def _statements(engine: sa.Engine) -> list[str]:
    seen: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    return seen


def test_sqlite_is_opened_with_our_pragmas(sqlite_engine: sa.Engine) -> None:
    read_only = open_engine(sqlite_engine.url, read_only=True)
    for engine, transaction in ((sqlite_engine, reading), (sqlite_engine, writing), (read_only, reading)):
        with transaction(engine) as connection:
            got = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
            }
        assert got == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 10_000}
    with pytest.raises(DatabaseError, match="readonly"), writing(read_only) as connection:
        connection.execute(sa.delete(sources))
    read_only.dispose()


def test_sqlite_takes_the_write_lock_at_the_beginning_of_a_write_and_never_of_a_read(
    sqlite_engine: sa.Engine,
) -> None:
    statements = _statements(sqlite_engine)
    path = sqlite_engine.url.database
    with closing(sqlite3.connect(str(path), timeout=0, isolation_level=None)) as other:
        with writing(sqlite_engine), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        with reading(sqlite_engine) as connection:
            before = connection.scalar(sa.select(sa.func.count()).select_from(sources))
            other.execute("BEGIN IMMEDIATE")
            other.execute(
                "INSERT INTO sources (name, newest_seq, derivation_revision, lease_epoch, key_salt)"
                " VALUES ('other', 0, 1, 0, '00')"
            )
            other.execute("COMMIT")
            assert connection.scalar(sa.select(sa.func.count()).select_from(sources)) == before
    begins = [s for s in statements if s.startswith("BEGIN")]
    assert begins == ["BEGIN IMMEDIATE", "BEGIN"]


def test_sqlite_enforces_references(sqlite_engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError), writing(sqlite_engine) as connection:
        connection.execute(
            sa.insert(metadata.tables["region_volume_types"]),
            {"source_id": 7, "region_id": 7, "volume_type": "ssd"},
        )


def test_postgresql_time_outs_hold_inside_writes_only_and_are_shorter_than_the_lease(
    postgresql_engine: sa.Engine,
) -> None:
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")

    def settings(connection: sa.Connection) -> dict[str, int]:
        rows = connection.execute(
            sa.text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)"), {"names": list(names)}
        )
        return {row.name: int(row.setting) for row in rows}

    with reading(postgresql_engine) as connection:
        outside = settings(connection)
    with writing(postgresql_engine) as connection:
        inside = settings(connection)
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
    with reading(postgresql_engine) as connection:
        assert settings(connection) == outside
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
    assert set(inside) == set(names)
    assert all(0 < milliseconds < LEASE_SECONDS * 1000 for milliseconds in inside.values())


def test_a_writer_that_waits_for_a_lock_too_long_gives_up_with_a_message(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = History(engine).writer
    monkeypatch.setattr(timeouts, "LOCK_SECONDS", 0.2)
    impatient = open_engine(engine.url)
    with writing(engine) as first:
        first.execute(sa.update(sources).values(newest_seq=5))
        with pytest.raises(DatabaseError, match="lock"), writing(impatient) as second:
            second.execute(sa.update(sources).values(newest_seq=6))
    impatient.dispose()
    assert History(engine).row("sources")["newest_seq"] == 5
