"""Prunes and redactions that are killed.

    python -m tests.support.killed_amendments DATABASE_URL prune|redact MOMENT STRIDE   → a JSON line for each kill

This process imports everything once and forks children. Each child does the same work and dies, by SIGKILL, STRIDE
writes and commits later than the one before. The last child is not killed. After each, the history is verified.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.audit.verify import verify
from collector.database.engine import open_engine
from collector.gcore.paths import Path
from collector.store import pruning, redacting, rederive

SOURCE, PLACE = "gcore", "results[].keystone.extra.notes"


def amend(engine: sa.Engine, what: str, moment: datetime) -> None:
    """Prune what is older than a moment, or redact PLACE."""
    how: dict[str, Any] = {"made_at": moment, "made_by": "a test"}
    if what == "prune":
        pruning.ROUND = 7
        pruning.prune(engine, SOURCE, moment, **how)
    else:
        redacting.redact(engine, SOURCE, Path.parse(PLACE), **how)


def die_at(engine: sa.Engine, number: int) -> None:
    """Let this process die before or after its n-th write or commit."""
    reached = itertools.count(1)

    def reach() -> None:
        if next(reached) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            reach()

    really_commit = engine.dialect.do_commit

    def commit(connection: Any) -> None:
        reach()
        really_commit(connection)
        reach()

    sa.event.listen(engine, "before_cursor_execute", write)
    engine.dialect.do_commit = commit  # type: ignore[method-assign]


def in_child(work: Callable[[], None]) -> int:
    """Do work in a fork of this process. Returns how that ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - goes to the test's output
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def shoot(url: str, what: str, moment: datetime, number: int) -> None:
    engine = open_engine(url)
    die_at(engine, number)
    amend(engine, what, moment)


def main(url: str, what: str, moment: str, stride: str) -> None:
    at = datetime.fromisoformat(moment)
    for number in itertools.count(1, int(stride)):
        ended = in_child(lambda number=number: shoot(url, what, at, number))  # type: ignore[misc]
        engine = open_engine(url)
        found = verify(engine, SOURCE)
        differs = rederive.rebuild(engine, SOURCE, check_only=True).different
        engine.dispose()
        verdict, amendments = found.verdict, len(found.amendments)
        print(json.dumps({"ended": ended, "verdict": verdict, "differs": differs, "amendments": amendments}))
        if ended != -signal.SIGKILL:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
