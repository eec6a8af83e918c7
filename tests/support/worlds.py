"""A true cloud, a collector that looks at it, and what must be true of everything that it wrote.

    Cloud    what really is, at every millisecond
    flaws    how an answer comes to say less than the cloud knows, or says it strangely
    Reading  what an answer says, read in the plainest way
    Ledger   the rules of history poll by poll, in dictionaries: the expected rows of the tables
    World    lets time pass, polls with the real `poll()`, and compares

Nothing here asks the code under test what is right: the rules are written a second time, poll by poll where
the collector thinks in stretches, and by looking back through a list where it keeps counts and spans.

What is promised of a transition's window: an answer shows the cloud at one moment between its question and
its arrival. The last answer that confirmed the old state was such a moment, the first that showed the new one
another. So whatever went on in between, the entity *turned* into the new state (or into being listed, or
unlisted) at least once after the one and not after the other, and this true time lies in
[not_before, observed_at]; NULL for not_before means that there is no earlier evidence. Two kinds of
transition promise less and are left out: `observer_change`, where a key that sees other regions came or went
and perhaps nothing happened in the cloud, and `other_copy`, where the difference may be one between two
regions' copies. All others had the same eyes at both ends, so what these eyes could see did change.

Times are the collector's own. While its clock runs true, that is all there is to it. Where the clock was set
between two polls, what happened in between is dated by the clock as the later poll found it, but after the
earlier poll: within a source time only moves forward.

True times are whole milliseconds since noon.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.audit import pack
from collector.audit.pack import check
from collector.database.transactions import reading
from collector.errors import ClockError
from collector.gcore.exchange import Exchange, Failure
from collector.inventory import chain
from collector.poll import PollResult
from collector.reports.inventory import RegionFilter, regions_as_of
from collector.store.tables import DERIVED, observations, observers, sources
from tests.support import builders
from tests.support.history import NOON, History

Json = dict[str, Any]
Row = dict[str, Any]
Key = tuple[str, int]
"""A kind of entity, and an id."""

KINDS = ("region", "keystone", "metrics_database")
NESTED = KINDS[1:]
EVER = -(10**12)
"""A time before everything: what is so from the start turned so then."""
TICK = timedelta(microseconds=1)
CONFIRMATIONS = 3
PAGES = {10, 20, 25, 50, 100, 200, 250, 500, 1000}
LEASE = timedelta(seconds=60)
WRONG_CLOCK = timedelta(hours=1)
REBUILD_EVERY = 50
"""Polls. A rebuild takes as long as many of them."""


# What really is


class Line:
    """A value over true time."""

    def __init__(self, value: Any) -> None:
        self._since = [EVER]
        self._values = [value]

    def set(self, at: int, value: Any) -> None:
        """From `at` on, or from the newest change on if that is later."""
        self._since.append(max(at, self._since[-1]))
        self._values.append(value)

    def at(self, moment: int) -> Any:
        return self._values[max(bisect_right(self._since, moment) - 1, 0)]

    @property
    def turns(self) -> list[int]:
        return self._since


@dataclass(frozen=True, slots=True)
class Birth:
    """A region at the beginning."""

    state: str | None
    keystone: int
    database: int | None
    lag: int
    """How many milliseconds old its copies of nested objects are."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes different in the cloud."""

    what: str
    """A region's state, name, keystone or metrics_database; a keystone's state; a database's port."""
    id: int
    value: Any
    after: int
    """Milliseconds after the newest answer: before, during, or after the next poll."""


class Cloud:
    """Regions with their keystones and metrics databases, some of which they share."""

    def __init__(
        self, births: Mapping[int, Birth], keystones: Mapping[int, str], hidden: frozenset[int]
    ) -> None:
        self.states = {i: Line(b.state) for i, b in births.items()}
        """None: the region does not exist."""
        self.names = {i: Line(f"Region {i}") for i in births}
        self.references = {
            "keystone": {i: Line(b.keystone) for i, b in births.items()},
            "metrics_database": {i: Line(b.database) for i, b in births.items()},
        }
        self.lags = {i: b.lag for i, b in births.items()}
        self.keystones = {i: Line(state) for i, state in keystones.items()}
        self.ports = {i: Line(9097) for i in DATABASE_IDS}
        self.hidden = hidden
        """Regions that only the first key may see."""

    def change(self, now: int, change: Change) -> None:
        lines = {
            "state": self.states,
            "name": self.names,
            **self.references,
            "keystone's state": self.keystones,
            "database's port": self.ports,
        }
        # Never at the very moment of the newest answer, which did not show it.
        lines[change.what][change.id].set(now + 1 + change.after, change.value)

    def listing(self, moment: int, key: str) -> list[Json]:
        """The records of a whole answer."""
        return [self._record(i, moment) for i in self.visible(key) if self.states[i].at(moment) is not None]

    def visible(self, key: str) -> list[int]:
        return [i for i in self.states if key == KEYS[0] or i not in self.hidden]

    def _record(self, region: int, moment: int) -> Json:
        then = moment - self.lags[region]
        keystone = self.references["keystone"][region].at(moment)
        database = self.references["metrics_database"][region].at(moment)
        return builders.region(
            region,
            self.states[region].at(moment),
            display_name=self.names[region].at(moment),
            keystone_id=keystone,
            keystone=builders.keystone(keystone, state=self.keystones[keystone].at(then)),
            metrics_database_id=database,
            metrics_database=database
            and builders.metrics_database(database, port=self.ports[database].at(then)),
        )

    def turned(self, transition: Row, key: str, witness: int | None) -> list[int]:
        """When it was that what a transition tells of happened, as far as this key can see it."""
        entity_id, event = transition["entity_id"], transition["kind"]
        if transition["entity"] == "region":
            line = self.states[entity_id]
            times, value = line.turns, line.at
        elif event == "changed":
            assert witness is not None
            line, lag = self.keystones[entity_id], self.lags[witness]
            times, value = [t + lag for t in line.turns], lambda t: line.at(t - lag)
        else:
            eyes = self.visible(key)
            lines = [(self.states[i], self.references["keystone"][i]) for i in eyes]
            times = [t for pair in lines for line in pair for t in line.turns]

            def value(t: int) -> Any:
                users = (state for state, uses in lines if uses.at(t) == entity_id)
                return next((s for s in (state.at(t) for state in users) if s is not None), None)

        def is_so(moment: int) -> bool:
            if event == "changed":
                return bool(value(moment) == transition["to_state"])
            return (value(moment) is None) == (event == "disappeared")

        return [t for t in times if is_so(t) and (t <= EVER + max(self.lags.values()) or not is_so(t - 1))]


REGION_IDS = (1, 2, 3, 4, 5, 6)
KEYSTONE_IDS = (101, 102, 103)
DATABASE_IDS = (201, 202)
KEYS = ("key-one", "key-two")


# How answers go wrong

LEFT_OUT = "(left out)"
UNKNOWN = "uptime"
"""A field that no schema knows."""
SPELLINGS = {
    text: datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC)
    for text in (
        "2019-12-31T23:59:59",
        "2019-12-31 23:59:59Z",
        "2019-12-31T23:59:59.000Z",
        "2020-01-01T01:59:59+02:00",
    )
}


UNUSABLE: dict[bytes, tuple[str, int, str | None]] = {
    b"": ("not_json", 200, None),
    b"<html>": ("not_json", 200, None),
    b'{"message": "sorry", "exception_class": "Oops"}': ("not_a_listing", 200, "Oops"),
}
"""Bodies that are no listing, and what makes such failures equal: cause, status and class."""


@dataclass(frozen=True, slots=True)
class Put:
    """Another value in one field of one record, or of all."""

    path: str
    value: Any
    where: int | None
    """Which record, counted around; None: all."""

    def __call__(self, records: list[Any]) -> None:
        nested, _, name = self.path.rpartition(".")
        for record in _chosen(records, self.where):
            fields = record.get(nested) if nested else record
            if isinstance(fields, dict):
                if self.value == LEFT_OUT:
                    fields.pop(name, None)
                else:
                    fields[name] = self.value


@dataclass(frozen=True, slots=True)
class NoReference:
    """Records that say nothing of their keystone, or of their metrics database."""

    kind: str
    where: int | None

    def __call__(self, records: list[Any]) -> None:
        for record in _chosen(records, self.where):
            record.pop(self.kind, None)
            record.pop(f"{self.kind}_id", None)


@dataclass(frozen=True, slots=True)
class Twice:
    """A record that stands there twice, the second time with a difference perhaps."""

    where: int
    path: str
    value: Any

    def __call__(self, records: list[Any]) -> None:
        for record in _chosen(records, self.where):
            copy = json.loads(json.dumps(record))
            Put(self.path, self.value, 0)([copy])
            records.append(copy)


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that is not a region, beside the records or instead of one."""

    value: Any
    instead_of: int | None

    def __call__(self, records: list[Any]) -> None:
        value = json.loads(json.dumps(self.value))
        if self.instead_of is None or not records:
            records.append(value)
        else:
            records[self.instead_of % len(records)] = value


@dataclass(frozen=True, slots=True)
class OtherWords:
    """The same, said differently: another order, ids as 3.0."""

    floats: bool

    def __call__(self, records: list[Any]) -> None:
        records.reverse()
        for record in _chosen(records, None):
            if self.floats and type(record.get("id")) is int and abs(record["id"]) < 2**53:
                record["id"] = float(record["id"])


Flaw = Put | NoReference | Twice | Garbage | OtherWords


def _chosen(records: Sequence[Any], where: int | None) -> list[Json]:
    objects = [record for record in records if isinstance(record, dict)]
    return objects if where is None else [objects[where % len(objects)]] if objects else []


# What an answer says


@dataclass(frozen=True, slots=True)
class Reading:
    """A listing, read in the plainest way, with only the typed fields that these worlds vary."""

    whole: bool
    empty: bool
    shown: dict[str, dict[int, Row]]
    witness: dict[str, dict[int, int | None]]
    named: dict[str, set[int]]
    withheld: dict[str, bool]
    rejected: list[tuple[int | None, str]]
    paged: tuple[str, ...]
    """Members that look like paging, of those that these worlds put there."""
    unknown: bool
    """True if the field that no schema knows is there."""
    repeats: bool
    """True if two records have the same id."""

    def said(self) -> tuple[Any, ...]:
        """All that must not differ between the polls of one stretch."""
        return (self.whole, self.paged, self.shown, self.witness, self.named, self.withheld, self.rejected)


def read(document: Json) -> Reading:
    records = document["results"]
    good: dict[int, Json] = {}
    rejected: list[tuple[int | None, str]] = []
    ids = [_integer(r.get("id")) if isinstance(r, dict) else None for r in records]
    for record, region_id in zip(records, ids, strict=True):
        if not isinstance(record, dict):
            rejected.append((None, "not_an_object"))
        elif region_id is None:
            rejected.append((None, "no_usable_id"))
        elif not _text(record.get("state")):
            rejected.append((region_id, "no_usable_state"))
        elif any(
            _typed(record) != _typed(other)
            for other, other_id in zip(records, ids, strict=True)
            if other_id == region_id
        ):
            rejected.append((region_id, "duplicate_id"))
        else:
            good[region_id] = record
    nameless = any(region_id is None for region_id, _ in rejected)
    shown: dict[str, dict[int, Row]] = {"region": {i: _region(r) for i, r in good.items()}}
    witness: dict[str, dict[int, int | None]] = {"region": dict.fromkeys(good)}
    named = {"region": {i for i, _ in rejected if i is not None}}
    # A record without a usable id withholds all absences of its poll, also those of other kinds.
    withheld = {"region": nameless}
    for kind in NESTED:
        shown[kind], witness[kind] = {}, {}
        for region_id in sorted(good):
            entity_id, entity = _reference(good[region_id], kind), _object(good[region_id], kind)
            if entity_id is not None and entity is not None and entity_id not in shown[kind]:
                shown[kind][entity_id], witness[kind][entity_id] = entity, region_id
        objects = [r for r in records if isinstance(r, dict)]
        named[kind] = {i for r in objects if (i := _reference(r, kind)) is not None} - shown[kind].keys()
        stated = len(objects) == len(records) and all(_states(r, kind) for r in objects)
        withheld[kind] = nameless or not stated
    whole = _integer(document.get("count")) == len(records)
    rejected.sort(key=lambda pair: (pair[0] is not None, pair[0] or 0, pair[1]))
    unknown = any(UNKNOWN in record for record in records if isinstance(record, dict))
    paged = tuple(sorted({"limit", "next", "hasMore"} & document.keys()))
    known = [i for i in ids if i is not None]
    repeats = len(known) != len(set(known))
    return Reading(whole, not records, shown, witness, named, withheld, rejected, paged, unknown, repeats)


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return None
    return int(value) if -(2**63) <= value < 2**63 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _time(value: Any) -> datetime | None:
    return SPELLINGS[value] if isinstance(value, str) else None


def _region(record: Json) -> Row:
    volume_types = record.get("available_volume_types")
    return {
        "display_name": _text(record.get("display_name")),
        "state": record["state"],
        "available_volume_types": None if volume_types is None else tuple(sorted(set(volume_types))),
        "keystone_id": _reference(record, "keystone"),
        "metrics_database_id": _reference(record, "metrics_database"),
        "created_on": _time(record.get("created_on")),
    }


def _typed(record: Json) -> tuple[Any, ...]:
    if not _text(record.get("state")):
        return (None,)
    # An object that nothing names is not understood, and makes no difference.
    nested = [
        (r := _reference(record, k), _states(record, k), None if r is None else _object(record, k))
        for k in NESTED
    ]
    return (_region(record), nested)


def _reference(record: Json, kind: str) -> int | None:
    """The id that a record gives for its nested object, else the object's own."""
    given, nested = record.get(f"{kind}_id"), record.get(kind)
    if given is not None:
        return _integer(given)  # unusable: not stated, and not guessed from the object
    return _integer(nested.get("id")) if isinstance(nested, dict) else None


def _states(record: Json, kind: str) -> bool:
    """True if a record says which nested object it has or, where this is legal, that it has none."""
    if _reference(record, kind) is not None:
        return True
    says_none = record.get(kind) is None and record.get(f"{kind}_id") is None
    return kind == "metrics_database" and says_none and (kind in record or f"{kind}_id" in record)


def _object(record: Json, kind: str) -> Row | None:
    """The typed fields of a nested object, if it can be used."""
    nested = record.get(kind)
    if not isinstance(nested, dict):
        return None
    row: Row = {
        "own_id": _integer(nested.get("id")),
        "has_password": nested["password"] is not None if "password" in nested else None,
    }
    if kind == "metrics_database":
        return row | {"host": _text(nested.get("host")), "port": _integer(nested.get("port"))}
    state = _text(nested.get("state"))
    return row | {"state": state, "url": _text(nested.get("url"))} if state else None


# The rules of history, poll by poll


@dataclass(frozen=True, slots=True)
class Look:
    """One poll that was written."""

    number: int
    outcome: str
    reading: Reading | None
    missing: frozenset[int]
    asked_at: datetime
    at: datetime
    observer: str
    interval: timedelta
    moved: bool = False
    """Its time was moved forward, since the clock was set back."""
    first: bool = True
    """True for the first poll of an observation. Only this is taken from the collector."""

    def shows(self, kind: str, entity_id: int) -> bool:
        return self.reading is not None and entity_id in self.reading.shown[kind]

    def excludes(self, kind: str, entity_id: int) -> bool:
        """True if it proves that something does not exist."""
        return (
            self.reading is not None
            and self.outcome == "ok"
            and not self.reading.withheld[kind]
            and entity_id not in self.reading.shown[kind]
            and entity_id not in self.reading.named[kind]
        )


class Ledger:
    """The expected rows of the tables: every poll applied to plain dictionaries."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self.values: dict[Key, Row] = {}
        """As last seen, present or absent."""
        self.witnesses: dict[Key, int | None] = {}
        self.absent_since: dict[Key, datetime | None] = {}
        self.versions: dict[Key, list[Row]] = {}
        self.transitions: list[Row] = []
        self.spans: dict[tuple[str, int, datetime], Row] = {}
        """Unseen spans, by when the entity was first missed."""
        self.withheld: set[tuple[datetime, str, str]] = set()
        """What an answer that opened a stretch could not prove: its time, the kind, and the id or "all"."""

    def present(self, kind: str) -> set[int]:
        return {i for (k, i), absent in self.absent_since.items() if k == kind and absent is None}

    def judge(self, said: Reading, observer: str) -> tuple[str, frozenset[int]]:
        """The outcome, and the regions that the answer to this observer misses."""
        present = self.present("region")
        missing = frozenset(present - said.shown["region"].keys() - said.named["region"])
        if not said.whole or said.paged:
            return "partial", missing
        if said.withheld["region"]:
            return "ok", missing
        leaving = {i for i in present if self.values["region", i]["state"].upper() in ("DELETED", "DELETING")}
        lost, length = missing - leaving, len(said.shown["region"]) + len(said.rejected)
        never_complete = all(look.outcome != "ok" for look in self.looks)
        needed = 1
        if len(lost) > max(1, len(present - leaving) / 10) or (said.empty and (missing or never_complete)):
            needed = CONFIRMATIONS
        if lost and said.repeats:
            needed = CONFIRMATIONS
        if lost and length in PAGES:
            needed = 3 * CONFIRMATIONS
        agreeing = 1 + sum(1 for _ in self._agreeing(missing, observer))
        return ("ok" if agreeing >= needed else "held"), missing

    def is_stale(self, age: int, asked_at: datetime) -> bool:
        """True if an answer that is `age` milliseconds old may be older than the last applied one."""
        applied = next((look for look in reversed(self.looks) if look.reading), None)
        return bool(age and applied and asked_at < applied.at)

    def _agreeing(self, missing: frozenset[int], observer: str) -> Iterator[Look]:
        """This observer's held answers with the same set of missing ids, back to one of anybody's that listed any
        of these."""
        for look in reversed(self.looks):
            if look.reading is None:
                continue
            if look.outcome == "held" and look.observer == observer:
                if look.missing != missing:
                    return
                yield look
            elif missing & (look.reading.shown["region"].keys() | look.reading.named["region"]):
                return

    def apply(self, look: Look) -> None:
        if look.reading is not None:
            for kind in KINDS:
                self._apply(kind, look, look.reading)
        self.looks.append(look)

    def _apply(self, kind: str, now: Look, said: Reading) -> None:
        present = self.present(kind)
        if now.first:
            unsure = {str(i) for i in said.named[kind] - present}
            unsure = {"all"} if said.withheld[kind] and now.outcome == "ok" else unsure
            self.withheld |= {(now.at, kind, scope) for scope in unsure}
        for entity_id, new in said.shown[kind].items():
            key = (kind, entity_id)
            old = self.values.get(key)
            if entity_id not in present:
                self._note("reappeared" if old else "appeared", key, now, None, new.get("state"))
            elif old is not None and old.get("state") != new.get("state"):
                self._note("changed", key, now, old.get("state"), new["state"])
            if entity_id not in present or old != new:
                self._new_version(key, now, new)
            self.values[key], self.absent_since[key] = new, None
            self.witnesses[key] = said.witness[kind][entity_id]
            self._close_span(key, now)
        for entity_id in present - said.shown[kind].keys():
            key = (kind, entity_id)
            if now.excludes(kind, entity_id):
                self._note("disappeared", key, now, self.values[key].get("state"), None)
                self._close_version(key, now)
                self._close_span(key, now)
                self.absent_since[key] = now.at
            elif self.open_span(key) is None:
                shown = self._last(lambda look, key=key: look.shows(*key))
                assert shown is not None
                self.spans[kind, entity_id, now.at] = {"from_at": shown.at, "until_at": None}

    def _last(self, wanted: Callable[[Look], bool]) -> Look | None:
        return next((look for look in reversed(self.looks) if wanted(look)), None)

    def _new_version(self, key: Key, now: Look, new: Row) -> None:
        self._close_version(key, now)
        self.versions.setdefault(key, []).append(new | {"valid_from": now.at, "valid_to": None})

    def _close_version(self, key: Key, now: Look) -> None:
        for version in self.versions.get(key, ())[-1:]:
            version["valid_to"] = version["valid_to"] or now.at

    def open_span(self, key: Key) -> Row | None:
        return next((s for k, s in self.spans.items() if k[:2] == key and s["until_at"] is None), None)

    def _close_span(self, key: Key, now: Look) -> None:
        span = self.open_span(key)
        if span is not None:
            span["until_at"] = now.at

    def _note(self, event: str, key: Key, now: Look, from_state: str | None, to_state: str | None) -> None:
        kind, entity_id = key
        if kind == "metrics_database":
            return
        is_new = event in ("appeared", "reappeared")
        last = self._last(lambda look: (look.excludes if is_new else look.shows)(kind, entity_id))
        since = last and last.asked_at
        if is_new and last and last.observer != now.observer:
            since = self._hidden_since(kind, entity_id, now)
        self.transitions.append(
            {
                "entity": kind,
                "entity_id": entity_id,
                "kind": event,
                "from_state": from_state,
                "to_state": to_state,
                "not_before": since,
                "observed_at": now.at,
                "basis": self._basis(event, key, last, now),
                "first_missing_at": self._first_missing(last, now) if event == "disappeared" else None,
            }
        )

    def _hidden_since(self, kind: str, entity_id: int, now: Look) -> datetime | None:
        """From when on something may have been there that the last who looked were not shown: since the same key
        last was not shown it, or since somebody was shown it, whatever was later."""
        own = self._last(lambda look: look.excludes(kind, entity_id) and look.observer == now.observer)
        shown = self._last(lambda look: look.shows(kind, entity_id))
        return max((look.asked_at for look in (own, shown) if look), default=None)

    def _basis(self, event: str, key: Key, last: Look | None, now: Look) -> str:
        if last is None:
            return "baseline"
        if last.observer != now.observer:
            return "observer_change"
        if event == "disappeared":
            return "absence"
        kind, entity_id = key
        assert last.reading is not None
        assert now.reading is not None
        before = last.reading.witness[kind].get(entity_id)
        if event == "changed" and before != now.reading.witness[kind][entity_id]:
            return "other_copy"
        is_next = last.number == now.number - 1 and now.at - last.at <= max(last.interval, now.interval) * 2.5
        return "direct" if is_next and not now.moved else "across_gap"

    def _first_missing(self, last: Look | None, now: Look) -> datetime:
        assert last is not None
        later = (look for look in self.looks[last.number + 1 :] if look.reading is not None)
        return next(later, now).at


# Looking at it


@dataclass(frozen=True, slots=True)
class _Dated:
    """How true times before a written poll, and after the one before, read on the collector's clock."""

    answered: int
    offset: int
    after: datetime | None


@dataclass(frozen=True, slots=True)
class When:
    """How a poll lies in time, in milliseconds."""

    pause: int
    """From the last answer to this question."""
    took: int = 500
    """From the question to its answer."""
    moment: float = 0.5
    """At which part of that time, and of the age, the cloud was as the answer shows it."""
    age: int = 0
    """How old the answer is, by what a cache says."""


@dataclass(slots=True)
class World:
    """A cloud, a collector that polls it, and the ledger of what must come of it."""

    history: History
    cloud: Cloud
    now: int = 0
    """True time: when the newest poll was answered."""
    offset: int = 0
    """The collector's clock less true time, in milliseconds."""
    key: str = KEYS[0]
    ledger: Ledger = field(default_factory=Ledger)
    sound: bool = True
    """False when a check failed: what follows would only hide it."""
    _dated: list[_Dated] = field(default_factory=list)
    _remembered: dict[datetime, dict[str, list[Row]]] = field(default_factory=dict)
    """What was said to be in force at each poll's moment, at that moment."""
    _opening: Any = None
    """What the first poll of the open stretch said, literally."""
    _tables: dict[str, list[Row]] = field(default_factory=dict)
    """All rows of this source as the newest poll left them."""

    # What may happen between polls

    @property
    def interval(self) -> int:
        return self.history.source.interval // timedelta(milliseconds=1)

    def until_midnight(self) -> int:
        """Milliseconds until the collector's clock shows the next UTC day."""
        day = 24 * 3600_000
        return day - (self.now + self.offset + 12 * 3600_000) % day

    def restart(self) -> None:
        self.history.restart()

    def use_key(self, key: str) -> None:
        self.key = key
        self.history.change(api_key=key)

    def set_interval(self, seconds: int) -> None:
        self.history.change(interval=timedelta(seconds=seconds))

    # Polls

    def answer(self, when: When, flaws: Iterable[Flaw] = (), only: Collection[int] | None = None) -> Json:
        """What the cloud answers to a question asked then: spoilt by flaws, and only with these regions."""
        shown_at = self.now + when.pause - when.age + int((when.took + when.age) * when.moment)
        listing = self.cloud.listing(shown_at, self.key)
        records: list[Any] = [r for r in listing if only is None or r["id"] in only]
        # Copies are made last: without its original, a copy that differs would be a plain lie.
        for flaw in sorted(flaws, key=lambda flaw: isinstance(flaw, Twice)):
            flaw(records)
        return builders.answer(records)

    def poll(self, when: When, flaws: Iterable[Flaw] = ()) -> PollResult | None:
        """Ask, and get the truth as far as the flaws allow."""
        return self.hear(self.answer(when, flaws), when)

    def would_believe(self, document: Json) -> bool:
        """True if this answer, given now, would prove an absence."""
        said = read(document)
        return self.ledger.judge(said, self.key)[0] == "ok" and not all(said.withheld.values())

    def hear(self, said: Json | bytes | Failure, when: When, clock_error: int = 0) -> PollResult | None:
        """Poll once with this answer, and check everything. None: refused because of a wrong clock.

        `clock_error`: milliseconds by which the clock is wrong for this one poll.
        """
        self.sound = False
        took = when.took
        offset = self.offset + clock_error
        answered = self.now + when.pause + took
        before = self.ledger.looks[-1] if self.ledger.looks else None
        on_clock = _time_of(answered + offset)

        def poll() -> PollResult:
            return self.history.poll(
                said,
                at=(answered + offset) / 1000,
                took=took / 1000,
                clock_offset=timedelta(milliseconds=offset),
                age=timedelta(milliseconds=when.age),
            )

        self.now = answered
        if abs(timedelta(milliseconds=offset)) > WRONG_CLOCK or (before and on_clock < before.at - LEASE):
            tables = self._read()
            with pytest.raises(ClockError):
                poll()
            left = self._read()
            assert left["observations"] == tables["observations"], "a refused poll was written"
            assert all(left[t.name] == tables[t.name] for t in DERIVED), "a refused poll changed something"
            self.sound = True
            return None

        result = poll()
        asked_at = on_clock - timedelta(milliseconds=took)
        outcome, missing, read_ = "failed", frozenset[int](), None
        aged = asked_at - timedelta(milliseconds=when.age)
        if isinstance(said, dict) and self.ledger.is_stale(when.age, aged):
            said = STALE
        if isinstance(said, dict):
            asked_at, read_ = aged, read(said)
            outcome, missing = self.ledger.judge(read_, self.key)
        look = Look(
            number=len(self.ledger.looks),
            outcome=outcome,
            reading=read_,
            missing=missing,
            asked_at=asked_at,
            at=max(on_clock, before.at + TICK) if before else on_clock,
            observer=self.key,
            interval=self.history.source.interval,
            moved=before is not None and on_clock < before.at + TICK,
        )
        self._dated.append(_Dated(answered, offset, before and before.at))
        look = replace(look, first=result.recorded.polls == 1)
        self._check_stretch(before, look, said)
        self.ledger.apply(look)
        self.history.check_memory()
        self._check(result, look)
        self.sound = True
        return result

    # What must be true

    def _check_stretch(self, before: Look | None, now: Look, said: Any) -> None:
        """Polls that are equal share a row; polls that differ do not."""
        literal = _literal(said)
        may_extend = before is not None and (
            before.outcome == now.outcome
            and before.observer == now.observer
            and before.interval == now.interval
            and now.at - before.at <= before.interval * 2.5
            and now.at.date() == before.at.date()
        )
        if not may_extend:
            assert now.first, "a stretch went on across another outcome, observer, interval, a gap or a day"
        elif literal == self._opening:
            assert not now.first, "a stretch ended without a reason"
        elif now.reading is None or before is None or before.reading is None:
            assert now.first, "failures of different causes share a row"
        elif before.reading.said() != now.reading.said():
            assert now.first, "answers of different content share a row"
        if now.first:
            self._opening = literal

    def _check(self, result: PollResult, now: Look) -> None:
        before, self._tables = self._tables, self._read()
        assert result.outcome == now.outcome
        if not now.first:
            grown = [t.name for t in DERIVED if before[t.name] != self._tables[t.name]]
            assert not grown, f"an unchanged poll touched {grown}"
        self._check_current()
        self._check_versions()
        self._check_transitions()
        self._check_unseen()
        self._check_rejected(now)
        self._check_drift()
        self._check_chain()
        self._check_windows(now)
        if self._remembered:
            polls = len(self._remembered)
            # Mostly the poll just before, which this one may have extended, and any other in turn.
            moment = [*self._remembered][-1 if polls % 2 else polls * 7919 % (polls + 1) % polls]
            self._check_past(moment)
        self._remembered[now.at] = self._as_of(now.at)
        self._check_as_of_now(now)
        if len(self.ledger.looks) % REBUILD_EVERY == 0:
            self.check_rebuild()

    def check_at_the_end(self) -> None:
        """What takes too long to check after every poll."""
        for moment in self._remembered:
            self._check_past(moment)
        self.check_rebuild()
        self.check_proof()

    def _check_past(self, moment: datetime) -> None:
        """What was in force then still is. Only a lower bound remains for the single polls of an observation, so the
        last confirmation may now be earlier than it was then, but never later."""
        then, now = self._remembered[moment], self._as_of(moment)
        for was, is_ in zip(then["region"], now["region"], strict=True):
            assert is_["last_seen_at"] <= was["last_seen_at"], "nobody looked then"
            assert is_ | {"last_seen_at": None} == was | {"last_seen_at": None}, "the past has changed"
        assert {k: now[k] for k in NESTED} == {k: then[k] for k in NESTED}, "the past has changed"

    def check_rebuild(self) -> None:
        """Deriving everything again from the evidence gives the same."""
        if self._tables:
            rebuilt = self.history.rebuilt()
            assert rebuilt.different == 0, rebuilt.examples
            assert self._read() == self._tables, "a rebuild that only checks wrote something"

    def check_proof(self) -> None:
        """The history verifies; and a checker that shares no code with the collector finds in a pack of it what
        was derived, over any time."""
        answered = [look.at for look in self.ledger.looks if look.reading]
        if not answered:
            return
        source, name = self.history.source.name, "pack.zip"
        marks = [answered[0], answered[len(answered) // 3], answered[2 * len(answered) // 3]]
        for start, end in [
            (NOON - timedelta(days=9), answered[-1] + timedelta(days=9)),
            *itertools.pairwise(marks),
        ]:
            if start < end:
                with reading(self.history.engine) as connection, tempfile.TemporaryDirectory() as folder:
                    packed, verified = pack.build(connection, source, start, end, made_at=end)
                    path = Path(folder) / name
                    path.write_bytes(packed)
                    check.check(path, [str(verified.head)])

    def _check_current(self) -> None:
        for kind in KINDS:
            rows = {row["id"]: row for row in self._tables[f"{kind}s"]}
            keys = {i for k, i in self.ledger.values if k == kind}
            assert rows.keys() == keys
            for entity_id, row in rows.items():
                key = (kind, entity_id)
                expected = self.ledger.values[key]
                assert _like(row, expected) == expected, f"{kind} {entity_id}"
                assert row.get("witness_region_id") == self.ledger.witnesses[key], f"{kind} {entity_id}"
                assert row["absent_since"] == self.ledger.absent_since[key], f"{kind} {entity_id}"
                versions = self.ledger.versions[key]
                assert row["first_seen_at"] == versions[0]["valid_from"]
                assert row["changed_at"] == (row["absent_since"] or versions[-1]["valid_from"])
        types = {(row["region_id"], row["volume_type"]) for row in self._tables["region_volume_types"]}
        assert types == {
            (i, name)
            for (kind, i), values in self.ledger.values.items()
            if kind == "region"
            for name in values["available_volume_types"] or ()
        }

    def _check_versions(self) -> None:
        for kind in KINDS:
            expected = {i: versions for (k, i), versions in self.ledger.versions.items() if k == kind}
            found: dict[int, list[Row]] = {}
            for row in self._tables[f"{kind}_versions"]:
                entity_id = row[f"{kind}_id"]
                found.setdefault(entity_id, []).append(_like(row, expected.get(entity_id, [{}])[0]))
            assert found == expected

    def _check_transitions(self) -> None:
        order = itemgetter("observed_at", "entity", "entity_id")
        expected = sorted(self.ledger.transitions, key=order)
        found = sorted(self._tables["state_transitions"], key=order)
        assert [_like(row, expected[0]) for row in found] == expected

    def _check_unseen(self) -> None:
        found = {
            (row["entity"], row["entity_id"], row["missed_at"]): {
                "from_at": row["from_at"],
                "until_at": row["until_at"],
            }
            for row in self._tables["unseen"]
        }
        assert found == self.ledger.spans
        at = {row["seq"]: row["first_at"] for row in self._tables["observations"]}
        withheld = {
            (at[row["seq"]], row["entity"], row["scope"]) for row in self._tables["withheld_absences"]
        }
        assert withheld == self.ledger.withheld
        applied = next((look for look in reversed(self.ledger.looks) if look.reading), None)
        for kind in KINDS if applied else ():
            unseen = sorted(i for k, i, _ in found if k == kind and not found[k, i, _]["until_at"])
            assert applied is not None
            assert applied.reading is not None
            assert unseen == sorted(self.ledger.present(kind) - applied.reading.shown[kind].keys())

    def _check_rejected(self, now: Look) -> None:
        row = self._tables["observations"][-1]
        found = [
            (r["region_id"], r["reason"]) for r in self._tables["rejected_records"] if r["seq"] == row["seq"]
        ]
        expected = now.reading.rejected if now.reading else []
        assert sorted(found, key=str) == sorted(expected, key=str)

    def _check_drift(self) -> None:
        """An unknown field is on record since the first answer that had it."""
        found = [
            (r["detail"], r["first_seen_at"])
            for r in self._tables["schema_drift"]
            if r["path"] == f"results[].{UNKNOWN}"
        ]
        having = (look for look in self.ledger.looks if look.reading and look.reading.unknown)
        assert found == [("number", look.at) for look in itertools.islice(having, 1)]

    def _check_chain(self) -> None:
        """Numbers without holes, and every digest follows from its row and the one before."""
        rows = self._tables["observations"]
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["newest_seq"] for row in self._tables["sources"]] == [len(rows)]
        assert sum(row["polls"] for row in rows) == len(self.ledger.looks)
        who = {row["id"]: row for row in self._tables["observers"]}
        previous = chain.GENESIS
        for row in rows:
            assert row["previous_digest"] == previous
            observer = who[row["observer_id"]]
            assert row["opening_digest"] == chain.opening_digest(self.history.source.name, row, observer)
            if row is rows[-1]:
                assert row["digest"] is None
            else:
                previous = chain.closing_digest(row)
                assert row["digest"] == previous

    def _check_windows(self, now: Look) -> None:
        """See the module's text for what is promised."""
        for transition in self._tables["state_transitions"]:
            is_promised = transition["basis"] not in ("observer_change", "other_copy")
            if transition["observed_at"] != now.at or not is_promised:
                continue
            assert now.reading is not None
            witness = now.reading.witness[transition["entity"]].get(transition["entity_id"])
            turned = self.cloud.turned(transition, self.key, witness)
            assert any(self._holds(transition, moment) for moment in turned), (transition, turned)

    def _holds(self, transition: Row, moment: int) -> bool:
        if transition["not_before"] is None:
            return moment <= self.now
        dated = next((d for d in self._dated if d.answered >= moment), None)
        if dated is None or moment < -(10**9):
            return False
        on_clock = _time_of(moment + dated.offset)
        if dated.after is not None:
            on_clock = max(on_clock, dated.after + TICK)
        return bool(transition["not_before"] <= on_clock <= transition["observed_at"])

    def _check_as_of_now(self, now: Look) -> None:
        """As of now is the fold of all that was applied, and says when each region was last confirmed."""
        rows = self._remembered[now.at]["region"]
        assert [row["region_id"] for row in rows] == sorted(self.ledger.present("region"))
        looks = [*reversed(self.ledger.looks)]
        for row in rows:
            entity_id = row["region_id"]
            expected = self.ledger.values["region", entity_id]
            assert _like(row, expected) == expected
            assert row["last_seen_at"] == next(look.at for look in looks if look.shows("region", entity_id))
            keystone = ("keystone", expected["keystone_id"])
            is_there = self.ledger.absent_since.get(keystone, now.at) is None
            assert row["keystone_state"] == (self.ledger.values[keystone]["state"] if is_there else None)

    def _as_of(self, moment: datetime) -> dict[str, list[Row]]:
        """All that was in force at a moment, as the database has it now; of nested entities the versions."""
        with reading(self.history.engine) as connection:
            found = {
                "region": regions_as_of(connection, moment, RegionFilter(source=self.history.source.name))
            }
        for kind in NESTED:
            found[kind] = [
                {name: value for name, value in row.items() if name != "valid_to"}
                for row in self._tables[f"{kind}_versions"]
                if row["valid_from"] <= moment and (row["valid_to"] is None or moment < row["valid_to"])
            ]
        return found

    def _read(self) -> dict[str, list[Row]]:
        """All rows of this source, but payloads and the lease."""
        name = self.history.source.name
        with reading(self.history.engine) as connection:
            source = connection.execute(_SOURCE, {"name": name}).mappings().one_or_none()
            its = {"source_id": source["id"] if source else 0}
            tables = {
                table: [dict(row) for row in connection.execute(query, its).mappings()]
                for table, query in _ROWS.items()
            }
        return tables | {"sources": [dict(source)] if source else []}


_SOURCE = sa.select(sources.c.id, sources.c.newest_seq).where(sources.c.name == sa.bindparam("name"))
_ROWS = {
    table.name: sa.select(table)
    .where(table.c.source_id == sa.bindparam("source_id"))
    .order_by(*table.primary_key.columns)
    for table in (observations, observers, *DERIVED)
}


STALE = Failure(Exchange(NOON, NOON), "stale", "too old", 200)
"""What becomes of an answer that may be older than the last one."""


def _time_of(milliseconds: int) -> datetime:
    return NOON + timedelta(milliseconds=milliseconds)


def _like(row: Row, pattern: Row) -> Row:
    """The columns that another row has."""
    return {name: row[name] for name in pattern}


def _literal(said: Any) -> Any:
    """What makes two polls equal beyond doubt: the same evidence, or the same failure."""
    if isinstance(said, Failure):
        return (said.cause, said.http_status, said.exception_class)
    if isinstance(said, bytes):
        return UNUSABLE[said]
    envelope = {name: value for name, value in said.items() if name != "results"}
    records = sorted(json.dumps(record, sort_keys=True) for record in said["results"])
    return (json.dumps(envelope, sort_keys=True), records)


_numbers = itertools.count(1)


def new_history(engine: sa.Engine) -> History:
    """A source of its own for each world: a database of its own would be dear."""
    return History(engine, name=f"world-{next(_numbers)}")
