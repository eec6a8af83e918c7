"""Events as sentences."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from collector.reports.filters import Row
from collector.reports.words import (
    CAUSES,
    basis_in_words,
    brief,
    certainty,
    counted,
    happening_in_words,
    name_in_words,
    show_span,
    show_time,
    transition_in_words,
    window_in_words,
)

_MOST_FIELDS = 5


def sentence(kind: str, row: Row) -> str:
    """The complete sentence: what happened, when, and why that is certain."""
    if row["event"] == "transition":
        return transition_in_words(row)
    if row["event"] == "version":
        window = {"not_before": row["not_before"], "observed_at": row["observed_at"]}
        why = basis_in_words(row)
        return f"{what(kind, row)}, {window_in_words(window)}{f': {why}' if why else ''}."
    return f"{what(kind, row)}."


def what(kind: str, row: Row) -> str:
    """What happened, in one clause without its time."""
    if row["event"] == "transition":
        told = {"happening": "state", "count": 0, "old": row["from_state"], "new": row["to_state"]}
        return happening_in_words({**row, **told})
    if row["event"] in ("version", "gone"):
        return _of_a_version(kind, row)
    if row["event"] == "gap":
        return _of_a_gap(kind, row)
    if row["event"] == "drift":
        return happening_in_words(
            {**row, "happening": "drift", "count": 0, "field": row["path"], "new": row["detail"]}
        )
    return f"The history of {row['source']} could not be verified: {brief(row['found'], 300)}"


def certainty_of(row: Row) -> str | None:
    """How exactly the time is known, and how certain the change is; None: it is not a change."""
    if row["event"] == "gone":
        return "a complete answer no longer listed it"
    if "basis" not in row:
        return None
    why = basis_in_words(row)
    exact = certainty({"not_before": row["not_before"], "observed_at": row["observed_at"]})
    return f"{exact}: {why}" if why else exact


def _of_a_version(kind: str, row: Row) -> str:
    name = _name(row)
    if kind in ("appeared", "returned"):
        return f"{name} appeared" if kind == "appeared" else f"{name} came back"
    if kind == "disappeared":
        return f"{name} disappeared"
    fields = [each for each in row["changes"] if each["field"] != "state"]
    told = [_of_a_field(each) for each in fields[:_MOST_FIELDS]]
    if len(fields) > _MOST_FIELDS:
        told.append(f"{counted(len(fields) - _MOST_FIELDS, 'more field')} changed")
    return f"{name}: {', '.join(told)}"


def _of_a_field(change: dict[str, Any]) -> str:
    row = {"happening": "field", "count": 0, "entity": "", "display_name": "-", **change}
    return happening_in_words(row).removeprefix("-: ")


def _name(row: Row) -> str:
    if row["entity"] == "metrics_database":
        of = row["display_name"] or row["slug"]
        return f"The metrics database of {brief(of)}" if of else f"Metrics database {row['entity_id']}"
    return name_in_words(row)


def _of_a_gap(kind: str, row: Row) -> str:
    why = CAUSES.get(row["cause"], str(row["cause"]))
    lasting = show_span(timedelta(seconds=row["seconds"]))
    if kind == "gap_opened":
        return f"{row['source']} has not been seen since {show_time(row['from_at'])}, for {lasting}: {why}"
    times = f"from {show_time(row['from_at'])} to {show_time(row['until_at'])}"
    return f"{row['source']} is seen again; it was not seen {times}, for {lasting}: {why}"
