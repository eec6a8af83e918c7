#!/usr/bin/env python3
"""Checks an audit pack of gcore-collector: `python3 check.py PACK.zip [--head DIGEST …]`.

Needs only Python 3.11, and shares no code with the collector. Take this file from a place that you trust, not
from the pack: a forged pack comes with a forged checker.

    1. files        each is there, is named in pack.json, and has the hash that is given there
    2. chain        both digests of each observation are computed again, and each contains the previous one; its values
                    are possible for a poll; it contains the digest of what was pruned or redacted just before
    3. answers      the address of each is computed again from its records, or their hashes; no record that could
                    not be used is hidden
    4. history      states and presence are followed from answer to answer. The changes must be exactly those of
                    transitions.jsonl, value by value. What was present and not shown must be exactly what
                    unseen.jsonl says
    5. blindness    times without a successful poll must be exactly those of gaps.jsonl
    6. claims       the state of each region, with its times and number of polls, must be what claims.jsonl says
    7. anchors      each must be of this history and match anchors.jsonl: values and digests are computed again.
                    With --ca-file, --public-key and --anchors, tokens, signatures and lines from outside are
                    compared, and the time of a time stamp is read from its token; the first two need the command
                    openssl

Exits with 0 if all of that holds, and a head or a checked anchor covers all of it, so that nothing was made up later;
with 1 if something was forged or damaged; with 3 if that could not be checked, because a file is missing, or no head
and no anchor was given that covers all of it; with 2 on wrong usage. The first line gives the source and the time; the
claims follow.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

FILES = {
    "README.txt",
    "amendments.jsonl",
    "anchors.jsonl",
    "answers.jsonl",
    "check.py",
    "claims.jsonl",
    "gaps.jsonl",
    "index.html",
    "observations.jsonl",
    "queries.sql",
    "redacted.jsonl",
    "transitions.jsonl",
    "unseen.jsonl",
}
FILES_OF = {
    1: FILES - {"amendments.jsonl", "anchors.jsonl", "claims.jsonl", "index.html", "redacted.jsonl"},
    2: FILES,
}
"""By format: packs of the first one had neither claims nor anchors, and nothing could be pruned or redacted."""
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
LATER = ("paging", "age_ms", "amended")
"""Columns that older versions did not have: they are in the digest with their name, if they are not null."""
CLOSING = ("last_asked_at", "last_at", "polls", "longest_interval_ms", "variants")
OBSERVER = ("key_fingerprint", "base_url", "auth_scheme")
AMENDMENT = ("number", "kind", "made_at", "made_by", "at_seq", "facts")
"""What was pruned or redacted: a chain of its own. The next observation after each contains the newest digest."""
REDACTED = ("address", "content", "redaction")
OBSERVATION = (*OPENING, *LATER, *CLOSING, *OBSERVER, "previous_digest", "opening_digest", "digest")
ANSWER = ("address", "envelope", "records")
ACCESS = ("key_fingerprint", "base_url")
"""Columns that decide what the API shows to an observer."""
GAP_FACTOR = 2.5
TICK = timedelta(microseconds=1)
LATEST_QUESTION = timedelta(hours=1, minutes=1)
"""How much earlier the last request of an observation may seem to be than its first.

A clock may be set back by a minute, and a poll takes an hour at most.
"""
MAX_NUMBER = 1 << 53
"""More than any counter reaches."""
OUTCOMES = ("ok", "partial", "held", "failed")
TIMES = ("first_asked_at", "first_at", "last_asked_at", "last_at", "recorded_at")
COUNTERS = ("polls", "longest_interval_ms", "variants", "expected_interval_ms")
TEXTS = ("cause", "exception_class", "message", "request_id")
UNSEEN = (
    "entity",
    "entity_id",
    "from_at",
    "missed_at",
    "until_at",
    "cause",
    "shown_seq",
    "missed_seq",
    "until_seq",
)
TRANSITION = (
    "entity",
    "entity_id",
    "kind",
    "from_state",
    "to_state",
    "not_before",
    "observed_at",
    "basis",
    "first_missing_at",
    "seq",
)
CLAIM = (
    "region_id",
    "name",
    "state",
    "from_at",
    "until_at",
    "polls",
    "first_seq",
    "last_seq",
    "keys",
    "blind",
)
STATED = ("number", "target", "kind", "made_at", "seq", "head", *CLOSING)
RESULT = ("outcome", "answered_at", "attested_at", "token", "signed_by", "signature", "error")
ANCHOR = ("previous_digest", *STATED, "value", *RESULT, "digest")
GAP = ("from_at", "until_at", "seconds", "cause", "error", "failed_polls")
SIGNED = "whose owner could sign another history"
KINDS = ("region", "keystone", "metrics_database")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
HASH = re.compile(r"[0-9a-f]{64}")
STAMPED = re.compile(
    rb"^Time stamp: ([A-Z][a-z]{2}) +(\d+) (\d\d:\d\d:\d\d)(?:\.(\d+))? (\d{4}) GMT\s*$", re.MULTILINE
)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MAX_BYTES = 1 << 30
"""The limit for all files together, decompressed: a ZIP of a few kilobytes can hold this much."""
MAX_LINE = 1 << 27
"""More than the longest answer that the collector reads."""
MAX_VALUES = 1 << 22
"""The limit for commas in a line: once it is parsed, an empty object of three bytes takes twenty times as much memory.
"""
MAX_HANDED_OUT = 1 << 16
"""Bytes of a line that an anchor received."""
MAX_PRINTED = 1000
"""Characters of a printed line."""
MAX_TEXT = 100
"""Characters of a text from the pack within a sentence, so that the rest of the sentence is printed, too."""
MAX_NAMED = 20
"""Regions and keys that a sentence names."""

Json = dict[str, Any]
Key = tuple[str, int, int]
"""Key of a transition: kind of entity, its id, and the observation that first showed it."""
Step = tuple[Json, "Shown"]
"""An observation whose records were applied, and what its answer shows."""


class BrokenError(Exception):
    """The pack contradicts itself or the evidence."""


def need(holds: bool, message: str) -> None:
    if not holds:
        raise BrokenError(message)


# 1. Files


def read_files(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        need(len(names) == len(set(names)), "a file occurs twice in the archive")
        need("pack.json" in names, "pack.json is missing")
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            need(kind in (0, stat.S_IFREG), f"{entry.filename} is a link or the like, not a file")
        if not any(set(names) == each | {"pack.json"} for each in FILES_OF.values()):
            lacking, strange = FILES - {*names}, {*names} - FILES - {"pack.json"}
            said = [f"{', '.join(sorted(lacking))} missing"] * bool(lacking)
            said += [f"{', '.join(sorted(strange))} not part of a pack"] * bool(strange)
            raise BrokenError(f"the files are not those of a pack: {'; '.join(said)}")
        size = sum(entry.file_size for entry in archive.infolist())
        need(
            size <= MAX_BYTES,
            f"it holds {size} bytes, and this checker reads at most {MAX_BYTES}: see MAX_BYTES",
        )
        return {name: archive.read(name) for name in names}


def check_files(files: dict[str, bytes]) -> Json:
    pack: Json = loads(bounded(files["pack.json"], "pack.json"))
    form: Any = pack.get("format")
    need(
        type(form) is int and form in FILES_OF,
        f"format {form!r} is none of {tuple(FILES_OF)}, which this checker knows",
    )
    named = pack["files"]
    need(
        set(named) == FILES_OF[form] == set(files) - {"pack.json"},
        "the files are not those that pack.json names",
    )
    for name, digest in named.items():
        need(
            hashlib.sha256(files[name]).hexdigest() == digest,
            f"{name} does not have the hash that pack.json gives",
        )
    for name in ("from", "to", "made_at"):
        need(is_time(pack[name]), f"{name} is not a time: {pack[name]!r}")
    need(pack["from"] < pack["to"], "it begins after its end")
    need(pack["to"] <= pack["made_at"], "it ends after it was made")
    need(isinstance(pack["source"], str), f"source is not a name: {pack['source']!r}")
    up_to = pack["answers_up_to"]
    need(type(up_to) is int, f"answers_up_to is not the number of an observation: {up_to!r}")
    regions = pack["regions"]
    need(regions is None or (bool(regions) and is_ids(regions)), f"regions is not a list of ids: {regions!r}")
    return pack


def is_time(text: Any) -> bool:
    """True for the spelling in which comparing texts compares times."""
    return isinstance(text, str) and TIME.fullmatch(text) is not None and time(text) is not None


def is_ids(value: Any) -> bool:
    """True for a list of distinct ids, lowest first."""
    if not isinstance(value, list) or not all(type(i) is int for i in value):
        return False
    return all(one < other for one, other in pairwise(value))


def lines(files: dict[str, bytes], name: str, keys: Collection[str]) -> Iterator[Json]:
    """The rows of a listing, each an object with exactly these keys."""
    with io.BytesIO(files[name]) as file:
        while line := file.readline(MAX_LINE + 1):
            row = loads(bounded(line, name))
            need(isinstance(row, dict) and set(row) == set(keys), f"{name} has a row with other fields")
            yield row


def bounded(text: bytes, name: str) -> bytes:
    """The same text, if it is not made to fill the memory when it is parsed."""
    need(len(text) <= MAX_LINE, f"{name} has a line of more than {MAX_LINE} bytes")
    need(text.count(b",") <= MAX_VALUES, f"{name} has a line of more than {MAX_VALUES} values")
    return text


def loads(text: bytes | str) -> Any:
    return json.loads(text, object_pairs_hook=unique, parse_constant=no_number)


def no_number(text: str) -> Any:
    raise BrokenError(f"{text} is not a number")


def unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    need(len(found) == len(pairs), "a name occurs twice in one object, so readers would differ")
    return found


def same(one: Any, other: Any) -> bool:
    """True if exactly equal: 1, 1.0 and true are not the same."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def need_same(given: Json, found: Json, what: str, teller: str) -> None:
    """Require that a given row is what was found in the answers. `teller`: where the row is from, in words."""
    for name, value in found.items():
        need(same(given[name], value), f"{what}: {name} is {value}, {teller} says {given[name]}")


# 2. The chain


def digest_of(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode("ascii")).hexdigest()


def check_values(row: Json) -> None:
    """Check the type of each value, and that a poll could have written the row."""
    seq = row["seq"]
    need(type(seq) is int and seq > 0, f"{seq!r} is not the number of an observation")

    def must(holds: bool, name: str) -> None:
        need(holds, f"observation {seq}: {name} can't be {row[name]!r}")

    for name in TIMES:
        must(is_time(row[name]), name)
    for name in COUNTERS:
        must(type(row[name]) is int, name)
    for name in ("declared", "http_status", "clock_offset_ms", "age_ms"):
        must(row[name] is None or type(row[name]) is int, name)
    for name in (*TEXTS, "paging", "payload", "digest", "amended"):
        must(row[name] is None or isinstance(row[name], str), name)
    for name in ("collector_version", *OBSERVER):
        must(isinstance(row[name], str), name)
    for name in (
        "previous_digest",
        "opening_digest",
        *(n for n in ("payload", "digest", "amended") if row[n]),
    ):
        must(isinstance(row[name], str) and HASH.fullmatch(row[name]) is not None, name)
    must(row["outcome"] in OUTCOMES, "outcome")
    has_failed = row["outcome"] == "failed"
    must((row["cause"] is not None) == has_failed, "cause")
    must((row["payload"] is None) == has_failed, "payload")
    for name in ("listed", "rejected"):
        must(row[name] is None if has_failed else type(row[name]) is int and row[name] >= 0, name)
    must(row["missing"] is None or (bool(row["missing"]) and is_ids(row["missing"])), "missing")
    must(row["missing"] is None or not has_failed, "missing")


def broken_bounds(row: Json, previous_last_at: datetime | None) -> dict[str, str]:
    """The counters and times that no poll writes, each with the rule that it breaks.

    No digest covers the counters of the newest observation.
    """
    broken = {name: "a number that no poll writes" for name in COUNTERS if not 0 <= row[name] <= MAX_NUMBER}
    if broken:
        return broken

    def must(holds: bool, name: str, why: str) -> None:
        if not holds:
            broken.setdefault(name, why)

    first_asked, first, last_asked, last = (time(row[name]) for name in TIMES[:4])
    polls, longest, variants = row["polls"], row["longest_interval_ms"], row["variants"]
    must(first_asked <= first, "first_asked_at", "a request comes before its answer")
    if previous_last_at is not None:
        must(first > previous_last_at, "first_at", "an observation begins after the one before")
    must(first.date() == last.date(), "last_at", "an observation ends with its day")
    must(last_asked <= last, "last_asked_at", "a request comes before its answer")
    must(
        first_asked - last_asked <= LATEST_QUESTION,
        "last_asked_at",
        "can't be that long before the first request",
    )
    must(polls >= 1, "polls", "an observation has at least one poll")
    if polls == 1:
        only = "the only poll of an observation is its first and its last"
        must(last == first, "last_at", only)
        must(last_asked == first_asked, "last_asked_at", only)
        must(longest == 0, "longest_interval_ms", only)
        must(variants == 0, "variants", only)
    if polls > 1:
        lasted = (last - first) // timedelta(microseconds=1)
        must(
            lasted >= polls - 1,
            "last_at",
            "each poll of an observation is answered later than the one before",
        )
        is_longest = lasted // (polls - 1) // 1000 <= longest and longest * 1000 <= lasted
        must(is_longest, "longest_interval_ms", "can't be the longest of this many intervals in that time")
        is_gap = longest > row["expected_interval_ms"] * GAP_FACTOR
        must(not is_gap, "longest_interval_ms", "an observation has no gap")
        must(variants < polls, "variants", "only polls after the first one are variants")
    return broken


def check_chain(source: str, rows: list[Json]) -> None:
    """Check that the rows follow one another and end with the open one."""
    need(bool(rows), "there are no observations")
    last_at: datetime | None = None
    for row in rows:
        check_values(row)
        for name, why in broken_bounds(row, last_at).items():
            need(False, f"observation {row['seq']}: {name} can't be {row[name]!r}: {why}")
        last_at = time(row["last_at"])
    previous = rows[0]["previous_digest"]
    need(rows[0]["seq"] > 1 or previous == GENESIS, "the first observation has something before it")
    for number, row in enumerate(rows):
        seq = row["seq"]
        need(seq == rows[0]["seq"] + number, f"observation {rows[0]['seq'] + number} is missing")
        need(
            row["previous_digest"] == previous,
            f"observation {seq} does not contain the digest of the one before",
        )
        opening = [previous, source, *(row[n] for n in OPENING), *(row[n] for n in OBSERVER)]
        opening += [[n, row[n]] for n in LATER if row[n] is not None]
        need(
            digest_of(opening) == row["opening_digest"],
            f"observation {seq}: the opening digest does not match its facts",
        )
        if number < len(rows) - 1:
            closing = digest_of([row["opening_digest"], *(row[n] for n in CLOSING)])
            need(closing == row["digest"], f"observation {seq}: its counters do not match its digest")
            previous = row["digest"]
    need(rows[-1]["digest"] is None, f"observation {rows[-1]['seq']} is closed, but the next one is missing")


def check_amendments(
    source: str, amendments: list[Json], redacted: list[Json], rows: list[Json]
) -> list[tuple[str, int]]:
    """Check prunes and redactions; returns each in words, and the observation whose digest covers it.

    Each contains the digest of the previous one. The next observation contains that of the newest, and the newest has
    the hash of all redacted answers. An answer was recorded before it was redacted. So an amendment of redacted answers
    is never one before the pack, which no observation of the pack would contain.
    """
    previous, said = GENESIS, []
    due: dict[int, str] = {}
    heads = {row["seq"]: row["opening_digest"] for row in rows}
    answers = digest_of([])
    made_after: dict[int, int] = {}
    for number, row in enumerate(amendments, 1):
        need(row["number"] == number, f"amendment {number} is missing")
        need(
            row["previous_digest"] == previous,
            f"amendment {number} does not contain the digest of the one before",
        )
        previous = digest_of([previous, source, *(row[name] for name in AMENDMENT)])
        need(row["digest"] == previous, f"amendment {number}: the digest does not match its facts")
        need(type(row["at_seq"]) is int, f"amendment {number}: at_seq is not a number")
        need(
            made_after.get(number - 1, 0) <= row["at_seq"] <= rows[-1]["seq"],
            f"amendment {number}: it can't have been made after observation {row['at_seq']}",
        )
        made_after[number] = row["at_seq"]
        due[row["at_seq"] + 1] = previous
        facts = loads(row["facts"])
        need(
            heads.get(row["at_seq"]) in (None, facts["head"]),
            f"amendment {number}: observation {row['at_seq']} was a different one when this was done",
        )
        answers = facts["answers"]
        what = (
            f"history begins at {moment(facts['begins_at'])}"
            if row["kind"] == "prune"
            else f"redacted {brief(facts['path'])}"
        )
        said.append(
            f"{what}: by {brief(row['made_by'])}, {moment(row['made_at'])}, after observation {row['at_seq']}"
        )
    for row in rows:
        expected = due.get(row["seq"])
        need(
            row["amended"] == expected,
            f"observation {row['seq']}: amended is {row['amended']}, but amendments.jsonl requires {expected}",
        )
    listed = [[row[name] for name in REDACTED] for row in redacted]
    need(digest_of(listed) == answers, "redacted.jsonl is not what the newest amendment says")
    by_answer = {row["address"]: row["redaction"] for row in redacted}
    for row in rows:
        redaction = by_answer.get(row["payload"])
        need(
            redaction is None or row["seq"] <= made_after[redaction],
            f"observation {row['seq']}: amendment {redaction} can't have redacted its answer, which came later",
        )
    held = [row["seq"] for row in rows if row["amended"] is not None]
    return [
        (text, min((seq for seq in held if seq > at), default=sys.maxsize))
        for text, at in zip(said, made_after.values(), strict=True)
    ]


# 3. The answers


def check_answer(answer: Json, is_whole: bool, redacted: dict[str, str]) -> list[Any]:
    """The records, parsed; None for those with only the hash given. `is_whole`: True if no record may be hidden."""
    address = answer["address"]
    content = redacted.get(address, address)
    digest = hashlib.sha256(hashlib.sha256(answer["envelope"].encode("ascii")).digest())
    records: list[Any] = []
    for record in answer["records"]:
        if set(record) == {"text"}:
            hashed = hashlib.sha256(record["text"].encode("ascii")).hexdigest()
            records.append(parse(record["text"]))
        else:
            need(not is_whole, f"answer {address} hides a record, though the pack covers everything")
            need(
                set(record) == {"hash"} and HASH.fullmatch(record["hash"]) is not None, "a hash is malformed"
            )
            hashed = record["hash"]
            records.append(None)
        digest.update(bytes.fromhex(hashed))
    need(digest.hexdigest() == content, f"answer {address} has content that does not match its address")
    return records


def parse(text: str) -> Any:
    value = json.loads(text, parse_int=number, parse_float=number, object_pairs_hook=unique)
    return NULL if value is None else value


NULL = object()
"""A record that is null; None means a hidden one."""


def number(text: str) -> Decimal:
    """A number; infinity if its spelling is too long for an id."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(text) > 400 or len(exponent) > 5:
        return Decimal("Infinity")
    return Decimal(text) if mantissa.strip("-0.") else Decimal(0)


def integer(value: Any) -> int | None:
    """The value of a valid id: an integral number (3.0 counts) within 64 bits."""
    if not isinstance(value, Decimal) or not value.is_finite() or value.adjusted() > 18:
        return None
    if value != value.to_integral_value():
        return None
    return int(value) if -(2**63) <= value < 2**63 else None


def usable_text(value: Any) -> bool:
    """True for text that is not empty and that any database can store."""
    if not isinstance(value, str) or value == "" or "\0" in value:
        return False
    return not any(0xD800 <= ord(c) < 0xE000 for c in value)


class Shown:
    """What one answer shows of one kind of entity."""

    def __init__(self) -> None:
        self.states: dict[int, tuple[str | None, int]] = {}
        """Id → state, and the region whose record shows it."""
        self.named: set[int] = set()
        """Ids that are named without a usable record: neither confirmed nor absent."""
        self.withheld: str | None = None
        """Why the answer proves no absence."""
        self.names: dict[int, str] = {}
        """Names of regions."""

    def doubt(self, row: Json, only: set[int] | None) -> str | None:
        """Why this answer does not show for every entity if it existed; None: it does."""
        if row["outcome"] != "ok" or self.withheld:
            return self.withheld or row["outcome"]
        named = self.named if only is None else self.named & only
        return f"it names {min(named)} but does not show it" if named else None


def shown_regions(records: list[Any]) -> tuple[Shown, int]:
    """What the answer shows, and the number of unusable records."""
    shown = Shown()
    copies: dict[int, list[Json]] = {}
    refused = 0
    for record in records:
        region_id = integer(record.get("id")) if isinstance(record, dict) else None
        if region_id is not None:
            copies.setdefault(region_id, []).append(record)
        elif record is not None:
            shown.withheld, refused = "record_without_id", refused + 1
    for region_id, each in copies.items():
        state = each[0].get("state")
        if usable_text(state) and all(meaning(copy) == meaning(each[0]) for copy in each[1:]):
            shown.states[region_id] = (state, region_id)
            called = (as_text(each[0].get(name)) for name in ("display_name", "slug"))
            shown.names[region_id] = next((name for name in called if name), f"region {region_id}")
        else:
            shown.named.add(region_id)
            refused += len(each)
    return shown, refused


def meaning(record: Json) -> list[Any]:
    """The values in which two copies of one region must agree: all documented ones, as far as a column can store
    them.
    """
    parts: list[Any] = [values(record, FIELDS["region"])]
    for kind in ("keystone", "metrics_database"):
        thing = record.get(kind)
        reference, says_none = reference_of(record, kind)
        parts += [reference, kind == "metrics_database" and says_none]
        if (
            isinstance(thing, dict)
            and reference is not None
            and (kind != "keystone" or usable_text(thing.get("state")))
        ):
            given_passwords = [thing[n] is not None for n in ("password", "admin_password") if n in thing]
            parts += [values(thing, FIELDS[kind]), given_passwords[:1]]
    ddos = record.get("ddos_endpoint")
    return [*parts, values(ddos if isinstance(ddos, dict) else {}, FIELDS["ddos_endpoint"])]


def reference_of(record: Json, kind: str) -> tuple[int | None, bool]:
    """Which entity of a kind a record names, and True if it states that there is none."""
    given, thing = record.get(f"{kind}_id"), record.get(kind)
    if given is None and isinstance(thing, dict):
        return integer(thing.get("id")), False
    return integer(given), given is None and thing is None and (f"{kind}_id" in record or kind in record)


def values(thing: Json, fields: str) -> list[Any]:
    return [MEANINGS[kind](thing.get(name)) for name, kind in (f.split(":") for f in fields.split())]


FIELDS = {
    "region": "slug:text display_name:text state:text country:text zone:text access_level:text endpoint_type:text "
    "has_ai:flag has_ai_gpu:flag has_baremetal:flag has_basic_vm:flag has_k8s:flag has_kvm:flag has_sfs:flag "
    "has_ddos:flag available_volume_types:texts keystone_name:text external_network_id:text "
    "vlan_physical_network:text novnc_proxy_url:text serial_proxy_url:text spice_proxy_url:text task_id:text "
    "created_on:time ddos_endpoint_id:integer",
    "keystone": "url:text state:text username:text keystone_federated_domain_id:text created_on:time id:integer",
    "metrics_database": "host:text port:integer username:text id:integer",
    "ddos_endpoint": "id:integer region_id:integer service:text url:text version:text client_ids:integers "
    "created_on:time updated_at:time",
}
GIVEN_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(?:[.,](\d+))?\s*(Z|z|[+-]\d\d:?\d\d)?", re.ASCII
)


def as_text(value: Any) -> Any:
    return value if value == "" or usable_text(value) else None


def as_time(value: Any) -> datetime | None:
    match = GIVEN_TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, clock, seconds, fraction, zone = match.groups()
    is_leap = seconds == "60"
    text = f"{day}T{clock}{'59' if is_leap else seconds}.{(fraction or '0')[:6]:0<6}{(zone or 'Z').upper()}"
    try:
        return datetime.fromisoformat(text).astimezone(UTC) + timedelta(seconds=is_leap)
    except (ValueError, OverflowError):
        return None


def as_set(value: Any, of: Callable[[Any], Any]) -> Any:
    if not isinstance(value, list):
        return None
    kept = {of(item) for item in value if not (isinstance(item, str) and len(item) > 255)} - {None}
    return kept if kept or not value else None


MEANINGS: dict[str, Callable[[Any], Any]] = {
    "text": as_text,
    "integer": integer,
    "flag": lambda value: value if isinstance(value, bool) else None,
    "time": as_time,
    "texts": lambda value: as_set(value, as_text),
    "integers": lambda value: as_set(value, integer),
}


def shown_nested(kind: str, records: list[Any], regions: Shown) -> Shown:
    """The copy of the lowest usable region that gives the object; a keystone needs a usable state."""
    shown = Shown()
    references = set()
    for record in records:  # the canonical order is by region id
        reference, says_none = reference_of(record, kind) if isinstance(record, dict) else (None, False)
        if reference is None:
            if kind == "keystone" or not says_none:
                shown.withheld = "reference_not_stated"
            continue
        references.add(reference)
        region_id, thing = integer(record.get("id")), record.get(kind)
        if region_id in regions.states and isinstance(thing, dict):
            state = thing.get("state") if kind == "keystone" else None
            if kind != "keystone" or usable_text(state):
                shown.states.setdefault(reference, (state, region_id))
    shown.withheld = regions.withheld or shown.withheld
    shown.named = references - set(shown.states)
    return shown


# 4. The history


class Known:
    """What is known about one entity while the answers are read."""

    def __init__(self, row: Json, state: str | None, witness: int) -> None:
        self.row, self.state, self.witness = row, state, witness
        """`row`: the observation that last showed it."""
        self.present = True
        self.span: Json | None = None
        """The time since when it has not been shown while present."""


class History:
    """Everything that the answers of a pack show about one kind of entity."""

    def __init__(
        self,
        entity: str,
        steps: list[Step],
        only: set[int] | None,
        is_whole: bool,
    ) -> None:
        """`only`: ids, if the pack covers some regions only. `is_whole`: the pack begins with the very first
        observation.

        Otherwise the first answer shows what existed before, so it must prove absences.
        """
        self.entity, self.only, self.is_whole = entity, only, is_whole
        self.known: dict[int, Known] = {}
        self.changes: list[Json] = []
        self.spans: list[Json] = []
        self.without: list[Step] = []
        """The complete answers so far that prove absences."""
        first, begin = steps[0]
        doubt = begin.doubt(first, only)
        need(
            is_whole or doubt is None,
            f"it begins with observation {first['seq']}, which proves no absence of a {entity} ({doubt}): it is not "
            "known what existed before",
        )
        for number, (row, shown) in enumerate(steps):
            missing = set(row["missing"] or ())
            if entity == "region" and (number or is_whole):
                self._check_missing(row, missing)
            self._show(row, shown, is_first=number == 0)
            for entity_id, old in self.known.items():
                if old.present and entity_id not in shown.states:
                    self._miss(entity_id, old, row, shown, missing)
            if row["outcome"] == "ok" and shown.withheld is None:
                self.without.append((row, shown))

    def _check_missing(self, row: Json, missing: set[int]) -> None:
        """Check that only present entities are missing."""
        for entity_id in missing if self.only is None else missing & self.only:
            old = self.known.get(entity_id)
            need(
                old is not None and old.present,
                f"observation {row['seq']} counts region {entity_id} as missing, but it was not present",
            )

    def _show(self, row: Json, shown: Shown, is_first: bool) -> None:
        for entity_id, (state, witness) in shown.states.items():
            if self.only is not None and entity_id not in self.only:
                continue
            old = self.known.get(entity_id)
            if old is None or not old.present:
                if not is_first or self.is_whole:
                    kind = "reappeared" if old is not None else "appeared"
                    last = self._excluding(entity_id, row)
                    self._change(kind, entity_id, None, state, last, row)
            elif old.state != state:
                self._change("changed", entity_id, old.state, state, old.row, row, old.witness != witness)
            self._end(old, row)
            self.known[entity_id] = Known(row, state, witness)

    def _miss(self, entity_id: int, old: Known, row: Json, shown: Shown, missing: set[int]) -> None:
        is_named, withheld = entity_id in shown.named, shown.withheld
        if self.entity == "region":
            need(
                is_named or entity_id in missing,
                f"observation {row['seq']} does not count region {entity_id} as missing",
            )
        if row["outcome"] == "ok" and not is_named and withheld is None:
            first = old.span["missed_at"] if old.span else row["first_at"]
            self._change("disappeared", entity_id, old.state, None, old.row, row, first_missing_at=first)
            old.present = False
            self._end(old, row)
        elif old.span is None:
            cause = "not_given" if is_named else row["outcome"] if row["outcome"] != "ok" else withheld
            values = (old.row["last_at"], row["first_at"], None, cause, old.row["seq"], row["seq"], None)
            old.span = dict(zip(UNSEEN, (self.entity, entity_id, *values), strict=True))
            self.spans.append(old.span)

    @staticmethod
    def _end(old: Known | None, row: Json) -> None:
        if old is not None and old.span is not None:
            old.span |= {"until_at": row["first_at"], "until_seq": row["seq"]}
            old.span = None

    def _excluding(self, entity_id: int, now: Json, same_access: bool = False) -> Json | None:
        """The last complete answer that proves its absence; `same_access`: the last one to the current key and URL."""
        for row, shown in reversed(self.without):
            if same_access and is_other(row, now):
                continue
            if entity_id not in shown.named and entity_id not in shown.states:
                return row
        return None

    def _change(
        self,
        kind: str,
        entity_id: int,
        from_state: str | None,
        to_state: str | None,
        last: Json | None,
        now: Json,
        other_copy: bool = False,
        first_missing_at: str | None = None,
    ) -> None:
        not_before = last["last_asked_at"] if last else None
        if kind in ("appeared", "reappeared") and last and is_other(last, now):
            not_before = self._out_of_sight_since(entity_id, now)
        sure = basis(kind, last, now, other_copy)
        values = (kind, from_state, to_state, not_before, now["first_at"], sure, first_missing_at, now["seq"])
        self.changes.append(dict(zip(TRANSITION, (self.entity, entity_id, *values), strict=True)))

    def _out_of_sight_since(self, entity_id: int, now: Json) -> str | None:
        """When an entity may have appeared that another key or URL did not show.

        That is the later of two times: the last complete answer without it to this key and URL, and when it was last
        seen.
        """
        own = self._excluding(entity_id, now, same_access=True)
        old = self.known.get(entity_id)
        asked = [row["last_asked_at"] for row in (own, old and old.row) if row]
        return max(asked, default=None)


def asked_before(row: Json, end: str) -> bool:
    """True if an observation may show what was true before a time."""
    return bool(min(row["first_asked_at"], row["last_asked_at"]) < end)


def is_other(one: Json, other: Json) -> bool:
    return any(one[name] != other[name] for name in ACCESS)


def basis(kind: str, last: Json | None, now: Json, other_copy: bool) -> str:
    if last is None:
        return "baseline"
    if is_other(last, now):
        return "observer_change"
    if kind == "disappeared":
        return "absence"
    if other_copy:
        return "other_copy"
    is_next = last["seq"] == now["seq"] - 1 and not is_gap(last, now)
    was_moved = time(now["first_at"]) - time(last["last_at"]) <= TICK  # the clock was set back
    return "direct" if is_next and not was_moved else "across_gap"


def by_key(rows: list[Json], name: str) -> dict[Key, Json]:
    found = {(row["entity"], row["entity_id"], row[name]): row for row in rows}
    need(len(found) == len(rows), "something is listed twice")
    return found


def check_transitions(listed: dict[Key, Json], histories: list[History], start: str, end: str) -> None:
    """Check that what is listed happened exactly so, and that everything that happened in that time is listed."""
    changes = by_key(
        [c for each in histories if each.entity != "metrics_database" for c in each.changes], "seq"
    )
    begun: set[tuple[str, int]] = set()
    for key, change in changes.items():
        states = " → ".join(change[n] or "not listed" for n in ("from_state", "to_state"))
        what = f"{key[0]} {key[1]} in observation {key[2]}, {states}"
        given = listed.get(key)
        if given is not None and change["not_before"] is None and not histories[0].is_whole:
            need(False, f"{what}: no answer in the pack proves that it did not exist before")
        if given is None:
            is_asked_for = (change["not_before"] or change["observed_at"]) < end and change[
                "observed_at"
            ] >= start
            need(not is_asked_for, f"{what}: this is not among the transitions")
        else:
            may_be_back = not histories[0].is_whole and key[:2] not in begun and change["kind"] == "appeared"
            if may_be_back and given["kind"] == "reappeared":
                change["kind"] = "reappeared"  # it existed before the pack begins
            need_same(given, change, what, "the transition")
        begun.add(key[:2])
    strange = sorted(listed.keys() - changes.keys(), key=str)
    need(not strange, f"these transitions do not follow from the answers: {strange[:10]}")


def check_unseen(listed: list[Json], histories: list[History], start: str, end: str) -> None:
    """The same for times in which something present was not shown."""
    given = by_key(listed, "missed_seq")
    spans = by_key([span for each in histories for span in each.spans], "missed_seq")
    for key, span in spans.items():
        what = f"{key[0]} {key[1]}, not shown in observation {key[2]}"
        found = given.get(key)
        if found is None:
            is_asked_for = span["from_at"] < end and (span["until_at"] is None or span["until_at"] >= start)
            need(not is_asked_for, f"{what}: this is not among the unseen spans")
            continue
        need_same(found, span, what, "the pack")
    strange = sorted(given.keys() - spans.keys(), key=str)
    need(not strange, f"these unseen spans do not follow from the answers: {strange[:10]}")


# 5. Blindness


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def gap_limit(*rows: Json) -> timedelta:
    """The longest time between two observations that is not a gap; the longer of the expected intervals counts."""
    return timedelta(milliseconds=max(row["expected_interval_ms"] for row in rows)) * GAP_FACTOR


def is_gap(last: Json, now: Json) -> bool:
    return time(now["first_at"]) - time(last["last_at"]) > gap_limit(last, now)


def check_gaps(listed: list[Json], rows: list[Json], start: str, end: str) -> None:
    applied = [row for row in rows if row["outcome"] != "failed"]
    pairs = [(a["last_at"], a["seq"], b) for a, b in pairwise(applied) if is_gap(a, b)]
    first = rows[0]
    is_blind_from_the_first = first["seq"] == 1 and first["outcome"] == "failed"
    if is_blind_from_the_first and is_gap(first | {"last_at": first["first_at"]}, applied[0]):
        pairs.insert(0, (first["first_at"], 0, applied[0]))
    found = {
        (begin, then["first_at"]): failures(rows, seq, then["seq"])
        for begin, seq, then in pairs
        if begin < end and then["first_at"] > start
    }
    newest = applied[-1]
    open_gap = (newest["last_at"], None)
    given = {(gap["from_at"], gap["until_at"]): gap for gap in listed}
    need(len(given) == len(listed), "a gap is listed twice")
    if time(end) - time(newest["last_at"]) > gap_limit(newest, rows[-1]):
        found[open_gap] = failures(rows, newest["seq"], rows[-1]["seq"] + 1)
    lacking = [f"{begin} to {until} is missing" for begin, until in found.keys() - given.keys()]
    strange = [f"{begin} to {until} is none" for begin, until in given.keys() - found.keys()]
    wrong = "; ".join(sorted([*lacking, *strange])[:10])
    need(not wrong, f"gaps are not those of the observations: {wrong}")
    for (begin, until), what in found.items():
        gap = given[begin, until]
        need_same(gap, what, f"gap from {begin}", "the pack")
        seconds = gap["seconds"]
        if until is None:
            need(seconds is None, f"gap from {begin}: it has not ended after {seconds!r} seconds")
            continue
        need(type(seconds) in (int, float), f"gap from {begin}: {seconds!r} is not a number of seconds")
        is_right = abs((time(until) - time(begin)).total_seconds() - seconds) < 0.001
        need(is_right, f"gap from {begin}: it did not last {seconds} seconds")


def failures(rows: list[Json], after: int, before: int) -> Json:
    """The failed polls between two observations: their number, the most frequent cause, and the message of its
    longest run.

    The first one counts if several are equal.
    """
    offset = rows[0]["seq"]
    failed = [row for row in rows[max(after + 1 - offset, 0) : before - offset] if row["outcome"] == "failed"]
    polls: dict[str, int] = {}
    for row in failed:
        polls[row["cause"]] = polls.get(row["cause"], 0) + row["polls"]
    cause = max(polls, key=lambda name: polls[name], default="no_polls")
    most: Json = max(
        (row for row in failed if row["cause"] == cause),
        key=lambda row: row["polls"],
        default={"message": None},
    )
    return {"cause": cause, "error": most["message"], "failed_polls": sum(polls.values())}


# 6. Claims


def check_claims(
    listed: list[Json] | None, history: History, steps: list[Step], start: str, end: str
) -> list[Json]:
    """What can be claimed about each region in that time. It must be what is listed, if claims are listed."""
    found = [
        claim
        for claim in claims_of(history, steps)
        if claim["from_at"] < end and max(claim["from_at"], claim["until_at"]) >= start
    ]
    if listed is not None:
        for given, claim in zip(listed, found, strict=False):
            need_same(given, claim, f"region {claim['region_id']} from {claim['from_at']}", "the claim")
        need(
            len(listed) == len(found),
            f"not as many claims are given ({len(listed)}) as follow from the answers ({len(found)})",
        )
    return found


def claims_of(history: History, steps: list[Step]) -> Iterator[Json]:
    """A claim for each time without contradiction, by region and time.

    That is a time in which every answer that showed the region showed the same state, or no complete answer listed
    it.
    """
    first = steps[0][0]["seq"]
    begun: dict[int, list[tuple[int, str | None]]] = {}
    if not history.is_whole:
        for region_id, (state, _) in steps[0][1].states.items():
            if history.only is None or region_id in history.only:
                begun[region_id] = [(first, state)]
    for change in history.changes:
        begun.setdefault(change["entity_id"], []).append((change["seq"], change["to_state"]))
    numbers = [row["seq"] for row, _ in steps]
    for region_id, changes in sorted(begun.items()):
        ends = [seq for seq, _ in changes[1:]] + [numbers[-1] + 1]
        name = f"region {region_id}"
        for (begin, state), end in zip(changes, ends, strict=True):
            within = steps[bisect_left(numbers, begin) : bisect_left(numbers, end)]
            showing = [row for row, shown in within if shows(row, shown, region_id, state)]
            name = next((s.names[region_id] for _, s in reversed(within) if region_id in s.names), name)
            if showing:
                yield claim_of(region_id, name, state, [row for row, _ in within], showing)


def shows(row: Json, shown: Shown, region_id: int, state: str | None) -> bool:
    if state is not None:
        return region_id in shown.states
    return row["outcome"] == "ok" and shown.withheld is None and region_id not in shown.named


def claim_of(region_id: int, name: str, state: str | None, within: list[Json], showing: list[Json]) -> Json:
    """`within`: all observations of that time whose records were applied."""
    ours = {row["seq"] for row in showing}
    blind: list[list[str]] = []
    last: Json | None = None
    before: Json | None = None
    for row in within:
        if row["seq"] in ours:
            if last is not None and (before is not last or is_gap(last, row)):
                blind.append([last["last_asked_at"], row["first_at"]])
            last = row
        before = row
    values = (
        region_id,
        name,
        state,
        showing[0]["first_at"],
        showing[-1]["last_asked_at"],
        sum(row["polls"] for row in showing),
        showing[0]["seq"],
        showing[-1]["seq"],
        list(dict.fromkeys(key_of(row) for row in showing)),
        blind,
    )
    return dict(zip(CLAIM, values, strict=True))


def moment(text: str) -> str:
    """A time as a person reads it: `2026-05-01 12:30:00.500Z`."""
    return f"{text[:10]} {text[11:23].removesuffix('.000')}Z"


def brief(text: Any) -> str:
    """A text from the pack within a sentence."""
    said = str(text)
    return said if len(said) <= MAX_TEXT else f"{said[: MAX_TEXT - 1]}…"


def some(names: list[str]) -> str:
    """`1, 2, 3`, or `1, 2, 3 and 4 more`."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def counted(number: int, word: str) -> str:
    """`1 poll`, `3 polls`."""
    return f"{number:,} {word}{'s' * (number != 1)}"


def key_of(row: Json) -> str:
    is_import = row["key_fingerprint"] == "" and row["auth_scheme"] == "import"
    return "import" if is_import else str(row["key_fingerprint"])


def in_words(claim: Json) -> str:
    """The claim as a sentence."""
    keys = [key[:8] for key in claim["keys"] if key not in ("", "import")]
    said = [f"key{'s' * (len(keys) > 1)} {some(keys)}"] if keys else []
    said += ["no key"] * ("" in claim["keys"]) + ["answers that somebody saved"] * ("import" in claim["keys"])
    who, polls, name = " and ".join(said), claim["polls"], brief(claim["name"])
    if claim["state"] is not None:
        what, shown = f"was in {brief(claim['state'])}", f"shown by {counted(polls, 'poll')} with {who}"
    else:
        what, shown = "was not listed", f"shown by {counted(polls, 'complete answer')} to {who}"
    begin, until, blind = moment(claim["from_at"]), moment(claim["until_at"]), len(claim["blind"])
    if claim["from_at"] >= claim["until_at"]:
        return f"{name} {what} at some moment between {until} and {begin}, {shown}."
    unseen = "it could not be seen" if claim["state"] is not None else "that is not known"
    apart = f", apart from {'one time' if blind == 1 else f'{blind} times'} when {unseen}" if blind else ""
    return f"{name} {what} from {begin} to at least {until}{apart}, {shown}; never contradicted."


# 7. Anchors


class Proof:
    """What is given beside a pack to show that it was not made up as a whole."""

    def __init__(
        self, lines: list[Path] | None = None, ca_file: Path | None = None, public_key: Path | None = None
    ) -> None:
        self.lines = lines or []
        self.values: dict[tuple[str, int], set[str]] = {}
        """The values of the lines that an anchor received, by source and number."""
        for path in self.lines:
            for source, number, value in handed_out(path):
                self.values.setdefault((source, number), set()).add(value)
        self.ca_file, self.public_key = ca_file, public_key
        needs_openssl = ca_file is not None or public_key is not None
        need(
            not needs_openssl or shutil.which("openssl") is not None,
            "the command openssl is missing; install it",
        )
        is_pem = ca_file is None or b"-----BEGIN CERTIFICATE-----" in ca_file.read_bytes()
        need(is_pem, f"{ca_file} holds no certificates in PEM")
        self.signer = None if public_key is None else name_of_key(public_key)
        """SHA-256 of the public key."""

    def holds(self, source: str, row: Json, statement: bytes) -> str | None:
        """How an accepted anchor is proven; None: it is not. Raises BrokenError if it is forged."""
        number = row["number"]
        outside = self.values.get((source, number), set())
        is_outside = row["value"] in outside
        need(not outside or is_outside, f"anchor {number} differs from the one that was sent")
        if row["outcome"] != "anchored":  # it may have arrived although its place did not say so
            return "found outside the database" if is_outside else None
        if self.ca_file is not None and row["token"] is not None:
            token = base64.b64decode(row["token"])
            at = time_in_token(token)
            is_trusted = is_of_authority(token, row["value"], self.ca_file.read_bytes(), at)
            need(is_trusted is not None, f"anchor {number}: its token is not valid")
            if is_trusted and (at is None or str(row["attested_at"])[:19] != at[:19]):
                signed = f"is of {moment(at)}" if at else "has no time"
                raise BrokenError(
                    f"anchor {number}: its token {signed}, anchors.jsonl says {row['attested_at']}"
                )
            if is_trusted and at is not None:
                return f"time-stamped {moment(at)} by an authority of {self.ca_file}"
        if self.public_key is not None and row["signature"] is not None and row["signed_by"] == self.signer:
            key = self.public_key.read_bytes()
            given = {"key": key, "statement": statement, "signature": base64.b64decode(row["signature"])}
            options = ("-pubin", "-inkey", "key", "-rawin", "-in", "statement", "-sigfile", "signature")
            need(
                openssl(given, "pkeyutl", "-verify", *options) is not None,
                f"anchor {number}: its signature is not valid",
            )
            return f"signed with {self.public_key}, {SIGNED}"
        return "found outside the database" if is_outside else None

    def lacking(self) -> str:
        """Why nothing of what was given proves anything."""
        said = [f"no line of {path} is an anchor in this pack" for path in self.lines]
        said += [f"no anchor in this pack has a token for {self.ca_file}"] * (self.ca_file is not None)
        said += [f"no anchor in this pack is signed with {self.public_key}"] * (self.public_key is not None)
        return "; ".join(said) or "neither a head nor an anchor from outside was given"


def name_of_key(path: Path) -> str:
    """SHA-256 of a public key in DER, by which signatures name it."""
    der = openssl({"key": path.read_bytes()}, "pkey", "-pubin", "-in", "key", "-outform", "DER")
    if der is None:
        raise BrokenError(f"{path} holds no public key in PEM")
    return hashlib.sha256(der).hexdigest()


def time_in_token(token: bytes) -> str | None:
    """The time that an authority signed; None: there is none. The rest of its answer, like the status, is not signed,
    so it is not read."""
    printed = openssl({"token": token}, "ts", "-reply", "-in", "token", "-token_out", "-text")
    found = STAMPED.search(printed or b"")
    if found is None:
        return None
    month, day, clock, fraction, year = (part.decode() for part in found.groups(b"0"))
    return f"{year}-{MONTHS.index(month) + 1:02}-{int(day):02}T{clock}.{fraction[:6]:0<6}Z"


def is_of_authority(token: bytes, value: str, ca: bytes, at: str | None) -> bool | None:
    """True if an authority with a trusted certificate signed the value; False: another one did, as it seems; None: the
    token is not valid.

    The certificate must have been valid at that time, or be valid now: LibreSSL can't look at another time.
    """
    given = {"token": token, "ca": ca}
    command = ("ts", "-verify", "-in", "token", "-digest", value, "-CAfile", "ca")
    then = time(at) if at is not None else None
    if then and openssl(given, *command, "-attime", str(int(then.timestamp()))) is not None:
        return True
    done = run_openssl(given, *command)
    if done.returncode == 0:
        return True
    return False if b"certificate verify error" in done.stderr else None


def openssl(files: dict[str, bytes], *command: str) -> bytes | None:
    """What it prints; None: it refused."""
    done = run_openssl(files, *command)
    return done.stdout if done.returncode == 0 else None


def run_openssl(files: dict[str, bytes], *command: str) -> subprocess.CompletedProcess[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        # The reader's own openssl, on files that were written a moment ago.
        return subprocess.run(  # noqa: S603
            ["openssl", *command],  # noqa: S607
            cwd=folder,
            capture_output=True,
            check=False,
            timeout=60,
        )


def handed_out(path: Path) -> Iterator[tuple[str, int, str]]:
    """Source, number and value of the lines of a file, which may be a log that also has other lines."""
    with path.open("rb") as file:
        for text in iter(lambda: file.readline(MAX_HANDED_OUT), b""):
            begin = text.find(b'{"anchor"')
            try:
                row = loads(text[begin:]) if begin >= 0 else {}
                source, number, value = (row[name] for name in ("source", "number", "value"))
            except (BrokenError, KeyError, TypeError, ValueError, RecursionError):
                continue
            is_line = isinstance(source, str) and type(number) is int and isinstance(value, str)
            if is_line and row.get("anchor") == 1:
                yield source, number, value


def check_anchors(
    source: str, listed: list[Json], rows: list[Json], proof: Proof
) -> list[tuple[Json, str | None]]:
    """The accepted anchors, each with its proof."""
    by_seq = {row["seq"]: row for row in rows}
    taken = []
    previous: str | None = None
    for place, row in enumerate(listed):
        number = row["number"]
        need(
            type(number) is int and number == listed[0]["number"] + place,
            f"anchor {number!r} is out of order",
        )
        need(number > 1 or row["previous_digest"] == GENESIS, "the first anchor refers to an earlier one")
        need(
            place == 0 or row["previous_digest"] == previous,
            f"anchor {number} does not contain the digest of the previous one",
        )
        stated = [row["previous_digest"], source, *(row[name] for name in STATED)]
        statement = json.dumps(stated, separators=(",", ":")).encode("ascii")
        need(
            hashlib.sha256(statement).hexdigest() == row["value"],
            f"anchor {number}: its value does not match its statement",
        )
        token = None if row["token"] is None else base64.b64decode(row["token"], validate=True)
        hashed = {**row, "token": None if token is None else hashlib.sha256(token).hexdigest()}
        result = digest_of([row["value"], *(hashed[name] for name in RESULT)])
        need(result == row["digest"], f"anchor {number}: its digest does not match its result")
        check_anchored(row, by_seq)
        how = proof.holds(source, row, statement)
        if row["outcome"] == "anchored" or how is not None:
            taken.append((row, how))
        previous = row["digest"]
    return taken


def check_anchored(anchor: Json, rows: dict[int, Json]) -> None:
    """Check that the observation is the one that was anchored, and has only grown since."""
    number, seq = anchor["number"], anchor["seq"]
    need(seq in rows, f"anchor {number}: observation {seq!r} is not in the pack")
    row = rows[seq]
    is_it = row["opening_digest"] == anchor["head"]
    need(is_it, f"anchor {number}: observation {seq} was a different one then")
    has_grown = row["polls"] > anchor["polls"]
    for name in CLOSING:
        now, then = row[name], anchor[name]
        grew = has_grown and (now > then or name == "last_asked_at")
        need(
            same(now, then) or grew,
            f"anchor {number}: {name} of observation {row['seq']} was {then} then, but is {now} now",
        )


# All of it


def check(path: Path, heads: list[str], proof: Proof | None = None) -> list[str]:
    """Check everything; returns the lines to print. Raises BrokenError."""
    return examine(path, heads, proof or Proof())[0]


def examine(path: Path, heads: list[str], proof: Proof) -> tuple[list[str], str | None]:
    """The lines to print, and why a head or an anchor does not prove all of it; None: one does."""
    files = read_files(path)
    pack = check_files(files)
    start, end = pack["from"], pack["to"]
    lacking: set[str] = {"amended"} if pack["format"] == 1 else set()
    older: Json = dict.fromkeys(lacking)
    rows: list[Json] = [older | row for row in lines(files, "observations.jsonl", {*OBSERVATION} - lacking)]
    check_chain(pack["source"], rows)
    files = {"redacted.jsonl": b"", "amendments.jsonl": b""} | files
    redacted = list(lines(files, "redacted.jsonl", REDACTED))
    amendments = list(lines(files, "amendments.jsonl", (*AMENDMENT, "previous_digest", "digest")))
    amended = check_amendments(pack["source"], amendments, redacted, rows)
    head = rows[-1]["opening_digest"]
    need(
        same(pack["head"], {"seq": rows[-1]["seq"], "digest": head}),
        "the head in pack.json is not that of the observations",
    )
    openings = {row["opening_digest"]: row["seq"] for row in rows}
    openings |= {row["digest"]: row["at_seq"] for row in amendments if row["at_seq"] in openings.values()}
    before = f", or from before observation {rows[0]['seq']}, with which the pack begins"
    for wanted in heads:
        need(
            wanted in openings,
            f"no observation has the head {wanted}: the history was rewritten or cut off after it was taken, or it is "
            f"of another history or source{before if rows[0]['seq'] > 1 else ''}",
        )
    only = None if pack["regions"] is None else set(pack["regions"])
    applied = [row for row in rows if row["outcome"] != "failed"]
    need(bool(applied), "no poll succeeded")
    is_whole = rows[0]["seq"] == 1
    need(is_whole or applied[0]["first_at"] < start, "it begins later than the time that it covers")
    up_to, newest = pack["answers_up_to"], applied[-1]["seq"]
    need(up_to in (row["seq"] for row in applied), f"no answer belongs to observation {up_to}")
    later = [row for row in applied if row["seq"] >= up_to]
    applied = [row for row in applied if row["seq"] <= up_to]
    left = {row["address"]: row["content"] for row in redacted}
    shown, count = check_answers(files, applied, only is None, left)
    transitions = list(lines(files, "transitions.jsonl", TRANSITION))
    unseen = list(lines(files, "unseen.jsonl", UNSEEN))
    listed = by_key(transitions, "seq")
    histories = []
    for kind in KINDS if only is None else KINDS[:1]:
        steps = [(row, shown[row["payload"]][kind]) for row in applied]
        histories.append(History(kind, steps, only, is_whole))
        doubt = (
            "it was asked for before"
            if asked_before(applied[-1], end)
            else steps[-1][1].doubt(applied[-1], only)
        )
        need(
            up_to == newest or doubt is None,
            f"the answers up to observation {up_to} are not enough: they do not show for each {kind} if it existed "
            f"when that time ended ({doubt})",
        )
    check_transitions(listed, histories, start, end)
    check_unseen(unseen, histories, start, end)
    gaps = list(lines(files, "gaps.jsonl", GAP))
    check_gaps(gaps, rows, start, end)
    is_of_now = pack["format"] > 1
    region_steps = [(row, shown[row["payload"]]["region"]) for row in applied]
    given = list(lines(files, "claims.jsonl", CLAIM)) if is_of_now else None
    claims = check_claims(given, histories[0], region_steps, start, end)
    handed = list(lines(files, "anchors.jsonl", ANCHOR)) if is_of_now else []
    taken = check_anchors(pack["source"], handed, rows, proof)
    proven = [(row, how) for row, how in taken if how is not None]
    regions = [each["region"] for each in shown.values()]
    seen = {i for each in regions for i in (*each.states, *each.named)}
    covered = max([*(openings[wanted] for wanted in heads), *(row["seq"] for row, _ in proven)], default=None)
    rests_on = up_to if later[0]["first_at"] >= end else rows[-1]["seq"]
    known = max((row["number"] for row in amendments if row["digest"] in heads), default=0)
    of_redacted = said_of_redacted(applied, left)
    trusting = ", if you trust the person who redacted answers" if of_redacted else ""
    seqs = [
        *(openings[wanted] for wanted in heads),
        *(row["seq"] for row, how in proven if SIGNED not in how),
    ]
    if covered is not None and covered >= rests_on > max(seqs, default=0):
        trusting += ", if you trust the owner of the signing key"
    newest_row = rows[-1]
    closed = {row["seq"] for row, _ in proven if row["polls"] == rows[row["seq"] - rows[0]["seq"]]["polls"]}
    if newest_row["first_at"] < end:
        closed.add(newest_row["seq"])  # `limits` speaks of it
    said = [
        verdict(pack, rows, gaps, [row for row, _ in proven]) + trusting,
        *(
            text
            for region_id, its_claims in groupby(claims, key=lambda claim: claim["region_id"])
            for text in (
                f"region {region_id}:",
                *(line for claim in its_claims for line in told(claim, rows, gaps, covered, closed)),
            )
        ),
        *(in_words_of_gap(gap) for gap in gaps),
        *limits(rows, later, only, seen, transitions, is_whole, end, [row for row, _ in proven]),
        *(
            text
            + ", not covered by any given head" * (number > known and covered is not None and covered < seq)
            for number, (text, seq) in enumerate(amended, 1)
        ),
        *of_redacted,
        f"checked: observations {len(rows)}, answers {count}, transitions {len(transitions)}, gaps {len(gaps)}",
        *(f"head {wanted}: observation {openings[wanted]}" for wanted in heads),
        *about_anchors(taken, proven),
    ]
    why: str | None = None
    if covered is None:
        said.append(
            f"head {head} (observation {rows[-1]['seq']}): compare it with one that was kept elsewhere"
        )
        why = (
            f"everything agrees with itself, but the pack may have been made up as a whole: {proof.lacking()}"
        )
    elif covered < rests_on:
        why = (
            f"no given head covers what came after observation {covered}, nor how long that one went on, and this "
            f"pack uses observations up to {rests_on}: only a later head can show that those were not made up"
        )
    elif of_redacted and not (covered > amendments[-1]["at_seq"] or amendments[-1]["digest"] in heads):
        why = (
            f"answers were redacted after observation {amendments[-1]['at_seq']}, and no given head covers what was "
            f"left of them: give a later head, or the digest of that change, {amendments[-1]['digest']}, if it was "
            "kept outside"
        )
    elif rows[0]["first_at"] >= end:
        why = f"the first poll of all was answered at {moment(rows[0]['first_at'])}, after this time"
    for t in transitions:
        states = " → ".join(brief(t[name] or "not listed") for name in ("from_state", "to_state"))
        since = moment(t["not_before"]) if t["not_before"] else "any time"
        uncovered = ", not covered by any given head" if covered is not None and t["seq"] > covered else ""
        window = f"between {since} and {moment(t['observed_at'])} ({t['basis']})"
        view = ", maybe a change of view only: another key or URL was used" * (
            t["basis"] == "observer_change"
        )
        said.append(f"  {t['entity']} {t['entity_id']}: {states}, {window}{view}{uncovered}")
    said.append("index.html, README.txt and queries.sql were not checked: read the claims here, not there")
    return said, why


def told(
    claim: Json, rows: list[Json], gaps: list[Json], covered: int | None, closed: set[int]
) -> Iterator[str]:
    """A claim, the times when the region was not shown although others were, and what no given head covers.

    `closed`: observations of which a proven anchor covers how long they went on, too.
    """
    yield f"  {in_words(claim)}"
    asked = {row["last_at"]: row["last_asked_at"] for row in rows}
    general = [[asked.get(gap["from_at"]), gap["until_at"]] for gap in gaps]
    for each in claim["blind"]:
        if each not in general:
            unseen = "not seen" if claim["state"] is not None else "not known"
            yield f"    {unseen} between {moment(each[0])} and {moment(each[1])}"
    if covered is None or claim["last_seq"] < covered:
        return
    row = rows[covered - rows[0]["seq"]]
    if claim["first_seq"] > covered:
        yield "    not covered by any given head: it may have been made up"
    elif claim["last_seq"] > covered:
        yield f"    covered by a given head up to {moment(row['first_at'])} only (observation {covered})"
    elif covered not in closed:
        yield (
            f"    covered by a given head up to {moment(row['first_at'])} only: it does not cover how long observation "
            f"{covered} went on"
        )


def in_words_of_gap(gap: Json) -> str:
    until = f"{moment(gap['until_at'])}" if gap["until_at"] else "the end"
    failed = gap["failed_polls"]
    polls = f"{counted(failed, 'poll')} failed" if failed else "no poll was made, or none was written"
    return f"nothing was seen between {moment(gap['from_at'])} and {until}: {polls}"


def about_anchors(taken: list[tuple[Json, str | None]], proven: list[tuple[Json, str]]) -> list[str]:
    """What anchors prove, and what has to be given to check more of them."""
    said = []
    if proven:
        row, how = max(proven, key=lambda each: (each[0]["seq"], each[0]["last_at"]))
        said.append(
            f"anchor {row['number']} at {row['target']}, {how}: observation {row['seq']}, "
            f"{counted(row['polls'], 'poll')} up to {moment(row['last_at'])}"
        )
    tokens = sum(how is None and row["token"] is not None for row, how in taken)
    others = sum(how is None and row["token"] is None for row, how in taken)
    if tokens:
        what = "1 time stamp was" if tokens == 1 else f"{tokens} time stamps were"
        said.append(f"{what} not checked: add --ca-file with the certificates of the authority")
    if others:
        what = "1 anchor was" if others == 1 else f"{others} anchors were"
        said.append(
            f"{what} not compared with anything outside: add what their places received with --anchors"
        )
    return said


def verdict(pack: Json, rows: list[Json], gaps: list[Json], proven: list[Json]) -> str:
    """The source, the regions and the time of the verdict.

    Before the first observation nothing was seen. After the newest one no digest proves anything, but an anchor may.
    `proven`: anchors.
    """
    regions = pack["regions"]
    which = (
        "all regions and keystones"
        if regions is None
        else f"region{'s' * (len(regions) > 1)} {some([*map(str, regions)])}"
    )
    start, first = pack["from"], rows[0]
    begin = start if first["seq"] > 1 or first["first_at"] < start else first["first_at"]
    newest = [row for row in rows if row["outcome"] != "failed"][-1]
    up_to = newest["first_at" if newest is rows[-1] else "last_at"]
    up_to = max([up_to, *(row["last_at"] for row in proven if row["seq"] == newest["seq"])])
    seen = "" if up_to >= pack["to"] else f", as seen up to {moment(up_to)}"
    if gaps:
        times = "one time" if len(gaps) == 1 else f"{len(gaps)} times"
        seen += f", apart from {times} when nothing was seen"
    return f"HOLDS: source {pack['source']}, {which}, from {moment(begin)} to {moment(pack['to'])}{seen}"


def limits(
    rows: list[Json],
    later: list[Json],
    only: set[int] | None,
    seen: set[int],
    transitions: list[Json],
    is_whole: bool,
    end: str,
    proven: list[Json],
) -> list[str]:
    """What the verdict does not cover although one might think so.

    `later`: the applied observations from the pack's last answer on. `seen`: regions that some answer shows or names.
    """
    newest, said = rows[-1], []
    is_anchored = any((row["seq"], row["polls"]) == (newest["seq"], newest["polls"]) for row in proven)
    if not is_anchored and (newest["first_at"] < end or newest["outcome"] == "failed"):
        said.append(
            f"observation {newest['seq']} is open: no digest covers yet that {counted(newest['polls'], 'poll')} "
            f"gave the same answer until {moment(newest['last_at'])}"
        )
    if only is not None:
        if len(only) > MAX_NAMED:
            groups = zip(
                *[iter([*map(str, sorted(only)), *[""] * (MAX_NAMED - 1)])] * MAX_NAMED, strict=False
            )
            said += [f"regions of this pack: {', '.join(filter(None, each))}" for each in groups]
        said.append(
            "records of other regions are hashes here. While a region of this pack is present, it is proven that "
            "none of them is its own. Before it appeared and after it was gone, that is not proven: it may have "
            "existed then"
        )
        said += [
            f"no record of region {i} is given: any of the hashes may be its own" for i in sorted(only - seen)
        ]
    others = [row["seq"] for one, row in pairwise(later) if is_other(one, row)]
    if others:
        said.append(
            f"another key or URL was used from observation {others[0]} on, after the answers of this pack: what it "
            "showed first may have existed unseen in this time"
        )
    if not is_whole and any(t["kind"] in ("appeared", "reappeared") for t in transitions):
        said.append(
            f"the answers before observation {rows[0]['seq']} are not in this pack: what appeared may have existed "
            "earlier, and what reappeared may be new"
        )
    return said


def said_of_redacted(applied: list[Json], left: dict[str, str]) -> list[str]:
    """A notice if answers of the pack are not what was recorded."""
    seqs = [row["seq"] for row in applied if row["payload"] in left]
    if not seqs:
        return []
    which, rest = f"answer of observation {seqs[0]}", "its other values"
    if len(seqs) > 1:
        which, rest = f"answers of {len(seqs)} observations, {seqs[0]} to {seqs[-1]}", "their other values"
    return [
        f"in the {which}, values were redacted later: for {rest}, you have to trust the person who did that"
    ]


def check_answers(
    files: dict[str, bytes], applied: list[Json], is_whole: bool, redacted: dict[str, str]
) -> tuple[dict[str, dict[str, Shown]], int]:
    """What each answer shows, by its address; and the number of answers."""
    rows_of: dict[str, list[Json]] = {}
    for row in applied:
        rows_of.setdefault(row["payload"], []).append(row)
    shown: dict[str, dict[str, Shown]] = {}
    count = 0
    for answer in lines(files, "answers.jsonl", ANSWER):
        records, address = check_answer(answer, is_whole, redacted), answer["address"]
        count += 1
        need(address not in shown, f"answer {address} is given twice")
        need(address in rows_of, f"answer {address} belongs to no observation")
        for row in rows_of[address]:
            need(
                len(records) == row["listed"],
                f"observation {row['seq']} listed {row['listed']}, its answer has {counted(len(records), 'record')}",
            )
        regions, refused = shown_regions(records)
        for row in rows_of[address]:
            need(
                row["rejected"] == refused,
                f"observation {row['seq']} rejected {row['rejected']}, but its answer contains "
                f"{counted(refused, 'such record')}: all must be in the pack, since each may belong to any region",
            )
        shown[address] = {"region": regions}
        if is_whole:
            shown[address] |= {kind: shown_nested(kind, records, regions) for kind in KINDS[1:]}
    for address, its_rows in rows_of.items():
        need(address in shown, f"the answer of observation {its_rows[0]['seq']} is missing")
    return shown, count


def printable(text: str) -> str:
    """Text without characters that can harm a terminal, since a forged pack controls what is printed."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Check an audit pack of gcore-collector.",
        epilog="The exit code is 0 for HOLDS, 1 for BROKEN, 2 for wrong usage, 3 for NOT PROVEN and NOT CHECKED.",
    )
    parser.add_argument(
        "pack", type=Path, help="the zip file itself, not a folder into which it was unpacked"
    )
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        help="a head that was kept outside the database; may be repeated",
    )
    parser.add_argument(
        "--anchors",
        action="append",
        default=[],
        type=Path,
        help="a file of lines that an anchor received; may be repeated",
    )
    parser.add_argument("--ca-file", type=Path, help="trusted certificates for tokens (PEM); needs openssl")
    parser.add_argument("--public-key", type=Path, help="the public key for signatures (PEM); needs openssl")
    arguments = parser.parse_args()
    heads = [head.strip().lower() for head in arguments.head]
    for head in heads:
        if re.fullmatch("[0-9a-f]{64}", head) is None:
            parser.error(f"{printable(head[:80])!r} is not a head: a head is 64 hex digits")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for path in (arguments.pack, *arguments.anchors, arguments.ca_file, arguments.public_key):
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            hint = "; give the file itself" if path.is_dir() else ""
            print(printable(f"NOT CHECKED: {path} can't be read: {error.strerror}{hint}")[:MAX_PRINTED])
            return 3
    try:
        proof = Proof(arguments.anchors, arguments.ca_file, arguments.public_key)
    except (BrokenError, subprocess.SubprocessError) as error:
        print(printable(f"NOT CHECKED: {error}")[:MAX_PRINTED])
        return 3
    try:
        said, why = examine(arguments.pack, heads, proof)
        code = 0
        if why is not None:
            said[0] = said[0].replace("HOLDS", "NOT PROVEN", 1)
            said.insert(1, why)
            code = 3
    except BrokenError as error:
        said, code = [f"BROKEN: {error}"], 1
    except subprocess.SubprocessError as error:
        said, code = [f"NOT CHECKED: {error}"], 3
    except zipfile.BadZipFile as error:
        said = [
            f"BROKEN: {arguments.pack} is no zip file, or not all of one: {error}. Ask for it once more, and compare "
            "its SHA-256"
        ]
        code = 1
    except Exception as error:  # noqa: BLE001 - a hostile file can raise anything
        said, code = [f"BROKEN: it can't be read: {type(error).__name__}: {error}"], 1
    try:
        print("\n".join(printable(line)[:MAX_PRINTED] for line in said), flush=True)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    sys.exit(main())
