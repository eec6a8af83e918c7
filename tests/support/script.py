"""Twenty polls in which everything happens that a poll can bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collector.poll import PollResult
from tests.support.builders import MISSING, answer, keystone, metrics_database, region
from tests.support.history import History, failure


@dataclass(frozen=True)
class Step:
    """One poll: what is answered, and with which key it was asked."""

    what: str
    said: Any
    key: str = "key-one"


def _story() -> list[Step]:
    shared = {"keystone_id": 1001}
    first = [
        region(1, "NEW", metrics_database_id=1, metrics_database=metrics_database()),
        region(2, **shared, keystone=keystone(1001, username="other")),
        region(3),
        region(4),
        region(5),
    ]
    changed = [region(1, slug="other", available_volume_types=["cold"]), *first[1:]]
    respelled = [region(1, slug="other", available_volume_types=["cold"], created_on="2019-12-31 23:59:59Z")]
    without = changed[:4]
    odd = [*changed[:3], region(4, "MELTED", not_documented={"a": 1}), {"id": "no id"}]
    nested = [
        region(1, slug="other", available_volume_types=["cold"], keystone=MISSING),
        region(2, **shared, keystone=keystone(1001, state="DELETED")),
        region(3, keystone=keystone(1003, state="NEW")),
        region(4, "MELTED", metrics_database_id=2, metrics_database=metrics_database(2)),
    ]
    once_more = [region(1), *nested[1:]]
    return [
        Step("the first poll", first),
        Step("unchanged", first),
        Step("unchanged bytes", first),
        Step("a change", changed),
        Step("the same in other words", respelled + changed[1:]),
        Step("a failure", failure()),
        Step("the same failure", failure()),
        Step("another failure", failure("http_status", http_status=503)),
        Step("partial", answer(changed[:2], count=5)),
        Step("complete again", changed),
        Step("a disappearance", without),
        Step("drift and a rejected record", odd),
        Step("nested keystones", nested),
        Step("another key", once_more, "key-two"),
        Step("held", [region(9)], "key-two"),
        Step("held again", [region(9)], "key-two"),
        Step("held and confirmed", [region(9)], "key-two"),
        Step("all are back", first, "key-two"),
        Step("midnight", first, "key-two"),
        Step("after midnight", first, "key-two"),
    ]


STORY = _story()
MINUTE = 60.0
MIDNIGHT = 12 * 60 * MINUTE
BEGIN = MIDNIGHT + MINUTE / 2 - MINUTE * [step.what for step in STORY].index("midnight")


def play(history: History, number: int) -> PollResult:
    """One step of the script."""
    step = STORY[number]
    if history.source.key() != step.key:
        history.change(api_key=step.key)
    return history.poll(step.said, at=BEGIN + MINUTE * number)
