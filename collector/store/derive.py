"""From an observation to the derived tables: the one code path of polling and rebuilding.

    1. what is known: current tables and open unseen spans, by content hash
    2. what changed: `inventory.diff`, for each kind
    3. when, and how sure: the window and basis of each transition
    4. write: versions, current tables, transitions, unseen spans, withheld absences, rejects, drift

It reads of this observation only what stood in it when it was inserted, of earlier ones the final fields;
so it gives the same rows whenever it runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from collector.gcore.payload import MAX_REJECTED
from collector.inventory.diff import Diff, Known, Span, diff
from collector.inventory.entities import Drift, Kind, Listing, Region, Shown, Sighting, state_of, values
from collector.inventory.transitions import Event, Look, Transition, basis_of
from collector.store import evidence
from collector.store.tables import (
    CURRENT,
    TYPED,
    VERSIONS,
    observations,
    region_volume_types,
    rejected_records,
    schema_drift,
    state_transitions,
    unseen,
    withheld_absences,
)

MAX_DRIFT = 100
"""So many rows of drift for the fields of one place, and so many for one field."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What an observation changed."""

    transitions: tuple[Transition, ...] = ()
    versions: int = 0
    unseen: int = 0
    """Entities that are present and not shown, of all kinds."""


def known_of(connection: sa.Connection, source_id: int, kind: Kind) -> dict[int, Known]:
    """Everything known of one kind, without its content."""
    table = CURRENT[kind].c
    spans = {
        row.entity_id: Span(row.shown_seq, row.missed_seq)
        for row in connection.execute(
            sa.select(unseen.c.entity_id, unseen.c.shown_seq, unseen.c.missed_seq).where(
                unseen.c.source_id == source_id, unseen.c.entity == kind, unseen.c.until_at.is_(None)
            )
        )
    }
    columns = [table.id, table.content_hash, table.absent_since.is_(None)]
    columns += [table.state if "state" in table else sa.null(), table.get("witness_region_id", sa.null())]
    rows = connection.execute(sa.select(*columns).where(table.source_id == source_id))
    return {
        entity_id: Known(entity_id, content, state, witness, bool(present), spans.get(entity_id))
        for entity_id, content, present, state, witness in rows
    }


def derive(
    connection: sa.Connection,
    source_id: int,
    now: Look,
    listing: Listing,
    known_regions: Mapping[int, Known] | None = None,
) -> Derived:
    """Apply one observation. `known_regions`: as read already in this transaction, if it was."""
    past = _Past(connection, source_id, now)
    transitions: list[Transition] = []
    versions = still_unseen = 0
    for kind, shown in listing.shown.items():
        known = (
            known_regions
            if kind == "region" and known_regions is not None
            else known_of(connection, source_id, kind)
        )
        change = diff(known, shown, now.outcome)
        step = _Kind(connection, source_id, kind, now, known, shown, change, past)
        transitions += step.apply()
        versions += len(change.appeared) + len(change.reappeared) + len(change.changed)
        still_unseen += sum(k.present and k.id not in shown.sightings for k in known.values())
        still_unseen -= len(change.disappeared)
    _insert(connection, state_transitions, [{"source_id": source_id, **asdict(t)} for t in transitions])
    _write_rejected(connection, source_id, now.seq, listing)
    drift = new_drift(connection, source_id, listing)
    at = {"source_id": source_id, "first_seen_at": now.first_at, "seq": now.seq}
    _insert(connection, schema_drift, [{**asdict(d), **at} for d in drift])
    return Derived(tuple(transitions), versions, still_unseen)


class _Past:
    """Earlier observations that windows refer to, each read once."""

    def __init__(self, connection: sa.Connection, source_id: int, now: Look) -> None:
        self._connection, self._source_id, self._now = connection, source_id, now
        self._by_seq: dict[int, Look] = {}
        self._excluding: dict[tuple[Kind, bool, int], Look | None] = {}

    @cached_property
    def applied(self) -> Look | None:
        """The last observation before this one whose records were applied."""
        return evidence.newest_applied_before(self._connection, self._source_id, self._now.seq)

    def confirming(self, known: Known) -> Look:
        """The observation that last showed this entity, which is present."""
        if known.unseen is None:
            assert self.applied is not None  # noqa: S101 - present: some observation showed it
            return self.applied
        seq = known.unseen.shown_seq
        if seq not in self._by_seq:
            self._by_seq[seq] = evidence.look(self._connection, self._source_id, seq)
        return self._by_seq[seq]

    @cached_property
    def _named(self) -> frozenset[tuple[str, str]]:
        """Entities that some complete answer named without showing them: few, if any."""
        w = withheld_absences.c
        rows = self._connection.execute(
            sa.select(w.entity, w.scope).where(w.source_id == self._source_id, w.scope != "all").distinct()
        )
        return frozenset((row.entity, row.scope) for row in rows)

    def excluding(self, kind: Kind, entity_id: int) -> Look | None:
        """The last complete observation that proves that this entity, which is not present, was absent."""
        named = (kind, str(entity_id)) in self._named
        key = (kind, named, entity_id if named else 0)
        if key not in self._excluding:
            self._excluding[key] = self._find_excluding(kind, entity_id)
        return self._excluding[key]

    def _find_excluding(self, kind: Kind, entity_id: int) -> Look | None:
        o, w = observations.c, withheld_absences.c
        withheld = sa.exists().where(
            w.source_id == o.source_id,
            w.seq == o.seq,
            w.entity == kind,
            w.scope.in_(("all", str(entity_id))),
        )
        seq = self._connection.scalar(
            sa.select(o.seq)
            .where(o.source_id == self._source_id, o.seq < self._now.seq, o.outcome == "ok", ~withheld)
            .order_by(o.seq.desc())
            .limit(1)
        )
        return None if seq is None else evidence.look(self._connection, self._source_id, seq)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind's changes on their way into the tables."""

    connection: sa.Connection
    source_id: int
    kind: Kind
    now: Look
    known: Mapping[int, Known]
    shown: Shown
    change: Diff
    past: _Past
    transitions: list[Transition] = field(default_factory=list)

    def apply(self) -> list[Transition]:
        """Write everything of this kind but transitions, which are returned."""
        self._write_new()
        self._write_changed()
        self._write_disappeared()
        self._write_moved_witnesses()
        self._write_unseen()
        self._write_withheld()
        return self.transitions

    def _note(self, event: Event, entity_id: int, **extra: Any) -> None:
        """A transition, if the kind has states and the state or presence changed."""
        if self.kind == "metrics_database":
            return
        known, sighting = self.known.get(entity_id), self.shown.sightings.get(entity_id)
        present = known if known is not None and known.present else None
        from_state = present.state if present else None
        to_state = state_of(sighting.entity) if sighting else None
        if event == "changed" and from_state == to_state:
            return
        last = self.past.confirming(present) if present else self.past.excluding(self.kind, entity_id)
        other_copy = bool(present and sighting and present.witness != sighting.witness)
        self.transitions.append(
            Transition(
                entity=self.kind,
                entity_id=entity_id,
                kind=event,
                from_state=from_state,
                to_state=to_state,
                not_before=last.last_asked_at if last else None,
                observed_at=self.now.first_at,
                basis=basis_of(event, last, self.now, other_copy=other_copy),
                first_missing_at=extra.get("first_missing_at"),
                seq=self.now.seq,
            )
        )

    def _write_new(self) -> None:
        """Entities that appeared or reappeared."""
        for entity_id in self.change.appeared:
            self._note("appeared", entity_id)
        for entity_id in self.change.reappeared:
            self._note("reappeared", entity_id)
        appeared = [self.shown.sightings[i] for i in self.change.appeared]
        returned = [self.shown.sightings[i] for i in self.change.reappeared]
        first = {"first_seen_at": self.now.first_at}
        _insert(self.connection, CURRENT[self.kind], [self._current(s) | first for s in appeared])
        self._update_current(returned)
        self._insert_versions(appeared, {})
        self._insert_versions(returned, self._values_of(self.change.reappeared))
        self._write_volume_types(appeared + returned)

    def _write_changed(self) -> None:
        changed = [self.shown.sightings[i] for i in self.change.changed]
        before = self._values_of(self.change.changed)
        for entity_id in self.change.changed:
            self._note("changed", entity_id)
        self._close_versions(self.change.changed)
        self._update_current(changed)
        self._insert_versions(changed, before)
        self._write_volume_types(changed)

    def _write_disappeared(self) -> None:
        gone = self.change.disappeared
        missed = self._first_missed(gone)
        for entity_id in gone:
            self._note("disappeared", entity_id, first_missing_at=missed.get(entity_id, self.now.first_at))
        self._close_versions(gone)
        table = CURRENT[self.kind]
        rows = [
            {
                "key": i,
                "absent_since": self.now.first_at,
                "changed_at": self.now.first_at,
                "seq": self.now.seq,
            }
            for i in gone
        ]
        self._update(table, rows)

    def _first_missed(self, gone: Iterable[int]) -> dict[int, Any]:
        ids = [i for i in gone if self.known[i].unseen]
        if not ids:
            return {}
        rows = self.connection.execute(
            sa.select(unseen.c.entity_id, unseen.c.missed_at).where(
                unseen.c.source_id == self.source_id,
                unseen.c.entity == self.kind,
                unseen.c.until_at.is_(None),
            )
        )
        return {row.entity_id: row.missed_at for row in rows if row.entity_id in set(ids)}

    def _write_moved_witnesses(self) -> None:
        sightings = self.shown.sightings
        rows = [{"key": i, "witness_region_id": sightings[i].witness} for i in self.change.witness_moved]
        self._update(CURRENT[self.kind], rows)

    def _write_unseen(self) -> None:
        lost = []
        for entity_id, cause in self.change.lost_sight:
            shown = self.past.confirming(self.known[entity_id])
            lost.append(
                {
                    "source_id": self.source_id,
                    "entity": self.kind,
                    "entity_id": entity_id,
                    "missed_seq": self.now.seq,
                    "from_at": shown.last_at,
                    "missed_at": self.now.first_at,
                    "cause": cause,
                    "shown_seq": shown.seq,
                }
            )
        _insert(self.connection, unseen, lost)
        ended = [i for i in self.change.disappeared if self.known[i].unseen] + list(self.change.shown_again)
        if ended:
            self.connection.execute(
                sa.update(unseen)
                .where(
                    unseen.c.source_id == self.source_id,
                    unseen.c.entity == self.kind,
                    unseen.c.entity_id == sa.bindparam("key"),
                    unseen.c.until_at.is_(None),
                )
                .values(until_at=self.now.first_at, until_seq=self.now.seq),
                [{"key": i} for i in ended],
            )

    def _write_withheld(self) -> None:
        """What an `ok` answer can't prove; others prove no absence at all."""
        if self.now.outcome != "ok":
            return
        scopes = [(str(i), "not_given") for i in self.change.not_excluded]
        if self.shown.withheld:
            scopes = [("all", self.shown.withheld)]
        row = {"source_id": self.source_id, "seq": self.now.seq, "entity": self.kind}
        _insert(self.connection, withheld_absences, [row | {"scope": s, "cause": c} for s, c in scopes])

    # Rows

    def _current(self, sighting: Sighting) -> dict[str, Any]:
        witness = {} if self.kind == "region" else {"witness_region_id": sighting.witness}
        return {
            "source_id": self.source_id,
            "id": sighting.entity.id,
            **values(sighting.entity),
            **witness,
            "changed_at": self.now.first_at,
            "absent_since": None,
            "seq": self.now.seq,
            "content_hash": sighting.content_hash,
        }

    def _update_current(self, sightings: Iterable[Sighting]) -> None:
        rows = [self._current(s) for s in sightings]
        for row in rows:
            row["key"] = row.pop("id")
            del row["source_id"]
        self._update(CURRENT[self.kind], rows)

    def _update(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            names = [name for name in rows[0] if name != "key"]
            self.connection.execute(
                sa.update(table)
                .where(table.c.source_id == self.source_id, table.c.id == sa.bindparam("key"))
                .values({name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}),
                [{"key" if name == "key" else f"new_{name}": v for name, v in row.items()} for row in rows],
            )

    def _values_of(self, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The typed columns of entities as they stand now."""
        table = CURRENT[self.kind]
        wanted = list(ids)
        found: dict[int, dict[str, Any]] = {}
        for start in range(0, len(wanted), 500):
            rows = self.connection.execute(
                sa.select(table).where(
                    table.c.source_id == self.source_id, table.c.id.in_(wanted[start : start + 500])
                )
            )
            found |= {row.id: {name: getattr(row, name) for name in TYPED[self.kind]} for row in rows}
        return found

    def _close_versions(self, ids: Iterable[int]) -> None:
        table = VERSIONS[self.kind]
        rows = [{"key": i} for i in ids]
        if rows:
            self.connection.execute(
                sa.update(table)
                .where(
                    table.c.source_id == self.source_id,
                    table.c[f"{self.kind}_id"] == sa.bindparam("key"),
                    table.c.valid_to.is_(None),
                )
                .values(valid_to=self.now.first_at),
                rows,
            )

    def _insert_versions(
        self, sightings: Iterable[Sighting], before: Mapping[int, Mapping[str, Any]]
    ) -> None:
        rows = []
        for sighting in sightings:
            entity_id, new = sighting.entity.id, values(sighting.entity)
            old = before.get(entity_id)
            row = {
                "source_id": self.source_id,
                f"{self.kind}_id": entity_id,
                "valid_from": self.now.first_at,
                "changed_fields": None if old is None else tuple(sorted(n for n in new if new[n] != old[n])),
                **({} if self.kind == "region" else {"witness_region_id": sighting.witness}),
                "seq": self.now.seq,
            }
            rows.append(new | row)
        _insert(self.connection, VERSIONS[self.kind], rows)

    def _write_volume_types(self, sightings: Iterable[Sighting]) -> None:
        regions = [s.entity for s in sightings if isinstance(s.entity, Region)]
        if not regions:
            return
        table = region_volume_types
        self.connection.execute(
            sa.delete(table).where(
                table.c.source_id == self.source_id, table.c.region_id == sa.bindparam("key")
            ),
            [{"key": r.id} for r in regions],
        )
        rows = [
            {"source_id": self.source_id, "region_id": r.id, "volume_type": name}
            for r in regions
            for name in r.available_volume_types or ()
        ]
        _insert(self.connection, table, rows)


def new_drift(connection: sa.Connection, source_id: int, listing: Listing) -> list[Drift]:
    """Drift of an answer that is not on record yet, in order, as far as there is room for it."""
    if not listing.drift:
        return []
    d = schema_drift.c
    rows = connection.execute(sa.select(d.path, d.kind, d.detail).where(d.source_id == source_id))
    on_record = {Drift(*row) for row in rows}
    room = Counter(place for drift in on_record for place in _places(drift))
    new = []
    for drift in sorted(listing.drift - on_record):
        if all(room[place] < MAX_DRIFT for place in _places(drift)):
            new.append(drift)
            room.update(_places(drift))
    return new


def _places(drift: Drift) -> tuple[tuple[str, str], ...]:
    """What is counted: the field itself, and for unknown fields the object that they stand in."""
    own = (drift.path, "")
    if drift.kind != "unknown_field":
        return (own,)
    return (own, (drift.path.rpartition(".")[0], "unknown_field"))


def _write_rejected(connection: sa.Connection, source_id: int, seq: int, listing: Listing) -> None:
    rows = [
        {
            "source_id": source_id,
            "seq": seq,
            "position": r.position,
            "region_id": r.id,
            "reason": r.reason,
            "payload": r.payload,
        }
        for r in listing.rejected[:MAX_REJECTED]
    ]
    _insert(connection, rejected_records, rows)


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(table), rows)


def at_insert(row: evidence.OpenRow) -> Look:
    """The newest observation as `derive` sees it."""
    return Look(
        seq=row.seq,
        outcome=row.outcome,
        first_at=row.first_at,
        last_at=row.first_at,
        last_asked_at=row.first_at,
        expected_interval=row.expected_interval,
        observer_id=row.observer_id,
    )


def without_finals(seen: Look) -> Look:
    """An observation from the store as it stood when it was inserted."""
    return replace(seen, last_at=seen.first_at, last_asked_at=seen.first_at)
