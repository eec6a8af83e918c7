"""What exists, and what existed at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.inventory.observation import gap_limit
from collector.reports import asof
from collector.reports.asof import as_of, at
from collector.reports.beginnings import beginnings, refuse_before
from collector.reports.columns import OF_SOURCE, SOURCE, Column, Heading, Report, of
from collector.reports.filters import Row, find_region, is_region, is_word
from collector.store.tables import TYPED, observations, region_versions, sources

SEEN = (
    Column("first_seen_at", "time", "when it was seen for the first time"),
    Column("changed_at", "time", "when it was first seen with the values of this row"),
    Column(
        "last_seen_at",
        "time",
        "when it was last confirmed, as far as that is certain. Only the first and the last poll of an observation are "
        "on record, so at a time between them this is that time minus the longest interval between two of its polls",
    ),
)
"""The last columns of an entity in force at a time."""

REGIONS = Report(
    columns=(
        SOURCE,
        Column("region_id", "integer", "id of the region"),
        *(of(region_versions.c[name]) for name in TYPED["region"]),
        Column(
            "keystone_state",
            "text or null",
            "state of the region's keystone at that time; null: none is known",
        ),
        *SEEN,
    ),
    table={
        "source": OF_SOURCE,
        "region_id": Heading("id", 2),
        "display_name": Heading("region"),
        "state": Heading("state"),
        "country": Heading("country", 4),
        "zone": Heading("zone", 5),
        "has_ai_gpu": Heading("GPU", 6),
        "keystone_state": Heading("keystone", 7),
        "changed_at": Heading("changed", 3),
        "last_seen_at": Heading("last seen", 2),
    },
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
    """True: where GPU clusters can be created; False: where they can't."""


def regions_as_of(
    connection: sa.Connection, moment: datetime, wanted: RegionFilter, names: Sequence[str] = ()
) -> list[Row]:
    """The regions in force at a time: the result of all observations that were applied up to then.

    `last_seen_at` says when each was last confirmed. Needs one index seek per region. `names`: the columns; empty:
    all.
    """
    return list(each_region_as_of(connection, moment, wanted, names))


def each_region_as_of(
    connection: sa.Connection, moment: datetime, wanted: RegionFilter, names: Sequence[str] = ()
) -> Iterator[Row]:
    """The same, one after the other, however many there are."""
    refuse_before(connection, moment, wanted.source)
    query = as_of("region", at(moment), wanted.source)
    c = query.selected_columns
    if wanted.region:
        found = find_region(connection, wanted.region, wanted.source)
        query = query.where(is_region(found, sources.c.id, c.region_id))
    for column, word in ((c.state, wanted.state), (c.zone, wanted.zone), (c.country, wanted.country)):
        query = query.where(is_word(column, word)) if word else query
    query = query.where(c.has_ai_gpu.is_(wanted.gpu)) if wanted.gpu is not None else query
    query = query.with_only_columns(*(c[name] for name in names)) if names else query
    return each_row(connection, query.order_by(c.source, c.region_id))


def each_row(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[Row]:
    """The rows of a query, only some of which are in memory at a time."""
    with connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}) as rows:
        names = tuple(rows.keys())
        for row in rows:
            yield dict(zip(names, row, strict=True))


@dataclass(frozen=True, slots=True)
class Look:
    """The newest successful poll of a source up to a moment."""

    at: datetime
    """It was certainly answered no earlier. For an observation that continues after the moment, only its ends and its
    longest interval are on record."""
    is_blind: bool
    """True if more than the gap limit lies between it and the moment, so that it is unknown what happened
    meanwhile."""


def looks(connection: sa.Connection, moment: datetime, source: str | None = None) -> dict[str, Look | None]:
    """How each source was last seen, up to a moment, in one statement, by name; None: never."""
    looked = asof.last_looks(at(moment), source).subquery()
    query = (
        sa.select(sources.c.name, looked.c.last_seen_at, looked.c.last_at, looked.c.expected_interval_ms)
        .outerjoin(looked, looked.c.source_id == sources.c.id)
        .order_by(sources.c.name)
    )
    rows = connection.execute(query.where(sources.c.name == source) if source else query)
    return {row.name: _look(row, moment) for row in rows}


def _look(row: Any, moment: datetime) -> Look | None:
    if row.last_seen_at is None:
        return None
    limit = gap_limit(timedelta(milliseconds=row.expected_interval_ms))
    return Look(row.last_seen_at, is_blind=moment - row.last_at > limit)


def is_seen(look: Look | None, row: Row | None) -> bool:
    """True if the newest successful poll showed an entity (None: did not list it), and no gap is open since."""
    return look is not None and not look.is_blind and (row is None or row["last_seen_at"] >= look.at)


def first_looks(connection: sa.Connection, source: str | None = None) -> dict[str, datetime]:
    """When each source, or this one, was first seen, by its name; for a pruned history, when it begins."""
    first = sa.type_coerce(sa.func.min(observations.c.first_at), UtcTime())
    query = (
        sa.select(sources.c.name, first)
        .join(observations, sources.c.id == observations.c.source_id)
        .where(observations.c.outcome != "failed")
        .group_by(sources.c.name)
        .order_by(sources.c.name)
    )
    rows = connection.execute(query.where(sources.c.name == source) if source else query)
    begun = beginnings(connection, source)
    return {name: begun[name].at if name in begun else at for name, at in rows}


def unwatched(connection: sa.Connection, moment: datetime, source: str | None = None) -> dict[str, datetime]:
    """The sources that were not watched yet at a time, and since when they are, so that no answer is not taken for an
    empty cloud."""
    return {name: begin for name, begin in first_looks(connection, source).items() if moment < begin}
