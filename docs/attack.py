#!/usr/bin/env python3
"""Attack it yourself: forges copies of the demo's history in ten ways, and shows that `audit verify` finds each.

    .venv/bin/python docs/attack.py                       makes a demo first
    .venv/bin/python docs/attack.py collector-demo.db     uses copies of this file

The attacker can change everything in the database, and knows everything that docs/audit.md says. Digests are computed
again where that helps. The attacker can't write the file to which the anchor was given. This file imports nothing from
the collector and computes digests with its own code, so that its result does not rest on the code that it attacks. The
exit code is 0 if every forgery was found, and 1 otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

OPENING = (
    "seq",
    "outcome",
    "payload",
    "first_asked_at",
    "first_at",
    "expected_interval_ms",
    "listed",
    "declared",
    "rejected",
    "missing",
    "cause",
    "http_status",
    "exception_class",
    "message",
    "request_id",
    "clock_offset_ms",
    "collector_version",
    "recorded_at",
)
LATER = ("paging", "age_ms", "amended")
CLOSING = ("last_asked_at", "last_at", "polls", "longest_interval_ms", "variants")
STATED = ("source", "number", "target", "kind", "made_at", "seq", "head", *CLOSING)
RESULT = ("outcome", "answered_at", "attested_at", "token", "signed_by", "signature", "error")


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="attack-"))
    true, heads = folder / "true.db", folder / "heads"
    if len(sys.argv) > 1:
        with closing(sqlite3.connect(sys.argv[1])) as demo, closing(sqlite3.connect(true)) as copy:
            demo.backup(copy)
            copy.execute("DELETE FROM anchors")  # the places that got these anchors are not available here
            copy.commit()
    else:
        collector(folder, None, "demo", "--file", str(true))
    code, said = collector(folder, true, "audit", "anchor", anchor=heads)
    print(said)
    code, said = collector(folder, true, "audit", "verify", anchor=heads)
    print(f"the true history: {first_line(said)}\n")
    found = code == 0
    for number, (forge, needs_anchor) in enumerate(ATTACKS, 1):
        forged = folder / f"{number}.db"
        shutil.copy(true, forged)
        with closing(sqlite3.connect(forged, isolation_level=None)) as database:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA foreign_keys = OFF")
            database.execute("BEGIN")
            forge(database)
            database.execute("COMMIT")
        if forge is cut_off:
            collector(folder, forged, "db", "rebuild")
        print(f"{number:2}. {' '.join(str(forge.__doc__).split())}")
        if needs_anchor:
            code, said = collector(folder, forged, "audit", "verify")
            print(f"    the database alone: {'nothing is found' if code == 0 else first_finding(said)}")
        code, said = collector(folder, forged, "audit", "verify", anchor=heads)
        print(f"    {'FOUND: ' + first_finding(said) if code == 1 else 'NOT FOUND'}\n")
        found = found and code == 1
    shutil.rmtree(folder)
    print("every forgery was found" if found else "NOT every forgery was found")
    return 0 if found else 1


def collector(
    folder: Path, database: Path | None, *command: str, anchor: Path | None = None
) -> tuple[int, str]:
    """Run the collector on a database. Returns its exit code and its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLLECTOR_")}
    if database is not None:
        environment["COLLECTOR_DATABASE_URL"] = f"sqlite:///{database}"
    if anchor is not None:
        environment["COLLECTOR_ANCHOR"] = f"file:{anchor}"
    call = [sys.executable, "-m", "collector", *command]
    done = subprocess.run(call, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return done.returncode, done.stdout


def first_line(said: str) -> str:
    return said.splitlines()[0]


def first_finding(said: str) -> str:
    """The line that names what is wrong."""
    lines = [line.strip() for line in said.splitlines()]
    verdict = next(number for number, line in enumerate(lines) if "altered; checked" in line)
    return lines[verdict + 1]


# What the attacker knows


def digest_of(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def make_digests_again(database: sqlite3.Connection) -> None:
    """Compute all digests of the chain again, over the present rows."""
    names = {row["id"]: row["name"] for row in database.execute("SELECT id, name FROM sources")}
    previous: dict[int, str] = {}
    rows = database.execute(
        "SELECT * FROM observations o JOIN observers w ON w.source_id = o.source_id AND w.id = o.observer_id"
        " JOIN sources s ON s.id = o.source_id ORDER BY o.source_id, o.seq"
    ).fetchall()
    for row in rows:
        source_id, before = row["source_id"], previous.get(row["source_id"], "0" * 64)
        missing = row["missing"] and json.loads(row["missing"])
        facts = [missing if name == "missing" else row[name] for name in OPENING]
        who = [row["key_fingerprint"], row["base_url"], row["auth_scheme"]]
        later = [[name, row[name]] for name in LATER if name in dict(row) and row[name] is not None]
        opening = digest_of([before, names[source_id], *facts, *who, *later])
        closing = digest_of([opening, *(row[name] for name in CLOSING)])
        previous[source_id] = closing
        is_newest = row["seq"] == row["newest_seq"]
        database.execute(
            "UPDATE observations SET previous_digest = ?, opening_digest = ?, digest = ? WHERE source_id = ? AND seq = ?",
            (before, opening, None if is_newest else closing, source_id, row["seq"]),
        )


def make_anchors_again(database: sqlite3.Connection) -> None:
    """Compute everything that the database says about anchors again, over the present chain."""
    previous: dict[int, str] = {}
    rows = database.execute(
        "SELECT a.*, s.name AS source, o.opening_digest FROM anchors a JOIN sources s ON s.id = a.source_id"
        " JOIN observations o ON o.source_id = a.source_id AND o.seq = a.seq ORDER BY a.source_id, a.number"
    ).fetchall()
    for row in rows:
        before = previous.get(row["source_id"], "0" * 64)
        stated = {**dict(row), "head": row["opening_digest"]}
        value = digest_of([before, *(stated[name] for name in STATED)])
        token = row["token"] and hashlib.sha256(row["token"]).hexdigest()
        digest = digest_of([value, *({**dict(row), "token": token}[name] for name in RESULT)])
        previous[row["source_id"]] = digest
        database.execute(
            "UPDATE anchors SET previous_digest = ?, head = ?, value = ?, digest = ? WHERE source_id = ? AND number = ?",
            (before, stated["head"], value, digest, row["source_id"], row["number"]),
        )


# Ten attacks


def rewrite_state(database: sqlite3.Connection) -> None:
    """A change of state is denied: MAINTENANCE becomes ACTIVE in the table of transitions."""
    database.execute("UPDATE state_transitions SET to_state = 'ACTIVE' WHERE to_state = 'MAINTENANCE'")


def narrow_window(database: sqlite3.Connection) -> None:
    """A change is dated later than it was first seen."""
    database.execute(
        "UPDATE state_transitions SET observed_at = substr(observed_at, 1, 17) || '59.000000Z' WHERE kind = 'changed'"
    )


def hide_gap(database: sqlite3.Connection) -> None:
    """The times in which nothing could be seen are deleted."""
    database.execute("DELETE FROM gaps")


def count_more_polls(database: sqlite3.Connection) -> None:
    """An observation claims more polls than were made."""
    database.execute("UPDATE observations SET polls = polls + 240 WHERE seq = 3")


def rewrite_answer(database: sqlite3.Connection) -> None:
    """A stored answer says ACTIVE where it said MAINTENANCE."""
    for row in database.execute("SELECT rowid, body FROM payloads").fetchall():
        text = zlib.decompress(row["body"]).replace(b"MAINTENANCE", b"ACTIVE")
        database.execute("UPDATE payloads SET body = ? WHERE rowid = ?", (zlib.compress(text), row["rowid"]))


def take_one_out(database: sqlite3.Connection) -> None:
    """One observation is removed from the middle."""
    database.execute("DELETE FROM observations WHERE seq = 20")


def another_key(database: sqlite3.Connection) -> None:
    """Another observer is claimed: the fingerprint of the key is replaced."""
    database.execute("UPDATE observers SET key_fingerprint = ? WHERE id = 1", ("f" * 32,))


def shorten_newest(database: sqlite3.Connection) -> None:
    """The newest observation claims to have ended after its first poll, which no digest of the chain covers yet, and the
    recorded anchor is deleted."""
    database.execute("DELETE FROM anchors")
    database.execute(
        "UPDATE observations SET polls = 1, last_at = first_at, last_asked_at = first_asked_at, longest_interval_ms = 0,"
        " variants = 0 WHERE digest IS NULL"
    )


def cut_off(database: sqlite3.Connection) -> None:
    """The newest ten observations and the anchors are cut off, and everything else is derived again from the rest."""
    last = "(SELECT newest_seq - 10 FROM sources)"
    database.execute(f"DELETE FROM observations WHERE seq > {last}")
    database.execute("DELETE FROM anchors")
    database.execute("UPDATE sources SET newest_seq = newest_seq - 10")
    database.execute("UPDATE observations SET digest = NULL WHERE seq = (SELECT newest_seq FROM sources)")
    database.execute(
        "DELETE FROM payloads WHERE address NOT IN (SELECT payload FROM observations WHERE payload NOT NULL)"
    )


def make_all_again(database: sqlite3.Connection) -> None:
    """The whole history is rewritten: recorded a moment earlier, with correct digests and correct recorded anchors."""
    database.execute("UPDATE observations SET recorded_at = substr(recorded_at, 1, 17) || '00.000000Z'")
    make_digests_again(database)
    make_anchors_again(database)


ATTACKS: list[tuple[Callable[[sqlite3.Connection], None], bool]] = [
    (rewrite_state, False),
    (narrow_window, False),
    (hide_gap, False),
    (count_more_polls, False),
    (rewrite_answer, False),
    (take_one_out, False),
    (another_key, False),
    (shorten_newest, True),
    (cut_off, True),
    (make_all_again, True),
]
"""Each attack, and True if only the anchor outside finds it."""


if __name__ == "__main__":
    sys.exit(main())
