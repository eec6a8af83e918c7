"""What is known of each region or keystone over time: rows of the views of spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.reports.filters import Row, find_region
from collector.store.engine import UtcTime
from collector.store.tables import keystones, regions, sources

ASSUMPTION = "a state that came and went between two polls, with no gap between them, can't be seen"
"""What all that is said of known time rests on."""

UNKNOWN, ABSENT = "UNKNOWN", "ABSENT"
"""What views say instead of a state. A state of the cloud that is called so stands in quotation marks."""

SPAN_FIELDS = (
    "source",
    "region_id",
    "slug",
    "display_name",
    "entity",
    "entity_id",
    "state",
    "from_at",
    "until_at",
    "seconds",
    "earlier_state",
    "later_state",
    "cause",
    "seq",
)


class Span(NamedTuple):
    """A state from one time to another; of UNKNOWN also the states around it, and why."""

    state: str
    from_at: datetime
    until_at: datetime
    earlier_state: str | None = None
    later_state: str | None = None
    cause: str | None = None
    seq: int = 0

    @property
    def is_change(self) -> bool:
        """Only the moment of a change is unknown: the state was the earlier one, then the later one."""
        return self.cause == "change"

    def may_be(self, state: str) -> bool:
        """Whether this state, in any case, may have been the true one, all the time or a part of it."""
        words = (self.state,) if self.cause is None else (self.earlier_state, self.later_state)
        return self.cause == "unseen" or any(word and word.upper() == state.upper() for word in words)


@dataclass(frozen=True, slots=True)
class SpanFilter:
    """Which spans; empty means any. Times: spans that touch the time from the one to before the other."""

    entity: str = "region"
    regions: tuple[str, ...] = ()
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    without_absent: bool = False
    """Leave out who is absent now, from its last disappearance on."""


def spans(connection: sa.Connection, wanted: SpanFilter) -> Iterator[Row]:
    """Spans in the fields of SPAN_FIELDS, by source, id and time: whole, not cut to the times asked for.

    Raises UsageError for a region that does not exist, naming the closest.
    """
    view = _view(wanted.entity)
    columns = [view.c[n] for n in SPAN_FIELDS if n not in ("entity", "entity_id")]
    query = sa.select(
        *columns, sa.literal(wanted.entity).label("entity"), view.c[f"{wanted.entity}_id"].label("entity_id")
    )
    query = query.where(view.c.source == wanted.source) if wanted.source else query
    query = query.where(view.c.until_at > wanted.since) if wanted.since else query
    query = query.where(view.c.from_at < wanted.until) if wanted.until else query
    query = query.order_by(view.c.source, "entity_id", view.c.from_at)
    # Of one entity the views read its own rows only: so few are asked for one by one, all in one query.
    keys = keys_of(connection, wanted)
    questions = (
        [query]
        if keys is None
        else [
            query.where(view.c.source == source, view.c[f"{wanted.entity}_id"] == entity_id)
            for source, entity_id in keys
        ]
    )
    gone = _absent(connection, wanted.entity) if wanted.without_absent else {}
    for question in questions:
        rows = connection.execution_options(yield_per=2000).execute(question)
        for row in rows.mappings():
            span = {name: row[name] for name in SPAN_FIELDS}
            end = gone.get((span["source"], span["entity_id"]), span["until_at"])
            if end < span["until_at"]:
                span["until_at"], span["seconds"] = end, (end - span["from_at"]).total_seconds()
            if span["from_at"] < end:
                yield span


def _absent(connection: sa.Connection, entity: str) -> dict[tuple[str, int], datetime]:
    """Since when entities are absent that are so now, by source and id."""
    current = {"region": regions, "keystone": keystones}[entity].c
    query = sa.select(sources.c.name, current.id, current.absent_since)
    query = query.join(sources, sources.c.id == current.source_id).where(current.absent_since.is_not(None))
    return {(name, entity_id): since for name, entity_id, since in connection.execute(query)}


def keys_of(connection: sa.Connection, wanted: SpanFilter) -> Sequence[tuple[str, int]] | None:
    """The sources and ids of the regions that were named, or of their keystones; None: all."""
    if not wanted.regions:
        return None
    names = {i: str(name) for i, name in connection.execute(sa.select(sources.c.id, sources.c.name)).all()}
    found = {pair for text in wanted.regions for pair in find_region(connection, text, wanted.source)}
    if wanted.entity == "keystone":
        r, k = regions.c, keystones.c
        pairs = (
            sa.select(r.source_id, r.keystone_id, r.id)
            .where(r.keystone_id.is_not(None))
            .union(sa.select(k.source_id, k.id, k.witness_region_id))
        )
        found = {(s, i) for s, i, region_id in connection.execute(pairs) if (s, region_id) in found}
    return sorted((names[s], i) for s, i in found)


def _view(entity: str) -> Any:
    times = {"from_at", "until_at"}
    names = [n for n in SPAN_FIELDS if n not in ("entity", "entity_id", "region_id")]
    ids = dict.fromkeys(["region_id", f"{entity}_id"])
    return sa.table(
        f"{entity}_state_spans",
        *(sa.column(n, UtcTime()) if n in times else sa.column(n) for n in [*ids, *names]),
    )
