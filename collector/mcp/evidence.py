"""The tool that shows why a change is believed, or what an observation saw."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import Field

from collector.audit.proof import observation
from collector.errors import UsageError
from collector.gcore import jsontext
from collector.mcp.answers import object_answer, rows_answer
from collector.mcp.arguments import Offset, Paged, Text
from collector.mcp.tools import BETWEEN_POLLS, Tool
from collector.reports.changes import explain
from collector.reports.filters import Row, find_region
from collector.store.payloads import load


class Evidence(Paged):
    """The change or the observation that is asked for."""

    transition: Text | None = Field(
        default=None, description="The `transition` of a row of `changes_between`, like 12/region/76"
    )
    observation: Offset | None = Field(
        default=None, description="Or the number of an observation, its `seq`, like 12"
    )
    region: Text | None = Field(
        default=None,
        description="With `observation`: only the record of this region: id, slug or display name",
    )


def _evidence(connection: sa.Connection, asked: Evidence, _: datetime) -> str:
    if (asked.transition is None) == (asked.observation is None):
        raise UsageError(
            "give either `transition`, which `changes_between` lists, or `observation`, which is the seq of a row"
        )
    if asked.transition is not None:
        return _explained(connection, asked, asked.transition)
    return _observed(connection, int(asked.observation or 0), asked.region, asked.source)


def _explained(connection: sa.Connection, asked: Evidence, transition: str) -> str:
    found = explain(connection, transition, asked.source)
    differences = [dict(zip(("path", "old", "new"), each, strict=True)) for each in found.differences]
    before = found.confirmed or {}
    return rows_answer(
        {
            "source": found.transition["source"],
            "transition": found.transition["transition"],
            "not_before": found.transition["not_before"],
            "observed_at": found.transition["observed_at"],
            "basis": found.transition["basis"],
            "observation_before": before.get("seq"),
            "observation_after": found.showed["seq"],
            "observations_between": len(found.between),
        },
        ("path", "old", "new"),
        differences[asked.offset : asked.offset + asked.limit],
        offset=asked.offset,
        total_count=len(differences),
        not_said=[BETWEEN_POLLS, "What happened within the window, apart from this change."],
        sentence=found.sentence,
    )


def _observed(connection: sa.Connection, seq: int, region: str | None, source: str | None) -> str:
    found = observation(connection, seq, source)
    document = load(connection, found.source_id, found.address) if found.address else None
    facts: Row = {name: found.facts[name] for name in _FACTS}
    if document is None:
        facts["answer"] = None
        return object_answer(facts, None, ["No answer is stored: the poll failed."])
    ids = [region_id for _, region_id in find_region(connection, region, facts["source"])] if region else []
    records: Any = [record.value for record in document.records]
    facts["regions_listed"] = len(records)
    if region:
        records = [record for record in records if _id_of(record) in ids]
        facts["lists_region"] = bool(records)
    return object_answer(
        facts,
        ("answer", jsontext.dumps(records)),
        [
            "Secrets were replaced before the answer was stored.",
            "If is_cut is true, ask for one region; `collector evidence` prints the whole answer.",
        ],
    )


_FACTS = (
    *("source", "seq", "outcome", "payload", "first_at", "last_at", "last_asked_at", "polls"),
    *("cause", "http_status", "message", "key_fingerprint", "base_url", "opening_digest", "digest"),
)


def _id_of(record: Any) -> int | None:
    number = record.get("id") if isinstance(record, dict) else None
    return number.as_int() if isinstance(number, jsontext.Number) else None


TOOL = Tool(
    "evidence",
    "Evidence",
    "Why a change is believed: the observations around it and how the two records differ. Or what one observation saw: "
    "when, with which key, and the stored answer.",
    Evidence,
    _evidence,
)
