"""Pictures of whole databases: in which order lanes stand, and what is written on and under them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from collector.database.transactions import reading
from collector.reports.spans import SpanFilter
from collector.reports.timeline import svg, text
from collector.reports.timeline.picture import Order, Picture, picture
from tests.support.builders import region
from tests.support.history import NOON, History

PLACES = {
    "Chester": ("GB", "EMEA"),
    "Incheon": ("KR", "APAC"),
    "Luxembourg": ("LU", "EMEA"),
    "Manassas": ("US", "AMERICAS"),
    "Nowhere": (None, None),
}


@pytest.fixture
def pictured(sqlite_engine: sa.Engine) -> History:
    """Luxembourg changes first, then Chester, during a gap; Incheon is absent from the middle to the end."""
    history = History(sqlite_engine)
    states = dict.fromkeys(PLACES, "ACTIVE")

    def poll(*absent: str) -> None:
        history.poll(
            [
                region(n, states[name], display_name=name, country=country, zone=zone)
                for n, (name, (country, zone)) in enumerate(PLACES.items(), 1)
                if name not in absent
            ]
        )

    for n in range(60):
        if n == 10:
            states["Luxembourg"] = "MAINTENANCE"
        if n == 20:
            history.at += 600
            states["Chester"] = "DELETING"
        poll(*(["Incheon"] if n >= 30 else []))
    history.restart()
    return history


def drawn(
    history: History, order: Order = "name", width: float = svg.CHART, minutes: float | None = None
) -> Picture:
    """The picture up to the end, or of the first minutes."""
    now = NOON + (timedelta(seconds=history.at) if minutes is None else timedelta(minutes=minutes))
    with reading(history.engine) as connection:
        return picture(connection, SpanFilter("region"), now, width, order)


@pytest.mark.parametrize(
    ("order", "names", "headings"),
    [
        ("name", ["Chester", "Incheon", "Luxembourg", "Manassas", "Nowhere"], []),
        (
            "zone",
            ["Manassas", "Incheon", "Chester", "Luxembourg", "Nowhere"],
            ["AMERICAS", "APAC", "EMEA", "no zone"],
        ),
        (
            "country",
            ["Chester", "Incheon", "Luxembourg", "Manassas", "Nowhere"],
            ["GB", "KR", "LU", "US", "no country"],
        ),
        ("first-change", ["Luxembourg", "Chester", "Incheon", "Manassas", "Nowhere"], []),
    ],
)
def test_lanes_stand_in_the_order_that_is_asked_for(
    pictured: History, order: Order, names: list[str], headings: list[str]
) -> None:
    found = drawn(pictured, order)
    assert [lane.name.text for lane in found.lanes] == names
    in_svg = re.findall(r'class="(?:name|source)" [^>]*>([^<]*)<', svg.draw(found))
    said = [
        "".join(said for said, _ in line) for line in text.draw(drawn(pictured, order, 80 * text.FINE), 80)
    ]
    lines = [line.split("  ")[0] for line in said]
    for shown in (in_svg, [line for line in lines if line in (*names, *headings)]):
        assert [each for each in shown if each in names] == names
        assert [each for each in shown if each not in names] == headings


def test_long_spans_of_every_state_have_a_label(pictured: History) -> None:
    drawing = svg.draw(drawn(pictured))
    labels = set(re.findall(r'<text class="state t-[a-z]+" [^>]*>([^<]*)<', drawing))
    assert labels == {"ACTIVE", "MAINTENANCE", "DELETING", "absent", "unknown"}


def test_a_label_that_does_not_fit_is_cut_or_left_out(pictured: History) -> None:
    drawing = svg.draw(drawn(pictured, width=svg.CHART / 4))
    labels = set(re.findall(r'<text class="state t-[a-z]+" [^>]*>([^<]*)<', drawing))
    assert "MAINTENANCE" in labels
    assert all(len(label) >= 6 for label in labels)
    assert "unknown" not in labels


def test_thin_gaps_are_explained_where_there_are_any(pictured: History) -> None:
    assert "unknown for a short time" not in svg.draw(drawn(pictured, minutes=9))
    assert "unknown for a short time" in svg.draw(drawn(pictured, width=svg.CHART / 40))


def test_a_long_picture_has_its_axis_below_too(sqlite_engine: sa.Engine) -> None:
    history = History(sqlite_engine)
    for _ in range(5):
        history.poll([region(n) for n in range(1, text.LONG + 2)])
    lines = text.draw(drawn(history, width=80 * text.FINE), 80)
    assert lines.count(lines[1]) == 2
