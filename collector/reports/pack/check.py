#!/usr/bin/env python3
"""Checks an audit pack of gcore-collector: `python3 check.py PACK.zip [--head DIGEST …]`.

Needs nothing but Python 3.11, and shares no code with the collector. Take this file from where you trust it, not
from the pack: a forged pack brings a forged checker.

    1. files        each is there, is named in pack.json, and has the hash that stands there
    2. chain        both digests of each observation are computed again, and each holds the one before
    3. answers      the address of each is computed again from its records, or their hashes
    4. history      states and presence are followed from answer to answer; what changed must be what
                    transitions.jsonl says, no more and no less, with the same window and basis
    5. blindness    times without a successful poll must be what gaps.jsonl says

Exits with 0 when all of that holds, else with 1. Compare the head that is printed with one that was kept outside
the database, or give it with --head: without that, a history that was made anew as a whole is not told from a
true one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

FORMAT = 1
FILES = {
    "README.txt",
    "answers.jsonl",
    "check.py",
    "gaps.jsonl",
    "observations.jsonl",
    "queries.sql",
    "transitions.jsonl",
    "unseen.jsonl",
}
GENESIS = "0" * 64
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
CLOSING = ("last_asked_at", "last_at", "polls", "longest_interval_ms", "variants")
OBSERVER = ("key_fingerprint", "base_url", "auth_scheme")
EYES = ("key_fingerprint", "base_url")
"""What makes another observer see otherwise."""
GAP_FACTOR = 2.5

Json = dict[str, Any]
Key = tuple[str, int, int]
"""Of a transition: kind of entity, its id, and the observation that first showed it."""
Step = tuple[Json, "Shown"]
"""An observation whose records were applied, and what its answer shows."""


class BrokenError(Exception):
    """The pack does not hold what it says."""


def need(holds: bool, message: str) -> None:
    if not holds:
        raise BrokenError(message)


# 1. Files


def read_files(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        need(len(names) == len(set(names)), "a file stands twice in the archive")
        return {name: archive.read(name) for name in names}


def check_files(files: dict[str, bytes]) -> Json:
    need("pack.json" in files, "pack.json is missing")
    pack: Json = json.loads(files["pack.json"])
    need(
        pack.get("format") == FORMAT, f"format {pack.get('format')} is not {FORMAT}, which this checker knows"
    )
    named = pack["files"]
    need(set(named) == FILES, f"the files are not {sorted(FILES)}, as in every pack")
    need(set(named) == set(files) - {"pack.json"}, "the files are not those that pack.json names")
    for name, digest in named.items():
        need(
            hashlib.sha256(files[name]).hexdigest() == digest, f"{name} has another hash than pack.json says"
        )
    return pack


def lines(files: dict[str, bytes], name: str) -> list[Json]:
    return [json.loads(line) for line in files[name].decode("utf-8").splitlines()]


# 2. The chain


def digest_of(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode("ascii")).hexdigest()


def check_chain(source: str, rows: list[Json]) -> None:
    """The rows follow one another, and end with the open one."""
    need(bool(rows), "there are no observations")
    previous = rows[0]["previous_digest"]
    need(rows[0]["seq"] > 1 or previous == GENESIS, "the first observation has something before it")
    for number, row in enumerate(rows):
        seq = row["seq"]
        need(seq == rows[0]["seq"] + number, f"observation {rows[0]['seq'] + number} is missing")
        need(
            row["previous_digest"] == previous,
            f"observation {seq} does not hold the digest of the one before",
        )
        opening = [previous, source, *(row[n] for n in OPENING), *(row[n] for n in OBSERVER)]
        need(
            digest_of(opening) == row["opening_digest"],
            f"observation {seq}: the opening digest is not that of its facts",
        )
        if number < len(rows) - 1:
            closing = digest_of([row["opening_digest"], *(row[n] for n in CLOSING)])
            need(closing == row["digest"], f"observation {seq}: its counters have another digest")
            previous = row["digest"]


# 3. The answers


def check_answer(answer: Json) -> list[Any]:
    """The records, parsed; None for one of which only the hash is given."""
    digest = hashlib.sha256(hashlib.sha256(answer["envelope"].encode("ascii")).digest())
    records = []
    for record in answer["records"]:
        text = record.get("text")
        hashed = hashlib.sha256(text.encode("ascii")).hexdigest() if text is not None else record["hash"]
        digest.update(bytes.fromhex(hashed))
        records.append(None if text is None else parse(text))
    address = answer["address"]
    need(digest.hexdigest() == address, f"answer {address} has another content than its address says")
    return records


def parse(text: str) -> Any:
    return json.loads(text, parse_int=number, parse_float=number)


def number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        return Decimal("Infinity")


def integer(value: Any) -> int | None:
    """What counts as an id: an integral number (3.0 is one) within 64 bits."""
    if not isinstance(value, Decimal) or not value.is_finite() or value.adjusted() > 18:
        return None
    if value != value.to_integral_value():
        return None
    return int(value) if -(2**63) <= value < 2**63 else None


def usable_text(value: Any) -> bool:
    """Text that is not empty, and that any database can hold."""
    if not isinstance(value, str) or value == "" or "\0" in value:
        return False
    return not any(0xD800 <= ord(c) < 0xE000 for c in value)


class Shown:
    """What one answer shows of one kind of entity."""

    def __init__(self) -> None:
        self.states: dict[int, tuple[str, int]] = {}
        """Id → state, and the region whose record shows it."""
        self.named: set[int] = set()
        """Ids that are named, but not shown usably: neither confirmed nor absent."""
        self.proves_absence = True


def shown_regions(records: list[Any]) -> Shown:
    shown = Shown()
    seen: dict[int, Any] = {}
    for record in records:
        region_id = integer(record.get("id")) if isinstance(record, dict) else None
        if region_id is None:
            shown.proves_absence = (
                shown.proves_absence and record is None
            )  # hidden ones are judged by `missing`
            continue
        differs = region_id in seen and seen[region_id] != record
        seen.setdefault(region_id, record)
        if differs or not usable_text(record.get("state")):
            shown.named.add(region_id)
            shown.states.pop(region_id, None)
        elif region_id not in shown.named:
            shown.states[region_id] = (record["state"], region_id)
    return shown


def shown_keystones(records: list[Any], regions: Shown) -> Shown:
    """The copy of the lowest usable region that gives the object with a usable state."""
    shown = Shown()
    shown.proves_absence = regions.proves_absence
    references = set()
    for record in records:  # by region id: the canonical order
        if not isinstance(record, dict):
            shown.proves_absence = False
            continue
        given, thing = record.get("keystone_id"), record.get("keystone")
        reference = integer(given)
        if given is None and isinstance(thing, dict):
            reference = integer(thing.get("id"))
        if reference is None:
            shown.proves_absence = False
            continue
        references.add(reference)
        region_id = integer(record.get("id"))
        if region_id in regions.states and isinstance(thing, dict) and usable_text(thing.get("state")):
            shown.states.setdefault(reference, (thing["state"], region_id))
    shown.named = references - set(shown.states)
    return shown


# 4. The history


class Known:
    """What is known of one entity on the way through the answers."""

    def __init__(self, row: Json, state: str, witness: int) -> None:
        self.row, self.state, self.witness, self.present = row, state, witness, True


class Change:
    """A change that the answers show."""

    def __init__(self, key: Key, kind: str, old: Known | None, new: str | None, now: Json) -> None:
        self.key, self.kind, self.now = key, kind, now
        self.last = old.row if old is not None and old.present else None
        self.from_state = old.state if old is not None and old.present else None
        self.to_state = new
        self.other_copy = False
        self.is_first = False
        """In the first answer of the pack: what was before is not known here."""

    def __str__(self) -> str:
        states = [state or "not listed" for state in (self.from_state, self.to_state)]
        return f"{self.key[0]} {self.key[1]} in observation {self.key[2]}, {' → '.join(states)}"


def follow(entity: str, steps: list[Step], only: set[int] | None, listed: set[Key]) -> list[Change]:
    """Walk through the answers; returns every change that they show. `only`: ids of a pack of some regions."""
    known: dict[int, Known] = {}
    changes: list[Change] = []
    for number, (row, shown) in enumerate(steps):
        for entity_id, (state, witness) in shown.states.items():
            if only is not None and entity_id not in only:
                continue
            key, old = (entity, entity_id, row["seq"]), known.get(entity_id)
            if old is None or not old.present:
                change = Change(key, "appeared" if old is None else "reappeared", old, state, row)
                change.is_first = number == 0
                changes.append(change)
            elif old.state != state:
                change = Change(key, "changed", old, state, row)
                change.other_copy = old.witness != witness
                changes.append(change)
            known[entity_id] = Known(row, state, witness)
        for entity_id, old in known.items():
            key = (entity, entity_id, row["seq"])
            if old.present and entity_id not in shown.states and is_absent(key, row, shown, only, listed):
                changes.append(Change(key, "disappeared", old, None, row))
                old.present = False
    return changes


def is_absent(key: Key, row: Json, shown: Shown, only: set[int] | None, listed: set[Key]) -> bool:
    """Whether an answer that does not show an entity proves that it is absent."""
    if row["outcome"] != "ok" or key[1] in shown.named or not shown.proves_absence:
        return False
    if only is not None and row["rejected"]:
        return key in listed  # a record that is not disclosed could not be used: it may be of this region
    is_missing = key[0] != "region" or key[1] in (row["missing"] or ())
    need(is_missing, f"observation {key[2]} does not count region {key[1]} as missing")
    return True


def check_transitions(
    listed: dict[Key, Json],
    changes: list[Change],
    rows: list[Json],
    shown_by: dict[tuple[str, int], Shown],
    ended: set[Key],
    start: str,
    end: str,
    is_whole: bool,
) -> None:
    """`ended`: until when something had not been shown, as the pack says; checked before. `is_whole`: the pack
    begins with the first observation."""
    left = dict(listed)
    for change in changes:
        transition = left.pop(change.key, None)
        if transition is not None:
            check_transition(transition, change, rows, shown_by)
            continue
        begins = change.last["last_asked_at"] if change.last else change.now["first_at"]
        is_asked_for = begins < end and change.now["first_at"] >= start
        is_known_from_before = (change.is_first and not is_whole) or (
            change.kind == "appeared" and change.key in ended
        )
        need(is_known_from_before or not is_asked_for, f"{change}: this is not among the transitions")
    need(not left, f"these transitions do not follow from the answers: {sorted(left, key=str)}")


def check_unseen(spans: list[Json], shown_by: dict[tuple[str, int], Shown], only: set[int] | None) -> None:
    """Each was shown, then not shown."""
    for span in spans:
        entity, entity_id = span["entity"], span["entity_id"]
        if entity == "metrics_database" or (
            only is not None and (entity != "region" or entity_id not in only)
        ):
            continue
        before, then = (shown_by.get((entity, span[name])) for name in ("shown_seq", "missed_seq"))
        need(
            before is not None and entity_id in before.states,
            f"{entity} {entity_id} was not shown before it was unseen",
        )
        need(
            then is None or entity_id not in then.states,
            f"{entity} {entity_id} was shown while it was unseen",
        )


def check_transition(
    listed: Json, change: Change, rows: list[Json], shown_by: dict[tuple[str, int], Shown]
) -> None:
    now, last = change.now, change.last
    same_kind = listed["kind"] == change.kind or {listed["kind"], change.kind} == {"appeared", "reappeared"}
    need(same_kind, f"{change}: it {change.kind}, the transition says {listed['kind']}")
    for name, value in (
        ("from_state", change.from_state),
        ("to_state", change.to_state),
        ("observed_at", now["first_at"]),
    ):
        need(listed[name] == value, f"{change}: {name} is {value}, the transition says {listed[name]}")
    if last is None:  # the window begins with a complete answer that did not have it, or is open
        if listed["not_before"] is None:
            need(listed["basis"] == "baseline", f"{change}: without not_before its basis is baseline")
            return
        candidates = [r for r in rows if r["last_asked_at"] == listed["not_before"] and r["seq"] < now["seq"]]
        need(bool(candidates), f"{change}: no poll asked at {listed['not_before']}")
        last = candidates[-1]
        before = shown_by.get((change.key[0], last["seq"]))
        is_without = before is not None and change.key[1] not in before.states and last["outcome"] == "ok"
        need(is_without, f"{change}: the answer of {listed['not_before']} does not prove that it was absent")
    need(
        listed["not_before"] == last["last_asked_at"],
        f"{change}: not_before is {last['last_asked_at']}, the transition says {listed['not_before']}",
    )
    sure = basis(change, last, now)
    need(listed["basis"] == sure, f"{change}: its basis is {sure}, the transition says {listed['basis']}")


def basis(change: Change, last: Json, now: Json) -> str:
    if any(last[name] != now[name] for name in EYES):
        return "observer_change"
    if change.kind == "disappeared":
        return "absence"
    if change.other_copy:
        return "other_copy"
    return "direct" if last["seq"] == now["seq"] - 1 and not is_gap(last, now) else "across_gap"


# 5. Blindness


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def is_gap(last: Json, now: Json) -> bool:
    limit = timedelta(milliseconds=last["expected_interval_ms"]) * GAP_FACTOR
    return time(now["first_at"]) - time(last["last_at"]) > limit


def check_gaps(listed: list[Json], rows: list[Json], start: str, end: str) -> None:
    applied = [row for row in rows if row["outcome"] != "failed"]
    found = {(a["last_at"], b["first_at"]) for a, b in pairwise(applied) if is_gap(a, b)}
    if rows[0]["seq"] == 1 and rows[0]["outcome"] == "failed":
        limit = timedelta(milliseconds=rows[0]["expected_interval_ms"]) * GAP_FACTOR
        if time(applied[0]["first_at"]) - time(rows[0]["first_at"]) > limit:
            found.add((rows[0]["first_at"], applied[0]["first_at"]))
    found = {gap for gap in found if gap[0] < end and gap[1] > start}
    given = {(g["from_at"], g["until_at"]) for g in listed if g["until_at"] is not None}
    need(found == given, f"gaps are not those of the observations: {sorted(found ^ given)}")
    open_gaps = [gap["from_at"] for gap in listed if gap["until_at"] is None]
    newest, limit = applied[-1], timedelta(milliseconds=applied[-1]["expected_interval_ms"]) * GAP_FACTOR
    need(open_gaps in ([], [newest["last_at"]]), f"an open gap begins at {newest['last_at']}")
    is_open = time(end) - time(newest["last_at"]) > limit
    need(
        bool(open_gaps) or not is_open,
        f"since {newest['last_at']} no poll succeeded, which is not among the gaps",
    )


# All of it


def check(path: Path, heads: list[str]) -> list[str]:
    """Everything; returns what there is to say. Raises BrokenError."""
    files = read_files(path)
    pack = check_files(files)
    rows = lines(files, "observations.jsonl")
    check_chain(pack["source"], rows)
    head = rows[-1]["opening_digest"]
    need(
        pack["head"] == {"seq": rows[-1]["seq"], "digest": head},
        "pack.json names another head than the observations",
    )
    openings = {row["opening_digest"]: row["seq"] for row in rows}
    for wanted in heads:
        need(
            wanted in openings,
            f"no observation has the head {wanted}: this is not the history that it was taken of, or it was "
            f"taken before observation {rows[0]['seq']}, with which the pack begins",
        )
    answers = {answer["address"]: check_answer(answer) for answer in lines(files, "answers.jsonl")}
    only = None if pack["regions"] is None else set(pack["regions"])
    applied = [row for row in rows if row["outcome"] != "failed"]
    need(bool(applied), "no poll succeeded")
    is_whole = rows[0]["seq"] == 1
    need(is_whole or applied[0]["first_at"] < pack["from"], "it begins later than the time that it is about")
    after = [row["seq"] for row in applied if row["first_at"] >= pack["to"]]
    up_to = max(pack["answers_up_to"], min(after, default=rows[-1]["seq"]))
    steps: dict[str, list[Step]] = {"region": [], "keystone": []}
    for row in applied:
        if row["seq"] > up_to:
            break
        need(row["payload"] in answers, f"the answer of observation {row['seq']} is missing")
        records = answers[row["payload"]]
        need(
            len(records) == row["listed"],
            f"observation {row['seq']} listed {row['listed']} records, its answer has {len(records)}",
        )
        regions = shown_regions(records)
        steps["region"].append((row, regions))
        if only is None:
            steps["keystone"].append((row, shown_keystones(records, regions)))
    shown_by = {(entity, row["seq"]): shown for entity, each in steps.items() for row, shown in each}
    transitions = lines(files, "transitions.jsonl")
    listed = {(t["entity"], t["entity_id"], t["seq"]): t for t in transitions}
    need(len(listed) == len(transitions), "a transition is listed twice")
    unseen = lines(files, "unseen.jsonl")
    check_unseen(unseen, shown_by, only)
    ended = {(u["entity"], u["entity_id"], u["until_seq"]) for u in unseen}
    changes = [c for entity, each in steps.items() for c in follow(entity, each, only, set(listed))]
    check_transitions(listed, changes, rows, shown_by, ended, pack["from"], pack["to"], is_whole)
    check_gaps(lines(files, "gaps.jsonl"), rows, pack["from"], pack["to"])
    which = "all regions and keystones" if only is None else f"regions {sorted(only)}"
    said = [
        f"source {pack['source']}, {which}, from {pack['from']} to {pack['to']}",
        f"{len(rows)} observations, {len(answers)} answers, {len(transitions)} transitions: all hold",
        *(f"head {wanted}: observation {openings[wanted]}" for wanted in heads),
    ]
    if not heads:
        said.append(f"head {head} (observation {rows[-1]['seq']}): compare it with one that was kept outside")
    for t in transitions:
        states = " → ".join(t[name] or "not listed" for name in ("from_state", "to_state"))
        window = f"between {t['not_before'] or 'any time'} and {t['observed_at']}"
        said.append(f"  {t['entity']} {t['entity_id']}: {states}, {window} ({t['basis']})")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description="Check an audit pack of gcore-collector.")
    parser.add_argument("pack", type=Path)
    parser.add_argument(
        "--head", action="append", default=[], help="a head that was kept outside the database"
    )
    arguments = parser.parse_args()
    try:
        said = check(arguments.pack, arguments.head)
    except BrokenError as error:
        print(f"BROKEN: {error}")
        return 1
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        zipfile.BadZipFile,
        ArithmeticError,
    ) as error:
        print(f"BROKEN: it can't be read: {type(error).__name__}: {error}")
        return 1
    print("\n".join(["HOLDS", *said]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
