"""What the running service reports about itself, as values. Pages, health and metrics read nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collector.service.tally import Durations, Tally


@dataclass(frozen=True, slots=True)
class SourceView:
    """One source that this process polls, or stands by for."""

    name: str
    condition: str | None
    """Why polls can't be written now; None: they are written.

    `standby` (another replica polls, which is normal), `lost`, `database` or `refused`.
    """
    seconds_since_attempt: float
    holds_lease: bool
    kept: int
    """Number of answers that wait for the database."""
    tally: Tally
    """Totals of all polls that this process wrote."""


@dataclass(frozen=True, slots=True)
class View:
    """The service at one moment."""

    sources: tuple[SourceView, ...]
    patience_seconds: float
    """The watchdog ends the process if no poll was attempted for this long."""
    is_stopping: bool
    phases: Mapping[str, Durations]
    """How long polls took, by phase: fetch, read, decide, write."""
    missed: int
    """Number of skipped polls: the previous one had not ended, or the machine slept."""
    broken: int
    """Number of polls that ended with an unexpected error."""
    attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Attempts to deliver events, by receiver and outcome: `delivered`, `failed` or `given_up`."""
    prunes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Attempts to prune what is due, by source and outcome: `pruned` or `failed`."""
