"""One HTTP server on loopback, in a process of its own, for all contestants.

`GET /NAME/cloud/v1/ai/regions` is answered with what `GET /turn/NAME/…` has set, the last part being an answer's path.
A connection serves one request, as it would between polls a minute apart.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

from tests.benchmarks.answers import Answer


@lru_cache(maxsize=12)
def _body(answer: Answer) -> bytes:
    return answer.body()


class _Handler(BaseHTTPRequestHandler):
    turns: dict[str, bytes] = {}  # noqa: RUF012 - one for all requests is what is meant

    def do_GET(self) -> None:
        _, first, *rest = self.path.split("/")
        if first == "turn":
            self.turns[rest[0]] = _body(Answer(*map(int, rest[1:])))
            body = b"{}"
        else:
            body = self.turns[first]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Cloud:
    def __init__(self, url: str) -> None:
        self._url = url

    def url_for(self, name: str) -> str:
        return f"{self._url}/{name}"

    def turn(self, name: str, answer: Answer) -> None:
        """From now on this contestant gets this answer."""
        with urlopen(f"{self._url}/turn/{name}/{answer.path}") as response:
            response.read()


@contextmanager
def running() -> Iterator[Cloud]:
    command = [sys.executable, "-m", "tests.benchmarks.cloud"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Cloud(process.stdout.readline().strip())
        process.stdin.close()


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)

    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
