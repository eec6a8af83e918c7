"""Merges the small files of an export that grew, so that engines that open each file do not wait for thousands.

It reads no database: the export in the folder still shows the same moment, in fewer files. A large table is written
row group by row group, so memory does not grow with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath

from collector.errors import ExportError, UsageError
from collector.reports.export.folder import MANIFEST, Folder, Sink, keep, open_folder
from collector.reports.export.formats import writer_of
from collector.reports.export.manifest import File, Manifest, Table

SMALL = 64 * 1024 * 1024
"""Bytes; a file of this size or more is kept."""
LARGE = 256 * 1024 * 1024
"""Bytes of small files that become one file."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """An export before and after."""

    before: Manifest
    after: Manifest
    """The same manifest if there was nothing to merge."""


def compact(path: Path) -> Compacted:
    """Merge the settled files of each partition. Readers see the former export or the new one, complete.

    The next incremental export continues from it. Raises UsageError if there is no export in Parquet, ExportError if a
    file is not as it was written.
    """
    writer_of("parquet")  # says at once what is missing
    if not (path / MANIFEST).is_file():
        raise UsageError(f"{path} holds no export to compact")
    with open_folder(path) as folder:
        before = _manifest(folder)
        if not any(len(group) > 1 for table in before.tables for group in groups(table.files)):
            return Compacted(before, before)
        with folder.new() as new:
            number = folder.number + 1
            tables = tuple(_table(folder.path, new, table, number) for table in before.tables)
            after = replace(before, export=number, tables=tables)
            with Sink(new / MANIFEST) as sink:
                sink.write(after.to_json())
            folder.put_in_place(new)
    return Compacted(before, after)


def _manifest(folder: Folder) -> Manifest:
    try:
        found = Manifest.from_json(folder.manifest() or b"")
    except ValueError:
        raise ExportError(
            f"the manifest in {folder.path} can't be read; export again without --incremental"
        ) from None
    if found.asked.get("format") != "parquet":
        raise UsageError(
            f"{folder.path} is an export as {found.asked.get('format')}; only parquet can be compacted"
        )
    return found


def groups(files: Sequence[File]) -> Iterator[list[File]]:
    """The files in their order. Those of a group become one file; a group of one is kept as it is."""
    for _, found in groupby(files, lambda file: (PurePosixPath(file.path).parent, file.settled)):
        group: list[File] = []
        for file in found:
            if group and not (_is_small(file) and _is_small(group[-1]) and _bytes(group) < LARGE):
                yield group
                group = []
            group.append(file)
        yield group


def _is_small(file: File) -> bool:
    return file.settled and file.bytes < SMALL


def _bytes(files: Sequence[File]) -> int:
    return sum(file.bytes for file in files)


def _table(old: Path, new: Path, table: Table, number: int) -> Table:
    files: list[File] = []
    # Rows that settled later are in a later file, so all files of a partition belong together, in the order of
    # exports.
    in_order = sorted(
        table.files, key=lambda file: (PurePosixPath(file.path).parent, not file.settled, file.export)
    )
    for place, group in enumerate(groups(in_order)):
        if len(group) == 1:
            keep(old / group[0].path, new / group[0].path)
            files += group
        else:
            files.append(_merged(old, new, group, f"part-{number:06}-{place:04}.parquet", number))
    return replace(table, files=tuple(files))


def _merged(old: Path, new: Path, group: Sequence[File], name: str, number: int) -> File:
    from collector.reports.export.parquet import merge

    for file in group:
        _check(old / file.path, file)
    path = PurePosixPath(group[0].path).parent / name
    with Sink(new / path) as sink:
        rows = merge([old / file.path for file in group], sink)
    if rows != sum(file.rows for file in group):
        raise ExportError(
            f"{path.parent} has other rows than its manifest says; export again without --incremental"
        )
    return File(str(path), rows, sink.size, sink.sha256, number, settled=True)


def _check(path: Path, file: File) -> None:
    """Raises ExportError if a file is gone or is not as it was written."""
    try:
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        found = ""
    if found != file.sha256:
        raise ExportError(f"{file.path} is missing or was changed; export again without --incremental")
