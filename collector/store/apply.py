"""What was decided, as rows: one generic path from changes to statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Literal

import sqlalchemy as sa

from collector.database import bulk
from collector.inventory.changes import Changes, KindChanges, NewVersion, Transition
from collector.inventory.entities import Kind, Region, Sighting, values
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

Act = Literal["delete", "update", "insert"]
Write = tuple[Act, sa.Table, dict[str, Any]]
_ACTS = {"delete": bulk.delete, "update": bulk.update, "insert": bulk.insert}
"""In this order: a version closes before the next one opens."""


def apply(connection: sa.Connection, source_id: int, now: Observation, decided: Changes) -> None:
    """Write what an observation changes: all rows of one table and act together."""
    together: defaultdict[tuple[Act, sa.Table, tuple[str, ...]], list[dict[str, Any]]] = defaultdict(list)
    for act, table, row in _writes(now, decided):
        together[act, table, tuple(row)].append({"source_id": source_id} | row)
    acts = list(_ACTS)
    for act, table, names in sorted(together, key=lambda key: (acts.index(key[0]), DERIVED.index(key[1]))):
        _ACTS[act](connection, table, together[act, table, names])


def _writes(now: Observation, decided: Changes) -> Iterator[Write]:
    for kind, changed in decided.kinds.items():
        yield from _of_kind(kind, now, changed)
    for transition in decided.transitions:
        yield "insert", state_transitions, {name: getattr(transition, name) for name in _TRANSITION}
    if decided.gap is not None:
        gap = decided.gap
        yield (
            "insert",
            gaps,
            {
                "until_seq": now.seq,
                "from_at": gap.from_at,
                "until_at": now.first_at,
                "last_asked_at": gap.last_asked_at,
                "cause": gap.cause,
                "failed_polls": gap.failed_polls,
                "error": gap.error,
                "seq": gap.before.seq if gap.before else 0,
            },
        )
    for record in decided.rejected:
        row = {"position": record.position, "region_id": record.id, "reason": record.reason}
        yield "insert", rejected_records, {"seq": now.seq, **row, "payload": record.payload}
    for drift in decided.drift:
        row = {"path": drift.path, "kind": drift.kind, "detail": drift.detail}
        yield "insert", schema_drift, {**row, "first_seen_at": now.first_at, "seq": now.seq}


_TRANSITION = tuple(f.name for f in fields(Transition))


def _of_kind(kind: Kind, now: Observation, changed: KindChanges) -> Iterator[Write]:
    current, versions = CURRENT[kind], VERSIONS[kind]
    entity = {"entity": kind}
    ended = {"until_at": now.first_at, "until_seq": now.seq}
    for version in changed.versions:
        yield from _version(kind, now, version)
    for gone in changed.disappeared:
        before = gone.before
        yield (
            "update",
            current,
            {
                "id": before.id,
                "changed_at": now.first_at,
                "absent_since": now.first_at,
                "absent_not_before": gone.window.not_before,
                "seq": now.seq,
            },
        )
        yield "update", versions, _closed(kind, before.id, before.changed_at, now)
    for sighting in changed.witnesses:
        yield "update", current, {"id": sighting.entity.id, "witness_region_id": sighting.witness}
    for lost in changed.lost_sight:
        span = {"from_at": lost.shown.last_at, "missed_at": now.first_at, "cause": lost.cause}
        span |= {"shown_seq": lost.shown.seq, "last_asked_at": lost.shown.last_asked_at}
        yield "insert", unseen, {**entity, "entity_id": lost.id, "missed_seq": now.seq, **span}
    for again in changed.seen_again:
        assert again.unseen is not None  # noqa: S101 - its span was open
        key = {**entity, "entity_id": again.id, "missed_seq": again.unseen.missed_seq}
        yield "update", unseen, key | ended
    for withheld_id, cause in changed.withheld:
        scope = "all" if withheld_id is None else str(withheld_id)
        yield "insert", withheld_absences, {"seq": now.seq, **entity, "scope": scope, "cause": cause}
    for entity_id, doubt in changed.doubted:
        row = {**entity, "scope": str(entity_id), "missed_seq": doubt.missed_seq}
        yield "insert", unproven_absences, row | _proven_by(doubt.proof.last, now)
    for entity_id, doubt in changed.proven:
        row = {**entity, "scope": str(entity_id), "missed_seq": doubt.missed_seq}
        yield "update", unproven_absences, row | ended
    if changed.unproven_since is not None:
        row = {**entity, "scope": "all", "missed_seq": changed.unproven_since.seq + 1}
        yield "insert", unproven_absences, row | _proven_by(changed.unproven_since, now) | ended


def _proven_by(last: Observation | None, now: Observation) -> dict[str, Any]:
    if last is None:
        return {"from_at": now.first_asked_at, "proven_seq": None}
    return {"from_at": last.last_asked_at, "proven_seq": last.seq}


def _closed(kind: Kind, entity_id: int, valid_from: Any, now: Observation) -> dict[str, Any]:
    return {f"{kind}_id": entity_id, "valid_from": valid_from, "valid_to": now.first_at}


def _version(kind: Kind, now: Observation, version: NewVersion) -> Iterator[Write]:
    sighting, before = version.sighting, version.before
    entity_id = sighting.entity.id
    typed = dict(zip(TYPED[kind], values(sighting.entity), strict=True)) | _witness(kind, sighting)
    current = {
        "id": entity_id,
        **typed,
        "changed_at": now.first_at,
        "absent_since": None,
        "absent_not_before": None,
        "seq": now.seq,
        "content_hash": sighting.content_hash,
    }
    if before is None:
        yield "insert", CURRENT[kind], current | {"first_seen_at": now.first_at}
    else:
        yield "update", CURRENT[kind], current
        if before.is_present:
            yield "update", VERSIONS[kind], _closed(kind, entity_id, before.changed_at, now)
    yield (
        "insert",
        VERSIONS[kind],
        {
            f"{kind}_id": entity_id,
            "valid_from": now.first_at,
            "changed_fields": version.changed_fields,
            **typed,
            "seq": now.seq,
            "not_before": version.window.not_before,
            "basis": version.window.basis,
        },
    )
    if isinstance(sighting.entity, Region):
        new = set(sighting.entity.available_volume_types or ())
        was = before.entity if before else None
        old = set(was.available_volume_types or ()) if isinstance(was, Region) else set[str]()
        for name in sorted(old - new):
            yield "delete", region_volume_types, {"region_id": entity_id, "volume_type": name}
        for name in sorted(new - old):
            yield "insert", region_volume_types, {"region_id": entity_id, "volume_type": name}


def _witness(kind: Kind, sighting: Sighting) -> dict[str, Any]:
    return {} if kind == "region" else {"witness_region_id": sighting.witness}
