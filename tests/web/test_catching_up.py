"""A receiver that lost events reads them from the API: the same events, from the cursor of any that it has."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from collector.database.transactions import reading
from collector.reports.cursors import Cursor
from collector.reports.events import events
from collector.reports.notices import notices
from collector.service.webhooks.announcing import Announcer
from collector.service.webhooks.companion import announce_gap, announce_verification
from tests.support.builders import keystone, metrics_database, region
from tests.support.effort import effort_of
from tests.support.history import History, failure
from tests.support.receivers import Receiver
from tests.support.script import STORY, play
from tests.support.story import tell_other
from tests.web.conftest import Serve

Json = Any
PUBLIC = "https://collector.example"
LATER = datetime(2026, 5, 2, tzinfo=UTC)
OF_THAT_TIME = ("region_id", "slug", "display_name", "words", "link")
"""The API names entities, and their regions, as they were seen last."""


def announcer() -> Announcer:
    return Announcer([Receiver.configured("http://127.0.0.1:1/hook", baseline=True)], PUBLIC)


def pushed(history: History, source: str = "gcore") -> list[Json]:
    """The events that a receiver gets of a source, in order."""
    rows = sorted(history.rows("webhook_deliveries"), key=lambda row: (row["seq"], row["ordinal"]))
    return [each for row in rows if (each := json.loads(row["event"]))["data"]["source"] == source]


def pulled(api: httpx.Client, after: str | None = None, limit: int = 1000, **more: Any) -> list[Json]:
    """All events of the API from a cursor on."""
    found: list[Json] = []
    while True:
        said = api.get(
            "api/v1/cloudevents", params={"limit": limit, **({"after": after} if after else {}), **more}
        )
        assert said.status_code == 200, said.text
        page = said.json()
        found += page["events"]
        after = page["next"]
        if not page["more"]:
            return found


def nameless(event: Json) -> Json:
    return event | {"data": {name: each for name, each in event["data"].items() if name not in OF_THAT_TIME}}


@pytest.fixture
def told(engine: sa.Engine) -> History:
    """Two sources to which everything happened, with all that receivers got."""
    histories = [History(engine, announce=announcer()), History(engine, "preprod", announce=announcer())]
    for number in range(len(STORY)):
        play(histories[0], number)
    tell_other(histories[1])
    return histories[0]


def test_the_api_returns_what_was_pushed_after_any_event(told: History, serve: Serve) -> None:
    api = serve(told.engine.url, clock=lambda: LATER, public_url=PUBLIC)
    both = [pushed(told, name) for name in ("gcore", "preprod")]
    assert min(map(len, both)) > 3
    everything = pulled(api, limit=7)
    assert [*map(nameless, everything)] == [*map(nameless, both[0] + both[1])]
    for sent in both:
        source = sent[0]["data"]["source"]
        for number, each in [*enumerate(sent)][::9]:
            rest = pulled(api, each["data"]["cursor"], source=source)
            assert [e["id"] for e in rest] == [e["id"] for e in sent[number + 1 :]]
            said = api.get("api/v1/events", params={"after": each["data"]["cursor"], "source": source}).json()
            place = (each["data"]["seq"], each["data"]["ordinal"])
            first = said["events"][0] if said["events"] else None
            assert first is None or (first["seq"], first["ordinal"]) in (
                (place[0], place[1] + 1),
                (place[0] + 1, 1),
            )


@pytest.mark.long
@pytest.mark.parametrize("limit", [1, 3])
def test_pages_of_any_length_say_the_same(told: History, limit: int) -> None:
    with reading(told.engine) as connection:
        whole = notices(connection, events(connection, limit=100_000))
        found, cursor, more = [], Cursor(), True
        while more:
            page = events(connection, cursor, limit=limit)
            found += notices(connection, page)
            cursor, more = page.cursor, page.more
    assert found == whole


def test_the_name_of_the_time_is_all_in_which_they_differ(engine: sa.Engine, serve: Serve) -> None:
    history = History(engine, announce=announcer())
    one = region(1, metrics_database_id=7, metrics_database=metrics_database(7))
    history.poll([one, region(2)])
    history.poll(
        [region(1, "MAINTENANCE", odd=1), region(2, keystone=keystone(1002, url="x"))], at=history.at + 900
    )
    history.poll([one | {"has_ai_gpu": True}])
    sent = pushed(history)
    assert pulled(serve(engine.url, public_url=PUBLIC)) == sent
    kinds = {each["type"].rpartition(".")[2] for each in sent}
    assert kinds == {
        *("appeared", "gap_closed", "state_changed", "fields_changed", "disappeared", "returned", "drift")
    }


def test_a_gap_and_a_verification_lead_on_from_their_observation(
    engine: sa.Engine, serve: Serve, now: Any
) -> None:
    history = History(engine, announce=announcer())
    history.poll([region(1)], at=0)
    history.poll(failure(), at=3000)
    announce_gap(engine, announcer(), "gcore")
    announce_verification(engine, announcer(), "gcore", "regions (id 1): it was edited")
    history.poll([region(1, "NEW")], at=3600)
    sent = {each["type"].rpartition(".")[2]: each for each in pushed(history)}
    api = serve(engine.url, public_url=PUBLIC)
    for kind in ("gap_opened", "verification_failed"):
        rest = [each["type"].rpartition(".")[2] for each in pulled(api, sent[kind]["data"]["cursor"])]
        assert rest == ["gap_closed", "state_changed"]


def test_without_a_public_address_there_is_no_link(engine: sa.Engine, serve: Serve) -> None:
    History(engine).poll([region(1)])
    events_of_api = pulled(serve(engine.url))
    assert len(events_of_api) == 2
    assert {each["data"]["link"] for each in events_of_api} == {None}
    assert {each["data"]["basis"] for each in events_of_api} == {"baseline"}


def test_a_cursor_from_a_lost_history_is_refused(engine: sa.Engine, serve: Serve) -> None:
    history = History(engine, announce=announcer())
    history.poll([region(1)])
    places, _, digest = pushed(history)[0]["data"]["cursor"].rpartition("_")
    said = serve(engine.url).get("api/v1/cloudevents", params={"after": f"{places}_{digest[::-1]}"})
    assert said.status_code == 409


def test_a_page_of_many_sources_takes_no_more_statements_than_one_of_a_few(sqlite_engine: sa.Engine) -> None:
    taken = {}
    with_one = region(1, metrics_database_id=7, metrics_database=metrics_database(7))
    for number in range(1, 13):
        history = History(sqlite_engine, name=f"source-{number}")
        history.poll([region(1)], at=0)
        history.poll([with_one | {"state": "NEW"}], at=60)
        if number in (2, 12):
            taken[number] = effort_of(sqlite_engine, lambda c: notices(c, events(c)))
    assert taken[12].statements == taken[2].statements
