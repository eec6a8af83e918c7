"""The command as people run it: real processes, real HTTP on loopback, real databases."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from collector.cli import cli
from collector.database.engine import open_engine
from collector.database.migrate import newest_revision
from collector.database.transactions import writing
from collector.store import lease
from tests.support.builders import answer, body, region
from tests.support.command import Said, collector, example_server, process
from tests.support.databases import new_database
from tests.support.history import History, failure
from tests.support.loopback import Server, error, reply, unused_port


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


# From NEW to ACTIVE


@dataclass(frozen=True)
class Polled:
    """A database in which a region became ACTIVE at the third of four polls."""

    url: str
    said: tuple[Said, ...]
    began: tuple[datetime, ...]
    ended: tuple[datetime, ...]

    asked: dict[tuple[str, ...], Said] = field(default_factory=dict)

    def ask(self, *arguments: str) -> Said:
        """What a process of its own answers; each question is asked once."""
        if arguments not in self.asked:
            self.asked[arguments] = process(*arguments, database_url=self.url)
        return self.asked[arguments]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def polled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Polled:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('cli') / 'collector.db'}"
    else:
        server = request.getfixturevalue("postgresql_server")
        url = new_database(server).render_as_string(hide_password=False)
    said, began, ended = [], [], []
    with example_server() as base_url:
        for n in range(4):
            migrate = ["--migrate"] if n == 0 else []
            began.append(datetime.now(UTC))
            said.append(collector("poll", *migrate, database_url=url, base_url=base_url, api_key="example"))
            ended.append(datetime.now(UTC))
    return Polled(url, tuple(said), tuple(began), tuple(ended))


def test_polls_say_what_they_saw(polled: Polled) -> None:
    assert [s.code for s in polled.said] == [0] * 4, polled.said
    assert [s.err for s in polled.said] == [""] * 4
    assert all(s.out.startswith("gcore: ok, ") for s in polled.said)
    assert "NEW" in polled.said[2].out
    assert "ACTIVE" in polled.said[2].out
    assert not any("ACTIVE" in polled.said[n].out for n in (0, 1, 3))


def test_the_change_shows_with_the_window_in_which_it_happened(polled: Polled) -> None:
    (change,) = polled.ask(
        "transitions", "--entity", "region", "--to-state", "ACTIVE", "--format", "json"
    ).json
    assert (change["source"], change["region_id"], change["slug"]) == ("gcore", 1, "luxembourg-1")
    assert (change["display_name"], change["kind"]) == ("Luxembourg 1", "changed")
    assert (change["from_state"], change["to_state"], change["basis"]) == ("NEW", "ACTIVE", "direct")
    assert polled.began[1] <= utc(change["not_before"]) <= polled.ended[1], "the second poll saw it NEW"
    assert polled.began[2] <= utc(change["observed_at"]) <= polled.ended[2], "the third saw it ACTIVE"


def test_transitions_are_the_same_in_every_format(polled: Polled) -> None:
    rows = polled.ask("transitions", "--format", "json").json
    assert [(r["entity"], r["to_state"]) for r in rows] == [
        ("region", "ACTIVE"),
        ("region", "NEW"),
        ("keystone", "NEW"),
    ]
    in_csv = polled.ask("transitions", "--format", "csv").csv
    assert in_csv == [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
    heading, *lines = polled.ask("transitions").out.splitlines()
    assert heading.split()[:4] == ["source", "entity", "id", "region"]
    assert len(lines) == 3
    for text in ("Luxembourg 1", "NEW", "ACTIVE", "direct"):
        assert text in lines[0]


def test_regions_now_and_as_of_an_earlier_time(polled: Polled) -> None:
    (now,) = polled.ask("regions", "--format", "json").json
    assert (now["region_id"], now["state"], now["keystone_state"]) == (1, "ACTIVE", "NEW")
    assert polled.began[3] <= utc(now["last_seen_at"]) <= polled.ended[3]
    between = polled.ended[1].isoformat()
    said = polled.ask("regions", "--as-of", between, "--format", "json")
    (then,) = said.json
    assert then["state"] == "NEW"
    assert polled.began[1] <= utc(then["last_seen_at"]) <= polled.ended[1]
    assert said.err.startswith(f"as of {polled.ended[1]:%Y-%m-%d %H:%M:%S}")
    before = polled.began[0].isoformat()
    earlier = collector("regions", "--as-of", before, "--format", "json", database_url=polled.url)
    assert (earlier.code, earlier.json) == (0, [])
    said = collector("regions", "--as-of", "2020-01-01", database_url=polled.url)
    assert (said.code, said.out) == (0, "no regions\n")
    assert f"gcore: nothing was watched before {polled.began[0]:%Y-%m-%d}" in said.err


def test_regions_are_the_same_in_every_format(polled: Polled) -> None:
    (row,) = polled.ask("regions", "--format", "json").json
    assert row["available_volume_types"] == ["cold", "ssd_hiiops", "standard"]
    assert (row["has_ai_gpu"], row["has_sfs"], row["country"]) == (True, False, "LU")
    (in_csv,) = polled.ask("regions", "--format", "csv").csv
    assert in_csv.keys() == row.keys()
    assert json.loads(in_csv["available_volume_types"]) == row["available_volume_types"]
    assert (in_csv["has_ai_gpu"], in_csv["has_sfs"], in_csv["country"]) == ("true", "false", "LU")
    table = polled.ask("regions").out
    for text in ("Luxembourg 1", "ACTIVE", "LU", "EMEA", "yes"):
        assert text in table


@pytest.mark.parametrize("name", ["1", "luxembourg-1", "LUXEMBOURG 1"])
def test_a_region_is_named_by_id_slug_or_display_name(polled: Polled, name: str) -> None:
    rows = collector("regions", "--region", name, "--format", "json", database_url=polled.url).json
    assert [row["region_id"] for row in rows] == [1]


def test_evidence_shows_the_answer_as_it_was_stored(polled: Polled) -> None:
    change = polled.ask("transitions", "--to-state", "ACTIVE", "--format", "json").json[0]
    seen = polled.ask("evidence", str(change["seq"]), "--format", "json").json
    assert seen["observation"]["outcome"] == "ok"
    assert seen["observation"]["first_at"] == change["observed_at"]
    (record,) = seen["answer"]["results"]
    assert record["state"] == "ACTIVE"
    assert record["keystone"]["password"] == record["metrics_database"]["password"] == "[redacted]"
    assert record["external_network_id"] == "c843c3e6-ef4d-4b92-8db2-e16ac05c5650"
    in_words = polled.ask("evidence", str(change["seq"]), "--region", "luxembourg-1").out
    assert "opening_digest" in in_words
    assert '"state": "ACTIVE"' in in_words
    collector("evidence", "99", database_url=polled.url).refused(2, "no observation 99")


def test_an_unknown_region_gets_the_closest_names(polled: Polled) -> None:
    polled.ask("regions", "--region", "luxemburg-1").refused(2, "luxemburg-1", "did you mean", "luxembourg-1")
    said = collector("transitions", "--region", "nowhere at all", database_url=polled.url)
    said.refused(2, "nowhere at all")


def test_the_database_is_good_after_polling(polled: Polled) -> None:
    current, check = polled.ask("db", "current"), polled.ask("db", "check")
    assert (current.code, current.err) == (0, "")
    assert newest_revision() in current.out
    assert (check.code, check.err) == (0, "")
    assert polled.ask("db", "upgrade").code == 0
    rebuilt = polled.ask("db", "rebuild", "--check")
    assert rebuilt.code == 0
    assert "nothing would change" in rebuilt.out


# Rebuilding


def test_a_row_edited_by_hand_is_named_and_repaired(database_url: str) -> None:
    engine = open_engine(database_url)
    history = History(engine)
    for state in ("NEW", "ACTIVE"):
        history.poll([region(1, state), region(2)])
    history.restart()
    good = history.rows("state_transitions")
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "UPDATE state_transitions SET from_state = 'MAINTENANCE' WHERE entity_id = 1 AND seq = 2"
        )
    engine.dispose()
    checked = process("db", "rebuild", "--check", database_url=database_url)
    assert checked.code == 1
    assert "Traceback" not in checked.err
    line = next(line for line in checked.out.splitlines() if "state_transitions" in line)
    for named in ("entity region", "entity_id 1", "seq 2", "from_state", "stored MAINTENANCE", "derived NEW"):
        assert named in line
    assert collector("db", "rebuild", "--check", database_url=database_url).code == 1, (
        "--check repairs nothing"
    )
    repaired = process("db", "rebuild", database_url=database_url)
    assert (repaired.code, "1 row changed" in repaired.out) == (0, True), repaired
    assert collector("db", "rebuild", "--check", database_url=database_url).code == 0
    assert history.rows("state_transitions") == good
    engine.dispose()


def test_rows_that_are_missing_or_too_many_are_named(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    history = History(engine)
    history.poll([region(1), region(2)])
    history.restart()
    with writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM region_volume_types WHERE region_id = 1")
        connection.exec_driver_sql("INSERT INTO region_volume_types VALUES (1, 2, 'made up')")
    engine.dispose()
    said = collector("db", "rebuild", "--check", "--source", "gcore", database_url=sqlite_url)
    assert said.code == 1
    assert "region_volume_types (region_id 1, volume_type ssd_hiiops): missing" in said.out
    assert "region_volume_types (region_id 2, volume_type made up): does not follow" in said.out
    collector("db", "rebuild", "--source", "nope", database_url=sqlite_url).explains("nope", "gcore")


# A database that is not there, or not ready


QUESTIONS = (["regions"], ["transitions"], ["evidence", "1"], ["db", "check"], ["db", "current"])


def test_questions_to_a_missing_file_do_not_make_it(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    for question in QUESTIONS:
        collector(*question, database_url=f"sqlite:///{path}").refused(1, str(path), "collector poll")
        assert list(tmp_path.iterdir()) == [], question


def test_checking_the_history_in_a_missing_file_does_not_make_it(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    collector("db", "rebuild", "--check", database_url=f"sqlite:///{path}").refused(1, str(path))
    assert list(tmp_path.iterdir()) == []


def test_questions_to_an_empty_database_say_so(empty_database_url: str) -> None:
    if empty_database_url.startswith("sqlite"):
        Path(empty_database_url.removeprefix("sqlite:///")).touch()
    collector("regions", database_url=empty_database_url).refused(2, "empty", "collector poll")
    current = collector("db", "current", database_url=empty_database_url)
    assert (current.code, current.err) == (3, "")
    assert "empty" in current.out
    check = collector("db", "check", database_url=empty_database_url)
    assert (check.code, check.err) == (1, "")
    assert "collector db upgrade" in check.out


def test_polling_an_empty_postgresql_database_asks_for_the_schema_first(postgresql_server: sa.URL) -> None:
    url = new_database(postgresql_server).render_as_string(hide_password=False)
    with example_server() as base_url:
        settings = {"database_url": url, "base_url": base_url, "api_key": "example"}
        process("poll", **settings).refused(2, "collector db upgrade", "--migrate")
        assert collector("db", "current", database_url=url).code == 3, "nothing was made"
        said = collector("poll", "--migrate", **settings)
    assert (said.code, said.err) == (0, "")
    assert collector("db", "check", database_url=url).code == 0


def test_a_schema_of_a_newer_version_is_left_alone(database_url: str) -> None:
    engine = open_engine(database_url)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    collector("regions", database_url=database_url).refused(2, "9999", "newer version")
    collector("poll", database_url=database_url, api_key="x").refused(2, "9999", "newer version")
    collector("db", "upgrade", database_url=database_url).refused(2, "9999", "newer version")
    said = collector("db", "check", database_url=database_url)
    assert (said.code, "newer version" in said.out, "db upgrade" in said.out) == (1, True, False)


def test_a_view_that_is_gone_is_found_by_check_and_put_back_by_upgrade(database_url: str) -> None:
    engine = open_engine(database_url)
    with writing(engine) as connection:
        connection.exec_driver_sql("DROP VIEW region_transitions")
    engine.dispose()
    said = collector("db", "check", database_url=database_url)
    assert (said.code, "views" in said.out) == (1, True)
    assert collector("db", "upgrade", database_url=database_url).code == 0
    assert collector("db", "check", database_url=database_url).code == 0


# How a poll ends


THREE = [region(1), region(2), region(3)]


def ok(document: Any) -> Any:
    return reply(body=body(document))


def test_poll_says_as_long_as_it_lasts_that_records_cannot_be_used(database_url: str) -> None:
    unusable = answer([region(1, "ACTIVE"), {"id": 2, "state": None}])
    with Server(ok(unusable), ok(unusable), ok(answer([region(1, "ACTIVE"), region(2, "ACTIVE")]))) as server:
        settings = {"database_url": database_url, "base_url": server.url, "api_key": "key", "interval": "1h"}
        first, again, usable = (collector("poll", "--quiet", **settings) for _ in range(3))
    for said in (first, again):
        assert (said.code, "1 record of the newest answer can't be used" in said.err) == (0, True), said
    assert (usable.code, usable.out, usable.err) == (0, "", "")


def test_a_first_answer_without_regions_is_not_said_to_miss_any(database_url: str) -> None:
    with Server(ok(answer([]))) as server:
        settings = {"database_url": database_url, "base_url": server.url, "api_key": "key", "interval": "1h"}
        polled, status = collector("poll", **settings), collector("status", "--format", "json", **settings)
    assert (polled.code, status.code) == (3, 3)
    for text in (polled.err, status.out):
        assert "no region is listed, which looks doubtful" in text
        assert "0 regions" not in text


def test_the_exit_code_tells_how_good_the_answer_was(sqlite_url: str) -> None:
    script = (
        ok(answer(THREE)),
        ok(answer(THREE[:1], count=3)),
        ok(answer([])),
        ok(answer([])),
        error(401, message="Invalid token"),
        reply(body=b"<html>maintenance</html>"),
    )
    with Server(*script) as server:
        settings = {"database_url": sqlite_url, "base_url": server.url, "api_key": "key", "interval": "1h"}
        good, partial, held, held_again, refused, html = (collector("poll", **settings) for _ in script)
    assert (good.code, good.err) == (0, "")
    assert partial.code == 3
    assert "partial" in partial.out
    assert "count" in partial.err
    assert held.code == 3
    assert "held" in held.out
    assert "3 regions are missing" in held.err
    assert held_again.code == 3
    assert "3 regions are missing" in held_again.err
    assert refused.code == 1
    refused.explains("401", "Invalid token")
    assert (html.code, html.out) == (1, "")
    html.explains("not_json", "HTML")
    assert server.requests[0].headers["authorization"] == "apikey key"


def test_a_poll_that_opens_an_observation_prints_the_head_for_keeping(sqlite_url: str) -> None:
    """Under cron nothing else would carry it outside of the database."""
    with Server(ok(answer(THREE)), ok(answer(THREE)), error(403)) as server:
        said = [
            collector("poll", database_url=sqlite_url, base_url=server.url, api_key="key") for _ in range(3)
        ]
    for each, text in ((said[0], said[0].out), (said[2], said[2].err)):
        kept = re.findall("head ([0-9a-f]{64})$", text, re.MULTILINE)
        assert len(kept) == 1, each
        assert collector("audit", "verify", "--head", kept[0], database_url=sqlite_url).code == 0
    assert "head" not in said[1].out


def test_of_several_sources_the_worst_counts_and_the_others_are_polled(
    sqlite_url: str, tmp_path: Path
) -> None:
    with Server(ok(answer(THREE))) as server, Server(error(403)) as other:
        config = tmp_path / "c.toml"
        config.write_text(
            f'api_key = "key"\n[[sources]]\nname = "bad"\nbase_url = "{other.url}"\n'
            f'[[sources]]\nname = "good"\nbase_url = "{server.url}"\n'
        )
        both = collector("--config", str(config), "poll", database_url=sqlite_url)
        one = collector("--config", str(config), "poll", "--source", "good", database_url=sqlite_url)
        none = collector("--config", str(config), "poll", "--source", "ugly", database_url=sqlite_url)
    assert both.code == 1
    assert both.out.startswith("good: ok")
    both.explains("bad: failed", "403")
    assert one.code == 0
    none.refused(2, "ugly", "good", "bad")
    evidence = collector("evidence", "1", database_url=sqlite_url)
    evidence.refused(2, "several sources", "bad, good")


def test_nobody_listening_is_a_failed_poll_that_is_recorded(sqlite_url: str) -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    said = collector("poll", database_url=sqlite_url, base_url=url, api_key="x", interval="1s")
    said.refused(1, "failed", "connect")
    recorded = collector("evidence", "1", database_url=sqlite_url)
    assert recorded.code == 0
    assert "no answer is stored" in recorded.out


def test_without_a_key_nothing_is_polled(sqlite_url: str, tmp_path: Path) -> None:
    process("poll", database_url=sqlite_url).refused(2, "COLLECTOR_API_KEY", "COLLECTOR_API_KEY_FILE")
    collector("poll", database_url=f"sqlite:///{tmp_path / 'new.db'}").refused(2, "COLLECTOR_API_KEY")
    assert not (tmp_path / "new.db").exists()


def test_a_key_file_that_is_missing_makes_a_failed_poll_that_is_recorded(
    sqlite_url: str, tmp_path: Path
) -> None:
    said = collector("poll", database_url=sqlite_url, api_key_file=str(tmp_path / "key"))
    said.refused(1, str(tmp_path / "key"), "No such file")
    assert collector("evidence", "1", database_url=sqlite_url).code == 0


def test_a_source_that_another_process_polls_is_left_to_it(database_url: str) -> None:
    engine = open_engine(database_url)
    held = lease.acquire(engine, "gcore", "another-host:42:abc")
    said = process("poll", "--wait", "0", database_url=database_url, api_key="x")
    said.refused(3, "another-host:42:abc")
    lease.release(engine, held)
    engine.dispose()


def test_all_sources_together_are_waited_for_no_longer_than_set(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.toml"
    names = ("one", "two", "three")
    config.write_text('api_key = "key"\n' + "".join(f'[[sources]]\nname = "{name}"\n' for name in names))
    waits: list[float] = []

    def acquire(*arguments: Any, wait_seconds: float, **more: Any) -> Any:
        waits.append(wait_seconds)
        return acquire_really(*arguments, wait_seconds=wait_seconds, **more)

    engine = open_engine(sqlite_url)
    for name in names:
        lease.acquire(engine, name, "another-host:42:abc")
    engine.dispose()
    acquire_really = lease.acquire
    monkeypatch.setattr(lease, "acquire", acquire)
    said = collector("--config", str(config), "poll", "--wait", "0.3", database_url=sqlite_url)
    assert said.code == 3
    said.explains("one", "two", "three", "another-host:42:abc")
    assert 0 < waits[0] <= 0.3
    assert waits[1:] == [0.0, 0.0], "the first used all of it up"


def test_another_base_url_is_refused_until_it_is_accepted(sqlite_url: str) -> None:
    with Server(ok(answer(THREE))) as one, Server(ok(answer(THREE))) as other:
        settings = {"database_url": sqlite_url, "api_key": "key"}
        assert collector("poll", base_url=one.url, **settings).code == 0
        said = collector("poll", "--wait", "0", base_url=other.url, **settings)
        said.refused(2, one.url, other.url, "--accept-base-url")
        assert other.requests == []
        assert collector("poll", "--accept-base-url", base_url=other.url, **settings).code == 0


# Mistakes


@pytest.fixture(scope="module")
def one_region(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with one region."""
    path = tmp_path_factory.mktemp("one") / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    engine = open_engine(f"sqlite:///{path}")
    history = History(engine)
    history.poll([region(1)])
    history.restart()
    engine.dispose()
    return f"sqlite:///{path}"


FUTURE = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["regions", "--as-of", FUTURE], [FUTURE, "future"]),
        (["transitions", "--from", FUTURE], [FUTURE, "future"]),
        (["regions", "--as-of", "someday"], ["'someday'", "2026-05-01"]),
        (["regions", "--as-of", "2026-02-30"], ["2026-02-30"]),
        (["regions", "--as-of", "0001-01-01T00:00:00+10:00"], ["0001-01-01"]),
        (["transitions", "--from", "2026-05-01", "--to", "2026-05-01"], ["--from", "--to"]),
        (["transitions", "--limit", "0"], ["--limit"]),
        (["transitions", "--limit", "9" * 20], ["--limit"]),
        (["coverage", "--limit", "9" * 20], ["--limit"]),
        (["explain", "9" * 23 + "/region/76"], ["there is no transition"]),
        (["explain", "9" * 5000 + "/region/76"], ["is not a transition"]),
        (["explain", "٥١/region/76"], ["is not a transition"]),
        (["history", "\udcff"], ["REGION", "not text"]),
        (["regions", "--region", "a\udcffb"], ["--region", "not text"]),
        (["regions", "--zone", "a\udcff"], ["--zone", "not text"]),
        (["regions", "--state", ""], ["--state", "empty"]),
        (["transitions", "--from-state", ""], ["--from-state", "empty"]),
        (["transitions", "--source", " "], ["--source", "empty"]),
        (["simulate", "--port", "99999"], ["--port", "65535"]),
        (["simulate", "--port", "-1"], ["--port"]),
        (["simulate", "--hold", "0"], ["--hold"]),
        (["simulate", "--hours", "1e300"], ["--hours"]),
        (["run", "--grace", "nan"], ["--grace", "not a number"]),
        (["run", "--grace", "1e300"], ["--grace"]),
        (["poll", "--wait", "nan"], ["--wait", "not a number"]),
        (["poll", "--wait", "-1"], ["--wait"]),
        (["evidence", "0"], ["0"]),
        (["evidence", "x"], ["x"]),
        (["evidence", "99999999999999999999"], ["99999999999999999999"]),
        (["regions", "--format", "xml"], ["xml", "table", "json", "csv"]),
        (["nonsense"], ["nonsense"]),
        (["--config", "none.toml", "regions"], ["none.toml"]),
    ],
)
def test_wrong_arguments_are_reported_without_a_traceback(
    one_region: str, arguments: list[str], named: list[str]
) -> None:
    said = collector(*arguments, database_url=one_region)
    assert (said.code, said.out) == (2, "")
    said.explains(*named)
    assert said.err.splitlines()[-1].strip()


@pytest.mark.parametrize(
    ("url", "code", "named"),
    [
        ("nonsense", 2, ["COLLECTOR_DATABASE_URL", "sqlite:///"]),
        ("mysql://host/name", 2, ["mysql", "postgresql"]),
        ("postgresql://user@host:port/name", 2, ["COLLECTOR_DATABASE_URL"]),
        ("postgresql://user@127.0.0.1:1/name", 1, ["127.0.0.1"]),
        ("postgresql://user@127.0.0.1:1/name?nonsense=1", 1, ["nonsense"]),
        ("sqlite:////none/collector.db", 1, ["/none/collector.db"]),
        ("sqlite:////proc", 1, ["/proc"]),
    ],
)
def test_a_database_that_cant_be_used_is_reported_in_one_line(url: str, code: int, named: list[str]) -> None:
    collector("regions", database_url=url).refused(code, *named)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
@pytest.mark.parametrize("command", ["poll", "run", "db upgrade", "db rebuild", "db copy --to"])
def test_a_database_in_memory_is_not_written(sqlite_url: str, url: str, command: str) -> None:
    if command.endswith("--to"):
        collector(*command.split(), url, database_url=sqlite_url).refused(2, "--to", "in memory")
        return
    said = collector(*command.split(), database_url=url, api_key="x")
    said.refused(2, "COLLECTOR_DATABASE_URL", "in memory", "sqlite:///")


def test_a_sqlite_url_with_options_is_refused(tmp_path: Path) -> None:
    for options in ("?mode=ro", "?mode=memory&uri=true", "?timeout=1"):
        said = collector("poll", database_url=f"sqlite:///{tmp_path}/a.db{options}", api_key="x")
        said.refused(2, "COLLECTOR_DATABASE_URL", "not supported", "%3F")
    assert list(tmp_path.iterdir()) == []
    assert collector("db", "upgrade", database_url=f"sqlite:///{tmp_path}/a%3Fb.db").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a?b.db"]


@pytest.mark.parametrize("command", ["regions", "db check", "db upgrade", "poll"])
def test_a_file_that_is_no_database_is_reported_in_one_line_and_left_alone(
    tmp_path: Path, command: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but something that somebody wrote\n" * 100)
    before = path.read_bytes()
    collector(*command.split(), database_url=f"sqlite:///{path}", api_key="x").refused(1, str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "command",
    ["audit verify", "regions", "db check", "db upgrade", "poll", "db backup COPY", "demo --file FILE"],
)
def test_a_schema_that_is_no_text_is_reported_in_one_line(
    sqlite_url: str, tmp_path: Path, command: str
) -> None:
    """SQLite quotes it in its message, which Python can't read then."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = CAST(CAST(sql AS BLOB) || x'20ff' AS TEXT) WHERE name = 'coverage_gaps'"
        )
        connection.commit()
    words = command.replace("COPY", str(tmp_path / "copy.db")).replace("FILE", str(path)).split()
    said = collector(*words, database_url=sqlite_url, api_key="x")
    said.refused(2 if "demo" in command else 1, str(path))


@pytest.mark.parametrize(("command", "code"), [("audit verify", 1), ("audit verify --source gcore", 2)])
def test_a_table_of_sources_that_has_other_rows_than_its_index_is_reported_in_one_line(
    sqlite_engine: sa.Engine, command: str, code: int
) -> None:
    """As when a page is written to the wrong place."""
    History(sqlite_engine).poll([region(1)])
    url = sqlite_engine.url.render_as_string()
    sqlite_engine.dispose()
    with closing(sqlite3.connect(str(sqlite_engine.url.database))) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        other = "SELECT rootpage FROM sqlite_master WHERE name = 'observers'"
        connection.execute(f"UPDATE sqlite_master SET rootpage = ({other}) WHERE name = 'sources'")
        connection.commit()
    collector(*command.split(), database_url=url).refused(code, "source")


def test_a_postgresql_role_without_rights_is_reported_in_one_line(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite:///"))
        path.write_bytes(b"")
        collector("regions", database_url=database_url).refused(2, "empty")
        return
    url = sa.make_url(database_url)
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.exec_driver_sql(f"CREATE ROLE guest_{url.database} LOGIN")
    engine.dispose()
    guest = url.set(username=f"guest_{url.database}").render_as_string(hide_password=False)
    collector("regions", database_url=guest).refused(1, "permission denied")
    collector("poll", database_url=guest, api_key="x").refused(1, "permission denied")


@pytest.mark.parametrize(
    "base_url",
    ["https://api.gcore.com/\x01", f"https://{'a' * 64}.example", "https://a..example", "https://xn--a"],
)
def test_a_base_url_that_no_client_can_ask_ends_without_a_traceback(sqlite_url: str, base_url: str) -> None:
    said = collector("poll", database_url=sqlite_url, base_url=base_url, api_key="x", interval="1s")
    assert said.code in (1, 2)
    assert len(said.err.splitlines()) == 1, said.err
    said.explains()


def test_a_wrong_setting_ends_every_command_alike(sqlite_url: str) -> None:
    for command in (["regions"], ["poll"], ["db", "check"]):
        said = collector(*command, database_url=sqlite_url, interval="soon")
        said.refused(2, "COLLECTOR_INTERVAL", "'soon'")


# Help


def commands(group: click.Group, *path: str) -> Iterator[list[str]]:
    for name, command in group.commands.items():
        yield [*path, name]
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


def test_every_command_has_help_with_an_example() -> None:
    found = list(commands(cli))
    assert {"poll", "regions", "transitions", "evidence", "db"} <= {path[0] for path in found}
    for path in found:
        said = CliRunner().invoke(cli, [*path, "--help"])
        assert said.exit_code == 0
        command: click.Command = cli
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        assert "Example" in said.output, path
        assert "collector" in said.output.split("Example")[1], path
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, (path, parameter.name)


def test_help_and_version_need_no_settings(tmp_path: Path) -> None:
    said = process("--help", cwd=tmp_path, database_url="nonsense", interval="soon")
    assert (said.code, said.err) == (0, "")
    assert "Example" in said.out
    assert process("--version", cwd=tmp_path).out.startswith("collector, version ")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_before_any_answer_leaves_questions_answerable(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    history = History(engine)
    history.poll(failure())
    history.restart()
    engine.dispose()
    assert collector("regions", database_url=sqlite_url).out == "no regions\n"
    assert collector("transitions", database_url=sqlite_url).out == "no transitions\n"
    assert collector("regions", "--format", "json", database_url=sqlite_url).json == []
