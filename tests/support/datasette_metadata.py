"""What Datasette says of the database: descriptions of tables and columns, and the cookbook's questions with forms.

python -m tests.support.datasette_metadata --write      after a change of a table, a view or the cookbook
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from collector.reports import views
from collector.reports.recipes import DEMO, REGION, Recipe, recipes
from collector.store.tables import metadata
from tests.support.generated import write_if_asked
from tests.support.paths import ROOT

FILE = ROOT / "deploy" / "datasette" / "metadata.json"
_DATE = re.compile(r"'(\d{4}-\d{2}-\d{2})(T[\d:.]+Z)?'")
_FACETS: Mapping[str, tuple[str, ...]] = {
    "current_regions": ("state", "zone", "country"),
    "all_regions": ("is_present", "state", "zone", "country"),
    "region_transitions": ("basis", "to_state"),
    "keystone_transitions": ("basis", "to_state"),
    "region_state_intervals": ("state",),
    "region_changes": ("field",),
    "coverage_gaps": ("cause",),
}
_NEWEST_FIRST = ("observed_at", "from_at", "day", "month")
_HIDDEN = ("alembic_version", "webhook_deliveries", "webhook_queues")


@dataclass(frozen=True)
class Query:
    """A question of the cookbook, as Datasette asks it."""

    recipe: Recipe
    sql: str
    parameters: Mapping[str, str]
    """The value in the cookbook for each parameter."""


def text() -> str:
    """The whole file."""
    tables = {str(table.name): _table(table) for table in metadata.tables.values()}
    tables |= {name: _view(name) for name in views.NAMES}
    for name in _HIDDEN:
        tables[name] = tables.get(name, {}) | {"hidden": True}
    described = {
        "title": "Gcore collector",
        "description": "Regions of Gcore's AI cloud, and what is known of their history. Times are UTC.",
        "databases": {
            "collector": {"tables": tables, "queries": {q.recipe.slug: _said(q) for q in queries()}}
        },
    }
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def _table(table: sa.Table) -> dict[str, Any]:
    return {
        "description": f"{table.comment}.",
        "columns": {str(column.name): str(column.comment) for column in table.columns},
    }


def _view(name: str) -> dict[str, Any]:
    columns = {column.name: column.comment for column in views.columns(name)}
    newest = next((column for column in _NEWEST_FIRST if column in columns), None)
    said: dict[str, Any] = {"description": views.head(name).prose, "columns": columns}
    said |= {"facets": list(_FACETS[name])} if name in _FACETS else {}
    return said | ({"sort_desc": newest} if newest else {})


def _said(query: Query) -> dict[str, Any]:
    said = re.sub(r"[*`]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", query.recipe.said))
    return {
        "title": query.recipe.question,
        "description": f"{said}\n\nAn empty field means a day as far back as in the cookbook, or the first region."
        if query.parameters
        else said,
        "sql": query.sql,
        "params": list(query.parameters),
    }


def queries() -> list[Query]:
    """Every question that runs on SQLite."""
    return [_query(recipe) for recipe in recipes("SQLite")]


def _query(recipe: Recipe) -> Query:
    literals = sorted({match[0] for match in _DATE.finditer(recipe.sql)})
    one = "time" if any("T" in literal for literal in literals) else "day"
    names = {1: [one], 2: [f"from_{one}", f"to_{one}"]}.get(
        len(literals), [f"{one}_{number}" for number in range(1, len(literals) + 1)]
    )
    parameters = {name: literal.strip("'") for name, literal in zip(names, literals, strict=True)}
    sql = recipe.sql
    for name, literal in zip(names, literals, strict=True):
        sql = sql.replace(literal, f"COALESCE(NULLIF(:{name}, ''), {_as_far_back(literal)})")
    if recipe.names_a_region:
        parameters["region"] = REGION
        first = "(SELECT slug FROM current_regions ORDER BY slug LIMIT 1)"
        sql = sql.replace(f"'{REGION}'", f"COALESCE(NULLIF(:region, ''), {first})")
    return Query(recipe, sql, parameters)


def _as_far_back(literal: str) -> str:
    """An expression of SQLite for a time as far back from now as this one is from the end of the cookbook's demo."""
    match = _DATE.fullmatch(literal)
    assert match
    day, time = datetime.fromisoformat(match[1]).date(), match[2]
    if day.day == 1 and not time:
        months = (day.year - DEMO.year) * 12 + day.month - DEMO.month
        return f"DATE('now', 'start of month', '{months} months')"
    days = (day - DEMO.date()) // timedelta(days=1)
    return f"STRFTIME('%Y-%m-%d{time}', 'now', '{days} days')" if time else f"DATE('now', '{days} days')"


if __name__ == "__main__":
    write_if_asked(FILE, text, __doc__)
