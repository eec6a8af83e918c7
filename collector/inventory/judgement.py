"""How far an answer may be believed. Pure.

A complete answer that misses many regions at once may be a false one, so its absences wait (`held`) until
`confirmations` complete answers agree on exactly the same missing regions: answers to the same eyes, since
another key may see less by right.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Literal

from collector.inventory.entities import Listing

Outcome = Literal["ok", "partial", "held", "failed"]
APPLIED: tuple[Outcome, ...] = ("ok", "partial", "held")
"""Outcomes whose listed records are applied."""

CONFIRMATIONS = 3


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier observation of the source."""

    outcome: Outcome
    missing: frozenset[int]
    polls: int
    same_eyes: bool = True
    """Whether it was seen with the key and the URL of the answer that is judged."""


@dataclass(frozen=True, slots=True)
class Judgement:
    outcome: Outcome
    missing: frozenset[int]
    """Regions that were present before and are not listed now, though nothing excuses them."""


def judge(
    listing: Listing,
    present: Set[int],
    earlier: Iterable[Earlier],
    *,
    ever_complete: bool,
    confirmations: int = CONFIRMATIONS,
) -> Judgement:
    """Judge a usable answer.

    `present`: ids of the regions known and not absent. `earlier`: observations, newest first,
    read only as far as needed.
    `ever_complete`: whether the source ever had an `ok` answer (an empty first answer is suspicious too).
    """
    regions = listing.shown["region"]
    missing = frozenset(present - regions.sightings.keys() - regions.named)
    if not listing.is_whole:
        return Judgement("partial", missing)
    if regions.withheld:
        return Judgement("ok", missing)
    suspicious = 2 * len(missing) > len(present) or (not listing.listed and not ever_complete)
    if suspicious and 1 + _agreeing_polls(earlier, missing) < confirmations:
        return Judgement("held", missing)
    return Judgement("ok", missing)


def _agreeing_polls(earlier: Iterable[Earlier], missing: Set[int]) -> int:
    """How many held polls missed exactly these ids, back to the last answer that showed one of them.

    Failed and partial polls, complete ones that had to withhold absences, and what other eyes missed neither
    count nor reset. A complete answer that misses others as well disagrees, and resets too.
    """
    polls = 0
    for row in earlier:
        disagrees = row.outcome == "held" and row.same_eyes and row.missing != missing
        if disagrees or (row.outcome != "failed" and not missing <= row.missing):
            break
        if row.outcome == "held" and row.same_eyes:
            polls += row.polls
    return polls
