"""A picture in words, for tooltips and for people who can't see it."""

from __future__ import annotations

from collections.abc import Iterable

from collector.inventory.spans import ABSENT, UNKNOWN, Span
from collector.reports.timeline.picture import Lane
from collector.reports.timeline.pieces import Piece
from collector.reports.words import counted, show_span, show_time


def in_words(state: str | None) -> str:
    """The name of a state in a legend."""
    return {UNKNOWN: "unknown", ABSENT: "absent"}.get(state or "", state or "")


def tooltip(lane: Lane, piece: Piece) -> str:
    """The state of a bar, from when to when, and how sure that is."""
    if piece.span is not None:
        return f"{lane.name.text}: {_of_span(piece.span)}"
    whole = sum(piece.shares.values()) or 1.0
    shares = ", ".join(f"{in_words(state)} {seconds / whole:.0%}" for state, seconds in piece.shares.items())
    times = f"{show_time(piece.from_at)} to {show_time(piece.until_at)}"
    changes = f"{counted(piece.changes, 'change')}, too close to be distinguished here"
    return f"{lane.name.text}: {shares}\n{times}\n{changes}"


def _of_span(span: Span) -> str:
    begin, end = show_time(span.from_at), show_time(span.until_at)
    lasting = show_span(span.until_at - span.from_at)
    if span.is_change:
        return (
            f"{in_words(span.earlier_state)} → {in_words(span.later_state)}\n"
            f"at an unknown moment between {begin} and {end}, within {lasting}\n"
            f"the state before: observation {span.seq}"
        )
    if span.from_at == span.until_at:
        return f"{span.state}\n{begin}\none poll showed it" + (
            f", observation {span.seq}" if span.seq else ""
        )
    said = f"{in_words(span.state)}\n{begin} to {end}, {lasting}\n"
    if span.cause:
        after = in_words(span.later_state) or "nothing yet"
        before = f"{in_words(span.earlier_state)} (observation {span.seq})"
        return f"{said}no answer showed it; before: {before}, after: {after}"
    how = "no complete answer listed it" if span.state == ABSENT else "every poll showed it"
    return f"{said}{how}, first observation {span.seq}"


def summary(lanes: Iterable[Lane]) -> list[str]:
    """A sentence for each lane: the last known state, and since when."""
    said = []
    for lane in lanes:
        piece = lane.pieces[-1]
        if piece.state:
            what = f"{in_words(piece.state)} since {show_time(piece.from_at)}"
        elif piece.span is not None:
            what = f"{in_words(piece.span.earlier_state)}, then {in_words(piece.span.later_state)}"
        else:
            what = " and ".join(in_words(state) for state in piece.shares) + " by turns"
        said.append(f"{lane.name.text}: {what}.")
    return said
