"""The process of one contestant: does what it reads on stdin, a line each, and says what it cost."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Self


class Worker:
    """A contestant, seen from the outside."""

    def __init__(self, name: str, url: str, folder: Path, postgresql: str) -> None:
        own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        self.name = name
        self._log = (own / "log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.worker", name, url, str(own), postgresql],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def do(self, what: str) -> dict[str, Any]:
        """Raises RuntimeError with the end of what the process said."""
        with suppress(BrokenPipeError):
            print(what, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise RuntimeError(f"{self.name} failed:\n{self._log.read()[-3000:]}")
        said: dict[str, Any] = json.loads(line)
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait(60)
        self._log.close()


def memory(what: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most. `ru_maxrss` would count the one that forked it too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) * 1024


def main() -> None:
    from tests.benchmarks.contestants import ALL

    name, url, folder, postgresql = sys.argv[1:]
    out, sys.stdout = sys.stdout, sys.stderr
    contestant = ALL[name](url, Path(folder), postgresql)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    imported = memory("VmRSS")
    for line in sys.stdin:
        said: dict[str, Any] = {}
        match line.strip():
            case "begin":
                contestant.begin()
            case "prepare":
                contestant.prepare()
            case "poll":
                wall, cpu = perf_counter(), process_time()
                contestant.poll()
                said = {"cpu": process_time() - cpu, "wall": perf_counter() - wall}
            case "settle":
                contestant.settle()
            case "size":
                said = {"bytes": contestant.size()}
            case "memory":
                said = {"bytes": memory("VmHWM") - imported}
        print(json.dumps(said), file=out, flush=True)


if __name__ == "__main__":
    main()
