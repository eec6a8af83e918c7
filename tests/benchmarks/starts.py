"""What it takes until `regions` and `status` have answered, against importing what they can't do without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from collector.database import migrate
from collector.database.engine import open_engine
from tests.support.builders import region
from tests.support.history import History

IMPORTS = "import click, sqlalchemy"


def starts(folder: Path, times: int) -> list[dict[str, Any]]:
    """CPU and wall seconds of each command, medians of runs that take turns."""
    url = f"sqlite:///{folder / 'start.db'}"
    engine = open_engine(url)
    migrate.upgrade(engine)
    History(engine).poll([region(i) for i in range(1, 51)])
    engine.dispose()
    commands = {
        IMPORTS: ["-c", IMPORTS],
        "collector regions": ["-m", "collector", "regions"],
        "collector status": ["-m", "collector", "status", "--source", "gcore"],
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    environment = {n: v for n, v in os.environ.items() if not n.startswith("COLLECTOR_")}
    environment |= {"COLLECTOR_DATABASE_URL": url}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for number in range(times + 1):
        for name, arguments in commands.items():
            began = perf_counter()
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode in (0, 1), f"{name}: exit code {process.returncode}"
            if number:  # the first one compiles
                found[name].append((usage.ru_utime + usage.ru_stime, perf_counter() - began))
    return [
        {"command": name, "cpu": median(cpu for cpu, _ in each), "wall": median(wall for _, wall in each)}
        for name, each in found.items()
    ]
