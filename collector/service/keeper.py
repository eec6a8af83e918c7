"""Leases between polls: keeps ours, and finds those that can be taken.

    every few seconds ─▶ renew, in one statement, those that would expire before the next poll
                      ─▶ find, in one statement, those whose holder is gone; poll these sources at once

So an interval may be longer than a lease, and another process replaces a dead one within one lease, however long the
interval is. The lease of a source that is no longer attempted is not kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic

import sqlalchemy as sa

from collector.database.timeouts import LEASE_SECONDS
from collector.errors import DatabaseError
from collector.logs import logger
from collector.service.runner import Runner
from collector.store import lease

ROUND_SECONDS = LEASE_SECONDS / 12
OVERDUE_SECONDS = LEASE_SECONDS / 6
"""More than an interval varies by."""

log = logger(__name__)


class Keeper:
    """A thread of its own. `runners`: by source, may change; `poll_now`: called with a source that can be taken."""

    def __init__(
        self, engine: sa.Engine, owner: str, runners: Mapping[str, Runner], poll_now: Callable[[str], None]
    ) -> None:
        self._engine, self._owner, self._runners, self._poll_now = engine, owner, runners, poll_now
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="keeper", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(ROUND_SECONDS):
            try:
                self.round()
            except DatabaseError:
                continue  # the polls report it
            except Exception:
                log.exception("keeper_broke")

    def round(self) -> None:
        runners = list(self._runners.items())
        held = [runner.held for _, runner in runners if not _is_overdue(runner)]
        lease.renew(self._engine, self._owner, [each for each in held if each is not None])
        waiting = {name for name, runner in runners if runner.condition in ("standby", "lost")}
        if waiting:
            for name in waiting & lease.free(self._engine):
                self._poll_now(name)


def _is_overdue(runner: Runner) -> bool:
    """True if the poll of a source hangs: another replica should take over when the lease expires."""
    return monotonic() - runner.last_attempt > runner.source.interval.total_seconds() + OVERDUE_SECONDS
