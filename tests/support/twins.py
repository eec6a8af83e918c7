"""A source that is polled twice, under two names: the history of one stays whole, that of the other is pruned."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa

from collector.audit.verify import verify
from collector.errors import ClockError
from collector.poll import PollResult
from collector.store import pruning
from collector.store.pruning import Pruned
from collector.store.tables import DERIVED
from tests.support.history import History, Row

_numbers = itertools.count(1)


class Twins(History):
    """Polls reach both. What is asked of this one is asked of the whole history."""

    def __init__(self, engine: sa.Engine, name: str | None = None) -> None:
        name = name or f"twin-{next(_numbers)}"
        super().__init__(engine, name=name)
        self.pruned = History(engine, name=f"{name}-pruned")
        self.cut = 0

    def poll(self, said: Any, **how: Any) -> PollResult:
        how.setdefault("at", self.at + self.source.interval.total_seconds())
        try:
            result = super().poll(said, **how)
        except ClockError:
            with pytest.raises(ClockError):
                self.pruned.poll(said, **how)
            raise
        other = self.pruned.poll(said, **how)
        assert (other.outcome, other.recorded.seq) == (result.outcome, result.recorded.seq)
        return result

    def change(self, **changes: Any) -> None:
        super().change(**changes)
        self.pruned.change(**changes)

    def restart(self, **changes: Any) -> None:
        super().restart(**changes)
        self.pruned.restart()

    def prune(self, share: float) -> Pruned | None:
        """Prune one of them, up to an observation at this share of the history."""
        rows = self.rows("observations", source_id=self._id(self))
        if not rows:
            return None
        row = rows[min(int(len(rows) * share), len(rows) - 1)]
        done = pruning.prune(
            self.engine,
            self.pruned.source.name,
            row["first_at"],
            made_at=rows[-1]["last_at"],
            made_by="a test",
        )
        self.cut = done.begins.begins_seq if done.begins else 0
        return done

    def check(self) -> None:
        """What stays, and all that came later, is as in the whole history; it verifies, and can be derived again."""
        if not self.rows("observations", source_id=self._id(self)):
            return
        observations = {row["seq"]: row for row in self.rows("observations", source_id=self._id(self))}
        for table in ("observers", *(t.name for t in DERIVED)):
            whole = [_plain(row) for row in self.rows(table, source_id=self._id(self))]
            if self.cut:
                whole = [row for row in whole if self._stays(table, row, observations[self.cut], whole)]
            rows = [_plain(row) for row in self.rows(table, source_id=self._id(self.pruned))]
            if table == "withheld_absences":  # those of observations that stay
                rows = [row for row in rows if row["seq"] > self.cut]
            assert rows == whole, table
        found = verify(self.engine, self.pruned.source.name)
        assert found.verdict == "good", found.breaks
        assert self.pruned.rebuilt().different == 0

    def _stays(self, table: str, row: Row, cut: Row, rows: list[Row]) -> bool:
        if table.endswith("_versions"):
            return row["valid_to"] is None or row["valid_to"] > cut["first_at"]
        if table == "state_transitions":
            own = [r["seq"] for r in rows if all(r[n] == row[n] for n in ("entity", "entity_id"))]
            old = [seq for seq in own if seq <= cut["seq"]]
            return row["seq"] > cut["seq"] or row["seq"] in (old[0], old[-1])
        if table in ("unseen", "unproven_absences", "gaps"):
            return row["until_seq"] is None or row["until_seq"] > cut["seq"]
        if table in ("rejected_records", "withheld_absences"):
            return bool(row["seq"] > cut["seq"])
        return True

    def _id(self, history: History) -> int:
        found = self.rows("sources", name=history.source.name)
        return int(found[0]["id"]) if found else 0


def _plain(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "source_id"}
