"""A notice as a CloudEvent 1.0 in structured JSON, as receivers and readers of the JSON API get it.

It has all fields of its event in `/api/v1/events`, and what a reader needs who can't query: names, the head, the
certainty in words, a sentence, a link, and the cursor from which to read on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from collector.clock import time_text
from collector.reports import event_words
from collector.reports.filters import Row
from collector.reports.notices import Notice

TYPE_PREFIX = "gcore-collector."
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


def id_of(row: Row, head: str) -> str:
    """The id of an event. No other event ever gets it, even if a backup is restored and numbers are used again."""
    which = hashlib.sha256(f"{row['source']}\n{head}".encode()).hexdigest()[:16]
    return f"{row['seq']}-{row['ordinal']}-{which}"


def cloud_event(event: Notice, public_url: str | None) -> dict[str, Any]:
    """The event in the form of CloudEvents 1.0."""
    row = event.row
    source = quote(row["source"], safe="")
    subject = f"{row['entity']}/{row['entity_id']}" if "entity" in row else row["event"]
    link = f"{public_url}/{path_of(row)}" if public_url else None
    more = {
        "head": event.head,
        "certainty": event_words.certainty_of(row),
        "words": event_words.sentence(event.kind, row),
        "link": link,
        "cursor": event.cursor,
    }
    return {
        "specversion": "1.0",
        "id": id_of(row, event.head),
        "source": f"urn:gcore-collector:{source}",
        "type": TYPE_PREFIX + event.kind,
        "subject": subject,
        "time": time_text(row["observed_at"]),
        "datacontenttype": "application/json",
        "data": {**row, **more},
    }


def path_of(row: Row) -> str:
    """The path of the page that shows an event, below the pages' address."""
    source = quote(row["source"], safe="")
    if row["event"] == "transition":
        return f"changes/{source}/{row['seq']}/{row['entity']}/{row['entity_id']}"
    if row["event"] in ("version", "gone") and row["region_id"] is not None:
        return f"regions/{source}/{row['region_id']}"
    if row["event"] == "gap":
        return f"coverage?source={source}"
    return f"evidence/{source}/{row['seq']}"


def text_of(document: Mapping[str, Any]) -> str:
    """Compact JSON; times as RFC 3339 in UTC, as the JSON API writes them."""
    return json.dumps(document, separators=(",", ":"), default=_value)


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return time_text(value)
    raise TypeError(f"{type(value).__name__} can't be part of an event")
