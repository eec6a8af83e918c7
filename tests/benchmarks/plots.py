"""A chart with two logarithmic axes, as SVG: lines of points, and the exponent of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from tests.benchmarks.curves import exponent

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 250, 40, 50
_COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#a16207", "#be123c")

Points = Sequence[tuple[float, float]]


def chart(title: str, x_name: str, y_name: str, lines: Mapping[str, Points]) -> str:
    """`lines`: points by name; all values are positive."""
    points = [point for each in lines.values() for point in each]
    x = _Axis([a for a, _ in points], _LEFT, _WIDTH - _RIGHT)
    y = _Axis([b for _, b in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        f' font-size="12" role="img"><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text transform="translate(16 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>",
    ]
    for value, place in x.ticks():
        parts.append(
            f'<path d="M{place:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#ddd"/>'
            f'<text x="{place:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:,.7g}</text>'
        )
    for value, place in y.ticks():
        parts.append(
            f'<path d="M{_LEFT} {place:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{value:,.7g}</text>'
        )
    for number, (name, each) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(x.place(a), y.place(b)) for a, b in each]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in places]
        text = f"{name}: n^{exponent(each):.2f}" if len(each) > 1 else name
        parts.append(
            f'<text x="{_WIDTH - _RIGHT + 14}" y="{_TOP + 14 + 20 * number}" fill="{colour}">{escape(text)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


class _Axis:
    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low = math.floor(math.log10(min(values)))
        self._high = max(math.ceil(math.log10(max(values))), self._low + 1)
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[tuple[float, float]]:
        return [(10.0**n, self.place(10.0**n)) for n in range(self._low, self._high + 1)]
