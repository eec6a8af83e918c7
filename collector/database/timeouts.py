"""How long to wait: for a database that does not answer, and for a writer that is silent.

Read at the moment of use, so that all of them follow a change made before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEASE_SECONDS = 60
"""A writer that has not written for so long may be replaced."""
LOCK_SECONDS, STATEMENT_SECONDS, IDLE_SECONDS = 10, 30, 20
CONNECT_SECONDS, NETWORK_SECONDS, SILENCE_SECONDS = 10, 30, 35
"""How long to wait for a PostgreSQL that does not answer: for a connection, for any sign of life of its machine,
and for the answer to a statement, which its own time-out precedes."""
assert max(LOCK_SECONDS, STATEMENT_SECONDS, IDLE_SECONDS) < LEASE_SECONDS  # noqa: S101 - a rule of fencing
assert STATEMENT_SECONDS < SILENCE_SECONDS < LEASE_SECONDS - CONNECT_SECONDS  # noqa: S101 - a partition is noticed within a lease


def lock_milliseconds(options: Mapping[str, Any]) -> int:
    """How long a transaction waits for a lock. `options`: its execution options; see `waiting_at_most`."""
    return max(int(options.get("lock_seconds", LOCK_SECONDS) * 1000), 1)
