"""The answers that every contestant gets: made from a few numbers, so that they are the same in every process."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.support.builders import answer, metrics_database, region

STATES = ("ACTIVE", "MAINTENANCE", "NEW")


class Answer(NamedTuple):
    """One answer. The defaults are the first one."""

    size: int
    """Regions."""
    whole: int = 0
    """How often every region has changed its state."""
    parts: int = 0
    """How often one hundredth of the regions has changed, each time the next hundredth."""
    order: int = 0
    """0: by id. Otherwise the number of a shuffle."""
    spelling: int = 0
    """0: as `json.dumps` has it. Otherwise one of three others, in white space and in the order of keys."""

    @property
    def path(self) -> str:
        return "/".join(map(str, self))

    def body(self) -> bytes:
        ids = list(range(1, self.size + 1))
        if self.order:
            random.Random(self.order).shuffle(ids)
        document = answer([_region(i, self._changes(i)) for i in ids])
        if self.spelling == 1:
            return json.dumps(document, indent=1).encode()
        if self.spelling == 2:
            return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        if self.spelling == 3:
            return json.dumps(_backwards(document)).encode()
        return json.dumps(document).encode()

    def _changes(self, region_id: int) -> int:
        hundredth = part_of(self.size)
        parts = -(-self.size // hundredth)
        return self.whole + (self.parts + parts - 1 - (region_id - 1) // hundredth) // parts


def part_of(size: int) -> int:
    """How many regions one hundredth is."""
    return max(1, size // 100)


def _region(region_id: int, changes: int) -> dict[str, Any]:
    database = metrics_database(
        region_id + 5000, host=f"10.{region_id >> 16}.{region_id >> 8 & 255}.{region_id & 255}"
    )
    return region(
        region_id,
        STATES[changes % len(STATES)],
        metrics_database_id=region_id + 5000,
        metrics_database=database,
        keystone_id=region_id + 1_000_000,
        novnc_proxy_url=f"https://console-novnc-{region_id}.cloud.example:6080/vnc_auto.html",
        serial_proxy_url=f"https://console-serial-{region_id}.cloud.example:6083/serial.html",
        spice_proxy_url=f"https://console-spice-{region_id}.cloud.example:6082/spice_auto.html",
        available_volume_types=["standard", "ssd_hiiops", "ssd_local", "ssd_lowlatency", "cold", "ultra"],
    )


def _backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _backwards(value[name]) for name in reversed(value)}
    return [_backwards(each) for each in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Kind:
    """One kind of poll: what changes from one answer to the next of this kind."""

    name: str
    repeats: int = 1
    """How often a contestant that takes milliseconds does it in one turn."""


FIRST, UNCHANGED, ORDER, SPELLING, PART, ALL = KINDS = (
    Kind("first load"),
    Kind("unchanged", 9),
    Kind("other order", 3),
    Kind("other spelling", 3),
    Kind("1 % changed", 3),
    Kind("all changed", 2),
)
"""In the order in which every round polls them."""


def after(before: Answer, kind: Kind) -> Answer:
    """The next answer, for a poll of this kind."""
    if kind is ORDER:
        return before._replace(order=before.order + 1, spelling=0)
    if kind is SPELLING:
        return before._replace(order=0, spelling=before.spelling % 3 + 1)
    plain = before._replace(order=0, spelling=0) if kind in (PART, ALL) else before
    if kind is PART:
        return plain._replace(parts=plain.parts + 1)
    return plain._replace(whole=plain.whole + 1) if kind is ALL else plain
