"""Statements of people: one that asks, parameters that are times, comparisons of times that go wrong."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from operator import eq, ge, gt, le, lt, ne

import pytest

from collector.clock import time_text
from collector.errors import UsageError
from collector.reports.asking.mistakes import relations
from collector.reports.asking.statement import read_statement, with_placeholders
from collector.reports.asking.times import named_times, wrong_comparisons
from tests.support.paths import ROOT

NOW = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)


def warnings(sql: str, **given: str | datetime) -> list[str]:
    return wrong_comparisons(read_statement(sql), given, NOW)


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("SELECT 1", "SELECT 1"),
        ("  select 1 ; ; -- that is all\n", "  select 1"),
        ("/* a; b */ SELECT ';' ;", "/* a; b */ SELECT ';'"),
        ('WITH a AS (SELECT 1) SELECT ";" FROM a', 'WITH a AS (SELECT 1) SELECT ";" FROM a'),
        ("(SELECT 1) UNION (SELECT 2)", "(SELECT 1) UNION (SELECT 2)"),
        ("SELECT $$;$$, $a$;$$;$a$", "SELECT $$;$$, $a$;$$;$a$"),
        ("SELECT E'\\';', 'it''s;'", "SELECT E'\\';', 'it''s;'"),
        ("EXPLAIN QUERY PLAN SELECT 1", "EXPLAIN QUERY PLAN SELECT 1"),
    ],
)
def test_one_statement_is_taken_without_its_semicolon(text: str, sql: str) -> None:
    assert read_statement(text).sql == sql


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no statement"),
        (" ;; -- nothing", "there is no statement"),
        ("SELECT 1; SELECT 2", "more than one"),
        ("SELECT 1; DROP TABLE regions --", "more than one"),
        ("SELECT 'a';'b'", "more than one"),
        ("DELETE FROM regions", "'DELETE' is refused"),
        ("/* */ pragma query_only = off", "'pragma' is refused"),
        ("regions", "'regions' is refused"),
        ("((DELETE", "'DELETE' is refused"),
    ],
)
def test_what_does_not_ask_one_question_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_statement(text)


def test_parameters_are_found_where_they_are_ones() -> None:
    sql = "SELECT ':a', \":b\", x::text, :c -- :d\n, :2_days_ago /* :e */, $$:f$$, :c"
    statement = read_statement(sql)
    assert statement.parameters == ("c", "2_days_ago")
    assert with_placeholders(read_statement("SELECT :a, ':a', 5 % 2, x::text LIKE '%'")) == (
        "SELECT %(a)s, ':a', 5 %% 2, x::text LIKE '%%'"
    )


def test_times_are_named_by_words() -> None:
    statement = read_statement("SELECT :now, :yesterday, :2_days_ago, :t")
    assert named_times(statement, {"t": "x"}, NOW) == {
        "now": NOW,
        "yesterday": datetime(2026, 11, 22, tzinfo=UTC),
        "2_days_ago": datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC),
    }


@pytest.mark.parametrize("name", ["state", "may", "t", "2026", "2_days"])
def test_a_parameter_without_a_value_is_no_guess(name: str) -> None:
    with pytest.raises(UsageError, match=f"no value for :{name}; give one with --param {name}=VALUE"):
        named_times(read_statement(f"SELECT :{name}"), {}, NOW)


def test_a_value_that_no_parameter_takes_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="no parameter :s"):
        named_times(read_statement("SELECT ':s'"), {"s": "NEW"}, NOW)
    with pytest.raises(UsageError, match=r":2_dys_ago: .*'2 days ago'"):
        named_times(read_statement("SELECT :2_dys_ago"), {}, NOW)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("observed_at > '2026-11-01 12:00'", "write '2026-11-01T12:00:00.000000Z'"),
        ("observed_at > '2026-11-01T12:00:00Z'", "write '2026-11-01T12:00:00.000000Z'"),
        ("observed_at > '2026-11-01T12:00:00+02:00'", "write '2026-11-01T10:00:00.000000Z'"),
        ("t.observed_at >= 'yesterday'", "write '2026-11-22T00:00:00.000000Z'"),
        ("'yesterday' < t.observed_at", "write '2026-11-22T00:00:00.000000Z'"),
        ("\"valid_from\" = '2026-11-01'", "write '2026-11-01T00:00:00.000000Z'"),
        ("valid_to NOT BETWEEN '2026-11-01' AND '2 Nov 2026'", "write '2026-11-02T00:00:00.000000Z'"),
        ("from_at < 'sometime'", "or :yesterday"),
        ("observed_at > datetime('now', '-1 day')", "datetime, whose text is not a stored time"),
        ("observed_at < CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP, whose text is not a stored time"),
        ("observed_at > :t", "write '2026-11-22T00:00:00.000000Z'"),
        ("observed_at > '2026-11-01'", "also finds 2026-11-01 00:00:00Z itself"),
        ("'2026-11-01' < until_at", "also finds 2026-11-01 00:00:00Z itself"),
        ("from_at <= '2026-11-01'", "misses 2026-11-01 00:00:00Z itself"),
        ("'2026-11-01T12' >= from_at", "misses 2026-11-01 12:00:00Z itself"),
        ("observed_at BETWEEN '2026-10-01' AND '2026-11-01'", "misses 2026-11-01 00:00:00Z itself"),
        ("observed_at <= '2026'", "misses its start"),
        ("day >= :midnight", "write '2026-11-22', or SUBSTR(:midnight, 1, 10)"),
        ("day = :noon", "write '2026-11-22', or SUBSTR(:noon, 1, 10)"),
        (":midnight <= day", "write '2026-11-22', or SUBSTR(:midnight, 1, 10)"),
        ("day < '2026-11-22T00:00:00.000000Z'", "which is not a day"),
        ("day > '20.11.'", "write a day like '2026-05-01'"),
        ("day >= 'yesterday'", "write '2026-11-22'"),
        ("month = '2026-11'", "which is not a day"),
        ("month <= '2026-11'", "which is not a day"),
        ("s.until_at > d.day", "write day || 'T00:00:00.000000Z'"),
        ("d.day >= s.from_at", "write day || 'T00:00:00.000000Z'"),
        ("from_at <= month", "write month || 'T00:00:00.000000Z'"),
    ],
)
def test_comparisons_that_go_wrong_get_a_warning(where: str, said: str) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    given = {"t": "yesterday", "midnight": midnight, "noon": midnight + timedelta(hours=12)}
    (warning,) = warnings(f"SELECT * FROM region_transitions t WHERE {where}", **given)
    assert said in warning


@pytest.mark.parametrize(
    "where",
    [
        "observed_at >= '2026-11-01'",
        "observed_at < '2026-11-01T12'",
        "'2026-11-01' > observed_at",
        "observed_at BETWEEN '2026-11-01' AND '2026-11-02T12:00:00.000000Z'",
        "observed_at > '2026-11-01T00:00:00.000000Z'",
        "day BETWEEN '2026-11-01' AND '2026-11-02'",
        "day = '2026-11-01'",
        "day > :midnight AND day <= :midnight",
        "day >= :noon AND day < :noon",
        "month >= '2026'",
        "from_at >= day AND day <= from_at AND from_at < day AND day > until_at",
        "until_at > d.day || 'T00:00:00.000000Z'",
        "day || 'T00:00:00.000000Z' <= from_at",
        "observed_at = '2026-11-01T12:00:00.000000Z'",
        "observed_at > :yesterday",
        "observed_at > not_before",
        "observed_at > (SELECT MAX(first_at) FROM observations)",
        "state = 'yesterday'",
        "seconds > '12'",
        "julianday(observed_at) > julianday('2026-11-01 12:00')",
        "slug = 'observed_at > ''yesterday'''",
        "to_state = 'NEW' AND observed_at IS NOT NULL",
    ],
)
def test_comparisons_that_go_right_get_none(where: str) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    given = {"midnight": midnight, "noon": midnight + timedelta(hours=12)}
    assert warnings(f"SELECT * FROM region_transitions WHERE {where}", **given) == []


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "=", "<>"])
@pytest.mark.parametrize("column", ["observed_at", "day"])
@pytest.mark.parametrize(
    "asked", ["2026-11-22", "2026-11-22T00:00:00.000000Z", "2026-11-22T12:00:00.000000Z"]
)
def test_a_comparison_is_warned_of_if_sqlite_answers_it_wrongly(
    operator: str, column: str, asked: str
) -> None:
    middle = datetime(2026, 11, 22, tzinfo=UTC)
    step = timedelta(days=1) if column == "day" else timedelta(microseconds=1)
    stored = [middle + n * step for n in (-1, 0, 1)]
    meant = datetime.fromisoformat(asked).replace(tzinfo=UTC)
    compare = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq, "<>": ne}[operator]
    with closing(sqlite3.connect(":memory:")) as db:
        is_wrong = any(
            bool(db.execute(f"SELECT ? {operator} ?", (text, asked)).fetchone()[0])
            is not compare(time, meant)
            for time in stored
            for text in [time_text(time)[: 10 if column == "day" else None]]
        )
    is_idle = operator in ("=", "<>") and column == "day" and "T12" in asked  # no day is noon
    assert bool(warnings(f"SELECT 1 WHERE {column} {operator} '{asked}'")) is (is_wrong or is_idle)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/cookbook.md", "docs/data-dictionary.md", "docs/questions.md"]
)
def test_no_statement_of_a_page_is_warned_of(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [b for b in re.findall(r"(?ms)^```sql\n(.*?)^```", text) if not b.startswith("-- PostgreSQL")]
    statements = [one for block in blocks for one in block.split(";")]
    statements += re.findall(r'collector sql "(.*?)"', text)
    assert statements
    for one in statements:
        if re.match(r"\s*(SELECT|WITH)\b", one):
            assert warnings(one) == [], one


def test_every_table_and_view_is_known_with_its_columns() -> None:
    known = relations()
    assert "observed_at" in known["region_transitions"]
    assert "opening_digest" in known["observations"]
