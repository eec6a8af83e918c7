"""What exists, and what existed at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.inventory.observation import gap_limit
from collector.reports.filters import Row, find_region, is_region, is_word
from collector.store.tables import (
    TYPED,
    keystone_versions,
    observations,
    region_versions,
    regions,
    sources,
    unseen,
)

REGION_FIELDS = (
    "source",
    "region_id",
    *TYPED["region"],
    "keystone_state",
    "first_seen_at",
    "changed_at",
    "last_seen_at",
)
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class RegionFilter:
    """Which regions; empty means any. Case does not matter."""

    source: str | None = None
    region: str | None = None
    state: str | None = None
    country: str | None = None
    zone: str | None = None
    gpu: bool | None = None
    """Where GPU clusters can be created, or can't."""


def regions_as_of(connection: sa.Connection, moment: datetime, wanted: RegionFilter) -> list[Row]:
    """The regions in force at a time: the fold of all applied observations up to then.

    `last_seen_at` says when each was last confirmed. One index seek per region.
    """
    return list(each_region_as_of(connection, moment, wanted))


def each_region_as_of(connection: sa.Connection, moment: datetime, wanted: RegionFilter) -> Iterator[Row]:
    """The same, one after the other, however many there are."""
    r, v, s, u = regions.c, region_versions.c, sources.c, unseen.c
    kv = keystone_versions.alias("kv")
    at = sa.literal(moment, UtcTime())
    later = region_versions.alias("later")
    newest = (
        sa.select(sa.func.max(later.c.valid_from))
        .where(later.c.source_id == r.source_id, later.c.region_id == r.id, later.c.valid_from <= at)
        .scalar_subquery()
    )
    later_keystone = keystone_versions.alias("later_keystone")
    newest_keystone = (
        sa.select(sa.func.max(later_keystone.c.valid_from))
        .where(
            later_keystone.c.source_id == v.source_id,
            later_keystone.c.keystone_id == v.keystone_id,
            later_keystone.c.valid_from <= at,
        )
        .scalar_subquery()
    )
    lost = (
        sa.select(u.from_at)
        .where(
            u.source_id == r.source_id,
            u.entity == "region",
            u.entity_id == r.id,
            u.from_at <= at,
            u.until_at.is_(None) | (u.until_at > at),
        )
        .order_by(u.from_at)
        .limit(1)
        .scalar_subquery()
    )
    in_force = region_versions.c.valid_to
    query = (
        sa.select(
            s.name.label("source"),
            r.id.label("region_id"),
            *(v[name] for name in TYPED["region"]),
            kv.c.state.label("keystone_state"),
            r.first_seen_at,
            v.valid_from.label("changed_at"),
            lost.label("last_seen_at"),
        )
        .select_from(regions)
        .join(sources, s.id == r.source_id)
        .join(
            region_versions,
            (v.source_id == r.source_id) & (v.region_id == r.id) & (v.valid_from == newest),
        )
        .outerjoin(
            kv,
            (kv.c.source_id == v.source_id)
            & (kv.c.keystone_id == v.keystone_id)
            & (kv.c.valid_from == newest_keystone)
            & (kv.c.valid_to.is_(None) | (kv.c.valid_to > at)),
        )
        .where(in_force.is_(None) | (in_force > at))
        .order_by(s.name, r.id)
    )
    if wanted.region:
        query = query.where(
            is_region(find_region(connection, wanted.region, wanted.source), r.source_id, r.id)
        )
    query = query.where(s.name == wanted.source) if wanted.source else query
    for column, word in ((v.state, wanted.state), (v.zone, wanted.zone), (v.country, wanted.country)):
        query = query.where(is_word(column, word)) if word else query
    query = query.where(v.has_ai_gpu.is_(wanted.gpu)) if wanted.gpu is not None else query
    looked = last_looks(connection, moment, wanted.source)
    with connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}) as rows:
        for found in rows.mappings():
            row = dict(found)
            row["last_seen_at"] = row["last_seen_at"] or looked.get(row["source"])
            yield row


@dataclass(frozen=True, slots=True)
class Look:
    """The newest successful poll of a source up to a moment."""

    at: datetime
    """It is sure that it was answered no earlier. Of a stretch that goes on beyond the moment only its ends and its
    longest interval are on record."""
    is_blind: bool
    """Whether more than the gap limit lies between it and the moment: what happened meanwhile is unknown."""


def last_looks(
    connection: sa.Connection, moment: datetime, source: str | None = None
) -> dict[str, datetime | None]:
    """By source, the time up to a moment for which it is sure that a successful poll was answered no earlier."""
    return {name: look.at if look else None for name, look in looks(connection, moment, source).items()}


def looks(connection: sa.Connection, moment: datetime, source: str | None = None) -> dict[str, Look | None]:
    """How each source was seen last, up to a moment, in one statement; None: never."""
    o, a, s = observations.c, observations.alias("a").c, sources.c
    at = sa.literal(moment, UtcTime())
    newest = (
        sa.select(a.seq)
        .where(a.source_id == s.id, a.outcome != "failed", a.first_at <= at)
        .order_by(a.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        sa.select(s.name, o.first_at, o.last_at, o.longest_interval_ms, o.expected_interval_ms)
        .select_from(sources)
        .outerjoin(observations, (o.source_id == s.id) & (o.seq == newest))
        .order_by(s.name)
    )
    rows = connection.execute(query.where(s.name == source) if source else query)
    return {row.name: _look(row, moment) for row in rows}


def _look(row: Any, moment: datetime) -> Look | None:
    if row.first_at is None:
        return None
    if row.last_at > moment:
        sure = moment - timedelta(milliseconds=row.longest_interval_ms + 1)
        return Look(max(row.first_at, sure), is_blind=False)
    limit = gap_limit(timedelta(milliseconds=row.expected_interval_ms))
    return Look(row.last_at, is_blind=moment - row.last_at > limit)


def first_looks(connection: sa.Connection, source: str | None = None) -> dict[str, datetime]:
    """When each source, or this one, was first seen, by its name."""
    first = sa.type_coerce(sa.func.min(observations.c.first_at), UtcTime())
    query = (
        sa.select(sources.c.name, first)
        .join(observations, sources.c.id == observations.c.source_id)
        .where(observations.c.outcome != "failed")
        .group_by(sources.c.name)
        .order_by(sources.c.name)
    )
    rows = connection.execute(query.where(sources.c.name == source) if source else query)
    return dict(rows.all())
