"""The dbt package is what the dictionary says, and runs on an exported lake and on PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.reports import views
from tests.support import dbt_package
from tests.support.command import collector
from tests.support.venvs import new_venv


def test_the_package_is_what_would_be_made_now() -> None:
    assert not list(dbt_package.stale()), "run: python -m tests.support.dbt_package --write"


def test_every_view_and_column_is_described_and_has_a_key() -> None:
    for relation in dbt_package.relations():
        assert relation.said
        assert all(column["description"] for column in relation.columns)
        assert {*relation.key} <= {column["name"] for column in relation.columns}
        assert relation.key, f"tests/support/dbt_package.py must say what names one row of {relation.name}"
    assert {*views.NAMES} < {relation.name for relation in dbt_package.relations()}


@dataclass(frozen=True)
class Project:
    """A copy of the package, and the dbt that runs it."""

    dbt: Path
    folder: Path

    def run(self, *arguments: str, target: str, settings: Mapping[str, str], code: int = 0) -> str:
        """Run dbt; a warning of it is a failure. Returns what it said."""
        command = [str(self.dbt), "--warn-error", *arguments, "--target", target]
        own = {name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "PG"))}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=own | dict(settings),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def results(self) -> dict[str, str]:
        """How each model and test ended."""
        found: Any = json.loads((self.folder / "target" / "run_results.json").read_text(encoding="utf-8"))
        return {each["unique_id"]: each["status"] for each in found["results"]}

    def newest(self) -> Any:
        """What `dbt source freshness` found."""
        found: Any = json.loads((self.folder / "target" / "sources.json").read_text(encoding="utf-8"))
        (observations,) = found["results"]
        return observations


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    base = tmp_path_factory.mktemp("dbt")
    programs = new_venv(base / "venv", dbt_package.FOLDER / "requirements.txt")
    left_out = shutil.ignore_patterns("target", "logs", "*.duckdb*", ".user.yml")
    shutil.copytree(dbt_package.FOLDER, base / "project", ignore=left_out)
    return Project(programs / "dbt", base / "project")


@pytest.mark.slow
def test_the_package_runs_on_a_lake_and_on_postgresql_alike(
    project: Project, told_sqlite: Path, told_postgresql: sa.URL, tmp_path: Path
) -> None:
    lake, file = tmp_path / "lake", tmp_path / "dbt.duckdb"
    assert collector("export", str(lake), database_url=f"sqlite:///{told_sqlite}").code == 0
    variables = json.dumps({"collector_lake": str(lake)})
    on_lake = {"DBT_DUCKDB_PATH": str(file)}
    project.run("build", "--vars", variables, target="duckdb", settings=on_lake)
    passed = project.results()
    assert set(passed.values()) == {"success", "pass"}
    assert len(passed) > 150

    url = told_postgresql
    on_server = {
        "PGHOST": str(url.host or url.query.get("host")),
        "PGPORT": str(url.port or 5432),
        "PGUSER": str(url.username),
        "PGPASSWORD": str(url.password or ""),
        "PGDATABASE": str(url.database),
    }
    project.run("build", target="postgres", settings=on_server)
    assert project.results() == passed

    engine = open_engine(url)
    with engine.connect() as connection, duckdb.connect(file) as lake_views:
        connection.exec_driver_sql("SET TimeZone = 'UTC'")
        for relation in dbt_package.relations():
            count = f"SELECT COUNT(*) FROM {{}}.stg_collector__{relation.name}"
            rows = connection.exec_driver_sql(count.format("analytics")).scalar_one()
            assert lake_views.execute(count.format("main")).fetchall() == [(rows,)], relation.name
        newest = "SELECT MAX(last_at)::text FROM observations WHERE outcome <> 'failed'"
        at = connection.exec_driver_sql(newest).scalar_one()[:19].replace(" ", "T")
    engine.dispose()
    for target, settings in (("duckdb", on_lake), ("postgres", on_server)):
        # A history of last May is not fresh.
        project.run("source", "freshness", "--vars", variables, target=target, settings=settings, code=1)
        found = project.newest()
        assert (found["status"], found["max_loaded_at"][:19]) == ("error", at)
