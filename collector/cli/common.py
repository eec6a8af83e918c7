"""What several commands share: types of options, settings, engines."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from collector.cli import streams
from collector.cli.printing import is_dumb, note
from collector.errors import CollectorError, DatabaseError, SchemaError, SettingsError, UsageError
from collector.reports.words import printable

if TYPE_CHECKING:
    import sqlalchemy as sa

    from collector.settings.models import Settings

F = TypeVar("F", bound=Callable[..., Any])


class Text(click.ParamType[str]):
    """Text that a database can be given: valid UTF-8."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if any("\ud800" <= c <= "\udfff" for c in text):
            self.fail(f"{printable(text)!r} is not text: it is not valid UTF-8", param, ctx)
        return text


class Word(Text):
    """Text that a database can be asked for: not empty, and valid UTF-8."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = super().convert(value, param, ctx)
        if not text.strip():
            self.fail("it is empty", param, ctx)
        return text


class Whole(click.IntRange):
    """A whole number that a column of 64 bits can hold."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = int(super().convert(value, param, ctx))
        if number >= 2**63:
            self.fail(f"{number} is too large", param, ctx)
        return number


class Number(click.FloatRange):
    """A number in a range; not `nan`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class Share(click.ParamType):  # type: ignore[type-arg] # generic only for its stubs
    """A number, or a percentage (`10%`)."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        from collector.spelling import most_of

        try:
            return most_of(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither a number like 5 nor a share like 10%", param, ctx)


LIMIT = Whole(1)
source_option = click.option("--source", metavar="NAME", type=Word(), help="Only this source.")
entity_option = click.option(
    "--entity",
    type=click.Choice(["region", "keystone"]),
    default="region",
    show_default=True,
    help="Kind of entity.",
)
migrate_option = click.option("--migrate", is_flag=True, help="Bring a PostgreSQL schema up to date first.")


def wait_option(text: str) -> Callable[[F], F]:
    """`--wait SECONDS`; `text`: what is waited for."""
    return click.option(
        "--wait", default=5.0, show_default=True, type=Number(0, 3600), metavar="SECONDS", help=text
    )


def log_options(function: F) -> F:
    """`--log-level` and `--log-format`, for commands that run until they are stopped."""
    level = click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
        help="Least severe level that is logged; also COLLECTOR_LOG_LEVEL.",
    )
    form = click.option(
        "--log-format",
        type=click.Choice(["auto", "console", "json"], case_sensitive=False),
        help="Text for people, or lines of JSON; auto: text if stderr is a terminal. Also COLLECTOR_LOG_FORMAT.",
    )
    return level(form(function))


def settings_of(context: click.Context) -> Settings:
    """The settings, from --config and the environment."""
    from collector.settings.loading import load

    return load(config=context.find_root().obj)


def open_existing(context: click.Context) -> sa.Engine:
    """A read-only engine on a database of our schema. Creates and changes nothing."""
    from collector.database import migrate
    from collector.database.engine import open_engine

    engine = open_engine(settings_of(context).database_url.get_secret_value(), read_only=True)
    migrate.check_readable(engine)
    return engine


@contextmanager
def open_for_questions(
    context: click.Context,
    source: str | None = None,
    *,
    even_if_stale: bool = False,
    even_if_empty: bool = False,
) -> Iterator[sa.Connection]:
    """A read-only connection.

    Raises UsageError if the database knows no such source, or none at all. Raises SchemaError if an older version
    derived the history: readers would miss newer facts. `even_if_stale`: skip that check, for questions about
    evidence. `even_if_empty`: an empty database is allowed, too.
    """
    from collector.database.transactions import reading
    from collector.store.sources import derived_by_older_rules, refuse_older_rules, source_names

    engine = open_existing(context)
    with reading(engine) as connection:
        known = source_names(connection)
        if not known and not even_if_empty:
            raise UsageError("nothing was polled into this database yet; run `collector poll`")
        if source in {each.name for each in settings_of(context).sources} - {*known}:
            raise UsageError(f"source {source!r} was never polled into this database; run `collector poll`")
        source_names(connection, source)
        if not even_if_stale:
            refuse_older_rules(derived_by_older_rules(connection, source))
        yield connection
    engine.dispose()


def open_for_writing(
    context: click.Context, *, may_migrate: bool | None = None, may_create: bool = False
) -> sa.Engine:
    """An engine on a database whose schema is up to date.

    SQLite is brought up to date, after a copy of the file; PostgreSQL only if `may_migrate`, since other programs and
    replicas use it. None: the command has no option for it. Raises DatabaseError if a SQLite file does not exist,
    unless `may_create`.
    """
    from collector.database import migrate
    from collector.database.engine import open_engine
    from collector.database.sessions import hindrance
    from collector.database.transactions import reading
    from collector.database.url import is_sqlite, parse_url
    from collector.reports import views

    streams.what_is_done_counts()
    url = lasting(parse_url(settings_of(context).database_url.get_secret_value()))
    engine = open_engine(url, may_create=may_create)
    with reading(engine) as connection:
        if why := hindrance(connection):
            raise SchemaError(why)
    revision, newest = migrate.current_revision(engine), migrate.newest_revision()
    if revision == newest:
        with reading(engine) as connection:
            if views.are_current(connection):
                return engine
    elif revision is not None and not migrate.is_known(revision):
        raise SchemaError(migrate.other_schema(revision))
    if not is_sqlite(engine) and not may_migrate:
        what = f"has schema {revision}, and this version works with {newest}"
        if revision in (None, newest):
            what = "has no tables yet" if revision is None else "has other views than this version"
        option = "" if may_migrate is None else ", or add --migrate"
        raise SchemaError(f"the database {what}: run `collector db upgrade`{option}")
    if revision not in (None, newest):
        copy = migrate.copy_before_upgrade(engine, str(revision))
        before = f"; a copy from before is {copy}" if copy else ""
        note(f"upgrading the schema from {revision} to {newest}{before}")
    migrate.upgrade(engine)
    return engine


def for_each(names: Sequence[str], work: Callable[[str], None]) -> int:
    """Do something to the history of each source. Returns the exit code.

    A source at which it fails stops no other, unless the database can't be used; its error goes to stderr.
    """
    code = 0
    for name in names:
        try:
            work(name)
        except DatabaseError:
            raise
        except CollectorError as error:
            if len(names) == 1:
                raise
            note(f"{name}: {error}")
            code = error.exit_code if code in (0, error.exit_code) else 1
    return code


def lasting(url: sa.URL, what: str = "COLLECTOR_DATABASE_URL") -> sa.URL:
    """The URL of a database that is written. Raises SettingsError for one in memory, which keeps nothing."""
    from collector.database.url import is_sqlite, sqlite_path

    if is_sqlite(url) and sqlite_path(url) is None:
        raise SettingsError(
            f"{what} is a database in memory, which keeps nothing; name a file: sqlite:///collector.db"
        )
    return url


def is_lively(stream: TextIO) -> bool:
    """True if a stream is a terminal whose lines can be overwritten."""
    return stream.isatty() and not is_dumb()


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, in a terminal only; yields a function to call with how much is done, and the total."""
    with click.progressbar(
        length=1, label=label, file=sys.stderr, width=30, hidden=not is_lively(sys.stderr)
    ) as bar:

        def progress(done: int, all_: int) -> None:
            bar.length = all_
            bar.update(done - bar.pos)

        yield progress
