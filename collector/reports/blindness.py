"""When a source was watched, and when it, or a single entity, could not be seen: as far as is known now, or was known
at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.database.types import UtcTime, database_time
from collector.inventory.observation import gap_limit
from collector.inventory.spans import Edge, blind_edges
from collector.reports.asof import newest_applied
from collector.store.tables import (
    gaps,
    observations,
    sources,
    unproven_absences,
    unseen,
    withheld_absences,
)


class Watched(NamedTuple):
    """A source, and up to where spans of its entities go."""

    id: int
    name: str
    last_asked_at: datetime
    """The question of the newest poll that was applied."""
    end_at: datetime
    """The same, or now while a gap is open."""


def watched(
    connection: sa.Connection, source: str | None = None, known_at: datetime | None = None
) -> Iterator[Watched]:
    """Sources that had an answer, by name."""
    o, f = observations.alias("o").c, observations.alias("f").c
    n = observations.alias("n").c
    newest: Any = sources.c.newest_seq
    if known_at:
        begun = sa.select(n.seq).where(n.source_id == sources.c.id, n.first_at <= known_at)
        newest = begun.order_by(n.seq.desc()).limit(1).scalar_subquery()
    now: Any = sa.literal(known_at, UtcTime()) if known_at else database_time()
    query = (
        sa.select(
            sources.c.id,
            sources.c.name,
            o.first_at,
            o.first_asked_at,
            o.last_at,
            o.last_asked_at,
            o.longest_interval_ms,
            o.expected_interval_ms,
            f.expected_interval_ms.label("newest_interval_ms"),
            sa.type_coerce(now, UtcTime()).label("now_at"),
        )
        .where(
            o.source_id == sources.c.id,
            o.seq == newest_applied(sources.c.id, known_at),
            f.source_id == sources.c.id,
            f.seq == newest,
        )
        .order_by(sources.c.name)
    )
    query = query.where(sources.c.name == source) if source else query
    for row in connection.execute(query).all():
        limit = gap_limit(
            timedelta(milliseconds=row.expected_interval_ms), timedelta(milliseconds=row.newest_interval_ms)
        )
        last_at, last_asked_at = row.last_at, row.last_asked_at
        if known_at and last_at > known_at:
            # Of a stretch that went on, only its ends and its longest interval are on record.
            last_at = max(row.first_at, known_at - timedelta(milliseconds=row.longest_interval_ms + 1))
            last_asked_at = min(last_asked_at, last_at - (row.first_at - row.first_asked_at))
        end_at = row.now_at if row.now_at - last_at > limit else last_asked_at
        yield Watched(row.id, row.name, last_asked_at, end_at)


def blind_times(
    connection: sa.Connection, source: Watched, entity: str, known_at: datetime | None = None
) -> tuple[list[Edge], Mapping[int, list[Edge]]]:
    """The edges of blind times of all entities of a source, and of single ones."""
    g, u, x, o = gaps.c, unseen.c, unproven_absences.c, observations.c

    def until(moment: datetime | None) -> datetime | None:
        """What ended later was still open at the time."""
        return None if known_at and moment and moment > known_at else moment

    query: Any = sa.select(g.last_asked_at, g.until_at).where(g.source_id == source.id, g.seq > 0)
    query = query.where(g.until_at <= known_at) if known_at else query
    present: list[Any] = list(connection.execute(query).all())
    present += [(source.last_asked_at, None)] if source.last_asked_at < source.end_at else []
    not_shown: dict[int, list[Any]] = defaultdict(list)
    not_proven: dict[int, list[Any]] = defaultdict(list)
    query = sa.select(u.entity_id, u.last_asked_at, u.until_at).where(
        u.source_id == source.id, u.entity == entity
    )
    query = query.where(u.missed_at <= known_at) if known_at else query
    for entity_id, from_at, until_at in connection.execute(query):
        not_shown[entity_id].append((from_at, until(until_at)))
    absent: list[Any] = []
    query = sa.select(x.scope, x.from_at, x.until_at).where(x.source_id == source.id, x.entity == entity)
    if known_at:
        query = query.join(observations, (o.source_id == x.source_id) & (o.seq == x.missed_seq))
        query = query.where(o.first_at <= known_at)
    for scope, from_at, until_at in connection.execute(query):
        (absent if scope == "all" else not_proven[int(scope)]).append((from_at, until(until_at)))
    proven_at = _last_proof(connection, source.id, entity, known_at)
    if proven_at is not None and (proven_at := min(proven_at, source.last_asked_at)) < source.end_at:
        absent.append((proven_at, None))
    return blind_edges(present, absent), {
        entity_id: blind_edges(not_shown[entity_id], not_proven[entity_id])
        for entity_id in {*not_shown, *not_proven}
    }


def _last_proof(
    connection: sa.Connection, source_id: int, entity: str, known_at: datetime | None
) -> datetime | None:
    """The question of the last complete answer that withheld no absence of all of a kind."""
    o, w = observations.c, withheld_absences.c
    withheld = sa.exists().where(
        w.source_id == o.source_id, w.seq == o.seq, w.entity == entity, w.scope == "all"
    )
    query = sa.select(o.last_asked_at).where(o.source_id == source_id, o.outcome == "ok", ~withheld)
    query = query.where(o.first_at <= known_at) if known_at else query
    return connection.scalar(query.order_by(o.seq.desc()).limit(1))
