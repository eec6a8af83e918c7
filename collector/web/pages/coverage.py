"""What could be seen and what could not: sources, gaps, unseen entities, unusable records; and deliveries."""

from __future__ import annotations

import sqlalchemy as sa

from collector.errors import UsageError
from collector.reports.anchored import proven
from collector.reports.beginnings import taken_out
from collector.reports.blind import drift, gap_at, rejected, unseen_groups
from collector.reports.coverage import coverage
from collector.reports.heads import heads
from collector.reports.outbox import receivers
from collector.reports.polls import sight
from collector.reports.status import statuses
from collector.web.pages.asking import Asked, seq_of
from collector.web.pages.rendering import Shown

MOST = 50
"""Rows of a list."""
SOURCES = 40
"""Maximum number of sources with a strip; those that need attention come first."""
DAYS = 90
_ORDER = ("stale", "degraded", "good", "left")


def show(connection: sa.Connection, asked: Asked) -> Shown:
    """Everything, for one source or for all."""
    only = asked.text("source") or None
    listed = statuses(connection, asked.now, only, asked.sources, asked.required_anchors)
    if only and not listed:
        raise UsageError(f"there is no source {only!r}")
    listed.sort(key=lambda each: _ORDER.index(each.verdict))
    strips = sight(connection, [each.source for each in listed[:SOURCES]], asked.moment, DAYS)
    gaps = coverage(connection, only, until=asked.moment, limit=MOST + 1)
    unseen = unseen_groups(connection, source=only, until=asked.moment, limit=MOST + 1)
    return Shown(
        "coverage.html",
        {
            "listed": listed[:SOURCES],
            "left_out": max(len(listed) - SOURCES, 0),
            "strips": strips,
            "gaps": gaps[:MOST],
            "unseen": unseen[:MOST],
            "rejected": rejected(connection, limit=MOST),
            "drift": drift(connection, until=asked.moment, limit=MOST),
            "heads": heads(connection, only)[:SOURCES],
            "receivers": receivers(connection, asked.receivers),
            "proven": proven(connection, only),
            "taken_out": taken_out(connection, only)[-MOST:][::-1],
            "more_gaps": len(gaps) > MOST,
            "more_unseen": len(unseen) > MOST,
            "only": only,
        },
        states=frozenset({"ACTIVE"}),
    )


def gap(connection: sa.Connection, asked: Asked) -> Shown:
    """One gap, and what may have happened in it."""
    seq = seq_of(asked.parts["seq"], "gap after observation")
    found, across = gap_at(connection, asked.parts["source"], seq)
    states = frozenset(s for row in across for s in (row["from_state"], row["to_state"]) if s)
    return Shown("gap.html", {"gap": found, "across": across}, states=states)
