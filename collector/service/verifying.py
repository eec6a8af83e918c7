"""Verifies the whole history at intervals, in a process of its own: it computes for minutes while polls go on.

    every minute ─▶ was each source verified recently? ─no─▶ `collector audit verify --record --tell`, at low priority

Replicas share the work: a result counts for all. Each waits a random time first, so that they don't start together.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import sqlalchemy as sa

from collector.audit.results import is_due
from collector.clock import Clock, utc_now
from collector.database.transactions import reading
from collector.errors import CollectorError
from collector.logs import logger

ROUND_SECONDS = 60.0
GRACE_SECONDS = 1.0

log = logger(__name__)


class Verifying:
    """A companion of the service."""

    def __init__(
        self,
        engine: sa.Engine,
        every: timedelta,
        command: Sequence[str],
        *,
        round_seconds: float = ROUND_SECONDS,
        clock: Clock = utc_now,
    ) -> None:
        """`command`: verifies and stores the result."""
        self._engine, self._every, self._command, self._clock = engine, every, tuple(command), clock
        self._round = round_seconds
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="verifying", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop verifying. A running verification is ended: it writes nothing but its result."""
        self._stopped.set()
        process = self._process
        if process is not None:
            process.terminate()
        self._thread.join(GRACE_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._round * random.uniform(0.5, 1.0)):  # noqa: S311 - not used for a secret
            try:
                with reading(self._engine) as connection:
                    due = is_due(connection, self._clock(), self._every.total_seconds())
                if due:
                    self._verify()
            except CollectorError:
                continue  # the polls report it
            except Exception:
                log.exception("verifying_broke")

    def _verify(self) -> None:
        log.info("verifying")
        self._process = process = subprocess.Popen(  # noqa: S603 - our own command
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        with suppress(OSError):  # it may have ended, and some systems forbid it
            os.setpriority(os.PRIO_PROCESS, process.pid, 10)
        said, _ = process.communicate()
        self._process = None
        if self._stopped.is_set():
            return
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        facts = {"exit_code": process.returncode, "said": lines[:12]}
        if process.returncode == 0:
            log.info("verified", exit_code=0)
        elif process.returncode == 3:
            log.warning("verified", **facts)
        else:
            log.critical("verification_failed", **facts)
            # A verification that could not be made stores no result and is not repeated at once.
            self._stopped.wait(min(self._every.total_seconds(), 3600.0))


def command_of(config: str | None) -> list[str]:
    """`collector audit verify --record --tell`, with the settings of this process."""
    options = ["--config", config] if config else []
    return [sys.executable, "-m", "collector", *options, "audit", "verify", "--record", "--tell"]
