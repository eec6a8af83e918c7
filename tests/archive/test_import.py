"""`collector import`: answers that somebody saved, in real files and real git repositories, before the first poll."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from collector.archive import githistory
from collector.archive.filetimes import time_in_name
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.gcore.body import MAX_BODY
from collector.inventory.observation import Observer
from collector.simulator.scenario import story
from collector.store import lease, pruning
from collector.store.tables import DERIVED, metadata
from tests.support.builders import answer, body, region
from tests.support.command import Said, collector, environment
from tests.support.history import History, Row, failure
from tests.support.tools import tool

START = datetime(2025, 3, 1, tzinfo=UTC)
MARGIN = timedelta(minutes=1)
Json = Any


def save(folder: Path, name: str, said: Json, *, modified: datetime | None = None) -> Path:
    """A saved answer: a list of regions, a document, or bytes."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    document = answer(said) if isinstance(said, list) else said
    path.write_bytes(document if isinstance(document, bytes) else body(document))
    if modified is not None:
        os.utime(path, (modified.timestamp(), modified.timestamp()))
    return path


def save_hourly(folder: Path, *answers: Json, start: datetime = START) -> None:
    for number, said in enumerate(answers):
        save(folder, f"{start + timedelta(hours=number):%Y-%m-%dT%H%M%SZ}.json", said)


def rows(url: str, table: str, source: str = "gcore") -> list[Row]:
    """Rows of a table of one source, without its number."""
    engine = open_engine(url, read_only=True)
    t = metadata.tables[table]
    of_source = sa.select(metadata.tables["sources"].c.id).filter_by(name=source).scalar_subquery()
    query = sa.select(t).where(t.c.source_id == of_source).order_by(*t.primary_key.columns)
    with reading(engine) as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
    engine.dispose()
    return [{name: value for name, value in row.items() if name != "source_id"} for row in found]


def changes(url: str, source: str = "gcore") -> list[tuple[int, str, str | None, str | None, str]]:
    """Transitions of regions in the order in which they were seen."""
    found = [row for row in rows(url, "state_transitions", source) if row["entity"] == "region"]
    found.sort(key=lambda row: (row["seq"], row["entity_id"]))
    return [(r["entity_id"], r["kind"], r["from_state"], r["to_state"], r["basis"]) for r in found]


def line(said: Said, heading: str) -> str:
    """What the summary says under a heading; empty: nothing."""
    found = re.findall(rf"^  {heading} +(.*)$", said.out, re.MULTILINE)
    return found[0] if found else ""


def left_out(said: Said) -> dict[str, str]:
    """Names and reasons."""
    _, _, named = said.out.partition(" left out:\n")
    found = re.findall(r"^  ([^:\n]+): (.*)$", named, re.MULTILINE)
    return dict(found)


def is_sound(url: str, source: str = "gcore") -> None:
    """The evidence is whole, and everything else follows from it."""
    engine = open_engine(url)
    History(engine, name=source).verify()
    engine.dispose()


@pytest.fixture
def url(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> str:
    """A database, where it does not matter which."""
    path = tmp_path_factory.mktemp("any") / "any.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


# The same write path


def test_saved_answers_tell_the_same_history_as_polls(
    engine: sa.Engine, database_url: str, tmp_path: Path
) -> None:
    world, every = story(START), timedelta(hours=12)
    polled = History(engine, name="polled", interval=every)
    for number in range(40):
        at = START + every * number
        document = world.document(at)
        save(tmp_path, f"saved/{at:%Y/%m/%d/%H%M}00.json", document)
        seconds = (at + MARGIN - History.time(0)).total_seconds()
        polled.poll(document, at=seconds, took=2 * MARGIN.total_seconds())
    polled.restart()
    said = collector("import", str(tmp_path / "saved"), database_url=database_url, source="imported")
    assert said.code == 0, said
    assert line(said, "polls") == "expected every 12 h 00 min (the median of their distances): no gaps"
    for table in DERIVED:
        assert rows(database_url, table.name, "imported") == rows(database_url, table.name, "polled"), (
            table.name
        )
    assert len(changes(database_url, "imported")) > 25
    kept = {
        "seq",
        "outcome",
        "first_at",
        "last_at",
        "last_asked_at",
        "polls",
        "missing",
        "payload",
        "longest_interval_ms",
    }
    ours, theirs = (
        [{name: row[name] for name in kept} for row in rows(database_url, "observations", source)]
        for source in ("imported", "polled")
    )
    assert ours == theirs
    is_sound(database_url, "imported")
    assert History(engine, name="imported").rebuilt().different == 0


def test_the_first_own_poll_goes_on_and_says_that_another_looked_before(
    engine: sa.Engine, database_url: str, tmp_path: Path
) -> None:
    save_hourly(tmp_path, [region(1), region(2, "NEW")], [region(1), region(2)])
    assert collector("import", str(tmp_path), database_url=database_url).code == 0
    history = History(engine)
    history.poll([region(1, "MAINTENANCE"), region(2)])
    history.poll([region(1), region(2)])
    assert changes(database_url) == [
        (1, "appeared", None, "ACTIVE", "baseline"),
        (2, "appeared", None, "NEW", "baseline"),
        (2, "changed", "NEW", "ACTIVE", "direct"),
        (1, "changed", "ACTIVE", "MAINTENANCE", "observer_change"),
        (1, "changed", "MAINTENANCE", "ACTIVE", "direct"),
    ]
    who = [
        Observer(*(row[n] for n in ("key_fingerprint", "base_url", "auth_scheme")))
        for row in rows(database_url, "observers")
    ]
    assert [each.is_import for each in who] == [True, False]
    gaps = history.query("SELECT cause FROM coverage_gaps WHERE until_at IS NOT NULL")
    assert gaps == [{"cause": "no_polls"}], "from the newest saved answer to the first own poll"
    is_sound(database_url)


def test_after_an_own_poll_an_import_is_refused(history: History, database_url: str, tmp_path: Path) -> None:
    history.poll([region(1)])
    before = rows(database_url, "observations")
    history.restart()
    save_hourly(tmp_path, [region(1)])
    for dry in ([], ["--dry-run"]):
        said = collector("import", *dry, str(tmp_path), database_url=database_url)
        said.refused(2, "was polled already, first at 2026-05-01 12:01:00 UTC")
    assert rows(database_url, "observations") == before


@pytest.mark.parametrize("why", ["no answer", "no key"])
def test_a_poll_that_failed_is_an_own_poll_too(
    history: History, database_url: str, tmp_path: Path, why: str
) -> None:
    if why == "no key":
        history.change(api_key=None, auth_scheme="import")  # as like an import as a poll can be
    history.poll(failure())
    history.restart()
    save_hourly(tmp_path, [region(1)])
    collector("import", str(tmp_path), database_url=database_url).refused(2, "was polled already")


def test_an_import_from_another_platform_is_refused(url: str, tmp_path: Path) -> None:
    save_hourly(tmp_path / "a", [region(1)])
    save_hourly(tmp_path / "b", [region(1)], start=START + timedelta(days=1))
    assert collector("import", str(tmp_path / "a"), database_url=url).code == 0
    other = {"database_url": url, "base_url": "https://preprod.example"}
    for dry in ([], ["--dry-run"]):
        collector("import", *dry, str(tmp_path / "b"), **other).refused(2, "https://preprod.example")


def test_a_source_that_is_polled_now_is_left_alone(
    history: History, database_url: str, tmp_path: Path
) -> None:
    assert history.writer
    save_hourly(tmp_path, [region(1)])
    said = collector("import", "--wait", "0", str(tmp_path), database_url=database_url)
    said.refused(3, "is being polled by")
    assert rows(database_url, "observations") == []


def test_the_lease_is_given_back(database_url: str, tmp_path: Path) -> None:
    save_hourly(tmp_path, [region(1)])
    assert collector("import", str(tmp_path), database_url=database_url).code == 0
    engine = open_engine(database_url)
    lease.acquire(engine, "gcore", "another:1:x")
    engine.dispose()


# Dry run


def test_a_dry_run_makes_nothing(empty_database_url: str, tmp_path: Path) -> None:
    save_hourly(tmp_path / "saved", [region(1, "NEW")], [region(1)])
    before = sorted(tmp_path.rglob("*"))
    said = collector("import", "--dry-run", str(tmp_path / "saved"), database_url=empty_database_url)
    assert said.code == 0, said
    assert "2 answers would be imported, from 2025-03-01 00:00:00Z to 2025-03-01 01:00:00Z" in said.out
    assert said.out.endswith("nothing was written\n")
    assert sorted(tmp_path.rglob("*")) == before
    if empty_database_url.startswith("postgresql"):
        engine = open_engine(empty_database_url)
        with reading(engine) as connection:
            assert sa.inspect(connection).get_table_names() == []
        engine.dispose()


def test_a_dry_run_without_room_is_reported_in_one_line(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_hourly(tmp_path / "saved", [region(1, "NEW")], [region(1)])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    said = collector("import", "--dry-run", str(tmp_path / "saved"), database_url=empty_database_url)
    said.refused(1, "no folder for a scratch database", "set TMPDIR")


def test_a_dry_run_says_what_the_real_run_then_does(database_url: str, tmp_path: Path) -> None:
    save_hourly(tmp_path, *([[region(1, "NEW")]] * 3), [region(1)], b"<html>")
    assert collector("import", str(tmp_path), database_url=database_url).code == 3
    save_hourly(tmp_path, [region(1), region(2)], [region(2)], start=START + timedelta(hours=9))
    before = {table: rows(database_url, table) for table in ("observations", "regions", "observers")}
    dry = collector("import", "--dry-run", str(tmp_path), database_url=database_url)
    assert {table: rows(database_url, table) for table in before} == before
    real = collector("import", str(tmp_path), database_url=database_url)
    told = dry.out.replace("would be imported", "imported")
    told = told.replace(
        "nothing was written", f"head {rows(database_url, 'observations')[-1]['opening_digest']}"
    )
    assert (real.code, real.out) == (dry.code, told) == (3, told)
    assert "2 answers imported" in real.out
    assert line(real, "known") == "4 answers in the history already"
    assert line(real, "transitions") == "2 appeared, 2 disappeared (regions and keystones)"


def test_what_can_be_asked_about_times_is_said(url: str, tmp_path: Path) -> None:
    save(tmp_path, "a-20250301T000000.json", [region(1)])
    save(tmp_path, "a-2025-02-28T000000Z.json", [region(1)])
    save(tmp_path, "2025-02-27.json", [region(1)])
    save(tmp_path, "other.json", [region(1)], modified=START + timedelta(days=1))
    save(tmp_path, "notes.txt", b"")
    said = collector("import", "--dry-run", str(tmp_path), database_url=url)
    assert line(said, "times") == (
        "3 from their names; 1 from when the file was modified; 2 of them without a zone, taken as UTC; "
        "1 of them exact to an hour or a day only; the others right to within 60 s"
    )
    assert "note: some times come from file names" in said.out
    assert line(said, "ignored") == "1 (not JSON, links, or hidden)"


# A second import


def test_a_second_import_goes_on_and_what_is_older_is_refused(database_url: str, tmp_path: Path) -> None:
    save_hourly(tmp_path, [region(1, "NEW")], [region(1, "NEW")], [region(1)])
    first = collector("import", str(tmp_path), "--interval", "1h", database_url=database_url)
    assert first.code == 0, first
    before = rows(database_url, "observations")
    again = collector("import", str(tmp_path), "--interval", "1h", database_url=database_url)
    assert (again.code, line(again, "known")) == (0, "3 answers in the history already")
    assert rows(database_url, "observations") == before

    save(tmp_path, "2025-03-01T003000Z.json", [region(1, "NEW")])  # within what is known: it says nothing new
    save(tmp_path, "2025-03-01T013000Z.json", [region(1, "MAINTENANCE")])
    save(tmp_path, "2025-02-28T120000Z.json", [region(1, "NEW")])
    save(tmp_path, "2025-03-01T030000Z.json", [region(1, "DELETING")])
    more = collector("import", str(tmp_path), "--interval", "1h", database_url=database_url)
    assert (more.code, line(more, "known")) == (3, "4 answers in the history already")
    assert set(left_out(more)) == {"2025-02-28T120000Z.json", "2025-03-01T013000Z.json"}
    assert all("older than the newest answer in the history" in why for why in left_out(more).values())
    assert changes(database_url)[-1] == (1, "changed", "ACTIVE", "DELETING", "direct")
    assert rows(database_url, "observations")[: len(before) - 1] == before[:-1]
    is_sound(database_url)


def test_a_second_import_does_not_bring_back_what_was_pruned(database_url: str, tmp_path: Path) -> None:
    run = ("import", str(tmp_path), "--interval", "1h")
    save_hourly(tmp_path, *([region(1, state)] for state in ("NEW", "ACTIVE", "NEW", "ACTIVE")))
    assert collector(*run, database_url=database_url).code == 0
    engine = open_engine(database_url)
    begins = START + timedelta(hours=2, minutes=2)
    pruning.prune(engine, "gcore", begins, made_at=begins, made_by="a test")
    engine.dispose()
    before = rows(database_url, "observations")
    save(tmp_path, "2025-03-01T040000Z.json", [region(1, "DELETING")])
    said = collector(*run, database_url=database_url)
    assert (said.code, line(said, "pruned")) == (0, "2 answers from before the history begins")
    assert line(said, "known") == "2 answers in the history already"
    assert rows(database_url, "observations")[: len(before) - 1] == before[:-1]
    assert changes(database_url)[-1] == (1, "changed", "ACTIVE", "DELETING", "direct")
    is_sound(database_url)


def test_an_answer_that_said_the_same_in_other_words_is_known_too(url: str, tmp_path: Path) -> None:
    save_hourly(tmp_path, [region(1)])
    save(tmp_path, "2025-03-01T000100Z.json", [region(1, has_kvm=True, extra_field="unknown")])
    save(tmp_path, "2025-03-01T000200Z.json", [region(1, available_volume_types=["ssd_hiiops", "standard"])])
    once = collector("import", str(tmp_path), "--interval", "1h", database_url=url)
    assert "3 answers imported" in once.out
    assert rows(url, "observations")[-1]["variants"] == 1
    again = collector("import", str(tmp_path), "--interval", "1h", database_url=url)
    assert (again.code, line(again, "known")) == (0, "3 answers in the history already")


def test_an_import_that_was_killed_goes_on(engine: sa.Engine, database_url: str, tmp_path: Path) -> None:
    states = ["NEW", "ACTIVE", "MAINTENANCE"]
    save_hourly(tmp_path / "saved", *([region(1, states[n % 3]), region(2)] for n in range(40)))
    command = [sys.executable, "-m", "collector", "import", str(tmp_path / "saved")]
    own = environment({"database_url": database_url})
    written = sa.select(sa.func.count()).select_from(metadata.tables["observations"])
    with subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        ends, count = monotonic() + 120, 0
        while count < 3 and process.poll() is None and monotonic() < ends:
            sleep(0.03)
            with reading(engine) as connection:
                count = connection.scalar(written) or 0
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was killed before its end"
    killed = len(rows(database_url, "observations"))
    assert 3 <= killed < 40
    History(engine).verify()
    said = collector("import", str(tmp_path / "saved"), "--wait", "90", database_url=database_url)
    assert said.code == 0, said
    assert line(said, "known") == f"{killed} answers in the history already"
    assert len(rows(database_url, "observations")) == 40
    is_sound(database_url)


# What can't be used


def test_what_is_no_answer_is_left_out_and_named(url: str, tmp_path: Path) -> None:
    save_hourly(
        tmp_path,
        [region(1)],
        b"<html>log in</html>",
        b"",
        b'{"count": 1, "results": [',
        {"exception_class": "ForbiddenError", "message": "no access"},
        b'{"count": 0, "count": 1, "results": []}',
        b'"text"',
        b'[], "count": 0',
        [region(1)],
    )
    said = collector("import", str(tmp_path), database_url=url)
    assert said.code == 3
    assert "2 answers imported" in said.out
    reasons = list(left_out(said).values())
    assert len(reasons) == 7
    for reason, words in zip(
        reasons,
        (
            "HTML page",
            "the body is empty",
            "not JSON",
            "no access",
            "count",
            "not an object",
            "after the list",
        ),
        strict=True,
    ):
        assert words in reason
        assert "status 200" not in reason
    assert [(row["outcome"], row["polls"]) for row in rows(url, "observations")] == [("ok", 1)] * 2
    assert [row["cause"] for row in rows(url, "observations")] == [None, None], "no failure is invented"


def test_where_nothing_can_be_used_nothing_is_made(empty_database_url: str, tmp_path: Path) -> None:
    save(tmp_path / "saved", "2099-01-01T000000Z.json", [region(1)])
    save(tmp_path / "saved", "1999-01-01T000000Z.json", [region(1)])
    said = collector("import", str(tmp_path / "saved"), database_url=empty_database_url)
    assert (said.code, said.out.splitlines()[0]) == (1, "gcore at https://api.gcore.com: 0 answers imported")
    future, past = left_out(said)["2099-01-01T000000Z.json"], left_out(said)["1999-01-01T000000Z.json"]
    assert "in the future" in future
    assert "before the API existed" in past
    assert not (tmp_path / "collector.db").exists()
    (tmp_path / "none").mkdir()
    none = collector("import", str(tmp_path / "none"), database_url=empty_database_url)
    none.refused(2, "no files", ".json.gz")
    collector("import", str(tmp_path / "nowhere"), database_url=empty_database_url).refused(
        2, "there is no folder"
    )


def test_files_may_be_compressed_and_may_not_be_too_large(url: str, tmp_path: Path) -> None:
    save(tmp_path, "2025-03-01T00.json.gz", gzip.compress(body(answer([region(1)]))))
    save(tmp_path, "2025-03-01T01.json.gz", gzip.compress(b" " * (MAX_BODY + 1)))
    save(tmp_path, "2025-03-01T02.json", b" " * (MAX_BODY + 1))
    save(tmp_path, "2025-03-01T03.json.gz", gzip.compress(body(answer([region(1)])))[:-20])
    save(tmp_path, "2025-03-01T04.json.gz", b"not compressed")
    said = collector("import", str(tmp_path), database_url=url)
    assert (said.code, "1 answer imported" in said.out) == (3, True)
    assert left_out(said) == {
        "2025-03-01T01.json.gz": f"is larger than {MAX_BODY:,} bytes when decompressed",
        "2025-03-01T02.json": f"is larger than {MAX_BODY:,} bytes",
        "2025-03-01T03.json.gz": left_out(said)["2025-03-01T03.json.gz"],
        "2025-03-01T04.json.gz": left_out(said)["2025-03-01T04.json.gz"],
    }
    assert all("can't be decompressed" in left_out(said)[f"2025-03-01T0{n}.json.gz"] for n in (3, 4))


def test_links_and_hidden_files_are_not_followed_and_other_things_do_not_block(
    url: str, tmp_path: Path
) -> None:
    real = save(tmp_path / "saved", "2025-03-01T000000Z.json", [region(1)])
    (tmp_path / "saved" / "latest.json").symlink_to(real)
    (tmp_path / "saved" / "loop").symlink_to(tmp_path / "saved")
    os.mkfifo(tmp_path / "saved" / "2025-03-01T010000Z.json")
    save(tmp_path / "saved", ".hidden/2025-03-01T020000Z.json", [region(1)])
    save(tmp_path / "saved", ".2025-03-01T030000Z.json", [region(1)])
    said = collector("import", str(tmp_path / "saved"), database_url=url)
    assert (said.code, "1 answer imported" in said.out) == (0, True)
    assert line(said, "ignored") == "3 (not JSON, links, or hidden)"


def test_a_list_alone_can_not_prove_that_anything_is_gone(url: str, tmp_path: Path) -> None:
    save_hourly(tmp_path, body([region(1), region(2)]), body([region(1)]))
    said = collector("import", str(tmp_path), database_url=url, source="doubtful")
    assert (said.code, line(said, "outcomes")) == (0, "2 partial")
    assert "note: 2 are lists without a count" in said.out
    assert [change[1] for change in changes(url, "doubtful")] == ["appeared", "appeared"]
    whole = collector("import", "--whole-lists", str(tmp_path), database_url=url, source="sure")
    assert (line(whole, "outcomes"), "note:" in whole.out) == ("2 ok", False)
    assert [change[1] for change in changes(url, "sure")] == ["appeared", "appeared", "disappeared"]
    assert [row["declared"] for row in rows(url, "observations", "sure")] == [2, 1]


def test_two_answers_of_one_time_must_be_equal(url: str, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(tmp_path, f"{folder}/2025-03-01T000000Z.json", [region(1)])
        save(tmp_path, f"{folder}/2025-03-01T010000Z.json", [region(1, "ACTIVE" if folder == "a" else "NEW")])
    said = collector("import", str(tmp_path), database_url=url)
    assert (said.code, line(said, "copies")) == (3, "1 further copy of answers")
    assert left_out(said) == {
        "a/2025-03-01T010000Z.json": "the same time as b/2025-03-01T010000Z.json, but other content",
        "b/2025-03-01T010000Z.json": "the same time as a/2025-03-01T010000Z.json, but other content",
    }


def test_what_is_less_exact_gives_way_to_what_is_more_so(database_url: str, tmp_path: Path) -> None:
    save(tmp_path, "2025-03-01.json", [region(1, "NEW")])
    save(tmp_path, "2025-03-01T120000Z.json", [region(1)])
    save(tmp_path, "2025-03-01T13.json", [region(1)])
    save(tmp_path, "2025-03-01T130000Z.json", [region(1)])
    save(tmp_path, "2025-03-02.json", [region(1, "MAINTENANCE")])
    said = collector("import", str(tmp_path), database_url=database_url)
    assert left_out(said) == {
        "2025-03-01.json": "its time is too inexact to decide whether it came before 2025-03-01T120000Z.json",
        "2025-03-01T13.json": "its time is too inexact to decide whether it came before 2025-03-01T130000Z.json",
    }
    (change,) = (row for row in rows(database_url, "state_transitions") if row["kind"] == "changed")
    assert change["not_before"] == datetime(2025, 3, 1, 12, 59, tzinfo=UTC)
    assert change["observed_at"] == datetime(2025, 3, 2, 23, 59, 59, 999999, tzinfo=UTC), (
        "at any time of that day"
    )
    is_sound(database_url)


def test_a_margin_widens_windows_on_both_sides(url: str, tmp_path: Path) -> None:
    save_hourly(tmp_path, [region(1, "NEW")], [region(1)])
    for margin in (0, 300):
        name = f"margin{margin}"
        said = collector("import", "--margin", f"{margin}s", str(tmp_path), database_url=url, source=name)
        assert said.code == 0
        (change,) = (row for row in rows(url, "state_transitions", name) if row["kind"] == "changed")
        assert change["not_before"] == START - timedelta(seconds=margin)
        assert change["observed_at"] == START + timedelta(hours=1, seconds=margin)
    for wrong in ("2h", "x", "-1s"):
        collector("import", "--margin", wrong, str(tmp_path), database_url=url).explains("--margin")


# How often somebody looked


def test_the_interval_decides_what_is_a_gap(database_url: str, tmp_path: Path) -> None:
    save_hourly(tmp_path, *([[region(1)]] * 4))
    save_hourly(tmp_path, *([[region(1)]] * 4), start=START + timedelta(hours=8))
    said = collector("import", str(tmp_path), database_url=database_url, source="derived")
    assert line(said, "polls") == (
        "expected every 60 min (the median of their distances): 1 gap of more than 2 h 30 min between answers"
    )
    told = collector("import", "--interval", "4h", str(tmp_path), database_url=database_url, source="told")
    assert line(told, "polls") == "expected every 4 h 00 min (as given): no gaps"
    for source, gaps in (("derived", 1), ("told", 0)):
        engine = open_engine(database_url, read_only=True)
        with reading(engine) as connection:
            query = "SELECT COUNT(*) FROM coverage_gaps WHERE source = :source AND until_at IS NOT NULL"
            assert connection.scalar(sa.text(query), {"source": source}) == gaps
        engine.dispose()


def test_where_every_answer_differs_it_is_said_that_perhaps_only_changes_were_saved(
    url: str, tmp_path: Path
) -> None:
    save_hourly(tmp_path, *([region(1, ("NEW", "ACTIVE")[n % 2])] for n in range(7)))
    said = collector("import", "--dry-run", str(tmp_path), database_url=url)
    assert "note: no two consecutive answers are equal" in said.out
    save_hourly(tmp_path, [region(1, "NEW")], start=START + timedelta(hours=7))
    said = collector("import", "--dry-run", str(tmp_path), database_url=url)
    assert "in a row" not in said.out


# Times in names


@pytest.mark.parametrize(
    ("name", "at", "seconds", "zone_given"),
    [
        ("2024-05-01T12:00:00Z", "2024-05-01T12:00:00", 0, True),
        ("2024-05-01T12:00:00.123456Z", "2024-05-01T12:00:00.123456", 0, True),
        ("2024-05-01T12-00-00-250Z", "2024-05-01T12:00:00.250", 0, True),
        ("2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00", 0, True),
        ("20240501T120000-0500", "2024-05-01T17:00:00", 0, True),
        ("20240501T120000Z", "2024-05-01T12:00:00", 0, True),
        ("20240501120000", "2024-05-01T12:00:00", 0, False),
        ("regions_2024-05-01_12-00-00", "2024-05-01T12:00:00", 0, False),
        ("2024-05-01 12.00.00 (1)", "2024-05-01T12:00:00", 0, False),
        ("2024-05-01_120000_UTC", "2024-05-01T12:00:00", 0, True),
        ("2024-05-01 12h30m05s", "2024-05-01T12:30:05", 0, False),
        ("20240501_1200", "2024-05-01T12:00:00", 60, False),
        ("2024/05/01/1200", "2024-05-01T12:00:00", 60, False),
        ("2024/05/01/12/00/05", "2024-05-01T12:00:05", 0, False),
        ("2024/05/2024-05-01T12:00:05Z", "2024-05-01T12:00:05", 0, True),
        ("2024-05-01/regions-1200", "2024-05-01T12:00:00", 60, False),
        ("year=2024/month=05/day=01/hour=12/answer", "2024-05-01T12:00:00", 3600, False),
        ("2024050112", "2024-05-01T12:00:00", 3600, False),
        ("2024-05-01T12Z", "2024-05-01T12:00:00", 3600, True),
        ("2024/05/01/12", "2024-05-01T12:00:00", 3600, False),
        ("2024-05-01", "2024-05-01T00:00:00", 86400, False),
        ("2024-05-01-12", "2024-05-01T00:00:00", 86400, False),  # the twelfth, perhaps
        ("2024-05-01/03", "2024-05-01T00:00:00", 86400, False),
        ("1714564800", "2024-05-01T12:00:00", 0, True),
        ("regions-1714564800250", "2024-05-01T12:00:00.250", 0, True),
        ("1714564800.5", "2024-05-01T12:00:00.500", 0, True),
    ],
)
def test_a_time_in_a_name(name: str, at: str, seconds: int, zone_given: bool) -> None:
    found = time_in_name(name)
    assert found is not None
    assert found.at == datetime.fromisoformat(at).replace(tzinfo=UTC)
    length = found.until - found.at
    assert length == (timedelta(seconds=seconds, microseconds=-1) if seconds else timedelta())
    assert found.zone_given is zone_given


@pytest.mark.parametrize(
    "name", ["regions", "latest", "01-05-2024", "v2.13", "3fa85f64-5717-4562-b3fc", "12", ""]
)
def test_a_name_without_a_time(name: str) -> None:
    assert time_in_name(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("2024-02-30", "not a valid time"),
        ("2024-05-01T25:00:00Z", "not a valid time"),
        ("2024-05-01_to_2024-06-01", "several times"),
        ("1714564800-1714564860", "several times"),
        ("20240501-120000-0500", "a time zone or a number"),
        ("2024-05-01T12:00:00+99:00", "offset"),
    ],
)
def test_a_name_that_is_not_guessed_at(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        time_in_name(name)


def test_an_hour_that_a_clock_went_through_twice_may_be_either() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    plain = time_in_name("2024-07-01_02-30-00", berlin)
    assert plain is not None
    assert (plain.at, plain.until) == (datetime(2024, 7, 1, 0, 30, tzinfo=UTC),) * 2
    twice = time_in_name("2024-10-27_02-30-00", berlin)
    assert twice is not None
    assert (twice.at, twice.until) == tuple(datetime(2024, 10, 27, h, 30, tzinfo=UTC) for h in (0, 1))


def test_names_without_a_zone_are_of_the_zone_that_is_said(url: str, tmp_path: Path) -> None:
    save(tmp_path, "2025-07-01_020000.json", [region(1)])
    said = collector("import", "--dry-run", "--tz", "Europe/Berlin", str(tmp_path), database_url=url)
    assert "from 2025-07-01 00:00:00Z to 2025-07-01 00:00:00Z" in said.out
    assert "taken as Europe/Berlin" in line(said, "times")
    collector("import", "--tz", "Mars/Olympus", str(tmp_path), database_url=url).explains("no time zone")


def test_times_come_from_where_they_are_said_to_be(url: str, tmp_path: Path) -> None:
    save(tmp_path, "2025-03-01T000000Z.json", [region(1)], modified=START + timedelta(days=2))
    save(tmp_path, "other.json", [region(1)], modified=START + timedelta(days=3))

    def said(time_from: str) -> str:
        out = collector("import", "--dry-run", "--time-from", time_from, str(tmp_path), database_url=url).out
        return " ".join(out.splitlines()[0].split("from ")[1:]) + str(left_out(Said(0, out, "")))

    assert said("auto") == "2025-03-01 00:00:00Z to 2025-03-04 00:00:00Z{}"
    assert said("mtime") == "2025-03-03 00:00:00Z to 2025-03-04 00:00:00Z{}"
    assert (
        said("name")
        == "2025-03-01 00:00:00Z to 2025-03-01 00:00:00Z{'other.json': 'its name contains no time'}"
    )


# Whose answers


def test_one_of_several_sources_is_named(url: str, tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(f'database_url = "{url}"\n[[sources]]\nname = "a"\n[[sources]]\nname = "b"\n')
    save_hourly(tmp_path / "saved", [region(1)])
    run = ("--config", str(config), "import", str(tmp_path / "saved"))
    collector(*run).refused(2, "which source", "a, b")
    collector(*run, "--source", "c").refused(2, "no source 'c'")
    assert collector(*run, "--source", "b").code == 0
    assert (len(rows(url, "regions", "a")), len(rows(url, "regions", "b"))) == (0, 1)


def test_a_postgresql_schema_is_made_only_where_that_is_asked_for(
    empty_database_url: str, tmp_path: Path
) -> None:
    save_hourly(tmp_path / "saved", [region(1)])
    said = collector("import", str(tmp_path / "saved"), database_url=empty_database_url)
    if empty_database_url.startswith("postgresql"):
        said.refused(2, "--migrate")
        said = collector("import", "--migrate", str(tmp_path / "saved"), database_url=empty_database_url)
    assert said.code == 0, said
    assert len(rows(empty_database_url, "regions")) == 1


def test_no_secret_of_a_saved_answer_is_kept(database_url: str, tmp_path: Path) -> None:
    key, password = "4711$k3yThatMustNotLand", "p4ssw0rdThatMustNotLand"
    echo = region(1, vlan_physical_network=f"net-{key}")
    echo["keystone"]["password"] = password
    save_hourly(tmp_path, [echo], body([echo]), f"<html>{key}{password}</html>".encode())
    save(tmp_path, "2025-03-01T050000Z.json", {"message": f"the key {key} is wrong"})
    said = collector("import", str(tmp_path), database_url=database_url, api_key=key)
    assert "2 answers imported" in said.out, said
    landed = [said.out, said.err]
    for table in metadata.tables:
        if table == "sources":
            continue
        for row in rows(database_url, table):
            landed.append(repr({n: v for n, v in row.items() if n != "body"}))
            landed.append(zlib.decompress(row["body"]).decode() if "body" in row else "")
    everything = "\n".join(landed)
    assert "[redacted]" in everything
    assert (key[5:15] in everything, password[:10] in everything) == (False, False)


# Git


class Repository:
    """A real repository, as a scraper fills it."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main", *options)

    def git(self, *arguments: str, at: datetime = START, committed: datetime | None = None) -> str:
        own = {n: v for n, v in os.environ.items() if not n.startswith("GIT_")}
        who = {
            f"GIT_{role}_{what}": "scraper@example.org"
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        dates = {"GIT_AUTHOR_DATE": f"{int(at.timestamp())} +0000"}
        dates["GIT_COMMITTER_DATE"] = f"{int((committed or at).timestamp())} +0000"
        done = subprocess.run(
            [tool("git", package="git"), "-C", str(self.path), "-c", "commit.gpgSign=false", *arguments],
            env=own | who | dates,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, hours: float, files: Mapping[str, Json], committed: datetime | None = None) -> str:
        """Files with their content, None: removed. Returns the commit's id."""
        for name, said in files.items():
            if said is None:
                (self.path / name).unlink()
            else:
                save(self.path, name, said)
        self.git("add", "-A")
        self.git(
            "commit",
            "-q",
            "-m",
            "scraped",
            "--allow-empty",
            at=START + timedelta(hours=hours),
            committed=committed,
        )
        return f"commit {self.git('rev-parse', 'HEAD')[:12]}"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


FILE = "data/regions.json"


def scraped(repository: Repository) -> None:
    repository.commit(0, {"README.md": b"a scraper"})
    repository.commit(1, {FILE: [region(1, "NEW")]})
    repository.commit(2, {"other.json": [region(9)]})
    repository.commit(3, {FILE: [region(1)]})
    repository.commit(27, {FILE: [region(1, "MAINTENANCE")]})


def test_the_versions_of_one_file_are_imported(repository: Repository, database_url: str) -> None:
    scraped(repository)
    said = collector("import", "--git-file", FILE, str(repository.path), database_url=database_url)
    assert said.code == 0, said
    assert "3 answers imported, from 2025-03-01 01:00:00Z to 2025-03-02 03:00:00Z" in said.out
    assert line(said, "times").startswith("3 from when the commit was written")
    assert (
        line(said, "polls")
        == "expected every 60 s (as the settings say): 2 gaps of more than 2 min between answers"
    )
    assert "a commit shows when an answer changed, not how often it was polled" in said.out
    assert [c[1:] for c in changes(database_url)] == [
        ("appeared", None, "NEW", "baseline"),
        ("changed", "NEW", "ACTIVE", "across_gap"),
        ("changed", "ACTIVE", "MAINTENANCE", "across_gap"),
    ]
    is_sound(database_url)
    again = collector("import", "--git-file", FILE, str(repository.path), database_url=database_url)
    assert (again.code, line(again, "known")) == (0, "3 answers in the history already")


def test_a_person_who_knows_how_often_the_scraper_looked_says_so(repository: Repository, url: str) -> None:
    scraped(repository)
    said = collector(
        "import", "--git-file", FILE, "--interval", "12h", str(repository.path), database_url=url
    )
    assert line(said, "polls") == "expected every 12 h 00 min (as given): no gaps"
    assert [row["polls"] for row in rows(url, "observations")] == [1, 1, 1], "no poll is invented"
    assert [c[4] for c in changes(url)] == ["baseline", "direct", "direct"]


@pytest.mark.parametrize("where", ["bare", "folder", "worktree"])
def test_a_repository_in_its_other_forms(repository: Repository, tmp_path: Path, where: str) -> None:
    scraped(repository)
    path, file = tmp_path / where, FILE
    if where == "bare":
        repository.git("clone", "-q", "--bare", str(repository.path), str(path))
    elif where == "worktree":
        repository.git("worktree", "add", "-q", str(path), "HEAD")
    else:
        path, file = repository.path / "data", "regions.json"
    said = collector(
        "import", "--dry-run", "--git-file", file, str(path), database_url=f"sqlite:///{tmp_path}/x.db"
    )
    assert "3 answers would be imported" in said.out, said


@pytest.mark.parametrize("is_in_git", [False, True])
def test_an_answer_may_be_as_large_as_the_settings_say(
    url: str, tmp_path: Path, repository: Repository, is_in_git: bool
) -> None:
    document = body(answer([region(i, note="x" * 1000) for i in range(100)]))
    assert len(document) > 100_000
    repository.commit(1, {FILE: document})
    save(tmp_path / "saved", "2025-03-01T00.json.gz", gzip.compress(document))
    asked = ("--git-file", FILE, str(repository.path)) if is_in_git else (str(tmp_path / "saved"),)
    for settings, why in (
        ({"max_body": "100000"}, "is larger than 100,000 bytes"),
        ({"max_regions": "99"}, "more than 99"),
        ({"max_values": "1000"}, "more than 1,000 values"),
    ):
        said = collector("import", *asked, database_url=url, **settings)
        assert said.code == 1
        assert why in said.out, said
    assert collector("import", *asked, database_url=url).code == 0


def test_versions_that_are_no_answers_are_left_out(repository: Repository, tmp_path: Path) -> None:
    first = repository.commit(1, {FILE: [region(1, "NEW")]})
    removed = repository.commit(2, {FILE: None})
    large = repository.commit(3, {FILE: b" " * (MAX_BODY + 1)})
    html = repository.commit(4, {FILE: b"<html>"})
    (repository.path / FILE).unlink()
    (repository.path / FILE).symlink_to("../README.md")
    link = repository.commit(5, {})
    (repository.path / FILE).unlink()
    folder = repository.commit(6, {f"{FILE}/inside.json": [region(1)]})
    shutil.rmtree(repository.path / FILE)
    repository.git("switch", "-q", "-c", "side")
    repository.commit(7, {FILE: [region(1, "DELETING")]})
    repository.git("switch", "-q", "main")
    repository.git("checkout", "-q", ".")
    repository.git("merge", "-q", "--no-ff", "-m", "merged", "side", at=START + timedelta(hours=8))
    merge = f"commit {repository.git('rev-parse', 'HEAD')[:12]}"
    future = repository.commit(24 * 365 * 50, {FILE: [region(1, "DELETED")]})
    said = collector(
        "import",
        "--dry-run",
        "--git-file",
        FILE,
        str(repository.path),
        database_url=f"sqlite:///{tmp_path}/x.db",
    )
    assert said.code == 3, said
    found = left_out(said)
    reasons = {
        removed: "it was removed",
        large: "is larger than",
        html: "HTML",
        link: "not JSON",
        folder: "something other than a file",
        merge: "is a merge",
        future: "in the future",
    }
    assert found.keys() == reasons.keys()
    for name, words in reasons.items():
        assert words in found[name]
    assert first not in found
    archive = githistory.GitFile(repository.path, FILE)
    skipped = {each.name for each in archive.find().skipped}
    archive.close()
    assert large in skipped, "its size is known before it is read"


def test_dates_that_contradict_the_order_of_commits_are_left_out(
    repository: Repository, tmp_path: Path
) -> None:
    names = [
        repository.commit(hours, {FILE: [region(1, state)]}, committed=START + timedelta(days=40))
        for hours, state in (
            (1, "NEW"), (2, "ACTIVE"), (2, "MAINTENANCE"), (500, "DELETING"), (3, "ACTIVE"), (4, "NEW"),
        )
    ]  # fmt: skip
    url = f"sqlite:///{tmp_path}/x.db"
    said = collector("import", "--git-file", FILE, "--interval", "1h", str(repository.path), database_url=url)
    assert left_out(said) == {names[3]: "its author date contradicts the order of the commits"}
    assert [c[3] for c in changes(url)] == ["NEW", "ACTIVE", "MAINTENANCE", "ACTIVE", "NEW"]
    assert "note: 6 were committed again later" in said.out
    is_sound(url)
    again = collector(
        "import", "--git-file", FILE, "--interval", "1h", str(repository.path), database_url=url
    )
    assert line(again, "known") == "5 answers in the history already", "also those of one second"


def test_as_few_dates_as_possible_are_left_out() -> None:
    random = Random(7)
    for _ in range(300):
        times = [START + timedelta(hours=random.randrange(6)) for _ in range(random.randrange(9))]
        kept = sorted(githistory._rising(times))
        assert all(times[a] <= times[b] for a, b in pairwise(kept))
        longest = max(
            len(some)
            for size in range(len(times) + 1)
            for some in combinations(times, size)
            if list(some) == sorted(some)
        )
        assert len(kept) == longest


def test_nothing_of_a_hostile_repository_is_run(repository: Repository, tmp_path: Path) -> None:
    scraped(repository)
    trap = tmp_path / "trap"
    trap.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/sprung\ncat\n')
    trap.chmod(0o755)
    for setting in (
        "core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "core.askPass", "gpg.program",
        "diff.external",
        "filter.x.smudge", "filter.x.clean", "diff.x.textconv", "diff.x.command", "credential.helper", "core.gitProxy",
        "core.alternateRefsCommand", "uploadpack.packObjectsHook", "alias.rev-list", "alias.cat-file",
    ):  # fmt: skip
        repository.git("config", setting, f"{'!' if setting.startswith('alias') else ''}{trap}")
    for setting in (
        "log.showSignature",
        "extensions.partialClone=origin",
        "protocol.allow=always",
        "protocol.ext.allow=always",
    ):
        name, _, value = setting.partition("=")
        repository.git("config", name, value or "true")
    repository.git("config", "remote.origin.url", f"ext::{trap} %S")
    repository.git("config", "remote.origin.promisor", "true")
    (repository.path / ".git" / "info" / "attributes").write_text("* filter=x diff=x\n")
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "fsmonitor-watchman"):
        shutil.copy(trap, repository.path / ".git" / "hooks" / hook)
    lost = subprocess.run(
        [tool("git", package="git"), "-C", str(repository.path), "rev-parse", f"HEAD~1:{FILE}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (repository.path / ".git" / "objects" / lost[:2] / lost[2:]).unlink()  # it would be fetched
    (tmp_path / "sprung").unlink(missing_ok=True)
    said = collector(
        "import",
        "--dry-run",
        "--git-file",
        FILE,
        str(repository.path),
        database_url=f"sqlite:///{tmp_path}/x.db",
    )
    assert not (tmp_path / "sprung").exists(), (tmp_path / "sprung").read_text()
    assert "2 answers would be imported" in said.out, said
    assert len(left_out(said)) == 1


def test_what_git_can_not_give_is_said(repository: Repository, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"

    def ask(path: Path, file: str = FILE, *more: str) -> Said:
        return collector("import", "--git-file", file, *more, str(path), database_url=url)

    ask(repository.path).refused(2, "has no commits")
    scraped(repository)
    ask(repository.path, "nothing.json").refused(2, "no commit", "nothing.json")
    ask(repository.path, "../x.json").refused(2, "not in the repository")
    ask(repository.path, FILE, "--time-from", "mtime").refused(2, "--time-from")
    (tmp_path / "plain").mkdir()
    ask(tmp_path / "plain").refused(2, "not a git repository")
    ask(tmp_path / "nowhere").refused(2, "there is no folder")
    repository.git("clone", "-q", "--depth", "1", f"file://{repository.path}", str(tmp_path / "shallow"))
    ask(tmp_path / "shallow").refused(2, "shallow clone", "--unshallow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path / "plain"))
        ask(repository.path).refused(2, "`git`")
    assert not (tmp_path / "x.db").exists()


def test_a_repository_of_somebody_else_is_read_only_where_git_trusts_it(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scraped(repository)
    # Only root could give the file away, but git can treat it as a file of another user.
    monkeypatch.setitem(githistory._ENVIRONMENT, "GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    ask = ("import", "--dry-run", "--git-file", FILE, str(repository.path))
    url = f"sqlite:///{tmp_path}/x.db"
    collector(*ask, database_url=url).refused(2, "safe.directory", str(repository.path))
    (tmp_path / ".gitconfig").write_text(f"[safe]\ndirectory = {repository.path}\n")
    assert "3 answers would be imported" in collector(*ask, database_url=url).out


def test_git_made_the_modification_times_of_what_it_checked_out(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit(1, {"regions.json": [region(1)], "2025-03-01T000000Z.json": [region(1)]})
    url = f"sqlite:///{tmp_path}/x.db"
    said = collector("import", "--dry-run", str(repository.path), database_url=url)
    assert list(left_out(said)) == ["regions.json"]
    assert "--git-file" in left_out(said)["regions.json"]
    os.utime(repository.path / "regions.json", (START.timestamp(),) * 2)
    told = collector("import", "--dry-run", "--time-from", "mtime", str(repository.path), database_url=url)
    assert "regions.json" not in left_out(told), "who says so may have his reasons"
