"""Sends an anchor line to a file, a webhook, syslog or a time-stamping authority.

Error messages contain no password and no address, because URLs may be secrets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from collector.anchors import Anchor
from collector.audit.anchoring import timestamps
from collector.clock import time_text
from collector.errors import SettingsError
from collector.gcore.transport import UnusableProxyError, open_client, unconnected
from collector.inventory import statement

SECONDS = 10.0
"""Time limit for one place."""
_PRIORITY = 10 * 8 + 5
"""authpriv.notice"""


class PlaceError(Exception):
    """A place did not accept a line."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a place returned."""

    attested_at: datetime | None = None
    token: bytes | None = None


def hand_out(anchor: Anchor, row: Mapping[str, Any]) -> Receipt:
    """Send an anchor's row (see `statement.line`) to its place. Raises PlaceError."""
    try:
        if anchor.kind == "file":
            return _append(Path(anchor.place), statement.line(row))
        if anchor.kind == "webhook":
            return _post(anchor.place, statement.line(row))
        if anchor.kind == "syslog":
            return _log(anchor.place, statement.line(row), row["made_at"])
        return _stamp(anchor, row)
    except (SettingsError, UnusableProxyError) as error:
        raise PlaceError(str(error)) from None
    except (httpx.ConnectError, httpx.ProxyError) as error:
        raise PlaceError(unconnected(error)) from None
    except httpx.HTTPError as error:
        raise PlaceError(f"no answer: {type(error).__name__}") from None
    except (OSError, ValueError, httpx.InvalidURL) as error:
        raise PlaceError(getattr(error, "strerror", None) or type(error).__name__) from None


def _append(path: Path, line: str) -> Receipt:
    """One write, so that lines of several processes don't mix. The data is on the disk before it counts."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(file).st_size
        is_cut = size > 0 and os.pread(file, 1, size - 1) != b"\n"  # the disk was full
        data = ("\n" * is_cut + line + "\n").encode("ascii")
        if os.write(file, data) != len(data):
            raise PlaceError("only a part of the line could be written")
        os.fsync(file)
    finally:
        os.close(file)
    return Receipt()


@contextmanager
def _posted(url: str, content: bytes, content_type: str) -> Iterator[httpx.Response]:
    """The answer to what is posted, before its body is read. Raises PlaceError for another status than success."""
    how: Any = {"content": content, "headers": {"content-type": content_type}, "timeout": SECONDS}
    with open_client() as client, client.stream("POST", url, **how) as answer:
        if not answer.is_success:
            raise PlaceError(f"status {answer.status_code}")
        yield answer


def _post(url: str, line: str) -> Receipt:
    with _posted(url, line.encode("ascii"), "application/json"):
        return Receipt()


def _log(url: str, line: str, made_at: datetime) -> Receipt:
    """RFC 5424. Over UDP there is no confirmation."""
    message = (
        f"<{_PRIORITY}>1 {time_text(made_at)} {socket.gethostname() or '-'} gcore-collector {os.getpid()} "
        f"anchor - {line}"
    ).encode("ascii", "replace")
    if not url:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
            local.settimeout(SECONDS)
            local.connect("/dev/log")
            local.send(message)
        return Receipt()
    parts = urlsplit(url)
    place = (parts.hostname or "", parts.port or 514)
    if parts.scheme.lower() == "syslog+tcp":
        with socket.create_connection(place, SECONDS) as stream:
            stream.sendall(b"%d %s" % (len(message), message))
        return Receipt()
    family, kind, protocol, _, address = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as datagram:
        datagram.sendto(message, address)
    return Receipt()


def _stamp(anchor: Anchor, row: Mapping[str, Any]) -> Receipt:
    query, nonce = timestamps.request_of(statement.statement(row))
    with _posted(anchor.place, query, "application/timestamp-query") as answer:
        token = bytearray()
        for part in answer.iter_bytes():
            token += part
            if len(token) > timestamps.MAX_TOKEN:
                raise PlaceError("its answer is too long for a token")
    try:
        said = timestamps.read(bytes(token))
        if said.imprint != row["value"] or said.nonce != nonce:
            raise PlaceError("its token is for something else")
        if anchor.ca_file is not None:
            timestamps.check(bytes(token), row["value"], timestamps.certificates_in(anchor.ca_file))
    except timestamps.TokenError as error:
        raise PlaceError(str(error)) from None
    return Receipt(said.attested_at, bytes(token))
