"""Questions about known histories: the reports as functions, and the commands as people type them."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.cli import cli
from collector.cli.durations import _percent
from collector.clock import time_text, utc_now
from collector.database.engine import open_engine
from collector.database.transactions import reading, writing
from collector.reports.changes import explain
from collector.reports.coverage import coverage
from collector.reports.inventory import RegionFilter, regions_as_of
from collector.reports.status import STATUS, SourceStatus, statuses
from collector.store import lease
from collector.store.tables import metadata, sources
from tests.support import questions_page
from tests.support.builders import answer, keystone, region
from tests.support.command import Said, collector
from tests.support.databases import new_database
from tests.support.history import NOON, History, failure
from tests.support.paths import ROOT
from tests.support.story import tell, tell_other

Json = Any
Ask = Callable[..., Said]
THREE = [region(1), region(2), region(3)]
DOCS = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture
def ask(database_url: str) -> Ask:
    """Asks the database of the test."""

    def ask(*arguments: str) -> Said:
        return collector(*arguments, database_url=database_url)

    return ask


def at(seconds: float) -> str:
    """Seconds after NOON, as JSON and CSV write times."""
    return time_text(NOON + timedelta(seconds=seconds))


def ago(seconds: float) -> float:
    """Seconds after NOON of a moment so long before the real present."""
    return (utc_now() - NOON).total_seconds() - seconds


def in_csv(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return json.dumps(value)
    return "" if value is None else str(value)


def rows_of(said: Said, code: int = 0) -> list[dict[str, Any]]:
    assert said.code == code, said
    rows = json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(rows, list)
    return rows


# One history in which everything happens


@dataclass(frozen=True)
class Told:
    """A database in which every basis and every kind of transition occurs, in two sources with the same ids."""

    url: str
    answers: dict[tuple[str, ...], Said] = field(default_factory=dict)

    def ask(self, *arguments: str) -> Said:
        """Every question is asked once; answers do not change."""
        if arguments not in self.answers:
            self.answers[arguments] = collector(*arguments, database_url=self.url)
        return self.answers[arguments]

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        return rows_of(self.ask(*arguments, "--format", "json"))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("told") / "collector.db"
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        url = f"sqlite:///{path}"
    else:
        template = request.getfixturevalue("postgresql_template")
        url = new_database(template, template.database).render_as_string(hide_password=False)
    engine = open_engine(url)
    for name, story in (("gcore", tell), ("preprod", tell_other)):
        history = History(engine, name=name, base_url=f"https://{name}.example")
        story(history)
        history.restart()
    engine.dispose()
    return Told(url)


LISTS = (
    ("regions",),
    ("regions", "--as-of", at(100)),
    ("history", "3"),
    ("history", "6"),
    ("transitions",),
    ("coverage",),
    ("coverage", "--unseen"),
    ("diff", at(100), at(1600)),
    ("diff", at(0), at(100)),
    ("availability", "--to", at(1600)),
    ("availability", "--by", "day", "--to", at(1600)),
    ("lead-time",),
    ("lead-time", "--entity", "keystone", "--from-state", "INITIALIZED", "--to-state", "INITIALIZED"),
)


@pytest.mark.parametrize("question", LISTS, ids=" ".join)
def test_every_format_gives_the_same_answer_and_nothing_else(told: Told, question: tuple[str, ...]) -> None:
    rows = told.rows(*question)
    assert rows
    said = told.ask(*question, "--format", "csv")
    assert said.out.splitlines()[0] == ",".join(rows[0])
    for one, row in zip(said.csv, rows, strict=True):
        moving = {"seconds"} if "until_at" in row and row["until_at"] is None else set()
        assert list(one) == list(row)
        assert {n: v for n, v in one.items() if n not in moving} == {
            n: in_csv(v) for n, v in row.items() if n not in moving
        }
    table = told.ask(*question)
    assert (said.code, table.code) == (0, 0)
    quantiles = 1 + 5 if question[0] == "lead-time" else 0  # a table of their own
    together = ("source", "from_at", "until_at", "cause")  # entities that were unseen then for this reason
    shown = len({tuple(row[n] for n in together) for row in rows}) if "--unseen" in question else len(rows)
    assert len(table.out.splitlines()) == 1 + shown + quantiles
    assert said.err == table.err == told.ask(*question, "--format", "json").err
    echoes = {"regions": 1, "diff": 1, "availability": 1}
    lines = [line for line in said.err.splitlines() if "nothing was watched" not in line]
    assert ("assumed: " in said.err) == (question[0] in ("availability", "lead-time"))
    lines = [line for line in lines if not line.startswith("assumed: ")]
    assert len(lines) == (echoes.get(question[0], 0) if len(question) > 1 else 0)


def test_status_in_every_format(told: Told) -> None:
    said = told.ask("status", "--format", "json")
    rows = rows_of(said, 1)
    as_csv = told.ask("status", "--format", "csv")
    assert as_csv.csv == [{name: in_csv(value) for name, value in row.items()} for row in rows]
    assert (as_csv.code, as_csv.err, said.err) == (1, "", "")
    heading, *lines = told.ask("status").out.splitlines()
    assert heading.split()[:2] == ["source", "verdict"]
    assert [line.split()[:2] for line in lines] == [["gcore", "stale"], ["preprod", "left"]]
    for name in ("unseen", "held", "drift"):
        assert name in heading.split()


def test_an_availability_that_makes_no_sense_is_refused(told: Told) -> None:
    told.ask("availability", "--state", "unknown").refused(2, "UNKNOWN is not a state")
    told.ask("availability", "--tz", "Mars/Olympus").refused(2, "there is no time zone 'Mars/Olympus'")
    told.ask("availability", "--from", at(100), "--to", at(100)).refused(2, "is not before")
    told.ask("availability", "--region", "Luxemburg-2").refused(2, "did you mean")
    told.ask("lead-time", "--from", at(100), "--to", at(50)).refused(2, "is not before")


def test_a_bound_stays_one_when_it_is_rounded() -> None:
    shares = (0.0, 0.123456, 0.9999999, 1.0)
    assert [_percent(share, math.floor) for share in shares] == [
        "0.000 %",
        "12.345 %",
        "99.999 %",
        "100.000 %",
    ]
    assert [_percent(share, math.ceil) for share in shares] == [
        "0.000 %",
        "12.346 %",
        "100.000 %",
        "100.000 %",
    ]


def test_times_are_echoed_as_they_were_understood(told: Told) -> None:
    said = told.ask("regions", "--as-of", "2026-05-02T00:30:00+02:00")
    assert said.err == "as of 2026-05-01 22:30:00Z\n"
    said = told.ask("diff", "2026-05-01", "2026-05-02")
    assert said.err.startswith("from 2026-05-01 00:00:00Z to 2026-05-02 00:00:00Z\n")
    said = told.ask("transitions", "--from", "2026-05-01 13:00", "--to", "2026-05-02 12:00")
    assert said.err == "from 2026-05-01 13:00:00Z\nto 2026-05-02 12:00:00Z\n"


# The documented fields


def test_the_page_says_of_fields_what_the_reports_declare() -> None:
    current = questions_page.PAGE.read_text(encoding="utf-8") == questions_page.page()
    assert current, "run `python -m tests.support.questions_page --write`"
    assert set(questions_page.REPORTS) <= set(re.findall(r"(?m)^##+ ([\w-]+)$", DOCS))


def test_a_status_has_the_declared_columns() -> None:
    assert tuple(field.name for field in fields(SourceStatus)) == STATUS.fields


def documented(heading: str) -> dict[str, str]:
    """Field → type, as docs/questions.md promises under a heading."""
    section = re.split(r"^##+ ", DOCS, flags=re.MULTILINE)
    (text,) = [part for part in section if part.splitlines()[0] == heading]
    return {m[1]: m[2] for m in re.finditer(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)}


def of_type(value: Any, promised: str) -> bool:
    if promised.endswith(" or null"):
        return value is None or of_type(value, promised.removesuffix(" or null"))
    if promised.startswith("list of "):
        one = {"text": "text", "integers": "integer", "objects": "object"}[promised.removeprefix("list of ")]
        return isinstance(value, list) and all(of_type(item, one) for item in value)
    return {
        "any": value is not None,
        "text": isinstance(value, str) and not TIME.fullmatch(value),
        "time": isinstance(value, str) and bool(TIME.fullmatch(value)),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "object": isinstance(value, dict),
    }[promised]


def keeps(promise: dict[str, str], row: dict[str, Any]) -> None:
    """The row has the documented fields in their order, with values of their types."""
    assert list(row) == list(promise)
    for name, value in row.items():
        assert of_type(value, promise[name]), f"{name}: {value!r} is no {promise[name]}"


@pytest.mark.parametrize("question", [("status",), *LISTS], ids=" ".join)
def test_fields_are_as_documented(told: Told, question: tuple[str, ...]) -> None:
    said = told.ask(*question, "--format", "json")
    promise = documented(question[0])
    assert promise
    for row in json.loads(said.out):
        keeps(promise, row)
    heading = told.ask(*question, "--format", "csv").out.splitlines()[0]
    assert heading.split(",") == list(promise)


@pytest.mark.parametrize(
    "question", ["transitions", "coverage", "availability", "lead-time", "regions", "diff"]
)
def test_a_question_about_the_time_before_all_polls_says_that_nothing_was_watched(
    told: Told, question: str
) -> None:
    early = {"regions": ["--as-of", "2020-01-01"], "diff": ["2020-01-01"]}.get(question)
    told.ask(question, *(early or ["--from", "2020-01-01", "--to", "2020-02-01"])).explains(
        "gcore: nothing was watched before "
    )
    assert (
        "nothing was watched"
        not in told.ask(question, *([] if question != "diff" else ["now", "3000-01-01"])).err
    )


@pytest.mark.parametrize(
    "question",
    ["transitions", "timeline", "timeline --entity keystone", "lead-time"],
)
def test_a_row_about_a_region_has_its_zone_and_country(told: Told, question: str) -> None:
    known = told.ask(
        "sql", "--format", "json", "SELECT source, region_id, zone, country FROM all_regions"
    ).json
    by_region = {(row["source"], row["region_id"]): (row["zone"], row["country"]) for row in known}
    rows = told.ask(*question.split(), "--format", "json").json
    assert rows
    for row in rows:
        assert (row["zone"], row["country"]) == by_region[row["source"], row["region_id"]]
    assert any(row["zone"] for row in rows)


def test_fields_of_quantiles_are_as_documented(told: Told) -> None:
    rows = told.rows("lead-time", "--from-state", "ACTIVE", "--to-state", "MAINTENANCE", "--summary")
    assert [row["quantile"] for row in rows] == ["shortest", "median", "90 %", "longest"]
    for row in rows:
        keeps(documented("summary"), row)
    assert (
        told.ask("lead-time", "--to-state", "INACTIVE", "--summary").out
        == "nothing went that way to its end\n"
    )


@pytest.mark.parametrize("seq", ["1", "3", "6", "14"])
def test_fields_of_evidence_are_as_documented(told: Told, seq: str) -> None:
    said = told.ask("evidence", seq, "--source", "gcore", "--format", "json").json
    keeps(documented("evidence"), said)
    keeps(documented("observation"), said["observation"])


@pytest.mark.parametrize("reference", ["1/region/1", "2/region/2", "4/region/3", "7/region/2", "12/region/6"])
def test_fields_of_explain_are_as_documented(told: Told, reference: str) -> None:
    said = told.ask("explain", reference, "--source", "gcore", "--format", "json")
    if reference == "2/region/2":
        said.refused(2, reference)
        return
    answer = said.json
    keeps(documented("explain"), answer)
    keeps(documented("transitions"), answer["transition"])
    for difference in answer["differences"]:
        keeps(documented("differences"), difference)
    columns = [column.name for column in metadata.tables["observations"].columns]
    for row in [answer["showed"], *answer["between"], *filter(None, [answer["confirmed"]])]:
        assert list(row) == columns


def test_examples_in_the_documentation_use_options_that_exist() -> None:
    examples = re.findall(r"^\$ collector (.+)$", DOCS, re.MULTILINE)
    names = set()
    for example in examples:
        name, *arguments = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', example)]
        cli.commands[name].make_context(name, arguments)
        names.add(name)
    assert names == {heading for heading in re.findall(r"(?m)^## (.+)$", DOCS) if heading in cli.commands}
    assert {"status", "regions", "transitions", "availability"} <= names


# status


def status_of(history: History, now: datetime | None = None, only: str | None = None) -> SourceStatus:
    with reading(history.engine) as connection:
        (found,) = statuses(connection, now or history.time(history.at), only)
    return found


def test_a_source_seen_just_now_is_good(history: History, ask: Ask) -> None:
    history.poll(THREE, at=ago(70))
    history.poll(THREE, at=ago(10))
    said = ask("status", "--format", "json")
    (row,) = rows_of(said)
    assert (row["verdict"], row["why"], row["last_outcome"], row["cause"]) == ("good", "", "ok", None)
    assert (row["regions"], row["unseen"], row["held"], row["rejected"]) == (3, 0, 0, 0)
    assert row["interval_seconds"] == 60
    assert row["last_poll_at"] == row["last_seen_at"] == at(history.at)
    assert row["next_poll_at"] == at(history.at + 60)
    assert row["newest_seq"] == history.row("sources")["newest_seq"]
    assert said.err == ""


def test_a_failed_newest_poll_is_degraded_while_what_is_known_is_fresh(history: History, ask: Ask) -> None:
    history.poll(THREE, at=ago(70))
    history.poll(failure("http_status", http_status=503, message="down for a while"), at=ago(10))
    (row,) = rows_of(ask("status", "--format", "json"), 3)
    assert (row["verdict"], row["last_outcome"], row["cause"]) == ("degraded", "failed", "http_status")
    assert (row["message"], row["why"]) == (
        "down for a while",
        "the newest poll failed: down for a while",
    )
    assert utc_time(row["last_seen_at"]) < utc_time(row["last_poll_at"])


def utc_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_long_silence_is_stale(history: History, ask: Ask) -> None:
    history.poll(THREE, at=ago(200))
    (row,) = rows_of(ask("status", "--format", "json"), 1)
    assert (row["verdict"], row["why"]) == ("stale", "no successful poll for too long")
    assert row["gaps_last_day"] == 1, "the gap that goes on"


def test_only_failures_for_a_long_time_are_stale_too(history: History) -> None:
    history.poll(THREE, at=0)
    for seconds in (60, 120, 180):
        history.poll(failure(), at=seconds)
    status = status_of(history)
    assert (status.verdict, status.last_outcome) == ("stale", "failed")
    assert status.why == "no successful poll for too long; the newest poll failed: no connection"
    assert (status.last_seen_at, status.last_poll_at) == (history.time(0), history.time(180))


@pytest.mark.parametrize(("then", "newest"), [(600, 60), (60, 600)])
def test_silence_is_judged_by_the_longer_of_the_interval_then_and_the_newest(
    history: History, then: int, newest: int
) -> None:
    history.change(interval=timedelta(seconds=then))
    history.poll(THREE, at=0)
    history.change(interval=timedelta(seconds=newest))
    history.poll(failure(), at=60)
    assert status_of(history, history.time(1500)).verdict == "degraded"
    assert status_of(history, history.time(1501)).verdict == "stale"


def test_two_and_a_half_intervals_are_no_silence_and_a_microsecond_more_is(history: History) -> None:
    history.poll(THREE, at=0)
    limit = history.time(150)
    assert status_of(history, limit).verdict == "good"
    assert status_of(history, limit + timedelta(microseconds=1)).verdict == "stale"


def test_the_limit_follows_the_interval_of_the_newest_poll(history: History) -> None:
    history.poll(THREE, at=0)
    history.change(interval="10m")
    history.poll(THREE, at=60)
    assert status_of(history, history.time(1560)).verdict == "good"
    assert status_of(history, history.time(1561)).verdict == "stale"


def test_held_absences_are_counted(history: History) -> None:
    history.poll(THREE, at=0)
    history.poll([region(1)], at=60)
    status = status_of(history)
    assert (status.verdict, status.last_outcome) == ("degraded", "held")
    assert (status.held, status.regions) == (2, 3)
    assert status.why == "2 regions are missing, which looks doubtful and waits to be confirmed"
    history.poll(failure(), at=70)
    assert status_of(history).held == 2, "a failed poll says nothing of them"
    history.poll([region(1)], at=130)
    history.poll([region(1)], at=190)
    status = status_of(history)
    assert (status.verdict, status.held, status.regions, status.unseen) == ("good", 0, 1, 0)


def test_rejected_and_unseen_regions_are_counted_until_they_are_shown_again(history: History) -> None:
    history.poll(THREE, at=0)
    history.poll([region(1), region(2, state=7), region(3)], at=60)
    status = status_of(history)
    assert (status.verdict, status.rejected, status.unseen, status.regions) == ("degraded", 1, 1, 3)
    assert status.why == ("1 record of the newest answer can't be used; 1 region not shown, though not gone")
    history.poll(answer([region(1)], count=3), at=120)
    status = status_of(history)
    assert (status.rejected, status.unseen, status.last_outcome) == (0, 2, "partial")
    history.poll(THREE, at=180)
    status = status_of(history)
    assert (status.verdict, status.rejected, status.unseen, status.drift) == ("good", 0, 0, 1)


def test_a_source_that_was_never_polled_is_stale(engine: sa.Engine, ask: Ask) -> None:
    said = ask("status")
    assert (said.code, said.out) == (1, "no source was ever polled; run `collector poll`\n")
    assert rows_of(ask("status", "--format", "json"), 1) == []
    held = lease.acquire(engine, "new", "somebody")
    (row,) = rows_of(ask("status", "--format", "json"), 1)
    assert (row["verdict"], row["why"]) == ("stale", "nothing was ever seen")
    assert {
        n: row[n]
        for n in ("last_outcome", "last_poll_at", "last_seen_at", "next_poll_at", "interval_seconds")
    } == dict.fromkeys(("last_outcome", "last_poll_at", "last_seen_at", "next_poll_at", "interval_seconds"))
    assert (row["regions"], row["newest_seq"], row["lease_owner"]) == (0, 0, "somebody")
    assert "never" in ask("status").out
    lease.release(engine, held)


def test_who_polls_is_shown_only_while_the_lease_is_valid(history: History) -> None:
    history.poll(THREE, at=0)
    assert status_of(history).lease_owner == history.owner
    with writing(history.engine) as connection:
        connection.execute(sa.update(sources).values(lease_expires_at=NOON))
    assert status_of(history).lease_owner is None
    history.restart()
    assert status_of(history).lease_owner is None


def test_gaps_of_the_last_day_are_those_that_ended_in_it_or_go_on(history: History, ask: Ask) -> None:
    day = 86400.0
    for before in (3 * day, 2 * day, 1.5 * day, 0.5 * day, 3600, 60):
        history.poll(THREE, at=ago(before))
    (row,) = rows_of(ask("status", "--format", "json"))
    assert row["gaps_last_day"] == 3, "until half a day ago, an hour ago, and a minute ago"
    later = utc_now() + timedelta(hours=2)
    assert status_of(history, later + timedelta(hours=10, minutes=30)).gaps_last_day == 2


def test_of_several_sources_the_worst_decides_the_exit_code(
    history: History, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTOR_SOURCE", "none of these")
    other = History(history.engine, name="preprod", base_url="https://preprod.example")
    history.poll(THREE, at=ago(5))
    other.poll(THREE, at=ago(30))
    assert ask("status").code == 0
    other.poll(failure(), at=ago(5))
    said = ask("status", "--format", "json")
    assert [(row["source"], row["verdict"]) for row in rows_of(said, 3)] == [
        ("gcore", "good"),
        ("preprod", "degraded"),
    ]
    assert [row["source"] for row in rows_of(ask("status", "--source", "gcore", "--format", "json"))] == [
        "gcore"
    ]
    ask("status", "--source", "nope").refused(2, "'nope'", "gcore, preprod")
    lease.acquire(history.engine, "third", "somebody")
    assert ask("status").code == 1


def test_a_source_that_left_the_settings_is_shown_and_does_not_count(
    history: History, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = History(history.engine, name="former", base_url="https://former.example")
    history.poll(THREE, at=ago(5))
    former.poll(THREE, at=ago(5000))
    verdicts = [(row["source"], row["verdict"]) for row in rows_of(ask("status", "--format", "json"))]
    assert verdicts == [("former", "left"), ("gcore", "good")]
    assert "no longer in the settings" in ask("status").out
    assert ask("status", "--source", "former").code == 1, "who asks for it by name wants to know"
    monkeypatch.setenv("COLLECTOR_SOURCE", "another")
    verdicts = [(row["source"], row["verdict"]) for row in rows_of(ask("status", "--format", "json"), 1)]
    assert verdicts == [("former", "stale"), ("gcore", "good")], "the settings are of another database"


def test_a_source_of_the_settings_that_was_never_polled_is_stale(
    history: History, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.poll(THREE, at=ago(5))
    config = tmp_path / "collector.toml"
    config.write_text('[[sources]]\nname = "gcore"\n[[sources]]\nname = "another"\n')
    monkeypatch.setenv("COLLECTOR_CONFIG", str(config))
    rows = rows_of(ask("status", "--format", "json"), 1)
    assert [(row["source"], row["verdict"]) for row in rows] == [("gcore", "good"), ("another", "stale")]
    assert rows[1]["why"] == "in the settings, but never polled"
    assert "never polled" in ask("status").out


def test_what_was_seen_while_the_command_ran_is_no_negative_time_ago(history: History, ask: Ask) -> None:
    history.poll(THREE, at=ago(-20))
    (line,) = ask("status").out.splitlines()[1:]
    assert " 0.0 s " in line


# regions


SHOWN = ("state", "display_name", "country", "has_ai_gpu")


@dataclass
class Known:
    """A region as the test's own fold knows it."""

    first_seen_at: datetime
    changed_at: datetime
    last_seen_at: datetime
    facts: dict[str, Any]
    present: bool = True


class Fold:
    """The rules for what exists, written down once more: what is listed applies, absence only where complete."""

    def __init__(self) -> None:
        self.known: dict[int, Known] = {}
        self.keystones: dict[int, str] = {}

    def apply(self, outcome: str, records: list[Json], when: datetime) -> None:
        ids = [r["id"] for r in records]
        nameless = any(not isinstance(i, int) for i in ids)
        for record in records:
            if isinstance(record["id"], int) and isinstance(record["state"], str):
                self._show(record, when)
        for region_id, known in self.known.items():
            if outcome == "ok" and not nameless and region_id not in ids:
                known.present = False

    def _show(self, record: Json, when: datetime) -> None:
        facts = {name: record[name] for name in SHOWN}
        types = record["available_volume_types"]
        facts["available_volume_types"] = None if types is None else tuple(sorted(set(types)))
        self.keystones[record["id"]] = record["keystone"]["state"]
        known = self.known.get(record["id"])
        if known is None:
            self.known[record["id"]] = Known(when, when, when, facts)
            return
        if known.facts != facts or not known.present:
            known.changed_at = when
        known.facts, known.last_seen_at, known.present = facts, when, True

    def expected(self) -> dict[int, dict[str, Any]]:
        return {
            region_id: known.facts
            | {
                "keystone_state": self.keystones[region_id],
                "first_seen_at": known.first_seen_at,
                "changed_at": known.changed_at,
            }
            for region_id, known in self.known.items()
            if known.present
        }

    def last_seen(self) -> dict[int, datetime]:
        return {region_id: known.last_seen_at for region_id, known in self.known.items() if known.present}


def lives_on(world: dict[int, Json], dice: random.Random) -> None:
    """Something happens in the world, or nothing."""
    for _ in range(dice.randrange(3)):
        region_id = dice.randint(1, 6)
        if region_id in world and dice.random() < 0.3:
            del world[region_id]
            continue
        record = world.setdefault(region_id, region(region_id))
        change: dict[str, Any] = dice.choice(
            [
                {"state": dice.choice(["ACTIVE", "NEW", "MAINTENANCE"])},
                {"display_name": dice.choice(["A", "B", None])},
                {"available_volume_types": dice.choice([None, [], ["a", "b"], ["b", "a", "b"]])},
                {"country": dice.choice(["LU", "DE"]), "has_ai_gpu": dice.random() < 0.5},
                {"keystone": keystone(region_id + 1000, state=dice.choice(["NEW", "INITIALIZED"]))},
            ]
        )
        world[region_id] = record | change


def answered(world: dict[int, Json], dice: random.Random) -> Any:
    """What the API says of the world: mostly the truth."""
    records = list(world.values())
    dice.shuffle(records)
    what = dice.choices(
        ["all", "nothing", "some", "partial", "bad", "nameless", "failed"], [8, 1, 1, 2, 2, 1, 2]
    )[0]
    some = [r for r in records if dice.random() < 0.4]
    if what == "failed":
        return failure()
    if what in ("nothing", "some"):
        return [] if what == "nothing" else some
    if what == "partial":
        return answer(some, count=len(some) + 1)
    if what == "bad" and records:
        bad = records[0]["id"]
        return [r | {"state": 5} if r["id"] == bad else r for r in records]
    return [*some, region("7", keystone_id=1)] if what == "nameless" else records


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_as_of_is_the_fold_of_all_that_was_applied_until_then(history: History, seed: int) -> None:
    dice = random.Random(seed)
    world = {n: region(n) for n in (1, 2, 3, 4)}
    fold, seconds = Fold(), 0.0
    moments: list[tuple[datetime, dict[int, Any], dict[int, datetime]]] = [(history.time(-1), {}, {})]
    for _ in range(45):
        lives_on(world, dice)
        seconds += dice.choice([60, 60, 60, 400])
        said = answered(world, dice)
        if dice.random() < 0.2:
            history.restart(api_key=dice.choice(["key-one", "key-two"]))
        result = history.poll(said, at=seconds)
        now = history.time(seconds)
        moments.append((now - timedelta(microseconds=1), fold.expected(), fold.last_seen()))
        if result.failure is None:
            fold.apply(result.outcome, said["results"] if isinstance(said, dict) else said, now)
        moments.append((now, fold.expected(), fold.last_seen()))
    assert {"ok", "held", "partial", "failed"} == set(history.outcomes())
    with reading(history.engine) as connection:
        for moment, expected, last_seen in moments:
            rows = regions_as_of(connection, moment, RegionFilter())
            names = next(iter(expected.values()), {})
            found = {row["region_id"]: {name: row[name] for name in names} for row in rows}
            assert found == expected, moment
            for row in rows:
                known = last_seen[row["region_id"]]
                # Only the ends of an observation and its longest interval are on record, not the single polls.
                assert row["last_seen_at"] <= known, (moment, row)
                assert known - row["last_seen_at"] <= timedelta(minutes=3), (moment, row)
    assert history.rebuilt().different == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [("gcore", 1), ("gcore", 2), ("gcore", 3), ("gcore", 4), ("gcore", 6), "p1", "p3", "p77"]),
        (["--source", "preprod"], ["p1", "p3", "p77"]),
        (["--source", "gcore", "--region", "3"], [("gcore", 3)]),
        (["--region", "3"], [("gcore", 3), "p3"]),
        (["--region", "LUXEMBOURG-2"], [("gcore", 1)]),
        (["--region", " region 4 "], [("gcore", 4)]),
        (["--region", "only-here"], ["p77"]),
        (["--state", "MAINTENANCE"], [("gcore", 1)]),
        (["--state", "ACTIVE", "--country", "sg"], [("gcore", 2)]),
        (["--country", "SG"], [("gcore", 2)]),
        (["--zone", "APAC"], [("gcore", 2)]),
        (["--state", "DELETED"], ["p1"]),
        (["--state", "INACTIVE"], []),
        (["--gpu"], [("gcore", 4)]),
        (["--no-gpu", "--source", "preprod"], ["p1", "p3", "p77"]),
        (["--region", "5"], []),
        (["--as-of", at(100), "--region", "3", "--state", "NEW"], [("gcore", 3), "p3"]),
        (["--as-of", at(100), "--region", "3", "--state", "new"], [("gcore", 3), "p3"]),
        (["--as-of", at(100), "--region", "5"], [("gcore", 5)]),
        (["--source", "gcore", "--zone", "apac"], [("gcore", 2)]),
        (["--as-of", at(360), "--region", "5"], []),
        (["--as-of", at(359.999999), "--region", "5"], [("gcore", 5)]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_regions_are_filtered(told: Told, options: list[str], expected: list[Any]) -> None:
    wanted = [("preprod", int(e[1:])) if isinstance(e, str) else e for e in expected]
    rows = told.rows("regions", *options)
    assert [(row["source"], row["region_id"]) for row in rows] == wanted
    if not wanted:
        assert told.ask("regions", *options).out == "no regions\n"


def test_the_keystone_of_a_region_is_shown_as_of_the_same_time(told: Told) -> None:
    def of(seconds: float) -> list[str]:
        rows = told.rows("regions", "--source", "gcore", "--as-of", at(seconds), "--region", "1")
        return [row["keystone_state"] for row in rows]

    assert [of(s) for s in (599, 600, 659, 660)] == [["INITIALIZED"], ["NEW"], ["NEW"], ["INITIALIZED"]]


def last_seen(history: History, seconds: float) -> dict[int, float]:
    """Region id → when it was last seen, as of a time; all in seconds."""
    with reading(history.engine) as connection:
        rows = regions_as_of(connection, history.time(seconds), RegionFilter())
    return {row["region_id"]: (row["last_seen_at"] - NOON).total_seconds() for row in rows}


def test_a_region_that_is_not_shown_was_last_seen_when_it_was(history: History) -> None:
    history.poll(THREE, at=0)
    history.poll(THREE, at=60)
    history.poll([region(1), region(2, state=7), region(3)], at=120)
    history.poll(answer([region(1)], count=3), at=180)
    history.poll(THREE, at=240)
    assert last_seen(history, 119) == {1: 60, 2: 60, 3: 60}
    assert last_seen(history, 120) == {1: 120, 2: 60, 3: 120}
    assert last_seen(history, 200) == {1: 180, 2: 60, 3: 120}
    assert last_seen(history, 240) == {1: 240, 2: 240, 3: 240}
    assert last_seen(history, 9e6) == {1: 240, 2: 240, 3: 240}


def test_failed_polls_confirm_nothing(history: History) -> None:
    history.poll(THREE, at=0)
    for seconds in (60, 120, 180):
        history.poll(failure(), at=seconds)
    assert last_seen(history, 150) == last_seen(history, 500) == {1: 0, 2: 0, 3: 0}


def test_held_regions_were_last_seen_before_they_were_missed(history: History) -> None:
    history.poll(THREE, at=0)
    history.poll([region(1)], at=60)
    history.poll([region(1)], at=120)
    assert last_seen(history, 130) == {1: 120, 2: 0, 3: 0}


def test_within_a_stretch_only_what_is_sure_is_said_of_the_last_look(history: History) -> None:
    for at in (0, 60, 120):
        history.poll(THREE, at=at)
    assert last_seen(history, 30) == {1: 0, 2: 0, 3: 0}
    assert {round(seconds) for seconds in last_seen(history, 90).values()} == {30}


# history


def test_a_region_that_comes_back_has_a_hole_in_its_history(told: Told) -> None:
    rows = told.rows("history", "3", "--source", "gcore")
    assert [(r["field"], r["old"], r["new"], r["valid_from"], r["valid_to"], r["seq"]) for r in rows] == [
        (None, None, "NEW", at(60), at(120), 1),
        ("state", "NEW", "ACTIVE", at(120), at(300), 2),
        ("state", "ACTIVE", "MAINTENANCE", at(300), at(540), 4),
        (None, None, "MAINTENANCE", at(600), at(1560), 8),
        ("state", "MAINTENANCE", "ACTIVE", at(1560), None, 14),
    ]
    table = told.ask("history", "3", "--source", "gcore").out
    assert table.count("(listed)") == 2


def test_a_region_that_came_back_in_another_state_begins_again(history: History, ask: Ask) -> None:
    history.poll(THREE)
    history.poll(THREE[:2])
    history.poll([*THREE[:2], region(3, "NEW", country="DE", display_name="Renamed")])
    rows = rows_of(ask("history", "renamed", "--format", "json"))
    assert [(r["display_name"], r["field"], r["old"], r["new"]) for r in rows] == [
        ("Region 3", None, None, "ACTIVE"),
        ("Renamed", None, None, "NEW"),
        ("Renamed", "country", "LU", "DE"),
        ("Renamed", "display_name", "Region 3", "Renamed"),
        ("Renamed", "state", "ACTIVE", "NEW"),
    ]


def test_every_change_has_the_window_in_which_it_happened(history: History, ask: Ask) -> None:
    """For any field, not only the state: from the last poll that confirmed the old value."""
    renamed = region(3, display_name="Renamed")
    polls: dict[int, Any] = {
        60: [region(1), region(2)],
        120: THREE,
        180: THREE,
        240: failure(),
        300: [region(1), region(2), renamed],
        360: answer([region(1)], count=9),  # 3 is not shown
        420: [region(1), region(2), renamed | {"has_k8s": False}],
        480: [region(1), region(2)],
        540: [region(1), region(2)],
        600: [region(1), region(2), renamed],
    }
    for seconds, said in polls.items():
        history.poll(said, at=seconds, took=1.0)
    rows = rows_of(ask("history", "3", "--format", "json"))
    assert [(r["field"], r["not_before"], r["valid_from"]) for r in rows] == [
        (None, at(59), at(120)),
        ("display_name", at(179), at(300)),
        ("has_k8s", at(299), at(420)),
        (None, at(539), at(600)),
        ("has_k8s", at(539), at(600)),
    ]
    assert rows_of(ask("history", "1", "--format", "json"))[0]["not_before"] is None


def test_no_list_and_an_empty_list_differ(told: Told) -> None:
    rows = told.rows("history", "6")
    assert [(r["field"], r["old"], r["new"]) for r in rows] == [
        (None, None, "ACTIVE"),
        ("available_volume_types", None, []),
        ("available_volume_types", [], None),
    ]
    in_csv_too = told.ask("history", "6", "--format", "csv").csv
    assert [(r["old"], r["new"]) for r in in_csv_too] == [("", "ACTIVE"), ("", "[]"), ("[]", "")]


def test_no_list_and_an_empty_list_differ_for_people_too(told: Told) -> None:
    _, _, line, _ = told.ask("history", "6").out.splitlines()
    assert line.split()[-2] != "available_volume_types"


def test_a_region_that_is_gone_still_has_its_history(told: Told) -> None:
    (row,) = told.rows("history", "5")
    assert (row["valid_from"], row["valid_to"]) == (at(60), at(360))


def test_regions_with_the_same_id_are_shown_source_by_source(told: Told) -> None:
    rows = told.rows("history", "3")
    assert [row["source"] for row in rows] == ["gcore"] * 5 + ["preprod"] * 2
    assert {row["source"] for row in told.rows("history", "3", "--source", "preprod")} == {"preprod"}


# transitions


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--region", "5"], ["5/region/5", "5/keystone/1005", "1/region/5", "1/keystone/1005"]),
        (["--region", "5", "--entity", "region"], ["5/region/5", "1/region/5"]),
        (["--from-state", "NEW", "--source", "gcore"], ["9/keystone/9", "2/region/3"]),
        (["--from-state", "NEW"], ["9/keystone/9", "2/region/3", "2/region/3"]),
        (["--to-state", "MAINTENANCE"], ["13/region/1", "8/region/3", "4/region/3"]),
        (["--to-state", "MAINTENANCE", "--from-state", "ACTIVE"], ["13/region/1", "4/region/3"]),
        (["--entity", "keystone", "--to-state", "new"], ["8/keystone/9"]),
        (["--source", "preprod", "--limit", "1"], ["2/region/3"]),
        (["--to-state", "MAINTENANCE", "--limit", "2"], ["13/region/1", "8/region/3"]),
        (["--region", "luxembourg-2", "--entity", "region"], ["13/region/1", "1/region/1"]),
        (["--from", at(840), "--to", at(1500)], ["12/region/6", "12/keystone/1006"]),
        (["--from", at(840.000001), "--to", at(1500)], []),
        (["--from", at(840.000001), "--to", at(1500.000001)], ["13/region/1"]),
        (["--to-state", "INACTIVE"], []),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
def test_transitions_are_filtered(told: Told, options: list[str], expected: list[str]) -> None:
    assert [row["transition"] for row in told.rows("transitions", *options)] == expected
    if not expected:
        assert told.ask("transitions", *options).out == "no transitions\n"


def test_transitions_come_newest_first_and_every_one_can_be_explained(told: Told) -> None:
    rows = told.rows("transitions")
    order = [(-utc_time(r["observed_at"]).timestamp(), r["source"], r["entity"] == "keystone") for r in rows]
    assert order == sorted(order)
    assert rows == told.rows("transitions", "--from", at(0))
    engine = open_engine(told.url, read_only=True)
    with reading(engine) as connection:
        for row in rows:
            found = explain(connection, row["transition"], row["source"])
            assert found.transition["entity_id"] == row["entity_id"]
            assert time_text(found.showed["first_at"]) == row["observed_at"]
            asked = found.confirmed and time_text(found.confirmed["last_asked_at"])
            assert asked == row["not_before"]
    engine.dispose()


def test_every_basis_and_kind_has_its_window(told: Told) -> None:
    rows = {row["transition"]: row for row in told.rows("transitions", "--source", "gcore")}
    found = {
        name: (row["kind"], row["from_state"], row["to_state"], row["basis"], row["not_before"])
        for name, row in rows.items()
    }
    expected = {
        "1/region/5": ("appeared", None, "ACTIVE", "baseline", None),
        "2/region/3": ("changed", "NEW", "ACTIVE", "direct", at(59.5)),
        "4/region/3": ("changed", "ACTIVE", "MAINTENANCE", "across_gap", at(119.5)),
        "5/region/5": ("disappeared", "ACTIVE", None, "absence", at(299.5)),
        "7/region/2": ("disappeared", "ACTIVE", None, "absence", at(359.5)),
        "8/region/2": ("reappeared", None, "ACTIVE", "direct", at(539.5)),
        "8/keystone/9": ("changed", "INITIALIZED", "NEW", "other_copy", at(539.5)),
        "10/region/4": ("disappeared", "ACTIVE", None, "observer_change", at(659.5)),
        "11/region/4": ("reappeared", None, "ACTIVE", "observer_change", at(659.5)),
        "12/region/6": ("appeared", None, "ACTIVE", "direct", at(779.5)),
        "13/region/1": ("changed", "ACTIVE", "MAINTENANCE", "across_gap", at(839.5)),
    }
    assert {name: found[name] for name in expected} == expected
    assert rows["7/region/2"]["first_missing_at"] == at(420)
    assert rows["7/region/2"]["observed_at"] == at(540)
    assert {row["basis"] for row in rows.values()} == {
        "baseline",
        "direct",
        "across_gap",
        "absence",
        "observer_change",
        "other_copy",
    }


# explain


@pytest.mark.parametrize(
    ("reference", "says", "confirmed", "between", "differs"),
    [
        (
            "1/region/5",
            "Region 5 appeared as ACTIVE, at 2026-05-01 12:01:00Z or at any time before: "
            "no complete answer without it is known.",
            None,
            [],
            ["record"],
        ),
        (
            "2/region/3",
            "Region 3 went from NEW to ACTIVE, between 2026-05-01 12:00:59.500Z and 2026-05-01 12:02:00Z, "
            "within 60 s: the poll just before still showed the old state.",
            1,
            [],
            ["state"],
        ),
        (
            "4/region/3",
            "Region 3 went from ACTIVE to MAINTENANCE, between 2026-05-01 12:01:59.500Z and "
            "2026-05-01 12:05:00Z, within 3 min: it could not be seen in between.",
            2,
            [(3, "failed")],
            ["state"],
        ),
        ("5/region/5", "Region 5 disappeared; it was ACTIVE, between ", 4, [], ["record"]),
        ("7/region/2", "Region 2 disappeared; it was ACTIVE, between ", 5, [(6, "held")], ["record"]),
        ("8/region/2", "Region 2 came back as ACTIVE, between ", 7, [], ["record"]),
        ("10/region/4", "this may be a change of view only", 9, [], ["record"]),
        ("11/region/4", "this may be a change of view only", 9, [(10, "ok")], []),
        ("12/region/6", "Region 6 appeared as ACTIVE, between ", 11, [], ["record"]),
        ("13/region/1", "Luxembourg-2 went from ACTIVE to MAINTENANCE, between ", 12, [], ["state"]),
        ("8/keystone/9", "The keystone of Luxembourg-2 went from INITIALIZED to NEW", 7, [], None),
        ("9/keystone/9", "another region's copy of the keystone counted than before.", 8, [], None),
        ("5/keystone/1005", "The keystone of Region 5 disappeared; it was INITIALIZED", 4, [], ["record"]),
    ],
)
def test_a_transition_is_explained_by_the_polls_around_it(
    told: Told,
    reference: str,
    says: str,
    confirmed: int | None,
    between: list[tuple[int, str]],
    differs: list[str] | None,
) -> None:
    found = told.ask("explain", reference, "--source", "gcore", "--format", "json").json
    assert says in found["sentence"]
    assert (found["confirmed"] and found["confirmed"]["seq"]) == confirmed
    assert [(row["seq"], row["outcome"]) for row in found["between"]] == between
    assert found["showed"]["seq"] == found["transition"]["seq"] == int(reference.split("/")[0])
    if differs is not None:
        assert [d["path"] for d in found["differences"]] == differs
    in_words = told.ask("explain", reference, "--source", "gcore")
    assert (in_words.code, in_words.err) == (0, "")
    lines = in_words.out.splitlines()
    assert lines[0] == found["sentence"]
    assert [line.split()[0] for line in lines[2 : 4 + len(between)]] == [
        "before",
        *["between"] * len(between),
        "after",
    ]
    assert "The two records" in in_words.out


def test_failures_in_between_are_shown_with_what_they_said(told: Told) -> None:
    out = told.ask("explain", "4/region/3").out
    assert (
        "between   observation 3: 2026-05-01 12:03:00Z to 2026-05-01 12:04:00Z, failed, 2 polls: down for a while"
        in out
    )
    out = told.ask("explain", "7/region/2").out
    assert "between   observation 6: 2026-05-01 12:07:00Z to 2026-05-01 12:08:00Z, held, 2 polls" in out


def test_the_difference_is_that_of_the_stored_records(told: Told) -> None:
    found = told.ask("explain", "13/region/1", "--format", "json").json
    assert found["differences"] == [{"path": "state", "old": '"ACTIVE"', "new": '"MAINTENANCE"'}]
    (gone,) = told.ask("explain", "5/region/5", "--format", "json").json["differences"]
    assert (json.loads(gone["old"])["id"], gone["new"]) == (5, None)
    (came,) = told.ask("explain", "12/region/6", "--format", "json").json["differences"]
    assert (came["old"], json.loads(came["new"])["available_volume_types"]) == (None, None)
    assert 'state: "ACTIVE" → "MAINTENANCE"' in told.ask("explain", "13/region/1").out


def test_nested_added_and_removed_fields_are_named_by_their_paths(history: History, ask: Ask) -> None:
    history.poll([region(1, "NEW", old_field=1, nothing=None)])
    other = keystone(1001, state="NEW", created_on=None)
    history.poll([region(1, keystone=other, new_field={"a": [1, 2.50]}, available_volume_types=None)])
    found = ask("explain", "2/region/1", "--format", "json").json
    assert {d["path"]: (d["old"], d["new"]) for d in found["differences"]} == {
        "state": ('"NEW"', '"ACTIVE"'),
        "available_volume_types": ('["standard","ssd_hiiops"]', "null"),
        "keystone.created_on": ('"2019-12-31 23:59:59"', "null"),
        "keystone.state": ('"INITIALIZED"', '"NEW"'),
        "new_field": (None, '{"a":[1,2.5]}'),
        "nothing": ("null", None),
        "old_field": ("1", None),
    }
    out = ask("explain", "2/region/1").out
    assert "  old_field: 1 → nothing\n" in out
    assert "  nothing: null → nothing\n" in out
    found = ask("explain", "2/keystone/1001", "--format", "json").json
    assert {d["path"] for d in found["differences"]} == {"state", "created_on"}


def test_another_copy_of_a_keystone_is_compared_with_the_one_that_counted_before(told: Told) -> None:
    found = told.ask("explain", "8/keystone/9", "--format", "json").json
    assert {"path": "state", "old": '"INITIALIZED"', "new": '"NEW"'} in found["differences"]


@pytest.mark.parametrize(
    "reference", ["", "3", "3/region", "3/region/x", "3/metrics_database/7", "x/region/1", "٣/region/3"]
)
def test_what_is_no_reference_is_refused_with_the_form_of_one(told: Told, reference: str) -> None:
    told.ask("explain", reference).refused(2, repr(reference), "like 12/region/76")


@pytest.mark.parametrize(
    ("reference", "instead"),
    [
        ("99/region/1", "collector transitions"),
        (f"{2**63}/region/1", "collector transitions"),
        ("2/region/1", "2/region/3"),
        ("2/keystone/3", "2/region/3"),
        (f"9/region/{10**30}", "9/keystone/9"),
    ],
)
def test_a_reference_to_nothing_is_refused(told: Told, reference: str, instead: str) -> None:
    told.ask("explain", reference).refused(2, reference, instead)


def test_the_same_reference_in_two_sources_needs_a_name(told: Told) -> None:
    told.ask("explain", "2/region/3").refused(2, "several sources", "--source", "gcore, preprod")
    sentence = told.ask("explain", "2/region/3", "--source", "preprod", "--format", "json").json["sentence"]
    assert sentence.startswith("Region 3 went from NEW to ACTIVE")
    told.ask("explain", "2/region/3", "--source", "nope").refused(2, "'nope'", "gcore, preprod")


# evidence


def test_a_failed_observation_has_facts_and_no_answer(told: Told) -> None:
    found = told.ask("evidence", "3", "--source", "gcore", "--format", "json").json
    facts = found["observation"]
    assert found["answer"] is None
    assert (facts["outcome"], facts["cause"], facts["http_status"], facts["message"]) == (
        "failed",
        "http_status",
        503,
        "down for a while",
    )
    assert (facts["polls"], facts["payload"], facts["listed"]) == (2, None, None)
    in_words = told.ask("evidence", "3", "--source", "gcore")
    assert in_words.out.endswith("\n\nno answer is stored: the poll failed\n")
    assert "down for a while" in in_words.out
    found = told.ask("evidence", "3", "--source", "gcore", "--region", "1", "--format", "json").json
    assert found["answer"] is None


def test_one_region_of_an_answer_is_a_list_with_its_record(told: Told) -> None:
    def records(seq: int, name: str) -> list[Json]:
        found = told.ask("evidence", str(seq), "--source", "gcore", "--region", name, "--format", "json").json
        assert isinstance(found["answer"], list)
        return found["answer"]

    assert [r["state"] for r in records(5, "3")] == ["MAINTENANCE"]
    assert [r["id"] for r in records(1, "luxembourg-2")] == [1]
    assert records(5, "region 5") == [], "it is not in this answer"
    assert [r["state"] for r in records(8, "1")] == [None], "rejected, and still in evidence"
    assert told.ask("evidence", "5", "--source", "gcore", "--region", "5").out.endswith(
        "\n\nthis answer does not list it\n"
    )


def test_evidence_names_who_looked(told: Told) -> None:
    def who(seq: int) -> tuple[str, str]:
        facts = told.ask("evidence", str(seq), "--source", "gcore", "--format", "json").json["observation"]
        return facts["base_url"], facts["key_fingerprint"]

    assert who(9)[0] == "https://gcore.example"
    assert who(9) == who(11) != who(10)


def test_evidence_that_is_ambiguous_or_missing_is_refused(told: Told) -> None:
    told.ask("evidence", "1").refused(2, "several sources", "gcore, preprod")
    assert told.ask("evidence", "14").code == 0, "only one source has 14 observations"
    told.ask("evidence", "14", "--source", "preprod").refused(2, "no observation 14", "'preprod'")
    told.ask("evidence", "99").refused(2, "no observation 99", "14")
    told.ask("evidence", "14", "--region", "only-here").refused(2, "only-here")
    told.ask("evidence", "14", "--region", "luxemburg").refused(2, "luxemburg", "did you mean", "uxembourg-2")


def test_the_newest_observation_that_is_named_is_one_of_the_source(told: Told) -> None:
    told.ask("evidence", "14", "--source", "preprod").refused(2, "the newest is 2")


EXACT = b'{"count":1,"results":[{"id":1,"state":"NEW","huge":1e400,"exact":0.10000000000000000000001}]}'


def test_numbers_are_shown_as_they_were_stored(history: History, ask: Ask) -> None:
    history.poll(EXACT)
    said = ask("evidence", "1", "--format", "json")
    json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert "0.10000000000000000000001" in said.out


def test_a_number_of_five_thousand_digits_is_shown(history: History, ask: Ask) -> None:
    history.poll(b'{"count":1,"results":[{"id":1,"state":"NEW","long":%s}]}' % (b"1" * 5000))
    said = ask("evidence", "1")
    assert said.code == 0
    assert "1" * 5000 in said.out


def test_text_that_no_terminal_can_show_is_shown_escaped(history: History, ask: Ask) -> None:
    history.poll([region(1, "NEW")])
    history.poll([region(1, note="\ud800")])
    ask("explain", "2/region/1").out.encode()


# coverage


def test_times_without_a_successful_poll_are_shown_newest_first(told: Told) -> None:
    open_, closed, failed = told.rows("coverage", "--source", "gcore")
    assert (failed["from_at"], failed["until_at"], failed["seconds"]) == (at(120), at(300), 180)
    assert (failed["cause"], failed["error"], failed["failed_polls"]) == (
        "http_status",
        "down for a while",
        2,
    )
    assert (failed["transitions"], failed["seq"]) == (1, 2)
    assert (closed["from_at"], closed["until_at"], closed["seconds"]) == (at(840), at(1500), 660)
    assert (closed["cause"], closed["error"], closed["failed_polls"], closed["transitions"]) == (
        "no_polls",
        None,
        0,
        1,
    )
    assert (open_["from_at"], open_["until_at"], open_["cause"], open_["seq"]) == (
        at(1560),
        None,
        "no_polls",
        14,
    )
    assert open_["seconds"] > 86400
    table = told.ask("coverage", "--source", "gcore").out.splitlines()
    assert "now" in table[1]
    assert "3 min" in table[3]


def test_coverage_of_all_sources_and_with_a_limit(told: Told) -> None:
    assert [(r["source"], r["from_at"]) for r in told.rows("coverage")] == [
        ("gcore", at(1560)),
        ("gcore", at(840)),
        ("gcore", at(120)),
        ("preprod", at(120)),
    ]
    assert [r["from_at"] for r in told.rows("coverage", "--limit", "2")] == [at(1560), at(840)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--from", at(300)], [1560, 840]),
        (["--from", at(299.999999)], [1560, 840, 120]),
        (["--to", at(840)], [120]),
        (["--to", at(840.000001)], [840, 120]),
        (["--from", at(1000), "--to", at(1100)], [840]),
        (["--from", at(1500), "--to", at(1560)], []),
    ],
)
def test_gaps_of_a_time_are_those_that_touch_it(told: Told, options: list[str], expected: list[int]) -> None:
    rows = told.rows("coverage", "--source", "gcore", *options)
    assert [r["from_at"] for r in rows] == [at(s) for s in expected]


def test_the_newest_gaps_of_a_time_are_asked_for_among_those_that_touch_it(engine: sa.Engine) -> None:
    """A newer gap of another source had ended by then."""
    long, short = History(engine, name="long"), History(engine, name="short")
    for history, times in ((long, (0, 60, 2000)), (short, (0, 60, 120, *range(600, 2040, 60)))):
        for second in times:
            history.poll([region(1)], at=second)
    with reading(engine) as connection:
        rows = coverage(connection, since=long.time(1000), until=long.time(1500), limit=1)
    assert [row["source"] for row in rows] == ["long"]


def test_what_single_entities_did_not_show_is_listed_on_request(told: Told) -> None:
    rows = told.rows("coverage", "--source", "gcore", "--unseen")
    gaps = [row for row in rows if row["entity"] is None]
    assert [r | {"seconds": 0} for r in gaps] == [
        r | {"seconds": 0} for r in told.rows("coverage", "--source", "gcore")
    ]
    assert {(row["entity_id"], row["display_name"]) for row in gaps} == {(None, None)}
    assert [row["from_at"] for row in rows] == sorted((row["from_at"] for row in rows), reverse=True)
    spans = {(r["entity"], r["entity_id"], r["from_at"], r["until_at"]): r for r in rows if r["entity"]}
    held = spans["region", 2, at(360), at(540)]
    assert (held["cause"], held["seconds"], held["seq"], held["transitions"]) == ("held", 180, 5, 1)
    assert (held["display_name"], held["error"], held["failed_polls"]) == ("Region 2", None, 0)
    rejected = spans["region", 1, at(540), at(660)]
    assert (rejected["display_name"], rejected["seq"], rejected["transitions"]) == ("Luxembourg-2", 7, 0)
    for limit in (1, 2, 5):
        limited = told.rows("coverage", "--source", "gcore", "--unseen", "--limit", str(limit))
        assert [r | {"seconds": 0} for r in limited] == [r | {"seconds": 0} for r in rows[:limit]]
    touching = told.rows("coverage", "--source", "gcore", "--unseen", "--from", at(400), "--to", at(500))
    assert {(r["entity"], r["entity_id"]) for r in touching} >= {("region", 2), ("region", 3), ("region", 4)}
    assert all(r["from_at"] < at(500) and r["until_at"] > at(400) for r in touching)
    table = told.ask("coverage", "--source", "gcore", "--unseen").out.splitlines()
    assert [line for line in table if "held" in line and "Region 2" in line]


def test_a_span_that_goes_on_lasts_until_now(history: History, ask: Ask) -> None:
    def spans() -> dict[str, dict[str, Any]]:
        return {row["entity"]: row for row in rows_of(ask("coverage", "--unseen", "--format", "json"))}

    history.poll(THREE, at=ago(100))
    history.poll(answer([region(1), region(2)], count=3), at=ago(40))
    row = spans()["region"]
    assert (row["entity_id"], row["cause"], row["until_at"]) == (3, "partial", None)
    assert 100 <= row["seconds"] < 1000
    assert spans()["keystone"]["display_name"] == "Region 3"
    history.poll(THREE, at=ago(1))
    assert {row["until_at"] for row in spans().values()} == {at(history.at)}
    assert ask("coverage").out == "no gaps\n"


def test_gaps_from_late_to_early_are_refused(told: Told) -> None:
    said = told.ask("coverage", "--from", at(100), "--to", at(100))
    assert said.code == 2
    assert "is not before" in said.err


@pytest.mark.parametrize(
    "question", ["regions", "transitions", "coverage", "diff", "availability", "lead-time"]
)
def test_without_rows_a_csv_has_its_heading_all_the_same(told: Told, question: str) -> None:
    arguments = {
        "regions": ["--state", "INACTIVE"],
        "transitions": ["--to-state", "INACTIVE"],
        "coverage": ["--to", at(0)],
        "diff": [at(1570), at(1600)],
        "availability": ["--to", at(0)],
        "lead-time": ["--from-state", "INACTIVE"],
    }[question]
    said = told.ask(question, *arguments, "--format", "csv")
    assert said.out == ",".join(documented(question)) + "\n"


def test_without_gaps_that_is_said(history: History, ask: Ask) -> None:
    history.poll(THREE, at=ago(65))
    history.poll(failure(), at=ago(35))
    history.poll(THREE, at=ago(5))
    assert ask("coverage").out == "no gaps\n"
    assert rows_of(ask("coverage", "--format", "json")) == []


def test_the_cause_of_most_failed_polls_is_shown(history: History, ask: Ask) -> None:
    history.poll(THREE, at=0)
    history.poll(failure("connect", message="once"), at=60)
    for seconds in (120, 180):
        history.poll(failure("timeout", message="twice"), at=seconds)
    history.poll(THREE, at=240)
    gap = rows_of(ask("coverage", "--format", "json"))[-1]
    assert (gap["cause"], gap["error"], gap["failed_polls"]) == ("timeout", "twice", 3)


def test_a_source_whose_polls_all_failed_was_never_covered(history: History, ask: Ask) -> None:
    for seconds in (0, 60, 120, 180, 240):
        history.poll(failure(), at=seconds)
    assert ask("coverage").out != "no gaps\n"


# diff


def differences(said: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(r["entity"], r["entity_id"], r["kind"], r["field"], str(r["old"]), str(r["new"])) for r in said}


def test_two_times_differ_in_what_appeared_vanished_and_changed(told: Told) -> None:
    rows = told.rows("diff", at(100), at(1600), "--source", "gcore")
    assert differences(rows) == {
        ("region", 1, "changed", "state", "ACTIVE", "MAINTENANCE"),
        ("region", 3, "changed", "state", "NEW", "ACTIVE"),
        ("region", 5, "disappeared", "state", "ACTIVE", "None"),
        ("region", 6, "appeared", "state", "None", "ACTIVE"),
        ("keystone", 1005, "disappeared", "state", "INITIALIZED", "None"),
        ("keystone", 1006, "appeared", "state", "None", "INITIALIZED"),
        ("metrics_database", 7, "changed", "port", "9097", "1"),
    }
    names = {(r["entity"], r["entity_id"]): r["name"] for r in rows}
    assert names["region", 1] == "Luxembourg-2"
    assert names["keystone", 1005] == "https://ed-1005.cloud.example:5000/v3"
    assert names["metrics_database", 7] == "10.100.167.20"
    order = [(["region", "keystone", "metrics_database"].index(r["entity"]), r["entity_id"]) for r in rows]
    assert order == sorted(order)


def test_what_changed_and_changed_back_does_not_show(told: Told) -> None:
    assert differences(told.rows("diff", at(310), at(840), "--source", "gcore")) == {
        ("region", 5, "disappeared", "state", "ACTIVE", "None"),
        ("keystone", 1005, "disappeared", "state", "INITIALIZED", "None"),
        ("region", 6, "appeared", "state", "None", "ACTIVE"),
        ("keystone", 1006, "appeared", "state", "None", "INITIALIZED"),
    }
    assert told.rows("diff", at(1570), at(1600)) == []
    assert told.ask("diff", at(1570), at(1600)).out == "nothing differs\n"


def test_the_difference_to_before_the_first_poll_is_everything(told: Told) -> None:
    rows = told.rows("diff", at(0), at(60), "--source", "gcore")
    assert {r["kind"] for r in rows} == {"appeared"}
    assert [r["entity_id"] for r in rows if r["entity"] == "region"] == [1, 2, 3, 4, 5]
    (database,) = [r for r in rows if r["entity"] == "metrics_database"]
    assert (database["field"], database["old"], database["new"]) == (None, None, None)


def test_a_time_before_the_first_poll_is_said_to_be_unwatched(told: Told) -> None:
    """An empty answer is not to be taken for an empty cloud."""
    unwatched = "gcore: nothing was watched before 2026-05-01 12:01:00Z\n"
    for question in (("diff", at(0), at(100)), ("regions", "--as-of", at(0))):
        for format_ in ("table", "json", "csv"):
            said = told.ask(*question, "--source", "gcore", "--format", format_)
            assert said.code == 0
            assert said.err.endswith(unwatched)
    for question in (("diff", at(60), at(100)), ("regions", "--as-of", at(60))):
        assert "nothing was watched" not in told.ask(*question, "--source", "gcore").err


def test_a_version_is_in_force_from_its_first_to_before_its_last_moment(told: Told) -> None:
    def state(seconds: float) -> set[Any]:
        return {
            r["new"]
            for r in told.rows("diff", at(0), at(seconds), "--source", "gcore")
            if r["entity_id"] == 3
        }

    assert [state(s) for s in (119.999999, 120, 299.999999, 300)] == [
        {"NEW"},
        {"ACTIVE"},
        {"ACTIVE"},
        {"MAINTENANCE"},
    ]


def test_each_source_differs_by_itself(told: Told) -> None:
    rows = told.rows("diff", at(60), at(120))
    assert [(r["source"], r["entity_id"], r["old"], r["new"]) for r in rows] == [
        ("gcore", 3, "NEW", "ACTIVE"),
        ("preprod", 3, "NEW", "ACTIVE"),
    ]


def test_times_in_the_wrong_order_are_refused(told: Told) -> None:
    told.ask("diff", at(100), at(50)).refused(2, "2026-05-01 12:01:40Z is not before 2026-05-01 12:00:50Z")
    told.ask("diff", at(100), at(100)).refused(2, "is not before")


# Names


@pytest.mark.parametrize("question", [["regions", "--region"], ["transitions", "--region"], ["history"]])
def test_an_unknown_name_is_refused_with_the_closest_ones(told: Told, question: list[str]) -> None:
    told.ask(*question, "luxemburg-2").refused(2, "'luxemburg-2'", "did you mean", "luxembourg-2")
    told.ask(*question, "99").refused(2, "'99'")
    told.ask(*question, "only-here", "--source", "gcore").refused(2, "only-here")
    told.ask(*question, "1", "--source", "nope").refused(2, "'nope'", "gcore, preprod")


def test_an_id_goes_before_a_name_that_looks_like_one(history: History, ask: Ask) -> None:
    history.poll([region(1, slug="2"), region(2, slug="two"), region(3, slug="three", display_name="Two")])
    assert [r["region_id"] for r in rows_of(ask("history", "2", "--format", "json"))] == [2]
    assert [r["region_id"] for r in rows_of(ask("history", "TWO", "--format", "json"))] == [2, 3]


def test_a_region_is_found_by_the_name_that_it_had(history: History, ask: Ask) -> None:
    history.poll([region(1, slug="helsinki", display_name="Helsinki")])
    history.poll([region(1, slug="north-1", display_name="North")])
    assert ask("history", "helsinki").code == 0


def test_questions_only_read(history: History, ask: Ask) -> None:
    tell(history)
    before = {name: history.rows(name) for name in metadata.tables}
    for question in (*LISTS, ("status",), ("evidence", "3"), ("explain", "7/region/2")):
        ask(*question)
    assert {name: history.rows(name) for name in metadata.tables} == before
