"""Errors that a person can fix.

Each of these ends a command with its message and `exit_code`, without a traceback. A failed poll is not an error but
data: see `collector.gcore.exchange.Failure`.
"""

from __future__ import annotations


class CollectorError(Exception):
    """The command could not do what it was asked to do."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class SettingsError(CollectorError):
    """A setting is missing or wrong."""

    exit_code = 2


class UsageError(CollectorError):
    """An argument is wrong."""

    exit_code = 2


class SchemaError(CollectorError):
    """The database schema is not the one that this version works with."""

    exit_code = 2


class DatabaseError(CollectorError):
    """The database can't be reached or used."""


class DatabaseAwayError(DatabaseError):
    """The database does not answer, or is locked as a whole, so no source can be written."""


class TooLongError(DatabaseError):
    """The database took too long to answer a question."""


class ObserverChangedError(CollectorError):
    """A source is polled at another base URL than before."""

    exit_code = 2


class LeaseHeldError(CollectorError):
    """Another process polls this source."""

    exit_code = 3


class LeaseLostError(CollectorError):
    """The lease expired or another process took it; nothing was written."""


class ClockError(CollectorError):
    """This machine's clock can't be trusted; nothing was written."""


class IntegrityError(CollectorError):
    """Stored evidence does not match its own address."""


class ExportError(CollectorError):
    """The folder can't be written; the previous export is unchanged."""
