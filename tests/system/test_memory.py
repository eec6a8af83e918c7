"""What a poll costs at most, whatever is answered: memory and CPU time, over more than a hundred shapes of answers.

The default run polls half of them at a small share of the size that a body may have;
`pytest -m slow`, all at full size.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from collector.gcore.body import MAX_BODY
from collector.gcore.document import MAX_AT_ONCE
from tests.support import greedy

MOST_MEMORY, MOST_SECONDS = 300 << 20, 5.0
USUAL = 80 << 20
"""Bytes that a process takes for a usual poll."""
SLACK, SLACK_SECONDS = 24 << 20, 2.0
"""What does not grow with the answer: the cache of SQLite, the parts of a long key."""
SMALL = MAX_BODY // 512


def costs(template: Path, tmp_path: Path, size: int, names: list[str]) -> list[dict[str, Any]]:
    """What a poll of each shape costs, measured in a process each."""
    database = tmp_path / "template.db"
    database.write_bytes(template.read_bytes())
    command = [sys.executable, "-m", "tests.support.greedy", str(database), str(size), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3000)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["shape"] for each in found] == names
    for each in found:
        print(each)
    return found


def too_greedy(found: list[dict[str, Any]], memory: float, seconds: float) -> list[dict[str, Any]]:
    """Those that failed, or took more. `memory`: bytes beyond what was there before the poll."""
    return [
        each
        for each in found
        if "error" in each or each["peak"] - each["before"] > memory or max(each["seconds"]) > seconds
    ]


@pytest.mark.long
def test_cost_grows_with_the_answer_and_no_faster(sqlite_template: Path, tmp_path: Path) -> None:
    share = SMALL / MAX_BODY
    found = costs(sqlite_template, tmp_path, SMALL, greedy.names()[::2])
    assert len(found) >= 50
    memory = (MOST_MEMORY - USUAL) * share + SLACK
    assert too_greedy(found, memory, MOST_SECONDS * share + SLACK_SECONDS) == []


@pytest.mark.slow
def test_no_answer_costs_more_than_300_mib_and_5_seconds(sqlite_template: Path, tmp_path: Path) -> None:
    found = costs(sqlite_template, tmp_path, MAX_BODY, greedy.names())
    found += costs(sqlite_template, tmp_path, MAX_AT_ONCE, greedy.names())
    assert too_greedy(found, MOST_MEMORY - USUAL, 2 * MOST_SECONDS) == []  # a busy machine takes longer
