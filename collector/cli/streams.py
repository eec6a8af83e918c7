"""Standard output and standard error may be closed, full, abandoned by their reader, and in any encoding.

A command's work is done, even if its lines can't be written, so writing them never raises. Lost output is remembered,
and reported at the end.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any, TextIO

_KEPT = 64 * 1024


class Patient(io.RawIOBase):
    """A file descriptor that accepts everything. Output that can't be written counts as written, and its beginning is
    kept.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.error: OSError | None = None
        """The first error."""
        self.lost = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        while self.error is None:
            try:
                return os.write(self._number, view)
            except BlockingIOError:  # a terminal or a pipe that somebody made non-blocking
                select.select([], [self._number], [])
            except OSError as error:
                self.error = error
        self.lost = (self.lost + bytes(view[:_KEPT]))[:_KEPT]
        return len(view)


class _Streams:
    def __init__(self) -> None:
        self.out: Patient | None = None
        self.done = False


_streams = _Streams()


def prepare() -> None:
    """Make both streams safe to print to. Called once, before anything is opened or printed.

    A closed stream becomes /dev/null: otherwise the next opened file, perhaps the database, would get its number. A
    character that the encoding lacks is written as an escape.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    _streams.out, _streams.done = Patient(1), False
    sys.stdout = _patient(sys.stdout, _streams.out)
    sys.stderr = _patient(sys.stderr, Patient(2))


def _patient(stream: TextIO | None, raw: Patient) -> TextIO:
    """The interpreter's stream over `raw`; a stream that somebody replaced stays."""
    if stream is not None and not isinstance(stream, io.TextIOWrapper):
        return stream
    encoding = stream.encoding if stream else "utf-8"
    is_immediate = raw.fileno() == 2 or raw.isatty() or bool(stream and stream.write_through)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="plain_ascii" if codecs.lookup(encoding).name == "ascii" else encoding,
        errors="backslashreplace",
        line_buffering=is_immediate,
    )


@codecs.register
def _plain_ascii(name: str) -> codecs.CodecInfo | None:
    """ASCII under a name that click does not know: click would write UTF-8 where ASCII is requested."""
    if name != "plain_ascii":
        return None
    return codecs.CodecInfo(
        (known := codecs.lookup("ascii")).encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        known.incrementalencoder,
        known.incrementaldecoder,
        name=name,
    )


def what_is_done_counts() -> None:
    """Make the exit code of this command reflect what it did, even if its output was lost."""
    _streams.done = True


def finish(code: int) -> int:
    """Report lost standard output. Returns the exit code: an answer that nobody got is a failure."""
    with suppress(ValueError):  # closed by the caller
        sys.stdout.flush()
    out = _streams.out
    if out is None or out.error is None:
        return code
    if out.error.errno != errno.EPIPE:
        sys.stderr.write(f"collector: standard output can't be written: {out.error.strerror}\n")
        if _streams.done:
            sys.stderr.write(out.lost.decode(sys.stdout.encoding or "utf-8", "backslashreplace"))
        sys.stderr.flush()
    return code if _streams.done else code or 1
