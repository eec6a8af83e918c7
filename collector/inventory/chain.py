"""Digests that link the observations of a source: editing, inserting or cutting one breaks the next.

    opening_digest = SHA-256(JSON list: previous digest, everything that stood in the row when it was
                             inserted, in the order of OPENING, and who looked, and a list [name, value] for
                             each column of LATER that is not NULL)
    digest         = SHA-256(JSON list: opening digest, then the final counters in the order of CLOSING)

What was pruned or redacted is a chain of its own, an amendment each:

    digest         = SHA-256(JSON list: previous digest, source, the columns of AMENDMENT)

The observation that opens after an amendment holds the digest of the newest one in `amended`, so that every later head
covers it.

Times are hashed as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, lists as JSON lists, the whole as compact ASCII JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from collector.clock import time_text

GENESIS = "0" * 64
"""previous_digest of the first observation of a source, of its first amendment, and of its first anchor."""

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
"""Columns that came later. Rows without them have the digests that they had before there were any."""
CLOSING = ("last_asked_at", "last_at", "polls", "longest_interval_ms", "variants")
AMENDMENT = ("number", "kind", "made_at", "made_by", "at_seq", "facts")
OBSERVER = ("key_fingerprint", "base_url", "auth_scheme")


def opening_digest(source: str, row: Mapping[str, Any], observer: Mapping[str, Any]) -> str:
    """`row`: the columns of OPENING and LATER and `previous_digest`; `observer`: those of OBSERVER."""
    return _digest(
        row["previous_digest"],
        source,
        *(row[name] for name in OPENING),
        *(observer[name] for name in OBSERVER),
        *([name, row[name]] for name in LATER if row[name] is not None),
    )


def closing_digest(row: Mapping[str, Any]) -> str:
    """`row`: the columns of CLOSING and `opening_digest`, as they stand when the next row opens."""
    return _digest(row["opening_digest"], *(row[name] for name in CLOSING))


def amendment_digest(source: str, row: Mapping[str, Any]) -> str:
    """`row`: the columns of AMENDMENT and `previous_digest`."""
    return _digest(row["previous_digest"], source, *(row[name] for name in AMENDMENT))


def json_list(*parts: Any) -> bytes:
    """What is hashed."""
    return json.dumps([plain(part) for part in parts], separators=(",", ":")).encode("ascii")


def plain(value: Any) -> Any:
    """A value as it is hashed: times as text."""
    return time_text(value) if isinstance(value, datetime) else value


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json_list(*parts)).hexdigest()
