"""What exists, at a glance: one row a region, since when it is in its state, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.reports.filters import Row, folded
from collector.reports.inventory import Look, RegionFilter, is_seen, looks, regions_as_of
from collector.reports.words import in_order
from collector.store.tables import regions, sources, state_transitions

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


@dataclass(frozen=True, slots=True)
class Overview:
    """Regions at a time, in order; and what there is of each kind."""

    rows: Sequence[Row]
    """Regions that match, each as in `regions_as_of`, with `since` (its newest change of state), `look` (how its source
    was seen last) and `is_seen` (whether that showed it)."""
    total: int
    """How many regions there are, whether they match or not."""
    counts: Mapping[str, Counter[str]] = field(default_factory=dict)
    """How many of all regions have which state, zone, country and so on."""
    looks: Mapping[str, Look | None] = field(default_factory=dict)
    """How each source was seen last."""


def overview(
    connection: sa.Connection,
    moment: datetime,
    wanted: RegionFilter,
    *,
    text: str = "",
    keystone_state: str = "",
    order: str = "name",
    group: str = "",
) -> Overview:
    """The regions in force at a time. `text`: a part of a name, slug or id; `order`: a name of ORDERS, after a minus
    the other way round; `group`: a name of FACETS that comes first in the order."""
    everything = regions_as_of(connection, moment, RegionFilter())
    counts = {name: Counter(str(row[name] or "") for row in everything) for name in FACETS}
    seen = looks(connection, moment)
    since = state_since(connection, moment)
    rows = []
    for row in everything:
        if not (_matches(row, wanted, keystone_state) and _holds(row, text)):
            continue
        look = seen[row["source"]]
        newest = since.get((row["source"], row["region_id"]))
        rows.append(row | {"since": newest, "look": look, "is_seen": is_seen(look, row)})
    rows.sort(key=lambda row: (row["source"], row["region_id"]))
    rows.sort(key=ORDERS[order.lstrip("-")], reverse=order.startswith("-"))
    if group:
        rows.sort(key=lambda row: in_order(str(row[group] or "")))
    return Overview(rows, len(everything), counts, seen)


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


def _matches(row: Row, wanted: RegionFilter, keystone_state: str) -> bool:
    pairs = (
        ("source", wanted.source),
        ("state", wanted.state),
        ("zone", wanted.zone),
        ("country", wanted.country),
        ("keystone_state", keystone_state),
    )
    is_alike = all(not word or folded(str(row[name] or "")) == folded(word) for name, word in pairs)
    return is_alike and (wanted.gpu is None or row["has_ai_gpu"] is wanted.gpu)


def _holds(row: Row, text: str) -> bool:
    wanted = folded(text)
    said = (row["display_name"], row["slug"], row["keystone_name"], row["country"], row["zone"], row["state"])
    return not wanted or wanted == str(row["region_id"]) or any(wanted in folded(each or "") for each in said)


def state_since(
    connection: sa.Connection, moment: datetime, only: tuple[str, int] | None = None
) -> dict[tuple[str, int], Row]:
    """The newest change of state or presence of each region up to a time, by source and id; `only` of this one."""
    r, s, t = regions.c, sources.c, state_transitions.c
    later = state_transitions.alias("later")
    newest = (
        sa.select(later.c.seq)
        .where(
            later.c.source_id == r.source_id,
            later.c.entity == "region",
            later.c.entity_id == r.id,
            later.c.observed_at <= sa.literal(moment, UtcTime()),
        )
        .order_by(later.c.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        sa.select(s.name, r.id, t.kind, t.from_state, t.to_state, t.not_before, t.observed_at, t.basis, t.seq)
        .select_from(regions)
        .join(sources, s.id == r.source_id)
        .join(
            state_transitions,
            (t.source_id == r.source_id) & (t.entity == "region") & (t.entity_id == r.id) & (t.seq == newest),
        )
    )
    if only:
        query = query.where(s.name == only[0], r.id == only[1])
    return {(row["name"], row["id"]): dict(row) for row in connection.execute(query).mappings()}
