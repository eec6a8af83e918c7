"""The columns of the views, as the head of each file declares them: name, type and meaning.

    -- Columns:
    --   kind            = state_transitions.kind
    --   window_seconds  double  From not_before to observed_at

The first one gets its type and meaning from a column of a table or of another view. These declarations give the types
in exports and in DuckDB, the data dictionary, and the comments in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collector.reports.types import TYPES, Type
from collector.reports.views.text import NAMES, head
from collector.store.tables import metadata


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view."""

    name: str
    type: Type
    comment: str


def columns(view: str) -> tuple[Column, ...]:
    """The columns of a view, in order. Raises LookupError if its file declares them wrongly."""
    return tuple(_declared(view))


def _declared(view: str) -> Iterator[Column]:
    for line in head(view).columns:
        name, word, said = (*line.split(None, 2), "", "")[:3]
        if word == "=":
            yield _passed_on(view, name, said)
        elif word in TYPES and said:
            yield Column(name, TYPES[word], said)
        else:
            raise LookupError(f"the file of {view} must give the type and the meaning of {name}: {line!r}")


def _passed_on(view: str, name: str, reference: str) -> Column:
    relation, _, of = reference.partition(".")
    if relation in metadata.tables and of in metadata.tables[relation].c:
        column = metadata.tables[relation].c[of]
        return Column(name, column.type, str(column.comment))
    if relation in NAMES and relation != view:
        for other in columns(relation):
            if other.name == of:
                return Column(name, other.type, other.comment)
    raise LookupError(f"the file of {view} says that {name} is {reference}, which does not exist")
