"""Remove a value that should never have been recorded from everything that is recorded of a source.

    1. in a read transaction: work out what remains of each answer, derive the whole history again from that in a
       scratch database, and compare
    2. in one write transaction: lock the source; if nothing was recorded or amended meanwhile, write an amendment, the
       answers and the derived rows that differ; otherwise go back to 1

The amendment holds the path, who did it and when, and a hash over the addresses of all redacted answers and of what
remains of them. The value itself leaves no trace, not even a hash. The path then becomes a rule: every later poll
applies it before anything else. Observations keep the addresses that the chain was made with, so earlier heads still
match.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.database.statements import forget_deleted
from collector.database.transactions import reading, writing
from collector.gcore.delta import delta, texts_of
from collector.gcore.document import Document
from collector.gcore.jsontext import CANONICAL_VERSION
from collector.gcore.paths import Path, cleaned
from collector.gcore.secret_names import MARKER
from collector.store import amendments, snapshots
from collector.store.amendments import Amendment, all_of, beginning
from collector.store.comparison import compare, scratch_database
from collector.store.leftovers import redact_events, redact_snapshot
from collector.store.payloads import Reader
from collector.store.rederive import MAX_ROUNDS, Standing, lock_derived, put, replay, standing
from collector.store.sources import source_id_of
from collector.store.tables import amendments as amendments_table
from collector.store.tables import (
    observations,
    payloads,
)

Progress = Callable[[int, int], None]
"""Called with the number of answers done, and of all answers."""
_o, _p = observations.c, payloads.c


@dataclass(frozen=True, slots=True)
class Redacted:
    """What was redacted, or would be."""

    source: str
    answers: int
    """Number of answers that had the value."""
    derived: int
    """Number of derived rows that change because of it; 0 for a preview."""
    digest: str | None
    """Digest of the amendment; None: nothing was written."""
    is_rule: bool = False
    """True if the path was redacted before."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What happens to one stored answer."""

    address: str
    content: str | None
    """Address of what remains, if that differs."""
    is_new: bool
    """True if this path changes the answer."""
    size: int
    body: bytes


def rules(connection: sa.Connection, source_id: int) -> tuple[Path, ...]:
    """The paths that are redacted in every answer of a source."""
    return rules_of(all_of(connection, source_id))


def rules_of(found: Sequence[Amendment]) -> tuple[Path, ...]:
    paths = dict.fromkeys(each.read()["path"] for each in found if each.kind == "redaction")
    return tuple(Path.parse(text) for text in paths)


def foreseen(
    connection: sa.Connection, source: str, path: Path, progress: Progress | None = None
) -> Redacted:
    """Count the answers that have a value at the path. Raises UsageError."""
    source_id = source_id_of(connection, source)
    answers = sum(each.is_new for each in _worked_out(connection, source_id, path, progress, set()))
    return Redacted(source, answers, 0, None)


def redact(
    engine: sa.Engine,
    source: str,
    path: Path,
    *,
    made_at: datetime,
    made_by: str,
    future: bool = False,
    progress: Progress | None = None,
) -> Redacted:
    """Redact a path in everything recorded of a source, and in all later polls.

    If nothing recorded has a value there, nothing is written, unless `future`: a rule can't be taken back, and the
    path may be misspelled. Raises UsageError if there is no such source, SchemaError if other rules derived its
    history, IntegrityError if an answer can't be read.
    """
    for round_ in range(1, MAX_ROUNDS + 1):
        with scratch_database() as scratch:
            with reading(engine) as live:
                source_id = source_id_of(live, source)
                plan = _plan(live, scratch, source_id, path, progress)
                is_rule = path in rules(live, source_id)
            if plan.is_empty and (is_rule or not future):
                return Redacted(source, 0, 0, None, is_rule)
            with writing(engine) as live:
                forget_deleted(live)
                if lock_derived(live, source_id, source) != plan.seen:
                    if round_ < MAX_ROUNDS:
                        continue
                    plan = _plan(live, scratch, source_id, path, None)
                made = _write(live, scratch, source_id, source, path, plan, made_at, made_by)
                return Redacted(source, plan.count, plan.derived, made.digest, is_rule)
    raise AssertionError("the last round returns")


@dataclass(frozen=True, slots=True)
class _Plan:
    seen: Standing
    """What it was worked out from."""
    count: int
    derived: int
    snapshot: str | None
    removed: frozenset[str]
    """The redacted texts, used to find them elsewhere. Never written anywhere."""
    is_empty: bool
    """True if nothing recorded has a value at the path."""


def _plan(
    live: sa.Connection, scratch: sa.Connection, source_id: int, path: Path, progress: Progress | None
) -> _Plan:
    """Work everything out. The new answers are in the scratch database afterwards."""
    seen = standing(live, source_id)
    removed: set[str] = set()
    count = 0
    snapshot = before = None
    if beginning(live, source_id) is not None:
        before = snapshots.stored_text(live, source_id)
        snapshot = redact_snapshot(before, path)
    replay(live, scratch, source_id, 0, None, clean=lambda d: cleaned(d, [path]), snapshot=snapshot)
    scratch.execute(sa.delete(payloads))
    for each in _worked_out(live, source_id, path, progress, removed):
        count += each.is_new
        row = {
            "source_id": source_id,
            "address": each.address,
            "canonical_version": CANONICAL_VERSION,
            "size": each.size,
            "compressed_size": len(each.body),
            "body": each.body,
            "content": each.content,
            "redaction": int(each.is_new),
        }
        scratch.execute(sa.insert(payloads), row)
    result = compare(live, scratch, source_id, seen.newest)
    is_empty = not count and not result.different and snapshot == before
    return _Plan(seen, count, result.different, snapshot, frozenset(removed), is_empty)


def _worked_out(
    live: sa.Connection, source_id: int, path: Path, progress: Progress | None, removed: set[str]
) -> Iterator[_Answer]:
    """The answers to be stored differently: those with the value, and those written over them."""
    first = sa.func.min(_o.seq)
    rows = live.execute(
        sa.select(_p.address, _p.base, _p.content)
        .outerjoin(observations, (_o.source_id == _p.source_id) & (_o.payload == _p.address))
        .where(_p.source_id == source_id, _p.compressed_size > 0)
        .group_by(_p.address, _p.base, _p.content)
        .order_by(first, _p.address)
    ).all()
    answers = Reader(live, source_id)
    for number, row in enumerate(rows):
        under = answers.load(row.base) if row.base else None
        document = answers.load(row.address)
        left, base = cleaned(document, [path]), under and cleaned(under, [path])
        is_new = left is not document
        if is_new:
            removed |= set(_texts_at(document, path))
        if is_new or base is not under:
            text = delta(texts_of(base), texts_of(left)).encode() if base else left.canonical()
            content = left.address if is_new else row.content
            yield _Answer(row.address, content, is_new, left.size(), zlib.compress(text, 6))
        if progress:
            progress(number + 1, len(rows))


def _texts_at(document: Document, path: Path) -> Iterator[str]:
    values: list[Any] = [record.value for record in document.records]
    steps = path.steps[2:] if path.is_of_records else path.steps
    for value in values if path.is_of_records else [dict(document.envelope)]:
        yield from _leaves(value, steps)


def _leaves(value: Any, steps: Sequence[str | None]) -> Iterator[str]:
    if steps:
        step, rest = steps[0], steps[1:]
        if step is None and isinstance(value, list):
            for item in value:
                yield from _leaves(item, rest)
        elif step is not None and isinstance(value, dict) and step in value:
            yield from _leaves(value[step], rest)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item, ())
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, ())
    elif isinstance(value, str) and value != MARKER:
        yield value


def _write(
    live: sa.Connection,
    scratch: sa.Connection,
    source_id: int,
    source: str,
    path: Path,
    plan: _Plan,
    made_at: datetime,
    made_by: str,
) -> Amendment:
    latest = amendments.newest(live, source_id)
    number = latest.number + 1 if latest else 1
    for row in scratch.execute(sa.select(payloads)):
        changed: dict[str, Any] = {"body": row.body, "compressed_size": row.compressed_size, "size": row.size}
        if row.redaction:
            changed |= {"content": row.content, "redaction": number}
        live.execute(
            sa.update(payloads).where(_p.source_id == source_id, _p.address == row.address).values(changed)
        )
    put(live, scratch)
    redact_events(live, source_id, path, plan.removed)
    facts: dict[str, Any] = {
        "answers": snapshots.answers_hash(live, source_id),
        "path": path.text,
        "redacted": plan.count,
    }
    if plan.snapshot is not None:
        facts["snapshot"] = snapshots.hash_of(plan.snapshot)
        a = amendments_table.c
        live.execute(
            sa.update(amendments_table)
            .where(a.source_id == source_id, a.snapshot.is_not(None))
            .values(snapshot=snapshots.packed(plan.snapshot))
        )
    return amendments.write(
        live,
        source_id,
        source,
        "redaction",
        facts,
        made_at=made_at,
        made_by=made_by,
        at_seq=plan.seen.newest,
    )
