"""Pages, served on a free port of loopback and asked over HTTP; and what must hold of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urldefrag, urljoin, urlsplit

import httpx
import sqlalchemy as sa
from pydantic import SecretStr

from collector.clock import utc_now
from collector.database.engine import open_engine
from collector.service.view import View
from collector.settings.models import Settings
from collector.web.app import Web
from collector.web.data import Data
from collector.web.server import Server

Serve = Callable[..., httpx.Client]
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
OF_A_SHAPE = 3
"""How many pages of one kind, with the same names in their query, are looked at."""


@contextmanager
def serving(
    database: str | sa.URL,
    clock: Callable[[], datetime] = utc_now,
    running: Callable[[], View] | None = None,
    seconds: float = 5.0,
    **settings: Any,
) -> Iterator[httpx.Client]:
    """A client of a real server on this database. `settings`: as in `Settings`; `seconds`: for one question."""
    known = Settings(**{"http_bind": "127.0.0.1:0", "database_url": SecretStr(str(database))} | settings)
    data = Data(
        partial(open_engine, database, read_only=True), threads=known.http_max_requests, seconds=seconds
    )
    server = Server(Web(data, known, clock, running))
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.stop()


class Document(HTMLParser):
    """A page: its links, its text, and what is wrong with its HTML."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.ids: list[str] = []
        self.wrong: list[str] = []
        self.said: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self._open]
        self.wrong += [f"id {name} is there twice" for name, count in Counter(self.ids).items() if count > 1]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if "id" in given:
            self.ids.append(str(given["id"]))
        if tag == "script" and "src" not in given:
            self.wrong.append("the page has an inline script")
        self.wrong += [f"{name} on <{tag}>" for name in given if name == "style" or name.startswith("on")]
        if tag == "style":
            self.wrong.append("the page has an inline style sheet")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.wrong.append(f"</{tag}> closes nothing")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.said.append(data)


def document(said: httpx.Response) -> Document:
    """The page of an answer, which is well-formed and obeys our own policy."""
    assert said.headers["content-type"] == "text/html; charset=utf-8"
    found = Document(said.text)
    assert not found.wrong, (said.url, found.wrong)
    assert not (bad := re.search(r".{40}(\bNone\b|Undefined).{20}", found.text)), (said.url, bad[0])
    return found


def crawled(client: httpx.Client, *begin: str) -> dict[str, httpx.Response]:
    """All that can be reached by links, each kind of page some times: every answer is good."""
    base = str(client.base_url)
    waiting = [urljoin(base, path) for path in begin or ("/",)]
    seen: dict[str, httpx.Response] = {}
    shapes: Counter[tuple[Any, ...]] = Counter()
    while waiting:
        url = urldefrag(waiting.pop(0)).url
        if url in seen or not url.startswith(base) or url.startswith(f"{base}api/"):
            continue
        parts = urlsplit(url)
        kind = tuple(each if not re.search(r"\d|%", each) else "#" for each in parts.path.split("/"))
        shape = (kind, tuple(sorted({name for name, _ in parse_qsl(parts.query)})))
        shapes[shape] += 1
        if shapes[shape] > OF_A_SHAPE:
            continue
        said = client.get(url)
        assert said.status_code == 200, (said.status_code, url, said.text[-600:])
        seen[url] = said
        if said.headers["content-type"].startswith("text/html"):
            waiting += [urljoin(url, link) for link in document(said).links]
    return seen
