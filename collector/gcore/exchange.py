"""A request to the API, and its result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

Cause = Literal[
    "key",  # no key to ask with: its file is missing or empty
    "connect",  # nothing answers at this address, or TLS fails
    "timeout",  # the deadline passed before the answer was complete
    "protocol",  # the connection broke, or the answer was not HTTP
    "http_status",  # an answer with a status other than 200
    "too_large",  # the body exceeds the limit
    "not_json",  # 200, but not strictly valid JSON
    "not_a_listing",  # JSON, but not a list of regions
    "stale",  # a cache gave it, and it may be older than the last recorded one
]


@dataclass(frozen=True, slots=True)
class Exchange:
    """When an attempt was made, and what the headers of the answer say about it."""

    asked_at: datetime
    answered_at: datetime
    clock_offset: timedelta | None = None
    """This machine's clock minus the `Date` of the response, which is in whole seconds."""
    attempts: int = 1
    age: timedelta = timedelta(0)
    """How old the answer was if a cache gave it: it was true at some moment after `asked_at` minus this."""
    paging: tuple[str, ...] = ()
    """Headers that make the answer look like one page of several."""
    total: tuple[int, str] | None = None
    """How many records exist in total, and the header that says so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status 200 and a complete body, not yet read."""

    exchange: Exchange
    body: bytes

    def body_hash(self) -> bytes:
        """For comparing in memory only: the hash of a raw body would make it possible to guess passwords."""
        return hashlib.sha256(self.body).digest()

    def __repr__(self) -> str:
        return f"Answer({len(self.body)} bytes)"


@dataclass(frozen=True, slots=True)
class Failure:
    """No usable answer. Every part of the key is removed from the texts."""

    exchange: Exchange
    cause: Cause
    message: str
    http_status: int | None = None
    exception_class: str | None = None
    request_id: str | None = None
    is_transient: bool = field(default=False, compare=False)
    """True if more time might have brought an answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask, and with which key."""

    base_url: str
    key: str
    scheme: str = "apikey"
    deadline: timedelta = timedelta(seconds=45)
    """For all attempts together."""
    max_body: int | None = None
    """Maximum size of the answer in bytes; None: the client's own limit."""

    def __repr__(self) -> str:
        return f"Request({self.base_url!r})"
