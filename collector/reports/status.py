"""The present condition of each source: a health check for people and supervisors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from collector.database.joins import InOrder
from collector.database.timeouts import LEASE_SECONDS
from collector.database.types import UtcTime, database_time
from collector.inventory.observation import gap_limit
from collector.reports.anchored import missing
from collector.reports.asof import newest_applied
from collector.reports.columns import SOURCE, Column, Heading, Report
from collector.reports.words import counted
from collector.store.tables import (
    observations,
    regions,
    rejected_records,
    schema_drift,
    sources,
    unseen,
)

Verdict = Literal["good", "degraded", "stale", "left"]

STATUS = Report(
    columns=(
        SOURCE,
        Column(
            "verdict",
            "text",
            "`good`; `degraded`: something needs attention; `stale`: no successful poll for 2.5 "
            "intervals; `left`: no longer in the settings",
        ),
        Column("why", "text", "why it is not good, in words; empty if it is good"),
        Column(
            "last_outcome",
            "text or null",
            "outcome of the newest poll: `ok`, `partial`, `held`, `failed`; null: never polled",
        ),
        Column("cause", "text or null", "why the newest poll failed"),
        Column(
            "message",
            "text or null",
            "message of the newest poll if it failed; for several equal failures, of the first one",
        ),
        Column("last_poll_at", "time or null", "when the newest poll was answered, or failed"),
        Column("last_seen_at", "time or null", "when the newest successful poll was answered"),
        Column("next_poll_at", "time or null", "when the next poll is expected"),
        Column("interval_seconds", "number or null", "expected time between polls"),
        Column(
            "lease_owner",
            "text or null",
            "process that polls the source now: host, process id, random part",
        ),
        Column("regions", "integer", "regions that are present"),
        Column("unseen", "integer", "those of them that the newest answers did not show"),
        Column("held", "integer", "regions whose absence waits for confirmation"),
        Column("gaps_last_day", "integer", "gaps that ended within the last 24 hours, or are open"),
        Column("rejected", "integer", "records of the newest answer that could not be used"),
        Column("drift", "integer", "recorded things that the documented schema does not describe"),
        Column("newest_seq", "integer", "`seq` of the newest observation; 0: none"),
    ),
    table={
        "source": Heading("source"),
        "verdict": Heading("verdict"),
        "age": Heading("last seen"),
        "last_outcome": Heading("outcome", 4),
        "regions": Heading("regions", 2),
        "unseen": Heading("unseen", 5),
        "held": Heading("held", 6),
        "gaps_last_day": Heading("gaps (24h)", 3),
        "rejected": Heading("rejected", 7),
        "drift": Heading("drift", 8),
        "next_poll_at": Heading("next poll", 5),
        "lease_owner": Heading("polled by", 9),
        "why": Heading("why", 2),
    },
)


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source. Counts are present ones; times are when polls were answered."""

    source: str
    verdict: Verdict
    """stale: no successful poll for longer than the gap limit, by the longer of the interval at that time and the
    newest one, or a clock that went back; degraded: something needs attention; left: no longer in the settings, which
    is not a problem."""
    why: str
    """Why it is not good, in words."""
    last_outcome: str | None
    cause: str | None
    message: str | None
    last_poll_at: datetime | None
    last_seen_at: datetime | None
    """When the newest successful poll was answered."""
    next_poll_at: datetime | None
    """When the next poll is expected."""
    interval_seconds: float | None
    lease_owner: str | None
    regions: int
    unseen: int
    held: int
    """Regions whose absence waits for confirmation."""
    gaps_last_day: int
    rejected: int
    """Records of the newest answer that could not be used."""
    drift: int
    """Recorded things that the documented schema does not describe."""
    newest_seq: int


def statuses(
    connection: sa.Connection,
    now: datetime,
    only: str | None = None,
    of_settings: Collection[str] = (),
    required_anchors: Collection[str] = (),
) -> list[SourceStatus]:
    """All sources of the database, by name, or `only` this one.

    `of_settings`: names of the sources that are to be polled. If any of them is in the database, all other sources
    have left, and one that is not in the database is stale. `required_anchors`: names of the anchors without which a
    source is degraded.
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
    facts = _facts(connection, now, only, required_anchors)
    found = [_status(facts, row, now) for row in rows if only in (None, row.name)]
    if not are_ours:
        return found
    never = sorted({*of_settings} - {row.name for row in rows})
    found += [_never_polled(name) for name in never if only in (None, name)]
    return [each if only or each.source in of_settings else _left(each) for each in found]


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts of each source, by its id, read with the same number of statements for one source or a thousand."""

    newest: Mapping[int, Any]
    """The newest observation."""
    applied: Mapping[int, Any]
    """The newest observation with an answer."""
    rejected: Mapping[int, int]
    """Number of its rejected records."""
    regions: Mapping[int, int]
    unseen: Mapping[int, int]
    drift: Mapping[int, int]
    gaps: Mapping[str, int]
    """Gaps of the last day, by name."""
    not_anchored: Mapping[str, list[str]]
    """Required anchors that fail, in words; by name."""


_NEEDED = (
    *("source_id", "seq", "outcome", "last_at", "rejected", "missing", "paging", "cause", "message"),
    "expected_interval_ms",
)


def _facts(connection: sa.Connection, now: datetime, only: str | None, required: Collection[str]) -> _Facts:
    s, o, r = sources.c, observations.c, rejected_records.c
    wanted = s.name == only if only else sa.true()
    ids = sa.select(s.id).where(wanted)

    def newest(seq: Any) -> dict[int, Any]:
        """The observation with this number of each source, looked up source by source."""
        is_it = (o.source_id == s.id) & (o.seq == seq)
        query = sa.select(*(o[name] for name in _NEEDED)).select_from(InOrder(sources, observations, is_it))
        return {row.source_id: row for row in connection.execute(query.where(wanted))}

    def count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> dict[int, int]:
        source_id = table.c.source_id
        query = sa.select(source_id, sa.func.count()).where(source_id.in_(ids), *conditions)
        return {row[0]: row[1] for row in connection.execute(query.group_by(source_id))}

    applied = newest(newest_applied(s.id))
    doubtful = [(row.source_id, row.seq) for row in applied.values() if row.rejected]
    rejected: dict[int, int] = {}
    for n in range(0, len(doubtful), 500):
        rejected |= count(rejected_records, sa.tuple_(r.source_id, r.seq).in_(doubtful[n : n + 500]))
    return _Facts(
        newest=newest(s.newest_seq),
        applied=applied,
        rejected=rejected,
        regions=count(regions, regions.c.absent_since.is_(None)),
        unseen=count(unseen, unseen.c.entity == "region", unseen.c.until_at.is_(None)),
        drift=count(schema_drift),
        gaps=_gaps(connection, only, now - timedelta(days=1)),
        not_anchored=missing(connection, required),
    )


def _never_polled(name: str) -> SourceStatus:
    return SourceStatus(
        source=name,
        verdict="stale",
        why="in the settings, but never polled",
        last_outcome=None,
        cause=None,
        message=None,
        last_poll_at=None,
        last_seen_at=None,
        next_poll_at=None,
        interval_seconds=None,
        lease_owner=None,
        regions=0,
        unseen=0,
        held=0,
        gaps_last_day=0,
        rejected=0,
        drift=0,
        newest_seq=0,
    )


def _left(status: SourceStatus) -> SourceStatus:
    return replace(status, verdict="left", why="no longer in the settings", next_poll_at=None)


def _status(facts: _Facts, source: Any, now: datetime) -> SourceStatus:
    newest, applied = facts.newest.get(source.id), facts.applied.get(source.id)
    interval = timedelta(milliseconds=newest.expected_interval_ms) if newest else None
    rejected = facts.rejected.get(source.id, 0)
    lost = facts.unseen.get(source.id, 0)
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
                "held": held_in_words(len(newest.missing or ())),
            }[newest.outcome]
        )
    if rejected:
        reasons.append(rejected_in_words(rejected))
    if lost and not is_held:
        reasons.append(f"{counted(lost, 'region')} not shown, though not gone")
    reasons += facts.not_anchored.get(source.name, ())
    if reasons:
        verdict = "degraded"
    if (
        applied is None
        or newest is None
        or now - applied.last_at
        > gap_limit(*(timedelta(milliseconds=row.expected_interval_ms) for row in (applied, newest)))
    ):
        verdict = "stale"
        reasons.insert(0, "nothing was ever seen" if applied is None else "no successful poll for too long")
    if newest is not None and newest.last_at - now > timedelta(seconds=LEASE_SECONDS):
        verdict = "stale"
        reasons.insert(
            0,
            f"the newest poll is in the future, at {newest.last_at:%Y-%m-%d %H:%M:%S} UTC: this clock was set back, "
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
        regions=facts.regions.get(source.id, 0),
        unseen=lost,
        held=len(applied.missing or ()) if applied and is_held else 0,
        gaps_last_day=facts.gaps.get(source.name, 0),
        rejected=rejected,
        drift=facts.drift.get(source.id, 0),
        newest_seq=source.newest_seq,
    )


def held_in_words(missing: int) -> str:
    """Why an answer is held."""
    if not missing:  # the first answers of a source
        return "no region is listed, which looks doubtful and waits to be confirmed"
    which = "1 region is" if missing == 1 else f"{missing} regions are"
    return f"{which} missing, which looks doubtful and waits to be confirmed"


def rejected_in_words(records: int) -> str:
    """What is wrong with an answer of which some records were rejected."""
    return f"{counted(records, 'record')} of the newest answer can't be used"


def _gaps(connection: sa.Connection, only: str | None, since: datetime) -> dict[str, int]:
    gaps = sa.table("coverage_gaps", sa.column("source"), sa.column("until_at", UtcTime()))
    recent = gaps.c.until_at.is_(None) | (gaps.c.until_at > since)
    query = sa.select(gaps.c.source, sa.func.count()).where(recent).group_by(gaps.c.source)
    if only:
        query = query.where(gaps.c.source == only)
    return {row[0]: row[1] for row in connection.execute(query)}


def are_too_many(bad: int, counted: int, most_bad: int | str) -> bool:
    """True if more sources are bad than allowed: a number (5) or a percentage ("10%"). All may never be bad."""
    is_share = isinstance(most_bad, str)
    allowed = counted * float(str(most_bad).rstrip("%")) / 100 if is_share else float(most_bad)
    return bad > allowed or bool(bad and bad == counted)


def exit_code(found: Collection[SourceStatus], most_bad: int | str = 0) -> int:
    """0: good; 3: something needs attention; 1: too many sources are stale, or none was ever polled.

    `most_bad`: how many sources, or which percentage of them ("10%"), may be stale before it is 1.
    """
    counted = [each for each in found if each.verdict != "left"]
    stale = sum(each.verdict == "stale" for each in counted)
    if not found or are_too_many(stale, len(counted), most_bad):
        return 1
    return 3 if any(each.verdict != "good" for each in counted) else 0
