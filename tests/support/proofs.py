"""Proofs for tests that want a row in every table; and digests, as a forger computes them."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import sqlalchemy as sa

from collector.anchors import Anchor
from collector.audit.anchoring.record import make
from collector.database.transactions import writing
from collector.inventory import chain
from collector.store.tables import observations, observers, verifications
from tests.support.history import NOON


def prove(engine: sa.Engine, source: str = "gcore", source_id: int = 1) -> None:
    """Anchor a source in a file, and record that it was verified."""
    with TemporaryDirectory() as folder:
        make(engine, source, Anchor(name="disk", to=f"file:{folder}/heads"), clock=lambda: NOON)  # type: ignore[arg-type]
    row = {
        "source_id": source_id,
        "started_at": NOON,
        "finished_at": NOON,
        "verdict": "good",
        "seq": 1,
        "findings": 0,
        "collector_version": "1",
    }
    with writing(engine) as connection:
        connection.execute(sa.insert(verifications), row)


def reseal(connection: sa.Connection, since: int = 1, until: int | None = None) -> None:
    """Compute the digests of the observations of source 1 again, as somebody who knows this code can."""
    o, who = observations.c, observers.c
    query = sa.select(observations).where(o.source_id == 1, o.seq >= since).order_by(o.seq)
    rows = connection.execute(query).mappings().all()
    previous = rows[0]["previous_digest"]
    for row in rows:
        if until is not None and row["seq"] > until:
            break
        looked = sa.select(observers).where(who.source_id == 1, who.id == row["observer_id"])
        new = dict(row) | {"previous_digest": previous}
        new["opening_digest"] = chain.opening_digest(
            "gcore", new, dict(connection.execute(looked).mappings().one())
        )
        previous = chain.closing_digest(new)
        new["digest"] = None if row is rows[-1] else previous
        digests = {name: new[name] for name in ("previous_digest", "opening_digest", "digest")}
        connection.execute(
            sa.update(observations).where(o.source_id == 1, o.seq == row["seq"]).values(digests)
        )
