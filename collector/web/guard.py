"""Checks before every answer: who may ask, how much, and what a browser may do with the answer.

headers ─▶ size ─▶ host ─▶ access ─▶ time ─▶ app
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.logs import logger
from collector.settings.models import Settings
from collector.web.access import Access
from collector.web.problems import problem

REQUEST_SECONDS = 120.0
"""Time limit for one request, up to its last byte."""
MAX_TARGET = 8 * 1024
"""Maximum bytes of a path with its query."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing inline, nothing from elsewhere, and no framing."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "private, no-cache",
}
"""Default headers of an answer."""

log = logger(__name__)


class Guard:
    """The application behind all checks."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._is_ours = known_hosts(settings)
        self._access = Access(settings)
        self._rules = {
            "/healthz": settings.http_health,
            "/readyz": settings.http_health,
            "/metrics": settings.http_metrics,
        }
        """For each path: open, token (as everywhere else), or off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False
        path = path_of(scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await (refusal or self._app)(scope, receive, send_with_headers)
        except TimeoutError:
            log.warning("request_too_slow", path=scope["path"], seconds=REQUEST_SECONDS)
            if not has_begun:
                await _said(path, 503, "This took too long.")(scope, receive, send_with_headers)
        except Exception:
            log.exception("request_broke", path=scope["path"])
            if not has_begun:
                await _said(path, 500, "The collector failed; its log says why.")(
                    scope, receive, send_with_headers
                )

    def _refusal(self, scope: Scope) -> Response | None:
        """Why a request is not answered; None: it is answered."""
        headers = Headers(scope=scope)
        path = path_of(scope)
        if scope["method"] not in ("GET", "HEAD"):
            return _said(path, 405, "Everything here only reads: GET or HEAD.", {"allow": "GET, HEAD"})
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET:
            return _said(path, 414, "The address is too long.")
        if int_of(headers.get("content-length")) or "transfer-encoding" in headers:
            return _said(path, 413, "Requests must not have a body.")
        if headers.getlist("host")[1:] or not self._is_ours(headers.get("host", "")):
            return _said(
                path,
                421,
                "This is not served under the name that you used. Use the address or localhost, "
                "or add the name to COLLECTOR_HTTP_HOSTS.",
            )
        rule = self._rules.get(path, "token")
        if rule == "off":
            return _said(path, 404, "This is switched off.")
        if rule == "token" and not self._access.admits(headers.getlist("authorization")):
            return _said(path, 401, "A token is needed.", {"www-authenticate": self._access.challenge})
        return None


def _said(path: str, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    if path.startswith("/api/"):
        return problem(status, text, headers)
    return PlainTextResponse(text + "\n", status, headers)


def path_of(scope: Scope) -> str:
    """The path of a request, without the root path at which a proxy serves us."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def int_of(text: str | None) -> int:
    """The number in a header; an invalid one counts as too large."""
    if text is None:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 1


def known_hosts(settings: Settings) -> Callable[[str], bool]:
    """True for our own Host headers: any address, localhost, the bound name, and those of the settings.

    A malicious page can make a browser send us requests only under a name that it controls (DNS rebinding).
    """
    bound = settings.http_bind.rpartition(":")[0].lower()
    names = {"localhost", bound, *settings.http_hosts}

    def is_ours(host: str) -> bool:
        name = host_name(host)
        return name is not None and (_is_address(name) or name in names)

    return is_ours


def host_name(host: str) -> str | None:
    """The name or address in a Host header, without the port; None if it is invalid."""
    text = host.strip().lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        return name if bracket and (not rest or rest[0] == ":") and _is_address(name) else None
    name, colon, port = text.partition(":")
    if not name or (colon and not (port.isascii() and port.isdigit())):
        return None
    return name.removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """True if only this machine can reach an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
