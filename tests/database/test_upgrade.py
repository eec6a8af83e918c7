"""A history that an earlier version wrote, by its own code: `tests/data/history-REVISION.db.gz`.

It upgrades, keeps its heads, is derived again by the rules of now, and goes on.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from collector.audit.verify import verify
from collector.clock import time_text
from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import migrating, reading
from collector.store import rederive
from tests.support.command import collector
from tests.support.history import History
from tests.support.paths import DATA

HEADS = {
    "0001": {
        "gcore": "4fce32f95e93480f3b82b92a4c1ffa47b5ae4a4e0adb7c286bd79d7d6efa2174",
        "preprod": "107f8c7f409b533a11ce6257950fa4a003d38cbac676c9465861664091f6de57",
    },
    "0002": {
        "gcore": "f42fed9dfef5ca69cb7f4364082f1364f0162614767a5cc8e708e631096739db",
        "preprod": "f507c68af6aa1549e724034129d5ac8bb67b53dc2dfa8d1e66632d7604c6716a",
    },
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
        rederive.rebuild(engine, source)
        after = verify(engine, source, heads=[head])
        assert (after.verdict, after.head) == ("good", head), after.breaks
    history = History(engine)
    result = history.poll([], at=10**6)
    assert result.outcome == "held"
    history.verify()
    assert verify(engine, "gcore", heads=[HEADS[revision]["gcore"]]).verdict == "good"


ENDED = {
    "coverage_gaps": "until_at IS NOT NULL",
    "region_state_spans": "until_at <= '2026-05-01T13:59:00.000000Z'",
    "keystone_state_spans": "until_at <= '2026-05-01T13:59:00.000000Z'",
    "region_state_intervals": "to_latest IS NOT NULL",
    "keystone_state_intervals": "to_latest IS NOT NULL",
}
"""Rows that do not depend on the time of the question."""
RENAMED = {"min_seconds": "seconds_at_least", "max_seconds": "seconds_at_most", "open": "is_open"}
"""Columns that have other names now."""


@pytest.mark.parametrize("old", ["0002"], indirect=True)
def test_an_old_history_answers_as_the_version_that_wrote_it(old: tuple[str, sa.Engine]) -> None:
    revision, engine = old
    migrate.upgrade(engine)
    for source in HEADS[revision]:
        rederive.rebuild(engine, source)
    saved = gzip.decompress((DATA / f"history-{revision}.answers.json.gz").read_bytes())
    with reading(engine) as connection:
        for view, rows in json.loads(saved).items():
            query = f"SELECT * FROM {view} WHERE {ENDED.get(view, 'TRUE')}"
            found = [
                {name: _answer_of_now(row, name) for name in rows[0]}
                for row in connection.exec_driver_sql(query).mappings()
            ]
            assert sorted(found, key=_text) == rows, view


def _answer_of_now(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column that the earlier version had, under its present name."""
    value = row[RENAMED.get(name, name)]
    return "unseen" if name == "cause" and value == "unobserved" else _plain(value)


def _plain(value: Any) -> Any:
    """As SQLite has it, in which the answers were saved."""
    if isinstance(value, datetime):
        return time_text(value)
    return int(value) if isinstance(value, bool) else value


def _text(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


def test_questions_wait_until_an_old_history_was_derived_again(old: tuple[str, sa.Engine]) -> None:
    revision, engine = old
    url = engine.url.render_as_string(hide_password=False)
    migrate.upgrade(engine)
    refused = collector("coverage", database_url=url)
    assert refused.code == 2
    assert "an older version derived the history of gcore, preprod: run `collector db rebuild`" in refused.err
    assert collector("audit", "head", database_url=url).code == 0
    assert collector("db", "upgrade", database_url=url).code == 0
    assert collector("coverage", database_url=url).code == 0
    for source, head in HEADS[revision].items():
        assert verify(engine, source, heads=[head]).verdict == "good"
