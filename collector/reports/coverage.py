"""When nothing could be seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime, database_time
from collector.reports.columns import OF_SOURCE, SOURCE, Column, Heading, Report
from collector.reports.filters import Row
from collector.reports.words import counted
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
        Column("from_at", "time", "when the last successful poll before it was answered"),
        Column(
            "until_at",
            "time or null",
            "when the first successful poll after it was answered; null: the gap is open",
        ),
        Column("seconds", "number", "length; for an open gap, until now"),
        Column(
            "cause",
            "text",
            "why most polls failed; `no_polls`: none was made, or none could be written; `pruned`: what was seen then "
            "was deleted; for a single entity: `partial`, `held`, `not_given`, `record_without_id`, "
            "`reference_not_stated`",
        ),
        Column("error", "text or null", "message of the failed polls"),
        Column("failed_polls", "integer", "number of failed polls"),
        Column(
            "transitions",
            "integer",
            "transitions whose window contains the gap; for a single entity, its own at the end of that time",
        ),
        Column("seq", "integer", "observation before the gap"),
        Column(
            "entity",
            "text or null",
            "`region`, `keystone` or `metrics_database` that was not shown; null: the whole source",
        ),
        Column("entity_id", "integer or null", "its id"),
        Column(
            "display_name",
            "text or null",
            "name of the region, or of the region whose copy of the keystone is used; otherwise null",
        ),
    ),
    table={
        "source": OF_SOURCE,
        "from_at": Heading("from"),
        "until_at": Heading("until", 2),
        "lasting": Heading("lasting"),
        "cause": Heading("cause"),
        "failed_polls": Heading("failed polls", 4),
        "transitions": Heading("transitions across it", 3),
        "what": Heading("what"),
        "error": Heading("error", 5),
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
    """Times that no successful poll covers, newest first. `until_at` is None while a gap is open.

    `since`, `until`: only gaps that overlap this half-open time. `unseen_too`: also times in which one entity was
    present but not shown, while the rest was. For gaps of a source, `entity`, `entity_id` and `display_name` are None.
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


def newest_groups(
    connection: sa.Connection,
    source: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
) -> list[Row]:
    """Like `coverage` with `unseen_too`, with one row for everything that was not shown at the same time for the same
    cause.

    `what`: the entities in words. `entity`, `entity_id` and `display_name` are those of the first one. `limit`: number
    of groups.
    """
    asked = limit
    while True:
        rows = coverage(connection, source, since=since, until=until, unseen_too=True, limit=asked)
        groups = _grouped(rows)
        if asked is None or len(rows) < asked or limit is None:
            return groups[:limit]
        whole = [group for group in groups if group["from_at"] > rows[-1]["from_at"]]  # others may continue
        if len(whole) >= limit:
            return whole[:limit]
        asked *= 8


def _grouped(rows: Sequence[Row]) -> list[Row]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for number, row in enumerate(rows):
        alone = None if row["entity"] else number
        groups.setdefault((row["source"], row["from_at"], row["until_at"], row["cause"], alone), []).append(
            row
        )
    return [
        group[0] | {"what": what_in_words(group), "transitions": sum(row["transitions"] for row in group)}
        for group in groups.values()
    ]


def what_in_words(rows: Sequence[Row]) -> str:
    """What was not shown: `everything`, `region Paris-3`, `3 regions, 1 keystone: Paris-3, Sines-3, London-2`."""
    names = list(dict.fromkeys(row["display_name"] or f"id {row['entity_id']}" for row in rows))
    if rows[0]["entity"] is None:
        return "everything"
    kinds = Counter(str(row["entity"]).replace("_", " ") for row in rows)
    if len(rows) == 1:
        (kind,) = kinds
        return f"{kind} {names[0]}"
    numbers = ", ".join(counted(n, kind) for kind, n in kinds.items())
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{numbers}: {', '.join(names[:_NAMED])}{more}"


_NAMED = 6
"""How many names of a group are written out."""


def _oldest(
    connection: sa.Connection,
    source: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> datetime | None:
    """The beginning of the oldest gap that may be among the newest ones; None: any may. An index answers this, but the
    view examines each gap that it is asked for."""
    g = gaps.c
    query = sa.select(g.from_at).order_by(g.from_at.desc()).limit(1).offset(limit - 1)
    if source:
        query = query.join(sources, sources.c.id == g.source_id).where(sources.c.name == source)
    query = query.where(g.until_at > since) if since else query
    query = query.where(g.from_at < until) if until else query
    return connection.scalar(query)


def _unseen_spans() -> sa.Select[Any]:
    """Times in which an entity was present but not shown, in the fields of `coverage`."""
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
