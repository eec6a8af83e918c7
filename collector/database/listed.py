"""Rows of the program as a table in a statement: one parameter for any number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa


def listed(
    parameter: str, columns: Mapping[str, sa.types.TypeEngine[Any]], *, on_sqlite: bool
) -> sa.FromClause:
    """The rows of a parameter made by `list_of`: values in the order of the columns, times as SQLite stores them."""
    rows = sa.bindparam(parameter, type_=sa.Text)
    if on_sqlite:
        each = sa.func.json_each(rows).table_valued("value", name="each_of_list")
        values: list[sa.ColumnElement[Any]] = [
            sa.func.json_extract(each.c.value, f"$[{n}]") for n in range(len(columns))
        ]
    else:
        made = sa.func.json_array_elements(sa.cast(rows, sa.JSON))
        each = made.table_valued(sa.column("value", sa.JSON), name="each_of_list")
        values = [
            sa.cast(sa.func.json_extract_path_text(each.c.value, str(n)), kind)
            for n, kind in enumerate(columns.values())
        ]
    named = [
        sa.type_coerce(value, kind).label(name)
        for value, (name, kind) in zip(values, columns.items(), strict=True)
    ]
    return sa.select(*named).select_from(each).subquery("listed")


def list_of(rows: Iterable[tuple[Any, ...]]) -> str:
    """Rows as the parameter of `listed`."""
    return msgspec.json.encode(list(rows)).decode()
