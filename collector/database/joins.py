"""Joins in a certain order."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles


class InOrder(sa.Join):
    """An inner join whose right side is looked up for each row of the left one.

    PostgreSQL chooses that by itself. SQLite has no row counts and may scan a table instead; it never reorders a
    CROSS JOIN.
    """

    inherit_cache = True


@compiles(InOrder, "sqlite")
def _sqlite_join(join: Any, compiler: Any, **kw: Any) -> str:
    kw["from_linter"] = None  # it would not see the condition, and would warn
    left, right = (compiler.process(side, **{**kw, "asfrom": True}) for side in (join.left, join.right))
    return f"{left} CROSS JOIN {right} ON {compiler.process(join.onclause, **{**kw, 'asfrom': False})}"
