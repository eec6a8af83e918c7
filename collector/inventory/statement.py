"""What an anchor states about a history, the anchored value, and the digest that seals the result. Pure.

    value  = SHA-256(JSON list: previous digest, then the statement in the order of STATED)
    digest = SHA-256(JSON list: value, then the result in the order of RESULT)

The value covers everything up to the newest observation, whose opening digest is `head`, and that observation's
counters at that time, which no digest of the chain covers until the next observation opens. Texts and times are
hashed like those of the chain. The value is what outside places receive; the next anchor of the source builds on the
digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from collector.inventory.chain import CLOSING, json_list, plain

FORMAT = 1
"""Version of the line that outside places receive."""
STATED = ("source", "number", "target", "kind", "made_at", "seq", "head", *CLOSING)
RESULT = ("outcome", "answered_at", "attested_at", "token_hash", "signed_by", "signature", "error")


def statement(row: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed, signed and time-stamped. `row`: the columns of STATED and `previous_digest`."""
    return json_list(row["previous_digest"], *(row[name] for name in STATED))


def value_of(row: Mapping[str, Any]) -> str:
    """The anchored value: 64 hex digits."""
    return hashlib.sha256(statement(row)).hexdigest()


def result_digest(row: Mapping[str, Any]) -> str:
    """Return the digest of a result. `row`: `value`, the columns of RESULT without the token's hash, and `token`
    itself.
    """
    token = row["token"]
    hashed = {**row, "token_hash": None if token is None else hashlib.sha256(token).hexdigest()}
    return hashlib.sha256(json_list(row["value"], *(hashed[name] for name in RESULT))).hexdigest()


def line(row: Mapping[str, Any]) -> str:
    """The line of JSON that outside places receive. `row`: as for `statement`, with `value`, `signed_by` and
    `signature`.
    """
    names = ("previous_digest", *STATED, "value", "signed_by", "signature")
    return json.dumps({"anchor": FORMAT, **{name: plain(row[name]) for name in names}})


def head_statement(source: str, seq: int, head: str) -> bytes:
    """The bytes that are signed for a printed head."""
    return json_list("head", source, seq, head)
