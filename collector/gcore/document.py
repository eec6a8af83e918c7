"""An answer as evidence.

    body ─▶ strict JSON ─▶ redacted ─▶ Document: envelope + records, canonical, addressed

This runs once, when an answer arrives. `listing` reads a document's meaning, whenever history is derived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain, repeat
from operator import attrgetter
from typing import Any

from msgspec import Struct

from collector.gcore import documented, jsontext, wire
from collector.gcore.pieces import LEVELS, part
from collector.gcore.redaction import Redaction, TooMuchToJudgeError
from collector.gcore.secret_keys import PART_IN_EVIDENCE, Keys, keys_of


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that an answer may cost."""

    bytes: int = 32 * 1024 * 1024
    """Bytes of an answer, and characters of its canonical form, where each non-ASCII one becomes six."""
    records: int = 10_000
    """More regions than any cloud has. Each takes some rows, and a poll must write all of them before its lease ends.
    """
    values: int = 2_000_000
    """Enough for ten thousand regions with four times the documented members."""
    effort: int = 60_000
    """Number of distinct names, and of texts that may hold secrets, to be judged in one answer.

    Twice those of ten thousand regions. Each takes about 30 microseconds.
    """


LIMITS = Limits()
MAX_AT_ONCE, MAX_VALUES_AT_ONCE = 8 * 1024 * 1024, 500_000
"""Bytes and values that are read at once.

The limits apply to a whole answer, if it is no larger; to everything around the records; to all records together that
are longer than `USUAL`; and to all texts that have to be examined closely. Once read, a value takes up to a hundred
times the memory of its bytes, and a hostile text takes half a second per megabyte.
"""
USUAL = 64 * 1024
"""Bytes. No real region is longer."""


class NotAListingError(ValueError):
    """The answer is JSON, but not a list of regions."""

    def __init__(self, message: str, document: Any) -> None:
        super().__init__(message)
        self.document = document
        """The parsed answer, perhaps an error object of the API."""


class Record(Struct, eq=False, gc=False):
    """One element of `results`, compared by its canonical text."""

    text: str
    """Canonical JSON, in ASCII."""
    id: int | None
    """None if it has no usable id."""
    digest: bytes = b""
    """SHA-256 of the text."""
    meaning: Any = None
    """What `listing` understood, after it was asked."""

    def __post_init__(self) -> None:
        self.digest = hashlib.sha256(self.text.encode()).digest()

    @property
    def value(self) -> Any:
        """The parsed value. It is parsed each time, because it takes many times the memory of its text."""
        return jsontext.loads(self.text.encode())

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Record) and other.text == self.text)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Record({self.text!r})"


@dataclass(frozen=True, slots=True)
class Document:
    """An answer in canonical form: `records` sorted by id, those without a usable id last."""

    envelope: Mapping[str, Any]
    """Everything except `results`."""
    records: tuple[Record, ...]
    address: str
    """SHA-256 (64 hex digits) over the hash of the envelope and those of the records, in order.

    Each hash is the SHA-256 of a canonical text. So one record can be disclosed and proven without the others.
    """

    def canonical(self) -> bytes:
        """The canonical JSON text of the whole answer."""
        text = BytesIO()  # holds the text once; joining strings would hold it twice
        for name in sorted({*self.envelope, "results"}):
            text.write(b"," if text.tell() else b"{")
            text.write(f"{jsontext.dumps(name)}:".encode())
            if name != "results":
                text.write(jsontext.dumps(self.envelope[name]).encode())
                continue
            for before, record in zip(chain((b"[",), repeat(b",")), self.records, strict=False):
                text.write(before)
                text.write(record.text.encode())
            text.write(b"]" if self.records else b"[]")
        text.write(b"}")
        return text.getvalue()

    def size(self) -> int:
        """The length of `canonical`."""
        around = len(replace(self, records=()).canonical())
        return around + sum(map(len, map(attrgetter("text"), self.records))) + max(len(self.records) - 1, 0)


def document_of(body: bytes, secrets: Sequence[str] = (), limits: Limits = LIMITS) -> Document:
    """Read a whole body as received, if it `fits_at_once`. Raises StrictJSONError or NotAListingError."""
    if count_of_values(body) > limits.values:
        raise too_many_values(limits)
    value = jsontext.loads(body)
    if not isinstance(value, dict):
        raise NotAListingError(f"the answer is {_a(value)}, not an object", None)
    try:
        redaction = Redaction(documented=wire.documented_names(), effort=limits.effort)
        if not isinstance(value.get("results"), list):
            what = f"is {_a(value['results'])}" if "results" in value else "is missing"
            raise NotAListingError(f"`results` {what}, not a list of regions", redaction.of(value))
        if len(value["results"]) > limits.records:
            raise too_many_records(len(value["results"]), limits)
        value = redaction.of(value)
        judge = KeyJudge(secrets, limits)
        records = [judge.record(item) for item in value.pop("results")]
        return assembled(judge.envelope(value), records)
    except TooMuchToJudgeError:
        raise too_much_to_judge(limits) from None


def fits_at_once(body: bytes) -> bool:
    """True if a body may be read as a whole."""
    return len(body) <= MAX_AT_ONCE and count_of_values(body) <= MAX_VALUES_AT_ONCE


def count_of_values(body: bytes) -> int:
    """An upper bound of the number of values."""
    return sum(body.count(c) for c in (b",", b"[", b"{"))


def too_many_values(limits: Limits) -> NotAListingError:
    return NotAListingError(
        f"the answer holds more than {limits.values:,} values, too many for a list of regions", None
    )


def too_much_to_judge(limits: Limits) -> NotAListingError:
    return NotAListingError(
        f"the answer holds more than {limits.effort:,} different names and texts that may hold secrets, "
        "too many for a list of regions",
        None,
    )


def too_many_records(count: int, limits: Limits) -> NotAListingError:
    return NotAListingError(f"`results` holds {count:,} records, more than {limits.records:,}", None)


class KeyJudge:
    """Removes the request's API key from one part of an answer after another."""

    def __init__(self, secrets: Sequence[str], limits: Limits) -> None:
        self._keys: Keys = keys_of(tuple(secrets), PART_IN_EVIDENCE)
        self._redaction = Redaction(secrets, wire.documented_names(), limits.effort)

    def stands_in(self, text: str) -> bool:
        return self._keys.stand_in(text)

    def record(self, value: Any) -> Record:
        """The record of a value that is redacted except for the key. Raises TooMuchToJudgeError."""
        text = jsontext.dumps(value)
        if self.stands_in(text):
            value = self._redaction.of(value)
            text = jsontext.dumps(value)
        return Record(text, id_of(value))

    def envelope(self, value: dict[str, Any]) -> dict[str, Any]:
        """The same for everything except the records."""
        if self.stands_in(jsontext.dumps(value)):
            redacted: dict[str, Any] = self._redaction.of(value)
            return redacted
        return value


def stored_document(canonical: bytes) -> Document:
    """Read a stored canonical text; record by record if possible."""
    try:
        pieces = part(canonical)
        value = pieces.members()
        records = [_stored(bytes(raw)) for raw in pieces.records]
    except ValueError:
        value = jsontext.loads(canonical)
        records = [Record(jsontext.dumps(item), id_of(item)) for item in value["results"]]
    del value["results"]
    return assembled(value, records)


def restored(envelope: str, records: Iterable[str], known: Mapping[str, Record]) -> Document:
    """A document from the texts of its parts. `known`: records by their texts, to be used unchanged.

    Raises ValueError if a text is not JSON.
    """
    members = jsontext.loads(envelope.encode())
    if not isinstance(members, dict):
        raise ValueError("an envelope is an object")  # noqa: TRY004 - the text does not fit
    return assembled(members, [known.get(text) or _stored(text.encode()) for text in records])


def _stored(raw: bytes) -> Record:
    region = documented.read(raw)
    if region is not None:
        return Record(documented.text_of(region), region.id)
    value = jsontext.loads(raw, LEVELS)
    return Record(jsontext.dumps(value), id_of(value))


def assembled(envelope: dict[str, Any], records: Sequence[Record]) -> Document:
    """A document of these records, which may be in any order."""
    named = [record for record in records if record.id is not None]
    ids = [record.id for record in named]
    if len(set(ids)) == len(ids):
        named.sort(key=attrgetter("id"))  # an id is cheaper to compare than a text
    else:
        named.sort(key=attrgetter("id", "text"))
    nameless = sorted((record for record in records if record.id is None), key=attrgetter("text"))
    in_order = (*named, *nameless)
    digest = hashlib.sha256(hashlib.sha256(jsontext.dumps(envelope).encode()).digest())
    digest.update(b"".join([record.digest for record in in_order]))
    return Document(envelope, in_order, digest.hexdigest())


def id_of(value: Any) -> int | None:
    """The id of a record's value; None if it has no usable one."""
    return jsontext.integer(value.get("id")) if isinstance(value, dict) else None


def _a(value: Any) -> str:
    name = jsontext.type_name(value)
    return {"null": "null", "array": "a list", "object": "an object"}.get(name, f"a {name}")
