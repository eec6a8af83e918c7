"""How much a question asks of SQLite, counted: the same on each machine, busy or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from collector.database.transactions import reading

_STEPS = 100


@dataclass(frozen=True)
class Effort:
    """`steps`: of SQLite's machine, about."""

    statements: int
    steps: int


def effort_of(engine: sa.Engine, question: Callable[[sa.Connection], Any]) -> Effort:
    """What a question takes that was asked before."""
    statements = steps = 0

    def count(*_: Any) -> None:
        nonlocal statements
        statements += 1

    def step() -> int:
        nonlocal steps
        steps += _STEPS
        return 0

    with reading(engine) as connection:
        question(connection)
        raw: Any = connection.connection.driver_connection
        raw.set_progress_handler(step, _STEPS)
        sa.event.listen(connection, "before_cursor_execute", count)
        question(connection)
        raw.set_progress_handler(None, 0)
    return Effort(statements, steps)
