"""From an observation to the derived tables: the one code path of polling and rebuilding.

    1. what is known: current tables and open unseen spans, by content hash
    2. what changed: `inventory.diff`, for each kind
    3. when, and how sure: the window and basis of each transition
    4. write: versions, current tables, transitions, unseen spans, withheld absences, rejects, drift

It reads of this observation only what stood in it when it was inserted, of earlier ones the final fields;
so it gives the same rows whenever it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import sqlalchemy as sa

from collector.inventory.diff import Known, Span, diff
from collector.inventory.entities import Kind, Listing
from collector.inventory.transitions import Look, Transition
from collector.store.engine import insert
from collector.store.evidence import OpenRow
from collector.store.findings import write_drift, write_rejected
from collector.store.kinds import KindWriter
from collector.store.past import Past
from collector.store.tables import CURRENT, state_transitions, unseen


@dataclass(frozen=True, slots=True)
class Derived:
    """What an observation changed."""

    transitions: tuple[Transition, ...] = ()
    versions: int = 0
    unseen: int = 0
    """Entities that are present and not shown, of all kinds."""


def known_of(connection: sa.Connection, source_id: int, kind: Kind) -> dict[int, Known]:
    """Everything known of one kind, without its content."""
    table = CURRENT[kind].c
    spans = {
        row.entity_id: Span(row.shown_seq, row.missed_seq, row.missed_at)
        for row in connection.execute(
            sa.select(unseen.c.entity_id, unseen.c.shown_seq, unseen.c.missed_seq, unseen.c.missed_at).where(
                unseen.c.source_id == source_id, unseen.c.entity == kind, unseen.c.until_at.is_(None)
            )
        )
    }
    columns = [table.id, table.content_hash, table.absent_since.is_(None)]
    columns += [table.state if "state" in table else sa.null(), table.get("witness_region_id", sa.null())]
    rows = connection.execute(sa.select(*columns).where(table.source_id == source_id))
    return {
        entity_id: Known(entity_id, content, state, witness, bool(present), spans.get(entity_id))
        for entity_id, content, present, state, witness in rows
    }


def derive(
    connection: sa.Connection,
    source_id: int,
    now: Look,
    listing: Listing,
    known_regions: Mapping[int, Known] | None = None,
) -> Derived:
    """Apply one observation. `known_regions`: as read already in this transaction, if it was."""
    past = Past(connection, source_id, now)
    transitions: list[Transition] = []
    versions = still_unseen = 0
    for kind, shown in listing.shown.items():
        known = (
            known_regions
            if kind == "region" and known_regions is not None
            else known_of(connection, source_id, kind)
        )
        change = diff(known, shown, now.outcome)
        step = KindWriter(connection, source_id, kind, now, known, shown, change, past)
        transitions += step.apply()
        versions += len(change.appeared) + len(change.reappeared) + len(change.changed)
        still_unseen += sum(k.present and k.id not in shown.sightings for k in known.values())
        still_unseen -= len(change.disappeared)
    insert(connection, state_transitions, ({"source_id": source_id} | _row(t) for t in transitions))
    write_rejected(connection, source_id, now.seq, listing)
    write_drift(connection, source_id, now, listing)
    return Derived(tuple(transitions), versions, still_unseen)


def _row(transition: Transition) -> dict[str, Any]:
    """By column; `asdict` would copy every value, which takes a tenth of a large poll."""
    return {field.name: getattr(transition, field.name) for field in fields(transition)}


def at_insert(row: OpenRow) -> Look:
    """The newest observation as `derive` sees it."""
    return Look(
        seq=row.seq,
        outcome=row.outcome,
        first_at=row.first_at,
        last_at=row.first_at,
        last_asked_at=row.first_at,
        expected_interval=row.expected_interval,
        eyes=row.observer.eyes,
    )


def without_finals(seen: Look) -> Look:
    """An observation from the store as it stood when it was inserted."""
    return replace(seen, last_at=seen.first_at, last_asked_at=seen.first_at)
