"""How each region spent each of the last days: the share of each day in each state, including UNKNOWN and ABSENT."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from collector.inventory.spans import Span
from collector.reports.periods import Periods, last_days
from collector.reports.spans import SpanFilter, known_spans

CHANGING = ""
"""The time in which only the moment of a change is unknown. No state has this name."""
Spent = Mapping[str, float]
"""Seconds by state. The rest of the day was before the first sighting, or is still to come."""


class Run(NamedTuple):
    """Consecutive days that were spent alike: the number of the first day, and of the day after the last."""

    first: int
    end: int
    spent: Spent
    """Seconds by state for each of these days."""


@dataclass(frozen=True, slots=True)
class Days:
    """Days in UTC, numbered from 0, the oldest first. The newest may end before its midnight."""

    begin: datetime
    count: int
    runs: Sequence[Run]

    @classmethod
    def of(cls, periods: Periods, spent: Iterable[tuple[int, int, Spent]]) -> Days:
        """`spent`: runs in order; other days are blank."""
        return cls(periods[0][0], len(periods), tuple(_joined(spent, len(periods))))


def _joined(spent: Iterable[tuple[int, int, Spent]], count: int) -> Iterator[Run]:
    """Runs without holes. Neighbours differ."""
    run = Run(0, 0, {})
    for first, end, own in (*spent, (count, count, {})):
        for each in (Run(run.end, first, {}), Run(first, end, own)):
            if each.first == each.end:
                continue
            if each.spent == run.spent:
                run = run._replace(end=each.end)
                continue
            if run.end > run.first:
                yield run
            run = each
    if run.end > run.first:
        yield run


def days(
    connection: sa.Connection,
    keys: Sequence[tuple[str, int]],
    until: datetime,
    count: int,
    known_at: datetime | None = None,
) -> dict[tuple[str, int], Days]:
    """The last days of these regions, by source and id, up to `until`, as known at `known_at` or now.

    Only known time counts for a state. While only the moment of a change is unknown, the time counts as CHANGING.
    UNKNOWN is the time in which the state may have been any.
    """
    periods = last_days(until, count)
    wanted = SpanFilter(since=periods[0][0], until=until, keys=keys, known_at=known_at, is_cut=True)
    blank = Days.of(periods, ())
    found = dict.fromkeys(keys, blank)
    for source, entity_id, spans in known_spans(connection, wanted) if keys else ():
        found[source, entity_id] = Days.of(periods, _runs(periods, spans, until))
    return found


def _runs(periods: Periods, spans: Iterable[Span], until: datetime) -> Iterator[tuple[int, int, Spent]]:
    """A day that several spans may share, and all days that lie within one span."""
    day, shared = -1, defaultdict[str, float](float)
    for span in spans:
        state = CHANGING if span.is_change else span.state
        for first, end, seconds in periods.stretches_of(span.from_at, min(span.until_at, until)):
            if first != day and shared:
                yield day, day + 1, shared
                day, shared = -1, defaultdict(float)
            if end - first > 1:
                yield first, end, {state: seconds}
            else:
                day = first
                shared[state] += seconds
    if shared:
        yield day, day + 1, shared
