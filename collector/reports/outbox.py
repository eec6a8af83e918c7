"""The delivery to receivers: what waits, since when, and what was given up."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.reports.columns import OF_SOURCE, SOURCE, Column, Heading, Report
from collector.reports.filters import Row
from collector.store.tables import IS_DEAD, IS_WAITING, sources, webhook_deliveries, webhook_queues

RECEIVERS = Report(
    columns=(
        Column("receiver", "text", "name of the receiver in the settings"),
        Column("in_settings", "boolean", "true if it is in the settings of this command"),
        Column("waiting", "integer", "events that wait"),
        Column("oldest_at", "time or null", "when the oldest of them was queued"),
        Column("dead_letters", "integer", "events that were given up and are still kept"),
        Column("failures", "integer", "consecutive failed attempts, for the source with the most"),
        Column("failing_since", "time or null", "since when attempts fail"),
        Column("next_try_at", "time or null", "when the next attempt after a failure is due"),
        Column(
            "last_error",
            "text or null",
            "error of the newest failed attempt, for an event that waits or was given up",
        ),
    ),
    table={
        "receiver": Heading("receiver"),
        "in_settings": Heading("in settings", 6),
        "waiting": Heading("waiting"),
        "oldest_at": Heading("oldest", 3),
        "dead_letters": Heading("dead letters"),
        "failing_since": Heading("failing since", 2),
        "next_try_at": Heading("next try", 4),
        "last_error": Heading("last error", 5),
    },
)
DELIVERIES = Report(
    columns=(
        Column("receiver", "text", "name of the receiver in the settings"),
        SOURCE,
        Column("seq", "integer", "observation that showed the event"),
        Column("ordinal", "integer", "number of the event in the observation"),
        Column("type", "text", "what happened"),
        Column("created_at", "time", "when it was queued"),
        Column("attempts", "integer", "number of attempts"),
        Column("given_up_at", "time or null", "when it was given up; null: it still waits"),
        Column("last_error", "text or null", "why the last attempt failed"),
        Column("event", "text", "the event as JSON"),
    ),
    table={
        "receiver": Heading("receiver", 2),
        "source": OF_SOURCE,
        "seq": Heading("observation"),
        "ordinal": Heading("ordinal", 5),
        "type": Heading("type"),
        "created_at": Heading("queued", 3),
        "attempts": Heading("attempts", 4),
        "given_up_at": Heading("given up", 4),
        "last_error": Heading("last error", 3),
    },
)


def receivers(connection: sa.Connection, of_settings: Collection[str] = ()) -> list[Row]:
    """All receivers of the settings, and others with stored events, by name."""
    return [
        row
        | {
            "in_settings": row["receiver"] in of_settings,
            "last_error": _last_error(connection, row["receiver"]),
        }
        for row in _counted(connection, of_settings)
    ]


def _counted(connection: sa.Connection, of_settings: Collection[str]) -> list[Row]:
    """The same without words."""
    d, q = webhook_deliveries.c, webhook_queues.c
    waiting = (
        sa.select(
            d.receiver,
            sa.func.count().label("waiting"),
            sa.type_coerce(sa.func.min(d.created_at), UtcTime()).label("oldest_at"),
        )
        .where(IS_WAITING)
        .group_by(d.receiver)
    )
    dead = sa.select(d.receiver, sa.func.count().label("dead_letters")).where(IS_DEAD).group_by(d.receiver)
    going = sa.select(
        q.receiver,
        sa.func.max(q.failures).label("failures"),
        sa.type_coerce(sa.func.min(q.failing_since), UtcTime()).label("failing_since"),
        sa.type_coerce(sa.func.min(q.next_try_at), UtcTime()).label("next_try_at"),
    ).group_by(q.receiver)
    found: dict[str, Row] = {name: {"receiver": name} for name in of_settings}
    for query in (waiting, dead, going):
        for row in connection.execute(query).mappings():
            found.setdefault(row["receiver"], {}).update(row)
    nothing = {"waiting": 0, "dead_letters": 0, "failures": 0}
    return [dict.fromkeys(RECEIVERS.fields) | nothing | found[name] for name in sorted(found)]


def _last_error(connection: sa.Connection, receiver: str) -> str | None:
    """The error of a waiting event, or else of the newest dead letter."""
    d = webhook_deliveries.c
    query = sa.select(d.last_error).where(d.receiver == receiver, d.last_error.is_not(None)).limit(1)
    waiting = connection.scalar(query.where(IS_WAITING).order_by(d.source_id, d.seq, d.ordinal))
    return waiting or connection.scalar(query.where(IS_DEAD).order_by(d.given_up_at.desc()))


def undelivered(
    connection: sa.Connection,
    receiver: str | None = None,
    *,
    dead_only: bool = False,
    limit: int | None = None,
) -> list[Row]:
    """Events that wait or were given up, in the order of delivery."""
    d = webhook_deliveries.c
    query = (
        sa.select(sources.c.name.label("source"), *(d[n] for n in DELIVERIES.fields if n != "source"))
        .join(sources, sources.c.id == d.source_id)
        .where(IS_DEAD if dead_only else IS_DEAD | IS_WAITING)
        .order_by(d.receiver, sources.c.name, d.seq, d.ordinal)
        .limit(limit)
    )
    query = query.where(d.receiver == receiver) if receiver else query
    return [dict(row) for row in connection.execute(query).mappings()]


@dataclass(frozen=True, slots=True)
class Backlog:
    """One receiver in numbers, for metrics."""

    receiver: str
    waiting: int
    dead_letters: int
    oldest_at: datetime | None
    """When the oldest waiting event was queued."""


def backlogs(connection: sa.Connection, of_settings: Collection[str] = ()) -> list[Backlog]:
    """All receivers, as in `receivers`."""
    return [
        Backlog(row["receiver"], row["waiting"], row["dead_letters"], row["oldest_at"])
        for row in _counted(connection, of_settings)
    ]
