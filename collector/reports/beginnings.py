"""Where pruned histories begin, because nothing can be said about earlier times, and all recorded amendments."""

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
    """The observation whose state is kept completely."""
    at: datetime
    """When it was first answered."""
    first_at: datetime
    """When the very first poll was answered."""


def beginnings(connection: sa.Connection, source: str | None = None) -> dict[str, Begun]:
    """Where pruned histories begin, by the names of their sources."""
    a = amendments.c
    query = (
        sa.select(sources.c.name, a.begins_seq, a.begins_at, a.pruned_from_at)
        .join(sources, sources.c.id == a.source_id)
        .where(a.begins_seq.is_not(None), a.begins_at.is_not(None), a.pruned_from_at.is_not(None))
        .order_by(a.number)
    )
    query = query.where(sources.c.name == source) if source else query
    return {name: Begun(*rest) for name, *rest in connection.execute(query)}


class Taken(NamedTuple):
    """A recorded change of stored evidence: its beginning was deleted (a prune), or a value (a redaction)."""

    source: str
    number: int
    kind: str
    made_at: datetime
    made_by: str
    at_seq: int
    """The newest observation at that time."""
    begins_at: datetime | None
    """For a prune: where the history began afterwards."""
    path: str | None
    """For a redaction: the path that is redacted in every answer."""
    answers: int | None
    """For a redaction: the number of stored answers with a value there."""


def taken_out(connection: sa.Connection, source: str | None = None) -> list[Taken]:
    """All prunes and redactions by source, the oldest first."""
    a = amendments.c
    query = (
        sa.select(sources.c.name, a.number, a.kind, a.made_at, a.made_by, a.at_seq, a.begins_at, a.facts)
        .join(sources, sources.c.id == a.source_id)
        .order_by(sources.c.name, a.number)
    )
    query = query.where(sources.c.name == source) if source else query
    return [Taken._make([*row, *_redacted(facts)]) for *row, facts in connection.execute(query)]


def redactions(connection: sa.Connection, source: str | None = None) -> list[Taken]:
    """Each path that is redacted in every answer, once, and since when."""
    found = [each for each in taken_out(connection, source) if each.kind == "redaction"]
    return list({(each.source, each.path): each for each in reversed(found)}.values())[::-1]


def _redacted(facts: str) -> tuple[str | None, int | None]:
    """Path and number of answers. Edited facts may have neither; `audit verify` reports that."""
    try:
        said = json.loads(facts)
        return said.get("path"), said.get("redacted")
    except (ValueError, AttributeError):
        return None, None


def refuse_before(connection: sa.Connection, moment: datetime, source: str | None = None) -> None:
    """Raises UsageError if the question is about a time that was pruned."""
    for name, begun in beginnings(connection, source).items():
        if begun.first_at <= moment < begun.at:
            raise UsageError(
                f"the history of {name} begins at {show_time(begun.at)}: what it was at {show_time(moment)} was pruned"
            )


def is_pruned(source_id: sa.ColumnElement[int], moment: sa.ColumnElement[datetime]) -> sa.ColumnElement[bool]:
    """True if a moment lies before the beginning of a source's history."""
    a = amendments.alias("pruned").c
    return sa.exists().where(
        a.source_id == source_id, a.begins_at > moment, a.pruned_from_at <= moment, a.begins_at.is_not(None)
    )
