"""Is this history what was seen? Checked from the evidence up, in one read transaction a source.

    1. chain      every observation: number, link to the one before, both digests; who looked
    2. payloads   every answer: its content against its address, its form, what it is written over, whether anything
                  refers to it
    3. derived    everything else derived again, and compared row by row with what is stored
    4. database   what the database itself finds damaged, rows of no source (`verify_database`)

A later step is not taken where an earlier one found something: what follows from altered evidence proves
nothing. Who can write the database can also make all digests anew, or cut the newest observations off: only a
head that was kept outside tells. `UNPROVEN` names what no step covers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from collector.clock import time_text
from collector.errors import IntegrityError
from collector.gcore.delta import delta, texts_of
from collector.gcore.jsontext import CANONICAL_VERSION
from collector.inventory import chain
from collector.store.bounds import broken_bounds
from collector.store.catalog import catalog_errors
from collector.store.engine import (
    UtcTime,
    integrity_errors,
    is_unreadable,
    list_text,
    reading,
    shape_errors,
)
from collector.store.payloads import DamagedAnswerError, Read, Reader
from collector.store.replay import (
    BATCH,
    Comparison,
    Progress,
    compare,
    replay,
    scratch_database,
    source_id_of,
)
from collector.store.tables import DERIVATION_REVISION, metadata, observations, observers, payloads, sources

Verdict = Literal["good", "stale", "altered"]
MAX_BREAKS = 10
"""So many are told, the first ones."""

UNPROVEN: Mapping[str, tuple[str, ...]] = {
    "sources": ("id", "lease_owner", "lease_expires_at", "lease_epoch", "key_salt", "derivation_revision"),
    "observations (the newest of a source, until the next one opens)": chain.CLOSING,
    "webhook_deliveries": ("all",),
}
"""Columns that may be edited without being found: they are work in progress, or say nothing of the cloud."""


@dataclass(frozen=True, slots=True)
class Break:
    """One place where the database is not as the evidence, or its own digests, have it."""

    table: str
    key: Mapping[str, Any]
    field: str | None
    """None: the whole row."""
    stored: Any
    expected: Any
    why: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked of one source, and what was found."""

    source: str
    verdict: Verdict
    """stale: derived by older rules, `db rebuild` mends it; altered: somebody edited, or something broke."""
    head: str | None
    """The newest opening digest; None before the first poll."""
    observations: int
    polls: int
    payloads: int
    derived_rows: int | None
    """None: not derived, since the evidence is broken."""
    different: int
    """Derived rows that differ."""
    breaks: tuple[Break, ...]
    """The first ones, at most ten."""
    heads: Mapping[str, int]
    """Of the heads that were asked about: those that the chain has, with their observations."""


@dataclass(slots=True)
class _Findings:
    """What the steps have found so far."""

    asked: Collection[str]
    observations: int = 0
    polls: int = 0
    payloads: int = 0
    head: str | None = None
    heads: dict[str, int] = field(default_factory=dict)
    breaks: list[Break] = field(default_factory=list)

    def add(
        self,
        table: str,
        key: Mapping[str, Any],
        why: str,
        field: str | None = None,
        stored: Any = None,
        expected: Any = None,
    ) -> None:
        if len(self.breaks) < MAX_BREAKS:
            self.breaks.append(Break(table, key, field, stored, expected, why))

    def rests_on(self, address: str, count: int) -> None:
        """So many answers can't be read, since they are written over this one."""
        key = {"address": address}
        why = f"{count} {'answer is' if count == 1 else 'answers are'} written over it, and can't be read"
        for number, each in enumerate(self.breaks):
            if (each.table, each.key) == ("payloads", key):
                self.breaks[number] = replace(each, why=f"{each.why}; {why}")
                return
        self.add("payloads", key, f"this row is missing; {why}")


def verify(
    engine: sa.Engine, source: str, *, heads: Collection[str] = (), progress: Progress | None = None
) -> Verification:
    """Check one source, in a read transaction of its own. See `verify_source`."""
    with reading(engine) as live:
        return verify_source(live, source, heads=heads, progress=progress)


def verify_source(
    live: sa.Connection, source: str, *, heads: Collection[str] = (), progress: Progress | None = None
) -> Verification:
    """Check one source. `heads`: digests that were kept outside, to be looked for in the chain.

    `progress` is called with answers and observations done, and all of them. Raises UsageError where there is
    no such source, SchemaError where a newer version derived its history.
    """
    source_id = source_id_of(live, source)
    s = sources.c
    query = sa.select(s.newest_seq, s.derivation_revision).where(s.id == source_id)
    row = live.execute(query).first()
    assert row is not None  # noqa: S101 - its id was just found
    found = _Findings(heads)
    for name, value in row._mapping.items():
        if type(value) is not int:
            found.add("sources", {"name": source}, "no whole number", name, value)
    with _readable("observations", found):
        _check_chain(live, source_id, source, row.newest_seq, found)
    answers = _count(live, payloads, source_id)
    steps = answers + found.observations

    def after(done: int, _: int) -> None:
        if progress:
            progress(answers + done, steps)

    with _readable("payloads", found):
        for number, _ in enumerate(_check_payloads(live, source_id, found)):
            if progress:
                progress(number + 1, steps)
    comparison = None
    if not found.breaks:
        with _readable("(derived tables)", found):
            comparison = _check_derived(live, source_id, found, after)
    is_older = comparison is not None and row.derivation_revision < DERIVATION_REVISION
    verdict: Verdict = "good"
    if found.breaks or (comparison and comparison.different):
        verdict = "altered"
    if is_older:
        verdict = "stale"
    return Verification(
        source=source,
        verdict=verdict,
        head=found.head,
        observations=found.observations,
        polls=found.polls,
        payloads=found.payloads,
        derived_rows=comparison.rows if comparison else None,
        different=comparison.different if comparison else 0,
        breaks=tuple(found.breaks),
        heads=found.heads,
    )


_IMPOSSIBLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    sa.exc.IntegrityError,
)
"""What reading a value raises that none of our rows can have; of a constraint: where it is derived again."""


@contextmanager
def _readable(table: str, found: _Findings) -> Iterator[None]:
    """A value that can't even be read is a finding."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not is_unreadable(error) and not isinstance(error, _IMPOSSIBLE):
            raise
        found.add(table, {}, f"a value can't be read: {_in_one_line(error.orig)}")
    except _IMPOSSIBLE as error:
        found.add(table, {}, f"a value can't be read: {_in_one_line(error)}")


def _in_one_line(error: object) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def verify_database(engine: sa.Engine, views: Collection[str] = ()) -> list[Break]:
    """What is wrong with the database as a whole: damage, a schema that the migrations do not make, and rows of
    sources that do not exist. `views`: ours, on which nothing may hang either."""
    found = _Findings(())
    with reading(engine) as connection:
        for text in integrity_errors(connection, metadata, thorough=True):
            found.add("(database)", {}, text)
        there = set(sa.inspect(connection).get_table_names())
        for name in ("id", "name"):
            column = sources.c[name]
            for value in connection.scalars(sa.select(column).group_by(column).having(sa.func.count() > 1)):
                found.add("sources", {name: value}, "this row stands there more than once")
        for table in metadata.sorted_tables:
            if "source_id" in table.c and table.name in there:
                is_known = sa.exists().where(sources.c.id == table.c.source_id)
                strange = sa.select(table.c.source_id).where(~is_known).distinct()
                for source_id in connection.scalars(strange):
                    found.add(table.name, {"source_id": source_id}, "rows of a source that does not exist")
        for text in (*shape_errors(connection, metadata), *catalog_errors(connection, views)):
            found.add("(database)", {}, text)
    return found.breaks


# 1. The chain

_TIMES = tuple(c.name for c in observations.columns if isinstance(c.type, UtcTime))


def _check_chain(live: sa.Connection, source_id: int, source: str, newest: int, found: _Findings) -> None:
    o, who = observations.c, observers.c
    rows = live.execute(
        sa.select(
            observations,
            sa.type_coerce(o.missing, sa.Text).label("missing_text"),
            *(sa.type_coerce(o[name], sa.Text).label(f"{name}_text") for name in _TIMES),
            *(who[name] for name in chain.OBSERVER),
            payloads.c.address,
        )
        .outerjoin(observers, (who.source_id == o.source_id) & (who.id == o.observer_id))
        .outerjoin(payloads, (payloads.c.source_id == o.source_id) & (payloads.c.address == o.payload))
        .where(o.source_id == source_id)
        .order_by(o.seq),
        execution_options={"yield_per": BATCH},
    ).mappings()
    first_used: dict[int, Any] = {}
    expected, previous = 1, chain.GENESIS
    last_at: datetime | None = None
    try:
        for row in rows:
            while expected < row["seq"] and len(found.breaks) < MAX_BREAKS:
                found.add("observations", {"seq": expected}, "this row is missing")
                expected, previous = expected + 1, ""
            if row["seq"] < expected:
                found.add("observations", {"seq": row["seq"]}, "this row stands there more than once")
            _check_observation(dict(row), source, previous, row["seq"] == newest, found)
            bounds = broken_bounds(dict(row), last_at if row["seq"] == expected else None)
            for name, why in bounds.items():
                found.add("observations", {"seq": row["seq"]}, why, name, row[name])
            last_at = row["last_at"]
            first_used.setdefault(row["observer_id"], row["first_asked_at"])
            found.observations += 1
            found.polls += row["polls"]
            found.head = row["opening_digest"]
            if found.head in found.asked:
                found.heads[found.head] = row["seq"]
            expected, previous = row["seq"] + 1, row["digest"] or ""
    except _IMPOSSIBLE as error:
        key = {"seq": expected}
        found.add(
            "observations", key, f"this row, or one soon after it, can't be read: {_in_one_line(error)}"
        )
        return
    if type(newest) is int and expected != newest + 1:
        why = "not the number of the newest observation"
        found.add("sources", {"name": source}, why, "newest_seq", newest, expected - 1)
    with _readable("observers", found):
        _check_observers(live, source_id, first_used, found)


def _check_observation(
    row: Mapping[str, Any], source: str, previous: str, is_newest: bool, found: _Findings
) -> None:
    """`previous`: the digest of the row before; empty where that row is missing."""
    key = {"seq": row["seq"]}

    def check(name: str, expected: Any, why: str) -> None:
        if row[name] != expected:
            found.add("observations", key, why, name, row[name], expected)

    if previous:
        check("previous_digest", previous, "the link to the row before is broken")
    if row["key_fingerprint"] is None:
        found.add("observers", {"id": row["observer_id"]}, "this row is missing")
        return
    opening = chain.opening_digest(source, row, row)
    check("opening_digest", opening, f"one of these was edited: {', '.join(chain.OPENING)}, or who looked")
    if row["missing"] is not None:
        check("missing_text", list_text(row["missing"]), "the list is spelled otherwise")
    for name in _TIMES:
        if isinstance(row[f"{name}_text"], str):  # SQLite
            check(f"{name}_text", time_text(row[name]), "the time is spelled otherwise")
    if is_newest:
        check("digest", None, "the newest observation is open")
    else:
        closing = chain.closing_digest(row)
        check("digest", closing, f"one of these was edited: {', '.join(chain.CLOSING)}")
    if row["payload"] is not None and row["address"] is None:
        found.add("payloads", {"address": row["payload"]}, "this row is missing")


def _check_observers(
    live: sa.Connection, source_id: int, first_used: Mapping[int, Any], found: _Findings
) -> None:
    """Observers count from 1 in the order of their first poll, and each has looked."""
    raw = sa.type_coerce(observers.c.first_used_at, sa.Text).label("first_used_text")
    rows = live.execute(
        sa.select(observers, raw).where(observers.c.source_id == source_id).order_by(observers.c.id)
    )
    order = {observer_id: number for number, observer_id in enumerate(first_used, 1)}
    for row in rows.mappings():
        key = {"id": row["id"]}
        if row["id"] not in order:
            found.add("observers", key, "no observation is by this observer")
        elif order[row["id"]] != row["id"]:
            found.add(
                "observers", key, "not in the order of their first polls", "id", row["id"], order[row["id"]]
            )
        elif row["first_used_at"] != first_used[row["id"]]:
            why = "not when this observer's first poll asked"
            found.add("observers", key, why, "first_used_at", row["first_used_at"], first_used[row["id"]])
        elif row["first_used_text"] not in (row["first_used_at"], time_text(row["first_used_at"])):
            why = "the time is spelled otherwise"
            found.add("observers", key, why, "first_used_at", row["first_used_text"], row["first_used_at"])


# 2. The answers


def _check_payloads(live: sa.Connection, source_id: int, found: _Findings) -> Iterator[None]:
    """Yields after each answer. They are read in the order in which they were written."""
    p, o = payloads.c, observations.c
    first_seq = sa.func.min(o.seq)
    addresses = live.execute(
        sa.select(p.address, first_seq)
        .outerjoin(observations, (o.source_id == p.source_id) & (o.payload == p.address))
        .where(p.source_id == source_id)
        .group_by(p.address)
        .order_by(first_seq, p.address),
        execution_options={"yield_per": BATCH},
    )
    answers = Reader(live, source_id)
    resting: dict[str, int] = {}
    for address, seq in addresses:
        found.payloads += 1
        if seq is None:
            found.add("payloads", {"address": address}, "no observation has this answer")
        try:
            _check_payload(answers.read(address), found)
        except DamagedAnswerError as error:
            if error.address == address:
                found.add("payloads", {"address": address}, f"this answer {error.why}", error.column)
            elif error.address in resting or len(resting) < MAX_BREAKS:
                resting[error.address] = resting.get(error.address, 0) + 1
        yield
    for address, count in resting.items():
        found.rests_on(address, count)


def _check_payload(answer: Read, found: _Findings) -> None:
    row, canonical = answer.row, answer.document.canonical()
    key = {"address": row.address}
    facts = {
        "canonical_version": CANONICAL_VERSION,
        "size": len(canonical),
        "compressed_size": len(row.body),
    }
    for name, expected in facts.items():
        if getattr(row, name) != expected:
            found.add("payloads", key, "not what the content says", name, getattr(row, name), expected)
    document, base = answer.document, answer.base
    only_text = canonical.decode("ascii") if base is None else delta(base, texts_of(document))
    if answer.text != only_text or not answer.is_all:
        found.add("payloads", key, "not in canonical form", "body")


# 3. What follows from them


def _check_derived(
    live: sa.Connection, source_id: int, found: _Findings, progress: Progress
) -> Comparison | None:
    with scratch_database() as scratch:
        try:
            done = replay(live, scratch, source_id, 0, progress)
        except IntegrityError as error:
            found.add("payloads", {}, str(error))
            return None
        comparison = compare(live, scratch, source_id, done)
    for example in comparison.examples:
        if example.stored is None:
            found.add(example.table, example.key, "this row is missing", expected=example.derived)
        elif example.derived is None:
            why = "this row does not follow from the evidence"
            found.add(example.table, example.key, why, stored=example.stored)
        elif not example.fields():
            found.add(example.table, example.key, "this row stands there more than once")
        for name, stored, derived in example.fields():
            found.add(example.table, example.key, "not what the evidence says", name, stored, derived)
    return comparison


def _count(connection: sa.Connection, table: sa.Table, source_id: int) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(table.c.source_id == source_id)
    return connection.scalar(query) or 0
