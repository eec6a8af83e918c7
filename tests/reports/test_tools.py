"""What docs/tools.md shows runs, as far as it needs nothing but our databases and DuckDB."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from tests.support import duckdb_views
from tests.support.demo import (
    DemoDatabase,
    DemoOnPostgreSQL,
)
from tests.support.paths import ROOT

TEXT = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
SQL = re.findall(r"(?ms)^```sql\n-- (\w+)\n(.*?)^```", TEXT)

FROM, TO = "2026-11-14T00:00:00Z", "2026-11-24T00:00:00Z"
"""What a dashboard shows."""
MILLISECONDS = {"$__from": "1794614400000", "$__to": "1795478400000"}


def as_grafana_asks(statement: str) -> str:
    """With what its documentation says of its macros."""
    statement = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN '{FROM}' AND '{TO}'", statement)
    for word, instead in (MILLISECONDS | {"$__timeFrom()": f"'{FROM}'", "$__timeTo()": f"'{TO}'"}).items():
        statement = statement.replace(word, instead)
    assert "$__" not in statement
    return statement


def of(tool: str) -> list[str]:
    return [statement for name, statement in SQL if name == tool]


def test_every_block_of_sql_says_where_it_runs() -> None:
    assert {name for name, _ in SQL} == {"PostgreSQL", "SQLite", "DuckDB"}
    assert len(SQL) == TEXT.count("```sql\n")


def test_statements_for_grafana_say_the_same_on_both_databases(
    demo_database: DemoDatabase,
    demo_postgresql: DemoOnPostgreSQL,
) -> None:
    of_days, changes = (demo_database.table(as_grafana_asks(s))[1] for s in of("SQLite"))
    days_on, changes_on, gaps_on = (demo_postgresql.table(as_grafana_asks(s))[1] for s in of("PostgreSQL"))
    assert [(int(day.timestamp()), state, pytest.approx(hours)) for day, state, hours in days_on] == of_days
    assert (of_days[0][0], of_days[-1][0]) == (1794614400, 1795478400), (
        "seconds, from the first day to the last"
    )
    texts = [f"{name}: {old or 'not listed'} → {new or 'not listed'}" for _, name, old, new, _ in changes]
    assert [text for _, text, _ in changes_on] == texts
    assert texts[0] == "San Jose: ACTIVE → MAINTENANCE"
    assert texts[-1] == "Luxembourg-2: ACTIVE → MAINTENANCE"
    assert [(f"{begin:%d %H:%M}", f"{end:%d %H:%M}", text) for begin, end, text in gaps_on] == [
        ("14 09:20", "14 21:40", "not seen: http_status"),
        ("17 00:00", "17 08:40", "not seen: no_polls"),
        ("21 12:00", "21 13:40", "not seen: no_polls"),
    ]


def test_what_is_shown_for_duckdb_runs(
    demo_database: DemoDatabase,
    duckdb_of: Any,
) -> None:
    engine = open_engine(f"sqlite:///{demo_database.file}", read_only=True)
    duck = duckdb_of(engine)
    duck.execute(duckdb_views.FILE.read_text(encoding="utf-8"))
    (in_python,) = re.findall(r'(?s)db\.sql\("""(.*?)"""\)', TEXT)
    weeks = duck.execute(in_python).fetchall()
    assert {(f"{week:%m-%d}", state): hours for week, state, hours in weeks}[("11-09", "MAINTENANCE")] == 66
    (handed_over,) = of("DuckDB")
    spans = duck.execute(handed_over).fetchall()
    assert {row[1] for row in spans} == {"184"}, "as text"
    engine.dispose()


def alone(program: str, home: Path) -> str:
    """What a program prints for a user with an empty home, whom no proxy lets out."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | nowhere | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_duckdb_reads_both_databases_without_a_network(
    told_sqlite: Path, told_postgresql: sa.URL, tmp_path: Path
) -> None:
    (install,) = re.findall(r"(?ms)^```python\n(from importlib.*?)^```", TEXT)
    count = "print(duckdb.sql('SELECT COUNT(*) FROM d.region_transitions').fetchone()[0])"
    never = "import duckdb; duckdb.execute('SET autoinstall_known_extensions = false')\n"
    server = told_postgresql.set(drivername="postgresql").render_as_string(hide_password=False)

    def attached(database: str, of_type: str) -> str:
        return f"{never}duckdb.execute(\"ATTACH '{database}' AS d (TYPE {of_type}, READ_ONLY)\")\n{count}"

    with pytest.raises(AssertionError, match="sqlite"):
        alone(attached(str(told_sqlite), "sqlite"), tmp_path)
    alone(install, tmp_path)
    found = int(alone(attached(str(told_sqlite), "sqlite"), tmp_path))
    assert found == int(alone(attached(server, "postgres"), tmp_path)) > 5


def test_pictures_are_small() -> None:
    for picture in re.findall(r"!\[[^]]*\]\((\S+)\)", TEXT):
        assert Path(ROOT / "docs" / picture).stat().st_size < 150_000
