"""The three kinds of entity as typed values, and a parsed answer.

Fields are in the order in which a person reads `SELECT *`; tables and versions take their columns from here. A new
field also needs a line in `gcore.wire` (how it is read) and one in `audit.pack.check`, a migration, and a new
DERIVATION_REVISION, since content hashes cover all fields. Every field may be None except the id and, where there is
one, the state: one bad value costs one value. msgspec structs are created and hashed in a fifth of the time that
dataclasses take.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress
from operator import attrgetter, ne
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

NestedKind = Literal["keystone", "metrics_database"]
"""Kinds whose entities are objects in the records of others, in as many copies as records refer to them."""
Kind = Literal["region", NestedKind]


def doc(text: str, *, added: bool = False) -> Meta:
    """The meaning of a field; becomes the comment of its SQL column.

    `added`: true for a field whose column a migration adds to existing tables.
    """
    return Meta(description=text, extra={"added": True} if added else None)


def is_added(meta: Meta) -> bool:
    """True if a migration adds the field's column to existing tables."""
    return bool(meta.extra and meta.extra["added"])


class Region(Struct, frozen=True, kw_only=True, gc=False):
    """A region as one answer showed it (schema RegionSerializerAi)."""

    id: int
    slug: Annotated[str | None, doc("Short name in URLs; may change or be swapped between ids")] = None
    display_name: Annotated[str | None, doc("Name shown to people; may change")] = None
    state: Annotated[str, doc("State as the API gives it (ACTIVE, NEW, …); unknown states are kept")]
    country: Annotated[str | None, doc("Two-letter country code, as given")] = None
    zone: Annotated[str | None, doc("EMEA, APAC, AMERICAS, RUSSIA_AND_CIS; unknown zones are kept")] = None
    access_level: Annotated[str | None, doc("core or edge; unknown values are kept")] = None
    endpoint_type: Annotated[str | None, doc("admin, internal or public; unknown values are kept")] = None
    has_ai: Annotated[bool | None, doc("True if AI clusters can be created")] = None
    has_ai_gpu: Annotated[bool | None, doc("True if GPU clusters can be created")] = None
    has_baremetal: Annotated[bool | None, doc("True if bare-metal servers can be created")] = None
    has_basic_vm: Annotated[bool | None, doc("True if basic virtual machines can be created")] = None
    has_k8s: Annotated[bool | None, doc("True if managed Kubernetes is available")] = None
    has_kvm: Annotated[bool | None, doc("True if virtual machines can be created")] = None
    has_sfs: Annotated[bool | None, doc("True if shared file systems are available")] = None
    has_ddos: Annotated[bool | None, doc("True if DDoS protection is available")] = None
    available_volume_types: Annotated[
        tuple[str, ...] | None,
        doc("Sorted JSON list of volume types; NULL (not given) differs from [] (none)"),
    ] = None
    keystone_id: Annotated[
        int | None, doc("The region's keystone: keystone_id, otherwise the id in its keystone object")
    ] = None
    keystone_name: Annotated[str | None, doc("Name of the keystone, as the region gives it")] = None
    metrics_database_id: Annotated[
        int | None,
        doc(
            "The region's metrics database: metrics_database_id, otherwise the id in its metrics_database object"
        ),
    ] = None
    external_network_id: Annotated[str | None, doc("OpenStack id of the external network; may be empty")] = (
        None
    )
    vlan_physical_network: Annotated[str | None, doc("Physical network that carries VLANs")] = None
    novnc_proxy_url: Annotated[str | None, doc("URL of the noVNC console proxy")] = None
    serial_proxy_url: Annotated[str | None, doc("URL of the serial console proxy")] = None
    spice_proxy_url: Annotated[str | None, doc("URL of the SPICE console proxy")] = None
    task_id: Annotated[str | None, doc("Deprecated by the API: task that is running on the region")] = None
    created_on: Annotated[
        datetime | None,
        doc("When the region was created, according to the API; a time without a zone is read as UTC"),
    ] = None
    ddos_endpoint_id: Annotated[int | None, doc("Deprecated by the API: the region's DDoS endpoint")] = None
    ddos_id: Annotated[int | None, doc("Deprecated: id in the DDoS endpoint object")] = None
    ddos_region_id: Annotated[int | None, doc("Deprecated: region id in the DDoS endpoint object")] = None
    ddos_service: Annotated[str | None, doc("Deprecated: service of the DDoS endpoint")] = None
    ddos_url: Annotated[str | None, doc("Deprecated: URL of the DDoS endpoint")] = None
    ddos_version: Annotated[str | None, doc("Deprecated: version of the DDoS endpoint")] = None
    ddos_client_ids: Annotated[tuple[int, ...] | None, doc("Deprecated: sorted JSON list of client ids")] = (
        None
    )
    ddos_created_on: Annotated[datetime | None, doc("Deprecated: when the DDoS endpoint was created")] = None
    ddos_updated_at: Annotated[datetime | None, doc("Deprecated: when the DDoS endpoint was updated")] = None


class Keystone(Struct, frozen=True, kw_only=True, gc=False):
    """A keystone as the copy of its witness region showed it (schema KeystoneSerializerAi)."""

    id: int
    url: Annotated[str | None, doc("Address of the keystone API")] = None
    state: Annotated[str, doc("State as the API gives it (INITIALIZED, NEW, …); unknown states are kept")]
    username: Annotated[str | None, doc("Name of the administrative user")] = None
    has_password: Annotated[
        bool | None, doc("True if a password was present (it is never stored); NULL: the field was missing")
    ] = None
    keystone_federated_domain_id: Annotated[str | None, doc("Federated domain; may be empty")] = None
    created_on: Annotated[
        datetime | None,
        doc("When it was created, according to the API; a time without a zone is read as UTC"),
    ] = None
    own_id: Annotated[
        int | None, doc("The id inside the keystone object; may differ from keystone_id or be NULL")
    ] = None


class MetricsDatabase(Struct, frozen=True, kw_only=True, gc=False):
    """A metrics database as its witness region's copy showed it (schema MetricsDatabaseSerializer)."""

    id: int
    host: Annotated[str | None, doc("Host name or address")] = None
    port: Annotated[int | None, doc("Port, as given")] = None
    username: Annotated[str | None, doc("User name")] = None
    has_password: Annotated[
        bool | None, doc("True if a password was present (it is never stored); NULL: the field was missing")
    ] = None
    own_id: Annotated[int | None, doc("The id inside the object; may differ from metrics_database_id")] = None


Entity = Region | Keystone | MetricsDatabase

ENTITIES: Mapping[Kind, type[Entity]] = {
    "region": Region,
    "keystone": Keystone,
    "metrics_database": MetricsDatabase,
}
NESTED: tuple[NestedKind, ...] = get_args(NestedKind)
WITH_STATE: tuple[Kind, ...] = tuple(kind for kind in ENTITIES if "state" in ENTITIES[kind].__struct_fields__)
"""Kinds whose changes of state are transitions."""


NAMES: Mapping[type[Entity], tuple[str, ...]] = {
    entity: tuple(name for name in entity.__struct_fields__ if name != "id") for entity in ENTITIES.values()
}
"""The columns of the typed values, without the id."""
_VALUES = {entity: attrgetter(*names) for entity, names in NAMES.items()}


def values(entity: Entity) -> tuple[Any, ...]:
    """The typed values in the order of NAMES."""
    found: tuple[Any, ...] = _VALUES[type(entity)](entity)
    return found


def differing_fields(one: Entity | None, other: Entity) -> tuple[str, ...]:
    """Names of the typed values that differ, sorted. Both entities are of one kind."""
    assert one is not None  # noqa: S101 - callers have read it
    return tuple(sorted(compress(NAMES[type(other)], map(ne, values(one), values(other)))))


def state_of(entity: Entity) -> str | None:
    """The state, or None for kinds that have none."""
    return getattr(entity, "state", None)


def content_hash(entity: Entity) -> str:
    """Return 32 hex digits over all typed values. Equal hashes mean that nothing changed."""
    return hashlib.sha256(msgspec.json.encode(entity)).hexdigest()[:32]


class Sighting(Struct, frozen=True, gc=False):
    """An entity as one answer showed it."""

    entity: Entity
    witness: int | None = None
    """The region whose copy counted; None for regions."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything that one answer says about one kind of entity."""

    sightings: Mapping[int, Sighting]
    named: frozenset[int]
    """Ids that the answer names without a usable record: unseen, never absent."""
    withheld: str | None
    """Why a missing entry proves nothing; None if it does prove absence."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can't be used. It stays in the evidence."""

    position: int
    """Index in the canonical `results` list, which is sorted by id."""
    id: int | None
    reason: str
    payload: str = field(compare=False)
    """Canonical JSON of the record, secrets redacted."""


@dataclass(frozen=True, slots=True, order=True)
class Drift:
    """A difference from the documented schema."""

    path: str
    kind: str
    detail: str
    """A JSON type; the value for enum-like text; or ''."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A parsed answer."""

    declared: int | None
    """The `count` of the answer, if it is an integer."""
    listed: int
    """Number of results."""
    paging: tuple[str, ...]
    """Members of the answer that make it look like one page of several."""
    shown: Mapping[Kind, Shown]
    rejected: tuple[Rejected, ...]
    drift: frozenset[Drift] = field(compare=False)
    """Not compared: an answer that differs only in drift has the same content."""

    @property
    def kind(self) -> Kind:
        """The kind of the records. Entities of the other kinds are nested in them."""
        return next(kind for kind in self.shown if kind not in NESTED)

    @property
    def is_whole(self) -> bool:
        """True if the answer lists as many records as it declares."""
        return self.declared == self.listed

    @property
    def has_repeats(self) -> bool:
        """True if an id is in several records: perhaps in place of a record that is left out."""
        shown = self.shown[self.kind]
        nameless = sum(record.id is None for record in self.rejected)
        return len(shown.sightings.keys() | shown.named) + nameless < self.listed

    def says_the_same_as(self, other: Listing) -> bool:
        """True if every typed value is equal and the same records are rejected for the same reasons."""
        return (
            self.is_whole == other.is_whole
            and self.paging == other.paging
            and self.shown == other.shown
            and sorted((r.id is not None, r.id or 0, r.reason) for r in self.rejected)
            == sorted((r.id is not None, r.id or 0, r.reason) for r in other.rejected)
        )
