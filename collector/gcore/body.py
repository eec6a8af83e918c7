"""The body of an answer, decompressed up to a limit; and what the body of a refusal says."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any

import httpx

MAX_BODY = 32 * 1024 * 1024
"""Enough for ten thousand regions of 3 KB, a thousand times what the API sends."""
MAX_ERROR_BODY = 64 * 1024
CHUNK = 64 * 1024


class TooLargeError(Exception):
    """The body exceeds the limit."""


class CompressionError(Exception):
    """The body is compressed in a way that was not requested, or its compression is broken."""


def read_body(response: httpx.Response, limit: int) -> bytes:
    """The body after decompression. Never holds much more than the limit, whatever the body decompresses to."""
    body = BytesIO()
    for chunk in _decompressed(response):
        if body.tell() + len(chunk) > limit:
            raise TooLargeError
        body.write(chunk)
    return body.getvalue()


def _decompressed(response: httpx.Response) -> Iterator[bytes]:
    given = response.headers.get("Content-Encoding", "").lower()
    encodings = [each for part in given.split(",") if (each := part.strip()) not in ("", "identity")]
    if not encodings:
        yield from response.iter_raw()
        return
    if len(encodings) > 1 or encodings[0] not in ("gzip", "x-gzip", "deflate"):
        raise CompressionError(f"its Content-Encoding is {given.strip()[:60]!r}, but only gzip was requested")
    unpacker: Any = None
    rest = b""
    for packed in response.iter_raw():
        rest += packed
        if unpacker is None and len(rest) > 1:
            unpacker = zlib.decompressobj(_window(encodings[0], rest))
        while rest and unpacker is not None:
            if unpacker.eof:
                # gzip data may be in several parts and padded; anything else that follows is not part of the body
                rest = rest.lstrip(b"\0")
                if not rest.startswith(b"\x1f"):
                    rest = b""
                    break
                unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
            yield unpacker.decompress(rest, CHUNK)
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if unpacker is not None:
        yield unpacker.flush()
    if unpacker is None or not unpacker.eof:
        raise CompressionError("it ends too early")


def _window(encoding: str, start: bytes) -> int:
    """The `wbits` argument for zlib: gzip and zlib data say what they are; some servers call bare deflate `deflate`."""
    is_zlib = start[0] & 15 == 8 and int.from_bytes(start[:2]) % 31 == 0
    is_bare = encoding == "deflate" and not is_zlib and start[:2] != b"\x1f\x8b"
    return -zlib.MAX_WBITS if is_bare else 32 + zlib.MAX_WBITS


def error_body(response: httpx.Response) -> bytes:
    """The beginning of a refusal's body. Errors in it are ignored, since the status matters more."""
    body = b""
    with suppress(httpx.TransportError, CompressionError, zlib.error):
        for chunk in _decompressed(response):
            body += chunk
            if len(body) > MAX_ERROR_BODY:
                break
    return body[:MAX_ERROR_BODY]


def error_fields(body: bytes) -> dict[str, str]:
    """Class, message and request id of an error body in the API's form, as far as it has them."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    names = ("exception_class", "message", "request_id")
    return {n: error[n] for n in names if isinstance(error, dict) and isinstance(error.get(n), str)}
