"""The content of a picture, before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal

import sqlalchemy as sa

from collector.clock import time_text
from collector.errors import UsageError
from collector.reports.heads import heads
from collector.reports.spans import SpanFilter
from collector.reports.timeline.lanes import Name, first_sight, lanes
from collector.reports.timeline.pieces import Piece, Scale, pieces
from collector.reports.words import in_order, show_time

Order = Literal["name", "zone", "country", "first-change"]


@dataclass(frozen=True, slots=True)
class Lane:
    """One region or keystone."""

    name: Name
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Picture:
    """Lanes by source and name, and the observations on which they rest."""

    entity: str
    scale: Scale
    lanes: tuple[Lane, ...]
    heads: tuple[dict[str, Any], ...]
    """The newest observation of each source that is shown: source, seq, head."""
    made_at: datetime
    order: Order = "name"

    def heading(self, lane: Lane) -> str:
        """What is written above the first lane of a group: its source, if there are several, and its place, if places
        order the lanes. Empty if there are no groups."""
        place = {"zone": lane.name.zone, "country": lane.name.country}.get(self.order, "")
        parts = [lane.name.source] if len(self.sources) > 1 else []
        if self.order in ("zone", "country"):
            parts.append(place or f"no {self.order}")
        return " · ".join(parts)

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(lane.name.source for lane in self.lanes))

    @cached_property
    def states(self) -> set[str]:
        """Every state that occurs, including UNKNOWN and ABSENT, and states on only one side of a change."""
        found: set[str | None] = set()
        for lane in self.lanes:
            for piece in lane.pieces:
                found.update(piece.shares)
                if piece.span and piece.span.is_change:
                    found.update((piece.span.earlier_state, piece.span.later_state))
        return {state for state in found if state}


def picture(
    connection: sa.Connection, wanted: SpanFilter, now: datetime, width: float, order: Order = "name"
) -> Picture:
    """What is known from `wanted.since` (or the first sighting) to `wanted.until` (or now), for a chart of a width.

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
    found.sort(key=lambda lane: (lane.name.source, _place(lane, order), *_by_name(lane)))
    shown = {lane.name.source for lane in found}
    known = [row for row in heads(connection, wanted.source) if row["source"] in shown or not shown]
    return Picture(wanted.entity, scale, tuple(found), tuple(known), now, order)


def _by_name(lane: Lane) -> tuple[object, ...]:
    return in_order(lane.name.text), lane.name.entity_id


def _shows_a_change(piece: Piece) -> bool:
    """True also for unknown time between two different states."""
    span = piece.span
    is_other_after = bool(span and span.cause and span.later_state and span.earlier_state != span.later_state)
    return piece.is_change or piece.changes > 0 or is_other_after


def _place(lane: Lane, order: Order) -> tuple[bool, str]:
    """Sorts lanes by an order; those that it says nothing about come last."""
    if order == "first-change":
        change = next((piece.from_at for piece in lane.pieces if _shows_a_change(piece)), None)
        return change is None, time_text(change) if change else ""
    place = {"zone": lane.name.zone, "country": lane.name.country}.get(order)
    return place is None, place or ""
