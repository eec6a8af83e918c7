"""An anchor and a result of a verification, for tests that want a row in every table."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import sqlalchemy as sa

from collector.anchors import Anchor
from collector.audit.anchoring.record import make
from collector.database.transactions import writing
from collector.store.tables import verifications
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
