"""The database for pages: read-only, in separate threads, with a time limit per question.

So a page can't slow down polling: they share neither threads nor connections, and requests beyond the capacity are
refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from collector.database import migrate
from collector.database.limited import reading_at_most
from collector.errors import CollectorError
from collector.store.sources import derived_by_older_rules, refuse_older_rules

T = TypeVar("T")
WAITING = 8
"""Number of requests that may wait for each one that is being answered."""
_CHECKED_SECONDS = 5.0


class BusyError(CollectorError):
    """Too many requests at once; ask again in a moment."""


class Data:
    """Queries a database that may not exist yet, or no longer."""

    def __init__(
        self, open_engine: Callable[[], sa.Engine], *, threads: int = 4, seconds: float = 10.0
    ) -> None:
        """`open_engine`: returns a read-only engine; called when it is needed, and again until it succeeds."""
        self._open = open_engine
        self._engine: sa.Engine | None = None
        self._lock = threading.Lock()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="web")
        self._asked = 0
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}
        """Questions that have not started yet, by name."""
        self._checked = float("-inf")
        self._others: list[Data] = []
        self.seconds = seconds

    async def ask(
        self,
        question: Callable[[sa.Connection], T],
        *,
        even_if_stale: bool = False,
        shared_by: Hashable | None = None,
    ) -> T:
        """The answer to a question, in one read-only transaction.

        Raises DatabaseError (including TooLongError), SchemaError if the schema is another one or an older version
        derived the history, and BusyError. `even_if_stale`: the question is about evidence only. `shared_by`: all
        that wait for questions with this name get one answer, to a question that starts after all of them arrived.
        """
        return await self.run(lambda: self._ask(question, even_if_stale=even_if_stale), shared_by)

    async def run(self, work: Callable[[], T], shared_by: Hashable | None = None) -> T:
        """Do work in one of the threads. Raises BusyError if too much waits already."""
        waiting = None if shared_by is None else self._waiting.get(shared_by)
        if waiting is None:
            if self._asked >= self._threads * (1 + WAITING):
                raise BusyError
            self._asked += 1
            waiting = asyncio.create_task(self._in_thread(work, shared_by))
            waiting.add_done_callback(_looked_at)
            if shared_by is not None:
                self._waiting[shared_by] = waiting
        # One client that gives up must not cancel the answer for the others.
        return cast("T", await asyncio.shield(waiting))

    async def _in_thread(self, work: Callable[[], T], shared_by: Hashable | None) -> T:
        def begin() -> T:
            self._waiting.pop(shared_by, None)
            return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, begin)
        finally:
            self._asked -= 1

    def _ask(self, question: Callable[[sa.Connection], T], *, even_if_stale: bool) -> T:
        engine = self.engine()
        self._check_schema(engine)
        with reading_at_most(engine, self.seconds) as connection:
            if not even_if_stale:
                refuse_older_rules(derived_by_older_rules(connection))
            return question(connection)

    def engine(self) -> sa.Engine:
        """The engine, opened when it is first needed. Raises DatabaseError."""
        with self._lock:
            if self._engine is None:
                self._engine = self._open()
            return self._engine

    def _check_schema(self, engine: sa.Engine) -> None:
        """Raise SchemaError for a wrong schema. A good one is not checked again for some seconds."""
        if monotonic() - self._checked < _CHECKED_SECONDS:
            return
        migrate.check_readable(engine)
        self._checked = monotonic()

    def apart(self) -> Data:
        """The same database with one thread and one connection of its own, for questions that must not wait for
        others.

        It ends with this one.
        """
        other = Data(self._open, threads=1, seconds=self.seconds)
        self._others.append(other)
        return other

    def close(self) -> None:
        """End after the questions under way have ended."""
        for other in self._others:
            other.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._engine is not None:
            self._engine.dispose()


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Retrieve the error, since nobody may be left who waits for it."""
    if not task.cancelled():
        task.exception()
