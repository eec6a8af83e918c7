"""`collector doctor`: checks that everything is in place, and says what to do if not."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import click

from collector.cli.common import settings_of
from collector.cli.printing import say, say_sentence
from collector.errors import CollectorError
from collector.printable import counted

if TYPE_CHECKING:
    from collector.gcore.client import Client
    from collector.gcore.exchange import Failure
    from collector.settings.models import Settings, Source

ROOM_WANTED = 500 * 1024 * 1024
MAX_AT_ONCE = 10
"""Sources that are asked at the same time: more would wait for one another, not for the API."""
_PROXY_VARIABLES = (
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    verdict: Literal["good", "note", "bad"]
    what: str
    todo: str = ""


@click.command()
@click.option("--offline", is_flag=True, help="Do not ask the API.")
@click.option(
    "--settings",
    "and_settings",
    is_flag=True,
    help="Then show every setting, and where its value comes from.",
)
@click.pass_context
def doctor(context: click.Context, offline: bool, and_settings: bool) -> None:
    """Check everything that polling needs. Writes nothing.

    It says how to fix what is wrong. Exits with 1 if something is bad.

    \b
    Example:
      collector doctor
      collector doctor --offline --settings
    """
    settings = settings_of(context)
    bad = False
    for finding in _findings(settings, offline=offline):
        bad = bad or finding.verdict == "bad"
        say_sentence(f"{finding.verdict:<5} {finding.what}", further=" " * 6)
        if finding.todo:
            say_sentence(finding.todo, " " * 6)
    if and_settings:
        _say_settings(settings, context.find_root().obj)
    sys.exit(1 if bad else 0)


def _say_settings(settings: Settings, config: Path | None) -> None:
    from collector.settings.origins import origins

    say("\nsettings")
    rows = origins(config=config)
    width = max(len(row.variable) for row in rows)
    for row in rows:
        say(f"  {row.variable:<{width}}  {row.value or '-'}  ({row.origin})")
    for source in settings.sources:
        seconds = source.interval.total_seconds()
        say(f"  source {source.name}: {source.base_url}, every {seconds:g} s")
    for receiver in settings.webhooks:
        whom = "people" if receiver.apprise is not None else "a webhook"
        say(f"  receiver {receiver.name}: {whom}, its URL is not shown")


def _findings(settings: Settings, *, offline: bool) -> Iterator[Finding]:
    yield from _database(settings)
    yield from _surroundings()
    yield from _sources(settings.sources, offline=offline)
    yield from _receivers(settings)


def _receivers(settings: Settings) -> Iterator[Finding]:
    """Check that each receiver can be used. Nothing is sent: `collector webhooks test` does that."""
    from collector.service.webhooks.companion import tellers_of

    for receiver in settings.webhooks:
        name = f"receiver {receiver.name}: "
        try:
            receiver.keys()
            tellers_of([receiver])
        except CollectorError as error:
            what = name + str(error).removeprefix(name)
            yield Finding("bad", what, "it gets no events until this is repaired")
        else:
            todo = f"`collector webhooks test {receiver.name}` sends it a test event"
            yield Finding("note", f"{name}it was not tried", todo)


def _database(settings: Settings) -> Iterator[Finding]:
    from collector.clock import utc_now
    from collector.database import migrate
    from collector.database.engine import open_engine
    from collector.database.health import is_too_old, server_version
    from collector.database.sessions import hindrance, missing_privileges
    from collector.database.transactions import reading
    from collector.database.url import parse_url, place, sqlite_path
    from collector.reports import views
    from collector.reports.beginnings import beginnings, redactions
    from collector.reports.status import statuses
    from collector.store.tables import metadata

    url = settings.database_url.get_secret_value()
    path = sqlite_path(parse_url(url))
    if path is not None:
        yield _room(path)
        if not path.exists():
            yield Finding(
                "note", f"database: {path} does not exist yet", "the first `collector poll` creates it"
            )
            return
    try:
        engine = open_engine(url, read_only=True)
        with reading(engine) as connection:
            version, why = server_version(connection), hindrance(connection)
            lacking = missing_privileges(connection, metadata.tables, views.NAMES)
        cannot_read = bool(lacking) and lacking[0].startswith(
            ("SELECT", "CREATE")
        )  # or there is nothing to read
        revision, newest = (
            None if cannot_read else migrate.current_revision(engine),
            migrate.newest_revision(),
        )
    except CollectorError as error:
        yield Finding(
            "bad", f"database: {error}", "check COLLECTOR_DATABASE_URL, and that the server is running"
        )
        return
    if is_too_old(version):
        yield Finding("bad", f"database: {version} is too old", "PostgreSQL 14 or later is needed")
    else:
        yield Finding("good", f"database: {place(engine.url)}, {version} answers")
    if why:
        yield Finding("bad", f"database: {why}", "nothing can be recorded until this is repaired")
        return
    if lacking:
        more = f", and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        what = f"database: this role lacks {', '.join(lacking[:3])}{more}"
        yield Finding("bad", what, "GRANT it, or make the role the owner")
    if cannot_read:
        return
    if revision != newest:
        is_newer = revision is not None and not migrate.is_known(revision)
        todo = "update the collector" if is_newer else "run `collector db upgrade`"
        yield Finding("bad", f"schema: {revision or 'none'}; this version works with {newest}", todo)
        return
    with reading(engine) as connection:
        if views.are_current(connection):
            yield Finding("good", f"schema: {revision}, the newest, with its views")
        else:
            yield Finding(
                "bad", "schema: its views are not those of this version", "run `collector db upgrade`"
            )
        names = {source.name for source in settings.sources}
        for status in statuses(
            connection, utc_now(), of_settings=names, required_anchors=settings.required_anchors
        ):
            seen = f"{status.last_seen_at:%Y-%m-%d %H:%M:%S} UTC" if status.last_seen_at else "never"
            what = f"source {status.source}: last seen {seen}"
            if status.verdict == "good":
                yield Finding("good", what)
            elif status.verdict == "left":
                yield Finding("note", f"{what}: {status.why}")
            else:
                verdict: Literal["bad", "note"] = "bad" if status.verdict == "stale" else "note"
                yield Finding(verdict, f"{what}: {status.why}", "is `collector run`, or your timer, running?")
        for name, begun in beginnings(connection).items():
            when = f"{begun.at:%Y-%m-%d %H:%M:%S} UTC"
            yield Finding(
                "note", f"source {name}: the history begins at {when}; everything before that was pruned"
            )
        for each in redactions(connection):
            since = f"{each.made_at:%Y-%m-%d}"
            yield Finding(
                "note", f"source {each.source}: {each.path} is redacted in every answer, since {since}"
            )
    engine.dispose()


def _room(path: Path) -> Finding:
    from collector.database.url import is_nowhere

    folder = path.parent
    if is_nowhere(path):
        return Finding(
            "bad", f"disk: the current folder is gone, and {path} is relative to it", "write an absolute path"
        )
    if not folder.is_dir():
        return Finding("bad", f"disk: the folder {folder} does not exist", "create it")
    free = shutil.disk_usage(folder).free
    what = f"disk: {free / 1e9:.1f} GB free in {folder.absolute()}"
    if not os.access(folder, os.W_OK):
        return Finding(
            "bad", f"disk: {folder} can't be written", "change its owner, or choose another folder"
        )
    if path.exists() and not os.access(path, os.W_OK):
        return Finding("bad", f"disk: {path} can't be written", "change its owner, or choose another file")
    return Finding("good", what) if free > ROOM_WANTED else Finding("bad", what, "make room")


def _surroundings() -> Iterator[Finding]:
    from collector.gcore.transport import certificate_folders
    from collector.settings.origins import overlooked

    for name, meant in overlooked().items():
        yield Finding("note", f"{name} is set, and nothing reads it", f"did you mean {meant}?")
    for name in _PROXY_VARIABLES:
        value = os.environ.get(name) or os.environ.get(name.lower())
        if not value:
            continue
        places = certificate_folders() if name == "SSL_CERT_DIR" else [value]
        missing = [place for place in places if name.startswith("SSL_CERT") and not Path(place).exists()]
        if missing:
            yield Finding("bad", f"{name}: {missing[0]} does not exist", "point it to your CA certificates")
        elif name == "SSLKEYLOGFILE":
            yield Finding("note", f"{name} is set: anybody who can read {value} can read the key", "unset it")
        else:
            shown = _without_user(value) if name.endswith("_PROXY") and name != "NO_PROXY" else value
            yield Finding("note", f"{name} is set: {shown}")


def _without_user(proxy: str) -> str:
    """A proxy without its secrets; it need not be a complete URL."""
    url = re.fullmatch(
        r"([A-Za-z][A-Za-z0-9+.\-]*://)?(.*@)?([^/?#@:]+|\[[^]]*\])(:\d+)?/?", proxy, re.DOTALL
    )
    if url is None:
        return "(not shown: not a proxy's URL)"
    return f"{url[1] or ''}{'…@' if url[2] else ''}{url[3]}{url[4] or ''}"


def _sources(sources: Sequence[Source], *, offline: bool) -> Iterator[Finding]:
    """The findings of several sources, asked at the same time, in the order of the settings.

    The clock is reported once for all sources of a host that agree.
    """
    from concurrent.futures import ThreadPoolExecutor

    from collector.gcore.client import Client

    client = None
    try:
        client = None if offline else Client(max_attempts=1)
    except CollectorError as error:
        yield Finding("bad", str(error), "see the findings about them above")
    unreachable: dict[str, Failure] = {}
    clocks: set[tuple[str, str]] = set()
    try:
        with ThreadPoolExecutor(MAX_AT_ONCE, "doctor") as pool:
            looked = [
                pool.submit(_source, source, client, unreachable, offline=offline) for source in sources
            ]
            for source, each in zip(sources, looked, strict=True):
                finding, clock = each.result()
                if finding is not None:
                    yield finding
                if clock is not None and (_origin(source), clock.verdict) not in clocks:
                    clocks.add((_origin(source), clock.verdict))
                    yield clock
    finally:
        if client is not None:
            client.close()


def _source(
    source: Source, client: Client | None, unreachable: dict[str, Failure], *, offline: bool
) -> tuple[Finding | None, Finding | None]:
    """The findings about a source and about the clock; nothing if there is no client.

    `unreachable`: why nothing answers at a host, by origin, so that the other sources there need not try.
    """
    from collector.gcore.evidence import read
    from collector.gcore.exchange import Answer, Failure
    from collector.gcore.reader import Reader
    from collector.poll import request_of
    from collector.store.opening import limits_of

    try:
        key = source.key()
    except CollectorError as error:
        has_none = source.api_key is None and source.api_key_file is None
        todo = (
            "`collector demo` needs no key"
            if has_none
            else "check that this process may read it, and what it contains"
        )
        return Finding("bad", f"source {source.name}: {error}", todo), None
    if offline:
        return Finding("note", f"source {source.name}: the API was not asked"), None
    if client is None:
        return None, None
    answer: Answer | Failure | None = unreachable.get(_origin(source))
    if answer is None:
        answer = client.fetch(request_of(source, key))
        if isinstance(answer, Failure) and answer.cause == "connect":
            unreachable[_origin(source)] = answer
    said = read(answer, key, Reader(limits_of(source))) if isinstance(answer, Answer) else answer
    if isinstance(said, Failure):
        status = f" (status {said.http_status})" if said.http_status else ""
        todo = {
            401: "check the key; if it contains a $, put it in single quotes or in a file, because shells replace $",
            403: "the key is valid, but may not read AI regions",
            404: f"is {source.base_url} the API's base URL?",
        }.get(said.http_status or 0, f"is {source.base_url} right, and reachable from here? a proxy?")
        finding = Finding("bad", f"source {source.name}: {said.cause}{status}: {said.message}", todo)
    else:
        finding = Finding(
            "good", f"source {source.name}: the API answers with {counted(len(said.records), 'region')}"
        )
    offset = answer.exchange.clock_offset
    return finding, None if offset is None else _clock(offset)


def _origin(source: Source) -> str:
    """Scheme, host and port: where all its sources connect to."""
    parts = urlsplit(source.base_url)
    return f"{parts.scheme}://{parts.netloc}"


def _clock(offset: timedelta) -> Finding:
    from collector.inventory.observation import MAX_CLOCK_OFFSET

    seconds = abs(offset.total_seconds())
    what = f"clock: differs by {seconds:.0f} s from the API's"
    if abs(offset) > MAX_CLOCK_OFFSET:
        return Finding("bad", what, "no poll is written beyond an hour: set the clock (NTP)")
    return Finding("good" if seconds < 5 else "note", what)
