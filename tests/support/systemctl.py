"""As much of systemctl as docs/operations.md uses, below a folder that stands for the root of the file system.

    python -m tests.support.systemctl ROOT start|stop|restart|reload|daemon-reload|enable [--now] gcore-collector

It reads the real unit and its drop-ins: credentials, environment, command. It starts that command, waits until it says
that it is ready and each source was polled once, and ends it by SIGTERM. What it leaves out is the sandbox.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

PATIENCE = 60.0


class Unit:
    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self.pid_file, self.log = root / f"{name}.pid", root / f"{name}.log"

    def lines(self) -> list[tuple[str, str]]:
        """Settings of the unit and its drop-ins, in their order."""
        folder = self.root / "etc/systemd/system"
        files = [folder / f"{self.name}.service", *sorted((folder / f"{self.name}.service.d").glob("*.conf"))]
        texts = [line for file in files for line in file.read_text().splitlines() if re.match(r"\w+=", line)]
        return [(key, value) for key, _, value in (text.partition("=") for text in texts)]

    def start(self) -> None:
        said = self.lines()
        state, credentials = self.root / "var/lib", self.root / "run/credentials" / f"{self.name}.service"
        credentials.mkdir(parents=True, exist_ok=True)
        (state / self.name).mkdir(parents=True, exist_ok=True)
        environment = {n: v for n, v in os.environ.items() if not n.startswith("COLLECTOR_")}
        for key, value in said:
            full = value.replace("%S", str(state)).replace("%d", str(credentials))
            match key:
                case "LoadCredential":
                    name, _, origin = full.partition(":")
                    shutil.copy(self.inside(origin), credentials / name)
                case "Environment":
                    name, _, text = full.partition("=")
                    environment[name] = text
        for key, value in said:  # wins over the lines of the unit
            if key == "EnvironmentFile":
                for line in self.inside(value.lstrip("-")).read_text().splitlines():
                    if "=" in line and not line.startswith("#"):
                        name, _, text = line.partition("=")
                        environment[name] = text
        for key, value in said:
            for name in value.split() if key == "UnsetEnvironment" else ():
                environment.pop(name, None)
        environment |= json.loads(os.environ.get("UNIT_ENVIRONMENT", "{}"))
        (command,) = [value for key, value in said if key == "ExecStart"]
        program, *arguments = shlex.split(command)
        with self.log.open("ab") as log:
            begins = log.tell()
            process = subprocess.Popen(
                [self.inside(program), *arguments],
                env=environment,
                cwd=state / self.name,
                stderr=log,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.pid_file.write_text(str(process.pid))
        self._until(lambda: self._is_ready(begins), begins)

    def stop(self) -> None:
        if self.pid_file.exists():
            pid = int(self.pid_file.read_text())
            os.kill(pid, signal.SIGTERM)
            self._until(lambda: not self._lives(pid), 0)
            self.pid_file.unlink()

    def reload(self) -> None:
        begins = self.log.stat().st_size
        os.kill(int(self.pid_file.read_text()), signal.SIGHUP)
        self._until(lambda: any(line["event"] == "settings_reloaded" for line in self._said(begins)), begins)

    def inside(self, path: str) -> Path:
        """An absolute path below the root, unless it is there already."""
        return Path(path) if path.startswith(str(self.root)) else self.root / path.lstrip("/")

    def _said(self, begins: int) -> list[dict[str, str]]:
        whole = self.log.read_bytes()[begins:].decode().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def _is_ready(self, begins: int) -> bool:
        lines = self._said(begins)
        sources = [line["sources"] for line in lines if line["event"] == "started"]
        return (
            bool(sources) and len({line["source"] for line in lines if line["event"] == "poll"}) == sources[0]
        )

    def _lives(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def _until(self, found: object, begins: int) -> None:
        assert callable(found)
        ends = monotonic() + PATIENCE
        while not found():
            if monotonic() > ends:
                sys.exit(f"gcore-collector: no answer\n{self.log.read_text()[begins:]}")
            sleep(0.05)


def main(root: str, action: str, *rest: str) -> None:
    if action == "daemon-reload":
        return
    unit = Unit(Path(root), rest[-1])
    if action in ("stop", "restart"):
        unit.stop()
    if action in ("start", "restart") or (action == "enable" and "--now" in rest):
        unit.start()
    if action == "reload":
        unit.reload()


if __name__ == "__main__":
    main(*sys.argv[1:])
