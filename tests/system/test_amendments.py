"""Prunes and redactions of a whole installation: killed in the middle, anchored, backed up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.anchors import Anchor
from collector.audit import retention
from collector.audit.anchoring.outside import outside_of
from collector.audit.anchoring.record import make
from collector.audit.verify import Verification, verify
from collector.database.backup import backup
from collector.database.engine import open_engine
from collector.database.transactions import writing
from collector.gcore import paths
from tests.support import forks
from tests.support.builders import keystone, region
from tests.support.history import History, failure
from tests.support.killed_amendments import PLACE
from tests.support.paths import ROOT

SECRET = "hunter2hunter2"


def lived(history: History) -> None:
    """Half an hour of answers that all differ and hold a secret, and of polls that fail."""
    for number in range(15):
        extra = {"notes": f"{SECRET}{number}"}
        shown = region(
            1, "ACTIVE" if number % 2 else "NEW", keystone_id=101, keystone=keystone(101, extra=extra)
        )
        history.poll([shown, *([region(2)] if number % 4 else [])])
        history.poll(failure(("connect", "timeout")[number % 2]))


@pytest.mark.long
@pytest.mark.parametrize(("what", "stride"), [("prune", 13), ("redact", 5)])
def test_a_kill_leaves_it_before_or_after(engine: sa.Engine, what: str, stride: int) -> None:
    history = History(engine)
    lived(history)
    history.restart()
    url = engine.url.render_as_string(hide_password=False)
    moment = history.time(1500).isoformat()
    command = [sys.executable, "-m", "tests.support.killed_amendments", url, what, moment, str(stride)]
    said = forks.Popen(command, stdout=subprocess.PIPE, cwd=ROOT).communicate(timeout=120)[0]
    *killed, last = [json.loads(line) for line in said.splitlines()]
    assert len(killed) > 4
    assert {each["ended"] for each in killed} == {-signal.SIGKILL}
    assert {(each["verdict"], each["differs"]) for each in (*killed, last)} == {("good", 0)}
    assert last["ended"] == 0
    assert last["amendments"], "those that were killed in later rounds left some too"
    lived(history)
    history.verify()


@pytest.mark.long
def test_a_history_pruned_twice_and_redacted_once_is_proven_by_its_anchors(
    engine: sa.Engine, tmp_path: Path
) -> None:
    anchor = Anchor(name="disk", to=f"file:{tmp_path}/heads")  # type: ignore[arg-type]
    history = History(engine)
    amendments: list[str | None] = []

    def anchored() -> None:
        lived(history)
        made = make(engine, "gcore", anchor)
        assert made is not None
        assert made.outcome == "anchored"

    def proven() -> Verification:
        found = verify(engine, "gcore", outside=outside_of([anchor]), heads=[d for d in amendments if d])
        assert (found.verdict, found.breaks) == ("good", ())
        assert len(found.heads) == len(amendments)
        assert found.proven_seq == found.newest_seq
        return found

    def how() -> Any:
        return {"made_at": history.time(history.at), "made_by": "a test", "outside": outside_of([anchor])}

    anchored()
    anchored()
    amendments.append(retention.prune(engine, "gcore", history.time(1200), **how()).digest)
    proven()
    anchored()
    amendments.append(retention.redact(engine, "gcore", paths.Path.parse(PLACE), **how()).digest)
    proven()
    anchored()
    amendments.append(retention.prune(engine, "gcore", history.time(4500), **how()).digest)
    anchored()
    found = proven()
    assert [each.kind for each in found.amendments] == ["prune", "redaction", "prune"]
    (place,) = found.anchored
    assert (place.anchored, place.proof) == (5, "outside")
    assert found.begins is not None
    assert found.begins.begins_at > history.time(4200)
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE anchors SET polls = polls + 1 WHERE number = 5"))
    assert verify(engine, "gcore").verdict == "altered"


@pytest.mark.long
def test_a_backup_of_a_pruned_and_redacted_history_goes_on(sqlite_engine: sa.Engine, tmp_path: Path) -> None:
    history = History(sqlite_engine)
    lived(history)
    how: Any = {"made_at": history.time(history.at), "made_by": "a test"}
    retention.prune(sqlite_engine, "gcore", history.time(1200), **how)
    retention.redact(sqlite_engine, "gcore", paths.Path.parse(PLACE), **how)
    head = history.rows("observations")[-1]["opening_digest"]
    history.restart()
    backup(sqlite_engine, tmp_path / "backup.db")
    restored = open_engine(f"sqlite:///{tmp_path / 'backup.db'}")
    later = History(restored)
    later.at = history.at
    found = verify(restored, "gcore", heads=[head])
    assert (found.verdict, len(found.heads)) == ("good", 1)
    lived(later)
    later.verify()
    assert later.rebuilt().different == 0
    retention.prune(restored, "gcore", later.time(later.at) - timedelta(minutes=10), **how)
    later.verify()
    assert SECRET.encode() not in (tmp_path / "backup.db").read_bytes()
    restored.dispose()
