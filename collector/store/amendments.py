"""What was taken out of a history that was on record already: its beginning (a prune), or a value (a redaction).

Each is a row that holds the digest of the one before. The observation that opens next holds the digest of the newest
one, so that every head from then on covers them all. Observations from before keep their digests: an older head holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from collector.inventory import chain
from collector.store.tables import amendments, sources

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
    """The observation whose state is kept whole."""
    begins_at: datetime
    """When that was first answered."""
    pruned_from_at: datetime
    """When the first poll of all was answered."""


def beginning(connection: sa.Connection, source_id: int) -> Beginning | None:
    """Where the history of a source begins, if it was pruned."""
    query = sa.select(_a.begins_seq, _a.begins_at, _a.pruned_from_at)
    query = query.where(_a.source_id == source_id, _a.kind == "prune").order_by(_a.number.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Beginning(*row)


def all_of(connection: sa.Connection, source_id: int) -> list[Amendment]:
    """The amendments of a source, the oldest first."""
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
    """What the observation after `before_seq` says of amendments: the digest of the newest one, if none that was
    opened since holds it."""
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
    """Add an amendment; the source's row is locked.

    `instead_of`: number of the newest one, if this one takes its place, since no observation holds it yet.
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
        "facts": text_of(facts),
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


def text_of(facts: Any) -> str:
    """Canonical JSON: ASCII, names sorted, no white space."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))
