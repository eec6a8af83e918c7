"""Facts as sentences that a person can read aloud."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from collector.printable import printable as printable

_BASIS = {
    "baseline": "no complete answer without it is known",
    "direct": "the poll just before still showed the old state",
    "across_gap": "it could not be seen in between",
    "absence": "a complete answer no longer listed it",
    "observer_change": "another key or URL looked than before, so this may be a change of view only",
    "other_copy": "another region's copy of the keystone counted than before",
}


def show_time(moment: datetime | None) -> str:
    """`2026-05-01 12:30:00Z`; milliseconds where there are any."""
    if moment is None:
        return ""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    return f"{text.removesuffix('.000')}Z"


def brief(text: str, limit: int = 100) -> str:
    """A name or a state in a sentence: printable, on one line, cut where it is no name of a person's making."""
    text = printable(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def show_span(seconds: float | timedelta) -> str:
    """`1.2 s`, `45 s`, `20 min`, `8 h 05 min`, `3 d 4 h`: as exact as a person wants it."""
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
    """What happened, when at the earliest and the latest, and why we think so.

    `row`: fields of `reports.transitions`.
    """
    name = brief(row["display_name"] or row["slug"] or f"{row['entity']} {row['entity_id']}")
    if row["entity"] == "keystone":
        name = f"The keystone of {name}"
    old, new = (brief(row[state] or "") for state in ("from_state", "to_state"))
    what = {
        "appeared": f"appeared as {new}",
        "reappeared": f"came back as {new}",
        "disappeared": f"disappeared; it was {old}",
        "changed": f"went from {old} to {new}",
    }[row["kind"]]
    observed = row["observed_at"]
    if row["not_before"] is None:
        when = f"at {show_time(observed)} or at any time before"
    else:
        width = show_span(observed - row["not_before"])
        when = f"between {show_time(row['not_before'])} and {show_time(observed)}, within {width}"
    return f"{name} {what}, {when}: {_BASIS[row['basis']]}."
