"""Of which type the columns of views are, told from their files: the same on both databases.

PostgreSQL knows; SQLite does not know it of a computed column. So every file says it: `CAST(… AS TYPE) AS name`. What
has no cast is a column of a table or of another view, passed on.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.reports.views import text
from collector.store.tables import metadata

Type = sa.types.TypeEngine[Any]

_SPELLED: dict[str, Type] = {
    "TIMESTAMP WITH TIME ZONE": UtcTime(),
    "DATE": sa.Date(),
    "DOUBLE PRECISION": sa.Double(),
    "BIGINT": sa.BigInteger(),
    "INTEGER": sa.Integer(),
    "BOOLEAN": sa.Boolean(),
    "TEXT": sa.Text(),
}


@cache
def type_of(view: str, column: str) -> Type:
    """The type of a view's column. Raises LookupError where its file does not tell."""
    sql = re.sub(r"--.*", "", text.definition(view, "postgresql"))
    casts = re.findall(rf"\sAS\s+([A-Z ]+)\)\s+AS\s+{column}\b", sql)
    if casts and casts[-1] in _SPELLED:  # the last one is that of the view itself, or the nearest to it
        return _SPELLED[casts[-1]]
    renamed = re.findall(rf"\b\w+\.(\w+)\s+AS\s+{column}\b", sql)
    for name in (column, *reversed(renamed)):
        found = {repr(c.type): c.type for t in metadata.tables.values() for c in t.columns if c.name == name}
        if len(found) == 1:
            return next(iter(found.values()))
    for other in text.NAMES[: text.NAMES.index(view)]:
        if re.search(rf"\b{other}\b", sql):
            try:
                return type_of(other, column)
            except LookupError:
                continue
    raise LookupError(f"the file of {view} must say of which type {column} is: `CAST(… AS TYPE) AS {column}`")
