"""Everything that happened, newest first, in one stream: changes of state and of fields, times without sight, drift.

    state      a region changed state or presence            at: observed_at
    field      a region changed otherwise, one row a field   at: valid_from of the version
    keystone   a keystone changed state or presence
    baseline   the first complete answer: how many it listed
    gap        no poll succeeded                             at: when it began
    unseen     entities that are present were not shown      at: the first answer without them
    drift      something that the documented schema does not say

Each kind is asked for no more rows than a page has, by its index, so that a page costs the same however long the
history is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.errors import UsageError
from collector.reports.asof import version_before
from collector.reports.coverage import coverage
from collector.reports.filters import Row, find_region, is_region, is_word
from collector.store.tables import (
    TYPED,
    keystones,
    region_versions,
    regions,
    schema_drift,
    sources,
    state_transitions,
    unseen,
)

KINDS = ("state", "field", "keystone", "baseline", "gap", "unseen", "drift")
HAPPENING_FIELDS = (
    "at",
    "source",
    "happening",
    "entity",
    "entity_id",
    "region_id",
    "slug",
    "display_name",
    "kind",
    "field",
    "old",
    "new",
    "not_before",
    "until_at",
    "basis",
    "cause",
    "count",
    "seq",
    "reference",
)
_MANY_SOURCES = 50
_AT_ONCE = 1_000_000
"""More than can happen at one moment."""
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class HappeningFilter:
    """Which happenings; empty means any. Times are those of `at`, the later one excluded."""

    source: str | None = None
    region: str | None = None
    """An id, slug or display name; then only what happened to it."""
    kinds: tuple[str, ...] = KINDS
    to_state: str | None = None
    """Only changes into this state."""
    since: datetime | None = None
    until: datetime | None = None
    after: str | None = None
    """The reference of the last row of the page before."""
    limit: int = 50


def happenings(connection: sa.Connection, wanted: HappeningFilter) -> list[Row]:
    """A page of them in the fields of HAPPENING_FIELDS, newest first; of one moment in the order of KINDS.

    Raises UsageError for a region that does not exist, and for a reference that is none.
    """
    place = _place_of(wanted.after) if wanted.after else None
    if place:
        earlier = place[0] + _TICK
        wanted = replace(wanted, until=min(earlier, wanted.until) if wanted.until else earlier)
    query = sa.select(sources.c.id, sources.c.name).order_by(sources.c.name)
    known = connection.execute(query.where(sources.c.name == wanted.source) if wanted.source else query).all()
    only = find_region(connection, wanted.region, wanted.source) if wanted.region else None
    search = _Search(connection, wanted, {row.id: row.name for row in known}, only, place)
    found: list[Row] = []
    for kind in KINDS:
        if kind in wanted.kinds:
            found += search.of(kind)
    found.sort(key=_order)
    return found[: wanted.limit]


def _order(row: Row) -> tuple[Any, ...]:
    return -_microseconds(row["at"]), *_within(row)


def _within(row: Row) -> tuple[int, str, int, str]:
    """The order of what happened at one moment."""
    kind = row["happening"]
    words = {
        "field": ("field",),
        "unseen": ("entity", "cause"),
        "drift": ("field", "kind", "new"),
    }.get(kind, ())
    number = row["seq"] if kind == "unseen" else row["entity_id"] or 0
    return KINDS.index(kind), row["source"], number, " ".join(str(row[name]) for name in words)


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1, 1, 1, tzinfo=UTC)) // _TICK


def reference_of(row: Row) -> str:
    """What names a happening for ever, and says where a page goes on."""
    kind, source, entity_id, detail = _within(row)
    return f"{row['at']:%Y%m%dT%H%M%S.%fZ}~{KINDS[kind]}~{entity_id}~{source}~{detail}"


def _place_of(reference: str) -> tuple[datetime, tuple[int, str, int, str]]:
    try:
        at, kind, entity_id, source, detail = reference.split("~", 4)
        moment = datetime.strptime(at, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        return moment, (KINDS.index(kind), source, int(entity_id), detail)
    except (ValueError, OverflowError):
        raise UsageError(f"{reference!r} is no place in this list") from None


class _Search:
    def __init__(
        self,
        connection: sa.Connection,
        wanted: HappeningFilter,
        names: dict[int, str],
        only: Sequence[tuple[int, int]] | None,
        place: tuple[datetime, tuple[int, str, int, str]] | None,
    ) -> None:
        self.connection, self.wanted, self.names, self.only, self.place = (
            connection,
            wanted,
            names,
            only,
            place,
        )

    def of(self, kind: str) -> list[Row]:
        """As many rows of a kind as a page has, from its place on."""
        ask: Callable[[int], Iterator[Row]] = getattr(self, f"_{kind}")
        if self.place is None:
            return [row | {"reference": reference_of(row)} for row in ask(self.wanted.limit)]
        # What happened at the moment at which the last page ended: all of it, of which a part was shown already.
        moment, whole = self.place[0], self.wanted
        self.wanted = replace(whole, since=max(moment, whole.since or moment), until=moment + _TICK)
        rows = [row for row in ask(_AT_ONCE) if not self._was_shown(row)]
        self.wanted = replace(whole, until=moment)
        rows += ask(whole.limit)
        self.wanted = whole
        return [row | {"reference": reference_of(row)} for row in rows]

    def _was_shown(self, row: Row) -> bool:
        return self.place is not None and row["at"] == self.place[0] and _within(row) <= self.place[1]

    # What each kind is

    def _state(self, limit: int) -> Iterator[Row]:
        return self._transitions("region", limit)

    def _keystone(self, limit: int) -> Iterator[Row]:
        return self._transitions("keystone", limit)

    def _transitions(self, entity: str, limit: int) -> Iterator[Row]:
        t, r, k = state_transitions.c, regions.c, keystones.c
        region_id: Any = t.entity_id if entity == "region" else k.witness_region_id
        query = sa.select(state_transitions, region_id.label("region_id"), r.slug, r.display_name).where(
            t.entity == entity
        )
        joined: Any = state_transitions
        if entity == "keystone":
            joined = joined.outerjoin(keystones, (k.source_id == t.source_id) & (k.id == t.entity_id))
        joined = joined.outerjoin(regions, (r.source_id == t.source_id) & (r.id == region_id))
        query = query.select_from(joined)
        if self.only is None:
            query = query.where(t.basis != "baseline")
        else:
            query = query.where(is_region(self.only, t.source_id, region_id))
        if self.wanted.to_state:
            query = query.where(is_word(t.to_state, self.wanted.to_state))
        for row in self._newest(query, t.source_id, t.observed_at, (t.entity_id,), limit):
            yield self._row(
                row,
                row["observed_at"],
                happening="state" if entity == "region" else "keystone",
                old=row["from_state"],
                new=row["to_state"],
                kind=row["kind"],
                entity=entity,
                entity_id=row["entity_id"],
            )

    def _baseline(self, limit: int) -> Iterator[Row]:
        t = state_transitions.c
        if self.only is not None or self.wanted.to_state:
            return
        query = (
            sa.select(t.source_id, t.seq, t.observed_at, sa.func.count().label("count"))
            .where(t.basis == "baseline", t.entity == "region")
            .group_by(t.source_id, t.seq, t.observed_at)
        )
        for row in self._newest(query, t.source_id, t.observed_at, (), limit):
            yield self._row(row, row["observed_at"], happening="baseline", count=row["count"])

    def _field(self, limit: int) -> Iterator[Row]:
        v = region_versions.c
        if self.wanted.to_state:
            return
        before, is_before = version_before("region")
        query = (
            sa.select(region_versions, *(before.c[name].label(f"old_{name}") for name in TYPED["region"]))
            .select_from(region_versions)
            .outerjoin(before, is_before)
            .where(v.changed_fields.is_not(None), sa.cast(v.changed_fields, sa.Text) != '["state"]')
        )
        if self.only is not None:
            query = query.where(is_region(self.only, v.source_id, v.region_id))
        for row in self._newest(query, v.source_id, v.valid_from, (v.region_id,), limit):
            for name in sorted(set(row["changed_fields"]) - {"state"}):
                yield self._row(
                    row,
                    row["valid_from"],
                    happening="field",
                    entity="region",
                    entity_id=row["region_id"],
                    kind="changed",
                    field=name,
                    old=row[f"old_{name}"],
                    new=row[name],
                )

    def _gap(self, limit: int) -> Iterator[Row]:
        if self.only is not None or self.wanted.to_state:
            return
        for row in coverage(
            self.connection,
            self.wanted.source,
            since=self.wanted.since,
            until=self.wanted.until,
            limit=limit,
        ):
            # What went on already when the time that is asked for began, happened before.
            if self.wanted.since is None or row["from_at"] >= self.wanted.since:
                gap = row | {"source_id": None, "count": row["failed_polls"]}
                yield self._row(gap, row["from_at"], happening="gap", cause=row["cause"])

    def _unseen(self, limit: int) -> Iterator[Row]:
        u = unseen.c
        if self.wanted.to_state:
            return
        last: Any = sa.type_coerce(sa.func.max(u.until_at), UtcTime())
        query = sa.select(
            u.source_id,
            u.entity,
            u.missed_at,
            u.cause,
            u.missed_seq.label("seq"),
            sa.func.count().label("count"),
            # Over when all of them are seen again, or found absent.
            sa.case((sa.func.count(u.until_at) == sa.func.count(), last)).label("until_at"),
            sa.func.min(u.entity_id).label("entity_id"),
        ).group_by(u.source_id, u.entity, u.missed_at, u.cause, u.missed_seq)
        if self.only is not None:
            query = query.where(u.entity == "region", is_region(self.only, u.source_id, u.entity_id))
        for row in self._newest(query, u.source_id, u.missed_at, (u.missed_seq, u.entity), limit):
            yield self._row(row, row["missed_at"], happening="unseen")

    def _drift(self, limit: int) -> Iterator[Row]:
        d = schema_drift.c
        if self.only is not None or self.wanted.to_state:
            return
        query = sa.select(schema_drift)
        for row in self._newest(query, d.source_id, d.first_seen_at, (d.path, d.kind), limit):
            yield self._row(
                row,
                row["first_seen_at"],
                happening="drift",
                kind=row["kind"],
                field=row["path"],
                new=row["detail"],
            )

    # How they are asked for

    def _newest(
        self,
        query: sa.Select[Any],
        source_id: sa.ColumnElement[Any],
        at: sa.ColumnElement[Any],
        then: Sequence[sa.ColumnElement[Any]],
        limit: int,
    ) -> Iterator[Any]:
        """The newest rows, of each source by its index where there are not too many."""
        if self.wanted.since:
            query = query.where(at >= self.wanted.since)
        if self.wanted.until:
            query = query.where(at < self.wanted.until)
        query = query.order_by(at.desc(), *then).limit(limit)
        ids = list(self.names)
        questions = (
            [query.where(source_id == one) for one in ids]
            if len(ids) <= _MANY_SOURCES
            else [query.where(source_id.in_(ids)) if self.wanted.source else query]
        )
        for question in questions:
            yield from self.connection.execute(question).mappings().all()

    def _row(self, row: Any, at: datetime, **facts: Any) -> Row:
        head = {name: row[name] for name in HAPPENING_FIELDS if name in row}
        source = row["source"] if row["source_id"] is None else self.names[row["source_id"]]
        return {**dict.fromkeys(HAPPENING_FIELDS), **head, **facts, "at": at, "source": source}
