"""Where histories begin that were pruned: of what was before nothing can be said."""

from __future__ import annotations

import json
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from collector.errors import UsageError
from collector.reports.words import show_time
from collector.store.tables import amendments, sources


class Begun(NamedTuple):
    """Where the history of a source begins."""

    seq: int
    """The observation whose state is kept whole."""
    at: datetime
    """When that was first answered."""
    first_at: datetime
    """When the first poll of all was answered."""


def beginnings(connection: sa.Connection, source: str | None = None) -> dict[str, Begun]:
    """Where pruned histories begin, by the name of their source."""
    a = amendments.c
    query = (
        sa.select(sources.c.name, a.begins_seq, a.begins_at, a.pruned_from_at)
        .join(sources, sources.c.id == a.source_id)
        .where(a.begins_seq.is_not(None))
        .order_by(a.number)
    )
    query = query.where(sources.c.name == source) if source else query
    return {name: Begun(*rest) for name, *rest in connection.execute(query)}


def redactions(connection: sa.Connection) -> list[tuple[str, str, datetime]]:
    """What is redacted in every answer: source, path, and since when."""
    a = amendments.c
    query = (
        sa.select(sources.c.name, a.facts, a.made_at)
        .join(sources, sources.c.id == a.source_id)
        .where(a.kind == "redaction")
        .order_by(sources.c.name, a.number)
    )
    return [(name, json.loads(facts)["path"], at) for name, facts, at in connection.execute(query)]


def refuse_before(connection: sa.Connection, moment: datetime, source: str | None = None) -> None:
    """Raises UsageError where what is asked for was pruned."""
    for name, begun in beginnings(connection, source).items():
        if begun.first_at <= moment < begun.at:
            raise UsageError(
                f"the history of {name} begins at {show_time(begun.at)}: what it was at {show_time(moment)} was pruned"
            )


def is_pruned(source_id: sa.ColumnElement[int], moment: sa.ColumnElement[datetime]) -> sa.ColumnElement[bool]:
    """Whether a moment lies before the beginning of a source's history."""
    a = amendments.alias("pruned").c
    return sa.exists().where(
        a.source_id == source_id, a.begins_at > moment, a.pruned_from_at <= moment, a.begins_at.is_not(None)
    )
