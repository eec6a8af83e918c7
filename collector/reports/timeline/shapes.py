"""The SVG paths of each piece of a lane, in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from collector.inventory.spans import ABSENT, UNKNOWN, Span
from collector.reports.timeline.palette import Look, rank
from collector.reports.timeline.pieces import NARROW, Piece, Scale

SLOPE = 2.0
"""A change is drawn as a slope if its window is at least this wide, otherwise as a sharp edge in its middle."""
HATCHED = 4.0
"""Unknown time is hatched if it is at least this wide, otherwise plain."""
_SEAM = 0.4
"""How far a slope overlaps bars of the same colour, so that no thin line shows between them."""


def is_edge(piece: Piece, scale: Scale) -> bool:
    """A change whose window is too narrow to be seen."""
    return piece.is_change and scale.x(piece.until_at) - scale.x(piece.from_at) < SLOPE


def placed(pieces: Sequence[Piece], scale: Scale) -> Iterator[tuple[Piece, float, float]]:
    """Pieces with the pixels at which they begin and end. At a sharp edge, the neighbours meet in its middle.

    A state is never too thin to be seen.
    """
    last = len(pieces) - 1
    for n, piece in enumerate(pieces):
        if is_edge(piece, scale):
            continue
        left, right = scale.x(piece.from_at), scale.x(piece.until_at)
        if n and is_edge(pieces[n - 1], scale):
            begin = scale.x(pieces[n - 1].from_at)
            left = (begin + left) / 2 if n > 1 else begin
        if n < last and is_edge(pieces[n + 1], scale):
            end = scale.x(pieces[n + 1].until_at)
            right = (right + end) / 2 if n + 1 < last else end
        if right - left < NARROW and piece.state not in (UNKNOWN, ABSENT):
            left = min(max((left + right - NARROW) / 2, 0), scale.width - NARROW)
            right = left + NARROW
        yield piece, left, right


@dataclass(frozen=True, slots=True)
class Shapes:
    """Draws pieces as bars of a height, on a chart that begins at `origin`."""

    scale: Scale
    looks: Mapping[str, Look]
    origin: float
    height: float

    def of(self, piece: Piece, left: float, right: float, top: float) -> Iterator[tuple[str, str]]:
        """Style and path of each part of a piece that reaches from `left` to `right` of the chart."""
        bottom, middle = top + self.height, top + self.height / 2
        if piece.is_change and piece.span:
            yield from self._slope(piece.span, left, right, top)
            return
        l_, r = number(self.origin + left), number(self.origin + right)
        if piece.state == ABSENT:
            yield "absent", f"M{l_} {number(middle)}H{r}"
            return
        if piece.state:
            yield self._bar(piece.state, right - left), f"M{l_} {number(top)}H{r}V{number(bottom)}H{l_}z"
            return
        whole = sum(piece.shares.values())
        y = bottom
        for state in sorted(piece.shares, key=rank):
            height = self.height * (piece.shares[state] / whole if whole else 1 / len(piece.shares))
            y -= height
            if state != ABSENT:
                yield self._bar(state, right - left), f"M{l_} {number(y)}H{r}V{number(y + height)}H{l_}z"

    def _slope(self, span: Span, left: float, right: float, top: float) -> Iterator[tuple[str, str]]:
        """From one state to the other over the window of a change: a diagonal, or a point if one of them is absence.

        The picture may show only a part of the window.
        """
        begin, end = self.scale.x(span.from_at), self.scale.x(span.until_at)
        done = [(x - begin) / (end - begin) for x in (left, right)]
        x1, x2 = number(self.origin + left), number(self.origin + right)
        outer1 = number(self.origin + left - (_SEAM if left <= begin else 0))
        outer2 = number(self.origin + right + (_SEAM if right >= end else 0))
        bottom = number(top + self.height)
        if ABSENT in (span.earlier_state, span.later_state):
            is_beginning = span.earlier_state == ABSENT
            state = span.later_state if is_beginning else span.earlier_state
            half, middle = self.height / 2, top + self.height / 2
            a, b = (half * (share if is_beginning else 1 - share) for share in done)
            outer1, outer2 = (x1, outer2) if is_beginning else (outer1, x2)
            above = f"M{outer1} {number(middle - a)}H{x1}L{x2} {number(middle - b)}H{outer2}"
            yield self._key(state), f"{above}V{number(middle + b)}H{x2}L{x1} {number(middle + a)}H{outer1}z"
            return
        y1, y2 = (number(top + self.height * share) for share in done)
        yield self._key(span.earlier_state), f"M{outer1} {y1}H{x1}L{x2} {y2}V{bottom}H{outer1}z"
        yield self._key(span.later_state), f"M{x1} {number(top)}H{outer2}V{y2}H{x2}L{x1} {y1}z"

    def _bar(self, state: str, width: float) -> str:
        return "s-gap" if state == UNKNOWN and width < HATCHED else self._key(state)

    def _key(self, state: str | None) -> str:
        look = self.looks.get(state or "")
        return f"s-{look.key}" if look else "s-unknown"


@lru_cache(maxsize=10_000)
def number(value: float) -> str:
    """A number as text, to hundredths of a pixel."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
