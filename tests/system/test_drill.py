"""A drill: what Compose starts runs here as processes, and is broken as the runbooks describe.

Two collectors, PostgreSQL behind a wire that can be cut, a simulated cloud, and Prometheus with our settings and rules
unchanged, except that it looks every three seconds. Each fault has to be found from an alert and the log, and is
repaired as its runbook says. Then the alert ends, and nothing but the time of the fault is lost.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from collector.database.engine import open_engine
from collector.database.transactions import writing
from collector.simulator.scenario import KEY
from collector.simulator.server import Simulator
from tests.support.command import collector
from tests.support.databases import new_database
from tests.support.deployed import DEPLOY
from tests.support.loopback import unused_port
from tests.support.services import Running, Start, simulator, start, until  # noqa: F401 - fixtures
from tests.support.tools import tool
from tests.support.wire import Wire

MINUTES = 60.0


class Prometheus:
    """A running Prometheus, asked for its alerts."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, what: str) -> Any:
        try:
            with urllib.request.urlopen(self._url + what, timeout=10) as said:
                return json.load(said)["data"]
        except OSError:
            return {}

    def sees(self, number: int) -> bool:
        targets = self.ask("targets").get("activeTargets", [])
        return [each["health"] for each in targets] == ["up"] * number

    def firing(self) -> dict[str, Any]:
        """Firing alerts, by name."""
        alerts = self.ask("alerts").get("alerts", [])
        return {each["labels"]["alertname"]: each for each in alerts if each["state"] == "firing"}

    def reports(self, name: str, minutes: float) -> Any:
        """Wait until an alert fires, and return it."""
        return until(lambda: self.firing().get(name), minutes * MINUTES)

    def no_longer_reports(self, name: str) -> None:
        until(lambda: name not in self.firing(), 2 * MINUTES)


@contextmanager
def prometheus(folder: Path, ports: list[int]) -> Iterator[Prometheus]:
    program = tool("prometheus", package="prometheus")
    settings = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "3s"}
    settings["rule_files"] = [str(DEPLOY / "prometheus/rules.yml")]
    (job,) = settings["scrape_configs"]
    del job["dns_sd_configs"], job["authorization"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    port = unused_port()
    command = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            yield Prometheus(port)
        finally:
            running.terminate()


def polls(engine: sa.Engine, **where: Any) -> int:
    conditions = " AND ".join(["1 = 1", *(f"{name} = :{name}" for name in where)])
    with engine.connect() as connection:
        query = sa.text(f"SELECT COALESCE(SUM(polls), 0) FROM observations WHERE {conditions}")
        return int(connection.execute(query, where).scalar_one())


@pytest.mark.slow
def test_three_faults_are_found_and_repaired_as_the_runbooks_say(
    tmp_path: Path,
    start: Start,  # noqa: F811 - the fixture
    simulator: Simulator,  # noqa: F811 - the fixture
    postgresql_template: sa.URL,
) -> None:
    database = new_database(postgresql_template, postgresql_template.database)
    url = database.render_as_string(hide_password=False)
    engine = open_engine(url)
    ports = [unused_port(), unused_port()]
    socket = Path(str(database.query["host"])) / ".s.PGSQL.5432"
    with Wire(socket) as wire, prometheus(tmp_path, ports) as watching:
        cut_off = database.difference_update_query(["host"]).set(host="127.0.0.1", port=wire.port)
        replicas: list[Running] = [
            start(
                cut_off.render_as_string(hide_password=False),
                base_url=simulator.base_url,
                interval="20s",
                http_bind=f"127.0.0.1:{port}",
            )
            for port in ports
        ]

        def logged(event: str, **where: Any) -> Callable[[], list[Any]]:
            return lambda: [line for each in replicas for line in each.lines(event, **where)]

        until(logged("poll", outcome="ok"))
        assert collector("audit", "verify", "--record", database_url=url).code == 0
        until(lambda: watching.sees(2))
        assert {each["labels"]["severity"] for each in watching.firing().values()} <= {"info"}

        # The key is revoked. CollectorSourceStale, and the log names the cause: 401. A new key ends it.
        simulator.keys.clear()
        alert = watching.reports("CollectorSourceStale", 5)
        assert alert["labels"]["source"] == "gcore"
        assert until(logged("poll", outcome="failed", cause="http_status"))[0]["http_status"] == 401
        assert "stale" in collector("status", database_url=url).out
        simulator.keys[KEY] = False
        watching.no_longer_reports("CollectorSourceStale")
        assert polls(engine, outcome="failed") >= 5

        # The database goes. CollectorDatabaseAway, and answers wait in memory. Once it is back, nothing is missing.
        written, asked = polls(engine), simulator.requests
        wire.cut()
        watching.reports("CollectorDatabaseAway", 8)
        assert until(logged("not_written", condition="database"))
        waiting = simulator.requests - asked
        assert waiting >= 10
        wire.restore()
        until(logged("recovered"))
        watching.no_longer_reports("CollectorDatabaseAway")
        assert polls(engine) - written >= waiting
        assert not logged("given_up")()
        assert not logged("lease_lost")()

        # Somebody edits a row. CollectorVerifyFailed names the source; a rebuild derives the row again.
        with writing(engine) as connection:
            edit = (
                "UPDATE region_versions SET state = 'FROZEN' WHERE region_id = (SELECT MIN(id) FROM regions)"
            )
            assert connection.execute(sa.text(edit)).rowcount
        found = collector("audit", "verify", "--record", database_url=url)
        assert found.code == 1
        assert "region_versions" in found.out
        alert = watching.reports("CollectorVerifyFailed", 1)
        assert alert["annotations"]["runbook_url"] == "docs/operations.md#collectorverifyfailed"
        assert collector("db", "rebuild", database_url=url).code == 0
        assert collector("audit", "verify", "--record", database_url=url).code == 0
        watching.no_longer_reports("CollectorVerifyFailed")

        for each in replicas:
            assert each.stop() == 0
    coverage = collector("coverage", "--format", "json", database_url=url).json
    assert [gap["cause"] for gap in coverage] == ["http_status"]
    engine.dispose()
