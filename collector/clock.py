"""The edge where time is read. Inside, time is an argument: aware, UTC."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the time now, aware, in UTC."""


def utc_now() -> datetime:
    return datetime.now(UTC)
