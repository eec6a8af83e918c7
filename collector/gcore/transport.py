"""The way to a host, directly or through the environment's proxy, and which certificates TLS trusts.

httpx reads the same variables, but treats networks in NO_PROXY as names or rejects them, and fails on a broken proxy
that none of our requests would use.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.request import getproxies_environment

import certifi
import httpx

from collector import __version__
from collector.errors import SettingsError

_LIMITS = httpx.Limits(max_keepalive_connections=0)


class UnusableProxyError(httpx.UnsupportedProtocol):
    """The environment names a proxy that can't be used. The message holds no secret."""


def open_client() -> httpx.Client:
    """A client for anything but the API: receivers, anchors, a monitor. It follows no redirect and keeps no cookie.

    Raises SettingsError if the environment's certificates can't be used.
    """
    client = httpx.Client(
        headers={"User-Agent": f"gcore-collector/{__version__}", "Accept-Encoding": "gzip"},
        follow_redirects=False,  # what is meant for one address must not go to another
        transport=Ways(),
        trust_env=False,
        event_hooks={"response": [set_location_aside]},
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


def set_location_aside(response: httpx.Response) -> None:
    """Hide Location from httpx, which reads it without following redirects and fails on a malformed one."""
    response.extensions["location"] = response.headers.pop("Location", "")


def unconnected(error: httpx.ConnectError | httpx.ProxyError) -> str:
    """Why there is no connection, in words without the address, which may be a secret."""
    via = re.search(r" \(by the proxy of [A-Z]+_PROXY\)\Z", str(error))
    said = "no connection" + (via[0] if via else "")
    if isinstance(error, httpx.ProxyError):
        return f"{said}: the proxy refused it"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{said}: its certificate {_DISTRUST.get(cause.verify_code, _UNTRUSTED)}"
        if isinstance(cause, ssl.SSLError):
            return f"{said}: TLS failed, perhaps because it is not spoken there"
        if isinstance(cause, socket.gaierror):
            return f"{said}: the name of its host can't be looked up"
        cause = cause.__cause__ or cause.__context__
    return said


_UNTRUSTED = "is not signed by an authority that is trusted here; SSL_CERT_FILE can name more"
_DISTRUST = {9: "is not valid yet", 10: "has expired", 62: "is of another host", 64: "is of another host"}
"""By OpenSSL's code of a failed verification."""


class Ways(httpx.BaseTransport):
    """Each request goes its own way. Thread-safe.

    Raises SettingsError if certificates are missing. An unusable proxy raises UnusableProxyError only for the requests
    that would use it.
    """

    def __init__(self) -> None:
        self._tls = tls_context()
        self._proxies = getproxies_environment()
        self._direct = httpx.HTTPTransport(verify=self._tls, trust_env=False, limits=_LIMITS)
        self._by_proxy: dict[str, httpx.HTTPTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        variable, proxy = self._proxy_of(request.url)
        if not proxy:
            return self._direct.handle_request(request)
        try:
            return self._by(proxy, variable).handle_request(request)
        except httpx.ConnectError as error:
            raise httpx.ConnectError(f"{error} (by the proxy of {variable})", request=request) from error

    def close(self) -> None:
        for transport in (self._direct, *self._by_proxy.values()):
            transport.close()

    def _proxy_of(self, url: httpx.URL) -> tuple[str, str]:
        """The variable that names the proxy for a URL, and its value; empty if the request goes directly."""
        name = url.scheme if self._proxies.get(url.scheme) else "all"
        proxy = self._proxies.get(name, "").strip()
        is_direct = not proxy or goes_direct(url.host, self._proxies.get("no", ""))
        return f"{name.upper()}_PROXY", "" if is_direct else proxy

    def _by(self, proxy: str, variable: str) -> httpx.HTTPTransport:
        with self._lock:
            if proxy not in self._by_proxy:
                self._by_proxy[proxy] = self._open(proxy, variable)
            return self._by_proxy[proxy]

    def _open(self, proxy: str, variable: str) -> httpx.HTTPTransport:
        url = proxy if "://" in proxy else f"http://{proxy}"
        try:
            if not httpx.URL(url).host:
                raise ValueError("a proxy without a host")
            return httpx.HTTPTransport(
                verify=self._tls,
                trust_env=False,
                limits=_LIMITS,
                proxy=httpx.Proxy(url, ssl_context=self._tls if url.lower().startswith("https:") else None),
            )
        except (httpx.InvalidURL, ValueError, ImportError):
            # httpx's message may contain a part of the proxy's password.
            raise UnusableProxyError(
                f"{variable} can't be used: write a proxy like http://user:password@proxy.example:3128, with special "
                "characters as %23 and the like; SOCKS is not supported. Or name the host in NO_PROXY"
            ) from None


def goes_direct(host: str, listed: str) -> bool:
    """True if NO_PROXY lists a host: `*`, a name (also for all names below it), an address, a network (fd00::/8,
    10.*).
    """
    host = host.strip("[]").rstrip(".").lower()
    address = None
    with suppress(ValueError):
        address = ip_address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
    for each in re.split(r"[\s,;]+", listed.lower()):
        entry = each.partition("://")[2] or each
        if entry == "*":
            return True
        bracketed = re.fullmatch(r"\[([^]]*)\](/\d+)?(:\d+)?", entry)
        entry = bracketed[1] + (bracketed[2] or "") if bracketed else entry
        try:
            network = ip_network(entry, strict=False)
        except ValueError:
            name = re.sub(r":(\d*|\*)$", "", entry)
            if address is not None and re.fullmatch(r"(\d{1,3}\.){1,3}\*?", name):  # 10.* or 10.
                if host.startswith(name.rstrip("*")):
                    return True
                continue
            name = name.removeprefix("*").strip(".")
            with suppress(ValueError):
                network = ip_network(name)
                if address is not None and address in network:
                    return True
            if name and (host == name or (address is None and host.endswith(f".{name}"))):
                return True
        else:
            if address is not None and address in network:
                return True
    return False


def certificate_folders() -> list[str]:
    """The folders of SSL_CERT_DIR. An empty one means nothing: a : at either end is left by shells."""
    return [folder for folder in os.environ.get("SSL_CERT_DIR", "").split(os.pathsep) if folder]


def tls_context() -> ssl.SSLContext:
    """The certificates to trust: SSL_CERT_FILE and SSL_CERT_DIR, or those of certifi. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file, folders = os.environ.get("SSL_CERT_FILE"), certificate_folders()
    for folder in folders:
        if not Path(folder).is_dir():  # OpenSSL would trust nothing, without an error
            raise SettingsError(f"SSL_CERT_DIR can't be used: there is no folder {folder}")
        context.load_verify_locations(capath=folder)
    if file or not folders:
        try:
            context.load_verify_locations(cafile=file or certifi.where())
        except OSError as error:
            raise SettingsError(f"SSL_CERT_FILE can't be used: {file}: {error.strerror or error}") from None
    # An unwritable SSLKEYLOGFILE, a debugging aid, must not cause a failure.
    with suppress(OSError):
        if log := os.environ.get("SSLKEYLOGFILE"):
            context.keylog_filename = log
    return context
