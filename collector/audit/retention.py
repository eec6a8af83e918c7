"""Keeping a bounded history: what is to be pruned is verified first, since nobody can do so afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from collector.audit.verify import verify
from collector.database.transactions import reading
from collector.errors import IntegrityError
from collector.store import pruning
from collector.store.pruning import Pruned
from collector.store.rederive import Progress
from collector.store.sources import source_names

LEAST = timedelta(days=1)
"""A history is not pruned for less."""
SHARE = 20
"""Nor for less than this part of what is kept: each time all of it is verified."""


def prune(
    engine: sa.Engine,
    source: str,
    moment: datetime,
    *,
    made_at: datetime,
    made_by: str,
    progress: Progress | None = None,
) -> Pruned:
    """Verify the history of a source, and prune what questions about times from `moment` on do not need.

    Raises IntegrityError where the history is not good: what shows that must not go. Else as `pruning.prune`.
    """
    with reading(engine) as connection:
        foreseen = pruning.foreseen(connection, source, moment)
    if not foreseen.observations:
        return foreseen
    verdict = verify(engine, source).verdict
    if verdict != "good":
        raise IntegrityError(
            f"the history of source {source!r} is {verdict}, so nothing was pruned: `collector audit verify` says "
            "what is wrong"
        )
    return pruning.prune(engine, source, moment, made_at=made_at, made_by=made_by, progress=progress)


def due(engine: sa.Engine, keep: timedelta, now: datetime) -> list[str]:
    """Names of the sources that have so much more than is to be kept that it is worth a prune."""
    spare = max(keep / SHARE, LEAST)
    with reading(engine) as connection:
        return [
            name
            for name in source_names(connection)
            if pruning.foreseen(connection, name, now - keep - spare).observations
        ]
