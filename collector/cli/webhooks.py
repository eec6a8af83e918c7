"""Commands about receivers of events."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from collector.cli.common import LIMIT, Word, open_for_questions, open_for_writing, settings_of
from collector.cli.printing import note, say
from collector.cli.rows import format_option, print_rows
from collector.errors import CollectorError, UsageError
from collector.nearest import instead
from collector.printable import counted

if TYPE_CHECKING:
    from collector.receivers import Receiver
    from collector.service.webhooks.announcing import Announcer
    from collector.settings.models import Settings


@click.group()
def webhooks() -> None:
    """Show, test and retry the delivery of events to receivers.

    \b
    Example:
      collector webhooks list
    """


@webhooks.command("list")
@click.argument("receiver", type=Word(), required=False)
@click.option("--dead", is_flag=True, help="List the dead letters, with the receiver's answers.")
@click.option("--events", is_flag=True, help="List the events that wait, and the dead letters.")
@click.option("--limit", type=LIMIT, default=1000, show_default=True, help="Maximum number of events.")
@format_option
@click.pass_context
def list_(
    context: click.Context, receiver: str | None, dead: bool, events: bool, limit: int, format_: str
) -> None:
    """Show each receiver: what waits, since when, and what was given up.

    Exits with 3 if anything was given up, or an attempt failed that will be repeated.

    \b
    Example:
      collector webhooks list
      collector webhooks list --dead --format json
    """
    from collector.reports.outbox import DELIVERIES, RECEIVERS, receivers, undelivered

    names = {each.name for each in settings_of(context).webhooks}
    with open_for_questions(context, even_if_stale=True, even_if_empty=True) as connection:
        rows = [row for row in receivers(connection, names) if receiver in (None, row["receiver"])]
        if receiver is not None and not rows:
            raise UsageError(f"there is no receiver {receiver!r}; {instead(receiver, sorted(names))}")
        if dead or events:
            told = undelivered(connection, receiver, dead_only=dead and not events, limit=limit)
            print_rows(told, format_, DELIVERIES, "no dead letters" if dead else "nothing waits")
        else:
            print_rows(rows, format_, RECEIVERS, "no events are sent: the settings name no receiver")
    if rows and not names:
        say(
            "the settings of this command name no receiver; a service with other settings may have some",
            err=True,
        )
    sys.exit(3 if any(row["dead_letters"] or row["failures"] for row in rows) else 0)


@webhooks.command()
@click.argument("receiver", type=Word(), required=False)
@click.option("--source", metavar="NAME", type=Word(), help="Only events of this source.")
@click.option("--observation", metavar="SEQ", type=LIMIT, help="Only events of this observation.")
@click.pass_context
def retry(context: click.Context, receiver: str | None, source: str | None, observation: int | None) -> None:
    """Queue dead letters again, and make everything that waits due now, for one receiver or for all.

    `collector run` or `collector webhooks deliver` delivers them.

    \b
    Example:
      collector webhooks retry inventory
    """
    from collector.database.transactions import reading
    from collector.reports.outbox import receivers
    from collector.store import outbox
    from collector.store.sources import source_id_of

    engine = open_for_writing(context)
    source_id = None
    with reading(engine) as connection:
        names = {each.name for each in settings_of(context).webhooks}
        known = sorted(names | {row["receiver"] for row in receivers(connection)})
        if receiver is not None and receiver not in known:
            raise UsageError(f"there is no receiver {receiver!r}; {instead(receiver, known)}")
        if source is not None:
            source_id = source_id_of(connection, source)
    again = outbox.retry(engine, receiver, source_id, observation)
    engine.dispose()
    say(f"{counted(again, 'dead letter')} queued again; everything that waits is due at once")


@webhooks.command()
@click.argument("receiver", type=Word(), required=False)
@click.pass_context
def test(context: click.Context, receiver: str | None) -> None:
    """Send a signed test event to one receiver or to all. Nothing is recorded.

    Exits with 1 if a receiver does not accept it.

    \b
    Example:
      collector webhooks test inventory
    """
    from collector.clock import utc_now
    from collector.service.webhooks.companion import tellers_of
    from collector.service.webhooks.trial import trial_event

    worst = 0
    for each in _chosen(settings_of(context), receiver):
        try:
            (tell,) = tellers_of([each])
            outcome = tell(trial_event(each, utc_now()))
        except CollectorError as error:
            note(str(error))  # it names the receiver
            worst = 1
            continue
        if outcome.why is None:
            say(f"{each.name}: accepted")
        else:
            note(f"{each.name}: not accepted: {outcome.why}")
            worst = 1
    sys.exit(worst)


def _chosen(settings: Settings, receiver: str | None) -> list[Receiver]:
    found = [each for each in settings.webhooks if receiver in (None, each.name)]
    if not found:
        if not settings.webhooks:
            raise UsageError("the settings name no receiver; docs/events.md says how they name one")
        names = sorted(each.name for each in settings.webhooks)
        raise UsageError(f"there is no receiver {receiver!r}; {instead(str(receiver), names)}")
    return found


@webhooks.command()
@click.argument("receiver", type=Word(), required=False)
@click.pass_context
def deliver(context: click.Context, receiver: str | None) -> None:
    """Deliver once what is due now, for cron beside `collector poll`. `collector run` does that by itself.

    Exits with 1 if a receiver did not accept an event.

    \b
    Example, every minute from cron:
      * * * * *  collector poll --quiet; collector webhooks deliver
    """
    from collector import logs
    from collector.service.webhooks.once import deliver_once

    settings = settings_of(context)
    logs.configure(form=settings.log_format, level=settings.log_level)
    chosen = _chosen(settings, receiver)
    engine = open_for_writing(context)
    sources = [source.name for source in settings.sources]
    results = deliver_once(engine, chosen, announcer_of(settings), sources, settings.webhook_keep)
    engine.dispose()
    for name, outcomes in results.items():
        words = {
            "delivered": "delivered",
            "failed": "not accepted, will be tried again",
            "given_up": "given up",
        }
        said = ", ".join(f"{outcomes[key]} {word}" for key, word in words.items() if outcomes.get(key))
        say(
            f"{name}: {said or 'nothing is due'}",
            err=bool(outcomes.get("failed") or outcomes.get("given_up")),
        )
    sys.exit(1 if any(o.get("failed") or o.get("given_up") for o in results.values()) else 0)


def announcer_of(settings: Settings) -> Announcer:
    """The announcer, which decides which receiver gets which event, from the settings."""
    from collector.service.webhooks.announcing import Announcer

    return Announcer(settings.webhooks, settings.public_url)
