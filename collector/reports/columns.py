"""The columns of reports, each declared once: for the terminal, json and csv, the JSON API, and docs/questions.md."""

from __future__ import annotations

from collections.abc import Mapping
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
    """text, integer, number, boolean, time, list of text, list of integers, or any; and `or null`."""
    meaning: str
    """For people, in Markdown."""


class Heading(NamedTuple):
    """A column of a table in a terminal."""

    text: str
    rank: int = 1
    """1: always shown. Others are left out where the terminal is too narrow, the highest first."""
    tells_apart: bool = False
    """It only tells rows apart: a terminal leaves it out where all rows say the same."""


OF_SOURCE = Heading("source", 2, tells_apart=True)
OF_ENTITY = Heading("entity", 2, tells_apart=True)


@dataclass(frozen=True, slots=True)
class Report:
    """What the rows of a report are made of."""

    columns: tuple[Column, ...]
    table: Mapping[str, Heading] = field(default_factory=dict)
    """What a terminal shows, by names, in order. A name that is no column's stands for words made of some columns."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)


def of(column: sa.Column[object]) -> Column:
    """A column of a table, passed on with its meaning."""
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
"""With these begins what may be of a region or of a keystone."""
