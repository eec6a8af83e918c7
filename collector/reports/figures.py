"""A database in numbers, for metrics: the condition and content of each source, and how long nothing was seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from collector.database.health import Disk, disk_of, size_bytes
from collector.database.types import seconds_between
from collector.inventory.observation import GAP_FACTOR
from collector.reports.anchored import Place, Proven, places, proven
from collector.reports.outbox import Backlog, backlogs
from collector.reports.status import SourceStatus, statuses
from collector.store.tables import gaps, keystones, regions, sources

MOST_STATES = 12
"""How many states of a source are distinguished. Further ones, which the cloud never had, count as OTHER."""
MOST_REGIONS = 200
"""If more regions are present, only their states are counted, because a series for each would be too many."""
OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class RegionState:
    """One present region."""

    source: str
    region_id: int
    slug: str | None
    state: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that metrics say about a database."""

    sources: Sequence[SourceStatus]
    regions: Mapping[tuple[str, str], int]
    """Present regions, by source and state."""
    keystones: Mapping[tuple[str, str], int]
    each_region: Sequence[RegionState]
    """Empty if there are more than MOST_REGIONS."""
    gap_seconds: Mapping[str, float]
    """By source: time in gaps so far. An open gap counts up to now."""
    size_bytes: int
    disk: Disk | None
    """For a SQLite file. A client can't measure the disk of a server."""
    leases_taken: Mapping[str, int]
    """By source: how often a process took its lease, ever."""
    receivers: Sequence[Backlog] = ()
    proven: Mapping[str, Proven] = field(default_factory=dict)
    """When each source was last verified, by name."""
    places: Sequence[Place] = ()
    """What each anchor has."""


def figures(
    connection: sa.Connection,
    now: datetime,
    of_settings: Collection[str] = (),
    receivers_of_settings: Collection[str] = (),
    required_anchors: Collection[str] = (),
) -> Figures:
    """Reads them with the same number of statements for one source or a thousand."""
    found = statuses(connection, now, of_settings=of_settings, required_anchors=required_anchors)
    of_regions = _states(connection, regions)
    of_anchors = places(connection)
    return Figures(
        sources=found,
        regions=of_regions,
        keystones=_states(connection, keystones),
        each_region=_each_region(connection) if sum(of_regions.values()) <= MOST_REGIONS else (),
        gap_seconds=_gap_seconds(connection, found, now),
        size_bytes=size_bytes(connection),
        receivers=backlogs(connection, receivers_of_settings),
        proven=proven(connection, known=of_anchors),
        places=of_anchors,
        disk=disk_of(connection),
        leases_taken=_leases_taken(connection),
    )


def _leases_taken(connection: sa.Connection) -> Mapping[str, int]:
    query = sa.select(sources.c.name, sources.c.lease_epoch)
    return {name: epoch for name, epoch in connection.execute(query)}  # noqa: C416 - a Row is no pair of its types


def _states(connection: sa.Connection, table: sa.Table) -> Mapping[tuple[str, str], int]:
    t = table.c
    query = (
        sa.select(sources.c.name, t.state, sa.func.count())
        .join(sources, sources.c.id == t.source_id)
        .where(t.absent_since.is_(None))
        .group_by(sources.c.name, t.state)
    )
    of_source: dict[str, Counter[str]] = defaultdict(Counter)
    for name, state, number in connection.execute(query):
        of_source[name][state] = number
    counted: Counter[tuple[str, str]] = Counter()
    for name, states in of_source.items():
        ranked = sorted(states, key=lambda state: (-states[state], state))
        for place, state in enumerate(ranked):
            counted[name, state if place < MOST_STATES else OTHER] += states[state]
    return counted


def _each_region(connection: sa.Connection) -> Sequence[RegionState]:
    r = regions.c
    query = (
        sa.select(sources.c.name, r.id, r.slug, r.state)
        .join(sources, sources.c.id == r.source_id)
        .where(r.absent_since.is_(None))
        .order_by(sources.c.name, r.id)
    )
    return [RegionState(*row) for row in connection.execute(query)]


def _gap_seconds(
    connection: sa.Connection, found: Sequence[SourceStatus], now: datetime
) -> Mapping[str, float]:
    g = gaps.c
    query = (
        sa.select(sources.c.name, sa.func.sum(seconds_between(g.from_at, g.until_at)))
        .join(sources, sources.c.id == g.source_id)
        .group_by(sources.c.name)
    )
    ended = {name: float(seconds) for name, seconds in connection.execute(query)}
    seconds = {each.source: ended.get(each.source, 0.0) for each in found}
    for each in found:
        if each.last_seen_at is None or each.interval_seconds is None:
            continue
        since = (now - each.last_seen_at).total_seconds()
        # A source that left is not judged, although nothing is seen of it.
        is_open = each.verdict == "stale" or since > GAP_FACTOR * each.interval_seconds
        seconds[each.source] += max(since, 0.0) if is_open else 0.0
    return seconds
