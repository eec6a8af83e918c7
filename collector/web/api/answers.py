"""From a question to an answer: its heading, its rows as JSON, and whether the asker has it already.

Rows are written as JSON while the database gives them, into memory or, beyond a megabyte, into a file. So an answer of
any length costs little memory, its transaction ends before the first byte is sent, however slow the asker is, and what
goes wrong in the middle is a problem rather than half an answer.
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
"""Bytes of an answer; what is longer goes through a file."""
AHEAD = timedelta(minutes=1)
_PIECE = 64 * 1024
_VERSION = re.sub(r"[^0-9A-Za-z.]", "", __version__)
_encode = msgspec.json.Encoder().encode_into

Content = Mapping[str, Any]
"""Names and what belongs there: a value, or an iterator of rows."""
Question = Callable[[sa.Connection, datetime, Standing], Content]
"""Of a connection, the time of which is asked, and how far the database has come."""


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
        """The answer to a question, or 304 where the asker has it.

        `moves`: the answer changes with time, though nothing is observed that differs from before; it has no tag.
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
                if as_of is None and confirmed is not None:  # with a time in the question it stays as it is
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

        return await self._data.ask(work, even_if_stale=True)  # `standing` looks


def _known(as_of: datetime, now: datetime) -> datetime:
    """A time of which something can be known: the asker's clock may be a little ahead of ours.

    Raises UsageError for a time in the future: a 404, as for a pruned time. It is no 422, because the OpenAPI document
    allows it: no schema can say when now is.
    """
    if as_of - now > AHEAD:
        raise UsageError(
            f"as_of: {time_text(as_of)} lies in the future; nothing is known of it yet (now it is {time_text(now)})"
        )
    return min(as_of, now)


def _tag(stand: Standing, target: str) -> str:
    """Weak: the time up to which an unchanged answer was confirmed is not in it, but in a header of its own."""
    return f'W/"{stand.tag}-{_VERSION}-{zlib.crc32(target.encode("utf-8", "replace")):x}"'


def _matches(wanted: str, tag: str) -> bool:
    """Whether a header If-None-Match names this tag, compared weakly."""
    bare = tag.removeprefix("W/")
    return wanted.strip() == "*" or bare in [each.strip().removeprefix("W/") for each in wanted.split(",")]


def _write(file: IO[bytes], content: Content) -> None:
    """An object whose values are written one by one, and rows of a value one after the other."""
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
    """A value or a row as JSON has it: times as they are stored."""
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
    """Sends a file piece by piece, and closes it whatever happens."""

    def __init__(self, file: IO[bytes], headers: Mapping[str, str]) -> None:
        self._file = file
        super().__init__(_pieces(file), headers=headers, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
