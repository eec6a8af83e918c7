"""The calendar of a time zone: days, weeks and months, as times in UTC."""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from collector.errors import UsageError

Unit = Literal["day", "week", "month"]


def time_zone(name: str) -> tzinfo:
    """The time zone of this name. Raises UsageError, naming the closest names."""
    if name.upper() == "UTC":
        return UTC  # even if the machine has no zones
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        names = {zone.casefold(): zone for zone in available_timezones()}
        ends = {zone.rpartition("/")[2].casefold(): zone for zone in names.values()}
        near = difflib.get_close_matches(name.casefold().replace(" ", "_"), [*names, *ends], n=2, cutoff=0.6)
        close = dict.fromkeys((names | ends)[each] for each in near)
        hint = f"; did you mean {' or '.join(close)}?" if close else "; write it like Europe/Luxembourg"
        raise UsageError(f"there is no time zone {name!r}{hint}") from None


def start_of(moment: datetime, unit: Unit, zone: tzinfo) -> date:
    """The first day of the day, week (from Monday) or month in which a moment lies."""
    day = moment.astimezone(zone).date()
    if unit == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if unit == "month" else day


def next_start(day: date, unit: Unit) -> date:
    """The first day of the next period. `day`: a first day."""
    if unit == "month":
        return (day + timedelta(days=31)).replace(day=1)
    return day + timedelta(days=7 if unit == "week" else 1)


class Periods:
    """The time from `since` to before `until`, divided at the starts of days, weeks or months of a time zone."""

    def __init__(self, since: datetime, until: datetime, unit: Unit | None, zone: tzinfo = UTC) -> None:
        bounds = [since]
        if unit is not None:
            try:
                day = next_start(start_of(since, unit, zone), unit)
                while (bound := midnight(day, zone)) < until:
                    bounds.append(bound)
                    day = next_start(day, unit)
            except OverflowError:
                pass  # the calendar ends with the year 9999
        self._bounds: Sequence[datetime] = [*bounds, until]

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: int) -> tuple[datetime, datetime]:
        return self._bounds[index], self._bounds[index + 1]

    def stretches_of(self, begin: datetime, end: datetime) -> Iterator[tuple[int, int, float]]:
        """Where the time from `begin` to `end` lies: the first of some periods, the one after them, and the seconds in
        each of them. Completely covered periods are returned together, except the very last one, which may be a part.

        This is for periods of equal length, like days in UTC; `parts_of` is for others.
        """
        bounds, last = self._bounds, len(self) - 1
        begin, end = max(begin, bounds[0]), min(end, bounds[-1])
        if begin >= end:
            return
        first = bisect_right(bounds, begin) - 1
        if begin > bounds[first] or end < bounds[first + 1]:
            yield first, first + 1, (min(end, bounds[first + 1]) - begin).total_seconds()
            first += 1
        stop = min(bisect_right(bounds, end) - 1, last)
        if first < stop:
            yield first, stop, (bounds[first + 1] - bounds[first]).total_seconds()
        if first <= stop and end > bounds[stop]:
            yield stop, stop + 1, (end - bounds[stop]).total_seconds()

    def parts_of(self, begin: datetime, end: datetime) -> Iterator[tuple[int, float]]:
        """How many seconds of the time from `begin` to `end` lie in each period, by its index."""
        index = max(bisect_right(self._bounds, begin) - 1, 0)
        while index < len(self) and self._bounds[index] < end:
            since, until = self[index]
            seconds = (min(end, until) - max(begin, since)).total_seconds()
            if seconds > 0:
                yield index, seconds
            index += 1


def last_days(until: datetime, count: int) -> Periods:
    """The days (UTC) of this number, of which the newest ends with `until`."""
    newest = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Periods(newest - timedelta(days=count - 1), until, "day")


def midnight(day: date, zone: tzinfo) -> datetime:
    """The first moment of a day, in UTC. If the clock skips midnight, the moment of the skip."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return local.astimezone(UTC)
