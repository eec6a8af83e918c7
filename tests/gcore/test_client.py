"""The client against a real server on loopback that misbehaves in every way that a test can name."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import logging
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import collector
from collector.errors import SettingsError
from collector.gcore import client as client_module
from collector.gcore.client import PATH, Client
from collector.gcore.exchange import Answer, Failure, Request
from collector.gcore.transport import certificate_folders, goes_direct
from tests.support.loopback import (
    Peer,
    Server,
    Step,
    deaf_port,
    drip,
    echo,
    error,
    flood,
    hang,
    head,
    raw,
    reply,
    reset,
    tls_context,
    tunnel_to,
    unused_port,
)

KEY = "73v1$qzWxvKpR8mTn"
"""Shares no four characters in a row with anything else that these tests print."""
NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HTTP_NOON = "Fri, 01 May 2026 12:00:00 GMT"
SANE = 4.0
"""Seconds. Deadlines here are well below a second: what takes so long was not cut."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificate of the machine that runs the tests stands between."""
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "ssl_cert_file",
        "ssl_cert_dir",
        "sslkeylogfile",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def pauses() -> list[float]:
    """The waits between attempts that the client asked for; nobody waits them."""
    return []


@pytest.fixture
def new_client(pauses: list[float]) -> Iterator[Callable[..., Client]]:
    with ExitStack() as stack:

        def new(**options: Any) -> Client:
            client = Client(**({"pause": pauses.append} | options))
            stack.callback(client.close)
            return client

        yield new


@pytest.fixture
def client(new_client: Callable[..., Client]) -> Client:
    return new_client()


def request_to(server: Server, seconds: float = 300, **fields: Any) -> Request:
    return Request(**({"base_url": server.url, "key": KEY, "deadline": timedelta(seconds=seconds)} | fields))


def ask(client: Client, *script: Step, seconds: float = 300, **fields: Any) -> Answer | Failure:
    with Server(*script) as server:
        return client.fetch(request_to(server, seconds, **fields))


def refused(outcome: Answer | Failure) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


def answered(outcome: Answer | Failure) -> Answer:
    assert isinstance(outcome, Answer), outcome
    return outcome


def parts(secret: str, size: int = 4) -> set[str]:
    return {secret[i : i + size] for i in range(len(secret) - size + 1)}


def assert_keyless(thing: object, key: str = KEY) -> None:
    """The text of an object never shows four consecutive characters of the key."""
    shown = repr(thing) + str(thing)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        shown += str(dataclasses.asdict(thing))
    assert not [part for part in parts(key) if part in shown], shown


class FakeClock:
    """Stands still until a server or a pause moves it."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def during(self, seconds: float, step: Step) -> Step:
        """A step that takes so long, by this clock."""

        def slow(peer: Peer) -> None:
            self.forward(seconds)
            step(peer)

        return slow


@contextmanager
def bounded(seconds: float = SANE) -> Iterator[None]:
    began = monotonic()
    yield
    assert monotonic() - began < seconds


# The question


@pytest.mark.parametrize("scheme", ["apikey", "APIKey", "Bearer"])
@pytest.mark.parametrize("prefix", ["", "/", "/reseller/api"])
def test_a_question_is_one_get_with_the_key_in_its_header(client: Client, scheme: str, prefix: str) -> None:
    with Server(reply(body=b"[1]")) as server:
        outcome = client.fetch(request_to(server, base_url=server.url + prefix, scheme=scheme))
    assert answered(outcome).body == b"[1]"
    assert outcome.exchange.attempts == 1
    (request,) = server.requests
    assert (request.method, request.target) == ("GET", prefix.rstrip("/") + "/cloud/v1/ai/regions")
    assert request.headers["authorization"] == f"{scheme} {KEY}"
    assert request.headers["user-agent"] == f"gcore-collector/{collector.__version__}"
    assert request.headers["accept"] == "application/json"
    assert "cookie" not in request.headers


def test_cookies_of_one_answer_are_not_sent_with_the_next_question(client: Client) -> None:
    """One client serves several sources: what one sets, another must not get."""
    with Server(reply(Set_Cookie="session=1; Path=/")) as server:
        client.fetch(request_to(server))
        client.fetch(request_to(server, key="another-key"))
    assert "cookie" not in server.requests[1].headers


def test_a_cookie_that_can_not_be_sent_back_does_not_stop_later_polls(client: Client) -> None:
    with Server(reply(Set_Cookie="\xd7=1"), reply(body=b"[8]")) as server:
        client.fetch(request_to(server))
        assert answered(client.fetch(request_to(server))).body == b"[8]"


def test_every_question_has_a_connection_of_its_own(client: Client) -> None:
    with Server(reply()) as server:
        for _ in range(3):
            answered(client.fetch(request_to(server)))
        assert server.connections == 3


def test_a_question_that_is_shared_between_threads_gets_its_own_answer(client: Client) -> None:
    keys = [f"key-of-thread-{n}" for n in range(24)]
    with Server(echo) as server, ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(lambda key: client.fetch(request_to(server, key=key)), keys))
    assert [answered(o).body.decode() for o in outcomes] == [f"apikey {key}" for key in keys]


# Trying again


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 599])
def test_a_status_that_may_pass_is_asked_again(client: Client, pauses: list[float], status: int) -> None:
    outcome = ask(client, error(status), error(status), reply(body=b"[2]"))
    assert answered(outcome).body == b"[2]"
    assert outcome.exchange.attempts == 3
    assert len(pauses) == 2


@pytest.mark.parametrize(
    "status",
    [201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 410, 418, 422, 451],
)
def test_any_other_status_is_final(client: Client, pauses: list[float], status: int) -> None:
    with Server(reply(status, b""), reply()) as server:
        outcome = refused(client.fetch(request_to(server)))
    assert (outcome.cause, outcome.http_status, outcome.exchange.attempts) == ("http_status", status, 1)
    assert (len(server.requests), pauses) == (1, [])
    assert outcome.message


BROKEN: dict[str, Step] = {
    "reset": reset,
    "closed without a byte": raw(b""),
    "closed within the headers": raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "body shorter than its Content-Length": reply(body=b'{"count": 0', length=100),
    "chunk size is no number": raw(
        head(headers=[("Transfer-Encoding", "chunked")]) + b"zz\r\nhello\r\n0\r\n\r\n"
    ),
    "chunk cut short": raw(head(headers=[("Transfer-Encoding", "chunked")]) + b"ff\r\nhello"),
    "no last chunk": raw(head(headers=[("Transfer-Encoding", "chunked")]) + b"2\r\n{}\r\n"),
    "two lengths that differ": raw(
        head(headers=[("Content-Length", "2"), ("Content-Length", "3")]) + b"{}\r\n"
    ),
    "length is no number": raw(head(headers=[("Content-Length", "two")]) + b"{}"),
    "headers without end": flood(b"HTTP/1.1 200 OK\r\n", b"X-More: more\r\n" * 500, limit=1 << 22),
    "gzip in name only": reply(body=b'{"count": 0, "results": []}', Content_Encoding="gzip"),
    "gzip damaged": reply(
        body=gzip.compress(b"0123456789" * 999)[:40] + b"\xff" * 40, Content_Encoding="gzip"
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_breaks_is_asked_again(client: Client, name: str) -> None:
    outcome = ask(client, BROKEN[name], reply(body=b"[3]"))
    assert (answered(outcome).body, outcome.exchange.attempts) == (b"[3]", 2)


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_stays_broken_is_a_failure_of_the_protocol(client: Client, name: str) -> None:
    outcome = refused(ask(client, BROKEN[name]))
    assert (outcome.cause, outcome.http_status, outcome.exchange.attempts) == ("protocol", None, 6)
    assert outcome.message
    assert outcome.message.isprintable()


def test_nobody_listens(client: Client, pauses: list[float]) -> None:
    address = f"http://127.0.0.1:{unused_port()}"
    outcome = refused(client.fetch(Request(address, KEY, deadline=timedelta(seconds=300))))
    assert (outcome.cause, outcome.exchange.attempts, len(pauses)) == ("connect", 6, 5)
    assert_keyless(outcome)


def test_a_name_that_does_not_resolve_is_no_connection(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    outcome = refused(client.fetch(Request("http://nowhere.test", KEY, deadline=timedelta(seconds=300))))
    assert (outcome.cause, outcome.exchange.attempts) == ("connect", 6)


def test_silence_is_asked_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "READ_TIMEOUT", 0.1)
    outcome = ask(client, hang, hang, reply(body=b"[4]"))
    assert (answered(outcome).body, outcome.exchange.attempts) == (b"[4]", 3)


def test_an_untrusted_certificate_is_no_connection(client: Client, tmp_path: Path) -> None:
    context, _ = tls_context(tmp_path)
    with Server(reply(), tls=context) as server:
        outcome = refused(client.fetch(request_to(server)))
    assert (outcome.cause, server.requests) == ("connect", [])
    assert "certificate" in outcome.message.lower()


def test_a_certificate_that_the_settings_trust_is_trusted(
    new_client: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = tls_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with Server(reply(body=b"[5]"), tls=context) as server:
        assert answered(new_client().fetch(request_to(server))).body == b"[5]"


@pytest.mark.parametrize("attempts", [1, 2, 6])
def test_it_gives_up_after_all_attempts_with_the_last_failure(
    new_client: Callable[..., Client], attempts: int
) -> None:
    script = [error(500, message=f"failure {n}") for n in range(1, 9)]
    with Server(*script) as server:
        outcome = refused(new_client(max_attempts=attempts).fetch(request_to(server)))
    assert len(server.requests) == outcome.exchange.attempts == attempts
    assert outcome.message == f"failure {attempts}"


def test_the_waits_double_from_half_a_second_to_eight_with_jitter(
    new_client: Callable[..., Client], pauses: list[float]
) -> None:
    refused(ask(new_client(max_attempts=9), error(503), seconds=3000))
    least = [0.5, 1, 2, 4, 8, 8, 8, 8]
    assert all(low <= wait <= min(low + 0.5, 8) for low, wait in zip(least, pauses, strict=True)), pauses


def test_a_failure_of_another_kind_in_between_does_not_matter(client: Client) -> None:
    outcome = ask(client, reset, error(503), reply(body=b"{", length=9), error(401, message="final"), reply())
    assert (refused(outcome).http_status, outcome.exchange.attempts) == (401, 4)


# Retry-After

BACKOFF = None
"""The header is ignored: the wait is that of a first attempt."""


@pytest.mark.parametrize(
    ("given", "date", "wait"),
    [
        ("7", None, 7),
        ("0", None, 0),
        ("007", None, 7),
        ("60", None, 60),
        ("61", None, BACKOFF),
        ("3600", None, BACKOFF),
        ("9" * 30, None, BACKOFF),
        ("9" * 5000, None, BACKOFF),
        ("-5", None, BACKOFF),
        ("+5", None, BACKOFF),
        ("1.5", None, BACKOFF),
        ("1e1", None, BACKOFF),
        ("5 s", None, BACKOFF),
        ("5, 5", None, BACKOFF),
        ("soon", None, BACKOFF),
        ("", None, BACKOFF),
        ("\xb2", None, BACKOFF),
        ("Fri, 01 May 2026 12:00:30 GMT", HTTP_NOON, 30),
        ("Fri, 01 May 2026 14:00:30 +0200", HTTP_NOON, 30),
        ("Fri, 01 May 2026 12:00:00 GMT", HTTP_NOON, 0),
        ("Fri, 01 May 2026 11:00:00 GMT", HTTP_NOON, 0),
        ("Fri, 01 May 2026 12:01:00 GMT", HTTP_NOON, 60),
        ("Fri, 01 May 2026 12:01:01 GMT", HTTP_NOON, BACKOFF),
        ("Fri, 01 May 2026 12:00:60 GMT", HTTP_NOON, 59),  # a leap second
        ("Fri, 01 May 2026 12:00:30 GMT", None, BACKOFF),
        ("Fri, 01 May 2026 12:00:30 GMT", "yesterday", BACKOFF),
        ("Fri, 01 May 2026 12:00:30", HTTP_NOON, BACKOFF),
        ("Fri, 01 May 2026 12:00:30 -0000", HTTP_NOON, BACKOFF),
        ("Fri, 99 May 2026 12:00:30 GMT", HTTP_NOON, BACKOFF),
        ("Fri, 01 May 99999 12:00:30 GMT", HTTP_NOON, BACKOFF),
        ("Fri, 01 May 2026 12:00:30 +99999999999999", HTTP_NOON, BACKOFF),
        ("Fri, 01 May 2026 12:00:30 GMT", "Fri, 01 May 2026 12:00:00 +99999999999999", BACKOFF),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(
    client: Client, pauses: list[float], status: int, given: str, date: str | None, wait: float | None
) -> None:
    headers = {"Retry_After": given} | ({} if date is None else {"Date": date})
    outcome = ask(client, reply(status, b"", **headers), reply(body=b"[6]"))
    assert answered(outcome).body == b"[6]"
    (paused,) = pauses
    assert 0.5 <= paused <= 1 if wait is None else paused == wait


def test_retry_after_counts_from_the_servers_clock_not_from_ours(
    new_client: Callable[..., Client], pauses: list[float]
) -> None:
    wrong = new_client(clock=lambda: NOON - timedelta(days=400))
    given = {"Retry_After": "Fri, 01 May 2026 12:00:09 GMT", "Date": HTTP_NOON}
    answered(ask(wrong, reply(429, **given), reply()))
    assert pauses == [9]


def test_a_wait_that_would_outlast_the_deadline_is_not_begun(client: Client, pauses: list[float]) -> None:
    outcome = refused(ask(client, reply(429, Retry_After="30"), reply(), seconds=5))
    assert (outcome.http_status, outcome.exchange.attempts, pauses) == (429, 1, [])


# The deadline

CHUNKED = head(headers=[("Transfer-Encoding", "chunked")])
SLOW: dict[str, Step] = {
    "nothing comes": hang,
    "status line, a byte at a time": drip(b"", b"H"),
    "headers, a byte at a time": drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
    "headers, a line at a time": drip(b"HTTP/1.1 200 OK\r\n", b"X-More: a\r\n"),
    "body, a byte at a time": drip(head(headers=[("Content-Length", "999999")]), b" "),
    "body until the connection ends, a byte at a time": drip(head(), b" "),
    "chunks, one byte each": drip(CHUNKED, b"1\r\n \r\n"),
    "a chunk size without end": drip(CHUNKED + b"1", b"\t"),
    "a compressed body that says nothing": drip(
        head(headers=[("Content-Encoding", "gzip"), ("Content-Length", "999999")]) + gzip.compress(b""), b"\0"
    ),
    "body of a refusal, a byte at a time": drip(head(503, [("Content-Length", "999999")]), b" "),
    "only informational responses": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a flood of informational responses": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_server_that_never_ends_is_cut_at_the_deadline(client: Client, name: str) -> None:
    with bounded():
        outcome = refused(ask(client, SLOW[name], seconds=0.3))
    assert (outcome.cause, outcome.exchange.attempts) == ("timeout", 1)
    assert "0.3 s" in outcome.message


def test_all_attempts_share_one_deadline(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six attempts of a second each would be asked for, were the deadline that of one attempt."""
    monkeypatch.setattr(client_module, "READ_TIMEOUT", 1.0)
    with bounded(), Server(hang) as server:
        outcome = refused(client.fetch(request_to(server, 1.5, key=KEY)))
    assert outcome.cause == "timeout"
    assert len(server.requests) <= 2


@pytest.mark.parametrize("seconds", [0, -1, 0.000001])
def test_no_time_at_all_is_a_failure_and_not_an_error(client: Client, seconds: float) -> None:
    with bounded():
        outcome = refused(ask(client, hang, seconds=seconds))
    assert outcome.cause in ("timeout", "connect")


def test_a_slow_tls_handshake_is_cut(
    new_client: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = tls_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    # Not a TLS server: it reads the ClientHello and announces a record that it sends a byte at a time.
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        stop = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"\x16\x03\x03\x3f\xff")
                while not stop.wait(0.02):
                    try:
                        connection.sendall(b"\0")
                    except OSError:
                        return

        serving = pool.submit(serve)
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with bounded():
                outcome = refused(
                    new_client(max_attempts=1).fetch(Request(address, KEY, deadline=timedelta(seconds=0.3)))
                )
        finally:
            stop.set()
            serving.result(5)
    assert outcome.cause in ("timeout", "connect")


@pytest.mark.parametrize("name", ["headers, a byte at a time", "body, a byte at a time"])
def test_a_slow_server_behind_tls_is_cut(
    new_client: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    context, file = tls_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with bounded(), Server(SLOW[name], tls=context) as server:
        outcome = refused(new_client().fetch(request_to(server, 0.5)))
    assert outcome.cause == "timeout"


@pytest.mark.parametrize("name", ["headers, a byte at a time", "body, a byte at a time"])
def test_a_slow_server_behind_a_proxy_and_tls_is_cut(
    new_client: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Behind a proxy httpcore names the start of TLS otherwise than without one."""
    context, file = tls_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with Server(SLOW[name], tls=context) as server, Server(tunnel_to(server)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        # Were it not cut, the test would end all the same, and fail: the server stops after 5 seconds.
        stop = threading.Timer(5, server.stop)
        stop.start()
        try:
            with bounded():
                outcome = refused(new_client(max_attempts=1).fetch(request_to(server, 0.5)))
        finally:
            stop.cancel()
    assert proxy.requests[0].method == "CONNECT"
    assert "authorization" not in proxy.requests[0].headers
    assert outcome.cause == "timeout"


def test_an_address_that_does_not_answer_is_no_connection(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT", 0.1)
    with deaf_port() as port:
        address = f"http://127.0.0.1:{port}"
        outcome = refused(client.fetch(Request(address, KEY, deadline=timedelta(seconds=300))))
    assert (outcome.cause, outcome.exchange.attempts) == ("connect", 6)
    assert outcome.message == "no connection within 0.1 s"


def test_a_name_with_many_dead_addresses_keeps_the_deadline(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connect time-out holds for one address; a name may have a dozen, and all may be silent."""
    resolve = socket.getaddrinfo

    with deaf_port() as port:

        def many(host: str | bytes | None, *rest: Any, **more: Any) -> list[Any]:
            dead = host == "many.test"
            return resolve("127.0.0.1" if dead else host, *rest, **more) * (6 if dead else 1)

        monkeypatch.setattr(socket, "getaddrinfo", many)
        address = f"http://many.test:{port}"
        with bounded(2.0):
            outcome = refused(client.fetch(Request(address, KEY, deadline=timedelta(seconds=0.4))))
    assert outcome.cause in ("timeout", "connect")


# Bodies

LISTING = b'{"count":0,"results":[]}'


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(LISTING)),
        ("GZIP", gzip.compress(LISTING)),
        ("deflate", zlib.compress(LISTING)),
        ("deflate", zlib.compress(LISTING, wbits=-15)),
        ("deflate", gzip.compress(LISTING)),
        ("gzip", gzip.compress(LISTING[:9]) + gzip.compress(b"") + gzip.compress(LISTING[9:])),
        ("gzip", b"".join(gzip.compress(bytes([byte])) for byte in LISTING)),
        ("gzip", gzip.compress(LISTING) + bytes(1000)),
        ("gzip", gzip.compress(LISTING[:9]) + bytes(7) + gzip.compress(LISTING[9:]) + b"and more"),
        ("x-gzip, identity", gzip.compress(LISTING)),
        (" , gzip", gzip.compress(LISTING)),
        ("identity", LISTING),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_compressed_body_is_read(client: Client, encoding: str, body: bytes) -> None:
    assert answered(ask(client, reply(body=body, Content_Encoding=encoding))).body == LISTING


def test_a_body_in_chunks_is_read(client: Client) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in LISTING)
    assert answered(ask(client, raw(CHUNKED + chunks + b"0\r\n\r\n"))).body == LISTING


def test_a_body_without_a_length_ends_with_the_connection(client: Client) -> None:
    assert answered(ask(client, raw(head() + LISTING))).body == LISTING


def test_an_empty_body_is_an_answer_that_others_judge(client: Client) -> None:
    assert answered(ask(client, reply(body=b""))).body == b""


def test_the_hash_of_a_body_is_over_its_bytes(client: Client) -> None:
    answer = answered(ask(client, reply(body=LISTING)))
    assert answer.body_hash() == hashlib.sha256(LISTING).digest()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("limit", [1, 65536, 100_000])
def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_too_large(
    new_client: Callable[..., Client], limit: int, compressed: bool
) -> None:
    def of_size(size: int) -> Step:
        body = b"x" * size
        return reply(body=gzip.compress(body), Content_Encoding="gzip") if compressed else reply(body=body)

    client = new_client(max_body=limit)
    assert len(answered(ask(client, of_size(limit))).body) == limit
    outcome = refused(ask(client, of_size(limit + 1)))
    assert (outcome.cause, outcome.http_status, outcome.exchange.attempts) == ("too_large", 200, 1)
    assert f"{limit:,}" in outcome.message


def test_a_source_may_have_a_limit_of_its_own(client: Client) -> None:
    with Server(reply(body=b"x" * 101)) as server:
        assert (
            refused(client.fetch(dataclasses.replace(request_to(server), max_body=100))).cause == "too_large"
        )
        assert (
            answered(client.fetch(dataclasses.replace(request_to(server), max_body=101))).body == b"x" * 101
        )


def test_a_body_without_end_is_too_large_at_once(new_client: Callable[..., Client]) -> None:
    with bounded(20):
        outcome = refused(ask(new_client(max_body=1_000_000), flood(head(), b"x" * 65536)))
    assert outcome.cause == "too_large"


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.usefixtures("garbage_is_collected_as_usual")
def test_a_decompression_bomb_costs_little_memory(new_client: Callable[..., Client], layers: int) -> None:
    """192 MiB of zeros; each further layer makes them smaller by another factor of a few hundred."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(192)) + packer.flush()
    for _ in range(layers - 1):
        bomb = gzip.compress(bomb)
    client = new_client(max_body=1_000_000)
    with Server(reply(body=bomb, Content_Encoding=", ".join(["gzip"] * layers))) as server:
        tracemalloc.start()
        try:
            outcome = refused(client.fetch(request_to(server)))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert outcome.cause in ("too_large", "protocol")
    assert peak < 48 << 20, f"{peak:,} bytes"


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_does_not_follow_a_redirect(client: Client, status: int) -> None:
    with Server(reply()) as other, Server(reply(status, b"", Location=other.url + "/x")) as server:
        outcome = refused(client.fetch(request_to(server)))
        assert (len(server.requests), other.requests, other.connections) == (1, [], 0)
        assert other.url in outcome.message
    assert outcome.http_status == status


def test_a_redirect_that_echoes_secrets_is_scrubbed(client: Client) -> None:
    place = f"https://user:canary-password@login.example/?next=/{KEY}&token=canary-token"
    outcome = refused(ask(client, reply(302, b"", Location=place)))
    assert "login.example" in outcome.message
    assert "canary" not in repr(outcome)
    assert_keyless(outcome)


@pytest.mark.parametrize("place", ["http://[::1", "http://host:port/", "//", "ftp://files.example", "\xff"])
def test_a_redirect_to_nonsense_is_a_redirect_all_the_same(client: Client, place: str) -> None:
    outcome = refused(ask(client, reply(302, b"", Location=place)))
    assert (outcome.cause, outcome.http_status, outcome.exchange.attempts) == ("http_status", 302, 1)


def test_a_redirect_to_nowhere_says_so(client: Client) -> None:
    assert "nowhere" in refused(ask(client, reply(302, b""))).message


def test_an_answer_that_is_not_modified_names_the_cache(client: Client) -> None:
    assert "a cache" in refused(ask(client, reply(304, b""))).message


# Refusals


def test_class_message_and_request_id_of_a_refusal_are_kept(client: Client) -> None:
    refusal = error(
        403,
        "ForbiddenError",
        "You do not have permission",
        request_id="req-1f2e3d",
        info={"a": 1},
        invalid_fields={"b": ["c"]},
    )
    outcome = refused(ask(client, refusal))
    assert (outcome.cause, outcome.http_status) == ("http_status", 403)
    assert (outcome.exception_class, outcome.message, outcome.request_id) == (
        "ForbiddenError",
        "You do not have permission",
        "req-1f2e3d",
    )


def test_a_request_id_may_stand_in_a_header(client: Client) -> None:
    outcome = refused(ask(client, reply(404, b"<html>", X_Request_Id="req-from-header")))
    assert (outcome.request_id, outcome.exception_class) == ("req-from-header", None)


def test_a_message_that_can_not_be_stored_as_it_came_is_cleaned(client: Client) -> None:
    body = (
        rb'{"exception_class": "A\u0000B\ud800", "request_id": "\u0000",'
        rb' "message": "one\n\ttwo\u0000 \udfff \u202e end"}'
    )
    outcome = refused(ask(client, reply(403, body)))
    for text in (outcome.message, outcome.exception_class, outcome.request_id):
        assert text is not None
        assert "\0" not in text
        text.encode()
    assert outcome.message.startswith("one two")
    assert outcome.message.isprintable()


ODD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "HTML": b"<!doctype html><title>502</title>",
    "binary": bytes(range(256)) * 20,
    "invalid UTF-8": b'{"message": "\xff\xfe"}',
    "a list": b'["message"]',
    "a string": b'"message"',
    "null": b"null",
    "a number too long to read": b'{"message": ' + b"9" * 5000 + b"}",
    "deeply nested": b"[" * 60_000,
    "deeply nested message": b'{"message": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "message is an object": b'{"message": {"message": "x"}, "exception_class": 7, "request_id": null}',
    "empty message": b'{"message": "", "exception_class": "", "request_id": ""}',
    "huge": b'{"message": "' + b"x" * 3_000_000 + b'"}',
    "huge, and nothing but a message": b'{"message": "' + b"x" * 60_000 + b'"}',
}


@pytest.mark.parametrize("name", ODD_BODIES)
@pytest.mark.parametrize("status", [401, 500])
def test_whatever_stands_in_a_refusal_its_status_is_kept(client: Client, status: int, name: str) -> None:
    outcome = refused(ask(client, reply(status, ODD_BODIES[name])))
    assert (outcome.cause, outcome.http_status) == ("http_status", status)
    assert 0 < len(outcome.message) <= 500
    assert outcome.message.isprintable()


def test_a_refusal_without_end_is_read_as_far_as_needed(client: Client) -> None:
    with bounded(20):
        outcome = refused(ask(client, flood(head(401), b"x" * 65536)))
    assert outcome.http_status == 401


@pytest.mark.parametrize("compressed", [False, True])
def test_a_compressed_refusal_is_read(client: Client, compressed: bool) -> None:
    body = json.dumps({"message": "expired", "exception_class": "TokenError"}).encode()
    headers = {"Content_Encoding": "gzip"} if compressed else {}
    outcome = refused(ask(client, reply(401, gzip.compress(body) if compressed else body, **headers)))
    assert (outcome.message, outcome.exception_class) == ("expired", "TokenError")


# Secrets

ECHOES = {
    "whole": KEY,
    "with its scheme": f"apikey {KEY}",
    "its beginning": KEY[:9],
    "its end": KEY[-7:],
    "its middle": KEY[4:12],
    "four characters": KEY[5:9],
    "twice": KEY + KEY,
    "percent-encoded": KEY.replace("$", "%24"),
    "in a URL": f"https://x.example/?key={KEY}&a=1",
    "over two lines": KEY[:8] + "\n" + KEY[8:],
    "quoted": json.dumps(KEY),
    "with an ellipsis": KEY[:6] + "…" + KEY[-5:],
}


@pytest.mark.parametrize("name", ECHOES)
def test_a_refusal_that_echoes_the_key_is_scrubbed_everywhere(client: Client, name: str) -> None:
    said = f"Token {ECHOES[name]} is not valid"
    body = {"message": said, "exception_class": said, "request_id": said}
    for step in (
        reply(401, json.dumps(body).encode()),
        reply(401, b"", X_Request_Id=said.encode("ascii", "replace").decode().replace("\n", " ")),
        raw(b"HTTP/1.1 401 " + said.encode("latin-1", "replace").replace(b"\n", b" ") + b"\r\n\r\n"),
    ):
        outcome = refused(ask(client, step))
        assert outcome.http_status == 401
        assert_keyless(outcome)


def test_what_is_no_http_but_echoes_the_key_is_scrubbed(new_client: Callable[..., Client]) -> None:
    client = new_client(max_attempts=1)
    for template in (
        b"%s\r\n\r\n",
        b"HTTP/1.1 %s\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n%s\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n%s\r\n",
    ):
        outcome = refused(ask(client, raw(template % KEY.encode())))
        assert outcome.cause == "protocol", template
        assert_keyless(outcome)


def test_requests_and_answers_do_not_show_the_key_or_the_body(client: Client) -> None:
    request = Request("http://127.0.0.1", KEY)
    answer = answered(ask(client, echo))
    assert KEY.encode() in answer.body
    for thing in (request, answer):
        assert not [part for part in parts(KEY) if part in f"{thing!r} {thing} {[thing]} {vars_of(thing)}"]


def vars_of(thing: object) -> str:
    return str({"it": thing})


def test_nothing_of_the_key_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Server(error(503), error(401, message="no"), reply()) as server:
        client.fetch(request_to(server))
    assert KEY not in caplog.text
    assert not [part for part in parts(KEY, 8) if part in caplog.text]


def test_the_password_of_a_proxy_is_not_shown(
    new_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    for port in (unused_port(), None):
        with Server(reply(407, b"canary-password is wrong", Proxy_Authenticate="Basic")) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://user:canary-password@127.0.0.1:{port or proxy.port}")
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary-password@127.0.0.1:{port or proxy.port}")
            client = new_client(max_attempts=1)
            for address in ("http://api.test", "https://api.test"):
                outcome = refused(client.fetch(Request(address, KEY, deadline=timedelta(seconds=30))))
                assert "canary-password" not in repr(outcome)
                assert "Y2FuYXJ5" not in repr(outcome)
                assert_keyless(outcome)


# Times


def test_a_poll_is_dated_by_the_attempt_that_succeeded(
    new_client: Callable[..., Client],
) -> None:
    clock = FakeClock()
    client = new_client(clock=clock, pause=clock.forward)
    script = [
        clock.during(10, error(503, message="busy")),
        clock.during(20, reply(429, Retry_After="7")),
        clock.during(3, reply(body=b"[7]")),
    ]
    outcome = ask(client, *script)
    assert outcome.exchange.attempts == 3
    length = outcome.exchange.answered_at - outcome.exchange.asked_at
    assert length == timedelta(seconds=3)
    since = outcome.exchange.asked_at - NOON
    assert timedelta(seconds=10 + 0.5 + 20 + 7) <= since <= timedelta(seconds=10 + 1 + 20 + 7)


@pytest.mark.parametrize(
    "step", [error(401), reply(302, b""), raw(b"no HTTP"), reset, reply(body=b"{", length=9)]
)
def test_a_failed_poll_is_dated_by_its_last_attempt(new_client: Callable[..., Client], step: Step) -> None:
    clock = FakeClock()
    client = new_client(clock=clock, pause=clock.forward, max_attempts=2)
    with Server(clock.during(40, reply(503, Retry_After="9")), clock.during(5, step)) as server:
        outcome = refused(client.fetch(request_to(server)))
    assert outcome.exchange.asked_at == NOON + timedelta(seconds=49)
    assert outcome.exchange.answered_at == NOON + timedelta(seconds=54)


def test_a_clock_that_steps_back_during_an_attempt_gives_no_negative_duration(
    new_client: Callable[..., Client],
) -> None:
    clock = FakeClock()
    client = new_client(clock=clock)
    for step in (reply(), error(401), raw(b"")):
        outcome = ask(client, clock.during(-30, step))
        assert outcome.exchange.asked_at <= outcome.exchange.answered_at


@pytest.mark.parametrize(
    ("date", "offset"),
    [
        (HTTP_NOON, timedelta(0)),
        ("Fri, 01 May 2026 11:58:30 GMT", timedelta(seconds=90)),
        ("Fri, 01 May 2026 13:00:00 GMT", timedelta(hours=-1)),
        ("Fri, 01 May 2026 14:00:00 +0200", timedelta(0)),
        ("Friday, 01-May-26 12:00:00 GMT", timedelta(0)),
        ("Fri May  1 13:00:00 2026", timedelta(hours=-1)),
        ("Fri, 01 May 2026 12:00:00", None),
        ("Fri, 01 May 2026 12:00:00 -0000", None),
        ("2026-05-01T12:00:00Z", None),
        ("Fri, 31 Feb 2026 12:00:00 GMT", None),
        ("now", None),
        ("", None),
        (None, None),
        ("Fri, 01 May 2026 12:00:00 +99999999999999", None),
        ("Fri, 01 May 2026 12:00:00 +2400", None),
    ],
)
@pytest.mark.parametrize("status", [200, 403])
def test_the_offset_of_our_clock_is_read_from_the_date_of_the_response(
    new_client: Callable[..., Client], status: int, date: str | None, offset: timedelta | None
) -> None:
    headers = {} if date is None else {"Date": date}
    outcome = ask(new_client(clock=lambda: NOON), reply(status, **headers))
    assert outcome.exchange.clock_offset == offset


# Anything at all

_odd_values = st.sampled_from(
    [
        b"",
        b"0",
        b"2",
        b"-1",
        b"1" * 30,
        b"gzip",
        b"gzip, deflate",
        b"br",
        b"zstd",
        b"chunked",
        b"chunked, chunked",
        b"close",
        b"text/html; charset=\xff",
        b"application/json; charset=nonsense",
        b"Mon, 32 Jan 2024 00:00:00 GMT",
        b"Mon, 01 Jan 0000 00:00:00 GMT",
        b"Fri, 01 May 2026 12:00:00 GMT",
        b"://",
        b"http://[::1",
    ]
) | st.binary(max_size=20).map(lambda value: value.translate(None, b"\r\n"))
_odd_names = st.sampled_from(
    [
        b"Date",
        b"Retry-After",
        b"Location",
        b"Content-Type",
        b"Content-Length",
        b"Content-Encoding",
        b"Transfer-Encoding",
        b"Connection",
        b"X-Request-Id",
        b"Set-Cookie",
        b"Link",
        b"Upgrade",
    ]
) | st.binary(max_size=4)
_odd_responses = st.binary(max_size=60) | st.builds(
    lambda status, headers, body: b"\r\n".join(
        [b"HTTP/1.1 %d Odd" % status, *(n + b": " + v for n, v in headers), b"", body]
    ),
    st.sampled_from([100, 101, 103, 200, 204, 206, 299, 302, 304, 401, 407, 429, 500, 999]),
    st.lists(st.tuples(_odd_names, _odd_values), max_size=4),
    st.binary(max_size=40) | st.sampled_from([b"2\r\n{}\r\n0\r\n\r\n", gzip.compress(b"{}"), b"{}"]),
)


def test_whatever_bytes_come_back_the_outcome_is_a_value(new_client: Callable[..., Client]) -> None:
    client = new_client(max_attempts=2)

    @given(_odd_responses)
    @settings(max_examples=150, deadline=None)
    def holds(data: bytes) -> None:
        outcome = ask(client, raw(data), seconds=30)
        assert isinstance(outcome, Answer | Failure)
        assert_keyless(outcome)

    holds()


# The way there


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("api.gcore.com", "*"),
        ("api.gcore.com", "other.example, *"),
        ("api.gcore.com", "gcore.com"),
        ("api.gcore.com", ".gcore.com"),
        ("api.gcore.com", "*.gcore.com"),
        ("API.gcore.com.", "Api.GCORE.com:443"),
        ("gcore.com", ".gcore.com"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3", "10.9.9.9/8,::1"),
        ("10.1.2.3", "192.168.0.0/16 10.1.2.3"),
        ("10.1.2.3", "10.1.2.3:443"),
        ("fd00::1", "fd00::/8"),
        ("[fd00::1]", "[fd00::/8]"),
        ("fd00::1", "[fd00::]/8"),
        ("fd00::1", "FD00:0:0::1"),
        ("fd00::1", "[fd00::1]:443"),
        ("::ffff:10.1.2.3", "10.0.0.0/8"),
        ("localhost", "localhost,127.0.0.1,::1"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("127.0.0.1", "127.0.0.1:*"),
        ("10.1.2.3", "10.*"),
        ("10.1.2.3", "192.168., 10.1."),
    ],
)
def test_what_no_proxy_lists_is_asked_directly(host: str, listed: str) -> None:
    assert goes_direct(host, listed)


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("api.gcore.com", ""),
        ("api.gcore.com", ","),
        ("api.gcore.com", "core.com"),
        ("gcore.com", "api.gcore.com"),
        ("10.1.2.3", "10.0.0.0/16,fd00::/8,2.3"),
        ("110.1.2.3", "10.1.2.3"),
        ("110.1.2.3", "10.*, 10."),
        ("10.example", "10.*"),
        ("fd00::1", "fe00::/8,0.0.0.0/0"),
        ("10.1.2.3", "::/0"),
        ("api.gcore.com", "10.0.0.0/8, [::1], :443, ::/999"),
    ],
)
def test_what_no_proxy_does_not_list_is_asked_by_the_proxy(host: str, listed: str) -> None:
    assert not goes_direct(host, listed)


@pytest.mark.parametrize(
    "environment",
    [
        {"ALL_PROXY": "http://127.0.0.1:1", "NO_PROXY": "fd00::/8,127.0.0.0/8,10.0.0.0/8"},
        {"ALL_PROXY": "socks://127.0.0.1:1", "NO_PROXY": "127.0.0.1"},
        {"HTTPS_PROXY": "socks5://127.0.0.1:1"},
        {"HTTPS_PROXY": "http://user:p#@127.0.0.1:1"},
        {"HTTP_PROXY": "", "http_proxy": "", "ALL_PROXY": ""},
        {"SSLKEYLOGFILE": "/no/such/folder/keys"},
        {"SSLKEYLOGFILE": "/"},
        {"FTP_PROXY": "nonsense://", "RSYNC_PROXY": "x"},
    ],
    ids=str,
)
def test_what_does_not_apply_to_a_request_does_not_stop_it(
    new_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert answered(ask(new_client(), reply(body=LISTING))).body == LISTING


@pytest.mark.parametrize(
    "proxy",
    [
        "socks://127.0.0.1:1",
        "socks5://127.0.0.1:1",
        "http://user:pass#x@127.0.0.1:1",
        ":3128",
        "http://",
        "//127.0.0.1:1",
    ],
)
def test_a_proxy_that_applies_and_cannot_be_used_is_a_failed_poll_that_names_it(
    new_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    failure = refused(ask(new_client(), reply(body=LISTING)))
    assert failure.cause == "connect"
    assert "ALL_PROXY can't be used" in failure.message
    assert "pass" not in failure.message.replace("password", "")
    assert failure.exchange.attempts == 1


def test_a_proxy_that_applies_is_used(
    new_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(reply(body=LISTING)) as proxy:
        for name, value in (("ALL_PROXY", "socks://127.0.0.1:1"), ("HTTP_PROXY", f"127.0.0.1:{proxy.port}")):
            monkeypatch.setenv(name, value)
        outcome = new_client().fetch(Request("http://api.example", "key"))
        assert answered(outcome).body == LISTING
        assert proxy.requests[0].target == f"http://api.example{PATH}"


def test_a_proxy_that_does_not_answer_is_named(
    new_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:canary@127.0.0.1:1")
    failure = refused(ask(new_client(), reply(body=LISTING)))
    assert failure.message.endswith("(by the proxy of HTTP_PROXY)")
    assert "canary" not in failure.message


def test_every_other_request_goes_the_same_ways() -> None:
    """httpx fails on proxies and networks that don't concern a request, if it reads the environment itself."""
    root = Path(collector.__file__).parent
    opens = [path.name for path in root.rglob("*.py") if "httpx.Client(" in path.read_text(encoding="utf-8")]
    assert sorted(opens) == ["client.py", "transport.py"]


@pytest.mark.parametrize("around", [":{}", "{}:", ":{}:", "{0}:{0}"])
def test_empty_folders_among_those_of_certificates_mean_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, around: str
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", around.format(tmp_path))
    assert certificate_folders() == [str(tmp_path)] * around.count("{")
    Client().close()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=f"{name} can't be used: .*none"):
        Client()
