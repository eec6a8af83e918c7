"""Makes anchors, one at a time for each source.

    claim    a number, in a transaction: the row says `pending`, so that nobody else anchors this source meanwhile
    sign     if there is a key
    send     without a transaction: polls go on
    settle   store the result

A process that dies in between leaves a `pending` row; the next one to anchor records that it failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from collector.anchors import Anchor
from collector.audit.anchoring.places import PlaceError, Receipt, hand_out
from collector.audit.anchoring.signing import Signer
from collector.clock import Clock, utc_now
from collector.database.transactions import reading, writing
from collector.errors import SettingsError
from collector.inventory import chain, statement
from collector.store.tables import anchors, observations, sources

PENDING = timedelta(minutes=2)
"""Longer than any place takes. If an anchor is still pending after this, its process is gone."""
INTERRUPTED = "the process that made it ended before it knew the result"
_a, _o, _s = anchors.c, observations.c, sources.c


@dataclass(frozen=True, slots=True)
class Made:
    """One anchor that was made."""

    source: str
    target: str
    number: int
    seq: int
    polls: int
    value: str
    outcome: Literal["anchored", "failed"]
    error: str | None = None
    attested_at: datetime | None = None


def make(
    engine: sa.Engine, source: str, anchor: Anchor, signer: Signer | None = None, clock: Clock = utc_now
) -> Made | None:
    """Anchor the newest observation of a source in its current form.

    None: nothing was observed yet, or another process is anchoring this source. Raises DatabaseError.
    """
    row = _claim(engine, source, anchor, signer, clock())
    if row is None:
        return None
    error: str | None = None
    receipt = Receipt()
    try:
        receipt = hand_out(anchor, row)
    except (PlaceError, SettingsError) as problem:
        error = str(problem)
    said = {
        "outcome": "failed" if error else "anchored",
        "answered_at": max(clock(), row["made_at"]),
        "attested_at": receipt.attested_at,
        "token": receipt.token,
        "error": error,
    }
    with writing(engine) as connection:
        _settle(connection, row, said)
    return Made(
        source=source,
        target=anchor.name,
        number=row["number"],
        seq=row["seq"],
        polls=row["polls"],
        value=row["value"],
        outcome="failed" if error else "anchored",
        error=error,
        attested_at=receipt.attested_at,
    )


def _claim(
    engine: sa.Engine, source: str, anchor: Anchor, signer: Signer | None, now: datetime
) -> dict[str, Any] | None:
    try:
        with writing(engine) as connection:
            newest = connection.execute(
                sa.select(observations)
                .join(sources, (_o.source_id == _s.id) & (_o.seq == _s.newest_seq))
                .where(_s.name == source)
            ).one_or_none()
            if newest is None:
                return None
            before = connection.execute(
                sa.select(anchors).where(_a.source_id == newest.source_id).order_by(_a.number.desc()).limit(1)
            ).one_or_none()
            previous = chain.GENESIS
            if before is not None:
                previous = before.digest
                if before.outcome == "pending":
                    if now - before.made_at < PENDING:
                        return None
                    gone = {"outcome": "failed", "answered_at": now, "error": INTERRUPTED}
                    previous = _settle(
                        connection, before._mapping, gone | {"attested_at": None, "token": None}
                    )
            row = {
                "source_id": newest.source_id,
                "number": before.number + 1 if before is not None else 1,
                "target": anchor.name,
                "kind": anchor.kind,
                "made_at": now,
                "seq": newest.seq,
                "head": newest.opening_digest,
                **{name: getattr(newest, name) for name in chain.CLOSING},
                "previous_digest": previous,
            }
            stated = row | {"source": source}
            row["value"] = statement.value_of(stated)
            row["signed_by"] = signer.signed_by if signer else None
            row["signature"] = signer.sign(statement.statement(stated)) if signer else None
            connection.execute(sa.insert(anchors), row | {"outcome": "pending"})
            return row | {"source": source}
    except sa.exc.IntegrityError:
        return None  # another process took the number


def _settle(connection: sa.Connection, row: Mapping[Any, Any], said: Mapping[str, Any]) -> str:
    """Store the result of an anchor. Returns its digest."""
    digest = statement.result_digest({**row, **said})
    connection.execute(
        sa.update(anchors)
        .where(_a.source_id == row["source_id"], _a.number == row["number"], _a.outcome == "pending")
        .values(digest=digest, **said)
    )
    return digest


@dataclass(frozen=True, slots=True)
class Last:
    """The newest anchor of a source that a place accepted."""

    seq: int
    polls: int
    made_at: datetime | None
    """None: it has accepted none yet."""
    failed_at: datetime | None = None
    """When it last refused one, if that was later."""


def last_anchored(engine: sa.Engine, source: str, target: str) -> Last:
    """The newest anchor that a place has of a source."""
    query = (
        sa.select(_a.seq, _a.polls, _a.made_at, _a.outcome)
        .join(sources, _s.id == _a.source_id)
        .where(_s.name == source, _a.target == target)
        .order_by(_a.number.desc())
        .limit(1)
    )
    with reading(engine) as connection:
        newest = connection.execute(query).one_or_none()
        taken = connection.execute(query.where(_a.outcome == "anchored")).one_or_none()
    failed_at = newest.made_at if newest is not None and newest.outcome == "failed" else None
    return Last(taken.seq, taken.polls, taken.made_at, failed_at) if taken else Last(0, 0, None, failed_at)


def newest(engine: sa.Engine, source: str) -> tuple[int, int] | None:
    """Number and polls of the newest observation of a source."""
    query = (
        sa.select(_o.seq, _o.polls)
        .join(sources, (_o.source_id == _s.id) & (_o.seq == _s.newest_seq))
        .where(_s.name == source)
    )
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else (row.seq, row.polls)


def is_due(
    last: Last, newest_now: tuple[int, int] | None, now: datetime, every: timedelta, pause: timedelta
) -> bool:
    """True if there is something to anchor.

    That is a new observation, if the last anchor is old enough; or more polls of the same one, at most once in
    `every`. A place that failed is not asked again too soon either.
    """
    if newest_now is None or (last.failed_at is not None and timedelta(0) <= now - last.failed_at < pause):
        return False
    if last.made_at is None:
        return True
    age = now - last.made_at
    if age < timedelta(0):
        return True  # a clock was set back
    return (newest_now[0] > last.seq and age >= pause) or (
        newest_now > (last.seq, last.polls) and age >= every
    )
