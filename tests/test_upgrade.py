"""A history that an earlier version wrote, by its own code: `tests/data/history-REVISION.db.gz`.

It upgrades, keeps its heads, is derived again by the rules of now, and goes on.
"""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from collector.store import migrate, rebuild
from collector.store.engine import migrating, open_engine
from collector.store.verify import verify
from tests.history import History

DATA = Path(__file__).parent / "data"
HEADS = {
    "0001": {
        "gcore": "4fce32f95e93480f3b82b92a4c1ffa47b5ae4a4e0adb7c286bd79d7d6efa2174",
        "preprod": "107f8c7f409b533a11ce6257950fa4a003d38cbac676c9465861664091f6de57",
    }
}
"""Newest opening digests, as the version printed them that wrote the file."""


@pytest.fixture(params=HEADS)
def old(
    request: pytest.FixtureRequest, empty_database_url: str, tmp_path: Path
) -> Iterator[tuple[str, sa.Engine]]:
    """The revision, and a database that holds the history with the schema of then, on each of both."""
    revision = request.param
    file = tmp_path / "old.db"
    file.write_bytes(gzip.decompress((DATA / f"history-{revision}.db.gz").read_bytes()))
    if empty_database_url.startswith("sqlite"):
        file.rename(empty_database_url.removeprefix("sqlite:///"))
        engine = open_engine(empty_database_url)
    else:
        engine = open_engine(empty_database_url)
        with migrating(engine) as connection, closing(sqlite3.connect(file)) as saved:
            config = migrate._config()
            config.attributes.update(connection=connection, direction="upgrade")
            command.upgrade(config, revision)
            for table in sa.inspect(connection).get_table_names():
                _copy(saved, connection, table)
    yield revision, engine
    engine.dispose()


def _copy(saved: sqlite3.Connection, connection: sa.Connection, name: str) -> None:
    if name == "alembic_version":
        return
    columns = sa.inspect(connection).get_columns(name)
    is_flag = {c["name"]: isinstance(c["type"], sa.Boolean) for c in columns}
    saved.row_factory = sqlite3.Row
    rows = [
        {n: bool(row[n]) if is_flag[n] and row[n] is not None else row[n] for n in is_flag}
        for row in saved.execute(f"SELECT * FROM {name}")
    ]
    connection.exec_driver_sql("SET session_replication_role = replica")  # in any order
    if rows:
        places = ", ".join(f"%({n})s" for n in is_flag)
        connection.exec_driver_sql(f"INSERT INTO {name} ({', '.join(is_flag)}) VALUES ({places})", rows)


def test_an_old_history_upgrades_keeps_its_heads_and_goes_on(old: tuple[str, sa.Engine]) -> None:
    revision, engine = old
    assert migrate.current_revision(engine) == revision
    migrate.upgrade(engine)
    for source, head in HEADS[revision].items():
        before = verify(engine, source, heads=[head])
        assert (before.verdict, before.head) == ("stale", head)
        rebuild.rebuild(engine, source)
        after = verify(engine, source, heads=[head])
        assert (after.verdict, after.head) == ("good", head), after.breaks
    history = History(engine)
    result = history.poll([], at=10**6)
    assert result.outcome == "held"
    history.verify()
    assert verify(engine, "gcore", heads=[HEADS[revision]["gcore"]]).verdict == "good"
