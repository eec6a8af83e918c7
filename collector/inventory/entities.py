"""The three kinds of entity, as typed values, and a parsed answer.

The fields stand in the order in which a person reads `SELECT *`; tables and versions take their columns
from here. Everything but the id (and the state, where there is one) may be None: one bad value costs
one value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

_CANONICAL = json.JSONEncoder(sort_keys=True, default=str)
Kind = Literal["region", "keystone", "metrics_database"]


def column(doc: str) -> Any:
    """A field whose meaning becomes the comment of its SQL column."""
    return field(default=None, metadata={"doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region as one answer showed it (schema RegionSerializerAi)."""

    id: int
    slug: str | None = column("Short name in URLs; may change or be swapped between ids")
    display_name: str | None = column("Name shown to people; may change")
    state: str = field(metadata={"doc": "State as the API gives it (ACTIVE, NEW, …); unknown ones are kept"})
    country: str | None = column("Two-letter country code, as given")
    zone: str | None = column("EMEA, APAC, AMERICAS, RUSSIA_AND_CIS; unknown ones are kept")
    access_level: str | None = column("core or edge; unknown ones are kept")
    endpoint_type: str | None = column("admin, internal or public; unknown ones are kept")
    has_ai: bool | None = column("AI clusters can be created")
    has_ai_gpu: bool | None = column("GPU clusters can be created")
    has_baremetal: bool | None = column("Bare-metal servers can be created")
    has_basic_vm: bool | None = column("Basic virtual machines can be created")
    has_k8s: bool | None = column("Managed Kubernetes is available")
    has_kvm: bool | None = column("Virtual machines can be created")
    has_sfs: bool | None = column("Shared file systems are available")
    has_ddos: bool | None = column("DDoS protection is available")
    available_volume_types: tuple[str, ...] | None = column(
        "Sorted JSON list of volume types; NULL (not given) differs from [] (none)"
    )
    keystone_id: int | None = column("The region's keystone: keystone_id, else the id in its keystone object")
    keystone_name: str | None = column("Name of the keystone, as the region gives it")
    metrics_database_id: int | None = column(
        "The region's metrics database: metrics_database_id, else the id in its metrics_database object"
    )
    external_network_id: str | None = column("OpenStack id of the external network; may be empty")
    vlan_physical_network: str | None = column("Physical network that carries VLANs")
    novnc_proxy_url: str | None = column("noVNC console proxy")
    serial_proxy_url: str | None = column("Serial console proxy")
    spice_proxy_url: str | None = column("SPICE console proxy")
    task_id: str | None = column("Deprecated by the API: task that works on the region")
    created_on: datetime | None = column("When the API says the region was created; naive times taken as UTC")
    ddos_endpoint_id: int | None = column("Deprecated by the API: the region's DDoS endpoint")
    ddos_id: int | None = column("Deprecated: id in the DDoS endpoint object")
    ddos_region_id: int | None = column("Deprecated: region id in the DDoS endpoint object")
    ddos_service: str | None = column("Deprecated: service of the DDoS endpoint")
    ddos_url: str | None = column("Deprecated: URL of the DDoS endpoint")
    ddos_version: str | None = column("Deprecated: version of the DDoS endpoint")
    ddos_client_ids: tuple[int, ...] | None = column("Deprecated: sorted JSON list of client ids")
    ddos_created_on: datetime | None = column("Deprecated: when the DDoS endpoint was created")
    ddos_updated_at: datetime | None = column("Deprecated: when the DDoS endpoint was updated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keystone:
    """A keystone as the copy of its witness region showed it (schema KeystoneSerializerAi)."""

    id: int
    url: str | None = column("Address of the keystone API")
    state: str = field(metadata={"doc": "INITIALIZED, NEW, … as the API gives it; unknown ones are kept"})
    username: str | None = column("Administrative user")
    has_password: bool | None = column("Whether a password was given (never the password); NULL: key missing")
    keystone_federated_domain_id: str | None = column("Federated domain; may be empty")
    created_on: datetime | None = column("When the API says it was created; naive times taken as UTC")
    own_id: int | None = column("The id inside the keystone object; may differ from keystone_id or be NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsDatabase:
    """A metrics database as its witness region's copy showed it (schema MetricsDatabaseSerializer)."""

    id: int
    host: str | None = column("Host name or address")
    port: int | None = column("Port, as given")
    username: str | None = column("User")
    has_password: bool | None = column("Whether a password was given (never the password); NULL: key missing")
    own_id: int | None = column("The id inside the object; may differ from metrics_database_id")


Entity = Region | Keystone | MetricsDatabase

ENTITIES: Mapping[Kind, type[Entity]] = {
    "region": Region,
    "keystone": Keystone,
    "metrics_database": MetricsDatabase,
}


_NAMES = {
    entity: tuple(f.name for f in fields(entity) if f.name != "id")
    for entity in (Region, Keystone, MetricsDatabase)
}


def values(entity: Entity) -> dict[str, Any]:
    """The typed values by column name, without the id."""
    return {name: getattr(entity, name) for name in _NAMES[type(entity)]}


def differing_fields(one: Entity | None, other: Entity) -> tuple[str, ...]:
    """Names of the typed values that differ, sorted. Both are of one kind, and known."""
    assert one is not None  # noqa: S101 - whoever asks has read it
    return tuple(sorted(n for n in _NAMES[type(other)] if getattr(one, n) != getattr(other, n)))


def state_of(entity: Entity) -> str | None:
    """The state, or None for kinds that have none."""
    return getattr(entity, "state", None)


def content_hash(entity: Entity) -> str:
    """32 hex digits over all typed values: equal hashes mean that nothing changed."""
    text = _CANONICAL.encode(values(entity))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Sighting:
    """An entity in an answer, with what `diff` compares."""

    entity: Entity
    content_hash: str
    witness: int | None = None
    """The region whose copy counted; None for regions."""


@dataclass(frozen=True, slots=True)
class Shown:
    """All that one answer says of one kind."""

    sightings: Mapping[int, Sighting]
    named: frozenset[int]
    """Ids that the answer names without showing them usably: unseen, never absent."""
    withheld: str | None
    """Why nothing may be concluded from not being listed, or None."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can't be used; it stays in evidence."""

    position: int
    """Index in the canonical `results` list, which is sorted by id."""
    id: int | None
    reason: str
    payload: str = field(compare=False)
    """Canonical JSON of the record, secrets redacted."""


@dataclass(frozen=True, slots=True, order=True)
class Drift:
    """Something that the documented schema does not say."""

    path: str
    kind: str
    detail: str
    """A JSON type, or the value for enum-like text, or ''."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A parsed answer."""

    declared: int | None
    """The `count` of the answer, where it is an integer."""
    listed: int
    """The number of results."""
    paging: tuple[str, ...]
    """Members of the answer that make it look like one page of several."""
    shown: Mapping[Kind, Shown]
    rejected: tuple[Rejected, ...]
    drift: frozenset[Drift] = field(compare=False)
    """Not part of what is compared: an answer that differs only in drift has the same content."""

    @property
    def is_whole(self) -> bool:
        """Whether the answer lists as many records as it says."""
        return self.declared == self.listed

    def says_the_same_as(self, other: Listing) -> bool:
        """Whether every typed value is equal, and the same records are rejected for the same reasons."""
        return (
            self.is_whole == other.is_whole
            and self.paging == other.paging
            and self.shown == other.shown
            and sorted((r.id is not None, r.id or 0, r.reason) for r in self.rejected)
            == sorted((r.id is not None, r.id or 0, r.reason) for r in other.rejected)
        )
