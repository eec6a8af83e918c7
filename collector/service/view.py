"""What the running service says of itself, as values. Pages, health and metrics never look at the machinery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collector.service.tally import Durations, Tally


@dataclass(frozen=True, slots=True)
class SourceView:
    """One source that this process polls, or stands by for."""

    name: str
    condition: str | None
    """Why polls can't be written now: `standby` (another replica polls, as it should be), `lost`, `database` or
    `refused`; None: they are written."""
    seconds_since_attempt: float
    holds_lease: bool
    kept: int
    """Answers that wait for the database."""
    tally: Tally
    """What all polls came to that were written by this process."""


@dataclass(frozen=True, slots=True)
class View:
    """The service at one moment."""

    sources: tuple[SourceView, ...]
    patience_seconds: float
    """Without an attempt for so long, the watchdog ends the process."""
    is_stopping: bool
    phases: Mapping[str, Durations]
    """How long polls took, by phase: fetch, read, decide, write."""
    missed: int
    """Polls that were skipped, since the one before had not ended or the machine slept."""
    broken: int
    """Polls that ended by what nobody expected."""
    attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """To tell receivers of events, by receiver and outcome: `delivered`, `failed` or `given_up`."""
