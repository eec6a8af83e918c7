"""Turns a question into an answer: heading, rows as JSON, and 304 if the client has it already.

Rows are written as JSON while the database returns them, into memory or, beyond a megabyte, into a file. So an answer
of any length needs little memory, and its transaction ends before the first byte is sent, however slow the client is.
An error in the middle gives a problem instead of half an answer.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import msgspec
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from collector import __version__
from collector.clock import Clock, time_text
from collector.errors import UsageError
from collector.reports.standing import Standing, last_confirmed_at, standing
from collector.web.data import Data

IN_MEMORY = 1024 * 1024
"""Bytes of an answer that are kept in memory; a longer one goes through a file."""
AHEAD = timedelta(minutes=1)
_PIECE = 64 * 1024
_VERSION = re.sub(r"[^0-9A-Za-z.]", "", __version__)
_encode = msgspec.json.Encoder().encode_into

Content = Mapping[str, Any]
"""Names and their contents: a value, or an iterator of rows."""
Question = Callable[[sa.Connection, datetime, Standing], Content]
"""Called with a connection, the time of the question, and how far the database has come."""


class Answers:
    """Gives answers, in threads of `data`."""

    def __init__(self, data: Data, clock: Clock) -> None:
        self._data, self._clock = data, clock

    async def give(
        self,
        request: Request,
        question: Question,
        *,
        source: str | None = None,
        as_of: datetime | None = None,
        moves: bool = False,
    ) -> Response:
        """The answer to a question, or 304 if the client has it.

        `moves`: True if the answer changes with time even if nothing new is observed; then it has no tag.
        """
        target = f"{request.url.path}?{request.url.query}"

        def work(connection: sa.Connection) -> Response:
            stand = standing(connection, source)
            now = max(self._clock(), stand.newest_at) if stand.newest_at else self._clock()
            moment = None if as_of is None else _known(as_of, now)
            confirmed = stand.confirmed_at
            headers = {"cache-control": "private, no-cache"}
            if not moves:
                headers["etag"] = _tag(stand, target)
            if not moves and _matches(request.headers.get("if-none-match", ""), headers["etag"]):
                if (
                    as_of is None and confirmed is not None
                ):  # with a time in the question, the answer never changes
                    headers["collector-last-confirmed-at"] = time_text(confirmed)
                return Response(status_code=304, headers=headers)
            if moment is not None:
                confirmed = last_confirmed_at(connection, moment, source)
            heading = {"as_of": moment or now, "last_confirmed_at": confirmed, "head": stand.head}
            if confirmed is not None:
                headers["collector-last-confirmed-at"] = time_text(confirmed)
            file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed by the response
            try:
                _write(file, heading | dict(question(connection, moment or now, stand)))
            except BaseException:
                file.close()
                raise
            return _response(file, headers)

        return await self._data.ask(work, even_if_stale=True)  # `standing` checks that


def _known(as_of: datetime, now: datetime) -> datetime:
    """A time about which something can be known; the client's clock may be a little ahead of ours.

    Raises UsageError for a time in the future: 404, as for a pruned time. It can't be 422, because no schema in the
    OpenAPI document can say what time it is.
    """
    if as_of - now > AHEAD:
        raise UsageError(
            f"as_of: {time_text(as_of)} is in the future; nothing is known about it yet (it is now {time_text(now)})"
        )
    return min(as_of, now)


def _tag(stand: Standing, target: str) -> str:
    """A weak tag: the time up to which an unchanged answer was confirmed is in a header instead."""
    return f'W/"{stand.tag}-{_VERSION}-{zlib.crc32(target.encode("utf-8", "replace")):x}"'


def _matches(wanted: str, tag: str) -> bool:
    """True if an If-None-Match header names this tag, compared weakly."""
    bare = tag.removeprefix("W/")
    return wanted.strip() == "*" or bare in [each.strip().removeprefix("W/") for each in wanted.split(",")]


def _write(file: IO[bytes], content: Content) -> None:
    """Write an object value by value, and rows one after the other."""
    buffer = bytearray(b"{")
    for number, (name, value) in enumerate(content.items()):
        if number:
            buffer += b",\n"
        _encode(name, buffer, -1)
        buffer += b":"
        if isinstance(value, Mapping | str) or not isinstance(value, Iterable):
            _encode(_plain(value), buffer, -1)
            continue
        buffer += b"["
        for place, row in enumerate(value):
            buffer += b",\n" if place else b"\n"
            _encode(_plain(row), buffer, -1)
            if len(buffer) > _PIECE:
                file.write(buffer)
                buffer.clear()
        buffer += b"]"
    file.write(buffer + b"}\n")


def _plain(value: Any) -> Any:
    """A value or a row in its JSON form: times as they are stored."""
    if isinstance(value, Mapping):
        return {name: _plain(each) if type(each) in _TO_BE_TURNED else each for name, each in value.items()}
    if isinstance(value, datetime):
        return time_text(value)
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


_TO_BE_TURNED = frozenset((datetime, dict, list, tuple))


def _response(file: IO[bytes], headers: Mapping[str, str]) -> Response:
    length = file.tell()
    file.seek(0)
    if length <= _PIECE:
        with file:
            return Response(file.read(), headers=headers, media_type="application/json")
    return _Spooled(file, {"content-length": str(length), **headers})


class _Spooled(StreamingResponse):
    """Sends a file piece by piece, and always closes it."""

    def __init__(self, file: IO[bytes], headers: Mapping[str, str]) -> None:
        self._file = file
        super().__init__(_pieces(file), headers=headers, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
