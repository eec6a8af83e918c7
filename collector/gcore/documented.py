"""A record that is all as documented, read in one call; what differs is left to `wire`, field by field.

The types are made from the models of `wire`, so that there is one schema. Takes a tenth of the time.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, SecretStr

from collector.gcore import wire
from collector.gcore.jsontext import type_name
from collector.inventory.entities import Drift

_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Element = Annotated[str, msgspec.Meta(max_length=wire.MAX_NAME)]
_PLAIN: Mapping[Any, Any] = {int: _Integer, str: str, bool: bool, datetime: str, SecretStr: str}
_UNUSABLE = re.compile(r"\\u(?:0000|d[89a-f])")
"""In a canonical text: perhaps NUL, or half a surrogate pair."""


def read_whole(text: str, value: Mapping[str, Any]) -> Any:
    """The region of a record, with its nested objects; None where anything is not as documented, but for fields that
    the schema does not know.

    `text`: the canonical text; `value`: with integers as `int`.
    """
    if _UNUSABLE.search(text):
        return None
    try:
        return msgspec.convert(value, _struct(wire.RegionSerializerAi))
    except msgspec.ValidationError:
        return None


def fields_of(model: type[BaseModel], read: Any) -> dict[str, Any]:
    """As `wire.read_object` gives them: all but passwords and nested objects. Raises ValueError for a time that is
    none."""
    names, get, times, lists = _getters(model)
    fields = dict(zip(names, get(read), strict=True))
    for name in times:
        if fields[name] is not None:
            fields[name] = wire.as_time(fields[name])
    for name in lists:
        if fields[name] is not None:
            fields[name] = tuple(sorted(set(fields[name])))
    return fields


def unknown_fields(model: type[BaseModel], raw: Mapping[str, Any], path: str) -> Iterable[Drift]:
    """Fields that the schema does not know."""
    if raw.keys() <= _known(model):
        return ()
    unknown = raw.keys() - _known(model)
    return [Drift(f"{path}.{wire.storable(n)}", "unknown_field", type_name(raw[n])) for n in unknown]


@cache
def _known(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(model.model_fields)


@cache
def _struct(model: type[BaseModel]) -> Any:
    required, others = [], []
    for name, info in model.model_fields.items():
        plain = _plain(info.annotation)
        if info.is_required() and not wire.readers_of(model)[name].is_secret:
            required.append((name, plain))
        else:  # a password is write-only: it may be missing
            others.append((name, plain, None))
    return msgspec.defstruct(model.__name__, [*required, *others], gc=False)


def _plain(documented: Any) -> Any:
    origin = get_origin(documented)
    if origin is Annotated:
        return _plain(get_args(documented)[0])
    if origin in (Union, types.UnionType):
        return Union[tuple(_plain(each) for each in get_args(documented))]  # noqa: UP007 - of types known at run time
    if origin is list:
        element = _plain(get_args(documented)[0])
        return list[_Element] if element is str else list[element]  # type: ignore[valid-type]
    if origin is Literal or documented is type(None):
        return documented
    return _PLAIN.get(documented) or _struct(documented)


@cache
def _getters(
    model: type[BaseModel],
) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[str, ...], tuple[str, ...]]:
    readers = wire.readers_of(model)
    names = tuple(name for name, reader in readers.items() if not (reader.is_secret or reader.is_object))
    times = tuple(name for name in names if readers[name].is_time)
    lists = tuple(name for name in names if readers[name].is_list)
    return names, attrgetter(*names), times, lists
