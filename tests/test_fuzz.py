"""Mutated and generated answers through the whole write path: document, poll, database.

Whatever comes, a poll is recorded: it fails where a second opinion says that the answer is no listing, else it
applies; nothing else is ever raised. Good answers in between apply, and at the end the history follows from
its evidence. A failure names the seed: `FUZZ_SEED=… pytest tests/test_fuzz.py` does the same again.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from collector.gcore.jsontext import MAX_DEPTH, Number, dumps, loads
from collector.poll import PollResult
from tests.builders import answer, body, keystone, metrics_database, region
from tests.history import History
from tests.openapi_documents import COLLECTION, REGION, fields_of, schemas
from tests.test_payload import spelled

PER_SOURCE = 250
"""Answers of one history: what is known must not grow for ever."""
GOOD_AFTER = 10
"""Every so often a good answer must apply."""
IDS = range(1, 4)

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


NAMES = [
    *{name for schema in schemas() if "properties" in schemas()[schema] for name in fields_of(schema)},
    *(
        "",
        "\0",
        "\ud800",
        "é",
        "a.b",
        "api_key",
        "Password",
        "x" * 300,
        "results",
        "count",
        "__class__",
        "\u202e",
    ),
]
TEXTS = [
    *{value for name in fields_of(REGION).values() for value in name.values},
    *("", " ", "\0", "\ud800", "\udfff\ud800", "\U0001f600", "active", "true", "7", "x" * 5000, "'; DROP TABLE x; --"),
    *("2023-02-30T00:00:00", "9999-12-31T23:59:60Z", "0001-01-01T00:00:00+23:59", "0000-00-00", "２０２３-02-03"),
    *("https://u:p@h/", "//", "@", "//a:" * 50 + "@", "%s", "\x1b[31m", "\u2028", "[redacted]", "key-one", "NaN"),
]  # fmt: skip
NUMBERS = [
    *(
        "0",
        "-0",
        "1",
        "2",
        "3.0",
        "4e0",
        "50e-1",
        "1.5",
        "-1",
        "1e400",
        "-1e400",
        "1e-400",
        "1e99999999",
        "9" * 5000,
    ),
    *(
        str(2**63 - 1),
        str(2**63),
        str(-(2**63)),
        str(-(2**63) - 1),
        "1.0e0",
        "1." + "0" * 399,
        "0." + "0" * 399 + "1",
    ),
]


class Fuzzer:
    """Makes one answer out of one number, always the same."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)

    def good(self) -> list[dict[str, Any]]:
        pick = self.chance.choice
        return [
            region(
                n,
                pick(["ACTIVE"] * 5 + ["NEW", "MAINTENANCE"]),
                keystone_id=1000 + n // 2,
                keystone=keystone(1000 + n // 2, state=pick(["INITIALIZED"] * 5 + ["NEW"])),
                metrics_database_id=1,
                metrics_database=metrics_database(1, port=pick([9097] * 9 + [9098])),
                available_volume_types=pick([["standard"]] * 5 + [None, [], ["standard", "ssd_local"]]),
            )
            for n in IDS
        ]

    def answer(self) -> bytes:
        """Anything from almost good to noise."""
        document = loads(body(answer(self.good())))
        kind = self.chance.random()
        if kind < 0.1:
            return self.bytes_from(self.generated())
        for _ in range(self.chance.choice([0, 1, 1, 1, 2, 3, 8])):
            document = self.chance.choice(STRUCTURAL)(self, document)
        text = spelled(document, self.chance.getrandbits(32)) if kind < 0.2 else dumps(document).encode()
        return self.bytes_from(text) if kind > 0.6 else text

    def bytes_from(self, text: bytes) -> bytes:
        for _ in range(self.chance.choice([0, 1, 1, 2, 5])):
            text = self.chance.choice(BYTEWISE)(self, text)
        return text

    # Values

    def leaf(self) -> Any:
        pick = self.chance.choice
        return pick(
            [
                None,
                True,
                False,
                pick(TEXTS),
                pick(TEXTS),
                Number(pick(NUMBERS)),
                Number(pick(NUMBERS)),
                [],
                {},
            ]
        )

    def value(self, depth: int = 3) -> Any:
        kind = self.chance.random()
        if depth == 0 or kind < 0.6:
            return self.leaf()
        size = self.chance.randint(0, 3)
        if kind < 0.8:
            return [self.value(depth - 1) for _ in range(size)]
        return {self.chance.choice(NAMES): self.value(depth - 1) for _ in range(size)}

    def generated(self) -> bytes:
        """By the names of the schema, and nothing else of it."""

        def thing(schema: str) -> Any:
            made = {}
            for name, what in fields_of(schema).items():
                if self.chance.random() < 0.9:
                    made[name] = (
                        thing(what.schema) if what.schema and self.chance.random() < 0.8 else self.value(1)
                    )
            return made

        records = [thing(REGION) for _ in range(self.chance.randint(0, 5))]
        for record in records:
            if self.chance.random() < 0.8:
                record["id"] = Number(str(self.chance.choice(IDS)))
        document = {"results": records, "count": Number(str(len(records)))}
        assert document.keys() == fields_of(COLLECTION).keys()
        return dumps(document if self.chance.random() < 0.9 else self.value()).encode()

    # Places

    def places(self, document: Any) -> list[tuple[Any, Any]]:
        """Every container with every key or index of it."""
        found: list[tuple[Any, Any]] = []
        todo = [document]
        while todo:
            node = todo.pop()
            for key in list(node) if isinstance(node, dict) else range(len(node)):
                found.append((node, key))
                if isinstance(node[key], dict | list):
                    todo.append(node[key])
        return found

    def place(self, document: Any) -> tuple[Any, Any] | None:
        places = self.places(document) if isinstance(document, dict | list) else []
        return self.chance.choice(places) if places else None


def at_a_place(change: Callable[[Fuzzer, Any, Any], None]) -> Callable[[Fuzzer, Any], Any]:
    def mutation(fuzzer: Fuzzer, document: Any) -> Any:
        place = fuzzer.place(document)
        if place is not None:
            change(fuzzer, *place)
        return document

    return mutation


def _other_value(fuzzer: Fuzzer, node: Any, key: Any) -> None:
    node[key] = fuzzer.leaf()


def _any_value(fuzzer: Fuzzer, node: Any, key: Any) -> None:
    node[key] = fuzzer.value()


def _missing(_: Fuzzer, node: Any, key: Any) -> None:
    del node[key]


def _another_name(fuzzer: Fuzzer, node: Any, key: Any) -> None:
    if isinstance(node, dict):
        node[fuzzer.chance.choice(NAMES)] = node.pop(key)


def _one_more(fuzzer: Fuzzer, node: Any, key: Any) -> None:
    if isinstance(node, dict):
        node[fuzzer.chance.choice(NAMES)] = fuzzer.value()
    else:
        node.insert(key, fuzzer.chance.choice([node[key], fuzzer.value()]))


def _wrapped(fuzzer: Fuzzer, node: Any, key: Any) -> None:
    for _ in range(fuzzer.chance.choice([1, 2, 58, 59, 60, 61, 62, 63, 64, 65])):
        node[key] = [node[key]] if fuzzer.chance.random() < 0.5 else {"a": node[key]}


def _swapped(fuzzer: Fuzzer, document: Any) -> Any:
    """Two values anywhere: of one record, of two, or of different levels."""
    one, other = fuzzer.place(document), fuzzer.place(document)
    if one and other:
        (a, i), (b, j) = one, other
        a[i], b[j] = copy.deepcopy(b[j]), copy.deepcopy(a[i])
    return document


def _reordered(fuzzer: Fuzzer, document: Any) -> Any:
    lists = [node[key] for node, key in fuzzer.places(document) if isinstance(node[key], list)]
    for found in fuzzer.chance.sample(lists, min(len(lists), 2)):
        fuzzer.chance.shuffle(found)
    return document


def _fewer(fuzzer: Fuzzer, document: Any) -> Any:
    """Records vanish, and the count agrees, or does not."""
    results = document.get("results") if isinstance(document, dict) else None
    if isinstance(results, list):
        del results[fuzzer.chance.randint(0, len(results)) :]
        if fuzzer.chance.random() < 0.7:
            document["count"] = Number(str(len(results)))
    return document


def _twice(fuzzer: Fuzzer, document: Any) -> Any:
    """A record stands twice, perhaps with a difference."""
    results = document.get("results") if isinstance(document, dict) else None
    if isinstance(results, list) and results:
        again = copy.deepcopy(fuzzer.chance.choice(results))
        results.append(again)
        if fuzzer.chance.random() < 0.5 and isinstance(again, dict):
            again[fuzzer.chance.choice(["state", "slug", "keystone_id", "keystone", "x"])] = fuzzer.leaf()
        document["count"] = Number(str(len(results)))
    return document


STRUCTURAL: list[Callable[[Fuzzer, Any], Any]] = [
    *(
        at_a_place(change)
        for change in (_other_value, _any_value, _missing, _another_name, _one_more, _wrapped)
    ),
    *(at_a_place(_other_value), at_a_place(_missing), _swapped, _swapped, _reordered, _fewer, _twice),
]

# Mutations of bytes

TOKENS = [
    *(b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\0"),
    *(b'"id":1,', b'"state":"NEW",', b'"results":[],', b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b"\xed\xa0\x80"),
    *(b"1e999", b"-", b"0", b".", b"9" * 5000, b"[" * 2000, b'{"a":' * 2000, b"[" * 64 + b"]" * 64, b"\xef\xbb\xbf"),
    *(b"<html>", b" ", b"\xff", b"\xc0\x80"),
]  # fmt: skip


def _flip(fuzzer: Fuzzer, text: bytes) -> bytes:
    changed = bytearray(text)
    for _ in range(fuzzer.chance.choice([1, 1, 3])):
        if changed:
            changed[fuzzer.chance.randrange(len(changed))] ^= 1 << fuzzer.chance.randrange(8)
    return bytes(changed)


def _cut(fuzzer: Fuzzer, text: bytes) -> bytes:
    return text[: fuzzer.chance.randint(0, len(text))]


def _slice(fuzzer: Fuzzer, text: bytes) -> tuple[int, int]:
    start = fuzzer.chance.randint(0, len(text))
    return start, min(len(text), start + fuzzer.chance.choice([1, 2, 5, 40, 400]))


def _without(fuzzer: Fuzzer, text: bytes) -> bytes:
    start, end = _slice(fuzzer, text)
    return text[:start] + text[end:]


def _repeated(fuzzer: Fuzzer, text: bytes) -> bytes:
    start, end = _slice(fuzzer, text)
    return text[:end] + text[start:end] + text[end:]


def _token(fuzzer: Fuzzer, text: bytes) -> bytes:
    start = fuzzer.chance.randint(0, len(text))
    return text[:start] + fuzzer.chance.choice(TOKENS) + text[start:]


def _digit(fuzzer: Fuzzer, text: bytes) -> bytes:
    digits = [i for i, byte in enumerate(text) if chr(byte).isdigit()]
    if not digits:
        return text
    at = fuzzer.chance.choice(digits)
    return text[:at] + fuzzer.chance.choice([b"", b"0", b"7", b"99", b"-1", b"1.0", b"1e3"]) + text[at + 1 :]


BYTEWISE: list[Callable[[Fuzzer, bytes], bytes]] = [
    _flip,
    _cut,
    _without,
    _repeated,
    _token,
    _token,
    _digit,
    _digit,
]

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
