"""Words for the types of columns, as the heads of views' files and manifests of exports use them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from collector.database.types import JsonList, UtcTime

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
"""A kind of another type stands before it: a bigint is an integer, too."""


def word_of(found: Type) -> str:
    """The word for a type."""
    return next(word for word, of_type in TYPES.items() if isinstance(found, type(of_type)))
