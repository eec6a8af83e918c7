"""Everything that happened, newest first, in one stream: changes of states and fields, unobserved times, drift.

    state      a region changed state or presence            at: observed_at
    field      a region changed otherwise, one row a field   at: valid_from of the version
    keystone   a keystone changed state or presence
    baseline   the first complete answer: how many it listed
    gap        no poll succeeded                             at: when it began
    unseen     entities that are present were not shown      at: the first answer without them
    drift      something that the documented schema does not say

Each kind is asked for at most as many rows as a page has, by its index, so a page costs the same however long the
history is, and however many sources there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from collector.errors import UsageError
from collector.inventory.observation import TICK
from collector.reports.filters import Row, find_region
from collector.reports.happening_kinds import ASK, AT_ONCE, KINDS, Part, Search
from collector.store.tables import sources

_Within = tuple[int, int, int, str]
"""The place of a happening among those of one moment: its kind, the id of its source, its number, its words."""


@dataclass(frozen=True, slots=True)
class HappeningFilter:
    """Which happenings; empty means any. Times are those of `at`, half open."""

    source: str | None = None
    region: str | None = None
    """An id, slug or display name: only what happened to it."""
    kinds: tuple[str, ...] = KINDS
    to_state: str | None = None
    """Only changes into this state."""
    since: datetime | None = None
    until: datetime | None = None
    after: str | None = None
    """The reference of the last row of the previous page."""
    limit: int = 50


def happenings(connection: sa.Connection, wanted: HappeningFilter) -> list[Row]:
    """A page of them in the fields of HAPPENING_FIELDS, newest first; for one moment in the order of KINDS.

    Raises UsageError for a region that does not exist, and for an invalid reference.
    """
    query = sa.select(sources.c.id, sources.c.name)
    known = connection.execute(query.where(sources.c.name == wanted.source) if wanted.source else query).all()
    names = {row.id: row.name for row in known}
    ids = {row.name: row.id for row in known}
    place = _place_of(wanted.after, ids) if wanted.after else None
    only = find_region(connection, wanted.region, wanted.source) if wanted.region else None
    search = Search(connection, names, wanted.source, only, wanted.to_state)
    found = [
        row | {"reference": reference_of(row)}
        for part in _parts(wanted, place)
        for kind in wanted.kinds
        for row in ASK[kind](search, part)
    ]
    if place:
        found = [row for row in found if row["at"] < place[0] or _within(row, ids) > place[1]]
    found.sort(key=lambda row: (-_microseconds(row["at"]), *_within(row, ids)))
    return found[: wanted.limit]


def _parts(wanted: HappeningFilter, place: tuple[datetime, _Within] | None) -> Iterator[Part]:
    """The parts of the stream in which the page lies."""
    since, until = wanted.since, wanted.until
    if place:
        # Everything at the moment at which the last page ended, because a part of it was already shown.
        moment = place[0]
        if (since is None or since <= moment) and (until is None or moment < until):
            yield Part(moment, moment + TICK, AT_ONCE)
        until = min(until, moment) if until else moment
    yield Part(since, until, wanted.limit)


def _within(row: Row, ids: Mapping[str, int]) -> _Within:
    number, words = _number_and_words(row)
    return KINDS.index(row["happening"]), ids[row["source"]], number, words


def _number_and_words(row: Row) -> tuple[int, str]:
    """What distinguishes happenings of one kind, source and moment."""
    kind = row["happening"]
    names = {"field": ("field",), "unseen": ("entity", "cause"), "drift": ("field", "kind", "new")}.get(
        kind, ()
    )
    number = row["seq"] if kind == "unseen" else row["entity_id"] or 0
    return number, " ".join(str(row[name]) for name in names)


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1, 1, 1, tzinfo=UTC)) // TICK


def reference_of(row: Row) -> str:
    """A permanent name of a happening, which also says where a page continues."""
    number, words = _number_and_words(row)
    return f"{row['at']:%Y%m%dT%H%M%S.%fZ}~{row['happening']}~{number}~{row['source']}~{words}"


def _place_of(reference: str, ids: Mapping[str, int]) -> tuple[datetime, _Within]:
    try:
        at, kind, number, source, words = reference.split("~", 4)
        moment = datetime.strptime(at, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        return moment, (KINDS.index(kind), ids[source], int(number), words)
    except (ValueError, OverflowError, KeyError):
        raise UsageError(f"{reference!r} is not a place in this list") from None
