"""The columns of reports, each declared once for the terminal, JSON, CSV, the JSON API and docs/questions.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa

from collector.reports.types import LISTS_OF_NUMBERS, word_of

_WORDS = {"bigint": "integer", "double": "number", "list": "list of text"}


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a report's rows."""

    name: str
    type: str
    """text, integer, number, boolean, time, list of text, list of integers, or any; optionally with `or null`."""
    meaning: str
    """The meaning for people, in Markdown."""


class Heading(NamedTuple):
    """A column of a table in a terminal."""

    text: str
    rank: int = 1
    """1: always shown. In a narrow terminal others are left out, the highest first."""
    tells_apart: bool = False
    """The column only distinguishes rows. A terminal leaves it out if all rows have the same value."""


OF_SOURCE = Heading("source", 2, tells_apart=True)
OF_ENTITY = Heading("entity", 2, tells_apart=True)


@dataclass(frozen=True, slots=True)
class Report:
    """The declaration of a report's rows."""

    columns: tuple[Column, ...]
    table: Mapping[str, Heading] = field(default_factory=dict)
    """The columns in a terminal, by name and in order. A name without a column is text made of several columns."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the columns."""
        return names_of(self.columns)


def names_of(columns: Iterable[Column]) -> tuple[str, ...]:
    """The names of columns, in their order."""
    return tuple(column.name for column in columns)


def of(column: sa.Column[object]) -> Column:
    """A column of a table with its meaning."""
    word = "list of integers" if column.name in LISTS_OF_NUMBERS else word_of(column.type)
    word = _WORDS.get(word, word)
    comment = str(column.comment).replace("NULL", "null")
    if comment.split()[0][1:].islower():  # no name, like OpenStack
        comment = comment[0].lower() + comment[1:]
    return Column(column.name, word + (" or null" if column.nullable else ""), comment)


SOURCE = Column("source", "text", "name of the source")
PLACE = (
    SOURCE,
    Column("region_id", "integer or null", "the region; for a keystone, the region whose copy is used now"),
    Column("slug", "text or null", "the region's short name, as last seen"),
    Column("display_name", "text or null", "the region's name, as last seen"),
)
"""The first columns of reports about both regions and keystones."""
AREA = (
    Column("zone", "text or null", "the region's zone, as last seen"),
    Column("country", "text or null", "the region's country, as last seen"),
)
"""The last columns of these reports."""
