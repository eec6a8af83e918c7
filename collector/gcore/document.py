"""An answer as evidence.

    body ─▶ strict JSON ─▶ redacted ─▶ Document: envelope + records, canonical, addressed

This runs once, when an answer comes in. What a document says is read by `listing`, whenever history is derived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from collector.gcore import jsontext, wire
from collector.gcore.redaction import TooMuchToJudgeError, redact
from collector.gcore.secret_keys import PART_IN_EVIDENCE, keys_of

MAX_RECORDS = 10_000
"""More regions than any cloud has. Each costs some rows, and all rows of a poll are written while its lease lasts."""
MAX_VALUES = 500_000
"""Those of ten thousand regions. Once read, a value costs up to a hundred times the memory of its bytes."""
MAX_EFFORT = 60_000
"""So many different names, and texts that may hold secrets, are judged in one answer: twice those of ten thousand
regions. Each takes some 30 microseconds."""


class NotAListingError(ValueError):
    """The answer is JSON, but not a list of regions."""

    def __init__(self, message: str, document: Any) -> None:
        super().__init__(message)
        self.document = document
        """The parsed answer: an error object of the API, perhaps."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One element of `results`: compared by its canonical text."""

    text: str
    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True, slots=True)
class Document:
    """An answer in canonical form: `records` sorted by id, those without a usable id last."""

    envelope: Mapping[str, Any]
    """Everything but `results`."""
    records: tuple[Record, ...]
    address: str
    """SHA-256 (64 hex digits) over the hash of the envelope and those of the records, in order; each hash is
    the SHA-256 of a canonical text. So one record can be disclosed and proven without the others."""

    def canonical(self) -> bytes:
        """The canonical JSON text of the whole answer."""
        members = {name: jsontext.dumps(value) for name, value in self.envelope.items()}
        members["results"] = "[" + ",".join(r.text for r in self.records) + "]"
        return (
            "{" + ",".join(f"{jsontext.dumps(name)}:{members[name]}" for name in sorted(members)) + "}"
        ).encode("ascii")


def document_of(body: bytes, secrets: Sequence[str] = ()) -> Document:
    """Read a body as it came over the wire. Raises StrictJSONError or NotAListingError."""
    if sum(body.count(c) for c in (b",", b"[", b"{")) > MAX_VALUES:  # at least as many as there are values
        raise NotAListingError(
            f"the answer holds more than {MAX_VALUES:,} values, as no list of regions does", None
        )
    value = jsontext.loads(body)
    if not isinstance(value, dict):
        raise NotAListingError(f"the answer is {_a(value)}, not an object", None)
    if not isinstance(value.get("results"), list):
        what = f"is {_a(value['results'])}" if "results" in value else "is missing"
        raise NotAListingError(f"`results` {what}, not a list of regions", _redacted(value))
    if len(value["results"]) > MAX_RECORDS:
        raise NotAListingError(
            f"`results` holds {len(value['results']):,} records, more than {MAX_RECORDS:,}", None
        )
    value = _redacted(value)
    document = _document(value)
    keys = keys_of(tuple(secrets), PART_IN_EVIDENCE)
    if any(keys.stand_in(text) for text in _texts(document)):
        del document
        document = _document(_redacted(value, secrets, wire.documented_names()))
    return document


def _redacted(value: Any, secrets: Sequence[str] = (), documented: Set[str] = frozenset()) -> Any:
    try:
        return redact(value, secrets, documented, MAX_EFFORT)
    except TooMuchToJudgeError:
        raise NotAListingError(
            f"the answer holds more than {MAX_EFFORT:,} different names and texts that may hold secrets, "
            "as no list of regions does",
            None,
        ) from None


def stored_document(canonical: bytes) -> Document:
    """Read a canonical text back from the store."""
    return _document(jsontext.loads(canonical))


def restored(envelope: str, records: Iterable[str], known: Mapping[str, Record]) -> Document:
    """A document from the texts of its parts. `known`: records by their texts, which are taken as they are.

    Raises ValueError where a text is no JSON.
    """
    members = jsontext.loads(envelope.encode())
    if not isinstance(members, dict):
        raise ValueError("an envelope is an object")  # noqa: TRY004 - of a text that does not fit
    return _addressed(
        members, (known.get(text) or _record(jsontext.loads(text.encode())) for text in records)
    )


def _document(value: dict[str, Any]) -> Document:
    envelope = {name: member for name, member in value.items() if name != "results"}
    return _addressed(envelope, map(_record, value["results"]))


def _record(value: Any) -> Record:
    return Record(jsontext.dumps(value), value)


def _addressed(envelope: Mapping[str, Any], records: Iterable[Record]) -> Document:
    in_order = sorted(records, key=_order)
    digest = hashlib.sha256(hashlib.sha256(jsontext.dumps(envelope).encode()).digest())
    for record in in_order:
        digest.update(hashlib.sha256(record.text.encode()).digest())
    return Document(envelope, tuple(in_order), digest.hexdigest())


def _texts(document: Document) -> Iterable[str]:
    yield jsontext.dumps(dict(document.envelope))
    yield from (record.text for record in document.records)


def _order(record: Record) -> tuple[bool, int, str]:
    region_id = record_id(record)
    return (region_id is None, region_id or 0, record.text)


def record_id(record: Record) -> int | None:
    """The id of a record, where it has a usable one."""
    return jsontext.integer(record.value.get("id")) if isinstance(record.value, dict) else None


def _a(value: Any) -> str:
    name = jsontext.type_name(value)
    return {"null": "null", "array": "a list", "object": "an object"}.get(name, f"a {name}")
