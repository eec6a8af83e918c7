"""What could not be seen, in groups; what may have happened then; and what was seen but could not be used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.errors import UsageError
from collector.reports.coverage import coverage
from collector.reports.filters import Row
from collector.reports.transitions import TransitionFilter, selected
from collector.store.tables import rejected_records, schema_drift, sources, state_transitions, unseen


def unseen_groups(
    connection: sa.Connection,
    *,
    source: str | None = None,
    until: datetime | None = None,
    limit: int | None = None,
) -> list[Row]:
    """Times in which entities were present but not shown, newest first, with one row for everything that was not shown
    for the same cause at the same time. `count`: how many; `open`: how many still are."""
    u = unseen.c
    last: Any = sa.type_coerce(sa.func.max(u.until_at), UtcTime())
    query = (
        sa.select(
            sources.c.name.label("source"),
            u.entity,
            u.cause,
            sa.type_coerce(sa.func.min(u.from_at), UtcTime()).label("from_at"),
            last.label("until_at"),
            sa.func.count().label("count"),
            (sa.func.count() - sa.func.count(u.until_at)).label("open"),
            u.missed_seq,
            sa.func.min(u.shown_seq).label("seq"),
        )
        .join(sources, sources.c.id == u.source_id)
        .group_by(sources.c.name, u.entity, u.cause, u.missed_at, u.missed_seq)
        .order_by(u.missed_at.desc(), sources.c.name, u.entity.desc())
        .limit(limit)
    )
    query = query.where(sources.c.name == source) if source else query
    query = query.where(u.missed_at <= until) if until else query
    return [dict(row) for row in connection.execute(query).mappings()]


def gap_at(connection: sa.Connection, source: str, seq: int) -> tuple[Row, list[Row]]:
    """A gap, given the last observation before it, and the changes of state and presence whose windows overlap it and
    which may have happened then. Raises UsageError if there is no such gap."""
    gap = next((row for row in coverage(connection, source) if row["seq"] == seq), None)
    if gap is None:
        raise UsageError(f"there is no gap of {source!r} after observation {seq}")
    t = state_transitions.c
    query = selected(connection, TransitionFilter(source=source, since=gap["until_at"] or gap["from_at"]))
    query = query.where(t.not_before <= gap["from_at"]).order_by(t.observed_at, t.entity.desc(), t.entity_id)
    # Nothing is known yet about changes during an open gap.
    rows: Any = connection.execute(query).mappings() if gap["until_at"] else []
    return gap, [dict(row) for row in rows]


def drift(connection: sa.Connection, *, until: datetime | None = None, limit: int | None = None) -> list[Row]:
    """What the documented schema does not describe, newest first."""
    d = schema_drift.c
    query = (
        sa.select(sources.c.name.label("source"), d.path, d.kind, d.detail, d.first_seen_at, d.seq)
        .join(sources, sources.c.id == d.source_id)
        .order_by(d.first_seen_at.desc(), sources.c.name, d.path, d.kind, d.detail)
        .limit(limit)
    )
    query = query.where(d.first_seen_at <= until) if until else query
    return [dict(row) for row in connection.execute(query).mappings()]


def rejected(connection: sa.Connection, *, limit: int | None = None) -> list[Row]:
    """Records that could not be used, by source, reason and region, newest first. `count`: in how many answers."""
    r = rejected_records.c
    newest = sa.func.max(r.seq)
    query = (
        sa.select(
            sources.c.name.label("source"),
            r.reason,
            r.region_id,
            sa.func.count(sa.distinct(r.seq)).label("count"),
            sa.func.min(r.seq).label("first_seq"),
            newest.label("seq"),
        )
        .join(sources, sources.c.id == r.source_id)
        .group_by(sources.c.name, r.reason, r.region_id)
        .order_by(newest.desc(), sources.c.name, r.reason)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]
