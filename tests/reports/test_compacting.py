"""`collector export --compact`: fewer files with the same rows, of which readers see no half."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports.export import Exported, compacting
from collector.reports.export import export as export_into
from collector.reports.export.compacting import compact, groups
from collector.reports.export.manifest import Asked, File
from tests.support.builders import region
from tests.support.command import collector
from tests.support.history import History
from tests.support.paths import ROOT

FEW = ("observations", "payloads", "region_versions", "state_transitions", "region_transitions", "regions")
EXPORTS = 5
DAY = 60.0 * 60 * 24


@pytest.fixture
def history(sqlite_template: Path, tmp_path: Path) -> Iterator[History]:
    """On SQLite, because this is about files."""
    shutil.copy(sqlite_template, tmp_path / "collector.db")
    engine = open_engine(f"sqlite:///{tmp_path / 'collector.db'}")
    yield History(engine, interval="1d")
    engine.dispose()


def export(history: History, folder: Path, **asked: Any) -> Exported:
    with reading(history.engine) as connection:
        question = Asked(**{"format": "parquet", "only": FEW} | asked)
        return export_into(connection, folder, question, made_at=datetime.now(UTC), incremental=True)


def grown(history: History, folder: Path, **asked: Any) -> Path:
    """A lake of some incremental exports, each with a day of its own."""
    for number in range(EXPORTS):
        states = ("ACTIVE", "MAINTENANCE")
        for poll in range(2):
            at = DAY * 9 * number + 60 * 60 * poll
            history.poll([region(i, states[(number + poll + i) % 2]) for i in range(1, 6)], at=at)
        export(history, folder, **asked)
    return folder


def rows(folder: Path, name: str) -> list[str]:
    found = duckdb.sql(f"SELECT * FROM '{folder}/{name}/**/*.parquet'").fetchall()
    return sorted(map(str, found))


def all_rows(folder: Path) -> dict[str, list[str]]:
    return {name: rows(folder, name) for name in FEW}


def files(folder: Path, name: str, settled: bool = True) -> list[Any]:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (table,) = [table for table in manifest["tables"] if table["name"] == name]
    return [file for file in table["files"] if file["settled"] == settled]


def whole(folder: Path) -> None:
    """The manifest lists what a reader finds."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    listed = {file["path"]: file["bytes"] for table in manifest["tables"] for file in table["files"]}
    seen = [f for name in FEW for f in (folder / name).glob("**/*.parquet")]
    found = {f.relative_to(folder).as_posix(): f.stat().st_size for f in seen}
    assert found == listed


@pytest.mark.parametrize("partition_by", [None, "month"])
def test_a_compacted_lake_has_the_same_rows_and_goes_on(
    history: History, tmp_path: Path, partition_by: str | None
) -> None:
    lake = grown(history, tmp_path / "lake", partition_by=partition_by)
    before, many = all_rows(lake), files(lake, "observations")
    done = compact(lake)
    whole(lake)
    assert all_rows(lake) == before
    folders = {os.path.dirname(file["path"]) for file in many}  # noqa: PTH120 - paths in a manifest
    assert len(folders) == (2 if partition_by else 1)
    assert len(many) >= EXPORTS > len(files(lake, "observations")) == len(folders)
    assert done.after.made_at == done.before.made_at, "it is of the same moment"

    history.poll([region(i, "NEW") for i in range(1, 6)], at=DAY * 9 * EXPORTS)
    further = export(history, lake, partition_by=partition_by)
    assert (further.goes_on, further.anew_because) == (True, None)
    export(history, tmp_path / "whole", partition_by=partition_by)
    assert all_rows(lake) == all_rows(tmp_path / "whole")
    whole(lake)
    assert compact(lake).after.export == further.manifest.export + 1


def test_months_are_folders_that_duckdb_prunes_by(history: History, tmp_path: Path) -> None:
    lake = grown(history, tmp_path / "lake", partition_by="month")
    compact(lake)
    read = f"read_parquet('{lake}/observations/**/*.parquet', filename = true)"
    months = duckdb.sql(
        f"SELECT DISTINCT month, filename FROM {read} WHERE month = DATE '2026-05-01'"
    ).fetchall()
    assert months
    assert all("month=2026-05-01/" in filename for _, filename in months)
    wrong = duckdb.sql(
        f"SELECT COUNT(*) FROM {read} WHERE date_trunc('month', first_at)::DATE <> month"
    ).fetchall()
    assert wrong == [(0,)]


@pytest.mark.long
def test_lakes_of_several_databases_are_read_together(
    history: History, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(sqlite_template, tmp_path / "other.db")
    engine = open_engine(f"sqlite:///{tmp_path / 'other.db'}")
    other = History(engine, name="other", interval="1d")
    (tmp_path / "lakes").mkdir()
    for each, name in ((history, "eu"), (other, "us")):
        compact(grown(each, tmp_path / "lakes" / name))
    engine.dispose()
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    (statement,) = re.findall(r"(?ms)^```sql\n(.*?)^```", page)
    monkeypatch.chdir(tmp_path)
    counts = dict(duckdb.sql(statement).fetchall())
    assert counts.keys() == {"gcore", "other"}
    assert len({*counts.values()}) == 1


def test_merged_files_have_statistics(history: History, tmp_path: Path) -> None:
    lake = grown(history, tmp_path / "lake")
    compact(lake)
    (file,) = files(lake, "observations")
    found = pq.read_metadata(lake / file["path"])
    columns = [found.row_group(0).column(i) for i in range(found.num_columns)]
    by_name = {column.path_in_schema: column for column in columns}
    assert found.num_row_groups == 1, "small row groups are joined"
    for name in ("source", "seq", "first_at", "last_at", "outcome"):
        assert by_name[name].statistics.has_min_max, name
        assert by_name[name].has_column_index, name
    assert by_name["seq"].statistics.min == 1


def test_what_has_nothing_to_merge_stays_as_it_is(history: History, tmp_path: Path) -> None:
    lake = grown(history, tmp_path / "lake")
    first = compact(lake).after
    said = collector("export", str(lake), "--compact")
    assert (said.code, said.out) == (
        0,
        f"{lake}: nothing to merge, {len(list(lake.glob('*/*.parquet')))} files\n",
    )
    assert compact(lake).after == first


def test_large_files_are_kept_and_small_ones_join_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "SMALL", 10)
    monkeypatch.setattr(compacting, "LARGE", 20)
    sizes = (5, 5, 50, 9, 9, 9, 9, 3)
    made = [File(f"t/part-{i}.parquet", 1, size, "", i, settled=True) for i, size in enumerate(sizes)]
    assert [[file.bytes for file in group] for group in groups(made)] == [[5, 5], [50], [9, 9, 9], [9, 3]]


def test_what_can_not_be_compacted_is_said_and_the_export_stays(history: History, tmp_path: Path) -> None:
    lake = grown(history, tmp_path / "lake")
    before = all_rows(lake)
    collector("export", str(tmp_path / "none"), "--compact").refused(2, "holds no export to compact")
    collector("export", str(lake), "--compact", "--incremental").refused(2, "takes no other option")
    damaged = lake / files(lake, "state_transitions")[1]["path"]
    data = damaged.read_bytes()
    damaged.write_bytes(bytes([*data[:-20], data[-20] ^ 1, *data[-19:]]))
    collector("export", str(lake), "--compact").refused(1, "is missing or was changed", "--incremental")
    damaged.write_bytes(data)
    assert all_rows(lake) == before
    assert not [entry.name for entry in lake.iterdir() if entry.name.startswith(".next")]
    assert collector("export", str(lake), "--compact").code == 0

    export(history, tmp_path / "csv", format="csv")
    collector("export", str(tmp_path / "csv"), "--compact").refused(2, "only parquet")


KILLED = """
import os, sys
from pathlib import Path
from collector.reports.export.compacting import compact
from collector.reports.export import parquet
steps = {"os.rename", "os.symlink", "os.link", "os.mkdir", "os.remove", "os.rmdir", "open"}
lake, last, seen = Path(sys.argv[1]), int(sys.argv[2]), 0
def hook(event, arguments):
    global seen
    if event in steps and str(lake) in str(arguments[:1]):
        seen += 1
        if seen == last:
            os._exit(9)
sys.addaudithook(hook)
compact(lake)
print(seen)
"""


@pytest.mark.long
def test_a_killed_compaction_leaves_the_former_export_or_the_new_one(
    history: History, tmp_path: Path
) -> None:
    lake = grown(history, tmp_path / "lake")
    before = all_rows(lake)

    def killed(folder: Path, step: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(folder), str(step)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    shutil.copytree(lake, tmp_path / "copy", symlinks=True)
    steps = int(killed(tmp_path / "copy", 0).stdout)
    assert steps > 20
    numbers = set()
    # What a killed one left takes the next one some more steps.
    for step in [*range(1, steps - 9, steps // 4), *range(steps - 9, steps + 40, 3)]:
        code = killed(lake, step).returncode
        assert code in (0, 9)
        assert all_rows(lake) == before, f"killed at step {step} of {steps}"
        whole(lake)
        numbers.add(json.loads((lake / "manifest.json").read_bytes())["export"])
        if code == 0:
            break
    compact(lake)
    assert all_rows(lake) == before
    assert numbers == {EXPORTS, EXPORTS + 1}, "some were killed before the switch, and some after"
