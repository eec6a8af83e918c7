"""Anchoring beside the polls: it keeps none waiting, and asks a place that is away again later."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from collector.anchors import Anchor
from collector.audit.anchoring.record import make
from collector.service import anchoring
from collector.service.anchoring import Anchoring
from tests.support import loopback
from tests.support.builders import region
from tests.support.history import History
from tests.support.services import until


def test_a_new_observation_is_anchored_and_a_place_that_hangs_keeps_no_poll_waiting(
    sqlite_engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchoring, "ROUND_SECONDS", 0.02)
    monkeypatch.setattr("collector.audit.anchoring.places.SECONDS", 0.3)
    history = History(sqlite_engine)
    disk = Anchor(name="disk", to=f"file:{tmp_path}/heads")  # type: ignore[arg-type]
    with loopback.Server(loopback.hang) as server:
        hook = Anchor(name="hook", to=server.url, mode="required")  # type: ignore[arg-type]
        companion = Anchoring(sqlite_engine, (hook, disk), None, timedelta(hours=6), timedelta(0))
        companion.start()
        for state in ("NEW", "ACTIVE", "MAINTENANCE"):
            companion.hear(history.poll([region(1, state)]))
        until(lambda: history.rows("anchors", target="disk", outcome="anchored", seq=3), 10)
        companion.stop()
    tried = history.rows("anchors", target="hook")
    assert [row["outcome"] for row in tried] == ["failed"], "it is asked again after a minute"
    assert tried[0]["error"].startswith("no answer: ")
    history.verify()


def test_a_place_is_asked_again_after_twice_as_long_each_time_up_to_an_hour() -> None:
    place = anchoring._Place(Anchor(to="syslog:"))  # type: ignore[arg-type]
    pauses = []
    for _ in range(9):
        place.wait(1000.0)
        pauses.append(place.not_before - 1000.0)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    told: list[bool] = []
    place.works(lambda: told.append(True))
    place.works(lambda: told.append(True))
    assert (told, place.not_before) == ([True], 0.0)


def test_a_source_that_can_not_be_anchored_stops_no_other(
    sqlite_engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(engine: sa.Engine, source: str, *arguments: Any) -> Any:
        if source == "broken":
            raise RuntimeError("a bug")
        return make(engine, source, *arguments)

    monkeypatch.setattr(anchoring, "make", broken)
    monkeypatch.setattr(anchoring, "ROUND_SECONDS", 0.02)
    disk = Anchor(name="disk", to=f"file:{tmp_path}/heads")  # type: ignore[arg-type]
    histories = [History(sqlite_engine, name) for name in ("broken", "good")]
    with capture_logs() as lines:
        companion = Anchoring(sqlite_engine, (disk,), None, timedelta(hours=6), timedelta(0))
        companion.start()
        for number, state in enumerate(("NEW", "ACTIVE"), start=1):
            for history in histories:
                companion.hear(history.poll([region(1, state)]))
            until(lambda seq=number: histories[1].rows("anchors", seq=seq, outcome="anchored"), 10)
        companion.stop()
    broke = [line["source"] for line in lines if line["event"] == "anchoring_broke"]
    assert broke == ["broken"], "it is left alone for an hour"
