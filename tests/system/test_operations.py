"""docs/operations.md: each block of commands does what the page says, and the table of the log is complete.

Absolute paths lie below a folder of the test, `systemctl` starts and stops real processes, a simulator is the cloud.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector.clock import utc_now
from collector.database import migrate
from collector.database.engine import open_engine
from collector.simulator.scenario import KEY
from collector.simulator.server import Simulator
from tests.support.builders import answer, keystone, region
from tests.support.databases import execute, new_database, postgresql_program
from tests.support.log_events import documented, logged
from tests.support.paths import DATA, ROOT
from tests.support.services import OTHER_KEY, simulator  # noqa: F401 - a fixture

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE))
SITE = f"import site; site.addsitedir('{sysconfig.get_path('purelib')}')"
URL = re.compile(r"postgresql://collector@db\.internal/(\w+)")


def blocks(heading: str) -> list[str]:
    return re.findall(r"(?ms)^```sh\n(.*?)^```", SECTIONS[heading])


ALWAYS = re.findall(r"(?ms)^```sh\n(.*?)^```", PAGE[: PAGE.index("\n## ")])


@dataclass
class Machine:
    """What the page calls the machine."""

    root: Path
    cloud: Simulator
    server: sa.URL | None = None
    databases: dict[str, sa.URL] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.root / "var/lib/gcore-collector"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.state}/collector.db"

    def translated(self, text: str) -> str:
        """Paths below the test's folder; the test's databases, keys and clouds."""
        text = re.sub(r"(?<![\w.])/(opt|etc|var|run|srv)/", rf"{self.root}/\1/", text)
        text = text.replace("1234$abcdef", KEY)
        for key in ("5678$another-reseller-key", "5678$another-key"):
            text = text.replace(key, OTHER_KEY)
        more = f'base_url = "{self.cloud.base_url}"\ninterval = "1s"'
        text = text.replace('name = "gcore"', f'name = "gcore"\n{more}')
        text = text.replace('base_url = "https://api.reseller.example"', more)
        return URL.sub(lambda found: self.place(found[1]), text)

    def place(self, name: str) -> str:
        """The URL of a database of PostgreSQL, as people write it."""
        assert self.server is not None
        if name not in self.databases and name in ("postgres", "restored"):
            self.databases[name] = self.server.set(database=name)
        elif name not in self.databases:
            self.databases[name] = new_database(self.server)
        return self.databases[name].set(drivername="postgresql").render_as_string(hide_password=False)

    def run(self, *texts: str) -> str:
        """Run blocks as a person pastes them; each command must succeed. Returns what they said."""
        script = "\n".join(self.translated(text) for text in (*ALWAYS, *texts))
        unit = {
            "COLLECTOR_BASE_URL": self.cloud.base_url,
            "COLLECTOR_INTERVAL": "1s",
            "COLLECTOR_HTTP_BIND": "off",
        }
        if "[[sources]]" in script:
            unit = {"COLLECTOR_HTTP_BIND": "off"}
        own = {n: v for n, v in os.environ.items() if not n.startswith("COLLECTOR_")}
        path = f"{self.root}/bin:{postgresql_program('')}:{own['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=own | {"PATH": path, "PYTHONPATH": str(ROOT), "UNIT_ENVIRONMENT": json.dumps(unit)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"ended with {done.returncode}:\n{script}\n\n{done.stdout}"
        return done.stdout

    def collector(self, *arguments: str) -> str:
        return self.run(shlex.join(["collector", *arguments]))

    def program(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)


@pytest.fixture
def empty_machine(tmp_path: Path, simulator: Simulator) -> Iterator[Machine]:  # noqa: F811 - the fixture
    machine = Machine(tmp_path / "machine", simulator)
    for folder in ("etc/systemd/system", "opt", "var/backups", "var/lib", "run", "srv"):
        (machine.root / folder).mkdir(parents=True)
    here = shlex.quote(sys.executable)
    machine.program("bin/systemctl", f'exec {here} -m tests.support.systemctl {machine.root} "$@"')
    # A venv of this Python, with what the tests have: pip finds everything there and downloads nothing.
    machine.program(
        "bin/python3",
        f'{here} "$@"; [ "$2" = venv ] || exit 0\n'
        f'for site in "$3"/lib/python*/site-packages; do echo "{SITE}" > $site/tests.pth; done',
    )
    yield machine
    machine.run("systemctl stop gcore-collector")
    for name in ("restored",):
        if name in machine.databases and machine.server is not None:
            execute(machine.server.set(database="postgres"), f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture
def machine(empty_machine: Machine) -> Machine:
    """The machine after the page's Install, without the minute that installing takes."""
    machine = empty_machine
    machine.program("opt/gcore-collector/bin/collector", f'exec {sys.executable} -m collector "$@"')
    machine.program("opt/gcore-collector/bin/pip", "echo pip $*")
    lines = [line for line in blocks("Install")[0].splitlines() if "venv" not in line and "/pip " not in line]
    machine.run("\n".join(lines))
    return machine


@pytest.fixture
def with_postgresql(machine: Machine, postgresql_server: sa.URL) -> Machine:
    machine.server = postgresql_server
    return machine


def count(machine: Machine, url: str | None = None) -> int:
    """Polls on record."""
    engine = open_engine(url or machine.url, read_only=True)
    with closing(engine.connect()) as connection:
        polls = connection.exec_driver_sql("SELECT SUM(polls) FROM observations").scalar()
    engine.dispose()
    return int(polls or 0)


@pytest.mark.long
def test_install_and_install_again(empty_machine: Machine) -> None:
    (block,) = blocks("Install")
    # Without isolation the build takes hatchling from the tests, too.
    here = "export PIP_NO_BUILD_ISOLATION=0 PIP_COMPILE=0"
    said = empty_machine.run(here, block)
    assert "good" in said
    root = empty_machine.root
    assert (root / "etc/gcore-collector/api-key").read_text() == KEY
    assert (root / "etc/gcore-collector/api-key").stat().st_mode & 0o777 == 0o600
    before = count(empty_machine)
    assert before >= 1
    said = empty_machine.run(here, blocks("Upgrade")[0])
    assert "Successfully installed gcore-collector" in said
    assert "are good" in said
    assert count(empty_machine) > before


@pytest.mark.long
def test_ask_with_the_settings_of_the_service(machine: Machine) -> None:
    (block,) = blocks("Ask with the settings of the service")
    file = machine.root / "etc/gcore-collector/environment"
    cloud = f"COLLECTOR_BASE_URL='{machine.cloud.base_url}'"
    file.write_text(file.read_text().replace("#COLLECTOR_BASE_URL=https://api.gcore.com", cloud))
    assert cloud in file.read_text()
    assert "the API answers with" in machine.run(block)
    assert "there is no API key" in machine.run("collector doctor || [ $? = 1 ]")


@pytest.mark.long
def test_back_up_and_restore(with_postgresql: Machine) -> None:
    machine = with_postgresql
    machine.run(*blocks("Back up"))
    (backup,) = (machine.root / "var/backups").glob("collector-*.db")
    kept = count(machine, f"sqlite:///{backup}")
    assert kept >= 1
    damaged = machine.state / "collector.db"
    on_sqlite, on_postgresql = blocks("Restore")
    said = machine.run("systemctl stop gcore-collector", f"printf nonsense > {damaged}", on_sqlite)
    assert "are good" in said
    assert count(machine) > kept
    assert (machine.state / "set-aside/collector.db").read_text() == "nonsense"

    there = machine.place("collector")
    machine.run("systemctl stop gcore-collector", f"collector db copy --to '{there}'")
    assert "are good" in machine.run(on_postgresql)
    assert count(machine, machine.place("restored")) == count(machine, there)


@pytest.mark.long
def test_upgrade_and_roll_back(with_postgresql: Machine) -> None:
    machine = with_postgresql
    on_sqlite, on_postgresql = blocks("Upgrade")
    file = machine.state / "collector.db"
    machine.run("systemctl stop gcore-collector")
    old = gzip.decompress((DATA / "history-0002.db.gz").read_bytes())
    file.write_bytes(old)
    file.with_name("collector.db-wal").unlink(missing_ok=True)
    # The service polls a source of another name: this one was seen at another cloud.
    machine.run(on_sqlite.replace("systemctl start", "true systemctl start"))
    assert (machine.state / "collector.db.before-0002").exists()
    backup = machine.root / "var/backups/collector-before-upgrade.db"
    assert "has schema 0002;" in machine.run(
        f"COLLECTOR_DATABASE_URL=sqlite:///{backup} collector db current || [ $? = 3 ]"
    )
    assert migrate.newest_revision() in machine.collector("db", "current")

    (block,) = blocks("Roll back")
    machine.run(block)
    assert "has schema 0002;" in machine.run("collector db current || [ $? = 3 ]")
    assert (machine.state / "newer/collector.db").exists()
    machine.run("rm " + str(file))

    machine.place("collector")
    said = machine.run(on_postgresql)
    assert "are good" in said


@pytest.mark.long
def test_rotate_a_key(machine: Machine) -> None:
    (block,) = blocks("Rotate a key")
    assert "good" in machine.run(block)
    engine = open_engine(machine.url, read_only=True)
    with closing(engine.connect()) as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM observers").scalar() == 2
    engine.dispose()


@pytest.mark.long
def test_add_and_retire_a_source(machine: Machine) -> None:
    (adding,), (retiring,) = blocks("Add a source"), blocks("Retire a source")
    said = machine.run(adding)
    assert re.search(r"reseller\W+good", said), said
    assert re.search(r"gcore\W+good", said), said
    said = machine.run(retiring)
    assert re.search(r"reseller\W+left", said), said
    assert re.search(r"gcore\W+good", said), said
    assert "reseller" in machine.collector("coverage", "--format", "json") + machine.collector("status")


@pytest.mark.long
def test_move_to_postgresql(with_postgresql: Machine) -> None:
    machine = with_postgresql
    before = count(machine)
    (block,) = blocks("Move to PostgreSQL")
    assert "good" in machine.run(block)
    assert count(machine, machine.place("collector")) > before


@pytest.fixture
def machine_for_years(machine: Machine) -> Machine:
    """The history began 500 days ago, with an answer a week that somebody saved. Each has a secret in its notes."""
    machine.run("systemctl stop gcore-collector")
    for file in machine.state.glob("collector.db*"):
        file.unlink()
    saved = machine.root / "saved"
    saved.mkdir()
    today = utc_now().date()
    for number, days in enumerate(range(500, 0, -7)):
        notes = {"extra": {"notes": f"enter with hunter{number}"}}
        said = answer([region(1, "ACTIVE" if number % 2 else "NEW", keystone=keystone(1001, **notes))])
        (saved / f"{today - timedelta(days)}.json").write_text(json.dumps(said))
    machine.run(f"export COLLECTOR_BASE_URL={machine.cloud.base_url}", f"collector import {saved}")
    machine.run("chown --reference=/var/lib/gcore-collector /var/lib/gcore-collector/collector.db*")
    machine.run("systemctl start gcore-collector")
    return machine


@pytest.mark.long
def test_keep_a_bounded_history_and_redact(machine_for_years: Machine) -> None:
    machine = machine_for_years
    (pruning,) = blocks("Keeping a bounded history")
    said = machine.run(pruning)
    begins = re.findall(r"the history (?:would begin|begins) at (\S+)", said)
    assert len(begins) == 2, said
    assert abs(date.fromisoformat(begins[1]) - (utc_now().date() - timedelta(400))) <= timedelta(8)
    (redacting,) = blocks("A secret slipped in")
    said = machine.run(redacting)
    assert re.search(r"was redacted in \d\d answers", said), said
    assert b"hunter" not in (machine.state / "collector.db").read_bytes()
    verified = machine.collector("audit", "verify")
    assert "good" in verified
    assert "redacted results[].keystone.extra.notes" in verified
    assert begins[1] in verified
    assert "was pruned" in machine.run(
        f"collector regions --as-of {utc_now().date() - timedelta(450)} || [ $? = 2 ]"
    )


@pytest.mark.long
def test_disk_full(machine: Machine) -> None:
    (block,) = blocks("Disk full")
    before = count(machine)
    assert "good" in machine.run(block)
    assert count(machine, f"sqlite:///{machine.root}/srv/gcore-collector/collector.db") > before


def test_every_block_is_run_by_a_test() -> None:
    """The tests above name the headings that have blocks."""
    source = Path(__file__).read_text(encoding="utf-8")
    for heading in SECTIONS:
        if blocks(heading):
            assert f'blocks("{heading}")' in source, heading


# The log


def test_every_event_of_the_log_is_documented_with_its_fields() -> None:
    found, said = logged(), documented(PAGE)
    assert set(said) == set(found)
    for event, (levels, fields) in found.items():
        assert said[event].fields == fields, event
        assert levels <= said[event].levels, event


def test_what_is_logged_in_another_way_is_found(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "def a(x):\n    facts = {'one': 1}\n    facts['two'] = 2\n    facts |= {'three': 3}\n"
        "    log.info('plain', four=4, **{'from': 5})\n    log.error('many', **facts)\n"
        "    log.log(20 if x else 30, 'poll', **facts)\n    log.exception('broke')\n"
    )
    assert logged(tmp_path) == {
        "plain": ({"info"}, {"four", "from"}),
        "many": ({"error"}, {"one", "two", "three"}),
        "poll": (set(), {"one", "two", "three"}),
        "broke": ({"error"}, {"exception"}),
    }
