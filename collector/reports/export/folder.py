"""The folder of an export: a reader sees the former export or the new one, whole, and nothing between them.

    DIR/
      manifest.json  ─▶ .current/manifest.json
      regions        ─▶ .current/regions            one link for each table and view
      .current       ─▶ .export-000003              renaming another link over this one is the whole switch
      .export-000003/
        manifest.json
        regions/open-000003.parquet
        observations/part-000002.parquet            a hard link to what the export before had already
        observations/part-000003.parquet

What a killed export leaves is a folder that no link points to; the next export removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from collector.errors import ExportError, UsageError

MANIFEST = "manifest.json"
_CURRENT, _NEXT, _EXPORT = ".current", ".next", ".export-"


class Folder:
    """A folder that only one export at a time writes into; see `open_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def current(self) -> Path | None:
        """The export that readers see."""
        link = self.path / _CURRENT
        return self.path / link.readlink() if link.is_symlink() and link.is_dir() else None

    @property
    def number(self) -> int:
        """How many exports were made into this folder."""
        return 0 if self.current is None else int(self.current.name.removeprefix(_EXPORT))

    def manifest(self) -> bytes | None:
        """The manifest that readers see."""
        path = self.path / MANIFEST
        return path.read_bytes() if path.is_file() else None

    def refuse_what_is_in_the_way_of(self, names: Iterable[str]) -> None:
        """Raise UsageError if a name that an export needs is taken."""
        for path in (self.path / name for name in (*names, MANIFEST, _CURRENT)):
            if path.exists() and not path.is_symlink():
                raise UsageError(f"{path} is in the way: it was not made by an export")

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A folder for the next export. It is removed again unless it was put in place."""
        path = self.path / f"{_EXPORT}{self.number + 1:06}"
        path.mkdir()
        try:
            yield path
        finally:
            if self.current != path:
                shutil.rmtree(path, ignore_errors=True)

    def put_in_place(self, export: Path) -> None:
        """Show this export to readers instead of the former one, in one step, and remove the former one."""
        for folder, _, _ in os.walk(export):
            _sync(Path(folder))
        names = {entry.name for entry in export.iterdir()}
        for name in sorted(names):
            link, target = self.path / name, f"{_CURRENT}/{name}"
            if link.is_symlink() and str(link.readlink()) != target:
                link.unlink()
            if not link.is_symlink():
                link.symlink_to(target)
        following = self.path / _NEXT
        following.symlink_to(export.name)
        following.rename(self.path / _CURRENT)
        _sync(self.path)
        self.tidy()

    def tidy(self) -> None:
        """Remove what no reader sees: exports that were replaced or not finished, and broken links."""
        current = self.current
        for entry in list(self.path.iterdir()):
            if entry.name == _NEXT:
                entry.unlink()
            elif entry.name.startswith(_EXPORT) and entry != current:
                shutil.rmtree(entry, ignore_errors=True)
            elif _is_our_link(entry) and not entry.exists():
                entry.unlink()


@contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """The folder, created if there is none, for this process alone to write into. Remains of an earlier export are
    removed.

    Raises UsageError if it has other content, ExportError if another export writes into it or if it can't be written.
    """
    with _friendly(path):
        if not path.exists() and not path.is_symlink():
            if not path.parent.is_dir():
                raise UsageError(f"the folder {path.parent} does not exist")
            path.mkdir()
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ExportError(f"another export writes into {path}") from None
            except OSError:
                pass  # a file system without locks
            folder = Folder(path)
            foreign = sorted(entry.name for entry in path.iterdir() if not _is_ours(entry))
            if foreign and folder.current is None:
                raise UsageError(
                    f"{path} contains {foreign[0]!r}, which is not part of an export; name a new or an empty folder"
                )
            folder.tidy()
            yield folder
        finally:
            os.close(lock)


def _is_ours(entry: Path) -> bool:
    if entry.name.startswith(_EXPORT):
        return entry.is_dir()
    return entry.is_symlink() and (entry.name in (_CURRENT, _NEXT) or _is_our_link(entry))


def _is_our_link(entry: Path) -> bool:
    return entry.is_symlink() and str(entry.readlink()).startswith(f"{_CURRENT}/")


@contextmanager
def _friendly(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportError(f"{path} can't be written: {error.strerror or error}") from error


def keep(old: Path, new: Path) -> None:
    """The same file in another export: a hard link, if the file system supports that."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        with old.open("rb") as source, Sink(new) as copy:
            shutil.copyfileobj(source, copy)


class Sink(io.RawIOBase):
    """A new file that is hashed while it is written, and is on the disk when it is closed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any) -> int:
        self._hash.update(data)
        written = self._file.write(data)
        self.size += written
        return written

    def close(self) -> None:
        if not self.closed:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()
        super().close()


def _sync(path: Path) -> None:
    """Write the names in a folder to the disk, if the file system supports that."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
