"""Pictures of states over time: what they show, where, and that they claim nothing that was not seen.

python -m tests.reports.test_timeline --write       writes the picture in the documentation again
"""

from __future__ import annotations

import itertools
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.database.transactions import reading
from collector.inventory.spans import ABSENT, UNKNOWN, Span
from collector.reports.spans import ASSUMPTION, SpanFilter
from collector.reports.timeline import svg
from collector.reports.timeline.axis import axis
from collector.reports.timeline.lanes import Name
from collector.reports.timeline.measure import columns, shortened, text_width
from collector.reports.timeline.palette import KNOWN, Look, looks
from collector.reports.timeline.picture import Lane, Picture, picture
from collector.reports.timeline.pieces import CELL, NARROW, Scale, pieces, with_moments
from collector.reports.timeline.shapes import placed
from collector.reports.timeline.text import ASCII, BLOCKS, FINE, Signs
from collector.reports.timeline.text import draw as draw_text
from tests.support.builders import region
from tests.support.command import Said, collector, process
from tests.support.demo import DIGEST, DemoDatabase
from tests.support.history import NOON, History, failure
from tests.support.paths import ROOT
from tests.support.tools import tool

IN_DOCS = ROOT / "docs" / "timeline.svg"
SVG = "{http://www.w3.org/2000/svg}"
HOUR = timedelta(hours=1)


def spans_of(*told: tuple[Any, ...]) -> list[Span]:
    """Spans that follow one another from NOON on: (state, hours), and of UNKNOWN (cause, hours, earlier, later)."""
    found = []
    at = NOON
    for n, (what, hours, *around) in enumerate(told):
        end = at + hours * HOUR
        if what in ("change", "unobserved"):
            found.append(Span(UNKNOWN, at, end, *around, cause=what, seq=n))
        else:
            found.append(Span(what, at, end, seq=n))
        at = end
    return found


def drawn(*lanes: Sequence[Span], hours: float = 744, names: Sequence[str] = (), **fields: Any) -> Picture:
    """A picture of lanes from NOON on, svg.CHART pixels wide: of 744 hours each is a pixel."""
    width = fields.pop("width", svg.CHART)
    scale = Scale(NOON, NOON + hours * HOUR, width)
    found = tuple(
        Lane(Name("gcore", n, name, **fields), tuple(pieces(spans, scale)))
        for n, (spans, name) in enumerate(
            itertools.zip_longest(lanes, names, fillvalue="Region")
            if names
            else [(s, "Region") for s in lanes]
        )
    )
    heads = ({"source": "gcore", "seq": 7, "head": "ab" * 32},)
    return Picture("region", scale, found, heads, NOON + hours * HOUR)


def shapes(text: str) -> list[tuple[str, str, str]]:
    """Style, path and tooltip of everything that is drawn in lanes."""
    found = []
    for group in ET.fromstring(text).iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if title is not None:
            found += [
                (path.get("class", ""), path.get("d", ""), title.text or "")
                for path in group.iter(f"{SVG}path")
            ]
    return found


def xs(path: str) -> list[float]:
    """Where a bar begins and ends, in pixels of the chart."""
    found = [float(x) for x in re.findall(r"[MHL]([\d.]+)", path)]
    return [round(min(found) - svg.LEFT, 2), round(max(found) - svg.LEFT, 2)]


# Where things are


def test_bars_begin_and_end_where_the_states_do() -> None:
    lane = spans_of(
        ("NEW", 100),
        ("change", 20, "NEW", "ACTIVE"),
        ("ACTIVE", 80),
        ("unobserved", 50, "ACTIVE", "ACTIVE"),
        ("ACTIVE", 150),
        ("change", 1, "ACTIVE", "MAINTENANCE"),
        ("MAINTENANCE", 99),
        ("change", 10, "MAINTENANCE", ABSENT),
        (ABSENT, 90),
        ("change", 10, ABSENT, "ACTIVE"),
        ("ACTIVE", 134),
    )
    assert svg.CHART == 748
    found = [(key, *xs(d)) for key, d, _ in shapes(svg.draw(drawn(lane, hours=748)))]
    assert found == [
        ("s-new", 0, 100),
        ("s-new", 99.6, 120),  # the slope reaches a little into its own colour
        ("s-active", 100, 120.4),
        ("s-active", 120, 200),
        ("s-unknown", 200, 250),
        ("s-active", 250, 400.5),  # an edge of a pixel is sharp, in its middle
        ("s-maintenance", 400.5, 500),
        ("s-maintenance", 499.6, 510),
        ("absent", 510, 600),
        ("s-active", 600, 610.4),
        ("s-active", 610, 744),
    ]


def test_a_change_is_a_diagonal_over_its_window_and_a_part_of_it_where_the_picture_ends() -> None:
    lane = spans_of(("NEW", 100), ("change", 100, "NEW", "ACTIVE"), ("ACTIVE", 600))
    (_, whole, _), (_, over, _) = shapes(svg.draw(drawn(lane, hours=748)))[1:3]
    top, bottom = (float(y) for y in re.findall(r"(?:^M[\d.]+ |V)([\d.]+)", whole))
    assert bottom - top == 15
    assert whole == f"M287.6 {top:g}H288L388 {bottom:g}V{bottom:g}H287.6z"
    assert over == f"M288 {top:g}H388.4V{bottom:g}H388L288 {top:g}z"
    scale = Scale(NOON, NOON + 150 * HOUR, svg.CHART)
    cut = Picture("region", scale, (Lane(Name("s", 1, "R"), tuple(pieces(lane, scale))),), (), NOON)
    _, (key, half, _), _ = shapes(svg.draw(cut))
    assert key == "s-new"
    assert f"L936 {top + 7.5:g}V{bottom:g}" in half, "half of the window, half of the way"


def test_absence_begins_and_ends_in_a_point() -> None:
    lane = spans_of(
        ("NEW", 100), ("change", 50, "NEW", ABSENT), (ABSENT, 50), ("change", 50, ABSENT, "NEW"), ("NEW", 498)
    )
    _, (_, ending, _), (_, line, _), (_, beginning, _), _ = shapes(svg.draw(drawn(lane, hours=748)))
    middle = float(line.split(" ")[1].split("H")[0])
    top, bottom = f"{middle - 7.5:g}", f"{middle + 7.5:g}"
    assert ending == f"M287.6 {top}H288L338 {middle:g}H338V{middle:g}H338L288 {bottom}H287.6z"
    assert line == f"M338 {middle:g}H388"
    assert beginning == f"M388 {middle:g}H388L438 {top}H438.4V{bottom}H438L388 {middle:g}H388z"


def test_a_state_that_is_too_short_for_its_width_is_still_seen() -> None:
    lane = spans_of(
        ("ACTIVE", 300),
        ("change", 0.2, "ACTIVE", "MAINTENANCE"),
        ("MAINTENANCE", 0.2),
        ("change", 0.2, "MAINTENANCE", "ACTIVE"),
        ("ACTIVE", 447.4),
    )
    found = [(key, *xs(d)) for key, d, _ in shapes(svg.draw(drawn(lane, hours=748)))]
    # It comes last, so that it lies on top.
    assert found == [("s-active", 0, 300), ("s-active", 300.6, 748), ("s-maintenance", 299.55, 301.05)]


def test_what_one_poll_showed_between_two_blind_times_is_seen() -> None:
    lane = spans_of(
        ("ACTIVE", 100), ("unobserved", 100, "ACTIVE", "DELETING"), ("unobserved", 100, "DELETING", "ACTIVE")
    )
    found = shapes(svg.draw(drawn(lane, hours=748)))
    assert [(key, *xs(d)) for key, d, _ in found] == [
        ("s-active", 0, 100),
        ("s-unknown", 100, 200),
        ("s-unknown", 200, 300),
        ("s-deleting", 199.25, 200.75),
        ("s-active", 299.25, 300.75),
    ]
    assert found[3][2] == "Region: DELETING\n2026-05-09 20:00:00Z\none poll showed it, observation 2"


def test_states_that_are_too_close_share_a_piece_by_their_times() -> None:
    flapping: list[tuple[Any, ...]] = [("NEW", 100)]
    for _ in range(4):
        flapping += [
            ("change", 0.1, "NEW", "ACTIVE"),
            ("ACTIVE", 0.6),
            ("change", 0.1, "ACTIVE", "NEW"),
            ("NEW", 0.2),
        ]
    lane = spans_of(*flapping, ("NEW", 200))
    found = shapes(svg.draw(drawn(lane, hours=748)))
    mixed = [(key, d, title) for key, d, title in found if "too close" in title]
    assert [key for key, _, _ in mixed] == ["s-new", "s-active"]
    assert mixed[0][2].splitlines() == [
        "Region: ACTIVE 70%, NEW 30%",
        "2026-05-05 16:00:00Z to 2026-05-05 20:00:00Z",
        "8 changes, too close to be distinguished here",
    ]
    tops = [float(d.split(" ")[1].split("H")[0]) for _, d, _ in mixed]
    assert tops[0] - tops[1] == pytest.approx(15 * 0.7, abs=0.01)


# What was polled


@pytest.fixture
def told_lane(history: History) -> History:
    """NEW, then ACTIVE, a gap, then MAINTENANCE; another region is gone for a while, a third comes late."""
    for minute, state in ((0, "NEW"), (1, "NEW"), (2, "ACTIVE"), (3, "ACTIVE")):
        history.poll([region(1, state, display_name="Chester"), region(2)], at=60.0 * minute, took=0)
    for minute in (20, 21):
        history.poll([region(1, "MAINTENANCE", display_name="Chester"), region(3)], at=60.0 * minute, took=0)
    return history


def of(history: History, *regions: str, minutes: float, width: float = svg.CHART, **fields: Any) -> Picture:
    """The picture from NOON to a number of minutes later."""
    wanted = SpanFilter(regions=regions, since=NOON, until=NOON + timedelta(minutes=minutes), **fields)
    with reading(history.engine) as connection:
        return picture(connection, wanted, NOON + timedelta(days=1), width)


def test_a_picture_shows_what_the_polls_showed(told_lane: History) -> None:
    found = of(told_lane, minutes=21, width=2100)  # 100 pixels a minute
    assert [lane.name.text for lane in found.lanes] == ["Chester", "Region 2", "Region 3"]
    assert found.lanes[0].name == Name("gcore", 1, "Chester", "LU", "EMEA")

    def pixels(lane: Lane) -> list[tuple[Any, ...]]:
        said = [(p.state or "change", left, right) for p, left, right in placed(lane.pieces, found.scale)]
        return [(state, round(left, 3), round(right, 3)) for state, left, right in said]

    chester, second, third = (pixels(lane) for lane in found.lanes)
    assert chester == [
        ("NEW", 0, 100),
        ("change", 100, 200),
        ("ACTIVE", 200, 300),
        (UNKNOWN, 300, 2000),
        ("MAINTENANCE", 2000, 2100),
    ]
    assert second == [("ACTIVE", 0, 300), (UNKNOWN, 300, 2000), (ABSENT, 2000, 2100)]
    assert third == [("ACTIVE", 2000, 2100)]
    assert svg.draw(of(told_lane, minutes=21)) == svg.draw(of(told_lane, minutes=21))


def test_lanes_stand_in_the_order_in_which_people_count(history: History) -> None:
    named = {10: "Sines-10", 2: "Sines-2", 3: "sines-1", 4: "Almaty"}
    for minute in (0, 1):
        history.poll([region(i, display_name=name) for i, name in named.items()], at=60.0 * minute)
    names = [lane.name.text for lane in of(history, minutes=2).lanes]
    assert names == ["Almaty", "sines-1", "Sines-2", "Sines-10"]


def test_unknown_time_is_hatched(told_lane: History) -> None:
    text = svg.draw(of(told_lane, "chester", minutes=21))
    hatched = [(xs(d), title) for key, d, title in shapes(text) if key == "s-unknown"]
    assert len(hatched) == 1
    assert "no answer showed it; before: ACTIVE (observation 2), after: MAINTENANCE" in hatched[0][1]
    assert ".s-unknown{fill:url(#timeline-unknown)}" in text
    assert '<pattern id="timeline-unknown"' in text


def test_keystones_are_drawn_likewise(told_lane: History) -> None:
    found = of(told_lane, "chester", minutes=21, entity="keystone")
    assert [(lane.name.text, lane.name.entity_id) for lane in found.lanes] == [("Chester · 1001", 1001)]
    assert found.states == {"INITIALIZED", UNKNOWN}
    title = ET.fromstring(svg.draw(found)).findtext(f"{SVG}title")
    assert (title or "").startswith("States of the keystone of Chester · 1001, ")


def test_sources_stand_apart(told: History) -> None:
    with reading(told.engine) as connection:
        found = picture(connection, SpanFilter(), NOON + timedelta(hours=1), svg.CHART)
    assert found.sources == ["gcore", "preprod"]
    assert [row["source"] for row in found.heads] == ["gcore", "preprod"]
    text = svg.draw(found)
    assert [
        t.text for t in ET.fromstring(text).iter(f"{SVG}text") if t.get("class") == "source"
    ] == found.sources
    for row in found.heads:
        assert f"Source {row['source']}, observation {row['seq']}, head {row['head']}" in text


# Nothing is claimed that was not there


@st.composite
def histories(draw: st.DrawFn) -> list[Span]:
    """Spans as the views give them: any lengths, blind times and changes in any order."""
    lengths = st.sampled_from((0.01, 0.1, 0.5, 1, 1.4, 1.6, 3, 20, 90))
    states = ("ACTIVE", "NEW", "MAINTENANCE", ABSENT, "odd")
    state = draw(st.sampled_from(states))
    told: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, 40))):
        if draw(st.booleans()) or not told:
            told.append((state, draw(lengths)))
        cause = draw(st.sampled_from(("change", "unobserved")))
        later = draw(st.sampled_from([s for s in states if s != state or cause == "unobserved"]))
        told.append((cause, draw(lengths), state, later))
        state = later
    return spans_of(*told)


@settings(max_examples=150, deadline=None)
@given(histories(), st.sampled_from((30, 100, 748, 5000)), st.floats(0, 20))
def test_pieces_name_all_that_was_in_them_and_nothing_else(
    spans: list[Span], hours: int, late: float
) -> None:
    scale = Scale(NOON + late * HOUR, NOON + (late + hours) * HOUR, svg.CHART)
    found = list(pieces(spans, scale))
    shown = [(s, part) for s in with_moments(spans) if (part := scale.cut(s))]
    assert bool(found) == bool(shown)
    for before, after in itertools.pairwise(found):
        assert before.until_at == after.from_at
    if found:
        assert found[0].from_at == max(spans[0].from_at, scale.since)
        assert found[-1].until_at == min(spans[-1].until_at, scale.until)
    whole: list[Span] = []
    for piece in found:
        inside = [
            s
            for s, part in shown
            if piece.from_at <= part.from_at
            and part.until_at <= piece.until_at
            and (
                part.from_at < part.until_at
                or piece.from_at < part.from_at < piece.until_at
                or piece.span == s
            )
        ]
        states = {s.state for s in inside if not s.is_change}
        at_ends = {
            s.state for s, part in shown if part.from_at == part.until_at in (piece.from_at, piece.until_at)
        }
        assert states <= set(piece.shares) <= states | at_ends
        whole += inside
        if piece.span is None:
            # No span that is wide enough to be shown was merged.
            assert all(scale.x(p.until_at) - scale.x(p.from_at) < NARROW for p in map(scale.cut, inside) if p)
    # Every state that was seen for any time or moment is in one of them.
    for span, part in shown:
        if not span.is_change:
            assert any(
                span.state in p.shares and p.from_at <= part.from_at and part.until_at <= p.until_at
                for p in found
            ), span
    assert len(found) <= svg.CHART / NARROW + svg.CHART / CELL + 2


@settings(max_examples=100, deadline=None)
@given(histories(), st.sampled_from((30, 100, 748, 5000)))
def test_every_pixel_shows_what_was_there(spans: list[Span], hours: int) -> None:
    """In every column of pixels, the drawn states are those that were there, within one cell."""
    found = drawn(spans, hours=hours)
    scale, parts = found.scale, list(with_moments(spans))
    for piece, left, right in placed(found.lanes[0].pieces, scale):
        reach = 0.0 if piece.span and right - left > NARROW else CELL
        near = {
            state
            for s in parts
            if scale.x(s.until_at) >= left - reach - 1 and scale.x(s.from_at) <= right + reach + 1
            for state in ((s.earlier_state, s.later_state) if s.is_change else (s.state,))
        }
        assert set(piece.shares) <= near
    # No column is left without its state: a wide span covers all its pixels but those of a sharp edge.
    for s in parts:
        left, right = scale.x(max(s.from_at, scale.since)), scale.x(min(s.until_at, scale.until))
        if right - left < NARROW or s.is_change:
            continue
        assert any(
            p.state == s.state and x1 <= left + 0.01 and right - 0.01 <= x2
            for p, x1, x2 in placed(found.lanes[0].pieces, scale)
        )


def test_a_long_history_makes_no_long_file(monkeypatch: pytest.MonkeyPatch) -> None:
    flapping: list[tuple[Any, ...]] = []
    for n in range(5000):
        a, b = ("ACTIVE", "NEW") if n % 2 else ("NEW", "ACTIVE")
        flapping += [(a, 0.1), ("change", 0.05, a, b)]
    lane = spans_of(*flapping)
    titled = drawn(lane, lane)
    assert len(titled.lanes[0].pieces) <= svg.CHART / CELL + 1
    assert len(svg.draw(titled)) < 200_000
    monkeypatch.setattr(svg, "MANY", 10)
    plain = svg.draw(drawn(lane, lane))
    assert len(plain) < 40_000
    assert not shapes(plain), "bars have no tooltips any more, only names"
    kinds = {path.get("class") for path in ET.fromstring(plain).iter(f"{SVG}path")}
    assert {"s-new", "s-active"} <= kinds


# Times at the axis


@settings(max_examples=300, deadline=None)
@given(
    st.datetimes(datetime(1, 1, 2), datetime(9998, 1, 1)),  # noqa: DTZ001 - a zone is given below
    st.floats(1, 11).map(lambda power: 10**power),
    st.sampled_from((300, 748, 2000)),
)
def test_labels_of_an_axis_never_overlap(since: datetime, seconds: float, width: int) -> None:
    since = since.replace(tzinfo=UTC)
    try:
        until = since + timedelta(seconds=seconds)
    except OverflowError:
        return
    scale = Scale(since, until, width)

    def measure(text: str) -> float:
        return text_width(text, 10.5)

    found = axis(scale, measure, gap=14, apart=44, overhang=20)
    for ticks, is_centred in ((found.ticks, True), (found.contexts, False)):
        ends = [
            (
                t.x - measure(t.label) / 2 if is_centred else t.x,
                t.x + measure(t.label) / (2 if is_centred else 1),
            )
            for t in ticks
            if t.label
        ]
        for (_, end), (begin, _) in itertools.pairwise(ends):
            assert end <= begin
        assert all(begin >= -20 and end <= width + 20 for begin, end in ends)
        assert all(0 <= t.x <= width for t in ticks)
    assert (
        len([t for t in found.ticks if t.label]) >= 1 or width < 748 or found.step.unit in ("month", "year")
    )
    assert len({t.label for t in found.contexts if t.label}) == len([t for t in found.contexts if t.label])


@pytest.mark.parametrize(
    ("hours", "step", "labels", "contexts"),
    [
        (1 / 6, ("minute", 1), ["12:00", "12:01"], ["Fri 1 May 2026"]),
        (8, ("hour", 1), ["12:00", "13:00"], ["Fri 1 May 2026"]),
        (
            72,
            ("hour", 6),
            ["12:00", "18:00"],
            ["Fri 1 May 2026", "Sat 2 May 2026", "Sun 3 May 2026", "Mon 4 May 2026"],
        ),
        (24 * 21, ("day", 2), ["3", "5"], ["May 2026"]),
        (24 * 90, ("week", 1), ["4", "11"], ["May 2026", "June 2026", "July 2026"]),
        (24 * 365, ("month", 1), ["Jun", "Jul"], ["2026", "2027"]),
        (24 * 365 * 3, ("month", 3), ["Jul", "Oct"], ["2026", "2027", "2028", "2029"]),
        (24 * 365 * 30, ("year", 2), ["2028", "2030"], []),
    ],
)
def test_an_axis_has_ticks_that_people_would_choose(
    hours: float, step: tuple[str, int], labels: list[str], contexts: list[str]
) -> None:
    scale = Scale(NOON, NOON + hours * HOUR, svg.CHART)
    found = axis(scale, lambda text: text_width(text, 10.5, bold=True), gap=14, apart=44, overhang=20)
    assert (found.step.unit, found.step.count) == step
    assert [t.label for t in found.ticks][:2] == labels
    assert [t.label for t in found.contexts] == contexts


# Colours


def test_known_states_look_the_same_in_every_picture_and_others_by_their_names() -> None:
    assert looks(["ACTIVE", "x"])["ACTIVE"] is looks(["MAINTENANCE", "ACTIVE"])["ACTIVE"]
    assert looks(["UPGRADING"])["UPGRADING"] is looks(["paused", "UPGRADING", "NEW"])["UPGRADING"]
    six = looks(["a", "b", "c", "d", "e", "f", UNKNOWN, ABSENT])
    assert len({look.key for look in six.values()}) == 6
    assert UNKNOWN not in six
    assert looks(str(n) for n in range(40)).keys() == {str(n) for n in range(40)}


_BLIND = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.01182, 0.04294, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.3039),
    ),
    "grey": ((0.2126, 0.7152, 0.0722),) * 3,
}
"""Linear light as it is seen (Machado, Oliveira and Fernandes, 2009)."""


def linear(colour: str) -> tuple[float, ...]:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    return tuple(p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)


def lab(light: Sequence[float]) -> tuple[float, float, float]:
    r, g, b = (min(max(v, 0), 1) for v in light)
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
    )
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def apart(one: str, other: str, sight: str) -> float:
    """How different two colours look (CIE 1976; 2.3 is just noticeable)."""
    seen = [
        lab([sum(m * v for m, v in zip(row, linear(c), strict=True)) for row in _BLIND[sight]])
        for c in (one, other)
    ]
    return sum((a - b) ** 2 for a, b in zip(*seen, strict=True)) ** 0.5


def of_regions() -> list[tuple[str, Look]]:
    return [(state, look) for state, look in KNOWN.items() if not state.startswith("INITIAL")]


@pytest.mark.parametrize("sight", _BLIND)
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_everybody_can_distinguish_the_states(sight: str, is_dark: bool) -> None:
    for (name, one), (other_name, other) in itertools.combinations(of_regions(), 2):
        colours = [(look.dark_fill or look.fill) if is_dark else look.fill for look in (one, other)]
        difference = apart(*colours, sight)
        # Where colours are near one another, the patterns are not the same.
        assert difference > 20 or one.pattern != other.pattern, (name, other_name, difference)


def test_text_can_be_read_on_its_bar() -> None:
    def luminance(colour: str) -> float:
        return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))

    for state in (*KNOWN, "a", "b", "c", "d", "e", "f"):
        look = looks([state])[state]
        for fill, ink in ((look.fill, look.ink), (look.dark_fill or look.fill, look.dark_ink or look.ink)):
            light, dark = sorted((luminance(fill), luminance(ink)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4, (state, fill, ink)


# What the file is


HOSTILE = (
    "<script>alert(1)</script>",
    "a\"'&<b>]]>",
    "\u202eevil\x00\x1b[31m\ufffe",
    "東京データセンター第二リージョン・アジア太平洋",
    "A name that goes on and on and on and on and never ends",
    "🚀" * 30,
    "",
)


def test_hostile_names_do_no_harm_and_are_shortened() -> None:
    state = "<b onload='x'>&\"\x01"
    lane = spans_of((state, 400), ("unobserved", 348, state, None))
    text = svg.draw(drawn(*[lane] * len(HOSTILE), names=HOSTILE, country="<&", zone="\u0000"))
    root = ET.fromstring(text)
    allowed = {"svg", "title", "desc", "style", "defs", "pattern", "rect", "path", "text", "g"}
    assert {e.tag.removeprefix(SVG) for e in root.iter()} == allowed
    assert not [name for e in root.iter() for name in e.attrib if name.startswith("on") or "href" in name]
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "url(" not in re.sub(r"url\(#timeline-[a-z0-9]+\)", "", text)
    names = [e for e in root.iter(f"{SVG}text") if e.get("class") == "name"]
    for element, name in zip(names, HOSTILE, strict=True):
        shown = element.text or ""
        assert text_width(shown, 12) <= svg.LEFT - svg.MARGIN
        assert shown == name or shown.endswith("…") or "\N{REPLACEMENT CHARACTER}" in shown
        title = element.find(f"{SVG}title")
        assert title is not None
        assert title.text
        if name.isprintable():
            assert title.text.startswith(name), "the whole name"


@pytest.mark.parametrize("size", [None, 11])
def test_a_text_is_shortened_to_the_longest_beginning_that_fits(size: int | None) -> None:
    def width(text: str) -> float:
        return columns(text) if size is None else text_width(text, size)

    text = "東京 e\u0301 – a name of a datacenter" * 3
    for room in range(int(width(text)) + 2):
        shown = shortened(text, room, size)
        beginnings = [text[:n] for n in range(len(text)) if width(text[:n] + "…") <= room] or [""]
        assert shown == (text if width(text) <= room else beginnings[-1].rstrip() + "…")


def test_a_picture_tells_what_it_is_where_it_is_from_and_what_it_can_not_know() -> None:
    found = drawn(spans_of(("NEW", 100), ("ACTIVE", 600)))
    root = ET.fromstring(svg.draw(found))
    assert root.get("role") == "img"
    said = {e.get("id"): e.text or "" for e in root if e.get("id")}
    assert root.get("aria-labelledby", "").split() == list(said)
    assert (
        said["timeline-title"] == "States of Region, 2026-05-01 12:00:00Z to 2026-06-01 12:00:00Z (31 d 0 h)"
    )
    assert "Region: ACTIVE since 2026-05-05 16:00:00Z." in said["timeline-desc"]
    foot = [e.text for e in root.iter(f"{SVG}text") if e.get("class") == "foot"]
    assert foot == [
        f"Source gcore, observation 7, head {'ab' * 32}",
        f"Made 2026-06-01 12:00:00Z. Times are UTC. Assumed: {ASSUMPTION}.",
    ]


def legend(text: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(text).iter(f"{SVG}text") if e.get("class") == "legend"]


def test_a_legend_names_only_what_occurs() -> None:
    assert legend(svg.draw(drawn(spans_of(("ACTIVE", 100))))) == ["ACTIVE"]
    lane = spans_of(
        ("ACTIVE", 100), ("unobserved", 10, "ACTIVE", ABSENT), (ABSENT, 50), ("unobserved", 9, ABSENT, "odd")
    )
    assert legend(svg.draw(drawn(lane))) == ["ACTIVE", "odd", "unknown", "absent"]
    slow = spans_of(("NEW", 100), ("change", 50, "NEW", "MAINTENANCE"))
    assert legend(svg.draw(drawn(slow))) == ["NEW", "MAINTENANCE", "changed at an unknown moment within"]
    assert legend(svg.draw(drawn())) == []


def test_texts_lie_within_the_picture_and_do_not_meet() -> None:
    lane = spans_of(("ACTIVE", 300), ("change", 20, "ACTIVE", "MAINTENANCE"), ("MAINTENANCE", 424))
    text = svg.draw(drawn(*[lane] * 30, names=[f"Region {n}" for n in range(30)], country="LU"))
    root = ET.fromstring(text)
    height = float(root.get("height", "0"))
    sizes = {"title": 17, "sub": 11.5, "legend": 11, "name": 12, "place": 9, "context": 10.5, "tick": 10.5}
    boxes = []
    for e in root.iter(f"{SVG}text"):
        if "halo" in e.get("class", ""):
            continue
        key = e.get("class", "").split()[0]
        size = sizes.get(key, 9)
        width = text_width(e.text or "", size, bold=key in ("title", "context", "state"))
        x, y = float(e.get("x", "0")), float(e.get("y", "0"))
        left = x - {"place": width, "tick": width / 2}.get(key, 0)
        boxes.append((left, y - size * 0.75, left + width, y))
        assert left >= 0
        assert left + width <= svg.WIDTH
        assert size * 0.75 <= y <= height
    for (l1, t1, r1, b1), (l2, t2, r2, b2) in itertools.combinations(boxes, 2):
        assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1


# In a terminal


def plain(lines: Any) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def in_columns(
    *lanes: Sequence[Span], hours: float, width: int, signs: Signs = BLOCKS, **fields: Any
) -> list[str]:
    return plain(draw_text(drawn(*lanes, hours=hours, width=width * FINE, **fields), width, signs))


def test_a_line_says_column_by_column_what_was_seen() -> None:
    lane = spans_of(
        ("NEW", 10),
        ("change", 2, "NEW", "ACTIVE"),
        ("ACTIVE", 8),
        ("unobserved", 5, "ACTIVE", "ACTIVE"),
        ("ACTIVE", 5.2),
        ("change", 0.1, "ACTIVE", "MAINTENANCE"),
        ("MAINTENANCE", 0.1),
        ("change", 0.1, "MAINTENANCE", "ACTIVE"),
        ("ACTIVE", 4.5),
        ("unobserved", 0.4, "ACTIVE", "ACTIVE"),
        ("ACTIVE", 4.6),
        ("change", 1, "ACTIVE", ABSENT),
        (ABSENT, 4),
    )
    lines = in_columns(lane, hours=50, width=58, names=["Region"])
    bar = "░" * 10 + "││" + "▆" * 8 + "╱" * 5 + "▆" * 5 + "┼" + "▆" * 9 + "│" + "····" + "     "
    assert lines[2] == "Region  " + bar
    assert [line.rstrip() for line in lines[4:]] == [
        "░░ NEW   ▆▆ ACTIVE",
        "╱╱ unknown for half of a column or more   ·· absent",
        "││ changed   ┼┼ changed more than once",
        "one column is 60 min; times are UTC",
        "unknown time of less than half of a column is not shown",
    ]
    in_ascii = in_columns(lane, hours=50, width=58, names=["Region"], signs=ASCII)
    assert in_ascii[2] == "Region  " + "n" * 10 + "||########?????#####*#########|....     "


@pytest.mark.parametrize("width", [1, 20, 40, 79, 100, 200])
@pytest.mark.parametrize("signs", [BLOCKS, ASCII], ids=["blocks", "ascii"])
def test_lines_are_as_wide_as_the_terminal(width: int, signs: Signs) -> None:
    states = [*KNOWN, "a state of its own"]
    lane = spans_of(*((state, 40) for state in states), ("unobserved", 40, "NEW", ABSENT), (ABSENT, 40))
    lines = in_columns(
        lane, lane, hours=400, width=width, names=["東京データセンター第二リージョン", "b"], signs=signs
    )
    assert all(columns(line.rstrip()) <= max(width, 30) for line in lines)
    if width >= 40:
        assert columns(lines[2]) == width


def test_no_character_stands_for_two_states() -> None:
    found = looks([s for s in KNOWN if not s.startswith("INITIAL")] + ["a", "b", "c", "d", "e", "f"])
    for signs, used in (
        (BLOCKS, [look.block for look in found.values()]),
        (ASCII, [look.letter for look in found.values()]),
    ):
        own = [signs.unknown, signs.absent, signs.change, signs.several]
        assert len({*used, *own}) == len(used) + len(own)
    assert ASCII.all.isascii()


# The command


def ask(history: History, *arguments: str, **environment: str) -> Said:
    url = history.engine.url.render_as_string(hide_password=False)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return collector("timeline", *arguments, database_url=url)


WINDOW = ("--from", "2026-05-01T12:00", "--to", "2026-05-01T12:21")


def test_the_command_draws_into_a_terminal_or_a_pipe(told_lane: History) -> None:
    said = ask(told_lane, *WINDOW, "chester", COLUMNS="30")
    assert said.code == 0
    assert said.err.startswith("from 2026-05-01 12:00:00Z to 2026-05-01 12:21:00Z\nassumed: ")
    assert said.err.partition("assumed: ")[2].split() == ASSUMPTION.split()
    assert max(map(len, said.err.partition("\n")[2].splitlines())) <= 30
    assert said.out.splitlines()[2] == "Chester  ░│▆╱╱╱╱╱╱╱╱╱╱╱╱╱╱╱╱╱▒"
    assert len(ask(told_lane, *WINDOW, COLUMNS="80").out.splitlines()[2]) == 80


def test_colours_are_only_for_terminals_that_want_them(told_lane: History) -> None:
    assert "\x1b" not in ask(told_lane, *WINDOW).out
    coloured = ask(told_lane, *WINDOW, FORCE_COLOR="1", COLORTERM="truecolor", TERM="xterm")
    assert "\x1b[38;2;27;141;110m▆" in coloured.out
    assert "\x1b" not in ask(told_lane, *WINDOW, FORCE_COLOR="1", NO_COLOR="1", TERM="xterm").out.replace(
        "\x1b[1m", ""
    )


def test_a_pipe_that_knows_no_block_characters_gets_letters(
    told_lane: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    said = process(
        "timeline", *WINDOW, database_url=told_lane.engine.url.render_as_string(hide_password=False)
    )
    assert said.code == 0, said.err
    assert said.out.isascii()
    assert "## ACTIVE" in said.out
    assert max(map(len, said.out.splitlines())) == 100


def test_a_file_is_written_whole_and_an_svg_replaced(told_lane: History, tmp_path: Path) -> None:
    path = tmp_path / "t.svg"
    said = ask(told_lane, *WINDOW, "-o", str(path))
    assert (said.code, said.out) == (0, f"{path}: 3 lanes, {path.stat().st_size:,} bytes\n")
    whole = path.read_text(encoding="utf-8")
    ET.fromstring(whole)
    path.write_text("<svg/>", encoding="utf-8")
    assert ask(told_lane, *WINDOW, "-o", str(path)).code == 0
    again = ask(told_lane, *WINDOW, "-o", "-")
    assert ET.fromstring(again.out).get("role") == "img"
    without_time = re.compile(r"Made [^ ]+ [^ ]+\.")
    assert without_time.sub("", path.read_text(encoding="utf-8")) == without_time.sub("", whole)
    assert without_time.sub("", again.out) == without_time.sub("", whole)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith("collector.db")] == ["t.svg"]


def test_a_link_that_goes_in_circles_is_replaced(told_lane: History, tmp_path: Path) -> None:
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    one.symlink_to(other)
    other.symlink_to(one)
    assert ask(told_lane, "-o", str(one)).code == 0
    assert one.read_text(encoding="utf-8").startswith("<svg")


def test_what_is_no_svg_is_not_replaced(told_lane: History, tmp_path: Path) -> None:
    precious = tmp_path / "precious.db"
    precious.write_bytes(b"SQLite format 3\x00")
    ask(told_lane, "-o", str(precious)).refused(2, str(precious), "not an SVG")
    assert precious.read_bytes() == b"SQLite format 3\x00"
    ask(told_lane, "-o", str(tmp_path / "no" / "t.svg")).refused(2, "does not exist")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("chestr",), ["there is no region 'chestr'", "did you mean Chester"]),
        (("--from", "2026-05-02", "--to", "2026-05-01"), ["--from 2026-05-02 00:00:00Z is not before"]),
        (("--to", "9999-01-01"), ["is in the future"]),
        (("--source", "nobody"), ["there is no source 'nobody'; known are: gcore"]),
        (("-o", "x.svg", "--format", "csv"), ["-o draws a picture", "--format csv"]),
    ],
)
def test_what_can_not_be_drawn_is_refused(
    told_lane: History, arguments: tuple[str, ...], named: list[str]
) -> None:
    said = ask(told_lane, *arguments)
    said.explains(*named)
    assert (said.code, said.out) == (2, "")


def test_times_without_anything_are_said_to_be_so(told_lane: History, tmp_path: Path) -> None:
    before = ("--from", "2020-01-01", "--to", "2020-01-02")
    assert ask(told_lane, *before).out.startswith("nothing is known about this time")
    path = tmp_path / "t.svg"
    assert ask(told_lane, *before, "-o", str(path)).code == 0
    assert "Nothing is known of this time" in path.read_text(encoding="utf-8")


def test_an_empty_database_makes_an_empty_picture(history: History, tmp_path: Path) -> None:
    history.poll(failure(), at=0)
    path = tmp_path / "t.svg"
    assert ask(history, "-o", str(path)).code == 0
    assert not shapes(path.read_text(encoding="utf-8"))


def test_rows_are_the_spans_behind_the_picture(told_lane: History) -> None:
    said = ask(
        told_lane, "chester", "--from", "2026-05-01T12:02:30", "--to", "2026-05-01T12:20", "--format", "json"
    )
    rows = said.json
    documented = re.search(
        r"## timeline\n.*?(\| field.*?)(?:\n\n|\Z)", (ROOT / "docs/questions.md").read_text("utf-8"), re.S
    )
    assert documented
    assert list(rows[0]) == re.findall(r"(?m)^\| `(\w+)` \|", documented[1])
    assert [
        (r["state"], r["from_at"][11:19], r["until_at"][11:19], r["seconds"], r["cause"]) for r in rows
    ] == [
        ("ACTIVE", "12:02:00", "12:03:00", 60, None),
        (UNKNOWN, "12:03:00", "12:20:00", 1020, "unobserved"),
    ]
    keystones = ask(told_lane, *WINDOW, "--entity", "keystone", "--format", "csv").csv
    assert {(row["entity"], row["entity_id"]) for row in keystones} == {
        ("keystone", "1001"),
        ("keystone", "1002"),
        ("keystone", "1003"),
    }


# In a browser


def decoded(png: bytes) -> Iterator[bytes]:
    """The rows of a PNG of 8 bits a channel, three bytes a pixel."""
    width, _, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert depth == 8
    size = {2: 3, 6: 4}[kind]
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    raw, stride = zlib.decompress(data), width * size
    before = bytearray(stride)
    for start in range(0, len(raw), stride + 1):
        how, row = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for n in range(stride):
            left, up = (row[n - size] if n >= size else 0), before[n]
            if how == 1:
                row[n] = row[n] + left & 255
            elif how == 2:
                row[n] = row[n] + up & 255
            elif how == 3:
                row[n] = row[n] + (left + up) // 2 & 255
            elif how == 4:
                corner = before[n - size] if n >= size else 0
                guess = left + up - corner
                near = min(
                    (abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner)
                )
                row[n] = row[n] + near[2] & 255
        before = row
        yield b"".join(row[n : n + 3] for n in range(0, stride, size))


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_it_in_light_and_dark(tmp_path: Path, is_dark: bool) -> None:
    lane = spans_of(
        ("ACTIVE", 200),
        ("change", 40, "ACTIVE", "NEW"),
        ("NEW", 160),
        ("unobserved", 48, "NEW", "NEW"),
        ("NEW", 52),
    )
    text = svg.draw(drawn(lane, hours=748))
    file, shot = tmp_path / "t.svg", tmp_path / "t.png"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            *(
                tool("chromium", package="chromium"),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--hide-scrollbars",
            ),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            "--disable-dev-shm-usage",
            *(
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
            ),
            *("--window-size=960,240", f"--screenshot={shot}", file.as_uri()),
        ],
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    rows = list(decoded(shot.read_bytes()))
    top = float(
        next(d for key, d, _ in shapes(text) if key == "s-active").split("V")[0].split(" ")[1].split("H")[0]
    )

    def colour(x: float, y: float) -> str:
        start = int(x) * 3
        return "#" + rows[int(y)][start : start + 3].hex()

    active, new = (
        (look.dark_fill or look.fill) if is_dark else look.fill for look in (KNOWN["ACTIVE"], KNOWN["NEW"])
    )
    paper = "#0d1117" if is_dark else "#ffffff"
    assert colour(2, 2) == paper
    middle = top + 7.5
    for x, expected in (
        (1, active),
        (198, active),
        (242, new),
        (398, new),
        (450, new),
        (498, new),
        (503, paper),
    ):
        assert colour(svg.LEFT + x, top + 2) == expected, x
    # The slope from 200 to 240: below the diagonal what was before, above it what came.
    assert colour(svg.LEFT + 215, top + 13) == active
    assert colour(svg.LEFT + 225, top + 2) == new
    hatched = {colour(svg.LEFT + x, middle) for x in range(402, 446)}
    assert len(hatched) > 3
    assert not hatched & {active, new}
    # Somebody has written with some font.
    assert len({colour(x, 30) for x in range(24, 200)}) > 3


# In the documentation


def test_the_picture_in_the_documentation_is_what_the_demo_shows(demo_database: DemoDatabase) -> None:
    shown = made(demo_database)
    assert DIGEST.sub("", IN_DOCS.read_text(encoding="utf-8")) == DIGEST.sub("", shown), (
        "python -m tests.reports.test_timeline --write writes it again; look at it before you keep it"
    )


def made(demo: DemoDatabase) -> str:
    (said,) = demo.ask(["timeline", "-o", "timeline.svg"])
    assert said.code == 0, said.said
    return (demo.file.parent / "timeline.svg").read_text(encoding="utf-8")


def write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        IN_DOCS.write_text(made(DemoDatabase.make(Path(folder))), encoding="utf-8")


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    write()
