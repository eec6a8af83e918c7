"""Which events receivers get: those of the JSON API, once each, and only those that they asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.backup import backup
from collector.database.engine import open_engine
from collector.database.transactions import reading, writing
from collector.receivers import EVENT_KINDS, Receiver
from collector.reports.cloudevents import TYPE_PREFIX, text_of
from collector.reports.events import events
from collector.service.webhooks.announcing import Announcer
from collector.service.webhooks.companion import announce_gap, announce_open_gaps, announce_verification
from collector.store import copying, outbox, rederive
from tests.support.builders import keystone, metrics_database, region
from tests.support.history import History, Row, failure
from tests.support.paths import ROOT
from tests.support.receivers import Receiver as Hook
from tests.support.script import STORY, play
from tests.support.story import tell, tell_other

URL = "http://127.0.0.1:1/hook"


def receiver(name: str = "hook", **more: Any) -> Receiver:
    return Hook.configured(URL, name, **more)


def announcer(*receivers: Receiver, public_url: str | None = None) -> Announcer:
    return Announcer(receivers or (receiver(),), public_url)


def queued(history: History, name: str = "hook") -> list[Row]:
    """Rows of a receiver, in the order in which they are delivered, with the event read."""
    rows = history.rows("webhook_deliveries", receiver=name)
    rows.sort(key=lambda row: (row["source_id"], row["seq"], row["ordinal"]))
    return [row | {"event": json.loads(row["event"])} for row in rows]


def kinds(history: History, name: str = "hook") -> list[str]:
    return [row["type"].removeprefix(TYPE_PREFIX) for row in queued(history, name)]


@contextmanager
def counted_statements(engine: sa.Engine) -> Iterator[list[str]]:
    """The statements of a block, except those that begin a transaction."""
    found: list[str] = []

    def on_statement(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "SET LOCAL", "SET TRANSACTION")):
            found.append(statement)

    sa.event.listen(engine, "after_cursor_execute", on_statement)
    yield found
    sa.event.remove(engine, "after_cursor_execute", on_statement)


def test_receivers_get_the_events_of_the_api_by_the_same_numbers(engine: sa.Engine) -> None:
    told = announcer(receiver(baseline=True))
    histories = [History(engine, announce=told), History(engine, "preprod", announce=told)]
    api: dict[Any, Row] = {}
    for number in range(len(STORY)):
        play(histories[0], number)
        _read(engine, api)
    tell_other(histories[1])
    _read(engine, api)
    heads = {(r["source_id"], r["seq"]): r["opening_digest"] for r in histories[0].rows("observations")}
    seen = queued(histories[0])
    places = [(row["event"]["data"]["source"], row["seq"], row["ordinal"]) for row in seen]
    assert len(set(places)) == len(places)
    for row, place in zip(seen, places, strict=True):
        of_api = json.loads(text_of(api[place]))
        data = row["event"]["data"]
        assert {name: data[name] for name in of_api} == of_api
        assert data["head"] == heads[row["source_id"], row["seq"]]
        assert data["words"].endswith(".")
    left_out = {(p, row["event"]) for p, row in api.items() if p not in places}
    assert {event for _, event in left_out} == {"observation", "version", "unseen", "shown", "rejected"}
    for place, event in left_out:
        if event == "version":  # a transition says it, or nothing is known of before
            assert {each["field"] for each in api[place]["changes"]} <= {"state"}
    assert set(kinds(histories[0])) >= {"state_changed", "appeared", "disappeared", "returned"}
    assert set(kinds(histories[0])) >= {"fields_changed", "drift"}


def _read(engine: sa.Engine, known: dict[Any, Row]) -> None:
    """Add what the API says of all that is new. It names regions as they were seen last, which may change later."""
    with reading(engine) as connection:
        rows = events(connection, limit=100_000).rows
    for row in rows:
        known.setdefault((row["source"], row["seq"], row["ordinal"]), row)


def test_each_event_says_all_that_a_receiver_needs(sqlite_engine: sa.Engine) -> None:
    history = History(sqlite_engine, announce=announcer(public_url="https://collector.example/inventory"))
    one, two = region(1, metrics_database_id=7, metrics_database=metrics_database(7)), region(2)
    history.poll([one, two])
    history.poll([one | {"state": "MAINTENANCE", "has_ai_gpu": True}, two])
    history.poll(
        [one | {"state": "MAINTENANCE", "has_ai_gpu": True, "new_field": 1}, two], at=history.at + 600
    )
    transition, version, gap, drift = (row["event"] for row in queued(history))
    assert transition.keys() == {
        *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data")
    }
    assert (transition["specversion"], transition["source"]) == ("1.0", "urn:gcore-collector:gcore")
    assert (transition["type"], transition["subject"]) == ("gcore-collector.state_changed", "region/1")
    assert transition["time"] == transition["data"]["observed_at"] == "2026-05-01T12:02:00.000000Z"
    told = transition["data"]
    assert (told["from_state"], told["to_state"]) == ("ACTIVE", "MAINTENANCE")
    assert (told["not_before"], told["basis"]) == ("2026-05-01T12:00:59.500000Z", "direct")
    assert (told["display_name"], told["slug"], told["region_id"]) == ("Region 1", "region-1", 1)
    assert (told["seq"], told["ordinal"], told["event"]) == (2, 2, "transition")
    assert told["certainty"] == "within 60 s: the poll just before still showed the old state"
    assert told["words"].startswith(
        "Region 1 went from ACTIVE to MAINTENANCE, between 2026-05-01 12:00:59.500Z"
    )
    assert told["link"] == "https://collector.example/inventory/changes/gcore/2/region/1"
    assert version["type"] == "gcore-collector.fields_changed"
    assert {"field": "has_ai_gpu", "old": False, "new": True} in version["data"]["changes"]
    assert (version["data"]["display_name"], version["data"]["basis"]) == ("Region 1", "direct")
    assert version["data"]["words"].startswith("Region 1: has_ai_gpu went from no to yes, between")
    assert version["data"]["link"] == "https://collector.example/inventory/regions/gcore/1"
    assert (gap["type"], gap["data"]["seconds"]) == ("gcore-collector.gap_closed", 600.0)
    assert gap["data"]["words"] == (
        "gcore is seen again; it was not seen from 2026-05-01 12:02:00Z to 2026-05-01 12:12:00Z, for 10 min: "
        "no poll was made, or none could be written."
    )
    assert (drift["type"], drift["data"]["path"]) == ("gcore-collector.drift", "results[].new_field")
    assert drift["data"]["link"] == "https://collector.example/inventory/evidence/gcore/3"


def test_what_happened_while_we_were_down_is_sent_as_across_a_gap(sqlite_engine: sa.Engine) -> None:
    history = History(sqlite_engine, announce=announcer())
    history.poll([region(1)])
    history.restart()
    history.poll([region(1, "MAINTENANCE")], at=history.at + 7200)
    assert kinds(history) == ["gap_closed", "state_changed"]
    assert queued(history)[1]["event"]["data"]["basis"] == "across_gap"


def test_metrics_databases_come_go_and_come_again(engine: sa.Engine) -> None:
    history = History(engine, announce=announcer(receiver(entities="metrics_database")))
    plain, with_one = region(1), region(1, metrics_database_id=7, metrics_database=metrics_database(7))
    moved = region(1, metrics_database_id=7, metrics_database=metrics_database(7, port=1))
    for said in (plain, with_one, moved, plain, with_one):
        history.poll([said])
    assert kinds(history) == ["appeared", "fields_changed", "disappeared", "returned"]
    words = [row["event"]["data"]["words"] for row in queued(history)]
    assert words[2] == "The metrics database of Region 1 disappeared."
    assert words[1].startswith("The metrics database of Region 1: port went from 9097 to 1, between")


def test_the_baseline_is_sent_only_if_it_is_asked_for(sqlite_engine: sa.Engine) -> None:
    told = announcer(receiver(), receiver("all", baseline=True))
    history = History(sqlite_engine, announce=told)
    history.poll([region(1, odd=1), region(2)])
    assert (kinds(history), sorted(set(kinds(history, "all")))) == ([], ["appeared", "drift"])
    assert kinds(history, "all").count("appeared") == 4
    history.poll([region(1, odd=1), region(2), region(3)])
    assert kinds(history) == ["appeared", "appeared"]


@pytest.mark.parametrize(
    ("filters", "passing"),
    [
        ({}, ["gap_closed", "state_changed", "state_changed", "fields_changed", "drift"]),
        ({"sources": ["gcore"]}, ["gap_closed", "state_changed", "state_changed", "fields_changed", "drift"]),
        ({"sources": ["other"]}, []),
        ({"entities": ["keystone"]}, ["state_changed"]),
        ({"entities": "region"}, ["state_changed", "fields_changed"]),
        ({"kinds": ["drift", "gap_closed"]}, ["gap_closed", "drift"]),
        ({"states": ["MAINTENANCE"]}, ["state_changed"]),
        ({"states": ["ACTIVE", "DELETED"]}, ["state_changed", "state_changed"]),
        ({"states": ["NEW"]}, []),
        ({"states": ["MAINTENANCE"], "entities": ["keystone"]}, []),
    ],
)
def test_a_receiver_gets_what_passes_all_its_filters(
    sqlite_engine: sa.Engine, filters: Any, passing: list[str]
) -> None:
    history = History(sqlite_engine, announce=announcer(receiver(**filters)))
    history.poll([region(1), region(2, keystone=keystone(1002))])
    changed = region(2, has_ai_gpu=True, keystone=keystone(1002, state="DELETED"))
    history.poll([region(1, "MAINTENANCE", odd=1), changed], at=history.at + 300)
    assert kinds(history) == passing


def test_people_are_sent_one_message_a_poll(sqlite_engine: sa.Engine) -> None:
    people = Hook.people("json://127.0.0.1:1/")
    history = History(sqlite_engine, announce=announcer(people, public_url="https://c.example"))
    history.poll([region(i) for i in range(1, 40)])
    history.poll([region(1, "MAINTENANCE"), *(region(i) for i in range(2, 40))])
    history.poll([region(i, "MAINTENANCE") for i in range(1, 40)])
    one, many = (row["event"] for row in queued(history, "people"))
    assert one["title"] == "gcore: Region 1 went from ACTIVE to MAINTENANCE"
    assert one["body"].splitlines()[0].startswith("Region 1 went from ACTIVE to MAINTENANCE, between")
    assert one["body"].splitlines()[1:] == ["https://c.example/changes/gcore/2/region/1"]
    lines = many["body"].splitlines()
    assert many["title"] == "gcore: 38 events"
    assert lines[0] == "Region 2 went from ACTIVE to MAINTENANCE"
    assert lines[-2:] == ["and 28 more events", "https://c.example/changes?source=gcore"]
    assert len(lines) == 12


# Once


def test_an_unchanged_poll_costs_receivers_nothing(sqlite_engine: sa.Engine) -> None:
    history = History(sqlite_engine, announce=announcer())
    for _ in range(2):
        history.poll([region(1)])
    with counted_statements(sqlite_engine) as statements:
        history.poll([region(1)])
    assert len(statements) == 2


def test_a_poll_that_no_receiver_asks_for_reads_no_events(sqlite_engine: sa.Engine) -> None:
    counts = []
    nobody = announcer(
        receiver("gaps", kinds=["gap_opened", "verification_failed"]), receiver("other", sources=["other"])
    )
    for name, told in (("plain", None), ("nobody", nobody), ("told", announcer())):
        history = History(sqlite_engine, name, announce=told)
        history.poll([region(1)])
        with counted_statements(sqlite_engine) as statements:
            history.poll([region(1, "MAINTENANCE")])
        counts.append(len(statements))
    assert counts[0] == counts[1] < counts[2]
    assert not [row for row in history.rows("webhook_deliveries") if row["receiver"] != "hook"]


def test_a_restart_and_a_rebuild_announce_nothing(engine: sa.Engine) -> None:
    history = History(engine, announce=announcer())
    tell(history)
    before = history.rows("webhook_deliveries")
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE sources SET derivation_revision = 1"))
        connection.execute(sa.text("UPDATE region_versions SET zone = 'forged'"))
    history.restart()
    _ = history.writer  # it derives the history again
    assert rederive.rebuild(engine, "gcore", check_only=True).different == 0
    assert history.rows("webhook_deliveries") == before


def test_numbers_that_are_given_again_after_a_restore_do_not_make_the_same_ids(
    tmp_path: Path, sqlite_engine: sa.Engine
) -> None:
    history = History(sqlite_engine, announce=announcer())
    history.poll([region(1)])
    history.restart()
    copy = tmp_path / "copy.db"
    backup(sqlite_engine, copy)
    history.poll([region(1, "MAINTENANCE")])
    restored = open_engine(f"sqlite:///{copy}")
    again = History(restored, announce=announcer())
    again.poll([region(1, "DELETED")], at=history.at + 60)
    (one,), two = queued(history), queued(again)
    assert two[-1]["seq"] == one["seq"]
    assert one["event"]["id"] not in [row["event"]["id"] for row in two]
    restored.dispose()


def test_what_waits_when_a_backup_is_made_is_not_sent_again_by_it(
    tmp_path: Path, sqlite_engine: sa.Engine
) -> None:
    history = History(sqlite_engine, announce=announcer())
    history.poll([region(1)])
    history.poll([region(1, "MAINTENANCE")])
    backup(sqlite_engine, tmp_path / "copy.db", finish=lambda copy: outbox.set_aside(copy, history.time(200)))
    restored = open_engine(f"sqlite:///{tmp_path / 'copy.db'}")
    assert outbox.due(restored, "hook", history.time(300)) == []
    (row,) = History(restored).rows("webhook_deliveries")
    assert row["last_error"] == outbox.SET_ASIDE
    assert [each.name for each in tmp_path.glob("*.part*")] == []
    assert outbox.retry(restored, None) == 1
    assert outbox.due(restored, "hook", history.time(300)) == [(1, "gcore")]
    assert len(outbox.due(sqlite_engine, "hook", history.time(300))) == 1
    restored.dispose()


def test_what_waits_goes_along_when_a_history_moves(
    engine: sa.Engine, tmp_path: Path, sqlite_template: Path
) -> None:
    history = History(engine, announce=announcer())
    history.poll([region(1)])
    history.poll([region(1, "MAINTENANCE")])
    history.restart()
    assert outbox.claim(engine, "hook", 1, "somebody") is not None
    target = tmp_path / "moved.db"
    target.write_bytes(sqlite_template.read_bytes())
    sink = open_engine(f"sqlite:///{target}")
    copying.copy(engine, sink)
    assert outbox.due(sink, "hook", history.time(300)) == [(1, "gcore")]
    sink.dispose()


# What no poll brings


def test_a_gap_is_announced_when_it_has_opened_and_when_it_is_over(engine: sa.Engine, now: Any) -> None:
    history = History(engine, announce=announcer())
    history.poll([region(1)], at=0)
    history.poll(failure(), at=3000)
    told = announcer()
    for _ in range(2):
        announce_gap(engine, told, "gcore")
    (row,) = queued(history)
    opened = row["event"]
    assert (row["seq"], opened["type"]) == (1, "gcore-collector.gap_opened")
    assert opened["data"]["event"] == "gap"
    assert opened["data"]["until_at"] is None
    assert opened["data"]["failed_polls"] == 1
    assert opened["data"]["words"].startswith("gcore has not been seen since ")
    history.poll([region(1)], at=3600)
    announce_gap(engine, told, "gcore")
    assert kinds(history) == ["gap_opened", "gap_closed"]


def test_a_gap_is_announced_once_to_those_who_want_it_and_only_of_ours(engine: sa.Engine, now: Any) -> None:
    for name in ("gcore", "left"):
        history = History(engine, name, announce=announcer())
        history.poll([region(1)], at=0)
    told = announcer(receiver(), receiver("other", kinds="drift"))
    known: set[Any] = set()
    assert announce_open_gaps(engine, told, ["gcore"], running_for=149.0, known=known) == []
    assert announce_open_gaps(engine, told, ["gcore"], running_for=151.0, known=known) == ["gcore"]
    assert announce_open_gaps(engine, told, ["gcore"], running_for=151.0, known=known) == []
    assert announce_open_gaps(engine, told, ["gcore"]) == ["gcore"]  # another process
    assert [(row["receiver"], row["source_id"]) for row in history.rows("webhook_deliveries")] == [
        ("hook", 1)
    ]
    assert announce_open_gaps(engine, announcer(receiver(kinds="drift")), ["gcore"]) == []


def test_a_source_that_was_never_seen_has_a_gap_too(sqlite_engine: sa.Engine, now: Any) -> None:
    history = History(sqlite_engine)
    history.poll(failure(), at=0)
    announce_gap(sqlite_engine, announcer(), "gcore")
    assert [row["seq"] for row in queued(history)] == [1]


def test_a_verification_that_fails_is_sent_once_for_each_newest_observation(sqlite_engine: sa.Engine) -> None:
    history = History(sqlite_engine)
    for state in ("ACTIVE", "DELETED"):
        history.poll([region(1, state)])
        for _ in range(2):
            announce_verification(sqlite_engine, announcer(), "gcore", "regions (id 1): it was edited")
    assert [(row["seq"], row["type"]) for row in queued(history)] == [
        (1, "gcore-collector.verification_failed"),
        (2, "gcore-collector.verification_failed"),
    ]
    words = "The history of gcore could not be verified: regions (id 1): it was edited."
    assert queued(history)[0]["event"]["data"]["words"] == words


def test_every_kind_has_its_word_in_the_documentation() -> None:
    text = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    assert [kind for kind in EVENT_KINDS if f"`{TYPE_PREFIX}{kind}`" not in text] == []
