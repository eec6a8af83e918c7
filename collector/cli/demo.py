"""`collector demo`: three weeks of a simulated cloud, polled through the real client, within seconds."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.cli.common import is_lively
from collector.cli.printing import say, say_sentence
from collector.errors import ClockError, UsageError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from collector.simulator.server import Fault

DAYS = 21
INTERVAL = timedelta(minutes=20)
SOURCE = "demo"
FILES = ("", "-wal", "-shm")


class SimulatedClock:
    """A clock that the simulation sets."""

    def __init__(self, start: datetime) -> None:
        self.true = start
        self.error = timedelta()
        """How wrong the clock of the collector's machine is."""

    def now(self) -> datetime:
        return self.true

    def of_the_collector(self) -> datetime:
        return self.true + self.error

    def advance(self, seconds: float) -> None:
        self.true += timedelta(seconds=seconds)


@click.command()
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("collector-demo.db"),
    show_default=True,
    help="Where to write; an earlier demo's file is replaced.",
)
@click.option(
    "--live", is_flag=True, help="Run the service against the simulated cloud instead, until Ctrl-C."
)
@click.pass_context
def demo(context: click.Context, path: Path, live: bool) -> None:
    """Show how it works, without a key or a server.

    Three simulated weeks pass within seconds, and are written into a file of their own. A simulated Gcore API on
    loopback goes through three weeks of changes, an outage, a false empty answer, a key with fewer rights and a clock
    that jumps. The collector polls it every 20 simulated minutes.

    \b
    Example:
      collector demo
      COLLECTOR_DATABASE_URL=sqlite:///collector-demo.db collector transitions
    """
    _make_room(path, is_configured=_is_configured(context, path))
    os.environ["NO_PROXY"] = "127.0.0.1"  # a proxy must not be used for this machine itself
    if live:
        _run_live(path)
    else:
        _tell_story(path)


def _tell_story(path: Path) -> None:
    from pydantic import SecretStr

    from collector.clock import utc_now
    from collector.database import migrate
    from collector.database.engine import open_engine
    from collector.database.url import sqlite_url
    from collector.gcore.client import Client
    from collector.poll import poll
    from collector.settings.models import Source
    from collector.simulator.scenario import CLIENT_KEY, KEY, story
    from collector.simulator.server import Simulator
    from collector.store import lease
    from collector.store.opening import open_writer

    end = utc_now()
    # It begins at midnight, so that the story has the same numbers at every hour of the day.
    start = end.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
    clock = SimulatedClock(start)
    engine = open_engine(sqlite_url(path))
    migrate.upgrade(engine)
    client = Client(clock=clock.of_the_collector, pause=clock.advance)
    refused = 0
    moments = list(_schedule(start, end))
    owner = lease.process_name()
    with Simulator(story(start), clock=clock.now, passing=clock.advance) as simulator:
        source = Source(name=SOURCE, base_url=simulator.base_url, api_key=SecretStr(KEY), interval=INTERVAL)
        weaker = source.model_copy(update={"api_key": SecretStr(CLIENT_KEY)})
        writer = open_writer(engine, source, owner)
        with click.progressbar(
            moments, label="three weeks", file=sys.stderr, width=40, hidden=not is_lively(sys.stderr)
        ) as bar:
            for moment in bar:
                day = (moment - start) / timedelta(days=1)
                clock.true = moment
                clock.error = timedelta(hours=3 if 17.50 < day < 17.56 else 0)
                simulator.misbehave(_fault(day))
                try:
                    poll(
                        weaker if 15.0 < day < 16.0 else source, client.fetch, writer, clock.of_the_collector
                    )
                except ClockError:
                    refused += 1
        lease.release(engine, writer.lease)
    client.close()
    _show(engine, path, len(moments), refused)
    engine.dispose()


def _run_live(path: Path) -> None:
    """The service as `collector run` runs it, with a cloud in which something changes every few seconds."""
    from pydantic import SecretStr

    from collector import logs
    from collector.clock import utc_now
    from collector.database import migrate
    from collector.database.engine import open_engine
    from collector.database.url import sqlite_url
    from collector.service.runtime import Service
    from collector.settings.models import Settings, Source
    from collector.simulator.scenario import KEY, random_world
    from collector.simulator.server import Simulator

    start = utc_now()
    hold, until = timedelta(seconds=60), start + timedelta(days=1)
    world = random_world(1, start, regions=14, mean_hold=hold, until=until)
    with Simulator(world) as simulator:
        source = Source(
            name=SOURCE, base_url=simulator.base_url, api_key=SecretStr(KEY), interval=timedelta(seconds=1)
        )
        settings = Settings(database_url=SecretStr(str(sqlite_url(path))), sources=(source,))
        engine = open_engine(sqlite_url(path))
        migrate.upgrade(engine)
        logs.configure()
        say(f"one poll a second into {path}, until Ctrl-C; query it from another terminal:", err=True)
        say(f"  {_setting(path)} collector transitions --limit 10", err=True)
        Service(engine, lambda: settings).run()


def _fault(day: float) -> Fault | None:
    """What goes wrong, by the day of the story."""
    from collector.simulator.server import Fault

    if 10.40 < day < 10.90:
        return Fault("status", status=503)
    if 7.00 < day <= 7.00 + INTERVAL / timedelta(days=1):
        return Fault("empty")
    if 6.20 < day <= 6.20 + INTERVAL / timedelta(days=1):
        return Fault("wrong_count")
    return None


def _setting(path: Path) -> str:
    from collector.database.url import sqlite_url

    return f"COLLECTOR_DATABASE_URL={shlex.quote(str(sqlite_url(path)))}"


def _is_configured(context: click.Context, path: Path) -> bool:
    """True if the settings name this file as the database. The demo needs no settings, so it ignores their errors."""
    from collector.cli.common import settings_of
    from collector.database.url import parse_url, sqlite_path
    from collector.errors import SettingsError

    try:
        configured = sqlite_path(parse_url(settings_of(context).database_url.get_secret_value()))
    except SettingsError:
        return False
    return configured is not None and configured.resolve() == path.resolve()


def _make_room(path: Path, *, is_configured: bool) -> None:
    """Remove an earlier demo's file. Raises UsageError for any other file, and while a demo runs on it."""
    from collector.database.files import peek
    from collector.errors import DatabaseError

    is_demo = False
    if path.exists():
        try:
            with peek(path) as connection:
                is_demo = _holds_a_demo(connection)
                holder = _holder(connection) if is_demo else None
                is_empty = not is_demo and _is_empty(connection)
        except DatabaseError:
            is_demo, is_empty, holder = False, False, None
        if holder:
            raise UsageError(f"a demo runs on {path} ({holder}); end it first, or choose another with --file")
        if not is_demo and not is_empty:
            raise UsageError(f"{path} exists and is not a demo's file; choose another with --file")
    if is_configured and not is_demo:
        raise UsageError(
            f"{path} is the database of the settings; choose another file for the demo with --file"
        )
    for suffix in FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _holds_a_demo(connection: sa.Connection) -> bool:
    """True if its only source is a demo's. Raises DBAPIError if these are not our tables."""
    from collector.database.files import is_blank

    if is_blank(connection):
        return False
    names = connection.exec_driver_sql("SELECT name FROM sources").scalars().all()
    urls = connection.exec_driver_sql("SELECT base_url FROM observers").scalars().all()
    return names == [SOURCE] and all(url.startswith("http://127.0.0.1:") for url in urls)


def _is_empty(connection: sa.Connection) -> bool:
    """True if it is empty: a demo that was interrupted early leaves only tables."""
    from collector.database.files import is_blank

    if is_blank(connection):
        return True
    ours = connection.exec_driver_sql("SELECT COUNT(*) FROM alembic_version").scalar()
    return bool(ours and not connection.exec_driver_sql("SELECT COUNT(*) FROM sources").scalar())


def _holder(connection: sa.Connection) -> str | None:
    """The process that writes the demo's file now."""
    import sqlalchemy as sa

    from collector.database.types import database_time
    from collector.store.lease import is_dead
    from collector.store.tables import sources

    holds = sources.c.lease_expires_at > database_time()
    owner = connection.scalar(sa.select(sources.c.lease_owner).where(holds).limit(1))
    return owner if owner and not is_dead(owner) else None


def _schedule(start: datetime, end: datetime) -> Iterator[datetime]:
    """When to poll: every interval, except for a night in which the collector did not run."""
    moment = start + INTERVAL
    while moment < end - timedelta(seconds=30):
        if not timedelta(days=13.0) < moment - start < timedelta(days=13.35):
            yield moment
        moment += INTERVAL


def _show(engine: sa.Engine, path: Path, polls: int, refused: int) -> None:
    from collector.cli.rows import print_rows
    from collector.clock import utc_now
    from collector.database.transactions import checkpoint, reading
    from collector.reports.coverage import coverage
    from collector.reports.inventory import REGIONS, RegionFilter, regions_as_of
    from collector.reports.transitions import TransitionFilter, transitions
    from collector.reports.words import counted, show_span, show_time, transition_in_words

    with reading(engine) as connection:
        regions = regions_as_of(connection, utc_now(), RegionFilter())
        changes = transitions(connection, TransitionFilter())
        gaps = coverage(connection)
    checkpoint(engine)
    what = f"{counted(polls, 'poll')}, {counted(len(changes), 'transition')}"
    say(f"{what}, {path.stat().st_size / 1e6:.1f} MB in {path}\n")
    shown = {name: heading for name, heading in REGIONS.table.items() if name != "source"}
    print_rows(regions, "table", REGIONS, "no regions", shown=shown)
    say("\nThe newest changes:")
    for row in changes[:6]:
        say_sentence(transition_in_words(row), "  ")
    say("\nWhen nothing could be seen:")
    for gap in reversed(gaps):
        until = show_time(gap["until_at"]) or "now"
        why = gap["error"] or "no poll was made, or none could be written"
        say_sentence(f"{show_time(gap['from_at'])} to {until}, {show_span(gap['seconds'])}: {why}", "  ")
    were = f"{counted(refused, 'poll')} {'was' if refused == 1 else 'were'}"
    say(f"  ({were} not written, because the machine's clock differed from the API's)")
    say(
        "\nQuery it yourself:\n"
        f"  export {_setting(path)}\n"
        "  collector transitions --region luxembourg-2\n"
        f"  collector regions --as-of {(utc_now() - timedelta(days=7)):%Y-%m-%d}\n"
        "  collector coverage --unseen\n"
        "Or open it in a browser at http://127.0.0.1:8080/:\n"
        "  collector web"
    )
