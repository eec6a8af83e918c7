"""Answers that somebody saved earlier become the beginning of a source's history.

    find     files, or the versions of one file in git, with their times        (gcore.saved, gcore.githistory)
    plan     which can be put in order, and how far apart polls were expected to be                      (pure)
    bring in read ─▶ already in the history? ─▶ the same write path as a poll, one transaction an answer

A trial does the same in a scratch database, so that what it says is what would happen. Nothing is invented: an
answer that can't be used is left out rather than recorded as a failure, and times between answers are not filled.
"""

from __future__ import annotations

import sqlite3
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic

import sqlalchemy as sa

from collector.clock import Clock, utc_now
from collector.errors import LeaseLostError, SettingsError, UsageError
from collector.gcore.client import Answer, Exchange, Failure
from collector.gcore.document import Document
from collector.gcore.githistory import GitFile
from collector.gcore.listing import listing_of
from collector.gcore.saved import Folder, Found, Saved, Skipped, UnreadableError
from collector.inventory.observation import Observer, gap_limit
from collector.poll import PollResult, Seen, Unread, poll_of, read, write
from collector.settings import Source
from collector.store import copying, lease, observations, payloads
from collector.store.engine import LEASE_SECONDS, migrating, open_engine, reading
from collector.store.observations import Stretch
from collector.store.tables import metadata, sources
from collector.store.writer import Writer

MARGIN = timedelta(minutes=1)
"""How far a saved time may be off: was it the question's or the answer's, and was that clock right?"""
MAX_INTERVAL = timedelta(days=366)
EARLIEST = datetime(2014, 1, 1, tzinfo=UTC)
"""There was no such API before."""
_MOMENT = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Unit:
    """One or more saved answers of one and the same time."""

    exchange: Exchange
    saved: tuple[Saved, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be imported, oldest first."""

    units: tuple[Unit, ...]
    skipped: tuple[Skipped, ...]
    interval: timedelta
    interval_from: str
    """In words."""
    found: Found


@dataclass(slots=True)
class Report:
    """What was imported, or would be."""

    plan: Plan
    imported: int = 0
    known: int = 0
    """Answers that the history has already."""
    twice: int = 0
    """Further copies of an answer."""
    bare: int = 0
    """Answers that were a list alone."""
    changed: int = 0
    """Answers after the first that differ from the one before."""
    head: str | None = None
    """The newest opening digest."""
    gaps: int = 0
    """Times between two answers that are longer than the gap limit."""
    first_at: datetime | None = None
    last_at: datetime | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    """Answers imported, by where their times are from."""
    assumed: int = 0
    """Of these, names without a zone."""
    coarse: int = 0
    """Of these, times that are known to an hour or a day only."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Transitions by kind, but for what was there at first."""
    baseline: int = 0
    skipped: list[Skipped] = field(default_factory=list)


# Planning


def plan(
    found: Found,
    source: Source,
    now: datetime,
    *,
    margin: timedelta = MARGIN,
    interval: timedelta | None = None,
) -> Plan:
    """Put answers in order, and leave out those whose times can't be believed. Pure.

    `interval`: how far apart polls were expected to be; None: the median distance, or, where answers were saved only
    when they differed, that of the source's settings.
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
        interval_from = "as you say"
    elif found.only_changes or not distances:
        interval, interval_from = source.interval, "as the settings say"
    else:
        seconds = round(median(d.total_seconds() for d in distances))
        interval = min(max(timedelta(seconds=seconds), _SECOND), MAX_INTERVAL)
        interval_from = "the median of their distances"
    return Plan(tuple(units), tuple(skipped), interval, interval_from, found)


def _in_order(found: Found, skipped: list[Skipped]) -> Iterator[tuple[Saved, ...]]:
    """Answers by time, those of equal times together. One that overlaps another of a more exact time is left out."""
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
    return Skipped(saved.name, f"its time is not exact enough to tell whether it came before {other.name}")


def _unbelievable(saved: Saved, margin: timedelta, now: datetime) -> str | None:
    if saved.when.at < EARLIEST:
        return f"its time, {saved.when.at:%Y-%m-%d %H:%M:%S} UTC, lies before there was such an API"
    answered_at = _exchange(saved, margin).answered_at
    if answered_at > now:
        return (
            f"its time lies in the future, or may: it may be as late as {answered_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    return None


def _exchange(saved: Saved, margin: timedelta) -> Exchange:
    """Between which times the answer was given: what it shows was true at some moment between the two."""
    if saved.when.is_coarse:
        return Exchange(saved.when.at, saved.when.until)
    return Exchange(saved.when.at - margin, saved.when.until + margin)


# Bringing in


def require_no_own_poll(connection: sa.Connection, source: str) -> None:
    """Raises UsageError where the source was polled already: within a source time only moves forward."""
    source_id = connection.scalar(sa.select(sources.c.id).where(sources.c.name == source))
    at = None if source_id is None else observations.first_own_poll(connection, source_id)
    if at is not None:
        raise UsageError(
            f"source {source!r} was polled already, first at {at:%Y-%m-%d %H:%M:%S} UTC: an import comes before the "
            "first own poll, since history only moves forward; import into a new database, or under another name "
            "of the source, and poll there from then on"
        )


def bring_in(
    plan: Plan,
    archive: Folder | GitFile,
    source: Source,
    writer: Writer,
    *,
    whole_lists: bool = False,
    clock: Clock = utc_now,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Report:
    """Write everything that is planned and not in the history yet, one transaction an answer.

    `whole_lists`: a list alone is the whole list of regions. Raises UsageError where the source has own polls, and as
    `collector.poll.write` does; what was written until then is a valid, shorter history, and another run goes on.
    """
    report = Report(plan, skipped=list(plan.skipped))
    with reading(writer.engine) as connection:
        require_no_own_poll(connection, source.name)
        past = _Past(writer, observations.stretches(connection, writer.lease.source_id))
    observer = Observer.of_import(source.base_url)
    keep = _keeping(writer)
    reader = _Reader(archive, writer, observer, _key_of(source), whole_lists)
    before: datetime | None = None
    for number, unit in enumerate(plan.units):
        progress(number, len(plan.units))
        keep()
        answers = []
        for saved in unit.saved:
            try:
                answers.append(reader.read(saved, unit.exchange))
            except UnreadableError as error:
                report.skipped.append(Skipped(saved.name, str(error)))
        if not answers:
            continue
        first, *others = answers
        if others and len({each.document().address for each in answers}) > 1:
            report.skipped += [
                Skipped(each.saved.name, f"the same time as {other.saved.name}, and another content")
                for each, other in zip(answers, [*others, first], strict=True)
            ]
            continue
        report.twice += len(others)
        answered_at = unit.exchange.answered_at
        report.gaps += before is not None and answered_at - before > gap_limit(plan.interval)
        before = answered_at
        if answered_at <= past.end:
            if past.knows(answered_at, first.document()):
                report.known += 1
            else:
                why = f"older than the newest answer in the history, of {past.end:%Y-%m-%d %H:%M:%S} UTC, and not in it"
                report.skipped.append(Skipped(first.saved.name, why))
            continue
        seen = Seen(poll_of(unit.exchange, observer, plan.interval), first.said, first.body_hash, 0.0, 0.0)
        _count(report, first, write(source, seen, writer, clock))
    progress(len(plan.units), max(len(plan.units), 1))
    return report


@contextmanager
def trial_database(live: sa.Engine | None, source: str) -> Iterator[sa.Engine]:
    """An engine on a scratch database that knows what the real one knows of this source, gone at the end.

    `live`: None where there is no database yet. Raises UsageError where the source has own polls.
    """
    with tempfile.TemporaryDirectory(prefix="collector-") as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'trial.db'}")

        @sa.event.listens_for(engine, "connect")
        def connect(raw: sqlite3.Connection, _: object) -> None:
            raw.execute("PRAGMA synchronous = OFF").close()

        try:
            with migrating(engine) as connection:
                metadata.create_all(connection)
            if live is not None:
                with reading(live) as origin, migrating(engine) as connection:
                    require_no_own_poll(origin, source)
                    copying.copy_source(origin, connection, source)
            yield engine
        finally:
            engine.dispose()


@dataclass(frozen=True, slots=True)
class _Answer:
    """A saved answer whose bytes are here."""

    saved: Saved
    said: Document | Unread
    body_hash: bytes
    is_bare: bool

    def document(self) -> Document:
        said = self.said.read() if isinstance(self.said, Unread) else self.said
        assert isinstance(said, Document)  # noqa: S101 - the same bytes were read before
        return said


@dataclass(slots=True)
class _Reader:
    """Reads saved answers as `collector.poll.look` reads those of the cloud."""

    archive: Folder | GitFile
    writer: Writer
    observer: Observer
    key: str
    """Of the source, if it has one: an answer that echoes it must not bring it in."""
    whole_lists: bool
    newest: tuple[bytes, Document] | None = None
    """What was read last, and the hash of its bytes: most answers say the same again."""

    def read(self, saved: Saved, exchange: Exchange) -> _Answer:
        """Raises UnreadableError, with the reason, where it is no answer."""
        body = self.archive.read(saved)
        bare = body.removeprefix(b"\xef\xbb\xbf").lstrip()
        if bare.startswith(b"["):
            return self._bare(saved, exchange, bare)
        answer = Answer(exchange, body)
        if self.writer.remembers(answer.body_hash(), self.observer):
            return _Answer(saved, Unread(answer, self.key, self.writer.reader), answer.body_hash(), False)
        return _Answer(saved, self._document(answer), answer.body_hash(), False)

    def _bare(self, saved: Saved, exchange: Exchange, body: bytes) -> _Answer:
        """A list alone says not of how many. So it is an answer without `count`, and nothing is taken for absent."""
        answer = Answer(exchange, b'{"results":' + body + b"}")
        document = self._document(answer)
        if document.envelope:
            raise UnreadableError("not JSON: it goes on after the list")
        if self.whole_lists:
            answer = Answer(exchange, b'{"count":%d,' % len(document.records) + answer.body[1:])
            document = self._document(answer)
        return _Answer(saved, document, answer.body_hash(), True)

    def _document(self, answer: Answer) -> Document:
        body_hash = answer.body_hash()
        if self.newest is not None and self.newest[0] == body_hash:
            return self.newest[1]
        said = read(answer, self.key, self.writer.reader)
        if isinstance(said, Failure):
            raise UnreadableError(said.message.removeprefix("status 200, but "))
        self.newest = body_hash, said
        return said


class _Past:
    """What the history held when the import began."""

    def __init__(self, writer: Writer, stretches: Sequence[Stretch]) -> None:
        self._writer = writer
        self._stretches = stretches
        self._begins = [stretch.first_at for stretch in stretches]

    @property
    def end(self) -> datetime:
        return self._stretches[-1].last_at if self._stretches else datetime.min.replace(tzinfo=UTC)

    def knows(self, at: datetime, document: Document) -> bool:
        """Whether this answer was seen at that time, or in the middle of a stretch of answers that say the same."""
        index = bisect_right(self._begins, at) - 1
        if index < 0 or at > self._stretches[index].last_at:
            return False
        address = self._stretches[index].payload
        if address == document.address:
            return True
        with reading(self._writer.engine) as connection:
            stored = payloads.load(connection, self._writer.lease.source_id, address)
        return listing_of(document).says_the_same_as(listing_of(stored))


def _key_of(source: Source) -> str:
    """The source's key, as far as there is one; none is needed."""
    try:
        return source.key()
    except SettingsError:
        return ""


def _keeping(writer: Writer) -> Callable[[], None]:
    """Keep the lease while many answers are read and none is written."""
    renewed = monotonic()

    def keep() -> None:
        nonlocal renewed
        if monotonic() - renewed > LEASE_SECONDS / 4:
            if not lease.resume(writer.engine, writer.lease):
                raise LeaseLostError
            renewed = monotonic()

    return keep


def _count(report: Report, answer: _Answer, result: PollResult) -> None:
    recorded, when = result.recorded, answer.saved.when
    is_first = not report.imported
    report.imported += 1
    report.head = recorded.head
    report.first_at = report.first_at or when.at
    report.last_at = when.until
    report.outcomes[recorded.outcome] += 1
    report.origins[answer.saved.origin] += 1
    report.assumed += not when.zone_given
    report.coarse += when.is_coarse
    report.bare += answer.is_bare
    for transition in recorded.transitions:
        if transition.basis == "baseline":
            report.baseline += 1
        else:
            report.kinds[transition.kind] += 1
    report.changed += bool(recorded.changes.versions or recorded.transitions) and not is_first
