"""Prune a source's history: the beginning is deleted, the state that it led to stays and can be proven.

    1. in a read transaction: replay some more observations into a scratch database, delete there what does not stay,
       and write the rest as a snapshot
    2. in a write transaction: lock the source; write an amendment with the snapshot, and delete the same in the real
       database
    3. repeat up to the cut

Each round is complete: a crash leaves the history pruned up to a round. The source is locked for one round at a time,
a fraction of a second, so its polls never wait longer than that.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from collector.clock import time_text
from collector.database import bulk
from collector.database.transactions import pruning, reading
from collector.errors import DatabaseError
from collector.inventory.known import Failures
from collector.inventory.observation import Observation
from collector.store import amendments, snapshots, staying, tables
from collector.store import observations as stored
from collector.store.amendments import Amendment, Beginning, beginning
from collector.store.comparison import copy_rows, scratch_database
from collector.store.payloads import Reader
from collector.store.rederive import Progress, lock_derived, replay
from collector.store.sources import newest_seq_of, source_id_of
from collector.store.tables import (
    observations,
    payloads,
    sources,
    unseen,
    withheld_absences,
)

ROUND = 1000
"""Number of observations that one round deletes."""
ROUNDS_WITHOUT_LOCK = 3
"""After this many rounds in which the poller was faster, the changes to answers are worked out under the lock."""
_o, _p = observations.c, payloads.c


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was pruned, or would be."""

    source: str
    begins: Beginning | None
    """Where the history begins afterwards; None: it is complete."""
    observations: int
    """Number of deleted observations, or the most that would be deleted."""
    answers: int
    """Number of deleted answers, or the most that would be deleted."""
    digest: str | None = None
    """Digest of the amendment that remains; None: nothing was written."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A round that was worked out."""

    last: Observation
    snapshot: str
    keep: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Answers:
    """What happens to stored answers."""

    newest: int
    """The newest observation when this was worked out."""
    deleted: int
    """How many lose their content."""
    gone: tuple[str, ...]
    emptied: tuple[str, ...]
    """Answers of observations that stay: the address stays, the content is deleted."""
    whole: tuple[tuple[str, bytes], ...]
    """Answers over deleted ones: address and new body."""
    links: tuple[tuple[str, int], ...]
    """Answers over those: address and new number of links."""


def cut_before(connection: sa.Connection, source_id: int, moment: datetime) -> int | None:
    """The newest closed observation that began at or before a moment, if that is later than the history's beginning.

    The newest one whose answer proves all absences is preferred, because packs can start there.
    """
    newest = sa.select(sources.c.newest_seq).where(sources.c.id == source_id).scalar_subquery()
    begins = beginning(connection, source_id)
    first = begins.begins_seq if begins else 1
    query = sa.select(_o.seq).where(
        _o.source_id == source_id, _o.first_at <= moment, _o.seq < newest, _o.seq > first
    )
    query = query.order_by(_o.seq.desc()).limit(1)
    w, u = withheld_absences.c, unseen.c
    doubtful = sa.exists().where(w.source_id == _o.source_id, w.seq == _o.seq)
    not_shown = sa.exists().where(
        u.source_id == _o.source_id, u.missed_seq <= _o.seq, u.until_seq.is_(None) | (u.until_seq > _o.seq)
    )
    sure = query.where(_o.outcome == "ok", _o.missing.is_(None), ~doubtful, ~not_shown)
    return connection.scalar(sure) or connection.scalar(query)


def foreseen(connection: sa.Connection, source: str, moment: datetime) -> Pruned:
    """What `prune` would delete at most, since it keeps what is still open. Raises UsageError."""
    source_id = source_id_of(connection, source)
    begins = beginning(connection, source_id)
    cut = cut_before(connection, source_id, moment)
    if cut is None:
        return Pruned(source, begins, 0, 0)
    old = (_o.source_id == source_id, _o.seq < cut)
    count = connection.scalar(sa.select(sa.func.count()).where(*old)) or 0
    newer = sa.select(_o.payload).where(_o.source_id == source_id, _o.seq > cut, _o.payload.is_not(None))
    answers = sa.select(sa.func.count()).where(
        _p.source_id == source_id, _p.compressed_size > 0, _p.address.not_in(newer)
    )
    last = stored.by_seq(connection, source_id, [cut])[cut]
    first = begins.pruned_from_at if begins else _first_at(connection, source_id)
    return Pruned(source, Beginning(cut, last.first_at, first), count, connection.scalar(answers) or 0)


def prune(
    engine: sa.Engine,
    source: str,
    moment: datetime,
    *,
    made_at: datetime,
    made_by: str,
    progress: Progress | None = None,
) -> Pruned:
    """Delete everything that questions about times from `moment` on don't need.

    Raises UsageError if there is no such source, SchemaError if other rules derived its history, IntegrityError if it
    can't be derived again, DatabaseError if it is pruned or redacted meanwhile.
    """
    with reading(engine) as live:
        source_id = source_id_of(live, source)
        begins = beginning(live, source_id)
        target = cut_before(live, source_id, moment)
        known = amendments.newest(live, source_id)
        if target is None:
            return Pruned(source, begins, 0, 0)
        before = _count(live, source_id, target)
        first_at = begins.pruned_from_at if begins else _first_at(live, source_id)
    mine: Amendment | None = None
    with scratch_database() as scratch:
        done = answers = 0
        start = begins.begins_seq if begins else 0
        for seq in _rounds(start, target):
            with reading(engine) as live:
                done = replay(live, scratch, source_id, done, None, until=seq)
            cut = _worked_out(scratch, source_id, done)
            begins = Beginning(done, cut.last.first_at, first_at)
            mine, deleted = _write(
                engine, source_id, source, cut, begins, mine, known, made_at, made_by, scratch
            )
            known, answers = mine, answers + deleted
            if progress:
                progress(done - start, target - start)
    with reading(engine) as live:
        after = _count(live, source_id, target)
    return Pruned(source, begins, before - after, answers, mine.digest if mine else None)


def _rounds(start: int, target: int) -> Iterator[int]:
    while start < target:
        start = min(start + ROUND, target)
        yield start


def _first_at(connection: sa.Connection, source_id: int) -> datetime:
    return stored.by_seq(connection, source_id, [1])[1].first_at


def _count(connection: sa.Connection, source_id: int, seq: int) -> int:
    """Number of observations up to `seq`: polls may add later ones meanwhile."""
    query = sa.select(sa.func.count()).where(_o.source_id == source_id, _o.seq <= seq)
    return connection.scalar(query) or 0


def _worked_out(scratch: sa.Connection, source_id: int, seq: int) -> _Cut:
    """Delete what does not stay from a scratch database that ends with observation `seq`."""
    last = stored.by_seq(scratch, source_id, [seq])[seq]
    looked = scratch.scalar(sa.select(sa.func.max(_o.observer_id)).where(_o.source_id == source_id))
    keep, failed = staying.needed(scratch, source_id, seq)
    staying.forget(scratch, source_id, last)
    keep |= staying.referred_to(scratch, source_id, seq)
    staying.forget_observations(scratch, source_id, seq, keep)
    return _Cut(last, _snapshot(scratch, source_id, failed, looked or 0), frozenset(keep))


def _snapshot(scratch: sa.Connection, source_id: int, failed: Sequence[Failures], looked: int) -> str:
    if beginning(scratch, source_id) is not None:
        before = snapshots.parsed(snapshots.stored_text(scratch, source_id))
        looked = max(looked, len(before.observers))
    return snapshots.snapshot_text(scratch, source_id, failed, looked)


def _write(
    engine: sa.Engine,
    source_id: int,
    source: str,
    cut: _Cut,
    begins: Beginning,
    mine: Amendment | None,
    known: Amendment | None,
    made_at: datetime,
    made_by: str,
    scratch: sa.Connection,
) -> tuple[Amendment, int]:
    """One round in the real database, all or nothing. `mine`: the amendment of the previous round.

    `known`: the newest amendment when this was worked out. Raises DatabaseError if there is another one by now. Returns
    the new one, and how many answers were deleted.
    """
    for attempt in range(ROUNDS_WITHOUT_LOCK + 1):
        with reading(engine) as live:
            answers = _answers(live, source_id, cut)
        with pruning(engine) as live:
            found = lock_derived(live, source_id, source)
            if found.newest != answers.newest:
                if attempt < ROUNDS_WITHOUT_LOCK:
                    continue
                answers = _answers(live, source_id, cut)
            if found.amended != known:
                raise DatabaseError(
                    f"the history of source {source!r} was changed by another process meanwhile; prune it again"
                )
            # It is the newest one, and no observation holds it yet.
            replaced = mine.number if mine is not None and mine.at_seq == found.newest else None
            staying.forget(live, source_id, cut.last)
            staying.forget_observations(live, source_id, cut.last.seq, cut.keep)
            _rewrite(live, source_id, answers)
            facts = {
                "answers": snapshots.answers_hash(live, source_id),
                "begins_at": time_text(begins.begins_at),
                "begins_seq": begins.begins_seq,
                "cut_digest": cut.last.digest,
                "pruned_from_at": time_text(begins.pruned_from_at),
                "snapshot": snapshots.hash_of(cut.snapshot),
            }
            made = amendments.write(
                live,
                source_id,
                source,
                "prune",
                facts,
                made_at=made_at,
                made_by=made_by,
                at_seq=found.newest,
                instead_of=replaced,
                begins=begins,
                snapshot=snapshots.packed(cut.snapshot),
            )
        with reading(engine) as live:
            scratch.execute(sa.delete(tables.amendments))
            copy_rows(live, scratch, tables.amendments, tables.amendments, source_id)
        return made, answers.deleted
    raise AssertionError("the last attempt returns")


def _answers(live: sa.Connection, source_id: int, cut: _Cut) -> _Answers:
    """What happens to the answers of observations up to the cut."""
    newest = newest_seq_of(live, source_id)
    mine = (_o.source_id == source_id, _o.payload.is_not(None))
    old = sa.select(_o.seq, _o.payload).where(*mine, _o.seq <= cut.last.seq)
    of_old: dict[str, bool] = {}
    for seq, address in live.execute(old):
        of_old[address] = of_old.get(address, False) or seq in cut.keep
    of_old.pop(cut.last.payload or "", None)  # the answer at the cut can still be looked up
    for some in _some(list(of_old)):
        again = sa.select(_o.payload).where(*mine, _o.seq > cut.last.seq, _o.payload.in_(some)).distinct()
        for address in live.scalars(again):
            del of_old[address]
    bases = {
        address
        for some in _some(list(of_old))
        for address in live.scalars(
            sa.select(_p.address).where(
                _p.source_id == source_id, _p.address.in_(some), _p.compressed_size > 0
            )
        )
    }
    children = [child for child, _ in _over(live, source_id, bases) if child not in of_old]
    answers = Reader(live, source_id)
    whole = [(child, zlib.compress(answers.load(child).canonical(), 6)) for child in children]
    return _Answers(
        newest,
        len(bases),
        gone=tuple(address for address, stays in of_old.items() if not stays),
        emptied=tuple(address for address, stays in of_old.items() if stays and address in bases),
        whole=tuple(whole),
        links=tuple(_levels(live, source_id, children, of_old)),
    )


def _levels(
    live: sa.Connection, source_id: int, whole: Sequence[str], of_old: Collection[str]
) -> Iterator[tuple[str, int]]:
    """The answers that rest on these once they are whole, each with its new number of links.

    Answers of old observations only rest on nothing afterwards: they are emptied or deleted. Such an answer may be
    written over a newer one, because an answer that comes again keeps its row.
    """
    done, below, level = {*whole, *of_old}, list(whole), 0
    while below:
        level += 1
        below = [child for child, _ in _over(live, source_id, below) if child not in done]
        for child in below:
            yield child, level


def _over(live: sa.Connection, source_id: int, bases: Collection[str]) -> Iterator[tuple[str, str]]:
    """The answers that are written over these: address and base."""
    for some in _some(sorted(bases)):
        query = sa.select(_p.address, _p.base).where(_p.source_id == source_id, _p.base.in_(some))
        yield from ((address, base) for address, base in live.execute(query))


def _some(addresses: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(addresses), 500):
        yield addresses[start : start + 500]


def _rewrite(live: sa.Connection, source_id: int, answers: _Answers) -> None:
    emptied = ((address, b"") for address in answers.emptied)
    for address, body in (*answers.whole, *emptied):
        changed = {"body": body, "compressed_size": len(body), "base": None, "links": 0}
        changed |= {} if body else {"size": 0}
        live.execute(
            sa.update(payloads).where(_p.source_id == source_id, _p.address == address).values(changed)
        )
    addresses, links = zip(*answers.links, strict=True) if answers.links else ((), ())
    mine = {"source_id": (source_id,) * len(addresses), "address": addresses, "links": links}
    bulk.write(live, "update", payloads, mine)
    gone = {"source_id": (source_id,) * len(answers.gone), "address": answers.gone}
    bulk.write(live, "delete", payloads, gone)
