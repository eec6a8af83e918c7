"""How far a database has come: what every answer to a question rests on, read with one statement."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.errors import UsageError
from collector.reports.asof import newest_applied
from collector.reports.filters import Row
from collector.reports.inventory import looks
from collector.store.sources import refuse_older_rules
from collector.store.tables import DERIVATION_REVISION, observations, sources


@dataclass(frozen=True, slots=True)
class Standing:
    """The standing of all sources, or of the one that was asked for."""

    heads: Sequence[Row]
    """Each source that was ever polled, by name, as in `reports.heads`."""
    head: str | None
    """For one source, its newest opening digest, as `collector audit head` prints it. For several, SHA-256 over lines
    of name, space, digest and newline, by name. None: nothing was ever polled."""
    tag: str
    """Changes whenever a poll shows something different, or the history is derived again."""
    newest_at: datetime | None
    """When the newest poll was answered, by the clocks of the pollers."""
    confirmed_at: datetime | None
    """When the newest successful poll was answered; for several sources, that of the source that was seen least
    recently."""


def standing(connection: sa.Connection, source: str | None = None) -> Standing:
    """The standing, with one statement, however many sources there are.

    Raises UsageError if the database has no such source, and SchemaError if an older version derived the history,
    because readers would miss what newer rules write.
    """
    o, s = observations.c, sources.c
    query = (
        sa.select(
            s.name,
            s.newest_seq,
            s.derivation_revision,
            o.opening_digest,
            o.first_at,
            o.last_at,
            newest_applied(s.id, column="last_at").label("seen_at"),
        )
        .select_from(sources)
        .outerjoin(observations, (o.source_id == s.id) & (o.seq == s.newest_seq))
    )
    known = connection.execute(query.where(s.name == source) if source else query).all()
    if source and not known:
        raise UsageError(f"there is no source {source!r}")
    rows = sorted((row for row in known if row.newest_seq), key=lambda row: row.name)
    refuse_older_rules([row.name for row in rows if row.derivation_revision < DERIVATION_REVISION])
    tag = [[row.name, row.newest_seq, row.derivation_revision, row.opening_digest] for row in rows]
    return Standing(
        heads=[
            {"source": row.name, "seq": row.newest_seq, "head": row.opening_digest, "first_at": row.first_at}
            for row in rows
        ],
        head=_head(rows),
        tag=hashlib.sha256(repr(tag).encode()).hexdigest()[:32],
        newest_at=max((row.last_at for row in rows), default=None),
        confirmed_at=min((row.seen_at for row in rows if row.seen_at), default=None),
    )


def _head(rows: Sequence[Any]) -> str | None:
    if len(rows) < 2:
        return rows[0].opening_digest if rows else None
    lines = "".join(f"{row.name} {row.opening_digest}\n" for row in rows)
    return hashlib.sha256(lines.encode()).hexdigest()


def last_confirmed_at(
    connection: sa.Connection, moment: datetime, source: str | None = None
) -> datetime | None:
    """Up to when statements about a time were confirmed; for several sources, by the one that was seen least recently.

    None: nothing was seen until then.
    """
    found = looks(connection, moment, source).values()
    return min((look.at for look in found if look), default=None)
