"""Derive a source's history again from its evidence, and apply the differences.

    1. in one read transaction: replay every observation, oldest first, into a scratch database, with the same
       decisions as polling, and compare
    2. in one write transaction: lock the source; if nothing was recorded meanwhile, and no other rules derived it
       either, write the differences; otherwise go back to 1 for what is new

Readers are never blocked, and the poller only during step 2. Memory use does not grow with the history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.database.statements import insert_if_new
from collector.database.transactions import reading, writing
from collector.database.url import is_sqlite
from collector.errors import IntegrityError, SchemaError
from collector.gcore.document import Document
from collector.gcore.listing import listing_of
from collector.inventory.changes import changes
from collector.inventory.known import Known, known_after
from collector.store import observations as stored_observations
from collector.store.amendments import Amendment, beginning
from collector.store.amendments import newest as newest_amendment
from collector.store.apply import apply
from collector.store.comparison import (
    BATCH,
    LACKING,
    SURPLUS,
    Comparison,
    as_stored,
    compare,
    copy_rows,
    keys_of,
    scratch_database,
)
from collector.store.gather import gather
from collector.store.payloads import Reader
from collector.store.snapshots import load, parsed, stored_text
from collector.store.sources import newest_seq_of, source_id_of
from collector.store.tables import (
    CURRENT,
    DERIVATION_REVISION,
    DERIVED,
    amendments,
    observations,
    observers,
    sources,
)

Progress = Callable[[int, int], None]
"""Called with the number of observations done, and of all observations."""


def replay(
    live: sa.Connection,
    scratch: sa.Connection,
    source_id: int,
    after: int,
    progress: Progress | None,
    until: int | None = None,
    clean: Callable[[Document], Document] = lambda document: document,
    snapshot: str | None = None,
) -> int:
    """Derive all observations after seq `after`, up to `until` or the newest. Returns the last seq.

    A pruned history begins with its own snapshot, or with `snapshot` if given. `clean`: returns what remains of an
    answer. Raises IntegrityError if the snapshot can't be read.
    """
    o = observations.c
    newest = newest_seq_of(live, source_id)
    newest = newest if until is None else min(until, newest)
    if not after or beginning(live, source_id) != beginning(scratch, source_id):
        after = _begin(live, scratch, source_id, snapshot)
    # Later polls may have extended the row that was the newest, and there may be a new observer.
    scratch.execute(sa.delete(observations).where(o.seq == after))
    scratch.execute(sa.delete(observers))
    copy_rows(live, scratch, observers, observers, source_id)
    answers = Reader(live, source_id)
    known: Known | None = None
    for start in range(after, newest, BATCH):
        end = min(start + BATCH, newest)
        first = start if start == after else start + 1
        copy_rows(live, scratch, observations, observations, source_id, o.seq.between(first, end))
        for row in stored_observations.applied(scratch, source_id, start, end):
            assert row.payload is not None  # noqa: S101 - guaranteed by a constraint
            now = row.at_insert()
            listing = listing_of(clean(answers.load(row.payload)))
            if known and known.applied and known.applied.observer.access != now.observer.access:
                known = None
            known = gather(scratch, source_id, now.seq, now.observer, listing, known)
            decided = changes(now, listing, known)
            apply(scratch, source_id, now, decided)
            known = known_after(known, now, listing, decided).with_final(row)
            if progress:
                progress(row.seq, newest)
    return newest


def _begin(live: sa.Connection, scratch: sa.Connection, source_id: int, snapshot: str | None) -> int:
    """Load the beginning of the history into a scratch database. Returns the seq after which to continue."""
    for table in (*reversed(DERIVED), observations, observers, amendments, sources):
        scratch.execute(sa.delete(table))
    row = live.execute(sa.select(sources).where(sources.c.id == source_id)).mappings().one()
    scratch.execute(sa.insert(sources), dict(row))
    copy_rows(live, scratch, amendments, amendments, source_id)
    begins = beginning(live, source_id)
    if begins is None:
        return 0
    try:
        load(parsed(snapshot or stored_text(live, source_id)), scratch, source_id)
    except (ValueError, KeyError, TypeError, sa.exc.StatementError):
        raise IntegrityError("this version can't read the snapshot with which the history begins") from None
    return begins.begins_seq


MAX_ROUNDS = 5
"""After this many rounds in which the poller was faster, the comparison is made under the lock."""


def rebuild(
    engine: sa.Engine, source: str, *, check_only: bool = False, progress: Progress | None = None
) -> Comparison:
    """Derive one source again. With `check_only` nothing is written.

    Raises UsageError, IntegrityError, and SchemaError if a newer version derived it meanwhile.
    """
    with scratch_database() as scratch:
        done = 0
        seen: Standing | None = None
        for round_ in range(1, MAX_ROUNDS + 1):
            with reading(engine) as live:
                source_id = source_id_of(live, source)
                before, seen = seen, standing(live, source_id)
                done = replay(live, scratch, source_id, _valid(done, before, seen), progress)
                result = compare(live, scratch, source_id, done)
            if check_only:
                return result
            with writing(engine) as live:
                now = lock(live, source_id)
                if now.revision != seen.revision and now.revision > DERIVATION_REVISION:
                    raise SchemaError(
                        f"a newer version derived the history of source {source!r} meanwhile; nothing was written"
                    )
                if now != seen and round_ < MAX_ROUNDS:
                    continue
                if now != seen:
                    done = replay(live, scratch, source_id, _valid(done, seen, now), progress)
                    result = compare(live, scratch, source_id, done)
                put(live, scratch)
                values: dict[str, Any] = {"derivation_revision": DERIVATION_REVISION}
                if result.different:  # a writer may remember a row that was wrong
                    values["corrections"] = sources.c.corrections + 1
                live.execute(sa.update(sources).where(sources.c.id == source_id).values(values))
                return result
        raise AssertionError("the last round returns")


class Standing(NamedTuple):
    """What is derived from, and by which rules. What was worked out in one transaction may be written in a later one
    only if this is the same."""

    newest: int
    """Number of the newest observation."""
    revision: int
    """The revision of the rules that last derived the source's history."""
    amended: Amendment | None
    """The newest amendment."""


def _valid(done: int, before: Standing | None, now: Standing) -> int:
    """The seq up to which a scratch database is still right: after an amendment, earlier answers may say less."""
    return done if before is not None and before.amended == now.amended else 0


def standing(live: sa.Connection, source_id: int) -> Standing:
    """As this transaction sees it."""
    columns = sources.c.newest_seq, sources.c.derivation_revision
    row = live.execute(sa.select(*columns).where(sources.c.id == source_id)).one()
    return Standing(*row, newest_amendment(live, source_id))


def lock(live: sa.Connection, source_id: int) -> Standing:
    """Keep every writer of the source out.

    This is not the lease's fence: another process may hold the lease, and waits at its own fence.
    """
    same = {"derivation_revision": sources.c.derivation_revision}
    live.execute(sa.update(sources).where(sources.c.id == source_id).values(same))
    return standing(live, source_id)


def lock_derived(live: sa.Connection, source_id: int, source: str) -> Standing:
    """As `lock`, for a history that must have been derived by this version's rules. Raises SchemaError."""
    found = lock(live, source_id)
    if found.revision != DERIVATION_REVISION:
        raise SchemaError(
            f"the history of source {source!r} was derived by another version's rules: run `collector db rebuild`"
        )
    return found


def put(live: sa.Connection, scratch: sa.Connection) -> None:
    """Make the stored rows equal to the derived ones. Children are deleted first, parents are inserted first.

    Current rows that stay are updated, since others refer to them; all other rows are replaced. If a row exists
    already, another rebuild with the same rules wrote it after the comparison. Raises IntegrityError if the evidence
    lacks what the rows refer to.
    """
    try:
        _put(live, scratch)
    except sa.exc.IntegrityError as error:
        raise IntegrityError(
            "what follows from the evidence can't be stored, since a part of the evidence is missing: `collector "
            "audit verify` says what"
        ) from error


def _put(live: sa.Connection, scratch: sa.Connection) -> None:
    for table in reversed(DERIVED):
        # An edited key may not be a valid value of its type, so it is deleted by its stored value.
        doomed, surplus = table, SURPLUS[table]
        if is_sqlite(live):
            doomed, surplus = as_stored(table), as_stored(surplus)
        keys: Any = sa.select(*(surplus.c[k] for k in keys_of(table)))
        if table in CURRENT.values():
            keys = keys.except_(sa.select(*(table.c[k] for k in keys_of(table))))
        for rows in scratch.execute(keys).mappings().partitions(BATCH):
            live.execute(_by_key(sa.delete(doomed), doomed, keys_of(table)), [_as_keys(row) for row in rows])
    for table in DERIVED:
        names = keys_of(table)
        lacking, surplus = LACKING[table], SURPLUS[table]
        query: Any = sa.select(lacking)
        if table in CURRENT.values():
            stays = sa.exists().where(*(surplus.c[k] == lacking.c[k] for k in names))
            for rows in scratch.execute(query.where(stays)).mappings().partitions(BATCH):
                new = {c.name: sa.bindparam(f"new_{c.name}", type_=c.type) for c in table.columns}
                keyed = [_as_keys({k: r[k] for k in names}) | {f"new_{n}": r[n] for n in r} for r in rows]
                live.execute(_by_key(sa.update(table), table, names).values(new), keyed)
            query = query.where(~stays)
        for rows in scratch.execute(query).mappings().partitions(BATCH):
            insert_if_new(live, table, [dict(row) for row in rows])


def _by_key(statement: Any, table: sa.Table, names: list[str]) -> Any:
    return statement.where(*(table.c[k] == sa.bindparam(f"key_{k}", type_=table.c[k].type) for k in names))


def _as_keys(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {f"key_{name}": value for name, value in row.items()}
