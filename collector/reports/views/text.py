"""The text of views and functions, rendered for a dialect.

The files are Jinja templates, written once for both dialects. What these spell differently has a name, which
`dialects/` defines for each:

    {{ now }}                        the database's clock
    {{ far_future }}                 a time that is later than all others
    {{ time("…") }}                  a value as a time
    {{ seconds_between("a", "b") }}  seconds from time a to time b, with microseconds
    {{ date }}                       the type of days
    {{ day_of("…") }}                the day of a time, in UTC
    {{ day_after("d") }}             the day after a day; {{ days_after("d", "n") }} the one n days later
    {{ start_of("d") }}              the first moment of a day; {{ first_of_month("d") }} the first day of its month
    {{ each_day("a", "b", "t") }}    rows t, one for each day from that of time a to that of time b: `key` counts from 0
    {{ time_text("…") }}             a time as text, as SQLite has it

`typed_columns("region")` are the columns of a kind's versions that the API documents: their name, and the word for
their type. `as_of("region")` is the statement of `reports.asof` with its columns. What views of regions and of
keystones share is under `parts/`, with the kind as `entity`.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.database.types import UtcTime
from collector.inventory.entities import Kind
from collector.reports.asof import as_of
from collector.reports.types import word_of
from collector.store.tables import TYPED, VERSIONS

if TYPE_CHECKING:
    import jinja2

NAMES = (
    "current_regions",
    "all_regions",
    "current_keystones",
    "current_metrics_databases",
    "region_transitions",
    "keystone_transitions",
    "region_changes",
    "keystone_changes",
    "coverage_gaps",
    "region_state_spans",
    "keystone_state_spans",
    "region_states",
    "keystone_states",
    "region_state_intervals",
    "keystone_state_intervals",
    "daily_region_states",
    "availability_monthly",
    "poll_health",
)
"""In the order in which they depend on one another."""

FUNCTIONS = ("regions_as_of", "keystones_as_of")
"""Only on PostgreSQL: each takes a time."""

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


class Head(NamedTuple):
    """The head of the file of a view or function, before its SQL."""

    row: str
    """What a row is: its first line."""
    prose: str
    """Its whole text, as one paragraph."""
    question: str
    """The question of the example."""
    example: str
    """The statement of the example."""
    columns: tuple[str, ...]
    """The lines that declare the columns."""


def head(name: str) -> Head:
    """The head of a file. Raises LookupError if it lacks a part."""
    said: list[str] = []
    parts = {"Example:": [], "Columns:": []}  # type: dict[str, list[str]]
    question, part = "", said
    for line in source_text(name).splitlines():
        if not line.startswith("--"):
            break
        text = line.removeprefix("--").removeprefix(" ")
        word = text.split(" ")[0]
        if word in parts:
            part, question = parts[word], question or text.removeprefix(word).strip()
        elif text.startswith("  "):
            part.append(text.strip())
        else:
            part = said
            said.append(text)
    if not said or not parts["Example:"]:
        raise LookupError(f"the file of {name} must say what a row is, and give an example")
    return Head(said[0], " ".join(said), question, "\n".join(parts["Example:"]), tuple(parts["Columns:"]))


def source_text(name: str) -> str:
    """The .sql file of a view or function, as people read it."""
    return _file(f"functions/{name}.sql" if name in FUNCTIONS else f"{name}.sql")


def what_a_row_is(name: str) -> str:
    """What a row of a view, or of a function's answer, is."""
    return head(name).row


def definition(name: str, dialect: str) -> str:
    """The SELECT of a view in a dialect, or the CREATE FUNCTION of a function, which only PostgreSQL has."""
    template = f"functions/{name}.sql" if name in FUNCTIONS else f"{name}.sql"
    return templates(dialect).get_template(template).render().rstrip()


class _TypedColumn(NamedTuple):
    name: str
    word: str


def _typed_columns(kind: Kind) -> list[_TypedColumn]:
    return [_TypedColumn(name, word_of(VERSIONS[kind].c[name].type)) for name in TYPED[kind]]


class _AsOf(NamedTuple):
    columns: tuple[tuple[str, str], ...]
    """Names and SQL types."""
    sql: str


def _as_of(kind: Kind) -> _AsOf:
    query = as_of(kind, sa.literal_column("moment", UtcTime()))
    columns = tuple((str(c.key), c.type.compile(_DIALECT)) for c in query.selected_columns)
    return _AsOf(columns, str(query.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})))


@cache
def templates(dialect: str) -> jinja2.Environment:
    """The files, with the dialect's own spellings as globals."""
    # Imported here because only installing or comparing views needs it; questions start without it.
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - this is SQL; nothing in it comes from outside
        trim_blocks=True,
        lstrip_blocks=True,
    )
    spelled = made.get_template(f"dialects/{dialect}.sql").module
    names = [name for name in dir(spelled) if not name.startswith("_")]
    made.globals |= {name: getattr(spelled, name) for name in names}
    made.globals |= {"typed_columns": _typed_columns, "as_of": _as_of}
    return made


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
