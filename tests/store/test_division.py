"""The database can be divided by source: no key needs two of them, and of statements only the listed ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from collector.audit.retention import prune, redact
from collector.database.engine import open_engine
from collector.gcore.paths import Path
from collector.store import lease, outbox, rederive
from collector.store.outbox import Delivery
from collector.store.tables import metadata
from tests.support.databases import new_database
from tests.support.history import History
from tests.support.partitioned import NOT_DIVIDED, divide, watching
from tests.support.paths import ROOT
from tests.support.script import STORY, play

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def key_of(table: sa.Table) -> str:
    return "id" if table.name == "sources" else "source_id"


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: str(table.name))
def test_every_key_contains_the_source(table: sa.Table) -> None:
    assert table.primary_key.columns[0].name == key_of(table)
    unique = {str(c.name): [*c.columns] for c in table.constraints if isinstance(c, sa.UniqueConstraint)}
    unique |= {str(index.name): [*index.columns] for index in table.indexes if index.unique}
    for name, columns in unique.items():
        assert name == NOT_DIVIDED or table.c[key_of(table)] in columns, name
    for constraint in table.foreign_key_constraints:
        pairs = [(element.parent.name, element.column) for element in constraint.elements]
        assert ("source_id", constraint.referred_table.c[key_of(constraint.referred_table)]) in pairs, (
            constraint.name
        )


def test_the_page_divides_every_table_and_names_what_stands_in_the_way() -> None:
    divided = dict(re.findall(r"create_distributed_table\('(\w+)', '(\w+)'", PAGE))
    assert divided == {str(table.name): key_of(table) for table in metadata.sorted_tables}
    assert NOT_DIVIDED in PAGE
    assert "sources_id_seq" in PAGE


@pytest.fixture
def divided(postgresql_template: sa.URL) -> Iterator[sa.Engine]:
    """A database in which source 1 and source 2 have parts of their own."""
    url = new_database(postgresql_template, postgresql_template.database)
    divide(url, sources=2)
    engine = open_engine(url)
    yield engine
    engine.dispose()


ACROSS = {
    "a source is found by its name": r"SELECT sources\..* FROM sources( WHERE sources\.name = .*| ORDER BY .*)?$",
    "a lease is taken by name": r"UPDATE sources SET lease_owner=\?.*WHERE sources\.name = \?",
    "leases are renewed together": r"UPDATE sources SET lease_expires_at=.*WHERE sources\.id IN \(SELECT",
    "events that wait are looked for": r"SELECT .* FROM \(SELECT DISTINCT webhook_deliveries\.source_id",
    "old events are deleted": r"DELETE FROM webhook_(deliveries|queues) WHERE",
}
"""The only statements that need several sources: what they are for, and how they begin."""


@pytest.mark.long
def test_what_is_written_of_one_source_touches_no_other(divided: sa.Engine) -> None:
    history, other = (
        History(divided, name=name, announce=announce, base_url=f"https://{name}.example")
        for name in ("one", "two")
    )
    for number in range(3):
        play(history, number)
    play(other, 0)  # its lease is taken
    with watching(divided, 1) as polls:
        for number in range(1, len(STORY)):
            play(other, number)
    assert len(polls.statements) > 40
    assert polls.astray == {}, "a poll touches its own source alone"

    with watching(divided, 1) as work:
        maintain(other)
        deliver(other)
    astray = {said: name_of(said) for said in work.astray}
    assert [said for said, name in astray.items() if name is None] == []
    assert set(astray.values()) == set(ACROSS), "each of these is still there"


def announce(_: sa.Connection, __: str, seq: int, ___: bool) -> list[Delivery]:
    return [Delivery("receiver", seq, 0, "test", "{}")]


def maintain(history: History) -> None:
    """Everything else that is done with the history of one source."""
    engine, name = history.engine, history.source.name
    lease.renew(engine, history.owner, [history.writer.lease])
    history.restart()
    history.poll([])
    rederive.rebuild(engine, name)
    history.verify()
    at = history.time(history.at)
    redact(engine, name, Path.parse("results[].slug"), made_at=at, made_by="a test")
    assert prune(engine, name, at - timedelta(minutes=5), made_at=at, made_by="a test").observations


def deliver(history: History) -> None:
    """Everything that is done with its events."""
    engine, now = history.engine, history.time(history.at)
    assert (2, "two") in outbox.due(engine, "receiver", now)
    claimed = outbox.claim(engine, "receiver", 2, "owner")
    assert claimed
    first, second = outbox.first_waiting(engine, claimed, 2)
    assert outbox.settle(engine, claimed, outbox.Told(taken=[first], refused=second, why="no"), now)
    assert outbox.prune(engine, now + timedelta(days=1), ["receiver"]) == 1


def name_of(statement: str) -> str | None:
    """What a statement that needs several sources is for; None: it is not among those that may."""
    return next((name for name, pattern in ACROSS.items() if re.match(pattern, statement)), None)
