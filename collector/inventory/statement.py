"""What an anchor holds of a history: a statement, its value, and the digest that seals what became of it. Pure.

    value  = SHA-256(JSON list: previous digest, then the statement in the order of STATED)
    digest = SHA-256(JSON list: value, then what came of it in the order of RESULT)

The value covers everything up to the newest observation, whose opening digest is `head`, and the counters of that one
as they stood: no digest of the chain covers those before the next observation opens. Texts and times are hashed as
those of the chain are. The value is handed out; the digest is what the next anchor of the source builds on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from collector.inventory.chain import CLOSING, json_list, plain

FORMAT = 1
"""Version of the line that is handed out."""
STATED = ("source", "number", "target", "kind", "made_at", "seq", "head", *CLOSING)
RESULT = ("outcome", "answered_at", "attested_at", "token_hash", "signed_by", "signature", "error")


def statement(row: Mapping[str, Any]) -> bytes:
    """What is hashed, signed and time-stamped. `row`: the columns of STATED and `previous_digest`."""
    return json_list(row["previous_digest"], *(row[name] for name in STATED))


def value_of(row: Mapping[str, Any]) -> str:
    """The anchored value: 64 hex digits."""
    return hashlib.sha256(statement(row)).hexdigest()


def result_digest(row: Mapping[str, Any]) -> str:
    """`row`: `value`, the columns of RESULT but for the hash of the token, and the `token` itself."""
    token = row["token"]
    hashed = {**row, "token_hash": None if token is None else hashlib.sha256(token).hexdigest()}
    return hashlib.sha256(json_list(row["value"], *(hashed[name] for name in RESULT))).hexdigest()


def line(row: Mapping[str, Any]) -> str:
    """One line of JSON: what is handed out. `row`: as of `statement`, with `value`, `signed_by` and `signature`."""
    names = ("previous_digest", *STATED, "value", "signed_by", "signature")
    return json.dumps({"anchor": FORMAT, **{name: plain(row[name]) for name in names}})


def head_statement(source: str, seq: int, head: str) -> bytes:
    """What is signed of a head that is printed."""
    return json_list("head", source, seq, head)
