"""Cuts a connection at a deadline that httpx's time-outs don't enforce."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any


class Cut:
    """Cuts the connection of an attempt whose time is over.

    A server that sends one byte now and then would outlast every read time-out.
    """

    def __init__(self) -> None:
        self.is_connected = False
        """True once the request is on its way."""
        self.is_cut = False
        """True if the time was over before the attempt ended."""
        self._stream: Any = None
        self._lock = threading.Lock()

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore's trace extension: remember the newest network stream of this request."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._lock:
                self._stream = info["return_value"]
                if self.is_cut:
                    self._shut_down()
        elif event.endswith(".send_request_headers.started"):
            self.is_connected = True

    def now(self) -> None:
        with self._lock:
            self.is_cut = True
            self._shut_down()

    def _shut_down(self) -> None:
        connection = self._stream.get_extra_info("socket") if self._stream is not None else None
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
