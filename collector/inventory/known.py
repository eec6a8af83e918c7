"""What is known about a source before an observation, and how an observation changes it. Pure.

`store.gather` reads it. Between polls the writer derives it from what it applied (`known_after`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from collector.inventory.entities import (
    ENTITIES,
    Drift,
    Entity,
    Kind,
    Listing,
    Sighting,
    content_hash,
    state_of,
)
from collector.inventory.observation import Observation

if TYPE_CHECKING:
    from collector.inventory.changes import Changes, KindChanges


@dataclass(frozen=True, slots=True)
class Unseen:
    """An open unseen span of a present entity."""

    shown: Observation
    """The last observation that showed the entity."""
    missed_seq: int
    """The first observation that did not."""
    missed_at: datetime
    """When that observation was answered."""


class KnownEntity(Struct, frozen=True, gc=False):
    """What is known about one entity."""

    id: int
    content_hash: str
    state: str | None
    witness: int | None
    changed_at: datetime
    """Present entities: when the newest version begins."""
    is_present: bool
    absent_not_before: datetime | None = None
    """Absent entities: when the window of the disappearance begins."""
    unseen: Unseen | None = None
    entity: Entity | None = None
    """Its values; None if no decision needs them."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The complete answers that last proved absences."""

    last: Observation | None = None
    to_same_access: Observation | None = None
    """The last one that used the current key and URL."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Marks an absence that is not proven, because an answer named the entity without showing it."""

    proof: Proof
    """What last proved the absence."""
    missed_seq: int
    """The first observation after that proof."""


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed polls with one cause since the last applied observation."""

    cause: str
    polls: int
    first_seq: int
    message: str | None
    """Message of their longest stretch."""
    longest: int
    """Number of polls in that stretch."""


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that the decisions about one observation depend on."""

    first: Observation | None = None
    """The source's first observation; read only if none was applied yet."""
    applied: Observation | None = None
    """The last observation before this one whose records were applied."""
    failures: tuple[Failures, ...] = ()
    entities: Mapping[Kind, Mapping[int, KnownEntity]] = field(
        default_factory=lambda: {kind: {} for kind in ENTITIES}
    )
    proofs: Mapping[Kind, Proof] = field(default_factory=lambda: {kind: Proof() for kind in ENTITIES})
    doubts: Mapping[tuple[Kind, int], Doubt] = field(default_factory=dict)
    """Entities that are not present and were named by an answer after their absence was last proven."""
    named: Mapping[tuple[Kind, int], Observation | None] = field(default_factory=dict)
    """Entities that the answer in `to_same_access` named, each with the last answer to the same key and URL that
    proves its absence.
    """
    drift: frozenset[Drift] = frozenset()
    """Drift that is already recorded."""
    shown: Mapping[Kind, Mapping[int, Sighting]] = field(default_factory=dict, compare=False)
    """What `applied` showed; empty if that is not remembered."""

    def with_final(self, row: Observation) -> Known:
        """The same, with the newest observation as later polls extended it."""
        if self.applied is None or self.applied.seq != row.seq:
            return self

        def final(proof: Proof) -> Proof:
            last, own = (row if o and o.seq == row.seq else o for o in (proof.last, proof.to_same_access))
            return Proof(last, own)

        return replace(self, applied=row, proofs={kind: final(each) for kind, each in self.proofs.items()})

    def proof_of(self, kind: Kind, entity_id: int) -> Proof:
        """The complete answers that last proved the absence of one entity."""
        key = (kind, entity_id)
        if key in self.doubts:
            return self.doubts[key].proof
        proof = self.proofs[kind]
        return Proof(proof.last, self.named[key]) if key in self.named else proof

    def news(self, kind: Kind, sightings: Mapping[int, Sighting]) -> list[int]:
        """Ids of the shown entities, without those whose sighting is the same object as last time: nothing changed
        there.
        """
        last = self.shown.get(kind, {}).get
        return [i for i, sighting in sightings.items() if last(i) is not sighting]

    def is_as_known(self, kind: Kind, sighting: Sighting) -> bool:
        """True if the entity is known to be present with these values."""
        known = self.entities[kind].get(sighting.entity.id)
        if known is None or not known.is_present:
            return False
        if known.entity is not None:
            return known.entity == sighting.entity
        return known.content_hash == content_hash(sighting.entity)

    def present(self, kind: Kind) -> dict[int, str | None]:
        """The present entities of a kind, each with the state in which it was last shown."""
        return {k.id: k.state for k in self.entities[kind].values() if k.is_present}


def known_after(known: Known, now: Observation, listing: Listing, decided: Changes) -> Known:
    """What is known after an observation was applied: the same that `gather` would read from the store."""
    proofs, doubts, named = dict(known.proofs), dict(known.doubts), known.named
    entities = {}
    for kind, shown in listing.shown.items():
        changed = decided.kinds[kind]
        if now.outcome == "ok" and shown.withheld is None:
            proofs[kind] = Proof(now, now)
            named = {key: own for key, own in named.items() if key[0] != kind}
        for entity_id, _ in changed.proven:
            del doubts[kind, entity_id]
        doubts.update({(kind, entity_id): doubt for entity_id, doubt in changed.doubted})
        entities[kind] = _entities_after(known.entities[kind], now, changed)
    return Known(
        applied=now,
        entities=entities,
        proofs=proofs,
        doubts=doubts,
        named=named,
        drift=known.drift.union(decided.drift),
        shown={kind: shown.sightings for kind, shown in listing.shown.items()},
    )


def _entities_after(
    known: Mapping[int, KnownEntity], now: Observation, changed: KindChanges
) -> Mapping[int, KnownEntity]:
    touched = (
        changed.versions
        or changed.disappeared
        or changed.witnesses
        or changed.lost_sight
        or changed.seen_again
    )
    if not touched:
        return known
    after = dict(known)
    for each in changed.seen_again:
        after[each.id] = structs.replace(each, unseen=None)
    for version in changed.versions:
        sighting = version.sighting
        after[sighting.entity.id] = KnownEntity(
            id=sighting.entity.id,
            content_hash=version.content_hash,
            state=state_of(sighting.entity),
            witness=sighting.witness,
            changed_at=now.first_at,
            is_present=True,
            entity=sighting.entity,
        )
    for sighting in changed.witnesses:
        entity_id = sighting.entity.id
        after[entity_id] = structs.replace(after[entity_id], witness=sighting.witness)
    for gone in changed.disappeared:
        after[gone.before.id] = structs.replace(
            gone.before,
            changed_at=now.first_at,
            is_present=False,
            absent_not_before=gone.window.not_before,
            unseen=None,
        )
    for lost in changed.lost_sight:
        after[lost.id] = structs.replace(after[lost.id], unseen=Unseen(lost.shown, now.seq, now.first_at))
    return after
