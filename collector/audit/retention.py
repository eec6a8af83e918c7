"""Keeping a bounded history, without secrets.

A history is verified before anything is taken out of it. Otherwise the traces of an alteration could go, or an altered
answer could be sealed by the digest of a redaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from collector.audit.anchoring.outside import Outside
from collector.audit.verify import NOTHING, verify
from collector.database.transactions import reading
from collector.errors import IntegrityError
from collector.gcore.paths import Path
from collector.store import pruning, redacting
from collector.store.pruning import Pruned
from collector.store.redacting import Redacted
from collector.store.rederive import Progress
from collector.store.sources import source_names

LEAST = timedelta(days=1)
"""A history is not pruned for less than this."""
SHARE = 20
"""Nor for less than this part of what is kept, because each prune verifies all of it."""


def prune(
    engine: sa.Engine,
    source: str,
    moment: datetime,
    *,
    made_at: datetime,
    made_by: str,
    outside: Outside = NOTHING,
    progress: Progress | None = None,
) -> Pruned:
    """Verify the history of a source, and prune everything that questions about times from `moment` on don't need.

    `outside`: what its anchors are compared with. Raises IntegrityError if the history is not good, otherwise as
    `pruning.prune`.
    """
    with reading(engine) as connection:
        foreseen = pruning.foreseen(connection, source, moment)
    if not foreseen.observations:
        return foreseen
    _require_good(engine, source, outside, "pruned")
    return pruning.prune(engine, source, moment, made_at=made_at, made_by=made_by, progress=progress)


def redact(
    engine: sa.Engine,
    source: str,
    path: Path,
    *,
    made_at: datetime,
    made_by: str,
    future: bool = False,
    outside: Outside = NOTHING,
    progress: Progress | None = None,
) -> Redacted:
    """Verify the history of a source, and redact a path in it; with `future`, even if nothing has a value there.

    `outside`: what its anchors are compared with. Raises IntegrityError if the history is not good, otherwise as
    `redacting.redact`.
    """
    _require_good(engine, source, outside, "redacted")
    return redacting.redact(
        engine, source, path, made_at=made_at, made_by=made_by, future=future, progress=progress
    )


def _require_good(engine: sa.Engine, source: str, outside: Outside, done: str) -> None:
    verdict = verify(engine, source, outside=outside).verdict
    if verdict != "good":
        raise IntegrityError(
            f"the history of source {source!r} is {verdict}, so nothing was {done}: `collector audit verify` says "
            "what is wrong. `collector db rebuild` repairs derived tables, and only a backup repairs evidence"
        )


def due(engine: sa.Engine, keep: timedelta, now: datetime) -> list[str]:
    """Names of the sources that have enough old history to be worth a prune."""
    spare = max(keep / SHARE, LEAST)
    with reading(engine) as connection:
        return [
            name
            for name in source_names(connection)
            if pruning.foreseen(connection, name, now - keep - spare).observations
        ]
