"""The simulated API over HTTP on loopback.

    GET    …/cloud/v1/ai/regions   like Gcore's; the path before it names one of any number of sources
    PUT    /control/fault          {"kind": …, "times": 3, …}: misbehave from now on, this many times or until reset
    DELETE /control/fault          behave again
    GET    …/control/truth         every true change of state of that source, to compare a history with

Faults: status (with `status`, `retry_after`), delay (`seconds`), truncated, html, wrong_count, empty, reset.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from collector.clock import Clock, utc_now
from collector.gcore.client import PATH
from collector.simulator.scenario import CLIENT_KEY, KEY
from collector.simulator.world import World

TRUTH = "/control/truth"
FAULTS = ("status", "delay", "truncated", "html", "wrong_count", "empty", "reset")


@dataclass(frozen=True, slots=True)
class Fault:
    """How to misbehave."""

    kind: str
    times: int | None = None
    """None: until it is reset."""
    status: int = 503
    retry_after: int | None = None
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValueError(f"there is no fault {self.kind!r}; there are {', '.join(FAULTS)}")
        for name, least, most in (("times", 1, 2**31), ("status", 200, 599), ("retry_after", 0, 2**31)):
            number = getattr(self, name)
            if number is None and name != "status":
                continue
            if type(number) is not int or not least <= number <= most:
                raise ValueError(f"{name} is a whole number from {least} to {most}, not {number!r}")
        if type(self.seconds) not in (int, float) or not 0 <= self.seconds <= 3600:
            raise ValueError(f"seconds is a number from 0 to 3600, not {self.seconds!r}")


WorldOf = Callable[[str], World]
"""The world of a source: the part of the path before the API's own, '' for the first."""


class Simulator:
    """A running server; use it as a context manager, or with `start` and `stop`."""

    def __init__(
        self,
        world: World | WorldOf,
        *,
        clock: Clock = utc_now,
        port: int = 0,
        keys: Mapping[str, bool] | None = None,
        passing: Callable[[float], None] | None = None,
    ) -> None:
        """`keys`: key → True if it sees only ACTIVE regions.

        `passing`: called with seconds of latency, before and after the moment at which an answer is true.
        """
        self.world_of: WorldOf = (lambda _: world) if isinstance(world, World) else world
        self.clock = clock
        self.keys = dict(keys) if keys is not None else {KEY: False, CLIENT_KEY: True}
        self.passing = passing or (lambda _: None)
        self.requests = 0
        self._fault: Fault | None = None
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler, self)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def misbehave(self, fault: Fault | None) -> None:
        with self._lock:
            self._fault = fault

    def take_fault(self) -> Fault | None:
        """The fault of this request; a limited one is used up."""
        with self._lock:
            self.requests += 1
            fault = self._fault
            if fault is not None and fault.times is not None:
                left = fault.times - 1
                self._fault = Fault(**(asdict(fault) | {"times": left})) if left > 0 else None
            return fault

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def serve_forever(self) -> None:
        self._server.serve_forever()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, *_: tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], simulator: Simulator
    ) -> None:
        super().__init__(address, handler)
        self.simulator = simulator

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is normal; any other error is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.endswith(TRUTH):
            world = self.server.simulator.world_of(path.removesuffix(TRUTH).strip("/"))
            self._json(200, [asdict(c) for c in world.changes()])
        elif path.endswith(PATH):
            self._regions(path.removesuffix(PATH).strip("/"))
        else:
            self._error(404, "NotFoundError", f"there is nothing at {path}")

    def do_PUT(self) -> None:
        if self.path != "/control/fault":
            self._error(404, "NotFoundError", f"there is nothing at {self.path}")
            return
        try:
            length = int(self.headers.get("Content-Length", 0))
            fault = Fault(**json.loads(self.rfile.read(length)))
        except (ValueError, TypeError) as error:
            self._error(400, "ValidationError", str(error))
            return
        self.server.simulator.misbehave(fault)
        self._json(200, asdict(fault))

    def do_DELETE(self) -> None:
        self.server.simulator.misbehave(None)
        self._json(200, {})

    def _regions(self, source: str) -> None:
        simulator = self.server.simulator
        fault = simulator.take_fault()
        simulator.passing(0.2)
        if fault and fault.kind == "delay":
            sleep(fault.seconds)
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        if fault and fault.kind == "status":
            extra = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            self._error(fault.status, "SimulatedError", "the service is down for a while (simulated)", extra)
        elif scheme.lower() != "apikey" or key not in simulator.keys:
            self._error(401, "not_authenticated", f"the token {key[:6]}… is not valid")
        elif fault and fault.kind == "html":
            self._send(200, b"<!doctype html><title>Please log in</title>", "text/html")
        elif fault and fault.kind == "reset":
            self._reset()
        else:
            document = simulator.world_of(source).document(simulator.clock(), only_active=simulator.keys[key])
            simulator.passing(0.3)
            if fault and fault.kind == "empty":
                document = {"count": 0, "results": []}
            elif fault and fault.kind == "wrong_count":
                document["results"] = document["results"][: len(document["results"]) // 2]
            body = json.dumps(document).encode()
            self._send(200, body, "application/json", cut=bool(fault and fault.kind == "truncated"))

    def _json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value, default=str).encode(), "application/json")

    def _error(
        self, status: int, exception: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        request_id = f"{zlib.crc32(f'{self.server.simulator.requests}'.encode()):08x}"
        error = {"exception_class": exception, "message": message, "request_id": request_id}
        self._send(status, json.dumps(error).encode(), "application/json", headers)

    def _send(
        self,
        status: int,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str] | None = None,
        *,
        cut: bool = False,
    ) -> None:
        self.send_response_only(status, BaseHTTPRequestHandler.responses.get(status, ("Unknown",))[0])
        self.send_header("Date", format_datetime(self.server.simulator.clock(), usegmt=True))
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut

    def _reset(self) -> None:
        """Close with RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Print nothing."""
