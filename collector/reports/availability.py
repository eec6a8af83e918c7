"""For which share of a time regions were in a state, at least and at most.

Known time counts for its state only. All other time is unknown and counts only in upper bounds. While only the moment
of a change is unknown, a region may have been in the state before or in the state after. It may have been in any state
while no answer showed it, while only another key asked, and where the windows of two changes overlap. So the lower
bounds of all states and the unknown time add up to the whole, and the truth lies between the bounds, unless a state
came and went between two polls (`spans.ASSUMPTION`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

import sqlalchemy as sa

from collector.reports.columns import OF_SOURCE, Column, Heading, Report
from collector.reports.filters import Row
from collector.reports.inventory import first_looks
from collector.reports.periods import Periods, Unit, midnight, next_start, start_of
from collector.reports.spans import SpanFilter, spans_by_entity

AVAILABILITY = Report(
    columns=(
        Column(
            "level", "text", "what the row is about: `region`, `zone`, `country`, or `source` (everything)"
        ),
        Column("source", "text", "name of the source"),
        Column("region_id", "integer or null", "id of the region; null in totals"),
        Column("slug", "text or null", "its short name"),
        Column("display_name", "text or null", "its name"),
        Column("zone", "text or null", "its zone, or the zone of the total"),
        Column("country", "text or null", "its country, or the country of the total"),
        Column("from_at", "time", "beginning of the period"),
        Column("until_at", "time", "its end"),
        Column("regions", "integer", "number of regions on record in the period"),
        Column("seconds", "number", "for how long they are on record, in total"),
        Column("seconds_at_least", "number", "time that is known to have been in the state"),
        Column("seconds_at_most", "number", "time that may have been in the state"),
        Column("seconds_unknown", "number", "unknown time"),
        Column("share_at_least", "number", "`seconds_at_least` divided by `seconds`, 0 to 1"),
        Column("share_at_most", "number", "`seconds_at_most` divided by `seconds`, 0 to 1"),
    ),
    table={
        "level": Heading("level"),
        "source": OF_SOURCE,
        "name": Heading("name"),
        "period": Heading("from", 2),
        "at_least": Heading("at least"),
        "at_most": Heading("at most"),
        "unknown": Heading("unknown", 3),
        "on_record": Heading("on record", 4),
    },
)


@dataclass(slots=True)
class Measured:
    """Seconds of one or several regions within one period."""

    whole: float = 0.0
    at_least: float = 0.0
    at_most: float = 0.0
    unknown: float = 0.0
    regions: set[int] = field(default_factory=set)

    def add(self, other: Measured) -> None:
        self.whole += other.whole
        self.at_least += other.at_least
        self.at_most += other.at_most
        self.unknown += other.unknown
        self.regions |= other.regions

    def facts(self) -> Row:
        # Sums of the same parts in another order may differ in their last digits.
        at_most = min(self.at_most, self.whole)
        return {
            "regions": len(self.regions),
            "seconds": self.whole,
            "seconds_at_least": min(self.at_least, at_most),
            "seconds_at_most": at_most,
            "seconds_unknown": self.unknown,
            "share_at_least": min(self.at_least, at_most) / self.whole,
            "share_at_most": at_most / self.whole,
        }


def availability(
    connection: sa.Connection,
    *,
    now: datetime,
    state: str = "ACTIVE",
    region: str | None = None,
    source: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    by: Unit | None = None,
    zone: tzinfo,
    without_absent: bool = False,
) -> list[Row]:
    """Rows of each region, then totals by zone, by country and of each source, ordered by period. A question about one
    region has no totals.

    A region counts from its first sighting on. `state`: in upper or lower case; ABSENT is allowed. Totals weigh each
    region by the time for which it is on record, and count it for the zone and country where it is now (or was last).
    `without_absent`: a region that is absent now counts only up to its last disappearance. Raises UsageError if there
    is no such region.
    """
    until = until or now
    looks = first_looks(connection, source)
    if not looks or min(looks.values()) >= until:
        return []
    periods = Periods(
        *_cut(since or min(looks.values()), until, min(looks.values()), now, by, zone), by, zone
    )
    known: dict[tuple[str, int], Row] = {}
    measured: dict[tuple[Any, ...], dict[int, Measured]] = defaultdict(lambda: defaultdict(Measured))
    wanted = SpanFilter("region", (region,) if region else (), source, since, until, without_absent)
    for head, found in spans_by_entity(connection, wanted):
        known[head["source"], head["region_id"]] = head
        own: defaultdict[int, Measured] = defaultdict(lambda: Measured(regions={head["region_id"]}))  # noqa: B023 - read at once
        for span in found:
            is_known, may_be = span.cause is None, span.may_be(state)
            for index, seconds in periods.parts_of(span.from_at, span.until_at):
                one = own[index]
                one.whole += seconds
                if may_be:
                    one.at_most += seconds
                if not is_known:
                    one.unknown += seconds
                elif may_be:
                    one.at_least += seconds
        for key in _counted_in(head, totals=region is None):
            for index, one in own.items():
                measured[key][index].add(one)
    rows = []
    for key in sorted(measured, key=_order):
        level, name, region_id, word = key
        place = known[name, region_id] if level == "region" else {"slug": None, "display_name": None}
        for index, one in sorted(measured[key].items()):
            from_at, until_at = periods[index]
            rows.append(
                {
                    "level": level,
                    "source": name,
                    "region_id": region_id,
                    "zone": word if level == "zone" else place.get("zone"),
                    "country": word if level == "country" else place.get("country"),
                    "slug": place["slug"],
                    "display_name": place["display_name"],
                    "from_at": from_at,
                    "until_at": until_at,
                    **one.facts(),
                }
            )
    return rows


def _cut(
    since: datetime, until: datetime, first: datetime, now: datetime, by: Unit | None, zone: tzinfo
) -> tuple[datetime, datetime]:
    """A time without the whole periods before the first sighting and after now, because nothing is on record about them
    and there may be a million of them."""
    if by is None:
        return since, until
    return (
        max(since, midnight(start_of(first, by, zone), zone)),
        min(until, midnight(next_start(start_of(now, by, zone), by), zone)),
    )


_ORDER = ("region", "zone", "country", "source")


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    of, name, region_id, word = key
    return _ORDER.index(of), name, region_id or 0, word is None, word or ""


def _counted_in(row: Row, *, totals: bool) -> list[tuple[Any, ...]]:
    """The rows in which a region's time counts: (level, source, region id, zone or country)."""
    source = row["source"]
    own = ("region", source, row["region_id"], None)
    if not totals:
        return [own]
    return [
        own,
        ("zone", source, None, row["zone"]),
        ("country", source, None, row["country"]),
        ("source", source, None, None),
    ]
