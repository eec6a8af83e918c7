"""The content of a picture, before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from collector.errors import UsageError
from collector.reports.heads import heads
from collector.reports.spans import SpanFilter
from collector.reports.timeline.lanes import Name, first_sight, lanes
from collector.reports.timeline.pieces import Piece, Scale, pieces
from collector.reports.words import in_order, show_time


@dataclass(frozen=True, slots=True)
class Lane:
    """One region or keystone."""

    name: Name
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Lanes by source and name, and the observations on which they rest."""

    entity: str
    scale: Scale
    lanes: tuple[Lane, ...]
    heads: tuple[dict[str, Any], ...]
    """The newest observation of each source that is shown: source, seq, head."""
    made_at: datetime

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(lane.name.source for lane in self.lanes))

    @property
    def states(self) -> set[str]:
        """Every state that occurs, including UNKNOWN and ABSENT, and states on only one side of a change."""
        found: set[str] = set()
        for lane in self.lanes:
            for piece in lane.pieces:
                found |= piece.shares.keys()
                if piece.is_change and piece.span:
                    found |= {s for s in (piece.span.earlier_state, piece.span.later_state) if s}
        return found


def picture(connection: sa.Connection, wanted: SpanFilter, now: datetime, width: float) -> Picture:
    """What is known from `wanted.since` (or the first sight) to `wanted.until` (or now), for a chart of a width.

    Raises UsageError if a region does not exist, or if no time is left between the two.
    """
    until = wanted.until or now
    first = first_sight(connection, wanted)
    # An empty hour, if there is nothing to show.
    since = wanted.since or (first if first and first < until else until - timedelta(hours=1))
    if since >= until:
        raise UsageError(f"--from {show_time(since)} is not before --to {show_time(until)}")
    scale = Scale(since, until, width)
    found = [
        Lane(name, tuple(pieces(spans, scale)))
        for name, spans in lanes(connection, replace(wanted, since=since, until=until))
    ]
    found.sort(key=lambda lane: (lane.name.source, in_order(lane.name.text), lane.name.entity_id))
    shown = {lane.name.source for lane in found}
    known = [row for row in heads(connection, wanted.source) if row["source"] in shown or not shown]
    return Picture(wanted.entity, scale, tuple(found), tuple(known), now)
