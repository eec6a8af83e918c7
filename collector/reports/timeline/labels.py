"""The names of states, written on their bars."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from collector.inventory.spans import ABSENT, UNKNOWN
from collector.reports.timeline.measure import shortened, text_width
from collector.reports.timeline.palette import Look
from collector.reports.timeline.pieces import Piece
from collector.reports.timeline.shapes import number
from collector.reports.timeline.words import in_words
from collector.reports.words import printable

_PADDING = 6.0
"""Pixels between the edge of a bar and its label."""
_FEWEST = 5
"""Letters of a state that are left of a label that does not fit."""


class Labels:
    """The labels of one lane, from left to right.

    A state is named once, and not again after each time in which nothing could be seen.
    """

    def __init__(self, looks: Mapping[str, Look], size: float, origin: float, middle: float) -> None:
        """`size`: of the font. `origin`, `middle`: where the chart begins, and the middle of the lane."""
        self._looks, self._size, self._origin, self._middle = looks, size, origin, middle
        self._said: str | None = None

    def of(self, piece: Piece, left: float, right: float) -> str:
        """The label of a piece that reaches from `left` to `right` of the chart; empty if it gets none."""
        if piece.state == UNKNOWN:
            return self._drawn(UNKNOWN, left, right, 0.36)
        if piece.state == self._said:
            return ""
        above = piece.state == ABSENT  # its line is thin
        label = self._drawn(piece.state, left, right, -0.25 if above else 0.36) if piece.state else ""
        self._said = piece.state if label else None
        return label

    def _drawn(self, state: str, left: float, right: float, below: float) -> str:
        look, room = self._looks.get(state), right - left - 2 * _PADDING
        if room <= 0 or (look is None and state not in (UNKNOWN, ABSENT)):
            return ""
        text = self._fitted(printable(in_words(state)), room)
        if not text:
            return ""
        at = f'x="{number(self._origin + left + _PADDING)}" y="{number(self._middle + self._size * below)}"'
        key = look.key if look else "none"
        # Not with paint-order, which some printers and converters do not support.
        ground = "unknown" if state == UNKNOWN else key if look and look.mark else ""
        halo = f'<text class="state halo h-{ground}" {at}>{escape(text)}</text>' if ground else ""
        return f'{halo}<text class="state t-{key}" {at}>{escape(text)}</text>'

    def _fitted(self, text: str, room: float) -> str:
        """The text, or enough letters of it to be recognized, or nothing."""
        spacing = 0.02 * self._size * len(text)
        if text_width(text, self._size, bold=True) + spacing <= room:
            return text
        short = shortened(text, room - spacing, self._size, bold=True)
        return short if len(short) > _FEWEST else ""
