"""Checks that SQLite's write-ahead log matches its index.

SQLite trusts the log while it runs: the index (`-shm`, in memory) says what is where, and checksums are only checked
when the index has to be rebuilt. So SQLite goes on writing to a log that was truncated, overwritten or replaced in
place, and discards it at the next start with everything that it held. The index has the salt of the log and the
checksum of its last frame. If those of the log differ, it is not the log that was written.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import sleep

_HEADER = struct.Struct("@12xBxHI4x2I8s8x")
"""The index's header: initialized flag, page size, number of frames, checksum of the last frame, salt of the log."""
_IN_FILE = struct.Struct("@I")
"""After both copies of that header: how many frames were copied into the database file."""
_LOG_HEADER, _FRAME_HEADER, _BOTH_COPIES = 32, 24, 2 * _HEADER.size
_TRIES, _MOST_TRIES, _PAUSE_SECONDS = 5, 50, 0.02
"""How often an index that stays the same must differ from the log, and how often both are read at most."""

_indexes: dict[tuple[int, int], int] = {}
"""Open indexes, by device and inode.

Nobody else in this process may close an index that SQLite has open: the system would release the locks that SQLite
holds on it.
"""
_guard = Lock()


def is_sound(path: Path) -> bool:
    """False if the log beside an open database is not the one that its index describes.

    Both are read one after the other while somebody may be writing, so only an index that stays the same counts.
    """
    with suppress(OSError):  # SQLite reports what is missing or unreadable
        index, log = _index_of(path), path.with_name(f"{path.name}-wal")
        described, alike = b"", 0
        for attempt in range(_MOST_TRIES):
            if attempt:
                sleep(_PAUSE_SECONDS)
            header = _header_of(index)
            if _agree(header, log):
                return True
            alike = alike + 1 if header == described else 1
            described = header
            if alike == _TRIES and _header_of(index) == header:
                return False
    return True


def forget(path: Path) -> None:
    """Let SQLite rebuild the index of an unsound log from the frames that have correct checksums.

    It takes nothing from another log, whose content belongs to another database or is older. The same applies to a log
    in which less is left than the database file already has: older pages among newer ones would damage it.
    """
    log = path.with_name(f"{path.name}-wal")
    with suppress(OSError):
        index = _index_of(path)
        header = os.pread(index, _BOTH_COPIES + _IN_FILE.size, 0)
        _, _, frames, _, _, salt = _HEADER.unpack(header[: _HEADER.size])
        (in_file,) = _IN_FILE.unpack(header[_BOTH_COPIES:])
        content = log.read_bytes() if in_file < frames else b""
        if content[16:24] != salt or _committed(content) <= in_file:
            os.truncate(log, 0)
        os.pwrite(index, bytes(_BOTH_COPIES), 0)


def _committed(log: bytes) -> int:
    """How many frames of a log SQLite will accept: those with its salt and correct checksums, up to the last commit."""
    if len(log) < _LOG_HEADER:
        return 0
    magic, page_size = struct.unpack_from(">I4xI", log)
    words = "<" if magic & 1 == 0 else ">"
    sums = _sums((0, 0), log[: _LOG_HEADER - 8], words)
    if sums != struct.unpack_from(">2I", log, _LOG_HEADER - 8):
        return 0
    committed, size = 0, _FRAME_HEADER + page_size
    for number, at in enumerate(range(_LOG_HEADER, len(log) - size + 1, size), 1):
        frame = log[at : at + size]
        sums = _sums(_sums(sums, frame[:8], words), frame[_FRAME_HEADER:], words)
        if frame[8:16] != log[16:24] or sums != struct.unpack_from(">2I", frame, 16):
            break
        if any(frame[4:8]):  # the size of the database after a commit
            committed = number
    return committed


def _sums(before: tuple[int, int], data: bytes, words: str) -> tuple[int, int]:
    """SQLite's checksum, continued over more data."""
    one, other = before
    for first, second in struct.iter_unpack(f"{words}2I", data):
        one = (one + first + other) & 0xFFFFFFFF
        other = (other + second + one) & 0xFFFFFFFF
    return one, other


def _index_of(path: Path) -> int:
    """The open index of a database."""
    place = path.with_name(f"{path.name}-shm")
    status = place.stat()
    key = status.st_dev, status.st_ino
    with _guard:
        for other, index in list(_indexes.items()):
            if not os.fstat(index).st_nlink:  # deleted: nobody uses its locks any longer
                os.close(_indexes.pop(other))
        if key not in _indexes:
            _indexes[key] = os.open(place, os.O_RDWR)
        return _indexes[key]


def _header_of(index: int) -> bytes:
    return os.pread(index, _BOTH_COPIES, 0)


def _agree(header: bytes, log: Path) -> bool:
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
