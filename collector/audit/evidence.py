"""Steps 1 and 2 of a verification: the chain of observations, and their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector.audit.amended import Start, check_amendments, check_as_kept, check_kept
from collector.audit.bounds import broken_bounds
from collector.audit.findings import IMPOSSIBLE, MAX_BREAKS, Findings, in_one_line, readable
from collector.clock import time_text
from collector.database.types import UtcTime, list_text
from collector.gcore.delta import delta, texts_of
from collector.gcore.jsontext import CANONICAL_VERSION
from collector.gcore.paths import Path, cleaned
from collector.inventory import chain
from collector.store.comparison import BATCH
from collector.store.payloads import DamagedAnswerError, Read, Reader
from collector.store.redacting import rules_of
from collector.store.tables import observations, observers, payloads

_TIMES = tuple(c.name for c in observations.columns if isinstance(c.type, UtcTime))


def check_chain(live: sa.Connection, source_id: int, source: str, newest: int, found: Findings) -> Start:
    """Check the chain. Returns where it begins."""
    start = check_amendments(live, source_id, source, newest, found)
    check_kept(live, source_id, start, found)
    begins = start.begins.begins_seq if start.begins else 0
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
        .where(o.source_id == source_id, o.seq > begins)
        .order_by(o.seq),
        execution_options={"yield_per": BATCH},
    ).mappings()
    first_used: dict[int, Any] = {}
    expected, previous = begins + 1, start.digest
    kept = {row["seq"]: row for row in start.snapshot.observations} if start.snapshot else {}
    last_at: datetime | None = kept[begins]["last_at"] if begins in kept else None
    found.observations, found.polls = len(kept), sum(row["polls"] for row in kept.values())
    found.heads |= {
        row["opening_digest"]: seq for seq, row in kept.items() if row["opening_digest"] in found.asked
    }
    try:
        for row in rows:
            while expected < row["seq"] and len(found.breaks) < MAX_BREAKS:
                found.add("observations", {"seq": expected}, "this row is missing")
                expected, previous = expected + 1, ""
            if row["seq"] < expected:
                found.add("observations", {"seq": row["seq"]}, "this row exists more than once")
            _check_observation(dict(row), source, previous, row["seq"] == newest, start, found)
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
    except IMPOSSIBLE as error:
        key = {"seq": expected}
        found.add("observations", key, f"this row, or one soon after it, can't be read: {in_one_line(error)}")
        return start
    if type(newest) is int and expected != newest + 1:
        why = "not the number of the newest observation"
        found.add("sources", {"name": source}, why, "newest_seq", newest, expected - 1)
    with readable("observers", found):
        _check_observers(live, source_id, first_used, start, found)
    return start


def _check_observation(
    row: Mapping[str, Any], source: str, previous: str, is_newest: bool, start: Start, found: Findings
) -> None:
    """`previous`: the digest of the previous row; empty if that row is missing."""
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
    covered = ", ".join((*chain.OPENING, "the observer", "the name of the source"))
    check("opening_digest", opening, f"one of these was edited: {covered}")
    check("amended", start.due.get(row["seq"]), "not what was pruned or redacted just before")
    if row["missing"] is not None:
        check("missing_text", list_text(row["missing"]), "the list has another spelling")
    for name in _TIMES:
        if isinstance(row[f"{name}_text"], str):  # SQLite
            check(f"{name}_text", time_text(row[name]), "the time has another spelling")
    if is_newest:
        check("digest", None, "the newest observation is open")
    else:
        closing = chain.closing_digest(row)
        check("digest", closing, f"one of these was edited: {', '.join(chain.CLOSING)}")
    if row["payload"] is not None and row["address"] is None:
        found.add("payloads", {"address": row["payload"]}, "this row is missing")


def _check_observers(
    live: sa.Connection, source_id: int, first_used: Mapping[int, Any], start: Start, found: Findings
) -> None:
    """Observers count from 1 in the order of their first poll, and each has polled; the snapshot shows that of
    earlier ones.
    """
    kept = {row["id"]: row for row in start.snapshot.observers} if start.snapshot else {}
    raw = sa.type_coerce(observers.c.first_used_at, sa.Text).label("first_used_text")
    rows = live.execute(
        sa.select(observers, raw).where(observers.c.source_id == source_id).order_by(observers.c.id)
    )
    later = [observer_id for observer_id in first_used if observer_id not in kept]
    order = {observer_id: number for number, observer_id in enumerate(later, len(kept) + 1)}
    for row in rows.mappings():
        key = {"id": row["id"]}
        if (expected := kept.pop(row["id"], None)) is not None:
            check_as_kept("observers", key, row, expected, found)
        elif row["id"] not in order:
            found.add("observers", key, "no observation is by this observer")
        elif order[row["id"]] != row["id"]:
            found.add(
                "observers", key, "not in the order of the first polls", "id", row["id"], order[row["id"]]
            )
        elif row["first_used_at"] != first_used[row["id"]]:
            why = "not the time of this observer's first poll"
            found.add("observers", key, why, "first_used_at", row["first_used_at"], first_used[row["id"]])
        elif row["first_used_text"] not in (row["first_used_at"], time_text(row["first_used_at"])):
            why = "the time has another spelling"
            found.add("observers", key, why, "first_used_at", row["first_used_text"], row["first_used_at"])
    for observer_id in kept:
        found.add("observers", {"id": observer_id}, "this row is missing; the snapshot has it")


def check_payloads(live: sa.Connection, source_id: int, start: Start, found: Findings) -> Iterator[None]:
    """Check the answers in the order in which they were written. Yields after each one."""
    p, o = payloads.c, observations.c
    begins = start.begins.begins_seq if start.begins else 0
    kept = {row["seq"]: row["payload"] for row in start.snapshot.observations} if start.snapshot else {}
    first_seq = sa.func.min(o.seq)
    addresses = live.execute(
        sa.select(p.address, first_seq, sa.func.max(o.seq), p.compressed_size, p.base)
        .outerjoin(observations, (o.source_id == p.source_id) & (o.payload == p.address))
        .where(p.source_id == source_id)
        .group_by(p.address, p.compressed_size, p.base)
        .order_by(first_seq, p.address),
        execution_options={"yield_per": BATCH},
    )
    rules = rules_of(found.amendments)
    answers = Reader(live, source_id)
    resting: dict[str, int] = {}
    lacking = {address for address in kept.values() if address is not None}
    for address, seq, last_seq, size, base in addresses:
        found.payloads += 1
        lacking.discard(address)
        if seq is None:
            found.add("payloads", {"address": address}, "no observation has this answer")
        elif last_seq < begins and size and address != kept.get(begins):
            found.add("payloads", {"address": address}, "this answer was pruned, but is here again")
        elif last_seq < begins and not size and base is None and address != kept.get(begins):
            _check_emptied(live, source_id, address, found)
            yield
            continue
        try:
            _check_payload(answers.read(address), rules, found)
        except DamagedAnswerError as error:
            if error.address == address:
                found.add("payloads", {"address": address}, f"this answer {error.why}", error.column)
            elif error.address in resting or len(resting) < MAX_BREAKS:
                resting[error.address] = resting.get(error.address, 0) + 1
        yield
    for address in sorted(lacking):
        found.add(
            "payloads", {"address": address}, "this row is missing; an observation that was kept has it"
        )
    for address, count in resting.items():
        found.rests_on(address, count)


def _check_emptied(live: sa.Connection, source_id: int, address: str, found: Findings) -> None:
    """The row of a pruned answer says nothing but its address, which stays since an observation does."""
    p = payloads.c
    query = sa.select(p.canonical_version, p.size, sa.func.length(p.body).label("body"))
    row = live.execute(query.where(p.source_id == source_id, p.address == address)).one()
    expected = {"canonical_version": CANONICAL_VERSION, "size": 0, "body": 0}
    for name, value in row._mapping.items():
        if value != expected[name]:
            why = "this answer was pruned: of its row only the address stays"
            found.add("payloads", {"address": address}, why, name, value, expected[name])


def _check_payload(answer: Read, rules: Sequence[Path], found: Findings) -> None:
    row, canonical = answer.row, answer.document.canonical()
    key = {"address": row.address}
    if rules and cleaned(answer.document, rules) is not answer.document:
        found.add("payloads", key, "this contains a redacted value", "body")
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
