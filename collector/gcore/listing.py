"""The meaning of an answer (`Listing`).

    Document ─▶ each record by itself: an entity of each kind, drift from the schema ─▶ Listing

Nothing else is read, so history can be derived again from what is stored. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from typing import Any

from msgspec import Struct, structs
from pydantic import BaseModel

from collector.gcore import documented, jsontext, paging, wire
from collector.gcore.document import Document, Record
from collector.inventory.entities import (
    NESTED,
    Drift,
    Keystone,
    Kind,
    Listing,
    MetricsDatabase,
    NestedKind,
    Region,
    Rejected,
    Shown,
    Sighting,
    differing_fields,
)

CACHED_TEXT = 16 * 1024
"""Longer records are read again each time and not remembered."""
MAX_COMMON = 100
"""A larger set of drift is not remembered."""


class _Nested(Struct, frozen=True, gc=False):
    """What one record says about its keystone or metrics database."""

    reference: int | None
    is_stated: bool
    """True if the record gives the reference, or its absence if null is legal."""
    sighting: Sighting | None


class _Parsed(Struct, frozen=True, gc=False):
    """One record, understood."""

    id: int | None
    reason: str | None
    """Why it is rejected, or None."""
    region: Sighting | None
    keystone: _Nested
    metrics_database: _Nested
    drift: frozenset[Drift]


_UNSTATED = _Nested(None, False, None)


def listing_of(document: Document, near: tuple[Document, Listing] | None = None) -> Listing:
    """The meaning of a document, typed.

    `near`: a document that may share most of the records, and its meaning.
    """
    return (near and _like(document, *near)) or _listing(document)


def _like(document: Document, before: Document, said: Listing) -> Listing | None:
    """The meaning of a document in which only a few regions differ from another one; None if anything else differs.

    The other records, of which there may be thousands, are not even looked at.
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
            if is_.region is None or not (
                was.id == is_.id
                and was.keystone == is_.keystone
                and was.metrics_database == is_.metrics_database
                and was.drift == is_.drift
            ):
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
    # A record without a usable id might be any entity that is not listed, so no absence is certain.
    nameless = "record_without_id" if any(r.id is None for r in rejected) else None
    regions = Shown(
        sightings={p.region.entity.id: p.region for p in usable if p.region},
        named=frozenset(r.id for r in rejected if r.id is not None),
        withheld=nameless,
    )
    shown: dict[Kind, Shown] = {"region": regions}
    for kind in NESTED:
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
        if any(structs.replace(parsed[i], drift=first.drift) != first for i in positions[1:]):
            for i in positions:
                reasons[i] = reasons[i] or "duplicate_id"
    return reasons


def _shown_nested(
    kind: NestedKind, usable: Sequence[_Parsed], parsed: Sequence[_Parsed], nameless: str | None
) -> tuple[Shown, set[Drift]]:
    """The copy of the lowest region id that gives the object counts."""
    sightings: dict[int, Sighting] = {}
    drift: set[Drift] = set()
    of_kind: Callable[[_Parsed], _Nested] = attrgetter(kind)
    copies = [seen for nested in map(of_kind, usable) if (seen := nested.sighting)]
    for seen in copies:  # a document's records are sorted by id
        first = sightings.setdefault(seen.entity.id, seen)
        if seen is not first and seen.entity != first.entity:
            drift.update(
                Drift(f"results[].{kind}.{name}", "copies_differ", f"{kind} {seen.entity.id}")
                for name in differing_fields(first.entity, seen.entity)
            )
    nested = list(map(of_kind, parsed))
    named = {each.reference for each in nested} - sightings.keys()
    is_stated = all(each.is_stated for each in nested)
    return (
        Shown(
            sightings=sightings,
            named=frozenset(i for i in named if i is not None),
            withheld=nameless or (None if is_stated else "reference_not_stated"),
        ),
        drift,
    )


def understand(record: Record, region: Any = None) -> _Parsed:
    """The meaning of one record, which is kept with the record.

    `region`: the record as `documented` reads it, if available.
    """
    if region is None and len(record.text) <= CACHED_TEXT:
        record.meaning = _remembered(record)
    else:
        record.meaning = _at_once(region) or _by_field(record)
    parsed: _Parsed = record.meaning
    return parsed


@lru_cache(maxsize=4096)
def _remembered(record: Record) -> _Parsed:
    """The same for a record that was seen before. Most records are the same in every document."""
    return _at_once(documented.read(record.text.encode())) or _by_field(record)


def _one_of_equals(drift: frozenset[Drift]) -> frozenset[Drift]:
    """One shared set for equal drift. Most records have the same drift."""
    return _common(drift) if len(drift) <= MAX_COMMON else drift


@lru_cache(maxsize=256)
def _common(drift: frozenset[Drift]) -> frozenset[Drift]:
    return drift


def _at_once(region: Any) -> _Parsed | None:
    """A record that is entirely as documented: equal to `_by_field`, in a tenth of the time."""
    if region is None:
        return None
    try:
        fields = documented.fields_of(region)
        keystone = _keystone_at_once(region)
        metrics_database = _metrics_database_at_once(region, fields["metrics_database_id"])
        if region.ddos_endpoint:
            ddos = documented.fields_of(region.ddos_endpoint)
            fields |= {f"ddos_{name}": each for name, each in ddos.items()}
    except ValueError:  # an invalid time
        return None
    fields["metrics_database_id"] = metrics_database.reference
    return _Parsed(region.id, None, Sighting(Region(**fields)), keystone, metrics_database, frozenset())


def _keystone_at_once(region: Any) -> _Nested:
    fields, region_id, keystone_id = documented.fields_of(region.keystone), region.id, region.keystone_id
    own_id, has_password = fields.pop("id"), documented.has_password(region.keystone)
    keystone = Keystone(id=keystone_id, own_id=own_id, has_password=has_password, **fields)
    return _Nested(keystone_id, True, Sighting(keystone, region_id))


def _metrics_database_at_once(region: Any, reference: int | None) -> _Nested:
    given = region.metrics_database
    if given is None:
        return _Nested(reference, True, None)
    fields, has_password = documented.fields_of(given), documented.has_password(given)
    own_id = fields.pop("id")
    reference = own_id if reference is None else reference
    database = MetricsDatabase(id=reference, own_id=own_id, has_password=has_password, **fields)
    return _Nested(reference, True, Sighting(database, region.id))


def _by_field(record: Record) -> _Parsed:
    raw = record.value
    if not isinstance(raw, dict):
        drift = frozenset({Drift("results[]", "wrong_type", jsontext.type_name(raw))})
        return _Parsed(None, "not_an_object", None, _UNSTATED, _UNSTATED, _one_of_equals(drift))
    fields, drift_of = wire.read_object(wire.RegionSerializerAi, raw, "results[]")
    nested: dict[NestedKind, _Nested] = {}
    for kind in NESTED:
        nested[kind], more = _parse_nested(kind, raw, fields[f"{kind}_id"], fields["id"])
        drift_of |= more
    ddos, more = _parse_ddos(raw)
    drift_of |= more
    region_id, state = fields.pop("id"), fields.pop("state")
    reason = "no_usable_id" if region_id is None else None if state else "no_usable_state"
    region = None
    if region_id is not None and state:
        references = {f"{kind}_id": nested[kind].reference for kind in NESTED}
        region = Sighting(Region(id=region_id, state=state, **(fields | references | ddos)))
    return _Parsed(region_id, reason, region, **nested, drift=_one_of_equals(frozenset(drift_of)))


def _parse_nested(
    kind: NestedKind,
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
        return _UNSTATED, drift  # given, but unusable: the object's own id may be another one
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
        return _Nested(reference, True, Sighting(MetricsDatabase(**fields, **common), region_id)), drift
    usable = Sighting(Keystone(**fields, **common), region_id) if fields["state"] else None
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
