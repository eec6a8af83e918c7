"""What a verification trusts outside the database: files of anchor lines, certificates, a public key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collector.anchors import Anchor
from collector.audit.anchoring.signing import public_key_of
from collector.audit.anchoring.timestamps import certificates_in
from collector.errors import UsageError
from collector.inventory import statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.x509 import Certificate

MAX_LINE = 64 * 1024
_TIMES = ("made_at", "last_asked_at", "last_at")


@dataclass(frozen=True, slots=True)
class Line:
    """An anchor line in a file."""

    file: Path
    place: int
    """Number of the line in the file."""
    row: Mapping[str, Any]
    is_whole: bool
    """True if its value matches its statement."""

    @property
    def where(self) -> str:
        return f"line {self.place} of {self.file}"


@dataclass(frozen=True, slots=True)
class Outside:
    """Everything that a verification may compare with."""

    lines: Mapping[tuple[str, int], tuple[Line, ...]] = field(default_factory=dict)
    """By source and number."""
    read: Mapping[str, Path] = field(default_factory=dict)
    """Anchors of the settings whose file was read, and that file."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Anchors whose file could not be read, and why."""
    certificates: Mapping[str, list[Certificate]] = field(default_factory=dict)
    """Certificates of time-stamping authorities by anchor; those for all other anchors under the empty name."""
    public_key: Ed25519PublicKey | None = None

    def read_again(self) -> Outside:
        """The same with the lines that were added to the files of the settings meanwhile."""
        found: dict[tuple[str, int], list[Line]] = {}
        for path in self.read.values():
            with suppress(OSError):
                _gather(found, path)
        added = {key: tuple(lines) for key, lines in found.items() if key not in self.lines}
        return replace(self, lines={**self.lines, **added})

    def certificates_for(self, target: str) -> list[Certificate]:
        return self.certificates.get(target) or self.certificates.get("") or []


def outside_of(
    anchors: Iterable[Anchor] = (),
    *,
    files: Iterable[Path] = (),
    ca_file: Path | None = None,
    key_file: Path | None = None,
) -> Outside:
    """What the settings name, and what is given besides. Raises SettingsError, UsageError.

    `files`: lines that were kept elsewhere, for example by a webhook's receiver or a log server. Text before the
    first brace of a line is ignored.
    """
    found: dict[tuple[str, int], list[Line]] = {}
    read, unread, certificates = {}, {}, {}
    for path in files:
        try:
            _gather(found, path)
        except OSError as error:
            raise UsageError(f"{path} can't be read: {error.strerror}") from None
    for anchor in anchors:
        if anchor.ca_file is not None:
            certificates[anchor.name] = certificates_in(anchor.ca_file)
        if anchor.path is None:
            continue
        try:
            _gather(found, anchor.path)
            read[anchor.name] = anchor.path
        except OSError as error:
            unread[anchor.name] = f"{anchor.path} can't be read: {error.strerror}"
    if ca_file is not None:
        certificates[""] = certificates_in(ca_file)
    return Outside(
        lines={key: tuple(lines) for key, lines in found.items()},
        read=read,
        unread=unread,
        certificates=certificates,
        public_key=public_key_of(key_file) if key_file is not None else None,
    )


def _gather(found: dict[tuple[str, int], list[Line]], path: Path) -> None:
    for line in lines_of(path):
        found.setdefault((line.row["source"], line.row["number"]), []).append(line)


def lines_of(path: Path) -> Iterator[Line]:
    """The anchor lines of a file; other lines are ignored. Raises OSError."""
    with path.open("rb") as file:
        for place, text in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
            row = _row_of(text)
            if row is not None:
                yield Line(path, place, row, statement.value_of(row) == row["value"])


def _row_of(text: bytes) -> dict[str, Any] | None:
    begin = text.find(b'{"anchor"')
    try:
        row = json.loads(text[begin:]) if begin >= 0 else None
        if not isinstance(row, dict) or row.get("anchor") != statement.FORMAT:
            return None
        for name in _TIMES:
            row[name] = datetime.fromisoformat(row[name])
        if type(row["number"]) is not int or not isinstance(row["source"], str):
            return None
        statement.value_of(row)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return row
