"""Step 1 of a verification of a pruned or redacted history: the chain of amendments, and the snapshot at its
beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from collector.audit.findings import Findings
from collector.clock import time_text
from collector.errors import IntegrityError
from collector.inventory import chain
from collector.store import snapshots
from collector.store.amendments import Amendment, Beginning, all_of, beginning, openings, text_of
from collector.store.snapshots import Snapshot
from collector.store.tables import amendments, observations, sources


@dataclass(frozen=True, slots=True)
class Start:
    """Where the chain of observations begins."""

    begins: Beginning | None
    """None: with the very first observation."""
    snapshot: Snapshot | None
    """None: there is none, or it differs from what its amendment says."""
    digest: str
    """The `previous_digest` that the first observation after the snapshot must have; empty: not known."""
    due: Mapping[int, str]
    """By observation: the digest of an amendment that it must hold."""


def check_amendments(live: sa.Connection, source_id: int, source: str, newest: int, found: Findings) -> Start:
    """Check the links between amendments, that none is missing, and that the snapshot is the one that was written."""
    rows = all_of(live, source_id)
    count = live.scalar(sa.select(sources.c.amendments).where(sources.c.id == source_id))
    if count != len(rows):
        why = "not the number of the newest row of amendments"
        found.add("sources", {"name": source}, why, "amendments", count, len(rows))
    previous, at_seq = chain.GENESIS, 0
    heads = openings(live, source_id, [row.at_seq for row in rows])
    for number, row in enumerate(rows, 1):
        key = {"number": row.number}
        if row.number != number:
            found.add("amendments", {"number": number}, "this row is missing")
        if row.previous_digest != previous:
            why = "the link to the row before is broken"
            found.add("amendments", key, why, "previous_digest", row.previous_digest, previous)
        digest = chain.amendment_digest(source, _columns(row))
        if row.digest != digest:
            why = f"one of these was edited: {', '.join(chain.AMENDMENT)}"
            found.add("amendments", key, why, "digest", row.digest, digest)
        if not at_seq <= row.at_seq <= newest:
            found.add("amendments", key, "there is no such observation", "at_seq", row.at_seq)
        elif row.at_seq in heads and (head := row.read().get("head")) != heads[row.at_seq]:
            why = f"observation {row.at_seq} was a different one when this was done"
            found.add("amendments", key, why, "facts", head, heads[row.at_seq])
        previous, at_seq = row.digest, row.at_seq
        found.amendments.append(row)
        if row.digest in found.asked:
            found.heads[row.digest] = row.at_seq
    _check_columns(live, source_id, rows, found)
    _check_answers(live, source_id, rows, found)
    due = {
        row.at_seq + 1: row.digest for row in rows
    }  # only the newest amendment of several at one observation
    begins = beginning(live, source_id)
    if begins is None:
        return Start(None, None, chain.GENESIS, due)
    newest_prune = [row for row in rows if row.kind == "prune"][-1]
    try:
        digest = str(newest_prune.read()["cut_digest"])
        # A later redaction may have changed it, and then says so.
        latest = [facts for row in rows if "snapshot" in (facts := row.read())][-1]
        snapshot = _snapshot(live, source_id, newest_prune, str(latest["snapshot"]), found)
    except (ValueError, LookupError, TypeError):
        found.add("amendments", {"number": newest_prune.number}, "can't be read", "facts", newest_prune.facts)
        return Start(begins, None, "", due)
    return Start(begins, snapshot, digest, due)


def _columns(row: Amendment) -> dict[str, Any]:
    return {name: getattr(row, name) for name in (*chain.AMENDMENT, "previous_digest")}


def _check_columns(live: sa.Connection, source_id: int, rows: list[Amendment], found: Findings) -> None:
    """Check the columns that views read against the facts, and that only the newest prune has a snapshot."""
    a = amendments.c
    names = ("begins_seq", "begins_at", "pruned_from_at")
    query = sa.select(a.number, *(a[name] for name in names), a.snapshot.is_not(None)).where(
        a.source_id == source_id
    )
    stored = {row[0]: row for row in live.execute(query.order_by(a.number))}
    prunes = [row.number for row in rows if row.kind == "prune"]
    for row in rows:
        facts = row.read() if row.kind == "prune" else {}
        _, *values, has_snapshot = stored[row.number]
        for name, value in zip(names, values, strict=True):
            shown = time_text(value) if name != "begins_seq" and value is not None else value
            if shown != facts.get(name):
                why = "not what its facts say"
                found.add("amendments", {"number": row.number}, why, name, shown, facts.get(name))
        if has_snapshot and prunes[-1:] != [row.number]:
            found.add("amendments", {"number": row.number}, "only the newest prune has one", "snapshot")


def _check_answers(live: sa.Connection, source_id: int, rows: list[Amendment], found: Findings) -> None:
    """Check that the newest amendment says which answers were redacted."""
    stored = snapshots.answers_hash(live, source_id)
    expected = rows[-1].read().get("answers") if rows else snapshots.hash_of(text_of([]))
    if stored != expected:
        why = "the answers that are marked as redacted are not those of the newest amendment"
        found.add("payloads", {}, why, "content", stored, expected)


def _snapshot(
    live: sa.Connection, source_id: int, row: Amendment, expected: str, found: Findings
) -> Snapshot | None:
    key = {"number": row.number}
    try:
        text = snapshots.stored_text(live, source_id)
    except IntegrityError as error:
        found.add("amendments", key, str(error), "snapshot")
        return None
    if (digest := snapshots.hash_of(text)) != expected:
        found.add("amendments", key, "not the snapshot that was written", "snapshot", digest, expected)
        return None
    return snapshots.parsed(text)


def check_kept(live: sa.Connection, source_id: int, start: Start, found: Findings) -> None:
    """Check that the observations before the beginning are exactly those of the snapshot."""
    if start.begins is None or start.snapshot is None:
        return
    o = observations.c
    rows = live.execute(
        sa.select(observations)
        .where(o.source_id == source_id, o.seq <= start.begins.begins_seq)
        .order_by(o.seq)
    ).mappings()
    kept = {row["seq"]: row for row in start.snapshot.observations}
    for stored in rows:
        key = {"seq": stored["seq"]}
        expected = kept.pop(stored["seq"], None)
        if expected is None:
            found.add("observations", key, "older than the beginning of the history, but not in its snapshot")
            continue
        check_as_kept("observations", key, stored, expected, found)
    for seq in kept:
        found.add("observations", {"seq": seq}, "this row is missing; the snapshot has it")


def check_as_kept(
    table: str,
    key: Mapping[str, Any],
    stored: Mapping[Any, Any],
    expected: Mapping[str, Any],
    found: Findings,
) -> None:
    """Check that a row is the one in the snapshot."""
    for name, value in expected.items():
        if stored[name] != value:
            found.add(table, key, "not what the snapshot says", name, stored[name], value)
