"""The newest digest of each source, to keep outside the database."""

from __future__ import annotations

import sqlalchemy as sa

from collector.reports.columns import SOURCE, Column, Report, of
from collector.reports.filters import Row
from collector.store.tables import observations, sources

HEADS = Report(
    (
        SOURCE,
        of(observations.c.seq),
        Column("head", "text", "its opening digest"),
        of(observations.c.first_at),
    )
)
SIGNED_HEADS = Report(
    (
        *HEADS.columns,
        Column(
            "signed_by", "text or null", "SHA-256 of the public key that signed; null: no key is configured"
        ),
        Column("signature", "text or null", "Ed25519 signature in base64"),
    )
)


def heads(connection: sa.Connection, source: str | None = None) -> list[Row]:
    """The newest opening digest of each source that was ever polled, by name."""
    o, s = observations.c, sources.c
    query = (
        sa.select(s.name.label("source"), o.seq, o.opening_digest.label("head"), o.first_at)
        .join(observations, (o.source_id == s.id) & (o.seq == s.newest_seq))
        .order_by(s.name)
    )
    query = query.where(s.name == source) if source else query
    return [dict(row) for row in connection.execute(query).mappings()]


def genesis(connection: sa.Connection) -> str:
    """16 hex digits that stay the same for a database, whatever it is called and wherever it is: of the first
    observation of its first source; empty before that."""
    o = observations.c
    query = sa.select(o.opening_digest).where(o.seq == 1).order_by(o.source_id).limit(1)
    return str(connection.scalar(query) or "")[:16]
