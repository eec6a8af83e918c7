"""`collector export`: the content of the files, how they grow, and that readers never see half an export."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import migrating, reading, writing
from collector.errors import ExportError, SchemaError, UsageError
from collector.reports import views
from collector.reports.export import Exported
from collector.reports.export import export as export_into
from collector.reports.export.folder import open_folder
from collector.reports.export.manifest import Asked
from collector.reports.export.relations import names, relations
from collector.store import copying
from collector.store.tables import metadata
from tests.support import killed_exports
from tests.support.builders import answer, region
from tests.support.command import Said, collector
from tests.support.databases import new_database
from tests.support.history import NOON, History, Row, failure
from tests.support.paths import ROOT
from tests.support.script import STORY, play
from tests.support.views import clock_of_views_stopped

LEFT_OUT = {
    "sources": {"lease_owner", "lease_expires_at", "lease_epoch", "key_salt", "corrections"},
    "payloads": {"compressed_size"},
    "regions": {"content_hash"},
    "keystones": {"content_hash"},
    "metrics_databases": {"content_hash"},
}
NONE_NOW = "current_metrics_databases"
"""Has no rows at the end of the history in which everything has happened."""
NOT_CUT = {"sources", "observers", "region_volume_types", "regions", "keystones", "metrics_databases"}


FEW = (
    "observations",
    "payloads",
    "regions",
    "region_versions",
    "state_transitions",
    "unseen",
    "current_regions",
    "region_transitions",
)
"""Tables that grow and that do not, and views: enough where the question is not what they hold."""


@pytest.fixture(scope="module", autouse=True)
def _stopped_clock() -> Iterator[None]:
    """The views' NOW is a moment soon after the last poll, and the same for everybody."""
    with clock_of_views_stopped(datetime(2026, 5, 3, tzinfo=UTC)):
        yield


def with_views_installed(engine: sa.Engine) -> sa.Engine:
    with migrating(engine) as connection:
        views.install(connection)
    return engine


@pytest.fixture
def engine(engine: sa.Engine) -> sa.Engine:
    return with_views_installed(engine)


@pytest.fixture(scope="module")
def told(shared_told: History) -> History:
    with_views_installed(shared_told.engine)
    return shared_told


@pytest.fixture
def alone(sqlite_template: Path, tmp_path: Path) -> Iterator[History]:
    """A history on SQLite, for what is the same on both databases, since it is about files."""
    shutil.copy(sqlite_template, tmp_path / "collector.db")
    engine = with_views_installed(open_engine(f"sqlite:///{tmp_path / 'collector.db'}"))
    yield History(engine)
    engine.dispose()


@pytest.fixture
def few_polls(alone: History) -> History:
    """In which something has settled, and something not."""
    polled(alone, until=4)
    return alone


def export(engine: sa.Engine, folder: Path, incremental: bool = False, **asked: Any) -> Exported:
    """Export as the command does, in this process."""
    with reading(engine) as connection:
        question = Asked(**{"format": "parquet"} | asked)
        return export_into(connection, folder, question, made_at=datetime.now(UTC), incremental=incremental)


def url_of(history: History) -> str:
    return history.engine.url.render_as_string(hide_password=False)


def rows_in(folder: Path, name: str, format_: str = "parquet") -> list[Row]:
    """The rows of a table as DuckDB reads them in one line, with times as aware ones, in a fixed order."""
    found = ask(f"SELECT * FROM '{folder}/{name}/**/*.{format_}'")
    columns = [column[0] for column in found.description]
    rows = [dict(zip(columns, map(_aware, row), strict=True)) for row in found.fetchall()]
    return sorted(rows, key=lambda row: str({n: v for n, v in row.items() if not isinstance(v, float)}))


@cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    """One for all tests: to make one takes longer than most questions."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def ask(sql: str) -> duckdb.DuckDBPyConnection:
    return _duckdb().execute(sql)


def _aware(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    assert value.tzinfo is not None, "a time without a zone"
    return value.astimezone(UTC)


def same(one: list[Row], other: list[Row]) -> bool:
    """True if rows are equal, although the two databases calculate with seconds differently."""
    return len(one) == len(other) and all(
        a.keys() == b.keys()
        and all(
            math.isclose(x, b[n], rel_tol=1e-9, abs_tol=1e-5) if isinstance(x, float) else x == b[n]
            for n, x in a.items()
        )
        for a, b in zip(one, other, strict=True)
    )


def manifest_in(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_bytes())


def assert_is_whole(folder: Path) -> None:
    """The manifest lists exactly the files that a reader finds, and they are as it says."""
    manifest = manifest_in(folder)
    listed = {file["path"]: file for table in manifest["tables"] for file in table["files"]}
    found = [f for table in manifest["tables"] for f in (folder / table["name"]).glob("**/*") if f.is_file()]
    assert {file.relative_to(folder).as_posix() for file in found} == set(listed)
    for path, file in listed.items():
        data = (folder / path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"]), path
    for table in manifest["tables"]:
        assert table["rows"] == sum(file["rows"] for file in table["files"])
    assert {entry.name for entry in folder.iterdir() if entry.name.startswith(".")} == {
        ".current",
        f".export-{manifest['export']:06}",
    }


def polled(history: History, *, until: int) -> None:
    """A few polls: a region is new, then active, then another is gone."""
    for at in range(until):
        state = "NEW" if at == 0 else "ACTIVE"
        history.poll([region(1, state), region(2)] if at < 2 else [region(1, state)], at=60.0 * at)


# What is exported


def test_every_table_is_exported_as_the_database_has_it(told: History, tmp_path: Path) -> None:
    export(told.engine, tmp_path / "lake")
    assert_is_whole(tmp_path / "lake")
    sources = {row["id"]: row["name"] for row in told.rows("sources")}
    for table in metadata.tables.values():
        if table.name in (
            "webhook_deliveries",
            "webhook_queues",
            "anchors",
            "verifications",
            "amendments",
            "payloads",
        ):
            continue
        kept = [c.name for c in table.columns if c.name not in LEFT_OUT.get(table.name, ())]
        expected = []
        for row in told.rows(table.name):
            of = {} if table.name == "sources" else {"source": sources[row["source_id"]]}
            listed = {n: list(row[n]) if isinstance(row[n], tuple) else row[n] for n in kept}
            expected.append(of | listed)
        found = rows_in(tmp_path / "lake", table.name)
        assert sorted(map(str, found)) == sorted(map(str, expected)), table.name


def test_answers_are_exported_as_json_with_the_observation_that_showed_them_first(
    told: History, tmp_path: Path
) -> None:
    export(told.engine, tmp_path / "lake", only=("payloads",))
    observed = told.rows("observations")
    rows = rows_in(tmp_path / "lake", "payloads")
    assert len(rows) == len(told.rows("payloads"))
    for row in rows:
        assert "results" in json.loads(row["body"])
        assert len(row["body"]) == row["size"]
        first = min(
            o["seq"] for o in observed if (o["source_id"], o["payload"]) == (row["source_id"], row["address"])
        )
        assert row["first_seq"] == first


def test_every_view_is_exported_as_the_database_has_it(told: History, tmp_path: Path) -> None:
    export(told.engine, tmp_path / "lake")
    for name in views.NAMES:
        rows = told.query(f"SELECT * FROM {name}")
        found = rows_in(tmp_path / "lake", name)
        assert len(found) == len(rows), name
        assert rows or name == NONE_NOW, name
        assert not rows or list(found[0]) == list(rows[0])
    transition = next(r for r in rows_in(tmp_path / "lake", "region_transitions") if r["basis"] == "direct")
    assert isinstance(transition["observed_at"], datetime)
    now = next(r for r in rows_in(tmp_path / "lake", "current_regions") if r["region_id"] == 1)
    assert now["has_ai_gpu"] is False
    assert now["available_volume_types"] == ["ssd_hiiops", "standard"]
    assert {type(row["is_open"]) for row in rows_in(tmp_path / "lake", "region_state_intervals")} == {bool}
    assert {type(row["day"]) for row in rows_in(tmp_path / "lake", "poll_health")} == {date}


@pytest.fixture(scope="module")
def twins(
    told_sqlite: Path, postgresql_server: sa.URL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[sa.Engine, sa.Engine]]:
    """The same history on both databases."""
    folder = tmp_path_factory.mktemp("twins")
    shutil.copy(told_sqlite, folder / "collector.db")
    one, other = (
        open_engine(f"sqlite:///{folder / 'collector.db'}"),
        open_engine(new_database(postgresql_server)),
    )
    migrate.upgrade(other)
    copying.copy(one, other)
    with_views_installed(one)
    yield one, other
    one.dispose()
    other.dispose()


def test_both_databases_give_the_same_types_and_the_same_rows(
    twins: tuple[sa.Engine, sa.Engine], tmp_path: Path
) -> None:
    for engine in twins:
        export(engine, tmp_path / engine.dialect.name)
    for name in names():
        one, other = (rows_in(tmp_path / engine.dialect.name, name) for engine in twins)
        assert one or name == NONE_NOW, name
        assert same(one, other), name
        schemas = [
            {pq.read_schema(f) for f in (tmp_path / engine.dialect.name / name).glob("**/*.parquet")}
            for engine in twins
        ]
        assert schemas[0] == schemas[1], name
        assert len(schemas[0]) == 1
    one_says, other_says = (manifest_in(tmp_path / e.dialect.name) for e in twins)
    assert one_says["sources"] == other_says["sources"]
    described = [
        [(t["name"], t["columns"], t["time"], t["rows"]) for t in said["tables"]]
        for said in (one_says, other_says)
    ]
    assert described[0] == described[1]


def test_the_manifest_tells_the_moment_and_what_was_asked(told: History, tmp_path: Path) -> None:
    export(told.engine, tmp_path / "lake", partition_by="source", without=("payloads",))
    manifest = manifest_in(tmp_path / "lake")
    assert manifest["asked"] == {
        "format": "parquet",
        "from": None,
        "to": None,
        "partition_by": "source",
        "source": None,
        "only": [],
        "without": ["payloads"],
    }
    assert (manifest["export"], manifest["schema"]) == (1, migrate.newest_revision())
    observed = told.rows("observations")
    for state, row in zip(manifest["sources"], told.rows("sources"), strict=True):
        own = [o for o in observed if o["source_id"] == row["id"]]
        assert (state["source"], state["newest_seq"]) == (row["name"], own[-1]["seq"])
        assert state["head"] == own[-1]["opening_digest"]
        assert state["derivation_revision"] == row["derivation_revision"]
        assert (state["settled"]["seq"], state["settled"]["digest"]) == (own[-2]["seq"], own[-2]["digest"])
    assert [table["name"] for table in manifest["tables"]] == [n for n in names() if n != "payloads"]


def test_all_files_are_of_one_moment(history: History, tmp_path: Path) -> None:
    polled(history, until=3)
    before = history.rows("observations")
    further = []

    def poll_meanwhile(done: int, all_: int) -> None:
        assert 0 <= done <= all_
        if not further:
            further.append(history.poll([region(1), region(2), region(7)], at=600))

    with reading(history.engine) as connection:
        export_into(
            connection, tmp_path / "lake", Asked("parquet", only=FEW), made_at=NOON, progress=poll_meanwhile
        )
    assert further
    assert len(history.rows("observations")) == len(before) + 1
    assert manifest_in(tmp_path / "lake")["sources"][0]["head"] == before[-1]["opening_digest"]
    assert len(rows_in(tmp_path / "lake", "observations")) == len(before)
    assert {row["id"] for row in rows_in(tmp_path / "lake", "regions")} == {1, 2}


def test_a_database_without_any_poll_gives_empty_tables_that_can_be_read(
    engine: sa.Engine, tmp_path: Path
) -> None:
    export(engine, tmp_path / "plain")
    for partition_by in ("day", "source"):
        export(engine, tmp_path / partition_by, partition_by=partition_by, only=FEW)
    for folder in tmp_path.glob("[dps]*/"):
        assert_is_whole(folder)
        for table in manifest_in(folder)["tables"]:
            assert rows_in(folder, table["name"]) == []
    assert {file.parent.name for file in (tmp_path / "day" / "observations").glob("**/*.parquet")} == {
        "day=1970-01-01"
    }


@pytest.mark.usefixtures("garbage_is_collected_as_usual")
def test_rows_are_read_a_few_at_a_time(engine: sa.Engine, tmp_path: Path) -> None:
    history = History(engine)
    polled(history, until=1)
    cursors = set()
    peaks = []

    def watch(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        if "FROM rejected_records" in statement and "ORDER BY" in statement:
            cursors.add(type(cursor).__name__)

    sa.event.listen(engine, "before_cursor_execute", watch)
    filler = "x" * 300
    for begin, end in ((0, 2000), (2000, 8000)):
        rows = [
            {
                "source_id": 1,
                "seq": 1,
                "position": n,
                "region_id": n,
                "reason": "duplicate_id",
                "payload": f"{n} {filler}",
            }
            for n in range(begin, end)
        ]
        with writing(engine) as connection:
            connection.execute(sa.insert(metadata.tables["rejected_records"]), rows)
        del rows
        tracemalloc.start()
        export(engine, tmp_path / str(end), format="csv", only=("rejected_records",))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert manifest_in(tmp_path / str(end))["tables"][0]["rows"] == end
    assert peaks[1] < 1.5 * peaks[0], peaks
    if engine.dialect.name == "postgresql":
        assert cursors == {"ServerCursor"}


# Times


def test_every_table_and_view_is_cut_by_its_time_or_is_of_now(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        found = {relation.name: relation for relation in relations(connection)}
    current = {"all_regions", *(name for name in views.NAMES if name.startswith("current_"))}
    assert {name for name, relation in found.items() if relation.span is None} == NOT_CUT | current


def touches(row: Row, words: str, since: datetime, until: datetime) -> bool:
    """True if a row's time, as the manifest names it, overlaps [since, until). This is a second, plain
    implementation."""
    first, _, last = words.partition(" to ")
    if first == "day":
        return since.date() <= row["day"] and datetime.combine(row["day"], datetime.min.time(), UTC) < until
    if first == "month":
        begins = datetime.combine(row["month"], datetime.min.time(), UTC)
        return since.date().replace(day=1) <= row["month"] and begins < until
    begin = row[first]
    if begin is None:
        begin = row["from_latest"]
    if not last:
        return since <= begin < until
    end = row[last]
    return begin < until and (end is None or end > since or (last == "last_at" and end == since))


def test_from_and_to_cut_every_table_by_its_time(told: History, tmp_path: Path) -> None:
    export(told.engine, tmp_path / "whole")
    whole = {name: rows_in(tmp_path / "whole", name) for name in names()}
    kept = left_out = 0
    for since, until in ((6 * 60, 13 * 60), (60 * 60, 90 * 60)):
        begin, end, cut = History.time(since), History.time(until), tmp_path / str(since)
        export(told.engine, cut, since=begin, until=end)
        observed = [o for o in whole["observations"] if touches(o, "first_at to last_at", begin, end)]
        seen = {(o["source_id"], o["seq"]) for o in observed}
        for table in manifest_in(cut)["tables"]:
            name, rows = table["name"], rows_in(cut, table["name"])
            if name in ("rejected_records", "withheld_absences"):
                expected = [row for row in whole[name] if (row["source_id"], row["seq"]) in seen]
            elif name == "payloads":  # also those that were seen before and afterwards
                assert {row["address"] for row in rows} >= {o["payload"] for o in observed} - {None}
                continue
            elif table["time"] is None:
                expected = whole[name]
            else:
                expected = [row for row in whole[name] if touches(row, table["time"], begin, end)]
            assert same(rows, expected), name
            kept, left_out = kept + len(rows), left_out + len(whole[name]) - len(rows)
    assert kept
    assert left_out


# Growing


def same_exports(one: Path, other: Path) -> None:
    exported = [table["name"] for table in manifest_in(other)["tables"]]
    assert [table["name"] for table in manifest_in(one)["tables"]] == exported
    for name in exported:
        assert same(rows_in(one, name), rows_in(other, name)), name


@pytest.mark.long
@pytest.mark.parametrize(
    ("partition_by", "seed"),
    [
        (None, 1),
        pytest.param("day", 2, marks=pytest.mark.slow),
        pytest.param("source", 3, marks=pytest.mark.slow),
        *(pytest.param(p, n, marks=pytest.mark.slow) for p in (None, "day", "source") for n in range(10, 20)),
    ],
)
def test_an_export_that_grew_poll_by_poll_is_the_same_as_a_whole_one(
    history: History, tmp_path: Path, partition_by: str | None, seed: int
) -> None:
    most_views = tuple(name for name in views.NAMES if name not in FEW)  # all views are written again
    grow_and_compare(history, tmp_path, partition_by, Random(seed), without=most_views)


@pytest.mark.parametrize("partition_by", ["day", "source"])
def test_so_is_a_lake(alone: History, tmp_path: Path, partition_by: str) -> None:
    grow_and_compare(alone, tmp_path, partition_by, Random(partition_by), only=FEW)


def grow_and_compare(
    history: History, tmp_path: Path, partition_by: str | None, random: Random, **which: tuple[str, ...]
) -> None:
    """Play the story of every kind of poll, and then a region that is not shown for long, with exports in between."""

    def grow() -> Exported:
        return export(history.engine, grown, incremental=True, partition_by=partition_by, **which)

    other = History(history.engine, name="other", base_url="https://other.example")
    grown, kept = tmp_path / "grown", 0
    stops = [*sorted(random.sample(range(1, len(STORY) - 1), 3)), len(STORY) - 1]
    for number in range(len(STORY)):
        play(history, number)
        if number % 7 == 3:
            other.poll([region(1, "NEW" if number < 9 else "ACTIVE")], at=60.0 * number)
        if number in stops:
            done = grow()
            assert (done.goes_on, done.anew_because) == (number != stops[0], None)
            kept += sum(
                f.export < done.manifest.export for table in done.manifest.tables for f in table.files
            )
    assert kept
    for said in (answer([region(1)], count=5), failure(), answer([region(1)], count=5)):
        history.poll(said)
    grow()
    history.poll([region(n) for n in range(1, 6)])
    history.poll(failure())
    grow()
    assert_is_whole(grown)
    export(history.engine, tmp_path / "whole", partition_by=partition_by, **which)
    same_exports(grown, tmp_path / "whole")


def test_what_has_settled_is_kept_and_not_written_again(history: History, tmp_path: Path) -> None:
    polled(history, until=3)
    export(history.engine, tmp_path / "lake", only=FEW, incremental=True)
    before = {f["path"]: f for t in manifest_in(tmp_path / "lake")["tables"] for f in t["files"]}
    inodes = {path: (tmp_path / "lake" / path).stat().st_ino for path in before}
    history.poll([region(1, "MAINTENANCE")], at=300)
    export(history.engine, tmp_path / "lake", only=FEW, incremental=True)
    after = {f["path"]: f for t in manifest_in(tmp_path / "lake")["tables"] for f in t["files"]}
    settled = {path for path, file in before.items() if file["settled"]}
    assert {path.split("/")[0] for path in settled} >= {"observations", "payloads", "state_transitions"}
    assert settled == before.keys() & after.keys()
    assert all((tmp_path / "lake" / path).stat().st_ino == inodes[path] for path in settled)
    added = [path for path in after.keys() - settled if after[path]["settled"]]
    assert "observations/part-000002.parquet" in added
    assert after["observations/part-000002.parquet"]["rows"] == 1


def test_nothing_new_gives_the_same_again(told: History, tmp_path: Path) -> None:
    export(told.engine, tmp_path / "lake", only=FEW, incremental=True)
    first = {name: rows_in(tmp_path / "lake", name) for name in FEW}
    done = export(told.engine, tmp_path / "lake", only=FEW, incremental=True)
    assert done.goes_on
    assert all(same(rows_in(tmp_path / "lake", name), rows) for name, rows in first.items())
    assert not [f for t in done.manifest.tables for f in t.files if f.settled and f.export == 2]


def _by_other_rules(history: History, _: Path) -> None:
    with writing(history.engine) as connection:
        connection.execute(sa.text("UPDATE sources SET derivation_revision = derivation_revision + 1"))


def _a_row_less(history: History, _: Path) -> None:
    with writing(history.engine) as connection:
        connection.execute(sa.text("DELETE FROM state_transitions WHERE seq = 1 AND entity = 'region'"))


def _a_file_less(_: History, lake: Path) -> None:
    (lake / "observations" / "part-000001.parquet").unlink()


def _a_file_cut(_: History, lake: Path) -> None:
    os.truncate(lake / "payloads" / "part-000001.parquet", 10)


def _no_manifest_to_read(_: History, lake: Path) -> None:
    (lake / "manifest.json").write_text("[]")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_by_other_rules, "the history of gcore was derived again, by other rules"),
        (_a_row_less, "the rows of state_transitions were derived again"),
    ],
)
def test_what_was_derived_again_is_exported_again(
    history: History, tmp_path: Path, change: Callable[[History, Path], None], why: str
) -> None:
    polled(history, until=4)
    exported_again(history, tmp_path, change, why)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_a_file_less, "observations/part-000001.parquet is missing"),
        (_a_file_cut, "payloads/part-000001.parquet is missing or was changed"),
        (_no_manifest_to_read, "its manifest can't be read"),
    ],
)
def test_an_export_that_was_damaged_is_written_again(
    few_polls: History, tmp_path: Path, change: Callable[[History, Path], None], why: str
) -> None:
    exported_again(few_polls, tmp_path, change, why)


def exported_again(
    history: History, tmp_path: Path, change: Callable[[History, Path], None], why: str
) -> None:
    export(history.engine, tmp_path / "lake", only=FEW, incremental=True)
    change(history, tmp_path / "lake")
    done = export(history.engine, tmp_path / "lake", only=FEW, incremental=True)
    assert not done.goes_on
    assert str(done.anew_because).startswith(why)
    export(history.engine, tmp_path / "whole", only=FEW)
    same_exports(tmp_path / "lake", tmp_path / "whole")
    assert_is_whole(tmp_path / "lake")


def test_another_history_is_refused_and_the_export_stays(
    history: History, tmp_path: Path, sqlite_template: Path
) -> None:
    polled(history, until=4)
    export(history.engine, tmp_path / "lake", only=FEW, incremental=True)
    before = (tmp_path / "lake" / "manifest.json").read_bytes()
    shutil.copy(sqlite_template, tmp_path / "other.db")
    other = History(with_views_installed(open_engine(f"sqlite:///{tmp_path / 'other.db'}")))
    for seen in range(4):  # of the same name, but it saw something else
        other.poll([region(1, "NEW" if seen < 3 else "ACTIVE"), region(9)], at=60.0 * seen)
        with pytest.raises(
            ExportError, match=r"is of another history: observation \d of 'gcore' is not the one"
        ):
            export(other.engine, tmp_path / "lake", only=FEW, incremental=True)
    other.engine.dispose()
    assert (tmp_path / "lake" / "manifest.json").read_bytes() == before
    assert_is_whole(tmp_path / "lake")


@pytest.mark.parametrize(
    "asked",
    [{"format": "csv"}, {"partition_by": "day"}, {"source": "gcore"}, {"only": ("regions",)}],
    ids=lambda asked: next(iter(asked)),
)
def test_an_export_goes_on_only_as_it_began(
    few_polls: History, tmp_path: Path, asked: dict[str, Any]
) -> None:
    export(few_polls.engine, tmp_path / "lake", incremental=True, only=FEW)
    (name,) = asked
    with pytest.raises(UsageError, match=f"made with other options \\(--{name.replace('_', '-')} was"):
        export(few_polls.engine, tmp_path / "lake", incremental=True, **{"only": FEW} | asked)
    assert_is_whole(tmp_path / "lake")
    export(few_polls.engine, tmp_path / "lake", **{"only": FEW} | asked)  # whole, it replaces the former
    assert_is_whole(tmp_path / "lake")


def test_an_export_of_a_newer_version_is_refused(few_polls: History, tmp_path: Path) -> None:
    export(few_polls.engine, tmp_path / "lake", only=FEW)
    manifest = manifest_in(tmp_path / "lake") | {"manifest_version": 99}
    (tmp_path / "lake" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="a newer version wrote the export"):
        export(few_polls.engine, tmp_path / "lake", only=FEW, incremental=True)


# Readers


@pytest.mark.parametrize("stride", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_export_leaves_the_former_one_and_nothing_of_itself(
    few_polls: History, tmp_path: Path, stride: int
) -> None:
    url, folder = url_of(few_polls), tmp_path / "lake"
    export(few_polls.engine, folder, **killed_exports.ASKED)
    former = killed_exports.seen(folder)["rows"]
    few_polls.poll([region(1, "MAINTENANCE"), region(5)], at=240)
    few_polls.poll([region(1), region(5)], at=300)
    export(few_polls.engine, tmp_path / "other", **killed_exports.ASKED)
    with clock_of_views_stopped(None):  # as another process has it
        with_views_installed(few_polls.engine)
    few_polls.engine.dispose()
    following = killed_exports.seen(tmp_path / "other")["rows"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_exports", url, str(folder), str(stride)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["code"] == 0, done.stderr
    *after_kills, last = told["seen"]
    assert all(each["as_listed"] for each in told["seen"])
    states = ["former" if each["rows"] == former else "following" for each in after_kills]
    assert all(each["rows"] in (former, following) for each in after_kills)
    assert states == sorted(states, reverse=True), "never back to the former"
    assert len(set(states)) == 2
    assert len(states) > 5
    assert last["rows"] == following
    number = f"{last['export']:06}"
    assert last["names"] == sorted(
        [".current", f".export-{number}", "manifest.json", *killed_exports.ASKED["only"]]
    )


def test_two_exports_at_once_into_one_folder_do_not_mix(few_polls: History, tmp_path: Path) -> None:
    with open_folder(tmp_path / "lake"), pytest.raises(ExportError, match="another export writes into"):
        export(few_polls.engine, tmp_path / "lake", only=FEW)
    export(few_polls.engine, tmp_path / "lake", only=FEW)
    assert_is_whole(tmp_path / "lake")


def test_an_export_that_fails_cleans_up_after_itself(
    told: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(told.engine, tmp_path / "lake", only=FEW, format="csv")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("collector.reports.export.formats.CsvWriter.write", full)
        with pytest.raises(ExportError, match="lake can't be written: No space left on device"):
            export(told.engine, tmp_path / "lake", only=FEW, format="csv")
    assert_is_whole(tmp_path / "lake")
    assert manifest_in(tmp_path / "lake")["export"] == 1


def test_tables_that_are_not_exported_any_more_are_gone(few_polls: History, tmp_path: Path) -> None:
    export(few_polls.engine, tmp_path / "lake", only=("regions", "sources"))
    (tmp_path / "lake" / "NOTES.txt").write_text("of somebody else")
    export(few_polls.engine, tmp_path / "lake", only=("regions",))
    assert {e.name for e in (tmp_path / "lake").iterdir()} == {
        ".current",
        ".export-000002",
        "NOTES.txt",
        "manifest.json",
        "regions",
    }


def test_a_folder_of_somebody_else_is_left_alone(few_polls: History, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match=r"contains 'manifest\.json', which is not part of an export"):
        export(few_polls.engine, tmp_path / "theirs")
    assert [e.name for e in (tmp_path / "theirs").iterdir()] == ["manifest.json"]
    export(few_polls.engine, tmp_path / "lake", only=("regions",))
    (tmp_path / "lake" / "unseen").mkdir()
    with pytest.raises(UsageError, match="unseen is in the way"):
        export(few_polls.engine, tmp_path / "lake")
    assert_is_whole(tmp_path / "lake")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file can't be written: Not a directory"):
        export(few_polls.engine, tmp_path / "file")
    with pytest.raises(UsageError, match="nowhere does not exist"):
        export(few_polls.engine, tmp_path / "nowhere" / "lake")
    (tmp_path / "empty").mkdir()
    export(few_polls.engine, tmp_path / "empty", only=("regions",))
    assert_is_whole(tmp_path / "empty")


def test_views_of_another_version_are_not_exported(history: History, tmp_path: Path) -> None:
    with writing(history.engine) as connection:
        connection.execute(sa.text("DROP VIEW poll_health"))
    with pytest.raises(SchemaError, match="collector db upgrade"):
        export(history.engine, tmp_path / "lake")


# Lakes


def test_days_are_folders_that_duckdb_prunes_by(told: History, tmp_path: Path) -> None:
    export(told.engine, tmp_path / "lake", only=FEW, partition_by="day")
    export(told.engine, tmp_path / "plain", only=FEW)
    whole = rows_in(tmp_path / "plain", "observations")
    rows = rows_in(tmp_path / "lake", "observations")
    assert len(rows) == len(whole)
    assert all(row["day"] == row["first_at"].date() for row in rows)
    found = ask(
        f"SELECT COUNT(*) FROM '{tmp_path}/lake/region_transitions/**/*.parquet' WHERE day = DATE '2026-05-01'"
    ).fetchone()
    assert found == (
        sum(
            r["observed_at"].date() == date(2026, 5, 1)
            for r in rows_in(tmp_path / "plain", "region_transitions")
        ),
    )
    assert found[0]
    paths = {f["path"] for t in manifest_in(tmp_path / "lake")["tables"] for f in t["files"]}
    assert "regions/open-000001.parquet" in paths, "what has no time is not divided"
    assert "observations/day=2026-05-01/part-000001.parquet" in paths


@pytest.mark.parametrize("name", ["7", "a/b = c%d", "../up", "Ünïcode 源", "it's"])
def test_a_source_of_any_name_is_a_folder_and_comes_back_as_text(
    few_polls: History, tmp_path: Path, name: str
) -> None:
    other = History(few_polls.engine, name="other", base_url="https://other.example")
    polled(other, until=1)
    with writing(few_polls.engine) as connection:
        connection.execute(sa.text("UPDATE sources SET name = :name WHERE name = 'other'"), {"name": name})
    export(few_polls.engine, tmp_path / "lake", only=FEW, partition_by="source")
    assert_is_whole(tmp_path / "lake")
    for table in ("observations", "region_transitions", "current_regions"):
        rows = rows_in(tmp_path / "lake", table)
        assert {row["source"] for row in rows} == {"gcore", name}
        files = (tmp_path / "lake" / table).glob("**/*.parquet")
        assert len({file.parent for file in files}) == 2


def test_one_source_alone(told: History, tmp_path: Path) -> None:
    export(told.engine, tmp_path / "one", source="preprod", only=("sources", *FEW))
    export(told.engine, tmp_path / "all", only=("sources", *FEW))
    for name in ("sources", *FEW):
        key = "name" if name == "sources" else "source"
        expected = [row for row in rows_in(tmp_path / "all", name) if row[key] == "preprod"]
        assert same(rows_in(tmp_path / "one", name), expected), name
    assert [state["source"] for state in manifest_in(tmp_path / "one")["sources"]] == ["preprod"]


# Formats


def test_csv_tells_null_from_empty_and_quotes_as_rfc_4180_says(history: History, tmp_path: Path) -> None:
    said = region(
        1,
        display_name='say "hi",\r\nthen go',
        slug="",
        country=None,
        external_network_id=" x ",
        available_volume_types=["a", 'b"c'],
    )
    history.poll([said], at=0)
    export(history.engine, tmp_path / "lake", format="csv", only=("regions", "region_changes"))
    data = (tmp_path / "lake" / "regions" / "open-000001.csv").read_bytes().decode()
    heading, row = data.split("\r\n", 1)
    assert heading.startswith("source,source_id,id,slug,display_name,state,country,")
    assert row.startswith('gcore,1,1,"","say ""hi"",\r\nthen go",ACTIVE,,')
    assert '"[""a"",""b\\""c""]"' in row
    assert '," x ",' in row
    assert ",false," in row
    assert ",2026-05-01T12:00:00.000000Z," in row
    assert row.endswith("\r\n")
    (read,) = ask(
        "SELECT slug, country, display_name, first_seen_at, has_ai"
        f" FROM read_csv('{tmp_path}/lake/regions/*.csv', allow_quoted_nulls = false)"
    ).fetchall()
    assert read[:3] == ("", None, 'say "hi",\r\nthen go')
    assert (_aware(read[3]), read[4]) == (NOON, True)


def test_lines_of_json_hold_lists_and_nulls_as_they_are(told: History, tmp_path: Path) -> None:
    only = ("regions", "observations", "region_state_intervals", "poll_health")
    export(told.engine, tmp_path / "lake", format="jsonl", only=only)
    export(told.engine, tmp_path / "typed", only=only)
    times = {
        table["name"]: {c["name"] for c in table["columns"] if c["type"] in ("time", "date")}
        for table in manifest_in(tmp_path / "lake")["tables"]
    }
    for name in only:
        lines = [
            json.loads(line)
            for file in sorted((tmp_path / "lake" / name).glob("*.jsonl"))
            for line in file.read_text().splitlines()
        ]
        expected = rows_in(tmp_path / "typed", name)
        assert len(lines) == len(expected)
        assert list(lines[0]) == list(expected[0])
        as_read = [{n: _time_of(v) if n in times[name] else v for n, v in line.items()} for line in lines]
        as_read.sort(key=lambda row: str({n: v for n, v in row.items() if not isinstance(v, float)}))
        assert same(as_read, expected), name


def _time_of(text: str | None) -> date | None:
    if text is None:
        return None
    return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text).astimezone(UTC)


# The command


def test_the_command_tells_what_it_wrote_and_goes_on(alone: History, tmp_path: Path) -> None:
    polled(alone, until=3)
    url, lake = url_of(alone), str(tmp_path / "lake")
    said = collector("export", lake, "--incremental", database_url=url)
    assert (said.code, said.err) == (0, "")
    assert re.search(r"^region_transitions +4$", said.out, re.MULTILINE)
    assert f"{lake}: export 1, {len(names())} tables and views, " in said.out
    head = alone.rows("observations")[-1]["opening_digest"]
    assert said.out.splitlines()[-1] == f"head of gcore: observation 3, {head}"
    alone.poll([region(1, "MAINTENANCE")], at=300)
    said = collector("export", lake, "--incremental", database_url=url)
    assert re.search(r"^observations +4 +1$", said.out, re.MULTILINE)
    _by_other_rules(alone, tmp_path)
    said = collector("export", lake, "--incremental", database_url=url)
    assert (said.code, said.err) == (
        0,
        "exported again from the beginning: the history of gcore was derived again, by other rules\n",
    )
    said = collector(
        *("export", str(tmp_path / "may"), "--from", "2026-05-01", "--to", "2026-05-02", "--only", "unseen"),
        database_url=url,
    )
    assert (said.code, said.err) == (0, "from 2026-05-01 00:00:00Z\nto 2026-05-02 00:00:00Z\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "2026-05-02", "--to", "2026-05-01"], "is not before --to"),
        (["--incremental", "--from", "2026-05-01"], "it takes no --from and no --to"),
        (["--only", "regions", "--without", "payloads"], "not both"),
        (["--only", "region"], "there is no table or view 'region'; did you mean regions"),
        (["--without", "webhook_deliveries"], "there is no table or view 'webhook_deliveries'"),
        (["--source", "nonsense"], "there is no source 'nonsense'"),
        (["--from", "when?"], "is not a time"),
        (["--format", "xlsx"], "'xlsx' is not one of"),
        (["--partition-by", "region"], "'region' is not one of"),
    ],
)
def test_what_can_not_be_exported_is_said_and_nothing_is_written(
    few_polls: History, tmp_path: Path, arguments: list[str], said: str
) -> None:
    before = sorted(tmp_path.iterdir())
    answer: Said = collector("export", str(tmp_path / "lake"), *arguments, database_url=url_of(few_polls))
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert sorted(tmp_path.iterdir()) == before


def test_without_pyarrow_only_parquet_is_refused(
    few_polls: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "collector.reports.export.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    url = url_of(few_polls)
    said = collector("export", str(tmp_path / "lake"), database_url=url)
    said.refused(2, "pip install 'gcore-collector[export]'", "--format csv and --format jsonl need nothing")
    assert not (tmp_path / "lake").exists()
    for format_ in ("csv", "jsonl"):
        assert collector("export", str(tmp_path / format_), "--format", format_, database_url=url).code == 0


def test_the_statements_of_the_page_are_answered(
    told: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    statements = [
        s for block in re.findall(r"(?s)```sql\n(.*?)```", page) for s in block.split(";") if s.strip()
    ]
    only = tuple({name for statement in statements for name in re.findall(r"/(\w+)/", statement)})
    for folder, asked in {
        "lake": {},
        "lake-by-day": {"partition_by": "day"},
        "lake-by-source": {"partition_by": "source"},
        "lake-csv": {"format": "csv"},
        "lake-jsonl": {"format": "jsonl"},
    }.items():
        export(told.engine, Path(folder), only=only, **asked)
    questions = [statement for statement in statements if not statement.strip().startswith("SET ")]
    assert len(questions) >= 6
    for statement in statements:
        rows = ask(statement).fetchall()
        assert rows or statement not in questions, statement
