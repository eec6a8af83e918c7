"""Compares views and functions with this version. PostgreSQL keeps no text, but plans both in the same way.

The plan of a query for all rows of a view is the plan of its definition. So the plan of `SELECT * FROM view` equals,
line by line, that of the same question to our SELECT in brackets, if the view has our body. A plan has no names of
columns, so these are compared, too. Nothing is written, so a role that may only read can compare, and a standby server
too. A plan does not show a function that is computed in advance; the catalog names it as something that the view uses
(`database/catalog.sql`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from collector.reports.views.text import FUNCTIONS, NAMES, definition

_MOMENT = "TIMESTAMP WITH TIME ZONE '2026-05-01 00:00:00Z'"


def altered(connection: sa.Connection) -> list[str]:
    """What differs from this version; nothing on SQLite, where the texts themselves are compared."""
    if connection.dialect.name == "sqlite":
        return []
    errors = []
    # A function is planned without parallel workers, which our text might get.
    connection.exec_driver_sql("SET LOCAL max_parallel_workers_per_gather = 0")
    for name in (*NAMES, *FUNCTIONS):
        asked, ours = _questions(name)
        try:
            with connection.begin_nested():
                is_ours = _said(connection, asked) == _said(connection, ours)
        except sa.exc.DBAPIError as error:
            errors.append(
                f"{_kind(name)} {name} can't be compared: {' '.join(str(error.orig).split())[:200]}"
            )
        else:
            errors += [] if is_ours else [f"{_kind(name)} {name} does not say what this version says"]
    return errors


def _kind(name: str) -> str:
    return "function" if name in FUNCTIONS else "view"


def _questions(name: str) -> tuple[str, str]:
    """A query for everything of a view or function, and the same for our text."""
    text = definition(name, "postgresql")
    if name not in FUNCTIONS:
        return name, f"(\n{text}\n) AS {name}"
    body = text.partition("BEGIN ATOMIC\n")[2].rpartition(";\nEND")[0]
    body = re.sub(r"\bmoment\b", _MOMENT, body)
    return f"{name}({_MOMENT})", f"(\n{body}\n) AS {name}"


def _said(connection: sa.Connection, asked: str) -> tuple[Sequence[tuple[str, int]], Sequence[str]]:
    """The columns of everything, which have no names in a plan, and the plan."""
    query = f"SELECT * FROM {asked} LIMIT 0"  # noqa: S608 - our own text
    described: Any = connection.exec_driver_sql(query.replace("%", "%%")).cursor
    columns = [(column.name, column.type_code) for column in described.description]
    return columns, _plan(connection, asked)


def _plan(connection: sa.Connection, asked: str) -> Sequence[str]:
    query = f"EXPLAIN (VERBOSE, COSTS OFF) SELECT * FROM {asked}"  # noqa: S608 - our own text
    lines = connection.exec_driver_sql(query.replace("%", "%%")).scalars()
    return _by_number([line for line in lines if not line.startswith("Query Identifier:")])


_SCAN = re.compile(r'\s*(?:->\s+)?[A-Z][\w ]*\bScan\b.* on (?:\w+\.)?("[^"]+"|\w+)(?: ("[^"]+"|\w+))?$')


def _by_number(plan: Sequence[str]) -> Sequence[str]:
    """A plan in which tables are named by their position, because a restored dump gives them other names.

    Two names stay different, so plans that differ in more than names still differ.
    """
    scans = [scan for line in plan if (scan := _SCAN.match(line))]
    numbers = {name: f"#{n}" for n, name in enumerate(dict.fromkeys(scan[2] or scan[1] for scan in scans))}
    if not numbers:
        return plan
    names = "|".join(re.escape(name) for name in sorted(numbers, key=len, reverse=True))
    # Not within text.
    used = re.compile(rf"('(?:[^']|'')*')|(?<![\w.\"])({names})(?=\.)")
    renamed = []
    for line in plan:
        if scan := _SCAN.match(line):
            relation = "" if scan[2] is None and "Subquery" in line else line[scan.start(1) : scan.end(1)]
            line = f"{line[: scan.start(1)]}{relation} {numbers[scan[2] or scan[1]]}"
        renamed.append(used.sub(lambda found: found[1] or numbers[found[2]], line))
    return renamed
