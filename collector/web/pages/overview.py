"""What exists, what changed, and what could not be seen, on one page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

import sqlalchemy as sa

from collector.inventory.spans import ABSENT, UNKNOWN
from collector.reports.coverage import coverage
from collector.reports.days import CHANGING, Days, days
from collector.reports.filters import Row
from collector.reports.happenings import HappeningFilter, happenings
from collector.reports.inventory import RegionFilter
from collector.reports.overview import CAPABILITIES, FACETS, ORDERS, Overview, Wanted, overview
from collector.reports.status import SourceStatus, statuses
from collector.reports.timeline.palette import rank
from collector.web.pages.asking import Asked
from collector.web.pages.rendering import Shown

ROWS = 100
"""Regions per page."""
DAYS = 90
"""Days of a strip."""
NEWEST = 10
SOURCES = 6
"""Maximum number of sources that are all shown; if there are more, only those that need attention are."""
LABELS = {
    "has_ai_gpu": ("GPU", "GPU clusters"),
    "has_ai": ("AI", "AI clusters"),
    "has_baremetal": ("metal", "bare metal"),
    "has_kvm": ("KVM", "KVM virtual machines"),
    "has_basic_vm": ("VM", "basic virtual machines"),
    "has_k8s": ("K8s", "Kubernetes"),
    "has_sfs": ("SFS", "shared file systems"),
    "has_ddos": ("DDoS", "protection from DDoS"),
}
"""A region's capabilities: short labels and long ones."""


@dataclass(frozen=True, slots=True)
class Group:
    """Regions under one heading; without a heading: all."""

    heading: str
    count: int
    rows: Sequence[Row]


def show(connection: sa.Connection, asked: Asked) -> Shown:
    """One row per region, with a strip of its last days, and beside it what happened last."""
    wanted = _wanted(asked)
    found = overview(connection, asked.moment, wanted)
    rows = found.rows
    keys = [(row["source"], row["region_id"]) for row in rows]
    spent = days(connection, keys, asked.moment, DAYS, asked.known_at)
    listed = []
    if asked.is_now:
        required = asked.required_anchors
        listed = statuses(connection, asked.now, of_settings=asked.sources, required_anchors=required)
    newest = happenings(connection, HappeningFilter(until=asked.end, limit=NEWEST))
    in_strips = _states(spent.values())
    drawn = (set(found.counts["state"]) | in_strips) - {CHANGING}
    return Shown(
        "overview.html",
        {
            "found": found,
            "groups": list(_groups(found, wanted.group)),
            "group": wanted.group,
            "order": wanted.order,
            "spent": spent,
            "first": (found.page - 1) * ROWS + 1,
            "last": (found.page - 1) * ROWS + len(rows),
            "is_filtered": any(
                asked.text(n) for n in ("q", "state", "zone", "country", "gpu", "source", "keystone")
            ),
            "states": sorted(found.counts["state"].items(), key=lambda pair: rank(pair[0])),
            "sources": _worth_showing(listed),
            "good_sources": sum(each.verdict == "good" for each in listed),
            "newest": newest,
            "drawn": sorted(drawn, key=rank),
            "has_changes": CHANGING in in_strips,
            "gaps": coverage(connection, since=asked.moment - timedelta(days=7), until=asked.moment, limit=3),
            "capabilities": CAPABILITIES,
            "labels": LABELS,
        },
        states=frozenset(drawn | states_of(newest)),
    )


def _wanted(asked: Asked) -> Wanted:
    return Wanted(
        RegionFilter(
            source=asked.text("source") or None,
            state=asked.text("state") or None,
            zone=asked.text("zone") or None,
            country=asked.text("country") or None,
            gpu={"yes": True, "no": False}.get(asked.text("gpu")),
        ),
        keystone_state=asked.text("keystone"),
        text=asked.text("q"),
        order=asked.text("sort") if asked.text("sort").lstrip("-") in ORDERS else "name",
        group=asked.word("group", FACETS),
        page=asked.page,
        size=ROWS,
    )


def _groups(found: Overview, group: str) -> Iterator[Group]:
    if not group:
        yield Group("", found.matching, found.rows)
        return
    for heading, own in groupby(found.rows, key=lambda row: row[group] or ""):
        yield Group(heading or "none", found.of_groups[heading], list(own))


def _states(strips: Iterable[Days]) -> set[str]:
    """The states in the strips."""
    return {state for days in strips for run in days.runs for state in run.spent} - {ABSENT, UNKNOWN}


def states_of(rows: Sequence[Row]) -> set[str]:
    """The states in happenings."""
    named = [row for row in rows if row["happening"] in ("state", "keystone")]
    return {str(row[side]) for row in named for side in ("old", "new") if row[side]}


def _worth_showing(listed: Sequence[SourceStatus]) -> Sequence[SourceStatus]:
    if len(listed) <= SOURCES:
        return listed
    return [each for each in listed if each.verdict not in ("good", "left")][:SOURCES]
