"""Checks that the schema is what the migrations make. Anything else attached to our tables is reported, too.

SQLite: the migrations run again in memory, and `sqlite_schema` is compared. PostgreSQL: `catalog.sql` reads what
exists, and `catalog.json` is its result right after the migrations. It is a snapshot, because a read-only role or a
standby can't create a schema to compare with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from importlib import resources

import sqlalchemy as sa

from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.database.url import is_sqlite

Catalog = dict[str, str]
"""Object → its definition."""
_PACKAGE = resources.files(__package__)


def catalog_errors(
    connection: sa.Connection,
    metadata: sa.MetaData,
    views: Collection[str] = (),
    functions: Collection[str] = (),
) -> list[str]:
    """What is missing, different, or should not exist. `views`, `functions`: the names of ours."""
    tables = _tables(metadata)
    if is_sqlite(connection):
        engine = open_engine("sqlite://")
        try:
            migrate.upgrade(engine)
            with reading(engine) as fresh:
                expected = _sqlite(fresh, (*tables, *views))
        finally:
            engine.dispose()
        found = _sqlite(connection, (*tables, *views))
    else:
        expected, found = snapshot(), postgresql(connection, metadata, views, functions)
        if not functions:
            expected = {name: how for name, how in expected.items() if not name.startswith("function ")}
    errors = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    errors += [
        f"{name} is not ours: {_short(found[name])}" for name in sorted(found.keys() - expected.keys())
    ]
    errors += [
        f"{name} is {_short(found[name])}, not {_short(how)}"
        for name, how in sorted(expected.items())
        if name in found and flattened(found[name]) != flattened(how)
    ]
    return errors


def _tables(metadata: sa.MetaData) -> list[str]:
    return [*sorted(metadata.tables), "alembic_version"]


def snapshot() -> Catalog:
    """The contents of PostgreSQL's catalog right after the migrations."""
    found: Catalog = json.loads(_PACKAGE.joinpath("catalog.json").read_text(encoding="utf-8"))
    return found


def postgresql(
    connection: sa.Connection,
    metadata: sa.MetaData,
    views: Collection[str] = (),
    functions: Collection[str] = (),
) -> Catalog:
    """The definitions of our tables, views and functions in the current schema."""
    query = _PACKAGE.joinpath("catalog.sql").read_text(encoding="utf-8")
    # Quoted and unquoted names must compare equal.
    connection.exec_driver_sql("SET LOCAL quote_all_identifiers = off")
    tables = _tables(metadata)
    bound = {"tables": tables, "relations": [*tables, *views], "functions": list(functions)}
    text = sa.text(re.sub(r"::(?=\w)", "\\\\:\\\\:", query))
    types = [sa.bindparam(name, type_=sa.ARRAY(sa.Text)) for name in bound]
    return {
        str(row[0]): _without_schema(str(row[1]))
        for row in connection.execute(text.bindparams(*types), bound)
    }


def _without_schema(detail: str) -> str:
    """A default names its sequence with the schema if another sequence of that name is found first."""
    return re.sub(r"nextval\('[^']*?(\w+)'::regclass\)", r"nextval(\1)", detail)


def flattened(expression: str) -> str:
    """`((a AND b) AND c)` as `(a AND b AND c)`, which is equivalent: a restored dump has fewer brackets."""
    opened: list[int] = []
    lists: dict[int, bool] = {-1: False}
    text = re.sub(r"'(?:[^']|'')*'", lambda quoted: "'" * len(quoted[0]), expression)
    for at, character in enumerate(text):
        if character == "(":
            opened.append(at)
            lists[at] = False
        elif character == ")" and opened:
            begins = opened.pop()
            before, after = text[:begins], text[at + 1 :]
            is_part = before.endswith(("(", " AND ")) and (
                before.endswith(" AND ") or after.startswith(" AND ")
            )
            is_whole = after.startswith((" AND ", ")")) or not after
            if lists[begins] and is_part and is_whole:
                return flattened(expression[:begins] + expression[begins + 1 : at] + expression[at + 1 :])
        elif text.startswith(" AND ", at):
            lists[opened[-1] if opened else -1] = True
    return expression


def _sqlite(connection: sa.Connection, relations: Collection[str]) -> Catalog:
    names = {name.lower() for name in relations}
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return {
        f"{kind} {name}": _plain(text or "made by SQLite")
        for kind, name, table, text in rows
        if str(table).lower() in names and kind != "view"
    }


def _plain(text: str) -> str:
    """A statement without the differences in white space and in quotes around names."""
    return " ".join(re.sub(r'["`\[\]]', "", re.sub(r"([(),])", r" \1 ", text)).split())


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
