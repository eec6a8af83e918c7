"""A timeline as SVG: one self-contained file without scripts.

CSS chooses light or dark by the viewer's preference; prints are always light. The <title> of a bar has its state, its
times, how sure they are, and the observation that showed it. In a picture with more than MANY pieces, bars of a lane
that look alike become one path without titles, so its size depends on lanes and width, not on time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from html import escape

from collector.inventory.spans import ABSENT, UNKNOWN
from collector.reports.spans import ASSUMPTION
from collector.reports.timeline.axis import Tick, axis
from collector.reports.timeline.labels import Labels
from collector.reports.timeline.measure import shortened, text_width
from collector.reports.timeline.palette import looks
from collector.reports.timeline.picture import Lane, Picture
from collector.reports.timeline.pieces import NARROW
from collector.reports.timeline.shapes import HATCHED, Shapes, is_edge, number, placed
from collector.reports.timeline.style import patterns, style_sheet
from collector.reports.timeline.words import summary, tooltip
from collector.reports.words import counted, printable, show_span, show_time

WIDTH = 960
MARGIN = 24
LEFT = 188
"""Where the chart begins. Names are to its left."""
CHART = WIDTH - LEFT - MARGIN
MANY = 20_000
_SOURCES, _SAID = 12, 60


class _Size:
    """Heights and font sizes: large, or small if there are many lanes."""

    def __init__(self, lanes: int) -> None:
        self.row, self.bar, self.name, self.state = (
            (24, 15, 12.0, 9.0) if lanes <= 60 else (16, 11, 10.0, 7.5)
        )


def draw(picture: Picture) -> str:
    """The SVG of a picture, whose scale is CHART wide. The same picture gives the same text."""
    return "\n".join(_Drawing(picture).lines()) + "\n"


def inline(picture: Picture, title: str) -> str:
    """The same for a page, which must have the style sheet (`style.page_style`) and the patterns. The page has its own
    title, legend and foot."""
    return "\n".join(_Drawing(picture).inline(title))


class _Drawing:
    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.looks = looks(picture.states)
        self.size = _Size(len(picture.lanes))
        self.axis = axis(
            picture.scale,
            lambda text: text_width(text, 10.5, bold=True),
            gap=14,
            apart=44,
            overhang=MARGIN - 4,
        )
        self.shapes = Shapes(picture.scale, self.looks, LEFT, self.size.bar)
        self.is_plain = sum(len(lane.pieces) for lane in picture.lanes) > MANY
        self.body: list[str] = []
        self.y = 0.0

    def lines(self) -> Iterator[str]:
        self._head()
        self._legend()
        self._axis_above()
        top = self.y
        grid_at = len(self.body)
        self._lanes()
        self.body[grid_at:grid_at] = self._grid(top, self.y)
        if len(self.picture.lanes) > 24:
            self._axis_below()
        self._foot()
        height = number(self.y)
        used = list({look.key: look for look in self.looks.values()}.values())
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' role="img" aria-labelledby="timeline-title timeline-desc" lang="en">'
        )
        yield f'<title id="timeline-title">{_text(self._title())}, {_text(self._when())}</title>'
        yield f'<desc id="timeline-desc">{_text(self._description())}</desc>'
        yield f"<style>\n{style_sheet(used, self.size.name, self.size.state)}\n</style>"
        yield "<defs>"
        yield from patterns(used)
        yield "</defs>"
        yield f'<rect class="paper" width="{WIDTH}" height="{height}"/>'
        yield from self.body
        yield "</svg>"

    def inline(self, title: str) -> Iterator[str]:
        self.y = -16
        self._axis_above()
        top = self.y
        grid_at = len(self.body)
        self._lanes()
        self.body[grid_at:grid_at] = self._grid(top, self.y)
        yield (
            f'<svg class="timeline" viewBox="0 0 {WIDTH} {number(self.y)}" role="img" '
            f'aria-label="{_text(title)}, {_text(self._when())}">'
        )
        yield from self.body
        yield "</svg>"

    # Texts

    def _title(self) -> str:
        lanes = self.picture.lanes
        if len(lanes) == 1:
            of = "the keystone of " if self.picture.entity == "keystone" else ""
            return f"States of {of}{lanes[0].name.text}"
        return (
            f"States of {len(lanes):,} {self.picture.entity}s" if lanes else "Nothing is known of this time"
        )

    def _when(self) -> str:
        scale = self.picture.scale
        length = scale.until - scale.since
        since, until = scale.since, scale.until
        if length >= timedelta(minutes=10):
            since, until = since.replace(microsecond=0), until.replace(microsecond=0)
        return f"{show_time(since)} to {show_time(until)} ({_long(length)})"

    def _description(self) -> str:
        said = summary(self.picture.lanes[:_SAID])
        more = len(self.picture.lanes) - _SAID
        if more > 0:
            said.append(f"And {more:,} more.")
        return " ".join(
            [
                "One lane each, time from left to right; hatched where the state is unknown.",
                *said,
                f"Assumed: {ASSUMPTION}.",
            ]
        )

    # From top to bottom

    def _head(self) -> None:
        title = shortened(printable(self._title()), WIDTH - 2 * MARGIN, 17, bold=True)
        sources = self.picture.sources
        of = f"source {sources[0]}, " if len(sources) == 1 else ""
        of = shortened(printable(of), WIDTH / 2, 11.5)
        self.body.append(f'<text class="title" x="{MARGIN}" y="36">{escape(title)}</text>')
        self.body.append(f'<text class="sub" x="{MARGIN}" y="55">{escape(of)}{_text(self._when())}</text>')
        self.y = 68

    def _legend(self) -> None:
        """Only looks that occur."""
        samples: list[tuple[str, str]] = [(f"s-{look.key}", state) for state, look in self.looks.items()]
        if UNKNOWN in self.picture.states:
            samples.append(("s-unknown", "unknown"))
        if self._has_thin_gaps():
            samples.append(("thin", "unknown for a short time"))
        if ABSENT in self.picture.states:
            samples.append(("absent", "absent"))
        all_ = [piece for lane in self.picture.lanes for piece in lane.pieces]
        if any(p.is_change and not is_edge(p, self.picture.scale) for p in all_):
            samples.append(("slope", "changed at an unknown moment within"))
        if any(len(p.shares) > 1 for p in all_):
            samples.append(("mixed", "several, too short to be distinguished: shares of time"))
        if not samples:
            return
        x = float(MARGIN)
        for key, said in samples:
            label = shortened(printable(said), 300, 11)
            width = 26 + text_width(label, 11)
            if x > MARGIN and x + width > WIDTH - MARGIN:
                x, self.y = float(MARGIN), self.y + 19
            self.body += [
                *self._sample(key, x, self.y),
                f'<text class="legend" x="{number(x + 26)}" y="{number(self.y + 9.5)}">{escape(label)}</text>',
            ]
            x += width + 18
        self.y += 16

    def _has_thin_gaps(self) -> bool:
        """True if unknown time is so short somewhere that it is not hatched."""
        return any(
            piece.state == UNKNOWN and right - left < HATCHED
            for lane in self.picture.lanes
            for piece, left, right in placed(lane.pieces, self.picture.scale)
        )

    def _sample(self, key: str, x: float, y: float) -> list[str]:
        """20 pixels wide and 12 high."""
        states = [f"s-{look.key}" for look in self.looks.values()] or ["s-unknown"]
        low, high = states[0], states[-1] if len(states) > 1 else "s-gap"
        parts = {
            "absent": [("absent", "m0 6h20")],
            "thin": [(low, "h9v12h-9z"), ("s-gap", "m9 0h2v12h-2z"), (low, "m11 0h9v12h-9z")],
            "slope": [(low, "h5l10 12h-15z"), (high, "m5 0h15v12h-5z")],
            "mixed": [(low, "m0 4h20v8h-20z"), (high, "h20v4h-20z")],
        }
        return [
            f'<path class="{name}" d="M{number(x)} {number(y)}{d}"/>'
            for name, d in parts.get(key, [(key, "h20v12h-20z")])
        ]

    def _axis_above(self) -> None:
        contexts, ticks = self.axis.contexts, self.axis.ticks
        self.y += 26
        if contexts:
            self.body += self._labels(contexts, "context", self.y)
            self.y += 15
        self.body += self._labels(ticks, "tick", self.y)
        self.y += 7

    def _axis_below(self) -> None:
        self.y += 14
        self.body += self._labels(self.axis.ticks, "tick", self.y)
        if self.axis.contexts:
            self.y += 15
            self.body += self._labels(self.axis.contexts, "context", self.y)

    @staticmethod
    def _labels(ticks: tuple[Tick, ...], key: str, y: float) -> list[str]:
        return [
            f'<text class="{key}" x="{number(LEFT + t.x)}" y="{number(y)}">{escape(t.label)}</text>'
            for t in ticks
            if t.label
        ]

    def _grid(self, top: float, bottom: float) -> list[str]:
        strong = {round(t.x, 3) for t in self.axis.contexts if t.x > 0}
        lines = [t.x for t in self.axis.ticks if round(t.x, 3) not in strong]
        d = "".join(f"M{number(LEFT + x)} {number(top)}V{number(bottom)}" for x in lines)
        found = [f'<path class="grid" d="{d}"/>'] if d else []
        d = "".join(f"M{number(LEFT + x)} {number(top)}V{number(bottom)}" for x in sorted(strong))
        return [*found, *([f'<path class="grid strong" d="{d}"/>'] if d else [])]

    def _lanes(self) -> None:
        self.y += 4
        heading = ""
        for lane in self.picture.lanes:
            if (above := self.picture.heading(lane)) != heading:
                heading = above
                self._heading(heading)
            self.body += self._lane(lane)
            self.y += self.size.row
        self.y += 4

    def _heading(self, text: str) -> None:
        name = shortened(printable(text), LEFT - MARGIN - 8, 11, bold=True)
        self.body.append(
            f'<text class="source" x="{MARGIN}" y="{number(self.y + 17)}">'
            f"{escape(name)}<title>{_text(text)}</title></text>"
        )
        self.body.append(f'<path class="rule" d="M{MARGIN} {number(self.y + 23)}H{WIDTH - MARGIN}"/>')
        self.y += 28

    def _lane(self, lane: Lane) -> list[str]:
        size, name = self.size, lane.name
        middle = self.y + size.row / 2
        base = middle + size.name * 0.36
        country = shortened(printable(name.country or ""), 26, 9)
        room = LEFT - MARGIN - 10 - (text_width(country, 9) + 8 if country else 0)
        place = ", ".join(printable(p) for p in (name.country, name.zone) if p)
        whole = printable(name.text) + (f" ({place})" if place else "") + f", id {name.entity_id}"
        found = [
            f'<g><text class="name" x="{MARGIN}" y="{number(base)}">'
            f"{escape(shortened(printable(name.text), room, size.name))}<title>{escape(whole)}</title></text>"
        ]
        if country:
            found.append(f'<text class="place" x="{LEFT - 10}" y="{number(base)}">{escape(country)}</text>')
        found += self._plain(lane) if self.is_plain else self._titled(lane)
        return [*found, "</g>"]

    # Bars

    def _titled(self, lane: Lane) -> list[str]:
        found: list[str] = []
        ticks: list[str] = []
        labels = self._labels_of_lane()
        for piece, left, right in placed(lane.pieces, self.picture.scale):
            shapes = list(self.shapes.of(piece, left, right, self.y + (self.size.row - self.size.bar) / 2))
            if not shapes:
                continue
            title = f"<title>{_text(tooltip(lane, piece))}</title>"
            drawn = "".join(f'<path class="{key}" d="{d}"/>' for key, d in shapes)
            is_thin = right - left <= NARROW
            label = labels.of(piece, left, right)
            (ticks if is_thin else found).append(f"<g>{title}{drawn}{label}</g>")
        return found + ticks

    def _plain(self, lane: Lane) -> list[str]:
        paths: defaultdict[str, list[str]] = defaultdict(list)
        labels, drawn = self._labels_of_lane(), ""
        for piece, left, right in placed(lane.pieces, self.picture.scale):
            for key, d in self.shapes.of(piece, left, right, self.y + (self.size.row - self.size.bar) / 2):
                paths[key].append(d)
            drawn += labels.of(piece, left, right)
        bars = [f'<path class="{key}" d="{"".join(ds)}"/>' for key, ds in paths.items()]
        return [*bars, drawn] if drawn else bars

    def _labels_of_lane(self) -> Labels:
        return Labels(self.looks, self.size.state, LEFT, self.y + self.size.row / 2)

    # Foot and style

    def _foot(self) -> None:
        self.y += 30
        said = [
            f"Source {printable(row['source'])}, observation {row['seq']}, head {row['head']}"
            for row in self.picture.heads[:_SOURCES]
        ]
        if len(self.picture.heads) > _SOURCES:
            said.append(f"and {counted(len(self.picture.heads) - _SOURCES, 'more source')}")
        said.append(f"Made {show_time(self.picture.made_at)}. Times are UTC. Assumed: {ASSUMPTION}.")
        for line in said:
            line = shortened(line, WIDTH - 2 * MARGIN, 9)
            self.body.append(f'<text class="foot" x="{MARGIN}" y="{number(self.y)}">{escape(line)}</text>')
            self.y += 14
        self.y += 6


def _long(length: timedelta) -> str:
    return f"{length.days:,} days" if length >= timedelta(days=60) else show_span(length)


def _text(text: str) -> str:
    """Text that is safe in XML; line breaks are kept."""
    return escape("\n".join(printable(line) for line in text.split("\n")))
