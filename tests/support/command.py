"""The command `collector`, in this process and in one of its own, and what it said."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa

from collector.cli import cli, main
from collector.database.engine import open_engine
from tests.support import forks
from tests.support.logging_kept import logging_kept
from tests.support.paths import ROOT

Json = Any


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        return json.loads(self.out)

    @property
    def csv(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out)))

    def refused(self, code: int, *named: str) -> None:
        """It ended with this code and one line on stderr that names these; no traceback, no other output."""
        self.explains(*named)
        assert (self.code, self.out) == (code, ""), self
        assert len(self.err.splitlines()) == 1, self.err

    def explains(self, *named: str) -> None:
        assert "Traceback" not in self.err, self.err.splitlines()[-1]
        for text in named:
            assert text in self.err, self.err


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process with these settings, and without those of the person who runs the tests."""
    own = {n: v for n, v in os.environ.items() if not n.startswith("COLLECTOR_") and "proxy" not in n.lower()}
    named = {f"COLLECTOR_{name.upper()}": value for name, value in settings.items()}
    no_port = {"COLLECTOR_HTTP_BIND": "off"}  # many run at once
    return own | {"PYTHONPATH": str(ROOT)} | no_port | named


def process(*arguments: str, cwd: Path | None = None, **settings: str) -> Said:
    """Run the command as a process of its own. `settings`: database_url=…, api_key=… as in COLLECTOR_DATABASE_URL, …"""
    done = forks.run(
        [sys.executable, "-m", "collector", *arguments],
        env=environment(settings),
        cwd=cwd,
        text=True,
        timeout=60,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def collector(*arguments: str, **settings: str) -> Said:
    """The same in this process, which is ten times as fast: only the start of the interpreter is left out."""
    out, err = io.StringIO(), io.StringIO()
    engines: list[sa.Engine] = []

    def open_and_remember(*args: Any, **kwargs: Any) -> sa.Engine:
        engines.append(open_engine(*args, **kwargs))
        return engines[-1]

    with pytest.MonkeyPatch.context() as patch, logging_kept():
        patch.setattr(sys, "argv", ["collector", *arguments])
        patch.setattr("collector.database.engine.open_engine", open_and_remember)
        for name, value in settings.items():
            patch.setenv(f"COLLECTOR_{name.upper()}", value)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = end.code
            except Exception:  # noqa: BLE001 - as the interpreter does
                traceback.print_exc()
                code = 1
    for engine in engines:
        engine.dispose()
    assert isinstance(code, int)
    return Said(code, out.getvalue(), err.getvalue())


@contextmanager
def example_server() -> Iterator[str]:
    """The independent server of the documented example; yields its URL."""
    command = [sys.executable, "-I", str(ROOT / "tests" / "support" / "example_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def commands(group: click.Group, prefix: str = "collector") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


ALL_COMMANDS = dict(commands(cli))
