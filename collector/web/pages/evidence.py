"""What was seen: stretches of polls, and each answer as it was stored, with how to check it."""

from __future__ import annotations

from typing import Any, get_args

import sqlalchemy as sa
from starlette.responses import Response

from collector.audit.proof import observation
from collector.errors import UsageError
from collector.gcore import jsontext
from collector.gcore.document import Document
from collector.inventory.observation import Outcome
from collector.reports.filters import find_region
from collector.reports.heads import heads
from collector.reports.polls import stretches
from collector.store.payloads import load
from collector.web.pages.asking import Asked, id_of, seq_of
from collector.web.pages.rendering import Shown

ROWS = 60
RECORDS = 1
"""Number of records that a page shows, unless a region is chosen."""
OUTCOMES: tuple[str, ...] = get_args(Outcome)


def index(connection: sa.Connection, asked: Asked) -> Shown:
    """The stretches of a source, newest first."""
    names = [row["source"] for row in heads(connection)]
    source = asked.text("source") or (names[0] if names else "")
    if source and source not in names:
        raise UsageError(f"there is no source {source!r}")
    outcome = asked.word("outcome", OUTCOMES)
    before = seq_of(asked.text("after")) if asked.text("after") else None
    until = None if asked.is_now else asked.moment
    found = stretches(connection, source, outcome=outcome or None, until=until, before=before, limit=ROWS + 1)
    return Shown(
        "stretches.html",
        {
            "rows": found[:ROWS],
            "names": names,
            "source": source,
            "outcomes": OUTCOMES,
            "next": found[ROWS - 1]["seq"] if len(found) > ROWS else None,
        },
    )


def show(connection: sa.Connection, asked: Asked) -> Shown:
    """One observation and the records of its answer; only one region's record, if that is chosen."""
    source, seq = asked.parts["source"], seq_of(asked.parts["seq"])
    found = observation(connection, seq, source)
    document = load(connection, found.source_id, found.address) if found.address else None
    records = list(_records(document)) if document else []
    region = asked.text("region")
    chosen = records[:RECORDS]
    if region and document:
        ids = {i for s, i in find_region(connection, region, source) if s == found.source_id}
        chosen = [(number, record) for number, record in records if number in ids]
    return Shown(
        "evidence.html",
        {
            "found": found,
            "source": source,
            "seq": seq,
            "envelope": jsontext.pretty(dict(document.envelope)) if document else None,
            "records": [(number, _name(record), jsontext.pretty(record)) for number, record in chosen],
            "choice": [(number, _name(record)) for number, record in records if number is not None],
            "count": len(records),
            "region": region,
            "id": id_of(region),
            "newest": next((row["seq"] for row in heads(connection, source)), seq),
        },
    )


def answer(connection: sa.Connection, asked: Asked) -> Response:
    """The whole answer, as it was stored."""
    source, seq = asked.parts["source"], seq_of(asked.parts["seq"])
    found = observation(connection, seq, source)
    if found.address is None:
        raise UsageError(f"there is no answer: the poll failed ({found.facts['cause']})")
    document = load(connection, found.source_id, found.address)
    whole = dict(document.envelope) | {"results": [record.value for record in document.records]}
    headers = {"content-disposition": f'attachment; filename="observation-{seq}.json"'}
    return Response(jsontext.pretty(whole) + "\n", media_type="application/json", headers=headers)


def _records(document: Document) -> Any:
    for record in document.records:
        number = record.value.get("id") if isinstance(record.value, dict) else None
        yield (number.as_int() if isinstance(number, jsontext.Number) else None), record.value


def _name(record: Any) -> str:
    if not isinstance(record, dict):
        return "a record that is not an object"
    name = next(
        (record.get(key) for key in ("display_name", "slug") if isinstance(record.get(key), str)), None
    )
    return str(name or f"id {jsontext.dumps(record.get('id'))}")
