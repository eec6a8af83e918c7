"""How each region spent each of the last days: which share of a day in which state, UNKNOWN and ABSENT among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from collector.inventory.spans import UNKNOWN
from collector.reports.periods import Periods
from collector.reports.spans import SpanFilter, spans_by_entity


@dataclass(frozen=True, slots=True)
class Day:
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
    midnight = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        since = midnight - timedelta(days=count - 1)
    except OverflowError:
        since = datetime.min.replace(tzinfo=UTC)
    periods = Periods(since, until, "day")
    spent: dict[tuple[str, int], list[dict[str, float]]] = {
        key: [defaultdict(float) for _ in range(len(periods))] for key in keys
    }
    wanted = SpanFilter(since=since, until=until, keys=keys, known_at=known_at)
    found = spans_by_entity(connection, wanted) if keys else ()
    for own, span in ((spent[head["source"], head["entity_id"]], span) for head, of in found for span in of):
        both = (
            [span.earlier_state or UNKNOWN, span.later_state or UNKNOWN] if span.is_change else [span.state]
        )
        for index, seconds in periods.parts_of(span.from_at, min(span.until_at, until)):
            for state in both:
                own[index][state] += seconds / len(both)
    bounds = [periods[index] for index in range(len(periods))]
    return {
        key: [Day(begins, ends, dict(of_day)) for (begins, ends), of_day in zip(bounds, own, strict=True)]
        for key, own in spent.items()
    }
