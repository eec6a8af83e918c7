"""`collector doctor` in every situation that it is meant for: what it finds, what it advises, how it ends."""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.cli.doctor import MAX_AT_ONCE
from collector.clock import utc_now
from collector.database.engine import open_engine
from collector.database.migrate import newest_revision
from collector.database.transactions import writing
from collector.gcore.client import Client
from collector.gcore.exchange import Answer, Failure, Request
from collector.settings.loading import VARIABLES
from collector.simulator.scenario import KEY, random_world
from collector.simulator.server import Simulator
from tests.support.builders import answer, body, region
from tests.support.command import Said, collector
from tests.support.history import NOON, History, failure
from tests.support.loopback import Server, Step, error, reply, unused_port

SECRET = "4711$canary8c9d"
THREE = [region(1), region(2), region(3)]


@pytest.fixture(autouse=True)
def _no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@dataclass(frozen=True)
class Visit:
    """What the doctor said."""

    said: Said

    @property
    def settings(self) -> dict[str, tuple[str, str]]:
        """Variable → value and origin."""
        found = re.findall(r"^  (COLLECTOR_\w+) +(.*)  \((.+)\)$", self.said.out, re.MULTILINE)
        return {variable: (value, origin) for variable, value, origin in found}

    @property
    def findings(self) -> list[tuple[str, str, str]]:
        """Verdict, what, and advice."""
        checks = self.said.out.partition("\n\nsettings\n")[0]
        found = re.findall(r"^(good|note|bad)  ? ? ?(.+)(?:\n {6}(.+))?$", checks, re.MULTILINE)
        assert sum(1 + bool(todo) for _, _, todo in found) == len(checks.splitlines()), self.said.out
        return found

    def finding(self, about: str) -> tuple[str, str, str]:
        (found,) = [f for f in self.findings if f[1].startswith(about)]
        return found

    def verdicts(self) -> set[str]:
        return {verdict for verdict, _, _ in self.findings}


def visit(*arguments: str, **settings: str) -> Visit:
    """The command's own options last; before them what stands before the command."""
    own = [a for a in arguments if a in ("--offline", "--settings")]
    said = collector(*arguments[: len(arguments) - len(own)], "doctor", *own, **settings)
    assert said.err == "", said
    assert SECRET not in said.out
    found = Visit(said)
    assert said.code == (1 if "bad" in found.verdicts() else 0), said
    return found


def api(step: Step, database_url: str, **settings: str) -> Visit:
    with Server(step) as server:
        found = visit(**{"database_url": database_url, "base_url": server.url, "api_key": SECRET, **settings})
        assert [r.headers["authorization"] for r in server.requests] == [f"apikey {SECRET}"]
    return found


def dated(offset: timedelta) -> Step:
    """A good answer of an API whose clock is so far off."""
    return reply(body=body(answer(THREE)), Date=format_datetime(utc_now() + offset, usegmt=True))


# All is well


def test_a_source_that_left_the_settings_is_noted(engine: sa.Engine, database_url: str) -> None:
    for name, age in (("gcore", 5), ("former", 50_000)):
        history = History(engine, name=name, base_url=f"https://{name}.example")
        history.poll(THREE, at=(utc_now() - NOON).total_seconds() - age)
        history.restart()
    found = visit("--offline", database_url=database_url, api_key=SECRET)
    verdict, what, _ = found.finding("source former: last seen")
    assert (verdict, "no longer in the settings" in what) == ("note", True)
    found = visit("--offline", database_url=database_url, api_key=SECRET, source="another")
    assert found.finding("source former: last seen")[0] == "bad"


def test_all_is_good(engine: sa.Engine, database_url: str) -> None:
    history = History(engine)
    history.poll(THREE, at=(utc_now() - NOON).total_seconds() - 5)
    history.restart()
    found = api(dated(timedelta(seconds=1)), database_url)
    assert found.verdicts() == {"good"}
    assert found.finding("source gcore: the API")[1] == "source gcore: the API answers with 3 regions"
    assert found.finding("source gcore: last seen")[0] == "good"
    assert re.fullmatch(r"clock: differs by [0-3] s from the API's", found.finding("clock")[1])
    kind = "SQLite" if database_url.startswith("sqlite") else "PostgreSQL"
    assert re.fullmatch(rf"database: .+, {kind} \d+[\d.]+.* answers", found.finding("database")[1])
    assert newest_revision() in found.finding("schema")[1]


def test_the_simulated_cloud_is_good_too(sqlite_url: str) -> None:
    start = utc_now()
    world = random_world(1, start, regions=7, mean_hold=timedelta(days=1), until=start)
    with Simulator(world) as simulator:
        found = visit(database_url=sqlite_url, base_url=simulator.base_url, api_key=KEY)
        assert "answers with 7 regions" in found.finding("source gcore")[1]
        assert KEY not in found.said.out
        wrong = visit(database_url=sqlite_url, base_url=simulator.base_url, api_key=SECRET)
    verdict, what, todo = wrong.finding("source gcore")
    assert (verdict, "status 401" in what, "$" in todo) == ("bad", True, True)
    assert SECRET[:6] not in wrong.said.out, "the API's message repeats the beginning of the key"


def test_offline_nobody_is_asked(sqlite_url: str) -> None:
    with Server(reply()) as server:
        found = visit("--offline", database_url=sqlite_url, base_url=server.url, api_key=SECRET)
        assert server.requests == []
    assert found.finding("source gcore") == ("note", "source gcore: the API was not asked", "")


def test_it_writes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    history = History(open_engine(sqlite_url))
    history.poll(THREE)
    history.restart()
    history.engine.dispose()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    api(reply(body=body(answer(THREE))), sqlite_url)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if not p.name.endswith("-shm")} == before


# The API


@pytest.mark.parametrize(
    ("step", "what", "todo"),
    [
        (
            error(401, message="Invalid token"),
            "http_status (status 401): Invalid token",
            "if it contains a $",
        ),
        (error(403, message="Forbidden"), "(status 403)", "may not read AI regions"),
        (error(404, message="Not found"), "(status 404)", "the API's base URL?"),
        (error(503, message="down"), "(status 503)", "reachable from here?"),
        (
            reply(body=b"<!doctype html><title>log in</title>"),
            "not_json (status 200): status 200, but ",
            "base",
        ),
        (reply(body=b'{"hello": "world"}'), "not_a_listing (status 200)", ""),
        (reply(body=b""), "the body is empty", ""),
        (error(401, message=f"the key {SECRET} is unknown"), "(status 401): the key ", "single quotes"),
    ],
)
def test_an_answer_that_is_no_use_is_reported_with_what_to_do(
    sqlite_url: str, step: Step, what: str, todo: str
) -> None:
    found = api(step, sqlite_url)
    verdict, said, advice = found.finding("source gcore")
    assert verdict == "bad"
    assert what in said
    assert advice
    assert (todo if todo != "base" else "http://127.0.0.1") in advice


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"max_regions": "99"}, "`results` holds 100 records, more than 99"),
        ({"max_values": "1000"}, "more than 1,000 values"),
        ({"max_body": "65536"}, "larger than 65,536 bytes"),
    ],
)
def test_an_answer_is_read_within_the_limits_that_polls_have(
    sqlite_url: str, setting: dict[str, str], why: str
) -> None:
    large = reply(body=body(answer([region(i) for i in range(100)])))
    verdict, what, _ = api(large, sqlite_url, **setting).finding("source gcore")
    assert verdict == "bad"
    assert why in what


def test_an_answer_beyond_the_usual_limits_is_good_where_the_settings_admit_it(sqlite_url: str) -> None:
    many = reply(body=body(answer([{"id": i, "state": "A"} for i in range(10_001)])))
    assert api(many, sqlite_url).finding("source gcore")[0] == "bad"
    assert api(many, sqlite_url, max_regions="20000").finding("source gcore")[0] == "good"


def test_html_is_named_as_such(sqlite_url: str) -> None:
    found = api(reply(body=b"<html>"), sqlite_url)
    assert "it looks like an HTML page" in found.finding("source gcore")[1]


def test_nobody_listens(sqlite_url: str) -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    found = visit(database_url=sqlite_url, base_url=url, api_key=SECRET)
    verdict, what, todo = found.finding("source gcore")
    assert (verdict, "connect" in what, url in todo) == ("bad", True, True)
    assert not any(f[1].startswith("clock") for f in found.findings)


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        (timedelta(hours=-2), "bad"),
        (timedelta(hours=2), "bad"),
        (timedelta(minutes=10), "note"),
        (timedelta(seconds=-2), "good"),
    ],
)
def test_a_clock_that_is_off_is_reported(sqlite_url: str, offset: timedelta, verdict: str) -> None:
    found = api(dated(offset), sqlite_url)
    said, what, todo = found.finding("clock")
    assert said == verdict
    seconds = int(what.split()[3])
    assert abs(seconds - abs(offset.total_seconds())) <= 2
    assert ("NTP" in todo) == (verdict == "bad")


def test_the_clock_is_judged_even_where_the_answer_is_no_use(sqlite_url: str) -> None:
    date = format_datetime(datetime.now(UTC) - timedelta(hours=2), usegmt=True)
    found = api(reply(401, b'{"message": "no"}', Date=date), sqlite_url)
    assert (found.finding("source gcore")[0], found.finding("clock")[0]) == ("bad", "bad")


# The key


def test_without_a_key_the_demo_is_named(sqlite_url: str) -> None:
    verdict, what, todo = visit(database_url=sqlite_url).finding("source gcore")
    assert (verdict, todo) == ("bad", "`collector demo` needs no key")
    assert "COLLECTOR_API_KEY" in what
    assert "COLLECTOR_API_KEY_FILE" in what


def test_a_key_file_that_is_missing_empty_or_no_text_is_named(sqlite_url: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content, why in ((None, "No such file"), (b"", "is empty"), (b"\xff\xfe", "not text")):
        if content is not None:
            path.write_bytes(content)
        verdict, what, _ = visit(database_url=sqlite_url, api_key_file=str(path)).finding("source gcore")
        assert verdict == "bad"
        assert str(path) in what
        assert why in what


def test_a_key_file_that_is_missing_gets_advice_of_its_own(sqlite_url: str, tmp_path: Path) -> None:
    found = visit(database_url=sqlite_url, api_key_file=str(tmp_path / "key"))
    assert "demo" not in found.finding("source gcore")[2]


def test_the_key_in_a_file_is_used_and_never_shown(sqlite_url: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    with Server(reply(body=body(answer(THREE)))) as server:
        found = visit("--settings", database_url=sqlite_url, base_url=server.url, api_key_file=str(path))
        assert server.requests[0].headers["authorization"] == f"apikey {SECRET}"
    assert found.settings["COLLECTOR_API_KEY_FILE"] == (str(path), "environment")


# The database


def test_a_database_that_is_not_there_yet_is_no_fault_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    found = api(reply(body=body(answer(THREE))), f"sqlite:///{path}")
    verdict, what, todo = found.finding("database")
    assert (verdict, todo) == ("note", "the first `collector poll` creates it")
    assert str(path) in what
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_bad(tmp_path: Path) -> None:
    found = visit("--offline", database_url=f"sqlite:///{tmp_path}/none/c.db", api_key=SECRET)
    assert found.finding("disk") == ("bad", f"disk: the folder {tmp_path}/none does not exist", "create it")


def test_an_empty_database_needs_its_schema(empty_database_url: str) -> None:
    if empty_database_url.startswith("sqlite"):
        Path(empty_database_url.removeprefix("sqlite:///")).touch()
    found = visit("--offline", database_url=empty_database_url, api_key=SECRET)
    verdict, what, todo = found.finding("schema")
    assert (verdict, todo) == ("bad", "run `collector db upgrade`")
    assert what.startswith("schema: none; this version works with 0")


def test_another_schema_is_bad(engine: sa.Engine, database_url: str) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    found = visit("--offline", database_url=database_url, api_key=SECRET)
    verdict, what, _ = found.finding("schema")
    assert (verdict, what.startswith("schema: 0000; this version works with 0")) == ("bad", True)


def test_a_newer_schema_asks_for_a_newer_collector(engine: sa.Engine, database_url: str) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    found = visit("--offline", database_url=database_url, api_key=SECRET)
    assert "update the collector" in found.finding("schema")[2]


def test_a_view_that_is_gone_is_bad(engine: sa.Engine, database_url: str) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("DROP VIEW region_transitions")
    found = visit("--offline", database_url=database_url, api_key=SECRET)
    assert found.finding("schema") == (
        "bad",
        "schema: its views are not those of this version",
        "run `collector db upgrade`",
    )


def test_a_file_that_is_no_database_is_bad_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("something that somebody wrote\n" * 100)
    before = path.read_bytes()
    found = visit("--offline", database_url=f"sqlite:///{path}", api_key=SECRET)
    verdict, what, todo = found.finding("database")
    assert (verdict, str(path) in what, "COLLECTOR_DATABASE_URL" in todo) == ("bad", True, True)
    assert path.read_bytes() == before


def test_a_postgresql_that_does_not_answer_is_bad() -> None:
    url = f"postgresql://somebody:{SECRET}@127.0.0.1:{unused_port()}/collector"
    found = visit("--offline", database_url=url, api_key="other")
    verdict, what, todo = found.finding("database")
    assert (verdict, "refused" in what, "that the server is running" in todo) == ("bad", True, True)


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_a_host_of_a_database_that_no_host_can_be_called_is_bad(host: str) -> None:
    found = visit("--offline", database_url=f"postgresql://somebody@{host}/c", api_key=SECRET)
    assert found.finding("database:")[1].endswith(f"c at {host} can't be used: that is not a host name")


def test_a_source_that_is_stale_is_bad_and_one_that_is_degraded_is_noted(
    engine: sa.Engine, database_url: str
) -> None:
    now = (utc_now() - NOON).total_seconds()
    fresh, old = History(engine, name="fresh"), History(engine, name="old")
    old.poll(THREE, at=now - 9000)
    fresh.poll(THREE, at=now - 60)
    fresh.poll(failure(), at=now - 5)
    found = visit("--offline", database_url=database_url, api_key=SECRET)
    verdict, what, todo = found.finding("source old")
    assert (verdict, "no successful poll for too long" in what) == ("bad", True)
    assert todo == "is `collector run`, or your timer, running?"
    verdict, what, _ = found.finding("source fresh")
    assert (verdict, what.endswith("the newest poll failed: no connection")) == ("note", True)


# Settings


def test_every_setting_is_shown_with_its_origin(sqlite_url: str, tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(f'interval = "5m"\napi_key = "{SECRET}"\nname = "mine"\nauth_scheme = "Bearer"\n')
    found = visit(
        "--config", str(config), "--offline", "--settings", database_url=sqlite_url, auth_scheme="apikey"
    )
    expected = {
        "COLLECTOR_API_KEY": ("(not shown)", str(config)),
        "COLLECTOR_API_KEY_FILE": ("-", "default"),
        "COLLECTOR_AUTH_SCHEME": ("apikey", "environment"),
        "COLLECTOR_BASE_URL": ("https://api.gcore.com", "default"),
        "COLLECTOR_CONFIRMATIONS": ("3", "default"),
        "COLLECTOR_DATABASE_URL": (sqlite_url, "environment"),
        "COLLECTOR_INTERVAL": ("5m", str(config)),
        "COLLECTOR_SOURCE": ("mine", str(config)),
    }
    assert {name: found.settings[name] for name in expected} == expected
    assert found.settings.keys() == {*VARIABLES} - {"COLLECTOR_CONFIG"}
    assert "  source mine: " in found.said.out


def test_settings_follow_the_checks_and_only_if_they_are_asked_for(sqlite_url: str) -> None:
    brief, full = (
        visit("--offline", *more, database_url=sqlite_url, api_key=SECRET).said.out
        for more in ((), ("--settings",))
    )
    assert full.startswith(f"{brief}\nsettings\n")
    assert "COLLECTOR_" not in brief


def test_each_of_several_sources_is_looked_at(sqlite_url: str, tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    with Server(reply(body=body(answer(THREE)))) as good, Server(error(404)) as bad:
        config.write_text(
            f'api_key = "{SECRET}"\n[[sources]]\nname = "one"\nbase_url = "{good.url}"\n'
            f'[[sources]]\nname = "two"\nbase_url = "{bad.url}"\n[[sources]]\nname = "three"\n'
            f'api_key_file = "{tmp_path}/none"\n'
        )
        found = visit("--config", str(config), "--settings", database_url=sqlite_url)
    assert [f"  source {n}: " in found.said.out for n in ("one", "two", "three")] == [True] * 3
    verdicts = {what.split(":")[0]: verdict for verdict, what, _ in found.findings if "source " in what}
    assert verdicts == {"source one": "good", "source two": "bad", "source three": "bad"}
    assert bad.url in found.finding("source two")[2]


def many(folder: Path, count: int, base_url: str) -> str:
    """A settings file with many sources on one host."""
    config = folder / "many.toml"
    each = (f'[[sources]]\nname = "s{n}"\nbase_url = "{base_url}/s{n}"\n' for n in range(count))
    config.write_text(f'api_key = "{KEY}"\n' + "".join(each))
    return str(config)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often clients were made and asked, and how many asked at the same time."""
    counted: Counter[str] = Counter()
    lock = threading.Lock()
    make, fetch = Client.__init__, Client.fetch

    def counting_make(self: Client, **more: Any) -> None:
        counted["clients"] += 1
        make(self, **more)

    def counting_fetch(self: Client, request: Request) -> Answer | Failure:
        with lock:
            counted["asked"] += 1
            counted["now"] += 1
            counted["most"] = max(counted["most"], counted["now"])
        try:
            return fetch(self, request)
        finally:
            with lock:
                counted["now"] -= 1

    monkeypatch.setattr(Client, "__init__", counting_make)
    monkeypatch.setattr(Client, "fetch", counting_fetch)
    return counted


def test_many_sources_are_asked_once_each_by_a_few_threads_and_shown_in_order(
    sqlite_url: str, tmp_path: Path, made: Counter[str]
) -> None:
    start = utc_now()
    with Simulator(random_world(1, start, regions=2, mean_hold=timedelta(days=1), until=start)) as simulator:
        found = visit("--config", many(tmp_path, 50, simulator.base_url), database_url=sqlite_url)
        assert simulator.requests == 50
    names = [what for _, what, _ in found.findings if "the API answers" in what]
    assert names == [f"source s{n}: the API answers with 2 regions" for n in range(50)]
    assert sum(what.startswith("clock") for _, what, _ in found.findings) == 1
    assert (made["clients"], made["asked"]) == (1, 50)
    assert 1 < made["most"] <= MAX_AT_ONCE


def test_a_host_where_nobody_answers_is_not_tried_for_each_source(
    sqlite_url: str, tmp_path: Path, made: Counter[str]
) -> None:
    found = visit(
        "--config", many(tmp_path, 50, f"http://127.0.0.1:{unused_port()}"), database_url=sqlite_url
    )
    bad = [what.split(":")[0] for verdict, what, _ in found.findings if verdict == "bad"]
    assert bad == [f"source s{n}" for n in range(50)]
    assert made["asked"] <= MAX_AT_ONCE


def test_a_wrong_setting_ends_it_before_anything_is_looked_at(sqlite_url: str) -> None:
    collector("doctor", database_url=sqlite_url, interval="soon").refused(2, "COLLECTOR_INTERVAL", "'soon'")


def test_a_database_url_that_is_none_ends_it(tmp_path: Path) -> None:
    said = collector("doctor", "--offline", database_url="mysql://host/name", api_key=SECRET)
    assert said.code == 2
    said.explains("mysql", "postgresql")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://somebody:{SECRET}@127.0.0.1:1/c",
        f"postgresql://somebody:{SECRET}%40x@127.0.0.1:1/c",
        pytest.param(
            f"postgresql://somebody:{SECRET}/x@127.0.0.1:1/c",
        ),
        pytest.param(
            f"postgresql://somebody:a {SECRET}@127.0.0.1:1/c",
        ),
        pytest.param(
            f"postgresql://127.0.0.1:1/c?user=somebody&password={SECRET}",
        ),
    ],
)
def test_the_password_of_the_database_is_not_shown(url: str) -> None:
    said = collector("doctor", "--offline", "--settings", database_url=url, api_key="other")
    assert "127.0.0.1:1" in said.out
    assert SECRET not in said.out + said.err


def test_settings_that_no_source_has_are_not_shown(sqlite_url: str, tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(
        f'[[sources]]\nname = "one"\nbase_url = "http://127.0.0.1:1"\napi_key = "{SECRET}"\ninterval = "5m"\n'
    )
    found = visit("--config", str(config), "--offline", "--settings", database_url=sqlite_url)
    assert "COLLECTOR_DATABASE_URL" in found.settings
    assert "https://api.gcore.com" not in found.said.out


# The surroundings


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
def test_a_proxy_is_shown_without_its_password(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"http://somebody:{SECRET}@proxy.example:3128")
    found = visit("--offline", database_url=sqlite_url, api_key="other")
    verdict, what, _ = found.finding(name.upper())
    assert (verdict, "proxy.example:3128" in what) == ("note", True)


def test_a_variable_with_a_typing_error_in_its_prefix_is_noted(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLECTOR_KEEP", SECRET)
    found = visit("--offline", database_url=sqlite_url, api_key=SECRET)
    assert found.finding("COLECTOR_KEEP") == (
        "note",
        "COLECTOR_KEEP is set, and nothing reads it",
        "did you mean COLLECTOR_KEEP?",
    )


def test_certificates_that_do_not_exist_are_bad(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/none/ca.pem")
    found = visit("--offline", database_url=sqlite_url, api_key=SECRET)
    assert found.finding("SSL_CERT_FILE") == (
        "bad",
        "SSL_CERT_FILE: /none/ca.pem does not exist",
        "point it to your CA certificates",
    )


def test_each_folder_of_certificates_is_looked_at(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", f":{tmp_path}:{tmp_path}")
    found = visit("--offline", database_url=sqlite_url, api_key=SECRET)
    assert found.finding("SSL_CERT_DIR")[0] == "note"
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}:/none")
    found = visit("--offline", database_url=sqlite_url, api_key=SECRET)
    assert found.finding("SSL_CERT_DIR")[:2] == ("bad", "SSL_CERT_DIR: /none does not exist")
