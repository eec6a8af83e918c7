"""Reads what is known about a source before an observation: exactly what the decisions about it may need.

The writer remembers it between polls. It is read when a process starts, when another key or URL is used, after an
error, and after others changed what was recorded or derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import sqlalchemy as sa
from msgspec import structs

from collector.inventory.entities import ENTITIES, NESTED, Drift, Entity, Kind, Listing
from collector.inventory.known import Doubt, Failures, Known, KnownEntity, Proof, Unseen
from collector.inventory.observation import Observation, Observer
from collector.store import observations as stored
from collector.store.amendments import beginning
from collector.store.snapshots import carried_failures
from collector.store.tables import (
    CURRENT,
    TYPED,
    observations,
    observers,
    schema_drift,
    unproven_absences,
    unseen,
    withheld_absences,
)

_o = observations.c


def gather(
    connection: sa.Connection,
    source_id: int,
    seq: int,
    observer: Observer,
    listing: Listing,
    remembered: Known | None = None,
    newest: Observation | None = None,
) -> Known:
    """What is known before observation `seq`, in which this observer gets this listing.

    `remembered`: what was known after the last applied observation, if the same key and URL are used now. `newest`:
    the observation before, if its counters may have been lost with SQLite's write-ahead log.
    """
    known = remembered or known_before(connection, source_id, seq, observer)
    known = known.with_final(newest) if newest else known
    after = known.applied.seq if known.applied else 0
    if after < seq - 1:
        failed = failures(connection, source_id, after, seq, newest)
        first = None if known.applied else stored.by_seq(connection, source_id, [1])[1]
        known = replace(known, failures=failed, first=first)
    return replace(known, entities=_with_values(connection, source_id, known, listing))


def known_before(connection: sa.Connection, source_id: int, seq: int, observer: Observer) -> Known:
    """What the database knows before an observation by this observer."""
    applied = stored.newest(connection, source_id, "applied", before=seq)
    if applied is None:
        return Known()
    finder = _Finder(connection, source_id, seq, observer)
    d = schema_drift.c
    drift = connection.execute(sa.select(d.path, d.kind, d.detail).where(d.source_id == source_id))
    proofs = finder.proofs(applied)
    return Known(
        applied=applied,
        entities=finder.entities(),
        proofs=proofs,
        doubts=finder.doubts(),
        named=finder.named(proofs),
        drift=frozenset(Drift(*row) for row in drift),
    )


class _Finder:
    """Finds what is known before an observation, each part once."""

    def __init__(self, connection: sa.Connection, source_id: int, seq: int, observer: Observer) -> None:
        self._connection, self._source_id, self._seq, self._observer = connection, source_id, seq, observer

    def entities(self) -> Mapping[Kind, Mapping[int, KnownEntity]]:
        u = unseen.c
        spans = self._connection.execute(
            sa.select(u.entity, u.entity_id, u.shown_seq, u.missed_seq, u.missed_at).where(
                u.source_id == self._source_id, u.until_at.is_(None)
            )
        ).all()
        shown = stored.by_seq(self._connection, self._source_id, (span.shown_seq for span in spans))
        lost = {
            (span.entity, span.entity_id): Unseen(shown[span.shown_seq], span.missed_seq, span.missed_at)
            for span in spans
        }
        return {kind: self._of_kind(kind, lost) for kind in ENTITIES}

    def _of_kind(self, kind: Kind, lost: Mapping[tuple[str, int], Unseen]) -> Mapping[int, KnownEntity]:
        table, no_column = CURRENT[kind].c, sa.null()
        rows = self._connection.execute(
            sa.select(
                table.id,
                table.content_hash,
                table.changed_at,
                table.absent_since,
                table.absent_not_before,
                (table.state if "state" in table else no_column).label("state"),
                (table.witness_region_id if kind in NESTED else no_column).label("witness_region_id"),
            ).where(table.source_id == self._source_id)
        )
        return {
            row.id: KnownEntity(
                id=row.id,
                content_hash=row.content_hash,
                state=row.state,
                witness=row.witness_region_id,
                changed_at=row.changed_at,
                is_present=row.absent_since is None,
                absent_not_before=row.absent_not_before,
                unseen=lost.get((kind, row.id)),
            )
            for row in rows
        }

    def proofs(self, applied: Observation) -> Mapping[Kind, Proof]:
        """The last complete answers that prove absences, by kind. For most kinds that is the last complete answer."""
        complete: Observation | None = applied
        if applied.outcome != "ok":
            complete = stored.newest(self._connection, self._source_id, "ok", before=self._seq)
        if complete is None:
            return {kind: Proof() for kind in ENTITIES}
        w = withheld_absences.c
        withheld = self._connection.scalars(
            sa.select(w.entity).where(w.source_id == self._source_id, w.seq == complete.seq, w.scope == "all")
        ).all()
        known = {kind: None if kind in withheld else complete for kind in ENTITIES}
        return {kind: self._proof(kind, known=last) for kind, last in known.items()}

    def named(self, proofs: Mapping[Kind, Proof]) -> Mapping[tuple[Kind, int], Observation | None]:
        """Ids that the last complete answer to the current key and URL named, if another observer polled since."""
        w = withheld_absences.c
        found: dict[tuple[Kind, int], Observation | None] = {}
        for kind, proof in proofs.items():
            own = proof.to_same_access
            if own is None or own is proof.last:
                continue
            scopes = self._connection.scalars(
                sa.select(w.scope).where(
                    w.source_id == self._source_id, w.seq == own.seq, w.entity == kind, w.scope != "all"
                )
            )
            found |= {
                (kind, int(i)): self._last_proof(kind, int(i), own.seq, to_same_access=True) for i in scopes
            }
        return found

    def _proof(
        self,
        kind: Kind,
        entity_id: int | None = None,
        until_seq: int | None = None,
        known: Observation | None = None,
    ) -> Proof:
        """The last complete answers that prove the absence of this entity, or of anything that they don't list."""
        until = self._seq - 1 if until_seq is None else until_seq
        last = known or self._last_proof(kind, entity_id, until)
        if last is None or last.observer.access == self._observer.access:
            return Proof(last, last)
        return Proof(last, self._last_proof(kind, entity_id, until, to_same_access=True))

    def _last_proof(
        self, kind: Kind, entity_id: int | None, until_seq: int, *, to_same_access: bool = False
    ) -> Observation | None:
        w = withheld_absences.c
        scopes = ["all"] if entity_id is None else ["all", str(entity_id)]
        withheld = sa.exists().where(
            w.source_id == self._source_id, w.seq == _o.seq, w.entity == kind, w.scope.in_(scopes)
        )
        if to_same_access and not self._own:
            return None
        conditions = [~withheld, *([_o.observer_id.in_(self._own)] if to_same_access else [])]
        return stored.newest(self._connection, self._source_id, "ok", *conditions, before=until_seq + 1)

    @cached_property
    def _own(self) -> list[int]:
        """Ids of the observers with the same key and URL, with any scheme."""
        who = observers.c
        key_fingerprint, base_url = self._observer.access
        query = sa.select(who.id).where(
            who.source_id == self._source_id,
            who.key_fingerprint == key_fingerprint,
            who.base_url == base_url,
        )
        return list(self._connection.scalars(query))

    def doubts(self) -> Mapping[tuple[Kind, int], Doubt]:
        x = unproven_absences.c
        rows = self._connection.execute(
            sa.select(x.entity, x.scope, x.missed_seq, x.proven_seq).where(
                x.source_id == self._source_id, x.until_at.is_(None)
            )
        ).all()
        return {
            (row.entity, int(row.scope)): Doubt(
                self._proof(row.entity, int(row.scope), row.proven_seq or 0), row.missed_seq
            )
            for row in rows
        }


def failures(
    connection: sa.Connection, source_id: int, after: int, seq: int, newest: Observation | None = None
) -> tuple[Failures, ...]:
    """The failed polls between two observations, by cause. `newest`: the last of them, if it need not be read."""
    begins = beginning(connection, source_id)
    pruned: tuple[Failures, ...] = ()
    if begins is not None and after < begins.begins_seq:
        pruned, after = carried_failures(connection, source_id), begins.begins_seq
    end = newest.seq if newest else seq
    between = (_o.source_id == source_id, _o.seq > after, _o.seq < end, _o.outcome == "failed")
    sums = connection.execute(
        sa.select(_o.cause, sa.func.sum(_o.polls), sa.func.min(_o.seq)).where(*between).group_by(_o.cause)
    ).all()
    found = {each.cause: each for each in pruned}

    def add(own: Failures) -> None:
        found[own.cause] = _together(found[own.cause], own) if own.cause in found else own

    for cause, polls, first_seq in sums:
        of_cause = sa.select(_o.message, _o.polls).where(*between, _o.cause == cause)
        longest = connection.execute(of_cause.order_by(_o.polls.desc(), _o.seq).limit(1)).one()
        add(Failures(cause, int(polls), first_seq, longest.message, longest.polls))
    if newest is not None and newest.cause is not None and newest.seq > after:
        add(Failures(newest.cause, newest.polls, newest.seq, newest.message, newest.polls))
    return tuple(found[cause] for cause in sorted(found))


def _together(earlier: Failures, later: Failures) -> Failures:
    longest = later if later.longest > earlier.longest else earlier
    polls = earlier.polls + later.polls
    return replace(longest, polls=polls, first_seq=earlier.first_seq)


def _with_values(
    connection: sa.Connection, source_id: int, known: Known, listing: Listing
) -> Mapping[Kind, Mapping[int, KnownEntity]]:
    """The known entities, with the values of those that the listing shows with other values."""
    entities: dict[Kind, Mapping[int, KnownEntity]] = dict(known.entities)
    for kind, shown in listing.shown.items():
        before = entities[kind]
        lacking = [
            i
            for i in known.news(kind, shown.sightings)
            if i in before and before[i].entity is None and not known.is_as_known(kind, shown.sightings[i])
        ]
        if lacking:
            values = _values(connection, source_id, kind, lacking)
            entities[kind] = {**before, **{i: structs.replace(before[i], entity=values[i]) for i in lacking}}
    return entities


def _values(connection: sa.Connection, source_id: int, kind: Kind, ids: list[int]) -> dict[int, Entity]:
    table, make = CURRENT[kind], ENTITIES[kind]
    columns = [table.c.id, *(table.c[name] for name in TYPED[kind])]
    found: dict[int, Entity] = {}
    for start in range(0, len(ids), 500):
        query = sa.select(*columns).where(
            table.c.source_id == source_id, table.c.id.in_(ids[start : start + 500])
        )
        for row in connection.execute(query).mappings():
            found[row["id"]] = make(**row)
    return found
