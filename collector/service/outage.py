"""A database that does not answer, as all sources of this process see it.

To notice that takes many seconds, on a thread that other sources need to be polled. So while the database is away, one
poll at a time tries it. The others keep their answers without trying.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from collector.errors import DatabaseAwayError


class Outage:
    """Knows if the database is away. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: DatabaseAwayError | None = None
        self._is_being_tried = False

    @contextmanager
    def using(self) -> Iterator[None]:
        """Use the database. Raises the error of the last attempt at once if it is away and another thread tries it."""
        with self._lock:
            if is_trial := self._error is not None:
                if self._is_being_tried:
                    raise DatabaseAwayError(str(self._error))
                self._is_being_tried = True
        error: DatabaseAwayError | None = None
        try:
            yield
        except DatabaseAwayError as found:
            error = found
            raise
        finally:
            with self._lock:
                self._error = error
                if is_trial:
                    self._is_being_tried = False
