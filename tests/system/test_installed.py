"""The wheel, installed elsewhere: it brings its migrations and views along and needs no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports import views
from tests.support.command import example_server
from tests.support.databases import new_database
from tests.support.paths import ROOT
from tests.support.schemas import alembic, described, described_views


@dataclass(frozen=True)
class Installed:
    """The collector in a folder of its own; only its dependencies come from the environment of the tests."""

    wheel: Path
    folder: Path
    cwd: Path

    def python(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        # -S: without site, no .pth file of an editable installation puts the checkout on sys.path.
        path = [str(self.folder), sysconfig.get_path("purelib")]
        own = {name: value for name, value in os.environ.items() if not name.startswith("COLLECTOR_")}
        named = {f"COLLECTOR_{name.upper()}": value for name, value in settings.items()}
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            cwd=self.cwd,
            env=own | {"PYTHONPATH": os.pathsep.join(path), "NO_PROXY": "127.0.0.1"} | named,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def collector(self, *arguments: str, **settings: str) -> str:
        done = self.python("-m", "collector", *arguments, **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp("installed")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(base / "dist"), str(ROOT)]
    _run(build, base)
    (wheel,) = (base / "dist").glob("*.whl")
    install = ["-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--target"]
    _run([*install, str(base / "there"), str(wheel)], base)
    (base / "cwd").mkdir()
    return Installed(wheel, base / "there", base / "cwd")


def _run(arguments: list[str], cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_comes_from_the_checkout(installed: Installed) -> None:
    code = (
        "import json, sys, collector, collector.database.migrate as m; "
        "print(json.dumps([sys.path, collector.__file__, str(m._folder())]))"
    )
    path, package, migrations = json.loads(installed.python("-c", code).stdout)
    # The dependencies may well come from an environment that stands inside the checkout.
    foreign = [
        entry for entry in path if not Path(entry or installed.cwd).resolve().is_relative_to(sys.prefix)
    ]
    assert not [entry for entry in foreign if Path(entry or installed.cwd).resolve().is_relative_to(ROOT)]
    assert Path(package) == installed.folder / "collector" / "__init__.py"
    assert Path(migrations) == installed.folder / "collector" / "_migrations"


@pytest.mark.long
def test_it_makes_the_same_schema_and_views_as_alembic_in_the_checkout(
    installed: Installed, empty_database_url: str, tmp_path: Path
) -> None:
    by_wheel, by_alembic = empty_database_url, f"sqlite:///{tmp_path / 'alembic.db'}"
    if by_wheel.startswith("postgresql"):
        by_alembic = new_database(sa.make_url(by_wheel)).render_as_string(hide_password=False)
    installed.collector("db", "upgrade", database_url=by_wheel)
    alembic(by_alembic, "upgrade", "head")
    one, other = open_engine(by_wheel), open_engine(by_alembic)
    assert described(one) == described(other)
    assert described_views(one) == described_views(other)
    assert set(described_views(one)) == set(views.NAMES)
    if by_wheel.startswith("sqlite"):
        assert _sqlite_master(one) == _sqlite_master(other)
    one.dispose()
    other.dispose()


def _sqlite_master(engine: sa.Engine) -> list[tuple[str, ...]]:
    with reading(engine) as connection:
        rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2")
        return [tuple(row) for row in rows]


def test_it_polls_and_answers_and_writes_only_in_the_given_place(installed: Installed) -> None:
    with example_server() as base_url:
        said = installed.collector("poll", base_url=base_url, api_key="example")
    assert said.startswith("gcore: ok, ")
    assert "Luxembourg 1" in installed.collector("regions")
    made = {path.name for path in installed.cwd.iterdir()}
    assert made <= {"collector.db", "collector.db-wal", "collector.db-shm"}


def test_the_wheel_holds_the_package_its_migrations_and_views_and_nothing_else(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "collector",
        f"gcore_collector-{installed.wheel.name.split('-')[1]}.dist-info",
    }
    assert "collector/_migrations/env.py" in names
    assert "collector/py.typed" in names
    assert {f"collector/reports/views/{name}.sql" for name in views.NAMES} <= set(names)
    assert "collector/reports/cookbook.md" in names
    of_pages = [
        path for path in (ROOT / "collector" / "web").rglob("*.*") if path.suffix in (".html", ".css", ".js")
    ]
    assert {path.relative_to(ROOT).as_posix() for path in of_pages} <= set(names)
    assert len(of_pages) > 10
    versions = {path.name for path in (ROOT / "migrations" / "versions").glob("*.py")}
    assert {f"collector/_migrations/versions/{name}" for name in versions} <= set(names)
    assert [name for name in names if name.endswith((".pyc", ".db", ".toml"))] == []


def test_the_installed_script_is_the_command(installed: Installed) -> None:
    script = installed.folder / "bin" / "collector"
    done = installed.python(str(script), "--version")
    assert done.stdout.startswith("collector, version "), done.stderr
