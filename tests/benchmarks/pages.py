"""Requests pages, the API and metrics while polls run; reports what is served and if polls keep their interval.

    python -m tests.benchmarks.pages                        50 requests a second for five minutes
    python -m tests.benchmarks.pages --regions 1000 --rate 50 --seconds 60 --interval 10

A simulated cloud, `collector run` on a SQLite file, and the clients are separate processes. Requests begin at fixed
times, even if earlier ones are not answered yet, as those of many people do.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx

from collector.simulator.scenario import KEY
from tests.support.loopback import free_port

PATHS = (
    *("/", "/", "/changes", "/coverage", "/regions/gcore/{region}", "/?group=zone", "/evidence/gcore/1"),
    *("/api/v1/regions", "/api/v1/regions/{region}", "/api/v1/events?limit=100", "/api/v1/sources"),
    *("/metrics", "/readyz", "/static/style.css", "/changes.atom", "/regions/gcore/{region}?from=2026-01-01"),
)
MOST = 150
"""How many requests wait at once. Further ones are not sent."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--regions", type=int, default=38)
    parser.add_argument("--interval", type=int, default=5, help="seconds from poll to poll")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(Path(folder), options), indent=1))


def measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What was served and polled while it was asked for."""
    cloud, web = free_port(), free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("COLLECTOR_")} | {
        "COLLECTOR_API_KEY": KEY,
        "COLLECTOR_BASE_URL": f"http://127.0.0.1:{cloud}",
        "COLLECTOR_DATABASE_URL": f"sqlite:///{folder / 'pages.db'}",
        "COLLECTOR_INTERVAL": str(options.interval),
        "COLLECTOR_HTTP_BIND": f"127.0.0.1:{web}",
    }
    command = [sys.executable, "-m", "collector"]
    regions = ["--regions", str(options.regions)]
    log = folder / "run.log"
    with log.open("wb") as lines:
        started = [
            subprocess.Popen(
                [*command, "simulate", "--port", str(cloud), *regions], stdout=subprocess.DEVNULL
            ),
        ]
        sleep(2)
        started.append(subprocess.Popen([*command, "run", "--log-format", "json"], env=own, stderr=lines))
        try:
            url = f"http://127.0.0.1:{web}"
            ids = regions_at(url)
            before = cpu_seconds(started[1].pid)
            answered, waited = asyncio.run(asked(url, ids, options))
            cpu = cpu_seconds(started[1].pid) - before
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(20)
    events = Counter(json.loads(line)["event"] for line in log.read_text().splitlines() if line[:1] == "{")
    with closing(sqlite3.connect(folder / "pages.db")) as history:
        ends = history.execute(
            "SELECT first_at, last_at, longest_interval_ms, polls FROM observations ORDER BY seq"
        ).fetchall()
        (gaps,) = history.execute("SELECT count(*) FROM gaps").fetchone()
    between = [
        (datetime.fromisoformat(later[0]) - datetime.fromisoformat(earlier[1])).total_seconds()
        for earlier, later in itertools.pairwise(ends)
    ]
    whole = (datetime.fromisoformat(ends[-1][1]) - datetime.fromisoformat(ends[0][0])).total_seconds()
    total = sum(answered.values())
    return {
        "asked_per_second": round(total / options.seconds, 1),
        "served_per_second": round(answered[200] / options.seconds, 1),
        "answers": dict(answered),
        "share_of_503": round(answered[503] / total, 3),
        "seconds_to_answer": {
            f"{share:.0%}": round(waited[int(share * (len(waited) - 1))], 2) for share in (0.5, 0.9, 1)
        },
        "polls": sum(polls for *_, polls in ends),
        "polls_due": 1 + int(whole / options.interval + 0.5),
        "longest_from_poll_to_poll_seconds": max(*between, *(longest / 1000 for _, _, longest, _ in ends)),
        "polls_skipped": events["poll_skipped"],
        "gaps": gaps,
        "cpu_share_of_the_process": round(cpu / options.seconds, 2),
        "load": os.getloadavg()[0],
    }


def regions_at(url: str) -> list[int]:
    """Ids of the regions, as soon as the first poll was written."""
    ends = monotonic() + 60
    while monotonic() < ends:
        try:
            found = httpx.get(f"{url}/api/v1/regions", trust_env=False).json().get("regions")
        except httpx.TransportError:
            found = None
        if found:
            return [row["region_id"] for row in found]
        sleep(0.5)
    raise SystemExit("no poll was written within a minute")


async def asked(
    url: str, ids: list[int], options: argparse.Namespace
) -> tuple[Counter[int | str], list[float]]:
    """Statuses of all answers, or why none came, and how long each took."""
    answered, waited = Counter[int | str](), list[float]()
    limits = httpx.Limits(max_connections=MOST, max_keepalive_connections=MOST)

    async def ask(client: httpx.AsyncClient, path: str) -> None:
        began = monotonic()
        try:
            answered[(await client.get(path)).status_code] += 1
        except httpx.TransportError as error:
            answered[type(error).__name__] += 1
        waited.append(monotonic() - began)

    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60, limits=limits) as client:
        begin, asking = monotonic(), set[asyncio.Task[None]]()
        paths = zip(itertools.cycle(PATHS), itertools.cycle(ids), strict=False)
        for number, (path, region) in enumerate(paths):
            due = begin + number / options.rate
            if due > begin + options.seconds:
                break
            await asyncio.sleep(max(due - monotonic(), 0))
            asking = {task for task in asking if not task.done()}
            if len(asking) < MOST:
                asking.add(asyncio.create_task(ask(client, path.format(region=region))))
            else:
                answered["not asked"] += 1
        await asyncio.gather(*asking)
    return answered, sorted(waited)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
