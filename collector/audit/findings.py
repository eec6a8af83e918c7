"""What a verification finds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from collector.database.health import is_unreadable
from collector.store.amendments import Amendment, Beginning

if TYPE_CHECKING:
    from collector.audit.anchoring.stored import Anchored

Verdict = Literal["good", "stale", "altered"]
MAX_BREAKS = 10
"""So many are told, the first ones."""


@dataclass(frozen=True, slots=True)
class Break:
    """One place where the database is not as the evidence, or its own digests, have it."""

    table: str
    key: Mapping[str, Any]
    field: str | None
    """None: the whole row."""
    stored: Any
    expected: Any
    why: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked of one source, and what was found."""

    source: str
    verdict: Verdict
    """stale: derived by older rules, `db rebuild` mends it; altered: somebody edited, or something broke."""
    head: str | None
    """The newest opening digest; None before the first poll."""
    observations: int
    polls: int
    payloads: int
    derived_rows: int | None
    """None: not derived, since the evidence is broken."""
    different: int
    """Derived rows that differ."""
    breaks: tuple[Break, ...]
    """The first ones, at most ten."""
    heads: Mapping[str, int]
    """Of the heads that were asked about: those that the chain has, with their observations."""
    newest_seq: int = 0
    """Number of the observation that the newest head is of."""
    begins: Beginning | None = None
    """Where the history begins, if it was pruned."""
    amendments: tuple[Amendment, ...] = ()
    """What was pruned and redacted."""
    anchored: tuple[Anchored, ...] = ()
    """What each anchor has of it."""

    @property
    def proven_seq(self) -> int | None:
        """Observations up to this one are covered by an anchor that who writes the database could not have made, or by
        a head that was kept outside; None: there is neither."""
        proven = [each.proven_seq for each in self.anchored if each.proven_seq is not None]
        return max([*proven, *self.heads.values()], default=None)


@dataclass(slots=True)
class Findings:
    """What the steps have found so far."""

    asked: Collection[str]
    observations: int = 0
    polls: int = 0
    payloads: int = 0
    head: str | None = None
    heads: dict[str, int] = field(default_factory=dict)
    breaks: list[Break] = field(default_factory=list)
    amendments: list[Amendment] = field(default_factory=list)

    def add(
        self,
        table: str,
        key: Mapping[str, Any],
        why: str,
        field: str | None = None,
        stored: Any = None,
        expected: Any = None,
    ) -> None:
        if len(self.breaks) < MAX_BREAKS:
            self.breaks.append(Break(table, key, field, stored, expected, why))

    def rests_on(self, address: str, count: int) -> None:
        """So many answers can't be read, since they are written over this one."""
        key = {"address": address}
        why = f"{count} {'answer is' if count == 1 else 'answers are'} written over it, and can't be read"
        for number, each in enumerate(self.breaks):
            if (each.table, each.key) == ("payloads", key):
                self.breaks[number] = replace(each, why=f"{each.why}; {why}")
                return
        self.add("payloads", key, f"this row is missing; {why}")


IMPOSSIBLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    sa.exc.IntegrityError,
)
"""What reading a value raises that none of our rows can have; of a constraint: where it is derived again."""


@contextmanager
def readable(table: str, found: Findings) -> Iterator[None]:
    """A value that can't even be read is a finding."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not is_unreadable(error) and not isinstance(error, IMPOSSIBLE):
            raise
        found.add(table, {}, f"a value can't be read: {in_one_line(error.orig)}")
    except IMPOSSIBLE as error:
        found.add(table, {}, f"a value can't be read: {in_one_line(error)}")


def in_one_line(error: object) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
