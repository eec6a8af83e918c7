"""Decides everything that an applied observation changes, from what is already known. Pure.

An answer was true at some moment between its `asked_at` and its `answered_at`. So a change lies between two times:
the `asked_at` of the last poll that confirmed the old state of this entity, and the `answered_at` of the first poll
that showed the new one.

`changes` reads the final fields of earlier observations, but only the insert-time fields of the observation itself.
So the same evidence gives the same changes whenever it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from msgspec import Struct

from collector.inventory.entities import (
    Drift,
    Kind,
    Listing,
    Rejected,
    Shown,
    Sighting,
    content_hash,
    differing_fields,
    state_of,
)
from collector.inventory.known import Doubt, Known, KnownEntity
from collector.inventory.observation import TICK, Observation, gap_limit

Basis = Literal["baseline", "direct", "across_gap", "absence", "observer_change", "other_copy"]
Event = Literal["appeared", "changed", "disappeared", "reappeared"]

MAX_REJECTED = 1000
"""Maximum number of rejected records per answer that get a row. All of them stay in the payload."""
MAX_DRIFT = 100
"""Maximum number of drift rows for the fields of one object, and for one field."""


class Window(Struct, frozen=True, gc=False):
    """The time in which something changed, and the basis for it. It ends with the observation's first answer."""

    not_before: datetime | None
    """None if there is no earlier evidence: it may always have been like this."""
    basis: Basis


class Transition(Struct, frozen=True, gc=False):
    """A change of state or of presence, as an interval that contains its true time."""

    entity: str
    entity_id: int
    kind: Event
    from_state: str | None
    to_state: str | None
    not_before: datetime | None
    observed_at: datetime
    basis: Basis
    first_missing_at: datetime | None
    """Disappearances only: when the first answer without the entity came."""
    seq: int


class NewVersion(Struct, frozen=True, gc=False):
    """An entity that appeared, reappeared, or has other values than before."""

    event: Event
    sighting: Sighting
    content_hash: str
    window: Window
    before: KnownEntity | None
    changed_fields: tuple[str, ...] | None
    """None if it was never seen before."""


@dataclass(frozen=True, slots=True)
class Disappearance:
    """An entity that a complete answer no longer lists."""

    before: KnownEntity
    window: Window
    first_missing_at: datetime


@dataclass(frozen=True, slots=True)
class LostSight:
    """A present entity that was not shown, though its absence is not proven. An unseen span opens."""

    id: int
    cause: str
    shown: Observation


@dataclass(frozen=True, slots=True)
class KindChanges:
    """What an observation changes for one kind of entity."""

    versions: tuple[NewVersion, ...] = ()
    disappeared: tuple[Disappearance, ...] = ()
    witnesses: tuple[Sighting, ...] = ()
    """Entities shown with equal values, but in another region's copy."""
    lost_sight: tuple[LostSight, ...] = ()
    seen_again: tuple[KnownEntity, ...] = ()
    """Entities whose open unseen span ends, because they are shown or absent."""
    withheld: tuple[tuple[int | None, str], ...] = ()
    """Entities whose absence this answer can't prove, each with the cause. None: all entities of the kind."""
    doubted: tuple[tuple[int, Doubt], ...] = ()
    """Doubts that open, each with the id of its entity."""
    proven: tuple[tuple[int, Doubt], ...] = ()
    """Doubts that end, because the entity's absence is proven again or the entity is shown."""
    unproven_since: Observation | None = None
    """The last answer that proved absences of the kind, if this answer is the next and comes after a gap."""
    still_unseen: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """A time that no applied poll covers, from the last answer before it to the first one after it."""

    before: Observation | None
    """The last applied observation. None if the source failed from its first poll on."""
    from_at: datetime
    last_asked_at: datetime
    cause: str
    """The most frequent cause of the failed polls in the gap, or no_polls."""
    failed_polls: int
    error: str | None
    """Message of the longest stretch of polls with that cause."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that one applied observation changes."""

    kinds: Mapping[Kind, KindChanges] = field(default_factory=dict)
    transitions: tuple[Transition, ...] = ()
    gap: Gap | None = None
    rejected: tuple[Rejected, ...] = ()
    drift: tuple[Drift, ...] = ()

    @property
    def versions(self) -> int:
        """Number of entities that are new or have other values."""
        return sum(len(each.versions) for each in self.kinds.values())

    @property
    def unseen(self) -> int:
        """Number of present entities of all kinds that are not shown."""
        return sum(each.still_unseen for each in self.kinds.values())


def changes(now: Observation, listing: Listing, known: Known) -> Changes:
    """Decide what an applied observation changes."""
    kinds = {kind: _Kind(kind, now, shown, known).changes() for kind, shown in listing.shown.items()}
    return Changes(
        kinds=kinds,
        transitions=tuple(t for kind, each in kinds.items() for t in _transitions(kind, each, now)),
        gap=_gap(now, known),
        rejected=listing.rejected[:MAX_REJECTED],
        drift=new_drift(listing.drift, known.drift),
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """The decisions about one kind of entity."""

    kind: Kind
    now: Observation
    shown: Shown
    known: Known

    @property
    def proves_absences(self) -> bool:
        return self.now.outcome == "ok" and self.shown.withheld is None

    def changes(self) -> KindChanges:
        known, sightings = self.known.entities[self.kind], self.shown.sightings
        missed = {i for i in known.keys() - sightings.keys() if known[i].is_present}
        gone = missed - self.shown.named if self.proves_absences else set[int]()
        news = self.known.news(self.kind, sightings)
        equal = {i for i in news if self.known.is_as_known(self.kind, sightings[i])}
        versions = [self._version(sightings[i], known.get(i)) for i in news if i not in equal]
        moved = [sightings[i] for i in equal if self._moved(sightings[i], known[i])]
        again = [known[i] for i in (*news, *gone) if i in known and known[i].unseen]
        withheld = tuple(self._withheld(known))
        return KindChanges(
            versions=tuple(sorted(versions, key=lambda v: v.sighting.entity.id)),
            disappeared=tuple(self._disappearance(known[i]) for i in sorted(gone)),
            witnesses=tuple(sorted(moved, key=lambda s: s.entity.id)),
            lost_sight=tuple(
                LostSight(i, self._cause(i), self._confirming(known[i]))
                for i in sorted(missed - gone)
                if known[i].unseen is None
            ),
            seen_again=tuple(sorted(again, key=lambda k: k.id)),
            withheld=withheld,
            doubted=tuple(self._doubted(withheld)),
            proven=tuple(self._proven()),
            unproven_since=self._unproven_since(),
            still_unseen=len(missed) - len(gone),
        )

    @staticmethod
    def _moved(sighting: Sighting, before: KnownEntity) -> bool:
        return sighting.witness != before.witness

    def _version(self, sighting: Sighting, before: KnownEntity | None) -> NewVersion:
        digest = content_hash(sighting.entity)
        if before is None:
            return NewVersion("appeared", sighting, digest, self._window_of_arrival(sighting), None, None)
        changed = differing_fields(before.entity, sighting.entity)
        if not before.is_present:
            window = self._window_of_arrival(sighting, before)
            return NewVersion("reappeared", sighting, digest, window, before, changed)
        last = self._confirming(before)
        basis = _basis("changed", last, self.now, is_other_copy=self._moved(sighting, before))
        return NewVersion("changed", sighting, digest, Window(last.last_asked_at, basis), before, changed)

    def _disappearance(self, before: KnownEntity) -> Disappearance:
        last = self._confirming(before)
        missed_at = before.unseen.missed_at if before.unseen else self.now.first_at
        window = Window(last.last_asked_at, _basis("disappeared", last, self.now))
        return Disappearance(before, window, missed_at)

    def _window_of_arrival(self, sighting: Sighting, before: KnownEntity | None = None) -> Window:
        """The window of an entity that was not present: from the last complete answer without it.

        An entity may have existed although another key was not shown it. So if the last complete answer came through
        another key or URL, the window begins with the last complete answer without the entity through this one. It
        never begins before the entity was last seen.
        """
        proof = self.known.proof_of(self.kind, sighting.entity.id)
        last = proof.last
        not_before = last.last_asked_at if last else None
        if last is not None and last.observer.access != self.now.observer.access:
            own, left = proof.to_same_access, before.absent_not_before if before else None
            if own is not None and before is not None and own.first_at < before.changed_at:
                own = None  # it did not end the presence, so it showed the entity or at least named it
            proven = own.last_asked_at if own else None
            not_before = max((t for t in (proven, left) if t is not None), default=None)
        return Window(not_before, _basis("appeared", last, self.now))

    def _confirming(self, known: KnownEntity) -> Observation:
        """The observation that last showed a present entity."""
        if known.unseen is not None:
            return known.unseen.shown
        assert self.known.applied is not None  # noqa: S101 - present: some observation showed it
        return self.known.applied

    def _cause(self, entity_id: int) -> str:
        """Why a present entity is not shown."""
        if entity_id in self.shown.named:
            return "not_given"
        return self.now.outcome if self.now.outcome != "ok" else self.shown.withheld or "not_given"

    def _withheld(self, known: Mapping[int, KnownEntity]) -> Iterator[tuple[int | None, str]]:
        """What the answer can't prove: absences of the ids that it names, or of a whole kind.

        Nothing is returned for a partial or held answer, which proves no absence anyway.
        """
        if self.shown.withheld and self.now.outcome == "ok":
            yield None, self.shown.withheld
            return
        for entity_id in sorted(self.shown.named - self.shown.sightings.keys()):
            if not (entity_id in known and known[entity_id].is_present):
                yield entity_id, "not_given"

    def _doubted(self, withheld: Iterable[tuple[int | None, str]]) -> Iterator[tuple[int, Doubt]]:
        for entity_id, _ in withheld:
            if entity_id is not None and (self.kind, entity_id) not in self.known.doubts:
                proof = self.known.proof_of(self.kind, entity_id)
                yield entity_id, Doubt(proof, proof.last.seq + 1 if proof.last else 1)

    def _proven(self) -> Iterator[tuple[int, Doubt]]:
        for (kind, entity_id), doubt in sorted(self.known.doubts.items(), key=lambda item: item[0]):
            is_proven = self.proves_absences and entity_id not in self.shown.named
            if kind == self.kind and (is_proven or entity_id in self.shown.sightings):
                yield entity_id, doubt

    def _unproven_since(self) -> Observation | None:
        """The previous answer that proved absences, if the time since then is longer than the gap limit."""
        last = self.known.proofs[self.kind].last
        return last if last and self.proves_absences and _is_gap(last, self.now) else None


def _basis(event: Event, last: Observation | None, now: Observation, *, is_other_copy: bool = False) -> Basis:
    """How certain a change is.

    `last`: the observation that last confirmed the old state of this entity. For an appearance, it is the last one
    that proves its absence, by any observer. `is_other_copy`: True if the copy that counts is now another region's.
    """
    if last is None:
        return "baseline"
    if last.observer.access != now.observer.access:
        return "observer_change"
    if event == "disappeared":
        return "absence"
    if is_other_copy:
        return "other_copy"
    return "direct" if _follows(last, now) else "across_gap"


def _follows(last: Observation, now: Observation) -> bool:
    """True if `now` is the poll directly after `last`, with no gap in between.

    If `now` had to be moved forward behind `last`, the clock was set back, and the elapsed time is not known.
    """
    return last.seq == now.seq - 1 and now.first_at - last.last_at > TICK and not _is_gap(last, now)


def _is_gap(last: Observation, now: Observation) -> bool:
    return now.first_at - last.last_at > gap_limit(last.expected_interval, now.expected_interval)


def _gap(now: Observation, known: Known) -> Gap | None:
    """The time before an applied observation that no applied poll covers, if it is a gap."""
    before = known.applied
    if before is not None:
        if not _is_gap(before, now):
            return None
        from_at, asked_at = before.last_at, before.last_asked_at
    elif known.first is not None:
        first = known.first.at_insert()  # all polls failed so far, so the gap begins with the first one
        if not _is_gap(first, now):
            return None
        from_at, asked_at = first.first_at, first.first_asked_at
    else:
        return None
    worst = min(known.failures, key=lambda f: (-f.polls, f.first_seq), default=None)
    return Gap(
        before=before,
        from_at=from_at,
        last_asked_at=asked_at,
        cause=worst.cause if worst else "no_polls",
        failed_polls=sum(f.polls for f in known.failures),
        error=worst.message if worst else None,
    )


def _transitions(kind: Kind, changed: KindChanges, now: Observation) -> Iterator[Transition]:
    """The changes of state and of presence, for kinds that have states."""
    if kind == "metrics_database":
        return
    for version in changed.versions:
        before = version.before if version.before and version.before.is_present else None
        from_state, to_state = before.state if before else None, state_of(version.sighting.entity)
        if version.event != "changed" or from_state != to_state:
            yield Transition(
                entity=kind,
                entity_id=version.sighting.entity.id,
                kind=version.event,
                from_state=from_state,
                to_state=to_state,
                not_before=version.window.not_before,
                observed_at=now.first_at,
                basis=version.window.basis,
                first_missing_at=None,
                seq=now.seq,
            )
    for gone in changed.disappeared:
        yield Transition(
            entity=kind,
            entity_id=gone.before.id,
            kind="disappeared",
            from_state=gone.before.state,
            to_state=None,
            not_before=gone.window.not_before,
            observed_at=now.first_at,
            basis=gone.window.basis,
            first_missing_at=gone.first_missing_at,
            seq=now.seq,
        )


def new_drift(drift: Iterable[Drift], on_record: frozenset[Drift]) -> tuple[Drift, ...]:
    """Drift that is not recorded yet, sorted, up to MAX_DRIFT."""
    unknown = sorted(set(drift) - on_record)
    if not unknown:
        return ()
    room = Counter(place for each in on_record for place in _places(each))
    new = []
    for each in unknown:
        if all(room[place] < MAX_DRIFT for place in _places(each)):
            new.append(each)
            room.update(_places(each))
    return tuple(new)


def _places(drift: Drift) -> tuple[tuple[str, str], ...]:
    """What is counted: the field itself, and for unknown fields also the object that contains them."""
    own = (drift.path, "")
    if drift.kind != "unknown_field":
        return (own,)
    return (own, (drift.path.rpartition(".")[0], "unknown_field"))
