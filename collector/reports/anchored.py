"""Digests that were given to places outside, and verifications whose results were kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from collector.reports.columns import OF_SOURCE, SOURCE, Column, Heading, Report, of
from collector.reports.filters import Row
from collector.store.tables import anchors as table
from collector.store.tables import sources, verifications

_a, _s, _v = table.c, sources.c, verifications.c
VERDICTS = ("good", "stale", "altered")
ANCHORS = Report(
    (
        SOURCE,
        of(_a.number),
        of(_a.target),
        of(_a.kind),
        of(_a.outcome),
        of(_a.made_at),
        of(_a.attested_at),
        Column("from_seq", "integer", "the first observation that this place had no digest of before"),
        Column("to_seq", "integer", "the newest observation that it covers; all before are covered too"),
        Column("to_at", "time", "the newest answer that it covers"),
        of(_a.value),
        of(_a.signed_by),
        of(_a.error),
    ),
    {
        "source": OF_SOURCE,
        "number": Heading("no.", 3),
        "target": Heading("anchor"),
        "outcome": Heading("outcome"),
        "made_at": Heading("made", 2),
        "attested_at": Heading("time stamp", 6),
        "from_seq": Heading("from", 5),
        "to_seq": Heading("to", 3),
        "to_at": Heading("up to"),
        "error": Heading("why not", 4),
    },
)


def anchors(connection: sa.Connection, source: str | None = None) -> list[Row]:
    """All anchors, by source, newest first."""
    before = table.alias("before").c
    had = (
        sa.select(sa.func.max(before.seq))
        .where(
            before.source_id == _a.source_id,
            before.target == _a.target,
            before.number < _a.number,
            before.outcome == "anchored",
        )
        .scalar_subquery()
    )
    query = (
        sa.select(table, _s.name.label("source"), had.label("had"))
        .join(sources, _s.id == _a.source_id)
        .order_by(_s.name, _a.number.desc())
    )
    query = query.where(_s.name == source) if source else query
    rows = [dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        # An observation that is anchored again has grown since.
        row |= {
            "to_seq": row["seq"],
            "to_at": row["last_at"],
            "from_seq": min((row["had"] or 0) + 1, row["seq"]),
        }
    return [{name: row[name] for name in ANCHORS.fields} for row in rows]


@dataclass(frozen=True, slots=True)
class Proven:
    """When a source was last anchored and last verified."""

    source: str
    anchored_seq: int | None = None
    """Newest observation that any place covers."""
    anchored_until: datetime | None = None
    """Newest answer that any place covers."""
    anchored_at: datetime | None = None
    not_anchored: str | None = None
    """Places that did not accept the newest digest that they were given, and why."""
    verified_at: datetime | None = None
    verified: str | None = None
    """The verdict of the last verification: good, stale or altered."""
    verified_seq: int | None = None
    first_finding: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What one place has from one source."""

    source: str
    target: str
    anchored_at: datetime | None
    seq: int | None
    until: datetime | None
    failed: int
    error: str | None
    """Why it did not accept the newest one."""


def places(connection: sa.Connection, source: str | None = None) -> list[Place]:
    """What each place has, by source and name."""
    group = sa.select(
        _a.source_id,
        _a.target,
        sa.func.max(_a.number).label("newest"),
        sa.func.max(sa.case((_a.outcome == "anchored", _a.number))).label("taken"),
        sa.func.count(sa.case((_a.outcome == "failed", 1))).label("failed"),
    ).group_by(_a.source_id, _a.target)
    each = group.subquery()
    newest, taken = table.alias("newest"), table.alias("taken")
    query = (
        sa.select(
            _s.name,
            each.c.target,
            taken.c.made_at,
            taken.c.seq,
            taken.c.last_at,
            each.c.failed,
            newest.c.error,
        )
        .select_from(each)
        .join(sources, _s.id == each.c.source_id)
        .join(newest, (newest.c.source_id == each.c.source_id) & (newest.c.number == each.c.newest))
        .outerjoin(taken, (taken.c.source_id == each.c.source_id) & (taken.c.number == each.c.taken))
        .order_by(_s.name, each.c.target)
    )
    query = query.where(_s.name == source) if source else query
    return [Place(*row) for row in connection.execute(query)]


def missing(connection: sa.Connection, required: Collection[str]) -> dict[str, list[str]]:
    """The required anchors that lack the newest digest that they were given, or have none, and why: by source, in
    words.

    An anchor that is being made does not count yet. Each name is one statement, which looks at the newest anchor of
    each source with that name.
    """
    found: dict[str, list[str]] = {}
    settled = table.alias("settled").c
    for name in sorted(required):
        newest = (
            sa.select(sa.func.max(settled.number))
            .where(settled.source_id == _s.id, settled.target == name, settled.outcome != "pending")
            .correlate(sources)
            .scalar_subquery()
        )
        query = (
            sa.select(_s.name, _a.number, _a.error)
            .select_from(sources)
            .outerjoin(table, (_a.source_id == _s.id) & (_a.number == newest))
            .where(_s.newest_seq > 0, sa.or_(_a.number.is_(None), _a.error.is_not(None)))
        )
        for source, number, error in connection.execute(query):
            why = (
                "has no digest of it yet" if number is None else f"did not accept its newest digest: {error}"
            )
            found.setdefault(source, []).append(f"the required anchor {name} {why}")
    return found


def proven(
    connection: sa.Connection, source: str | None = None, known: Sequence[Place] | None = None
) -> dict[str, Proven]:
    """When each source was last anchored and verified, by name. `known`: what `places` said, if it was asked before."""
    newest = (
        sa.select(_v.source_id, sa.func.max(_v.started_at).label("started_at"))
        .group_by(_v.source_id)
        .subquery()
    )
    query = (
        sa.select(_s.name, verifications)
        .outerjoin(newest, newest.c.source_id == _s.id)
        .outerjoin(
            verifications, (_v.source_id == newest.c.source_id) & (_v.started_at == newest.c.started_at)
        )
        .order_by(_s.name)
    )
    query = query.where(_s.name == source) if source else query
    of_source: dict[str, list[Place]] = {}
    for place in places(connection, source) if known is None else known:
        of_source.setdefault(place.source, []).append(place)
    return {
        row.name: Proven(
            source=row.name,
            **_anchored(of_source.get(row.name, ())),
            verified_at=row.finished_at,
            verified=row.verdict,
            verified_seq=row.seq,
            first_finding=row.first_finding,
        )
        for row in connection.execute(query)
    }


def _anchored(found: Sequence[Place]) -> Row:
    taken = [each for each in found if each.until is not None]
    best = max(taken, key=lambda each: (each.seq or 0, each.until), default=None)
    failing = [f"{each.target}: {each.error}" for each in found if each.error]
    return {
        "anchored_seq": best and best.seq,
        "anchored_until": best and best.until,
        "anchored_at": best and best.anchored_at,
        "not_anchored": "; ".join(failing) or None,
    }
