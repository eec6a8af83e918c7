"""The process: start, signals, stop, and a watchdog that does not depend on the scheduler.

    SIGTERM, SIGINT   no new poll; running polls may end within the grace period; exit 0. A second one ends it at once
    SIGHUP            read the settings again: sources are added, removed and changed; other changes are named

The watchdog ends the process with status 70 if no poll was attempted for too long, so that a supervisor restarts it.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Protocol

import sqlalchemy as sa

from collector import __version__
from collector.database.url import is_sqlite
from collector.errors import CollectorError, DatabaseError, LeaseHeldError
from collector.gcore.client import Client
from collector.logs import logger
from collector.poll import PollResult
from collector.printable import counted
from collector.service.keeper import Keeper
from collector.service.lanes import Lanes, NotYetError
from collector.service.notify import notify, wants_watchdog
from collector.service.outage import Outage
from collector.service.runner import Runner, stop_all
from collector.service.schedule import Schedule
from collector.service.tally import Tallies
from collector.service.view import SourceView, View
from collector.settings.models import Settings, Source
from collector.settings.origins import changes_that_wait
from collector.store import lease
from collector.store.opening import open_writer
from collector.store.outbox import Announce

STUCK_EXIT_CODE = 70
GRACE_SECONDS = 8.0
"""Less than the ten seconds after which container engines kill."""
LEAST_PATIENCE = 90.0
"""The shortest patience of the watchdog: longer than the longest poll."""

Publisher = Callable[[PollResult], None]
"""Called with every written poll. It must return at once."""

log = logger(__name__)


class Companion(Protocol):
    """Runs beside the polls in its own threads, for example to serve pages."""

    def start(self) -> None:
        """Begin; returns at once."""

    def stop(self) -> None:
        """End what is under way, within a second or two."""


class Service:
    """Everything that runs. `run` returns the exit code after it was asked to stop."""

    def __init__(
        self,
        engine: sa.Engine,
        load: Callable[[], Settings],
        *,
        grace_seconds: float = GRACE_SECONDS,
        patience_seconds: float | None = None,
        announce: Announce | None = None,
    ) -> None:
        """`announce`: returns the events of a poll for receivers; None: there are no receivers."""
        self._engine = engine
        self._load = load
        self._announce = announce
        self._grace = grace_seconds
        self._patience = patience_seconds
        self._client = Client()
        self._lanes = Lanes(self._client.fetch)
        self.owner = lease.process_name()
        self._schedule = Schedule()
        self._away = Outage()
        self._runners: dict[str, Runner] = {}
        self._left: list[Runner] = []
        """Runners of changed or removed sources whose poll did not end in time."""
        self._keeper = Keeper(engine, self.owner, self._runners, self._poll_now)
        self._told: SimpleQueue[None] = SimpleQueue()
        self._settings = Settings()
        """The settings at the start."""
        self._companions: list[Companion] = []
        self.tallies = Tallies()
        self._publishers: list[Publisher] = [self.tallies.count]
        self._stopping = False
        self._reloading = False

    def accompany(self, companion: Companion) -> None:
        """Start this companion with the service, and stop it before the polls. Must be called before `run`."""
        self._companions.append(companion)

    def publish_to(self, publisher: Publisher) -> None:
        """Call this publisher with every written poll. Must be called before `run`; the publisher must return at
        once.
        """
        self._publishers.append(publisher)

    def _publish(self, result: PollResult) -> None:
        for publisher in self._publishers:
            try:
                publisher(result)
            except Exception:
                log.exception("publisher_broke")  # the poll is already written

    def view(self) -> View:
        """The state of the service at this moment."""
        now = monotonic()
        return View(
            sources=tuple(
                SourceView(
                    name=name,
                    condition=runner.condition,
                    seconds_since_attempt=now - runner.last_attempt,
                    holds_lease=runner.held is not None,
                    kept=runner.kept,
                    tally=self.tallies.of(name),
                )
                for name, runner in sorted(self._runners.copy().items())
            ),
            patience_seconds=self._patience_now(),
            is_stopping=self._stopping,
            phases=self.tallies.phases(),
            attempts=self.tallies.attempts(),
            prunes=self.tallies.prunes(),
            missed=self._schedule.missed,
            broken=self._schedule.errors,
        )

    def run(self) -> int:
        """1. take the first leases  2. schedule all sources  3. wait for signals  4. stop."""
        for number, handler in self._handlers().items():
            signal.signal(number, handler)
        self._settings = settings = self._load()
        if is_sqlite(self._engine):
            self._make_sure_nobody_else_polls(settings.sources)
        self._put(settings.sources)
        self._schedule.start()
        self._keeper.start()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        for companion in self._companions:
            companion.start()
        log.info("started", version=__version__, sources=len(self._runners), owner=self.owner)
        notify("READY=1", f"STATUS={self._in_words()}")
        while not self._stopping:
            with suppress(Empty):
                self._told.get(timeout=1.0)
            self._schedule.notice_clock_changes()
            if self._reloading:
                self._reloading = False
                self._reload()
        return self._stop()

    def _handlers(self) -> dict[signal.Signals, Callable[..., None]]:
        def stop(number: int, _: object) -> None:
            if self._stopping:
                os._exit(128 + number)  # committed data stays, and leases expire
            self._stopping = True
            self._told.put(None)

        def reload(*_: object) -> None:
            self._reloading = True
            self._told.put(None)

        return {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}

    def _make_sure_nobody_else_polls(self, sources: tuple[Source, ...]) -> None:
        """A SQLite file has one collector: a second one waits briefly, then ends. Raises LeaseHeldError.

        Any other problem with one source is reported by its runner, so that it does not keep the others from being
        polled.
        """
        for source in sources:
            try:
                writer = open_writer(self._engine, source, self.owner, wait_seconds=5.0)
                lease.release(self._engine, writer.lease)
            except LeaseHeldError:
                raise
            except DatabaseError:
                return  # the same is true of all sources
            except CollectorError:
                continue

    def _put(self, sources: Iterable[Source]) -> None:
        sources = tuple(sources)
        for number, source in enumerate(sources):
            fetch = partial(self._lanes.fetch, source.name)
            runner = Runner(
                self._engine,
                source,
                fetch,
                self.owner,
                publish=self._publish,
                announce=self._announce,
                away=self._away,
            )
            self._runners[source.name] = runner
            self._lanes.enter(source.name, source.interval)
            job = partial(self._attempt, runner)
            self._schedule.put(source.name, source.interval, job, place=number / len(sources))

    def _attempt(self, runner: Runner) -> None:
        """A poll in the lane of its source. If it moves to another lane, so do later polls."""
        name = runner.source.name
        before = self._lanes.lane(name)
        try:
            runner.attempt()
        except NotYetError:
            self._schedule.soon(name, partial(self._attempt, runner), "slow")
        if (now := self._lanes.lane(name)) != before:
            self._schedule.move(name, now)

    def _poll_now(self, name: str) -> None:
        runner = self._runners.get(name)
        if runner is not None and not runner.is_busy:
            self._schedule.soon(name, partial(self._attempt, runner), self._lanes.lane(name))

    def _reload(self) -> None:
        notify("RELOADING=1")
        try:
            settings = self._load()
            wanted = {source.name: source for source in settings.sources}
        except CollectorError as error:
            log.error("settings_not_reloaded", error=str(error))  # noqa: TRY400 - a person's mistake, no traceback
        else:
            leaving = {n: r for n, r in self._runners.items() if wanted.get(n) != r.source}
            changed = [s for n, s in wanted.items() if n not in self._runners or n in leaving]
            self._put(source for source in changed if source.name not in leaving)
            for name in leaving:
                self._schedule.drop(name)
                self._lanes.leave(name)
            unfinished = stop_all(self._engine, leaving, self._grace, give_up=lambda: self._stopping)
            if self._stopping:
                return
            for name, runner in leaving.items():
                del self._runners[name]
                if name in unfinished:
                    self._left.append(runner)
            self._put(source for source in changed if source.name in leaving)
            if fixed := changes_that_wait(self._settings, settings):
                log.warning(
                    "restart_needed", changed=fixed, why="these settings take effect only after a restart"
                )
            log.info("settings_reloaded", sources=len(self._runners), changed=[s.name for s in changed])
        notify("READY=1", f"STATUS={self._in_words()}")

    def _in_words(self) -> str:
        """What systemctl shows."""
        runners = list(self._runners.values())
        ill = [f"{r.source.name} not written ({r.condition})" for r in runners if r.condition]
        return "; ".join([f"polling {counted(len(runners), 'source')}", *ill])

    def _watch(self) -> None:
        """Independent of the scheduler: it only looks at when polls were attempted."""
        looked = monotonic()
        paused = 0.0
        said = self._in_words()
        while not self._stopping:
            threading.Event().wait(1.0)
            now = monotonic()
            if now - looked > 5.0:
                paused = now  # the whole process was suspended: give the scheduler time to catch up
            looked = now
            newest = max((r.last_attempt for r in list(self._runners.values())), default=now)
            if now - max(newest, paused) > self._patience_now():
                log.critical("stuck", seconds_without_a_poll=round(now - newest))
                logging.shutdown()
                os._exit(STUCK_EXIT_CODE)
            if wants_watchdog():
                notify("WATCHDOG=1")
            if (words := self._in_words()) != said and not self._stopping:
                said = words
                notify(f"STATUS={said}")

    def _patience_now(self) -> float:
        if self._patience is not None:
            return self._patience
        runners = list(self._runners.values())
        shortest = min((r.source.interval.total_seconds() for r in runners), default=60.0)
        return max(3 * shortest, LEAST_PATIENCE)

    def _stop(self) -> int:
        log.info("stopping", grace_seconds=self._grace)
        notify("STOPPING=1")
        for companion in self._companions:
            companion.stop()
        self._keeper.stop()
        self._schedule.stop()
        unfinished = stop_all(self._engine, self._runners, self._grace)
        unfinished += [runner.source.name for runner in self._left if runner.is_busy]
        self._client.close()
        log.info("stopped", unfinished=unfinished)
        if unfinished:
            # Threads that hang would keep the interpreter from exiting.
            logging.shutdown()
            os._exit(0)
        return 0
