"""The keystones and metrics databases in force at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from collector.inventory.entities import NestedKind
from collector.reports.asof import as_of, at
from collector.reports.beginnings import refuse_before
from collector.reports.columns import AREA, PLACE, Column, Report, of
from collector.reports.filters import Row, find_region, is_region, is_word
from collector.reports.inventory import SEEN, each_row
from collector.store.tables import TYPED, VERSIONS, sources


def nested_report(kind: NestedKind) -> Report:
    """The columns of each row, as in current_keystones and current_metrics_databases."""
    versions, thing = VERSIONS[kind].c, kind.replace("_", " ")
    source, region_id, *names = PLACE
    return Report(
        (
            source,
            replace(region_id, meaning="the region whose copy was used then"),
            *map(_then, names),
            Column(f"{kind}_id", "integer", f"id of the {thing}: the {kind}_id of its regions"),
            *(of(versions[name]) for name in TYPED[kind]),
            *SEEN,
            *map(_then, AREA),
        )
    )


def _then(column: Column) -> Column:
    """A column about the region, as it was at the time of the question."""
    return replace(column, meaning=column.meaning.replace("as last seen", "as known then"))


@dataclass(frozen=True, slots=True)
class NestedFilter:
    """Which of them; empty means any. Case does not matter."""

    source: str | None = None
    region: str | None = None
    """Only those whose copy in this region is used."""
    id: int | None = None
    state: str | None = None
    """Only for keystones."""


def nested_as_of(
    connection: sa.Connection, kind: NestedKind, moment: datetime, wanted: NestedFilter
) -> Iterator[Row]:
    """Keystones or metrics databases as the regions' answers up to a time showed them, by source and id.

    The region is the one whose copy was used then. `last_seen_at` says when each was last confirmed.
    """
    refuse_before(connection, moment, wanted.source)
    query = as_of(kind, at(moment), wanted.source)
    c = query.selected_columns
    if wanted.region:
        found = find_region(connection, wanted.region, wanted.source)
        query = query.where(is_region(found, sources.c.id, c.region_id))
    query = query.where(c[f"{kind}_id"] == wanted.id) if wanted.id is not None else query
    query = query.where(is_word(c.state, wanted.state)) if wanted.state else query
    return each_row(connection, query.order_by(c.source, c[f"{kind}_id"]))


def referred_as_of(connection: sa.Connection, kind: NestedKind, moment: datetime, region: Row) -> Row | None:
    """The one that a region in force at a time refers to; None if it refers to none, or to one that was not in
    force."""
    number = region[f"{kind}_id"]
    if number is None:
        return None
    found = list(nested_as_of(connection, kind, moment, NestedFilter(source=region["source"], id=number)))
    return found[0] if found else None
