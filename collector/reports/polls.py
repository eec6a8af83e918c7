"""How polls went: observation by observation, and for which share of each day anything could be seen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.inventory.spans import UNKNOWN
from collector.reports.beginnings import beginnings
from collector.reports.coverage import coverage
from collector.reports.days import Days
from collector.reports.filters import Row
from collector.reports.inventory import first_looks
from collector.reports.periods import last_days
from collector.store.tables import observations, sources

SEEN = "seen"
STRETCH_FIELDS = (
    *("source", "seq", "outcome", "first_at", "last_at", "polls", "listed", "rejected"),
    *("cause", "message", "payload", "opening_digest", "digest"),
)


def stretches(
    connection: sa.Connection,
    source: str,
    *,
    outcome: str | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Row]:
    """Observations of a source in the fields of STRETCH_FIELDS, newest first. `until`: those that had begun by then;
    `before`: those with a lower seq, for the next page."""
    o = observations.c
    begun = beginnings(connection, source).get(source)
    first = begun.seq if begun else 1
    query = (
        sa.select(sources.c.name.label("source"), *(o[name] for name in STRETCH_FIELDS[1:]))
        .join(sources, sources.c.id == o.source_id)
        .where(sources.c.name == source, o.seq >= first)
        .order_by(o.seq.desc())
        .limit(limit)
    )
    query = query.where(o.outcome == outcome) if outcome else query
    query = query.where(o.first_at <= sa.literal(until, UtcTime())) if until else query
    query = query.where(o.seq < before) if before is not None else query
    return [dict(row) for row in connection.execute(query).mappings()]


def sight(connection: sa.Connection, names: Sequence[str], until: datetime, count: int) -> dict[str, Days]:
    """The last days of these sources: how long anything (SEEN) or nothing (UNKNOWN) could be seen on each."""
    periods = last_days(until, count)
    begins = [periods[index] for index in range(len(periods))]
    first = first_looks(connection)
    found: dict[str, Days] = {}
    for name in names:
        seconds = [
            max((end - max(begin, first[name])).total_seconds(), 0.0) if name in first else 0.0
            for begin, end in begins
        ]
        blind = [0.0] * len(begins)
        for gap in coverage(connection, name, since=begins[0][0], until=until):
            for index, part in periods.parts_of(gap["from_at"], min(gap["until_at"] or until, until)):
                blind[index] += part
        spent = (
            (day, day + 1, {SEEN: max(whole - lost, 0.0), UNKNOWN: lost} if whole or lost else {})
            for day, (whole, lost) in enumerate(zip(seconds, blind, strict=True))
        )
        found[name] = Days.of(periods, spent)
    return found
