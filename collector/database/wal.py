"""Is SQLite's write-ahead log what its index says?

SQLite trusts the log as long as it runs: it knows from the index (`-shm`, in memory) what stands where, and looks at
checksums only when it has to make the index anew. So a log that was cut, overwritten or copied over in place goes on
being written, and is thrown away at the next start with all that it held. The index has the salt of the log and the
checksum of its last frame: where the log has others, it is not the one that was written.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import sleep

_HEADER = struct.Struct("@12xBxHI4x2I8s8x")
"""Of the index: whether it is set up, the page size, the number of frames, checksum of the last, salt of the log."""
_LOG_HEADER, _FRAME_HEADER, _BOTH_COPIES = 32, 24, 2 * _HEADER.size
_TRIES, _PAUSE_SECONDS = 5, 0.02
"""Somebody may be writing just now."""

_indexes: dict[tuple[int, int], int] = {}
"""Open indexes, by device and inode. One that SQLite has open must not be closed by anybody else in this process: the
system would take away the locks that SQLite holds on it."""
_guard = Lock()


def is_sound(path: Path) -> bool:
    """False where the log beside a database that this process has open is not the one that its index tells of."""
    with suppress(OSError):  # what is missing, or can't be read, SQLite says
        index = _index_of(path)
        for attempt in range(_TRIES):
            if attempt:
                sleep(_PAUSE_SECONDS)
            if _agree(index, path.with_name(f"{path.name}-wal")):
                return True
        return False
    return True


def forget(path: Path) -> None:
    """Let SQLite make the index anew of a log that is not sound, from as much of it as has the right checksums.

    Of another log nothing: what stands in it was never meant for this database, or is older than what it has.
    """
    log = path.with_name(f"{path.name}-wal")
    with suppress(OSError):
        index = _index_of(path)
        if log.read_bytes()[:_LOG_HEADER][16:24] != _HEADER.unpack(os.pread(index, _HEADER.size, 0))[-1]:
            os.truncate(log, 0)
        os.pwrite(index, bytes(_BOTH_COPIES), 0)


def _index_of(path: Path) -> int:
    """The open index of a database."""
    place = path.with_name(f"{path.name}-shm")
    status = place.stat()
    key = status.st_dev, status.st_ino
    with _guard:
        for other, index in list(_indexes.items()):
            if not os.fstat(index).st_nlink:  # deleted: nobody asks for its locks any more
                os.close(_indexes.pop(other))
        if key not in _indexes:
            _indexes[key] = os.open(place, os.O_RDWR)
        return _indexes[key]


def _agree(index: int, log: Path) -> bool:
    header = os.pread(index, _BOTH_COPIES, 0)
    if len(header) < _BOTH_COPIES:
        return True
    if header[: _HEADER.size] != header[_HEADER.size :]:
        return False
    is_set_up, page, frames, one, other, salt = _HEADER.unpack(header[: _HEADER.size])
    if not is_set_up or not frames:
        return True
    page_size = (page & 0xFE00) + ((page & 1) << 16)
    end = _LOG_HEADER + frames * (_FRAME_HEADER + page_size)
    with log.open("rb", buffering=0) as file:
        first = file.read(_LOG_HEADER)
        file.seek(end - _FRAME_HEADER - page_size)
        last = file.read(_FRAME_HEADER)
        is_cut = os.fstat(file.fileno()).st_size < end
    return not is_cut and first[16:24] == last[8:16] == salt and last[16:24] == struct.pack(">2I", one, other)
