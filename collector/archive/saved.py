"""Finds saved answers as files: which there are, their times, and their bytes.

Finding reads no file, so it is quick, and its memory use does not depend on the files' sizes.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal

from collector.archive.filetimes import Moment, time_in_name
from collector.errors import UsageError
from collector.gcore.body import MAX_BODY

Origin = Literal["name", "mtime", "commit"]
"""The origin of an answer's time: the file's name, its modification time, or the commit's author date."""
TimeFrom = Literal["auto", "name", "mtime"]
ENDINGS = (".json", ".json.gz")


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved answer that has not been read yet."""

    name: str
    """Shown to people."""
    when: Moment
    origin: Origin
    place: str
    """Where its bytes are: a path within the folder, or git's name of the object."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A saved answer that is not imported, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found."""

    saved: tuple[Saved, ...]
    skipped: tuple[Skipped, ...]
    ignored: int
    """Number of files that are not JSON, links and hidden files."""
    notes: tuple[str, ...] = ()
    """Notes for people."""
    is_in_order: bool = False
    """True if they are in the order in which they were saved, whatever their times are."""
    only_changes: bool = False
    """True if only changed answers were saved, so their distances do not show the poll interval."""


class UnreadableError(ValueError):
    """The bytes of a saved answer can't be read."""


class Folder:
    """A folder of saved answers, with its subfolders. Links are not followed."""

    def __init__(self, path: Path, max_body: int = MAX_BODY) -> None:
        require_folder(path)
        self.path = path
        self.max_body = max_body

    def find(self, time_from: TimeFrom = "auto", zone: tzinfo = UTC) -> Found:
        """Find files. `zone`: for names without one."""
        saved: list[Saved] = []
        skipped: list[Skipped] = []
        ignored = 0
        is_checkout = time_from == "auto" and _is_in_checkout(self.path)
        for name, status in self._files(skipped):
            if status is None:
                ignored += 1
                continue
            try:
                found = None if time_from == "mtime" else time_in_name(_without_ending(name), zone)
                if found is not None:
                    saved.append(Saved(name, found, "name", name))
                elif time_from == "name":
                    skipped.append(Skipped(name, "its name contains no time"))
                elif is_checkout:
                    why = "its name contains no time, and git set its modification time (see --git-file)"
                    skipped.append(Skipped(name, why))
                else:
                    saved.append(Saved(name, _modified(status), "mtime", name))
            except ValueError as error:
                skipped.append(Skipped(name, str(error)))
        notes = []
        if len({each.origin for each in saved}) > 1:
            notes.append("some times come from file names, others from modification times")
        return Found(tuple(saved), tuple(skipped), ignored, tuple(notes))

    def read(self, saved: Saved) -> bytes:
        """Read an answer's bytes. Raises UnreadableError."""
        try:
            with (self.path / saved.place).open("rb") as file:
                body = file.read(self.max_body + 1)
        except OSError as error:
            raise UnreadableError(f"can't be read: {error.strerror}") from None
        return unpacked(saved.name, body, self.max_body)

    def close(self) -> None:
        """There is nothing to close."""

    def _files(self, skipped: list[Skipped]) -> Iterator[tuple[str, os.stat_result | None]]:
        """Names within the folder, in order; with None if the file is ignored."""

        def cant(error: OSError) -> None:
            place = os.path.relpath(error.filename, self.path)
            skipped.append(Skipped(f"{place}/", f"the folder can't be read: {error.strerror}"))

        for top, folders, files in os.walk(self.path, onerror=cant):
            folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
            for file in sorted(files):
                path = Path(top, file)
                name = path.relative_to(self.path).as_posix()
                try:
                    status = path.lstat()
                except OSError as error:
                    skipped.append(Skipped(name, f"can't be read: {error.strerror}"))
                    continue
                is_ours = file.lower().endswith(ENDINGS) and not file.startswith(".")
                yield name, status if is_ours and stat.S_ISREG(status.st_mode) else None


def require_folder(path: Path) -> None:
    """Raise UsageError if the folder does not exist or can't be read."""
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    if not is_folder:
        raise UsageError(f"there is no folder {path}")


def unpacked(name: str, body: bytes, max_body: int) -> bytes:
    """The bytes of an answer, decompressed if the name says so. Raises UnreadableError."""
    too_large = f"is larger than {max_body:,} bytes"
    if len(body) > max_body:
        raise UnreadableError(too_large)
    if not name.lower().endswith(".gz"):
        return body
    try:
        whole = _gunzipped(body, max_body)
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableError(f"can't be decompressed: {error}") from None
    if len(whole) > max_body:
        raise UnreadableError(f"{too_large} when decompressed")
    return whole


def _gunzipped(body: bytes, max_body: int) -> bytes:
    """The decompressed body, cut at one byte more than an answer may have."""
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
        return packed.read(max_body + 1)


def _without_ending(name: str) -> str:
    ending = next(e for e in reversed(ENDINGS) if name.lower().endswith(e))
    return name[: -len(ending)]


def _modified(status: os.stat_result) -> Moment:
    try:
        at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=status.st_mtime_ns // 1000)
    except OverflowError:
        raise ValueError("its modification time is not a valid time") from None
    return Moment(at, at)


def _is_in_checkout(path: Path) -> bool:
    """True if git wrote these files, and so set their modification times."""
    folder = path.resolve()
    return any((each / ".git").exists() for each in (folder, *folder.parents))
