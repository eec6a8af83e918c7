"""The API's faults through the whole path: real HTTP on loopback, the client, `poll()`, both databases.

After each fault: a failed observation with its cause and a message for people, nothing else changed; then the
next good answer applies, and the history follows from its evidence. Or the answer is legal, odd as it looks,
and applies.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.gcore.body import MAX_BODY
from collector.gcore.client import Client
from collector.gcore.document import MAX_AT_ONCE
from collector.poll import PollResult, poll
from tests.support.builders import answer, body, region
from tests.support.command import environment
from tests.support.history import History
from tests.support.loopback import (
    BOMB,
    CHUNKED,
    IN_GZIP,
    OF_1000,
    Peer,
    Server,
    Step,
    cut,
    deaf_port,
    drip,
    error,
    flood,
    hang,
    head,
    raw,
    reply,
    stall,
    unused_port,
)
from tests.support.marks import long_on_postgresql

KEY = "73v1$qzWxvKpR8mTn"
_numbers = count(1)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Asks twice, without a pause in between."""
    client = Client(max_attempts=2, pause=lambda _: None)
    yield client
    client.close()


class Cloud:
    """A server on loopback that does what the test wants for the next poll, and a source that polls it."""

    def __init__(self, server: Server, history: History, client: Client) -> None:
        self.server, self.history, self.client = server, history, client
        self.url = server.url

    def poll(self, step: Step, **settings: Any) -> PollResult:
        self.server.turn_to(step)
        self.history.change(**({"base_url": self.url, "interval": "60s"} | settings))
        return poll(self.history.source, self.client.fetch, self.history.writer)

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.history.rows(table, source_id=self.history.writer.lease.source_id)


@pytest.fixture
def cloud(shared_engine: sa.Engine, client: Client) -> Iterator[Cloud]:
    with Server(reply(404)) as server:
        yield Cloud(
            server, History(shared_engine, name=f"fault-{next(_numbers)}", base_url=server.url), client
        )


def listing(state: str) -> bytes:
    return body(answer([region(1, state), region(2), region(3)]))


def good(state: str) -> Step:
    return reply(body=listing(state), Content_Type="application/json")


# Failures


@dataclass(frozen=True)
class Fault:
    """What the server does, and what is to be said of it."""

    step: Step
    cause: str
    said: str
    """A pattern that the message matches."""
    status: int | None = None
    silent: bool = False
    """Ends only with the deadline, so that is short."""
    elsewhere: Callable[[], AbstractContextManager[str]] | None = field(default=None)
    """A base URL to ask instead of the server."""


@contextmanager
def nobody() -> Iterator[str]:
    yield f"http://127.0.0.1:{unused_port()}"


@contextmanager
def deaf() -> Iterator[str]:
    with deaf_port() as port:
        yield f"http://127.0.0.1:{port}"


GOOD = listing("ACTIVE")
PACKED = gzip.compress(GOOD)
HTML = b"<!doctype html>\n<html><title>Sign in</title><body>Please sign in.</body></html>"


def unusable(said: bytes, message: str, cause: str = "not_json", **headers: str) -> Fault:
    """Status 200 with a body that is none."""
    return Fault(reply(body=said, **headers), cause, f"^status 200, but .*{message}", 200)


def hundred_megabytes(peer: Peer) -> None:
    """A listing that goes on and on, with its length announced."""
    size = 100_000_000
    flood(head(headers=[("Content-Length", str(size))]) + b'{"results":[', b'{"id":1},' * 7000, limit=size)(
        peer
    )


DEADLINE = r"^no complete answer within 0\.9 s"
BROKEN = "^the connection broke: "
NOT_WHOLE = "^the answer is incomplete or not HTTP: "

FAULTS: dict[str, Fault] = {
    # Connecting
    "refused": Fault(hang, "connect", "^no connection: .*refused", elsewhere=nobody),
    "no answer to a connection": Fault(hang, "connect", r"^no connection within 0\.9 s", None, True, deaf),
    # Headers
    "reset before the first byte": Fault(cut(), "protocol", BROKEN),
    "reset in the status line": Fault(cut(b"HTTP/1.1 20"), "protocol", BROKEN),
    "reset in the headers": Fault(cut(b"HTTP/1.1 200 OK\r\nContent-Le"), "protocol", BROKEN),
    "closed before the first byte": Fault(raw(b""), "protocol", NOT_WHOLE),
    "closed in the headers": Fault(raw(b"HTTP/1.1 200 OK\r\nContent-Le"), "protocol", NOT_WHOLE),
    "silent from the start": Fault(hang, "timeout", DEADLINE, silent=True),
    "silent in the status line": Fault(stall(b"HTTP/1.1 20"), "timeout", DEADLINE, silent=True),
    "silent in the headers": Fault(stall(b"HTTP/1.1 200 OK\r\nX: "), "timeout", DEADLINE, silent=True),
    "headers, a byte at a time": Fault(drip(b"HTTP/1.1 200 OK\r\nX: ", b"a"), "timeout", DEADLINE, silent=True),
    "not HTTP": Fault(raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "protocol", NOT_WHOLE),
    "headers without end": Fault(
        flood(b"HTTP/1.1 200 OK\r\n", b"X-More: more\r\n" * 500, limit=1 << 22), "protocol", NOT_WHOLE
    ),
    # Body
    "reset in the body": Fault(cut(OF_1000 + GOOD[:500]), "protocol", BROKEN),
    "reset in a chunk": Fault(cut(CHUNKED + b"fff\r\n" + GOOD[:500]), "protocol", BROKEN),
    "reset in a compressed body": Fault(cut(IN_GZIP + PACKED[:200]), "protocol", BROKEN),
    "closed in the body": Fault(raw(OF_1000 + GOOD[:500]), "protocol", NOT_WHOLE),
    "closed in a chunk": Fault(raw(CHUNKED + b"fff\r\n" + GOOD[:500]), "protocol", NOT_WHOLE),
    "closed before the last chunk": Fault(raw(CHUNKED + b"2\r\n{}\r\n"), "protocol", NOT_WHOLE),
    "silent before the body": Fault(stall(OF_1000), "timeout", DEADLINE, silent=True),
    "silent in the body": Fault(stall(OF_1000 + GOOD[:500]), "timeout", DEADLINE, silent=True),
    "silent in a chunk": Fault(stall(CHUNKED + b"fff\r\n{"), "timeout", DEADLINE, silent=True),
    "silent in a compressed body": Fault(stall(IN_GZIP + PACKED[:200]), "timeout", DEADLINE, silent=True),
    "body, a byte at a time": Fault(drip(OF_1000, b" ", 0.005), "timeout", DEADLINE, silent=True),
    "chunks, a byte at a time": Fault(drip(CHUNKED, b"1\r\n \r\n"), "timeout", DEADLINE, silent=True),
    "a refusal, a byte at a time": Fault(
        drip(head(503, [("Content-Length", "9999")]), b" "), "timeout", DEADLINE, silent=True
    ),
    "only informational responses": Fault(
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "timeout", DEADLINE, silent=True
    ),
    "a chunk whose size is no number": Fault(raw(CHUNKED + b"zz\r\n{}\r\n"), "protocol", NOT_WHOLE),
    # Compression
    "gzip cut short": Fault(
        reply(body=PACKED[:-9], Content_Encoding="gzip"), "protocol", "can't be decompressed: it ends too early"
    ),
    "gzip damaged": Fault(
        reply(body=PACKED[:60] + b"\xff" * 60, Content_Encoding="gzip"), "protocol", "can't be decompressed: "
    ),
    "gzip in name only": Fault(
        reply(body=GOOD, Content_Encoding="gzip"), "protocol", "can't be decompressed: .*incorrect header"
    ),
    "gzip without a name": unusable(PACKED, "looks compressed"),
    "gzip in gzip": unusable(gzip.compress(PACKED), "looks compressed", Content_Encoding="gzip"),
    "gzip that is called br": Fault(
        reply(body=PACKED, Content_Encoding="br"),
        "protocol",
        "its Content-Encoding is 'br', but only gzip was requested",
    ),
    "an empty body that is called gzip": Fault(
        reply(body=b"", Content_Encoding="gzip"), "protocol", "can't be decompressed: it ends too early"
    ),
    "a bomb": Fault(
        reply(body=BOMB, Content_Encoding="gzip"), "too_large", rf"larger than {MAX_BODY:,} bytes", 200
    ),
    "a bomb in a bomb": Fault(
        reply(body=gzip.compress(BOMB), Content_Encoding="gzip, gzip"),
        "protocol",
        "its Content-Encoding is 'gzip, gzip'",
    ),
    "a bomb that refuses": Fault(reply(401, BOMB, Content_Encoding="gzip"), "http_status", ".", 401),
    # Size
    "100 MB": Fault(hundred_megabytes, "too_large", rf"larger than {MAX_BODY:,} bytes", 200),
    "a body without end": Fault(flood(head(), b"x" * 65536), "too_large", f"larger than {MAX_BODY:,} bytes", 200),
    "a million numbers": unusable(
        b'{"count":0,"results":[],"x":[' + b"1," * 999_999 + b"1]}", "holds more than .* values", "not_a_listing"
    ),
    # Not JSON, or not such as can be relied on
    "nothing": unusable(b"", "the body is empty"),
    "blanks": unusable(b" \r\n\t ", "the body is empty"),
    "HTML": unusable(HTML, "looks like an HTML page", Content_Type="text/html"),
    "HTML that is called JSON": unusable(HTML, "looks like an HTML page", Content_Type="application/json"),
    "a listing cut short": unusable(GOOD[:500], "not JSON: .* at character"),
    "two listings": unusable(GOOD + GOOD, "not JSON: Extra data at character"),
    "invalid UTF-8": unusable(GOOD.replace(b"Region 1", b"Region \xff"), "not valid UTF-8 at byte"),
    "UTF-16": unusable(GOOD.decode().encode("utf-16"), "not valid UTF-8 at byte"),
    "an encoded surrogate": unusable(GOOD.replace(b"Region 1", b"\xed\xa0\x80"), "not valid UTF-8 at byte"),
    "a key twice": unusable(GOOD.replace(b'"state"', b'"id": 9, "state"', 1), "the key 'id' occurs twice"),
    "NaN": unusable(GOOD.replace(b'"id": 1', b'"id": NaN', 1), "NaN is not JSON"),
    "Infinity": unusable(GOOD.replace(b'"id": 1', b'"id": -Infinity', 1), "-Infinity is not JSON"),
    "NUL": unusable(GOOD.replace(b"Region 1", b"Region \0"), "not JSON: Invalid control character at character"),
    "lists 100,000 deep": unusable(b"[" * 100_000 + b"]" * 100_000, "nested deeper than 64 levels"),
    "objects 100,000 deep": unusable(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested deeper than 64"),
    "100,000 levels in a record": unusable(
        GOOD.replace(b'"ACTIVE"', b"[" * 100_000 + b"]" * 100_000, 1), "nested deeper than 64 levels"
    ),
    # Not a listing
    "an error with status 200": unusable(
        b'{"exception_class": "Overloaded", "message": "try later"}', "`results` is missing.*: try later",
        "not_a_listing",
    ),
    "a list": unusable(b"[]", "the answer is a list, not an object", "not_a_listing"),
    "a number of 5,000 digits": unusable(b"9" * 5000, "the answer is a number", "not_a_listing"),
}  # fmt: skip


def survives(cloud: Cloud, fault: Fault, states: Iterator[str]) -> PollResult:
    """The fault is recorded as what it is and changes nothing else; the next good answer applies."""
    before = [
        cloud.rows(t) for t in ("regions", "keystones", "region_versions", "state_transitions", "unseen")
    ]
    with fault.elsewhere() if fault.elsewhere else nullcontext(cloud.url) as base_url:
        result = cloud.poll(fault.step, base_url=base_url, interval="1s" if fault.silent else "60s")
    failure = result.failure
    assert failure is not None, result
    assert (failure.cause, failure.http_status) == (fault.cause, fault.status), failure
    assert re.search(fault.said, failure.message), failure.message
    assert failure.message.isprintable()
    assert len(failure.message) <= 500
    row = cloud.rows("observations")[-1]
    told = {name: row[name] for name in ("outcome", "cause", "http_status", "message", "payload")}
    assert told == {
        "outcome": "failed",
        "cause": fault.cause,
        "http_status": fault.status,
        "message": failure.message,
        "payload": None,
    }
    after = [
        cloud.rows(t) for t in ("regions", "keystones", "region_versions", "state_transitions", "unseen")
    ]
    assert after == before
    state = next(states)
    assert cloud.poll(good(state)).outcome == "ok"
    assert [r["state"] for r in cloud.rows("regions")] == [state, "ACTIVE", "ACTIVE"]
    return result


def new_states() -> Iterator[str]:
    yield from (f"STATE-{n}" for n in count(1))


def few(names: Iterable[str], size: int = 10) -> list[Any]:
    """How many share a history, because half of the work is to make one and to verify it."""
    listed = list(names)
    return [
        pytest.param(listed[i : i + size], id=f"{listed[i]} and so on") for i in range(0, len(listed), size)
    ]


@long_on_postgresql("shared_engine")
@pytest.mark.parametrize("names", few(FAULTS))
def test_a_fault_of_the_api_is_reported_in_words_and_the_next_good_answer_applies(
    cloud: Cloud, names: list[str]
) -> None:
    states = new_states()
    assert cloud.poll(good("ACTIVE")).outcome == "ok"
    for name in names:
        survives(cloud, FAULTS[name], states)
    outcomes = [row["outcome"] for row in cloud.rows("observations")]
    assert outcomes == ["ok", *["failed", "ok"] * len(names)]
    cloud.history.verify()


# Every class of status


def refusal(status: int) -> Fault:
    """In the API's own words where a body may stand."""
    step = error(status, "Overloaded", f"sorry, {status}", request_id="req-1f2e")
    return Fault(step, "http_status", "." if status in (204, 304) else f"^sorry, {status}$", status)


def bare(status: int) -> Fault:
    """As a proxy between us and the API may answer."""
    return Fault(reply(status, HTML, Content_Type="text/html"), "http_status", "^[^<]+$", status)


def statuses(*of: int) -> list[Fault]:
    return [each(status) for status in of for each in (refusal, bare)]


STATUSES: dict[str, list[Fault]] = {
    "1xx": [
        Fault(raw(head(100)), "protocol", NOT_WHOLE),
        Fault(raw(head(103, [("Link", "</x>")])), "protocol", NOT_WHOLE),
        Fault(raw(head(101, [("Upgrade", "h2c")]) + GOOD), "protocol", NOT_WHOLE),
    ],
    "2xx": statuses(201, 202, 203, 204, 206, 226, 299),
    "3xx": [
        Fault(
            reply(status, HTML, Location="/login"),
            "http_status",
            "^redirected to /login; .*not followed",
            status,
        )
        for status in (300, 301, 302, 303, 304, 305, 307, 308, 399)
    ],
    "4xx": statuses(400, 401, 402, 403, 404, 405, 407, 408, 409, 410, 418, 422, 429, 431, 451, 499),
    "5xx": statuses(500, 501, 502, 503, 504, 511, 520, 599),
    "beyond": statuses(600, 999),
}


@pytest.mark.long
@pytest.mark.parametrize("of", STATUSES)
def test_no_status_but_200_is_an_answer(cloud: Cloud, of: str) -> None:
    states = new_states()
    assert cloud.poll(good("ACTIVE")).outcome == "ok"
    for fault in STATUSES[of]:
        survives(cloud, fault, states)
    rows = cloud.rows("observations")
    assert [row["outcome"] for row in rows] == ["ok", *["failed", "ok"] * len(STATUSES[of])]
    in_words = [row for row in rows if row["exception_class"]]
    assert {(row["exception_class"], row["request_id"]) for row in in_words} <= {("Overloaded", "req-1f2e")}
    assert bool(in_words) == (of in ("2xx", "4xx", "5xx", "beyond"))
    cloud.history.verify()


def test_the_same_refusal_again_is_one_observation(cloud: Cloud) -> None:
    for _ in range(3):
        cloud.poll(error(503, "Overloaded", "sorry"))
    (row,) = cloud.rows("observations")
    assert (row["polls"], row["http_status"]) == (3, 503)


def test_a_redirect_to_another_host_takes_no_key_there(cloud: Cloud) -> None:
    states = new_states()
    cloud.poll(good("ACTIVE"))
    with Server(good("STOLEN")) as other:
        places = [other.url, f"{other.url}/cloud/v1/ai/regions", f"http://localhost:{other.port}/x"]
        places += [f"//127.0.0.1:{other.port}/", f"http://user:pass@127.0.0.1:{other.port}/"]
        kinds = [(302, place) for place in places] + [(s, other.url) for s in (300, 301, 303, 307, 308)]
        for status, place in kinds:
            step = reply(status, HTML, Location=place, Refresh=f"0; url={other.url}")
            fault = Fault(step, "http_status", f"^redirected to .*:{other.port}", status)
            assert "pass" not in repr(survives(cloud, fault, states))
        page = b'<meta http-equiv="refresh" content="0; url=%s">' % other.url.encode()
        survives(
            cloud,
            unusable(page, "looks like an HTML page", Location=other.url, Link=f"<{other.url}>"),
            states,
        )
        assert (other.connections, other.requests) == (0, [])
    assert {r.headers["authorization"] for r in cloud.server.requests} == {"apikey key-one"}
    cloud.history.verify()


# Legal, odd as it looks

ODD: dict[str, tuple[Step, dict[str, Any]]] = {
    # The step, and the contents of the row of region 1 that it lists
    "a JSON body that is called HTML": (reply(body=GOOD, Content_Type="text/html"), {}),
    "a JSON body of no type": (reply(body=GOOD), {}),
    "a JSON body of a nonsensical type": (reply(body=GOOD, Content_Type="\xff; charset=nonsense"), {}),
    "a JSON body that is called UTF-16": (reply(body=GOOD, Content_Type="application/json; charset=utf-16"), {}),
    "a byte order mark": (reply(body=b"\xef\xbb\xbf" + GOOD), {}),
    "gzip": (reply(body=PACKED, Content_Encoding="gzip"), {}),
    "deflate": (reply(body=zlib.compress(GOOD), Content_Encoding="deflate"), {}),
    "chunks of one byte": (raw(CHUNKED + b"".join(b"1\r\n%c\r\n" % b for b in GOOD) + b"0\r\n\r\n"), {}),
    "an end by closing": (raw(head() + GOOD), {}),
    "informational responses first": (raw(head(100) + head(103) + head() + GOOD), {}),
    "more bytes than announced": (raw(head(headers=[("Content-Length", str(len(GOOD)))]) + GOOD + b"more"), {}),
    "NUL, escaped": (reply(body=GOOD.replace(b"Region 1", b"a\\u0000b")), {"display_name": None}),
    "a lone high surrogate": (reply(body=GOOD.replace(b"Region 1", b"a\\ud800")), {"display_name": None}),
    "a lone low surrogate": (reply(body=GOOD.replace(b"Region 1", b"\\udfffb")), {"display_name": None}),
    "a pair of surrogates": (reply(body=GOOD.replace(b"Region 1", b"\\ud83d\\ude00")), {"display_name": "\U0001f600"}),
    "5,000 digits": (
        reply(body=GOOD.replace(b'"metrics_database_id": null', b'"metrics_database_id": ' + b"9" * 5000)),
        {"metrics_database_id": None},
    ),
    "300 zeros after a point": (reply(body=GOOD.replace(b'"id": 1,', b'"id": 1.' + b"0" * 300 + b",")), {"id": 1}),
    "5,000 digits of an unknown field": (
        reply(body=GOOD.replace(b'"id": 1,', b'"id": 1, "x": ' + b"7" * 5000 + b",")), {}
    ),
    "60 levels": (reply(body=GOOD.replace(b'"id": 1,', b'"id": 1, "x": ' + b"[" * 60 + b"]" * 60 + b",")), {}),
    "a megabyte of text": (
        reply(body=GOOD.replace(b"Region 1", b"x" * (1 << 20))), {"display_name": "x" * (1 << 20)}
    ),
    "as many blanks as there may be": (reply(body=GOOD + b" " * (MAX_AT_ONCE - len(GOOD))), {}),
}  # fmt: skip


@pytest.mark.parametrize("names", few(ODD))
def test_an_odd_answer_that_is_legal_applies(cloud: Cloud, names: list[str]) -> None:
    cloud.poll(good("NEW"))
    for name in names:
        step, shown = ODD[name]
        result = cloud.poll(step)
        assert (result.failure, result.outcome) == (None, "ok"), name
        row = cloud.rows("regions")[0]
        told = {
            "id": 1,
            "display_name": "Region 1",
            "state": "ACTIVE",
            "absent_since": None,
            "slug": "region-1",
        }
        assert {k: row[k] for k in told | shown} == told | shown, name
        drift = {(row["path"], row["kind"]) for row in cloud.rows("schema_drift")}
        assert drift >= {(f"results[].{field}", "unusable_value") for field in shown if shown[field] is None}
        assert cloud.poll(good("MAINTENANCE")).outcome == "ok", name
        assert [row["state"] for row in cloud.rows("regions")] == ["MAINTENANCE", "ACTIVE", "ACTIVE"]
    cloud.history.verify()


def test_a_record_whose_id_has_5000_digits_costs_that_record(cloud: Cloud) -> None:
    cloud.poll(good("ACTIVE"))
    result = cloud.poll(reply(body=GOOD.replace(b'"id": 1,', b'"id": ' + b"9" * 5000 + b",")))
    assert (result.failure, result.outcome) == (None, "ok")
    assert [row["reason"] for row in cloud.rows("rejected_records")] == ["no_usable_id"]
    assert [row["absent_since"] for row in cloud.rows("regions")] == [None] * 3
    survives(cloud, FAULTS["nothing"], new_states())
    cloud.history.verify()


# Memory


def filled(begin: str, unit: str, end: str, size: int = MAX_AT_ONCE) -> bytes:
    """A body of that size."""
    first, each, last = begin.encode(), unit.encode(), end.encode()
    return first + each * ((size - len(first) - len(last)) // len(each)) + last


RECORD = '{"count":1,"results":[{"id":1,"state":"'
GREEDY: dict[str, tuple[Callable[[], Step], int]] = {
    # The step, and how `collector poll` ends
    "100 MB": (lambda: hundred_megabytes, 1),
    "a bomb": (lambda: reply(body=BOMB, Content_Encoding="gzip"), 1),
    "as many values as are read": (
        lambda: reply(body=filled('{"count":0,"results":[],"x":[{}', ',{"a":1}', "]}", 249_000 * 8)),
        3,
    ),
    "as many values as fit": (lambda: reply(body=filled('{"results":[[]', ",[]", "]}")), 1),
    "wide text, with a part of the key": (lambda: reply(body=filled(RECORD + f"{KEY}\U0001f600", "xy ", '"}]}')), 3),
    "text that is escaped": (lambda: reply(body=filled(RECORD, "\U0001f600", '"}]}')), 3),
    "text that nearly holds a URL": (lambda: reply(body=filled(RECORD + "@", "//a:", '"}]}')), 3),
    "an error as long as a body": (lambda: reply(body=filled('{"message":"', "x", '"}')), 1),
}  # fmt: skip
FACTOR = 45
"""Bytes of memory for a byte of body: half as much again as what costs most, text that nearly holds a URL."""
MEASURED = """
import re, runpy, sys
try:
    runpy.run_module("collector", run_name="__main__")
finally:
    # Not ru_maxrss: on Linux that begins with what the parent had when it started this process.
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def peak_memory(database: Path, step: Step, code: int) -> int:
    """Bytes that `collector poll` holds at most, as a process of its own."""
    with Server(step) as server:
        settings = {"database_url": f"sqlite:///{database}", "base_url": server.url, "api_key": KEY}
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "poll", "--accept-base-url"],
            env=environment(settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return int(done.stdout.split()[-1]) * 1024


@pytest.fixture(scope="module")
def fed(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A database, and the memory that a usual poll takes."""
    database = tmp_path_factory.mktemp("greedy") / "collector.db"
    database.write_bytes(sqlite_template.read_bytes())
    return database, peak_memory(database, good("ACTIVE"), 0)


LESS_GREEDY = {
    *("a bomb", "as many values as are read", "as many values as fit"),
    *("text that is escaped", "an error as long as a body"),
}


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in LESS_GREEDY else []) for n in GREEDY]
)
def test_memory_is_bounded_whatever_is_sent(name: str, fed: tuple[Path, int], tmp_path: Path) -> None:
    """By the limit of a body, and so that a container of 512 MiB lives on."""
    template, usual = fed
    database = Path(shutil.copy(template, tmp_path))
    step, code = GREEDY[name]
    peak = peak_memory(database, step(), code)
    print(f"{name}: {(peak - usual) / 2**20:.0f} MiB more than the usual {usual / 2**20:.0f} MiB")
    assert peak - usual < FACTOR * MAX_AT_ONCE
    assert peak < 512 << 20
