"""The formats of files: CSV and JSON Lines. Parquet has its own module, which needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from io import RawIOBase
from typing import Any, Protocol

from collector.clock import time_text
from collector.database.types import list_text
from collector.errors import UsageError
from collector.reports.export.relations import Column

Row = Sequence[Any]


class Writer(Protocol):
    """Writes rows into a file that the caller opens and closes."""

    def write(self, rows: Sequence[Row]) -> None: ...

    def finish(self) -> None: ...


def writer_of(format_: str) -> Callable[[RawIOBase, Sequence[Column]], Writer]:
    """The writer for a format. Raises UsageError if that needs a library that is not installed."""
    if format_ == "csv":
        return CsvWriter
    if format_ == "jsonl":
        return JsonLinesWriter
    try:
        from collector.reports.export.parquet import ParquetWriter
    except ImportError:
        raise UsageError(
            "parquet needs pyarrow, which is not installed: pip install 'gcore-collector[export]'; "
            "--format csv and --format jsonl need nothing"
        ) from None
    return ParquetWriter


class CsvWriter:
    """RFC 4180, with a heading. Null is an empty field, an empty text is quoted; lists are JSON."""

    def __init__(self, file: RawIOBase, columns: Sequence[Column]) -> None:
        self._file = file
        self.write([[column.name for column in columns]])

    def write(self, rows: Sequence[Row]) -> None:
        self._file.write("".join(",".join(map(_in_csv, row)) + "\r\n" for row in rows).encode())

    def finish(self) -> None:
        pass


def _in_csv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | tuple):
        text = value if isinstance(value, str) else list_text(value)
        is_quoted = not text or any(c in text for c in ',"\r\n') or text != text.strip()
        return '"' + text.replace('"', '""') + '"' if is_quoted else text
    return str(plain(value))


class JsonLinesWriter:
    """One object per line; lists are lists, null is null."""

    def __init__(self, file: RawIOBase, columns: Sequence[Column]) -> None:
        self._file, self._names = file, [column.name for column in columns]

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            values = dict(zip(self._names, map(plain, row), strict=True))
            self._file.write(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def finish(self) -> None:
        pass


def plain(value: Any) -> Any:
    """A value in JSON: times as ISO 8601 in UTC with microseconds."""
    if isinstance(value, datetime):
        return time_text(value)
    return value.isoformat() if isinstance(value, date) else value
