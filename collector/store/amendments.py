"""Later removals from a recorded history: its beginning (a prune), or a value (a redaction).

Each row holds the digest of the previous one. The next observation that opens holds the digest of the newest row, so
every later head covers all of them. Earlier observations keep their digests, so older heads still match.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from collector.inventory import chain
from collector.store.tables import amendments, observations, sources

Kind = Literal["prune", "redaction"]
_a = amendments.c


@dataclass(frozen=True, slots=True)
class Amendment:
    """One row, without its snapshot."""

    number: int
    kind: Kind
    made_at: datetime
    made_by: str
    at_seq: int
    facts: str
    previous_digest: str
    digest: str

    def read(self) -> dict[str, Any]:
        """The facts, parsed."""
        facts: dict[str, Any] = json.loads(self.facts)
        return facts


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a pruned history begins."""

    begins_seq: int
    """The first observation of the pruned history; its state is kept completely."""
    begins_at: datetime
    """When that observation was first answered."""
    pruned_from_at: datetime
    """When the first poll ever was answered."""


def beginning(connection: sa.Connection, source_id: int) -> Beginning | None:
    """Where the history of a source begins; None if it was not pruned."""
    columns = (_a.begins_seq, _a.begins_at, _a.pruned_from_at)
    query = sa.select(*columns).where(_a.source_id == source_id, _a.kind == "prune")
    # A prune has all of them; one that was edited has to be readable for those who look for that.
    query = query.where(*(each.is_not(None) for each in columns)).order_by(_a.number.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Beginning(*row)


def all_of(connection: sa.Connection, source_id: int) -> list[Amendment]:
    """The amendments of a source, oldest first."""
    columns = [_a[name] for name in Amendment.__dataclass_fields__]
    rows = connection.execute(sa.select(*columns).where(_a.source_id == source_id).order_by(_a.number))
    return [Amendment(*row) for row in rows]


def newest(connection: sa.Connection, source_id: int) -> Amendment | None:
    """The newest amendment of a source; None: its history is as it was recorded."""
    columns = [_a[name] for name in Amendment.__dataclass_fields__]
    query = sa.select(*columns).where(_a.source_id == source_id).order_by(_a.number.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Amendment(*row)


def due(newest: Amendment | None, before_seq: int) -> str | None:
    """The digest of the newest amendment for the observation after `before_seq`, or None if one already holds it."""
    return newest.digest if newest is not None and newest.at_seq == before_seq else None


def write(
    connection: sa.Connection,
    source_id: int,
    source: str,
    kind: Kind,
    facts: Mapping[str, Any],
    *,
    made_at: datetime,
    made_by: str,
    at_seq: int,
    instead_of: int | None = None,
    begins: Beginning | None = None,
    snapshot: bytes | None = None,
) -> Amendment:
    """Add an amendment. The caller has locked the source's row.

    Its facts say which digest the newest observation has (`head`), so that its own digest covers all that is on record.

    `instead_of`: number of the newest amendment if this one replaces it, which is possible while no observation holds
    it.
    """
    before: Sequence[Amendment] = [
        each for each in all_of(connection, source_id) if instead_of is None or each.number < instead_of
    ]
    row: dict[str, Any] = {
        "number": len(before) + 1,
        "kind": kind,
        "made_at": made_at,
        "made_by": made_by,
        "at_seq": at_seq,
        "facts": text_of({**facts, "head": openings(connection, source_id, [at_seq]).get(at_seq)}),
        "previous_digest": before[-1].digest if before else chain.GENESIS,
    }
    row["digest"] = chain.amendment_digest(source, row)
    mine = _a.source_id == source_id
    connection.execute(sa.delete(amendments).where(mine, _a.number >= row["number"]))
    if snapshot is not None:
        connection.execute(sa.update(amendments).where(mine, _a.snapshot.is_not(None)).values(snapshot=None))
    begin = asdict(begins) if begins else dict.fromkeys(Beginning.__dataclass_fields__)
    connection.execute(sa.insert(amendments), {"source_id": source_id, "snapshot": snapshot, **begin, **row})
    connection.execute(sa.update(sources).where(sources.c.id == source_id).values(amendments=row["number"]))
    return Amendment(**row)


def openings(connection: sa.Connection, source_id: int, seqs: Iterable[int]) -> dict[int, str]:
    """The opening digests of those of these observations that are on record."""
    o = observations.c
    query = sa.select(o.seq, o.opening_digest).where(o.source_id == source_id, o.seq.in_(set(seqs)))
    return {seq: digest for seq, digest in connection.execute(query)}  # noqa: C416 - a Row is no pair of its types


def text_of(facts: Any) -> str:
    """Canonical JSON: ASCII, sorted names, no white space."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))
