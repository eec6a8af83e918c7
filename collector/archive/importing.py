"""Imports saved answers as the beginning of a source's history.

    find     files, or the versions of one file in git, with their times        (saved, githistory)
    plan     which can be put in order, and which poll interval to assume                            (pure)
    bring in read ─▶ already in the history? ─▶ the same write path as a poll, one transaction per answer

A trial does the same in a scratch database, so its report is what would happen. Nothing is invented: an unusable
answer is left out rather than recorded as a failure, and the time between answers is not filled.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa

from collector.archive.answers import SavedAnswer, SavedAnswers
from collector.archive.githistory import GitFile
from collector.archive.planning import Plan
from collector.archive.saved import Folder, Skipped, UnreadableError
from collector.clock import Clock, utc_now
from collector.database.transactions import reading
from collector.errors import SettingsError, UsageError
from collector.gcore.document import Document
from collector.gcore.listing import listing_of
from collector.inventory.observation import Observer, gap_limit
from collector.poll import PollResult, Seen, poll_of, write
from collector.settings.models import Source
from collector.store import observations, payloads
from collector.store.amendments import beginning
from collector.store.observations import Stretch
from collector.store.tables import sources
from collector.store.writer import Writer


@dataclass(slots=True)
class Report:
    """What was imported, or would be."""

    plan: Plan
    imported: int = 0
    known: int = 0
    """Number of answers that the history already has."""
    pruned: int = 0
    """Number of answers from before the history begins. It may have had them."""
    twice: int = 0
    """Number of further copies of an answer."""
    bare: int = 0
    """Number of answers that were bare lists."""
    changed: int = 0
    """Number of answers, after the first, that differ from the previous one."""
    head: str | None = None
    """The newest opening digest."""
    gaps: int = 0
    """Number of times between two answers that exceed the gap limit."""
    first_at: datetime | None = None
    last_at: datetime | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    """Number of imported answers by the origin of their times."""
    assumed: int = 0
    """How many of these have names without a zone."""
    coarse: int = 0
    """How many of these have times that are known to an hour or a day only."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Number of transitions by kind, without those of the first answer."""
    baseline: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def require_no_own_poll(connection: sa.Connection, source: str) -> None:
    """Raise UsageError if the source was polled already: within a source, time only moves forward."""
    source_id = connection.scalar(sa.select(sources.c.id).where(sources.c.name == source))
    at = None if source_id is None else observations.first_own_poll(connection, source_id)
    if at is not None:
        raise UsageError(
            f"source {source!r} was polled already, first at {at:%Y-%m-%d %H:%M:%S} UTC. An import must come before "
            "the first poll, since history only moves forward: import into a new database, or under another source "
            "name, and poll there from then on"
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
    """Write everything that is planned and not yet in the history, one transaction per answer.

    `whole_lists`: a bare list counts as the complete list of regions. Raises UsageError if the source was polled, and
    the errors of `collector.poll.write`. Until an error, what was written is a valid, shorter history; another run
    continues.
    """
    report = Report(plan, skipped=list(plan.skipped))
    with reading(writer.engine) as connection:
        require_no_own_poll(connection, source.name)
        past = _Past(writer, observations.stretches(connection, writer.lease.source_id))
        begins = beginning(connection, writer.lease.source_id)
    observer = Observer.of_import(source.base_url)
    reader = SavedAnswers(archive, writer, observer, _key_of(source), whole_lists)
    before: datetime | None = None
    for number, unit in enumerate(plan.units):
        progress(number, len(plan.units))
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
                Skipped(each.saved.name, f"the same time as {other.saved.name}, but other content")
                for each, other in zip(answers, [*others, first], strict=True)
            ]
            continue
        report.twice += len(others)
        answered_at = unit.exchange.answered_at
        report.gaps += before is not None and answered_at - before > gap_limit(plan.interval)
        before = answered_at
        if answered_at <= past.end:
            if begins is not None and answered_at < begins.begins_at:
                report.pruned += 1
            elif past.knows(answered_at, first.document()):
                report.known += 1
            else:
                why = f"older than the newest answer in the history ({past.end:%Y-%m-%d %H:%M:%S} UTC) and not in it"
                report.skipped.append(Skipped(first.saved.name, why))
            continue
        seen = Seen(poll_of(unit.exchange, observer, plan.interval), first.said, first.body_hash, 0.0, 0.0)
        _count(report, first, write(source, seen, writer, clock))
    progress(len(plan.units), max(len(plan.units), 1))
    return report


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
        """True if this answer was seen at that time, or during a stretch of equal answers."""
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
    """The source's key, if it has one; an import does not need it."""
    try:
        return source.key()
    except SettingsError:
        return ""


def _count(report: Report, answer: SavedAnswer, result: PollResult) -> None:
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
