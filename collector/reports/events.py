"""Everything that happened, in order: the content of each observation, source by source, safe to resume from.

    source ─▶ seq ─▶ observation, gap, transition, version, gone, unseen, shown, rejected, drift

An observation and everything that follows from it are committed together and never extended. So a reader who remembers
how far it read each source misses nothing and gets nothing twice, whatever is written meanwhile. A cursor is that
memory. It also contains the digests of the observations up to which it read, so a cursor of another history, or from
before a backup was restored, is refused instead of continued at a wrong place.

The cost of a page depends only on its content. Observations are numbered without holes, and each is an event. So it is
known in advance which ranges of which sources are on a page, and one statement per kind of event reads all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from collector.reports.cursors import AnotherHistoryError, Cursor, Position, digest_of
from collector.reports.event_kinds import KINDS, LAST_KEY, Event, Stretch, times_of, with_times
from collector.reports.filters import Row
from collector.store.tables import sources

_FIRST, _GROWTH = 32, 8
"""How many observations are read first, and by which factor more later, until the page is full. One observation may be
one event, or thousands."""


@dataclass(frozen=True, slots=True)
class Events:
    """One page of what happened."""

    rows: Sequence[Row]
    """Each has `source`, `seq`, `ordinal`, `event` and `observed_at`, and the facts of that event."""
    places: Sequence[tuple[int, Position]]
    """For each row the id of its source, and the position right after it."""
    cursor: Cursor
    """Where to continue; the same as before if nothing happened since."""
    more: bool
    """True if more events are already known."""


def events(
    connection: sa.Connection, after: Cursor | None = None, *, source: str | None = None, limit: int = 1000
) -> Events:
    """What happened after a cursor, or from the beginning, by source (in the order in which sources were added), seq
    and ordinal.

    Raises AnotherHistoryError if the cursor does not belong to this history.
    """
    after = after or Cursor()
    if after.digest and after.digest != digest_of(connection, after.positions):
        raise AnotherHistoryError
    s = sources.c
    query = sa.select(s.id, s.name, s.newest_seq).where(s.newest_seq > 0).order_by(s.id)
    known = connection.execute(query.where(s.name == source) if source else query).all()
    newest = {row.id: row.newest_seq for row in known}
    names = {row.id: row.name for row in known}
    positions = dict(after.positions)
    found = _first(connection, newest, positions, limit + 1)
    page, rest = found[:limit], found[limit:]
    for source_id, seq in newest.items():
        if not rest or source_id < rest[0].source_id:
            positions[source_id] = Position(seq)
    rows, places = [], []
    for each, ordinal in _counted(page, after.positions):
        head = {
            "source": names[each.source_id],
            "seq": each.seq,
            "ordinal": ordinal,
            "event": each.row["event"],
        }
        rows.append(head | {"observed_at": each.row["observed_at"]} | each.row)
        places.append((each.source_id, Position(each.seq, ordinal, each.rank, each.key)))
        if rest and each.source_id == rest[0].source_id:
            positions[each.source_id] = places[-1][1]
    is_same = bool(after.digest) and positions == after.positions
    digest = after.digest if is_same else digest_of(connection, positions)
    return Events(rows, places, Cursor(positions, digest), bool(rest))


def _counted(page: Sequence[Event], begun: Mapping[int, Position]) -> Iterator[tuple[Event, int]]:
    """Each event with its ordinal: its number among those of its observation."""
    of, ordinal = (0, 0), 0
    for each in page:
        if each[:2] != of:
            at = begun.get(each.source_id, Position())
            of, ordinal = each[:2], at.ordinal or 0 if at.seq == each.seq else 0
        ordinal += 1
        yield each, ordinal


def _first(
    connection: sa.Connection, newest: Mapping[int, int], begun: Mapping[int, Position], limit: int
) -> list[Event]:
    """The first events after these positions, in order."""
    found: list[Event] = []
    at, count = dict(begun), _FIRST
    while len(found) < limit:
        wanted = limit - len(found)
        ends = _ends(newest, at, min(count, wanted))
        if not ends:
            break
        found += _of(connection, at, ends, wanted)
        at |= {source_id: Position(seq) for source_id, seq in ends.items()}
        count *= _GROWTH
    return found


def _ends(newest: Mapping[int, int], at: Mapping[int, Position], count: int) -> dict[int, int]:
    """Up to which seq of each source the next `count` observations go, and the rest of the one that was begun."""
    found: dict[int, int] = {}
    for source_id, last in newest.items():
        position = at.get(source_id, Position())
        if position.seq >= last and position.ordinal is None:
            continue
        found[source_id] = min(last, position.seq + count)
        count -= found[source_id] - position.seq
        if count <= 0:
            break
    return found


def _of(
    connection: sa.Connection, at: Mapping[int, Position], ends: Mapping[int, int], limit: int
) -> list[Event]:
    """The first events after positions, up to these ends, in order."""
    places = {source_id: at.get(source_id, Position()) for source_id in ends}
    whole = [Stretch(source_id, places[source_id].seq, LAST_KEY, seq) for source_id, seq in ends.items()]
    times = times_of(connection, whole)
    stretches = [with_times(each, times) for each in whole]
    found: list[Event] = []
    for rank, kind in enumerate(KINDS):
        asked = [_begun(each, places[each.source_id], rank) for each in stretches]
        found += kind.of(connection, rank, [each for each in asked if each.is_any], limit)
        found.sort(key=lambda event: event[:4])
        if len(found) >= limit:
            # Later ones are not on this page.
            del found[limit:]
            stretches = list(_up_to(stretches, found[-1]))
    return [each._replace(row=each.row | {"observed_at": times[each[:2]]}) for each in found]


def _begun(stretch: Stretch, at: Position, rank: int) -> Stretch:
    """The rest of a range for the events of a rank; those of the first observation may have been read."""
    if at.ordinal is None or rank < at.rank:
        return stretch
    if rank == at.rank:
        return stretch._replace(after_key=at.key)
    return stretch._replace(after_seq=at.seq - 1)


def _up_to(stretches: Sequence[Stretch], last: Any) -> Iterator[Stretch]:
    for each in stretches:
        if each.source_id < last.source_id:
            yield each
        elif each.source_id == last.source_id:
            yield each._replace(last_seq=min(each.last_seq, last.seq))
