"""How each region spent each of the last days: which share of a day in which state, UNKNOWN and ABSENT among them."""

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
"""The time in which only the moment of a change is unknown, beside the states, none of which is called so."""
Spent = Mapping[str, float]
"""Seconds by state. What is missing to the length of a day was before the first sight, or is still to come."""


class Run(NamedTuple):
    """Days, one after the other, that were spent alike: the number of the first, and that of the one after them."""

    first: int
    end: int
    spent: Spent
    """Of each of these days."""


@dataclass(frozen=True, slots=True)
class Days:
    """Days of UTC, numbered from 0, the oldest first. The newest may end before its midnight."""

    begin: datetime
    count: int
    runs: Sequence[Run]

    @classmethod
    def of(cls, periods: Periods, spent: Iterable[tuple[int, int, Spent]]) -> Days:
        """`spent`: runs in their order; days that are not among them are blank."""
        return cls(periods[0][0], len(periods), tuple(_joined(spent, len(periods))))


def _joined(spent: Iterable[tuple[int, int, Spent]], count: int) -> Iterator[Run]:
    """Runs without holes, none of which is like the next one."""
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
    """The last days of these regions, by source and id: up to `until`, as far as was known at `known_at`, or is now.

    What counts for a state is known. While only the moment of a change is unknown, the time counts as CHANGING; UNKNOWN
    is the time in which the state may have been any.
    """
    periods = last_days(until, count)
    wanted = SpanFilter(since=periods[0][0], until=until, keys=keys, known_at=known_at, is_cut=True)
    blank = Days.of(periods, ())
    found = dict.fromkeys(keys, blank)
    for source, entity_id, spans in known_spans(connection, wanted) if keys else ():
        found[source, entity_id] = Days.of(periods, _runs(periods, spans, until))
    return found


def _runs(periods: Periods, spans: Iterable[Span], until: datetime) -> Iterator[tuple[int, int, Spent]]:
    """A day that several spans may share, and all days that lie within one."""
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
