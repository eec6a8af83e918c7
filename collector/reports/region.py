"""Everything that is known about one region at a time, and what differs between two times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from collector.errors import UsageError
from collector.inventory.entities import Kind
from collector.reports.filters import Row
from collector.reports.inventory import Look, RegionFilter, is_seen, looks, regions_as_of
from collector.reports.nested import referred_as_of
from collector.reports.overview import state_since
from collector.reports.words import brief, brief_window, certainty, show_time
from collector.store.tables import TYPED, regions, sources


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """A region at a time."""

    source: str
    region_id: int
    name: str
    row: Row | None
    """As in `regions_as_of`; None: it was not listed, or not known yet."""
    since: Row | None
    """Its newest change of state or presence; None: it was not known yet."""
    look: Look | None
    is_seen: bool
    """True if the newest successful poll showed it, or did not list it, and no gap is open since."""
    keystone: Row | None
    metrics_database: Row | None

    @property
    def sentence(self) -> str:
        """The answer: its state, since when, and how sure that is."""
        if self.since is None:
            return f"Nothing was known about {self.name} at that time."
        if self.since["not_before"] is None:
            when = f"since {show_time(self.since['observed_at'])} or any time before"
        elif certainty(self.since) == "exact":
            when = f"since {show_time(self.since['observed_at'])}, exact"
        else:
            when = f"since a moment {brief_window(self.since)}"
        if self.row is None:
            was = brief(self.since["from_state"] or "")
            return f"{self.name} is not listed, {when}. Its last state was {was}."
        state = brief(self.row["state"])
        if self.is_seen:
            return f"{self.name} is {state}, {when}."
        last = show_time(self.row["last_seen_at"].replace(microsecond=0))
        return f"{self.name} was {state}, {when}. Unknown since {last}: no answer has shown it after that."


def region_facts(connection: sa.Connection, source: str, region_id: int, moment: datetime) -> RegionFacts:
    """A region at a time. Raises UsageError if the database never knew it."""
    r = regions.c
    query = (
        sa.select(r.display_name, r.slug)
        .select_from(regions)
        .join(sources, sources.c.id == r.source_id)
        .where(sources.c.name == source, r.id == region_id)
    )
    known = connection.execute(query).one_or_none()
    if known is None:
        raise UsageError(f"there is no region {region_id} of source {source!r}")
    rows = regions_as_of(connection, moment, RegionFilter(source=source, region=str(region_id)))
    row = next((each for each in rows if each["region_id"] == region_id), None)
    look = looks(connection, moment, source).get(source)
    return RegionFacts(
        source=source,
        region_id=region_id,
        name=brief(
            (row or {}).get("display_name") or known.display_name or known.slug or f"Region {region_id}"
        ),
        row=row,
        since=state_since(connection, moment, [(source, region_id)]).get((source, region_id)),
        look=look,
        is_seen=is_seen(look, row),
        keystone=row and referred_as_of(connection, "keystone", moment, row),
        metrics_database=row and referred_as_of(connection, "metrics_database", moment, row),
    )


def compared(
    connection: sa.Connection, source: str, region_id: int, earlier: datetime, later: datetime
) -> list[Row]:
    """What differs in a region, its keystone and its metrics database between two times, field by field.

    A row with the field None says if the entity was on record. Raises UsageError if the database never knew the
    region.
    """
    one, other = (region_facts(connection, source, region_id, moment) for moment in (earlier, later))
    rows: list[Row] = []
    kinds: tuple[tuple[Kind, Row | None, Row | None], ...] = (
        ("region", one.row, other.row),
        ("keystone", one.keystone, other.keystone),
        ("metrics_database", one.metrics_database, other.metrics_database),
    )
    for kind, before, after in kinds:
        old_id, new_id = (each and each[f"{kind}_id"] for each in (before, after))
        head = {"entity": kind, "entity_id": new_id if after else old_id}
        if before is None and after is None:
            continue
        if before is None or after is None or old_id != new_id:
            shown = [each and (each.get("state") or "on record") for each in (before, after)]
            if before and after:
                shown = [f"{kind} {old_id}", f"{kind} {new_id}"]
            rows.append(head | {"field": None, "earlier": shown[0], "later": shown[1]})
        if before and after:
            rows += [
                head | {"field": name, "earlier": before[name], "later": after[name]}
                for name in TYPED[kind]
                if before[name] != after[name]
            ]
    return rows
