"""An answer as evidence (`Document`), and what it says (`Listing`).

    body ─▶ strict JSON ─▶ redacted ─▶ Document: envelope + records, canonical, addressed ─▶ Listing

The first half runs once, when an answer comes in; the second whenever history is derived, from the stored
document alone. Both are pure.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel

from collector.gcore import jsontext, paging, wire
from collector.gcore.jsontext import Number
from collector.gcore.redaction import TooMuchToJudgeError, redact
from collector.gcore.secret_keys import PART_IN_EVIDENCE, keys_of
from collector.inventory.entities import (
    Drift,
    Entity,
    Keystone,
    Kind,
    Listing,
    MetricsDatabase,
    Region,
    Rejected,
    Shown,
    Sighting,
    content_hash,
    values,
)

MAX_RECORDS = 10_000
"""More regions than any cloud has. Each costs some rows, and all rows of a poll are written while its lease lasts."""
MAX_VALUES = 500_000
"""Those of ten thousand regions. Once read, a value costs up to a hundred times the memory of its bytes."""
MAX_EFFORT = 60_000
"""So many different names, and texts that may hold secrets, are judged in one answer: twice those of ten thousand
regions. Each takes some 30 microseconds."""
CACHED_TEXT = 16 * 1024
"""Longer records are understood anew each time, rather than remembered."""
MAX_REJECTED = 1000
"""So many rejected records of one answer get a row of their own; all stay in the payload."""


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


def _document(value: dict[str, Any]) -> Document:
    envelope = {name: member for name, member in value.items() if name != "results"}
    records = sorted((Record(jsontext.dumps(item), item) for item in value["results"]), key=_order)
    digest = hashlib.sha256(hashlib.sha256(jsontext.dumps(envelope).encode()).digest())
    for record in records:
        digest.update(hashlib.sha256(record.text.encode()).digest())
    return Document(envelope, tuple(records), digest.hexdigest())


def _texts(document: Document) -> Iterable[str]:
    yield jsontext.dumps(dict(document.envelope))
    yield from (record.text for record in document.records)


def _order(record: Record) -> tuple[bool, int, str]:
    region_id = record_id(record)
    return (region_id is None, region_id or 0, record.text)


def record_id(record: Record) -> int | None:
    """The id of a record, where it has a usable one."""
    return _id(record.value.get("id")) if isinstance(record.value, dict) else None


def _a(value: Any) -> str:
    name = jsontext.type_name(value)
    return {"null": "null", "array": "a list", "object": "an object"}.get(name, f"a {name}")


def _id(value: Any) -> int | None:
    return value.as_int() if isinstance(value, Number) else None


# What a document says


@dataclass(frozen=True, slots=True)
class _Nested:
    """What one record says of its keystone or metrics database."""

    reference: int | None
    is_stated: bool
    """The reference is given, or its absence is, where that is legal."""
    sighting: Sighting | None


@dataclass(frozen=True, slots=True)
class _Parsed:
    """One record, understood."""

    id: int | None
    reason: str | None
    """Why it is rejected, or None."""
    region: Sighting | None
    nested: Mapping[Kind, _Nested]


_NESTED: tuple[Literal["keystone", "metrics_database"], ...] = ("keystone", "metrics_database")
_UNSTATED = _Nested(None, False, None)


def listing_of(document: Document) -> Listing:
    """Everything that a document says, typed."""
    drift = _envelope_drift(document.envelope)
    parsed = [_parse(record, drift) for record in document.records]
    reasons = [p.reason for p in parsed]
    by_id: dict[int, list[int]] = defaultdict(list)
    for position, p in enumerate(parsed):
        if p.id is not None:
            by_id[p.id].append(position)
    for positions in by_id.values():
        first = parsed[positions[0]]
        if any((parsed[i].region, parsed[i].nested) != (first.region, first.nested) for i in positions[1:]):
            for i in positions:
                reasons[i] = reasons[i] or "duplicate_id"
    rejected = tuple(
        Rejected(i, parsed[i].id, reason, document.records[i].text)
        for i, reason in enumerate(reasons)
        if reason
    )
    usable = {
        p.region.entity.id: p for p, reason in zip(parsed, reasons, strict=True) if p.region and not reason
    }
    # A record that says not even whose it is might be anything that is not listed: no absence is sure.
    nameless = "record_without_id" if any(r.id is None for r in rejected) else None
    regions = Shown(
        sightings={i: p.region for i, p in usable.items() if p.region},
        named=frozenset(r.id for r in rejected if r.id is not None),
        withheld=nameless,
    )
    shown: dict[Kind, Shown] = {"region": regions}
    for kind in _NESTED:
        shown[kind], differing = _shown_nested(kind, usable, parsed, nameless)
        drift |= differing
    return Listing(
        declared=_id(document.envelope.get("count")),
        listed=len(document.records),
        paging=paging.in_envelope(document.envelope, len(document.records)),
        shown=shown,
        rejected=rejected,
        drift=frozenset(drift),
    )


def _shown_nested(
    kind: Kind, usable: Mapping[int, _Parsed], parsed: Sequence[_Parsed], nameless: str | None
) -> tuple[Shown, set[Drift]]:
    """The copy of the lowest region id that gives the object counts."""
    sightings: dict[int, Sighting] = {}
    drift: set[Drift] = set()
    for region_id in sorted(usable):
        seen = usable[region_id].nested[kind].sighting
        if seen is None:
            continue
        first = sightings.setdefault(seen.entity.id, seen)
        if seen.content_hash != first.content_hash:
            ours, theirs = values(first.entity), values(seen.entity)
            drift.update(
                Drift(f"results[].{kind}.{name}", "copies_differ", f"{kind} {seen.entity.id}")
                for name in ours
                if ours[name] != theirs[name]
            )
    references = {p.nested[kind].reference for p in parsed} - {None}
    unstated = not all(p.nested[kind].is_stated for p in parsed)
    return (
        Shown(
            sightings=sightings,
            named=frozenset(i for i in references if i is not None and i not in sightings),
            withheld=nameless or ("reference_not_stated" if unstated else None),
        ),
        drift,
    )


def _sighting(entity: Entity, witness: int | None = None) -> Sighting:
    return Sighting(entity, content_hash(entity), witness)


def _parse(record: Record, drift: set[Drift]) -> _Parsed:
    """Understand one record, and add what the schema does not say of it."""
    parsed, more = _remembered(record) if len(record.text) <= CACHED_TEXT else _understand(record)
    drift |= more
    return parsed


@lru_cache(maxsize=4096)
def _remembered(record: Record) -> tuple[_Parsed, frozenset[Drift]]:
    """Most records are the same at every poll, and most have the same drift."""
    parsed, drift = _understand(record)
    return parsed, _one_of_equals(drift)


@lru_cache(maxsize=256)
def _one_of_equals(drift: frozenset[Drift]) -> frozenset[Drift]:
    return drift


def _understand(record: Record) -> tuple[_Parsed, frozenset[Drift]]:
    raw = record.value
    if not isinstance(raw, dict):
        drift = frozenset({Drift("results[]", "wrong_type", jsontext.type_name(raw))})
        return _Parsed(None, "not_an_object", None, dict.fromkeys(_NESTED, _UNSTATED)), drift
    fields, drift_of = wire.read_object(wire.RegionSerializerAi, raw, "results[]")
    nested: dict[Kind, _Nested] = {}
    for kind in _NESTED:
        nested[kind], more = _parse_nested(kind, raw, fields[f"{kind}_id"], fields["id"])
        drift_of |= more
    ddos, more = _parse_ddos(raw)
    drift_of |= more
    region_id, state = fields.pop("id"), fields.pop("state")
    reason = "no_usable_id" if region_id is None else None if state else "no_usable_state"
    region = None
    if region_id is not None and state:
        references = {f"{kind}_id": nested[kind].reference for kind in _NESTED}
        region = _sighting(Region(id=region_id, state=state, **(fields | references | ddos)))
    return _Parsed(region_id, reason, region, nested), frozenset(drift_of)


def _parse_nested(
    kind: Literal["keystone", "metrics_database"],
    raw: Mapping[str, Any],
    reference: int | None,
    region_id: int | None,
) -> tuple[_Nested, set[Drift]]:
    model: type[BaseModel] = (
        wire.KeystoneSerializerAi if kind == "keystone" else wire.MetricsDatabaseSerializer
    )
    given = raw.get(kind)
    if reference is None and raw.get(f"{kind}_id") is not None:
        drift = wire.read_object(model, given, f"results[].{kind}")[1] if isinstance(given, dict) else set()
        return _UNSTATED, drift  # given, but unusable: the object's own id may well be another
    if not isinstance(given, dict):
        null_is_legal = kind == "metrics_database"
        says_none = given is None and raw.get(f"{kind}_id") is None and (kind in raw or f"{kind}_id" in raw)
        return _Nested(reference, reference is not None or (null_is_legal and says_none), None), set()
    fields, drift = wire.read_object(model, given, f"results[].{kind}")
    own_id = fields.pop("id")
    if reference is None:
        reference = own_id
    if reference is None:
        return _UNSTATED, drift
    common = {"id": reference, "own_id": own_id, "has_password": _has_password(given)}
    if kind == "metrics_database":
        return _Nested(reference, True, _sighting(MetricsDatabase(**fields, **common), region_id)), drift
    usable = _sighting(Keystone(**fields, **common), region_id) if fields["state"] else None
    return _Nested(reference, True, usable), drift


def _has_password(raw: Mapping[str, Any]) -> bool | None:
    for spelling in ("password", "admin_password"):
        if spelling in raw:
            return raw[spelling] is not None
    return None


def _parse_ddos(raw: Mapping[str, Any]) -> tuple[dict[str, Any], set[Drift]]:
    given = raw.get("ddos_endpoint")
    if not isinstance(given, dict):
        return {}, set()
    fields, drift = wire.read_object(wire.ServiceEndpointSerializer, given, "results[].ddos_endpoint")
    return {f"ddos_{name}": value for name, value in fields.items()}, drift


def _envelope_drift(envelope: Mapping[str, Any]) -> set[Drift]:
    drift = {
        Drift(wire.storable(name), "unknown_field", jsontext.type_name(value))
        for name, value in envelope.items()
        if name != "count"
    }
    if "count" not in envelope:
        drift.add(Drift("count", "missing_field", ""))
    elif _id(envelope["count"]) is None:
        drift.add(Drift("count", "wrong_type", jsontext.type_name(envelope["count"])))
    return drift
