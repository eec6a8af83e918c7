"""What is wrong with a statement that the database refused, for people: the closest table, view or column."""

from __future__ import annotations

from functools import cache

from collector.database.asking import RefusedError
from collector.nearest import instead
from collector.reports import views
from collector.reports.asking.statement import Statement
from collector.store.tables import metadata


def explained(refused: RefusedError, statement: Statement) -> str:
    """What the database said, and what may have been meant."""
    known = relations()
    name = (refused.name or "").rpartition(".")[2].strip('"')
    if refused.what == "relation":
        return f"there is no table or view {name!r}; {instead(name, list(known))}"
    if refused.what == "column":
        asked = [known[each.name] for each in statement.tokens if each.name in known]
        columns = dict.fromkeys(column for of in asked or known.values() for column in of)
        return f"there is no column {name!r}; {instead(name, list(columns))}"
    if refused.what == "function" and name in views.FUNCTIONS:
        return f"the function {name} exists on PostgreSQL only; docs/cookbook.md asks the same on SQLite"
    return refused.said


@cache
def relations() -> dict[str, tuple[str, ...]]:
    """The columns of all views and tables, by name; views first."""
    of_views = {name: tuple(column.name for column in views.columns(name)) for name in views.NAMES}
    return of_views | {
        name: tuple(column.name for column in table.c) for name, table in metadata.tables.items()
    }
