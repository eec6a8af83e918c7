"""`collector` at a fixed time, so that what it prints about the demo is the same on every day.

    python -m tests.support.frozen < commands.json     [["demo"], ["regions", "--gpu"]] → [{"code": 0, "said": "…"}, …]

All commands run in this one process, one after the other, in the current folder.
"""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 11, 25, 17, tzinfo=UTC)
_PLAIN = sqlite3.connect(":memory:", check_same_thread=False)
"""Has SQLite's own functions."""


def stop_the_clock_of(connection: Any) -> None:
    """Make a SQLite connection take NOW for `now`: a function of ours stands before SQLite's own."""

    def strftime(*arguments: Any) -> Any:
        fixed = [f"{NOW:%Y-%m-%d %H:%M:%S}" if a == "now" else a for a in arguments]
        marks = ", ".join("?" * len(fixed))
        return _PLAIN.execute(f"SELECT strftime({marks})", fixed).fetchone()[0]

    connection.create_function("strftime", -1, strftime)


def main() -> None:
    import collector.clock

    collector.clock.utc_now = lambda: NOW  # before anybody else imports it
    import sqlalchemy as sa

    import collector.cli

    sa.event.listen(sa.Engine, "connect", lambda raw, _: stop_the_clock_of(raw))
    answers = []
    for arguments in json.load(sys.stdin):
        sys.argv = ["collector", *arguments]
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            try:
                collector.cli.main()
            except SystemExit as end:
                code = end.code
        answers.append({"code": code, "said": said.getvalue()})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
