"""How long regions or keystones took from one state to another, with bounds.

A journey begins when an entity changes to the first state, and ends when it first changes to the second one. It ends
without a result if the entity disappears before that, except if only another key asked, which may not see the entity.
Each of the two moments is known to lie in a window. So the duration lies between the distance of the inner edges of
the windows and the distance of their outer edges.

The journey is the one that was under way at its first sighting. If nobody asked before, others may have begun and
ended, and no row is about them. The journey may have ended and another one begun during a gap, or while the entity
was not shown, so the lower bound stops at the first such time. The journey may also have begun during such a time, if
the entity was then seen in a third state. So the beginning has a lower bound, and the duration an upper bound, only if
it is known that no journey was under way just before the one that was seen to begin: the entity was in the second
state, or absent.

Order statistics keep the bounds: sort all lower bounds and all upper bounds, and every quantile of the true durations
lies between the two quantiles.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.reports.asof import newest_applied
from collector.reports.beginnings import Begun, beginnings
from collector.reports.columns import AREA, OF_ENTITY, OF_SOURCE, PLACE, Column, Heading, Report, names_of
from collector.reports.filters import Row
from collector.reports.transitions import TransitionFilter, selected
from collector.store.tables import gaps, keystones, observations, regions, sources, state_transitions, unseen

LEAD_TIMES = Report(
    columns=(
        *PLACE,
        Column("entity", "text", "`region` or `keystone`"),
        Column("entity_id", "integer", "its id"),
        Column("from_state", "text", "first state, as the API spells it"),
        Column("to_state", "text or null", "last state; null: it has not ended"),
        Column("from_earliest", "time or null", "it began after this time; null: no lower bound is known"),
        Column("from_latest", "time", "it was first seen to have begun"),
        Column("to_earliest", "time or null", "it was last seen not to have ended"),
        Column("to_latest", "time or null", "it was first seen to have ended; null: it has not"),
        Column(
            "seconds_at_least",
            "number",
            "shortest possible duration, up to the first time in which it was not seen, or to `to_earliest`; so far, "
            "if it has not ended",
        ),
        Column(
            "seconds_at_most",
            "number or null",
            "longest possible duration; null: unknown, for example because it may have begun unseen",
        ),
        Column("is_open", "boolean", "true if it has not ended"),
        Column("from_seq", "integer", "observation that first showed the first state"),
        Column("to_seq", "integer or null", "observation that first showed the second one"),
        Column(
            "seconds_unobserved",
            "number",
            "time before `to_earliest` in which nobody asked, or it was not shown",
        ),
        *AREA,
    ),
    table={
        "source": OF_SOURCE,
        "entity": OF_ENTITY,
        "entity_id": Heading("id", 4),
        "display_name": Heading("region"),
        "from_latest": Heading("began"),
        "to_latest": Heading("ended", 2),
        "at_least": Heading("at least"),
        "at_most": Heading("at most"),
        "unobserved": Heading("unobserved", 3),
    },
)
LEAD_TIME_SUMMARY = Report(
    columns=(
        Column("quantile", "text", "`shortest`, `median`, `90 %`, `longest`"),
        Column("count", "integer", "how many ended"),
        Column("seconds_at_least", "number", "the quantile of the lower bounds"),
        Column("seconds_at_most", "number or null", "the quantile of the upper bounds; null: not known"),
    ),
    table={
        "quantile": Heading("quantile"),
        "count": Heading("count"),
        "at_least": Heading("at least"),
        "at_most": Heading("at most"),
    },
)
Blind = tuple[datetime, datetime]
_OTHER_EYES = ("observer_change", "other_copy")
QUANTILES = (("shortest", 0.0), ("median", 0.5), ("90 %", 0.9), ("longest", 1.0))


def lead_times(
    connection: sa.Connection,
    *,
    from_state: str,
    to_state: str,
    entity: str = "region",
    region: str | None = None,
    source: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Row]:
    """Each journey, by its beginning. `is_open`: it has not ended, so it takes longer than `seconds_at_least`.

    `seconds_at_most` None: no upper bound is known. `since`, `until`: limits of `from_latest`, half open. Raises
    UsageError if there is no such region.
    """
    t = state_transitions.c
    begun = beginnings(connection, source)
    query = selected(connection, TransitionFilter(source=source, region=region, entity=entity))
    query = query.order_by(t.source_id, t.entity_id, t.seq)
    found = [
        each
        for rows in _by_entity(
            map(dict, connection.execution_options(yield_per=5000).execute(query).mappings())
        )
        for each in _journeys(_on_record(rows, begun), from_state, to_state)
        if (since is None or each["from_latest"] >= since) and (until is None or each["from_latest"] < until)
    ]
    if found:
        confirmed = _last_confirmed(connection, entity, source)
        blind = _blind(connection, entity, source, begun)
        for each in found:
            key, begin = (each["source"], each["entity_id"]), each["from_latest"]
            end = confirmed.get(key, begin) if each["is_open"] else each["to_earliest"]
            both = [blind[place] for place in (key, (key[0], None)) if place in blind]
            on_the_way = each.pop("on_the_way")
            if on_the_way and any(times.begin_in(*on_the_way) for times in both):
                each["seconds_at_most"] = each["from_earliest"] = None
            hidden = each.pop("hidden")
            unseen_times = [time for times in both for time in times.between(begin, end or begin)]
            each |= _as_seen(begin, end, [*unseen_times, *hidden])
    return sorted(found, key=lambda row: (row["from_latest"], row["source"], row["entity_id"]))


def _by_entity(rows: Iterable[Row]) -> Iterator[list[Row]]:
    for _, group in itertools.groupby(rows, key=lambda row: (row["source"], row["entity_id"])):
        yield list(group)


def _on_record(rows: list[Row], begun: Mapping[str, Begun]) -> list[Row]:
    """The transitions of one entity after a pruned time, and the one that led to the state at the end of that time.

    A prune keeps the first and the last one of its time. If these are two, others may have been between them, so the
    last one has no lower bound for a beginning (`follows_pruned`).
    """
    start = begun.get(rows[0]["source"])
    old = [row for row in rows if start and row["seq"] <= start.seq]
    if len(old) < 2:
        return rows
    return [old[-1] | {"follows_pruned": True}, *rows[len(old) :]]


def _journeys(rows: Sequence[Row], from_state: str, to_state: str) -> Iterator[Row]:
    """The journeys of one entity. `rows`: its transitions in their order."""
    began: Row | None = None
    before: list[Row] = []
    """Transitions before the beginning, since the entity was last known to be on no journey."""
    hidden_since: datetime | None = None
    hidden: list[Blind] = []
    """When another key asked, since the beginning."""
    since_off: list[Row] = []
    first = rows[0]
    was_off = _is(first["from_state"], to_state) or (
        first["from_state"] is None and first["basis"] == "direct"
    )
    if "follows_pruned" in first and not was_off:
        since_off.append(first | {"not_before": None})
    for row in rows:
        if hidden_since and row["to_state"] is not None:
            hidden.append((hidden_since, row["observed_at"]))
        is_off = _is(row["to_state"], to_state) or (
            row["to_state"] is None and row["basis"] != "observer_change"
        )
        if began and _is(row["to_state"], to_state):
            yield _journey(began, row, hidden_since or row["not_before"], hidden, before)
            began = None
        elif is_off:
            began = None
        # An entity that enters the first state again on the way does not restart.
        if began is None:
            hidden = []
            began = row if _is(row["to_state"], from_state) else None
            before = list(since_off) if began and not is_off else []
        if is_off:
            since_off.clear()
        else:
            since_off.append(row)
        hidden_since = row["not_before"] if row["to_state"] is None else None
    if began:
        yield _journey(began, None, None, hidden, before)


def _is(word: str | None, wanted: str) -> bool:
    return word is not None and word.upper() == wanted.upper()


def _journey(
    began: Row,
    ended: Row | None,
    to_earliest: datetime | None,
    hidden: Sequence[Blind],
    before: list[Row],
) -> Row:
    # Another key or another region's copy may not have seen the beginning. Before an appearance there may be answers
    # that can't prove an absence.
    is_bounded = not any(
        row["not_before"] is None or row["basis"] in _OTHER_EYES for row in (began, *before)
    ) and not (before and before[0]["from_state"] is None and before[0]["basis"] != "direct")
    from_earliest = began["not_before"] if is_bounded else None
    at_most = (ended["observed_at"] - from_earliest).total_seconds() if ended and from_earliest else None
    names = (*names_of(PLACE), "entity", "entity_id", *names_of(AREA))
    return {name: began[name] for name in names} | {
        "from_state": began["to_state"],
        "to_state": ended and ended["to_state"],
        "from_earliest": from_earliest,
        "from_latest": began["observed_at"],
        "to_earliest": to_earliest,
        "to_latest": ended and ended["observed_at"],
        "seconds_at_least": 0.0,
        "seconds_at_most": at_most,
        "is_open": ended is None,
        "from_seq": began["seq"],
        "to_seq": ended and ended["seq"],
        "hidden": hidden,
        "on_the_way": (before[0]["not_before"], from_earliest) if before and from_earliest else None,
    }


def _as_seen(begin: datetime, end: datetime | None, blind: Iterable[Blind]) -> Row:
    """The time that is certain, from the first sighting of a beginning to the last sighting of the journey not having
    ended."""
    seen_until, unseen_for = end or begin, 0.0
    known_until = begin
    for since, until in sorted(each for each in blind if end and each[0] < end and each[1] > begin):
        seen_until = min(seen_until, since)
        unseen_for += max((min(until, end or until) - max(since, known_until)).total_seconds(), 0.0)
        known_until = max(known_until, until)
    return {
        "seconds_at_least": max((seen_until - begin).total_seconds(), 0.0),
        "seconds_unobserved": unseen_for,
    }


class _BlindTimes:
    """Times in which something could not be seen, to be found by when they were."""

    def __init__(self, times: Iterable[Blind]) -> None:
        self._times = sorted(times)
        self._begins = [since for since, _ in self._times]
        self._ended_by = list(itertools.accumulate((until for _, until in self._times), max))
        """By when a time and all before it had ended."""

    def between(self, begin: datetime, end: datetime) -> Sequence[Blind]:
        """Those that overlap a period, and perhaps some before it."""
        return self._times[bisect_right(self._ended_by, begin) : bisect_left(self._begins, end)]

    def begin_in(self, begin: datetime, end: datetime) -> bool:
        return bisect_left(self._begins, begin) < bisect_left(self._begins, end)


def _blind(
    connection: sa.Connection, entity: str, source: str | None, begun: Mapping[str, Begun]
) -> Mapping[tuple[str, int | None], _BlindTimes]:
    """When nobody asked a source (id None), and when an entity was not shown, until it was shown again."""
    g, u = gaps.c, unseen.c
    of_source = (
        sa.select(sources.c.name, sa.null(), g.last_asked_at, g.until_at)
        .join(sources, sources.c.id == g.source_id)
        .where(g.seq > 0)
    )
    not_shown = (
        sa.select(sources.c.name, u.entity_id, u.last_asked_at, u.until_at)
        .join(sources, sources.c.id == u.source_id)
        .where(u.entity == entity, u.until_at.is_not(None))
    )
    found: dict[tuple[str, int | None], list[Blind]] = defaultdict(list)
    for name, each in begun.items():
        found[name, None].append((each.first_at, each.at))
    for query in (of_source, not_shown):
        asked = query.where(sources.c.name == source) if source else query
        for name, entity_id, since, until in connection.execute(asked):
            found[name, entity_id].append((since, until))
    return {key: _BlindTimes(times) for key, times in found.items()}


def _last_confirmed(
    connection: sa.Connection, entity: str, source: str | None
) -> dict[tuple[str, int], datetime]:
    """When the last poll that showed each present entity was asked."""
    o, u = observations.c, unseen.c
    current = {"region": regions, "keystone": keystones}[entity].c
    is_unseen = (
        (u.source_id == current.source_id)
        & (u.entity == entity)
        & (u.entity_id == current.id)
        & u.until_at.is_(None)
    )
    query = (
        sa.select(
            sources.c.name, current.id, sa.func.coalesce(u.last_asked_at, o.last_asked_at, type_=UtcTime())
        )
        .join(sources, sources.c.id == current.source_id)
        .join(
            observations,
            (o.source_id == current.source_id) & (o.seq == newest_applied(current.source_id)),
        )
        .outerjoin(unseen, is_unseen)
        .where(current.absent_since.is_(None))
    )
    query = query.where(sources.c.name == source) if source else query
    return {(name, entity_id): moment for name, entity_id, moment in connection.execute(query)}


def summary(journeys: Iterable[Row]) -> list[Row]:
    """Quantiles of the journeys that ended, each with a lower and an upper bound (None: unknown). Empty if none ended.

    Each quantile is one of the values: the smallest one that at least this share does not exceed.
    """
    ended = [row for row in journeys if not row["is_open"]]
    if not ended:
        return []
    at_least = sorted(row["seconds_at_least"] for row in ended)
    at_most = sorted(math.inf if row["seconds_at_most"] is None else row["seconds_at_most"] for row in ended)
    return [
        {
            "quantile": name,
            "count": len(ended),
            "seconds_at_least": _quantile(at_least, share),
            "seconds_at_most": None if math.isinf(most := _quantile(at_most, share)) else most,
        }
        for name, share in QUANTILES
    ]


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
