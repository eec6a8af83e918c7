"""What may be claimed of an entity at each moment: the views of spans, written a second time from single polls.

The plainest way, moment by moment. Two polls that say something of an entity, one after the other, have its time
between the question of the first and the answer of the second in common. Where both say the same, and nothing between
them leaves a doubt, it was so. Where they differ, it turned in this time, its *window*. Where there is a doubt, it may
have been anything. A moment that lies in several windows, or in doubt, is unseen; one that lies in one window is a
change; any other is known.

Not asked for: where the clock was set back, so that a question comes before the answer before it, spans need only have
neither holes nor overlaps. And around an absence the views may call unseen what is a change.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from collector.database.transactions import reading
from collector.database.types import UtcTime
from collector.inventory.spans import ABSENT, UNKNOWN
from collector.reports import spans as reports
from collector.reports.spans import SpanFilter
from collector.store.tables import sources
from tests.support.history import History
from tests.support.worlds import Ledger, Look, World

FOR_EVER = datetime.max.replace(tzinfo=UTC)


class Claim(NamedTuple):
    """A span of time; of UNKNOWN also the states before and after, and the cause."""

    from_at: datetime
    until_at: datetime | None
    """None: now, while a gap is open."""
    state: str
    earlier_state: str | None = None
    later_state: str | None = None
    cause: str | None = None


def check_claims(world: World) -> None:
    """What the views of spans say of a world is what its single polls said."""
    check_spans(world.history, world.ledger, ("region", "keystone"))


def check_spans(history: History, ledger: Ledger, kinds: Iterable[str]) -> None:
    """What the views of spans say of a history is what its single polls said."""
    looks = ledger.looks
    newest = next((look for look in reversed(looks) if look.reading), None)
    if newest is None:
        return
    is_open = datetime.now(UTC) - newest.at > max(newest.interval, looks[-1].interval) * 2.5
    is_steady = all(before.at <= after.asked_at for before, after in itertools.pairwise(looks))
    for kind in kinds:
        told = agreed(history, kind, is_open)
        for entity_id in (i for k, i in ledger.values if k == kind):
            spans = told.get(entity_id, [])
            expected = claims(ledger, kind, entity_id, None if is_open else newest.asked_at)
            assert [s.from_at for s in spans[:1]] == [c.from_at for c in expected[:1]]
            assert all(before.until_at == after.from_at for before, after in itertools.pairwise(spans))
            if is_steady:
                assert spans == expected or _pieces(spans, expected) == _pieces(expected, spans), (
                    kind,
                    entity_id,
                )


def _pieces(spans: list[Claim], others: list[Claim]) -> list[tuple[datetime | None, ...]]:
    """Spans that are also cut where the others begin. A change into or out of absence says nothing further about an
    unseen piece."""
    begins = sorted({claim.from_at for claim in (*spans, *others)})
    pieces = []
    for begin in begins:
        mine, other = (
            next(c for c in reversed(claims_) if c.from_at <= begin) for claims_ in (spans, others)
        )
        is_lenient = {mine.cause, other.cause} == {"unobserved", "change"} and (
            ABSENT in (mine.earlier_state, mine.later_state, other.later_state)
        )
        said = ("", "") if is_lenient else (mine.state, mine.cause)
        pieces.append((begin, mine.earlier_state, *said))
    return [*pieces, spans[-1].until_at]


def agreed(history: History, kind: str, is_open: bool) -> dict[int, list[Claim]]:
    """What the view says of each entity that has any length of time; our own reports must say the same.

    `is_open`: leave out the end of unknown time that goes on, because it moves from one question to the next.
    """
    times = [sa.column(name, UtcTime()) for name in ("from_at", "until_at")]
    names = ("state", "earlier_state", "later_state", "cause")
    entity_id = sa.column(f"{kind}_id")
    query = (
        sa.select(entity_id, *times, *map(sa.column, names))
        .select_from(sa.table(f"{kind}_state_spans"))
        .order_by(entity_id, times[0])
    )
    with reading(history.engine) as connection:
        of_source = sa.select(sources.c.id).where(sources.c.name == history.source.name)
        query = query.where(sa.column("source_id") == connection.scalar(of_source))
        by_view = _by_entity(((key, Claim(*values)) for key, *values in connection.execute(query)), is_open)
        rows = list(reports.spans(connection, SpanFilter(kind, source=history.source.name)))
    by_report = _by_entity(
        ((row["entity_id"], Claim(*(row[name] for name in Claim._fields))) for row in rows), is_open
    )
    assert by_report == by_view, "reports and views differ"
    return by_view


def _by_entity(claims_: Iterable[tuple[int, Claim]], is_open: bool) -> dict[int, list[Claim]]:
    found: dict[int, list[Claim]] = {}
    for key, claim in claims_:
        ends = None if is_open and claim.cause and claim.later_state is None else claim.until_at
        found.setdefault(key, []).append(claim._replace(until_at=ends))
    return found


def claims(ledger: Ledger, kind: str, entity_id: int, end: datetime | None) -> list[Claim]:
    """All time of one entity, from its first sight to the end of what is on record; None: a gap is open."""
    said = [(look, state) for look in ledger.looks if (state := says(look, kind, entity_id))]
    said = said[next(n for n, (_, state) in enumerate(said) if state != ABSENT) :]
    windows: list[tuple[datetime, datetime, int]] = []
    doubts: list[tuple[datetime, datetime]] = []
    begun = [said[0]]
    hidden_since: datetime | None = None
    for (before, was), (after, is_) in itertools.pairwise(said):
        span = (before.asked_at, after.at)
        if was != is_:
            begun.append((after, is_))
            other_eyes = ABSENT in (was, is_) and before.observer != after.observer
            if other_eyes and was == ABSENT:
                # These eyes may have seen it since they last did not, but not before it was seen last.
                last_shown = next(
                    look for look, state in reversed(said[: said.index((before, was))]) if state != ABSENT
                )
                own = [
                    s.asked_at
                    for s, state in said
                    if state == ABSENT and s.observer == after.observer and s.number < after.number
                ]
                windows.append((max([last_shown.asked_at, *own]), after.at, 2))
            else:
                windows.append((*span, 2 if other_eyes else 1))
            if hidden_since:
                doubts.append((hidden_since, after.at))
            hidden_since = after.at if other_eyes and is_ == ABSENT else None
        if not is_sure(ledger, before, after, kind, entity_id):
            doubts.append(span)
    newest = next(look for look in reversed(ledger.looks) if look.reading)
    if end is None or said[-1][0] is not newest:
        doubts.append((said[-1][0].asked_at, FOR_EVER))
    elif begun[-1][0] is newest:  # what it showed first may have been over when it came
        doubts.append((newest.asked_at, newest.at))
    if hidden_since:
        doubts.append((hidden_since, FOR_EVER))

    edges = {said[0][0].at, *(t for a, b, *_ in (*windows, *doubts) for t in (a, b))}
    last = end or FOR_EVER
    moments = sorted(t for t in edges if said[0][0].at <= t < FOR_EVER)
    found: list[Claim] = []
    for n, moment in enumerate(moments):
        until = moments[n + 1] if n + 1 < len(moments) else last
        index = max(i for i, (look, _) in enumerate(begun) if look.at <= moment)
        state, later = begun[index][1], begun[index + 1][1] if index + 1 < len(begun) else None
        covering = sum(weight for a, b, weight in windows if a <= moment < b)
        if covering > 1 or any(a <= moment < b for a, b in doubts):
            claim = Claim(moment, until, UNKNOWN, state, None, "unobserved")
        elif covering == 1:
            claim = Claim(moment, until, UNKNOWN, state, later, "change")
        else:
            claim = Claim(moment, until, state)
        if found and found[-1].cause == "unobserved":
            found[-1] = found[-1]._replace(later_state=state)
        is_same = found and found[-1]._replace(later_state=None) == claim._replace(
            from_at=found[-1].from_at, until_at=found[-1].until_at, later_state=None
        )
        if is_same and found[-1].until_at == moment and begun[index][0].at < moment:
            found[-1] = found[-1]._replace(until_at=until, later_state=claim.later_state)
        else:
            found.append(claim)
    whole = [c._replace(until_at=None if c.until_at == FOR_EVER else c.until_at) for c in found]
    return [c for c in whole if c.until_at is None or c.from_at < c.until_at]


def says(look: Look, kind: str, entity_id: int) -> str | None:
    """A state as the views call it, ABSENT, or None: nothing."""
    if look.shows(kind, entity_id):
        assert look.reading is not None
        state = str(look.reading.shown[kind][entity_id]["state"])
        return f'"{state}"' if state.upper() in (UNKNOWN, ABSENT) or state.startswith('"') else state
    return ABSENT if look.excludes(kind, entity_id) else None


def is_sure(ledger: Ledger, before: Look, after: Look, kind: str, entity_id: int) -> bool:
    """True if no gap and no doubtful answer lies between two answers about an entity."""
    between = [look for look in ledger.looks[before.number + 1 : after.number] if look.reading]
    if before.shows(kind, entity_id):
        doubts = between
    else:
        # What can't prove an absence says nothing of who is absent, unless it names it.
        doubts = [b for b in between if b.reading and entity_id in b.reading.named[kind]]
    return not doubts and after.at - before.at <= max(before.interval, after.interval) * 2.5
