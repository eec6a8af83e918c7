"""Times as people write them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from collector.cli.printing import note
from collector.clock import utc_now
from collector.errors import UsageError
from collector.reports.times import parse_time
from collector.reports.words import show_time

if TYPE_CHECKING:
    import sqlalchemy as sa


class Time(click.ParamType[datetime]):
    """A time on the command line, see `parse_time`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(value, utc_now())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def check_order(since: datetime | None, until: datetime | None) -> None:
    """Raise UsageError if the time from `since` to before `until` is empty."""
    if since and until and since >= until:
        raise UsageError(f"--from {show_time(since)} is not before --to {show_time(until)}")


def echo_times(since: datetime | None, until: datetime | None) -> None:
    """Print on stderr how the times were understood."""
    for name, moment in (("from", since), ("to", until)):
        if moment:
            note(f"{name} {show_time(moment)}")


def note_beginnings(connection: sa.Connection, moment: datetime | None, source: str | None) -> None:
    """Print on stderr which sources were not watched yet at a time, if there is one."""
    from collector.reports.inventory import unwatched

    for name, first in unwatched(connection, moment, source).items() if moment else ():
        note(f"{name}: nothing was watched before {show_time(first)}")
