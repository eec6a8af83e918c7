"""Engines, transactions and types: the only place that names a database dialect.

SQLite: WAL, foreign keys on, synchronous FULL, write transactions BEGIN IMMEDIATE, read ones not.
PostgreSQL 14 and later: read committed; time-outs set per transaction, since a pooler may hand each
transaction another session.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles

from collector.clock import time_text
from collector.errors import DatabaseError, SettingsError
from collector.store.sessions import lossy_encoding, opening, speak_plainly

LEASE_SECONDS = 60
"""A writer that has not written for so long may be replaced."""
_LOCK_SECONDS, _STATEMENT_SECONDS, _IDLE_SECONDS = 10, 30, 20
_CONNECT_SECONDS, _NETWORK_SECONDS, _SILENCE_SECONDS = 10, 30, 35
"""How long to wait for a PostgreSQL that does not answer: for a connection, for any sign of life of its machine,
and for the answer to a statement, which its own time-out precedes."""
_MIGRATION_LOCK = 0x67636F7265
"""Advisory lock of PostgreSQL: the letters of gcore."""
_INTRODUCTION_LOCK = _MIGRATION_LOCK + 1
assert max(_LOCK_SECONDS, _STATEMENT_SECONDS, _IDLE_SECONDS) < LEASE_SECONDS  # noqa: S101 - a rule of fencing
assert _STATEMENT_SECONDS < _SILENCE_SECONDS < LEASE_SECONDS - _CONNECT_SECONDS  # noqa: S101 - a partition is noticed within a lease

TIME_PATTERN = (
    "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    ".[0-9][0-9][0-9][0-9][0-9][0-9]Z"
)


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware time. On SQLite fixed-width text, so that comparing strings is comparing times."""

    impl = sa.TIMESTAMP
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_SQLiteTime())
        return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive time can't be stored: {value.isoformat()}")
        return time_text(value) if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC)


class _SQLiteTime(sa.types.UserDefinedType[str]):
    """Text, declared TIMESTAMP: SQLite keeps it as it is, and DuckDB and others know it for a time."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TIMESTAMP"


class JsonList(sa.types.TypeDecorator[tuple[Any, ...]]):
    """A tuple as a compact JSON list; None is NULL."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[Any, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else list_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[Any, ...] | None:
        return None if value is None else tuple(json.loads(value))


def list_text(values: Sequence[Any]) -> str:
    """A list as it is stored: compact JSON."""
    return json.dumps(list(values), separators=(",", ":"))


def time_check(table: str, column: str) -> sa.CheckConstraint:
    """SQLite has no time type: a constraint keeps the text well-formed."""
    check = sa.CheckConstraint(f"{column} GLOB '{TIME_PATTERN}'", name=f"ck_{table}_{column}_is_utc")
    return check.ddl_if(dialect="sqlite")


class database_time(sa.sql.functions.FunctionElement[datetime]):  # noqa: N801 - reads as an SQL function
    """The database's own clock, `seconds` from now: leases are judged by one clock, not by the writers'."""

    type = UtcTime()
    inherit_cache = True
    name = "database_time"

    def __init__(self, seconds: int = 0) -> None:
        super().__init__(sa.literal(int(seconds), sa.Integer()))


@compiles(database_time, "sqlite")
def _sqlite_time(element: Any, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(strftime('%Y-%m-%dT%H:%M:%f', 'now', {seconds} || ' seconds') || '000Z')"


@compiles(database_time, "postgresql")
def _postgresql_time(element: Any, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


def insert_if_new(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, leaving those that exist as they are."""
    statement = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    if rows:
        connection.execute(statement(table).on_conflict_do_nothing(), rows)


def one_at_a_time(connection: sa.Connection) -> None:
    """Wait for other write transactions that came to this point; on SQLite there are none."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_INTRODUCTION_LOCK})")


def parse_url(url: str, what: str = "COLLECTOR_DATABASE_URL") -> sa.URL:
    """A database URL as people write it. Raises SettingsError, which names where it was written: `what`."""
    url = url.strip()
    if _has_a_bare_at(url):
        raise SettingsError(
            f"{what} has an @ that ends no user name and password: write each @ in a name or a password as %40"
        )
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise SettingsError(
            f"{what} is not a database URL; write sqlite:///path/to/file.db or postgresql://user@host/name"
        ) from None
    backend = parsed.get_backend_name().lower()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        if parsed.host or parsed.port or parsed.username:
            raise SettingsError(
                f"{what} names a host, and SQLite has none: write sqlite:///collector.db with three slashes, or with "
                "four where the path begins at the root"
            )
        if parsed.query:
            raise SettingsError(
                f"{what}: a SQLite URL has no options here; a ? in the name of a file is written %3F"
            )
        return parsed.set(drivername="sqlite")
    raise SettingsError(f"the database is {backend}; only sqlite and postgresql are supported")


def _has_a_bare_at(url: str) -> bool:
    """Whether more follows than one @, or it stands where options are: half a password would be taken for a host."""
    rest = url.partition("://")[2]
    before, _, options = rest.partition("?")
    has_path_and_port = "/" in before and ":" in before.partition("/")[0]
    return rest.count("@") > 1 or ("@" in options and has_path_and_port)


def sqlite_path(url: sa.URL | sa.Engine) -> Path | None:
    """The file behind a SQLite URL; None for PostgreSQL and for a database in memory."""
    url = url.url if isinstance(url, sa.Engine) else url
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def open_engine(url: str | sa.URL, *, read_only: bool = False) -> sa.Engine:
    """An engine with our connection settings. `read_only`: for questions; never creates a file."""
    url = parse_url(url) if isinstance(url, str) else url
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url, read_only=read_only)
    return _open_postgresql(url, read_only=read_only)


def _open_postgresql(url: sa.URL, *, read_only: bool) -> sa.Engine:
    from collector.store.silence import ImpatientConnection

    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        connect_args={
            "prepare_threshold": None,
            "client_encoding": "UTF8",  # whatever the role, the environment or the URL says
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "gcore-collector",
            # The system's own are two hours, and a quarter of one.
            "keepalives_idle": _NETWORK_SECONDS // 3,
            "keepalives_interval": _NETWORK_SECONDS // 3,
            "keepalives_count": 2,
            "tcp_user_timeout": _NETWORK_SECONDS * 1000,
        },
    )

    @event.listens_for(engine, "do_connect")
    def connect(_: Dialect, __: Any, arguments: Any, parameters: Any) -> ImpatientConnection:
        raw = ImpatientConnection.connect(*arguments, **parameters)
        raw.patience = _CONNECT_SECONDS
        speak_plainly(raw)
        return raw

    @event.listens_for(engine, "checkin")
    def checkin(raw: ImpatientConnection | None, _: Any) -> None:
        if raw is not None:
            raw.patience = _CONNECT_SECONDS  # for asking, at the next use, whether it is still alive

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        # A question or a migration may take its time; a poll that is not answered is to be given up.
        is_long = read_only or connection.get_execution_options().get("migrates")
        raw.patience = None if is_long else _SILENCE_SECONDS
        options = connection.get_execution_options()
        changes = options.get("writes") or options.get("migrates")
        if changes and (lossy := lossy_encoding(raw)):
            raise DatabaseError(lossy)
        timeouts = {"lock_timeout": f"{_LOCK_SECONDS}s"}
        if options.get("writes"):
            timeouts = {
                "lock_timeout": f"{_lock_milliseconds(options)}ms",
                "statement_timeout": f"{_STATEMENT_SECONDS}s",
                "idle_in_transaction_session_timeout": f"{_IDLE_SECONDS}s",
                # The other time-outs wait for a server that can't get rid of an answer.
                "tcp_user_timeout": f"{_NETWORK_SECONDS}s",
            }
        connection.exec_driver_sql(
            opening(reads=not changes, timeouts=timeouts, server_version=raw.info.server_version)
        )
        if options.get("migrates"):  # one after the other, however long each takes
            connection.exec_driver_sql(
                f"SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({_MIGRATION_LOCK}); "
                f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"
            )

    return engine


def _open_sqlite(url: sa.URL, *, read_only: bool) -> sa.Engine:
    path = sqlite_path(url)
    if path is not None:
        if read_only and not path.exists():
            raise DatabaseError(f"there is no database {path}; `collector poll` makes one")
        if is_nowhere(path):
            raise DatabaseError(
                f"the current folder is gone, and {path} is relative to it: write an absolute path"
            )
        if not path.parent.is_dir():
            raise DatabaseError(f"the folder {path.parent} for the database does not exist")
    pool: dict[str, Any] = {} if path is not None else {"poolclass": sa.pool.StaticPool}
    engine = sa.create_engine(
        url, connect_args={"timeout": _LOCK_SECONDS, "check_same_thread": False}, **pool
    )

    @event.listens_for(engine, "connect")
    def connect(raw: Any, _: Any) -> None:
        raw.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
            if not (read_only and pragma.startswith("journal_mode")):
                raw.execute(f"PRAGMA {pragma}").close()
        if read_only:
            raw.execute("PRAGMA query_only = ON").close()

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        writes = options.get("writes") or options.get("migrates")
        if writes:
            raw: Any = connection.connection.dbapi_connection
            raw.execute(f"PRAGMA busy_timeout = {_lock_milliseconds(options)}").close()
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    if path is not None:
        _mind_the_file(engine, path)
    return engine


def is_nowhere(path: Path) -> bool:
    """Whether a path is relative to a current folder that was deleted."""
    try:
        return not path.is_absolute() and not Path.cwd()
    except OSError:
        return True


def _mind_the_file(engine: sa.Engine, path: Path) -> None:
    """A connection is as good as the files behind it: SQLite goes on writing into those that were deleted or replaced,
    and what it opened read-only, or read damaged, stays so after the file was mended.

    A connection whose files are gone is closed, and all others with it, before a new one is opened: within a process
    they share what they know of the write-ahead log. Closing the last one still saves what only the lost log held.
    """
    was_there = False

    @event.listens_for(engine, "do_connect")
    def do_connect(*_: Any) -> None:
        if was_there and _is_gone(path):
            raise DatabaseError(
                f"the database {path} is gone: it was deleted or moved away while in use; put it back "
                "(after a restart a new history would begin)"
            )

    @event.listens_for(engine, "connect")
    def connect(_: Any, record: Any) -> None:
        nonlocal was_there
        record.info["file"] = _identity(path)
        was_there = was_there or record.info["file"] is not None

    @event.listens_for(engine, "checkin")
    def checkin(raw: Any, record: Any) -> None:
        if raw is not None and None in record.info.get("log", (None,)):
            record.info["log"] = _log_of(path)  # there are none before the first transaction that needs them

    @event.listens_for(engine, "checkout")
    def checkout(_raw: Any, record: Any, _proxy: Any) -> None:
        is_same = record.info.get("file") == _identity(path)
        if is_same and "file" in record.info and not _has_lost(record.info.get("log", ()), path):
            return
        engine.pool.dispose()  # all that lie idle; this one is closed by what follows
        if is_same and "file" in record.info:
            record.invalidate()
            raise DatabaseError(
                f"the write-ahead log of the database {path} (its -wal or -shm file) was removed or replaced "
                "while in use; the files are opened again. Leave them alone while a collector runs, and run "
                "`collector audit verify`"
            )
        raise sa.exc.DisconnectionError  # opens the file again

    @event.listens_for(engine, "handle_error")
    def handle_error(context: sa.engine.ExceptionContext) -> None:
        code = getattr(context.original_exception, "sqlite_errorcode", 0)
        if code & 0xFF in _OF_THE_FILE and context.connection is not None:
            context.connection.info.pop("file", None)  # not used again after its transaction


def _log_of(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Which write-ahead log, and which index of it, stand there now."""
    return tuple(_identity(path.with_name(f"{path.name}-{end}")) for end in ("wal", "shm"))


def _has_lost(known: Sequence[tuple[int, int] | None], path: Path) -> bool:
    """Whether a file that a connection knows of was removed or replaced; one that came to be since is none of them."""
    return any(one is not None and one != other for one, other in zip(known, _log_of(path), strict=False))


def checkpoint(engine: sa.Engine) -> None:
    """Bring all that was committed from SQLite's write-ahead log into the database file, as far as nobody reads what
    was before; on PostgreSQL there is nothing to do. Who removes the log then takes little with it."""
    if sqlite_path(engine) is None:
        return
    with suppress(DatabaseError), _friendly(engine), engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.execute("PRAGMA wal_checkpoint(PASSIVE)").close()


_OF_THE_FILE = frozenset(
    (
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    )
)
"""Errors after which a connection is no longer trusted; the low byte of what SQLite says."""


def _is_gone(path: Path) -> bool:
    """Whether there is no such file; where that can't be told, SQLite says why."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands there now."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def waiting_at_most(engine: sa.Engine, seconds: float) -> sa.Engine:
    """The same engine, whose write transactions wait for a lock no longer than this, nor than before."""
    before = engine.get_execution_options().get("lock_seconds", _LOCK_SECONDS)
    return engine.execution_options(lock_seconds=min(seconds, before))


def _lock_milliseconds(options: Mapping[str, Any]) -> int:
    return max(int(options.get("lock_seconds", _LOCK_SECONDS) * 1000), 1)


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that reads one consistent state."""
    with _friendly(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A write transaction: commits at the end, rolls back on any exception."""
    with _friendly(engine), engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def migrating(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that changes the schema: one at a time, and as long as it takes."""
    with (
        _friendly(engine),
        engine.connect().execution_options(migrates=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def _friendly(engine: sa.Engine) -> Iterator[None]:
    """Turn what the database says of its own state into a message without a traceback or a password.

    What is wrong with a row (DataError, IntegrityError) is a bug, and stays loud.
    """
    try:
        yield
    except (sa.exc.DataError, sa.exc.IntegrityError):
        raise
    except sa.exc.DBAPIError as error:
        said = " ".join(str(error.orig).split())
        raise DatabaseError(f"the database {_where(engine.url)} can't be used: {said}") from error


def _where(url: sa.URL) -> str:
    """A database for people: no user, no password, no options."""
    if url.get_backend_name() == "sqlite":
        return str(url.database or "in memory")
    return f"{url.database or ''} at {url.host or url.query.get('host') or 'the local socket'}"


def number_on(connection: sa.Connection, table: sa.Table) -> None:
    """After rows with ids were copied in: let PostgreSQL number new ones after the highest."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), (SELECT MAX(id) FROM {table.name}))"  # noqa: S608 - our own table
        )


def server_version(connection: sa.Connection) -> str:
    """The database and its version, for people."""
    if connection.dialect.name == "sqlite":
        return f"SQLite {connection.scalar(sa.text('SELECT sqlite_version()'))}"
    return f"PostgreSQL {connection.scalar(sa.text('SHOW server_version'))}"


def integrity_errors(
    connection: sa.Connection, metadata: sa.MetaData, *, thorough: bool = False
) -> list[str]:
    """What the database itself finds wrong: damage (SQLite), broken references, missing tables.

    `thorough`: also whether indexes and constraints hold, row by row.
    """
    missing = set(metadata.tables) - set(sa.inspect(connection).get_table_names())
    errors = [f"table {name} is missing" for name in sorted(missing)]
    if connection.dialect.name == "sqlite":
        pragma = "integrity_check" if thorough else "quick_check"
        for (text,) in connection.exec_driver_sql(f"PRAGMA {pragma}"):
            errors += [] if text == "ok" else [text]
        try:
            for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                errors.append(f"row {row[1]} of {row[0]} refers to a row of {row[2]} that does not exist")
        except sa.exc.OperationalError as error:  # the key that is referred to is gone
            errors.append(str(error.orig))
    return errors


def is_unreadable(error: sa.exc.DBAPIError) -> bool:
    """Whether a value that stands there is none of its type: a time that is infinite, text that is no UTF-8."""
    return isinstance(error, sa.exc.DataError) or "Could not decode" in str(error.orig)


def shape_errors(connection: sa.Connection, metadata: sa.MetaData) -> list[str]:
    """Tables whose columns are not of the type that they should be, so that equal values are not found to be equal, or
    of which not everybody sees every row."""
    errors = []
    look = _sqlite_shape if connection.dialect.name == "sqlite" else _postgresql_shape
    for table in metadata.sorted_tables:
        expected = {c.name: str(c.type.compile(connection.dialect)).lower() for c in table.columns}
        columns, remarks = look(connection, table.name)
        if columns:  # else it is missing, which integrity_errors tells
            errors += [
                f"column {name} of {table.name} is {columns.get(name, 'missing')}, not {kind}"
                for name, kind in expected.items()
                if columns.get(name) != kind
            ]
            errors += [f"column {name} of {table.name} is not ours" for name in columns.keys() - expected]
        errors += [f"table {table.name} {remark}" for remark in remarks]
    return errors


def _sqlite_shape(connection: sa.Connection, table: str) -> tuple[dict[str, str], list[str]]:
    rows = connection.exec_driver_sql(f"PRAGMA table_xinfo({table})").all()
    columns = {row[1]: row[2].lower() + (" generated" if row[6] else "") for row in rows}
    text = connection.scalar(
        sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name"), {"name": table}
    )
    collates = re.search(r"\bCOLLATE\b", text or "", re.IGNORECASE)
    return columns, ["compares text in another way"] if collates else []


def _postgresql_shape(connection: sa.Connection, table: str) -> tuple[dict[str, str], list[str]]:
    query = """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod)
            || CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN ' of another collation' ELSE '' END
            || CASE WHEN a.attgenerated <> '' THEN ' generated' ELSE '' END
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = to_regclass(:name) AND a.attnum > 0 AND NOT a.attisdropped"""
    columns = {row[0]: row[1] for row in connection.execute(sa.text(query), {"name": table})}
    query = """
        SELECT CASE WHEN c.relkind <> 'r' THEN 'is no table' END,
            CASE WHEN c.relrowsecurity THEN 'does not show every row to everybody' END,
            CASE WHEN c.relhasrules THEN 'has rules' END,
            CASE WHEN c.relnamespace <> QUOTE_IDENT(CURRENT_SCHEMA())::regnamespace
                THEN 'is hidden by another of its name' END
        FROM pg_class c WHERE c.oid = to_regclass(:name)"""
    row = connection.execute(sa.text(query), {"name": table}).one_or_none()
    return columns, [remark for remark in row or () if remark]
