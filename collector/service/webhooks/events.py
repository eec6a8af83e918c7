"""An event in the form that receivers get: CloudEvents 1.0, structured JSON.

It is an event of the JSON API with the same `seq` and `ordinal` and all its fields. It also has what a reader needs
who can't query: names, the head, the certainty in words, a sentence, a link.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from collector.clock import time_text
from collector.receivers import EventKind
from collector.reports.filters import Row
from collector.service.webhooks import words

TYPE_PREFIX = "gcore-collector."
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_KINDS: Mapping[str, EventKind] = {
    "changed": "state_changed",
    "appeared": "appeared",
    "disappeared": "disappeared",
    "reappeared": "returned",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, before its receivers are known."""

    kind: EventKind
    row: Row
    """An event of `reports.events`, with names."""
    head: str
    """Opening digest of the observation that showed it."""
    is_baseline: bool = False

    @property
    def states(self) -> Mapping[str, str | None]:
        """The states before and after."""
        return {name: self.row[name] for name in ("from_state", "to_state") if name in self.row}


def kind_of(row: Row, arrived: Mapping[int, EventKind]) -> EventKind | None:
    """The kind of event that receivers get for an event of the JSON API; None: they get none.

    A version adds nothing to its transition if only the state differs, or if nothing is known about the time before.
    `arrived`: metrics databases that appeared, by id; they have no states and so no transitions.
    """
    if row["event"] == "transition":
        return _KINDS[row["kind"]]
    if row["event"] == "version":
        if row["entity"] == "metrics_database" and row["entity_id"] in arrived:
            return arrived[row["entity_id"]]
        return "fields_changed" if any(each["field"] != "state" for each in row["changes"]) else None
    kinds: Mapping[str, EventKind] = {"gone": "disappeared", "gap": "gap_closed", "drift": "drift"}
    return kinds.get(row["event"])


def id_of(row: Row, head: str) -> str:
    """The id of an event. No other event ever gets it, even if a backup is restored and numbers are used again."""
    which = hashlib.sha256(f"{row['source']}\n{head}".encode()).hexdigest()[:16]
    return f"{row['seq']}-{row['ordinal']}-{which}"


def cloud_event(event: Event, public_url: str | None) -> dict[str, Any]:
    """The event in the form of CloudEvents 1.0."""
    row = event.row
    source = quote(row["source"], safe="")
    subject = f"{row['entity']}/{row['entity_id']}" if "entity" in row else row["event"]
    link = f"{public_url}/{path_of(row)}" if public_url else None
    more = {
        "head": event.head,
        "certainty": words.certainty_of(row),
        "words": words.sentence(event.kind, row),
        "link": link,
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
