"""How far a database has come: what every answer to a question rests on, asked in one statement."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.reports.inventory import last_looks
from collector.store.tables import observations, sources


@dataclass(frozen=True, slots=True)
class Standing:
    """Of all sources, or of the one that was asked for."""

    sources: Sequence[str]
    """Names of those that were ever polled, in order."""
    head: str | None
    """Of one source its newest opening digest, as `collector audit head` prints it. Of several SHA-256 over lines of
    name, blank, digest and newline, by name. None: nothing was ever polled."""
    tag: str
    """Another one whenever anything was observed that is not what was observed before, or was derived again."""
    newest_at: datetime | None
    """Answer of the newest poll, by the clocks of those that polled."""


def standing(connection: sa.Connection, source: str | None = None) -> Standing:
    """One statement, however many sources there are."""
    o, s = observations.c, sources.c
    query = (
        sa.select(s.name, s.newest_seq, s.derivation_revision, o.opening_digest, o.last_at)
        .join(observations, (o.source_id == s.id) & (o.seq == s.newest_seq))
        .order_by(s.id)
    )
    rows = connection.execute(query.where(s.name == source) if source else query).all()
    rows = sorted(rows, key=lambda row: row.name)
    tag = [[row.name, row.newest_seq, row.derivation_revision, row.opening_digest] for row in rows]
    return Standing(
        sources=[row.name for row in rows],
        head=_head(rows),
        tag=hashlib.sha256(repr(tag).encode()).hexdigest()[:32],
        newest_at=max((row.last_at for row in rows), default=None),
    )


def _head(rows: Sequence[Any]) -> str | None:
    if len(rows) < 2:
        return rows[0].opening_digest if rows else None
    lines = "".join(f"{row.name} {row.opening_digest}\n" for row in rows)
    return hashlib.sha256(lines.encode()).hexdigest()


def last_confirmed_at(
    connection: sa.Connection, moment: datetime, source: str | None = None
) -> datetime | None:
    """Up to when all that is said of a time was confirmed: of several sources the one that was seen least recently.

    None: nothing was seen until then.
    """
    looks = [look for look in last_looks(connection, moment, source).values() if look is not None]
    return min(looks, default=None)
