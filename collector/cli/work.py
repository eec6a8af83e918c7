"""Commands that poll."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from collector.cli.anchoring import anchor_what_is_due, outside_of_settings, tell, usable_anchors
from collector.cli.common import (
    Number,
    Word,
    log_options,
    migrate_option,
    open_for_writing,
    settings_of,
    wait_option,
)
from collector.cli.printing import note, say
from collector.cli.web import server_of
from collector.cli.webhooks import announcer_of
from collector.errors import CollectorError, SettingsError, UsageError
from collector.nearest import instead

if TYPE_CHECKING:
    import sqlalchemy as sa

    from collector.poll import PollResult
    from collector.settings.models import Settings, Source

_EXIT = {"ok": 0, "partial": 3, "held": 3, "failed": 1}


@click.command()
@click.option("--source", metavar="NAME", type=Word(), help="Poll only this source of the settings.")
@migrate_option
@click.option(
    "--accept-base-url",
    is_flag=True,
    help="The source moved to a new base URL: continue its history there.",
)
@wait_option("How long to wait in total for other processes' leases.")
@click.option("--quiet", is_flag=True, help="Print only what needs attention, for cron.")
@click.pass_context
def poll(
    context: click.Context, source: str | None, migrate: bool, accept_base_url: bool, wait: float, quiet: bool
) -> None:
    """Poll every source once, and record what was seen.

    Exits with 0 if everything is good, 1 if a poll failed, 3 if an answer was incomplete or doubtful.

    \b
    Example, every minute from cron:
      * * * * *  COLLECTOR_API_KEY_FILE=/etc/gcore.key collector poll --quiet
    """
    from collector.gcore.client import Client
    from collector.poll import poll as poll_once
    from collector.store import lease
    from collector.store.opening import for_once, open_writer

    settings = settings_of(context)
    sources = [s for s in settings.sources if source in (None, s.name)]
    if not sources:
        names = [each.name for each in settings.sources]
        raise UsageError(f"the settings name no source {source!r}; {instead(str(source), names)}")
    for each in sources:
        _require_key(each)
    usable_anchors(settings)
    new = _new_file(settings)
    engine = open_for_writing(context, may_migrate=migrate, may_create=True)
    client, owner, worst = Client(), lease.process_name(), 0
    announce = announcer_of(settings) if settings.webhooks else None
    give_up = monotonic() + wait
    for each in sources:
        try:
            left = max(give_up - monotonic(), 0.0)
            writer = open_writer(
                engine, each, owner, wait_seconds=left, accept_base_url=accept_base_url, announce=announce
            )
            with for_once(writer):
                result = poll_once(each, client.fetch, writer)
        except CollectorError as error:
            note(f"{each.name}: {error}")
            worst = _worse(worst, error.exit_code)
        else:
            if not quiet or result.outcome != "ok" or result.recorded.rejected:
                _tell(result, engine)
            worst = _worse(worst, _EXIT[result.outcome])
            worst = _worse(worst, _anchor(engine, settings, each.name, quiet=quiet))
    client.close()
    engine.dispose()
    if new and not quiet:
        say(f"the database {new.absolute()} is new")
    sys.exit(worst)


def _new_file(settings: Settings) -> Path | None:
    """The file of the database, if it does not exist yet."""
    from collector.database.url import parse_url, sqlite_path

    path = sqlite_path(parse_url(settings.database_url.get_secret_value()))
    return path if path is not None and not path.exists() else None


def _anchor(engine: sa.Engine, settings: Settings, source: str, *, quiet: bool) -> int:
    """Make the due anchors of a polled source. Returns the exit code."""
    if not settings.anchors:
        return 0
    try:
        made = anchor_what_is_due(engine, settings, [source])
    except CollectorError as error:
        note(f"{source}: not anchored: {error}")
        return error.exit_code
    for each in made:
        if not quiet or each.outcome == "failed":
            tell(each)
    required = {each.name for each in settings.anchors if each.mode == "required"}
    return 3 if any(each.outcome == "failed" and each.target in required for each in made) else 0


def _require_key(source: Source) -> None:
    if source.api_key is None and source.api_key_file is None:
        raise SettingsError(
            f"there is no API key for source {source.name!r}: set COLLECTOR_API_KEY, or COLLECTOR_API_KEY_FILE "
            "(api_key_file in a settings file) to a file that holds it; `collector demo` needs none"
        )


def _worse(one: int, other: int) -> int:
    """The worse of two exit codes: broken, wrong, degraded, good."""
    return min((one, other), key=(1, 2, 3, 0).index)


def _tell(result: PollResult, engine: sa.Engine) -> None:
    from collector.database.transactions import reading
    from collector.reports.status import held_in_words, rejected_in_words
    from collector.reports.transitions import TransitionFilter, transitions
    from collector.reports.words import counted, transition_in_words

    recorded = result.recorded
    head = f", head {recorded.head}" if recorded.polls == 1 else ""  # to be kept outside the database
    if result.failure is not None:
        failure = result.failure
        status = f" {failure.http_status}" if failure.http_status else ""
        times = "" if recorded.polls == 1 else f", {recorded.polls} times in a row"
        note(f"{result.source}: failed ({failure.cause}{status}{times}): {failure.message}{head}")
        if failure.http_status == 401:
            note("  if the key contains a $, put it in single quotes or in a file: shells replace $")
        return
    seen = counted(recorded.changes.versions, "new or changed entity", "new or changed entities")
    seen = "unchanged" if recorded.polls > 1 else seen
    say(f"{result.source}: {recorded.outcome}, {seen}, observation {recorded.seq}{head}")
    if recorded.outcome == "held":
        note(f"  {held_in_words(len(recorded.missing))}")
    if recorded.outcome == "partial":
        why = "count does not match its results"
        if recorded.paging:
            why = f"form looks paginated ({recorded.paging})"
        note(f"  the answer's {why}; no absence is derived from it")
    if recorded.rejected:
        note(f"  {rejected_in_words(recorded.rejected)}; the table rejected_records has them")
    if any(t.basis != "baseline" for t in recorded.transitions):
        with reading(engine) as connection:
            for row in transitions(connection, TransitionFilter(source=result.source, seq=recorded.seq)):
                say(f"  {transition_in_words(row)}")


@click.command()
@migrate_option
@click.option(
    "--grace",
    default=8.0,
    show_default=True,
    type=Number(0, 3600),
    metavar="SECONDS",
    help="How long running polls get to end when the service stops.",
)
@log_options
@click.pass_context
def run(context: click.Context, migrate: bool, grace: float, log_level: Any, log_format: Any) -> None:
    """Poll every source at its interval, until SIGTERM or SIGINT. SIGHUP reads the settings again.

    On PostgreSQL any number of these may run, and only one at a time polls a source. Pages are served on
    COLLECTOR_HTTP_BIND, 127.0.0.1:8080 by default.

    \b
    Example:
      COLLECTOR_API_KEY_FILE=/etc/gcore.key COLLECTOR_INTERVAL=60s collector run
    """
    from collector import logs
    from collector.service.runtime import Service
    from collector.service.traces import traces

    settings = settings_of(context)
    for source in settings.sources:
        _require_key(source)
    logs.configure(form=log_format or settings.log_format, level=log_level or settings.log_level)
    anchors, signer = usable_anchors(settings)
    engine = open_for_writing(context, may_migrate=migrate, may_create=True)
    announcer = announcer_of(settings) if settings.webhooks else None
    service = Service(engine, lambda: settings_of(context), grace_seconds=grace, announce=announcer)
    if announcer is not None:
        from collector.database.engine import open_engine
        from collector.service.webhooks.companion import Webhooks

        receivers = Webhooks(
            open_engine(engine.url),
            announcer,
            service.owner,
            keep=settings.webhook_keep,
            sources=lambda: service.view().sources,
            count=service.tallies.count_attempt,
        )
        service.accompany(receivers)
        service.publish_to(receivers.hear)
    if settings.http_bind != "off":
        service.accompany(server_of(settings, service.view))
    if settings.heartbeat_url is not None:
        from collector.service.heartbeat import Heartbeat

        heartbeat = Heartbeat(settings.heartbeat_url.get_secret_value(), engine, service.view)
        service.accompany(heartbeat)
        service.publish_to(heartbeat.hear)
    if anchors:
        from collector.service.anchoring import Anchoring

        anchoring = Anchoring(engine, anchors, signer, settings.anchor_every, settings.anchor_pause)
        service.accompany(anchoring)
        service.publish_to(anchoring.hear)
    if settings.verify_every is not None:
        from collector.service.verifying import Verifying, command_of

        config = context.find_root().obj
        service.accompany(Verifying(engine, settings.verify_every, command_of(config and str(config))))
    if settings.keep is not None:
        from collector.cli.amending import who
        from collector.service.pruner import Pruner

        service.accompany(
            Pruner(
                engine,
                settings.keep,
                service.view,
                who(),
                lambda: outside_of_settings(settings),
                count=service.tallies.count_prune,
            )
        )
    if (sender := traces()) is not None:
        service.accompany(sender)
        service.publish_to(sender.trace)
    sys.exit(service.run())
