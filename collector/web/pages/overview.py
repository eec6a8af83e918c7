"""What exists, what changed, and what could not be seen: the answer of ten seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

import sqlalchemy as sa

from collector.inventory.spans import ABSENT, UNKNOWN
from collector.reports.coverage import coverage
from collector.reports.days import Day, days
from collector.reports.filters import Row
from collector.reports.happenings import HappeningFilter, happenings
from collector.reports.inventory import RegionFilter
from collector.reports.overview import CAPABILITIES, FACETS, ORDERS, overview
from collector.reports.status import SourceStatus, statuses
from collector.reports.timeline.palette import rank
from collector.web.pages.asking import Asked
from collector.web.pages.rendering import Shown

ROWS = 100
"""Regions of a page."""
DAYS = 90
"""Days of a strip."""
NEWEST = 10
SOURCES = 6
"""So many sources are shown one by one; of more, those that need a look."""
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
"""What a region can, shortly and in full."""


@dataclass(frozen=True, slots=True)
class Group:
    """Regions that stand together under a heading; empty: all."""

    heading: str
    count: int
    rows: Sequence[Row]


def show(connection: sa.Connection, asked: Asked) -> Shown:
    """One row a region, with a strip of its last days; beside it what happened last."""
    gpu = {"yes": True, "no": False}.get(asked.text("gpu"))
    wanted = RegionFilter(
        source=asked.text("source") or None,
        state=asked.text("state") or None,
        zone=asked.text("zone") or None,
        country=asked.text("country") or None,
        gpu=gpu,
    )
    order = asked.text("sort") if asked.text("sort").lstrip("-") in ORDERS else "name"
    group = asked.word("group", FACETS)
    found = overview(
        connection,
        asked.moment,
        wanted,
        text=asked.text("q"),
        keystone_state=asked.text("keystone"),
        order=order,
        group=group,
    )
    pages = max(-(-len(found.rows) // ROWS), 1)
    page = min(asked.page, pages)
    rows = found.rows[(page - 1) * ROWS : page * ROWS]
    keys = [(row["source"], row["region_id"]) for row in rows]
    spent = days(connection, keys, asked.moment, DAYS, asked.known_at)
    listed = statuses(connection, asked.now, of_settings=asked.sources) if asked.is_now else []
    newest = happenings(connection, HappeningFilter(until=asked.end, limit=NEWEST))
    drawn = set(found.counts["state"]) | _states(spent.values())
    return Shown(
        "overview.html",
        {
            "found": found,
            "groups": list(_groups(rows, found.rows, group)),
            "group": group,
            "order": order,
            "spent": spent,
            "pages": pages,
            "page": page,
            "first": (page - 1) * ROWS + 1,
            "last": (page - 1) * ROWS + len(rows),
            "is_filtered": any(
                asked.text(n) for n in ("q", "state", "zone", "country", "gpu", "source", "keystone")
            ),
            "states": sorted(found.counts["state"].items(), key=lambda pair: rank(pair[0])),
            "sources": _worth_showing(listed),
            "good_sources": sum(each.verdict == "good" for each in listed),
            "newest": newest,
            "drawn": sorted(drawn, key=rank),
            "gaps": coverage(connection, since=asked.moment - timedelta(days=7), until=asked.moment, limit=3),
            "capabilities": CAPABILITIES,
            "labels": LABELS,
        },
        states=frozenset(drawn | states_of(newest)),
    )


def _groups(rows: Sequence[Row], all_: Sequence[Row], group: str) -> Iterator[Group]:
    if not group:
        yield Group("", len(all_), rows)
        return

    def heading_of(row: Row) -> str:
        return str(row[group] or "none")

    counts = Counter(map(heading_of, all_))
    for heading, own in groupby(rows, key=heading_of):
        yield Group(heading, counts[heading], list(own))


def _states(strips: Iterable[list[Day]]) -> set[str]:
    found: set[str] = set()
    for of_one in strips:
        for day in of_one:
            found |= day.seconds.keys()
    return found - {ABSENT, UNKNOWN}


def states_of(rows: Sequence[Row]) -> set[str]:
    """States that happenings name."""
    named = [row for row in rows if row["happening"] in ("state", "keystone")]
    return {str(row[side]) for row in named for side in ("old", "new") if row[side]}


def _worth_showing(listed: Sequence[SourceStatus]) -> Sequence[SourceStatus]:
    if len(listed) <= SOURCES:
        return listed
    return [each for each in listed if each.verdict not in ("good", "left")][:SOURCES]
