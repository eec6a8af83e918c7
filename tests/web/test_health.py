"""`/healthz` and `/readyz`: does the process live, and is it ready?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from collector.database.transactions import writing
from collector.settings.models import Settings, Source
from collector.web.health import MOST_REASONS
from tests.support.builders import region
from tests.support.history import NOON, History, failure
from tests.support.service_views import source_view, view_of
from tests.web.conftest import Serve

Clock = Callable[[], datetime]


def named(*names: str) -> dict[str, Any]:
    """Settings with these sources."""
    return {"sources": tuple(Source(name=name) for name in names)}


def ask(client: httpx.Client, path: str) -> tuple[int, dict[str, Any]]:
    said = client.get(path)
    assert said.headers["cache-control"] == "no-store"
    return said.status_code, said.json()


# /healthz


def test_a_process_that_polls_is_alive_whatever_the_database_and_the_cloud_do(
    serve: Serve, tmp_path: Path
) -> None:
    """One source hangs, the others do not; the database is not there."""
    sources = [
        source_view("hangs", seconds_since_attempt=500.0),
        source_view("away", seconds_since_attempt=5.0, condition="database"),
        source_view("elsewhere", seconds_since_attempt=5.0, condition="standby"),
    ]
    client = serve(f"sqlite:///{tmp_path / 'none.db'}", running=lambda: view_of(*sources))
    assert ask(client, "healthz") == (200, {"status": "alive", "role": "collector", "reasons": []})


def test_a_process_that_attempts_nothing_is_stuck(serve: Serve, tmp_path: Path) -> None:
    sources = [
        source_view("a", seconds_since_attempt=91.0),
        source_view("b", seconds_since_attempt=500.0),
    ]
    client = serve(f"sqlite:///{tmp_path / 'none.db'}", running=lambda: view_of(*sources))
    status, said = ask(client, "healthz")
    assert (status, said["status"]) == (503, "stuck")
    assert said["reasons"] == ["no poll was attempted for 91 s"]


def test_a_process_that_stops_is_not_stuck(serve: Serve, tmp_path: Path) -> None:
    stopping = view_of(source_view("a", seconds_since_attempt=500.0), is_stopping=True)
    client = serve(f"sqlite:///{tmp_path / 'none.db'}", running=lambda: stopping)
    assert ask(client, "healthz")[0] == 200


def test_pages_alone_are_alive(serve: Serve, tmp_path: Path) -> None:
    client = serve(f"sqlite:///{tmp_path / 'none.db'}")
    assert ask(client, "healthz") == (200, {"status": "alive", "role": "web", "reasons": []})


# /readyz


def test_fresh_is_ready_and_stale_is_not(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    now = [history.time(60)]
    client = serve(history.engine.url, clock=lambda: now[0])
    assert ask(client, "readyz") == (200, {"status": "ready", "sources": 1, "bad": 0, "reasons": []})
    now[0] = history.time(151)
    status, said = ask(client, "readyz")
    assert (status, said["status"], said["bad"]) == (503, "unready", 1)
    assert said["reasons"] == ["gcore: no successful poll for too long"]


def test_a_failed_poll_is_no_reason_to_be_unready(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    history.poll(failure("http_status", http_status=503, message="down for a while"), at=60)
    status, said = ask(serve(history.engine.url, clock=lambda: history.time(61)), "readyz")
    assert (status, said["status"]) == (200, "degraded")
    assert said["reasons"] == ["gcore: the newest poll failed: down for a while"]


def test_a_required_anchor_that_is_missing_is_no_reason_to_be_unready(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    anchor: Any = [{"to": "syslog:", "mode": "required"}]
    client = serve(history.engine.url, clock=lambda: history.time(1), anchor=anchor)
    status, said = ask(client, "readyz")
    assert (status, said["status"]) == (200, "degraded")
    assert said["reasons"] == ["gcore: the required anchor syslog has no digest of it yet"]


@pytest.mark.parametrize(
    ("most_bad", "bad", "status"),
    [
        ("50%", 1, 200),
        ("50%", 2, 200),
        ("50%", 3, 503),
        ("0", 0, 200),
        ("0", 1, 503),
        (3, 3, 200),
        ("100%", 4, 503),
    ],
)
def test_one_bad_source_of_many_does_not_make_every_replica_unready(
    engine: sa.Engine, serve: Serve, most_bad: int | str, bad: int, status: int
) -> None:
    names = [f"s{n}" for n in range(4)]
    for number, name in enumerate(names):
        History(engine, name=name).poll([region(1)], at=-3600 if number < bad else 0)
    client = serve(engine.url, clock=lambda: NOON, http_ready_max_bad=most_bad, **named(*names))
    got, said = ask(client, "readyz")
    assert (got, said["bad"], said["sources"]) == (status, bad, 4)
    assert len(said["reasons"]) == bad


def test_a_source_that_left_the_settings_does_not_count(engine: sa.Engine, serve: Serve) -> None:
    History(engine, name="old").poll([region(1)], at=-3600)
    History(engine, name="new").poll([region(1)], at=0)
    client = serve(engine.url, clock=lambda: NOON, http_ready_max_bad=0, **named("new"))
    assert ask(client, "readyz") == (200, {"status": "ready", "sources": 1, "bad": 0, "reasons": []})


def test_a_source_of_the_settings_that_was_never_polled_is_bad_and_has_a_place_everywhere(
    engine: sa.Engine, serve: Serve
) -> None:
    History(engine, name="polled").poll([region(1)], at=0)
    client = serve(engine.url, clock=lambda: NOON, **named("polled", "never"))
    status, said = ask(client, "readyz")
    assert (status, said["reasons"]) == (200, ["never: in the settings, but never polled"])
    for path in ("/", "/coverage", "/coverage?source=never", "/api/v1/sources", "/metrics"):
        got = client.get(path)
        assert got.status_code == 200, path
        assert "never" in got.text, path
    rows = client.get("/api/v1/sources").json()["sources"]
    assert [(row["source"], row["verdict"], row["head"] is None) for row in rows] == [
        ("polled", "good", False),
        ("never", "stale", True),
    ]


def test_what_this_process_cannot_write_counts(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    for condition, status in (
        ("refused", 503),
        ("database", 503),
        ("standby", 200),
        ("lost", 200),
        (None, 200),
    ):
        view = view_of(source_view(condition=condition))
        client = serve(history.engine.url, clock=lambda: NOON, running=lambda v=view: v)
        assert ask(client, "readyz")[0] == status, condition


def test_a_process_that_stops_is_not_ready(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    stopping = view_of(source_view(), is_stopping=True)
    client = serve(history.engine.url, clock=lambda: NOON, running=lambda: stopping)
    status, said = ask(client, "readyz")
    assert (status, said["reasons"]) == (503, ["this process is stopping"])


def test_before_the_first_poll_nothing_is_ready(database_url: str, serve: Serve) -> None:
    assert ask(serve(database_url), "readyz") == (
        503,
        {"status": "unready", "sources": 0, "bad": 0, "reasons": ["nothing was ever polled"]},
    )


def test_another_schema_and_older_rules_say_so(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    with writing(history.engine) as connection:
        connection.exec_driver_sql("UPDATE sources SET derivation_revision = 1")
    status, said = ask(serve(history.engine.url), "readyz")
    assert status == 503
    assert "older version derived" in said["reasons"][0]
    with writing(history.engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    status, said = ask(serve(history.engine.url), "readyz")
    assert status == 503
    assert "collector db upgrade" in said["reasons"][0]


def test_a_database_that_is_not_there_says_so(serve: Serve, tmp_path: Path) -> None:
    status, said = ask(serve(f"sqlite:///{tmp_path / 'none.db'}"), "readyz")
    assert (status, said["status"]) == (503, "unready")
    assert "there is no database" in said["reasons"][0]


def test_many_reasons_are_cut(engine: sa.Engine, serve: Serve) -> None:
    for number in range(MOST_REASONS + 3):
        History(engine, name=f"s{number:02}").poll([region(1)], at=-3600)
    _, said = ask(serve(engine.url, clock=lambda: datetime.now(UTC)), "readyz")
    assert len(said["reasons"]) == MOST_REASONS + 1
    assert said["reasons"][-1] == "and 3 more"


# The probe


def probe(path: str, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {
        "COLLECTOR_DATABASE_URL": url,
        **{f"COLLECTOR_HTTP_{name}": each for name, each in environment.items()},
    }
    return subprocess.run(
        [sys.executable, "-m", "collector.web.probe", path],
        env=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_probe_asks_the_process_of_the_same_settings(serve: Serve, sqlite_template: Path) -> None:
    url = f"sqlite:///{sqlite_template}"
    client = serve(url)
    bind = f"{client.base_url.host}:{client.base_url.port}"
    alive = probe("healthz", url, BIND=bind)
    assert (alive.returncode, '"alive"' in alive.stdout) == (0, True)
    unready = probe("readyz", url, BIND=bind)
    assert (unready.returncode, "nothing was ever polled" in unready.stdout) == (1, True)
    everywhere = probe("healthz", url, BIND=f"0.0.0.0:{client.base_url.port}")
    assert everywhere.returncode == 0


@pytest.mark.long
def test_the_probe_of_nobody_fails_and_without_pages_it_asks_for_the_status(
    history: History, tmp_path: Path
) -> None:
    url = history.engine.url.render_as_string(hide_password=False)
    history.poll([region(1)], at=(datetime.now(UTC) - NOON).total_seconds())
    assert probe("healthz", url, BIND="127.0.0.1:9").returncode == 1
    fresh = probe("readyz", url, BIND="off")
    assert fresh.returncode == 0, fresh.stderr
    assert probe("readyz", f"sqlite:///{tmp_path / 'none.db'}", BIND="off").returncode == 1
    assert probe("readyz", url, BIND="nonsense").returncode == 1
    assert Settings().http_ready_max_bad == "50%"
