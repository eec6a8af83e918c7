"""The data dictionary, docs/data-dictionary.md, made from the comments of tables and the heads of views.

python -m tests.support.dictionary --write      after a change of a table or a view
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from collector.reports import views
from collector.reports.types import word_of
from collector.store.tables import (
    DERIVED,
    anchors,
    metadata,
    verifications,
    webhook_deliveries,
    webhook_queues,
)
from tests.support.generated import write_if_asked
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "data-dictionary.md"

_HEAD = """# Data dictionary

This page describes every column of every table and view. `python -m tests.support.dictionary --write` makes it from
the comments of tables and columns, which are in a PostgreSQL database, too, and from the heads of the files in
[collector/reports/views](../collector/reports/views). [history.md](history.md) explains how the tables follow from
one another, and the [glossary](glossary.md) explains the words of this project.

- A *time* is a TIMESTAMP WITH TIME ZONE on PostgreSQL. On SQLite it is text of fixed width,
  `2026-05-01T12:00:00.000000Z`, so that texts compare as times do. **SQLite compares times as text**:
  compare only with text in the same format, or by `>=` and `<` with a date. Otherwise the answer may be wrong
  without an error.
- A *boolean* is 0 or 1 on SQLite.
- A *JSON list* is text on both.
- A *typed* column of an entity holds a field that the API documents.
- A **key** identifies one row.

In a database of many sources, ask the views of spans, states, intervals, days and months by `source_id`, not by
`source`. By `source_id = 7` they read the history of that source only. By its name they read all histories first.

The [cookbook](cookbook.md) has statements that answer questions with these tables and views. [tools.md](tools.md)
shows how to ask from DuckDB (which needs the types of SQLite's views), pandas, Datasette, Grafana and Metabase.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            *_diagram(),
            "## Views",
            "",
            *_views(),
            "## Functions",
            "",
            "On PostgreSQL only. Each takes a time and returns rows.",
            "",
            *_functions(),
            "## Tables",
            "",
            "Evidence comes first. All later tables are derived from it, except `webhook_deliveries`,",
            "`webhook_queues`, `anchors` and `verifications`.",
            "",
            *(line for table in _in_order() for line in _table(table)),
        ]
    )


def _in_order() -> list[sa.Table]:
    last = [*DERIVED, webhook_deliveries, webhook_queues, anchors, verifications]
    return [t for t in metadata.tables.values() if t not in last] + last


def _diagram() -> Iterator[str]:
    """How tables refer to one another. The reference to the source, which all have, is drawn for evidence only."""
    yield "```mermaid"
    yield "erDiagram"
    for table in _in_order():
        for key in sorted(table.foreign_key_constraints, key=lambda k: str(k.name)):
            own = [column.name for column in key.columns]
            many = "|o" if any(column.nullable for column in key.columns) else "||"
            yield f'    {key.referred_table.name} {many}--o{{ {table.name} : "{", ".join(own)}"'
    yield "    regions }o--o| keystones : keystone_id"
    yield "    regions }o--o| metrics_databases : metrics_database_id"
    for current, versions in _VERSIONED:
        yield f'    {current} ||--|{{ {versions} : "{versions.removesuffix("_versions")}_id"'
    yield "```"
    yield ""
    yield "`entity_id` of `state_transitions` and `unseen` is the id of a row of `regions`, `keystones` or"
    yield "`metrics_databases`, as `entity` says. References to nested entities are not foreign keys, so that every"
    yield "answer can be stored. On PostgreSQL, references to `observations` and `payloads` are no foreign keys either,"
    yield "because a prune would scan all tables that refer to them. `audit verify` finds broken references on both."
    yield ""


_VERSIONED = (
    ("regions", "region_versions"),
    ("keystones", "keystone_versions"),
    ("metrics_databases", "metrics_database_versions"),
)


def _table(table: sa.Table) -> Iterator[str]:
    yield f"### `{table.name}`"
    yield ""
    yield f"{table.comment}."
    yield ""
    yield from _columns(
        [
            (column.name, _word(column.type), column.nullable, str(column.comment), column.primary_key)
            for column in table.columns
        ]
    )


def _columns(rows: list[tuple[str, str, bool, str, bool]]) -> Iterator[str]:
    yield "| column | type | |"
    yield "|---|---|---|"
    for name, of_type, nullable, comment, is_key in rows:
        shown = f"**`{name}`**" if is_key else f"`{name}`"
        yield f"| {shown} | {of_type}{', or NULL' if nullable else ''} | {comment.replace('|', chr(92) + '|')} |"
    yield ""


_WORDS = {"list": "JSON list", "date": "DATE; on SQLite text, `2026-05-01`"}


def _word(found: sa.types.TypeEngine[Any]) -> str:
    if isinstance(found, sa.LargeBinary):
        return "bytes"
    word = word_of(found)
    return _WORDS.get(word, word)


# Views


def _views() -> Iterator[str]:
    for name in views.NAMES:
        yield from _said(name)
        yield from _columns([(c.name, _word(c.type), False, c.comment, False) for c in views.columns(name)])


def _functions() -> Iterator[str]:
    for name in views.FUNCTIONS:
        columns = re.findall(
            r"(?m)(\w+) (TEXT|BIGINT|BOOLEAN|TIMESTAMP)\b", _returned(views.definition(name, "postgresql"))
        )
        described = _TABLES_OF_FUNCTIONS[name]
        yield from _said(name)
        yield from _columns([(c, _spelled(t), False, _comment_of(described, c), False) for c, t in columns])


_TABLES_OF_FUNCTIONS = {
    "regions_as_of": ("region_versions", "regions"),
    "keystones_as_of": ("keystone_versions", "keystones"),
}


def _returned(definition: str) -> str:
    return definition[definition.index("RETURNS TABLE (") : definition.index("LANGUAGE SQL")]


def _spelled(of_type: str) -> str:
    return {"TEXT": "text", "BIGINT": "bigint", "BOOLEAN": "boolean", "TIMESTAMP": "time"}[of_type]


def _comment_of(tables: tuple[str, ...], name: str) -> str:
    own = {
        "source": "Name in the settings",
        "slug": "Short name of the region in URLs",
        "display_name": "Name of the region shown to people",
        "keystone_state": "State of the region's keystone at that time; NULL: none is known",
        "changed_at": "When it was first seen as it was at that time",
        "last_seen_at": "When it was last confirmed, as far as that is sure",
    }
    if tables[0] == "keystone_versions":
        own |= {
            "region_id": "Region whose copy of the keystone was used at that time",
            "zone": "Zone of the region",
            "country": "Country of the region",
        }
    columns = [c for table in tables for c in metadata.tables[table].columns if c.name == name]
    return own.get(name) or str(columns[0].comment)


def _said(name: str) -> Iterator[str]:
    """The head of a view's or function's file: its prose, and the example with its question."""
    head = views.head(name)
    yield f"### `{name}`"
    yield ""
    yield textwrap.fill(head.prose, 118, break_long_words=False, break_on_hyphens=False)
    yield ""
    yield head.question[0].upper() + head.question[1:]
    yield ""
    yield f"```sql\n{head.example}\n```"
    yield ""


if __name__ == "__main__":
    write_if_asked(PAGE, page, __doc__)
