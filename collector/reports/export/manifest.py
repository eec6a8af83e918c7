"""The manifest of an export: its options, its files, and its moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from collector.clock import time_text
from collector.errors import UsageError
from collector.reports.export.relations import Mark

MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of an export."""

    format: str
    since: datetime | None = None
    until: datetime | None = None
    partition_by: str | None = None
    source: str | None = None
    only: tuple[str, ...] = ()
    """These tables and views; none: all."""
    without: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        return name not in self.without and (not self.only or name in self.only)

    def in_words(self) -> dict[str, Any]:
        """The options by the names of the command's options."""
        return {
            "format": self.format,
            "from": self.since and time_text(self.since),
            "to": self.until and time_text(self.until),
            "partition_by": self.partition_by,
            "source": self.source,
            "only": sorted(self.only),
            "without": sorted(self.without),
        }


@dataclass(frozen=True, slots=True)
class SourceState:
    """How far a source had come at the moment of the export."""

    source: str
    source_id: int
    newest_seq: int
    """Its newest observation; 0: none yet."""
    head: str | None
    """The opening digest of that observation."""
    settled: Mark | None
    """The newest observation that nothing can change any longer; None: none yet."""
    derivation_revision: int


@dataclass(frozen=True, slots=True)
class File:
    """A file, and how to recognize it."""

    path: str
    """Path in the folder."""
    rows: int
    bytes: int
    sha256: str
    export: int
    """The export that wrote it."""
    settled: bool
    """True if the next incremental export keeps it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view, and its files."""

    name: str
    kind: str
    rows: int
    time: str | None
    """The columns that limit it and divide it into days; None: its rows have no time."""
    grows: bool
    """True if incremental exports add files to it instead of writing it again."""
    columns: tuple[Mapping[str, Any], ...]
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about an export."""

    manifest_version: int
    export: int
    """Counts from 1 in this folder."""
    made_at: datetime
    collector_version: str
    schema: str
    asked: Mapping[str, Any]
    sources: tuple[SourceState, ...]
    tables: tuple[Table, ...]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, default=time_text).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Raises UsageError if a newer version wrote it, ValueError if it is no manifest."""
        try:
            found = json.loads(data)
            if found["manifest_version"] > MANIFEST_VERSION:
                raise UsageError(
                    f"a newer version wrote the export in this folder ({found['collector_version']}); "
                    "update this collector, or name another folder"
                )
            return cls(
                **found
                | {
                    "made_at": datetime.fromisoformat(found["made_at"]),
                    "sources": tuple(_state(each) for each in found["sources"]),
                    "tables": tuple(
                        Table(
                            **each
                            | {
                                "columns": tuple(each["columns"]),
                                "files": tuple(File(**file) for file in each["files"]),
                            }
                        )
                        for each in found["tables"]
                    ),
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a manifest: {error}") from None

    def table(self, name: str) -> Table | None:
        return next((table for table in self.tables if table.name == name), None)


def _state(found: dict[str, Any]) -> SourceState:
    mark = found["settled"]
    settled = None if mark is None else Mark(**mark | {"at": datetime.fromisoformat(mark["at"])})
    return SourceState(**found | {"settled": settled})
