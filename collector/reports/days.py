"""How each region spent each of the last days: which share of a day in which state, UNKNOWN and ABSENT among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from collector.inventory.spans import UNKNOWN
from collector.reports.periods import last_days
from collector.reports.spans import SpanFilter, spans_by_entity


class Day(NamedTuple):
    """One day (UTC), or the part of it up to now."""

    begins: datetime
    ends: datetime
    seconds: Mapping[str, float]
    """By state. What is missing to the length of the day was before the first sight, or is still to come."""

    @property
    def is_blank(self) -> bool:
        return not self.seconds


def days(
    connection: sa.Connection,
    keys: Sequence[tuple[str, int]],
    until: datetime,
    count: int,
    known_at: datetime | None = None,
) -> dict[tuple[str, int], list[Day]]:
    """The last days of these regions, by source and id: the oldest first, the newest up to `until`, as far
    as was known at `known_at`, or is now.

    While only the moment of a change is unknown, half of that time counts for the state before and half for the state
    after, which is as near as can be said in one number; UNKNOWN is the time in which the state may have been any.
    """
    periods = last_days(until, count)
    bounds = [periods[index] for index in range(len(periods))]
    lengths = [(ends - begins).total_seconds() for begins, ends in bounds]
    nothing: dict[str, float] = {}
    # Most days are spent in one state: such days are one object.
    whole: dict[tuple[str, float], dict[str, float]] = {}
    spent = {key: [nothing] * len(bounds) for key in keys}
    wanted = SpanFilter(since=bounds[0][0], until=until, keys=keys, known_at=known_at)
    for head, found in spans_by_entity(connection, wanted) if keys else ():
        own = spent[head["source"], head["entity_id"]]
        for span in found:
            states = [span.state]
            if span.is_change:
                states = [span.earlier_state or UNKNOWN, span.later_state or UNKNOWN]
            for index, seconds in periods.parts_of(span.from_at, min(span.until_at, until)):
                if seconds == lengths[index] and len(states) == 1:
                    key = states[0], seconds
                    own[index] = whole.setdefault(key, {states[0]: seconds})
                    continue
                if own[index] is nothing:
                    own[index] = defaultdict(float)
                for state in states:
                    own[index][state] += seconds / len(states)
    return {
        key: [Day(*of_day, seconds) for of_day, seconds in zip(bounds, of_one, strict=True)]
        for key, of_one in spent.items()
    }
