"""What was decided, as rows: one generic path from changes to statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from collector.database import bulk
from collector.inventory.changes import Changes, KindChanges, NewVersion, Transition
from collector.inventory.entities import Kind, Region, values
from collector.inventory.observation import Observation
from collector.store.tables import (
    CURRENT,
    DERIVED,
    TYPED,
    VERSIONS,
    gaps,
    region_volume_types,
    rejected_records,
    schema_drift,
    state_transitions,
    unproven_absences,
    unseen,
    withheld_absences,
)

Write = tuple[bulk.Act, sa.Table, tuple[str, ...], Iterable[tuple[Any, ...]]]
"""Rows, and what to do with them; all but their source."""
_ACTS: Sequence[bulk.Act] = ("delete", "update", "insert")
"""In this order: a version closes before the next one opens."""
_TRANSITION = Transition.__struct_fields__


def apply(connection: sa.Connection, source_id: int, now: Observation, decided: Changes) -> None:
    """Write what an observation changes: all rows of one table and act together."""
    together: defaultdict[tuple[bulk.Act, sa.Table, tuple[str, ...]], list[tuple[Any, ...]]] = defaultdict(
        list
    )
    for act, table, names, rows in _writes(now, decided):
        together[act, table, names] += [(source_id, *row) for row in rows]
    for act, table, names in sorted(together, key=lambda key: (_ACTS.index(key[0]), DERIVED.index(key[1]))):
        if rows := together[act, table, names]:
            bulk.write(connection, act, table, ("source_id", *names), rows)


def _writes(now: Observation, decided: Changes) -> Iterator[Write]:
    for kind, changed in decided.kinds.items():
        yield from _versions(kind, now, changed.versions)
        yield from _of_kind(kind, now, changed)
    yield "insert", state_transitions, _TRANSITION, map(attrgetter(*_TRANSITION), decided.transitions)
    if (gap := decided.gap) is not None:
        row = {
            "until_seq": now.seq,
            "from_at": gap.from_at,
            "until_at": now.first_at,
            "last_asked_at": gap.last_asked_at,
            "cause": gap.cause,
            "failed_polls": gap.failed_polls,
            "error": gap.error,
            "seq": gap.before.seq if gap.before else 0,
        }
        yield "insert", gaps, tuple(row), [tuple(row.values())]
    names = ("seq", "position", "region_id", "reason", "payload")
    rejected = ((now.seq, r.position, r.id, r.reason, r.payload) for r in decided.rejected)
    yield "insert", rejected_records, names, rejected
    names = ("path", "kind", "detail", "first_seen_at", "seq")
    yield (
        "insert",
        schema_drift,
        names,
        ((d.path, d.kind, d.detail, now.first_at, now.seq) for d in decided.drift),
    )


def _versions(kind: Kind, now: Observation, new: Sequence[NewVersion]) -> Iterator[Write]:
    """Entities that are new or have other values. Of those that were there only what differs is written."""
    current, versions, at = CURRENT[kind], VERSIONS[kind], now.first_at
    witness = () if kind == "region" else ("witness_region_id",)
    typed = (*TYPED[kind], *witness)
    rows = [
        (v, v.sighting.entity.id, (*values(v.sighting.entity), v.sighting.witness)[: len(typed)]) for v in new
    ]
    names = ("id", *typed, "first_seen_at", "changed_at", "seq", "content_hash")
    first = ((i, *row, at, at, now.seq, v.content_hash) for v, i, row in rows if v.before is None)
    yield "insert", current, names, first
    for changed, some in _by_changed_fields(new).items():
        names = ("changed_at", "absent_since", "absent_not_before", "seq", "content_hash")
        again = (
            (
                v.sighting.entity.id,
                *[getattr(v.sighting.entity, name) for name in changed],
                *[v.sighting.witness for _ in witness],
                *(at, None, None, now.seq, v.content_hash),
            )
            for v in some
        )
        yield "update", current, ("id", *changed, *witness, *names), again
    closed = ((v.before.id, v.before.changed_at, at) for v in new if v.before and v.before.is_present)
    yield "update", versions, (f"{kind}_id", "valid_from", "valid_to"), closed
    names = (f"{kind}_id", "valid_from", "changed_fields", *typed, "seq", "not_before", "basis")
    opened = (
        (i, at, v.changed_fields, *row, now.seq, v.window.not_before, v.window.basis) for v, i, row in rows
    )
    yield "insert", versions, names, opened
    if kind == "region":
        yield from _volume_types(new)


def _by_changed_fields(new: Sequence[NewVersion]) -> Mapping[tuple[str, ...], Sequence[NewVersion]]:
    """The versions of entities that were there before."""
    found: defaultdict[tuple[str, ...], list[NewVersion]] = defaultdict(list)
    for version in new:
        if version.changed_fields is not None:
            found[version.changed_fields].append(version)
    return found


def _volume_types(new: Sequence[NewVersion]) -> Iterator[Write]:
    gone, come = [], []
    for version in new:
        region, before = version.sighting.entity, version.before.entity if version.before else None
        is_, was = (
            set(each.available_volume_types or ()) if isinstance(each, Region) else set()
            for each in (region, before)
        )
        gone += [(region.id, name) for name in sorted(was - is_)]
        come += [(region.id, name) for name in sorted(is_ - was)]
    yield "delete", region_volume_types, ("region_id", "volume_type"), gone
    yield "insert", region_volume_types, ("region_id", "volume_type"), come


def _of_kind(kind: Kind, now: Observation, changed: KindChanges) -> Iterator[Write]:
    """Entities that are not shown, shown again, or shown by another copy."""
    current, at, seq = CURRENT[kind], now.first_at, now.seq
    names: tuple[str, ...] = ("id", "changed_at", "absent_since", "absent_not_before", "seq")
    gone = changed.disappeared
    yield "update", current, names, ((g.before.id, at, at, g.window.not_before, seq) for g in gone)
    names = (f"{kind}_id", "valid_from", "valid_to")
    yield "update", VERSIONS[kind], names, ((g.before.id, g.before.changed_at, at) for g in gone)
    names = ("id", "witness_region_id")
    yield "update", current, names, ((s.entity.id, s.witness) for s in changed.witnesses)
    names = (
        "entity",
        "entity_id",
        "missed_seq",
        "missed_at",
        "cause",
        "from_at",
        "shown_seq",
        "last_asked_at",
    )
    lost = (
        (kind, each.id, seq, at, each.cause, each.shown.last_at, each.shown.seq, each.shown.last_asked_at)
        for each in changed.lost_sight
    )
    yield "insert", unseen, names, lost
    names = ("entity", "entity_id", "missed_seq", "until_at", "until_seq")
    again = ((kind, k.id, k.unseen.missed_seq, at, seq) for k in changed.seen_again if k.unseen)
    yield "update", unseen, names, again
    names = ("seq", "entity", "scope", "cause")
    withheld = ((seq, kind, "all" if i is None else str(i), cause) for i, cause in changed.withheld)
    yield "insert", withheld_absences, names, withheld
    names = ("entity", "scope", "missed_seq", "from_at", "proven_seq")
    doubted = ((kind, str(i), d.missed_seq, *_proven_by(d.proof.last, now)) for i, d in changed.doubted)
    yield "insert", unproven_absences, names, doubted
    ended = ("until_at", "until_seq")
    proven = ((kind, str(i), d.missed_seq, at, seq) for i, d in changed.proven)
    yield "update", unproven_absences, (*names[:3], *ended), proven
    if (last := changed.unproven_since) is not None:
        row = (kind, "all", last.seq + 1, *_proven_by(last, now), at, seq)
        yield "insert", unproven_absences, (*names, *ended), [row]


def _proven_by(last: Observation | None, now: Observation) -> tuple[datetime, int | None]:
    return (now.first_asked_at, None) if last is None else (last.last_asked_at, last.seq)
