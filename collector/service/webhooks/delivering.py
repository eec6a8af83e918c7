"""Delivers the waiting events of one receiver, in order, at least once.

    due ─▶ claim ─▶ deliver one after another ─▶ settle: taken; or refused, and when to retry; or given up

Events of one source are delivered in order, so a refused one delays the later ones of this source and this receiver
only. It is retried after increasing pauses, and given up when it was refused for as long as the settings say; then
the later ones follow. No transaction is open during a delivery.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from time import monotonic

import sqlalchemy as sa

from collector.clock import Clock, utc_now
from collector.logs import logger
from collector.receivers import Receiver
from collector.service.webhooks.sending import Outcome, Tell
from collector.store import outbox
from collector.store.outbox import Claim, Told, Waiting

FIRST_PAUSE, PAUSE_FACTOR, LONGEST_PAUSE = 5.0, 3.0, outbox.LONGEST_PAUSE.total_seconds()
"""Seconds until the second attempt, the factor by which each pause is longer, and the longest pause."""
AT_ONCE = 100
_SETTLE_SECONDS, _LATEST_START = 1.0, 20.0
"""Deliveries are recorded once a second. A request that starts this late in a claim still ends before the claim does.
"""

log = logger(__name__)


def pause_after(failures: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after a number of failures in a row, with a random part so that not all retry at once."""
    seconds = min(FIRST_PAUSE * PAUSE_FACTOR ** min(failures - 1, 20), LONGEST_PAUSE)
    return seconds * (0.75 + chance() / 4)


class Deliverer:
    """Delivers to one receiver. For one thread at a time."""

    def __init__(
        self,
        engine: sa.Engine,
        receiver: Receiver,
        tell: Tell,
        owner: str,
        *,
        clock: Clock = utc_now,
        count: Callable[[str, str, int], None],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """`owner`: this process. `count`: called with the receiver, the outcome of attempts, and their number."""
        self._engine, self._receiver, self._tell = engine, receiver, tell
        self._owner, self._clock, self._count, self._is_stopped = owner, clock, count, is_stopped

    def round(self) -> bool:
        """Deliver what is due. Returns True if there was anything, so that more may be due.

        Raises DatabaseError.
        """
        found = False
        for source_id, source in outbox.due(self._engine, self._receiver.name, self._clock()):
            if self._is_stopped():
                break
            claimed = outbox.claim(self._engine, self._receiver.name, source_id, self._owner)
            if claimed is not None:
                found = self._tell_all(claimed, source) or found
        return found

    def _tell_all(self, claimed: Claim, source: str) -> bool:
        began = monotonic()
        waiting = outbox.first_waiting(self._engine, claimed, AT_ONCE)
        taken: list[Waiting] = []
        told = Told()
        for each in waiting:
            seconds = monotonic() - began
            if self._is_stopped() or seconds > _LATEST_START or (taken and seconds > _SETTLE_SECONDS):
                break
            outcome = self._tell(each.event)
            if outcome.why is not None:
                told = self._refused(claimed, each, outcome, is_first=not taken)
                break
            taken.append(each)
        told = replace(told, taken=taken)
        if outbox.settle(self._engine, claimed, told, self._clock()):
            self._say(claimed, source, told)
        return bool(taken) or told.is_given_up

    def _refused(self, claimed: Claim, event: Waiting, outcome: Outcome, *, is_first: bool) -> Told:
        now = self._clock()
        since = (claimed.failing_since if is_first else None) or now
        failures = (claimed.failures if is_first else 0) + 1
        # The time before the receiver began to fail does not count, nor the time before the event happened.
        tried_for = now - max(since, event.created_at)
        is_given_up = tried_for >= self._receiver.give_up_after
        wait = min(max(pause_after(failures), outcome.wait_seconds), LONGEST_PAUSE)
        at = None if is_given_up else now + timedelta(seconds=wait)
        return Told((), event, outcome.why, is_given_up, at)

    def _say(self, claimed: Claim, source: str, told: Told) -> None:
        name = self._receiver.name
        if told.taken:
            self._count(name, "delivered", len(told.taken))
            if claimed.failures:
                log.info("receiver_recovered", receiver=name, source=source, failures=claimed.failures)
        if told.refused is None:
            return
        self._count(name, "given_up" if told.is_given_up else "failed", 1)
        facts = {"receiver": name, "source": source, "observation": told.refused.seq, "why": told.why}
        if told.is_given_up:
            log.error("dead_letter", ordinal=told.refused.ordinal, **facts)
        elif told.taken or not claimed.failures:
            log.warning("receiver_fails", next_try_at=told.next_try_at, **facts)
