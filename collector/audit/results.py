"""Stored results of verifications: when a source was last verified, and what was found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa

from collector import __version__
from collector.audit.findings import Break, Verdict, Verification
from collector.audit.words import break_in_words
from collector.database.transactions import writing
from collector.printable import printable
from collector.store.tables import sources, verifications

MAX_TEXT = 500
KEPT = 1000
"""Number of stored results per source; older ones are deleted."""


def record(
    engine: sa.Engine,
    found: Sequence[Verification],
    damage: Sequence[Break],
    lost: Collection[str],
    started_at: datetime,
    finished_at: datetime,
) -> None:
    """Store what a verification found of each source.

    `damage`: of the database as a whole, which counts for each source; `lost`: heads that no source has.
    """
    v = verifications.c
    with writing(engine) as connection:
        ids = {row.name: row.id for row in connection.execute(sa.select(sources.c.id, sources.c.name))}
        for each in found:
            findings = [break_in_words(broken) for broken in (*each.breaks, *damage)]
            findings += [f"no observation has the head {head}" for head in lost]
            verdict: Verdict = "altered" if damage or lost else each.verdict
            first = printable(findings[0])[:MAX_TEXT] if findings and verdict == "altered" else None
            row = {
                "source_id": ids[each.source],
                "started_at": started_at,
                "finished_at": max(finished_at, started_at),
                "verdict": verdict,
                "seq": each.observations,
                "head": each.head,
                "anchored_seq": each.proven_seq,
                "findings": len(findings) if verdict == "altered" else 0,
                "first_finding": first,
                "collector_version": __version__,
            }
            at_once = sa.delete(verifications).where(
                v.source_id == ids[each.source], v.started_at == started_at
            )
            connection.execute(at_once)
            connection.execute(sa.insert(verifications), row)
            old = (
                sa.select(v.started_at)
                .where(v.source_id == ids[each.source])
                .order_by(v.started_at.desc())
                .offset(KEPT)
                .limit(1)
            )
            oldest = connection.scalar(old)
            if oldest is not None:
                gone = v.source_id == ids[each.source], v.started_at <= oldest
                connection.execute(sa.delete(verifications).where(*gone))


def is_due(connection: sa.Connection, now: datetime, every_seconds: float) -> bool:
    """True if any observed source was verified too long ago, or never."""
    v, s = verifications.c, sources.c
    newest = (
        sa.select(s.id, sa.func.max(v.finished_at, type_=v.finished_at.type).label("at"))
        .outerjoin(verifications, v.source_id == s.id)
        .where(s.newest_seq > 0)
        .group_by(s.id)
    )
    return any(
        row.at is None or not 0 <= (now - row.at).total_seconds() < every_seconds
        for row in connection.execute(newest)
    )
