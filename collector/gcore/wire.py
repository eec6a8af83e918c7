"""The documented schema of `GET /cloud/v1/ai/regions` as pydantic models, and a lenient reader for it.

The models contain exactly what is documented (a test compares them with the OpenAPI file). `read_object` reads real
answers: each field is validated by its own type. An unusable value becomes None and is reported as drift, so one bad
value costs one value.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, Strict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from collector.gcore.enums import (
    EndpointService,
    KeystoneState,
    RegionAccessType,
    RegionEndpointType,
    RegionState,
    Zone,
)
from collector.gcore.jsontext import Number, type_name
from collector.inventory.entities import Drift

MAX_NAME = 255
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(?:[.,](\d+))?\s*(Z|z|[+-]\d\d:?\d\d)?", re.ASCII
)


def as_integer(value: Any) -> Any:
    """An integral number within signed 64 bits (3.0 counts); everything else is left for strict `int` to reject."""
    if isinstance(value, Number):
        integer = value.as_int()
        if integer is None:
            raise ValueError("not an integer within 64 bits")
        return integer
    raise ValueError("not a number")


def as_text(value: Any) -> Any:
    """Text that both databases can store: no NUL, no lone surrogate."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("contains NUL")
        value.encode("utf-8")
    return value


@lru_cache(4096)
def _read_time(value: str) -> datetime:
    """A time in the API's spellings: naive (taken as UTC), Z or an offset, T or a space, any fraction.

    A leap second (:60, legal in RFC 3339) counts as the second after it.
    """
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError("not a date-time")
    date, clock, seconds, fraction, zone = match.groups()
    leap = seconds == "60"
    text = f"{date}T{clock}{'59' if leap else seconds}.{(fraction or '0')[:6]:0<6}{(zone or 'Z').upper()}"
    try:
        return datetime.fromisoformat(text).astimezone(UTC) + timedelta(seconds=leap)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999") from None


def as_time(value: Any) -> Any:
    """The same, cached, because most times recur in every answer."""
    if not isinstance(value, str):
        raise ValueError("not a date-time")  # noqa: TRY004 - the same error as for any other invalid value
    return _read_time(value)


Integer = Annotated[int, BeforeValidator(as_integer)]
Text = Annotated[str, Strict(), BeforeValidator(as_text)]
Flag = Annotated[bool, Strict()]
Time = Annotated[datetime, BeforeValidator(as_time)]


class KeystoneSerializerAi(BaseModel):
    created_on: Time | None = None
    id: Integer | None = None
    keystone_federated_domain_id: Text
    password: SecretStr | None
    state: KeystoneState
    url: Text
    username: Text


class MetricsDatabaseSerializer(BaseModel):
    host: Text
    id: Integer
    password: SecretStr
    port: Integer
    username: Text


class ServiceEndpointSerializer(BaseModel):
    client_ids: list[Integer]
    created_on: Time
    id: Integer
    region_id: Integer
    service: EndpointService
    updated_at: Time
    url: Text
    version: Text


class RegionSerializerAi(BaseModel):
    access_level: RegionAccessType
    available_volume_types: list[Text] | None = None
    country: Text
    created_on: Time
    ddos_endpoint: ServiceEndpointSerializer | None = Field(default=None, deprecated=True)
    ddos_endpoint_id: Integer | None = Field(default=None, deprecated=True)
    display_name: Text
    endpoint_type: RegionEndpointType
    external_network_id: Text
    has_ai: Flag
    has_ai_gpu: Flag
    has_baremetal: Flag
    has_basic_vm: Flag
    has_ddos: Flag
    has_k8s: Flag
    has_kvm: Flag
    has_sfs: Flag
    id: Integer
    keystone: KeystoneSerializerAi
    keystone_id: Integer
    keystone_name: Text
    metrics_database: MetricsDatabaseSerializer | None
    metrics_database_id: Integer | None = None
    novnc_proxy_url: Text | None
    serial_proxy_url: Text | None
    slug: Text
    spice_proxy_url: Text | None = None
    state: RegionState
    task_id: Text | None = Field(default=None, deprecated=True)
    vlan_physical_network: Text
    zone: Zone | None


class RegionSerializerAiCollectionSerializer(BaseModel):
    count: Integer
    results: list[RegionSerializerAi]


@dataclass(frozen=True, slots=True)
class Reader:
    """How one field is read."""

    adapter: TypeAdapter[Any]
    json_type: str
    """JSON type of the field, or of the elements of a list."""
    required: bool
    nullable: bool
    listed: frozenset[str]
    """The documented values of enum-like text; others are kept and reported."""
    is_list: bool
    is_secret: bool
    """True for a password: write-only, so it may be missing, and only its presence is read."""
    is_object: bool
    """True if it is read by a model of its own."""
    is_time: bool


_JSON_TYPES = {str: "string", datetime: "string", SecretStr: "string", int: "number", bool: "boolean"}


def _reader(info: FieldInfo) -> Reader:
    documented: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    nullable = get_origin(documented) in (Union, types.UnionType)
    if nullable:
        (documented,) = (a for a in get_args(documented) if a is not type(None))
    listed = frozenset(get_args(documented)) if get_origin(documented) is Literal else frozenset[str]()
    is_list = get_origin(documented) is list
    element = Text if listed else get_args(documented)[0] if is_list else documented
    plain = get_args(element)[0] if get_origin(element) is Annotated else element
    return Reader(
        adapter=TypeAdapter(element),
        json_type=_JSON_TYPES.get(plain, "object"),
        required=info.is_required(),
        nullable=nullable,
        listed=listed,
        is_list=is_list,
        is_secret=plain is SecretStr,
        is_object=plain not in _JSON_TYPES,
        is_time=plain is datetime,
    )


@cache
def readers_of(model: type[BaseModel]) -> dict[str, Reader]:
    return {name: _reader(info) for name, info in model.model_fields.items()}


def read_object(
    model: type[BaseModel], raw: Mapping[str, Any], path: str
) -> tuple[dict[str, Any], set[Drift]]:
    """Read an object by a documented model.

    Returns every documented field except nested objects and passwords, and the drift. A field is None if the answer
    has no usable value; lists are sorted tuples without duplicates.
    """
    drift: set[Drift] = set()
    result: dict[str, Any] = {}
    readers = readers_of(model)
    for name, reader in readers.items():
        where = f"{path}.{name}"
        if name not in raw:
            if reader.required and not reader.is_secret:
                drift.add(Drift(where, "missing_field", ""))
            value = None
        else:
            value = _read_field(reader, raw[name], where, drift)
        if not (reader.is_secret or reader.is_object):
            result[name] = value
    drift.update(
        Drift(f"{path}.{storable(name)}", "unknown_field", type_name(value))
        for name, value in raw.items()
        if name not in readers
    )
    return result, drift


def _read_field(reader: Reader, raw: Any, where: str, drift: set[Drift]) -> Any:
    if raw is None:
        if not reader.nullable:
            drift.add(Drift(where, "wrong_type", "null"))
        return None
    if reader.is_secret or reader.is_object:
        if type_name(raw) != reader.json_type:
            drift.add(Drift(where, "wrong_type", type_name(raw)))
        return None
    if reader.is_list:
        return _read_list(reader, raw, where, drift)
    try:
        value = reader.adapter.validate_python(raw)
    except ValidationError:
        drift.add(_misfit(raw, reader, where))
        return None
    if reader.listed and value not in reader.listed:
        drift.add(Drift(where, "unknown_value", value[:200]))
    return value


def _read_list(reader: Reader, raw: Any, where: str, drift: set[Drift]) -> tuple[Any, ...] | None:
    """Usable elements are kept; a list with no usable element is None, not an empty list.

    Texts in lists become keys of rows, and indexes can't hold long ones: at most MAX_NAME characters.
    """
    if not isinstance(raw, list):
        drift.add(Drift(where, "wrong_type", type_name(raw)))
        return None
    kept = set()
    for item in raw:
        try:
            value = reader.adapter.validate_python(item)
            if isinstance(value, str) and len(value) > MAX_NAME:
                raise ValueError("too long")
            kept.add(value)
        except ValueError:
            drift.add(_misfit(item, reader, f"{where}[]"))
    return tuple(sorted(kept)) if kept or not raw else None


def _misfit(raw: Any, reader: Reader, where: str) -> Drift:
    """Drift for a wrong type, or for a value of the right type that the column can't store."""
    fits = type_name(raw) == reader.json_type
    return Drift(where, "unusable_value" if fits else "wrong_type", type_name(raw))


@cache
def documented_names() -> frozenset[str]:
    """All keys of the documented schema."""
    models = [each for each in globals().values() if isinstance(each, type) and issubclass(each, BaseModel)]
    return frozenset(name for model in models for name in model.model_fields)


def storable(name: str) -> str:
    """A key of the answer as part of a drift path: printable ASCII, at most 100 characters."""
    text = name[:100].encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)[:100]
