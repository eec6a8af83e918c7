"""Totals of polls, events and prunes since this process started, for metrics. The numbers only grow."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from collector.poll import PollResult

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds, in seconds, of the buckets for durations."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The totals of one source."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Polls by outcome."""
    causes: Mapping[str, int] = field(default_factory=dict)
    """Failed polls by cause."""
    transitions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Changes of state and presence, by entity and kind."""
    retries: int = 0
    """Requests beyond the first of each poll."""


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram of durations."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """How often it took at most each of BOUNDS and more than the previous one; the last: more than all."""
    seconds: float = 0.0
    """The sum."""

    def with_one(self, seconds: float) -> Durations:
        place = bisect_left(BOUNDS, seconds)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return Durations(counts, self.seconds + seconds)


class Tallies:
    """Counts polls, attempts to deliver events, and attempts to prune. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, Tally] = {}
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._prunes: Counter[tuple[str, str]] = Counter()
        self._phases = dict.fromkeys(("fetch", "read", "decide", "write"), Durations())

    def count(self, result: PollResult) -> None:
        """Add one written poll."""
        changes: Counter[tuple[str, str]] = Counter()
        changes.update((each.entity, each.kind) for each in result.recorded.transitions)
        causes = [] if result.failure is None else [result.failure.cause]
        with self._lock:
            before = self._of.get(result.source, Tally())
            self._of[result.source] = Tally(
                outcomes=Counter(before.outcomes) + Counter([result.outcome]),
                causes=Counter(before.causes) + Counter(causes),
                transitions=Counter(before.transitions) + changes,
                retries=before.retries + max(result.attempts - 1, 0),
            )
            for phase, before_it in self._phases.items():
                self._phases[phase] = before_it.with_one(getattr(result, f"{phase}_seconds"))

    def of(self, source: str) -> Tally:
        with self._lock:
            return self._of.get(source, Tally())

    def count_attempt(self, receiver: str, outcome: str, times: int = 1) -> None:
        """Add attempts to deliver an event to a receiver."""
        with self._lock:
            self._attempts[receiver, outcome] += times

    def attempts(self) -> Mapping[tuple[str, str], int]:
        with self._lock:
            return dict(self._attempts)

    def count_prune(self, source: str, outcome: str) -> None:
        """Add one attempt to prune the history of a source."""
        with self._lock:
            self._prunes[source, outcome] += 1

    def prunes(self) -> Mapping[tuple[str, str], int]:
        with self._lock:
            return dict(self._prunes)

    def phases(self) -> Mapping[str, Durations]:
        with self._lock:
            return dict(self._phases)
