"""Ticks of a time axis in UTC, for any length from seconds to centuries.

It has two rows. The upper row has the context: the day, month or year, where it begins. The lower row has the ticks.
Labels never overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from collector.reports.timeline.pieces import Scale

Measure = Callable[[str], float]
"""The width of a text, in the unit of the scale."""

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_LONG_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


@dataclass(frozen=True, slots=True)
class Step:
    """The distance of ticks, and the context above them."""

    unit: str
    count: int

    @property
    def seconds(self) -> float:
        """The shortest distance of two ticks."""
        sizes = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
        sizes |= {"month": 28 * 86_400, "year": 365 * 86_400}
        return sizes[self.unit] * self.count

    @property
    def context(self) -> str | None:
        """The unit of the upper row."""
        return {
            "second": "day",
            "minute": "day",
            "hour": "day",
            "day": "month",
            "week": "month",
            "month": "year",
        }.get(self.unit)


STEPS = tuple(
    Step(unit, count)
    for unit, counts in (
        ("second", (1, 5, 15, 30)),
        ("minute", (1, 5, 15, 30)),
        ("hour", (1, 3, 6, 12)),
        ("day", (1, 2)),
        ("week", (1,)),
        ("month", (1, 3, 6)),
        ("year", (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)),
    )
    for count in counts
)


@dataclass(frozen=True, slots=True)
class Tick:
    """A line at x, and its label. The label is empty if there is no space for it."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """All marks of the axis. The label of a tick is centred on it; the label of a context begins at it."""

    step: Step
    ticks: tuple[Tick, ...]
    contexts: tuple[Tick, ...]


def axis(scale: Scale, measure: Measure, *, gap: float, apart: float, overhang: float) -> Axis:
    """The finest steps whose labels fit.

    `gap`: least distance of labels; `apart`: least distance of ticks; `overhang`: how far a label may reach beyond the
    ends.
    """
    per_second = scale.width / (scale.until - scale.since).total_seconds()
    for step in STEPS:
        # The widest labels of a step.
        widest = max(measure(_label(step, moment)) for moment in _WIDEST)
        if step.seconds * per_second >= max(widest + gap, apart):
            break
    ticks = []
    for moment in _moments(step, scale.since, scale.until):
        x, label = scale.x(moment), _label(step, moment)
        half = measure(label) / 2
        fits = x - half >= -overhang and x + half <= scale.width + overhang
        ticks.append(Tick(x, label if fits else ""))
    return Axis(step, tuple(ticks), _contexts(step, scale, measure, gap))


_WIDEST = tuple(datetime(2008, month, 28, 20, 44, 44, tzinfo=UTC) for month in range(1, 13))


def _contexts(step: Step, scale: Scale, measure: Measure, gap: float) -> tuple[Tick, ...]:
    """Where days, months or years begin. The one that began before is at the left end, if its label fits."""
    if step.context is None:
        return ()
    unit = Step(step.context, 1)
    starts = list(_moments(unit, scale.since, scale.until))
    if not starts or starts[0] > scale.since:
        starts.insert(0, scale.since)
    found: list[Tick] = []
    end = scale.width
    for moment in reversed(starts):
        x = scale.x(moment)
        label = next((text for text in _context_labels(step.context, moment) if x + measure(text) <= end), "")
        found.append(Tick(x, label))
        end = x - gap if label else end
    return tuple(reversed(found))


def _context_labels(unit: str, moment: datetime) -> tuple[str, ...]:
    """The names of a day, month or year, the longest first."""
    month, year = moment.month - 1, moment.year
    if unit == "day":
        date = f"{moment.day} {_MONTHS[month]}"
        return f"{_DAYS[moment.weekday()]} {date} {year}", f"{date} {year}", date
    if unit == "month":
        return f"{_LONG_MONTHS[month]} {year}", f"{_MONTHS[month]} {year}", _MONTHS[month]
    return (str(year),)


def _label(step: Step, moment: datetime) -> str:
    if step.unit == "second":
        return f"{moment:%H:%M:%S}"
    if step.unit in ("minute", "hour"):
        return f"{moment:%H:%M}"
    if step.unit in ("day", "week"):
        return str(moment.day)
    return _MONTHS[moment.month - 1] if step.unit == "month" else str(moment.year)


def _moments(step: Step, since: datetime, until: datetime) -> Iterator[datetime]:
    """The round moments of a step between two times, both included."""
    moment: datetime | None = _floor(step, since)
    while moment is not None and moment <= until:
        if moment >= since:
            yield moment
        moment = _next(step, moment)


def _floor(step: Step, moment: datetime) -> datetime:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if step.unit in ("month", "year"):
        year, month = (moment.year, 1) if step.unit == "year" else (moment.year, moment.month)
        year = max(year - year % step.count, 1) if step.unit == "year" else year
        month = month - (month - 1) % step.count if step.unit == "month" else 1
        return midnight.replace(year=year, month=month, day=1)
    if step.unit == "week":
        try:
            return midnight - timedelta(days=midnight.weekday())
        except OverflowError:
            return midnight
    if step.unit == "day":
        return midnight.replace(day=midnight.day - (midnight.day - 1) % step.count)
    seconds = int(step.seconds)
    return midnight + timedelta(seconds=int((moment - midnight).total_seconds()) // seconds * seconds)


def _next(step: Step, moment: datetime) -> datetime | None:
    """The next tick; None: after the year 9999."""
    try:
        if step.unit == "year":
            year = moment.year - moment.year % step.count + step.count
            return moment.replace(year=year)
        if step.unit == "month":
            months = moment.month - 1 + step.count
            return moment.replace(year=moment.year + months // 12, month=months % 12 + 1)
        if step.unit == "day":
            following = moment + timedelta(days=step.count)
            # Every second day starts again with each month, so ticks are odd days. A 31st does not fit before a 1st.
            if following.month != moment.month or (
                step.count > 1 and (following + timedelta(days=1)).day == 1
            ):
                return (moment.replace(day=1) + timedelta(days=32)).replace(day=1)
            return following
        return moment + timedelta(seconds=step.seconds)
    except (OverflowError, ValueError):
        return None
