"""What a page is asked: its address and query, and the time as of which it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from collector.errors import UsageError
from collector.inventory.observation import TICK
from collector.reports.times import parse_time
from collector.reports.words import show_time

if TYPE_CHECKING:
    from collector.web.app import Web

MAX_PAGE = 1_000_000
FIRST = datetime(1900, 1, 1, tzinfo=UTC)
"""The earliest time that pages accept, so that they can still look months and years back from it."""


@dataclass(frozen=True)
class Asked:
    """A request in the form that pages need."""

    path: str
    query: Mapping[str, str]
    parts: Mapping[str, Any]
    """Parts of the path."""
    root: str
    now: datetime
    as_of: str
    """As it was typed; empty: now."""
    moment: datetime
    """The time as of which everything is shown."""
    sources: tuple[str, ...] = ()
    """Names of sources in the settings."""
    receivers: tuple[str, ...] = ()
    """Names of receivers of events in the settings."""
    required_anchors: tuple[str, ...] = ()
    """Names of the anchors in the settings that every source needs."""
    origin: str = ""
    """How the request named us: `http://127.0.0.1:8080`."""

    @classmethod
    def of(cls, request: Request, web: Web) -> Asked:
        """Read a request. Raises UsageError for an invalid time."""
        plain = cls.bare(request, web)
        as_of = plain.query.get("as_of", "").strip()
        return replace(plain, as_of=as_of, moment=_time(as_of, plain.now) if as_of else plain.now)

    @classmethod
    def bare(cls, request: Request, web: Web) -> Asked:
        """Without its parameters: for pages that say what was wrong with them."""
        root = request.scope.get("root_path", "")
        plain = cls.plain(request.scope["path"].removeprefix(root) or "/", root, web.clock())
        return replace(
            plain,
            query={name: value.replace("\0", "") for name, value in request.query_params.items()},
            parts=request.path_params,
            sources=tuple(sorted(web.polled())),
            receivers=tuple(sorted(web.receivers())),
            required_anchors=web.settings.required_anchors,
            origin=f"{request.url.scheme}://{request.url.netloc}",
        )

    @classmethod
    def plain(cls, path: str, root: str, now: datetime) -> Asked:
        """A page without parameters."""
        return cls(path=path, query={}, parts={}, root=root, now=now, as_of="", moment=now)

    @property
    def end(self) -> datetime:
        """The end for reports of what happened before a time: everything up to the moment, including it."""
        return self.moment + TICK

    @property
    def known_at(self) -> datetime | None:
        """For reports that must not use later knowledge of a time; None: now."""
        return self.moment if self.as_of else None

    @property
    def is_now(self) -> bool:
        return not self.as_of

    def text(self, name: str) -> str:
        """A value of the query; empty if missing. Raises UsageError if it is not text."""
        found = self.query.get(name, "").strip()
        if any("\ud800" <= c <= "\udfff" for c in found):
            raise UsageError(f"{name} is not text")
        return found

    def word(self, name: str, known: Mapping[str, Any] | tuple[str, ...], default: str = "") -> str:
        """A value that is one of the known ones; any other counts as the default."""
        found = self.text(name)
        return found if found in known else default

    def time(self, name: str) -> datetime | None:
        """A time of the query. Raises UsageError if it is invalid."""
        found = self.text(name)
        return _time(found, self.now) if found else None

    @property
    def page(self) -> int:
        """The page number, from 1."""
        found = self.text("page")
        return (
            min(max(int(found), 1), MAX_PAGE) if found.isascii() and found.isdigit() and len(found) < 9 else 1
        )


def seq_of(text: str, what: str = "observation") -> int:
    """The number of an observation in an address. Raises UsageError, which says that there is no such `what`."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UsageError(f"there is no {what} {text!r}")
    return int(text)


def id_of(text: str) -> int | None:
    """The id in a text; None if it is not an id that a database can store."""
    if not text.removeprefix("-").isdecimal() or len(text) > 20 or abs(int(text)) >= 2**63:
        return None
    return int(text)


def _time(text: str, now: datetime) -> datetime:
    try:
        moment = parse_time(text, now)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if moment < FIRST:
        raise UsageError(f"{show_time(moment)} is before {FIRST.year}; nothing is known about it")
    return moment
