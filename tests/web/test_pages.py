"""Pages, on both databases: what they say, where they lead, and what they say where there is nothing to show."""

from __future__ import annotations

import csv
import io
import re
import shutil
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.transactions import reading, writing
from collector.gcore import paths
from collector.reports.happening_kinds import HAPPENING_FIELDS
from collector.store import pruning, redacting
from collector.store.tables import gaps, observations, sources, unproven_absences
from collector.web.pages.asking import Asked
from collector.web.pages.overview import show
from collector.web.pages.rendering import rendered
from tests.support.builders import keystone, region
from tests.support.effort import Effort, effort_of
from tests.support.history import NOON, History, failure
from tests.support.marks import long_on_postgresql
from tests.support.pages import Serve, crawled, document

ATOM = "{http://www.w3.org/2005/Atom}"
SOON = NOON + timedelta(minutes=29)
"""Shortly after the last poll of what `told` tells."""
ESCAPES = "\x1b\u202e\u2066\x00\x07\u200f"
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "\u202egro.elpmaxe\u202c",
    "\x1b[31mred\x1b[0m",
    "long " + "n" * 10_000,
    "{{ 7 * 7 }}{% raw %}",
    "a/../b?c=d#e%2f",
    "; DROP TABLE regions; --",
]


def at(moment: datetime) -> Any:
    return lambda: moment


@pytest.mark.long
def test_every_page_that_a_link_leads_to_is_good(told: History, serve: Serve) -> None:
    client = serve(told.engine.url, clock=at(SOON))
    begin = [
        "/",
        "/?as_of=2026-05-01T12:20",
        "/regions/gcore/1?earlier=2026-05-01T12:00:30&later=2026-05-01T12:25",
    ]
    seen = crawled(client, *begin)
    kinds = {url.removeprefix(str(client.base_url)).partition("?")[0].partition("/")[0] for url in seen}
    assert kinds == {"", "regions", "changes", "changes.csv", "changes.atom", "coverage", "evidence", "ask"}
    assert len(seen) > 60


def test_the_overview_tells_states_freshness_and_what_changed(told: History, serve: Serve) -> None:
    page = document(serve(told.engine.url, clock=at(SOON)).get("/"))
    assert "regions" in page.text
    assert "gcore" in page.text
    assert "preprod" in page.text
    assert "What changed" in page.text
    assert "What could not be seen" in page.text


def many(history: History, count: int) -> None:
    zones = ("EMEA", "APAC", "AMERICAS")
    listed = [
        region(i, state="MAINTENANCE" if i % 10 == 0 else "ACTIVE", zone=zones[i % 3], has_ai_gpu=i % 4 == 0)
        for i in range(1, count + 1)
    ]
    history.poll(listed, at=0)


def names(text: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="[^"]*">(Region \d+)</a>', text)


def test_many_regions_are_filtered_sorted_grouped_and_paged_by_the_address(
    history: History, serve: Serve
) -> None:
    many(history, 230)
    client = serve(history.engine.url, clock=at(NOON + timedelta(seconds=30)))

    def ask(**query: Any) -> list[str]:
        return names(client.get("/", params=query).text)

    assert ask() == [f"Region {i}" for i in range(1, 101)]
    assert ask(page=3) == [f"Region {i}" for i in range(201, 231)]
    assert ask(page=99) == ask(page=3)
    assert ask(page="x") == ask(page=-1) == ask()
    assert ask(sort="-name")[:2] == ["Region 230", "Region 229"]
    assert ask(sort="nothing") == ask()
    assert ask(state="maintenance") == [f"Region {i}" for i in range(10, 231, 10)]
    assert ask(state="MAINTENANCE", gpu="yes", zone="apac") == [
        f"Region {i}" for i in range(10, 231, 10) if i % 4 == 0 and i % 3 == 1
    ]
    assert ask(q="region-23") == ["Region 23", "Region 230"]
    assert ask(q="23")[:1] == ["Region 23"]
    assert ask(q="no such region") == []
    assert "No region matches" in client.get("/", params={"country": "XX"}).text
    grouped = client.get("/", params={"group": "zone"}).text
    assert [grouped.index(f"{zone} <span") for zone in ("AMERICAS",)]
    assert (
        ask(group="zone")
        == [f"Region {i}" for i in range(1, 231) if i % 3 == 2]
        + [f"Region {i}" for i in range(1, 231) if i % 3 == 1][:23]
    )


def test_every_page_is_as_of_a_time_and_says_so(history: History, serve: Serve) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll([region(1, state="MAINTENANCE")], at=60)
    history.poll([region(1, state="MAINTENANCE")], at=120)
    client = serve(history.engine.url, clock=at(NOON + timedelta(seconds=150)))
    then = {"as_of": "2026-05-01T12:00:30"}
    assert "2 regions" in document(client.get("/", params=then)).text
    assert "1 region" in document(client.get("/")).text
    assert "ACTIVE" in document(client.get("/regions/gcore/1", params=then)).text.partition("Timeline")[0]
    assert "MAINTENANCE" not in document(client.get("/regions/gcore/1", params=then)).text
    assert "went from" not in document(client.get("/changes", params=then)).text
    for path in ("/", "/regions/gcore/1", "/changes", "/coverage", "/evidence", "/evidence/gcore/1", "/ask"):
        page = document(client.get(path, params=then))
        assert "As of 2026-05-01 12:00:30 UTC" in page.text
        without = [link for link in page.links if "as_of=" not in link and not link.startswith("#")]
        assert set(without) == {path, "/api/v1/docs"}, "only the link back to now leaves that time"


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("soon", "'soon' is not a time"),
        ("2030-01-01", "is in the future"),
        ("0001-01-05", "is before 1900"),
        ("2026-13-01", "is not a time"),
        ("x" * 99, "is not a time"),
    ],
)
def test_a_time_that_is_none_is_explained(sqlite_template: Path, serve: Serve, when: str, why: str) -> None:
    said = serve(f"sqlite:///{sqlite_template}", clock=at(SOON)).get("/", params={"as_of": when})
    assert said.status_code == 400
    assert why in document(said).text


def test_the_region_page_gives_the_answer_first_with_its_certainty(history: History, serve: Serve) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll([region(1, state="MAINTENANCE"), region(2)], at=1200)
    history.poll([region(1, state="MAINTENANCE"), region(2)], at=1201)
    history.poll([region(1, state="ACTIVE"), region(2)], at=1202)
    history.poll([region(1, state="ACTIVE")], at=1262)

    def sentence(number: int, seconds: float) -> str:
        client = serve(history.engine.url, clock=at(NOON + timedelta(seconds=seconds)))
        page = client.get(f"/regions/gcore/{number}").text
        return page.partition('<p class="sentence">')[2].partition("</p>")[0]

    assert sentence(1, 1210).startswith("Region 1 is ACTIVE, since 2026-05-01 12:20:02Z, exact.")
    assert sentence(2, 1240) == "Region 2 is ACTIVE, since 2026-05-01 12:00:00Z or any time before."
    assert "Region 2 is not listed, since a moment between" in sentence(2, 1300)
    assert "Unknown since 2026-05-01 12:21:02Z" in sentence(1, 1262 + 151)


def test_a_window_is_said_to_the_second_and_never_too_narrow(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    history.poll([region(1, state="NEW")], at=59.25, took=0.5)
    page = document(serve(history.engine.url, clock=at(NOON + timedelta(seconds=70))).get("/regions/gcore/1"))
    assert (
        "is NEW, since a moment between 2026-05-01 11:59:59 and 2026-05-01 12:01"
        in page.text.replace("12:01:00", "12:01")
        or "between 2026-05-01 11:59:59 and 12:01" in page.text
    )


def test_what_is_unknown_is_a_page_that_says_so(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    client = serve(history.engine.url, clock=at(SOON))
    for path in (
        *(
            "/nothing",
            "/regions/gcore/2",
            "/regions/other/1",
            "/regions/gcore/x",
            "/regions/gcore/99999999999999999999",
        ),
        *(
            "/evidence/gcore/7",
            "/evidence/gcore/x",
            "/evidence/other/1",
            "/evidence?source=other",
            "/ask/nothing",
        ),
        *("/coverage/gcore/5", "/coverage/gcore/x", "/coverage?source=other", "/changes/gcore/1/region/9"),
        *("/changes/gcore/1/planet/1", "/changes?region=nowhere", "/evidence?after=x"),
    ):
        said = client.get(path)
        assert said.status_code in (400, 404), path
        assert "Traceback" not in said.text
        document(said)


def test_coverage_says_what_was_taken_out(sqlite_engine: sa.Engine, serve: Serve) -> None:
    history = History(sqlite_engine)
    assert "What was removed" not in serve(sqlite_engine.url).get("coverage").text
    for state in ("ACTIVE", "NEW", "ACTIVE"):
        history.poll([region(1, state, notes="x")])
    made: Any = {"made_at": history.time(history.at), "made_by": "<b>me</b>"}
    pruning.prune(sqlite_engine, "gcore", history.time(120), **made)
    redacting.redact(sqlite_engine, "gcore", paths.Path.parse("results[].notes"), **made)
    said = serve(sqlite_engine.url).get("coverage")
    document(said)
    told = " ".join(re.sub("<[^>]*>", " ", said.text).split())
    assert "results[].notes redacted in 2 stored answers, and in every later one" in told
    assert "everything before 2026-05-01 12:02" in told
    assert "&lt;b&gt;me&lt;/b&gt;" in said.text


def test_digits_that_make_no_number_break_no_page(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    client = serve(history.engine.url, clock=at(SOON))
    for path, status in (
        ("/regions/gcore/²", 404),
        ("/regions/gcore/--1", 404),
        ("/evidence/gcore/1?region=¹", 200),  # a name that is found as 1
    ):
        said = client.get(path)
        assert said.status_code == status, path
        document(said)


# Nothing to show


def test_before_the_first_poll_pages_say_what_to_do(engine: sa.Engine, serve: Serve) -> None:
    client = serve(engine.url)
    assert "Nothing was polled yet" in document(client.get("/")).text
    for url, said in crawled(client).items():
        if "/ask/" not in url:
            assert said.status_code == 200


def test_where_every_poll_fails_the_overview_names_why(history: History, serve: Serve) -> None:
    for seconds in (0, 60, 120):
        history.poll(failure("connect", message="nobody listens"), at=seconds)
    page = document(serve(history.engine.url, clock=at(NOON + timedelta(seconds=130))).get("/"))
    assert "No region is on record" in page.text
    assert "nobody listens" in page.text
    assert "never seen" in page.text


def test_a_source_that_went_blind_is_stale_and_its_states_are_as_last_seen(
    history: History, serve: Serve
) -> None:
    history.poll([region(1)], at=0)
    client = serve(history.engine.url, clock=at(NOON + timedelta(hours=3)))
    page = document(client.get("/"))
    assert "no successful poll for too long" in page.text
    assert "as last seen" in page.text


def test_a_database_that_is_not_there_is_explained_until_it_is(
    tmp_path: Path, sqlite_template: Path, serve: Serve
) -> None:
    path = tmp_path / "later.db"
    client = serve(f"sqlite:///{path}")
    said = client.get("/")
    assert (said.status_code, said.headers["retry-after"]) == (503, "5")
    assert f"There is no database {path}" in document(said).text
    assert client.get("/static/style.css").status_code == 200
    shutil.copy(sqlite_template, path)
    assert client.get("/").status_code == 200


def test_a_database_without_tables_or_of_somebody_else_is_explained(
    empty_database_url: str, serve: Serve
) -> None:
    if empty_database_url.startswith("sqlite"):
        Path(empty_database_url.removeprefix("sqlite:///")).touch()
    said = serve(empty_database_url).get("/")
    assert said.status_code == 503
    first = (
        "" if empty_database_url.startswith("sqlite") else "collector db upgrade creates its tables, then "
    )
    assert f"The database is empty; {first}collector poll fills it." in document(said).text


def test_a_file_that_vanishes_or_that_another_version_made_is_explained_everywhere(
    tmp_path: Path, sqlite_template: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.web.data._CHECKED_SECONDS", 0.0)
    path = Path(shutil.copy(sqlite_template, tmp_path / "collector.db"))
    client = serve(f"sqlite:///{path}")
    assert client.get("/").status_code == 200
    away = path.rename(tmp_path / "away.db")

    def told() -> list[str]:
        said = [client.get(address) for address in ("/", "/api/v1/regions", "/readyz")]
        assert [each.status_code for each in said] == [503] * 3
        assert client.get("/healthz").status_code == 200
        assert "gcore_collector_database_up 0.0" in client.get("/metrics").text
        return [each.text for each in said]

    assert all("collector.db" in each for each in told())
    away.rename(path)
    assert client.get("/").status_code == 200
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert all("of a newer version" in each for each in told())


@pytest.mark.parametrize("path", ["..%2f..%2fdata.py", "%2e%2e/data.py", "/etc/passwd", "", "%00"])
def test_nothing_but_our_files_is_static(sqlite_template: Path, serve: Serve, path: str) -> None:
    said = serve(f"sqlite:///{sqlite_template}").get(f"/static/{path}")
    assert said.status_code == 404
    document(said)


def test_a_file_that_is_no_database_is_explained_without_a_traceback(tmp_path: Path, serve: Serve) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear Sir or Madam, " * 500)
    said = serve(f"sqlite:///{path}").get("/")
    assert said.status_code == 503
    assert "file is not a database" in document(said).text
    assert "Traceback" not in said.text


def test_a_history_of_older_rules_is_not_shown_but_its_evidence_is(history: History, serve: Serve) -> None:
    history.poll([region(1)], at=0)
    with writing(history.engine) as connection:
        connection.execute(sa.update(sources).values(derivation_revision=1))
    client = serve(history.engine.url, clock=at(SOON))
    said = client.get("/")
    assert said.status_code == 503
    assert "run collector db rebuild" in document(said).text
    assert client.get("/evidence/gcore/1").status_code == 200


def test_a_question_that_takes_too_long_is_given_up(told: History, serve: Serve) -> None:
    client = serve(told.engine.url, clock=at(SOON), seconds=0.000_001)
    said = client.get("/ask/how-did-one-region-spend-its-days")
    assert said.status_code == 503
    assert "the database took longer than" in document(said).text.lower()
    assert client.get("/static/style.css").status_code == 200


# Hostile names


@long_on_postgresql("database_url")
def test_hostile_names_stay_text_on_every_page(history: History, serve: Serve) -> None:
    listed = [
        region(
            n,
            display_name=name,
            slug=name,
            state=name[:200] if n % 2 else "ACTIVE",
            zone=name,
            country=name,
            keystone_name=name,
            keystone=keystone(n + 1000, url=name, state=name[:200], username=name),
            **{name[:50]: name},
        )
        for n, name in enumerate(HOSTILE, 1)
    ]
    history.poll(listed, at=0)
    history.poll([each | {"state": f"{each['display_name'][:100]}!"} for each in listed], at=60)
    history.poll([each | {"display_name": "calm", "state": "NEW"} for each in listed], at=120)
    history.poll(listed, at=180)
    client = serve(history.engine.url, clock=at(NOON + timedelta(seconds=200)))
    paths = [f"/regions/gcore/{n}" for n in range(1, len(HOSTILE) + 1)]
    for url, said in crawled(client, "/", *paths).items():
        if "csv" in url or url.endswith(".json"):
            continue  # exact, and never shown by a browser as a page
        assert "<script>alert" not in said.text, url
        assert "<img" not in said.text, url
        assert not set(ESCAPES) & set(said.text), url
        assert len(said.text) < 2_000_000, url


PARAMETERS = (
    *("q", "state", "zone", "country", "source", "region", "to_state", "from", "to", "as_of", "after"),
    *("what", "sort", "group", "page", "earlier", "later", "gpu", "keystone", "outcome"),
)


@pytest.mark.long
def test_hostile_questions_stay_text(told_sqlite: Path, serve: Serve) -> None:
    """Each value of each parameter, on one page after the other."""
    client = serve(f"sqlite:///{told_sqlite}", clock=at(SOON))
    paths = cycle(("/", "/changes", "/evidence", "/coverage", "/regions/gcore/1", "/changes.atom", "/ask"))
    for name in PARAMETERS:
        for value in (*HOSTILE[:4], HOSTILE[5], "\x00", "\ud800", "'", "%", "-1", "9" * 30):
            written = "".join(f"%{byte:02x}" for byte in value.encode("utf-8", "surrogatepass"))
            said = client.get(f"{next(paths)}?{name}={written}")
            assert said.status_code in (200, 400, 404), (said.url, said.text[-300:])
            assert "<script>alert" not in said.text
            assert "<img" not in said.text


# CSV and Atom


def test_csv_is_the_same_question(told: History, serve: Serve) -> None:
    client = serve(told.engine.url, clock=at(SOON))
    said = client.get("/changes.csv", params={"what": "states", "source": "gcore"})
    assert said.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(said.text)))
    assert list(rows[0]) == list(HAPPENING_FIELDS)
    assert {row["happening"] for row in rows} <= {"state", "baseline"}
    assert {row["source"] for row in rows} == {"gcore"}
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)


def entries(text: str) -> dict[str, tuple[str, str]]:
    feed = ET.fromstring(text)
    found = feed.findall(f"{ATOM}entry")
    ids = [e.findtext(f"{ATOM}id") or "" for e in found]
    assert len(ids) == len(set(ids))
    return {
        e.findtext(f"{ATOM}id") or "": (e.findtext(f"{ATOM}title") or "", e.findtext(f"{ATOM}updated") or "")
        for e in found
    }


def test_entries_of_the_feed_keep_their_ids_and_move_when_what_went_on_has_ended(
    history: History, serve: Serve
) -> None:
    moment = NOON

    client = serve(history.engine.url, clock=lambda: moment)

    def feed() -> dict[str, tuple[str, str]]:
        return entries(client.get("/changes.atom").text)

    history.poll([region(1), region(2)], at=0)
    history.poll([region(1, state="NEW"), region(2)], at=60)
    moment = NOON + timedelta(seconds=600)
    before = feed()
    history.poll([region(1, state="NEW"), region(2)], at=660)
    history.poll([region(1, state="ACTIVE"), region(2)], at=720)
    moment = NOON + timedelta(seconds=725)
    after = feed()
    assert before.keys() < after.keys()
    moved = {
        title: (before[i][1], after[i][1]) for i, (title, _) in before.items() if before[i][1] != after[i][1]
    }
    assert moved == {
        "gcore could not be seen: no poll was made": (
            "2026-05-01T12:01:00.000000Z",
            "2026-05-01T12:11:00.000000Z",
        )
    }
    assert any(title == "Region 1 went from NEW to ACTIVE" for title, _ in after.values())


def test_a_feed_of_hostile_names_is_xml(history: History, serve: Serve) -> None:
    history.poll([region(n, display_name="calm") for n in range(1, len(HOSTILE) + 1)], at=0)
    history.poll([region(n, display_name=name, state=name[:90]) for n, name in enumerate(HOSTILE, 1)], at=60)
    client = serve(history.engine.url, clock=at(NOON + timedelta(seconds=70)))
    assert len(entries(client.get("/changes.atom", params={"region": "3"}).text)) >= 1
    assert len(entries(client.get("/changes.atom").text)) >= 2 * len(HOSTILE)


# Evidence


def test_an_answer_is_given_as_it_was_stored_without_secrets(history: History, serve: Serve) -> None:
    history.poll([region(1, keystone=keystone(1001, password="hunter2-canary"))], at=0)
    client = serve(history.engine.url, clock=at(SOON))
    whole = client.get("/evidence/gcore/1/answer.json")
    assert whole.json()["results"][0]["id"] == 1
    page = client.get("/evidence/gcore/1")
    row = history.row("observations", seq=1)
    assert row["payload"] in page.text
    assert row["opening_digest"] in page.text
    assert "hunter2" not in whole.text + page.text


# What it costs


def overview_effort(engine: sa.Engine) -> Effort:
    with reading(engine) as connection:
        newest = connection.scalar(sa.select(sa.func.max(observations.c.last_at)))
    asked = Asked.plain("/", "", newest + timedelta(minutes=1))
    return effort_of(engine, lambda connection: rendered(show(connection, asked), asked))


def test_the_overview_is_none_the_dearer_for_a_long_history(
    long_history: Callable[..., sa.Engine],
) -> None:
    engines = [long_history(length, gap_every=1) for length in (8, 24)]
    for (
        engine
    ) in engines:  # both of more than 90 days, with hours between observations, which need not be gaps
        with writing(engine) as connection:
            for table in (gaps, unproven_absences):
                connection.execute(sa.delete(table))
    few, many = map(overview_effort, engines)
    assert many.statements == few.statements
    assert many.steps < 1.5 * few.steps


def test_the_overview_takes_no_more_statements_for_many_sources(sqlite_engine: sa.Engine) -> None:
    taken = set()
    for number in range(3):
        History(sqlite_engine, name=f"source-{number}").poll([region(1), region(2)], at=0)
        taken.add(overview_effort(sqlite_engine).statements)
    assert len(taken) == 1
