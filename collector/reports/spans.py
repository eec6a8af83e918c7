"""Each region's time in spans: known states, absence, and what is unknown; read from the views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from collector.reports.filters import find_region, is_region
from collector.store.engine import UtcTime
from collector.store.tables import sources

ASSUMPTION = "a state that came and went between two polls, with no gap between them, can't be seen"
"""What all that is said of known time rests on."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span of one region's time, see `region_state_spans.sql`."""

    source: str
    region_id: int
    state: str
    from_at: datetime
    until_at: datetime
    earlier_state: str | None
    later_state: str | None
    cause: Literal["change", "unseen"] | None
    """Why the state is unknown; None: it is known."""

    def may_be(self, state: str) -> bool:
        """Whether the region may have been in this state, in any case, in the span or in a part of it."""
        words = (self.state,) if self.cause is None else (self.earlier_state, self.later_state)
        return self.cause == "unseen" or any(word and word.upper() == state.upper() for word in words)


def region_spans(
    connection: sa.Connection,
    *,
    source: str | None = None,
    region: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Span]:
    """The spans that touch the time from `since` to before `until`, in no order. Raises UsageError where there is no
    such region."""
    names = ("source", "region_id", "state", "earlier_state", "later_state", "cause")
    view = sa.table(
        "region_state_spans",
        *(sa.column(name) for name in names),
        sa.column("from_at", UtcTime()),
        sa.column("until_at", UtcTime()),
    )
    query: sa.Select[Any] = sa.select(view)
    if region:
        found = find_region(connection, region, source)
        of_source = sa.select(sources.c.id).where(sources.c.name == view.c.source).scalar_subquery()
        # The ids alone as well: databases carry them down to the keys.
        query = query.where(view.c.region_id.in_(sorted({i for _, i in found})))
        query = query.where(is_region(found, of_source, view.c.region_id))
    query = query.where(view.c.source == source) if source else query
    query = query.where(view.c.until_at > since) if since else query
    query = query.where(view.c.from_at < until) if until else query
    for row in connection.execution_options(yield_per=5000).execute(query):
        yield Span(
            row.source,
            row.region_id,
            row.state,
            row.from_at,
            row.until_at,
            row.earlier_state,
            row.later_state,
            row.cause,
        )
