"""Who is measured. Each runs in a process of its own (`worker.py`) and imports only what it needs.

A contestant begins on a fresh database, and polls it again and again. `prepare` is not measured; `poll` is.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

PATH = "/cloud/v1/ai/regions"


class Contestant(ABC):
    def __init__(self, url: str, folder: Path, postgresql: str) -> None:
        """`postgresql`: the address of a server where databases can be made, or nothing."""
        self.url, self.folder, self.postgresql = url, folder, postgresql
        self.number = 0
        self.start()

    def start(self) -> None:  # noqa: B027 - many do without
        """Once, before the memory is looked at."""

    def begin(self) -> None:  # noqa: B027 - many do without
        """From now on the database is another, empty one."""

    def prepare(self) -> None:  # noqa: B027 - many do without
        """What is not measured, before each poll."""

    @abstractmethod
    def poll(self) -> None:
        """What is measured."""

    def size(self) -> int:
        """Bytes of the database."""
        return 0

    def settle(self) -> None:
        """What PostgreSQL does by itself within some minutes: space of rows that were replaced is used again."""
        import sqlalchemy as sa

        if not isinstance(url := getattr(self, "_database", None), sa.URL):
            return
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")

    def _file(self, suffix: str = "db") -> Path:
        self.number += 1
        return self.folder / f"{self.number}.{suffix}"

    def _new_postgresql(self, template: str = "template0") -> Any:
        import sqlalchemy as sa

        self.number += 1
        name = f"benchmark_{os.getpid()}_{self.number}"
        server = sa.make_url(self.postgresql)
        engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return server.set(database=name)

    def _size_of_postgresql(self, url: Any) -> int:
        import sqlalchemy as sa

        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


class Collector(Contestant):
    """The whole `poll()`, over HTTP with the real client, by one writer that lives on."""

    is_postgresql = False

    def start(self) -> None:
        from collector.database.engine import open_engine
        from collector.gcore.client import Client
        from collector.poll import poll
        from collector.settings.models import Source
        from collector.store import lease
        from collector.store.opening import open_writer

        self._open_engine, self._open_writer, self._poll = open_engine, open_writer, poll
        self._lease, self._new_source, self._client = lease, Source, Client()
        self._template = self._new_postgresql() if self.is_postgresql else sa_url(self._file())
        url = self._template.render_as_string(hide_password=False)
        # In a process of its own: what migrations need stays out of what this one has.
        subprocess.run(
            [sys.executable, "-m", "collector", "db", "upgrade"],
            env=os.environ | {"COLLECTOR_DATABASE_URL": url},
            check=True,
            stdout=sys.stderr,
        )
        self._engine: Any = None

    def begin(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        if self.is_postgresql:
            self._database: Any = self._new_postgresql(self._template.database)
        else:
            self._database = self._file()
            shutil.copy(self._template.database, self._database)
        self._engine = self._open_engine(self._database if self.is_postgresql else sa_url(self._database))
        # Rounds may be minutes apart, which is no gap then.
        limits = {"max_body": 2**28, "max_regions": 100_000, "max_values": 10_000_000}
        self._source = self._new_source(
            api_key="key-one",
            base_url=self.url,
            interval="1h",
            **{name: limit for name, limit in limits.items() if name in self._new_source.model_fields},
        )
        self._writer = self._open_writer(self._engine, self._source, self._lease.process_name())

    def prepare(self) -> None:
        self._lease.resume(self._engine, self._writer.lease)  # others had their turn meanwhile

    def poll(self) -> None:
        result = self._poll(self._source, self._client.fetch, self._writer)
        if result.outcome != "ok":
            raise RuntimeError(result.failure.message if result.failure else result.outcome)

    def size(self) -> int:
        if self.is_postgresql:
            return self._size_of_postgresql(self._database)
        with self._engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return size_of_sqlite(self._database)


class CollectorOnPostgresql(Collector):
    is_postgresql = True


def sa_url(file: Path) -> Any:
    import sqlalchemy as sa

    return sa.URL.create("sqlite", database=str(file))


def size_of_sqlite(file: Path) -> int:
    """Bytes in pages that hold something."""
    with sqlite3.connect(file) as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


class Dlt(Contestant):
    """dlt's own way to keep a history: a resource with the merge strategy scd2, its settings untouched."""

    nesting: int | None = None
    loader_format: str | None = None

    def start(self) -> None:
        os.environ |= {
            "RUNTIME__DLTHUB_TELEMETRY": "false",  # it calls home otherwise
            "RUNTIME__LOG_LEVEL": "CRITICAL",
            "DLT_DATA_DIR": str(self.folder / "dlt"),
            "DLT_PROJECT_DIR": str(self.folder),
        }
        import dlt
        from dlt.sources.helpers import requests

        self._dlt, self._get = dlt, requests.get

    def _destination(self) -> Any:
        self._database: Any = self._file()
        return self._dlt.destinations.sqlalchemy(f"sqlite:///{self._database}")

    def begin(self) -> None:
        destination = self._destination()
        self._pipeline = self._dlt.pipeline(
            f"p{self.number}",
            destination=destination,
            dataset_name="inventory",
            pipelines_dir=str(self.folder / f"pipelines-{self.number}"),
        )

    def poll(self) -> None:
        options = {} if self.nesting is None else {"max_table_nesting": self.nesting}

        @self._dlt.resource(  # type: ignore[untyped-decorator]
            name="regions", write_disposition={"disposition": "merge", "strategy": "scd2"}, **options
        )
        def regions() -> Any:
            yield self._get(self.url + PATH).json()["results"]

        loader = {} if self.loader_format is None else {"loader_file_format": self.loader_format}
        self._pipeline.run(regions(), **loader).raise_on_failed_jobs()

    def size(self) -> int:
        # dlt keeps the tables of a dataset in a file beside the one that is named.
        return sum(size_of_sqlite(file) for file in self._database.parent.glob(f"{self._database.stem}*.db"))


class DltFlat(Dlt):
    """Its fastest on SQLite: no tables for what is nested."""

    nesting = 0


class DltOnPostgresql(DltFlat):
    """Its fastest on PostgreSQL: rows come in by COPY of CSV."""

    loader_format = "csv"

    def _destination(self) -> Any:
        self._database = self._new_postgresql()
        host = self._database.query["host"]
        database = self._database.database
        return self._dlt.destinations.postgres(
            f"postgresql://postgres:none@localhost:5432/{database}?host={host}"
        )

    def size(self) -> int:
        return self._size_of_postgresql(self._database)


class DltOnDuckdb(DltFlat):
    """Its fastest at all: Parquet, on DuckDB."""

    loader_format = "parquet"

    def _destination(self) -> Any:
        self._database = self._file("duckdb")
        return self._dlt.destinations.duckdb(str(self._database))

    def size(self) -> int:
        return int(self._database.stat().st_size)


class Get(Contestant):
    """A limit: an answer is fetched, and that is all."""

    def start(self) -> None:
        import httpx

        self._http = httpx.Client(trust_env=False)

    def get(self) -> bytes:
        return self._http.get(self.url + PATH).content

    def poll(self) -> None:
        self.get()


class GetAndHash(Get):
    """A limit: an answer is fetched, and seen to be that of last time."""

    def poll(self) -> None:
        sha256(self.get()).digest()


class GetAndUpdate(GetAndHash):
    """A limit: the same, and the two rows are updated that say so, durably, by sqlite3 alone."""

    def begin(self) -> None:
        self._sqlite = sqlite3.connect(self._file(), isolation_level=None)
        self._sqlite.execute("PRAGMA journal_mode = WAL")
        self._sqlite.execute("PRAGMA synchronous = FULL")
        self._sqlite.execute("CREATE TABLE polls (id INTEGER PRIMARY KEY, polls INTEGER)")
        self._sqlite.execute("INSERT INTO polls VALUES (1, 0), (2, 0)")

    def poll(self) -> None:
        super().poll()
        self._sqlite.execute("BEGIN IMMEDIATE")
        for number in (1, 2):
            self._sqlite.execute("UPDATE polls SET polls = polls + 1 WHERE id = ?", (number,))
        self._sqlite.execute("COMMIT")


class JsonLoads(Get):
    """A limit: an answer that is there already is parsed by the standard library."""

    def prepare(self) -> None:
        self._body = self.get()

    def poll(self) -> None:
        json.loads(self._body)


class JsonPerPoll(Get):
    """Each body in a row of its own, and nothing else: what many begin with."""

    def begin(self) -> None:
        self._file_now = self._file()
        self._sqlite = sqlite3.connect(self._file_now)
        self._sqlite.execute("PRAGMA journal_mode = WAL")
        self._sqlite.execute("CREATE TABLE polls (at TEXT, body TEXT)")

    def poll(self) -> None:
        body = self.get().decode()
        with self._sqlite:
            self._sqlite.execute("INSERT INTO polls VALUES (datetime(), ?)", (body,))

    def size(self) -> int:
        self._sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return size_of_sqlite(self._file_now)


class Merge(Get):
    """The current state alone, by SQLAlchemy's `session.merge` of each region. It keeps no history."""

    is_postgresql = False

    def start(self) -> None:
        super().start()
        import sqlalchemy as sa
        from sqlalchemy.orm import DeclarativeBase, Session

        from tests.support.builders import region

        class Base(DeclarativeBase):
            pass

        kinds: dict[type, Any] = {
            bool: sa.Boolean,
            int: sa.BigInteger,
            str: sa.Text,
            dict: sa.JSON,
            list: sa.JSON,
        }
        columns = {name: sa.Column(kinds.get(type(value), sa.Text)) for name, value in region(1).items()}
        columns |= {"metrics_database": sa.Column(sa.JSON), "metrics_database_id": sa.Column(sa.BigInteger)}
        columns["id"] = sa.Column(sa.BigInteger, primary_key=True, autoincrement=False)
        self._region = type("Region", (Base,), {"__tablename__": "regions", **columns})
        self._sa, self._base, self._session = sa, Base, Session
        self._engine: Any = None

    def begin(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._database = self._new_postgresql() if self.is_postgresql else self._file()
        self._engine = self._sa.create_engine(
            self._database if self.is_postgresql else f"sqlite:///{self._database}"
        )
        self._base.metadata.create_all(self._engine)

    def poll(self) -> None:
        listed = json.loads(self.get())["results"]
        region: Any = self._region
        with self._session(self._engine) as session:
            for each in listed:
                session.merge(region(**each))
            ids = {each["id"] for each in listed}
            for gone in set(session.scalars(self._sa.select(region.id))) - ids:
                session.delete(session.get(region, gone))
            session.commit()

    def size(self) -> int:
        return (
            self._size_of_postgresql(self._database) if self.is_postgresql else size_of_sqlite(self._database)
        )


class MergeOnPostgresql(Merge):
    is_postgresql = True


class Rows(Get):
    """A limit: the regions that changed, as rows that are ready, into one table without any history: executemany."""

    NAMES = (
        "id",
        "display_name",
        "slug",
        "state",
        "country",
        "zone",
        "created_on",
        "keystone_id",
        "access_level",
    )

    def begin(self) -> None:
        self._last: dict[int, Any] = {}
        self._connect()

    def _connect(self) -> None:
        self._sqlite = sqlite3.connect(self._file())
        self._sqlite.execute("PRAGMA journal_mode = WAL")
        self._sqlite.execute("PRAGMA synchronous = FULL")
        self._sqlite.execute(self._table())

    def _table(self) -> str:
        return f"CREATE TABLE versions (n INTEGER, {', '.join(f'{name} TEXT' for name in self._names())})"

    def _names(self) -> list[str]:
        return [*self.NAMES, *(f"more_{n}" for n in range(18))]

    def prepare(self) -> None:
        listed = {each["id"]: each for each in json.loads(self.get())["results"]}
        changed = [each for region_id, each in listed.items() if self._last.get(region_id) != each]
        self._last = listed
        self._rows = [
            (
                1,
                *(str(each[name]) for name in self.NAMES),
                *(str(value)[:60] for value in [*each.values()][9:27]),
            )
            for each in changed
        ]

    def poll(self) -> None:
        marks = ", ".join("?" * (len(self._names()) + 1))
        with self._sqlite:
            self._sqlite.executemany(f"INSERT INTO versions VALUES ({marks})", self._rows)


class RowsOnPostgresql(Rows):
    """The same by COPY."""

    def _connect(self) -> None:
        import psycopg

        url = self._new_postgresql()
        self._connection = psycopg.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False)
        )
        self._connection.execute(self._table())
        self._connection.commit()

    def poll(self) -> None:
        with self._connection.cursor() as cursor, cursor.copy("COPY versions FROM STDIN") as copy:
            for row in self._rows:
                copy.write_row(row)
        self._connection.commit()


ALL: dict[str, Callable[..., Contestant]] = {
    "collector-sqlite": Collector,
    "collector-postgresql": CollectorOnPostgresql,
    "dlt-sqlite-defaults": Dlt,
    "dlt-sqlite": DltFlat,
    "dlt-postgresql": DltOnPostgresql,
    "dlt-duckdb": DltOnDuckdb,
    "merge-sqlite": Merge,
    "merge-postgresql": MergeOnPostgresql,
    "json-per-poll": JsonPerPoll,
    "get": Get,
    "get-sha256": GetAndHash,
    "get-update": GetAndUpdate,
    "json-loads": JsonLoads,
    "executemany": Rows,
    "copy": RowsOnPostgresql,
}
"""Contestants by name. One whose name begins with `dlt` needs the extra `benchmark`."""
QUICK = {
    "collector-sqlite",
    "collector-postgresql",
    "json-per-poll",
    "get",
    "get-sha256",
    "get-update",
    "json-loads",
} | {
    "executemany",
    "copy",
}
"""Those that take their turn several times at once."""
