"""Everything that happened, newest first: as a page, as CSV and as a feed, from the same query."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from xml.sax.saxutils import escape, quoteattr

import sqlalchemy as sa
from starlette.responses import Response

from collector.clock import time_text
from collector.database.types import list_text
from collector.errors import UsageError
from collector.reports.filters import Row
from collector.reports.happening_kinds import HAPPENING_FIELDS, KINDS
from collector.reports.happenings import HappeningFilter, happenings
from collector.reports.heads import genesis, heads
from collector.reports.words import happening_in_words, printable
from collector.web.pages.asking import Asked
from collector.web.pages.overview import states_of
from collector.web.pages.rendering import Here, Shown

ROWS, MOST = 50, 5000
"""Rows of a page, and of a CSV file."""
FEED = 100
WHAT = {
    "": KINDS,
    "states": ("state", "baseline"),
    "fields": ("field",),
    "keystones": ("keystone",),
    "sight": ("gap", "unseen"),
    "drift": ("drift",),
}
LABELS = {
    "": "everything",
    "states": "regions: state and presence",
    "fields": "regions: other fields",
    "keystones": "keystones",
    "sight": "unseen times",
    "drift": "schema drift",
}


def wanted_of(asked: Asked, limit: int) -> HappeningFilter:
    """The filters of the query. Raises UsageError for invalid times, or times in the wrong order."""
    since, until = asked.time("from"), asked.time("to")
    if since and until and since >= until:
        raise UsageError("the first of the two times must be the earlier one")
    return HappeningFilter(
        source=asked.text("source") or None,
        region=asked.text("region") or None,
        kinds=WHAT[asked.word("what", tuple(WHAT))],
        to_state=asked.text("to_state") or None,
        since=since,
        until=min(until, asked.end) if until else asked.end,
        after=asked.text("after") or None,
        limit=limit,
    )


def show(connection: sa.Connection, asked: Asked) -> Shown:
    """A page of them, by day."""
    wanted = wanted_of(asked, ROWS + 1)
    found = happenings(connection, wanted)
    rows = found[:ROWS]
    return Shown(
        "changes.html",
        {
            "days": [(day, list(own)) for day, own in groupby(rows, key=lambda row: row["at"].date())],
            "next": rows[-1]["reference"] if len(found) > ROWS else None,
            "labels": LABELS,
            "sources": [row["source"] for row in heads(connection)],
            "is_filtered": any(asked.text(n) for n in ("source", "region", "what", "to_state", "from", "to")),
        },
        states=frozenset(states_of(rows)),
    )


def as_csv(connection: sa.Connection, asked: Asked) -> Response:
    """The same rows, with all their fields."""
    rows = happenings(connection, wanted_of(asked, MOST))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HAPPENING_FIELDS)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in HAPPENING_FIELDS])
    headers = {"content-disposition": 'attachment; filename="changes.csv"'}
    if len(rows) == MOST:
        headers["x-next-after"] = rows[-1]["reference"].encode("ascii", "xmlcharrefreplace").decode()
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, tuple):
        return list_text(value)
    return "" if value is None else value


def as_feed(connection: sa.Connection, asked: Asked) -> Response:
    """The newest as an Atom feed. An entry keeps its id; `updated` moves when something that lasted has ended."""
    rows = happenings(connection, wanted_of(asked, FEED))
    here = Here(asked)
    database = genesis(connection)
    page = f"{asked.origin}{here.go_on(after=None).replace('/changes.atom', '/changes')}"
    newest = max((_updated(row) for row in rows), default=None)
    text = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        "<title>Changes of Gcore regions</title>",
        f"<id>urn:gcore-collector:{database}:{escape(here.same())}</id>".replace("?", ":"),
        f"<updated>{time_text(newest or asked.now)}</updated>",
        "<author><name>collector</name></author>",
        f'<link rel="alternate" type="text/html" href={quoteattr(page)}/>',
        f'<link rel="self" href={quoteattr(asked.origin + here.go_on())}/>',
        *(line for row in rows for line in _entry(row, database, asked, here)),
        "</feed>",
    ]
    return Response("\n".join(text) + "\n", media_type="application/atom+xml; charset=utf-8")


def _updated(row: Row) -> datetime:
    began: datetime = row["at"]
    return max(began, row["until_at"] or began)


def _entry(row: Row, database: str, asked: Asked, here: Here) -> Iterator[str]:
    said = printable(happening_in_words(row))
    if row["entity"] == "region" and row["region_id"] is not None:
        link = here.link("regions", row["source"], row["region_id"])
    else:
        link = here.link("changes", source=row["source"])
    reference = row["reference"].replace("%", "%25").replace(" ", "%20").replace("~", ":")
    yield "<entry>"
    yield f"<id>urn:gcore-collector:{database}:{escape(printable(reference))}</id>"
    yield f"<title>{escape(said)}</title>"
    yield f"<published>{time_text(row['at'])}</published>"
    yield f"<updated>{time_text(_updated(row))}</updated>"
    yield f'<link rel="alternate" type="text/html" href={quoteattr(asked.origin + link)}/>'
    yield f"<category term={quoteattr(row['happening'])}/>"
    yield "</entry>"
