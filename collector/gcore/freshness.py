"""How old a cached answer is. Pure.

Requests say `Cache-Control: no-cache`, but a cache in between may ignore that. RFC 9111: `Age` is the time since the
answer left its origin, in whole seconds, and `Date` stays the origin's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_MAX_AGE = 2**31
"""Seconds: RFC 9111 (1.2.2) uses this for any larger number."""
_CACHE = re.compile(r"(.+-)?cached?(-(debug|info|result|state|status))?")
_HIT = re.compile(r"(?<![a-z])(?<!not )(cached|fresh|grace|hit|revalidated|stale|updating)(?![a-z])")
"""Values of cache-status headers as most caches write them: `HIT`, `TCP_MEM_HIT`, `Hit from cloudfront`."""
_YES = re.compile(r"\s*([1-9]\d*|hit|true|yes)\b")
_FROM_CACHE = {
    "cache-status": re.compile(r";\s*hit\b(?!\s*=\s*\?0)"),  # RFC 9211
    "warning": re.compile(r"(^|,)\s*11[0-3]\b"),
    "x-cache-hits": re.compile(r"[1-9]"),
    **dict.fromkeys(("x-cache-hit", "x-cached", "x-from-cache", "x-is-cached", "x-served-from-cache"), _YES),
    **dict.fromkeys(("x-response-source", "x-served-from"), re.compile(r"\bcache\b")),
    "x-varnish": re.compile(r"[0-9]+\s+[0-9]+"),  # this request, and the one that it came with
    "server-timing": re.compile(r"cache[\w-]*\s*;[^,]*\bdesc\s*=\s*\"?(hit|stale)"),
}
"""Other headers by which a cache says that it gave the answer itself."""
_AGE = re.compile(r"age|x-age|(.+-)?(cache|cdn|edge|proxy)-age")
_SINCE = re.compile(r"(.+-)?cached-?(at|date|on|since|time)|(.+-)?cache-(created|date|since|time)")
"""Headers with the time at which an answer left its origin. Gcore's own CDN sends `X-Cached-Since` and a new `Date`."""
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]")
_ASCTIME = re.compile(r"[A-Za-z]{3} [A-Za-z]{3} [ 0-9][0-9] [0-9:]{8} [0-9]{4}")
"""The one form of a date that has no zone and means UTC (RFC 9110, 5.6.7)."""


def age_of(headers: Mapping[str, str], now: datetime) -> timedelta:
    """How long ago an answer may have left its origin; zero if no cache says that it gave it.

    This is `Age` or a similar header, or the greatest of several. If `Age` can't be read, or a cache says in another
    way that it gave the answer, it follows from `Date`. Only caches send an `Age`.
    """
    ages = [
        float(text)
        for name, value in headers.items()
        if _AGE.fullmatch(name.lower())
        for text in re.findall(r"(?<![\w.+-])[0-9]+(?:\.[0-9]+)?(?![\w.])", value)
    ]
    since = (date_of(headers, name) for name in headers if _SINCE.fullmatch(name.lower()))
    ages += [max((now - left).total_seconds(), 0.0) for left in since if left is not None]
    if ages:
        return timedelta(seconds=min(max(ages), _MAX_AGE))
    if "Age" not in headers and not any(_is_from_a_cache(n.lower(), v.lower()) for n, v in headers.items()):
        return timedelta(0)
    sent = date_of(headers)
    return timedelta(0) if sent is None else max(now - sent, timedelta(0))


def _is_from_a_cache(name: str, value: str) -> bool:
    said = _FROM_CACHE.get(name) or (_HIT if _CACHE.fullmatch(name) else None)
    return said is not None and said.search(value) is not None


def date_of(headers: Mapping[str, str], name: str = "Date") -> datetime | None:
    """The `Date` of an answer, or another header with a date; None if it is missing or unreadable."""
    with suppress(KeyError, ValueError, TypeError, OverflowError):
        text = re.sub(r":60\b", ":59", headers[name]).strip()  # a leap second
        is_iso = _SINCE.fullmatch(name.lower()) and _ISO.match(
            text
        )  # other headers may only have an HTTP date
        sent = datetime.fromisoformat(text) if is_iso else parsedate_to_datetime(text)
        if sent.tzinfo is not None:
            return sent
        if _ASCTIME.fullmatch(text):
            return sent.replace(tzinfo=UTC)
    return None


def pause_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from either form of Retry-After; None if it is missing or unusable.

    A date is compared with the answer's own `Date`, so a wrong clock here does no harm.
    """
    given = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", given):
        return float(given)
    until, sent = date_of(headers, "Retry-After"), date_of(headers)
    return None if until is None or sent is None else max((until - sent).total_seconds(), 0.0)


def clock_offset(headers: Mapping[str, str], now: datetime, age: timedelta) -> timedelta | None:
    """This machine's clock minus the server's, in whole seconds; None if the answer does not give a time.

    Most caches keep the `Date` of the origin, which is earlier by the answer's age; some send their own. The one that
    is closer to this clock counts, so that a cache is not mistaken for a wrong clock.
    """
    sent = date_of(headers)
    return None if sent is None else min(now - sent, now - sent - age, key=abs)
