"""Audit packs in the hands of a forger."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.audit import pack
from collector.database.transactions import reading
from collector.inventory import chain
from tests.support.history import History

CHECKER = Path(pack.__file__).with_name("check.py")
_spec = importlib.util.spec_from_file_location("checker", CHECKER)
assert _spec is not None
assert _spec.loader is not None
checker: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checker)
"""As a module: a process for each of thousands of packs takes too long."""

Json = dict[str, Any]
Files = dict[str, bytes]


def build(history: History, start: float = 0, end: float = 3600, **more: Any) -> Files:
    """A pack of seconds after NOON, as the files in it."""
    with reading(history.engine) as connection:
        packed, _ = pack.build(
            connection, "gcore", history.time(start), history.time(end), made_at=history.time(end), **more
        )
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


def only(name: str, is_kept: Callable[[Json], bool]) -> Callable[[Files], None]:
    """Keep only these rows of a listing."""
    return edit(name, lambda all_: all_.__setitem__(slice(None), [row for row in all_ if is_kept(row)]))


def hide(text: str) -> Callable[[Files], None]:
    """Replace records that contain this text by their hash."""

    def forge(all_: list[Json]) -> None:
        for one in all_:
            one["records"] = [
                {"hash": hashlib.sha256(r["text"].encode()).hexdigest()} if text in r.get("text", "") else r
                for r in one["records"]
            ]

    return edit("answers", forge)


def first(all_: list[Json], **where: Any) -> Json:
    """The first row in which these are so."""
    return next(row for row in all_ if all(row[name] == value for name, value in where.items()))


def in_pack(**changes: Any) -> Callable[[Files], None]:
    def forge(files: Files) -> None:
        files["pack.json"] = json.dumps(json.loads(files["pack.json"]) | changes).encode()

    return forge


def of_an_older_version(files: Files) -> None:
    """A pack as it was before there were claims and anchors, and before anything could be pruned or redacted."""
    for name in ("claims.jsonl", "anchors.jsonl", "index.html", "amendments.jsonl", "redacted.jsonl"):
        del files[name]
    edit("observations", lambda content: [row.pop("amended") for row in content])(files)
    in_pack(format=1)(files)


def said_of(files: Files, folder: Path, *heads: str) -> list[str]:
    """What the checker prints."""
    try:
        said: list[str] = checker.check(repacked(files, folder / "pack.zip"), list(heads))
    except Exception as error:  # noqa: BLE001 - what `main` does
        return [f"BROKEN: {error}"]
    return said


def verdict_on(files: Files, folder: Path) -> str:
    """The first line that the checker prints."""
    return said_of(files, folder)[0]


def written_again(files: Files) -> None:
    """All digests computed again, as who writes the database can."""
    observations = rows(files, "observations")
    previous = observations[0]["previous_digest"]
    for row in observations:
        row["previous_digest"] = previous
        row["opening_digest"] = chain.opening_digest("gcore", row, row)
        previous = row["digest"] = chain.closing_digest(row)
    observations[-1]["digest"] = None
    edit("observations", lambda content: content.__setitem__(slice(None), observations))(files)
    head = {"seq": observations[-1]["seq"], "digest": observations[-1]["opening_digest"]}
    in_pack(head=head)(files)


def cut(files: Files, begin: int, end: int | None = None) -> None:
    """Only the observations from this number on, and the answers of those, up to that of `end`."""
    only("observations", lambda row: row["seq"] >= begin)(files)
    used = {row["payload"] for row in rows(files, "observations") if end is None or row["seq"] <= end}
    only("answers", lambda row: row["address"] in used)(files)
    if end is not None:
        in_pack(answers_up_to=end)(files)
