"""Audit packs in the hands of a forger."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.audit import pack
from collector.database.transactions import reading
from tests.support.history import History

CHECKER = Path(pack.__file__).with_name("check.py")
Json = dict[str, Any]
Files = dict[str, bytes]


def build(history: History, start: float = 0, end: float = 3600, **more: Any) -> Files:
    """A pack of seconds after NOON, as the files in it."""
    with reading(history.engine) as connection:
        packed, _ = pack.build(
            connection, "gcore", history.time(start), history.time(end), made_at=history.time(end), **more
        )
    return unpacked(packed)


def unpacked(packed: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rows(files: Files, name: str) -> list[Json]:
    return [json.loads(line) for line in files[f"{name}.jsonl"].splitlines()]


def repacked(files: Files, path: Path) -> Path:
    """A ZIP of the files, with the hashes in pack.json made right: what a careful forger does."""
    facts = json.loads(files["pack.json"])
    facts["files"] = {n: hashlib.sha256(b).hexdigest() for n, b in files.items() if n != "pack.json"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, json.dumps(facts) if name == "pack.json" else content)
    return path


def edit(name: str, change: Callable[[list[Json]], object]) -> Callable[[Files], None]:
    def forge(files: Files) -> None:
        content = rows(files, name)
        change(content)
        files[f"{name}.jsonl"] = "".join(json.dumps(row) + "\n" for row in content).encode()

    return forge


def in_pack(**changes: Any) -> Callable[[Files], None]:
    def forge(files: Files) -> None:
        files["pack.json"] = json.dumps(json.loads(files["pack.json"]) | changes).encode()

    return forge
