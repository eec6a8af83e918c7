"""Databases for tests: real SQLite files, and a real PostgreSQL that a wheel brings along.

`engine` runs a test on both. A database is copied from a migrated template, so that each test has its own.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import settings

from collector.database import migrate
from collector.database.engine import open_engine
from tests.support import large
from tests.support.builders import region
from tests.support.databases import GIVEN, WORKER, a_postgresql_server, new_database
from tests.support.demo import Answer, DemoDatabase, is_setting
from tests.support.history import History
from tests.support.reuse import ReusedDatabase, share_compiled_statements
from tests.support.views import clock_of_views_stopped

# A machine may forbid to keep compiled code. Every worker would compile all tests again, every command all modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# No setting of the person who runs the tests reaches them, nor any fixture.
for _name in filter(is_setting, list(os.environ)):
    del os.environ[_name]

# No test is timed: a busy machine takes any time for an example.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
share_compiled_statements()
USUAL_THRESHOLD = gc.get_threshold()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept-no-skip", action="store_true", help="a test that is skipped has failed")


def pytest_collection_finish() -> None:
    """What all tests share stays to the end. Looking through it for garbage took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture
def garbage_is_collected_as_usual() -> Iterator[None]:
    """For tests that measure memory: as often as in a process of the collector."""
    ours = gc.get_threshold()
    gc.collect()
    gc.set_threshold(*USUAL_THRESHOLD)
    yield
    gc.set_threshold(*ours)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Many tests wait for what takes its time: two more at once than there are cores."""
    return len(os.sched_getaffinity(0)) + 2


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """A logger that keeps what it finds at its first use would hide its lines from a later test, in some orders."""
    if structlog.get_config()["cache_logger_on_first_use"]:
        structlog.reset_defaults()
        pytest.fail("logging stays as this test has set it up: see tests.support.logging_kept")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("accept_no_skip"):
        report.outcome, report.longrepr = "failed", f"skipped, which is not accepted here: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.URL]:
    """A server for this test process, or the one that TEST_POSTGRESQL_URL names."""
    if given := os.environ.get(GIVEN):
        yield sa.make_url(given).set(drivername="postgresql+psycopg")
        return
    with a_postgresql_server(tmp_path_factory.mktemp("pg")) as url:
        yield url


def _upgrade(engine: sa.Engine) -> None:
    # Also where the first test that needs the database stops the clock of views.
    with clock_of_views_stopped(None):
        migrate.upgrade(engine)


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: sa.URL) -> sa.URL:
    url = new_database(postgresql_server)
    engine = open_engine(url)
    _upgrade(engine)
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def postgresql_database(postgresql_template: sa.URL) -> ReusedDatabase:
    """A database for one test after the other, each of which finds it empty."""
    return ReusedDatabase(postgresql_template, f"test_reused{WORKER}")


@pytest.fixture(scope="session")
def told_postgresql_database(told_postgresql: sa.URL) -> ReusedDatabase:
    return ReusedDatabase(told_postgresql, f"test_told{WORKER}")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    _upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A file with our schema."""
    path = tmp_path / "collector.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[sa.Engine]:
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def long_history(tmp_path: Path) -> Iterator[Callable[..., sa.Engine]]:
    """Makes files with histories of different lengths."""
    with ExitStack() as engines:

        def made(length: int, **shape: int) -> sa.Engine:
            engine = large.long_history(tmp_path / f"{length}.db", length, **shape)
            engines.callback(engine.dispose)
            return engine

        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any tables, on each of both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'collector.db'}"
    return new_database(request.getfixturevalue("postgresql_server")).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with our schema, on each of both."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    url = request.getfixturevalue("postgresql_database").renew()
    return str(url.render_as_string(hide_password=False))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[sa.Engine]:
    """A database for all tests of a file, on each of both; every test polls a source of its own."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("shared") / "collector.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        engine = open_engine(f"sqlite:///{path}")
    else:
        template = request.getfixturevalue("postgresql_template")
        engine = open_engine(new_database(template, template.database))
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def history(engine: sa.Engine) -> History:
    """A source to poll with answers and times that the test makes up."""
    return History(engine)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Histories end about now, by the clock that the database knows."""
    now = datetime.now(UTC)
    monkeypatch.setattr("tests.support.history.NOON", now - timedelta(hours=1))
    return now


def _tell_everything(engine: sa.Engine) -> None:
    """Everything that happens (`gcore`), and beside it another source that nobody touches (`preprod`)."""
    from tests.support.story import tell, tell_other

    history = History(engine)
    tell(history)
    history.poll([region(1), {"state": "NEW"}], at=60 * 27)  # 15: without an id it might be any region
    history.poll([region(i) for i in (1, 2, 3, 4, 6)], at=60 * 28)  # 16
    other = History(engine, name="preprod", base_url="https://preprod.example")
    tell_other(other)
    for each in (history, other):
        each.restart()
    engine.dispose()


@pytest.fixture(scope="session")
def told_sqlite(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    path = tmp_path_factory.mktemp("told") / "told.db"
    shutil.copy(sqlite_template, path)
    _tell_everything(open_engine(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def told_postgresql(postgresql_template: sa.URL) -> sa.URL:
    url = new_database(postgresql_template, postgresql_template.database)
    _tell_everything(open_engine(url))
    return url


def _told(request: pytest.FixtureRequest, folder: Path) -> Iterator[History]:
    if request.param == "sqlite":
        path = folder / "collector.db"
        shutil.copy(request.getfixturevalue("told_sqlite"), path)
        engine = open_engine(f"sqlite:///{path}")
    else:
        engine = open_engine(request.getfixturevalue("told_postgresql_database").renew())
    yield History(engine)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    """A history of its own in which everything has happened, on each of both databases."""
    yield from _told(request, tmp_path)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[History]:
    """The same for all tests of a file, which only read it."""
    yield from _told(request, tmp_path_factory.mktemp("told"))


@pytest.fixture(scope="session")
def demo_database(tmp_path_factory: pytest.TempPathFactory) -> DemoDatabase:
    """One for all processes of a test run: the first that needs it makes it."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "demo"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "said.json"
        if not made.exists():
            made.write_text(json.dumps(asdict(DemoDatabase.make(folder).said)), encoding="utf-8")
    return DemoDatabase(folder / "collector-demo.db", Answer(**json.loads(made.read_text(encoding="utf-8"))))
