"""Earlier observations that windows refer to: who confirmed what, and when."""

from __future__ import annotations

from functools import cached_property

import sqlalchemy as sa

from collector.inventory.diff import Known
from collector.inventory.entities import Kind
from collector.inventory.transitions import Look
from collector.store import evidence
from collector.store.tables import observations, withheld_absences


class Past:
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
