"""`collector sql` asks one statement, and can't write, whatever it is given."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.database.transactions import reading
from tests.support.builders import region
from tests.support.command import Said, collector, process
from tests.support.history import History


@pytest.fixture
def url(database_url: str) -> str:
    """Two regions, one of which changed on 1 May 2026."""
    engine = open_engine(database_url)
    history = History(engine)
    history.poll([region(1, "NEW", slug="one"), region(2, slug="two")])
    history.poll([region(1, slug="one"), region(2, slug="two")])
    history.restart()
    engine.dispose()
    return database_url


def ask(url: str, *arguments: str) -> Said:
    return collector("sql", *arguments, database_url=url)


def test_an_answer_is_the_same_on_both_databases_in_every_format(url: str) -> None:
    sql = "SELECT slug, state, has_ai, changed_at, 1.5 AS x, NULL AS empty FROM current_regions ORDER BY slug"
    rows = ask(url, "--format", "json", sql).json
    assert [(row["slug"], row["state"], row["x"], row["empty"]) for row in rows] == [
        ("one", "ACTIVE", 1.5, None),
        ("two", "ACTIVE", 1.5, None),
    ]
    assert all(row["has_ai"] in (True, 1) and row["changed_at"].endswith("Z") for row in rows)
    assert rows[0]["changed_at"].startswith("2026-05-01T12:02:")
    assert [row["slug"] for row in ask(url, "--format", "csv", sql).csv] == ["one", "two"]
    heading, *lines = ask(url, sql).out.splitlines()
    assert heading.split() == ["slug", "state", "has_ai", "changed_at", "x", "empty"]
    assert [line.split()[:2] for line in lines] == [["one", "ACTIVE"], ["two", "ACTIVE"]]


def test_times_and_texts_are_parameters(url: str) -> None:
    sql = (
        "SELECT slug FROM region_transitions WHERE observed_at > :since AND observed_at < :yesterday "
        "AND to_state = :s AND kind = 'changed' AND slug LIKE '%n%'"
    )
    said = ask(url, "--time", "since=2026-05-01", "--param", "s=ACTIVE", "--format", "json", sql)
    assert said.json == [{"slug": "one"}]
    said.explains(":yesterday is 20", ":since is 2026-05-01 00:00:00Z")
    if url.startswith("sqlite"):
        ask(url, "SELECT 1 FROM daily_region_states WHERE day >= :today").explains("SUBSTR(:today, 1, 10)")
    ask(url, "SELECT :s").refused(2, "--param s=VALUE")
    assert ask(url, "--param", "s", "SELECT :s").code == 2
    assert ask(url, "--time", "s=yesterda", "SELECT :s").code == 2


def test_more_rows_than_asked_for_are_not_printed_and_that_is_said(url: str) -> None:
    said = ask(url, "--limit", "1", "--format", "json", "SELECT slug FROM current_regions ORDER BY slug")
    assert said.json == [{"slug": "one"}]
    said.explains("only the first 1 row;", "--limit 10")
    assert ask(url, "--limit", "2", "SELECT slug FROM current_regions").err == ""
    assert ask(url, "SELECT slug FROM current_regions WHERE slug = 'none'").out == "no rows\n"


def test_columns_of_one_name_are_all_printed(url: str) -> None:
    assert ask(url, "--format", "json", "SELECT 1 AS a, 2 AS a, 3 AS a").json == [
        {"a": 1, "a_2": 2, "a_3": 3}
    ]


def test_a_statement_that_takes_too_long_is_given_up(url: str) -> None:
    sql = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c"
    ask(url, "--timeout", "50ms", sql).refused(1, "longer than 0.05 s")
    assert ask(url, "--timeout", "0", "SELECT 1").code == 2


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        (
            "SELECT * FROM region_transition",
            "no table or view 'region_transition'; did you mean region_transitions",
        ),
        ("SELECT display FROM current_regions", "no column 'display'; did you mean display_name?"),
        ("SELECT t.observd_at FROM region_transitions t", "no column 'observd_at'; did you mean observed_at"),
        ("SELECT * FROM nonsense", "known are: "),
        ("SELECT 1 FRM", "FRM"),
        ("SELECT no_such_function(1)", "no_such_function"),
    ],
)
def test_mistakes_are_explained_with_the_closest_name(url: str, sql: str, named: str) -> None:
    if sql.endswith("FRM"):  # a name of a column
        sql += " 1"
        named = "syntax error"
    ask(url, sql).refused(2, named)


WRITES = (
    "DELETE FROM regions",
    "WITH x AS (SELECT 1) DELETE FROM regions",
    "WITH x AS (DELETE FROM regions RETURNING id) SELECT * FROM x",
    "EXPLAIN ANALYZE DELETE FROM regions",
    "SELECT 1; DELETE FROM regions",
    "SELECT 1 /* ; */; DELETE FROM regions; --",
    "CREATE TABLE t (x INTEGER)",
    "SELECT 1 INTO t",
    "DROP VIEW region_transitions",
    "BEGIN",
    "COMMIT",
    "SET TRANSACTION READ WRITE",
    "VACUUM",
    "ATTACH ':memory:' AS other",
    "PRAGMA query_only = OFF",
    "PRAGMA user_version = 7",
    "SELECT * FROM pragma_user_version",
    "SELECT load_extension('x')",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT nextval('sources_id_seq'), set_config('transaction_read_only', 'off', false)",
    "COPY regions TO STDOUT",
    "SELECT * FROM regions FOR UPDATE",
    "SELECT lo_create(0)",
    "EXPLAIN QUERY PLAN DELETE FROM regions RETURNING x",
)


@pytest.mark.parametrize("sql", WRITES)
def test_nothing_can_be_written(url: str, sql: str) -> None:
    before = _contents(url)
    said = ask(url, sql)
    assert (said.code, said.out) == (2, ""), said
    said.explains()
    assert _contents(url) == before


def _contents(url: str) -> str:
    """What a write would change."""
    engine = open_engine(url, read_only=True)
    with reading(engine) as connection:
        tables = sorted(sa.inspect(connection).get_table_names() + sa.inspect(connection).get_view_names())
        rows = [
            list(map(str, connection.exec_driver_sql(f'SELECT * FROM "{name}"').all()))
            for name in ("regions", "sources")
        ]
    engine.dispose()
    return hashlib.sha256(json.dumps([tables, rows]).encode()).hexdigest()


def test_a_statement_is_read_from_stdin(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    for arguments in ((), ("-",)):
        monkeypatch.setattr("sys.stdin", io.StringIO("SELECT COUNT(*) AS n\nFROM regions;\n"))
        assert ask(url, "--format", "json", *arguments).json == [{"n": 2}]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    ask(url).refused(2, "there is no statement")


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_stdin_may_be_of_any_editor_but_must_be_text(
    url: str, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    def give(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    give(start + b"SELECT 1 AS one\r\n")
    assert ask(url, "--format", "json").json == [{"one": 1}]
    give("SELECT 2 AS two".encode("utf-16"))
    assert ask(url, "--format", "json").json == [{"two": 2}]
    give(start + b"SELECT '\xff'")
    ask(url).refused(2, "not valid UTF-8")


def test_what_is_not_text_is_refused_before_the_database_is_asked(url: str) -> None:
    for arguments in (["SELECT '\udcff'"], ["--param", "x=\udcff", "SELECT :x"]):
        said = ask(url, *arguments)
        said.explains("not valid UTF-8")
        assert (said.code, said.out) == (2, "")


def test_numbers_that_json_lacks_are_texts(url: str) -> None:
    infinity = "9e999" if url.startswith("sqlite") else "CAST('Infinity' AS numeric)"
    said = ask(url, "--format", "json", f"SELECT {infinity} AS most, -{infinity} AS least")
    assert said.json == [{"most": "Infinity", "least": "-Infinity"}]


def test_lists_of_times_and_numbers_are_printed_on_postgresql(url: str) -> None:
    if url.startswith("sqlite"):
        return
    sql = "SELECT ARRAY_AGG(first_at ORDER BY seq) AS times, ARRAY[1.5, 2.0] AS numbers FROM observations"
    (row,) = ask(url, "--format", "json", sql).json
    assert row["times"][0].endswith("Z")
    assert row["numbers"] == [1.5, 2]
    for format_ in ("csv", "table"):
        assert "2026-05-01T" in ask(url, "--format", format_, sql).out


def test_comparing_a_time_with_other_text_gets_a_warning_on_sqlite(url: str) -> None:
    said = ask(url, "SELECT COUNT(*) FROM region_transitions WHERE observed_at > '2026-05-01 12:00'")
    assert said.code == 0
    is_sqlite = url.startswith("sqlite")
    assert ("warning: observed_at is compared with '2026-05-01 12:00'" in said.err) is is_sqlite


def test_there_must_be_a_database(tmp_path: Path) -> None:
    process("sql", "SELECT 1", cwd=tmp_path).refused(1, "there is no database")
    assert list(tmp_path.iterdir()) == []
