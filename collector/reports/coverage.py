"""When nothing could be seen."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime, database_time
from collector.reports.columns import SOURCE, Column, Report
from collector.reports.filters import Row
from collector.store.tables import (
    gaps,
    keystones,
    regions,
    sources,
    state_transitions,
    unseen,
)

COVERAGE = Report(
    columns=(
        SOURCE,
        Column("from_at", "time", "last successful poll before"),
        Column("until_at", "time or null", "first successful poll after; null: the gap is open"),
        Column("seconds", "number", "how long; of an open gap: until now"),
        Column(
            "cause",
            "text",
            "why most polls failed; `no_polls`: none was made, or none could be written; `pruned`: what was seen then "
            "is not on record any more; of a single "
            "entity: `partial`, `held`, `not_given`, `record_without_id`, `reference_not_stated`",
        ),
        Column("error", "text or null", "what the failed polls said"),
        Column("failed_polls", "integer", "number of failed polls"),
        Column(
            "transitions",
            "integer",
            "transitions that happened somewhere within or around the gap; of a single entity: its own",
        ),
        Column("seq", "integer", "observation before the gap"),
        Column(
            "entity",
            "text or null",
            "`region`, `keystone` or `metrics_database` that was not shown; null: the whole source",
        ),
        Column("entity_id", "integer or null", "its id"),
        Column("display_name", "text or null", "name of the region, or of the one whose keystone it is"),
    ),
    table={
        "source": "source",
        "from_at": "from",
        "until_at": "until",
        "lasting": "lasting",
        "cause": "cause",
        "failed_polls": "failed polls",
        "transitions": "transitions across it",
        "entity": "entity",
        "entity_id": "id",
        "display_name": "name",
        "error": "error",
    },
)


def coverage(
    connection: sa.Connection,
    source: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    unseen_too: bool = False,
    limit: int | None = None,
) -> list[Row]:
    """Times that no successful poll covers, newest first; `until_at` None: still open.

    `since`, `until`: only gaps that touch the time from the one to before the other.
    `unseen_too`: also times for which one entity was not shown, though present and the rest was; of the gaps
    `entity`, `entity_id` and `display_name` are None.
    """
    view = sa.table(
        "coverage_gaps",
        sa.column("source"),
        sa.column("from_at", UtcTime()),
        sa.column("until_at", UtcTime()),
        *(sa.column(name) for name in COVERAGE.fields[3:-3]),
    )
    rows: list[Row] = []
    gaps_asked = sa.select(view)
    if limit and (oldest := _oldest(connection, source, since, until, limit)):
        gaps_asked = gaps_asked.where(view.c.from_at >= oldest)
    queries = [(gaps_asked, view.c.source, view.c.from_at, view.c.until_at)]
    if unseen_too:
        queries.append((_unseen_spans(), sources.c.name, unseen.c.from_at, unseen.c.until_at))
    for query, name, from_at, until_at in queries:
        query = query.order_by(from_at.desc(), name).limit(limit)
        query = query.where(name == source) if source else query
        query = query.where(until_at.is_(None) | (until_at > since)) if since else query
        query = query.where(from_at < until) if until else query
        rows += [dict.fromkeys(COVERAGE.fields) | dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        if row["entity"]:
            now_at = row.pop("now_at")
            ended = row["until_at"] or now_at
            row["seconds"] = max((ended - row["from_at"]).total_seconds(), 0.0)
    rows.sort(key=lambda row: row["entity_id"] or 0)
    rows.sort(key=lambda row: row["entity"] or "whole source", reverse=True)
    rows.sort(key=lambda row: row["source"])
    rows.sort(key=lambda row: row["from_at"], reverse=True)
    return rows[:limit]


def _oldest(
    connection: sa.Connection,
    source: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> datetime | None:
    """The beginning of the oldest gap that may be among the newest; None: any may. An index says so, while the view
    looks closely at each gap that it is asked for."""
    g = gaps.c
    query = sa.select(g.from_at).order_by(g.from_at.desc()).limit(1).offset(limit - 1)
    if source:
        query = query.join(sources, sources.c.id == g.source_id).where(sources.c.name == source)
    query = query.where(g.until_at > since) if since else query
    query = query.where(g.from_at < until) if until else query
    return connection.scalar(query)


def _unseen_spans() -> sa.Select[Any]:
    """Times for which an entity was not shown though present, in the fields of `coverage`."""
    u, t, k = unseen.c, state_transitions.c, keystones.c
    region_id = sa.case((u.entity == "region", u.entity_id), (u.entity == "keystone", k.witness_region_id))
    across = sa.select(sa.func.count()).where(
        t.source_id == u.source_id, t.entity == u.entity, t.entity_id == u.entity_id, t.seq == u.until_seq
    )
    return (
        sa.select(
            sources.c.name.label("source"),
            u.from_at,
            u.until_at,
            u.cause,
            sa.literal(0).label("failed_polls"),
            across.scalar_subquery().label("transitions"),
            u.shown_seq.label("seq"),
            u.entity,
            u.entity_id,
            regions.c.display_name,
            sa.type_coerce(database_time(), UtcTime()).label("now_at"),
        )
        .join(sources, sources.c.id == u.source_id)
        .outerjoin(keystones, (k.source_id == u.source_id) & (k.id == u.entity_id) & (u.entity == "keystone"))
        .outerjoin(regions, (regions.c.source_id == u.source_id) & (regions.c.id == region_id))
        .order_by(u.from_at.desc(), sources.c.name, u.entity.desc(), u.entity_id)
    )
