"""The sources that a database knows, and the rules that derived their histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from collector.errors import DatabaseError, SchemaError, UsageError
from collector.nearest import instead
from collector.store.tables import DERIVATION_REVISION, sources


def source_names(connection: sa.Connection, only: str | None = None) -> list[str]:
    """All known sources by id, or `only` this one. Raises UsageError if it is unknown."""
    found = connection.scalars(sa.select(sources.c.name).order_by(sources.c.id))
    known = [name if isinstance(name, str) else repr(name) for name in found]  # the file may be damaged
    if only is None:
        return known
    if only not in known:
        raise UsageError(f"there is no source {only!r}; {instead(only, known)}")
    return [only]


def names_by_id(connection: sa.Connection) -> dict[int, str]:
    """The names of all sources by id."""
    return {row.id: row.name for row in connection.execute(sa.select(sources.c.id, sources.c.name))}


def derived_by_older_rules(connection: sa.Connection, only: str | None = None) -> list[str]:
    """Names of the sources whose history an older version derived."""
    s = sources.c
    query = sa.select(s.name).where(s.derivation_revision < DERIVATION_REVISION, s.newest_seq > 0)
    query = query.where(s.name == only) if only is not None else query
    return list(connection.scalars(query.order_by(s.id)))


def refuse_older_rules(stale: Sequence[str]) -> None:
    """Raise SchemaError if an older version derived the history of some sources: readers would miss newer facts."""
    if stale:
        raise SchemaError(
            f"an older version derived the history of {', '.join(stale)}: run `collector db rebuild`, or start "
            "`collector run`, which does so before its next poll"
        )


def source_id_of(connection: sa.Connection, source: str) -> int:
    """Raises UsageError for an unknown source, DatabaseError if the table and its index differ."""
    source_names(connection, source)
    query = sa.select(sources.c.id, sources.c.derivation_revision).where(sources.c.name == source)
    found = connection.execute(query).first()
    if found is None:
        raise DatabaseError(
            f"the source {source!r} is in the table sources, but not in its index: the database is damaged; "
            "`collector db check` says more"
        )
    check_rules(source, found.derivation_revision)
    return int(found.id)


def newest_seq_of(connection: sa.Connection, source_id: int) -> int:
    """Number of the newest observation of a source; 0 before its first poll."""
    return connection.scalar(sa.select(sources.c.newest_seq).where(sources.c.id == source_id)) or 0


def check_rules(source: str, revision: Any) -> None:
    """Raise SchemaError if a newer version derived a source's history. `revision`: that of the rules."""
    if isinstance(revision, int) and revision > DERIVATION_REVISION:
        raise SchemaError(
            f"the history of source {source!r} was derived by a newer version (revision {revision}, "
            f"this one has {DERIVATION_REVISION}); update this collector"
        )
