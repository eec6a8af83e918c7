"""Mutated and generated answers through the whole write path: document, poll, database.

Whatever comes, a poll is recorded: it fails where a second opinion says that the answer is no listing, else it
applies; nothing else is ever raised. Good answers in between apply, and at the end the history follows from
its evidence. A failure names the seed: `FUZZ_SEED=… pytest tests/system/test_fuzz.py` does the same again.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest
import sqlalchemy as sa

from collector.gcore.jsontext import MAX_DEPTH, Number
from collector.poll import PollResult
from tests.support.fuzzing import Fuzzer
from tests.support.history import History

PER_SOURCE = 250
"""Answers of one history: what is known must not grow for ever."""
GOOD_AFTER = 10
"""Every so often a good answer must apply."""

# A second opinion on what can be used


class UnusableError(Exception):
    """No listing of regions that can be relied on."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise UnusableError("a key twice")
    return dict(pairs)


def _constant(name: str) -> Any:
    raise UnusableError(name)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + max((_depth(item) for item in inner), default=0)


def listing_in(said: bytes) -> dict[str, Any] | None:
    """The answer as the standard library reads it, where it is a listing; numbers as text."""
    try:
        text = said.decode().removeprefix("\ufeff")
        value = json.loads(
            text, object_pairs_hook=_pairs, parse_constant=_constant, parse_int=Number, parse_float=Number
        )
        usable = (
            _depth(value) <= MAX_DEPTH and isinstance(value, dict) and isinstance(value.get("results"), list)
        )
    except (ValueError, RecursionError, UnusableError):
        return None
    return value if usable else None


# Mutations of structure


# Mutations of bytes

# The run


def check(result: PollResult, said: bytes) -> None:
    """What must hold of every poll."""
    listing = listing_in(said)
    if listing is None:
        assert result.failure is not None, "no listing, and yet it applied"
        assert result.failure.cause in ("not_json", "not_a_listing")
        message = result.failure.message
        assert message.startswith("status 200, but ")
        assert message.isprintable()
        assert len(message) <= 500
        return
    assert result.failure is None, f"a listing, and yet: {result.failure}"
    assert result.recorded.listed in (len(listing["results"]), None)  # None: an older poll says it
    count = listing.get("count")
    is_complete = isinstance(count, Number) and count.as_int() == len(listing["results"])
    assert result.outcome in (("ok", "held") if is_complete else ("partial",))


def check_good(history: History, regions: list[dict[str, Any]]) -> None:
    """The answer applied, whatever came before."""
    source_id = history.writer.lease.source_id
    rows = {row["id"]: row for row in history.rows("regions", source_id=source_id)}
    for given in regions:
        row = rows[given["id"]]
        assert (row["state"], row["slug"], row["absent_since"]) == (given["state"], given["slug"], None)
    keystones = {row["id"]: row["state"] for row in history.rows("keystones", source_id=source_id)}
    assert {given["keystone_id"] for given in regions} <= keystones.keys()


def fuzz(engine: sa.Engine, answers: int) -> None:
    seed = os.environ.get("FUZZ_SEED") or str(random.SystemRandom().getrandbits(32))
    history = History(engine, name="fuzz-0")
    failed = 0
    for number in range(answers):
        fuzzer = Fuzzer(f"{seed}/{number}")
        said = b""
        try:
            said = fuzzer.answer()
            if number % PER_SOURCE == 0 and number:
                history.verify()
                history.restart(name=f"fuzz-{number}")
            elif fuzzer.chance.random() < 0.02:
                history.restart()
            result = history.poll(said, at=history.at + fuzzer.chance.choice([1, 60, 60, 60, 200, 4000]))
            check(result, said)
            failed += result.failure is not None
            if number % GOOD_AFTER == 0:
                regions = fuzzer.good()
                assert history.poll(regions).failure is None
                check_good(history, regions)
        except Exception as error:
            raise AssertionError(f"FUZZ_SEED={seed}, answer {number}: {said[:2000]!r}") from error
    history.verify()
    print(f"FUZZ_SEED={seed}: {answers} answers, {failed} of them no listings")
    assert 0.1 < failed / answers < 0.6, "mutations are too wild, or too tame, to be worth it"


@pytest.mark.long
@pytest.mark.parametrize(
    ("database_url", "answers"), [("sqlite", 300), ("postgresql", 100)], indirect=["database_url"]
)
def test_no_answer_of_many_does_harm(engine: sa.Engine, answers: int) -> None:
    fuzz(engine, answers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("database_url", "answers"), [("sqlite", 16_000), ("postgresql", 4000)], indirect=["database_url"]
)
def test_no_answer_of_twenty_thousand_does_harm(engine: sa.Engine, answers: int) -> None:
    fuzz(engine, answers)
