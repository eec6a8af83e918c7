"""How far an answer may be believed. Pure.

An answer that shows any sign of paging is a page, and proves no absence. A complete answer that misses many
regions at once, or that ends just where a page would, may be a false one: its absences wait (`held`) until
enough complete answers agree on exactly the same missing regions. Only answers to the same eyes count, since
another key may see less by right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from collector.inventory.entities import Listing
from collector.inventory.observation import Outcome, Poll

MAX_PAGING = 300
"""Characters that are kept of what makes an answer look like a page."""
LEAVING = frozenset({"deleted", "deleting"})
"""States, in lower case, after which a region is expected to disappear."""
PAGE_SIZES = frozenset({10, 20, 25, 50, 100, 200, 250, 500, 1000})
"""Numbers of records at which an API is likely to cut a list."""


@dataclass(frozen=True, slots=True)
class Guard:
    """When absences have to wait, and for how many answers. Regions that were leaving do not count."""

    confirmations: int = 3
    """Complete answers that must agree before suspicious absences are believed."""
    max_missing: int = 1
    """This many regions may be missing at once without suspicion."""
    max_missing_share: float = 0.1
    """This share of the present regions may be missing at once, if that is more."""
    page_sizes: frozenset[int] = PAGE_SIZES
    """An answer of such a length that misses any region may be a page of a longer list."""
    page_factor: int = 3
    """A page comes back the same each time, so such an answer needs this many times the confirmations."""

    def confirmations_needed(
        self, missing: Set[int], present: Mapping[int, str | None], listed: int, *, ever_complete: bool
    ) -> int:
        """How many complete answers must agree before these absences are believed; 1: this one is enough."""
        if not missing and listed:
            return 1
        leaving = {i for i, state in present.items() if (state or "").casefold() in LEAVING}
        lost, staying = len(missing - leaving), len(present.keys() - leaving)
        if lost and listed in self.page_sizes:
            return self.confirmations * self.page_factor
        is_empty = not listed and (bool(missing) or not ever_complete)
        are_many = lost > self.max_missing and lost > self.max_missing_share * staying
        return self.confirmations if is_empty or are_many else 1


GUARD = Guard()


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
    present: Mapping[int, str | None],
    earlier: Iterable[Earlier],
    *,
    ever_complete: bool,
    paging: str | None = None,
    guard: Guard = GUARD,
) -> Judgement:
    """Judge a usable answer.

    `present`: the regions that are known and not absent, with the state that each was last shown in. `earlier`:
    observations, newest first; it may be a query, and is read only as far as needed. `ever_complete`: whether the
    source ever had an `ok` answer (an empty first answer is suspicious too). `paging`: what makes the answer look
    like a page.
    """
    regions = listing.shown["region"]
    missing = frozenset(present.keys() - regions.sightings.keys() - regions.named)
    if paging or not listing.is_whole:
        return Judgement("partial", missing)
    if regions.withheld:
        return Judgement("ok", missing)  # complete, but `changes` believes no absence from it
    needed = guard.confirmations_needed(missing, present, listing.listed, ever_complete=ever_complete)
    if needed > 1 and 1 + _agreeing_polls(earlier, missing) < needed:
        return Judgement("held", missing)
    return Judgement("ok", missing)


def _agreeing_polls(earlier: Iterable[Earlier], missing: Set[int]) -> int:
    """How many held polls missed exactly these ids, back to the last answer that showed one of them.

    An answer resets the count if it shows one of these regions, or if it is complete and misses others as well. Other
    answers neither count nor reset: failed and partial ones, complete ones that withheld absences, and those to other
    eyes.
    """
    polls = 0
    for row in earlier:
        disagrees = row.outcome == "held" and row.same_eyes and row.missing != missing
        if disagrees or (row.outcome != "failed" and not missing <= row.missing):
            break
        if row.outcome == "held" and row.same_eyes:
            polls += row.polls
    return polls


def signs_of_paging(poll: Poll, listing: Listing) -> str | None:
    """What makes an answer look like one page of several, in its members and in its headers; None: nothing."""
    signs = [*listing.paging, *poll.paging]
    if poll.total is not None and poll.total[0] != listing.listed:
        signs.append(poll.total[1])
    return ", ".join(signs)[:MAX_PAGING] or None
