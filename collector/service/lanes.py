"""Two lanes, so that sources that hang don't delay the others.

    quick   every source, as long as it answers quickly
    slow    a source that did not answer in the quick lane; it returns when it answers quickly again

Each lane has a fixed number of threads. A poll without an answer in the quick lane is not recorded: it continues in
the slow lane at once, and the result from there is recorded.

Deadline of the quick lane. Polls are due at the rate r = Σ 1/interval. If a third of the sources begin to hang at the
same time, each holds a thread once for a deadline d: on average r/3 · d threads are busy with them during one
interval. They may use 0.6 of the QUICK threads, so d = 1.8 · QUICK / r. The rest is for the healthy ones: r · 2/3 ·
(time of a poll).

    1,000 sources at 60 s: r = 16.7, d = 0.86 s; 333 that begin to hang hold 8 threads for 36 s of the first interval,
                           667 healthy polls of 0.1 s for 8 s; from the second interval on the 333 hold none
    6 sources at 60 s:     r = 0.1, d = 144 s, more than the deadline of any poll: nothing is ever cut

Deadline of the slow lane. Sources that answered there last time get their whole deadline, and count with the time
that they took then. The others share the rest equally: d = (0.8 · SLOW − Σ need/interval) / Σ 1/interval.

    333 that hang at 60 s: d = 0.8 · 12 · 60 / 333 = 1.7 s, so each of them is tried at every interval
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic
from typing import Literal

from collector.gcore.exchange import Answer, Failure, Request

Lane = Literal["quick", "slow"]

QUICK, SLOW = 8, 12
"""Threads. Throughput falls beyond about ten answers that are read at once; threads that hang do nothing."""
LEAST_SECONDS, LEAST_SLOW_SECONDS = 0.5, 1.0
"""The shortest deadline of each lane, however many sources there are."""
FIRST_SLOW_SECONDS = 10.0
"""The longest first deadline in the slow lane, since many sources may arrive at once."""
_HANGING, _KEPT_FREE = 0.6, 0.2


class NotYetError(Exception):
    """No answer in the quick lane; the poll continues in the slow one."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The lane of a source."""

    interval: float
    lane: Lane = "quick"
    need: float | None = None
    """Seconds until it answered in the slow lane; None: it did not answer there last time."""
    is_new: bool = True
    """True if it was not tried in the slow lane yet."""


class Lanes:
    """The lane of each source, and how long its requests may take. Thread-safe."""

    def __init__(self, fetch: Callable[[Request], Answer | Failure]) -> None:
        self._fetch = fetch
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()

    def enter(self, name: str, interval: timedelta) -> None:
        """Put a source into the quick lane."""
        with self._lock:
            self._places[name] = _Place(interval.total_seconds())

    def leave(self, name: str) -> None:
        with self._lock:
            self._places.pop(name, None)

    def lane(self, name: str) -> Lane:
        with self._lock:
            place = self._places.get(name)
        return place.lane if place else "slow"

    def fetch(self, name: str, request: Request) -> Answer | Failure:
        """Ask for a source within the deadline of its lane. Raises NotYetError after moving it to the slow lane."""
        lane, seconds = self.lane(name), self.seconds(name, request.deadline)
        began = monotonic()
        answer = self._fetch(replace(request, deadline=timedelta(seconds=seconds)))
        took = monotonic() - began
        is_answered = isinstance(answer, Answer) or not answer.is_transient
        if lane == "quick":
            if not is_answered and seconds < request.deadline.total_seconds():
                self._put(name, lane="slow", need=None, is_new=True)
                raise NotYetError
        elif is_answered and took <= self._quick_seconds():
            self._put(name, lane="quick", need=None)
        else:
            self._put(name, need=took if is_answered else None, is_new=False)
        return answer

    def seconds(self, name: str, deadline: timedelta) -> float:
        """How long all attempts of one poll may take now; at most `deadline`."""
        with self._lock:
            place = self._places.get(name)
        if place is None:  # it was removed meanwhile
            seconds = LEAST_SLOW_SECONDS
        elif place.lane == "quick":
            seconds = self._quick_seconds()
        elif place.need is not None:
            return deadline.total_seconds()
        else:
            seconds = self._slow_seconds()
            seconds = min(seconds, FIRST_SLOW_SECONDS) if place.is_new else seconds
        return min(round(seconds, 1), deadline.total_seconds())

    def _quick_seconds(self) -> float:
        with self._lock:
            rate = sum(1 / place.interval for place in self._places.values())
        return max(3 * _HANGING * QUICK / max(rate, 1e-9), LEAST_SECONDS)

    def _slow_seconds(self) -> float:
        with self._lock:
            slow = [place for place in self._places.values() if place.lane == "slow"]
        taken = sum(place.need / place.interval for place in slow if place.need is not None)
        rate = sum(1 / place.interval for place in slow if place.need is None)
        return max(((1 - _KEPT_FREE) * SLOW - taken) / max(rate, 1e-9), LEAST_SLOW_SECONDS)

    def _put(self, name: str, **changes: object) -> None:
        with self._lock:
            if name in self._places:
                self._places[name] = replace(self._places[name], **changes)  # type: ignore[arg-type]
