"""The message that people get: one short message per poll, however many regions changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from collector.reports import event_words
from collector.reports.cloudevents import id_of, path_of
from collector.reports.notices import Notice
from collector.reports.words import counted

MOST_LINES = 10
_GRAVE = ("gap_opened", "disappeared", "verification_failed")


def message(events: Sequence[Notice], public_url: str | None) -> dict[str, Any]:
    """A title, a few lines, and the severity: `warning` or `info`. All events are of one observation."""
    first = events[0]
    source = first.row["source"]
    lines = [event_words.what(each.kind, each.row) for each in events[:MOST_LINES]]
    if len(events) > MOST_LINES:
        lines.append(f"and {counted(len(events) - MOST_LINES, 'more event')}")
    if public_url:
        path = path_of(first.row) if len(events) == 1 else f"changes?source={quote(source, safe='')}"
        lines.append(f"{public_url}/{path}")
    title = lines[0] if len(events) == 1 else counted(len(events), "event")
    is_grave = any(each.kind in _GRAVE for each in events)
    return {
        "id": id_of(first.row, first.head),
        "title": f"{source}: {title}",
        "body": "\n".join(
            lines if len(events) > 1 else [event_words.sentence(first.kind, first.row), *lines[1:]]
        ),
        "notify_type": "warning" if is_grave else "info",
    }
