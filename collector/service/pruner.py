"""Prunes histories beside the polls, if COLLECTOR_KEEP limits how much is kept.

The replica that polls a source prunes it. A poll waits for a round of it, a fraction of a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa

from collector.audit import retention
from collector.audit.anchoring.outside import Outside
from collector.clock import Clock, utc_now
from collector.errors import CollectorError
from collector.logs import logger
from collector.service.view import View

FIRST_SECONDS = 300.0
"""Seconds after the start."""
ROUND_SECONDS = 3600.0

log = logger(__name__)


class Pruner:
    """A companion of the service. `view`: the state of the service. `count`: gets each source that was due, and
    `pruned` or `failed`."""

    def __init__(
        self,
        engine: sa.Engine,
        keep: timedelta,
        view: Callable[[], View],
        made_by: str,
        outside: Callable[[], Outside],
        count: Callable[[str, str], None] = lambda *_: None,
        clock: Clock = utc_now,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        self._engine, self._keep, self._view, self._made_by = engine, keep, view, made_by
        self._outside, self._count, self._clock, self._first = outside, count, clock, first_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pruner", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop pruning, without waiting long for a round under way. Each round is complete by itself."""
        self._stopped.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        seconds = self._first
        while not self._stopped.wait(seconds):
            seconds = ROUND_SECONDS
            try:
                self.round()
            except CollectorError as error:
                log.error("not_pruned", why=str(error))  # noqa: TRY400 - reported in words
            except Exception:
                log.exception("pruner_broke")

    def round(self) -> None:
        """Prune what is due for the sources that this process polls. One that can't be pruned stops no other."""
        now = self._clock()
        ours = {each.name for each in self._view().sources if each.holds_lease}
        for name in retention.due(self._engine, self._keep, now):
            if name not in ours or self._stopped.is_set():
                continue
            outcome = "failed"
            try:
                self._prune(name, now)
                outcome = "pruned"
            except CollectorError as error:
                log.error("not_pruned", source=name, why=str(error))  # noqa: TRY400 - reported in words
            except Exception:
                log.exception("pruner_broke", source=name)
            self._count(name, outcome)

    def _prune(self, name: str, now: datetime) -> None:
        done = retention.prune(
            self._engine,
            name,
            now - self._keep,
            made_at=now,
            made_by=self._made_by,
            outside=self._outside(),
        )
        log.info(
            "pruned",
            source=name,
            begins_at=done.begins and done.begins.begins_at,
            observations=done.observations,
            answers=done.answers,
        )
