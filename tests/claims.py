"""What may be claimed of an entity at each moment: the views of spans, written a second time from single polls.

The plainest way: what polls say one after the other, with nothing between them that leaves a doubt, was so from the
answer of the first to the question of the last. All else is unknown.

Two things are not asked for. Where the clock was set back, so that a question comes before the answer before it, spans
need only have neither holes nor overlaps. And where a state was first shown by the last answer before a gap, the
views may call unseen what is a change, since between that question and its answer the gap has perhaps begun.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from collector.store.engine import UtcTime, reading
from tests.worlds import Ledger, Look, World


class Claim(NamedTuple):
    """A span of time; of UNKNOWN also the states before and after, and the cause."""

    from_at: datetime
    until_at: datetime | None
    """None: now, while a gap is open."""
    state: str
    earlier_state: str | None = None
    later_state: str | None = None
    cause: str | None = None


@dataclass(slots=True)
class _Run:
    """Polls that say the same of an entity, and leave no doubt between them."""

    state: str
    first: Look
    last: Look


def check_claims(world: World) -> None:
    """What the views of spans say of a world is what its single polls said."""
    looks = world.ledger.looks
    newest = next((look for look in reversed(looks) if look.reading), None)
    if newest is None:
        return
    is_open = datetime.now(UTC) - newest.at > newest.interval * 2.5
    is_steady = all(before.at <= after.asked_at for before, after in itertools.pairwise(looks))
    for kind in ("region", "keystone"):
        told = _told(world, kind, is_open)
        for entity_id in (i for k, i in world.ledger.values if k == kind):
            spans = told.get(entity_id, [])
            expected = claims(world.ledger, kind, entity_id, None if is_open else newest.asked_at)
            assert [s.from_at for s in spans[:1]] == [c.from_at for c in expected[:1]]
            assert all(before.until_at == after.from_at for before, after in itertools.pairwise(spans))
            if not is_steady:
                continue
            assert [s._replace(cause=s.cause and "?") for s in spans] == [
                s._replace(cause=s.cause and "?") for s in expected
            ], (kind, entity_id)
            for span, claim in zip(spans, expected, strict=True):
                assert span.cause in (claim.cause, "unseen"), (kind, entity_id)


def _told(world: World, kind: str, is_open: bool) -> dict[int, list[Claim]]:
    """What the view says of each entity that has any length of time."""
    times = [sa.column(name, UtcTime()) for name in ("from_at", "until_at")]
    names = ("state", "earlier_state", "later_state", "cause")
    entity_id = sa.column(f"{kind}_id")
    query = (
        sa.select(entity_id, *times, *map(sa.column, names))
        .select_from(sa.table(f"{kind}_state_spans"))
        .where(sa.column("source") == world.history.source.name)
        .order_by(entity_id, times[0])
    )
    found: dict[int, list[Claim]] = {}
    with reading(world.history.engine) as connection:
        for key, *values in connection.execute(query):
            claim = Claim(*values)
            if is_open and claim.cause and claim.later_state is None:
                claim = claim._replace(until_at=None)
            found.setdefault(key, []).append(claim)
    return found


def claims(ledger: Ledger, kind: str, entity_id: int, end: datetime | None) -> list[Claim]:
    """All time of one entity, from its first sight to the end of what is on record."""
    found: list[Claim] = []
    known_until = datetime.max.replace(tzinfo=UTC)
    before: _Run | None = None
    for run in _runs(ledger, kind, entity_id):
        begin, until = run.first.at, run.last.asked_at
        if before is None:
            known_until = begin
        elif run.state != before.state:
            is_change = known_until >= before.first.at and _sure(
                ledger, before.last, run.first, kind, entity_id
            )
            cause = "change" if is_change else "unseen"
            found.append(Claim(known_until, begin, "UNKNOWN", before.state, run.state, cause))
            known_until = begin
        if begin <= until:
            if before and known_until < begin:
                found.append(Claim(known_until, begin, "UNKNOWN", run.state, run.state, "unseen"))
            found.append(Claim(begin, until, run.state))
            known_until = until
        before = run
    assert before is not None
    found.append(Claim(known_until, end, "UNKNOWN", before.state, None, "unseen"))
    return [c for c in found if c.until_at is None or c.from_at < c.until_at]


def _runs(ledger: Ledger, kind: str, entity_id: int) -> Iterator[_Run]:
    run: _Run | None = None
    for look in ledger.looks:
        state = _says(look, kind, entity_id)
        if state is None or (run is None and state == "ABSENT"):
            continue
        if run and run.state == state and _sure(ledger, run.last, look, kind, entity_id):
            run.last = look
            continue
        if run:
            yield run
        run = _Run(state, look, look)
    if run:
        yield run


def _says(look: Look, kind: str, entity_id: int) -> str | None:
    """A state, ABSENT, or None: nothing."""
    if look.shows(kind, entity_id):
        assert look.reading is not None
        return str(look.reading.shown[kind][entity_id]["state"])
    return "ABSENT" if look.excludes(kind, entity_id) else None


def _sure(ledger: Ledger, before: Look, after: Look, kind: str, entity_id: int) -> bool:
    """Whether no gap, and no answer that raises a doubt, lies between two that speak of an entity."""
    between = [look for look in ledger.looks[before.number + 1 : after.number] if look.reading]
    if before.shows(kind, entity_id):
        doubts = between
    else:
        # What can't prove an absence says nothing of who is absent, unless it is complete and names it.
        doubts = [
            b for b in between if b.outcome == "ok" and b.reading and entity_id in b.reading.named[kind]
        ]
    return not doubts and after.at - before.at <= before.interval * 2.5
