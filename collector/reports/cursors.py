"""How far a reader of events has read, as text for a URL."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sa

from collector.database.joins import InOrder
from collector.database.listed import list_of, listed
from collector.database.url import is_sqlite
from collector.errors import CollectorError, UsageError
from collector.store.tables import observations

CURSOR_PATTERN = (
    r"z[0-9A-Za-z_-]{8,8000}|"
    r"([0-9]{1,9}\.[0-9]{1,18}(\.[0-9]{1,9}\.[0-9]{1,2}\.-?[0-9]{1,19})?_)*[0-9a-f]{16}"
)
_LONG = 500
"""A cursor longer than this, for many sources, is compressed, because URLs have limits."""


class AnotherHistoryError(CollectorError):
    """The cursor comes from another history, from before a backup was restored, or from a time that was pruned
    since."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far one source was read."""

    seq: int = 0
    ordinal: int | None = None
    """How many events of this seq were read; None: all."""
    rank: int = 0
    key: int = 0
    """The last event of the seq that was read."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far each source was read, by its id, and the digest of everything that this rests on."""

    positions: Mapping[int, Position] = field(default_factory=dict)
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises UsageError for text that is no cursor, and AnotherHistoryError for text that only looks like one."""
        if not re.fullmatch(CURSOR_PATTERN, text, re.ASCII):
            raise UsageError("that is not a cursor; take it unchanged from `next` of the previous answer")
        if text[0] == "z":
            text = _unpacked(text[1:])
        *places, digest = text.split("_")
        positions = {}
        for place in places:
            source_id, *numbers = (int(number) for number in place.split("."))
            positions[source_id] = Position(*numbers)
            if abs(positions[source_id].key) >= 2**63:  # no database counts further
                raise AnotherHistoryError
        return cls(positions, digest)

    def __str__(self) -> str:
        places = []
        for source_id, at in sorted(self.positions.items()):
            inside = "" if at.ordinal is None else f".{at.ordinal}.{at.rank}.{at.key}"
            places.append(f"{source_id}.{at.seq}{inside}_")
        text = "".join(places) + self.digest
        return text if len(text) <= _LONG else f"z{_packed(text)}"


def _packed(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def _unpacked(packed: str) -> str:
    """Raises AnotherHistoryError for data that was never compressed."""
    try:
        compressed = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        text = zlib.decompressobj().decompress(compressed, 1_000_000).decode()
    except (ValueError, zlib.error):
        raise AnotherHistoryError from None
    if text[:1] == "z" or not re.fullmatch(CURSOR_PATTERN, text, re.ASCII):
        raise AnotherHistoryError
    return text


def digest_of(connection: sa.Connection, positions: Mapping[int, Position]) -> str:
    """Digest over the opening digests of the observations that were read last; each of them seals all earlier ones."""
    pairs = [(source_id, at.seq) for source_id, at in sorted(positions.items()) if at.seq]
    found = opening_digests(connection, pairs)
    return digest_over(found) if len(found) == len(pairs) else ""  # no cursor has this digest


def digest_over(heads: Mapping[tuple[int, int], str]) -> str:
    """Digest over opening digests, in the order of their sources."""
    text = "".join(f"{source_id} {seq} {digest}\n" for (source_id, seq), digest in sorted(heads.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def opening_digests(
    connection: sa.Connection, pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], str]:
    """Opening digests of observations, by source id and seq; those that are not there are left out."""
    rows = connection.execute(_digests(is_sqlite(connection)), {"pairs": list_of(sorted(set(pairs)))})
    return {(source_id, seq): digest for source_id, seq, digest in rows}


@cache
def _digests(on_sqlite: bool) -> sa.Select[Any]:
    o = observations.c
    pairs = listed("pairs", {"source_id": sa.Integer(), "seq": sa.BigInteger()}, on_sqlite=on_sqlite)
    is_asked = (o.source_id == pairs.c.source_id) & (o.seq == pairs.c.seq)
    return sa.select(o.source_id, o.seq, o.opening_digest).select_from(InOrder(pairs, observations, is_asked))
