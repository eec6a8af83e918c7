"""Earlier observations that windows refer to: who confirmed what, and when."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

import sqlalchemy as sa

from collector.inventory.diff import Known
from collector.inventory.entities import Kind
from collector.inventory.transitions import Look
from collector.store import evidence
from collector.store.tables import observations, observers, state_transitions, withheld_absences


class Past:
    """Earlier observations that windows refer to, each read once."""

    def __init__(self, connection: sa.Connection, source_id: int, now: Look) -> None:
        self._connection, self._source_id, self._now = connection, source_id, now
        self._by_seq: dict[int, Look] = {}
        self._excluding: dict[tuple[Kind, bool, int | None], Look | None] = {}

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
        """Entities that some answer named without showing them: few, if any."""
        w = withheld_absences.c
        rows = self._connection.execute(
            sa.select(w.entity, w.scope).where(w.source_id == self._source_id, w.scope != "all").distinct()
        )
        return frozenset((row.entity, row.scope) for row in rows)

    def excluding(self, kind: Kind, entity_id: int, *, same_eyes: bool = False) -> Look | None:
        """The last complete observation that proves that this entity, which is not present, was absent.

        `same_eyes`: the last one of those who look now.
        """
        named = (kind, str(entity_id)) in self._named
        key = (kind, same_eyes, entity_id if named else None)
        if key not in self._excluding:
            self._excluding[key] = self._find_excluding(kind, entity_id, same_eyes)
        return self._excluding[key]

    def _find_excluding(self, kind: Kind, entity_id: int, same_eyes: bool) -> Look | None:
        o, w = observations.c, withheld_absences.c
        withheld = sa.exists().where(
            w.source_id == o.source_id,
            w.seq == o.seq,
            w.entity == kind,
            w.scope.in_(("all", str(entity_id))),
        )
        query = (
            sa.select(o.seq)
            .where(o.source_id == self._source_id, o.seq < self._now.seq, o.outcome == "ok", ~withheld)
            .order_by(o.seq.desc())
            .limit(1)
        )
        if same_eyes:
            query = query.where(o.observer_id.in_(self._own_observers))
        seq = self._connection.scalar(query)
        return None if seq is None else evidence.look(self._connection, self._source_id, seq)

    @cached_property
    def _own_observers(self) -> list[int]:
        """Ids of the observers with the key and the URL of this observation, whatever their scheme."""
        who = observers.c
        key_fingerprint, base_url = self._now.eyes
        query = sa.select(who.id).where(
            who.source_id == self._source_id,
            who.key_fingerprint == key_fingerprint,
            who.base_url == base_url,
        )
        return list(self._connection.scalars(query))

    def asked_before_leaving(self, kind: Kind, entity_id: int) -> datetime | None:
        """When the last poll that showed an entity, before it disappeared, was asked; None where it never was."""
        t = state_transitions.c
        return self._connection.scalar(
            sa.select(t.not_before)
            .where(
                t.source_id == self._source_id,
                t.entity == kind,
                t.entity_id == entity_id,
                t.kind == "disappeared",
            )
            .order_by(t.seq.desc())
            .limit(1)
        )
