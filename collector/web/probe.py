"""Ask the process that serves with the same settings for its health: `python -m collector.web.probe healthz|readyz`.

This is for the container's health check, because the image has no curl. Exits with 0 if the answer is 200, otherwise
with 1. If no pages are served, it uses `collector status` instead.
"""

from __future__ import annotations

import http.client
import subprocess
import sys

from collector.errors import CollectorError
from collector.settings.loading import load
from collector.settings.models import Settings

SECONDS = 15.0
_DEGRADED = 3


def main(path: str) -> int:
    """Print the answer; returns the exit code."""
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
