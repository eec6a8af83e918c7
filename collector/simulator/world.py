"""An invented cloud: what is true at every moment, and the API's answer to it. Pure.

Everything is a track: values that are valid from a time on. The whole history is fixed when the world is made, so a
recorded history can be compared with the truth. A `Life` is a track that is drawn from a seed when it is read, so a
long history takes as little memory as a short one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

Json = dict[str, Any]


@dataclass(slots=True)
class Track:
    """The fields of one entity over time; None while it does not exist (or is not visible)."""

    times: list[datetime] = field(default_factory=list)
    values: list[Json | None] = field(default_factory=list)

    def set(self, at: datetime, **changes: Any) -> Track:
        """Set these fields from `at` on; it must be later than all existing times."""
        return self._put(at, (self.values[-1] or {} if self.values else {}) | changes)

    def vanish(self, at: datetime) -> Track:
        """Remove the entity from `at` on."""
        return self._put(at, None)

    def come_back(self, at: datetime, **changes: Any) -> Track:
        """Bring the entity back from `at` on, as it last was except for `changes`."""
        last = next((value for value in reversed(self.values) if value is not None), {})
        return self._put(at, last | changes)

    def at(self, moment: datetime) -> Json | None:
        index = bisect_right(self.times, moment)
        return self.values[index - 1] if index else None

    def whole(self) -> Track:
        """The whole track."""
        return self

    def _put(self, at: datetime, value: Json | None) -> Track:
        if self.times and at <= self.times[-1]:
            raise ValueError(f"{at} is not later than {self.times[-1]}")
        self.times.append(at)
        self.values.append(value)
        return self


_NEXT = {
    "NEW": ("ACTIVE",),
    "ACTIVE": ("MAINTENANCE", "MAINTENANCE", "INACTIVE", "DELETING", "gone"),
    "MAINTENANCE": ("ACTIVE",),
    "INACTIVE": ("ACTIVE",),
    "DELETING": ("DELETION_FAILED", "DELETED"),
    "DELETION_FAILED": ("ACTIVE",),
    "DELETED": ("gone",),
    "gone": ("NEW",),
}


class _Phase(NamedTuple):
    """A state during [since, until)."""

    number: int
    state: str
    since: datetime
    until: datetime


@dataclass(slots=True)
class Life:
    """A region with random states.

    The seed decides them all. Only the last one that was read is kept; the next is found from it.
    """

    fields: Json
    """All fields except the state. They are shared with other worlds, so they must not be changed."""
    seed: int
    start: datetime
    end: datetime
    """Nothing changes from here on."""
    mean_hold: timedelta
    """The average duration of each state; none is shorter than a tenth of it."""
    _newest: _Phase | None = field(default=None, compare=False, repr=False)

    def at(self, moment: datetime) -> Json | None:
        if moment < self.start:
            return None
        phase = self._newest
        if phase is None or moment < phase.since:
            phase = self._first()
        while phase.until <= moment and phase.until < self.end:
            phase = self._after(phase)
        # A single assignment of an immutable value, so threads don't disturb each other.
        self._newest = phase
        return self._shown(phase)

    def whole(self) -> Track:
        """The whole track; one value represents each state, however often it recurs."""
        values = {state: None if state == "gone" else self.fields | {"state": state} for state in _NEXT}
        phase = self._first()
        track = Track([phase.since], [values[phase.state]])
        while phase.until < self.end:
            phase = self._after(phase)
            track.times.append(phase.since)
            track.values.append(values[phase.state])
        return track

    def _shown(self, phase: _Phase) -> Json | None:
        return None if phase.state == "gone" else self.fields | {"state": phase.state}

    def _first(self) -> _Phase:
        return self._phase(0, ("ACTIVE", "NEW"), self.start)

    def _after(self, phase: _Phase) -> _Phase:
        return self._phase(phase.number + 1, _NEXT[phase.state], phase.until)

    def _phase(self, number: int, states: tuple[str, ...], since: datetime) -> _Phase:
        random = Random((self.seed << 40) + number)  # noqa: S311 - a world for tests
        state = random.choice(states)
        return _Phase(number, state, since, since + self.mean_hold * (0.1 + random.expovariate(1 / 0.9)))


@dataclass(frozen=True, slots=True)
class TrueChange:
    """A true change of an entity's state or presence (None: not present)."""

    entity: str
    entity_id: int
    at: datetime
    from_state: str | None
    to_state: str | None


@dataclass(slots=True, weakref_slot=True)
class World:
    """All tracks by id. A region's fields hold `keystone_id` and `metrics_database_id`."""

    regions: dict[int, Track | Life] = field(default_factory=dict)
    keystones: dict[int, Track] = field(default_factory=dict)
    databases: dict[int, Track] = field(default_factory=dict)

    def document(self, at: datetime, *, only_active: bool = False) -> Json:
        """The answer of the API at a moment; `only_active`: as a regular client sees it."""
        results = []
        for region_id, track in self.regions.items():
            fields = track.at(at)
            if fields is None or (only_active and fields["state"] != "ACTIVE"):
                continue
            keystone = self.keystones[fields["keystone_id"]].at(at)
            database = self.databases.get(fields["metrics_database_id"] or 0)
            results.append(
                {
                    "id": region_id,
                    **fields,
                    "keystone": keystone and {"id": fields["keystone_id"], **keystone},
                    "metrics_database": database
                    and {"id": fields["metrics_database_id"], **(database.at(at) or {})},
                }
            )
        return {"count": len(results), "results": results}

    def changes(self) -> Iterator[TrueChange]:
        """Every change of state or presence of regions and keystones, by entity and time.

        A keystone is present while a present region refers to it.
        """
        regions = {region_id: life.whole() for region_id, life in self.regions.items()}
        for region_id, track in regions.items():
            states = ((at, _state(value)) for at, value in zip(track.times, track.values, strict=True))
            yield from _changes("region", region_id, states)
        for keystone_id, track in self.keystones.items():
            users = [r for r in regions.values() if any(_uses(v, keystone_id) for v in r.values)]
            times = sorted({at for t in (track, *users) for at in t.times})
            shown = ((at, any(_uses(user.at(at), keystone_id) for user in users)) for at in times)
            states = ((at, _state(track.at(at)) if is_shown else None) for at, is_shown in shown)
            yield from _changes("keystone", keystone_id, states)


def _changes(
    entity: str, entity_id: int, states: Iterable[tuple[datetime, str | None]]
) -> Iterator[TrueChange]:
    before: str | None = None
    for at, after in states:
        if after != before:
            yield TrueChange(entity, entity_id, at, before, after)
        before = after


def _uses(region: Json | None, keystone_id: int) -> bool:
    return region is not None and region["keystone_id"] == keystone_id


def _state(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else str(value["state"])
