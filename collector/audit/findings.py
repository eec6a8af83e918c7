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
UNKNOWN = object()
MAX_BREAKS = 10
"""Maximum number of findings that are reported: the first ones."""


@dataclass(frozen=True, slots=True)
class Break:
    """One place where the database contradicts the evidence or its own digests."""

    table: str
    key: Mapping[str, Any]
    field: str | None
    """None: the whole row."""
    stored: Any
    expected: Any
    why: str
    has_expected: bool = True
    """False: it is only known that the stored value is wrong."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked of one source, and what was found."""

    source: str
    verdict: Verdict
    """stale: derived by older rules, fixed by `db rebuild`; altered: something was edited or damaged."""
    head: str | None
    """The newest opening digest; None before the first poll."""
    observations: int
    polls: int
    payloads: int
    derived_rows: int | None
    """None: not derived, because the evidence is damaged."""
    different: int
    """Number of derived rows that differ."""
    breaks: tuple[Break, ...]
    """The first findings, at most ten."""
    heads: Mapping[str, int]
    """The given heads that the chain has, with their observations."""
    newest_seq: int = 0
    """Number of the newest observation, to which the head belongs."""
    begins: Beginning | None = None
    """Where the history begins, if it was pruned."""
    amendments: tuple[Amendment, ...] = ()
    """Prunes and redactions."""
    anchored: tuple[Anchored, ...] = ()
    """What each anchor's place has."""

    @property
    def proven_seq(self) -> int | None:
        """The newest observation covered by a head from outside, or by an anchor that nobody with only the database
        could make.

        None: there is neither.
        """
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
        expected: Any = UNKNOWN,
    ) -> None:
        if len(self.breaks) < MAX_BREAKS:
            has_expected = expected is not UNKNOWN
            given = expected if has_expected else None
            self.breaks.append(Break(table, key, field, stored, given, why, has_expected))

    def rests_on(self, address: str, count: int) -> None:
        """Record that `count` answers can't be read because they are written over this one."""
        key = {"address": address}
        why = f"{count} {'answer is' if count == 1 else 'answers are'} written over it and can't be read"
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
"""What reading a value may raise that none of our own rows can have; or a violated constraint, when deriving again."""


@contextmanager
def readable(table: str, found: Findings) -> Iterator[None]:
    """Turn an unreadable value into a finding."""
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
