"""What a happening is: for each kind, the statement that returns the newest ones, by an index on its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.database.joins import InOrder
from collector.database.types import UtcTime
from collector.reports.asof import version_before
from collector.reports.coverage import coverage
from collector.reports.filters import Row, is_region, is_word
from collector.reports.transitions import TOLD, with_names
from collector.store.tables import (
    TYPED,
    keystones,
    observations,
    region_versions,
    schema_drift,
    sources,
    state_transitions,
    unseen,
)

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
AT_ONCE = 1_000_000
"""More rows than can belong to one moment."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the stream: a half-open time, and the most rows of a kind."""

    since: datetime | None
    until: datetime | None
    limit: int


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for. `names`: of the wanted sources, by id; `only`: regions by source and id."""

    connection: sa.Connection
    names: Mapping[int, str]
    source: str | None
    only: Sequence[tuple[int, int]] | None
    to_state: str | None

    @property
    def is_of_regions(self) -> bool:
        """True if happenings without a region, or into no state, are left out."""
        return self.only is not None or self.to_state is not None

    def newest(
        self,
        part: Part,
        query: sa.Select[Any],
        source_id: sa.ColumnElement[Any],
        at: sa.ColumnElement[Any],
        *then: sa.ColumnElement[Any],
    ) -> Sequence[Any]:
        """The newest rows of a query in a part of the stream."""
        return self.connection.execute(self.cut(part, query, source_id, at, *then)).mappings().all()

    def cut(
        self,
        part: Part,
        query: sa.Select[Any],
        source_id: sa.ColumnElement[Any],
        at: sa.ColumnElement[Any],
        *then: sa.ColumnElement[Any],
    ) -> sa.Select[Any]:
        """A query, cut to a part of the stream."""
        query = query.where(source_id.in_(self.names)) if self.source else query
        query = query.where(at >= part.since) if part.since else query
        query = query.where(at < part.until) if part.until else query
        return query.order_by(at.desc(), source_id, *then).limit(part.limit)

    def oldest(self, part: Part, table: sa.Table, name: str) -> sa.ScalarSelect[Any]:
        """The oldest of the newest moments of a table, as many as a page has rows. Anything older is not on the
        page."""
        t = table.alias("moments").c
        at = t[name]
        query = sa.select(at.label("at")).distinct().order_by(at.desc()).limit(part.limit)
        query = query.where(t.source_id.in_(self.names)) if self.source else query
        query = query.where(at < part.until) if part.until else query
        return sa.select(sa.func.min(query.subquery().c.at)).scalar_subquery()

    def row(self, row: Mapping[str, Any], at: datetime, **facts: Any) -> Row:
        """A row in the fields of HAPPENING_FIELDS."""
        head = {name: row[name] for name in HAPPENING_FIELDS if name in row}
        source = row["source"] if "source_id" not in row else self.names[row["source_id"]]
        return {**dict.fromkeys(HAPPENING_FIELDS), **head, **facts, "at": at, "source": source}


Ask = Callable[[Search, Part], Iterator[Row]]


def _transitions(entity: str, happening: str) -> Ask:
    def ask(search: Search, part: Part) -> Iterator[Row]:
        t, k = state_transitions.c, keystones.c
        query = sa.select(t.source_id, *TOLD, t.seq).select_from(with_names(state_transitions))
        query = query.where(t.entity == sa.literal_column(f"'{entity}'"))  # as in the index of keystones
        if search.only is None:
            query = query.where(t.basis != "baseline")
        else:
            region_id = t.entity_id if entity == "region" else k.witness_region_id
            query = query.where(is_region(search.only, t.source_id, region_id))
        query = query.where(is_word(t.to_state, search.to_state)) if search.to_state else query
        for row in search.newest(part, query, t.source_id, t.observed_at, t.entity_id):
            yield search.row(
                row, row["observed_at"], happening=happening, old=row["from_state"], new=row["to_state"]
            )

    return ask


def _baselines(search: Search, part: Part) -> Iterator[Row]:
    """Answers of each source up to the first complete one, with the number of regions that each showed first."""
    if search.is_of_regions:
        return
    o, complete, t = observations.c, observations.alias("complete").c, state_transitions.c
    first = (
        sa.select(complete.seq)
        .where(complete.source_id == sources.c.id, complete.outcome == "ok")
        .order_by(complete.seq)
        .limit(1)
        .scalar_subquery()
    )
    is_early = (o.source_id == sources.c.id) & (o.seq <= sa.func.coalesce(first, sources.c.newest_seq))
    query = (
        sa.select(o.source_id, o.seq, o.first_at)
        .select_from(InOrder(sources, observations, is_early))
        .where(o.outcome != "failed")
    )
    is_shown_first = (
        (t.source_id == o.source_id)
        & (t.observed_at == o.first_at)
        & (t.entity == "region")
        & (t.basis == "baseline")
    )
    query = query.where(sa.exists().where(is_shown_first))
    answers = search.cut(part, query, o.source_id, o.first_at).subquery()
    count = sa.select(sa.func.count()).where(
        t.source_id == answers.c.source_id,
        t.observed_at == answers.c.first_at,
        t.entity == "region",
        t.basis == "baseline",
    )
    counted = sa.select(answers, count.scalar_subquery().label("count"))
    for row in map(dict, search.connection.execute(counted).mappings()):
        yield search.row(row, row["first_at"], happening="baseline")


def _fields(search: Search, part: Part) -> Iterator[Row]:
    if search.to_state:
        return
    v = region_versions.c
    before, is_before = version_before("region")
    query = (
        sa.select(region_versions, *(before.c[name].label(f"old_{name}") for name in TYPED["region"]))
        .select_from(region_versions)
        .outerjoin(before, is_before)
        # As in its index.
        .where(sa.type_coerce(v.changed_fields, sa.Text) != sa.literal_column("'[\"state\"]'"))
    )
    if search.only is not None:
        query = query.where(is_region(search.only, v.source_id, v.region_id))
    for row in search.newest(part, query, v.source_id, v.valid_from, v.region_id):
        for name in sorted(set(row["changed_fields"]) - {"state"}):
            facts = {"field": name, "old": row[f"old_{name}"], "new": row[name]}
            facts |= {"entity": "region", "entity_id": row["region_id"], "kind": "changed"}
            yield search.row(row, row["valid_from"], happening="field", **facts)


def _gaps(search: Search, part: Part) -> Iterator[Row]:
    if search.is_of_regions:
        return
    for row in coverage(
        search.connection, search.source, since=part.since, until=part.until, limit=part.limit
    ):
        # A happening that already continued when the wanted time began happened before it.
        if part.since is None or row["from_at"] >= part.since:
            yield search.row(row, row["from_at"], happening="gap", count=row["failed_polls"])


def _unseen(search: Search, part: Part) -> Iterator[Row]:
    """Entities that one answer did not show, for one cause, are one row."""
    if search.to_state:
        return
    u = unseen.c
    last: Any = sa.type_coerce(sa.func.max(u.until_at), UtcTime())
    query = sa.select(
        u.source_id,
        u.entity,
        u.missed_at,
        u.cause,
        u.missed_seq.label("seq"),
        sa.func.count().label("count"),
        # It has ended when all of them were seen again, or found absent.
        sa.case((sa.func.count(u.until_at) == sa.func.count(), last)).label("until_at"),
        sa.func.min(u.entity_id).label("entity_id"),
    ).group_by(u.source_id, u.entity, u.missed_at, u.cause, u.missed_seq)
    if search.only is not None:
        query = query.where(u.entity == "region", is_region(search.only, u.source_id, u.entity_id))
    else:
        query = query.where(u.missed_at >= search.oldest(part, unseen, "missed_at"))
    for row in search.newest(part, query, u.source_id, u.missed_at, u.missed_seq, u.entity, u.cause):
        yield search.row(row, row["missed_at"], happening="unseen")


def _drift(search: Search, part: Part) -> Iterator[Row]:
    if search.is_of_regions:
        return
    d = schema_drift.c
    query = sa.select(
        d.source_id, d.path.label("field"), d.kind, d.detail.label("new"), d.first_seen_at, d.seq
    )
    query = query.where(d.first_seen_at >= search.oldest(part, schema_drift, "first_seen_at"))
    # All of these moments, because databases sort texts differently.
    whole = replace(part, limit=AT_ONCE)
    for row in search.newest(whole, query, d.source_id, d.first_seen_at):
        yield search.row(row, row["first_seen_at"], happening="drift")


ASK: Mapping[str, Ask] = {
    "state": _transitions("region", "state"),
    "field": _fields,
    "keystone": _transitions("keystone", "keystone"),
    "baseline": _baselines,
    "gap": _gaps,
    "unseen": _unseen,
    "drift": _drift,
}
"""The order of happenings of one moment."""
KINDS = tuple(ASK)
