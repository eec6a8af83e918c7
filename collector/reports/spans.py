"""What is known about each region or keystone over time: the rows of the views of spans, in a tenth of their time.

This module reads; the rule is in `inventory.spans`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from collector.database.joins import InOrder
from collector.database.listed import list_of, listed
from collector.database.url import is_sqlite
from collector.inventory.spans import Change, Span, spans_of
from collector.reports.blindness import Watched, blind_times, watched
from collector.reports.columns import AREA, PLACE, Column, Report, names_of
from collector.reports.filters import Row, find_region
from collector.store.tables import (
    keystones,
    regions,
    sources,
    state_transitions,
)

ASSUMPTION = "a state that came and went between two polls, with no gap between them, can't be seen"
"""The assumption on which all statements about known time rest."""

SPANS = Report(
    columns=(
        *PLACE,
        Column("entity", "text", "`region` or `keystone`"),
        Column("entity_id", "integer", "id of the region or of the keystone"),
        Column(
            "state",
            "text",
            "the state; `ABSENT`: not listed; `UNKNOWN`; a state of the cloud that is called so, in "
            "quotation marks",
        ),
        Column("from_at", "time", "when the span begins"),
        Column("until_at", "time", "when it ends: where the next one begins"),
        Column("seconds", "number", "length"),
        Column("earlier_state", "text or null", "for `UNKNOWN`: the state known before; otherwise null"),
        Column("later_state", "text or null", "for `UNKNOWN`: the state known after; null: none yet"),
        Column(
            "cause",
            "text or null",
            "for `UNKNOWN`: `change`, only the moment of a change is unknown; `unobserved`, it may have been any",
        ),
        Column(
            "seq",
            "integer",
            "observation that first showed the state; for `UNKNOWN`, that of the state before",
        ),
        *AREA,
    ),
)


@dataclass(frozen=True, slots=True)
class SpanFilter:
    """Which spans; empty means any. Times: spans that overlap this half-open time."""

    entity: str = "region"
    regions: tuple[str, ...] = ()
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    without_absent: bool = False
    """Leave out entities that are absent now, from their last disappearance on."""
    keys: Sequence[tuple[str, int]] | None = None
    """Sort entities by source and id, instead of by the names of their regions."""
    known_at: datetime | None = None
    """As far as was known at this time; None: now."""
    is_cut: bool = False
    """If a span of these `keys` begins before `since`, its beginning does not matter, and earlier rows are not
    read."""


def spans(connection: sa.Connection, wanted: SpanFilter) -> Iterator[Row]:
    """Spans in the columns of SPANS, by source, id and time: whole, not cut to the wanted times.

    Raises UsageError with the closest names for a region that does not exist.
    """
    for head, found in spans_by_entity(connection, wanted):
        for span in found:
            row = head | span._asdict()
            row["seconds"] = (span.until_at - span.from_at).total_seconds()
            yield {name: row[name] for name in SPANS.fields}


def spans_by_entity(connection: sa.Connection, wanted: SpanFilter) -> Iterator[tuple[Row, Sequence[Span]]]:
    """The entities with wanted spans (SPANS up to `entity_id`, and its end), and these spans."""
    of, names = "", dict[int, Row]()
    for source, entity_id, found in known_spans(connection, wanted):
        if source != of:
            of, names = source, _names(connection, source, wanted.entity)
        yield {"source": source, **names[entity_id], "entity": wanted.entity, "entity_id": entity_id}, found


def known_spans(connection: sa.Connection, wanted: SpanFilter) -> Iterator[tuple[str, int, Sequence[Span]]]:
    """Sources and ids of the entities with wanted spans, and these spans."""
    keys = keys_of(connection, wanted)
    gone = _absent(connection, wanted.entity) if wanted.without_absent else {}
    found = list(watched(connection, wanted.source, wanted.known_at))
    if keys is not None:
        named = {name for name, _ in keys}
        found = [source for source in found if source.name in named]
    begin = wanted.since if wanted.is_cut else None
    blind = blind_times(connection, found, wanted.entity, wanted.known_at, begin)
    for source, entity_id, changed in _changes(connection, found, wanted, keys):
        spans = spans_of(changed, blind[source.id].edges_of(entity_id), source.end_at)
        if some := list(_wanted(spans, wanted, gone.get((source.name, entity_id)))):
            yield source.name, entity_id, some


def _wanted(found: Iterable[Span], wanted: SpanFilter, end_at: datetime | None) -> Iterator[Span]:
    """`end_at`: the end of the entity's time, if that is before the end of its last span."""
    for span in found:
        if end_at is not None and end_at < span.until_at:
            if end_at <= span.from_at:
                return
            span = span._replace(until_at=end_at)
        if not (
            (wanted.since and span.until_at <= wanted.since)
            or (wanted.until and span.from_at >= wanted.until)
        ):
            yield span


def _names(connection: sa.Connection, source: str, entity: str) -> dict[int, Row]:
    """The columns about each entity's region, by the entity's id."""
    r, k = regions.c, keystones.c
    _, number, *names = names_of((*PLACE, *AREA))
    named = [r[name] for name in names]
    if entity == "region":
        query = sa.select(r.id, r.id.label(number), *named)
        query = query.join(sources, sources.c.id == r.source_id)
    else:
        query = (
            sa.select(k.id, k.witness_region_id.label(number), *named)
            .select_from(keystones)
            .join(sources, sources.c.id == k.source_id)
            .outerjoin(regions, (r.source_id == k.source_id) & (r.id == k.witness_region_id))
        )
    query = query.where(sources.c.name == source)
    return {row[0]: dict(zip((number, *names), row[1:], strict=True)) for row in connection.execute(query)}


def _changes(
    connection: sa.Connection,
    found: Sequence[Watched],
    wanted: SpanFilter,
    keys: Sequence[tuple[str, int]] | None,
) -> Iterator[tuple[Watched, int, list[Change]]]:
    """The transitions of each entity, by source and id."""
    t = state_transitions.c
    query = sa.select(
        t.source_id, t.entity_id, t.seq, t.to_state, t.not_before, t.observed_at, t.basis, t.kind
    ).where(t.entity == wanted.entity)
    query = query.where(t.observed_at <= wanted.known_at) if wanted.known_at else query
    questions: list[tuple[Any, dict[str, Any]]]
    if keys is None:
        questions = [
            (query.where(t.source_id == source.id).order_by(t.entity_id, t.seq), {}) for source in found
        ]
    else:
        # Each is looked up by its key. The list has the order in which they come.
        types = {"place": sa.Integer(), "source_id": sa.Integer(), "id": sa.BigInteger()}
        asked = listed("keys", types, on_sqlite=is_sqlite(connection))
        is_asked = (t.source_id == asked.c.source_id) & (t.entity_id == asked.c.id)
        if wanted.is_cut and wanted.since:
            is_asked &= t.seq >= sa.func.coalesce(_last_before(wanted.since, wanted.entity, asked), 0)
        query = query.select_from(InOrder(asked, state_transitions, is_asked))
        own = {source.name: source.id for source in found}
        places = [(place, own[name], i) for place, (name, i) in enumerate(keys) if name in own]
        questions = [(query.order_by(asked.c.place, t.seq), {"keys": list_of(places)})]
    by_id = {source.id: source for source in found}
    for question, given in questions:
        rows = connection.execute(question, given, execution_options={"yield_per": 5000})
        for (source_id, entity_id), group in itertools.groupby(rows, key=itemgetter(0, 1)):
            yield (
                by_id[source_id],
                entity_id,
                [
                    Change(seq, to, not_before, at, basis == "observer_change" and kind != "changed")
                    for _, _, seq, to, not_before, at, basis, kind in group
                ],
            )


def _last_before(since: datetime, entity: str, asked: sa.FromClause) -> sa.ScalarSelect[Any]:
    """The last transition of an entity before a time, which has its state at that time."""
    b = _BEFORE.c
    is_its = (b.source_id == asked.c.source_id) & (b.entity == entity) & (b.entity_id == asked.c.id)
    query = sa.select(b.seq).where(is_its, b.observed_at < since).order_by(b.seq.desc()).limit(1)
    return query.correlate(asked).scalar_subquery()


_BEFORE = state_transitions.alias("before")


def _absent(connection: sa.Connection, entity: str) -> dict[tuple[str, int], datetime]:
    """Since when entities that are absent now are absent, by source and id."""
    current = {"region": regions, "keystone": keystones}[entity].c
    query = sa.select(sources.c.name, current.id, current.absent_since)
    query = query.join(sources, sources.c.id == current.source_id).where(current.absent_since.is_not(None))
    return {(name, entity_id): since for name, entity_id, since in connection.execute(query)}


def keys_of(connection: sa.Connection, wanted: SpanFilter) -> Sequence[tuple[str, int]] | None:
    """The sources and ids of the named regions, or of their keystones; None: all."""
    if wanted.keys is not None:
        return sorted(wanted.keys)
    if not wanted.regions:
        return None
    names = {i: str(name) for i, name in connection.execute(sa.select(sources.c.id, sources.c.name)).all()}
    found = {pair for text in wanted.regions for pair in find_region(connection, text, wanted.source)}
    if wanted.entity == "keystone":
        r, k = regions.c, keystones.c
        pairs = (
            sa.select(r.source_id, r.keystone_id, r.id)
            .where(r.keystone_id.is_not(None))
            .union(sa.select(k.source_id, k.id, k.witness_region_id))
        )
        found = {(s, i) for s, i, region_id in connection.execute(pairs) if (s, region_id) in found}
    return sorted((names[s], i) for s, i in found)
