"""Results of verifications that are kept: by the command, beside the polls, in metrics, pages and the API."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector.audit.results import KEPT, is_due, record
from collector.audit.verify import verify
from collector.database.engine import open_engine
from collector.database.transactions import reading, writing
from collector.reports.anchored import anchors, places, proven
from collector.reports.figures import figures
from collector.service.verifying import Verifying, command_of
from collector.store.tables import state_transitions
from collector.web.metrics import of_database
from tests.support.builders import region
from tests.support.command import collector
from tests.support.history import History
from tests.support.services import until


@pytest.fixture
def url(sqlite_url: str) -> str:
    engine = open_engine(sqlite_url)
    history = History(engine)
    history.poll([region(1)])
    history.poll([region(1, "MAINTENANCE")])
    history.restart()
    engine.dispose()
    return sqlite_url


def altered(url: str) -> None:
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.execute(
            sa.update(state_transitions).where(sa.text("seq = 2")).values(to_state="ACTIVE\x1b")
        )
    engine.dispose()


def test_a_result_is_kept_only_where_it_is_asked_for(url: str) -> None:
    assert collector("audit", "verify", database_url=url).code == 0
    engine = open_engine(url)
    assert History(engine).rows("verifications") == []
    assert collector("audit", "verify", "--record", database_url=url).code == 0
    altered(url)
    assert collector("audit", "verify", "--record", "--head", "0" * 64, database_url=url).code == 1
    good, bad = History(engine).rows("verifications")
    assert isinstance(good["finished_at"], datetime)
    assert (good["verdict"], good["findings"], good["seq"], good["first_finding"]) == ("good", 0, 2, None)
    assert (bad["verdict"], bad["findings"]) == ("altered", 2)
    assert bad["first_finding"].startswith("state_transitions (")
    assert "\x1b" not in bad["first_finding"]
    with reading(engine) as connection:
        found = proven(connection)["gcore"]
        sheet = {
            (sample.name, *sample.labels.values()): sample.value
            for family in of_database(figures(connection, History.time(0))).families()
            for sample in family.samples
        }
    engine.dispose()
    assert (found.verified, found.verified_seq, found.first_finding) == ("altered", 2, bad["first_finding"])
    prefix = "gcore_collector_verification"
    assert sheet[f"{prefix}_verdict", "gcore", "altered"] == 1
    assert sheet[f"{prefix}_verdict", "gcore", "good"] == 0
    assert sheet[f"{prefix}_timestamp_seconds", "gcore"] == bad["finished_at"].timestamp()


def test_metrics_and_reports_show_what_anchors_have(url: str, tmp_path: Path) -> None:
    why = "No such file or directory"
    where = f"file:{tmp_path}/heads file:{tmp_path}/missing/heads"
    said = collector("audit", "anchor", database_url=url, anchor=where)
    assert (said.code, said.err) == (3, f"gcore: not anchored at file-2 ({tmp_path}/missing/heads): {why}\n")
    assert said.out.startswith("gcore: anchor 1 at file, observation 2, value ")
    assert collector("audit", "anchor", database_url=url, anchor=where, anchor_mode="required").code == 1
    engine = open_engine(url)
    with reading(engine) as connection:
        rows = anchors(connection)
        good, bad = places(connection)
        sheet = {
            (sample.name, *sample.labels.values()): sample.value
            for family in of_database(figures(connection, History.time(0))).families()
            for sample in family.samples
        }
        found = proven(connection)["gcore"]
    engine.dispose()
    assert [(r["number"], r["target"], r["outcome"], r["from_seq"], r["to_seq"]) for r in rows] == [
        (4, "file-2", "failed", 1, 2),
        (3, "file", "anchored", 2, 2),
        (2, "file-2", "failed", 1, 2),
        (1, "file", "anchored", 1, 2),
    ]
    assert (good.seq, good.failed, bad.seq, bad.failed) == (2, 0, None, 2)
    assert (found.anchored_seq, found.not_anchored) == (2, "file-2: No such file or directory")
    assert sheet["gcore_collector_anchors_failed_total", "gcore", "file-2"] == 2
    assert sheet["gcore_collector_anchor_failing", "gcore", "file-2"] == 1
    assert sheet["gcore_collector_anchor_failing", "gcore", "file"] == 0
    assert ("gcore_collector_anchor_timestamp_seconds", "gcore", "file-2") not in sheet


def test_verify_needs_no_head_where_an_anchor_proves_it(url: str, tmp_path: Path) -> None:
    settings = {"database_url": url, "anchor": f"file:{tmp_path}/heads", "anchor_mode": "required"}
    before = collector("audit", "verify", **settings)
    assert before.code == 3
    assert "the required anchor file proves nothing about it" in before.out
    assert "anchor file: " in before.out, "its file is not there yet"
    assert collector("audit", "anchor", **settings).code == 0
    said = collector("audit", "verify", **settings)
    assert said.code == 0
    assert (
        "anchor file: 1 accepted; number 1 covers observations 1 to 2, up to 2026-05-01 12:02:00Z" in said.out
    )
    assert "it was found outside the database" in said.out
    assert "no --head was given" not in said.out
    checked = collector("audit", "verify", "--format", "json", **settings).json
    assert checked["sources"][0]["anchored"][0]["proof"] == "outside"


def test_heads_are_signed_where_there_is_a_key(url: str, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    plain = collector("audit", "head", database_url=url).out.split("\t")
    signed = collector("audit", "head", database_url=url, signing_key_file=str(key)).out.split("\t")
    assert (len(plain), len(signed), signed[:3]) == (4, 6, plain[:3])
    (row,) = collector("audit", "head", "--format", "json", database_url=url, signing_key_file=str(key)).json
    assert (row["signed_by"], row["signature"]) == (signed[4], signed[5].strip())
    key.write_text("no key")
    collector("audit", "head", database_url=url, signing_key_file=str(key)).refused(2, "holds no private key")


def test_old_results_go(sqlite_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(sqlite_engine)
    history.poll([region(1)])
    assert KEPT > 1
    monkeypatch.setattr("collector.audit.results.KEPT", 3)
    found = [verify(sqlite_engine, "gcore")]
    for hour in range(6):
        record(sqlite_engine, found, [], [], history.time(3600 * hour), history.time(3600 * hour + 1))
    kept = [row["started_at"] for row in history.rows("verifications")]
    assert kept == [history.time(3600 * hour) for hour in (3, 4, 5)]


def test_a_source_is_verified_when_its_last_result_is_too_old(sqlite_engine: sa.Engine) -> None:
    history = History(sqlite_engine)

    def due(at: float) -> bool:
        with reading(sqlite_engine) as connection:
            return is_due(connection, history.time(at), 3600)

    assert not due(0), "nothing was observed"
    history.poll([region(1)])
    assert due(0)
    record(sqlite_engine, [verify(sqlite_engine, "gcore")], [], [], history.time(0), history.time(10))
    assert (due(3609), due(3610), due(5)) == (False, True, True)


@pytest.mark.long
def test_the_service_verifies_in_a_process_of_its_own(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTOR_DATABASE_URL", url)
    engine = open_engine(url)
    verifying = Verifying(engine, timedelta(hours=1), command_of(None), round_seconds=0.05)
    verifying.start()
    until(lambda: bool(History(engine).rows("verifications")))
    verifying.stop()
    assert History(engine).row("verifications")["verdict"] == "good"
    engine.dispose()


@pytest.mark.long
def test_a_verification_ends_with_the_service(url: str) -> None:
    engine = open_engine(url)
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    verifying = Verifying(engine, timedelta(hours=1), command, round_seconds=0.05)
    verifying.start()
    until(lambda: verifying._process is not None)
    process = verifying._process
    assert process is not None
    verifying.stop()
    assert process.wait(5) != 0
    engine.dispose()
