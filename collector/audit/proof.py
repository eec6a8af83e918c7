"""An observation and its answer: the evidence for a statement."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from collector.errors import UsageError
from collector.reports.filters import Row
from collector.store.tables import observations, observers, sources


@dataclass(frozen=True, slots=True)
class Evidence:
    """An observation and its answer."""

    facts: Row
    address: str | None
    source_id: int


def observation(connection: sa.Connection, seq: int, source: str | None) -> Evidence:
    """One observation with its observer.

    Raises UsageError if it does not exist, or if several sources have this number and none was named.
    """
    query = (
        sa.select(
            sources.c.name.label("source"),
            observations,
            observers.c.key_fingerprint,
            observers.c.base_url,
            observers.c.auth_scheme,
        )
        .join(sources, sources.c.id == observations.c.source_id)
        .join(
            observers,
            (observers.c.source_id == observations.c.source_id)
            & (observers.c.id == observations.c.observer_id),
        )
        .where(observations.c.seq == seq)
    )
    rows = connection.execute(query.where(sources.c.name == source) if source else query).mappings().all()
    if not rows:
        numbers = sa.select(sa.func.max(sources.c.newest_seq))
        newest = connection.scalar(numbers.where(sources.c.name == source) if source else numbers)
        of = f" of source {source!r}" if source else ""
        raise UsageError(f"there is no observation {seq}{of}; the newest is {newest or 0}")
    if len(rows) > 1:
        names = ", ".join(sorted(row["source"] for row in rows))
        raise UsageError(f"several sources have an observation {seq}; add --source with one of: {names}")
    facts = dict(rows[0])
    source_id, address = facts.pop("source_id"), facts["payload"]
    del facts["observer_id"]
    return Evidence(facts, address, source_id)
