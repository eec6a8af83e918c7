"""Exports that are killed at the steps that they take on the file system.

    python -m tests.support.killed_exports DATABASE_URL DIR STRIDE   → JSON: what a reader sees in DIR after each kill

A child dies before every step that a reader might notice, and before each STRIDE-th of the others. This process
imports everything once, and forks the children; each goes on from what the last one left. The last is not killed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.reports.export import export
from collector.reports.export.manifest import Asked

ASKED: dict[str, Any] = {"format": "csv", "only": ("regions", "state_transitions")}
_STEPS = {"os.rename", "os.symlink", "os.link", "os.mkdir", "os.remove", "os.rmdir"}


def export_once(url: str, folder: Path) -> None:
    engine = open_engine(url, read_only=True)
    with reading(engine) as connection:
        export(connection, folder, Asked(**ASKED), made_at=datetime.now(UTC), incremental=True)
    engine.dispose()


def seen(folder: Path) -> dict[str, Any]:
    """What a reader sees in the folder that knows only the names of tables."""
    tables: dict[str, Any] = {name: [] for name in ASKED["only"]}
    files = {
        f.relative_to(folder).as_posix(): f
        for name in ASKED["only"]
        for f in (folder / name).glob("**/*.csv")
    }
    for name, file in files.items():
        tables[name.split("/")[0]] += file.read_text().splitlines()[1:]
    manifest = json.loads((folder / "manifest.json").read_bytes())
    listed = {file["path"]: file["sha256"] for table in manifest["tables"] for file in table["files"]}
    found = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    return {
        "rows": {name: sorted(rows) for name, rows in tables.items()},
        "as_listed": listed == found,
        "export": manifest["export"],
        "names": sorted(entry.name for entry in folder.iterdir()),
    }


def shoot(url: str, folder: Path, number: int, stride: int) -> None:
    """Export, and die just before the step of this number.

    All steps count that change the folder itself, which a reader might notice, and of the others each stride-th.
    """
    steps, counted = itertools.count(), itertools.count()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        path = arguments[1] if event == "os.symlink" else arguments[0] if arguments else None
        if event in _STEPS or (event == "open" and str(folder) in str(path)):
            shows = isinstance(path, str | Path) and Path(path).parent == folder and event != "open"
            if (next(steps) % stride == 0 or shows) and next(counted) == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    export_once(url, folder)
    os._exit(0)


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as warm:
        export_once(url, Path(warm))
    found = []
    for number in itertools.count():
        child = os.fork()
        if child == 0:
            try:
                shoot(url, folder, number, int(sys.argv[3]))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        found.append(seen(folder))
        if not os.WIFSIGNALED(status):
            break
    json.dump({"code": os.waitstatus_to_exitcode(status), "seen": found}, sys.stdout)


if __name__ == "__main__":
    main()
