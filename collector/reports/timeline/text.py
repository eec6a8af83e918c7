"""A timeline in the characters of a terminal, with one line per lane.

A column is a piece of time, with one character for what was seen in it:
    one state                       the character of the state
    a change of one state to another, or several
    unknown for half of it or more  hatched; less than that does not show
    before the first sighting          blank
So a character never claims a state that was not there. Colours repeat the characters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from collector.inventory.spans import ABSENT, UNKNOWN
from collector.reports.timeline.axis import Tick, axis
from collector.reports.timeline.marks import MUTED, MUTED_BASIC, Mark, marks
from collector.reports.timeline.measure import columns, shortened
from collector.reports.timeline.palette import KNOWN, RESERVED
from collector.reports.timeline.picture import Lane, Picture
from collector.reports.timeline.pieces import Piece, Scale
from collector.reports.timeline.words import in_words
from collector.reports.words import printable, show_span

Segment = tuple[str, str]
"""A text and its colour; empty: the default colour."""
Line = list[Segment]

LONG = 40
"""Lines of a picture that has its axis below, too."""
LEAST = 20
"""Least number of columns of the chart, however narrow the terminal is."""
FINE = 16
"""Units of width of a picture per column of the terminal, because names decide how many columns are left for the
chart."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The characters beside those of the states."""

    unknown: str
    absent: str
    change: str
    several: str
    tick: str
    more: str
    is_ascii: bool
    has_few_colours: bool = False
    """True if the terminal knows only 16 colours."""

    def of(self, mark: Mark) -> Segment:
        """The character of a state, and its colour."""
        return (
            mark.letter if self.is_ascii else mark.block,
            mark.basic if self.has_few_colours else mark.colour,
        )

    @property
    def muted(self) -> str:
        """The colour of what is no state."""
        return MUTED_BASIC if self.has_few_colours else MUTED

    @property
    def all(self) -> str:
        every = (*KNOWN.values(), *RESERVED)
        blocks = "" if self.is_ascii else "".join(look.block for look in every)
        return "".join((self.unknown, self.absent, self.change, self.several, self.tick, self.more, blocks))


BLOCKS = Signs("╱", "·", "│", "┼", "╷", "…", is_ascii=False)
ASCII = Signs("?", ".", "|", "*", "'", "~", is_ascii=True)


def label_width(names: Sequence[str], width: int) -> int:
    """Columns for the names: enough for the longest one, but at most a third of all."""
    return min(max((columns(name) for name in names), default=0), max(width // 3, 8))


def draw(picture: Picture, width: int, signs: Signs = BLOCKS) -> list[Line]:
    """Lines of at most `width` columns, if that leaves LEAST columns for the chart.

    The picture's scale is FINE times as wide.
    """
    names = [printable(lane.name.text) for lane in picture.lanes]
    labels = label_width(names, width)
    chart = max(width - labels - 2, LEAST)
    scale = replace(picture.scale, width=chart)
    used = _Used()
    found = marks(picture.states)
    rows: list[Line] = []
    heading = ""
    for lane, name in zip(picture.lanes, names, strict=True):
        if (above := picture.heading(lane)) != heading:
            heading = above
            rows.append([(_fit(printable(heading), labels + 2 + chart, signs).rstrip(), "bold")])
        rows.append([(_fit(name, labels, signs) + "  ", ""), *_bar(lane, scale, chart, found, signs, used)])
    head = _axis_lines(scale, labels, chart, signs)
    foot = _legend(found, used, signs, labels + 2 + chart)
    column = f"one column is {show_span((scale.until - scale.since) / chart)}; times are UTC"
    hidden = "unknown time of less than half of a column is not shown"
    said = [
        each
        for text in (column, hidden if used.hides_unknown else "")
        for each in wrap(text, max(width, LEAST))
    ]
    notes: list[Line] = [[(line, signs.muted)] for line in said]
    axis_below = head[::-1] if len(rows) > LONG else []
    return [*head, *rows, *axis_below, [], *foot, *notes]


class _Used:
    """The signs that occur, for the legend."""

    def __init__(self) -> None:
        self.states: set[str] = set()
        self.signs: set[str] = set()
        self.hides_unknown = False


def _bar(lane: Lane, scale: Scale, chart: int, found: dict[str, Mark], signs: Signs, used: _Used) -> Line:
    cells = _cells(lane.pieces, scale, chart)
    line: Line = []
    for cell in cells:
        sign, colour = _sign(cell, found, signs, used)
        if line and line[-1][1] == colour:
            line[-1] = (line[-1][0] + sign, colour)
        else:
            line.append((sign, colour))
    return line


class _Cell:
    """The content of a column: time in each state and in no known state, and the number of changes."""

    def __init__(self) -> None:
        self.shares: defaultdict[str, float] = defaultdict(float)
        self.changes = 0


def _cells(pieces: Iterable[Piece], scale: Scale, chart: int) -> list[_Cell]:
    cells = [_Cell() for _ in range(chart)]
    for piece in pieces:
        left, right = scale.x(piece.from_at), scale.x(piece.until_at)
        first = min(int(left), chart - 1)
        last = min(max(int(-(-right // 1)) - 1, first), chart - 1)
        whole = sum(piece.shares.values())
        for n in range(first, last + 1):
            part = max(min(right, n + 1) - max(left, n), 0.0)
            for state, seconds in piece.shares.items():
                cells[n].shares[state] += part * (seconds / whole if whole else 1 / len(piece.shares))
            if piece.is_change and piece.span:
                for side in (piece.span.earlier_state, piece.span.later_state):
                    cells[n].shares[str(side)] += part / 2
            cells[n].changes += piece.changes + piece.is_change
    return cells


def _sign(cell: _Cell, found: dict[str, Mark], signs: Signs, used: _Used) -> Segment:
    if not cell.shares:
        return " ", ""
    known = [s for s in cell.shares if s != UNKNOWN]
    if not known or cell.shares[UNKNOWN] >= sum(cell.shares.values()) / 2:
        used.signs.add(signs.unknown)
        return signs.unknown, signs.muted
    if len(known) > 1:
        sign = signs.change if len(known) == 2 and cell.changes < 2 else signs.several
        used.signs.add(sign)
        return sign, ""
    (state,) = known
    if state == ABSENT:
        used.signs.add(signs.absent)
        return signs.absent, signs.muted
    used.states.add(state)
    used.hides_unknown |= cell.shares.get(UNKNOWN, 0) > 0
    return signs.of(found[state])


def _axis_lines(scale: Scale, labels: int, chart: int, signs: Signs) -> list[Line]:
    """Days, months or years in the first line; the labels of the ticks, each beginning at its tick, below."""
    found = axis(scale, columns, gap=2, apart=6, overhang=chart)
    shown = [Tick(t.x, t.label) for t in found.ticks if int(t.x) + columns(t.label) <= chart]
    lines = [found.contexts, tuple(shown)] if found.contexts else [tuple(shown)]
    return [[(" " * (labels + 2) + _placed(ticks, chart), signs.muted)] for ticks in lines]


def _placed(ticks: Sequence[Tick], chart: int) -> str:
    line = [" "] * chart
    for tick in ticks:
        start = min(int(tick.x), chart - 1)
        for n, character in enumerate(tick.label[: chart - start]):
            line[start + n] = character
    return "".join(line).rstrip()


def _legend(found: dict[str, Mark], used: _Used, signs: Signs, width: int) -> list[Line]:
    """Only signs that occur."""
    items: list[tuple[str, str, str]] = [
        (*signs.of(mark), printable(state)) for state, mark in found.items() if state in used.states
    ]
    for sign, said in (
        (signs.unknown, f"{in_words(UNKNOWN)} for half of a column or more"),
        (signs.absent, in_words(ABSENT)),
        (signs.change, "changed"),
        (signs.several, "changed more than once"),
    ):
        if sign in used.signs:
            items.append((sign, "" if sign in (signs.change, signs.several) else signs.muted, said))
    lines: list[Line] = [[]]
    room = width
    for sign, colour, said in items:
        said = shortened(said, max(width - 6, 8)) if not signs.is_ascii else said
        taken = 3 + columns(said) + 3
        if lines[-1] and taken - 3 > room:
            lines.append([])
            room = width
        lines[-1] += [(sign * 2, colour), (f" {said}   ", "")]
        room -= taken + 1
    return [line for line in lines if line]


def _fit(text: str, room: int, signs: Signs) -> str:
    text = shortened(text, room)
    if signs.is_ascii:
        text = text.replace("…", signs.more)
    return text + " " * (room - columns(text))
