"""Removes a redacted value from other places: the snapshot of a pruned history, and events of the outbox."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from collector.gcore.paths import RECORDS, Path
from collector.gcore.secret_names import MARKER
from collector.store.amendments import text_of
from collector.store.tables import webhook_deliveries

SHORT = 3
"""Texts of at most this many characters occur in many others, so they count only if they are the whole text."""
_NAMES = frozenset({"slug", "display_name"})
"""Members of an event that hold a column's value, besides `changes`."""
_SENTENCES = frozenset({"words", "title", "body", "detail", "error", "found"})
"""Members of an event that are text for people or from the API: a value may be a part of them."""
_d = webhook_deliveries.c


def redact_snapshot(text: str, path: Path) -> str:
    """A snapshot without what may come from the path: values of its columns, and drift at it and below it."""
    value = json.loads(text)
    tables = value["rows"]
    for table, names in _columns_of(path).items():
        for row in tables[table]:
            for name in names:
                if row.get(name) is not None:
                    row[name] = (
                        MARKER if isinstance(row[name], str) and not name.endswith(("_on", "_at")) else None
                    )
    if path.text == "results[].available_volume_types" or path.text.startswith(
        "results[].available_volume_types["
    ):
        tables["region_volume_types"] = []
    tables["schema_drift"] = [
        row
        for row in tables["schema_drift"]
        if not (row["path"] == path.text and row["kind"] == "unknown_value")
        and not row["path"].startswith((f"{path.text}.", f"{path.text}["))
    ]
    return text_of(value)


def redact_events(live: sa.Connection, source_id: int, path: Path, removed: Collection[str]) -> None:
    """Remove a value from events that wait for receivers or were delivered. `removed`: the texts at the path."""
    columns = frozenset(name for names in _columns_of(path).values() for name in names)
    texts = sorted(removed, key=len, reverse=True)
    if not texts and not columns:
        return
    query = sa.select(_d.receiver, _d.seq, _d.ordinal, _d.event).where(_d.source_id == source_id)
    for row in live.execute(query).all():
        event = json.loads(row.event)
        left = _event_without(event, columns, texts)
        if left != event:
            text = json.dumps(left, separators=(",", ":"))
            key = (_d.receiver == row.receiver, _d.seq == row.seq, _d.ordinal == row.ordinal)
            live.execute(
                sa.update(webhook_deliveries).where(_d.source_id == source_id, *key).values(event=text)
            )


def _event_without(value: Any, columns: frozenset[str], texts: Collection[str]) -> Any:
    if isinstance(value, list):
        return [_event_without(item, columns, texts) for item in value]
    if not isinstance(value, dict):
        return value
    hidden = {"old", "new"} if value.get("field") in columns else _NAMES & columns
    left = {}
    for name, member in value.items():
        if name in hidden and member is not None:
            left[name] = MARKER
        elif name in _SENTENCES and isinstance(member, str):
            left[name] = _sentence_without(member, texts)
        else:
            left[name] = _event_without(member, columns, texts)
    return left


def _sentence_without(sentence: str, texts: Collection[str]) -> str:
    for text in texts:
        if sentence == text or len(text) > SHORT:
            sentence = sentence.replace(text, MARKER)
    return sentence


def _columns_of(path: Path) -> dict[str, list[str]]:
    """The columns that hold values from a path, by table."""
    if not path.text.startswith(RECORDS):
        return {}
    first, _, rest = path.text.removeprefix(RECORDS).partition(".")
    name = (rest or first).removesuffix("[]")
    if first in ("keystone", "metrics_database"):
        return {f"{first}s": [name], f"{first}_versions": [name]}
    if first == "ddos_endpoint":
        every = ["id", "region_id", "service", "url", "version", "client_ids", "created_on", "updated_at"]
        names = [f"ddos_{name}"] if rest else [f"ddos_{each}" for each in every]
        return {"regions": names, "region_versions": names}
    return {"regions": [name], "region_versions": [name]}
