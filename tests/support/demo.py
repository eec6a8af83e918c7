"""The demo, at a fixed time, on both databases."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from collector.cli.demo import DAYS
from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import migrating, reading
from collector.reports import views
from collector.simulator.scenario import story
from collector.store import copying
from tests.support.databases import new_database
from tests.support.frozen import NOW, stop_the_clock_of
from tests.support.paths import ROOT
from tests.support.views import clock_of_views_stopped


def is_setting(name: str) -> bool:
    """True if a variable is a setting, or describes the width or colours of the terminal."""
    return name.startswith("COLLECTOR_") or name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")


@dataclass(frozen=True)
class Answer:
    """What a command said, on stderr and stdout, and how it ended."""

    code: int
    said: str


@dataclass(frozen=True)
class DemoDatabase:
    """What `collector demo` leaves, run at a fixed time; questions are asked at that time too."""

    file: Path
    said: Answer
    """What the demo itself said."""

    @classmethod
    def make(cls, folder: Path) -> DemoDatabase:
        (said,) = cls._run(folder, ["demo"])
        assert said.code == 0, said.said
        cls._save(folder / "saved")
        return cls(folder / "collector-demo.db", said)

    @staticmethod
    def _save(folder: Path) -> None:
        """Answers of the same cloud, as cron and curl might have saved them."""
        start = datetime.combine(NOW.date() - timedelta(days=DAYS), time(), UTC)
        world = story(start)
        for number in range(20):
            at = start + timedelta(days=4, hours=4 * number)
            file = folder / f"{at:%Y-%m}" / f"{at:%Y-%m-%dT%H%M%SZ}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(world.document(at)), encoding="utf-8")

    def ask(self, *commands: Sequence[str]) -> list[Answer]:
        """Run commands, each a list of arguments, in the folder of the demo and with its file as the database."""
        asked = [list(command) for command in commands]
        answers = iter(self._run(self.file.parent, *(c for c in asked if c != ["demo"])) if asked else [])
        return [self.said if command == ["demo"] else next(answers) for command in asked]

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Ask in SQL, at the same time."""
        return self.table(sql)[1]

    def table(self, sql: str) -> tuple[list[str], list[tuple[object, ...]]]:
        """The same, with the names of the columns."""
        with closing(sqlite3.connect(f"{self.file.as_uri()}?mode=ro", uri=True)) as connection:
            stop_the_clock_of(connection)
            cursor = connection.execute(sql)
            return [column[0] for column in cursor.description], cursor.fetchall()

    @staticmethod
    def _run(folder: Path, *commands: Sequence[str]) -> list[Answer]:
        own = {n: v for n, v in os.environ.items() if not is_setting(n)}
        if commands != (["demo"],):
            own["COLLECTOR_DATABASE_URL"] = "sqlite:///collector-demo.db"
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.frozen"],
            input=json.dumps(commands),
            env=own | {"PYTHONPATH": str(ROOT)},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return [Answer(**each) for each in json.loads(done.stdout)]


Table = tuple[list[str], list[tuple[Any, ...]]]
"""Names of columns, and rows."""


def stop_the_clock_of_views(engine: sa.Engine) -> None:
    """Where the clock of the database can't be stopped: views that take a fixed time for it."""
    with clock_of_views_stopped(NOW), migrating(engine) as connection:
        views.install(connection)


@dataclass(frozen=True)
class DemoOnPostgreSQL:
    """The demo's database, moved to PostgreSQL as people move theirs; the clock of its views stands still too."""

    engine: sa.Engine

    @classmethod
    @contextmanager
    def make(cls, demo: DemoDatabase, server: sa.URL) -> Iterator[DemoOnPostgreSQL]:
        engine, origin = (
            open_engine(new_database(server)),
            open_engine(f"sqlite:///{demo.file}", read_only=True),
        )
        migrate.upgrade(engine)
        copying.copy(origin, engine)
        origin.dispose()
        stop_the_clock_of_views(engine)
        yield cls(engine)
        engine.dispose()

    def table(self, sql: str) -> Table:
        with reading(self.engine) as connection:
            found = connection.exec_driver_sql(sql.replace("%", "%%"))
            return list(found.keys()), [tuple(row) for row in found]


DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
