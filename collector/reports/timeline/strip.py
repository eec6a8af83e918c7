"""A strip of days: each day a column, filled from the bottom in proportion to the time in each state.

The window of a change belongs to no state and has its own mark.

A strip is part of a page, whose style sheet has the looks (`style.state_rules`) and which contains the patterns once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

from collector.inventory.spans import ABSENT
from collector.reports.days import CHANGING, Days, Spent
from collector.reports.timeline.palette import Look, rank
from collector.reports.timeline.shapes import number
from collector.reports.timeline.words import in_words
from collector.reports.words import counted, printable, show_span

COLUMN, HEIGHT = 4.0, 18.0
"""Width of one day, in the unit of the drawing."""
_LEAST = 1.2
"""Least height of a state that took any time of a day."""


class Strip:
    """A strip, and its words."""

    def __init__(self, days: Days) -> None:
        self.days = days

    def svg(self, looks: Mapping[str, Look]) -> str:
        """The drawing, without words."""
        return _drawn(self.days, looks)

    @property
    def summary(self) -> str:
        """`90 days: ACTIVE 94 %, unknown 6 %`: the whole strip in one line."""
        spent: defaultdict[str, float] = defaultdict(float)
        for first, end, of_day in self.days.runs:
            for state, seconds in of_day.items():
                spent[state] += seconds * (end - first)
        whole = sum(spent.values())
        if not whole:
            return f"{counted(self.days.count, 'day')}: not on record"
        parts = [f"{_in_words(state)} {_percent(spent[state] / whole)}" for state in sorted(spent, key=rank)]
        return f"{counted(self.days.count, 'day')}: {', '.join(parts)}"

    @property
    def attribute(self) -> str:
        """Each day that differs from the one before: `0 ACTIVE|12 ACTIVE 20 h 40 min, MAINTENANCE 3 h 20 min`."""
        said: list[str] = []
        before = None
        for first, _, spent in self.days.runs:
            text = day_in_words(spent)
            if text != before:
                said.append(f"{first} {text.replace('|', '¦')}")
                before = text
        return "|".join(said)


def _drawn(days: Days, looks: Mapping[str, Look]) -> str:
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for first, end, spent in days.runs:
        bottom = HEIGHT
        left, right = number(first * COLUMN), number(end * COLUMN)
        for state, share in _shares(spent):
            height = HEIGHT * share
            if state == ABSENT:
                paths["absent"].append(f"M{left} {number(bottom - height / 2)}H{right}")
            else:
                top, low = number(bottom - height), number(bottom)
                paths[_key(state, looks)].append(f"M{left} {top}H{right}V{low}H{left}z")
            bottom -= height
    width = number(days.count * COLUMN)
    drawn = "".join(f'<path class="{key}" d="{"".join(ds)}"/>' for key, ds in sorted(paths.items()))
    return (
        f'<svg viewBox="0 0 {width} {number(HEIGHT)}" preserveAspectRatio="none" aria-hidden="true">'
        f'{drawn}<path class="seam" d="{_seams(days.count)}"/></svg>'
    )


def _key(state: str, looks: Mapping[str, Look]) -> str:
    """How a state is drawn: a class of the style sheet."""
    if state == CHANGING:
        return "s-changing"
    return f"s-{looks[state].key}" if state in looks else "s-unknown"


@cache
def _seams(count: int) -> str:
    """Lines between the days."""
    return "".join(f"M{number(n * COLUMN)} 0V{number(HEIGHT)}" for n in range(1, count))


def swatch(state: str, looks: Mapping[str, Look]) -> str:
    """A small sample of the look of a state, beside its name."""
    drawn = f'<path class="{_key(state, looks)}" d="M0 0H12V12H0z"/>'
    if state == ABSENT:
        drawn = '<path class="absent" d="M0 6H12"/>'
    return f'<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">{drawn}</svg>'


def _shares(spent: Spent) -> Sequence[tuple[str, float]]:
    """States from bottom to top with the share of the column that each takes; none is too thin to be seen.

    The window of a change is above the lowest state, so that it separates two states.
    """
    if len(spent) == 1:
        return [(next(iter(spent)), 1.0)]
    whole = sum(spent.values())
    if not whole:
        return ()
    least = _LEAST / HEIGHT
    shares = {state: max(seconds / whole, least) for state, seconds in spent.items() if seconds > 0}
    total = sum(shares.values())
    ordered = sorted(shares, key=rank)
    if CHANGING in shares:
        ordered.remove(CHANGING)
        ordered.insert(1, CHANGING)
    return [(state, round(shares[state] / total, 3)) for state in ordered]


def day_in_words(spent: Spent) -> str:
    """`ACTIVE`, or `ACTIVE 20 h 20 min, MAINTENANCE 3 h 20 min, changing within 20 min`, or `not on record`."""
    if not spent:
        return "not on record"
    ordered = sorted((state for state, seconds in spent.items() if seconds > 0), key=rank)
    if len(ordered) == 1:
        return _in_words(ordered[0])
    return ", ".join(f"{_in_words(state)} {show_span(spent[state])}" for state in ordered)


def _in_words(state: str) -> str:
    return "changing within" if state == CHANGING else printable(in_words(state))


def _percent(share: float) -> str:
    """Never 0 % for a state that was there, nor 100 % if there was another one."""
    if 0 < share < 0.01:
        return "under 1 %"
    return "over 99 %" if 0.99 < share < 1 else f"{share:.0%}".replace("%", " %")
