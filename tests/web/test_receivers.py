"""What metrics and the page Coverage say of receivers of events."""

from __future__ import annotations

import sqlalchemy as sa

from collector.service.tally import Tallies
from collector.service.webhooks.announcing import Announcer
from collector.store import outbox
from tests.support.builders import region
from tests.support.history import History
from tests.support.pages import Serve
from tests.support.receivers import Receiver
from tests.support.samples import value
from tests.support.service_views import source_view, view_of

URL = "http://127.0.0.1:1/canary-of-a-url"


def refused(engine: sa.Engine) -> History:
    """Three events: one was delivered, one was given up, and one waits."""
    told = Announcer([Receiver.configured(URL)])
    history = History(engine, announce=told)
    for state in ("ACTIVE", "MAINTENANCE", "DELETING", "DELETED"):
        history.poll([region(1, state)])
    claimed = outbox.claim(engine, "hook", 1, "me")
    assert claimed is not None
    first, second, _ = outbox.first_waiting(engine, claimed, 10)
    now = history.time(history.at + 5)
    assert outbox.settle(engine, claimed, outbox.Told([first], second, "status 500: <b>no</b>", True), now)
    return history


def test_receivers_are_measured(engine: sa.Engine, serve: Serve) -> None:
    history = refused(engine)
    tallies = Tallies()
    tallies.count_attempt("hook", "delivered", 2)
    tallies.count_attempt("hook", "delivered")
    hooks = (Receiver.configured(URL), Receiver.configured(URL, name="quiet"))

    def running() -> object:
        return view_of(source_view(), attempts=tallies.attempts())

    text = serve(history.engine.url, running=running, webhooks=hooks).get("metrics").text
    assert value(text, "event_backlog", receiver="hook") == 1
    assert value(text, "event_dead_letters", receiver="hook") == 1
    waiting = history.row("webhook_deliveries", seq=4)
    queued_at = waiting["created_at"].timestamp()
    assert value(text, "event_oldest_timestamp_seconds", receiver="hook") == queued_at
    assert value(text, "event_backlog", receiver="quiet") == 0
    assert value(text, "event_dead_letters", receiver="quiet") == 0
    assert 'oldest_timestamp_seconds{receiver="quiet"}' not in text
    assert value(text, "event_attempts_total", receiver="hook", outcome="delivered") == 3


def test_coverage_says_who_was_not_notified(sqlite_engine: sa.Engine, serve: Serve) -> None:
    history = refused(sqlite_engine)
    client = serve(
        history.engine.url, webhooks=(Receiver.configured(URL), Receiver.configured(URL, name="quiet"))
    )
    text = client.get("coverage").text
    assert "Receivers of events" in text
    assert "status 500: &lt;b&gt;no&lt;/b&gt;" in text
    assert "<strong>1</strong>" in text
    assert "quiet" in text
    assert "canary" not in text
    without = serve(history.engine.url).get("coverage").text
    assert "not in the settings of this process" in without


def test_coverage_says_nothing_of_receivers_where_there_are_none(told: History, serve: Serve) -> None:
    assert "Receivers of events" not in serve(told.engine.url).get("coverage").text
