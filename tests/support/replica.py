"""`collector run` as on a host of its own, with a lease and time-outs of a fifth.

    python -m tests.support.replica HOST

In the folder where it runs, a file named `stop at MOMENT` makes it stop itself there, once, as SIGSTOP would:

    begin     with an answer in hand, before the transaction that would write it
    fence     in a write transaction, when it has passed the fence
    write     in the same, when it has written
    commit    in the same, just before COMMIT is sent
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from collector.database import timeouts

SHARE = 5
TIMES = ("LEASE", "LOCK", "STATEMENT", "IDLE", "CONNECT", "NETWORK", "SILENCE")


def shorten() -> None:
    """Before anything else is imported: others import the lease's length by its name."""
    for name in TIMES:
        seconds = getattr(timeouts, f"{name}_SECONDS") / SHARE
        setattr(timeouts, f"{name}_SECONDS", int(seconds) if seconds.is_integer() else seconds)


def stop_at(moment: str) -> None:
    order = Path(f"stop at {moment}")
    if order.exists():
        order.unlink()
        # To this thread: sent to the process, another may take it while this one goes on for a moment.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def stop_where_told() -> None:
    def executed(connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE sources"):
            stop_at("fence")
        elif statement.startswith(("UPDATE observations", "INSERT INTO observations")):
            stop_at("write")

    def commit(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("writes"):
            stop_at("commit")

    sa.event.listen(sa.Engine, "after_cursor_execute", executed)
    sa.event.listen(sa.Engine, "commit", commit)
    sa.event.listen(sa.pool.Pool, "checkout", lambda *_: stop_at("begin"))


if __name__ == "__main__":
    shorten()
    stop_where_told()
    from collector.cli import main
    from collector.store import lease

    lease._here = lambda host=sys.argv[1]: host
    sys.argv[1:] = ["run"]
    main()
