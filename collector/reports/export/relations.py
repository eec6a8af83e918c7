"""What is exported: every table and view, with the types of its columns, the time of its rows, and when they settle.

A row *settles* when no later poll can change it. Only some tables have such rows. For example, a view contains the
present name of a region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from collector.database.types import JsonList, UtcTime
from collector.errors import IntegrityError
from collector.reports import views
from collector.reports.types import LISTS_OF_NUMBERS, word_of
from collector.store.payloads import Reader
from collector.store.tables import (
    amendments,
    anchors,
    metadata,
    observations,
    payloads,
    sources,
    verifications,
    webhook_deliveries,
    webhook_queues,
)

_LEFT_OUT = {
    "sources": {"lease_owner", "lease_expires_at", "lease_epoch", "key_salt", "corrections"},
    "payloads": {"compressed_size", "base", "links"},
    "regions": {"content_hash"},
    "keystones": {"content_hash"},
    "metrics_databases": {"content_hash"},
}
"""Columns that only the collector itself uses."""
_SETTLES_BY = {
    "payloads": "first_seq",
    "observations": "seq",
    "region_versions": "valid_to",
    "keystone_versions": "valid_to",
    "metrics_database_versions": "valid_to",
    "state_transitions": "seq",
    "unseen": "until_seq",
    "withheld_absences": "seq",
    "unproven_absences": "until_seq",
    "gaps": "until_seq",
    "rejected_records": "seq",
    "schema_drift": "seq",
}
"""The column with the observation that settled a row, as its number or its time. NULL: not settled."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an exported table."""

    name: str
    type: sa.types.TypeEngine[Any]
    nullable: bool = True

    @property
    def items(self) -> str:
        """For a list: the type of its items, `text` or `bigint`."""
        return "bigint" if self.name in LISTS_OF_NUMBERS else "text"

    @property
    def word(self) -> str:
        """The type, as the manifest names it."""
        if isinstance(self.type, JsonList):
            return f"list of {self.items}"
        return word_of(self.type)


@dataclass(frozen=True, slots=True)
class Span:
    """The time of a row: from `begin` to `end`, which is included or not, or NULL while it is not over."""

    words: str
    """The name in the manifest and the documentation."""
    begin: sa.ColumnElement[Any]
    end: sa.ColumnElement[Any]
    end_included: bool
    dated: sa.ColumnElement[Any]
    """The expression for the day that the row belongs to."""

    def within(self, since: datetime | None, until: datetime | None) -> list[sa.ColumnElement[bool]]:
        """Conditions for rows that overlap [since, until)."""
        conditions = []
        if since is not None:
            bound = self._bound(since.replace(day=1) if self.words == "month" else since)
            after = self.end >= bound if self.end_included else self.end > bound
            conditions.append(sa.or_(self.end.is_(None), after))
        if until is not None:
            last = until - timedelta(microseconds=1)
            conditions.append(self.begin <= self._bound(last))
        return conditions

    def _bound(self, moment: datetime) -> Any:
        return moment.date() if isinstance(self.begin.type, sa.Date) else moment


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view to export."""

    name: str
    kind: str
    """`table` or `view`."""
    columns: tuple[Column, ...]
    query: sa.Select[Any]
    """Selects exactly these columns."""
    source: sa.ColumnElement[str]
    """The column with the name of the source."""
    span: Span | None
    """None: rows without a time, such as those of current tables."""
    order: tuple[sa.ColumnElement[Any], ...]
    settles_by: sa.ColumnElement[Any] | None = None
    """The column with the observation that settled a row; None: no row ever settles."""
    batch: int = 1000
    """How many rows are in memory at a time."""


class _Answer(sa.types.TypeDecorator[str]):
    """Maps the number of the source and an address, separated by a blank, to the answer as JSON text."""

    impl = sa.Text
    cache_ok = False

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__()
        self._reader_of = cache(lambda source_id: Reader(connection, source_id))

    def process_result_value(self, value: Any, dialect: Any) -> str | None:
        source_id, _, address = str(value).partition(" ")
        try:
            return self._reader_of(int(source_id)).load(address).canonical().decode("ascii")
        except IntegrityError as error:
            raise IntegrityError(f"{error}: run `collector audit verify`") from None


_NOT_HISTORY = (webhook_deliveries, webhook_queues, anchors, verifications, amendments)
"""Work for others, which is forgotten once it is done, and proof, which says nothing about the cloud."""


def relations(connection: sa.Connection) -> list[Relation]:
    """Everything that can be exported: tables first, then views."""
    tables = [_table(table, connection) for table in metadata.tables.values() if table not in _NOT_HISTORY]
    return tables + [_view(name) for name in views.NAMES]


def names() -> list[str]:
    """The names of everything that can be exported."""
    return [*(n for n, table in metadata.tables.items() if table not in _NOT_HISTORY), *views.NAMES]


def _table(table: sa.Table, connection: sa.Connection) -> Relation:
    left_out = _LEFT_OUT.get(table.name, set())
    kept = [column for column in table.columns if column.name not in left_out]
    columns = [Column(column.name, column.type, bool(column.nullable)) for column in kept]
    selected: list[sa.ColumnElement[Any]] = list(kept)
    times: Mapping[str, sa.ColumnElement[Any]] = {column.name: column for column in kept}
    if table is sources:
        return Relation(
            table.name, "table", tuple(columns), sa.select(*kept), table.c.name, None, (table.c.id,)
        )
    joined: sa.FromClause = table.join(sources, sources.c.id == table.c.source_id)
    if table is payloads:
        seen = _when_payloads_were_seen()
        joined = joined.outerjoin(
            seen, (seen.c.source_id == table.c.source_id) & (seen.c.payload == table.c.address)
        )
        which = sa.cast(table.c.source_id, sa.Text) + " " + table.c.address
        body = sa.type_coerce(which, _Answer(connection)).label("body")
        selected = [body if column is table.c.body else column for column in kept]
        selected.insert(1, seen.c.first_seq)
        columns = [Column(c.name, sa.Text() if c.name == "body" else c.type, c.nullable) for c in columns]
        columns.insert(1, Column("first_seq", sa.BigInteger()))
        times = {column.name: column for column in seen.c}
    elif not _span(times) and "seq" in table.c and "changed_at" not in table.c:
        o = observations.alias("o")
        joined = joined.join(o, (o.c.source_id == table.c.source_id) & (o.c.seq == table.c.seq))
        times = {"first_at": o.c.first_at, "last_at": o.c.last_at}
    key = tuple(table.primary_key.columns)
    query = sa.select(sources.c.name.label("source"), *selected).select_from(joined)
    settles_by = next((c for c in selected if c.name == _SETTLES_BY.get(table.name)), None)
    return Relation(
        name=table.name,
        kind="table",
        columns=(Column("source", sa.Text(), nullable=False), *columns),
        query=query.where(payloads.c.compressed_size > 0) if table is payloads else query,
        source=sources.c.name,
        span=_span(times),
        order=(table.c.source_id, seen.c.first_seq, *key) if table is payloads else key,
        settles_by=settles_by,
        batch=8 if table is payloads else 1000,  # an answer may have megabytes
    )


def _when_payloads_were_seen() -> sa.Subquery:
    """The first and the last time of each payload."""
    o = observations.c
    return (
        sa.select(
            o.source_id,
            o.payload,
            sa.func.min(o.seq).label("first_seq"),
            sa.func.min(o.first_at, type_=UtcTime()).label("first_at"),
            sa.func.max(o.last_at, type_=UtcTime()).label("last_at"),
        )
        .where(o.payload.is_not(None))
        .group_by(o.source_id, o.payload)
        .subquery("seen")
    )


def _view(name: str) -> Relation:
    columns = tuple(Column(column.name, column.type) for column in views.columns(name))
    view = sa.table(name, *(sa.column(c.name, c.type) for c in columns))
    span = _span({column.name: column for column in view.c})
    order = [view.c.source, *([span.dated] if span else [])]
    order += [
        view.c[n] for n in ("region_id", "keystone_id", "metrics_database_id", "seq", "field") if n in view.c
    ]
    return Relation(name, "view", columns, sa.select(view), view.c.source, span, tuple(order))


def _span(columns: Mapping[str, Any]) -> Span | None:
    """The time of a row, from the names of the columns with it."""
    c = columns
    if "changed_at" in c:  # a current table
        return None
    if "from_latest" in c:
        begin = sa.func.coalesce(c["from_earliest"], c["from_latest"], type_=UtcTime())
        return Span("from_earliest to to_latest", begin, c["to_latest"], False, c["from_latest"])
    for first, last in (("valid_from", "valid_to"), ("from_at", "until_at")):
        if first in c and last in c:
            return Span(f"{first} to {last}", c[first], c[last], False, c[first])
    if "first_at" in c and "last_at" in c:
        return Span("first_at to last_at", c["first_at"], c["last_at"], True, c["first_at"])
    for moment in ("observed_at", "first_seen_at", "day", "month"):
        if moment in c:
            return Span(moment, c[moment], c[moment], True, c[moment])
    return None


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to which observation a source is settled."""

    seq: int
    at: datetime
    """When its first poll was answered."""
    digest: str


def settled(
    relation: Relation, after: Mapping[int, Mark | None], upto: Mapping[int, Mark | None]
) -> sa.ColumnElement[bool]:
    """Condition for rows that settled after one mark, up to another, by id of the source."""
    by = relation.settles_by
    assert by is not None  # noqa: S101 - callers ask only for tables with settled rows
    parts = []
    for source_id, mark in upto.items():
        if mark is not None:
            before = after.get(source_id)
            condition = by <= _position(by, mark)
            if before is not None:
                condition &= by > _position(by, before)
            parts.append((sources.c.id == source_id) & condition)
    return sa.or_(sa.false(), *parts)


def unsettled(relation: Relation, upto: Mapping[int, Mark | None]) -> sa.ColumnElement[bool]:
    """Condition for all other rows."""
    by = relation.settles_by
    assert by is not None  # noqa: S101 - as above
    return sa.or_(by.is_(None), sa.not_(settled(relation, {}, upto)))


def _position(by: sa.ColumnElement[Any], mark: Mark) -> Any:
    return mark.at if isinstance(by.type, UtcTime) else mark.seq
