"""Ask the process that serves by the same settings how it is: `python -m collector.web.probe healthz|readyz`.

For the container's health check, whose image has no curl. Exits with 0 where the answer is 200, else with 1. Where no
pages are served, `collector status` says how the history is.
"""

from __future__ import annotations

import http.client
import subprocess
import sys

from collector.errors import CollectorError
from collector.settings import Settings, load

SECONDS = 15.0
_DEGRADED = 3


def main(path: str) -> int:
    """Print what was said; returns the exit code."""
    try:
        settings = load()
    except CollectorError as error:
        print(error, file=sys.stderr)
        return 1
    if settings.http_bind == "off" or settings.http_health != "open":
        command = [sys.executable, "-m", "collector", "status", "--max-bad", str(settings.http_ready_max_bad)]
        return int(subprocess.run(command, check=False).returncode not in (0, _DEGRADED))  # noqa: S603 - ours
    try:
        return _ask(settings, path)
    except (OSError, http.client.HTTPException) as error:
        print(f"{settings.http_bind}: {error}", file=sys.stderr)
        return 1


def _ask(settings: Settings, path: str) -> int:
    host, _, port = settings.http_bind.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host).strip("[]")  # noqa: S104 - compared, not bound
    asked = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
    try:
        asked.request("GET", f"/{path}", headers={"Host": f"localhost:{port}"})
        said = asked.getresponse()
        print(said.read(10_000).decode(errors="replace").strip())
        return int(said.status != http.client.OK)
    finally:
        asked.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "readyz"))
