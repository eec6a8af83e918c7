"""The possible values of an observation's counters.

No digest covers the counters of the newest observation until the next one opens. A row that breaks one of these rules
was not written by a poll. `collector/audit/pack/check.py` shares no code with us and implements the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from collector.inventory.observation import gap_limit

LATEST_QUESTION = timedelta(hours=1, minutes=1)
"""How much earlier the last request of an observation may seem to be than its first.

A clock may be set back by the length of a lease, and a poll takes an hour at most.
"""
_MILLISECOND = timedelta(milliseconds=1)
_TIMES = ("first_asked_at", "first_at", "last_asked_at", "last_at")
_NUMBERS = ("polls", "longest_interval_ms", "variants", "expected_interval_ms")
MAX_NUMBER = 1 << 53
"""More than any counter reaches, and small enough to calculate with."""


def broken_bounds(row: Mapping[str, Any], previous_last_at: datetime | None = None) -> dict[str, str]:
    """The columns of an observation that break a rule, each with the first rule that it breaks.

    `previous_last_at`: `last_at` of the previous row.
    """
    broken = {name: "not a time" for name in _TIMES if not isinstance(row[name], datetime)}
    for name in _NUMBERS:
        if type(row[name]) is not int:
            broken[name] = "not a whole number"
        elif not 0 <= row[name] <= MAX_NUMBER:
            broken[name] = "a number that no poll writes"
    if not broken:
        for name, why in _contradictions(row, previous_last_at):
            broken.setdefault(name, why)
    return broken


def _contradictions(row: Mapping[str, Any], previous_last_at: datetime | None) -> Iterator[tuple[str, str]]:
    first_asked_at, first_at = row["first_asked_at"], row["first_at"]
    last_asked_at, last_at = row["last_asked_at"], row["last_at"]
    polls, longest, variants = row["polls"], row["longest_interval_ms"], row["variants"]
    if first_asked_at > first_at:
        yield "first_asked_at", "a request comes before its answer"
    if previous_last_at is not None and first_at <= previous_last_at:
        yield "first_at", "an observation begins after the one before"
    if last_at.date() != first_at.date():
        yield "last_at", "an observation ends with its day"
    if last_asked_at > last_at:
        yield "last_asked_at", "a request comes before its answer"
    if first_asked_at - last_asked_at > LATEST_QUESTION:
        yield "last_asked_at", "an observation's last request can't be that long before its first one"
    if polls < 1:
        yield "polls", "an observation has at least one poll"
    elif polls == 1:
        for name, value in (("last_at", first_at), ("last_asked_at", first_asked_at), *_NO_INTERVAL):
            if row[name] != value:
                yield name, "the only poll of an observation is its first and its last"
    else:
        lasted = (last_at - first_at) // timedelta(microseconds=1)
        if lasted < polls - 1:
            yield "last_at", "each poll of an observation is answered later than the one before"
        if longest * 1000 > lasted or longest < lasted // (polls - 1) // 1000:
            yield "longest_interval_ms", "can't be the longest of this many intervals in that time"
        if longest * _MILLISECOND > gap_limit(row["expected_interval_ms"] * _MILLISECOND):
            yield "longest_interval_ms", "an observation has no gap"
        if variants >= polls:
            yield "variants", "only polls after the first one are variants"


_NO_INTERVAL = (("longest_interval_ms", 0), ("variants", 0))
