"""Where a run took place: versions, the machine, and how busy it was. And the CPU time of a PostgreSQL server."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("sqlalchemy", "httpx", "pydantic", "psycopg", "dlt", "duckdb", "pyarrow", "psycopg2-binary")


def has_dlt() -> bool:
    return _version("dlt") is not None


def description() -> dict[str, Any]:
    import sqlite3

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
    versions = {name: found for name in _PACKAGES if (found := _version(name))}
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "versions": {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, **versions},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class ServerTime:
    """CPU seconds of a PostgreSQL server and its backends; those that ended are known to a hundredth of a second."""

    def __init__(self, data: Path) -> None:
        self._postmaster = int((data / "postmaster.pid").read_text().split()[0])

    def seconds(self) -> float:
        tick = os.sysconf("SC_CLK_TCK")
        ended = sum(map(int, _stat(self._postmaster)[13:15])) / tick
        return ended + sum(map(_running, [self._postmaster, *_children(self._postmaster)]))


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _running(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:  # it ended meanwhile
        return 0.0


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
