"""Times as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from collector.nearest import nearest
from collector.reports.words import show_time

_DAYS = {"today": 0, "yesterday": 1, "day before yesterday": 2, "the day before yesterday": 2}
_UNITS = ("seconds", "minutes", "hours", "days", "weeks", "months", "years")
_SAID = ("now", *_DAYS, "last week", "last month", "last year")
EXAMPLES = "2026-05-01, 2026-05-01T12:30:00Z, yesterday, 2 days ago"


def parse_time(text: str, now: datetime) -> datetime:
    """ISO 8601 or words (`yesterday`, `3 hours ago`). A day alone is its start, and a time without a zone is UTC.

    Raises ValueError with a message for people if the text is not a time, or is in the future.
    """
    plain = text.strip()
    if len(plain) > 60:
        raise ValueError(f"{plain[:40]!r}… is not a time; write it like {EXAMPLES}")
    if (words := " ".join(plain.lower().split())) in _DAYS:
        day = now.date() - timedelta(days=_DAYS[words])
        return datetime.combine(day, time(), UTC)
    try:
        moment: datetime | None = datetime.fromisoformat(plain)
    except ValueError:
        # It is written like a date but is none, or its digits can be read in two ways; don't guess.
        if re.match(r"\d{4}(-|\d|$)|\d+[./]\d+|\d*$", plain) or len(plain) < 3:
            raise ValueError(_no_time(plain)) from None
        moment = _in_words(plain, now)
    if moment is None:
        raise ValueError(_no_time(plain))
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{plain!r} is outside the years 1 to 9999") from None
    if moment > now:
        raise ValueError(f"{show_time(moment)} is in the future; nothing is known about it yet")
    return moment


def _no_time(text: str) -> str:
    """A message for a text that is not a time, with the closest words that are."""
    words = " ".join(text.lower().split())
    ago = re.fullmatch(r"(\d{1,5}) ?([a-z]*?) ?(ago)?", words)
    if ago is not None:
        close = [f"{ago[1]} {unit} ago" for unit in (nearest(ago[2], _UNITS, 2) if ago[2] else ["days"])]
    else:
        close = nearest(words, _SAID, 2)
    close = [each for each in close if each != words]
    hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
    return f"{text!r} is not a time; write it like {EXAMPLES}{hint}"


def _in_words(text: str, now: datetime) -> datetime | None:
    import dateparser

    found: datetime | None = dateparser.parse(
        text,
        languages=["en"],
        settings={
            "TIMEZONE": "UTC",
            "RETURN_AS_TIMEZONE_AWARE": True,
            "PREFER_DATES_FROM": "past",
            # "May 2026" is a day: its first. "1 month ago" is not.
            "PREFER_DAY_OF_MONTH": "first" if re.search(r"[a-z] +\d{4}$", text, re.IGNORECASE) else "current",
            "RELATIVE_BASE": now.replace(tzinfo=None),
        },
    )
    return found
