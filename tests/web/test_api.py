"""The JSON API, as programs ask it: over a real server, on both databases."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from collector.clock import time_text
from collector.database.transactions import reading, writing
from collector.reports.availability import availability
from collector.reports.changes import region_history
from collector.reports.coverage import coverage
from collector.reports.events import events
from collector.reports.heads import heads
from collector.reports.inventory import REGIONS, RegionFilter, regions_as_of
from collector.reports.nested import NestedFilter, nested_as_of, nested_report
from collector.reports.spans import SpanFilter, spans
from collector.reports.status import statuses
from collector.reports.transitions import TransitionFilter, transitions
from collector.store.tables import TYPED
from collector.web.api.parameters import parse_moment
from tests.support.builders import region
from tests.support.history import NOON, History, failure
from tests.support.marks import slow_on_postgresql
from tests.support.pages import serving
from tests.web.conftest import Serve

Json = Any
LATER = datetime(2026, 5, 2, tzinfo=UTC)
"""After the whole story."""


def plain(value: Any) -> Json:
    """A row as JSON has it."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return time_text(value) if isinstance(value, datetime) else value


@pytest.fixture(scope="module")
def told(shared_told: History) -> History:
    return shared_told


@pytest.fixture(scope="module")
def api(told: History) -> Iterator[httpx.Client]:
    """Asks a history in which everything has happened."""
    with serving(told.engine.url, clock=lambda: LATER) as client:
        yield client


def get(api: httpx.Client, path: str, status: int = 200, **parameters: Any) -> Json:
    said = api.get(f"api/v1{path}", params=parameters)
    assert said.status_code == status, said.text
    assert said.headers["content-type"] == (
        "application/json" if status == 200 else "application/problem+json"
    )
    return said.json()


# Answers are what the reports say


def test_regions_are_those_of_the_report(told: History, api: httpx.Client) -> None:
    with reading(told.engine) as connection:
        now = regions_as_of(connection, LATER, RegionFilter())
        then = regions_as_of(connection, told.time(90), RegionFilter(source="gcore"))
        up = regions_as_of(connection, LATER, RegionFilter(state="active", zone="emea", gpu=False))
    assert get(api, "/regions")["regions"] == plain(now)
    assert get(api, "/regions", as_of=time_text(told.time(90)), source="gcore")["regions"] == plain(then)
    assert get(api, "/regions", state="active", zone="emea", gpu="false")["regions"] == plain(up)
    assert len(now) > len(up) > 0
    assert len(then) == 5
    assert tuple(get(api, "/regions")["regions"][0]) == REGIONS.fields


@pytest.mark.parametrize(
    ("path", "view", "beside"),
    [
        ("regions", "current_regions", None),
        ("keystones", "current_keystones", set()),
        ("metrics-databases", "current_metrics_databases", set()),
        ("transitions?entity=region", "region_transitions", {"entity", "entity_id", "transition"}),
        ("transitions?entity=keystone", "keystone_transitions", {"entity", "entity_id", "transition"}),
        ("coverage", "coverage_gaps", {"entity", "entity_id", "display_name"}),
        ("spans", "region_state_spans", {"entity", "entity_id"}),
    ],
)
def test_fields_are_called_as_the_columns_of_the_views(
    told: History, api: httpx.Client, path: str, view: str, beside: set[str] | None
) -> None:
    """An answer about several kinds also names the kind. Views also have places, count regions and measure windows."""
    with reading(told.engine) as connection:
        columns = set(connection.exec_driver_sql(f"SELECT * FROM {view} WHERE 1 = 0").keys())
    then = {"as_of": time_text(told.time(90))} if "databases" in path else {}
    said = api.get(f"api/v1/{path}", params=then or None).json()
    (rows,) = [value for value in said.values() if isinstance(value, list)]
    own = {
        "source_id",
        "regions",
        "window_seconds",
        "keystone_url",
        "metrics_database_host",
        "metrics_database_port",
    }
    own |= {"keystone_id"} if "transitions" in path else set()
    assert columns - set(rows[0]) <= own
    if beside is None:  # a region says everything that is known of it
        assert set(TYPED["region"]) <= set(rows[0])
    else:
        assert set(rows[0]) - columns == beside


def test_one_region_comes_with_its_keystone_and_its_metrics_database(
    told: History, api: httpx.Client
) -> None:
    said = get(api, "/regions/4", source="gcore", as_of=time_text(told.time(90)))
    with reading(told.engine) as connection:
        moment = told.time(90)
        (row,) = regions_as_of(connection, moment, RegionFilter(source="gcore", region="4"))
        (keystone,) = nested_as_of(connection, "keystone", moment, NestedFilter(region="4", source="gcore"))
        (metrics,) = nested_as_of(connection, "metrics_database", moment, NestedFilter(id=7))
    assert said["region"] == plain(row)
    assert said["keystone"] == plain(keystone)
    assert said["metrics_database"] == plain(metrics)
    assert get(api, "/regions/Luxembourg-2")["region"]["region_id"] == 1
    assert get(api, "/regions/Luxembourg-2")["metrics_database"] is None


def test_a_name_of_several_regions_is_a_conflict_that_says_how_to_go_on(api: httpx.Client) -> None:
    assert "add source with one of: gcore, preprod" in get(api, "/regions/1", 409)["detail"]
    assert get(api, "/regions/1", source="preprod")["region"]["state"] == "DELETED"


def test_a_region_that_was_not_in_force_is_not_found(told: History, api: httpx.Client) -> None:
    before = time_text(told.time(-3600))
    assert "in force at 2026-05-01T11:00:00" in get(api, "/regions/77", 404, as_of=before)["detail"]
    assert "there is no region 'nowhere'" in get(api, "/regions/nowhere", 404)["detail"]
    assert "there is no region ' '" in get(api, "/regions/%20", 404)["detail"]


@pytest.mark.parametrize("kind", ["keystone", "metrics_database"])
@pytest.mark.parametrize("seconds", [-1, 65, 600, 1500, 3000])
def test_nested_entities_are_those_that_the_views_and_functions_say(
    told: History, api: httpx.Client, kind: Any, seconds: float
) -> None:
    at = told.time(seconds)
    said = get(api, f"/{kind.replace('_', '-')}s", as_of=time_text(at))
    rows = said[f"{kind}s"]
    assert all(tuple(row) == nested_report(kind).fields for row in rows)
    if told.engine.dialect.name == "postgresql" and kind == "keystone":
        query = "SELECT * FROM keystones_as_of(:at) ORDER BY source, keystone_id"
        assert rows == plain(told.query(query, at=at))
    assert bool(rows) == (0 < seconds < 1600 or (seconds > 0 and kind == "keystone"))


def test_nested_entities_of_now_are_those_of_the_views(told: History, api: httpx.Client) -> None:
    names = ", ".join(
        name
        for name in nested_report("keystone").fields
        if not name.startswith(("has_", "created_", "last_"))
    )
    query = f"SELECT {names} FROM current_keystones ORDER BY source, keystone_id"
    times = ("first_seen_at", "changed_at")
    rows = [
        {
            name: value if name in times and isinstance(value, str) else plain(value)
            for name, value in row.items()
        }
        for row in told.query(query)
    ]
    said = get(api, "/keystones")["keystones"]
    assert [{name: row[name] for name in rows[0]} for row in said] == rows


def test_history_is_that_of_the_report(told: History, api: httpx.Client) -> None:
    with reading(told.engine) as connection:
        expected = region_history(connection, "3", "gcore")
    assert get(api, "/regions/3/history", source="gcore")["versions"] == plain(expected)
    assert len(expected) >= 4


def test_transitions_are_those_of_the_report_page_by_page(told: History, api: httpx.Client) -> None:
    with reading(told.engine) as connection:
        everything = plain(transitions(connection, TransitionFilter()))
        some = plain(transitions(connection, TransitionFilter(to_state="active", since=told.time(100))))
    assert get(api, "/transitions")["transitions"] == everything
    assert (
        get(api, "/transitions", to_state="active", **{"from": time_text(told.time(100))})["transitions"]
        == some
    )
    assert 0 < len(some) < len(everything)
    for limit in (1, 7, len(everything)):
        rows: list[Json] = []
        after: dict[str, str] = {}
        while True:
            said = get(api, "/transitions", limit=limit, **after)
            rows += said["transitions"]
            assert len(said["transitions"]) == limit or said["next"] is None
            if said["next"] is None:
                break
            after = {"after": said["next"]}
        assert rows == everything


def test_spans_availability_and_coverage_are_those_of_the_reports(told: History, api: httpx.Client) -> None:
    since, until = told.time(100), told.time(1200)
    times = {"from": time_text(since), "to": time_text(until)}
    with reading(told.engine) as connection:
        some = spans(connection, SpanFilter("keystone", ("1", "2"), "gcore", since, until))
        assert get(api, "/spans", entity="keystone", region=["1", "2"], source="gcore", **times)[
            "spans"
        ] == plain(list(some))
        rows = availability(connection, now=LATER, since=since, until=until, by="day", zone=UTC)
        assert get(api, "/availability", by="day", **times)["availability"] == plain(rows)
        gaps = coverage(connection, since=since, until=until, unseen_too=True)
        ended = [row for row in gaps if row["until_at"]]
        said = get(api, "/coverage", unseen="true", **times)["gaps"]
        assert [row for row in said if row["until_at"]] == plain(ended)
        assert len(said) == len(gaps) > len(ended) > 0
        assert len(get(api, "/coverage")["gaps"]) < len(coverage(connection, unseen_too=True))


@pytest.mark.parametrize("path", ["/spans", "/availability", "/coverage", "/transitions"])
def test_of_no_time_there_is_nothing_to_say(told: History, api: httpx.Client, path: str) -> None:
    backward = {"from": time_text(told.time(1200)), "to": time_text(told.time(100))}
    said = get(api, path, **backward)
    assert [value for value in said.values() if isinstance(value, list)] == [[]]


def test_a_calendar_of_all_years_costs_no_more_than_the_days_on_record(told: History, serve: Serve) -> None:
    api = serve(told.engine.url)
    everything = {"from": "0001-01-01", "to": "9999-12-31T23:59:59Z"}
    for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles"):
        asked = {"by": "month", "source": "gcore", "time_zone": zone}
        usual = get(api, "/availability", **asked)["availability"]
        rows = get(api, "/availability", **asked, **everything)["availability"]
        keep = ("level", "region_id", "zone", "country", "seconds", "seconds_at_least", "seconds_at_most")
        begun = usual[-1]["from_at"]  # the month that goes on while the test does
        bare = [
            [{name: row[name] for name in keep} for row in some if row["from_at"] < begun]
            for some in (rows, usual)
        ]
        assert bare[0] == bare[1]
        assert len(bare[0]) > 10
        assert len(rows) == len(usual)
    assert "no time zone" in get(api, "/availability", 404, time_zone="Mars/Olympus")["detail"]


def test_sources_are_those_of_status_with_their_heads(told: History, api: httpx.Client) -> None:
    with reading(told.engine) as connection:
        found = [asdict(each) for each in statuses(connection, LATER, of_settings={"gcore"})]
        head = {row["source"]: row["head"] for row in heads(connection)}
    said = get(api, "/sources")["sources"]
    names = ("anchored_at", "anchored_seq", "anchored_until", "verified_at", "verified")
    proof = dict.fromkeys(names)
    assert said == plain([row | {"head": head[row["source"]]} | proof for row in found])
    assert [row["verdict"] for row in said] == ["stale", "left"]


def test_events_can_be_followed_page_by_page(told: History, api: httpx.Client) -> None:
    with reading(told.engine) as connection:
        everything = plain(list(events(connection).rows))
    rows: list[Json] = []
    said = get(api, "/events", limit=10)
    while said["more"]:
        rows += said["events"]
        said = get(api, "/events", limit=10, after=said["next"])
    rows += said["events"]
    assert rows == everything
    end = get(api, "/events", after=said["next"])
    assert (end["events"], end["more"], end["next"]) == ([], False, said["next"])
    places, _, digest = said["next"].rpartition("_")
    assert "another history" in get(api, "/events", 409, after=f"{places}_{digest[::-1]}")["detail"]


# What every answer says


def test_every_answer_says_on_what_it_rests(told: History, api: httpx.Client) -> None:
    with reading(told.engine) as connection:
        head = {row["source"]: row["head"] for row in heads(connection)}
    for path in (
        "/regions",
        "/keystones",
        "/transitions",
        "/coverage",
        "/sources",
        "/events",
        "/availability",
    ):
        said = get(api, path, source="preprod")
        assert (said["as_of"], said["head"]) == (time_text(LATER), head["preprod"])
        assert said["last_confirmed_at"] == time_text(told.time(120))
    both = get(api, "/regions")
    assert both["head"] not in (None, *head.values())
    assert both["last_confirmed_at"] == time_text(told.time(120))  # preprod was seen least recently
    then = get(api, "/regions", as_of=time_text(told.time(61)), source="gcore")
    assert (then["as_of"], then["last_confirmed_at"]) == (time_text(told.time(61)), time_text(told.time(60)))
    before = get(api, "/regions", as_of="2020-01-01")
    assert (before["last_confirmed_at"], before["regions"]) == (None, [])


def test_of_an_empty_database_there_is_nothing_to_say_and_nothing_wrong(
    serve: Serve, database_url: str
) -> None:
    api = serve(database_url)
    for path in ("/regions", "/transitions", "/events", "/spans", "/sources", "/availability", "/coverage"):
        said = get(api, path)
        assert (said["head"], said["last_confirmed_at"]) == (None, None)
        assert [value for value in said.values() if isinstance(value, list)] == [[]]


def test_an_unchanged_answer_is_not_sent_again(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    api = serve(history.engine.url)
    said = api.get("api/v1/regions")
    tag = said.headers["etag"]
    assert said.headers["collector-last-confirmed-at"] == time_text(NOON)
    for wanted in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        again = api.get("api/v1/regions", headers={"if-none-match": wanted})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    history.poll([region(1)], at=60)  # the same
    again = api.get("api/v1/regions", headers={"if-none-match": tag})
    assert again.status_code == 304
    assert again.headers["collector-last-confirmed-at"] == time_text(history.time(60))
    assert (
        api.get("api/v1/regions", params={"state": "inactive"}, headers={"if-none-match": tag}).status_code
        == 200
    )
    history.poll([region(1, "NEW")], at=120)
    news = api.get("api/v1/regions", headers={"if-none-match": tag})
    assert news.status_code == 200
    assert news.json()["regions"][0]["state"] == "NEW"
    assert news.headers["etag"] != tag
    failed = news.headers["etag"]
    history.poll(failure(), at=180)
    assert api.get("api/v1/regions", headers={"if-none-match": failed}).status_code == 200  # another head


def test_what_moves_with_time_has_no_tag(api: httpx.Client) -> None:
    for path in ("/spans", "/availability", "/coverage", "/sources"):
        said = api.get(f"api/v1{path}", headers={"if-none-match": "*"})
        assert (said.status_code, "etag" in said.headers) == (200, False)


@contextmanager
def statements() -> Iterator[list[str]]:
    """All that any engine of this process is asked."""
    said: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        said.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def test_that_nothing_changed_costs_one_statement(api: httpx.Client) -> None:
    tag = api.get("api/v1/regions").headers["etag"]
    with statements() as said:
        assert api.get("api/v1/regions", headers={"if-none-match": tag}).status_code == 304
    asked = [each for each in said if not re.match(r"BEGIN|SET |ROLLBACK|COMMIT", each)]
    assert len(asked) == 1


def test_head_says_what_get_would_without_the_body(api: httpx.Client) -> None:
    said, head = api.get("api/v1/regions"), api.head("api/v1/regions")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type"):
        assert head.headers[name] == said.headers[name]


# What goes wrong


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/nothing", 404, "nothing at this address"),
        ("/regions/", 404, "nothing at this address"),
        ("/no%0Athing", 404, "nothing at this address"),
        ("/regions%0A", 404, "nothing at this address"),
        ("/regions/1/history%0A", 404, "nothing at this address"),
        ("/regions/no%0Ape", 404, "there is no region 'no\\npe'"),
        ("/regions?sate=ACTIVE", 422, "sate: there is no such parameter; did you mean state?"),
        ("/transitions?form=2026-05-01", 422, "did you mean from?"),
        ("/sources?as_of=2026-05-01", 422, "known are: source"),
        ("/regions?state=ACTVE", 404, "no region was ever in state 'ACTVE'; did you mean ACTIVE"),
        ("/regions?zone=EMAE", 404, "no region was ever in zone 'EMAE'; did you mean EMEA?"),
        ("/regions?country=ZZ", 404, "no region was ever in country 'ZZ'"),
        (
            "/keystones?state=INITALIZED",
            404,
            "no keystone was ever in state 'INITALIZED'; did you mean INITIAL",
        ),
        ("/transitions?to_state=ACTVE", 404, "no region or keystone was ever in state 'ACTVE'"),
        ("/transitions?from_state=ACTVE&entity=region", 404, "no region was ever in state 'ACTVE'"),
        ("/availability?state=ACTVE", 404, "no region was ever in state 'ACTVE'"),
        ("/regions?state=", 422, "state"),
        ("/regions?state=A&state=B", 422, "more than once"),
        ("/regions?state=%00", 422, "state"),
        ("/regions?gpu=yes", 422, "write true or false"),
        (
            "/regions?as_of=yesterday",
            422,
            "as_of: 'yesterday' is not a time with its zone; write a time like",
        ),
        ("/regions?as_of=2026-02-30", 422, "not a date"),
        ("/regions?as_of=3026-01-01", 404, "as_of: 3026-01-01T00:00:00.000000Z is in the future"),
        ("/regions?as_of=2026-05-01T12:00:00", 422, "write a time like"),
        ("/regions?source=nope", 404, "there is no source 'nope'"),
        ("/regions?region=nope", 404, "there is no region 'nope'"),
        ("/transitions?limit=0", 422, "limit"),
        ("/transitions?limit=10001", 422, "limit"),
        ("/transitions?limit=1_0", 422, "limit"),
        ("/transitions?entity=metrics_database", 422, "entity"),
        ("/transitions?after=x", 422, "not a cursor"),
        ("/events?after=x", 422, "not a cursor"),
        ("/availability?by=year", 422, "by"),
    ],
)
def test_a_mistake_is_a_problem_that_says_what_is_wrong(
    api: httpx.Client, path: str, status: int, words: str
) -> None:
    said = api.get(f"api/v1{path}")
    assert (said.status_code, said.headers["content-type"]) == (status, "application/problem+json")
    problem = said.json()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert words in problem["detail"]
    assert ("errors" in problem) == (status == 422)


@pytest.mark.parametrize(
    "question",
    ["/regions?state=inactive", "/regions?zone=russia_and_cis", "/transitions?to_state=deleting&limit=1"],
)
def test_a_documented_word_that_was_never_seen_is_answered_with_nothing(
    api: httpx.Client, question: str
) -> None:
    said = api.get(f"api/v1{question}")
    assert (said.status_code, *(v for v in said.json().values() if isinstance(v, list))) == (200, [])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_another_method_is_a_problem(api: httpx.Client, method: str) -> None:
    said = api.request(method, "api/v1/regions")
    assert (said.status_code, said.headers["allow"]) == (405, "GET, HEAD")
    assert said.json()["status"] == 405


def test_without_a_token_there_is_a_problem(told: History, serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-twenty-four-c\n")
    api = serve(told.engine.url, http_token_file=tokens)
    assert get(api, "/regions", 401)["title"] == "Unauthorized"
    assert (
        api.get("api/v1/regions", headers={"authorization": "Bearer a-token-of-twenty-four-c"}).status_code
        == 200
    )


def test_a_database_that_is_not_there_is_a_problem_that_passes(serve: Serve, tmp_path: Path) -> None:
    api = serve(f"sqlite:///{tmp_path / 'none.db'}")
    said = api.get("api/v1/regions")
    assert (said.status_code, said.headers["retry-after"]) == (503, "5")
    assert "there is no database" in said.json()["detail"]


def test_a_history_of_older_rules_is_refused(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    with writing(history.engine) as connection:
        connection.exec_driver_sql("UPDATE sources SET derivation_revision = 1")
    api = serve(history.engine.url)
    assert "older version derived" in get(api, "/regions", 503)["detail"]


def test_what_nobody_expected_says_nothing_of_the_inside(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("collector.web.api.application.regions_as_of", broken)
    said = get(api, "/regions/1", 500)
    assert said["detail"] == "the collector failed; its log says why"


# What it costs


@pytest.mark.long
@pytest.mark.usefixtures("garbage_is_collected_as_usual")
def test_an_answer_of_ten_thousand_regions_costs_little_memory(engine: sa.Engine, serve: Serve) -> None:
    """Ten megabytes of JSON are never in memory at once, neither as rows nor as text."""
    peaks = {}
    for number in (1000, 10_000):
        history = History(engine, name=f"of-{number}")
        history.poll([region(n) for n in range(number)], at=0)
        with writing(engine) as connection:
            connection.exec_driver_sql("ANALYZE")  # PostgreSQL does it by itself, but not here
        api = serve(engine.url)
        api.get("api/v1/regions", params={"source": f"of-{number}", "state": "none"})  # all is imported
        tracemalloc.start()
        try:
            with api.stream("GET", "api/v1/regions", params={"source": f"of-{number}"}) as said:
                length = sum(len(piece) for piece in said.iter_raw())
            peaks[number] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (said.status_code, length) == (200, int(said.headers["content-length"]))
        assert length > 1000 * number
    assert peaks[10_000] < 8 * 1024 * 1024
    assert peaks[10_000] < 2 * peaks[1000] + 1024 * 1024


# Times


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-05-01", "2026-05-01T00:00:00.000000Z"),
        ("2026-05-01T12:30:00Z", "2026-05-01T12:30:00.000000Z"),
        ("2026-05-01t12:30:00.1234567z", "2026-05-01T12:30:00.123456Z"),
        ("2026-05-01T12:30:00+02:00", "2026-05-01T10:30:00.000000Z"),
        ("2026-05-01T12:30:00 02:00", "2026-05-01T10:30:00.000000Z"),  # a + that nobody wrote as %2B
        ("2026-12-31T23:59:60Z", "2026-12-31T23:59:59.000000Z"),
        ("0000-01-01", "0001-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00+05:00", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_read_as_rfc_3339_writes_them(text: str, moment: str) -> None:
    assert time_text(parse_moment(text)) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-13-01",
        "2026-05-01T25:00:00Z",
        "2026-05-01T12:30:61Z",
        "2026-05-01T12:30:00+24:00",
        "2026",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|date"):
        parse_moment(text)


# The document


def test_the_documentation_names_every_question_and_parameter(api: httpx.Client) -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    for path, operation in get(api, "/openapi.json")["paths"].items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{path}`")]
        named = set(re.findall(r"`(\w+)`", line.split("|")[3]))
        assert named == {
            each["name"] for each in operation["get"].get("parameters", ()) if each["in"] == "query"
        }


def test_every_field_of_the_document_says_what_it_is_in_one_line(api: httpx.Client) -> None:
    """As JSON has it: null, not NULL. A model without a text of its own would show that of a class of Python."""
    said = [
        (name, field, each.get("description", ""))
        for name, schema in get(api, "/openapi.json")["components"]["schemas"].items()
        for field, each in schema["properties"].items()
        if "$ref" not in each  # its schema has the text
    ]
    assert [each for each in said if not re.fullmatch(r"(?!.*NULL)\S.*\S", each[2])] == []


def test_the_documentation_names_every_event(api: httpx.Client) -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    schemas = get(api, "/openapi.json")["components"]["schemas"].values()
    events = [each["properties"]["event"]["const"] for each in schemas if "event" in each["properties"]]
    assert sorted(named) == sorted(events)


class _Links(HTMLParser):
    """What a page loads, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("href", "src", "action", "srcset")]
        assert not {"style", "onclick"} & {name for name, _ in attrs}


def test_the_page_of_the_document_names_every_question_and_loads_nothing_from_elsewhere(
    api: httpx.Client,
) -> None:
    page = api.get("api/v1/docs")
    links = _Links(page.text)
    assert not {"iframe", "img"} & links.tags
    ours = [link for link in links.found if not link.startswith("#")]
    assert all(link.startswith("/") and not link.startswith("//") for link in ours)
    for link in ours:
        assert api.get(link).status_code == 200, link
    document = get(api, "/openapi.json")
    for path, operation in document["paths"].items():
        assert f"GET /api/v1{path}" in page.text
        assert operation["get"]["description"].split("\n")[0].replace("'", "&#39;") in page.text
    assert api.get("api/v1/", follow_redirects=False).headers["location"] == "/api/v1/docs"


def test_the_document_knows_where_it_is_served(told: History, serve: Serve) -> None:
    api = serve(told.engine.url, http_root_path="/below")
    document = api.get(str(api.base_url).replace("/below/", "/api/v1/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "/below/api/v1"}]


def ask_everything(api: httpx.Client, folder: Path, examples: int) -> str:
    """Schemathesis asks what the document allows and forbids, and holds every answer against it."""
    (folder / "of-a-region.toml").write_text('[parameters]\n"path.region" = "Luxembourg-2"\n')
    said = ""
    for more in ([], ["--config-file", str(folder / "of-a-region.toml")]):
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "schemathesis.cli",
                    *more,
                    "run",
                    f"{api.base_url}api/v1/openapi.json",
                ),
                *("--checks", "all", "--mode", "all", "--phases", "examples,coverage,fuzzing", "--no-color"),
                *("--max-examples", str(examples), "--seed", "7", "--generation-deterministic"),
                *(("--include-path-regex", "/regions/") if more else ()),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=1800,
            cwd=folder,
        )
        assert done.returncode == 0, done.stdout
        said += done.stdout
    return said


@pytest.mark.long
@slow_on_postgresql("shared_told")
def test_no_question_breaks_the_api_and_no_answer_the_document(api: httpx.Client, tmp_path: Path) -> None:
    said = ask_everything(api, tmp_path, 3)
    assert "Selected: 12/12" in said
    assert "No issues found" in said


@pytest.mark.slow
def test_no_question_of_many_breaks_the_api_and_no_answer_the_document(
    api: httpx.Client, tmp_path: Path
) -> None:
    ask_everything(api, tmp_path, 40)
