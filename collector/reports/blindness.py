"""When a source was observed, and when it, or a single entity, could not be seen, as far as is known now or was known
at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.database.joins import InOrder
from collector.database.listed import list_of, listed
from collector.database.types import UtcTime, database_time
from collector.database.url import is_sqlite
from collector.inventory.observation import gap_limit
from collector.inventory.spans import Edge, blind_edges
from collector.reports.asof import newest_applied
from collector.store.tables import (
    amendments,
    gaps,
    observations,
    sources,
    unproven_absences,
    unseen,
    withheld_absences,
)


class Watched(NamedTuple):
    """A source, and the time up to which spans of its entities go."""

    id: int
    name: str
    seq: int
    """The newest applied observation."""
    last_asked_at: datetime
    """The question of the newest applied poll."""
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
            o.seq,
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
            # For an observation that continued, only its ends and its longest interval are on record.
            last_at = max(row.first_at, known_at - timedelta(milliseconds=row.longest_interval_ms + 1))
            last_asked_at = min(last_asked_at, last_at - (row.first_at - row.first_asked_at))
        end_at = row.now_at if row.now_at - last_at > limit else last_asked_at
        yield Watched(row.id, row.name, row.seq, last_asked_at, end_at)


class Blind(NamedTuple):
    """The edges of unobserved times for all entities of a source, and for single ones."""

    of_all: list[Edge]
    of_one: Mapping[int, list[Edge]]

    def edges_of(self, entity_id: int) -> list[Edge]:
        """The edges for one entity."""
        own = self.of_one.get(entity_id)
        return [*self.of_all, *own] if own else self.of_all


def blind_times(
    connection: sa.Connection,
    found: Sequence[Watched],
    entity: str,
    known_at: datetime | None = None,
    since: datetime | None = None,
) -> dict[int, Blind]:
    """When sources, by their ids, or single entities of them could not be seen, with one statement per table for all
    of them.

    `since`: times that had ended by then are left out.
    """
    asked = listed("ids", {"id": sa.Integer()}, on_sqlite=is_sqlite(connection))
    given = {"ids": list_of((source.id,) for source in found)}

    def rows_of(table: sa.Table, *columns: Any, where: Any = None, seq: Any = None) -> Iterator[Any]:
        """Rows of these sources, up to what was known then. `seq`: the observation of a row without a time."""
        joined: Any = InOrder(asked, table, table.c.source_id == asked.c.id)
        if known_at and seq is not None:
            joined = joined.join(observations, (o.source_id == table.c.source_id) & (o.seq == seq))
        query = sa.select(table.c.source_id, *columns).select_from(joined)
        query = query if where is None else query.where(where)
        return iter(connection.execute(query, given))

    def until(moment: datetime | None) -> datetime | None:
        """A row that ended later was still open at the time."""
        return None if known_at and moment and moment > known_at else moment

    g, u, x, o, a = gaps.c, unseen.c, unproven_absences.c, observations.c, amendments.c
    present, absent = (defaultdict[int, list[Any]](list) for _ in range(2))
    not_shown, not_proven = (defaultdict[tuple[int, int], list[Any]](list) for _ in range(2))

    def is_asked(until_at: Any, *conditions: Any) -> Any:
        return sa.and_(*conditions, until_at.is_(None) | (until_at > since) if since else sa.true())

    is_known = is_asked(g.until_at, g.seq > 0, g.until_at <= known_at if known_at else sa.true())
    for source_id, from_at, until_at in rows_of(gaps, g.last_asked_at, g.until_at, where=is_known):
        present[source_id].append((from_at, until_at))
    is_known = is_asked(u.until_at, u.entity == entity, u.missed_at <= known_at if known_at else sa.true())
    for source_id, entity_id, from_at, until_at in rows_of(
        unseen, u.entity_id, u.last_asked_at, u.until_at, where=is_known
    ):
        not_shown[source_id, entity_id].append((from_at, until(until_at)))
    is_known = is_asked(x.until_at, x.entity == entity, o.first_at <= known_at if known_at else sa.true())
    for source_id, scope, from_at, until_at in rows_of(
        unproven_absences, x.scope, x.from_at, x.until_at, where=is_known, seq=x.missed_seq
    ):
        of = absent[source_id] if scope == "all" else not_proven[source_id, int(scope)]
        of.append((from_at, until(until_at)))
    for source_id, from_at, until_at in rows_of(
        amendments, a.pruned_from_at, a.begins_at, where=is_asked(a.begins_at, a.begins_at.is_not(None))
    ):
        present[source_id].append((from_at, until_at))
        absent[source_id].append((from_at, until_at))
    proofs = connection.execute(_last_proofs(asked, entity, known_at), given)
    proven = {source_id: (seq, proven_at) for source_id, seq, proven_at in proofs}
    for source in found:
        if source.last_asked_at < source.end_at:
            present[source.id].append((source.last_asked_at, None))
        seq, proven_at = proven.get(source.id, (source.seq, source.end_at))
        # Only the newest observation may have continued after `known_at`.
        proven_at = source.last_asked_at if source.id in proven and seq == source.seq else proven_at
        if proven_at < source.end_at:
            absent[source.id].append((proven_at, None))
    of_one = defaultdict[int, dict[int, list[Edge]]](dict)
    for source_id, entity_id in {*not_shown, *not_proven}:
        key = source_id, entity_id
        of_one[source_id][entity_id] = blind_edges(not_shown[key], not_proven[key])
    return {
        source.id: Blind(blind_edges(present[source.id], absent[source.id]), of_one[source.id])
        for source in found
    }


def _last_proofs(asked: sa.FromClause, entity: str, known_at: datetime | None) -> sa.Select[Any]:
    """The last complete answer of each source that did not withhold the absences of a whole kind: its number, and when
    it was asked for."""
    o, p, w = observations.c, observations.alias("p").c, withheld_absences.c
    withheld = sa.exists().where(
        w.source_id == p.source_id, w.seq == p.seq, w.entity == entity, w.scope == "all"
    )
    newest = sa.select(p.seq).where(p.source_id == asked.c.id, p.outcome == "ok", ~withheld)
    newest = newest.where(p.first_at <= known_at) if known_at else newest
    is_it = (o.source_id == asked.c.id) & (
        o.seq == newest.order_by(p.seq.desc()).limit(1).correlate(asked).scalar_subquery()
    )
    return sa.select(asked.c.id, o.seq, o.last_asked_at).select_from(InOrder(asked, observations, is_it))
