"""A real HTTP server on loopback that does what a test says, misbehaviour included.

Each request is answered by the next step of the script; the last step goes on for ever. A step is a function
of the `Peer`: the socket and the request that came. The functions below make steps.

    with Server(reply(503), reply(body=b"{}")) as server:
        client.fetch(Request(server.url, "key"))
    assert len(server.requests) == 2
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from collector.gcore.body import MAX_BODY

REASONS = {200: "OK", 301: "Moved Permanently", 401: "Unauthorized", 429: "Too Many Requests"}


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Peer:
    """One connection, at the moment when its request has come."""

    socket: socket.socket
    request: Received
    closing: threading.Event
    """Set when the server stops: steps that wait must not outlive it."""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def rest(self, seconds: float) -> bool:
        """Wait. Returns whether to go on."""
        return not self.closing.wait(seconds)


Step = Callable[[Peer], None]


class Server:
    """Listens on a free port of 127.0.0.1 while its `with` block lasts."""

    def __init__(self, *script: Step, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self.requests: list[Received] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def turn_to(self, step: Step) -> None:
        """From now on, every request is answered so."""
        with self._lock:
            self._script = (step,)

    def __enter__(self) -> Server:
        self._start(self._accept)
        return self

    def stop(self) -> None:
        """End all connections. Their threads follow."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, raw: socket.socket) -> None:
        connection = raw
        with suppress(OSError):
            try:
                if self._tls is not None:
                    connection = self._tls.wrap_socket(raw, server_side=True, suppress_ragged_eofs=True)
                    with self._lock:
                        self._open.add(connection)
                request = _receive(connection)
                if request is not None:
                    with self._lock:
                        step = self._script[min(len(self.requests), len(self._script) - 1)]
                        self.requests.append(request)
                    step(Peer(connection, request, self._closing))
                    _finish(connection)
            finally:
                with self._lock:
                    self._open -= {raw, connection}
                connection.close()
                raw.close()


def _receive(connection: socket.socket) -> Received | None:
    """The head of a request; the requests of these tests have no body."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            return None
        head += data
    first, *lines = head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    return Received(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def _finish(connection: socket.socket) -> None:
    """End politely: bytes that were sent reach the client before the connection goes."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        while connection.recv(65536):
            pass


# Steps


def head(status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Status line and headers, ready to send."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def reply(status: int = 200, body: bytes = b"{}", *, length: int | None = None, **headers: str) -> Step:
    """A whole answer. `length`: a Content-Length other than the true one. `Retry_After` is `Retry-After`."""
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    pairs.append(("Content-Length", str(len(body) if length is None else length)))
    return raw(head(status, pairs) + body)


def error(status: int, name: str = "NotAuthenticated", message: str = "no", **more: Any) -> Step:
    """A refusal in the API's own form."""
    said = {"exception_class": name, "message": message, **more}
    return reply(status, json.dumps(said).encode(), Content_Type="application/json")


def raw(data: bytes) -> Step:
    """Exactly these bytes; then the connection ends."""

    def step(peer: Peer) -> None:
        peer.send(data)

    return step


def echo(peer: Peer) -> None:
    """The Authorization header of the request, as the body."""
    reply(body=peer.request.headers["authorization"].encode())(peer)


def reset(peer: Peer) -> None:
    """The connection is torn down with RST, without a byte."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()


def hang(peer: Peer) -> None:
    """Nothing at all, until the client goes."""
    peer.socket.recv(1)


def drip(begin: bytes, forever: bytes, pause: float = 0.02) -> Step:
    """Slow loris: a good beginning, then a few bytes now and then, without end."""

    def step(peer: Peer) -> None:
        peer.send(begin)
        while peer.rest(pause):
            peer.send(forever)

    return step


def flood(begin: bytes, forever: bytes, limit: int = 1 << 40) -> Step:
    """As fast as it goes, until the client goes or `limit` bytes are sent."""

    def step(peer: Peer) -> None:
        peer.send(begin)
        for sent in count(0, len(forever)):
            if sent >= limit or peer.closing.is_set():
                return
            peer.send(forever)

    return step


def tunnel_to(server: Server) -> Step:
    """What a proxy does on CONNECT, whatever host was asked for."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def step(peer: Peer) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as onward:
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(onward, peer.socket), daemon=True)
            back.start()
            pump(peer.socket, onward)
            back.join(10)

    return step


def unused_port() -> int:
    """A port where nobody listens, until something of this test does.

    Linux gives it to no other process: it stays bound here, and only who asks for this very port may listen there.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    if sys.platform == "linux":
        _HELD.append(holder)
    else:
        holder.close()
    return port


_HELD: list[socket.socket] = []
"""Sockets that keep ports."""


# TLS: a self-signed certificate for 127.0.0.1 that nobody else trusts, valid until 2125

CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnGxkiyWqmUCRPB4O
qyxQKTFL5cdub/TrjdQEIKdDf7ehRANCAATFOY7yntUZVoGpxzN7tWErq8KMYnl9
bBObGEDGHedV30C/1u7p70lyisbLm6Z/eO8T6b1PQfE8wa3Afpytd7rJ
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBtDCCAVmgAwIBAgIUX1E9Ybvt98p5G3VcOa9nzyDVvZIwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVbG9vcGJhY2sgb2YgdGhlIHRlc3RzMCAXDTI2MTEyMzE4MTIx
NFoYDzIxMjYxMDMwMTgxMjE0WjAgMR4wHAYDVQQDDBVsb29wYmFjayBvZiB0aGUg
dGVzdHMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATFOY7yntUZVoGpxzN7tWEr
q8KMYnl9bBObGEDGHedV30C/1u7p70lyisbLm6Z/eO8T6b1PQfE8wa3Afpytd7rJ
o28wbTAdBgNVHQ4EFgQUjLgzKVf6dVq7NSOPKjxqfIxCgtAwHwYDVR0jBBgwFoAU
jLgzKVf6dVq7NSOPKjxqfIxCgtAwDwYDVR0TAQH/BAUwAwEB/zAaBgNVHREEEzAR
hwR/AAABgglsb2NhbGhvc3QwCgYIKoZIzj0EAwIDSQAwRgIhAI3OyFWzKoZwm8qb
paMgFiex8K3aB0MmMq+KCt05QIpGAiEA9XSY1wxiNkq6zxN+W9UcGkW+vJL3MQ9X
5Kp3HVpovyY=
-----END CERTIFICATE-----
"""


def tls_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """For a server, and the file that makes a client trust it (SSL_CERT_FILE)."""
    file = folder / "loopback.pem"
    file.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, file


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that answers no SYN: its backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def cut(*parts: bytes) -> Step:
    """These bytes, then the connection is torn down with RST."""

    def step(peer: Peer) -> None:
        for part in parts:
            peer.send(part)
        # The peer reads what was sent before the reset overtakes it, in most cases; either is a reset.
        peer.rest(0.02)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.close()

    return step


def stall(begin: bytes) -> Step:
    """These bytes, then nothing, until the client goes."""

    def step(peer: Peer) -> None:
        peer.send(begin)
        hang(peer)

    return step


OF_1000 = head(headers=[("Content-Length", "1000")])
IN_GZIP = head(headers=[("Content-Length", "1000"), ("Content-Encoding", "gzip")])
CHUNKED = head(headers=[("Transfer-Encoding", "chunked")])


def bomb(size: int) -> bytes:
    """Gzip of `size` zeros, made without holding them in memory."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


BOMB = bomb(2 * MAX_BODY)


def free_port() -> int:
    """A port of loopback at which nobody listens just now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])
