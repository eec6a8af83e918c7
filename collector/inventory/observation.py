"""An observation: a stretch of equal polls of one source. Pure.

The first poll opens it, each equal poll extends it, and the next observation closes it. The clock rule (`Poll.after`)
and the gap rule (`gap_limit`) are here too, since they decide where a stretch ends.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from collector.errors import ClockError
from collector.inventory import chain

Outcome = Literal["ok", "partial", "held", "failed"]
APPLIED: tuple[Outcome, ...] = ("ok", "partial", "held")
"""Outcomes whose listed records are applied."""

GAP_FACTOR = 2.5
"""A time between two polls that is more than this many expected intervals is a gap."""
TICK = timedelta(microseconds=1)
"""If the clock was set back, an answer is moved to this long after the previous one."""
MAX_CLOCK_OFFSET = timedelta(hours=1)
"""A clock that differs by more than this from the API's is wrong."""
MAX_STEP_BACK = timedelta(minutes=1)
"""A clock that was set back by more than this is wrong now or was wrong before. At least the length of a lease."""
VARIANT_EVIDENCE = timedelta(hours=1)
"""Answers with the same meaning in another spelling are stored as evidence at most this often."""
IMPORT = "import"
"""Scheme of the observer for imported answers, which has no key."""
_MILLISECOND = timedelta(milliseconds=1)


def gap_limit(*expected_intervals: timedelta) -> timedelta:
    """The longest time between two polls that is not a gap. The longest of the expected intervals counts."""
    return max(expected_intervals) * GAP_FACTOR


@dataclass(frozen=True, slots=True)
class Observer:
    """Who polls a source."""

    key_fingerprint: str
    base_url: str
    auth_scheme: str

    @classmethod
    def of_import(cls, base_url: str) -> Observer:
        """The observer for saved answers of this platform; it is not known which key was used."""
        return cls("", base_url, IMPORT)

    @property
    def is_import(self) -> bool:
        return (self.key_fingerprint, self.auth_scheme) == ("", IMPORT)

    @property
    def access(self) -> tuple[str, str]:
        """What decides what the API shows: the key and the URL. The scheme is only how the key is sent."""
        return self.key_fingerprint, self.base_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """When and by whom a source was asked, regardless of the answer."""

    asked_at: datetime
    answered_at: datetime
    observer: Observer
    interval: timedelta
    """The expected time between polls."""
    clock_offset: timedelta | None = None
    """This machine's clock minus the API's."""
    age: timedelta = timedelta(0)
    """How old the answer is, according to a cache."""
    paging: tuple[str, ...] = ()
    """Headers that make the answer look like one page of several."""
    total: tuple[int, str] | None = None
    """How many records exist in total, and the header that says so."""

    def after(self, before: Observation | None) -> Poll:
        """The poll, with its answer's time moved forward behind the source's last observation if necessary.

        Time within a source only moves forward. `asked_at` is not changed: a later one would narrow the windows that
        begin there. Raises ClockError if the clock is too wrong to be corrected.
        """
        if self.clock_offset is not None and abs(self.clock_offset) > MAX_CLOCK_OFFSET:
            raise ClockError(
                f"this machine's clock differs by {abs(self.clock_offset)} from that of the API; "
                "the poll was not written; set the clock (is NTP running?)"
            )
        if self.answered_at - self.asked_at > MAX_CLOCK_OFFSET and not self.observer.is_import:
            raise ClockError(
                f"this poll took {self.answered_at - self.asked_at} by this machine's clock: it was set meanwhile, or "
                "the machine slept; the poll was not written"
            )
        answered_at = max(self.answered_at, self.asked_at)
        if before is not None:
            if before.last_at - self.answered_at > MAX_STEP_BACK:
                raise ClockError(
                    f"this machine's clock says {self.answered_at:%Y-%m-%d %H:%M:%S} UTC, but this source was already "
                    f"polled at {before.last_at:%Y-%m-%d %H:%M:%S} UTC; the poll was not written; set the clock, or, "
                    "if it was wrong then and is right now, see Clocks in docs/history.md"
                )
            try:
                answered_at = max(answered_at, before.last_at + TICK)
            except OverflowError:
                raise ClockError("this machine's clock is at the end of time; set the clock") from None
        return replace(self, answered_at=answered_at)

    def may_precede(self, applied: Observation | None) -> bool:
        """True if a cache gave this answer and it may be older than the last applied answer."""
        return bool(self.age) and applied is not None and self.asked_at - self.age < applied.last_at

    def of_an_answer(self) -> Poll:
        """The poll of a usable answer. A cached answer may have been true earlier, so `asked_at` moves back by its
        age.
        """
        return replace(self, asked_at=self.asked_at - self.age)


@dataclass(frozen=True, slots=True)
class Answered:
    """What an observation says about a usable answer."""

    payload: str
    """Address of the answer."""
    listed: int
    declared: int | None
    rejected: int
    missing: frozenset[int]
    paging: str | None


@dataclass(frozen=True, slots=True)
class Failed:
    """What an observation says about a poll without a usable answer."""

    cause: str
    http_status: int | None = None
    exception_class: str | None = None
    message: str | None = None
    request_id: str | None = None

    def equals(self, row: Observation) -> bool:
        """True if cause, HTTP status and exception class are equal."""
        return (row.cause, row.http_status, row.exception_class) == (
            self.cause,
            self.http_status,
            self.exception_class,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A stretch of polls of a source with the same outcome and content. The fields are the columns of its row."""

    seq: int
    outcome: Outcome
    first_at: datetime
    last_at: datetime
    polls: int = 1
    listed: int | None = None
    declared: int | None = None
    rejected: int | None = None
    missing: tuple[int, ...] | None = None
    variants: int = 0
    cause: str | None = None
    http_status: int | None = None
    exception_class: str | None = None
    message: str | None = None
    request_id: str | None = None
    first_asked_at: datetime
    last_asked_at: datetime
    expected_interval_ms: int
    longest_interval_ms: int = 0
    clock_offset_ms: int | None = None
    payload: str | None = None
    observer_id: int
    collector_version: str
    recorded_at: datetime
    previous_digest: str
    opening_digest: str
    digest: str | None = field(default=None, compare=False)
    """Follows from the rest; None while the observation is open."""
    paging: str | None = None
    age_ms: int | None = None
    amended: str | None = None
    """Digest of the newest prune or redaction, if there was one since the previous observation."""
    observer: Observer
    """The observer with `observer_id`; not a column."""

    @classmethod
    def opened(
        cls,
        source: str,
        before: Observation | None,
        poll: Poll,
        observer_id: int,
        outcome: Outcome,
        said: Answered | Failed,
        *,
        recorded_at: datetime,
        collector_version: str,
        amended: str | None = None,
    ) -> Observation:
        """The observation that a poll opens after `before`, which it closes."""
        facts = asdict(said)
        if isinstance(said, Answered):
            facts["missing"] = tuple(sorted(said.missing)) or None
        offset = poll.clock_offset
        row = cls(
            seq=before.seq + 1 if before else 1,
            outcome=outcome,
            first_at=poll.answered_at,
            last_at=poll.answered_at,
            first_asked_at=poll.asked_at,
            last_asked_at=poll.asked_at,
            expected_interval_ms=poll.interval // _MILLISECOND,
            clock_offset_ms=None if offset is None else offset // _MILLISECOND,
            observer_id=observer_id,
            collector_version=collector_version,
            recorded_at=recorded_at,
            previous_digest=before.closed().digest or "" if before else chain.GENESIS,
            opening_digest="",
            age_ms=poll.age // _MILLISECOND or None,
            amended=amended,
            observer=poll.observer,
            **facts,
        )
        return replace(row, opening_digest=chain.opening_digest(source, row.columns(), asdict(poll.observer)))

    def columns(self) -> dict[str, Any]:
        """The row by column, without its source."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def expected_interval(self) -> timedelta:
        return self.expected_interval_ms * _MILLISECOND

    def is_continued_by(self, poll: Poll) -> bool:
        """True if a poll of the same outcome and content belongs to this stretch."""
        return (
            self.observer == poll.observer
            and self.expected_interval == poll.interval
            and poll.answered_at - self.last_at <= gap_limit(self.expected_interval)
            and poll.answered_at.date() == self.first_at.date()
        )

    def is_varied_by(self, poll: Poll) -> bool:
        """True if it is too early to store a poll's answer, another spelling of this one, as evidence."""
        return poll.answered_at - self.first_at < VARIANT_EVIDENCE

    def extended(self, poll: Poll, *, is_variant: bool = False) -> Observation:
        """The stretch with one more poll."""
        since_last = (poll.answered_at - self.last_at) // _MILLISECOND
        return replace(
            self,
            last_at=poll.answered_at,
            last_asked_at=poll.asked_at,
            polls=self.polls + 1,
            longest_interval_ms=max(self.longest_interval_ms, since_last),
            variants=self.variants + is_variant,
        )

    def closed(self) -> Observation:
        """The stretch as it is when the next observation opens."""
        return replace(self, digest=chain.closing_digest(self.columns()))

    def at_insert(self) -> Observation:
        """The stretch as its first poll left it. Decisions about it may read nothing else."""
        return replace(
            self,
            last_at=self.first_at,
            last_asked_at=self.first_asked_at,
            polls=1,
            longest_interval_ms=0,
            variants=0,
            digest=None,
        )


COLUMNS = tuple(f.name for f in fields(Observation) if f.name != "observer")
"""The columns of an observation's row, without its source, in the order of the fields."""
COUNTERS = ("last_at", "last_asked_at", "polls", "longest_interval_ms", "variants")
"""The columns that change when a poll extends a stretch."""
