"""Times in file names, in common spellings. Pure.

    2024-05-01T12:00:00Z   20240501T120000Z   2024-05-01_12-00-00   2024-05-01   1714564800   2024/05/01/1200

Nothing ambiguous is guessed: what a name leaves open becomes a longer moment or an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_DATE = r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<s>[-_./]?)(?P<month>\d\d)[-_./]?(?P<day>\d\d)"
_GAP = r"(?P<gap>[Tt]|/(?:[A-Za-z]+[-_])*|[ _.-]{1,3}|)"
_FRACTION = r"(?:(?:[.,]|[-_](?=\d{3}Z))(?P<fraction>\d{1,9}))?"
_SECOND = rf"(?:[:._/mM-]?(?P<second>\d\d){_FRACTION})?"
_CLOCK = rf"(?P<hour>\d\d)(?:[:._/hH-]?(?P<minute>\d\d){_SECOND})?"
_ZONE = r"(?:[sS]?[ _-]?(?P<utc>Z|z|UTC|GMT)(?![A-Za-z])|(?P<offset>[+-]\d\d:?\d\d))?"
_TIME = re.compile(rf"{_DATE}(?:{_GAP}{_CLOCK}{_ZONE})?(?!\d)")
_UNIX = re.compile(r"(?<!\d)(1\d{9})(?:(\d{3})|(\d{6})|\.(\d{1,6}))?(?!\d)")
_LABEL = re.compile(r"(?<![A-Za-z])(?:year|month|day|date|dt|hour|minute|[ymdh])=")
_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
_LEAST = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """When something happened, as far as it is known: at some time from `at` to `until`."""

    at: datetime
    until: datetime
    zone_given: bool = True
    """False if the name gives no zone, so that the assumed one was used."""

    @property
    def is_coarse(self) -> bool:
        """True if it is known to an hour or a day only."""
        return self.until - self.at > _MINUTE


def time_in_name(path: str, zone: tzinfo = UTC) -> Moment | None:
    """The time in a file's name or in its folders' names; None if there is none.

    `path`: without endings like .json, folders separated by `/`. `zone`: for names without one. Raises ValueError,
    with a message for people, if a name is ambiguous or its time is impossible.
    """
    path = _LABEL.sub("", path)
    name = path.rpartition("/")[2]
    for pattern, understand in ((_TIME, _moment), (_UNIX, _since_1970)):
        found = list(pattern.finditer(name))
        if len(found) > 1:
            raise ValueError("its name contains several times")
        if found:
            return understand(found[0], zone)
    in_folders = list(_TIME.finditer(path))
    return _moment(in_folders[-1], zone) if in_folders else None


def _moment(said: re.Match[str], zone: tzinfo) -> Moment:
    parts = said.groupdict()
    start, span = _as_written(said[0], parts)
    offset = parts["offset"]
    if parts["utc"]:
        zone = UTC
    elif offset and (offset[0] == "+" or parts["gap"] in ("T", "t")):
        minutes = int(offset[1:3]) * 60 + int(offset[-2:])
        zone = timezone((-1 if offset[0] == "-" else 1) * timedelta(minutes=minutes))
    elif offset and int(offset[1:3]) <= 12 and offset[-2:] in ("00", "15", "30", "45"):
        raise ValueError(f"the {offset} in its name may be a time zone or a number")
    else:
        offset = None
    until = max(start, start + span - _LEAST)
    # An hour that occurs twice when the clock is set back may be either one.
    ends = [
        moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for moment in (start, until) for fold in (0, 1)
    ]
    return Moment(min(ends), max(ends), zone_given=bool(offset or parts["utc"]))


def _as_written(text: str, parts: dict[str, str | None]) -> tuple[datetime, timedelta]:
    """The earliest possible moment, without a zone, and how long the given time lasts."""
    year, month, day = (int(parts[n] or 0) for n in ("year", "month", "day"))
    hour, minute, second = (parts[n] for n in ("hour", "minute", "second"))
    # A lone number after a date is an hour in ISO 8601 and in nested folders; elsewhere it may be any counter.
    is_hour = parts["gap"] in ("T", "t", "") or parts["s"] == parts["gap"] == "/"
    if not minute and not is_hour:
        hour = None
    fraction = (parts["fraction"] or "")[:6].ljust(6, "0")
    span = timedelta() if second else _MINUTE if minute else _HOUR if hour else _DAY
    try:
        clock = (int(hour or 0), int(minute or 0), int(second or 0), int(fraction))
        return datetime(year, month, day, *clock), span  # noqa: DTZ001 - the zone is added below
    except ValueError:
        raise ValueError(f"{text!r} in its name is not a valid time") from None


def _since_1970(said: re.Match[str], _zone: tzinfo) -> Moment:
    digits = (said[2] or said[3] or said[4] or "").ljust(6, "0")
    at = datetime.fromtimestamp(int(said[1]), UTC) + timedelta(microseconds=int(digits))
    return Moment(at, at)
