"""The HTTP server, in its own thread. It binds the port at once, so that a port in use is noticed at the start."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from collector.errors import CollectorError, SettingsError
from collector.logs import logger
from collector.settings.models import Settings
from collector.web.app import Web, make_app
from collector.web.guard import is_loopback

HEADER_SECONDS = 10.0
"""How long a connection may take to send a request, and between two requests."""
MAX_CONNECTIONS = 200
MAX_HEADERS = 32 * 1024
"""Maximum bytes of a request line with all headers."""

log = logger(__name__)


class Server:
    """Serves the pages. Raises SettingsError if the port can't be bound, or if serving would be unsafe."""

    def __init__(self, web: Web) -> None:
        self._web = web
        settings = web.settings
        app = make_app(web)
        self._socket = _bind(settings)
        if why := _is_unsafe(settings, self._socket):
            self._socket.close()
            raise SettingsError(why)
        self._thread: threading.Thread | None = None
        for name in ("uvicorn", "uvicorn.error"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=PatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.http_trusted_proxies),
                forwarded_allow_ips=list(settings.http_trusted_proxies),
                root_path=settings.http_root_path,
                limit_concurrency=MAX_CONNECTIONS,
                backlog=128,
                timeout_graceful_shutdown=1,
                # Longer than the keep-alive of clients. Otherwise a client may send a request while the connection is
                # being closed.
                timeout_keep_alive=max(round(HEADER_SECONDS), 1),
                h11_max_incomplete_event_size=MAX_HEADERS,
            )
        )

    @property
    def url(self) -> str:
        """The address for a browser on this machine."""
        host, port = self._socket.getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{self._web.settings.http_root_path}/"

    def start(self) -> None:
        """Serve from now on, in a thread."""
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        log.info("serving", url=self.url)

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        except Exception:
            log.exception("web_broke")  # polling goes on

    def stop(self) -> None:
        """Stop; requests under way get one second."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(3.0)
        self._socket.close()
        self._web.data.close()

    def serve_until_told(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends the process at once.

        Raises CollectorError if serving ends by itself.
        """
        told = threading.Event()

        def tell(number: int, _: Any) -> None:
            signal.signal(number, signal.SIG_DFL)
            told.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, tell)
        self.start()
        while not told.wait(0.5):
            if self._thread is None or not self._thread.is_alive():
                raise CollectorError("pages are no longer served; the log says why")
        self.stop()


def _is_unsafe(settings: Settings, listening: socket.socket) -> str | None:
    """Why anybody on the network could read the pages, and what to do; None: nobody can, or it is intended."""
    is_limited = settings.http_token_file is not None or settings.http_users_file is not None
    if is_loopback(listening.getsockname()[0]) or settings.http_unprotected or is_limited:
        return None
    return (
        f"COLLECTOR_HTTP_BIND is {settings.http_bind}, which others can reach: set COLLECTOR_HTTP_TOKEN_FILE or "
        "COLLECTOR_HTTP_USERS_FILE to a file of tokens or users, or, if something else restricts access, "
        "COLLECTOR_HTTP_UNPROTECTED to yes"
    )


def _bind(settings: Settings) -> socket.socket:
    host, _, port = settings.http_bind.rpartition(":")
    host = host.strip("[]")
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        why = (
            "another program listens there"
            if error.errno == errno.EADDRINUSE
            else error.strerror or os.strerror(error.errno or 0)
        )
        raise SettingsError(
            f"pages can't be served on {settings.http_bind}: {why}; set COLLECTOR_HTTP_BIND to another address, "
            "like 127.0.0.1:8081, or to off"
        ) from None
    return listening


class PatientProtocol(H11Protocol):
    """Closes a connection that sends no request in time; uvicorn alone would keep it open without limit."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._mind()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._mind()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._mind()

    def _mind(self) -> None:
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._forget()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
