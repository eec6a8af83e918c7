"""The metrics for Prometheus, and that its own tools accept them."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from collector import __version__
from collector.database.transactions import reading
from collector.database.url import sqlite_path
from collector.gcore.exchange import Cause
from collector.poll import PollResult
from collector.reports import figures as figures_module
from collector.reports.coverage import coverage
from collector.reports.figures import MOST_STATES, figures
from collector.service.tally import BOUNDS, Durations, Tallies
from collector.service.view import SourceView, View
from collector.settings.models import Source
from collector.web.metrics import OF_DATABASE, OF_PROCESS, PREFIX, TIMEOUT_HEADER, _patience
from tests.support import metrics_tables, service_views
from tests.support.builders import keystone, region
from tests.support.databases import new_database
from tests.support.history import History, failure
from tests.support.proofs import prove
from tests.support.samples import value, values
from tests.support.services import until
from tests.support.wire import Wire
from tests.web.conftest import Serve, serving

LATER = datetime(2026, 5, 2, tzinfo=UTC)
USUAL = ("process_", "python_")


def view_of(*sources: SourceView, tallies: Tallies | None = None) -> View:
    tallies = tallies or Tallies()
    return service_views.view_of(
        *sources, phases=tallies.phases(), prunes=tallies.prunes(), missed=3, broken=1
    )


def source_view(name: str, tallies: Tallies, **other: Any) -> SourceView:
    return service_views.source_view(name, tally=tallies.of(name), **other)


@pytest.fixture
def counted(history: History) -> tuple[History, Tallies, list[PollResult]]:
    """A history whose polls were counted: 3 ok, 1 failed, 1 change."""
    tallies = Tallies()
    said: list[Any] = [
        [region(1), region(2, "NEW")],
        [region(1), region(2)],
        failure(),
        [region(1), region(2)],
    ]
    results = [history.poll(each, at=60.0 * n) for n, each in enumerate(said)]
    for result in results:
        tallies.count(result)
    return history, tallies, results


def test_polls_are_counted_by_what_poll_returns(
    counted: tuple[History, Tallies, list[PollResult]], serve: Serve
) -> None:
    history, tallies, results = counted
    tallies.count(replace(results[0], source="other", attempts=4))
    for outcome in ("pruned", "failed", "failed"):
        tallies.count_prune("gcore", outcome)

    def view() -> View:
        away = source_view("other", tallies, condition="database", kept=7, holds_lease=False)
        return view_of(source_view("gcore", tallies), away, tallies=tallies)

    text = serve(history.engine.url, running=view).get("metrics").text
    assert value(text, "polls_total", source="gcore", outcome="ok") == 3
    assert value(text, "polls_total", source="gcore", outcome="failed") == 1
    assert value(text, "polls_total", source="gcore", outcome="held") == 0
    cause = results[2].failure.cause if results[2].failure else ""
    for each in get_args(Cause):
        assert value(text, "failed_polls_total", source="gcore", cause=each) == (each == cause)
    assert value(text, "transitions_total", source="gcore", entity="region", kind="appeared") == 2
    assert value(text, "transitions_total", source="gcore", entity="region", kind="changed") == 1
    assert value(text, "poll_retries_total", source="gcore") == 0
    assert value(text, "poll_retries_total", source="other") == 3
    assert (value(text, "missed_polls_total"), value(text, "broken_polls_total")) == (3, 1)
    assert value(text, "prunes_total", source="gcore", outcome="failed") == 2
    assert value(text, "prunes_total", source="gcore", outcome="pruned") == 1
    assert (value(text, "lease_held", source="gcore"), value(text, "lease_held", source="other")) == (1, 0)
    assert (value(text, "kept_answers", source="gcore"), value(text, "kept_answers", source="other")) == (
        0,
        7,
    )
    for condition, is_so in (("written", 0), ("database", 1), ("standby", 0), ("lost", 0), ("refused", 0)):
        assert value(text, "source_condition", source="other", condition=condition) == is_so
    assert value(text, "source_condition", source="gcore", condition="written") == 1
    for phase in ("fetch", "read", "decide", "write"):
        assert value(text, "poll_phase_seconds_count", phase=phase) == 5
        assert value(text, "poll_phase_seconds_bucket", phase=phase, le="+Inf") == 5
        taken = sum(getattr(result, f"{phase}_seconds") for result in [*results, results[0]])
        assert value(text, "poll_phase_seconds_sum", phase=phase) == pytest.approx(taken)
    assert sum(result.decide_seconds for result in results) > 0


def test_durations_are_counted_below_their_bounds() -> None:
    taken = Durations()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.01, BOUNDS[-1], BOUNDS[-1] + 1):
        taken = taken.with_one(seconds)
    assert (taken.counts[0], taken.counts[1], taken.counts[-2], taken.counts[-1]) == (2, 1, 1, 1)
    assert sum(taken.counts) == 5


def test_the_database_says_the_same_on_every_replica(told: History, serve: Serve) -> None:
    prove(told.engine)
    tallies = Tallies()
    polled = [source_view(name, tallies) for name in ("gcore", "preprod")]
    known = {"sources": (Source(name="gcore"), Source(name="preprod"))}
    one = serve(told.engine.url, clock=lambda: LATER, **known).get("metrics").text
    other = serve(told.engine.url, clock=lambda: LATER, running=lambda: view_of(*polled)).get("metrics").text
    names = {f"{name}{'_total' if spec.kind == 'counter' else ''}" for name, spec in OF_DATABASE.items()}
    names -= {"database_size_bytes", "disk_free_bytes", "disk_size_bytes"}  # they change meanwhile
    first, second = (
        {key: each for key, each in values(text).items() if key[0] in names} for text in (one, other)
    )
    assert first == second
    of_receivers = {name for name in names if name.startswith("event_")}
    assert {key[0] for key in first} == names - of_receivers
    assert (
        value(one, "leases_taken_total", source="gcore") == told.row("sources", name="gcore")["lease_epoch"]
    )
    assert value(one, "last_success_timestamp_seconds", source="preprod") == told.time(120).timestamp()
    assert value(one, "last_poll_timestamp_seconds", source="gcore") == told.time(60 * 28).timestamp()
    assert value(one, "expected_interval_seconds", source="gcore") == 60
    assert value(one, "observations_total", source="gcore") == 16
    assert value(one, "source_verdict", source="gcore", verdict="stale") == 1
    assert value(one, "regions", source="preprod", state="ACTIVE") == 2
    assert value(one, "region_state", source="preprod", region_id="1", slug="region-1", state="DELETED") == 1
    assert value(one, "region_state", source="preprod", region_id="1", slug="region-1", state="ACTIVE") == 0
    assert (value(one, "database_up") or 0) == 1
    assert (value(one, "database_size_bytes") or 0) > 100_000
    assert value(one, "build_info", version=__version__, python=platform.python_version()) == 1


def test_time_in_gaps_is_that_of_the_coverage(told: History) -> None:
    now = datetime.now(UTC)
    with reading(told.engine) as connection:
        found = figures(connection, now)
        gaps = coverage(connection)
    for name in ("gcore", "preprod"):
        seconds = sum(row["seconds"] for row in gaps if row["source"] == name)
        assert found.gap_seconds[name] == pytest.approx(seconds, abs=5)  # the open one goes on
        ended = sum(row["seconds"] for row in gaps if row["source"] == name and row["until_at"])
        with reading(told.engine) as connection:
            at_the_end = figures(connection, told.time(60 * 28) if name == "gcore" else told.time(120))
        assert at_the_end.gap_seconds[name] == pytest.approx(ended, abs=1e-6)


def test_names_and_kinds_keep_to_the_conventions(told: History, serve: Serve) -> None:
    tallies = Tallies()
    client = serve(told.engine.url, running=lambda: view_of(source_view("gcore", tallies), tallies=tallies))
    said = client.get("metrics")
    assert said.headers["content-type"].startswith("text/plain; version=0.0.4")
    for family in families(said.text):
        if family.name.startswith(USUAL):
            continue
        assert family.name.startswith(PREFIX)
        assert family.documentation
        assert family.documentation[0].isupper()
        assert not re.search(r"_(milli|micro)?s$|_ms$|_ago$|_age", family.name)
        for sample in family.samples:
            assert re.fullmatch(r"[a-z][a-z0-9_]*", sample.name)
            assert (family.type == "counter") == sample.name.endswith("_total")
            assert family.type != "counter" or sample.value >= 0
            assert not {"le", "quantile"} & set(sample.labels) or family.type == "histogram"
    specs = {**OF_PROCESS, **OF_DATABASE}
    assert {f.name.removeprefix(PREFIX) for f in families(said.text) if not f.name.startswith(USUAL)} == set(
        specs
    )
    assert {f.name.partition("_")[0] for f in families(said.text)} == {"gcore", "process", "python"}


def test_open_metrics_are_given_to_who_asks_for_them(told: History, serve: Serve) -> None:
    accept = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    said = serve(told.engine.url, running=view_of).get("metrics", headers={"accept": accept})
    assert said.headers["content-type"].startswith("application/openmetrics-text")
    assert PREFIX + "polls" in {family.name for family in open_families(said.text)}


def test_promtool_finds_nothing_to_say(told: History, serve: Serve) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    tallies = Tallies()
    text = serve(
        told.engine.url, running=lambda: view_of(source_view("gcore", tallies), tallies=tallies)
    ).get("metrics")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text.content, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_database_that_is_not_there_leaves_what_the_process_knows(serve: Serve, tmp_path: Path) -> None:
    text = serve(f"sqlite:///{tmp_path / 'none.db'}", running=view_of).get("metrics").text
    assert value(text, "database_up") == 0
    assert value(text, "missed_polls_total") == 3
    assert value(text, "database_size_bytes") is None
    assert any(name.startswith("process_") for name, _ in values(text))


def test_a_database_that_does_not_answer_keeps_no_scrape_waiting(
    postgresql_template: sa.URL, serve: Serve
) -> None:
    """A target that answers too late counts as down, and hides what the process knows."""
    database = new_database(postgresql_template, postgresql_template.database)
    with Wire(Path(str(database.query["host"])) / ".s.PGSQL.5432") as wire:
        far = database.difference_update_query(["host"]).set(host="127.0.0.1", port=wire.port)
        client = serve(far.render_as_string(hide_password=False), running=view_of)
        assert value(client.get("metrics").text, "database_up") == 1
        wire.cut()
        for waits in ("0.3", "0.5"):
            text = client.get("metrics", headers={TIMEOUT_HEADER: waits}).text
            assert wire.is_cut
            assert value(text, "database_up") == 0
            assert value(text, "missed_polls_total") == 3
        wire.restore()
        until(lambda: value(client.get("metrics").text, "database_up") == 1)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("", 7.0), ("10", 7.0), ("5", 3.5), ("0.1", 0.07), ("60", 7.0), ("-1", 7.0), ("nan", 7.0), ("1e9", 7.0)],
)
def test_the_database_gets_less_time_than_prometheus_waits(given: str, seconds: float) -> None:
    assert _patience(given) == pytest.approx(seconds)


def test_a_cloud_that_makes_up_states_makes_up_no_series(history: History, serve: Serve) -> None:
    names = ['a"b', "c\\d\ne", "\N{RIGHT-TO-LEFT OVERRIDE}x", "y" * 10_000, "y" * 10_001, "<script>"]
    made_up = names + [f"STATE-{n}" for n in range(300)]
    history.poll(
        [region(n, state, keystone=keystone(n + 1000, state=state)) for n, state in enumerate(made_up)], at=0
    )
    text = serve(history.engine.url).get("metrics").text
    counted = {labels: each for (name, labels), each in values(text).items() if name == "regions"}
    assert len(counted) <= MOST_STATES + 1
    assert sum(counted.values()) == len(made_up)
    assert value(text, "regions", source="gcore", state="OTHER") == len(made_up) - MOST_STATES
    assert not [name for name, _ in values(text) if name == "region_state"]
    assert max(len(line) for line in text.splitlines()) < 500


def test_states_of_each_region_have_a_series_while_there_are_few(
    history: History, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_module, "MOST_REGIONS", 3)
    history.poll([region(n, state="x" * 200 + str(n % 2)) for n in range(3)], at=0)
    text = serve(history.engine.url).get("metrics").text
    assert sum(1 for name, _ in values(text) if name == "region_state") == 3 * 8
    history.poll([region(n) for n in range(4)], at=60)
    text = serve(history.engine.url).get("metrics").text
    assert not [name for name, _ in values(text) if name == "region_state"]


def test_the_documentation_has_every_metric() -> None:
    text = metrics_tables.FILE.read_text(encoding="utf-8")
    assert metrics_tables.with_tables(text) == text, "python -m tests.support.metrics_tables --write"
    assert text.count(f"| `{PREFIX}") == len(OF_PROCESS) + len(OF_DATABASE)


def test_metrics_are_asked_for_beside_pages_that_take_all_threads(history: History) -> None:
    """Pages may wait for one another; Prometheus and supervisors wait for none of them."""
    history.poll([region(1)], at=0)
    with serving(history.engine.url, http_max_requests=1) as client:
        entered, leave = threading.Event(), threading.Event()

        def hold(*_: Any) -> None:
            if not entered.is_set():
                entered.set()
                leave.wait(30)

        sa.event.listen(sa.Engine, "before_cursor_execute", hold)
        with ThreadPoolExecutor(1) as pool:
            page = pool.submit(httpx.get, f"{client.base_url}api/v1/regions", timeout=60)
            assert entered.wait(30)
            try:
                assert client.get("metrics").status_code == 200
                assert client.get("readyz").json()["sources"] == 1
                assert not page.done()
            finally:
                leave.set()
            assert page.result().status_code == 200
        sa.event.remove(sa.Engine, "before_cursor_execute", hold)


def test_how_full_the_disk_is_can_be_said_of_a_file_only(history: History, serve: Serve) -> None:
    text = serve(history.engine.url).get("metrics").text
    free, size = (value(text, f"disk_{what}_bytes") for what in ("free", "size"))
    if (path := sqlite_path(history.engine)) is None:
        assert (free, size) == (None, None)
    else:
        assert free is not None
        assert 0 < free < shutil.disk_usage(path.parent).total == size


def test_a_gap_that_is_open_grows(history: History) -> None:
    history.poll([region(1)], at=0)
    for minutes in (1, 10, 20):
        with reading(history.engine) as connection:
            found = figures(connection, history.time(60 * minutes))
        assert found.gap_seconds["gcore"] == (
            timedelta(minutes=minutes).total_seconds() if minutes > 2.5 else 0
        )
