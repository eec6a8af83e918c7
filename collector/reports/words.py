"""Facts as sentences that a person can read aloud."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from collector.printable import brief as brief
from collector.printable import counted as counted
from collector.printable import printable as printable

EXACT = timedelta(seconds=2)
"""A change is dated exactly if it happened between two polls that are at most this far apart."""

_BASIS = {
    "baseline": "no complete answer without it is known",
    "direct": "the poll just before still showed the old state",
    "across_gap": "it could not be seen in between",
    "absence": "a complete answer no longer listed it",
    "observer_change": "another key or URL had been used before, so this may be a change of view only",
    "other_copy": "another region's copy of the keystone counted than before",
}


def show_time(moment: datetime | None) -> str:
    """`2026-05-01 12:30:00Z`, with milliseconds if there are any."""
    if moment is None:
        return ""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    return f"{text.removesuffix('.000')}Z"


def show_span(seconds: float | timedelta) -> str:
    """`1.2 s`, `45 s`, `20 min`, `8 h 05 min`, `3 d 4 h`: as exact as people need it."""
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def transition_in_words(row: Mapping[str, Any]) -> str:
    """What happened, when at the earliest and the latest, and why we believe that.

    `row`: fields of `reports.transitions.transitions`.
    """
    return f"{name_in_words(row)} {what_happened(row)}, {window_in_words(row)}: {basis_in_words(row)}."


def name_in_words(row: Mapping[str, Any]) -> str:
    """The entity, at the beginning of a sentence."""
    name = brief(row["display_name"] or row["slug"] or f"{row['entity']} {row['entity_id']}")
    return f"The keystone of {name}" if row["entity"] == "keystone" else name


def what_happened(row: Mapping[str, Any]) -> str:
    """`went from ACTIVE to MAINTENANCE`."""
    old, new = (brief(row[state] or "") for state in ("from_state", "to_state"))
    return {
        "appeared": f"appeared as {new}",
        "reappeared": f"came back as {new}",
        "disappeared": f"disappeared; it was {old}",
        "changed": f"went from {old} to {new}",
    }[row["kind"]]


def window_in_words(row: Mapping[str, Any]) -> str:
    """When, at the earliest and the latest. `row`: has `not_before` and `observed_at`."""
    observed = row["observed_at"]
    if row["not_before"] is None:
        return f"at {show_time(observed)} or at any time before"
    width = show_span(observed - row["not_before"])
    return f"between {show_time(row['not_before'])} and {show_time(observed)}, within {width}"


def brief_window(row: Mapping[str, Any]) -> str:
    """The same to the second: `between 2026-05-01 12:20 and 12:40:01, within 20 min`."""
    last = _to_the_second(row["observed_at"] + timedelta(microseconds=999_999))
    if row["not_before"] is None:
        return f"at {_short(last)} or at any time before"
    first = _to_the_second(row["not_before"])
    same_day = first.date() == last.date()
    end = _short(last).partition(" ")[2] if same_day else _short(last)
    return f"between {_short(first)} and {end}, {certainty(row)}"


def _to_the_second(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _short(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment.second else f"{moment:%Y-%m-%d %H:%M}"


CAUSES = {
    "no_polls": "no poll was made, or none could be written",
    "key": "there was no key to ask with",
    "connect": "nothing answered",
    "timeout": "no complete answer came in time",
    "protocol": "the connection broke, or what came was not HTTP",
    "http_status": "the API refused",
    "too_large": "the answer was larger than the limit",
    "not_json": "the answer was not JSON that can be relied on",
    "not_a_listing": "the answer was JSON, but not a list of regions",
    "stale": "a cache answered, perhaps with what it had before",
    "partial": "the answer was incomplete",
    "held": "many were missing at once, which waits to be confirmed",
    "not_given": "the answer named them without showing them",
    "record_without_id": "a record had no usable id",
    "reference_not_stated": "no record said what it refers to",
}
"""Why something could not be seen."""


def basis_in_words(row: Mapping[str, Any]) -> str:
    """Why we believe it. Empty if the basis is not on record."""
    return _BASIS.get(row["basis"] or "", "")


@lru_cache(maxsize=10_000)
def in_order(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts names as people do: 2 before 10."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((len(part.lstrip("0")) if n % 2 else 0, part) for n, part in enumerate(parts))


def certainty(row: Mapping[str, Any]) -> str:
    """How exactly the time of a change is known: `exact`, `within 20 min`, `or before`.

    `row`: has `not_before` and `observed_at`.
    """
    if row["not_before"] is None:
        return "or before"
    width = row["observed_at"] - row["not_before"]
    return "exact" if width <= EXACT else f"within {show_span(width)}"


def happening_in_words(row: Mapping[str, Any]) -> str:
    """What happened, in one sentence without its time. `row`: fields of `reports.happenings.happenings`."""
    count, kind = row["count"] or 0, row["happening"]
    if kind in ("state", "keystone"):
        return (
            f"{name_in_words(row)} {what_happened({**row, 'from_state': row['old'], 'to_state': row['new']})}"
        )
    if kind == "field":
        return f"{name_in_words(row)}: {row['field']} went from {_said(row['old'])} to {_said(row['new'])}"
    if kind == "baseline":
        return f"The first answer of {row['source']} listed {counted(count, 'region')}"
    if kind == "gap":
        polls = "no poll was made" if row["cause"] == "no_polls" else f"{counted(count, 'poll')} failed"
        return f"{row['source']} could not be seen: {polls}"
    if kind == "unseen":
        return f"{counted(count, row['entity'])} of {row['source']} not shown, though not gone"
    said = {
        "unknown_field": "a field that is not documented",
        "missing_field": "a documented field is missing",
        "wrong_type": "a value of another type than documented",
        "unusable_value": "a value that can't be used",
        "unknown_value": "a value that is not documented",
        "copies_differ": "copies of one object that differ",
    }.get(row["kind"], str(row["kind"]))
    detail = f" ({brief(str(row['new']))})" if row["new"] else ""
    return f"The API of {row['source']} shows {said}: {brief(str(row['field']))}{detail}"


def _said(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return show_time(value)
    if isinstance(value, tuple | list):
        return brief(", ".join(map(str, value)) or "none")
    return brief(str(value))
