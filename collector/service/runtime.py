"""The process: start, signals, stop, and a watchdog that does not depend on the scheduler.

    SIGTERM, SIGINT   no new poll; the ones under way may end within the grace period; exit 0
    SIGHUP            read the settings again: sources come, go and change

The watchdog ends the process with status 70 when no poll was attempted for too long, so that a supervisor
starts it again.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic

import sqlalchemy as sa

from collector import __version__
from collector.errors import CollectorError
from collector.gcore.client import Client
from collector.logs import logger
from collector.poll import open_writer
from collector.service.notify import notify, wants_watchdog
from collector.service.runner import Runner
from collector.service.schedule import Schedule
from collector.settings import Settings, Source
from collector.store import lease

STUCK_EXIT_CODE = 70
GRACE_SECONDS = 8.0
"""Less than the ten seconds after which container engines kill."""
LEAST_PATIENCE = 90.0
"""The watchdog waits at least so many seconds: longer than the longest poll."""

log = logger(__name__)


class Service:
    """Everything that runs. `run` returns the exit code when told to stop."""

    def __init__(
        self,
        engine: sa.Engine,
        load: Callable[[], Settings],
        *,
        grace_seconds: float = GRACE_SECONDS,
        patience_seconds: float | None = None,
    ) -> None:
        self._engine = engine
        self._load = load
        self._grace = grace_seconds
        self._patience = patience_seconds
        self._client = Client()
        self._owner = lease.process_name()
        self._schedule = Schedule()
        self._runners: dict[str, Runner] = {}
        self._told: SimpleQueue[None] = SimpleQueue()
        self._stopping = False
        self._reloading = False

    def run(self) -> int:
        """1. take the first leases  2. schedule all sources  3. wait for signals  4. stop."""
        for number, handler in self._handlers().items():
            signal.signal(number, handler)
        settings = self._load()
        if self._engine.dialect.name == "sqlite":
            self._make_sure_nobody_else_polls(settings.sources)
        self._put(settings.sources)
        self._schedule.start()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        log.info("started", version=__version__, sources=len(self._runners), owner=self._owner)
        notify("READY=1", f"STATUS=polling {len(self._runners)} sources")
        while not self._stopping:
            with suppress(Empty):
                self._told.get(timeout=1.0)
            self._schedule.heed_the_clock()
            if self._reloading:
                self._reloading = False
                self._reload()
        return self._stop()

    def _handlers(self) -> dict[signal.Signals, Callable[..., None]]:
        def stop(*_: object) -> None:
            self._stopping = True
            self._told.put(None)

        def reload(*_: object) -> None:
            self._reloading = True
            self._told.put(None)

        return {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}

    def _make_sure_nobody_else_polls(self, sources: tuple[Source, ...]) -> None:
        """A SQLite file has one collector: a second one waits shortly, then ends. Raises LeaseHeldError."""
        for source in sources:
            writer = open_writer(self._engine, source, self._owner, wait_seconds=5.0)
            lease.release(self._engine, writer.lease)

    def _put(self, sources: tuple[Source, ...]) -> None:
        for number, source in enumerate(sources):
            runner = Runner(self._engine, source, self._client.fetch, self._owner)
            self._runners[source.name] = runner
            self._schedule.put(source.name, source.interval, runner.attempt, place=number / len(sources))

    def _reload(self) -> None:
        notify("RELOADING=1")
        try:
            wanted = {source.name: source for source in self._load().sources}
        except CollectorError as error:
            log.error("settings_not_reloaded", error=str(error))  # noqa: TRY400 - a person's mistake, no traceback
        else:
            for name, runner in list(self._runners.items()):
                if wanted.get(name) != runner.source:
                    self._schedule.drop(name)
                    runner.stop(self._grace)
                    del self._runners[name]
            changed = tuple(s for name, s in wanted.items() if name not in self._runners)
            self._put(changed)
            log.info("settings_reloaded", sources=len(self._runners), changed=[s.name for s in changed])
        notify("READY=1", f"STATUS=polling {len(self._runners)} sources")

    def _watch(self) -> None:
        """Independent of the scheduler: looks only at when polls were attempted."""
        looked = monotonic()
        paused = 0.0
        while not self._stopping:
            threading.Event().wait(1.0)
            now = monotonic()
            if now - looked > 5.0:
                paused = now  # the whole process was stopped: give the scheduler time to catch up
            looked = now
            newest = max((r.last_attempt for r in list(self._runners.values())), default=now)
            if now - max(newest, paused) > self._patience_now():
                log.critical("stuck", seconds_without_a_poll=round(now - newest))
                logging.shutdown()
                os._exit(STUCK_EXIT_CODE)
            if wants_watchdog():
                notify("WATCHDOG=1")

    def _patience_now(self) -> float:
        if self._patience is not None:
            return self._patience
        shortest = min((r.source.interval.total_seconds() for r in self._runners.values()), default=60.0)
        return max(3 * shortest, LEAST_PATIENCE)

    def _stop(self) -> int:
        log.info("stopping", grace_seconds=self._grace)
        notify("STOPPING=1")
        self._schedule.stop()
        finished: list[str] = []

        def stop(name: str, runner: Runner) -> None:
            if runner.stop(self._grace):
                finished.append(name)

        # All at once: a database that is locked makes each of them wait.
        stops = [threading.Thread(target=stop, args=each, daemon=True) for each in self._runners.items()]
        for each in stops:
            each.start()
        ends = monotonic() + self._grace + 1.0
        for each in stops:
            each.join(max(ends - monotonic(), 0.0))
        unfinished = [name for name in self._runners if name not in finished]
        self._client.close()
        log.info("stopped", unfinished=unfinished)
        if unfinished:
            # Threads that hang would keep the interpreter from ending.
            logging.shutdown()
            os._exit(0)
        return 0
