"""How each source is now: a health check for people and for supervisors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from collector.inventory.transitions import gap_limit
from collector.store.engine import LEASE_SECONDS, UtcTime, database_time
from collector.store.tables import (
    observations,
    regions,
    rejected_records,
    schema_drift,
    sources,
    unseen,
)

Verdict = Literal["good", "degraded", "stale", "left"]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source. Counts are of now; times are when polls were answered."""

    source: str
    verdict: Verdict
    """stale: no successful poll for longer than the gap limit, or a clock that went back; degraded: something needs
    a look; left: no longer in the settings, which is no ill."""
    why: str
    """What makes it less than good, in words."""
    last_outcome: str | None
    cause: str | None
    message: str | None
    last_poll_at: datetime | None
    last_seen_at: datetime | None
    """Answer of the newest successful poll."""
    next_poll_at: datetime | None
    """When the next poll is expected."""
    interval_seconds: float | None
    lease_owner: str | None
    regions: int
    unseen: int
    held: int
    """Regions whose absence waits to be confirmed."""
    gaps_last_day: int
    rejected: int
    """Records of the newest answer that could not be used."""
    drift: int
    """Things on record that the documented schema does not say."""
    newest_observation: int


def statuses(
    connection: sa.Connection, now: datetime, only: str | None = None, of_settings: Collection[str] = ()
) -> list[SourceStatus]:
    """All sources of the database, by name; `only` this one.

    `of_settings`: names of the sources that are to be polled. Where any of them is in the database, others have left.
    """
    s = sources.c
    query = sa.select(
        s.id,
        s.name,
        s.newest_seq,
        sa.case((s.lease_expires_at > database_time(), s.lease_owner)).label("lease_owner"),
    ).order_by(s.name)
    rows = connection.execute(query).all()
    are_ours = any(row.name in of_settings for row in rows)
    found = [_status(connection, row, now) for row in rows if only in (None, row.name)]
    if only or not are_ours:
        return found
    return [each if each.source in of_settings else _left(each) for each in found]


def _left(status: SourceStatus) -> SourceStatus:
    return replace(status, verdict="left", why="no longer in the settings", next_poll_at=None)


def _status(connection: sa.Connection, source: Any, now: datetime) -> SourceStatus:
    o = observations.c
    rows = sa.select(observations).where(o.source_id == source.id).order_by(o.seq.desc()).limit(1)
    newest: Any = connection.execute(rows).one_or_none()
    applied: Any = connection.execute(rows.where(o.outcome != "failed")).one_or_none()

    def count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
        query = (
            sa.select(sa.func.count()).select_from(table).where(table.c.source_id == source.id, *conditions)
        )
        return connection.scalar(query) or 0

    interval = timedelta(milliseconds=newest.expected_interval_ms) if newest else None
    rejected = count(rejected_records, rejected_records.c.seq == applied.seq) if applied else 0
    lost = count(unseen, unseen.c.entity == "region", unseen.c.until_at.is_(None))
    is_held = bool(applied and applied.outcome == "held")
    reasons: list[str] = []
    verdict: Verdict = "good"
    if newest is not None and newest.outcome != "ok":
        reasons.append(
            {
                "failed": f"the newest poll failed: {newest.message}",
                "partial": f"the newest answer looks paginated ({newest.paging}): it proves no absence"
                if newest.paging
                else "the newest answer's count does not match its results",
                "held": _held(len(newest.missing or ())),
            }[newest.outcome]
        )
    if rejected:
        reasons.append(f"{rejected} records of the newest answer can't be used")
    if lost and not is_held:
        reasons.append(f"{lost} regions are not shown, though not gone")
    if reasons:
        verdict = "degraded"
    if applied is None or interval is None or now - applied.last_at > gap_limit(interval):
        verdict = "stale"
        reasons.insert(0, "nothing was ever seen" if applied is None else "no successful poll for too long")
    if newest is not None and newest.last_at - now > timedelta(seconds=LEASE_SECONDS):
        verdict = "stale"
        reasons.insert(
            0,
            f"the newest poll lies in the future, at {newest.last_at:%Y-%m-%d %H:%M:%S} UTC: this clock was set back, "
            "or was wrong then; nothing is written until that time",
        )
    return SourceStatus(
        source=source.name,
        verdict=verdict,
        why="; ".join(reasons),
        last_outcome=newest and newest.outcome,
        cause=newest and newest.cause,
        message=newest and newest.message,
        last_poll_at=newest and newest.last_at,
        last_seen_at=applied and applied.last_at,
        next_poll_at=newest.last_at + interval if newest and interval else None,
        interval_seconds=interval.total_seconds() if interval else None,
        lease_owner=source.lease_owner,
        regions=count(regions, regions.c.absent_since.is_(None)),
        unseen=lost,
        held=len(applied.missing or ()) if applied and is_held else 0,
        gaps_last_day=_gaps(connection, source.name, now - timedelta(days=1)),
        rejected=rejected,
        drift=count(schema_drift),
        newest_observation=source.newest_seq,
    )


def _held(missing: int) -> str:
    which = "1 region is" if missing == 1 else f"{missing} regions are"
    return f"{which} missing, which looks doubtful and waits to be confirmed"


def _gaps(connection: sa.Connection, source: str, since: datetime) -> int:
    gaps = sa.table("coverage_gaps", sa.column("source"), sa.column("until_at", UtcTime()))
    recent = gaps.c.until_at.is_(None) | (gaps.c.until_at > since)
    return (
        connection.scalar(sa.select(sa.func.count()).select_from(gaps).where(gaps.c.source == source, recent))
        or 0
    )
