"""A strip of days: each day a column, filled from the bottom in proportion to the time in each state.

Drawn to stand in a page, whose style sheet has the looks (`style.state_rules`) and which holds the patterns once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from collector.inventory.spans import ABSENT, UNKNOWN
from collector.reports.days import Day
from collector.reports.timeline.palette import Look, rank
from collector.reports.timeline.shapes import number
from collector.reports.timeline.words import in_words
from collector.reports.words import printable, show_span

COLUMN, HEIGHT = 4.0, 18.0
"""Of one day, in the unit of the drawing."""
_LEAST = 1.2
"""A state that took any time of a day is never thinner than this."""


class Strip:
    """A strip, and what it says."""

    def __init__(self, days: Sequence[Day]) -> None:
        self.days = days
        self._runs = list(_runs(days))

    def svg(self, looks: Mapping[str, Look]) -> str:
        """The drawing, without words."""
        return _drawn(self._runs, looks)

    @property
    def summary(self) -> str:
        """`90 days: ACTIVE 94 %, unknown 6 %`: the whole strip in one line."""
        spent: defaultdict[str, float] = defaultdict(float)
        for day in self.days:
            for state, seconds in day.seconds.items():
                spent[state] += seconds
        whole = sum(spent.values())
        if not whole:
            return f"{len(self.days)} days: not on record"
        ordered = sorted(spent, key=rank)
        parts = [f"{printable(in_words(state))} {_percent(spent[state] / whole)}" for state in ordered]
        return f"{len(self.days)} days: {', '.join(parts)}"

    @property
    def attribute(self) -> str:
        """Each day that differs from the one before: `0 ACTIVE|12 MAINTENANCE 3 h 20 min, …`."""
        said: list[tuple[int, str]] = []
        for n, _, day in self._runs:
            text = day_in_words(day)
            if not said or said[-1][1] != text:
                said.append((n, text))
        return "|".join(f"{n} {text.replace('|', '¦')}" for n, text in said)


def _runs(days: Sequence[Day]) -> Iterator[tuple[int, int, Day]]:
    """Days that were spent alike, one after the other: the number of the first, that of the next one, and the first."""
    begin = 0
    for n in range(1, len(days) + 1):
        if n == len(days) or (
            days[n].seconds is not days[begin].seconds and days[n].seconds != days[begin].seconds
        ):
            yield begin, n, days[begin]
            begin = n


def _drawn(runs: Sequence[tuple[int, int, Day]], looks: Mapping[str, Look]) -> str:
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for begin, end, day in runs:
        bottom = HEIGHT
        left, right = number(begin * COLUMN), number(end * COLUMN)
        for state, share in _shares(day):
            height = HEIGHT * share
            if state == ABSENT:
                paths["absent"].append(f"M{left} {number(bottom - height / 2)}H{right}")
            else:
                look = looks.get(state)
                key = "s-unknown" if state == UNKNOWN or look is None else f"s-{look.key}"
                paths[key].append(f"M{left} {number(bottom - height)}H{right}V{number(bottom)}H{left}z")
            bottom -= height
    count = runs[-1][1] if runs else 0
    width = number(count * COLUMN)
    drawn = "".join(f'<path class="{key}" d="{"".join(ds)}"/>' for key, ds in sorted(paths.items()))
    return (
        f'<svg viewBox="0 0 {width} {number(HEIGHT)}" preserveAspectRatio="none" aria-hidden="true">'
        f'{drawn}<path class="seam" d="{_seams(count)}"/></svg>'
    )


@cache
def _seams(count: int) -> str:
    """Lines between the days."""
    return "".join(f"M{number(n * COLUMN)} 0V{number(HEIGHT)}" for n in range(1, count))


def swatch(state: str, looks: Mapping[str, Look]) -> str:
    """A small sample of how a state looks, to stand beside its name."""
    look = looks.get(state)
    key = f"s-{look.key}" if look else "s-unknown"
    drawn = f'<path class="{key}" d="M0 0H12V12H0z"/>'
    if state == ABSENT:
        drawn = '<path class="absent" d="M0 6H12"/>'
    return f'<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">{drawn}</svg>'


def _shares(day: Day) -> tuple[tuple[str, float], ...]:
    """States from bottom to top with the share of the column that each takes; none is too thin to be seen."""
    whole = sum(day.seconds.values())
    if not whole:
        return ()
    least = _LEAST / HEIGHT
    shares = {state: max(seconds / whole, least) for state, seconds in day.seconds.items() if seconds > 0}
    total = sum(shares.values())
    return tuple((state, round(shares[state] / total, 3)) for state in sorted(shares, key=rank))


def day_in_words(day: Day) -> str:
    """`ACTIVE`, or `ACTIVE 20 h 40 min, MAINTENANCE 3 h 20 min`, or `not known yet`."""
    if day.is_blank:
        return "not on record"
    ordered = sorted((s for s in day.seconds if day.seconds[s] > 0), key=rank)
    if len(ordered) == 1:
        return printable(in_words(ordered[0]))
    return ", ".join(f"{printable(in_words(state))} {show_span(day.seconds[state])}" for state in ordered)


def _percent(share: float) -> str:
    """Never 0 % of what was there, nor 100 % where there was anything else."""
    if 0 < share < 0.01:
        return "under 1 %"
    return "over 99 %" if 0.99 < share < 1 else f"{share:.0%}".replace("%", " %")
