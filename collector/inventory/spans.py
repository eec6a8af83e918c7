"""What is known about one entity over time. Pure.

Our own reports (availability, timeline, the JSON API and the pages) take spans from here, in a tenth of the time that
SQL needs. Analysts use SQL, also without our Python: `reports/views/parts/spans.sql` implements the same rule for
them. A change here needs the same change there; tests compare the two on random worlds.

What covers a moment decides what is known about it:

    nothing                          the state that was last seen
    the window of one transition     it was in the state before, then in the one after; cause `change`
    several windows, or blind time   it may have been in any state; cause `unobserved`

A present entity is blind during gaps and while it was not shown. An absent one is blind while its absence was not
proven, and the whole time if only another key did not see it. Times may be of any one type that can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

Time = Any
Edge = tuple[Time, int, int, int]
"""A time, and how many of these begin (1) or end (-1) there: windows, blind times while present, and while absent."""
ABSENT, UNKNOWN = "ABSENT", "UNKNOWN"


class Change(NamedTuple):
    """A transition, as spans need it."""

    seq: int
    to_state: str | None
    not_before: Time | None
    observed_at: Time
    is_other_access: bool
    """True if another key or URL was used and showed more or less: it is not known what happened in the window."""


class Span(NamedTuple):
    """A state from one time to another. An UNKNOWN span also has the states before and after it, and the cause."""

    state: str
    from_at: Time
    until_at: Time
    earlier_state: str | None = None
    later_state: str | None = None
    cause: str | None = None
    seq: int = 0

    @property
    def is_change(self) -> bool:
        """True if only the moment of a change is unknown: the state was the earlier one, then the later one."""
        return self.cause == "change"

    def may_be(self, state: str) -> bool:
        """True if the state (in any case) may have been the true one during all or part of the span."""
        if self.cause is None:
            return self.state.upper() == state.upper()
        words = (self.earlier_state, self.later_state)
        return self.cause == "unobserved" or any(word and word.upper() == state.upper() for word in words)


def word_of(state: str | None) -> str:
    """The state, or ABSENT. A state of the API that looks like one of our own words is put in quotation marks."""
    if state is None:
        return ABSENT
    return f'"{state}"' if state.upper() in (ABSENT, UNKNOWN) or state[:1] == '"' else state


def blind_edges(
    present: Iterable[tuple[Time, Time | None]], absent: Iterable[tuple[Time, Time | None]]
) -> list[Edge]:
    """The edges of blind times, sorted, those of one moment added up. A time without an end is still open."""
    sums: dict[Time, list[int]] = {}
    for place, times in enumerate((present, absent)):
        for from_at, until_at in times:
            sums.setdefault(from_at, [0, 0])[place] += 1
            if until_at is not None:
                sums.setdefault(until_at, [0, 0])[place] -= 1
    return [(at, 0, *counts) for at, counts in sorted(sums.items())]


def spans_of(changes: Sequence[Change], blind: Iterable[Edge], end_at: Time) -> Iterator[Span]:
    """The spans of one entity, in order and without holes, from its first sighting to `end_at`.

    `changes`: all of its transitions, in order. `blind`: edges of its own and of its source, in any order.
    """
    edges = sorted([*blind, *_edges(changes), *_unsure(changes[-1:], end_at)])
    words = [word_of(change.to_state) for change in changes]
    windows = not_shown = not_proven = 0
    current, following = -1, changes[0].observed_at if changes else None
    begun: tuple[Time, int, str] | None = None
    last, count = len(changes) - 1, len(edges)
    for number, (at, of_windows, of_present, of_absent) in enumerate(edges):
        windows += of_windows
        not_shown += of_present
        not_proven += of_absent
        if number + 1 < count and edges[number + 1][0] == at:
            continue  # edges of one moment are judged together
        while current < last and following is not None and following <= at:
            current += 1
            following = changes[current + 1].observed_at if current < last else None
        if current < 0:
            continue
        state = words[current]
        if windows > 1:
            verdict = "unobserved"
        else:
            coming = words[current + 1] if windows == 1 and current < last else None
            is_blind = (not_shown > 0 and (state != ABSENT or coming not in (None, ABSENT))) or (
                not_proven > 0 and ABSENT in (state, coming)
            )
            verdict = "unobserved" if is_blind else "change" if windows == 1 else ""
        if begun is None:
            begun = (at, current, verdict)
        elif begun[1:] != (current, verdict):
            yield from _span(changes, words, begun, at, state)
            begun = (at, current, verdict)
    if begun is not None:
        yield from _span(changes, words, begun, end_at, None)


def _unsure(newest: Sequence[Change], end_at: Time) -> Iterator[Edge]:
    """Edges of time that a change after `end_at` makes uncertain.

    What the newest answer first showed may have ended before it arrived. The next answer may report a change whose
    window begins at the same `asked_at`.
    """
    for change in newest:
        if change.observed_at > end_at:
            yield end_at, 2, 0, 0
            yield change.observed_at, -2, 0, 0


def _edges(changes: Sequence[Change]) -> Iterator[Edge]:
    not_before: Time | None = None
    out_of_sight_until: Time | None = None
    for change in reversed(changes):
        # A later window never begins before an earlier one.
        own = change.not_before
        if own is not None:
            not_before = own if not_before is None else min(own, not_before)
        count = 2 if change.is_other_access else 1
        is_bounded = own is not None
        yield change.observed_at, -count if is_bounded else 0, 0, 0
        if is_bounded:
            yield not_before, count, 0, 0
        if change.is_other_access and change.to_state is None:
            yield change.observed_at, 0, 0, 1
            if out_of_sight_until is not None:
                yield out_of_sight_until, 0, 0, -1
        out_of_sight_until = change.observed_at


def _span(
    changes: Sequence[Change],
    words: Sequence[str],
    begun: tuple[Time, int, str],
    until_at: Time,
    later: str | None,
) -> Iterator[Span]:
    from_at, current, verdict = begun
    if not from_at < until_at:
        return
    state, seq = words[current], changes[current].seq
    if not verdict:
        yield Span(state, from_at, until_at, None, None, None, seq)
        return
    if verdict == "change":
        later = words[current + 1] if current + 1 < len(words) else None
    yield Span(UNKNOWN, from_at, until_at, state, later, verdict, seq)
