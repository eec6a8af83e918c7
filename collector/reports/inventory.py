"""What exists, what existed, what happened: rows as dictionaries, in the order of their columns."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import sqlalchemy as sa

from collector.errors import UsageError
from collector.store.engine import UtcTime, database_time
from collector.store.tables import (
    TYPED,
    keystone_versions,
    keystones,
    observations,
    observers,
    region_versions,
    regions,
    sources,
    state_transitions,
    unseen,
)

Row = dict[str, Any]

REGION_FIELDS = (
    "source",
    "region_id",
    *TYPED["region"],
    "keystone_state",
    "first_seen_at",
    "changed_at",
    "last_seen_at",
)
TRANSITION_FIELDS = (
    "source",
    "region_id",
    "slug",
    "display_name",
    "entity",
    "entity_id",
    "kind",
    "from_state",
    "to_state",
    "not_before",
    "observed_at",
    "basis",
    "first_missing_at",
    "seq",
    "transition",
)
COVERAGE_FIELDS = (
    "source",
    "from_at",
    "until_at",
    "seconds",
    "cause",
    "error",
    "failed_polls",
    "transitions",
    "seq",
    "entity",
    "entity_id",
    "display_name",
)


@dataclass(frozen=True, slots=True)
class RegionFilter:
    """Which regions; empty means any. Case does not matter."""

    source: str | None = None
    region: str | None = None
    state: str | None = None
    country: str | None = None
    zone: str | None = None
    gpu: bool | None = None
    """Where GPU clusters can be created, or can't."""


def regions_as_of(connection: sa.Connection, moment: datetime, wanted: RegionFilter) -> list[Row]:
    """The regions in force at a time: the fold of all applied observations up to then.

    `last_seen_at` says when each was last confirmed. One index seek per region.
    """
    r, v, s, u = regions.c, region_versions.c, sources.c, unseen.c
    kv = keystone_versions.alias("kv")
    at = sa.literal(moment, UtcTime())
    later = region_versions.alias("later")
    newest = (
        sa.select(sa.func.max(later.c.valid_from))
        .where(later.c.source_id == r.source_id, later.c.region_id == r.id, later.c.valid_from <= at)
        .scalar_subquery()
    )
    later_keystone = keystone_versions.alias("later_keystone")
    newest_keystone = (
        sa.select(sa.func.max(later_keystone.c.valid_from))
        .where(
            later_keystone.c.source_id == v.source_id,
            later_keystone.c.keystone_id == v.keystone_id,
            later_keystone.c.valid_from <= at,
        )
        .scalar_subquery()
    )
    lost = (
        sa.select(u.from_at)
        .where(
            u.source_id == r.source_id,
            u.entity == "region",
            u.entity_id == r.id,
            u.from_at <= at,
            u.until_at.is_(None) | (u.until_at > at),
        )
        .order_by(u.from_at)
        .limit(1)
        .scalar_subquery()
    )
    in_force = region_versions.c.valid_to
    query = (
        sa.select(
            s.name.label("source"),
            r.id.label("region_id"),
            *(v[name] for name in TYPED["region"]),
            kv.c.state.label("keystone_state"),
            r.first_seen_at,
            v.valid_from.label("changed_at"),
            lost.label("last_seen_at"),
        )
        .select_from(regions)
        .join(sources, s.id == r.source_id)
        .join(
            region_versions,
            (v.source_id == r.source_id) & (v.region_id == r.id) & (v.valid_from == newest),
        )
        .outerjoin(
            kv,
            (kv.c.source_id == v.source_id)
            & (kv.c.keystone_id == v.keystone_id)
            & (kv.c.valid_from == newest_keystone)
            & (kv.c.valid_to.is_(None) | (kv.c.valid_to > at)),
        )
        .where(in_force.is_(None) | (in_force > at))
        .order_by(s.name, r.id)
    )
    if wanted.region:
        query = query.where(
            _is_region(find_region(connection, wanted.region, wanted.source), r.source_id, r.id)
        )
    query = query.where(s.name == wanted.source) if wanted.source else query
    for column, word in ((v.state, wanted.state), (v.zone, wanted.zone), (v.country, wanted.country)):
        query = query.where(_is_word(column, word)) if word else query
    query = query.where(v.has_ai_gpu.is_(wanted.gpu)) if wanted.gpu is not None else query
    rows = [dict(row) for row in connection.execute(query).mappings()]
    looked = {name: _last_look(connection, name, moment) for name in {row["source"] for row in rows}}
    return [row | {"last_seen_at": row["last_seen_at"] or looked[row["source"]]} for row in rows]


def _last_look(connection: sa.Connection, source: str, moment: datetime) -> datetime | None:
    """The time up to a moment for which it is sure that a successful poll was answered no earlier.

    Of a stretch that goes on beyond the moment only its ends and its longest interval are on record.
    """
    o = observations.c
    row = connection.execute(
        sa.select(o.first_at, o.last_at, o.longest_interval_ms)
        .join(sources, sources.c.id == o.source_id)
        .where(sources.c.name == source, o.outcome != "failed", o.first_at <= moment)
        .order_by(o.seq.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    if row.last_at <= moment:
        return cast("datetime", row.last_at)
    sure = moment - timedelta(milliseconds=row.longest_interval_ms + 1)
    return max(cast("datetime", row.first_at), sure)


def first_looks(connection: sa.Connection, source: str | None = None) -> dict[str, datetime]:
    """When each source, or this one, was first seen, by its name."""
    first = sa.type_coerce(sa.func.min(observations.c.first_at), UtcTime())
    query = (
        sa.select(sources.c.name, first)
        .join(observations, sources.c.id == observations.c.source_id)
        .where(observations.c.outcome != "failed")
        .group_by(sources.c.name)
        .order_by(sources.c.name)
    )
    rows = connection.execute(query.where(sources.c.name == source) if source else query)
    return dict(rows.all())


@dataclass(frozen=True, slots=True)
class TransitionFilter:
    """Which transitions; empty means any. Times are those of `observed_at`, half open."""

    source: str | None = None
    region: str | None = None
    entity: str | None = None
    from_state: str | None = None
    to_state: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    seq: int | None = None
    """Those that this observation showed first."""
    limit: int | None = None


def transitions(connection: sa.Connection, wanted: TransitionFilter) -> list[Row]:
    """Changes of state and presence, newest first, with the window that contains the true time."""
    t, s, r, k = state_transitions.c, sources.c, regions.c, keystones.c
    region_id = sa.case((t.entity == "region", t.entity_id), else_=k.witness_region_id)
    query = (
        sa.select(
            s.name.label("source"),
            region_id.label("region_id"),
            r.slug,
            r.display_name,
            t.entity,
            t.entity_id,
            t.kind,
            t.from_state,
            t.to_state,
            t.not_before,
            t.observed_at,
            t.basis,
            t.first_missing_at,
            t.seq,
        )
        .join(sources, s.id == t.source_id)
        .outerjoin(keystones, (k.source_id == t.source_id) & (k.id == t.entity_id) & (t.entity == "keystone"))
        .outerjoin(regions, (r.source_id == t.source_id) & (r.id == region_id))
        .order_by(t.observed_at.desc(), s.name, t.entity.desc(), t.entity_id)
    )
    if wanted.region:
        query = query.where(
            _is_region(find_region(connection, wanted.region, wanted.source), t.source_id, region_id)
        )
    for column, value in (
        (s.name, wanted.source),
        (t.entity, wanted.entity),
        (t.seq, wanted.seq),
    ):
        query = query.where(column == value) if value is not None else query
    for column, word in ((t.from_state, wanted.from_state), (t.to_state, wanted.to_state)):
        query = query.where(_is_word(column, word)) if word else query
    if wanted.since:
        query = query.where(t.observed_at >= wanted.since)
    if wanted.until:
        query = query.where(t.observed_at < wanted.until)
    rows = [dict(row) for row in connection.execute(query.limit(wanted.limit)).mappings()]
    return [row | {"transition": f"{row['seq']}/{row['entity']}/{row['entity_id']}"} for row in rows]


@dataclass(frozen=True, slots=True)
class Evidence:
    """An observation and the answer behind it."""

    facts: Row
    address: str | None
    source_id: int


def observation(connection: sa.Connection, seq: int, source: str | None) -> Evidence:
    """One observation, with who looked. Raises UsageError where there is none, or where several
    sources have one of this number and none was named."""
    query = (
        sa.select(
            sources.c.name.label("source"),
            observations,
            observers.c.key_fingerprint,
            observers.c.base_url,
            observers.c.auth_scheme,
        )
        .join(sources, sources.c.id == observations.c.source_id)
        .join(
            observers,
            (observers.c.source_id == observations.c.source_id)
            & (observers.c.id == observations.c.observer_id),
        )
        .where(observations.c.seq == seq)
    )
    rows = connection.execute(query.where(sources.c.name == source) if source else query).mappings().all()
    if not rows:
        numbers = sa.select(sa.func.max(sources.c.newest_seq))
        newest = connection.scalar(numbers.where(sources.c.name == source) if source else numbers)
        of = f" of source {source!r}" if source else ""
        raise UsageError(f"there is no observation {seq}{of}; the newest is {newest or 0}")
    if len(rows) > 1:
        names = ", ".join(sorted(row["source"] for row in rows))
        raise UsageError(f"several sources have an observation {seq}; add --source with one of: {names}")
    facts = dict(rows[0])
    source_id, address = facts.pop("source_id"), facts["payload"]
    del facts["observer_id"]
    return Evidence(facts, address, source_id)


def find_region(connection: sa.Connection, text: str, source: str | None = None) -> Sequence[tuple[int, int]]:
    """Resolve an id, slug or display name to (source_id, region id) pairs. Raises UsageError, naming the
    closest names."""
    query = sa.select(regions.c.source_id, regions.c.id, regions.c.slug, regions.c.display_name)
    if source:
        query = query.join(sources, sources.c.id == regions.c.source_id).where(sources.c.name == source)
    rows = connection.execute(query).all()
    wanted = text.strip().casefold()
    found = [(r.source_id, r.id) for r in rows if str(r.id) == wanted]
    found = found or [
        (r.source_id, r.id)
        for r in rows
        if wanted in ((r.slug or "").casefold(), (r.display_name or "").casefold())
    ]
    if not found:
        v = region_versions.c
        former = (
            sa.select(v.source_id, v.region_id)
            .distinct()
            .where(sa.func.lower(v.slug).in_([wanted]) | sa.func.lower(v.display_name).in_([wanted]))
        )
        ours = {(r.source_id, r.id) for r in rows}
        found = [(s, i) for s, i in connection.execute(former) if (s, i) in ours]
    if found:
        return found
    names = {name.casefold(): name for r in rows for name in (r.display_name, r.slug) if name}
    close = [names[c] for c in difflib.get_close_matches(wanted, list(names), n=3, cutoff=0.4)]
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"there is no region {text!r}{hint}")


def _is_region(found: Sequence[tuple[int, int]], source_id: Any, region_id: Any) -> Any:
    return sa.or_(*((source_id == s) & (region_id == r) for s, r in found))


def _is_word(column: Any, word: str) -> Any:
    """Whether a column holds this word, in upper or lower case (databases know that of ASCII alone)."""
    return (column == word) | (sa.func.upper(column) == word.upper())


def coverage(
    connection: sa.Connection,
    source: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    unseen_too: bool = False,
    limit: int | None = None,
) -> list[Row]:
    """Times that no successful poll covers, newest first; `until_at` None: still open.

    `since`, `until`: only gaps that touch the time from the one to before the other.
    `unseen_too`: also times for which one entity was not shown, though present and the rest was; of the gaps
    `entity`, `entity_id` and `display_name` are None.
    """
    view = sa.table(
        "coverage_gaps",
        sa.column("source"),
        sa.column("from_at", UtcTime()),
        sa.column("until_at", UtcTime()),
        *(sa.column(name) for name in COVERAGE_FIELDS[3:-3]),
    )
    rows: list[Row] = []
    queries = [(sa.select(view), view.c.source, view.c.from_at, view.c.until_at)]
    if unseen_too:
        queries.append((_unseen_spans(), sources.c.name, unseen.c.from_at, unseen.c.until_at))
    for query, name, from_at, until_at in queries:
        query = query.order_by(from_at.desc(), name).limit(limit)
        query = query.where(name == source) if source else query
        query = query.where(until_at.is_(None) | (until_at > since)) if since else query
        query = query.where(from_at < until) if until else query
        rows += [dict.fromkeys(COVERAGE_FIELDS) | dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        if row["entity"]:
            ended = row["until_at"] or row.pop("now_at")
            row["seconds"] = max((ended - row["from_at"]).total_seconds(), 0.0)
    rows.sort(key=lambda row: row["entity_id"] or 0)
    rows.sort(key=lambda row: row["entity"] or "whole source", reverse=True)
    rows.sort(key=lambda row: row["source"])
    rows.sort(key=lambda row: row["from_at"], reverse=True)
    return rows[:limit]


def _unseen_spans() -> sa.Select[Any]:
    """Times for which an entity was not shown though present, in the fields of `coverage`."""
    u, t, k = unseen.c, state_transitions.c, keystones.c
    region_id = sa.case((u.entity == "region", u.entity_id), (u.entity == "keystone", k.witness_region_id))
    across = sa.select(sa.func.count()).where(
        t.source_id == u.source_id, t.entity == u.entity, t.entity_id == u.entity_id, t.seq == u.until_seq
    )
    return (
        sa.select(
            sources.c.name.label("source"),
            u.from_at,
            u.until_at,
            u.cause,
            sa.literal(0).label("failed_polls"),
            across.scalar_subquery().label("transitions"),
            u.shown_seq.label("seq"),
            u.entity,
            u.entity_id,
            regions.c.display_name,
            sa.type_coerce(database_time(), UtcTime()).label("now_at"),
        )
        .join(sources, sources.c.id == u.source_id)
        .outerjoin(keystones, (k.source_id == u.source_id) & (k.id == u.entity_id) & (u.entity == "keystone"))
        .outerjoin(regions, (regions.c.source_id == u.source_id) & (regions.c.id == region_id))
        .order_by(u.from_at.desc(), sources.c.name, u.entity.desc(), u.entity_id)
    )
