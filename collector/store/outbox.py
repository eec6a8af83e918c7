"""The outbox: events that wait for their receivers, and the state of their delivery.

    poll's transaction ─▶ queue ─▶ row that waits ─▶ claim ─▶ (delivery, no transaction) ─▶ settle ─▶ delivered
                                         ▲                                                 └─▶ given up ─┐
                                         └────────────────────────── retry ──────────────────────────────┘

The events of one source for one receiver are a queue. A process that claims a queue has it alone until the claim
expires by the database's clock. So replicas share the work without any session state. The name of the claimant begins
with the name of its process, as in leases.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any

import sqlalchemy as sa

from collector.database import bulk
from collector.database.statements import insert_if_new
from collector.database.transactions import reading, writing
from collector.database.types import database_time
from collector.store.lease import is_dead
from collector.store.tables import IS_DEAD, IS_WAITING, sources, webhook_deliveries, webhook_queues

CLAIM_SECONDS = 60
"""Longer than any one request may take."""
LONGEST_PAUSE = timedelta(hours=1)
"""The longest time between two attempts. A longer one was written before the clock was set back."""
GAP_OPENED, VERIFICATION_FAILED = 1_000_000_001, 1_000_000_002
"""Ordinals of events that no observation causes; they come after all events of the newest observation."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one receiver."""

    receiver: str
    seq: int
    ordinal: int
    type: str
    event: str
    """The event as JSON."""


Announce = Callable[[sa.Connection, str, int, bool], Sequence[Delivery]]
"""Returns an observation's events for receivers; called in its transaction, after its rows are written.

Arguments: the connection, the source's name, the observation's seq, and whether it is the first applied one.
"""


def queue(
    connection: sa.Connection, source_id: int, deliveries: Sequence[Delivery], created_at: datetime
) -> None:
    """Write rows that wait."""
    columns = {each.name: [getattr(d, each.name) for d in deliveries] for each in fields(Delivery)}
    same = _same(source_id, created_at)
    bulk.write(connection, "insert", webhook_deliveries, columns | {n: repeat(v) for n, v in same.items()})


def queue_if_new(
    engine: sa.Engine,
    source_id: int,
    deliveries: Callable[[sa.Connection], Sequence[Delivery]],
    created_at: datetime,
) -> None:
    """Write rows of events that no poll causes, unless they exist already.

    `deliveries` is called while no poll of the source can be written, so its result is still true at the commit.
    """
    s = sources.c
    with writing(engine) as connection:
        connection.execute(sa.update(sources).where(s.id == source_id).values(newest_seq=s.newest_seq))
        rows = [asdict(each) | _same(source_id, created_at) for each in deliveries(connection)]
        insert_if_new(connection, webhook_deliveries, rows)


def _same(source_id: int, created_at: datetime) -> dict[str, Any]:
    """The values that rows share that are queued together."""
    return {"source_id": source_id, "created_at": created_at, "attempts": 0}


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to deliver what waits of one source for one receiver, for CLAIM_SECONDS."""

    source_id: int
    receiver: str
    owner: str
    failures: int
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """One event that waits."""

    seq: int
    ordinal: int
    event: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """The result of a claim: the events that were delivered, and what happened to the next one."""

    taken: Sequence[Waiting] = ()
    refused: Waiting | None = None
    why: str | None = None
    is_given_up: bool = False
    next_try_at: datetime | None = None


def _is_free() -> sa.ColumnElement[bool]:
    """True if nobody has the queue, the claim has expired, or its end is impossibly late."""
    ends = webhook_queues.c.claimed_until
    return ends.is_(None) | (ends <= database_time()) | (ends > database_time(2 * CLAIM_SECONDS))


def due(engine: sa.Engine, receiver: str, now: datetime) -> list[tuple[int, str]]:
    """Sources (id, name) with events that wait for a receiver and may be tried now."""
    d, q = webhook_deliveries.c, webhook_queues.c
    waiting = sa.select(d.source_id).where(d.receiver == receiver, IS_WAITING).distinct().subquery()
    query = (
        sa.select(waiting.c.source_id, sources.c.name, q.claimed_by, _is_free().label("is_free"))
        .join(sources, sources.c.id == waiting.c.source_id)
        .outerjoin(webhook_queues, (q.source_id == waiting.c.source_id) & (q.receiver == receiver))
        .where(q.next_try_at.is_(None) | (q.next_try_at <= now) | (q.next_try_at > now + LONGEST_PAUSE))
        .order_by(waiting.c.source_id)
    )
    with reading(engine) as connection:
        found = connection.execute(query).all()
    return [(row.source_id, row.name) for row in found if row.is_free or _is_dead(row.claimed_by)]


def claim(engine: sa.Engine, receiver: str, source_id: int, owner: str) -> Claim | None:
    """Claim a source's queue for a receiver; None if somebody has it who may still be alive."""
    with writing(engine) as connection:
        row = connection.execute(_take(receiver, source_id, owner)).one_or_none()
        if row is None:
            new = {"source_id": source_id, "receiver": receiver, "failures": 0}
            insert_if_new(connection, webhook_queues, [new])
            q = webhook_queues.c
            holder = sa.select(q.claimed_by).where(q.source_id == source_id, q.receiver == receiver)
            held_by = connection.scalar(holder)
            if held_by is None or _is_dead(held_by):
                row = connection.execute(_take(receiver, source_id, owner, held_by)).one_or_none()
    return None if row is None else Claim(source_id, receiver, owner, row.failures, row.failing_since)


def _is_dead(claimed_by: str) -> bool:
    """True if the claiming process is known to have exited: its claim need not expire first."""
    return is_dead(claimed_by.partition("/")[0])


def _take(receiver: str, source_id: int, owner: str, instead_of: str | None = None) -> sa.Update:
    q = webhook_queues.c
    free = _is_free()
    if instead_of is not None:
        free |= q.claimed_by == instead_of
    return (
        sa.update(webhook_queues)
        .where(q.source_id == source_id, q.receiver == receiver, free)
        .values(claimed_by=owner, claimed_until=database_time(CLAIM_SECONDS))
        .returning(q.failures, q.failing_since)
    )


def first_waiting(engine: sa.Engine, claimed: Claim, limit: int) -> list[Waiting]:
    """The events that wait, in order, at most `limit`."""
    d = webhook_deliveries.c
    query = (
        sa.select(d.seq, d.ordinal, d.event, d.created_at)
        .where(d.source_id == claimed.source_id, d.receiver == claimed.receiver, IS_WAITING)
        .order_by(d.seq, d.ordinal)
        .limit(limit)
    )
    with reading(engine) as connection:
        return [Waiting(*row) for row in connection.execute(query)]


def settle(engine: sa.Engine, claimed: Claim, told: Told, now: datetime) -> bool:
    """Write the result of a claim, and release it.

    Returns False, with nothing written, if the claim expired and another process has taken the queue. That process
    then delivers the same events again.
    """
    d, q = webhook_deliveries.c, webhook_queues.c
    failures = 0 if told.taken else claimed.failures
    since = None if told.taken else claimed.failing_since
    if told.refused is not None:
        failures, since = failures + 1, min(since or now, now)
    given_back = (
        sa.update(webhook_queues)
        .where(
            q.source_id == claimed.source_id, q.receiver == claimed.receiver, q.claimed_by == claimed.owner
        )
        .values(
            failures=failures,
            failing_since=since,
            next_try_at=told.next_try_at,
            claimed_by=None,
            claimed_until=None,
        )
    )
    keys: dict[str, Any] = {"key_source": claimed.source_id, "key_receiver": claimed.receiver}
    it = (
        d.source_id == sa.bindparam("key_source"),
        d.receiver == sa.bindparam("key_receiver"),
        d.seq == sa.bindparam("key_seq"),
        d.ordinal == sa.bindparam("key_ordinal"),
    )
    tried = sa.update(webhook_deliveries).where(*it)
    with writing(engine) as connection:
        if connection.execute(given_back).rowcount != 1:
            return False
        if told.taken:
            rows = [keys | {"key_seq": each.seq, "key_ordinal": each.ordinal} for each in told.taken]
            values = {"attempts": d.attempts + 1, "delivered_at": now, "last_error": None}
            connection.execute(tried.values(values), rows)
        if told.refused is not None:
            row = keys | {"key_seq": told.refused.seq, "key_ordinal": told.refused.ordinal}
            connection.execute(
                tried.values(
                    attempts=d.attempts + 1,
                    last_error=told.why,
                    given_up_at=now if told.is_given_up else None,
                ),
                [row],
            )
    return True


def retry(
    engine: sa.Engine, receiver: str | None, source_id: int | None = None, seq: int | None = None
) -> int:
    """Let dead letters wait again, and let everything that waits be tried at once. Returns the number of dead
    letters.
    """
    d, q = webhook_deliveries.c, webhook_queues.c
    dead = sa.update(webhook_deliveries).where(IS_DEAD)
    queues = sa.update(webhook_queues)
    for value, of_delivery, of_queue in (
        (receiver, d.receiver, q.receiver),
        (source_id, d.source_id, q.source_id),
        (seq, d.seq, None),
    ):
        if value is not None:
            dead = dead.where(of_delivery == value)
            queues = queues if of_queue is None else queues.where(of_queue == value)
    with writing(engine) as connection:
        connection.execute(queues.values(failures=0, failing_since=None, next_try_at=None))
        return connection.execute(dead.values(given_up_at=None)).rowcount


def prune(engine: sa.Engine, before: datetime, known: Collection[str]) -> int:
    """Delete events that were delivered or given up before a time, and unknown receivers with no events left.

    Returns the number of deleted events.
    """
    d, q = webhook_deliveries.c, webhook_queues.c
    ended = (
        d.delivered_at.is_not(None) & (d.delivered_at < before),
        d.given_up_at.is_not(None) & (d.given_up_at < before),
    )
    has_any = sa.exists().where(d.source_id == q.source_id, d.receiver == q.receiver)
    unknown = sa.delete(webhook_queues).where(q.receiver.not_in(list(known)), ~has_any)
    with writing(engine) as connection:
        forgotten = sum(
            connection.execute(sa.delete(webhook_deliveries).where(each)).rowcount for each in ended
        )
        connection.execute(unknown)
        return forgotten


def give_up_old(engine: sa.Engine, known: Collection[str], before: datetime, why: str, now: datetime) -> int:
    """Give up events that have waited since before a time for receivers other than those known.

    Returns the number of events.
    """
    d = webhook_deliveries.c
    old = sa.update(webhook_deliveries).where(
        IS_WAITING, d.created_at < before, d.receiver.not_in(list(known))
    )
    with writing(engine) as connection:
        return connection.execute(old.values(given_up_at=now, last_error=why)).rowcount


SET_ASIDE = "it waited when this backup was made and may have been delivered since; `collector webhooks retry` sends it"


def set_aside(engine: sa.Engine, now: datetime) -> int:
    """Give up everything that waits in a backup: the original goes on delivering, and nothing should arrive twice.

    Returns the number of events.
    """
    waiting = sa.update(webhook_deliveries).where(IS_WAITING)
    with reading(engine) as connection:
        if not sa.inspect(connection).has_table(webhook_queues.name):
            return 0  # a database of an older version
        if connection.scalar(sa.select(sa.func.count()).where(IS_WAITING)) == 0:
            return 0
    with writing(engine) as connection:
        connection.execute(
            sa.update(webhook_queues).values(
                failures=0, failing_since=None, next_try_at=None, claimed_by=None, claimed_until=None
            )
        )
        return connection.execute(waiting.values(given_up_at=now, last_error=SET_ASIDE)).rowcount
