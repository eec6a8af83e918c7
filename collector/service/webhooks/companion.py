"""Delivers events beside the polls: one thread per receiver, and one that looks for gaps and deletes old events.

A slow or dead receiver delays only its own thread. The threads have their own database connections.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from time import monotonic

import sqlalchemy as sa

from collector.clock import Clock, utc_now
from collector.database.transactions import reading
from collector.errors import CollectorError
from collector.gcore.transport import open_client
from collector.inventory.observation import GAP_FACTOR
from collector.logs import logger
from collector.poll import PollResult
from collector.receivers import Receiver
from collector.reports.status import SourceStatus, statuses
from collector.service.view import SourceView
from collector.service.webhooks.announcing import Announcer
from collector.service.webhooks.delivering import Deliverer
from collector.service.webhooks.people import People
from collector.service.webhooks.sending import Tell, Webhook
from collector.store import outbox
from collector.store.sources import source_id_of

PAUSE = 5.0
"""Seconds between two checks for events that other replicas queued or that have to be retried."""
WATCH_SECONDS = 10.0
CLEAN_SECONDS = 600.0
LONGEST_WAIT = timedelta(days=31)
"""No receiver is tried for longer. Anything that has waited longer belongs to a receiver that no process knows."""

log = logger(__name__)


def tellers_of(receivers: Sequence[Receiver], clock: Clock = utc_now) -> list[Tell]:
    """The function that delivers to each receiver. Raises SettingsError if one can't be used."""
    client = open_client() if any(each.url is not None for each in receivers) else None
    return [
        Webhook(each, client, clock) if client and each.url is not None else People(each)
        for each in receivers
    ]


class Webhooks:
    """A companion of the service and a publisher's receiver."""

    def __init__(
        self,
        engine: sa.Engine,
        announcer: Announcer,
        owner: str,
        *,
        keep: timedelta,
        sources: Callable[[], Sequence[SourceView]],
        count: Callable[[str, str, int], None],
        clock: Clock = utc_now,
    ) -> None:
        """`engine`: its own. `owner`: this process. `sources`: the state of the sources that this process polls.

        Raises SettingsError if a receiver can't be used.
        """
        self._engine, self._announcer, self._keep = engine, announcer, keep
        self._sources, self._clock = sources, clock
        self._stopped = threading.Event()
        self._known: set[tuple[str, datetime | None]] = set()
        """Open gaps that were announced: sources, and when they were last seen."""
        self._bells: list[threading.Event] = []
        self._threads = [threading.Thread(target=self._watch, name="outbox", daemon=True)]
        for receiver, tell in zip(announcer.receivers, tellers_of(announcer.receivers, clock), strict=True):
            bell = threading.Event()
            deliverer = Deliverer(
                engine,
                receiver,
                tell,
                f"{owner}/{receiver.name}",
                clock=clock,
                count=count,
                is_stopped=self._stopped.is_set,
            )
            self._bells.append(bell)
            name = f"receiver {receiver.name}"
            self._threads.append(
                threading.Thread(target=self._tell, args=(deliverer, bell), name=name, daemon=True)
            )

    def hear(self, result: PollResult) -> None:
        """Take note of a written poll, whose events may now be delivered. Returns at once."""
        if result.recorded.polls == 1 and result.outcome != "failed":
            self._ring()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop delivering. A delivery under way gets one second; its event may be delivered again later."""
        self._stopped.set()
        self._ring()
        ends = monotonic() + 1.0
        for thread in self._threads:
            thread.join(max(ends - monotonic(), 0.0))

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()

    def _tell(self, deliverer: Deliverer, bell: threading.Event) -> None:
        while not self._stopped.is_set():
            bell.clear()
            if not self._done(deliverer.round):
                bell.wait(PAUSE)

    def _watch(self) -> None:
        began, cleaned = monotonic(), float("-inf")
        while not self._stopped.wait(WATCH_SECONDS):
            self._done(lambda: self._look_for_gaps(monotonic() - began))
            if monotonic() - cleaned > CLEAN_SECONDS:
                cleaned = monotonic()
                self._done(self._clean)

    def _done(self, work: Callable[[], bool]) -> bool:
        """Do work. Returns True if it was done and more may wait.

        An error does not end the thread: the polls report a database that is unreachable.
        """
        try:
            return work()
        except CollectorError as error:
            log.debug("outbox_waits", error=str(error))
        except Exception:
            log.exception("outbox_broke")
            self._stopped.wait(PAUSE)
        return False

    def _look_for_gaps(self, running_for: float) -> bool:
        """Announce gaps that have opened.

        A gap from before the start ends with the first poll, which reports it. So none is announced before a poll is
        overdue.
        """
        ours = {each.name for each in self._sources() if not each.kept and each.condition != "database"}
        new = announce_open_gaps(
            self._engine, self._announcer, ours, self._clock, running_for=running_for, known=self._known
        )
        if new:
            self._ring()
        return bool(new)

    def _clean(self) -> bool:
        clean(self._engine, self._announcer.names, self._keep, self._clock)
        return False


def announce_open_gaps(
    engine: sa.Engine,
    announcer: Announcer,
    sources: Collection[str],
    clock: Clock = utc_now,
    *,
    running_for: float = float("inf"),
    known: set[tuple[str, datetime | None]] | None = None,
) -> list[str]:
    """Queue events for open gaps of these sources, once each. Returns the sources whose gaps are new.

    `running_for`: seconds since polling started. `known`: gaps that were announced before, by source and when it was
    last seen; it is updated.
    """
    wanted = any(not each.kinds or "gap_opened" in each.kinds for each in announcer.receivers)
    if not wanted or not sources:
        return []
    known = set() if known is None else known
    with reading(engine) as connection:
        found = {each.source: each for each in statuses(connection, clock()) if each.source in sources}
    blind = {(name, each.last_seen_at) for name, each in found.items() if _is_blind(each)}
    overdue = {n for n, each in found.items() if running_for > GAP_FACTOR * (each.interval_seconds or 0)}
    new = sorted(name for name, _ in blind - known if name in overdue)
    for name in new:
        announce_gap(engine, announcer, name, clock)
    known &= blind
    known |= {each for each in blind if each[0] in new}
    return new


def clean(engine: sa.Engine, known: Collection[str], keep: timedelta, clock: Clock = utc_now) -> None:
    """Delete events that were delivered or given up long ago, and give up those that nobody will ever deliver.

    `known`: the receivers of the settings.
    """
    now = clock()
    outbox.prune(engine, now - keep, known)
    why = "not delivered: its receiver is in the settings of no process"
    if lost := outbox.give_up_old(engine, known, now - LONGEST_WAIT, why, now):
        log.error("dead_letters", events=lost, why=why)


def _is_blind(status: SourceStatus) -> bool:
    return status.verdict == "stale" and status.last_poll_at is not None


def announce_verification(
    engine: sa.Engine, announcer: Announcer, source: str, found: str, clock: Clock = utc_now
) -> None:
    """Queue an event for a failed verification of a source, unless there is one since its newest observation.

    `found`: what is wrong, in words.
    """
    _queue(engine, source, lambda c, now: announcer.verification_failed(c, source, found, now), clock)


def announce_gap(engine: sa.Engine, announcer: Announcer, source: str, clock: Clock = utc_now) -> None:
    """Queue an event for a source's open gap, unless that was done."""
    _queue(engine, source, lambda c, now: announcer.gap_opened(c, source, now), clock)


def _queue(
    engine: sa.Engine,
    source: str,
    deliveries: Callable[[sa.Connection, datetime], Sequence[outbox.Delivery]],
    clock: Clock,
) -> None:
    """Queue events that no poll of a source causes."""
    with reading(engine) as connection:
        source_id = source_id_of(connection, source)
    now = clock()
    outbox.queue_if_new(engine, source_id, lambda c: deliveries(c, now), now)
