"""A made-up cloud: what is true at every moment, and how the API would tell it. Pure.

Everything is a track: values that hold from a time on. The whole history is fixed when the world is made,
so that what a collector recorded can be held against what was true.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = dict[str, Any]


@dataclass(slots=True)
class Track:
    """The fields of one entity over time; None while it does not exist (or is not visible)."""

    times: list[datetime] = field(default_factory=list)
    values: list[Json | None] = field(default_factory=list)

    def set(self, at: datetime, **changes: Any) -> Track:
        """From `at` on these fields have these values; must be later than what is there."""
        return self._put(at, (self.values[-1] or {} if self.values else {}) | changes)

    def vanish(self, at: datetime) -> Track:
        """From `at` on the entity is not there."""
        return self._put(at, None)

    def come_back(self, at: datetime, **changes: Any) -> Track:
        """From `at` on it is there again, as it last was, but for `changes`."""
        last = next((value for value in reversed(self.values) if value is not None), {})
        return self._put(at, last | changes)

    def at(self, moment: datetime) -> Json | None:
        index = bisect_right(self.times, moment)
        return self.values[index - 1] if index else None

    def _put(self, at: datetime, value: Json | None) -> Track:
        if self.times and at <= self.times[-1]:
            raise ValueError(f"{at} is not later than {self.times[-1]}")
        self.times.append(at)
        self.values.append(value)
        return self


@dataclass(frozen=True, slots=True)
class TrueChange:
    """What truly happened to an entity's state or presence (None: not there)."""

    entity: str
    entity_id: int
    at: datetime
    from_state: str | None
    to_state: str | None


@dataclass(slots=True)
class World:
    """All tracks by id. A region's fields hold `keystone_id` and `metrics_database_id`."""

    regions: dict[int, Track] = field(default_factory=dict)
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

        A keystone is there while a region that is there refers to it.
        """
        for region_id, track in self.regions.items():
            states = ((at, _state(value)) for at, value in zip(track.times, track.values, strict=True))
            yield from _changes("region", region_id, states)
        for keystone_id, track in self.keystones.items():
            users = [r for r in self.regions.values() if any(_uses(v, keystone_id) for v in r.values)]
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
