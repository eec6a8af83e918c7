"""The difference between two answers as text, so that one can be stored over the other.

A delta is one canonical JSON object with those of these members that are needed:

    edited     [[position, [start, count, piece, …], …], …]   records that keep their place, with other text
    envelope   {…}                                            the envelope of the new answer
    gone       [position, …]                                  records that no longer exist
    new        [[position, record], …]                        records that are new

Positions in `edited` and `gone` refer to the earlier answer, those in `new` to the later one. Each list ascends. A
record's text is split at its commas: a run `[start, count, piece, …]` replaces `count` pieces from `start` on. So
applying a delta needs no knowledge of regions.

Two answers have exactly one delta. It is part of the evidence, and `verify` requires exactly that one.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from operator import attrgetter, ne
from typing import Any

from collector.gcore import jsontext
from collector.gcore.document import Document

_KEY = re.compile(r'"id":([^,\]}]*)')
_MEMBERS = {"edited", "envelope", "gone", "new"}


@dataclass(frozen=True, slots=True)
class Texts:
    """An answer as the canonical texts of its parts."""

    envelope: str
    records: tuple[str, ...]
    """In canonical order."""

    def address(self) -> str:
        """The same value as `Document.address`."""
        digest = hashlib.sha256(hashlib.sha256(self.envelope.encode()).digest())
        for record in self.records:
            digest.update(hashlib.sha256(record.encode()).digest())
        return digest.hexdigest()


def texts_of(document: Document) -> Texts:
    return Texts(jsontext.dumps(dict(document.envelope)), tuple(map(attrgetter("text"), document.records)))


def delta(old: Texts, new: Texts) -> str:
    """The delta that turns `old` into `new`: `applied(old, delta(old, new)) == new`."""
    edited, gone, come = [], [], []
    for old_positions, new_positions in _gaps(old.records, new.records):
        paired = dict(_pairs(old, old_positions, new, new_positions))
        edited += [(i, _runs(old.records[i], new.records[j])) for i, j in paired.items()]
        gone += [i for i in old_positions if i not in paired]
        edits = set(paired.values())
        come += [f"[{j},{new.records[j]}]" for j in new_positions if j not in edits]
    members = {
        "edited": ",".join(f"[{i},{','.join(runs)}]" for i, runs in edited),
        "gone": ",".join(map(str, gone)),
        "new": ",".join(come),
    }
    texts = {name: f"[{items}]" for name, items in members.items() if items}
    if old.envelope != new.envelope:
        texts["envelope"] = new.envelope
    return "{" + ",".join(f'"{name}":{texts[name]}' for name in sorted(texts)) + "}"


def _gaps(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[range, range]]:
    """The non-empty ranges between the records that both answers have."""
    if len(old) == len(new):  # usually nothing came or went, and comparing takes an eighth of the time
        differ = list(compress(range(len(old)), map(ne, old, new)))
        if {old[i] for i in differ}.isdisjoint(new) and {new[i] for i in differ}.isdisjoint(old):
            yield from ((run, run) for run in _runs_of(differ))
            return
    common = Counter(old) & Counter(new)
    kept = zip(_kept(old, common), _kept(new, common), strict=True)
    i = j = 0
    for old_end, new_end in (*kept, (len(old), len(new))):
        if i < old_end or j < new_end:
            yield range(i, old_end), range(j, new_end)
        i, j = old_end + 1, new_end + 1


def _kept(records: Sequence[str], common: Counter[str]) -> list[int]:
    left = dict(common)
    kept = []
    for position, record in enumerate(records):
        if left.get(record):
            left[record] -= 1
            kept.append(position)
    return kept


def _pairs(old: Texts, old_positions: range, new: Texts, new_positions: range) -> Iterator[tuple[int, int]]:
    """Pairs of records with the same key, in order. The key is a guess at the id; any pairs give a correct delta."""
    waiting: defaultdict[str, list[int]] = defaultdict(list)
    for i in reversed(old_positions):
        waiting[_key(old.records[i])].append(i)
    after = -1
    for j in new_positions:
        same = waiting.get(_key(new.records[j]))
        while same and same[-1] <= after:
            same.pop()
        if same:
            after = same.pop()
            yield after, j


def _key(record: str) -> str:
    found = _KEY.search(record)
    return found[1] if found else ""


def _runs(old: str, new: str) -> list[str]:
    """The runs of pieces in which two texts differ; one run if their numbers of pieces differ."""
    before, after = old.split(","), new.split(",")
    if len(before) != len(after):
        start = next(
            (i for i, (x, y) in enumerate(zip(before, after, strict=False)) if x != y),
            min(len(before), len(after)),
        )
        end = 0
        while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
            end += 1
        return [_run(start, len(before) - end - start, after[start : len(after) - end])]
    runs = _runs_of(compress(range(len(after)), map(ne, before, after)))
    return [_run(run.start, len(run), after[run.start : run.stop]) for run in runs]


def _runs_of(places: Iterable[int]) -> Iterator[range]:
    """Groups of consecutive numbers from an ascending sequence."""
    begin = end = -1
    for place in places:
        if place != end:
            if begin < end:
                yield range(begin, end)
            begin = place
        end = place + 1
    if begin < end:
        yield range(begin, end)


def _run(start: int, count: int, pieces: Sequence[str]) -> str:
    return "[" + ",".join([str(start), str(count), *map(jsontext.dumps, pieces)]) + "]"


def applied(old: Texts, text: str) -> Texts:
    """Apply a delta to an answer. Raises ValueError if it does not fit."""
    value = jsontext.loads(text.encode(), jsontext.MAX_DEPTH + 1)  # a new record is one level deeper here
    if not isinstance(value, dict) or not value.keys() <= _MEMBERS:
        raise ValueError("not a delta")
    records: list[str | None] = list(old.records)
    for position, (_, *runs) in _ascending(value.get("edited", []), len(records)):
        records[position] = _edited(old.records[position], runs)
    for position, _ in _ascending([[position] for position in _list(value.get("gone", []))], len(records)):
        records[position] = None
    kept = iter([record for record in records if record is not None])
    result: list[str] = []
    for position, (_, *record) in _ascending(value.get("new", []), 1 << 53):
        result += islice(kept, position - len(result))
        if len(result) != position or len(record) != 1:
            raise ValueError("a new record has no place")
        result.append(jsontext.dumps(record[0]))
    envelope = jsontext.dumps(value["envelope"]) if "envelope" in value else old.envelope
    return Texts(envelope, (*result, *kept))


def _edited(record: str, runs: Sequence[Any]) -> str:
    pieces = record.split(",")
    result: list[str] = []
    done = 0
    for run in runs:
        start, count, *new = _list(run)
        first, end = _number(start), _number(start) + _number(count)
        if not done <= first <= end <= len(pieces) or not all(isinstance(piece, str) for piece in new):
            raise ValueError("an edit does not fit its record")
        result += pieces[done:first] + new
        done = end
    return ",".join(result + pieces[done:])


def _ascending(items: Any, end: int) -> Iterator[tuple[int, list[Any]]]:
    """Lists that begin with a position; positions must ascend and be less than `end`."""
    before = -1
    for item in _list(items):
        position = _number(_list(item)[0]) if item else -1
        if not before < position < end:
            raise ValueError("a position does not ascend or is out of range")
        before = position
        yield position, item


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("not a list")  # noqa: TRY004 - the text does not fit
    return value


def _number(value: Any) -> int:
    number = jsontext.integer(value)
    if number is None or number < 0:
        raise ValueError("not a position")
    return number
