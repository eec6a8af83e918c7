"""Runs: the state of a region, the times and the number of polls that showed it, and with which keys.

A *run* is a time in which every answer that showed a region showed the same state, or no complete answer listed it.
It begins with the answer of the first poll that showed the state, and is certain up to the request of the last one.
It ends when another state is shown, so a run is never contradicted. There may be times in between when the region was
not shown; they are `blind`.

`collector/audit/pack/check.py` shares no code with us, and finds the same runs in the answers themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from collector.inventory.observation import IMPORT, gap_limit
from collector.store.amendments import beginning
from collector.store.tables import (
    observations,
    observers,
    region_versions,
    state_transitions,
    unseen,
    withheld_absences,
)

_o, _t, _u, _v, _w, _who = (
    each.c
    for each in (observations, state_transitions, unseen, region_versions, withheld_absences, observers)
)
_MILLISECOND = timedelta(milliseconds=1)
_COLUMNS = (
    "seq",
    "outcome",
    "first_asked_at",
    "first_at",
    "last_asked_at",
    "last_at",
    "polls",
    "longest_interval_ms",
    "expected_interval_ms",
    "payload",
    "opening_digest",
)


@dataclass(frozen=True, slots=True)
class Blind:
    """A time within a run in which no answer showed it: from a request to an answer."""

    from_at: datetime
    until_at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """A region in one state, as far as it was shown."""

    region_id: int
    name: str
    """Its name in the last answer of the run."""
    state: str | None
    """None: complete answers did not list it."""
    not_before: datetime | None
    """It may have begun at any time after this; None: unbounded."""
    basis: str
    """The basis of the transition into it."""
    from_at: datetime
    """Answer of the first poll that showed it."""
    until_at: datetime
    """Request of the last poll that showed it."""
    polls: int
    longest_interval_ms: int
    """Longest time between two of these polls, apart from blind times."""
    first_seq: int
    last_seq: int
    keys: tuple[str, ...]
    """Fingerprints of the keys that were used; `import`: saved answers."""
    blind: tuple[Blind, ...]
    next_state: str | None
    """The state that was shown next."""
    next_seq: int | None
    """The observation that showed the next state; None: none did."""
    next_at: datetime | None
    next_basis: str | None

    def knows(self, moment: datetime) -> bool:
        """True if it shows the region's state at a moment."""
        is_within = self.from_at <= moment <= self.until_at
        return is_within and not any(each.from_at < moment < each.until_at for each in self.blind)


Row = Mapping[str, Any]


def runs(connection: sa.Connection, source_id: int, region_id: int, rows: Sequence[Row]) -> Iterator[Run]:
    """The runs of a region within these observations, in order. `rows`: from `observed`."""
    if not rows:
        return
    first, last = rows[0]["seq"], rows[-1]["seq"]
    changes = _changes(connection, source_id, region_id, first, last)
    hidden = _spans(connection, source_id, region_id)
    unproven = _withheld(connection, source_id, region_id)
    for now, following in pairwise([*changes, None]):
        assert now is not None  # noqa: S101 - only the last one is None
        end = following["seq"] if following is not None else last + 1
        within = [row for row in _between(rows, max(now["seq"], first), end) if row["outcome"] != "failed"]
        if now["to_state"] is not None:
            showing = [row for row in within if not _is_in(row["seq"], hidden)]
        else:
            showing = [row for row in within if row["outcome"] == "ok" and row["seq"] not in unproven]
        if showing:
            yield _run(connection, source_id, region_id, now, following, within, showing)


def _run(
    connection: sa.Connection,
    source_id: int,
    region_id: int,
    now: Row,
    following: Row | None,
    within: Sequence[Row],
    showing: Sequence[Row],
) -> Run:
    ours = {row["seq"] for row in showing}
    blind = [Blind(one["last_asked_at"], other["first_at"]) for one, other in _out_of_sight(within, ours)]
    intervals = [row["longest_interval_ms"] for row in showing]
    intervals += [
        (other["first_at"] - one["last_at"]) // _MILLISECOND
        for one, other in pairwise(showing)
        if not any(each.until_at == other["first_at"] for each in blind)
    ]
    return Run(
        region_id=region_id,
        name=_name(connection, source_id, region_id, showing[-1]["seq"]),
        state=now["to_state"],
        not_before=now["not_before"],
        basis=now["basis"],
        from_at=showing[0]["first_at"],
        until_at=showing[-1]["last_asked_at"],
        polls=sum(row["polls"] for row in showing),
        longest_interval_ms=max(intervals),
        first_seq=showing[0]["seq"],
        last_seq=showing[-1]["seq"],
        keys=tuple(dict.fromkeys(row["key"] for row in showing)),
        blind=tuple(blind),
        next_state=following["to_state"] if following is not None else None,
        next_seq=following["seq"] if following is not None else None,
        next_at=following["observed_at"] if following is not None else None,
        next_basis=following["basis"] if following is not None else None,
    )


def _out_of_sight(within: Sequence[Row], showing: set[int]) -> Iterator[tuple[Row, Row]]:
    """Pairs of observations that show it, between which it was not visible. `within`: all applied ones."""
    last: Row | None = None
    before: Row | None = None
    for row in within:
        if row["seq"] in showing:
            if last is not None and (before is not last or _is_gap(last, row)):
                yield last, row
            last = row
        before = row


def _is_gap(one: Row, other: Row) -> bool:
    intervals = (row["expected_interval_ms"] * _MILLISECOND for row in (one, other))
    return bool(other["first_at"] - one["last_at"] > gap_limit(*intervals))


def observed(
    connection: sa.Connection, source_id: int, first_seq: int = 1, last_seq: int | None = None
) -> list[Row]:
    """The observations for runs, in order, each with its key; in a pruned history from its beginning."""
    if (begins := beginning(connection, source_id)) is not None:
        first_seq = max(first_seq, begins.begins_seq)
    is_import = (_who.key_fingerprint == "") & (_who.auth_scheme == IMPORT)
    query = (
        sa.select(
            *(_o[name] for name in _COLUMNS),
            sa.case((is_import, IMPORT), else_=_who.key_fingerprint).label("key"),
        )
        .join(observers, (_who.source_id == _o.source_id) & (_who.id == _o.observer_id))
        .where(_o.source_id == source_id, _o.seq >= first_seq)
        .order_by(_o.seq)
    )
    query = query if last_seq is None else query.where(_o.seq <= last_seq)
    return [dict(row) for row in connection.execute(query).mappings()]


def _changes(connection: sa.Connection, source_id: int, region_id: int, first: int, last: int) -> list[Row]:
    """Changes of a region's state or presence up to `last`, starting with the last one before `first`."""
    query = (
        sa.select(_t.seq, _t.to_state, _t.not_before, _t.observed_at, _t.basis)
        .where(_t.source_id == source_id, _t.entity == "region", _t.entity_id == region_id, _t.seq <= last)
        .order_by(_t.seq)
    )
    found: list[Row] = [dict(row) for row in connection.execute(query).mappings()]
    earlier = [row for row in found if row["seq"] <= first]
    return found[max(len(earlier) - 1, 0) :]


def _between(rows: Sequence[Row], begin: int, end: int) -> Sequence[Row]:
    """The rows between two numbers; observations are numbered without holes."""
    offset = rows[0]["seq"]
    return rows[begin - offset : end - offset]


def _spans(connection: sa.Connection, source_id: int, region_id: int) -> list[tuple[int, int | None]]:
    query = sa.select(_u.missed_seq, _u.until_seq).where(
        _u.source_id == source_id, _u.entity == "region", _u.entity_id == region_id
    )
    return [(row.missed_seq, row.until_seq) for row in connection.execute(query)]


def _is_in(seq: int, spans: Iterable[tuple[int, int | None]]) -> bool:
    return any(begin <= seq and (end is None or seq < end) for begin, end in spans)


def _withheld(connection: sa.Connection, source_id: int, region_id: int) -> set[int]:
    query = sa.select(_w.seq).where(
        _w.source_id == source_id, _w.entity == "region", _w.scope.in_(("all", str(region_id)))
    )
    return set(connection.scalars(query))


def _name(connection: sa.Connection, source_id: int, region_id: int, seq: int) -> str:
    query = (
        sa.select(_v.display_name, _v.slug)
        .where(_v.source_id == source_id, _v.region_id == region_id, _v.seq <= seq)
        .order_by(_v.seq.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return str((row and (row.display_name or row.slug)) or f"region {region_id}")
