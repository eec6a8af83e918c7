"""Words for the types of columns, for the heads of the views' files, reports, and manifests of exports."""

from __future__ import annotations

from typing import Any, get_type_hints

import sqlalchemy as sa

from collector.database.types import JsonList, UtcTime
from collector.inventory.entities import ENTITIES

Type = sa.types.TypeEngine[Any]

TYPES: dict[str, Type] = {
    "time": UtcTime(),
    "list": JsonList(),
    "boolean": sa.Boolean(),
    "date": sa.Date(),
    "double": sa.Double(),
    "bigint": sa.BigInteger(),
    "integer": sa.Integer(),
    "text": sa.Text(),
}
"""A specific type comes before its general one: a bigint is an integer, too."""


LISTS_OF_NUMBERS = {"missing"} | {
    name
    for entity in ENTITIES.values()
    for name, hint in get_type_hints(entity).items()
    if "int, ..." in str(hint)
}
"""Columns with lists that are not lists of text."""


def word_of(found: Type) -> str:
    """The word for a type."""
    return next(word for word, of_type in TYPES.items() if isinstance(found, type(of_type)))
