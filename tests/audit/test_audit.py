"""Proof: whatever was edited is found, and what can't be found is said."""

from __future__ import annotations

import gc
import itertools
import json
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from collector.audit import evidence
from collector.audit import verify as verifying
from collector.audit.findings import Verification
from collector.audit.verify import UNPROVEN, verify, verify_database
from collector.database import bulk
from collector.database.transactions import reading, writing
from collector.inventory import chain
from collector.store import comparison, rederive
from collector.store.comparison import as_stored, compare, keys_of, scratch_database
from collector.store.rederive import rebuild, replay
from collector.store.tables import DERIVATION_REVISION, DERIVED, metadata, observations, payloads, sources
from tests.support.builders import region
from tests.support.command import collector
from tests.support.history import History, failure
from tests.support.marks import long_on_postgresql
from tests.support.proofs import reseal

EVIDENCE = ("observers", "payloads", "observations")
TABLES = (*EVIDENCE, *(table.name for table in DERIVED))
Values = dict[str, Any]


@pytest.fixture
def forger(told: History) -> Iterator[sa.Engine]:
    """What somebody has who may write the database: no constraint is in the way."""
    engine = sa.create_engine(told.engine.url)
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def connect(raw: Any, _: Any) -> None:
            raw.execute("PRAGMA ignore_check_constraints = ON").close()

    else:
        with engine.begin() as connection:
            rows = connection.exec_driver_sql(
                "SELECT conrelid::regclass, conname FROM pg_constraint"
                " WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace"
            ).all()
            for table, name in rows:
                connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
    yield engine
    engine.dispose()


def check(told: History, *heads: str) -> Verification:
    return verify(told.engine, "gcore", heads=heads)


def rows_of(engine: sa.Engine, table: str) -> list[Values]:
    """Rows of the source `gcore`, as they stand."""
    raw = as_stored(metadata.tables[table])
    query = sa.select(raw).where(raw.c.source_id == 1)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query.order_by(*raw.c)).mappings()]


def write(engine: sa.Engine, table: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Edit one row; `key` as it stands now."""
    raw = as_stored(metadata.tables[table])
    where = [raw.c[name] == key[name] for name in keys_of(metadata.tables[table])]
    with engine.begin() as connection:
        assert connection.execute(sa.update(raw).where(*where).values(dict(values))).rowcount == 1


@contextmanager
def edited(engine: sa.Engine, table: str, row: Values, **values: Any) -> Iterator[None]:
    """The database with one row edited, and afterwards as before."""
    write(engine, table, row, values)
    yield
    write(engine, table, row | values, {name: row[name] for name in values})


def delete(engine: sa.Engine, table: str, row: Values) -> None:
    raw = as_stored(metadata.tables[table])
    where = [raw.c[name] == row[name] for name in keys_of(metadata.tables[table])]
    with engine.begin() as connection:
        assert connection.execute(sa.delete(raw).where(*where)).rowcount == 1


def insert(engine: sa.Engine, table: str, row: Values) -> None:
    with engine.begin() as connection:
        connection.execute(sa.insert(as_stored(metadata.tables[table])).values(row))


def another(column: sa.Column[Any], value: Any) -> Any:
    """Another value that the column can hold."""
    if isinstance(value, datetime):
        return value + timedelta(milliseconds=1)
    if isinstance(value, bytes | memoryview):
        return bytes(value) + b"x"
    if isinstance(value, str) and value.endswith("Z") and value[:2] == "20":
        return value[:-2] + ("1Z" if value[-2] != "1" else "2Z")
    if isinstance(value, str) and value.startswith("["):
        return value.replace(",", ", ") if "," in value else value.replace("[", "[ ")
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1000
    types = {sa.BigInteger: 7, sa.Integer: 7, sa.Boolean: True, sa.Text: "x"}
    plain = next((v for t, v in types.items() if isinstance(column.type, t)), None)
    return plain if plain is not None else None


def is_proven(table: str, column: str, row: Values, newest: int) -> bool:
    if column == "source_id" or column in UNPROVEN.get(table, ()):
        return False
    return not (table == "observations" and row["seq"] == newest and column in chain.CLOSING)


def test_an_untouched_history_is_good(told: History) -> None:
    found = check(told)
    assert (found.verdict, found.breaks) == ("good", ())
    assert found.observations == 16
    assert found.polls == sum(row["polls"] for row in told.rows("observations", source_id=1))
    assert found.payloads == len(told.rows("payloads", source_id=1))
    assert found.derived_rows == sum(len(told.rows(table.name, source_id=1)) for table in DERIVED)
    assert verify_database(told.engine) == []


def test_what_tests_edit_is_there(told: History) -> None:
    assert [table for table in TABLES if not rows_of(told.engine, table)] == []


def editable(forger: sa.Engine, table: str, newest: int) -> list[tuple[str, Values, Any]]:
    """Each proven column of a table, a row that has a value there, and another value."""
    rows = rows_of(forger, table)
    found = []
    for column in metadata.tables[table].columns:
        row = next((r for r in rows if r[column.name] is not None), rows[0])
        value = another(column, row[column.name])
        if value is not None and is_proven(table, column.name, row, newest):
            found.append((column.name, row, value))
    return found


@pytest.mark.parametrize("table", EVIDENCE)
def test_whatever_value_of_the_evidence_is_edited_is_found(
    told: History, forger: sa.Engine, table: str
) -> None:
    columns = editable(forger, table, told.row("sources", id=1)["newest_seq"])
    assert len(columns) > 4
    for column, row, value in columns:
        with edited(forger, table, row, **{column: value}):
            found = check(told)
        assert found.verdict == "altered", column
        assert found.breaks[0].table in EVIDENCE, found.breaks
    assert check(told).verdict == "good"


@long_on_postgresql("told")
def test_whatever_derived_value_is_edited_is_found_where_it_stands(told: History, forger: sa.Engine) -> None:
    """Each column of each table, one in every table at a time. What follows from the evidence does not change,
    so it is derived once."""
    with scratch_database() as scratch:
        with reading(told.engine) as live:
            done = replay(live, scratch, 1, 0, None)
        columns = {table.name: editable(forger, table.name, done) for table in DERIVED}
        assert all(len(each) > 1 for each in columns.values())
        for number in range(max(map(len, columns.values()))):
            expected = set()
            with ExitStack() as stack:
                for table, each in columns.items():
                    for column, row, value in each[number : number + 1]:
                        stack.enter_context(edited(forger, table, row, **{column: value}))
                        expected.add((table, None if column in keys_of(metadata.tables[table]) else column))
                with reading(told.engine) as live:
                    found = compare(live, scratch, 1, done)
                if number < 3:
                    assert check(told).verdict == "altered"
            names = {(e.table, n) for e in found.examples for n in [f for f, _, _ in e.fields()] or [None]}
            # A row whose key was edited differs twice: it is missing, and another should not be there.
            assert found.different == sum(1 if column else 2 for _, column in expected)
            assert names <= expected
    assert check(told).verdict == "good"


@long_on_postgresql("told")
def test_a_row_that_is_deleted_is_found(told: History, forger: sa.Engine) -> None:
    for table in TABLES:
        row = rows_of(forger, table)[-1]
        delete(forger, table, row)
        assert check(told).verdict == "altered", table
        insert(forger, table, row)
    assert check(told).verdict == "good"


@long_on_postgresql("told")
def test_a_row_that_is_inserted_is_found(told: History, forger: sa.Engine) -> None:
    for table in TABLES:
        row = rows_of(forger, table)[-1]
        keys = [name for name in keys_of(metadata.tables[table]) if name != "source_id"]
        name = next((n for n in keys if isinstance(row[n], int)), keys[-1])
        new = row | {name: another(metadata.tables[table].c[name], row[name])}
        if table == "observers":
            new["key_fingerprint"] = "f" * 32
        insert(forger, table, new)
        found = check(told)
        assert found.verdict == "altered", table
        if metadata.tables[table] in DERIVED:
            assert {each.why for each in found.breaks} == {"this row does not follow from the evidence"}
        delete(forger, table, new)
    assert check(told).verdict == "good"


def test_the_first_break_names_table_row_field_and_both_values(told: History, forger: sa.Engine) -> None:
    (row,) = [r for r in rows_of(forger, "state_transitions") if (r["seq"], r["entity_id"]) == (4, 3)]
    write(forger, "state_transitions", row, {"to_state": "DELETED"})
    (broken,) = check(told).breaks
    key = {"source_id": 1, "entity": "region", "entity_id": 3, "seq": 4}
    assert (broken.table, broken.key, broken.field) == ("state_transitions", key, "to_state")
    assert (broken.stored, broken.expected) == ("DELETED", "MAINTENANCE")
    said = collector("audit", "verify", database_url=told.engine.url.render_as_string(hide_password=False))
    assert said.code == 1
    assert "state_transitions (entity region, entity_id 3, seq 4), to_state: stored DELETED" in said.out
    assert "expected MAINTENANCE" in said.out


@pytest.mark.parametrize("names", [("first_at", "last_at"), ("payload",), ("last_asked_at",), ("outcome",)])
def test_values_that_two_observations_swap_are_found(
    told: History, forger: sa.Engine, names: tuple[str, ...]
) -> None:
    one, other = (r for r in rows_of(forger, "observations") if r["seq"] in (4, 6))
    write(forger, "observations", one, {name: other[name] for name in names})
    write(forger, "observations", other, {name: one[name] for name in names})
    found = check(told)
    assert found.verdict == "altered"
    assert {b.key.get("seq") for b in found.breaks} >= {4, 6}


def test_observers_that_swap_their_numbers_are_found(told: History, forger: sa.Engine) -> None:
    """Consistently, everywhere: only the order of their first polls tells."""
    with forger.begin() as connection:
        for table, column in (("observers", "id"), ("observations", "observer_id")):
            for old, new in ((1, -2), (2, -1), (-1, 1), (-2, 2)):
                connection.exec_driver_sql(
                    f"UPDATE {table} SET {column} = {new} WHERE source_id = 1 AND {column} = {old}"
                )
    assert {b.table for b in check(told).breaks} == {"observers"}


def test_an_observation_whose_own_digests_were_computed_again_is_found_by_the_next(
    told: History, forger: sa.Engine
) -> None:
    (row,) = [r for r in rows_of(forger, "observations") if r["seq"] == 3]
    write(forger, "observations", row, {"message": "all was well"})
    with forger.begin() as connection:
        reseal(connection, since=3, until=3)
    (found,) = check(told).breaks
    assert (found.key, found.field, found.why) == (
        {"seq": 4},
        "previous_digest",
        "the link to the row before is broken",
    )


def test_no_observation_begins_before_the_end_of_the_one_before(told: History, forger: sa.Engine) -> None:
    """Even where all digests fit."""
    rows = [r for r in rows_of(forger, "observations") if r["source_id"] == 1]
    before, row = next((a, b) for a, b in itertools.pairwise(rows) if b["polls"] == 1 and a["seq"] > 1)
    times = {name: before[name] for name in ("last_at", "last_asked_at")}
    times |= {"first_at": before["last_at"], "first_asked_at": before["last_asked_at"]}
    write(forger, "observations", row, times)
    with forger.begin() as connection:
        reseal(connection)
    (found,) = check(told).breaks
    assert (found.key, found.field, found.why) == (
        {"seq": row["seq"]},
        "first_at",
        "an observation begins after the one before",
    )


def test_an_observation_less_than_was_counted_is_found(told: History, forger: sa.Engine) -> None:
    """Even if the one before was closed, as if the newest had never been there."""
    newest, before = told.rows("observations", source_id=1)[-1], told.rows("observations", source_id=1)[-2]
    with forger.begin() as connection:
        connection.execute(
            sa.delete(observations).where(observations.c.source_id == 1, observations.c.seq == newest["seq"])
        )
    assert before["digest"] is not None
    (found, *_) = [each for each in check(told).breaks if each.table == "sources"]
    assert (found.field, found.stored, found.expected) == ("newest_seq", newest["seq"], before["seq"])


def test_an_answer_that_no_observation_has_is_found(told: History, forger: sa.Engine) -> None:
    """Its content fits its address: it is an answer of another source."""
    answers = as_stored(payloads)
    with forger.connect() as connection:
        others = connection.execute(sa.select(answers).where(answers.c.source_id == 2)).mappings().all()
    own = {row["address"] for row in rows_of(forger, "payloads")}
    row = next(dict(row) for row in others if row["base"] is None and row["address"] not in own)
    insert(forger, "payloads", row | {"source_id": 1})
    (found,) = check(told).breaks
    assert (found.key, found.why) == ({"address": row["address"]}, "no observation has this answer")


def test_a_history_that_was_written_again_is_found_by_a_head_that_was_kept(
    told: History, forger: sa.Engine
) -> None:
    """And by nothing else: that is why heads are kept."""
    head = check(told).head
    assert head is not None
    (row,) = [r for r in rows_of(forger, "observations") if r["seq"] == 3]
    write(forger, "observations", row, {"message": "all was well"})
    with forger.begin() as connection:
        reseal(connection)
    rebuild(told.engine, "gcore")
    assert check(told).verdict == "good"
    assert check(told, head).heads == {}
    url = told.engine.url.render_as_string(hide_password=False)
    said = collector("audit", "verify", "--head", head, database_url=url)
    assert said.code == 1
    assert f"head {head}: no observation has it" in said.out


def test_a_tail_that_was_cut_is_found_by_a_head_that_was_kept(told: History, forger: sa.Engine) -> None:
    head = check(told).head
    assert head is not None
    earlier = told.row("observations", source_id=1, seq=10)["opening_digest"]
    with forger.begin() as connection:
        for table in DERIVED:
            connection.execute(sa.delete(table).where(table.c.source_id == 1))
        connection.execute(sa.delete(observations).where(observations.c.seq > 10))
        used = sa.select(observations.c.payload).where(observations.c.source_id == 1)
        connection.execute(
            sa.delete(payloads).where(
                payloads.c.source_id == 1,
                payloads.c.address.not_in(used.where(observations.c.payload.is_not(None))),
            )
        )
        connection.execute(
            sa.update(observations)
            .where(observations.c.source_id == 1, observations.c.seq == 10)
            .values(digest=None)
        )
        connection.execute(sa.update(sources).where(sources.c.id == 1).values(newest_seq=10))
    rebuild(told.engine, "gcore")
    assert check(told).verdict == "good"
    assert check(told, head, earlier).heads == {earlier: 10}


def test_an_earlier_head_stays_good_while_the_history_grows(told: History) -> None:
    head = check(told).head
    assert head is not None
    told.poll([region(1)], at=60 * 30)
    told.poll([region(1)], at=60 * 31)
    assert check(told, head).heads == {head: 16}
    assert check(told, head).head != head


def test_a_history_of_older_rules_is_stale_not_altered(told: History) -> None:
    with writing(told.engine) as connection:
        connection.execute(sa.update(sources).values(derivation_revision=DERIVATION_REVISION - 1))
        connection.exec_driver_sql("UPDATE region_versions SET changed_fields = NULL WHERE source_id = 1")
    url = told.engine.url.render_as_string(hide_password=False)
    found = check(told)
    assert (found.verdict, found.different > 0) == ("stale", True)
    said = collector("audit", "verify", database_url=url)
    assert said.code == 3
    assert "collector db rebuild" in said.out
    assert collector("db", "rebuild", database_url=url).code == 0
    assert collector("audit", "verify", database_url=url).code == 0


def test_altered_evidence_is_altered_by_any_rules(told: History, forger: sa.Engine) -> None:
    with forger.begin() as connection:
        connection.execute(sa.update(sources).values(derivation_revision=DERIVATION_REVISION - 1))
        connection.exec_driver_sql("UPDATE observations SET message = 'all was well' WHERE seq = 3")
    assert check(told).verdict == "altered"


def test_one_source_is_checked_without_regard_to_another(told: History) -> None:
    with writing(told.engine) as connection:
        connection.exec_driver_sql("UPDATE observations SET declared = 9 WHERE source_id = 2")
    assert check(told).verdict == "good"
    assert verify(told.engine, "preprod").verdict == "altered"
    url = told.engine.url.render_as_string(hide_password=False)
    assert collector("audit", "verify", "--source", "gcore", database_url=url).code == 0
    assert collector("audit", "verify", database_url=url).code == 1


def test_rows_of_no_source_are_found(told: History, forger: sa.Engine) -> None:
    (row, *_) = rows_of(forger, "regions")
    insert(forger, "regions", row | {"source_id": 99})
    assert any(b.table == "regions" and b.key == {"source_id": 99} for b in verify_database(told.engine))


def test_values_that_no_column_should_hold_are_found_and_repaired(told: History, forger: sa.Engine) -> None:
    """SQLite keeps the values that it is given: reading must not correct them."""
    if forger.dialect.name != "sqlite":
        with forger.begin() as connection, pytest.raises(sa.exc.DBAPIError):
            connection.exec_driver_sql("UPDATE regions SET has_k8s = 2")
        return
    with forger.begin() as connection:
        connection.exec_driver_sql("UPDATE regions SET has_k8s = 2 WHERE source_id = 1 AND id = 1")
        connection.exec_driver_sql(
            "UPDATE region_versions SET valid_from = 'long ago'"
            " WHERE source_id = 1 AND region_id = 2 AND valid_to IS NULL"
        )
    found = check(told)
    assert {(b.table, b.field) for b in found.breaks} >= {("regions", "has_k8s"), ("region_versions", None)}
    assert rebuild(told.engine, "gcore").different > 0
    assert check(told).verdict == "good"


def test_evidence_that_can_not_be_read_is_found(told: History, forger: sa.Engine) -> None:
    if forger.dialect.name == "sqlite":
        with forger.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE observations SET first_at = 'noon' WHERE source_id = 1 AND seq = 3"
            )
        assert check(told).verdict == "altered"
        assert any("ck_observations" in b.why or "CHECK" in b.why for b in verify_database(told.engine))
    else:
        with forger.begin() as connection:
            connection.exec_driver_sql("UPDATE payloads SET body = '\\x00' WHERE source_id = 1")
        assert check(told).verdict == "altered"


def test_heads_are_printed_for_keeping(told: History) -> None:
    url = told.engine.url.render_as_string(hide_password=False)
    newest = told.row("observations", source_id=1, seq=16)
    said = collector("audit", "head", "--source", "gcore", database_url=url)
    assert said.out.split("\t")[:3] == ["gcore", "16", newest["opening_digest"]]
    rows = json.loads(collector("audit", "head", "--format", "json", database_url=url).out)
    assert [(row["source"], row["seq"]) for row in rows] == [("gcore", 16), ("preprod", 2)]
    assert rows[0]["head"] == newest["opening_digest"] == check(told).head


def test_a_verification_in_json_has_everything(told: History) -> None:
    url = told.engine.url.render_as_string(hide_password=False)
    head = check(told).head or ""
    said = collector("audit", "verify", "--head", head, "--format", "json", database_url=url)
    assert said.code == 0
    answer = json.loads(said.out)
    assert [s["verdict"] for s in answer["sources"]] == ["good", "good"]
    assert answer["sources"][0]["heads"] == {head: 16}
    assert answer["heads_missing"] == answer["database"] == []
    assert answer["unproven"].keys() == UNPROVEN.keys()


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "0" * 65])
def test_what_is_no_head_is_refused(told: History, text: str) -> None:
    url = told.engine.url.render_as_string(hide_password=False)
    said = collector("audit", "verify", "--head", text, database_url=url)
    assert said.code == 2
    assert "64 hex digits" in said.err


def test_a_verification_goes_on_while_polls_are_written(told: History) -> None:
    """It reads one state, whatever is written meanwhile."""
    polled = []

    def progress(done: int, _: int) -> None:
        if done % 10 == 1 and len(polled) < 3:
            polled.append(told.poll([region(1), region(2, "NEW")], at=60.0 * (40 + len(polled))))

    found = verify(told.engine, "gcore", progress=progress)
    assert (found.verdict, found.observations, len(polled)) == ("good", 16, 3)
    assert check(told).verdict == "good"


def test_a_source_without_observations_is_good(history: History) -> None:
    _ = history.writer
    found = check(history)
    assert (found.verdict, found.head, found.observations) == ("good", None, 0)


def test_only_failures_are_good_too(history: History) -> None:
    for _ in range(3):
        history.poll(failure())
    assert check(history).verdict == "good"


def test_every_column_that_no_digest_covers_is_named() -> None:
    """Every column of an observation is in a digest, or refers to a column that is."""
    covered = {*chain.OPENING, *chain.LATER, *chain.CLOSING, "previous_digest", "opening_digest", "digest"}
    assert set(observations.c.keys()) - covered == {"source_id", "observer_id"}
    assert set(sources.c.keys()) - set(UNPROVEN["sources"]) == {"name", "newest_seq", "amendments"}


def test_reading_is_all_that_a_verification_does(told: History) -> None:
    before = {name: told.rows(name) for name in metadata.tables}
    check(told)
    verify_database(told.engine)
    assert {name: told.rows(name) for name in metadata.tables} == before
    with reading(told.engine) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(observations)) == 18


# With the schema in the forger's hand, too


def without_keys(engine: sa.Engine, table: str) -> None:
    """The table as it was, but no key keeps rows apart, and any column may be empty."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            columns = connection.exec_driver_sql(f"PRAGMA table_info({table})").all()
            for statement in (
                "PRAGMA legacy_alter_table = ON",
                f"CREATE TABLE other ({', '.join(f'{c[1]} {c[2]}' for c in columns)})",
                f"INSERT INTO other SELECT * FROM {table}",
                f"DROP TABLE {table}",
                f"ALTER TABLE other RENAME TO {table}",
            ):
                connection.exec_driver_sql(statement)
        else:
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table} CASCADE")
            connection.exec_driver_sql(f"ALTER TABLE {table} ALTER COLUMN source_id DROP NOT NULL")
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS uq_observers_who")


def rewrite_schema(engine: sa.Engine, table: str, old: str, new: str) -> None:
    """SQLite lets its schema be written like a table."""
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
        changed = connection.execute(
            sa.text(
                "UPDATE sqlite_master SET sql = replace(sql, :old, :new) WHERE name = :name AND sql LIKE :like"
            ),
            {"old": old, "new": new, "name": table, "like": f"%{old}%"},
        )
        assert changed.rowcount == 1
        version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
        connection.exec_driver_sql(
            f"PRAGMA schema_version = {version + 1}"
        )  # other connections read it again
        connection.commit()
    engine.dispose()


@pytest.mark.parametrize("table", ["state_transitions", "regions", "observations", "payloads", "observers"])
def test_a_row_that_stands_there_twice_is_found(told: History, forger: sa.Engine, table: str) -> None:
    """The newest observation, above all: no digest follows it."""
    without_keys(forger, table)
    row = rows_of(forger, table)[-1]
    insert(forger, table, row)
    found = check(told)
    assert found.verdict == "altered"
    assert any("more than once" in b.why for b in found.breaks), found.breaks
    if table == "state_transitions":
        assert rebuild(told.engine, "gcore").different == 1
        assert check(told).verdict == "good"


def test_a_source_that_stands_there_twice_is_found(told: History, forger: sa.Engine) -> None:
    with forger.begin() as connection:
        if forger.dialect.name != "sqlite":
            connection.exec_driver_sql("ALTER TABLE sources DROP CONSTRAINT uq_sources_name")
        else:
            connection.exec_driver_sql("DROP INDEX IF EXISTS uq_sources_name")
    if forger.dialect.name == "sqlite":
        with forger.begin() as connection:
            columns = connection.exec_driver_sql("PRAGMA table_info(sources)").all()
            for statement in (
                "PRAGMA legacy_alter_table = ON",
                f"CREATE TABLE other ({', '.join(f'{c[1]} {c[2]}' for c in columns)})",
                "INSERT INTO other SELECT * FROM sources",
                "DROP TABLE sources",
                "ALTER TABLE other RENAME TO sources",
            ):
                connection.exec_driver_sql(statement)
    with forger.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE more AS SELECT * FROM sources WHERE id = 1")
        connection.exec_driver_sql("UPDATE more SET id = 7")
        connection.exec_driver_sql("INSERT INTO sources SELECT * FROM more")
    assert any(b.table == "sources" for b in verify_database(told.engine))
    url = told.engine.url.render_as_string(hide_password=False)
    said = collector("audit", "verify", database_url=url)
    assert (said.code, "Traceback" in said.err) == (1, False), said


def test_rows_of_no_source_at_all_are_found(told: History, forger: sa.Engine) -> None:
    without_keys(forger, "state_transitions")
    insert(forger, "state_transitions", rows_of(forger, "state_transitions")[0] | {"source_id": None})
    assert any(
        b.table == "state_transitions" and b.key == {"source_id": None} for b in verify_database(told.engine)
    )


def test_a_time_that_is_spelled_otherwise_is_found(told: History, forger: sa.Engine) -> None:
    """It reads the same, but compares as another text."""
    if forger.dialect.name != "sqlite":
        with forger.begin() as connection:
            connection.exec_driver_sql("UPDATE observations SET first_at = '-infinity' WHERE seq = 3")
        found = check(told)
        assert (found.verdict, "can't be read" in found.breaks[0].why) == ("altered", True)
        return
    for table, column in (("observations", "first_at"), ("observers", "first_used_at")):
        rewrite_schema(forger, table, f"{column} GLOB", f"1 OR {column} GLOB")
        row = rows_of(forger, table)[0]
        with edited(forger, table, row, **{column: row[column].replace("T", " ")}):
            found = check(told)
            assert (found.verdict, found.breaks[0].why) == ("altered", "the time has another spelling")


def test_columns_that_compare_otherwise_are_found(told: History, forger: sa.Engine) -> None:
    """Values are as they were, but a question does not find them."""
    if forger.dialect.name == "sqlite":
        rewrite_schema(forger, "regions", "keystone_id BIGINT", "keystone_id BLOB")
        rewrite_schema(forger, "keystones", "state TEXT", "state TEXT COLLATE NOCASE")
        (row, *_) = rows_of(forger, "regions")
        write(forger, "regions", row, {"keystone_id": str(row["keystone_id"])})
        expected = ["keystone_id of regions is blob, not bigint", "keystones compares text in another way"]
    else:
        with forger.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE unseen ENABLE ROW LEVEL SECURITY")
            connection.exec_driver_sql('ALTER TABLE schema_drift ALTER COLUMN detail TYPE text COLLATE "C"')
            connection.exec_driver_sql("ALTER TABLE rejected_records ALTER COLUMN reason TYPE varchar(90)")
        expected = [
            "unseen does not show every row to everybody",
            "detail of schema_drift is text of another collation",
            "reason of rejected_records is character varying(90), not text",
        ]
    said = [b.why for b in verify_database(told.engine)]
    assert [e for e in expected if not any(e in text for text in said)] == [], said


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("sources", "derivation_revision", "abc"),
        ("sources", "newest_seq", "abc"),
        ("observations", "polls", 1.5),
        ("observations", "polls", "many"),
        ("observations", "missing", "[" * 100_000),
        ("observations", "message", sa.text("CAST(x'ff41' AS TEXT)")),
        ("regions", "slug", sa.text("CAST(x'ff41' AS TEXT)")),
    ],
)
def test_what_no_reader_expects_is_a_finding_and_no_accident(
    told: History, forger: sa.Engine, table: str, column: str, value: Any
) -> None:
    raw = as_stored(metadata.tables[table])
    if forger.dialect.name == "sqlite":
        own = raw.c["id" if table == "sources" else "source_id"] == 1
        newest = [raw.c.seq == 16] if table == "observations" else []
        with forger.begin() as connection:
            connection.execute(sa.update(raw).where(own, *newest).values({column: value}))
    else:
        with forger.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE region_versions SET valid_to = 'infinity' WHERE valid_to IS NULL"
            )
    assert check(told).verdict == "altered"


def test_the_newest_observation_can_not_be_stretched_over_its_day(told: History, forger: sa.Engine) -> None:
    row = rows_of(forger, "observations")[-1]
    newest = next(r for r in rows_of(forger, "observations") if r["seq"] == 16)
    assert row["source_id"] == 1
    later = told.row("observations", source_id=1, seq=16)["last_at"] + timedelta(days=1)
    raw = as_stored(metadata.tables["observations"])
    value = later if forger.dialect.name != "sqlite" else newest["last_at"].replace("-01T", "-02T")
    with forger.begin() as connection:
        connection.execute(sa.update(raw).where(raw.c.source_id == 1, raw.c.seq == 16).values(last_at=value))
    (broken,) = check(told).breaks
    assert (broken.field, broken.why) == ("last_at", "an observation ends with its day")


def test_a_source_without_a_head_is_said_to_have_none(told: History, forger: sa.Engine) -> None:
    """And where evidence was edited, nothing is said of what stands before a head."""
    head = check(told).head or ""
    url = told.engine.url.render_as_string(hide_password=False)
    said = collector("audit", "verify", "--head", head, database_url=url)
    assert said.out.count("BUT none of the given heads is of this source") == 1
    assert "observation 16, and nothing before it was edited" in said.out
    (row,) = [r for r in rows_of(forger, "observations") if r["seq"] == 3]
    write(forger, "observations", row, {"message": "all was well"})
    said = collector("audit", "verify", "--head", head, database_url=url)
    assert said.code == 1
    assert "observation 16\n" in said.out
    assert "nothing before it was edited" not in said.out


def test_a_database_that_writes_times_in_another_style_is_read(told: History, forger: sa.Engine) -> None:
    if forger.dialect.name != "sqlite":
        with forger.begin() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {forger.url.database} SET DateStyle = 'SQL, DMY'")
    told.engine.dispose()
    assert check(told).verdict == "good"


@pytest.mark.long
@pytest.mark.usefixtures("garbage_is_collected_as_usual")
def test_memory_does_not_grow_with_the_history(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (comparison, evidence, rederive):
        monkeypatch.setattr(module, "BATCH", 20)
    monkeypatch.setattr(bulk, "_ROWS_AT_ONCE", 20)
    gc.set_threshold(50, 5, 5)  # what is held counts, and not what waits to be collected

    def peak_of(polls: int) -> int:
        while len(history.outcomes()) < polls:
            for number in range(20):
                history.poll([region(1, f"STATE-{number}"), region(2)])
        gc.freeze()
        gc.collect()  # otherwise what earlier tests left decides how often garbage is collected
        tracemalloc.start()
        try:
            assert check(history).observations == polls
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            gc.unfreeze()

    peak_of(20)  # what is made once, like compiled statements
    short = peak_of(40)
    # What is remembered of values is bounded, and full of these after the first time.
    assert min(peak_of(120) for _ in range(3)) < 1.2 * short


# One line, whatever is wrong


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        ("INSERT INTO alembic_version VALUES ('zzz')", 2, "holds 2 revisions"),
        ("DELETE FROM alembic_version", 2, "holds tables of another program"),
        ("UPDATE alembic_version SET version_num = 'zzz'", 2, "of a newer version"),
    ],
)
def test_a_version_that_is_none_is_reported_in_one_line(
    told: History, change: str, code: int, why: str
) -> None:
    with writing(told.engine) as connection:
        if told.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE alembic_version DROP CONSTRAINT alembic_version_pkc")
        connection.exec_driver_sql(change)
    said = collector("audit", "verify", database_url=told.engine.url.render_as_string(hide_password=False))
    assert (said.code, why in said.err, said.err.count("\n")) == (code, True, 1), said


def test_a_folder_for_scratch_files_that_cant_be_used_is_reported_in_one_line(
    told: History, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    url = told.engine.url.render_as_string(hide_password=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    said = collector("audit", "verify", database_url=url)
    assert (said.code, "set TMPDIR" in said.err, said.err.count("\n")) == (1, True, 1), said


ODD_VALUES: tuple[Any, ...] = ("x", b"\xff\x00", -1, 2**62, 1.5, None, "9999-12-31T23:59:59.999999Z")


ODD_TIMES = ("infinity", "-infinity", "9999-12-31 23:59:59+00", "0044-03-15 12:00:00+00 BC")


def odd_values(engine: sa.Engine, column: sa.Column[Any]) -> tuple[Any, ...]:
    """Any type in any column, on SQLite; times beyond what Python knows, on PostgreSQL."""
    if engine.dialect.name == "sqlite":
        return ODD_VALUES
    return ODD_TIMES if column.name.endswith("_at") or column.name == "absent_since" else ()


@contextmanager
def undone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that is rolled back. On SQLite it must be begun by hand: without that, what was edited stays."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        yield connection
        connection.rollback()


@pytest.mark.parametrize("table", EVIDENCE)
def test_no_impossible_value_is_an_accident(told: History, forger: sa.Engine, table: str) -> None:
    raw = as_stored(metadata.tables[table])
    for column in metadata.tables[table].c:
        if column.name == "source_id":
            continue
        for value in odd_values(forger, column):
            if value is None and (column.nullable or column.primary_key):
                continue
            with undone(forger) as connection:
                statement = sa.update(raw).where(raw.c.source_id == 1).values({column.name: value})
                try:
                    connection.execute(statement)
                except sa.exc.DBAPIError:
                    continue  # the database itself refuses
                found = verifying.verify_source(connection, "gcore")
            assert found.verdict in ("altered", "stale"), (column.name, value)


def nested(connection: sa.Connection) -> AbstractContextManager[Any]:
    """What fails within leaves the transaction as it was. SQLite does so by itself, and its driver would commit."""
    return nullcontext() if connection.dialect.name == "sqlite" else connection.begin_nested()


@pytest.mark.long
def test_impossible_values_of_derived_rows_are_found(told: History, forger: sa.Engine) -> None:
    """In one row of each table at a time, since deriving takes its time: one value in all columns, then in each key."""
    tables = [metadata.tables[name] for name in ("regions", "state_transitions", "unseen")]
    rows = {table.name: rows_of(forger, table.name)[0] for table in tables}
    keys = {table.name: [c for c in table.c if c.primary_key and c.name != "source_id"] for table in tables}
    rounds = [{table.name: [c for c in table.c if not c.primary_key] for table in tables}]
    for number in range(max(map(len, keys.values()))):
        rounds.append({name: each[number : number + 1] for name, each in keys.items()})
    for columns in rounds:
        for value in ODD_VALUES if forger.dialect.name == "sqlite" else ODD_TIMES:
            altered = set()
            with undone(forger) as connection:
                for table in tables:
                    raw, row = as_stored(table), rows[table.name]
                    this = sa.and_(*(raw.c[name] == row[name] for name in keys_of(table)))
                    for column in columns[table.name]:
                        if value not in odd_values(forger, column) or value == row[column.name]:
                            continue
                        with (
                            suppress(sa.exc.DBAPIError),
                            connection.begin_nested(),
                        ):  # refused by the database
                            connection.execute(sa.update(raw).where(this).values({column.name: value}))
                            altered.add(table.name)
                found = verifying.verify_source(connection, "gcore")
            if altered:
                assert found.verdict == "altered", (altered, value)
                unread = [b.why for b in found.breaks if "can't be read" in b.why]
                assert unread or found.different >= len(altered), (altered, value)
    assert check(told).breaks == ()


@pytest.mark.long
def test_impossible_values_of_a_source_are_reported_in_one_line(told: History, forger: sa.Engine) -> None:
    """Whatever its row holds, the command ends with a verdict."""
    url = told.engine.url.render_as_string(hide_password=False)
    before = told.row("sources", id=1)
    raw = as_stored(metadata.tables["sources"])
    for column in metadata.tables["sources"].c:
        values = odd_values(forger, column)
        for value in values if column.name in ("newest_seq", "derivation_revision") else values[:1]:
            try:
                with forger.begin() as connection:
                    stood = connection.scalar(sa.select(raw.c[column.name]).where(raw.c.id == 1))
                    connection.execute(sa.update(raw).where(raw.c.id == 1).values({column.name: value}))
            except sa.exc.DBAPIError:
                continue  # the database itself refuses
            said = collector("audit", "verify", database_url=url)
            assert said.code in (0, 1, 2, 3), (column.name, value, said)
            assert said.err.count("\n") == (said.err != ""), (column.name, value, said)
            if column.name == "newest_seq":
                assert said.code == 1, (value, said)
            if (column.name, value) == ("derivation_revision", 2**62):
                said.refused(2, "a newer version")
            with forger.begin() as connection:
                where = raw.c.id == (value if column.name == "id" else 1)
                connection.execute(sa.update(raw).where(where).values({column.name: stood}))
    assert told.row("sources", id=1) == before
    assert check(told).verdict == "good"
