"""What stays of a source when its history is pruned up to an observation, the *cut*.

Facts stay that are still open at the cut, the first and the newest transition of each entity, and the observations to
which these or later decisions refer.

The same statements run in a scratch database, which ends with the cut, and in the real one, which goes on. So they
only use what was true at the cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from collector.inventory.known import Failures, Known
from collector.inventory.observation import Observation, Observer
from collector.store import observations as stored
from collector.store.gather import failures, known_before
from collector.store.tables import (
    DERIVED,
    VERSIONS,
    gaps,
    metadata,
    observations,
    observers,
    rejected_records,
    state_transitions,
    unproven_absences,
    unseen,
    withheld_absences,
)

_o = observations.c
_FACTS = tuple(table for table in DERIVED if table is not withheld_absences)


def needed(connection: sa.Connection, source_id: int, cut: int) -> tuple[set[int], tuple[Failures, ...]]:
    """The observations up to the cut that later decisions may read, and the failed polls that they count.

    The scratch database must end with the cut.
    """
    seqs = {1, cut}
    applied = 0
    for observer in _all_accesses(connection, source_id):
        known = known_before(connection, source_id, cut + 1, observer)
        seqs |= {each.seq for each in _observations_in(known)}
        # The time without proof begins with the observation after the proof.
        seqs |= {proof.last.seq + 1 for proof in known.proofs.values() if proof.last and proof.last.seq < cut}
        applied = known.applied.seq if known.applied else 0
    complete = stored.newest(connection, source_id, "ok")
    seqs |= {complete.seq} if complete else set()
    seqs |= set(_judged_by(connection, source_id))
    return seqs, failures(connection, source_id, applied, cut + 1)


def _all_accesses(connection: sa.Connection, source_id: int) -> list[Observer]:
    who = observers.c
    rows = connection.execute(
        sa.select(who.key_fingerprint, who.base_url, sa.func.min(who.auth_scheme))
        .where(who.source_id == source_id)
        .group_by(who.key_fingerprint, who.base_url)
    )
    return [Observer(*row) for row in rows]


def _observations_in(known: Known) -> Iterator[Observation]:
    proofs = [*known.proofs.values(), *(doubt.proof for doubt in known.doubts.values())]
    found = [known.applied, *known.named.values()]
    found += [each for proof in proofs for each in (proof.last, proof.to_same_access)]
    yield from (each for each in found if each is not None)


def _judged_by(connection: sa.Connection, source_id: int) -> Iterator[int]:
    """The observations that show how often suspicious absences were confirmed: see `judgement`.

    They go back to the last answer that missed nothing. If that is long ago, one answer that proves no absence is
    kept for each set of missing regions. Held answers are kept as long as they agree with the newest one to the same
    key and URL, plus one that disagrees.
    """
    who = observers.c
    rows = connection.execute(
        sa.select(_o.seq, _o.outcome, _o.missing, who.key_fingerprint, who.base_url)
        .join(observers, (who.source_id == _o.source_id) & (who.id == _o.observer_id))
        .where(_o.source_id == source_id, _o.outcome != "failed")
        .order_by(_o.seq.desc())
        .execution_options(yield_per=500)
    )
    accesses = len(_all_accesses(connection, source_id))
    newest: dict[Any, Any] = {}
    disagreed: set[Any] = set()
    seen: set[Any] = set()
    for seq, outcome, missing, *own in rows:
        key = tuple(own)
        if outcome == "held":
            seen.clear()
            yield seq
            if newest.setdefault(key, missing) != missing:
                disagreed.add(key)
        elif missing not in seen:
            seen.add(missing)
            yield seq
        if not missing or len(disagreed) == accesses:
            return


def forget(connection: sa.Connection, source_id: int, cut: Observation) -> None:
    """Delete the facts up to the cut that do not stay. What an answer could not prove is deleted with its
    observation.
    """
    at = cut.first_at
    for table in VERSIONS.values():
        _delete(connection, source_id, table, table.c.valid_from < at, table.c.valid_to <= at)
    t = state_transitions
    same = t.alias("same")
    its_own = (
        same.c.source_id == source_id,
        same.c.entity == t.c.entity,
        same.c.entity_id == t.c.entity_id,
        same.c.seq <= cut.seq,
    )
    first = sa.select(sa.func.min(same.c.seq)).where(*its_own).scalar_subquery()
    last = sa.select(sa.func.max(same.c.seq)).where(*its_own).scalar_subquery()
    _delete(connection, source_id, t, t.c.observed_at <= at, t.c.seq.not_in((first, last)))
    for table in (unseen, unproven_absences):
        _delete(connection, source_id, table, table.c.until_seq <= cut.seq)
    _delete(connection, source_id, gaps, gaps.c.until_seq <= cut.seq)
    _delete(connection, source_id, rejected_records, rejected_records.c.seq <= cut.seq)


def referred_to(connection: sa.Connection, source_id: int, cut: int) -> set[int]:
    """The observations up to the cut to which the remaining facts refer."""
    found: set[int] = set()
    for table in _FACTS:
        for name in _references(table):
            column = table.c[name]
            query = sa.select(column).where(table.c.source_id == source_id, column <= cut).distinct()
            found |= set(connection.scalars(query))
    return found


def _references(table: sa.Table) -> Iterable[str]:
    return [
        key.column_keys[1]
        for key in table.foreign_key_constraints
        if key.referred_table is observations and len(key.column_keys) == 2
    ]


def forget_observations(connection: sa.Connection, source_id: int, cut: int, keep: Collection[int]) -> None:
    """Delete the observations up to the cut, except those that stay.

    What their answers could not prove is deleted too. Queued events stay: they are whole by themselves.
    """
    for first, last in _between(sorted(keep), cut):
        for table in metadata.tables.values():
            if table not in _FACTS:
                for name in _references(table):
                    _delete(connection, source_id, table, table.c[name].between(first, last))
        _delete(connection, source_id, observations, _o.seq.between(first, last))


def _between(kept: list[int], cut: int) -> Iterator[tuple[int, int]]:
    """The ranges between the kept numbers up to the cut, as first and last."""
    for before, after in pairwise([0, *(k for k in kept if k <= cut), cut + 1]):
        if after - before > 1:
            yield before + 1, after - 1


def _delete(
    connection: sa.Connection, source_id: int, table: sa.Table, *where: sa.ColumnElement[bool]
) -> None:
    connection.execute(sa.delete(table).where(table.c.source_id == source_id, *where))
