"""docs/attack.py, as it stands on the page: it forges the demo in ten ways, and each is found."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.command import environment
from tests.support.demo import DemoDatabase
from tests.support.paths import ROOT


@pytest.mark.long
def test_each_of_ten_forgeries_is_found(demo_database: DemoDatabase) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "attack.py"), str(demo_database.file)],
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "demo: good; checked " in lines[2]
    assert sum(line.startswith("    FOUND: ") for line in lines) == 10
    assert sum("the database alone: nothing is found" in line for line in lines) == 3
    assert lines[-1] == "every forgery was found"
