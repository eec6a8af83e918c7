"""Turns what was decided into rows: one generic path from changes to statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import Any

import sqlalchemy as sa

from collector.database import bulk
from collector.inventory.changes import Changes, KindChanges, NewVersion, Transition
from collector.inventory.entities import NESTED, Kind, Region
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

Write = tuple[bulk.Act, sa.Table, bulk.Columns]
"""An act on a table, with the rows by column; source_id is added later."""
_ACTS: Sequence[bulk.Act] = ("delete", "update", "insert")
"""The order matters: a version closes before the next one opens."""
_ID = "sighting.entity.id"


def apply(connection: sa.Connection, source_id: int, now: Observation, decided: Changes) -> None:
    """Write what an observation changes."""
    writes = sorted(_writes(now, decided), key=lambda each: (_ACTS.index(each[0]), DERIVED.index(each[1])))
    for act, table, columns in writes:
        if columns:
            bulk.write(connection, act, table, {"source_id": repeat(source_id), **columns})


def _writes(now: Observation, decided: Changes) -> Iterator[Write]:
    for kind, changed in decided.kinds.items():
        yield from _versions(kind, now, changed.versions)
        yield from _of_kind(kind, now, changed)
    names = Transition.__struct_fields__
    yield "insert", state_transitions, _columns(decided.transitions, {}, **{name: name for name in names})
    if (gap := decided.gap) is not None:
        same = {"until_seq": now.seq, "until_at": now.first_at, "seq": gap.before.seq if gap.before else 0}
        names = ("from_at", "last_asked_at", "cause", "failed_polls", "error")
        yield "insert", gaps, _columns([gap], same, **{name: name for name in names})
    same = {"seq": now.seq}
    rejected = _columns(
        decided.rejected, same, position="position", region_id="id", reason="reason", payload="payload"
    )
    yield "insert", rejected_records, rejected
    same = {"first_seen_at": now.first_at, "seq": now.seq}
    yield "insert", schema_drift, _columns(decided.drift, same, path="path", kind="kind", detail="detail")


def _columns(items: Iterable[Any], same: Mapping[str, Any], **attributes: str) -> dict[str, Iterable[Any]]:
    """Columns with one row per item: values that are the same in all rows, and attributes (also nested ones)."""
    each = {name: map(attrgetter(attribute), items) for name, attribute in attributes.items()}
    return {**{name: repeat(value) for name, value in same.items()}, **each}


def _rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, Iterable[Any]]:
    """The columns of a few rows."""
    all_rows = list(rows)
    return {name: [row[name] for row in all_rows] for name in all_rows[0]} if all_rows else {}


def _versions(kind: Kind, now: Observation, new: Sequence[NewVersion]) -> Iterator[Write]:
    """Entities that are new or have other values. For known ones, only the differences are written."""
    key, at = f"{kind}_id", now.first_at
    window = {"not_before": "window.not_before", "basis": "window.basis"}
    opened = _columns(
        new, {"valid_from": at, "seq": now.seq}, changed_fields="changed_fields", **{key: _ID}, **window
    )
    yield "insert", VERSIONS[kind], opened | _typed(kind, new, TYPED[kind])
    present = [v.before for v in new if v.before and v.before.is_present]
    closed = _columns(present, {"valid_to": at}, **{key: "id"}, valid_from="changed_at")
    yield "update", VERSIONS[kind], closed
    alike: defaultdict[tuple[str, ...] | None, list[NewVersion]] = defaultdict(list)
    for version in new:
        alike[version.changed_fields].append(version)
    for changed, some in alike.items():
        current = _columns(some, {"changed_at": at, "seq": now.seq}, id=_ID, content_hash="content_hash")
        if changed is None:  # it was never seen before
            first = current | _typed(kind, some, TYPED[kind]) | {"first_seen_at": repeat(at)}
            yield "insert", CURRENT[kind], first
        else:
            is_present = {"absent_since": repeat(None), "absent_not_before": repeat(None)}
            yield "update", CURRENT[kind], current | _typed(kind, some, changed) | is_present
    if kind == "region":
        yield from _volume_types(new)


def _typed(kind: Kind, new: Sequence[NewVersion], names: Sequence[str]) -> dict[str, Iterable[Any]]:
    """The columns of typed values, and of the witness where there is one."""
    sightings = [version.sighting for version in new]
    columns = _columns([each.entity for each in sightings], {}, **{name: name for name in names})
    return columns | _columns(sightings, {}, witness_region_id="witness") if kind in NESTED else columns


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
    yield "delete", region_volume_types, _pairs("region_id", "volume_type", gone)
    yield "insert", region_volume_types, _pairs("region_id", "volume_type", come)


def _pairs(one: str, other: str, rows: Sequence[tuple[Any, Any]]) -> dict[str, Iterable[Any]]:
    return {one: map(itemgetter(0), rows), other: map(itemgetter(1), rows)}


def _of_kind(kind: Kind, now: Observation, changed: KindChanges) -> Iterator[Write]:
    """Entities that are not shown, shown again, or shown in another region's copy."""
    at, seq, key = now.first_at, now.seq, f"{kind}_id"
    gone = changed.disappeared
    same: dict[str, Any] = {"changed_at": at, "absent_since": at, "seq": seq}
    absent = _columns(gone, same, id="before.id", absent_not_before="window.not_before")
    yield "update", CURRENT[kind], absent
    closed = _columns(gone, {"valid_to": at}, **{key: "before.id"}, valid_from="before.changed_at")
    yield "update", VERSIONS[kind], closed
    if kind in NESTED:
        moved = _columns(changed.witnesses, {}, id="entity.id", witness_region_id="witness")
        yield "update", CURRENT[kind], moved
    lost = _columns(
        changed.lost_sight,
        {"entity": kind, "missed_seq": seq, "missed_at": at},
        entity_id="id",
        cause="cause",
        from_at="shown.last_at",
        shown_seq="shown.seq",
        last_asked_at="shown.last_asked_at",
    )
    yield "insert", unseen, lost
    same = {"entity": kind, "until_at": at, "until_seq": seq}
    again = _columns(changed.seen_again, same, entity_id="id", missed_seq="unseen.missed_seq")
    yield "update", unseen, again
    yield (
        "insert",
        withheld_absences,
        _rows(
            {"seq": seq, "entity": kind, "scope": "all" if i is None else str(i), "cause": cause}
            for i, cause in changed.withheld
        ),
    )
    yield (
        "insert",
        unproven_absences,
        _rows(
            {"entity": kind, "scope": str(i), "missed_seq": doubt.missed_seq}
            | _proven_by(doubt.proof.last, now)
            for i, doubt in changed.doubted
        ),
    )
    yield (
        "update",
        unproven_absences,
        _rows(
            {
                "entity": kind,
                "scope": str(i),
                "missed_seq": doubt.missed_seq,
                "until_at": at,
                "until_seq": seq,
            }
            for i, doubt in changed.proven
        ),
    )
    if (last := changed.unproven_since) is not None:
        row = {"entity": kind, "scope": "all", "missed_seq": last.seq + 1, "until_at": at, "until_seq": seq}
        yield "insert", unproven_absences, _rows([row | _proven_by(last, now)])


def _proven_by(last: Observation | None, now: Observation) -> dict[str, Any]:
    if last is None:
        return {"from_at": now.first_asked_at, "proven_seq": None}
    return {"from_at": last.last_asked_at, "proven_seq": last.seq}
