"""Processes that a test kills: one that polls and sends events, one that receives them.

    python -m tests.support.teller collect DATABASE_URL HOOK_URL SECONDS
    python -m tests.support.teller receive PORT LOG

`collect` polls two sources in which something changes at every poll, and sends events to a receiver, with the parts
of `collector run`; only the pauses are shorter. `receive` verifies and reads each event, writes a line about it to
LOG, and then answers.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Any

from collector.clock import utc_now
from collector.database.engine import open_engine
from collector.errors import CollectorError
from collector.service.webhooks import companion, delivering
from collector.service.webhooks.announcing import Announcer
from collector.store.lease import process_name
from tests.support.builders import region
from tests.support.history import NOON, History
from tests.support.receivers import SECRET, Receiver, Request, read

SOURCES = ("one", "two")
STATES = ("ACTIVE", "MAINTENANCE", "NEW")


def shorten_pauses() -> None:
    delivering.FIRST_PAUSE, delivering.LONGEST_PAUSE = 0.05, 0.3
    companion.PAUSE = 0.1


def collect(url: str, hook: str, seconds: str) -> None:
    shorten_pauses()
    engine = open_engine(url)
    announcer = Announcer([Receiver.configured(hook)])
    counts: Counter[Any] = Counter()
    webhooks = companion.Webhooks(
        open_engine(url),
        announcer,
        process_name(),
        keep=timedelta(days=30),
        sources=lambda: (),
        count=lambda *what: counts.update([what]),
    )
    webhooks.start()
    histories = [History(engine, name, announce=announcer) for name in SOURCES]
    while True:
        for history in histories:
            said = [region(number, random.choice(STATES)) for number in (1, 2, 3)]
            try:
                at = (utc_now() - NOON).total_seconds()
                webhooks.hear(history.poll(said, at=at, took=0.001))
            except CollectorError as error:
                print(error, file=sys.stderr)
                history._writer = None
            sleep(float(seconds))


class _Handler(BaseHTTPRequestHandler):
    log = -1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):
            return  # who sent it died before it was whole
        headers = {name.lower(): value for name, value in self.headers.items()}
        event = read(Request(headers, body, 200), SECRET)  # else the line is missing
        data: Any = event.get_data()
        line = [data["source"], data["seq"], data["ordinal"], event.get_id()]
        os.write(self.log, f"{json.dumps(line)}\n".encode())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def receive(port: str, log: str) -> None:
    _Handler.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    ThreadingHTTPServer(("127.0.0.1", int(port)), _Handler).serve_forever(0.02)


if __name__ == "__main__":
    {"collect": collect, "receive": receive}[sys.argv[1]](*sys.argv[2:])
