"""One region: the answer first, then its timeline, what happened, its fields, and the differences between two times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from markupsafe import Markup

from collector.errors import UsageError
from collector.reports.changes import explain, readable, region_history
from collector.reports.filters import Row
from collector.reports.inventory import first_looks
from collector.reports.region import RegionFacts, compared, region_facts
from collector.reports.spans import SpanFilter
from collector.reports.timeline.lanes import Name
from collector.reports.timeline.picture import Lane, Picture, picture
from collector.reports.timeline.svg import CHART, inline
from collector.reports.transitions import TransitionFilter, transitions
from collector.store.tables import TYPED
from collector.web.pages.asking import Asked, id_of
from collector.web.pages.rendering import Here, Shown

MOST = 200
"""Maximum number of changes of a kind on the page; the newest are shown."""
ZOOMS = {"1 day": 1, "7 days": 7, "30 days": 30, "90 days": 90, "1 year": 365}


def show(connection: sa.Connection, asked: Asked) -> Shown:
    """Everything that is known about a region as of a time."""
    region_id = id_of(asked.parts["region_id"])
    if region_id is None:
        raise UsageError(f"there is no region {asked.parts['region_id']!r}")
    facts = region_facts(connection, asked.parts["source"], region_id, asked.moment)
    drawing, since, until = _timeline(connection, facts, asked)
    own = TransitionFilter(
        source=facts.source,
        region=str(facts.region_id),
        until=asked.end,
        limit=MOST + 1,
    )
    happened = transitions(connection, own)
    history = [
        row
        for row in region_history(connection, str(facts.region_id), facts.source)
        if row["valid_from"] <= asked.moment and row["region_id"] == facts.region_id and row["field"]
    ]
    history.reverse()
    earlier, later = _two_times(asked)
    differing: list[Row] | None = None
    if earlier and later:
        if earlier >= later:
            raise UsageError("the first of the two times must be the earlier one")
        differing = compared(connection, facts.source, facts.region_id, earlier, later)
    return Shown(
        "region.html",
        {
            "facts": facts,
            "fields": _fields(facts),
            "drawing": Markup(drawing) if drawing else None,  # noqa: S704 - our own SVG
            "since": since,
            "until": until,
            "zooms": _zooms(asked, since, until),
            "happened": happened[:MOST],
            "history": history[:MOST],
            "has_more": len(happened) > MOST or len(history) > MOST,
            "earlier": earlier,
            "later": later,
            "differing": differing,
            "suggested": (asked.moment - timedelta(days=7)).strftime("%Y-%m-%d"),
        },
        states=frozenset(_states(facts, happened)),
    )


def _states(facts: RegionFacts, happened: Sequence[Row]) -> set[str]:
    found = {state for row in happened for state in (row["from_state"], row["to_state"]) if state}
    found |= {row["state"] for row in (facts.row, facts.keystone) if row and row.get("state")}
    return found


def _fields(facts: RegionFacts) -> list[tuple[str, Any, list[tuple[str, Any]]]]:
    """The recorded values, in groups: the region's own fields, its keystone's, its metrics database's."""
    groups: list[tuple[str, Any, list[tuple[str, Any]]]] = []
    if facts.row:
        row = facts.row
        named = [(name, row[name]) for name in TYPED["region"]]
        groups.append(
            ("Region", facts.region_id, [p for p in named if not (p[0].startswith("ddos_") and p[1] is None)])
        )
        if facts.keystone:
            found = facts.keystone
            groups.append(("Keystone", row["keystone_id"], [(n, found[n]) for n in TYPED["keystone"]]))
        if facts.metrics_database:
            base = facts.metrics_database
            fields = [(n, base[n]) for n in TYPED["metrics_database"]]
            groups.append(("Metrics database", row["metrics_database_id"], fields))
    return groups


def _timeline(
    connection: sa.Connection, facts: RegionFacts, asked: Asked
) -> tuple[str | None, datetime, datetime]:
    """The drawing of the region and its keystone, from the requested time or from the first sighting."""
    until = min(asked.time("to") or asked.moment, asked.moment)
    first = first_looks(connection, facts.source).get(facts.source, until - timedelta(days=1))
    since = asked.time("from") or max(first, until - timedelta(days=90))
    if since >= until:
        since = until - timedelta(hours=1)
    wanted = SpanFilter(
        since=since, until=until, keys=[(facts.source, facts.region_id)], known_at=asked.known_at
    )
    of_region = picture(connection, wanted, asked.now, CHART)
    lanes = [_named(lane, "Region") for lane in of_region.lanes]
    if facts.row and facts.row["keystone_id"] is not None:
        keys = [(facts.source, facts.row["keystone_id"])]
        of_keystone = picture(connection, replace(wanted, entity="keystone", keys=keys), asked.now, CHART)
        lanes += [_named(lane, "Keystone") for lane in of_keystone.lanes]
    if not lanes:
        return None, since, until
    whole = Picture("region", of_region.scale, tuple(lanes), of_region.heads, asked.now)
    return inline(whole, f"States of {facts.name}"), since, until


def _named(lane: Lane, text: str) -> Lane:
    return Lane(Name(lane.name.source, lane.name.entity_id, text), lane.pieces)


def _zooms(asked: Asked, since: datetime, until: datetime) -> list[tuple[str, str, bool]]:
    """Links to other periods: the label, the address, and True for the one that is shown."""
    here = Here(asked)
    length = until - since
    found = []
    for label, count in ZOOMS.items():
        begin = until - timedelta(days=count)
        is_this = abs(length - timedelta(days=count)) < timedelta(minutes=1)
        found.append((label, here.go_on(**{"from": _text(begin), "to": _text(until)}) + "#timeline", is_this))
    back = {"from": _text(since - length / 2), "to": _text(until - length / 2)}
    found.insert(0, ("← earlier", here.go_on(**back) + "#timeline", False))
    if until < asked.moment:
        end = min(until + length / 2, asked.moment)
        found.append(
            ("later →", here.go_on(**{"from": _text(end - length), "to": _text(end)}) + "#timeline", False)
        )
    return found


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _two_times(asked: Asked) -> tuple[datetime | None, datetime | None]:
    earlier = asked.time("earlier")
    return earlier, (asked.time("later") or asked.moment) if earlier else None


def why(connection: sa.Connection, asked: Asked) -> Shown:
    """Why a change of state is believed: the polls around it, and how the records differ."""
    parts = asked.parts
    reference = f"{parts['seq']}/{parts['entity']}/{parts['entity_id']}"
    found = explain(connection, reference, parts["source"])
    return Shown(
        "why.html",
        {
            "found": found,
            "source": parts["source"],
            "reference": reference,
            "differences": [(p, readable(old), readable(new)) for p, old, new in found.differences],
        },
        states=frozenset(s for s in (found.transition["from_state"], found.transition["to_state"]) if s),
    )
