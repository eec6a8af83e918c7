"""A network between two programs that can be cut without telling either: a proxy that stops forwarding.

    with Wire(socket_path) as wire:
        connect(wire.port)
        wire.cut()          # bytes are held, as a network that comes back delivers them late
        wire.restore()

Neither end notices anything: connections stay open, and new ones are accepted but get no data.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

Address = Path | tuple[str, int]


class Wire:
    """Leads from a free port of `host` to `target` while its `with` block lasts."""

    def __init__(self, target: Address, host: str = "127.0.0.1") -> None:
        self._target = target
        self._passes = {"up": threading.Event(), "down": threading.Event()}
        """Towards the target, and back."""
        self._cut_before: bytes | None = None
        self._cut_after: bytes | None = None
        self._lock = threading.Lock()
        self._closing = False
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((host, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.restore()

    def cut(self, *ways: str) -> None:
        """Let nothing through, `up`, `down`, or both ways."""
        for way in ways or ("up", "down"):
            self._passes[way].clear()

    def cut_before(self, said: bytes) -> None:
        """Cut both ways when this is about to go up."""
        self._cut_before = said

    def cut_after(self, said: bytes) -> None:
        """Let this go up, and cut the way back before it is answered."""
        self._cut_after = said

    def restore(self) -> None:
        """What was held goes on its way, and no cut is waited for any longer."""
        self._cut_before = self._cut_after = None
        for passes in self._passes.values():
            passes.set()

    @property
    def is_cut(self) -> bool:
        return not all(passes.is_set() for passes in self._passes.values())

    def __enter__(self) -> Wire:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self.restore()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
        for each in (self._listener, *self._open):
            each.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX if isinstance(self._target, Path) else socket.AF_INET)
            with self._lock:
                self._open += [client, server]
            try:
                server.connect(str(self._target) if isinstance(self._target, Path) else self._target)
            except OSError:
                client.close()
                continue
            ways = ["up", "down"]
            self._start(self._pump, client, server, "up", ways)
            self._start(self._pump, server, client, "down", ways)

    def _pump(self, source: socket.socket, target: socket.socket, way: str, ways: list[str]) -> None:
        """`ways`: those of this connection that are not at their end yet."""
        passes = self._passes[way]
        with suppress(OSError):
            while data := source.recv(65536):
                if way == "up":
                    self._notice(data)
                passes.wait()
                target.sendall(data)
            passes.wait()  # the end of a connection is a message too
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            ways.remove(way)
            for each in () if ways else (source, target):
                each.close()
                self._open.remove(each)

    def _notice(self, data: bytes) -> None:
        with self._lock:
            if self._cut_before is not None and self._cut_before in data:
                self._cut_before = None
                self.cut()
            if self._cut_after is not None and self._cut_after in data:
                self._cut_after = None
                self.cut("down")
