"""Standard output and standard error as other people's machines have them: real processes, real descriptors."""

from __future__ import annotations

import itertools
import os
import pty
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.database.engine import open_engine
from tests.support import forks
from tests.support.builders import answer, body, region
from tests.support.demo import is_setting
from tests.support.loopback import Peer, Server, reply
from tests.support.paths import ROOT

NAME = "Zürich – 東京"


@dataclass(frozen=True)
class Machine:
    """A database with one region whose name ASCII lacks, and an API that shows another state of it."""

    url: str
    server: Server

    def sh(self, script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Run a line of shell in which `collector` is the command."""
        own = {n: v for n, v in os.environ.items() if not is_setting(n) and not n.startswith(("LC_", "LANG"))}
        return subprocess.run(
            ["bash", "-c", script.replace("collector ", f"{shlex.quote(sys.executable)} -m collector ")],
            env=own
            | {
                "COLLECTOR_DATABASE_URL": self.url,
                "COLLECTOR_BASE_URL": self.server.url,
                "COLLECTOR_API_KEY": "a key",
                "NO_PROXY": "*",
            }
            | environment,
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=60,
        )

    def polls(self) -> int:
        engine = open_engine(self.url, read_only=True)
        with engine.connect() as connection:
            number = connection.exec_driver_sql("SELECT SUM(polls) FROM observations").scalar_one()
        engine.dispose()
        return int(number)


@pytest.fixture(scope="module")
def machine(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One for all tests: each poll shows another state than the one before."""
    path = tmp_path_factory.mktemp("machine") / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    states = itertools.cycle(("MAINTENANCE", "ACTIVE"))

    def changed(peer: Peer) -> None:
        reply(body=body(answer([region(1, next(states), display_name=NAME)])))(peer)

    with Server(changed) as server:
        machine = Machine(f"sqlite:///{path}", server)
        assert machine.sh("collector poll").returncode == 0
        yield machine


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "environment", "out", "err"),
    [
        ("collector poll", {"PYTHONIOENCODING": "ascii"}, r"Z\xfcrich \u2013 \u6771\u4eac went from", ""),
        ("collector poll", {"PYTHONIOENCODING": "latin-1:strict"}, r"\u2013 \u6771\u4eac went from", ""),
        ("collector poll", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, r"\u6771", ""),
        ("collector poll", {"LANG": "C"}, f"{NAME} went from", ""),
        ("collector poll", {"PYTHONIOENCODING": "utf-16"}, "went from", ""),
        ("collector poll >&-", {}, "", ""),
        ("collector poll 2>&-", {}, f"{NAME} went from", ""),
        ("collector poll <&- >&- 2>&-", {}, "", ""),
        ("collector poll >/dev/full", {}, "", f"{NAME} went from"),
        ("collector poll >/dev/full 2>/dev/full", {}, "", ""),
        ("collector poll 1</dev/null", {}, "", f"{NAME} went from"),
        ("set -o pipefail; collector poll | true", {}, "", ""),
    ],
)
def test_a_poll_that_was_recorded_is_a_good_one_whatever_becomes_of_its_lines(
    machine: Machine, script: str, environment: dict[str, str], out: str, err: str
) -> None:
    before = machine.polls()
    done = machine.sh(script, **environment)
    said = done.stdout.decode(environment.get("PYTHONIOENCODING", "utf-8").partition(":")[0])
    assert (done.returncode, machine.polls()) == (0, before + 1), done
    assert out in said
    assert err in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "code", "err"),
    [
        ("collector regions >/dev/full", 1, "standard output can't be written: No space left on device"),
        ("collector regions --format csv >/dev/full", 1, "standard output can't be written"),
        ("collector status --format json >/dev/full", 1, "standard output can't be written"),
        ("collector --help >/dev/full", 1, "standard output can't be written"),
        ("collector regions 2>/dev/full >/dev/full", 1, ""),
        ("set -o pipefail; collector regions | true", 1, ""),
        ("collector regions >&-", 0, ""),
        ("collector history nowhere 2>/dev/full", 2, ""),
        ("collector history nowhere 2>&-", 2, ""),
    ],
)
def test_an_answer_that_nobody_got_is_no_good_one(machine: Machine, script: str, code: int, err: str) -> None:
    done = machine.sh(script)
    assert done.returncode == code, done
    assert len(done.stderr.splitlines()) == bool(err), done.stderr
    assert err in done.stderr.decode()


@pytest.mark.long
def test_a_database_does_not_take_the_place_of_a_stream_that_was_closed(machine: Machine) -> None:
    """A line for people would be written into the file."""
    assert machine.sh("collector poll <&- >&- 2>&-").returncode == 0
    assert machine.sh("collector db check").returncode == 0
    assert machine.sh("collector audit verify >/dev/null").returncode == 0


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
)
def test_the_service_colours_its_lines_where_that_is_wanted(
    machine: Machine, environment: dict[str, str], is_coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    own = {n: v for n, v in os.environ.items() if not is_setting(n) and n != "TERM"}
    settings = {
        "DATABASE_URL": machine.url,
        "BASE_URL": machine.server.url,
        "API_KEY": "a key",
        "HTTP_BIND": "off",
    }
    own |= environment | {f"COLLECTOR_{name}": value for name, value in settings.items()} | {"NO_PROXY": "*"}
    with forks.Popen([sys.executable, "-m", "collector", "run"], env=own, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        while b"started" not in said and select.select([ours], [], [], 30)[0]:
            said += os.read(ours, 4096)
        process.terminate()
        assert process.wait(30) == 0
    os.close(ours)
    assert (b"\x1b[" in said) is is_coloured


@pytest.mark.long
def test_a_current_folder_that_is_gone_is_named_where_it_is_needed(machine: Machine) -> None:
    gone = "cd $(mktemp -d); rmdir $PWD; "
    assert machine.sh(f"{gone} collector poll", PYTHONPATH=str(ROOT)).returncode == 0
    relative = {"COLLECTOR_DATABASE_URL": "sqlite:///collector.db", "PYTHONPATH": str(ROOT)}
    done = machine.sh(f"{gone} collector poll", **relative)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done
    assert b"current folder is gone" in done.stderr
    assert b"current folder is gone" in machine.sh(f"{gone} collector doctor --offline", **relative).stdout
    done = machine.sh(f"{gone} collector timeline -o x.svg", PYTHONPATH=str(ROOT))
    assert (done.returncode, b"current folder is gone" in done.stderr, b"Traceback" in done.stderr) == (
        1,
        True,
        False,
    )


def test_a_machine_without_a_home_polls(machine: Machine) -> None:
    assert machine.sh("unset HOME; collector poll").returncode == 0
