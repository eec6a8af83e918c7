"""One kind's changes on their way into the tables: current rows, versions, unseen spans, transitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.inventory.diff import Diff, Known
from collector.inventory.entities import Kind, Region, Shown, Sighting, state_of, values
from collector.inventory.transitions import Event, Look, Transition, basis_of
from collector.store.engine import insert
from collector.store.past import Past
from collector.store.tables import CURRENT, TYPED, VERSIONS, region_volume_types, unseen, withheld_absences


@dataclass(frozen=True, slots=True)
class KindWriter:
    """One kind's changes on their way into the tables."""

    connection: sa.Connection
    source_id: int
    kind: Kind
    now: Look
    known: Mapping[int, Known]
    shown: Shown
    change: Diff
    past: Past
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

    def _note(self, event: Event, entity_id: int, first_missing_at: datetime | None = None) -> None:
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
        not_before = last.last_asked_at if last else None
        if present is None and last is not None and last.eyes != self.now.eyes:
            not_before = self._not_there_to_same_eyes(entity_id)
        other_copy = bool(present and sighting and present.witness != sighting.witness)
        self.transitions.append(
            Transition(
                entity=self.kind,
                entity_id=entity_id,
                kind=event,
                from_state=from_state,
                to_state=to_state,
                not_before=not_before,
                observed_at=self.now.first_at,
                basis=basis_of(event, last, self.now, other_copy=other_copy),
                first_missing_at=first_missing_at,
                seq=self.now.seq,
            )
        )

    def _not_there_to_same_eyes(self, entity_id: int) -> datetime | None:
        """From when on an entity may have been there, out of sight of others who looked since.

        What another key was not shown may have existed. So the window begins with the last complete answer without it
        to the eyes that see it now, and not before somebody saw it last.
        """
        own = self.past.excluding(self.kind, entity_id, same_eyes=True)
        left = self.past.asked_before_leaving(self.kind, entity_id)
        excluded = None if own is None else own.last_asked_at
        return max((t for t in (excluded, left) if t is not None), default=None)

    def _write_new(self) -> None:
        """Entities that appeared or reappeared."""
        for entity_id in self.change.appeared:
            self._note("appeared", entity_id)
        for entity_id in self.change.reappeared:
            self._note("reappeared", entity_id)
        appeared = [self.shown.sightings[i] for i in self.change.appeared]
        returned = [self.shown.sightings[i] for i in self.change.reappeared]
        first = {"first_seen_at": self.now.first_at}
        before = self._values_of(self.change.reappeared)
        insert(self.connection, CURRENT[self.kind], (self._current(s) | first for s in appeared))
        self._update_current(returned)
        self._insert_versions(appeared, {})
        self._insert_versions(returned, before)
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
        for entity_id in gone:
            span = self.known[entity_id].unseen
            self._note("disappeared", entity_id, span.missed_at if span else self.now.first_at)
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
        insert(self.connection, unseen, lost)
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
        """What an answer can't prove: the absence of what it names, and of a whole kind where it should prove that.

        A partial or held answer proves no absence anyway.
        """
        scopes = [(str(i), "not_given") for i in self.change.not_excluded]
        if self.shown.withheld and self.now.outcome == "ok":
            scopes = [("all", self.shown.withheld)]
        row = {"source_id": self.source_id, "seq": self.now.seq, "entity": self.kind}
        insert(self.connection, withheld_absences, [row | {"scope": s, "cause": c} for s, c in scopes])

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
        insert(
            self.connection,
            VERSIONS[self.kind],
            (self._version(s, before.get(s.entity.id)) for s in sightings),
        )

    def _version(self, sighting: Sighting, old: Mapping[str, Any] | None) -> dict[str, Any]:
        new = values(sighting.entity)
        return {
            **new,
            "source_id": self.source_id,
            f"{self.kind}_id": sighting.entity.id,
            "valid_from": self.now.first_at,
            "changed_fields": None if old is None else tuple(sorted(n for n in new if new[n] != old[n])),
            **({} if self.kind == "region" else {"witness_region_id": sighting.witness}),
            "seq": self.now.seq,
        }

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
        insert(
            self.connection,
            table,
            (
                {"source_id": self.source_id, "region_id": r.id, "volume_type": name}
                for r in regions
                for name in r.available_volume_types or ()
            ),
        )
