"""What is known of each region or keystone over time: the rows of the views of spans, in a tenth of their time.

This reads; the rule is `inventory.spans`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

import sqlalchemy as sa

from collector.inventory.spans import Change, Span, spans_of
from collector.reports.blindness import blind_times, watched
from collector.reports.columns import PLACE, Column, Report
from collector.reports.filters import Row, find_region
from collector.store.tables import (
    keystones,
    regions,
    sources,
    state_transitions,
)

ASSUMPTION = "a state that came and went between two polls, with no gap between them, can't be seen"
"""What all that is said of known time rests on."""

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
        Column("seconds", "number", "how long it is"),
        Column("earlier_state", "text or null", "of `UNKNOWN`: the state known before; else null"),
        Column("later_state", "text or null", "of `UNKNOWN`: the state known after; null: none yet"),
        Column(
            "cause",
            "text or null",
            "of `UNKNOWN`: `change`, only the moment of a change is unknown; `unseen`, no answer showed it",
        ),
        Column("seq", "integer", "observation that first showed the state; of `UNKNOWN`, the state before"),
    ),
)


@dataclass(frozen=True, slots=True)
class SpanFilter:
    """Which spans; empty means any. Times: spans that touch the time from the one to before the other."""

    entity: str = "region"
    regions: tuple[str, ...] = ()
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    without_absent: bool = False
    """Leave out who is absent now, from its last disappearance on."""
    keys: Sequence[tuple[str, int]] | None = None
    """Entities by source and id, instead of by the names of their regions."""
    known_at: datetime | None = None
    """As far as was known at this time; else now."""


def spans(connection: sa.Connection, wanted: SpanFilter) -> Iterator[Row]:
    """Spans in the columns of SPANS, by source, id and time: whole, not cut to the times asked for.

    Raises UsageError for a region that does not exist, naming the closest.
    """
    for head, found in spans_by_entity(connection, wanted):
        for span in found:
            row = head | span._asdict()
            row["seconds"] = (span.until_at - span.from_at).total_seconds()
            yield {name: row[name] for name in SPANS.fields}


def spans_by_entity(connection: sa.Connection, wanted: SpanFilter) -> Iterator[tuple[Row, Sequence[Span]]]:
    """Who has spans that are wanted (SPANS up to `entity_id`), and these."""
    keys = keys_of(connection, wanted)
    gone = _absent(connection, wanted.entity) if wanted.without_absent else {}
    asked = None if keys is None else {name for name, _ in keys}
    for source in watched(connection, wanted.source, wanted.known_at):
        if asked is not None and source.name not in asked:
            continue
        ids = None if keys is None else [entity_id for name, entity_id in keys if name == source.name]
        names = _names(connection, source.id, wanted.entity)
        of_all, of_one = blind_times(connection, source, wanted.entity, wanted.known_at)
        for entity_id, changed in _changes(connection, source.id, wanted.entity, ids, wanted.known_at):
            own = {"entity": wanted.entity, "entity_id": entity_id}
            blind = [*of_all, *of_one[entity_id]] if entity_id in of_one else of_all
            found = spans_of(changed, blind, source.end_at)
            if some := list(_wanted(found, wanted, gone.get((source.name, entity_id)))):
                yield {"source": source.name, **names[entity_id], **own}, some


def _wanted(found: Iterable[Span], wanted: SpanFilter, end_at: datetime | None) -> Iterator[Span]:
    """`end_at`: where the entity's time ends, if it does so before its last span."""
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


def _names(connection: sa.Connection, source_id: int, entity: str) -> dict[int, Row]:
    """What a row says of each entity's region, by the entity's id."""
    r, k = regions.c, keystones.c
    if entity == "region":
        query = sa.select(r.id, r.id, r.slug, r.display_name).where(r.source_id == source_id)
    else:
        query = (
            sa.select(k.id, k.witness_region_id, r.slug, r.display_name)
            .select_from(keystones)
            .outerjoin(regions, (r.source_id == k.source_id) & (r.id == k.witness_region_id))
            .where(k.source_id == source_id)
        )
    return {
        entity_id: {"region_id": region_id, "slug": slug, "display_name": name}
        for entity_id, region_id, slug, name in connection.execute(query)
    }


def _changes(
    connection: sa.Connection,
    source_id: int,
    entity: str,
    ids: Sequence[int] | None,
    known_at: datetime | None,
) -> Iterator[tuple[int, list[Change]]]:
    """The transitions of each entity, by id."""
    t = state_transitions.c
    query = (
        sa.select(t.entity_id, t.seq, t.to_state, t.not_before, t.observed_at, t.basis, t.kind)
        .where(t.source_id == source_id, t.entity == entity)
        .order_by(t.entity_id, t.seq)
    )
    query = query.where(t.observed_at <= known_at) if known_at else query
    # Few are asked for one by one: of one entity the key finds its own rows only.
    questions = [query] if ids is None else [query.where(t.entity_id == entity_id) for entity_id in ids]
    for question in questions:
        rows = connection.execution_options(yield_per=5000).execute(question)
        for entity_id, group in itertools.groupby(rows, key=itemgetter(0)):
            yield (
                entity_id,
                [
                    Change(seq, to, not_before, at, basis == "observer_change" and kind != "changed")
                    for _, seq, to, not_before, at, basis, kind in group
                ],
            )


def _absent(connection: sa.Connection, entity: str) -> dict[tuple[str, int], datetime]:
    """Since when entities are absent that are so now, by source and id."""
    current = {"region": regions, "keystone": keystones}[entity].c
    query = sa.select(sources.c.name, current.id, current.absent_since)
    query = query.join(sources, sources.c.id == current.source_id).where(current.absent_since.is_not(None))
    return {(name, entity_id): since for name, entity_id, since in connection.execute(query)}


def keys_of(connection: sa.Connection, wanted: SpanFilter) -> Sequence[tuple[str, int]] | None:
    """The sources and ids of the regions that were named, or of their keystones; None: all."""
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
