"""Processes that need no start: forks of one that has imported everything already.

Python's own start and its imports are most of what a command costs, and tests start hundreds. Here one process for
each test process imports the collector once. What a test starts is a fork of it: a process of its own with its own
number, signals, descriptors, folder and environment, which ends as the interpreter ends. It lacks only what an
interpreter decides while it starts: the encoding of its streams, streams that are closed from the beginning. Tests of
these use `subprocess` itself.

    with Popen([sys.executable, "-m", "collector", "run"], env=environment, stderr=log) as running:
        running.send_signal(signal.SIGTERM)

A command that is not `python -m …`, `python -c …` or `python ….py` starts as usual, and so does one with a variable
PYTHON… of its own.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import json
import os
import pkgutil
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

LIBRARIES = (
    *(
        "alembic.autogenerate",
        "alembic.command",
        "anyio",
        "apscheduler.schedulers.background",
        "click",
        "encodings.idna",
    ),
    *("h11", "httpcore", "httpx", "psycopg", "pydantic", "rich.console", "rich.table", "sqlalchemy"),
    *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite", "structlog", "uuid"),
)
COLLECTOR = (*LIBRARIES, "collector")
"""The packages of which everything is imported, and modules."""


class Popen(subprocess.Popen[Any]):
    """`subprocess.Popen`, by another way into the process.

    `imported`: what is there when the program begins. Programs that change a module of the collector before others
    import it take only LIBRARIES.
    """

    def __init__(self, args: Any, *, imported: tuple[str, ...] = COLLECTOR, **more: Any) -> None:
        self._imported = imported
        self._end: int | None = None
        self._lock = threading.Lock()
        super().__init__(args, **more)

    def _execute_child(self, *args: Any) -> None:
        given = inspect.signature(subprocess.Popen._execute_child).bind(self, *args).arguments  # type: ignore[attr-defined]
        command = [os.fspath(word) for word in given["args"]]
        environment = dict(os.environ if given["env"] is None else given["env"])
        if not _is_forked(command, environment) or given["uid"] is not None:
            super()._execute_child(*args)  # type: ignore[misc]
            return
        ours = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        self._end, theirs = os.pipe()
        try:
            _parent(self._imported).start(
                command=command,
                environment=environment,
                folder=os.fspath(given["cwd"] or Path.cwd()),
                descriptors=[n if own == -1 else own for n, own in enumerate(ours)] + [theirs],
            )
        finally:
            os.close(theirs)
            # As `subprocess` does: what is the child's alone is closed here.
            for own, other in zip(ours, ("p2cwrite", "c2pread", "errread"), strict=True):
                if own != -1 and given[other] != -1:
                    os.close(own)
            if (devnull := getattr(self, "_devnull", None)) is not None:
                os.close(devnull)
        self._child_created = True
        self.pid = int(self._told())

    def _told(self) -> str:
        """The next line from the parent: first the number of the process, then how it ended."""
        assert self._end is not None
        line = b""
        while not line.endswith(b"\n"):
            read = os.read(self._end, 1)
            assert read, "the process from which others are forked has ended"
            line += read
        return line.decode()

    def _internal_poll(self, *args: Any, **more: Any) -> int | None:
        if self._end is None:
            return super()._internal_poll(*args, **more)  # type: ignore[misc, no-any-return]
        return self._ended(0)

    def _wait(self, timeout: float | None) -> int:
        if self._end is None:
            return super()._wait(timeout)  # type: ignore[misc, no-any-return]
        if (code := self._ended(timeout)) is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def _ended(self, timeout: float | None) -> int | None:
        """The exit code, or None if the process has not ended within `timeout` seconds."""
        if self.returncode is None:
            assert self._end is not None
            ends = select.poll()  # `select.select` has no place for the 1024th file
            ends.register(self._end)
            if not ends.poll(None if timeout is None else timeout * 1000):
                return None
            with self._lock:
                if self.returncode is None:
                    self.returncode = int(self._told())
                    os.close(self._end)
        return self.returncode


def run(args: Any, *, timeout: float, **more: Any) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` of such a process. Its output is captured."""
    with Popen(args, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(args, process.returncode, out, err)


_OWN = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}


def _is_forked(command: list[str], environment: Mapping[str, str]) -> bool:
    for name, value in environment.items():
        if name.startswith("PYTHON") and name != "PYTHONPATH" and _OWN.get(name) != value:
            return False
    return command[0] == sys.executable and (command[1] in ("-m", "-c") or command[1].endswith(".py"))


class _Parent:
    """The process from which others are forked, as the tests see it. It ends when this one does."""

    def __init__(self, imported: tuple[str, ...]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forks", str(theirs.fileno()), *imported],
                pass_fds=[theirs.fileno()],
                env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self._stop)

    def _stop(self) -> None:
        self._socket.close()
        self._process.wait()

    def start(self, *, descriptors: list[int], **request: Any) -> None:
        socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)


_parent = cache(_Parent)


# In the parent


def serve(control: socket.socket) -> dict[str, Any]:
    """Fork for each request, until the tests end. Returns in each child: what it is to be."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person who presses Ctrl-C means the tests
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            os.read(woken, 512)
            while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                _tell(running[ended[0]], os.waitstatus_to_exitcode(ended[1]))
                os.close(running.pop(ended[0]))
        if control in ready:
            message, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 4)
            if not message:
                sys.exit()
            *streams, end = descriptors
            if not (pid := os.fork()):
                _be(json.loads(message), streams)
                return dict(json.loads(message))
            running[pid] = end
            _tell(end, pid)
            for descriptor in streams:
                os.close(descriptor)


def _tell(end: int, number: int) -> None:
    os.write(end, f"{number}\n".encode())


def _be(request: dict[str, Any], streams: list[int]) -> None:
    """Give this fork its own descriptors, signals, environment and folder."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, 1024)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    random.seed()
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )


def import_all(names: list[str]) -> None:
    """Import these modules; of the collector all but its entry, which would run."""
    for name in names:
        importlib.import_module(name)
    if "collector" in names:
        for module in pkgutil.walk_packages([str(ROOT / "collector")], "collector."):
            if not module.name.endswith("__main__"):
                with suppress(ImportError):  # an extra that is not installed
                    importlib.import_module(module.name)


if __name__ == "__main__":
    parent = socket.socket(fileno=int(sys.argv[1]))
    import_all(sys.argv[2:])
    gc.collect()
    gc.freeze()  # what is there already is never looked at again, and so stays shared between processes
    _, *sys.argv = serve(parent)["command"]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif sys.argv[0] == "-c":
        exec(sys.argv.pop(1), {"__name__": "__main__"})  # noqa: S102 - as Python does
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
