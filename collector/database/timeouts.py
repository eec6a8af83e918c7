"""How long to wait for a database that does not answer, and for a silent writer.

The values are read when they are used, so all of them follow an earlier change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEASE_SECONDS = 60
"""A writer that has not written for this long may be replaced."""
LOCK_SECONDS, STATEMENT_SECONDS, IDLE_SECONDS = 10, 30, 20
CONNECT_SECONDS, NETWORK_SECONDS, SILENCE_SECONDS = 10, 30, 35
"""Time-outs for a PostgreSQL that does not answer.

They apply to a connection, to any sign of life of its machine, and to the answer to a statement, which has a shorter
time-out of its own.
"""
assert max(LOCK_SECONDS, STATEMENT_SECONDS, IDLE_SECONDS) < LEASE_SECONDS  # noqa: S101 - a rule of fencing
assert STATEMENT_SECONDS < SILENCE_SECONDS < LEASE_SECONDS - CONNECT_SECONDS  # noqa: S101 - a partition is noticed within a lease


def lock_milliseconds(options: Mapping[str, Any]) -> int:
    """How long a transaction waits for a lock. `options`: its execution options; see `waiting_at_most`."""
    return max(int(options.get("lock_seconds", LOCK_SECONDS) * 1000), 1)
