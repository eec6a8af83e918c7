"""What was in force at a time: the result of all observations that were applied up to then, and of nothing later.

This is the only place that decides it. `collector regions --as-of`, `diff` and the pages use it, and PostgreSQL's
functions are made from it. A version is found with one index seek per entity: the newest one that began by then, which
must still be in force. A comparison of `valid_from` and `valid_to` over all versions takes a hundred times as long in
a long history.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import sqlalchemy as sa

from collector.database.joins import InOrder
from collector.database.types import UtcTime, earlier
from collector.inventory.entities import Kind
from collector.reports.beginnings import is_pruned
from collector.reports.columns import AREA, names_of
from collector.store.tables import (
    CURRENT,
    TYPED,
    VERSIONS,
    keystone_versions,
    observations,
    region_versions,
    sources,
    unseen,
)

Moment = sa.ColumnElement[Any]


def as_of(kind: Kind, moment: Moment, source: str | None = None) -> sa.Select[Any]:
    """The entities of a kind that are in force at a time, in no order, for all sources or for one.

    Columns for a region: source, region_id and its fields. The other kinds also have the region whose copy was used
    then, and their own id. All kinds then have first_seen_at, changed_at (when these values were first seen), and
    last_seen_at: when the entity was last confirmed, as far as that is certain. The other kinds end with the zone and
    the country of their region.
    """
    current, versions = CURRENT[kind].c, _alias(VERSIONS[kind], "v")
    looked = last_looks(moment, source).cte("looked").prefix_with("MATERIALIZED")
    before, after, last, joined = _place(kind, versions, moment)
    query = sa.select(
        sources.c.name.label("source"),
        *before,
        *(versions.c[name] for name in TYPED[kind]),
        *after,
        current.first_seen_at,
        versions.c.valid_from.label("changed_at"),
        sa.func.coalesce(_lost_at(kind, current, moment), looked.c.last_seen_at, type_=UtcTime()).label(
            "last_seen_at"
        ),
        *last,
    ).select_from(
        InOrder(
            looked.join(sources, sources.c.id == looked.c.source_id).join(
                CURRENT[kind], current.source_id == sources.c.id
            ),
            versions,
            _in_force(versions, kind, current.source_id, current.id, moment),
        )
    )
    return query.outerjoin(*joined)


def last_looks(moment: Moment, source: str | None = None) -> sa.Select[Any]:
    """Each source that was seen by a moment, with its newest successful poll at that time, which was certainly
    answered no earlier than `last_seen_at`. Sources whose history begins later, because it was pruned, are left out.

    For an observation that continues after the moment, only its ends and its longest interval are on record. `last_at`
    and `expected_interval_ms` are those of the observation.
    """
    o, newest = observations.c, newest_applied(sources.c.id, moment)
    sure = earlier(moment, o.longest_interval_ms + 1)
    seen_at = sa.case((o.last_at <= moment, o.last_at), (o.first_at > sure, o.first_at), else_=sure)
    query = sa.select(
        sources.c.id.label("source_id"),
        sa.type_coerce(seen_at, UtcTime()).label("last_seen_at"),
        o.last_at,
        o.expected_interval_ms,
    ).select_from(InOrder(sources, observations, (o.source_id == sources.c.id) & (o.seq == newest)))
    query = query.where(~is_pruned(sources.c.id, moment))
    return query.where(sources.c.name == source) if source else query


def newest_applied(source_id: Any, known_at: Any = None, column: str = "seq") -> sa.ScalarSelect[Any]:
    """The newest applied observation of a source, among those known at a time or among all."""
    a = _alias(observations, "a").c
    query = sa.select(a[column]).where(a.source_id == source_id, a.outcome != "failed")
    query = query.where(a.first_at <= known_at) if known_at is not None else query
    return query.order_by(a.seq.desc()).limit(1).scalar_subquery()


def _in_force(
    versions: sa.FromClause, kind: Kind, source_id: Any, entity_id: Any, moment: Moment
) -> sa.ColumnElement[bool]:
    """True if a version of an entity is in force."""
    key, began = f"{kind}_id", _alias(VERSIONS[kind], "began").c
    newest = (
        sa.select(sa.func.max(began.valid_from))
        .where(began.source_id == source_id, began[key] == entity_id, began.valid_from <= moment)
        .scalar_subquery()
    )
    return sa.and_(
        versions.c.source_id == source_id,
        versions.c[key] == entity_id,
        versions.c.valid_from == newest,
        versions.c.valid_to.is_(None) | (versions.c.valid_to > moment),
    )


@cache
def version_before(kind: Kind) -> tuple[sa.FromClause, sa.ColumnElement[bool]]:
    """The version of the same entity before each version of a kind, with any distance: what to join, and on what."""
    v, before, e = VERSIONS[kind].c, VERSIONS[kind].alias("b"), VERSIONS[kind].alias("e").c
    b, key = before.c, f"{kind}_id"
    newest = sa.select(sa.func.max(e.valid_from)).where(
        e.source_id == v.source_id, e[key] == v[key], e.valid_from < v.valid_from
    )
    return before, (b.source_id == v.source_id) & (b[key] == v[key]) & (
        b.valid_from == newest.scalar_subquery()
    )


def _lost_at(kind: Kind, current: Any, moment: Moment) -> sa.ScalarSelect[Any]:
    """Since when an entity that was not shown at a time was not shown; NULL if it was shown."""
    u = unseen.c
    return (
        sa.select(sa.func.min(u.from_at))
        .where(
            u.source_id == current.source_id,
            u.entity == kind,
            u.entity_id == current.id,
            u.from_at <= moment,
            u.until_at.is_(None) | (u.until_at > moment),
        )
        .scalar_subquery()
    )


def _place(
    kind: Kind, versions: sa.FromClause, moment: Moment
) -> tuple[list[Any], list[Any], list[Any], tuple[sa.FromClause, sa.ColumnElement[bool]]]:
    """The columns before and after an entity's fields, the last ones, and from which version of another entity they
    come."""
    v = versions.c
    if kind == "region":
        other = _alias(keystone_versions, "k")
        joined = other, _in_force(other, "keystone", v.source_id, v.keystone_id, moment)
        return [v.region_id], [other.c.state.label("keystone_state")], [], joined
    other = _alias(region_versions, "r")
    joined = other, _in_force(other, "region", v.source_id, v.witness_region_id, moment)
    head = [v.witness_region_id.label("region_id"), other.c.slug, other.c.display_name, v[f"{kind}_id"]]
    return head, [], [other.c[name] for name in names_of(AREA)], joined


@cache
def _alias(table: sa.Table, name: str) -> sa.FromClause:
    """Shared by all statements, because to make one with its columns takes as long as to run a statement."""
    return table.alias(name)


def at(moment: Any) -> Moment:
    """A time as a parameter of statements."""
    return cast("Moment", sa.literal(moment, UtcTime()))
