"""What an answer says (`Listing`): its evidence, understood.

    Document ─▶ each record by itself: an entity of each kind, what the schema does not say ─▶ Listing

Nothing else is read, so that history can be derived again from what is stored. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel

from collector.gcore import documented, jsontext, paging, wire
from collector.gcore.document import Document, Record
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
    differing_fields,
)

CACHED_TEXT = 16 * 1024
"""Longer records are understood again each time, and not remembered."""
MAX_COMMON = 100
"""A larger set of what the schema does not say is not remembered."""


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
    drift: frozenset[Drift]


_NESTED: tuple[Literal["keystone", "metrics_database"], ...] = ("keystone", "metrics_database")
_UNSTATED = _Nested(None, False, None)
_PATHS: Mapping[type[BaseModel], str] = {
    wire.RegionSerializerAi: "",
    wire.KeystoneSerializerAi: "keystone",
    wire.MetricsDatabaseSerializer: "metrics_database",
    wire.ServiceEndpointSerializer: "ddos_endpoint",
}
"""Where each model stands in a record."""


def listing_of(document: Document, near: tuple[Document, Listing] | None = None) -> Listing:
    """Everything that a document says, typed.

    `near`: a document that may have most of its records, and what it says.
    """
    return (near and _like(document, *near)) or _listing(document)


def _like(document: Document, before: Document, said: Listing) -> Listing | None:
    """What a document says of which a few regions are otherwise than in another, if all else is the same.

    Of the others not even the records are looked at, of which there may be thousands.
    """
    regions = said.shown["region"]
    if document.envelope != before.envelope or not (
        len(document.records) == len(before.records) == len(regions.sightings)
    ):
        return None
    differing = {}
    for old, new in zip(before.records, document.records, strict=True):
        if old is not new:
            was, is_ = old.meaning or understand(old), new.meaning or understand(new)
            if (was.id, was.nested, was.drift) != (is_.id, is_.nested, is_.drift) or is_.region is None:
                return None
            differing[is_.region.entity.id] = is_.region
    now = replace(regions, sightings={**regions.sightings, **differing})
    return replace(said, shown={**said.shown, "region": now})


def _listing(document: Document) -> Listing:
    records = document.records
    parsed: list[_Parsed] = [record.meaning or understand(record) for record in records]
    drift = _envelope_drift(document.envelope).union(*{p.drift for p in parsed})
    reasons = _reasons(parsed)
    rejected = tuple(
        Rejected(i, parsed[i].id, reason, records[i].text) for i, reason in enumerate(reasons) if reason
    )
    usable = [p for p, reason in zip(parsed, reasons, strict=True) if not reason] if rejected else parsed
    # A record that says not even whose it is might be anything that is not listed: no absence is sure.
    nameless = "record_without_id" if any(r.id is None for r in rejected) else None
    regions = Shown(
        sightings={p.region.entity.id: p.region for p in usable if p.region},
        named=frozenset(r.id for r in rejected if r.id is not None),
        withheld=nameless,
    )
    shown: dict[Kind, Shown] = {"region": regions}
    for kind in _NESTED:
        shown[kind], differing = _shown_nested(kind, usable, parsed, nameless)
        drift |= differing
    return Listing(
        declared=jsontext.integer(document.envelope.get("count")),
        listed=len(records),
        paging=paging.in_envelope(document.envelope, len(records)),
        shown=shown,
        rejected=rejected,
        drift=frozenset(drift),
    )


def _reasons(parsed: Sequence[_Parsed]) -> list[str | None]:
    """Why each record is rejected, or None."""
    reasons = [p.reason for p in parsed]
    ids = [p.id for p in parsed if p.id is not None]
    if len(set(ids)) == len(ids):
        return reasons
    by_id: dict[int, list[int]] = defaultdict(list)
    for position, p in enumerate(parsed):
        if p.id is not None:
            by_id[p.id].append(position)
    for positions in by_id.values():
        first = parsed[positions[0]]
        if any((parsed[i].region, parsed[i].nested) != (first.region, first.nested) for i in positions[1:]):
            for i in positions:
                reasons[i] = reasons[i] or "duplicate_id"
    return reasons


def _shown_nested(
    kind: Kind, usable: Sequence[_Parsed], parsed: Sequence[_Parsed], nameless: str | None
) -> tuple[Shown, set[Drift]]:
    """The copy of the lowest region id that gives the object counts."""
    sightings: dict[int, Sighting] = {}
    drift: set[Drift] = set()
    copies = [seen for p in usable if (seen := p.nested[kind].sighting)]
    for seen in copies:  # as the records stand in a document: by id
        first = sightings.setdefault(seen.entity.id, seen)
        if seen is not first and seen.content_hash != first.content_hash:
            drift.update(
                Drift(f"results[].{kind}.{name}", "copies_differ", f"{kind} {seen.entity.id}")
                for name in differing_fields(first.entity, seen.entity)
            )
    nested = [p.nested[kind] for p in parsed]
    named = {each.reference for each in nested} - sightings.keys()
    is_stated = {each.is_stated for each in nested} <= {True}
    return (
        Shown(
            sightings=sightings,
            named=frozenset(i for i in named if i is not None),
            withheld=nameless or (None if is_stated else "reference_not_stated"),
        ),
        drift,
    )


def _sighting(entity: Entity, witness: int | None = None) -> Sighting:
    return Sighting(entity, content_hash(entity), witness)


def understand(record: Record, value: Any = None) -> _Parsed:
    """What one record says; it is kept with the record.

    `value`: the value of the record with integers as `int`, where it is at hand.
    """
    if value is None and len(record.text) <= CACHED_TEXT:
        record.meaning = _remembered(record)
    else:
        record.meaning = _at_once(record, value) or _by_field(record)
    parsed: _Parsed = record.meaning
    return parsed


@lru_cache(maxsize=4096)
def _remembered(record: Record) -> _Parsed:
    """Most records are the same in every document."""
    return _at_once(record, _plain(record)) or _by_field(record)


def _plain(record: Record) -> Any:
    with suppress(ValueError):
        return jsontext.loads_plain(record.text.encode())
    return None


def _one_of_equals(drift: frozenset[Drift]) -> frozenset[Drift]:
    """Most records have the same drift."""
    return _common(drift) if len(drift) <= MAX_COMMON else drift


@lru_cache(maxsize=256)
def _common(drift: frozenset[Drift]) -> frozenset[Drift]:
    return drift


def _at_once(record: Record, value: Any) -> _Parsed | None:
    """A record that is as documented, but for unknown fields: equal to `_by_field`, in a quarter of the time."""
    read = documented.read_whole(record.text, value) if isinstance(value, dict) else None
    if read is None:
        return None
    try:
        fields = documented.fields_of(wire.RegionSerializerAi, read)
        nested: dict[Kind, _Nested] = {
            "keystone": _keystone_at_once(read, value["keystone"]),
            "metrics_database": _metrics_database_at_once(read, value["metrics_database"]),
        }
        if read.ddos_endpoint is not None:
            ddos = documented.fields_of(wire.ServiceEndpointSerializer, read.ddos_endpoint)
            fields |= {f"ddos_{name}": each for name, each in ddos.items()}
    except ValueError:  # an impossible time
        return None
    fields["metrics_database_id"] = nested["metrics_database"].reference
    drift = [
        each
        for model, path in _PATHS.items()
        if isinstance(given := value.get(path) if path else value, dict)
        for each in documented.unknown_fields(model, given, f"results[].{path}".rstrip("."))
    ]
    return _Parsed(read.id, None, _sighting(Region(**fields)), nested, _one_of_equals(frozenset(drift)))


def _keystone_at_once(region: Any, raw: Mapping[str, Any]) -> _Nested:
    fields = documented.fields_of(wire.KeystoneSerializerAi, region.keystone)
    common = {"id": region.keystone_id, "own_id": fields.pop("id"), "has_password": _has_password(raw)}
    return _Nested(region.keystone_id, True, _sighting(Keystone(**fields, **common), region.id))


def _metrics_database_at_once(region: Any, raw: Mapping[str, Any]) -> _Nested:
    reference, read = region.metrics_database_id, region.metrics_database
    if read is None:
        return _Nested(reference, True, None)
    fields = documented.fields_of(wire.MetricsDatabaseSerializer, read)
    own_id = fields.pop("id")
    reference = own_id if reference is None else reference
    common = {"id": reference, "own_id": own_id, "has_password": _has_password(raw)}
    return _Nested(reference, True, _sighting(MetricsDatabase(**fields, **common), region.id))


def _by_field(record: Record) -> _Parsed:
    raw = record.value
    if not isinstance(raw, dict):
        drift = frozenset({Drift("results[]", "wrong_type", jsontext.type_name(raw))})
        return _Parsed(None, "not_an_object", None, dict.fromkeys(_NESTED, _UNSTATED), _one_of_equals(drift))
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
    return _Parsed(region_id, reason, region, nested, _one_of_equals(frozenset(drift_of)))


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
    elif jsontext.integer(envelope["count"]) is None:
        drift.add(Drift("count", "wrong_type", jsontext.type_name(envelope["count"])))
    return drift
