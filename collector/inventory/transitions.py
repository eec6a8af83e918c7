"""When a change happened, and how sure that is. Pure.

An answer was true at some moment between its `asked_at` and its `answered_at`. So a change lies between the
`asked_at` of the last poll that confirmed the old state of this entity and the `answered_at` of the first
poll that showed the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from collector.inventory.judgement import Outcome

Basis = Literal["baseline", "direct", "across_gap", "absence", "observer_change", "other_copy"]
Event = Literal["appeared", "changed", "disappeared", "reappeared"]

GAP_FACTOR = 2.5
"""More than this many expected intervals between two polls is a gap."""
TICK = timedelta(microseconds=1)
"""By so much an answer is moved forward behind the one before, where the clock was set back."""


def gap_limit(*expected_intervals: timedelta) -> timedelta:
    """The longest time between two polls that is no gap; where they expected different intervals, by the longer."""
    return max(expected_intervals) * GAP_FACTOR


@dataclass(frozen=True, slots=True)
class Look:
    """An observation, as far as windows need it. Of an earlier one, the final fields."""

    seq: int
    outcome: Outcome
    first_at: datetime
    last_at: datetime
    last_asked_at: datetime
    expected_interval: timedelta
    eyes: tuple[str, str]
    """Fingerprint of the key and base URL: who looked, as far as that decides what can be seen."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state or of presence, as an interval that contains its true time."""

    entity: str
    entity_id: int
    kind: Event
    from_state: str | None
    to_state: str | None
    not_before: datetime | None
    """None: there is no earlier evidence, it may have been so for ever."""
    observed_at: datetime
    basis: Basis
    first_missing_at: datetime | None
    """Of a disappearance: the first answer that did not show the entity."""
    seq: int


def follows(last: Look, now: Look) -> bool:
    """Whether `now` is the poll just after `last`, and no gap lies between.

    Where `now` had to be moved forward behind `last`, the clock was set back, and nobody knows how much time passed.
    """
    limit = gap_limit(last.expected_interval, now.expected_interval)
    return last.seq == now.seq - 1 and TICK < now.first_at - last.last_at <= limit


def basis_of(event: Event, last: Look | None, now: Look, *, other_copy: bool = False) -> Basis:
    """How sure a transition is.

    `last`: the observation that last confirmed the old state of this entity; of an appearance the last one
    that proves its absence, whoever looked. `other_copy`: the copy that counts is now another region's.
    """
    if last is None:
        return "baseline"
    if last.eyes != now.eyes:
        return "observer_change"
    if event == "disappeared":
        return "absence"
    if other_copy:
        return "other_copy"
    return "direct" if follows(last, now) else "across_gap"
