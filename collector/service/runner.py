"""One source of the running service: becomes its writer, polls it, and keeps answers during a database outage.

attempt ─▶ writer? (lease) ─▶ look ─▶ keep ─▶ write everything that is kept, oldest first
              │held by another             │database unreachable
              ▼                            ▼
           stand by                  keep, up to a limit; log it once
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic, sleep

import sqlalchemy as sa

from collector.clock import Clock, utc_now
from collector.database.transactions import reading, waiting_at_most
from collector.errors import (
    ClockError,
    CollectorError,
    DatabaseError,
    IntegrityError,
    LeaseHeldError,
    LeaseLostError,
)
from collector.gcore.document import Document
from collector.logs import logger
from collector.poll import Fetch, PollResult, Seen, look, write
from collector.reports.transitions import TransitionFilter, transitions
from collector.service.lanes import NotYetError
from collector.service.outage import Outage
from collector.settings.models import Source
from collector.store import lease
from collector.store.opening import open_writer
from collector.store.outbox import Announce
from collector.store.writer import Writer

PATIENCE, PATIENCE_IN_AN_OUTAGE = 0.5, 0.25
"""How long a write waits for a locked database, in intervals: normally, and once the database is known to be
unreachable.

Polls must still be attempted meanwhile.
"""
FIRST_REMINDER, LONGEST_REMINDER = 60.0, 3600.0
"""Seconds before a continuing outage is logged again: the first and the longest pause."""
SPARED = timedelta(seconds=20)
"""How long after an outage an expired lease is left to its holder: longer than the keeper's round and an attempt to
connect."""
MAX_KEPT = 1000
"""Answers kept for one source while the database is unreachable; the oldest are given up first."""

log = logger(__name__)


class Runner:
    """Polls one source whenever `attempt` is called. Attempts of one source never overlap."""

    def __init__(
        self,
        engine: sa.Engine,
        source: Source,
        fetch: Fetch,
        owner: str,
        clock: Clock = utc_now,
        publish: Callable[[PollResult], None] = lambda result: None,
        announce: Announce | None = None,
        away: Outage | None = None,
    ) -> None:
        """`publish`: called with every written poll. `announce`: returns the events of a poll for receivers. `away`:
        shared by all sources that are written into this database."""
        self.source = source
        self.last_attempt = monotonic()
        self.last_result: PollResult | None = None
        self.condition: str | None = None
        """Why polls can't be written now, or None."""
        self._engine, self._fetch, self._owner, self._clock = engine, fetch, owner, clock
        self._publish, self._announce = publish, announce
        self._away = away or Outage()
        self._spares_until: datetime | None = None
        """Until then the process that polled before an outage may write what it kept."""
        self._writer: Writer | None = None
        self._kept: deque[Seen] = deque(maxlen=MAX_KEPT)
        self._forgotten = 0
        """Number of answers that were given up for lack of room. The first one was logged."""
        self._outage = Reminder()
        self._busy = threading.Lock()
        self._stopped = False

    @property
    def held(self) -> lease.Lease | None:
        """The lease that this process holds for the source, as far as it knows."""
        writer = self._writer
        return None if writer is None or self._stopped else writer.lease

    @property
    def kept(self) -> int:
        """Number of answers that wait for the database."""
        return len(self._kept)

    @property
    def is_busy(self) -> bool:
        """True if a poll is under way."""
        return self._busy.locked()

    def attempt(self) -> None:
        """One scheduled poll. Expected problems are logged; everything else raises.

        Raises NotYetError if the poll has to continue in the slow lane.
        """
        with self._busy:
            if self._stopped:
                return
            self.last_attempt = monotonic()
            try:
                self._attempt()
            except NotYetError:
                raise  # the same poll continues
            except LeaseHeldError as error:
                self._say("standby", error)
            except LeaseLostError:
                self.condition = "lost"  # it was logged where it was noticed
            except DatabaseError as error:
                self._say("database", error)
            except CollectorError as error:
                self._say("refused", error)
            else:
                self._say(None)
            finally:
                if self._stopped:
                    self._report_given_up("the source was stopped")

    def stop(self, grace_seconds: float) -> bool:
        """Stop polling, and release the lease. Returns True if the poll under way ended in time."""
        return not stop_all(self._engine, {self.source.name: self}, grace_seconds)

    def halt(self) -> None:
        """Stop polling. A poll under way continues."""
        self._stopped = True

    def has_ended(self) -> bool:
        """After `halt`: True if no poll is under way any longer. Kept answers are then reported as given up."""
        if not self._busy.acquire(blocking=False):
            return False
        self._report_given_up("the source was stopped")
        self._busy.release()
        return True

    def leave_behind(self) -> None:
        """After `halt`: the poll under way did not end in time."""
        log.warning("unfinished", source=self.source.name, kept=len(self._kept))

    @property
    def lease_to_release(self) -> lease.Lease | None:
        """The lease to release, if this process took it."""
        writer = self._writer
        return None if writer is None else writer.lease

    def _is_alive(self) -> None:
        """Report life to the watchdog while a long history is derived again."""
        self.last_attempt = monotonic()

    def _attempt(self) -> None:
        engine = self._patient_engine()
        if self._writer is None:
            with self._away.using():
                self._writer = open_writer(
                    engine,
                    self.source,
                    self._owner,
                    spares=self._spares(),
                    announce=self._announce,
                    alive=self._is_alive,
                )
            log.info("writing", source=self.source.name, epoch=self._writer.lease.epoch)
        self._writer.engine = engine
        self._keep(look(self.source, self._fetch, self._writer, self._clock))
        with self._away.using():
            try:
                self._write_kept(self._writer)
            except LeaseLostError as error:
                try:
                    if not lease.resume(engine, self._writer.lease):
                        raise
                    self._write_kept(self._writer)
                except LeaseLostError:
                    self._writer = None
                    log.warning(
                        "lease_lost", source=self.source.name, given_up=self._give_up(), error=str(error)
                    )
                    raise

    def _spares(self) -> bool:
        """True if an expired lease is left to its holder for now: the database was away for this process, so it may
        have been away for that one, too, which then has answers to write."""
        now = self._clock()
        if self.condition == "database":
            self._spares_until = now + SPARED
        until = self._spares_until
        return until is not None and now < until <= now + SPARED

    def _patient_engine(self) -> sa.Engine:
        """The engine, which waits for a locked database as long as possible without missing polls."""
        patience = PATIENCE_IN_AN_OUTAGE if self.condition == "database" else PATIENCE
        return waiting_at_most(self._engine, self.source.interval.total_seconds() * patience)

    def _keep(self, seen: Seen) -> None:
        """Keep an answer. Equal answers share one document, so a long outage needs little memory."""
        last = self._kept[-1].said if self._kept else None
        if (
            isinstance(last, Document)
            and isinstance(seen.said, Document)
            and last.address == seen.said.address
        ):
            seen = replace(seen, said=last)
        if len(self._kept) == self._kept.maxlen:
            self._forgotten += 1
            if self._forgotten == 1:
                why = "the database has been unreachable for so long that the oldest answers are given up from now on"
                log.warning("given_up", source=self.source.name, polls=1, why=why)
        self._kept.append(seen)

    def _give_up(self) -> int:
        """Drop what is kept. Returns the number of lost answers that were not logged yet."""
        lost = len(self._kept) + max(self._forgotten - 1, 0)
        self._kept.clear()
        self._forgotten = 0
        return lost

    def _report_given_up(self, why: str) -> None:
        if lost := self._give_up():
            log.warning("given_up", source=self.source.name, polls=lost, why=why)

    def _write_kept(self, writer: Writer) -> None:
        late = len(self._kept) > 1
        while self._kept:
            try:
                result = write(self.source, self._kept[0], writer, self._clock)
            except (ClockError, IntegrityError) as error:
                self._kept.popleft()
                if not self._kept:
                    raise
                log.warning("poll_refused", source=self.source.name, error=str(error))
                continue
            except CollectorError:
                raise
            except BaseException:
                self._kept.popleft()  # caused by a bug in the collector: this answer must not block all that follow
                raise
            self._kept.popleft()
            self.last_result = result
            self._publish(result)
            _log_poll(result, self._names(result), late=late)
        self._report_given_up("the database was unreachable for too long")

    def _names(self, result: PollResult) -> dict[tuple[str, int], str]:
        """The names of the entities that changed."""
        if all(t.basis == "baseline" for t in result.recorded.transitions):
            return {}
        wanted = TransitionFilter(source=result.source, seq=result.recorded.seq)
        try:
            with reading(self._patient_engine()) as connection:
                rows = transitions(connection, wanted)
        except DatabaseError:
            return {}  # the poll is logged without names
        return {(row["entity"], row["entity_id"]): row["display_name"] or row["slug"] for row in rows}

    def _say(self, condition: str | None, error: CollectorError | None = None) -> None:
        """Log each change of condition once, not each attempt; and again from time to time while it lasts."""
        if condition != self.condition:
            if condition is None:
                log.info("recovered", source=self.source.name, **{"from": self.condition})
            else:
                # It is normal that another replica polls.
                level = logging.INFO if condition == "standby" else logging.WARNING
                log.log(level, "not_written", source=self.source.name, condition=condition, error=str(error))
            self._outage.begin()
        elif condition not in (None, "standby") and (lasting := self._outage.due()) is not None:
            log.warning(
                "still_not_written",
                source=self.source.name,
                condition=condition,
                lasting_s=lasting,
                error=str(error),
            )
        self.condition = condition


class Reminder:
    """Decides when to log again that something lasts: after a minute, then after twice as long each time, up to an
    hour.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._since = self._next = now()
        self._pause = FIRST_REMINDER

    def begin(self) -> None:
        self._since, self._pause = self._now(), FIRST_REMINDER
        self._next = self._since + self._pause

    def due(self) -> int | None:
        """Whole seconds since it began, if it is time to log that again; otherwise None."""
        if self._now() < self._next:
            return None
        self._pause = min(2 * self._pause, LONGEST_REMINDER)
        self._next = self._now() + self._pause
        return round(self._now() - self._since)


def stop_all(
    engine: sa.Engine,
    runners: Mapping[str, Runner],
    grace_seconds: float,
    give_up: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Stop all runners at the same time, since each may have to wait for its poll or for a locked database.

    One thread does it for any number of runners, and all leases are released together. Returns the names of those
    that did not end within the grace period or before `give_up`.
    """
    waiting = dict(runners)
    for runner in waiting.values():
        runner.halt()
    ends = monotonic() + grace_seconds

    def stop() -> None:
        while True:
            ended = [name for name, runner in waiting.items() if runner.has_ended()]
            _release(engine, [waiting.pop(name) for name in ended])
            if not waiting or monotonic() >= ends:
                break
            sleep(0.02)
        for runner in waiting.values():
            runner.leave_behind()
        _release(engine, list(waiting.values()))

    stopping = threading.Thread(target=stop, name="stop", daemon=True)
    stopping.start()
    while stopping.is_alive() and monotonic() < ends + 1.0 and not give_up():
        stopping.join(0.02)
    return list(waiting)


def _release(engine: sa.Engine, runners: Sequence[Runner]) -> None:
    """Release their leases. Waits for a locked database no longer than polls do."""
    leases = [each for each in (runner.lease_to_release for runner in runners) if each is not None]
    if not leases:
        return
    seconds = min(runner.source.interval.total_seconds() for runner in runners) * PATIENCE
    try:
        lease.release(waiting_at_most(engine, seconds), *leases)
    except DatabaseError:
        for each in leases:
            log.warning("lease_not_released", source=each.source)


def _log_poll(result: PollResult, names: Mapping[tuple[str, int], str], *, late: bool) -> None:
    recorded = result.recorded
    facts: dict[str, object] = {
        "source": result.source,
        "outcome": result.outcome,
        "observation": recorded.seq,
        "polls": recorded.polls,
        "listed": recorded.listed,
        "transitions": len(recorded.transitions),
        "fetch_ms": round(result.fetch_seconds * 1000, 1),
        "read_ms": round(result.read_seconds * 1000, 1),
        "decide_ms": round(result.decide_seconds * 1000, 1),
        "write_ms": round(result.write_seconds * 1000, 1),
    }
    if late:
        facts["late"] = True
    if recorded.missing:
        facts["missing"] = len(recorded.missing)
    if recorded.paging:
        facts["paging"] = recorded.paging
    if recorded.rejected:
        facts["rejected"] = recorded.rejected
    if recorded.polls == 1:
        facts["head"] = recorded.head
    if result.failure is not None:
        failure = result.failure
        facts |= {"cause": failure.cause, "http_status": failure.http_status, "message": failure.message}
        log.warning("poll", **facts)
        return
    log.log(20 if result.outcome == "ok" and not recorded.rejected else 30, "poll", **facts)
    for t in recorded.transitions:
        if t.basis != "baseline":
            log.info(
                "transition",
                source=result.source,
                entity=t.entity,
                id=t.entity_id,
                name=names.get((t.entity, t.entity_id)),
                kind=t.kind,
                **{"from": t.from_state, "to": t.to_state},
                not_before=t.not_before,
                observed_at=t.observed_at,
                basis=t.basis,
            )
