"""Reports over a long history on SQLite, in seconds of CPU."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import sqlalchemy as sa

from collector.clock import utc_now
from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports.availability import availability
from collector.reports.spans import SpanFilter
from collector.reports.timeline.picture import picture
from collector.reports.timeline.svg import draw
from tests.support.large import fill

SHAPE: dict[str, int] = {"regions": 1000, "transitions": 100, "observations": 20_000, "gap_every": 100}


def reports(folder: Path, *, quick: bool) -> dict[str, Any]:
    shape = {"regions": 20, "transitions": 10, "observations": 100, "gap_every": 10} if quick else SHAPE
    url = f"sqlite:///{folder / 'reports.db'}"
    engine = open_engine(url)
    migrate.upgrade(engine)
    # It ends now: views count an open gap up to now.
    minutes = shape["observations"] + shape["observations"] // shape["gap_every"] * 60
    now = utc_now()
    fill(engine, **shape, start=f"{now - timedelta(minutes=minutes):%Y-%m-%d %H:%M:%S}")
    engine.dispose()
    questions: dict[str, Callable[[sa.Connection], object]] = {
        "availability": lambda connection: availability(connection, now=now, zone=UTC),
        "timeline": lambda connection: draw(picture(connection, SpanFilter(), now, 1200.0)),
        "daily states": lambda connection: connection.exec_driver_sql(
            "SELECT * FROM daily_region_states"
        ).all(),
    }
    rows = []
    for name, ask in questions.items():
        engine = open_engine(url, read_only=True)
        with reading(engine) as connection:
            cpu, wall = process_time(), perf_counter()
            ask(connection)
            rows.append({"report": name, "cpu": process_time() - cpu, "wall": perf_counter() - wall})
        engine.dispose()
    return {"shape": shape, "rows": rows}
