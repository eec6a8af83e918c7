"""Decides how far an answer can be believed. Pure.

An answer with any sign of paging is a page and proves no absence. A complete answer may still be false if it misses
many regions at once, or if it ends exactly where a page would. Its absences wait (`held`) until enough complete
answers agree on exactly the same missing regions. Only answers to the same key and URL count, because another key may
be allowed to see less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from fractions import Fraction

from collector.inventory.entities import Listing
from collector.inventory.observation import Outcome, Poll

MAX_PAGING = 300
"""Maximum length, in characters, of the stored reason why an answer looks like a page."""
LEAVING = frozenset({"deleted", "deleting"})
"""States, in lower case, after which a region is expected to disappear."""
PAGE_SIZES = frozenset({10, 20, 25, 50, 100, 200, 250, 500, 1000})
"""Numbers of records at which an API is likely to cut a list."""


@dataclass(frozen=True, slots=True)
class Guard:
    """When absences have to wait, and for how many answers. Regions that were being deleted don't count."""

    confirmations: int = 3
    """Complete answers that must agree before suspicious absences are believed."""
    max_missing: int = 1
    """Number of regions that may be missing at once without suspicion."""
    max_missing_share: float = 0.1
    """Share of the present regions that may be missing at once, if that is more."""
    page_sizes: frozenset[int] = PAGE_SIZES
    """An answer of such a length that misses any region may be one page of a longer list."""
    page_factor: int = 3
    """Factor on `confirmations` for an answer that may be a page, since a page is the same each time."""

    def confirmations_needed(
        self, missing: Set[int], present: Mapping[int, str | None], listing: Listing, *, ever_complete: bool
    ) -> int:
        """How many complete answers must agree before these absences are believed. 1: this answer is enough."""
        listed = listing.listed
        if not missing and listed:
            return 1
        leaving = {i for i, state in present.items() if (state or "").casefold() in LEAVING}
        lost, staying = len(missing - leaving), len(present.keys() - leaving)
        if lost and listed in self.page_sizes:
            return self.confirmations * self.page_factor
        is_empty = not listed and (bool(missing) or not ever_complete)
        share = Fraction(str(self.max_missing_share))  # as it is written: 29 of 100 are not more than 0.29
        are_many = lost > self.max_missing and lost > share * staying
        has_repeats = bool(lost) and listing.has_repeats
        return self.confirmations if is_empty or are_many or has_repeats else 1


GUARD = Guard()


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier observation of the source."""

    outcome: Outcome
    missing: frozenset[int]
    polls: int
    same_access: bool = True
    """True if the observer used the same key and URL as for the answer that is judged."""


@dataclass(frozen=True, slots=True)
class Judgement:
    outcome: Outcome
    missing: frozenset[int]
    """Regions that were present before and are not listed now, and that the answer does not name otherwise."""


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

    `present`: the known regions that are not absent, with the state in which each was last shown. `earlier`:
    observations, newest first; may be a query, which is read only as far as needed. `ever_complete`: True if the
    source ever had an `ok` answer (an empty first answer is suspicious too). `paging`: what makes the answer look
    like a page.
    """
    shown = listing.shown[listing.kind]
    missing = frozenset(present.keys() - shown.sightings.keys() - shown.named)
    if paging or not listing.is_whole:
        return Judgement("partial", missing)
    if shown.withheld:
        return Judgement("ok", missing)  # complete, but `changes` derives no absence from it
    needed = guard.confirmations_needed(missing, present, listing, ever_complete=ever_complete)
    if needed > 1 and 1 + _agreeing_polls(earlier, missing) < needed:
        return Judgement("held", missing)
    return Judgement("ok", missing)


def _agreeing_polls(earlier: Iterable[Earlier], missing: Set[int]) -> int:
    """How many held polls missed exactly these ids, back to the last answer that showed one of them.

    An answer resets the count if it shows one of these regions, or if it is complete and misses others as well. Other
    answers neither count nor reset: failed and partial ones, complete ones that withheld absences, and those to
    another key or URL.
    """
    polls = 0
    for row in earlier:
        disagrees = row.outcome == "held" and row.same_access and row.missing != missing
        if disagrees or (row.outcome != "failed" and not missing <= row.missing):
            break
        if row.outcome == "held" and row.same_access:
            polls += row.polls
    return polls


def signs_of_paging(poll: Poll, listing: Listing) -> str | None:
    """What makes an answer look like one page of several, in its members or headers. None: nothing does."""
    signs = [*listing.paging, *poll.paging]
    if poll.total is not None and poll.total[0] != listing.listed:
        signs.append(poll.total[1])
    return ", ".join(signs)[:MAX_PAGING] or None
