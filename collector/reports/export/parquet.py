"""Parquet with pyarrow, the extra `export`. No other module may import this one at the top."""

from __future__ import annotations

from collections.abc import Sequence
from io import RawIOBase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from collector.reports.export.formats import Row
from collector.reports.export.relations import Column

_ROWS, _BYTES = 100_000, 32 * 1024 * 1024
"""A row group is written when it has one of these."""
_TYPES = {
    "text": pa.string(),
    "time": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "boolean": pa.bool_(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double": pa.float64(),
    "list of text": pa.list_(pa.string()),
    "list of bigint": pa.list_(pa.int64()),
}


def schema(columns: Sequence[Column]) -> Any:
    """The Arrow schema of an exported table."""
    return pa.schema([pa.field(c.name, _TYPES[c.word], nullable=c.nullable) for c in columns])


class ParquetWriter:
    """Keeps rows as compact Arrow batches until there are enough for a row group.

    Each row group, and each page in it, has the minimum and the maximum of every column.
    """

    def __init__(self, file: RawIOBase, columns: Sequence[Column]) -> None:
        self._schema = schema(columns)
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd", write_page_index=True)
        self._batches: list[Any] = []
        self._rows = self._bytes = 0

    def write(self, rows: Sequence[Row]) -> None:
        columns = zip(*rows, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        batch = pa.record_batch(arrays, schema=self._schema)
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _ROWS or self._bytes >= _BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._batches:
            table = pa.Table.from_batches(self._batches, self._schema)
            self._writer.write_table(table, row_group_size=self._rows)
            self._batches, self._rows, self._bytes = [], 0, 0

    def finish(self) -> None:
        self._write_group()
        self._writer.close()


def merge(files: Sequence[Path], sink: RawIOBase) -> int:
    """Write the rows of files with one schema into one file, in their order. Returns the number of rows.

    Small row groups are joined to larger ones. Only the row groups that are joined are in memory.
    """
    like = pq.read_schema(files[0])
    rows = 0
    with pq.ParquetWriter(sink, like, compression="zstd", write_page_index=True) as writer:
        waiting: list[Any] = []
        for file in files:
            with pq.ParquetFile(file) as opened:
                for number in range(opened.num_row_groups):
                    waiting.append(opened.read_row_group(number).cast(like))
                    rows += waiting[-1].num_rows
                    if sum(t.num_rows for t in waiting) >= _ROWS or sum(t.nbytes for t in waiting) >= _BYTES:
                        _write_together(writer, waiting)
        _write_together(writer, waiting)
    return rows


def _write_together(writer: Any, waiting: list[Any]) -> None:
    if waiting:
        table = pa.concat_tables(waiting)
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
        waiting.clear()
