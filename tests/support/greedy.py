"""Answers that cost as much as an answer can, and what a poll of each costs in memory and CPU time.

A shape is a function of a size (bytes; at most the limit of a body): the bodies of one poll after another. Each shape
is polled in a process of its own, over real HTTP and into a real SQLite file. The processes are forked from one that
has everything imported, so that what is measured is the poll and not the start of Python.

    python -m tests.support.greedy TEMPLATE SIZE [SHAPE ...]      a line of JSON for each shape
"""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.clock import utc_now
from collector.database.engine import open_engine
from collector.gcore.body import MAX_BODY
from collector.gcore.client import Client
from collector.gcore.document import LIMITS, MAX_AT_ONCE, MAX_VALUES_AT_ONCE
from collector.poll import poll
from collector.settings.models import Source
from collector.store import lease
from collector.store.opening import open_writer
from tests.support.builders import answer, body, region
from tests.support.loopback import Server, reply

KEY = "73v1$qzWxvKpR8mTn"
LONG_KEY = "eyJ" + "".join(f"{i * 7919 % 99991:x}Zq" for i in range(1400))[:8000]
"""As long as the tokens of some providers are."""

IN_RECORD = '{"count":1,"results":[{"id":1,"state":"A",'
JUDGED = MAX_VALUES_AT_ONCE / (LIMITS.effort - 100)
"""How many values there may be for each value that is judged."""

Shape = Callable[[int], list[bytes]]


def filled(begin: str, unit: str, end: str, size: int) -> bytes:
    """A body of that size."""
    first, each, last = begin.encode(), unit.encode(), end.encode()
    return first + each * ((size - len(first) - len(last)) // len(each)) + last


def as_name(text: str) -> str:
    return json.dumps(text)[1:-1]


def text(unit: str, begin: str = "", end: str = "") -> Shape:
    """A very long name of a region; the arguments are written as in JSON."""
    first = f'{{"count":1,"results":[{{"id":1,"state":"A","display_name":"{begin}'
    return lambda size: [filled(first, unit, f'{end}"}}]}}', size)]


def texts(unit: str, end: str = "", values: float = 1) -> Shape:
    """Many texts, each with a number in it, in one record."""
    return members(lambda i: f'"{unit}{i}{end}"', IN_RECORD + '"x":[', "]}]}", values)


def share(size: int, most: int, whole: int = MAX_BODY) -> int:
    return most * size // whole


def as_many(size: int, count: int, each: Callable[[int], str], begin: str, end: str) -> bytes:
    """As many elements as fit, at most `count`."""
    parts, left = [], size - len(begin) - len(end)
    for i in range(count):
        part = each(i)
        left -= len(part.encode()) + 1
        if left < 0:
            break
        parts.append(part)
    return (begin + ",".join(parts) + end).encode()


def records(each: Callable[[int], str], values: int, most: int = LIMITS.records) -> Shape:
    """Many records of `values` values each."""

    def bodies(size: int) -> list[bytes]:
        count = share(size, min(most, (LIMITS.values - 10) // values))
        return [as_many(size, count, each, '{"count":1,"results":[', "]}")]

    return bodies


def members(each: Callable[[int], str], begin: str, end: str, values: float = 1) -> Shape:
    """One object or list of many elements of `values` values each."""
    return lambda size: [
        as_many(size, share(size, int((MAX_VALUES_AT_ONCE - 50) // values), MAX_AT_ONCE), each, begin, end)
    ]


def in_turn(*shapes: Shape) -> Shape:
    """One poll after another."""
    return lambda size: [each for shape in shapes for each in shape(size)]


def whole(state: str) -> Shape:
    """Complete regions, as many as may be."""

    def bodies(size: int) -> list[bytes]:
        count = share(size, 10_000)
        listed = [region(i, state) for i in range(1, count + 1)]
        while len(made := body(answer(listed))) > size:
            listed = listed[: len(listed) * size // len(made)]
        return [made]

    return bodies


SPARSE = records(lambda i: f'{{"id":{i},"state":"A"}}', 3)
WITH_KEYSTONE = records(lambda i: f'{{"id":{i},"state":"A","keystone":{{"id":{i},"state":"N"}}}}', 5)
SHAPES: dict[str, Shape] = {
    # One long text
    "letters": text("x"),
    "letters of two bytes": text("ß"),
    "letters of four bytes": text("\U0001f600"),
    "one wide letter among narrow ones": text("xy ", "\U0001f600"),
    "escaped letters": text("\\u00df"),
    "lone surrogates": text("\\ud800"),
    "control characters": text("\\u0001"),
    "an open quote": text("x", "a=1 b='"),
    "an open double quote": text("x", 'a=1 b=\\"'),
    "a secret with an open quote": text("x", "password='"),
    "quotes": text("'", "key=1 "),
    "backslashes": text("\\\\\\\\", "key=1 "),
    "escapes of URLs": text("%41"),
    "escapes of escapes": text("%2525252541"),
    "per cent signs": text("%"),
    "escapes of HTML": text("&amp;amp;quot;"),
    "ampersands": text("&", "token"),
    "escaped signs": text("&quot;", "token"),
    "escaped settings": text("&quot;key&quot;&#58;x"),
    "escapes of e-mails": text("=41=42"),
    "escapes in octal": text("\\\\101"),
    "the key in full width": text("".join(chr(ord(c) + 0xFEE0) for c in KEY) + "x"),
    "full width": text("\uff41", "\uff41="),
    "users of hosts": text("a:b@c.d "),
    "short options": text("mysql -p x "),
    "hashes of passwords": text("$6$salt$aaaaaaaaa "),
    "cells": text("password | x |\\n"),
    "a drawn table": text("x | y \\n", "user | pin\\n---|---\\n"),
    "lines below names": text("token:\\nabcdef\\n"),
    "entries of XML": text("<e key='token'>x</e>"),
    "escaped slashes": text("%2F%2F"),
    "a URL that nearly is one": text("//a:", "@"),
    "at signs": text("@", "//"),
    "URLs": text("https://u:p@h/ "),
    "a part of the key": text("xy ", KEY[:10] + "\U0001f600"),
    "parts of the key": text(KEY[:10]),
    "parts of the key, apart": text(KEY[:9] + "  "),
    "the key escaped": text("".join(f"%{ord(c):02x}" for c in KEY) + "xxxxx"),
    "the key with escapes of one letter": text("\\\\x"),
    "assignments": text("a=1 "),
    "secrets in settings": text("password=x "),
    "fewer secrets than are too many": lambda size: text("password=" + "x" * 4000 + " ")(size),
    "names of two words": text("api key=x" + "y" * 500 + " "),
    "colons": text("token: a b c" + "-" * 5),
    "long names": text("a.b-c_d", "key", "=x"),
    "camels": text("aB", "", "=key"),
    "words that are no secrets": text("keystone tokenizer "),
    "members in a text": text('\\"password\\": \\"x\\", '),
    "brackets": text("{[", 'token {\\"key\\": '),
    "elements of XML": text("<key>x"),
    "elements of XML that end": text("<key>x</key>"),
    "flags": text(" --password x"),
    "schemes": text("bearer "),
    "basic": text("basic AAAAAAAAb1="),
    "a token without end": text("eyJ"),
    "tokens": text("eyJaaaaaa.bbbbbb "),
    "private keys": text("-----BEGIN PRIVATE KEY-----"),
    "private keys that do not end": text("-----BEGIN " + "A" * 39 + " "),
    "parameters": text("?token=a"),
    "escaped parameters": text("%3Ftoken%3Da"),
    "headers": text("Authorization: x\\n"),
    "JSON in a text": text("1,", "[", "1]"),
    "fractions of a second": lambda size: [
        filled(IN_RECORD + '"created_on":"2020-01-01T00:00:00.', "1", 'Z"}]}', size)
    ],
    # Many texts
    "many texts": texts("abcdef"),
    "many empty texts": texts(""),
    "as many secrets as are judged": texts("api key=", "", JUDGED),
    "as many settings as are judged": texts("pw=1 x", "", 2 * JUDGED),
    "as many URLs as are judged": texts("//a:b@c/d?token=", "", 2 * JUDGED),
    "as many parts of the key as are judged": texts(KEY[:9], "", JUDGED),
    "as much JSON in texts as is judged": texts("[" + "1," * 10, "]", 11),
    "many secrets": texts("api key="),
    "many settings": texts("a=1 b='x"),
    "many settings with secrets": texts("pw=1 x"),
    "many URLs": texts("//a:b@c/d"),
    "many parts of the key": texts(KEY[:9]),
    "many escapes": texts("%41%42%43"),
    "many tokens": texts("eyJ abc.def.ghi"),
    "much JSON in texts": texts("[" + "1," * 1000, "]"),
    "JSON in texts, as long as is read": texts("[" + "1," * 32_000, "]"),
    "JSON in JSON in texts": texts("[" + as_name(json.dumps(json.dumps(["x"] * 100))) + ",", "]"),
    "little JSON in texts": texts("[1,2,", "]"),
    "secrets in JSON in texts": texts(as_name('{"password":"x'), as_name('"}')),
    "JSON with escaped commas in texts": texts("[" + "1\\u002c" * 8000, "]"),
    "long settings": texts("token=" + "x y=" * 1500),
    # Numbers
    "a number without end": members(lambda i: "9" * 1000, IN_RECORD + '"x":[', "]}]}"),
    "one number": lambda size: [filled(IN_RECORD + '"x":', "9", "}]}", size)],
    "an id without end": lambda size: [filled('{"results":[{"state":"A","id":', "9", "}]}", size)],
    "numbers": members(lambda i: str(i), IN_RECORD + '"x":[', "]}]}"),
    "equal numbers": members(lambda i: "1", IN_RECORD + '"x":[', "]}]}"),
    "long numbers": members(lambda i: f"{i}.00000000e0", IN_RECORD + '"x":[', "]}]}"),
    "clients": members(
        lambda i: str(i), '{"results":[{"id":1,"state":"A","ddos_endpoint":{"client_ids":[', "]}}]}"
    ),
    # Containers
    "empty lists": members(lambda i: "[]", IN_RECORD + '"x":[', "]}]}", 2),
    "empty objects": members(lambda i: "{}", IN_RECORD + '"x":[', "]}]}", 2),
    "small objects": members(lambda i: f'{{"a{i % 1000}":1}}', IN_RECORD + '"x":[', "]}]}", 2),
    "pairs": members(lambda i: '["password","x"]', IN_RECORD + '"x":[', "]}]}", 3),
    "named values": members(
        lambda i: f'{{"name":"password","value":{i}}}', IN_RECORD + '"x":[', "]}]}", 3
    ),
    "options": members(lambda i: '"--password"', IN_RECORD + '"x":[', "]}]}"),
    "deep lists": members(lambda i: "[" * 50 + "]" * 50, IN_RECORD + '"x":[', "]}]}", 51),
    # Names of members
    "as many fields as are judged": members(lambda i: f'"f{i}":1', IN_RECORD, "}]}", JUDGED),
    "as many secret names as are judged": members(lambda i: f'"pw {i}":1', IN_RECORD, "}]}", JUDGED),
    "as many that differ only in their secrets as are judged": members(
        lambda i: f'"password={i:x}":1', IN_RECORD, "}]}", JUDGED
    ),
    "as many wide names as are judged": members(lambda i: f'"\U0001f600{i}":1', IN_RECORD, "}]}", JUDGED),
    "as many members of the answer as are judged": members(
        lambda i: f'"f{i}":1', '{"results":[],', "}", JUDGED
    ),
    "fields": members(lambda i: f'"f{i}":1', IN_RECORD, "}]}"),
    "members of the answer": members(lambda i: f'"f{i}":1', '{"results":[],', "}"),
    "secret names": members(lambda i: f'"pw {i}":1', IN_RECORD, "}]}"),
    "names that differ in their secrets": members(lambda i: f'"password={i:x}":1', IN_RECORD, "}]}", 12),
    "names of four bytes": members(lambda i: f'"\U0001f600{i}":1', IN_RECORD, "}]}"),
    "long names of fields": members(lambda i: f'"{"aB1_" * 5000}{i}":1', IN_RECORD, "}]}"),
    "a name without end": lambda size: [filled(IN_RECORD + '"', "aB_", '":1}]}', size)],
    "a name of ordinary words": lambda size: [filled(IN_RECORD + '"', "keystone", '":1}]}', size)],
    "a name of settings": lambda size: [filled(IN_RECORD + '"', "a=1 ", '":1}]}', size)],
    "links": members(lambda i: f'{{"rel":"next","href":"/{i}"}}', '{"results":[],"links":[', "]}", 3),
    "types of volumes": members(lambda i: f'"{i}"', IN_RECORD + '"available_volume_types":[', "]}]}"),
    # Records
    "sparse records": SPARSE,
    "sparse records that change": in_turn(
        SPARSE, records(lambda i: f'{{"id":{i},"state":"B"}}', 3), lambda _: [body(answer([region(1)]))]
    ),
    "sparse records with keystones": WITH_KEYSTONE,
    "sparse records with databases": records(
        lambda i: f'{{"id":{i},"state":"A","metrics_database":{{"id":{i}}}}}', 5
    ),
    "records with endpoints": records(lambda i: f'{{"id":{i},"state":"A","ddos_endpoint":{{"id":1}}}}', 5),
    "states": records(lambda i: f'{{"id":{i},"state":"{i}{"S" * 60}"}}', 3),
    "long enumerations": records(lambda i: f'{{"id":{i},"state":"{i}{"S" * 300}","zone":"{i}"}}', 4),
    "empty records": records(lambda i: "{}", 1),
    "records that are lists": records(lambda i: "[]", 1),
    "records that are numbers": records(lambda i: str(i), 1),
    "records without an id": records(lambda i: f'{{"state":"A{i}"}}', 2),
    "records without a state": records(lambda i: f'{{"id":{i}}}', 2),
    "records that name a keystone": records(lambda i: f'{{"id":{i},"keystone_id":{i}}}', 3),
    "one id": records(lambda i: f'{{"id":1,"state":"{i}"}}', 3),
    "equal records": records(lambda i: '{"id":1,"state":"A"}', 3),
    "records with fields of their own": records(lambda i: f'{{"id":{i},"state":"A","f{i}":1}}', 4),
    "records with types of volumes": records(
        lambda i: f'{{"id":{i},"state":"A","available_volume_types":["a","b","c","{i}"]}}', 8
    ),
    "records with wrong types": records(
        lambda i: f'{{"id":{i},"state":"A","slug":1,"zone":[],"country":{{}},"keystone":7}}', 7
    ),
    "records longer than are remembered": records(
        lambda i: f'{{"id":{i},"state":"A","slug":"{"x" * 17_000}"}}', 3
    ),
    "records of 6 KB with escapes of URLs": records(
        lambda i: f'{{"id":{i},"state":"A","x":"key{i}{"%41" * 2100}"}}', 4
    ),
    "records of 6 KB with parts of the key": records(
        lambda i: f'{{"id":{i},"state":"A","x":"{i}{(KEY[:10] + "  ") * 500}"}}', 4
    ),
    "records of 6 KB with secrets": records(
        lambda i: f'{{"id":{i},"state":"A","x":"{i} {"password=x " * 550}"}}', 4
    ),
    "records of 6 KB that change": in_turn(
        records(lambda i: f'{{"id":{i},"state":"A","x":"{"x" * 6300}"}}', 4),
        records(lambda i: f'{{"id":{i},"state":"B","x":"{"x" * 6300}"}}', 4),
    ),
    "whole regions": whole("ACTIVE"),
    "whole regions that change": in_turn(whole("ACTIVE"), whole("NEW")),
    # Answers that are none
    "an error": lambda size: [filled('{"message":"', "x", '"}', size)],
    "an error of many members": members(lambda i: f'"f{i}":"x"', "{", "}"),
    "a list": members(lambda i: "1", "[", "]"),
    "a text that is no JSON": lambda size: [b"x" * size],
    "HTML": lambda size: [filled("<html>", "<p>token=", "</html>", size)],
    "blanks": lambda size: [b" " * size],
    "half an answer": lambda size: [SPARSE(size)[0][:-2]],
    "more values than are read": lambda size: [filled('{"results":[[]', ",[]", "]}", size)],
    "bytes that are no text": lambda size: [b'{"results":[' + b'"x",' * share(size, 400_000) + b"\xff"],
    "a name that stands twice": members(lambda i: f'"f{i % 200_000}":1', "{", "}"),
}  # fmt: skip
LONG_KEYS = ("letters", "a part of the key", "many texts", "numbers", "sparse records", "whole regions")
"""Polled with a long key too."""


def names() -> list[str]:
    return [*SHAPES, *(f"{name}, a long key" for name in LONG_KEYS)]


def resident(which: str) -> int:
    """Bytes: `VmRSS` now, `VmHWM` at most."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def cost(name: str, size: int, template: Path, server: Server) -> dict[str, Any]:
    """Poll a shape. In a child process, since a peak stays a peak."""
    shape = SHAPES[name.removesuffix(", a long key")]
    key = LONG_KEY if name.endswith(", a long key") else KEY
    bodies = shape(size)
    facts = {"shape": name, "bytes": max(map(len, bodies))}
    count = len(bodies)
    server.turn_to(lambda peer: reply(body=bodies.pop(0))(peer))
    database = Path(shutil.copy(template, tempfile.mkdtemp(dir=template.parent)))
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told = _polled(count, key, database, server)
        except BaseException as error:  # noqa: BLE001 - the parent reports it
            told = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        os.write(into, json.dumps(told).encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as told_by_child:
        told = json.loads(told_by_child.read() or b'{"error": "killed"}')
    os.waitpid(child, 0)
    shutil.rmtree(database.parent)
    return facts | told


def _polled(count: int, key: str, database: Path, server: Server) -> dict[str, Any]:
    engine = open_engine(f"sqlite:///{database}")
    source = Source(base_url=server.url, api_key=key, interval="1h")  # type: ignore[arg-type]
    writer = open_writer(engine, source, lease.process_name(), accept_base_url=True)
    client = Client(max_attempts=1)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, outcomes, seconds = resident("VmRSS"), [], []
    for _ in range(count):
        began = time.process_time()
        result = poll(source, client.fetch, writer, utc_now)
        seconds.append(round(time.process_time() - began, 2))
        outcomes.append(result.failure.cause if result.failure else result.outcome)
    return {
        "before": before,
        "peak": resident("VmHWM"),
        "seconds": seconds,
        "outcomes": outcomes,
    }


def main(template: str, size: str, *wanted: str) -> None:
    with Server(reply(404)) as server:
        for name in wanted or names():
            print(json.dumps(cost(name, int(size), Path(template), server)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
