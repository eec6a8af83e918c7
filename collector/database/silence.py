"""A connection to PostgreSQL that does not wait for ever."""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any

import psycopg


class ImpatientConnection(psycopg.Connection[Any]):
    """Closes itself if the server owes an answer and no byte has arrived for too long.

    TCP's own time-outs notice a network that loses everything. They don't notice a pooler, a proxy or a stopped
    server whose machine still accepts what we send: psycopg itself would wait for the answer for ever.
    """

    patience: float | None = None
    """Seconds; None: for ever."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """The wait of every operation: `gen` is resumed several times a second even if nothing is ready."""
        return super().wait(self._until_silent(gen), *args, **kwargs)

    def _until_silent(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        heard = monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = monotonic()
                if ready and ready & psycopg.waiting.Ready.R:
                    heard = now
                elif self.patience is not None and now - heard > self.patience:
                    self.close()
                    raise psycopg.OperationalError(f"no answer for {self.patience:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
