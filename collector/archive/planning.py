"""Decides which saved answers can be put in order, and which poll interval to assume. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median

from collector.archive.saved import Found, Saved, Skipped
from collector.gcore.exchange import Exchange
from collector.settings.models import Source

MARGIN = timedelta(minutes=1)
"""How wrong a saved time may be: it may be that of the request or of the answer, and the clock may have been wrong."""
MAX_INTERVAL = timedelta(days=366)
EARLIEST = datetime(2014, 1, 1, tzinfo=UTC)
"""The API did not exist before."""
_MOMENT = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Unit:
    """One or more saved answers with the same time."""

    exchange: Exchange
    saved: tuple[Saved, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be imported, oldest first."""

    units: tuple[Unit, ...]
    skipped: tuple[Skipped, ...]
    interval: timedelta
    interval_from: str
    """The origin of the interval, in words."""
    found: Found


def plan(
    found: Found,
    source: Source,
    now: datetime,
    *,
    margin: timedelta = MARGIN,
    interval: timedelta | None = None,
) -> Plan:
    """Put answers in order, and leave out those whose times can't be trusted. Pure.

    `interval`: the assumed poll interval. None: the median distance between answers; or, if only changed answers were
    saved, the interval of the source's settings.
    """
    skipped = list(found.skipped)
    units: list[Unit] = []
    for unit in _in_order(found, skipped):
        why = _unbelievable(unit[0], margin, now)
        if why:
            skipped += [Skipped(each.name, why) for each in unit]
            continue
        exchange = _exchange(unit[0], margin)
        if units and exchange.answered_at <= (before := units[-1].exchange.answered_at):
            exchange = replace(exchange, answered_at=before + _MOMENT)
        units.append(Unit(exchange, unit))
    times = [unit.exchange.answered_at for unit in units]
    distances = [later - earlier for earlier, later in pairwise(times)]
    if interval is not None:
        interval_from = "as given"
    elif found.only_changes or not distances:
        interval, interval_from = source.interval, "as the settings say"
    else:
        seconds = round(median(d.total_seconds() for d in distances))
        interval = min(max(timedelta(seconds=seconds), _SECOND), MAX_INTERVAL)
        interval_from = "the median of their distances"
    return Plan(tuple(units), tuple(skipped), interval, interval_from, found)


def _in_order(found: Found, skipped: list[Skipped]) -> Iterator[tuple[Saved, ...]]:
    """Answers by time, grouped by equal times. One that overlaps a more exact time is left out."""
    if found.is_in_order:
        yield from ((each,) for each in found.saved)
        return
    groups: dict[tuple[datetime, datetime], list[Saved]] = {}
    for each in found.saved:
        groups.setdefault((each.when.at, each.when.until), []).append(each)
    kept: list[tuple[Saved, ...]] = []
    for window in sorted(groups):
        group = tuple(groups[window])
        while kept and group[0].when.at <= kept[-1][0].when.until:
            other = kept[-1]
            if _span(other[0]) <= _span(group[0]):
                skipped += [_unordered(each, other[0]) for each in group]
                break
            skipped += [_unordered(each, group[0]) for each in kept.pop()]
        else:
            kept.append(group)
    yield from kept


def _span(saved: Saved) -> timedelta:
    return saved.when.until - saved.when.at


def _unordered(saved: Saved, other: Saved) -> Skipped:
    return Skipped(saved.name, f"its time is too inexact to decide whether it came before {other.name}")


def _unbelievable(saved: Saved, margin: timedelta, now: datetime) -> str | None:
    if saved.when.at < EARLIEST:
        return f"its time, {saved.when.at:%Y-%m-%d %H:%M:%S} UTC, is before the API existed"
    answered_at = _exchange(saved, margin).answered_at
    if answered_at > now:
        return (
            f"its time is or may be in the future: it may be as late as {answered_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    return None


def _exchange(saved: Saved, margin: timedelta) -> Exchange:
    """The earliest and the latest time of the request and answer: the content was true at some moment in between."""
    if saved.when.is_coarse:
        return Exchange(saved.when.at, saved.when.until)
    return Exchange(saved.when.at - margin, saved.when.until + margin)
