"""What an answer changes, compared with what is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from collector.inventory.entities import Shown, Sighting
from collector.inventory.judgement import Outcome


@dataclass(frozen=True, slots=True)
class Span:
    """An open unseen span."""

    shown_seq: int
    """The last observation that showed the entity."""
    missed_seq: int
    """The first observation that did not."""
    missed_at: datetime
    """When that was answered."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows of one entity."""

    id: int
    content_hash: str
    state: str | None
    witness: int | None
    present: bool
    unseen: Span | None = None


@dataclass(frozen=True, slots=True)
class Diff:
    """Ids by what happened to them, each sorted."""

    appeared: tuple[int, ...]
    reappeared: tuple[int, ...]
    changed: tuple[int, ...]
    disappeared: tuple[int, ...]
    witness_moved: tuple[int, ...]
    """Shown with equal content, but by another region's copy."""
    lost_sight: tuple[tuple[int, str], ...]
    """Present, not shown, not absent: an unseen span opens, with its cause."""
    shown_again: tuple[int, ...]
    """An open unseen span closes because the entity was shown."""
    not_excluded: tuple[int, ...]
    """Not present, yet named: this answer can't prove their absence."""


def diff(known: Mapping[int, Known], shown: Shown, outcome: Outcome) -> Diff:
    """Compare one kind. Absences count only in an `ok` answer that withholds none."""
    sightings = shown.sightings
    present = {k.id for k in known.values() if k.present}
    missed = present - sightings.keys()
    provable = outcome == "ok" and shown.withheld is None
    gone = missed - shown.named if provable else set[int]()

    def cause(entity_id: int) -> str:
        if entity_id in shown.named:
            return "not_given"
        return outcome if outcome != "ok" else shown.withheld or "not_given"

    def is_other(sighting: Sighting, old: Known) -> bool:
        return sighting.content_hash != old.content_hash

    return Diff(
        appeared=tuple(sorted(sightings.keys() - known.keys())),
        reappeared=tuple(sorted((sightings.keys() & known.keys()) - present)),
        changed=tuple(sorted(i for i in present & sightings.keys() if is_other(sightings[i], known[i]))),
        disappeared=tuple(sorted(gone)),
        witness_moved=tuple(
            sorted(
                i
                for i in present & sightings.keys()
                if not is_other(sightings[i], known[i]) and sightings[i].witness != known[i].witness
            )
        ),
        lost_sight=tuple(sorted((i, cause(i)) for i in missed - gone if known[i].unseen is None)),
        shown_again=tuple(sorted(i for i in present & sightings.keys() if known[i].unseen is not None)),
        not_excluded=tuple(sorted(shown.named - present - sightings.keys())),
    )
