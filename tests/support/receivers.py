"""A receiver of events: a real HTTP server on loopback that verifies, reads and remembers what it is sent.

Signatures are verified by the package `standardwebhooks` and events read by the package `cloudevents`, neither of which
the collector uses.

    with Receiver() as receiver:
        …
    assert [event["type"] for event in receiver.taken] == [...]
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook

from collector.receivers import Receiver as Settings

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes len").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"the secret that was used before!").decode()


@dataclass(frozen=True)
class Request:
    """One request as it came, before it was answered."""

    headers: Mapping[str, str]
    body: bytes
    status: int

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


def read(request: Request, secret: str = SECRET) -> CloudEvent:
    """The event of a request whose signature is valid. Raises WebhookVerificationError, and what `cloudevents` does."""
    Webhook(secret).verify(request.body, dict(request.headers))
    message = HTTPMessage(headers=dict(request.headers), body=request.body)
    event = from_structured(message, JSONFormat(), CloudEvent)
    assert isinstance(event, CloudEvent)
    return event


class Receiver:
    """Answers with `status`, or with what `decide` says of an event. All that came is in `requests`."""

    def __init__(
        self,
        status: int = 200,
        *,
        decide: Callable[[dict[str, Any]], int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.decide = status, decide
        self.seconds = 0.0
        """How long it takes to answer."""
        self.requests: list[Request] = []
        self._more = dict(headers or {})
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sleep(outer.seconds)
                status = outer.decide(json.loads(body)) if outer.decide else outer.status
                headers = {name.lower(): value for name, value in self.headers.items()}
                with outer._lock:
                    outer.requests.append(Request(headers, body, status))
                self.send_response(status)
                for name, value in outer._more.items():
                    self.send_header(name, value)
                said = b"" if status < 300 else b'{"message": "not now"}'
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook-of-nobody-0123456789"

    @property
    def taken(self) -> list[dict[str, Any]]:
        """Events that were answered with success, in the order in which they came."""
        with self._lock:
            return [request.event for request in self.requests if request.status < 300]

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def settings(self, name: str = "hook", **more: Any) -> Settings:
        """This receiver as the settings would have it."""
        return self.configured(self.url, name, **more)

    @staticmethod
    def configured(url: str, name: str = "hook", **more: Any) -> Settings:
        """A receiver at any URL, as the settings would have it."""
        return Settings.model_validate({"name": name, "url": url, "secret": SECRET, **more})

    @staticmethod
    def people(apprise: str) -> Settings:
        """People, as the settings would have them."""
        return Settings.model_validate({"name": "people", "apprise": apprise})


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
