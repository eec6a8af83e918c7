"""Pages, served on a free port of loopback, and asked over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from collector.clock import utc_now
from collector.database.engine import open_engine
from collector.service.view import View
from collector.settings import Settings
from collector.web.app import Web
from collector.web.data import Data
from collector.web.server import Server

Serve = Callable[..., httpx.Client]


@contextmanager
def serving(
    database: str | sa.URL,
    clock: Callable[[], datetime] = utc_now,
    running: Callable[[], View] | None = None,
    **settings: Any,
) -> Iterator[httpx.Client]:
    """A client of a real server on this database. `settings`: as in `Settings`."""
    known = Settings(database_url=SecretStr(str(database)), **{"http_bind": "127.0.0.1:0"} | settings)
    data = Data(partial(open_engine, database, read_only=True), threads=known.http_max_requests, seconds=5.0)
    server = Server(Web(data, known, clock, running))
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client:
            yield client
    finally:
        server.stop()


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Serves a database until the test ends."""
    open_: list[Any] = []

    def start(database: str | sa.URL, **options: Any) -> httpx.Client:
        one = serving(database, **options)
        open_.append(one)
        return one.__enter__()

    yield start
    for one in open_:
        one.__exit__(None, None, None)
