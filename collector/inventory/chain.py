"""Digests that link the observations of a source. Editing, inserting or removing one breaks the link to the next.

    opening_digest = SHA-256(JSON list: previous digest, the row's columns when it was inserted, in the order
                             of OPENING, the observer, and a list [name, value] for each column of LATER that
                             is not NULL)
    digest         = SHA-256(JSON list: opening digest, then the final counters in the order of CLOSING)

Prunes and redactions form a second chain, with one amendment each:

    digest         = SHA-256(JSON list: previous digest, source, the columns of AMENDMENT)

The next observation after an amendment stores the newest amendment's digest in `amended`, so every later head covers
it.

Times are hashed as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, lists as JSON lists, and the whole as compact ASCII JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from collector.clock import time_text

GENESIS = "0" * 64
"""previous_digest of the first observation, the first amendment and the first anchor of a source."""

OPENING = (
    "seq",
    "outcome",
    "payload",
    "first_asked_at",
    "first_at",
    "expected_interval_ms",
    "listed",
    "declared",
    "rejected",
    "missing",
    "cause",
    "http_status",
    "exception_class",
    "message",
    "request_id",
    "clock_offset_ms",
    "collector_version",
    "recorded_at",
)
LATER = ("paging", "age_ms", "amended")
"""Columns added later. NULLs are left out, so the digests of older rows stay the same."""
CLOSING = ("last_asked_at", "last_at", "polls", "longest_interval_ms", "variants")
AMENDMENT = ("number", "kind", "made_at", "made_by", "at_seq", "facts")
OBSERVER = ("key_fingerprint", "base_url", "auth_scheme")


def opening_digest(source: str, row: Mapping[str, Any], observer: Mapping[str, Any]) -> str:
    """Return the digest of a row when it is inserted: 64 hex digits.

    `row`: the columns of OPENING and LATER, and `previous_digest`. `observer`: the columns of OBSERVER.
    """
    return _digest(
        row["previous_digest"],
        source,
        *(row[name] for name in OPENING),
        *(observer[name] for name in OBSERVER),
        *([name, row[name]] for name in LATER if row[name] is not None),
    )


def closing_digest(row: Mapping[str, Any]) -> str:
    """Return the digest of a row when the next one opens. `row`: the columns of CLOSING, and `opening_digest`."""
    return _digest(row["opening_digest"], *(row[name] for name in CLOSING))


def amendment_digest(source: str, row: Mapping[str, Any]) -> str:
    """Return the digest of an amendment. `row`: the columns of AMENDMENT, and `previous_digest`."""
    return _digest(row["previous_digest"], source, *(row[name] for name in AMENDMENT))


def json_list(*parts: Any) -> bytes:
    """The bytes to hash."""
    return json.dumps([plain(part) for part in parts], separators=(",", ":")).encode("ascii")


def plain(value: Any) -> Any:
    """A value in the form that is hashed: times become text."""
    return time_text(value) if isinstance(value, datetime) else value


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json_list(*parts)).hexdigest()
