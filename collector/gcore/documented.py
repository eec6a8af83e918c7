"""Reads a record that is entirely as documented in one call; others are read strictly, and by `wire` field by field.

The types are made from the models of `wire`, so there is only one schema. This takes a twentieth of the time.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import BaseModel, SecretStr

from collector.gcore import wire
from collector.gcore.secret_names import MARKER

_USUAL = bytes(c for c in range(0x20, 0x7F) if c != ord("\\")) + b"\t\n\r"
"""If a text has no other bytes, it has only one spelling, the canonical one, and every column can hold it."""
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Element = Annotated[str, msgspec.Meta(max_length=wire.MAX_NAME)]
_PLAIN: dict[Any, Any] = {int: _Integer, str: str, bool: bool, datetime: str, SecretStr: str}
_encode = msgspec.json.Encoder(enc_hook=lambda _missing: None).encode


def read(raw: bytes) -> Any | None:
    """A region with its nested objects, as documented; missing fields are UNSET.

    None if anything differs from the documentation or is spelled unusually. What is read here, `jsontext` reads too,
    and its canonical text is `text_of`.
    """
    if raw.translate(None, _USUAL):
        return None
    try:
        region = _decoder().decode(raw)
    except msgspec.DecodeError:
        return None
    text = text_of(region).encode()
    # A duplicate name would be lost, and so would the sign of -0.
    is_all = raw.count(b":") == text.count(b":") and raw.count(b"-") == text.count(b"-")
    return region if is_all else None


def text_of(region: Any) -> str:
    """The canonical text."""
    return _encode(region).decode()


def shown_of(region: Any) -> str:
    """All values except those under a secret's name, as JSON without escapes."""
    objects = (region, region.keystone, region.metrics_database, region.ddos_endpoint)
    return _encode([_FIELDS[type(each)].get(each) for each in objects if each]).decode()


def hide(region: Any) -> None:
    """Replace the values under a secret's name with the marker."""
    for each in (region.keystone, region.metrics_database):
        if each and isinstance(each.password, str):
            each.password = MARKER


def has_password(each: Any) -> bool | None:
    """None if the field is missing."""
    return None if each.password is UNSET else each.password is not None


def fields_of(each: Any) -> dict[str, Any]:
    """The same fields as `wire.read_object` gives: all but passwords and nested objects.

    Raises ValueError for an invalid time.
    """
    of = _FIELDS[type(each)]
    fields = dict(zip(of.names, of.get(each), strict=True))
    for name in of.optional:
        if fields[name] is UNSET:
            fields[name] = None
    for name in of.times:
        if fields[name] is not None:
            fields[name] = wire.as_time(fields[name])
    for name in of.lists:
        if fields[name] is not None:
            fields[name] = tuple(sorted(set(fields[name])))
    return fields


class _Fields(NamedTuple):
    """The fields of an object, except passwords and nested objects."""

    names: tuple[str, ...]
    get: Callable[[Any], tuple[Any, ...]]
    optional: tuple[str, ...]
    times: tuple[str, ...]
    lists: tuple[str, ...]


_FIELDS: dict[type, _Fields] = {}
"""By the type of the object."""


@cache
def _decoder() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_struct(wire.RegionSerializerAi))


@cache
def _struct(model: type[BaseModel]) -> Any:
    """Its fields are sorted, as in the canonical text."""
    fields: list[Any] = []
    for name, info in sorted(model.model_fields.items()):
        plain = _plain(info.annotation)
        if info.is_required() and not wire.readers_of(model)[name].is_secret:
            fields.append((name, plain))
        else:  # a password is write-only: it may be missing
            fields.append((name, Union[plain, UnsetType], UNSET))  # noqa: UP007 - the types are known at run time only
    struct = msgspec.defstruct(model.__name__, fields, kw_only=True, forbid_unknown_fields=True, gc=False)
    readers = {n: r for n, r in wire.readers_of(model).items() if not (r.is_secret or r.is_object)}
    _FIELDS[struct] = _Fields(
        names=tuple(readers),
        get=attrgetter(*readers),
        optional=tuple(name for name in readers if not readers[name].required),
        times=tuple(name for name in readers if readers[name].is_time),
        lists=tuple(name for name in readers if readers[name].is_list),
    )
    return struct


def _plain(documented: Any) -> Any:
    origin = get_origin(documented)
    if origin is Annotated:
        return _plain(get_args(documented)[0])
    if origin in (Union, types.UnionType):
        return Union[tuple(_plain(each) for each in get_args(documented))]  # noqa: UP007 - as above
    if origin is list:
        element = _plain(get_args(documented)[0])
        return list[_Element] if element is str else list[element]  # type: ignore[valid-type]
    if origin is Literal or documented is type(None):
        return documented
    return _PLAIN.get(documented) or _struct(documented)
