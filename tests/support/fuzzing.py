"""Answers made wrong: values, structure, bytes."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from collector.gcore.jsontext import Number, dumps, loads
from tests.support.builders import answer, body, keystone, metrics_database, region
from tests.support.openapi_documents import COLLECTION, REGION, fields_of, schemas
from tests.support.spelling import spelled

IDS = range(1, 4)


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
