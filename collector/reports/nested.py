"""The keystones and metrics databases in force at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.reports.filters import Row, find_region, is_region, is_word
from collector.reports.inventory import last_looks
from collector.store.tables import CURRENT, TYPED, VERSIONS, region_versions, sources, unseen

Nested = Literal["keystone", "metrics_database"]
_ROWS_AT_ONCE = 500


def nested_fields(kind: Nested) -> tuple[str, ...]:
    """The fields of each row, as in current_keystones and current_metrics_databases."""
    head = ("source", "region_id", "slug", "display_name", f"{kind}_id")
    return (*head, *TYPED[kind], "first_seen_at", "changed_at", "last_seen_at")


@dataclass(frozen=True, slots=True)
class NestedFilter:
    """Which of them; empty means any. Case does not matter."""

    source: str | None = None
    region: str | None = None
    """Those whose copy in this region counts."""
    id: int | None = None
    state: str | None = None
    """Of keystones alone."""


def nested_as_of(
    connection: sa.Connection, kind: Nested, moment: datetime, wanted: NestedFilter
) -> Iterator[Row]:
    """Keystones or metrics databases as the regions' answers up to a time gave them, by source and id.

    The region is the one whose copy counted then. `last_seen_at` says when each was last confirmed.
    """
    current, versions, r = CURRENT[kind], VERSIONS[kind], region_versions.alias("r")
    e, v, s, u = current.c, versions.c, sources.c, unseen.c
    key = v[f"{kind}_id"]
    at = sa.literal(moment, UtcTime())
    later, later_region = versions.alias("later").c, region_versions.alias("later_region").c
    newest = sa.select(sa.func.max(later.valid_from)).where(
        later.source_id == e.source_id, later[f"{kind}_id"] == e.id, later.valid_from <= at
    )
    newest_region = sa.select(sa.func.max(later_region.valid_from)).where(
        later_region.source_id == v.source_id,
        later_region.region_id == v.witness_region_id,
        later_region.valid_from <= at,
    )
    lost = sa.select(sa.func.min(u.from_at)).where(
        u.source_id == e.source_id,
        u.entity == kind,
        u.entity_id == e.id,
        u.from_at <= at,
        u.until_at.is_(None) | (u.until_at > at),
    )
    query = (
        sa.select(
            s.name.label("source"),
            v.witness_region_id.label("region_id"),
            r.c.slug,
            r.c.display_name,
            e.id.label(f"{kind}_id"),
            *(v[name] for name in TYPED[kind]),
            e.first_seen_at,
            v.valid_from.label("changed_at"),
            sa.type_coerce(lost.scalar_subquery(), UtcTime()).label("last_seen_at"),
        )
        .select_from(current)
        .join(sources, s.id == e.source_id)
        .join(
            versions,
            (v.source_id == e.source_id) & (key == e.id) & (v.valid_from == newest.scalar_subquery()),
        )
        .outerjoin(
            r,
            (r.c.source_id == v.source_id)
            & (r.c.region_id == v.witness_region_id)
            & (r.c.valid_from == newest_region.scalar_subquery())
            & (r.c.valid_to.is_(None) | (r.c.valid_to > at)),
        )
        .where(v.valid_to.is_(None) | (v.valid_to > at))
        .order_by(s.name, e.id)
    )
    if wanted.region:
        found = find_region(connection, wanted.region, wanted.source)
        query = query.where(is_region(found, e.source_id, v.witness_region_id))
    query = query.where(s.name == wanted.source) if wanted.source else query
    query = query.where(e.id == wanted.id) if wanted.id is not None else query
    query = query.where(is_word(v.state, wanted.state)) if wanted.state else query
    looked = last_looks(connection, moment, wanted.source)
    with connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}) as rows:
        for each in rows.mappings():
            row = dict(each)
            row["last_seen_at"] = row["last_seen_at"] or looked.get(row["source"])
            yield row
