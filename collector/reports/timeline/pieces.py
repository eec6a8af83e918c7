"""What a picture of a certain width can show of a lane.

A span that is wide enough is shown with its true edges. Consecutive spans that are too narrow are merged: those whose
middles lie in the same cell, a few pixels wide, become one piece, which names every state that was seen in it and the
share of each. So a piece never claims a state that was not there, and hides none. A lane has at most
width / NARROW + width / CELL + 1 pieces, however long its history is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from collector.inventory.spans import ABSENT, Span

NARROW = 1.5
"""A span narrower than this, in pixels, is merged with its neighbours."""
CELL = 4.0
"""Width of the cells, in pixels, in which narrow spans are merged."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Converts times to pixels: `since` is 0, `until` is `width`."""

    since: datetime
    until: datetime
    width: float
    _pixels_per_second: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pixels_per_second", self.width / (self.until - self.since).total_seconds())

    def x(self, moment: datetime) -> float:
        return (moment - self.since).total_seconds() * self._pixels_per_second

    def cut(self, span: Span) -> Span | None:
        """The part of a span that the picture shows; None if it shows none."""
        if span.until_at <= self.since or span.from_at > self.until:
            return None
        if span.from_at == self.until and span.from_at < span.until_at:
            return None
        if self.since <= span.from_at and span.until_at <= self.until:
            return span
        return span._replace(from_at=max(span.from_at, self.since), until_at=min(span.until_at, self.until))


class Piece(NamedTuple):
    """A part of a lane: one span, or several that are too narrow to be distinguished."""

    from_at: datetime
    until_at: datetime
    shares: Mapping[str, float]
    """Every state in it with its seconds. UNKNOWN means not shown. Empty for a change, which is between two states.
    In merged spans, the time of a change counts for those of its two states that are merged, too."""
    span: Span | None
    """The only span, as it is on record, not cut."""
    changes: int = 0
    """Number of merged changes of state."""

    @property
    def is_change(self) -> bool:
        return self.span is not None and self.span.is_change

    @property
    def state(self) -> str | None:
        """The state in it, if there is only one."""
        return next(iter(self.shares)) if len(self.shares) == 1 else None


def pieces(spans: Iterable[Span], scale: Scale) -> Iterator[Piece]:
    """The pieces of a lane in order. They have no holes and no overlaps if the spans have none."""
    group: list[tuple[Span, Span]] = []
    cell = -1
    before: Span | None = None
    overlap: Span | None = None
    for span in with_moments(spans):
        part = scale.cut(span)
        if part is None:
            continue
        if overlap:
            part, overlap = part._replace(from_at=overlap.from_at), None
        # If windows overlap while one poll waited for its answer, a part that is too narrow is that poll's.
        is_overlap = before and before.is_change and span.cause == "unobserved" and span.seq == before.seq
        before = span
        if is_overlap and scale.x(part.until_at) - scale.x(part.from_at) < NARROW:
            overlap = part
            continue
        left, right = scale.x(part.from_at), scale.x(part.until_at)
        here = int((left + right) / 2 / CELL)
        is_wide = right - left >= NARROW
        if group and (is_wide or here != cell):
            yield _merged(group)
            group = []
        if is_wide:
            yield _single(span, part)
        else:
            group.append((span, part))
            cell = here
    if group:
        yield _merged(group)


def with_moments(spans: Iterable[Span]) -> Iterator[Span]:
    """The spans, and between two spans of UNKNOWN the state that one poll showed for a moment."""
    before: Span | None = None
    for span in spans:
        # After the same state, only the first of two spans of UNKNOWN begins when it was seen. An absence amid unknown
        # time is not worth showing.
        is_after_unknown = before is None or (before.cause and before.seq != span.seq)
        is_news = span.earlier_state != ABSENT or span.is_change or before is None or before.is_change
        if span.cause and span.earlier_state and is_after_unknown and is_news:
            yield Span(span.earlier_state, span.from_at, span.from_at, seq=span.seq)
        yield span
        before = span
    if before and before.cause and before.later_state:
        yield Span(before.later_state, before.until_at, before.until_at)


def _single(span: Span, part: Span) -> Piece:
    shares = {} if span.is_change else {span.state: _seconds(part)}
    return Piece(part.from_at, part.until_at, shares, span)


def _merged(group: list[tuple[Span, Span]]) -> Piece:
    if len(group) == 1:
        return _single(*group[0])
    shares: defaultdict[str, float] = defaultdict(float)
    for span, _ in group:
        if not span.is_change:
            shares[span.state] += 0.0
    for span, part in group:
        inside = [span.state]
        if span.is_change:
            inside = [s for s in shares if s in (span.earlier_state, span.later_state)] or list(shares)
        for state in inside:
            shares[state] += _seconds(part) / len(inside)
    changes = sum(span.is_change for span, _ in group)
    return Piece(group[0][1].from_at, group[-1][1].until_at, dict(shares), None, changes)


def _seconds(span: Span) -> float:
    seconds: float = (span.until_at - span.from_at).total_seconds()
    return seconds
