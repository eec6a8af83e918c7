"""What exists, at a glance: one row per region, since when it is in its state, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.database.joins import InOrder
from collector.database.listed import list_of, listed
from collector.database.types import UtcTime
from collector.database.url import is_sqlite
from collector.reports.filters import Row, folded
from collector.reports.inventory import Look, RegionFilter, is_seen, looks, regions_as_of
from collector.reports.words import in_order
from collector.store.tables import sources, state_transitions

CAPABILITIES = (
    "has_ai_gpu",
    "has_ai",
    "has_baremetal",
    "has_kvm",
    "has_basic_vm",
    "has_k8s",
    "has_sfs",
    "has_ddos",
)
FACETS = ("state", "zone", "country", "source", "keystone_state")


_NEEDED = (
    *("source", "region_id", "slug", "display_name", "state", "country", "zone", "keystone_name"),
    *("keystone_state", "first_seen_at", "last_seen_at"),
    *CAPABILITIES,
)
"""The columns that are read for each region."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which regions, in which order, and which page of them."""

    regions: RegionFilter = field(default_factory=RegionFilter)
    keystone_state: str = ""
    text: str = ""
    """A part of a name, slug or id."""
    order: str = "name"
    """A name of ORDERS; with a minus before it, in reverse."""
    group: str = ""
    """A name of FACETS, which is sorted by first."""
    page: int = 1
    size: int = 100


@dataclass(frozen=True, slots=True)
class Overview:
    """Regions at a time, in order, and the number of each kind."""

    rows: Sequence[Row]
    """The regions of the page, each as in `regions_as_of`, with `since` (its newest change of state), `look` (how its
    source was last seen) and `is_seen` (true if that showed it)."""
    page: int
    pages: int
    matching: int
    """How many regions match."""
    total: int
    """How many regions there are, matching or not."""
    counts: Mapping[str, Counter[str]] = field(default_factory=dict)
    """How many of all regions have which state, zone, country and so on."""
    of_groups: Counter[str] = field(default_factory=Counter)
    """How many of the matching regions are in each group."""
    looks: Mapping[str, Look | None] = field(default_factory=dict)
    """How each source was last seen."""


def overview(connection: sa.Connection, moment: datetime, wanted: Wanted) -> Overview:
    """The regions in force at a time. Expensive questions are asked only for the regions of the page."""
    everything = regions_as_of(connection, moment, RegionFilter(), _NEEDED)
    rows = list(filter(_filter(wanted), everything))
    if wanted.order.lstrip("-") == "since":
        _tell_since(connection, moment, rows)
    rows.sort(key=ORDERS[wanted.order.lstrip("-")], reverse=wanted.order.startswith("-"))
    if wanted.group:
        rows.sort(key=lambda row: in_order(str(row[wanted.group] or "")))
    pages = max(-(-len(rows) // wanted.size), 1)
    page = min(wanted.page, pages)
    shown = rows[(page - 1) * wanted.size : page * wanted.size]
    if shown and "since" not in shown[0]:
        _tell_since(connection, moment, shown)
    seen = looks(connection, moment)
    for row in shown:
        row["look"] = seen[row["source"]]
        row["is_seen"] = is_seen(row["look"], row)
    return Overview(
        rows=shown,
        page=page,
        pages=pages,
        matching=len(rows),
        total=len(everything),
        counts={name: Counter(row[name] or "" for row in everything) for name in FACETS},
        of_groups=Counter(row[wanted.group] or "" for row in rows) if wanted.group else Counter(),
        looks=seen,
    )


def _tell_since(connection: sa.Connection, moment: datetime, rows: Sequence[Row]) -> None:
    since = state_since(connection, moment, [(row["source"], row["region_id"]) for row in rows])
    for row in rows:
        row["since"] = since.get((row["source"], row["region_id"]))


def _since_at(row: Row) -> Any:
    return row["since"]["observed_at"] if row["since"] else row["first_seen_at"]


ORDERS: Mapping[str, Callable[[Row], Any]] = {
    "name": lambda row: in_order(row["display_name"] or row["slug"] or str(row["region_id"])),
    "state": lambda row: in_order(row["state"]),
    "country": lambda row: in_order(row["country"] or ""),
    "zone": lambda row: in_order(row["zone"] or ""),
    "since": _since_at,
    "confirmed": lambda row: row["last_seen_at"],
    "keystone": lambda row: in_order(row["keystone_state"] or ""),
}


def _filter(wanted: Wanted) -> Callable[[Row], bool]:
    """True if a region matches all filters."""
    words = {
        "source": wanted.regions.source,
        "state": wanted.regions.state,
        "zone": wanted.regions.zone,
        "country": wanted.regions.country,
        "keystone_state": wanted.keystone_state,
    }
    asked = [(name, folded(word)) for name, word in words.items() if word]
    text, gpu = folded(wanted.text), wanted.regions.gpu

    def matches(row: Row) -> bool:
        return (
            (gpu is None or row["has_ai_gpu"] is gpu)
            and all(folded(row[name] or "") == word for name, word in asked)
            and (not text or _holds(row, text))
        )

    return matches


def _holds(row: Row, text: str) -> bool:
    said = (row["display_name"], row["slug"], row["keystone_name"], row["country"], row["zone"], row["state"])
    return text == str(row["region_id"]) or any(text in folded(each or "") for each in said)


def state_since(
    connection: sa.Connection, moment: datetime, keys: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Row]:
    """The newest change of state or presence of regions up to a time, by source and id."""
    s, t = sources.c, state_transitions.c
    later = _LATER.c
    asked = listed("keys", {"source": sa.Text(), "id": sa.BigInteger()}, on_sqlite=is_sqlite(connection))
    newest = (
        sa.select(later.seq)
        .where(
            later.source_id == s.id,
            later.entity == "region",
            later.entity_id == asked.c.id,
            later.observed_at <= sa.literal(moment, UtcTime()),
        )
        .order_by(later.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    is_newest = (
        (t.source_id == s.id) & (t.entity == "region") & (t.entity_id == asked.c.id) & (t.seq == newest)
    )
    query = sa.select(
        s.name, t.entity_id, t.kind, t.from_state, t.to_state, t.not_before, t.observed_at, t.basis, t.seq
    ).select_from(InOrder(InOrder(asked, sources, s.name == asked.c.source), state_transitions, is_newest))
    rows = connection.execute(query, {"keys": list_of(keys)}).mappings()
    return {(row["name"], row["entity_id"]): dict(row) for row in rows}


_LATER = state_transitions.alias("later")
