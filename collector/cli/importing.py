"""`collector import`: a history that begins before the collector did."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collector.cli.common import (
    Word,
    migrate_option,
    open_for_writing,
    progress_bar,
    settings_of,
    wait_option,
)
from collector.cli.printing import say
from collector.errors import SchemaError, UsageError
from collector.inventory.observation import gap_limit
from collector.nearest import instead, listed
from collector.reports.words import counted, printable, show_span, show_time

if TYPE_CHECKING:
    import sqlalchemy as sa

    from collector.archive.githistory import GitFile
    from collector.archive.importing import Report
    from collector.archive.saved import Folder, Found, TimeFrom
    from collector.settings.models import Settings, Source

SHOWN = 20
"""Number of left-out answers that are named, unless all are asked for."""
_ORIGINS = {
    "name": "from their names",
    "mtime": "from when the file was modified",
    "commit": "from when the commit was written (its author date)",
}


class Duration(click.ParamType[timedelta]):
    """A duration as in the settings, between two bounds."""

    name = "duration"

    def __init__(self, least: timedelta, most: timedelta) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from collector.spelling import parse_duration

        try:
            duration: timedelta = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self.least <= duration <= self.most:
            bounds = f"from {self.least.total_seconds():g} s to {self.most.total_seconds():g} s"
            self.fail(f"{value!r} is not {bounds}", param, ctx)
        return duration


@click.command("import")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only show what would be imported; writes nothing.")
@click.option(
    "--git-file",
    metavar="PATH",
    type=Word(),
    help="Import the versions of this file; DIR is a git repository.",
)
@click.option(
    "--source",
    "name",
    metavar="NAME",
    type=Word(),
    help="Source of the settings; needed if there are several.",
)
@click.option(
    "--time-from",
    type=click.Choice(["auto", "name", "mtime"]),
    default="auto",
    show_default=True,
    help="Origin of a file's time; auto: its name, otherwise its modification time.",
)
@click.option(
    "--tz",
    "zone_name",
    metavar="ZONE",
    type=Word(),
    default="UTC",
    show_default=True,
    help="Time zone of names without one.",
)
@click.option(
    "--margin",
    type=Duration(timedelta(), timedelta(hours=1)),
    default="1m",
    show_default=True,
    help="How far off a time may be, before and after.",
)
@click.option(
    "--interval",
    type=Duration(timedelta(seconds=1), timedelta(days=366)),
    help="Assumed time between polls. Default: the median distance; for git, the source's interval.",
)
@click.option("--whole-lists", is_flag=True, help="A bare list without `count` is known to be complete.")
@click.option("--all", "show_all", is_flag=True, help="Name every answer that is not imported, not only 20.")
@migrate_option
@wait_option("How long to wait for another process's lease.")
@click.pass_context
def import_(
    context: click.Context,
    folder: Path,
    dry_run: bool,
    git_file: str | None,
    name: str | None,
    time_from: TimeFrom,
    zone_name: str,
    margin: timedelta,
    interval: timedelta | None,
    whole_lists: bool,
    show_all: bool,
    migrate: bool,
    wait: float,
) -> None:
    """Import answers that were saved earlier.

    An import must come before the source's first own poll. DIR contains JSON files with a time in the name, or is a
    git repository that a scraper filled. No key is needed. Exits with 0 if everything was imported, 3 if something
    was left out, 1 if nothing could be imported.

    \b
    Example:
      collector import --dry-run saved/
      collector import saved/
      collector import --git-file regions.json --interval 20m scraper/
    """
    from collector.archive.importing import bring_in
    from collector.archive.planning import plan as planned
    from collector.clock import utc_now
    from collector.reports.periods import time_zone
    from collector.store import lease
    from collector.store.opening import for_once, open_writer

    if git_file is not None and time_from != "auto":
        raise UsageError("--time-from is for files; versions in git have the dates of their commits")
    zone = time_zone(zone_name)
    source = _source(settings_of(context), name)
    with _archive(folder, git_file, source.max_body) as archive:
        found = _find(archive, time_from, zone)
        plan = planned(found, source, utc_now(), margin=margin, interval=interval)
        if not plan.units and not plan.skipped:
            raise UsageError(f"there are no files in {folder} that end with .json or .json.gz")
        with (
            _trial(context, source) if dry_run or not plan.units else _real(context, migrate) as engine,
            progress_bar(source.name) as progress,
            for_once(open_writer(engine, source, lease.process_name(), wait_seconds=wait)) as writer,
        ):
            report = bring_in(plan, archive, source, writer, whole_lists=whole_lists, progress=progress)
    _tell(report, source, zone, margin, whole_lists=whole_lists, dry_run=dry_run, show_all=show_all)
    done = report.imported + report.known + report.pruned
    sys.exit(3 if report.skipped and done else 0 if done else 1)


def _source(settings: Settings, name: str | None) -> Source:
    names = [source.name for source in settings.sources]
    if name is None and len(settings.sources) > 1:
        raise UsageError(f"which source are these answers of? add --source with one of: {listed(names)}")
    for source in settings.sources:
        if name in (None, source.name):
            return source
    raise UsageError(f"the settings name no source {name!r}; {instead(str(name), names)}")


@contextmanager
def _archive(folder: Path, git_file: str | None, max_body: int) -> Iterator[Folder | GitFile]:
    from collector.archive.githistory import GitFile
    from collector.archive.saved import Folder

    archive = Folder(folder, max_body) if git_file is None else GitFile(folder, git_file, max_body)
    try:
        yield archive
    finally:
        archive.close()


def _find(archive: Folder | GitFile, time_from: TimeFrom, zone: tzinfo) -> Found:
    from collector.archive.githistory import GitFile

    return archive.find() if isinstance(archive, GitFile) else archive.find(time_from, zone)


@contextmanager
def _real(context: click.Context, migrate: bool) -> Iterator[sa.Engine]:
    engine = open_for_writing(context, may_migrate=migrate, may_create=True)
    yield engine
    engine.dispose()


@contextmanager
def _trial(context: click.Context, source: Source) -> Iterator[sa.Engine]:
    """A scratch database with a copy of the real one, which is read if it exists, and not changed."""
    from collector.archive.trial import trial_database
    from collector.database import migrate
    from collector.database.engine import open_engine
    from collector.database.url import parse_url, sqlite_path

    url = parse_url(settings_of(context).database_url.get_secret_value())
    path = sqlite_path(url)
    engine = open_engine(url, read_only=True) if path is None or path.exists() else None
    revision = None if engine is None else migrate.current_revision(engine)
    if revision not in (None, migrate.newest_revision()):
        raise SchemaError(
            f"the database has schema {revision}, this version works with {migrate.newest_revision()}: run "
            "`collector db upgrade` before a dry run"
        )
    with trial_database(engine if revision else None, source.name) as trial:
        yield trial
    if engine is not None:
        engine.dispose()


# Telling


def _tell(
    report: Report,
    source: Source,
    zone: tzinfo,
    margin: timedelta,
    *,
    whole_lists: bool,
    dry_run: bool,
    show_all: bool,
) -> None:
    would = "would be imported" if dry_run else "imported"
    span = ""
    if report.first_at and report.last_at:
        span = f", from {show_time(report.first_at)} to {show_time(report.last_at)}"
    say(f"{source.name} at {source.base_url}: {counted(report.imported, 'answer')} {would}{span}")
    for heading, text in _lines(report, zone, margin):
        say(f"  {heading:<13} {text}")
    for note in _notes(report, whole_lists):
        say(f"  note: {note}")
    left = report.skipped
    if left:
        say(f"{counted(len(left), 'answer')} left out:")
    for each in left if show_all else left[:SHOWN]:
        say(f"  {printable(each.name)}: {printable(each.reason)}")
    if len(left) > SHOWN and not show_all:
        say(f"  … and {len(left) - SHOWN} more; --all names them")
    if dry_run:
        say("nothing was written")
    elif report.head:
        say(f"head {report.head}")  # to be kept outside the database


def _lines(report: Report, zone: tzinfo, margin: timedelta) -> Iterator[tuple[str, str]]:
    plan = report.plan
    if report.imported:
        times = [f"{n} {_ORIGINS[origin]}" for origin, n in report.origins.items()]
        times += [f"{report.assumed} of them without a zone, taken as {zone}"] if report.assumed else []
        times += [f"{report.coarse} of them exact to an hour or a day only"] if report.coarse else []
        if report.coarse < report.imported:
            others = "the others " if report.coarse else ""
            times += [others + (f"right to within {show_span(margin)}" if margin else "taken to be exact")]
        yield "times", "; ".join(times)
        yield "polls", f"expected every {show_span(plan.interval)} ({plan.interval_from}): {_gaps(report)}"
        yield "outcomes", ", ".join(f"{n} {outcome}" for outcome, n in report.outcomes.items())
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(report.kinds.items()))
        first = f"{report.baseline} there when first seen" if report.baseline else ""
        what = ", ".join(text for text in (first, kinds) if text)
        yield "transitions", f"{what} (regions and keystones)" if what else "none"
    if report.known:
        yield "known", f"{counted(report.known, 'answer')} in the history already"
    if report.pruned:
        yield "pruned", f"{counted(report.pruned, 'answer')} from before the history begins"
    if report.twice:
        yield "copies", f"{counted(report.twice, 'further copy', 'further copies')} of answers"
    if plan.found.ignored:
        yield "ignored", f"{plan.found.ignored} (not JSON, links, or hidden)"


def _gaps(report: Report) -> str:
    if not report.gaps:
        return "no gaps"
    longest = show_span(gap_limit(report.plan.interval))
    return f"{counted(report.gaps, 'gap')} of more than {longest} between answers"


def _notes(report: Report, whole_lists: bool) -> Iterator[str]:
    yield from report.plan.found.notes
    if report.bare and not whole_lists:
        yield (
            f"{report.bare} are lists without a count, so they can't prove that anything is gone; if they are known to "
            "be complete, add --whole-lists"
        )
    follows = report.imported - 1
    if report.plan.found.only_changes and report.gaps:
        yield "a commit shows when an answer changed, not how often it was polled; give --interval if you know it"
    elif follows >= 5 and report.changed == follows:
        yield "no two consecutive answers are equal; if only changes were saved, give --interval"
