"""Secrets never land: canaries go through real polls, and are then looked for everywhere.

A canary is a secret that stands nowhere else. All of them begin with the same word, so that one search
finds any of them, whole or cut.
"""

from __future__ import annotations

import gzip
import io
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import traceback
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from pyarrow import parquet

from collector import logs
from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import reading, writing
from collector.errors import CollectorError, SettingsError
from collector.gcore.client import Client
from collector.gcore.exchange import Answer, Cause, Exchange, Request
from collector.poll import poll
from collector.service.runner import Runner
from collector.settings.loading import load
from collector.settings.models import Source
from collector.store import lease, rederive
from collector.store.opening import open_writer
from tests.support import forks
from tests.support.builders import answer, body, keystone, metrics_database, region
from tests.support.command import Said, collector, environment, process
from tests.support.logging_kept import logging_kept
from tests.support.loopback import (
    BOMB,
    CHUNKED,
    IN_GZIP,
    OF_1000,
    Server,
    Step,
    cut,
    error,
    raw,
    reply,
    stall,
)

KEY = "4711$KeYcAnArY0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6"
"""In the form of real keys: a number, a dollar, hexadecimal digits."""
KEY_PARTS = re.compile("KeYcAnArY|0a1b2c3d|4711\\$")
CANARY = "cAnArY"


def canary(name: str) -> str:
    return f"{CANARY}-{name.replace(' ', '-')}-5f0e"


SECRET_FIELDS: dict[str, Any] = {
    "password": canary("password"),
    "admin_pass": canary("pass"),
    "PASSWD": canary("passwd"),
    "dbPwd": canary("pwd"),
    "apiToken": canary("token"),
    "access-token": canary("access"),
    "refresh.token": canary("refresh"),
    "x-api-key": canary("header"),
    "sshPrivateKey": canary("ssh"),
    "private key": canary("space"),
    "clientSecret": canary("client"),
    "Credentials": {"user": "u", "value": [canary("nested"), {"deep": canary("deep")}]},
    "tokens": [canary("list"), [canary("list in list")], 5],
    "sentryDSN": canary("dsn"),
    "Set-Cookie": f"session={canary('cookie')}",
    "authorization": f"apikey {canary('authorization')}",
    "numeric_token": 7777123477771234,
    "connection_string": f"Server=x;Pwd={canary('connection')}",
}
URLS = {
    "novnc_proxy_url": f"https://user:{canary('userinfo')}@console.example:6080/",
    "serial_proxy_url": f"wss://{canary('name only')}@console.example/",
    "spice_proxy_url": f"http://console.example/?token={canary('parameter')}&x=1",
}


def poisoned() -> Any:
    """A whole answer with secrets wherever there may be any."""
    first = region(
        1,
        **URLS,
        keystone=keystone(
            1001,
            password=canary("keystone"),
            url=f"https://admin:{canary('keystone url')}@keystone.example/v3",
        ),
        metrics_database_id=1,
        metrics_database=metrics_database(
            1, password=canary("metrics"), host=f"http://m:{canary('host')}@metrics.example"
        ),
        unknown_object={"level": {"settings": [SECRET_FIELDS]}},
        **SECRET_FIELDS,
    )
    strange = region(2, state=f"https://u:{canary('state')}@x.example", zone=f"//u:{canary('zone')}@x")
    refused = {
        "id": "no id",
        "token": canary("rejected"),
        "url": f"https://u:{canary('rejected url')}@x.example",
    }
    return answer([first, strange, refused], meta={"auth": SECRET_FIELDS}, refresh_token=canary("envelope"))


def echoing() -> Any:
    """An answer that gives our own key back, in values, in names of fields, whole and in part."""
    return answer(
        [
            region(1, display_name=f"hello {KEY}", slug=KEY[5:30], debug={KEY: 1, "your-" + KEY[10:40]: KEY}),
            region(2, state=f"STATE {KEY}", vlan_physical_network=f"x{KEY[20:]}"),
            {"id": "no id", "who": KEY},
            KEY,
        ],
        requested_by=[{"who": KEY}],
    )


SCRIPT = (
    reply(body=body(poisoned())),
    reply(body=body(echoing())),
    error(401, message=f"Invalid token {KEY} of user {KEY[5:25]}", request_id=f"req-{KEY}"),
    reply(403, body=f"<p>{KEY}</p>".encode(), **{"X-Request-Id": KEY}),
    error(400, name=KEY, message=f"see https://u:{canary('message url')}@x.example/?api_key={KEY}"),
    error(404, message=f"Authorization: apikey {KEY}"),
    reply(302, Location=f"https://u:{canary('location')}@elsewhere.example/?key={KEY}"),
    reply(body=body({"message": f"no rights for {KEY}", "exception_class": KEY, "request_id": KEY})),
    reply(body=KEY.encode()),
    reply(body=body([KEY])),
    reply(body=body(poisoned())),
)


def found_in(text: str) -> list[str]:
    """Secrets in a text, with what stands around them."""
    patterns = (CANARY, "7777123477771234", KEY_PARTS.pattern)
    return [text[max(0, m.start() - 60) : m.end() + 60] for p in patterns for m in re.finditer(p, text)]


def rows_of(url: str) -> Iterator[tuple[str, str]]:
    """All texts of all tables, with where they stand; what is compressed also as it was before."""
    engine = open_engine(url)
    with reading(engine) as connection:
        for table in sa.inspect(connection).get_table_names():
            for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"').mappings():
                for column, value in row.items():
                    if isinstance(value, bytes):
                        yield f"{table}.{column}", zlib.decompress(value).decode()
                        value = value.decode("latin-1")
                    yield f"{table}.{column}", str(value)
        if engine.dialect.name == "postgresql":
            for (query,) in connection.exec_driver_sql("SELECT query FROM pg_stat_activity"):
                yield "pg_stat_activity.query", str(query)
    engine.dispose()


def texts_of(name: str, data: bytes) -> Iterator[tuple[str, str]]:
    """A file as text, and what is packed into it."""
    yield name, data.decode("latin-1")
    yield f"{name} as UTF-16", data.decode("utf-16-le", "replace")
    if data[:2] == b"\x1f\x8b":
        yield from texts_of(f"{name} unpacked", gzip.decompress(data))
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for member in packed.namelist():
                yield from texts_of(f"{name}/{member}", packed.read(member))
    if data[:4] == b"PAR1":
        yield f"{name} unpacked", str(parquet.read_table(io.BytesIO(data)).to_pylist())


def files_of(folder: Path) -> Iterator[tuple[str, str]]:
    """All files in a folder, as far down as it goes; databases also row by row."""
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        data = file.read_bytes()
        yield from texts_of(file.name, data)
        if data.startswith(b"SQLite format 3\0"):
            yield from rows_of(f"sqlite:///{file}")


def open_files() -> Iterator[tuple[str, str]]:
    """What this process has open, also what has no name any more, as SQLite's own temporary files."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if link.is_file():
                yield from texts_of(f"open file {link.readlink()}", link.read_bytes())


def everything_stored(url: str) -> Iterator[tuple[str, str]]:
    """All texts of a database; of a file, also those of all files beside it."""
    yield from rows_of(url)
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        files = sorted(path.parent.iterdir())
        assert path in files
        for file in files:
            yield from texts_of(file.name, file.read_bytes())


@pytest.fixture
def own_folder(database_url: str, tmp_path: Path) -> str:
    """The database; a file has a folder for itself."""
    if not database_url.startswith("sqlite"):
        return database_url
    folder = tmp_path / "database"
    folder.mkdir()
    Path(database_url.removeprefix("sqlite:///")).rename(folder / "collector.db")
    return f"sqlite:///{folder / 'collector.db'}"


@pytest.mark.long
def test_no_secret_of_any_answer_reaches_the_database_or_the_screen(own_folder: str) -> None:
    url = own_folder
    stored_while_open: list[tuple[str, str]] = []
    with Server(*SCRIPT) as server:
        settings = {"database_url": url, "base_url": server.url, "api_key": KEY, "interval": "1s"}
        run = [process, *[collector] * (len(SCRIPT) - 2), process]
        keeper = open_engine(url)  # keeps the WAL from being folded into the file and removed
        with reading(keeper) as connection:
            connection.exec_driver_sql("SELECT 1")
            said = [step("poll", **settings) for step in run]
            stored_while_open += everything_stored(url)
        keeper.dispose()
    assert [r.headers["authorization"] for r in server.requests] == [f"apikey {KEY}"] * len(SCRIPT)
    assert [s.code for s in said] == [0, 0, *[1] * (len(SCRIPT) - 3), 0], said
    questions = [
        ["regions", "--format", "json"],
        ["regions"],
        ["transitions", "--format", "csv"],
        *(["evidence", seq] for where, seq in everything_stored(url) if where == "observations.seq"),
        ["evidence", "1", "--format", "json"],
        ["db", "rebuild", "--check"],
        ["db", "check"],
    ]
    said += [collector(*question, database_url=url) for question in questions]
    assert {s.code for s in said[len(SCRIPT) :]} == {0}
    leaks = [hit for s in said for hit in found_in(s.out) + found_in(s.err)]
    assert leaks == []
    stored = [*stored_while_open, *everything_stored(url)]
    assert [(where, hit) for where, text in stored for hit in found_in(text)] == []
    if url.startswith("sqlite"):
        assert {"collector.db", "collector.db-wal", "collector.db-shm"} <= {where for where, _ in stored}
    bodies = [text for where, text in stored if where == "payloads.body"]
    assert any("Region 1" in text for text in bodies), "what is no secret was kept"
    assert any('"password":"[redacted]"' in text for text in bodies)


@pytest.mark.parametrize("key", ['k1"q7\\x9"z3\'w5', 'a/b\\c"d/e\\f"g/h', "s3cr3t"])
def test_a_key_that_json_writes_otherwise_is_found_in_an_answer_all_the_same(
    sqlite_template: Path, tmp_path: Path, key: str
) -> None:
    path = tmp_path / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    url = f"sqlite:///{path}"
    with Server(reply(body=body(answer([region(1, display_name=f"I am {key}.")])))) as server:
        said = collector("poll", database_url=url, base_url=server.url, api_key=key)
    assert said.code == 0, said
    shown = collector("regions", "--format", "json", database_url=url)
    assert key not in shown.json[0]["display_name"]
    assert key not in said.out + said.err


def test_a_key_that_an_answer_names_twice_is_not_in_the_error(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    twice = f'{{"count": 0, "{KEY}": 1, "{KEY}": 2}}'
    with Server(reply(body=twice.encode())) as server:
        said = collector("poll", database_url=f"sqlite:///{path}", base_url=server.url, api_key=KEY)
    assert said.code == 1, said
    assert "twice" in said.err
    assert found_in(said.err) == []
    assert [hit for _, text in everything_stored(f"sqlite:///{path}") for hit in found_in(text)] == []


@pytest.mark.parametrize(
    "password", ["a/CAN", "a@CAN", "a#CAN", "a?CAN", "a:CAN", "a%20CAN", "a CAN", "'CAN'", '"CAN"', "<CAN>"]
)
def test_a_password_in_a_url_is_found_whatever_it_is_made_of(
    sqlite_template: Path, tmp_path: Path, password: str
) -> None:
    path = tmp_path / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    secret = password.replace("CAN", canary("userinfo"))
    said = [region(1, novnc_proxy_url=f"https://user:{secret}@console.example:6080/")]
    with Server(reply(body=body(answer(said)))) as server:
        collector("poll", database_url=f"sqlite:///{path}", base_url=server.url, api_key=KEY)
    stored = list(everything_stored(f"sqlite:///{path}"))
    assert any("@console.example" in text for _, text in stored)
    assert [hit for _, text in stored for hit in found_in(text)] == []


def test_the_keys_fingerprint_is_stored_and_the_key_is_not(own_folder: str) -> None:
    with Server(reply(body=body(answer([region(1)])))) as server:
        settings = {"database_url": own_folder, "base_url": server.url, "api_key": KEY}
        assert collector("poll", **settings).code == 0
        assert collector("poll", **(settings | {"api_key": KEY + "0"})).code == 0
    fingerprints = {text for where, text in everything_stored(own_folder) if where.endswith("fingerprint")}
    assert len(fingerprints) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", text) for text in fingerprints)


# What is printed of objects and of errors


def test_no_repr_shows_a_secret(database_url: str, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    settings = load({"COLLECTOR_API_KEY": KEY, "COLLECTOR_DATABASE_URL": f"postgresql://u:{CANARY}@h/d"})
    source = Source(api_key_file=key_file, base_url="http://127.0.0.1:1", interval="1s")
    engine = open_engine(database_url)
    client = Client()
    writer = open_writer(engine, source, lease.process_name())
    moment = datetime.now(UTC)
    whole = Answer(Exchange(moment, moment), body(poisoned()))
    polled = poll(source, lambda _: whole, writer)
    failed = poll(source, client.fetch, writer)
    shown = [settings, settings.sources, source, writer, writer.lease, whole, polled, failed, client]
    shown += [Request(source.base_url, KEY), polled.recorded, failed.failure]
    shown += [open_engine(f"postgresql://u:{CANARY}@127.0.0.1:1/d")]
    texts = [repr(value) for value in shown] + [str(value) for value in shown]
    client.close()
    engine.dispose()
    assert [hit for text in texts for hit in found_in(text)] == []


def test_no_refused_setting_shows_a_secret() -> None:
    for name, value in (
        ("COLLECTOR_BASE_URL", f"https://u:{CANARY}@h"),
        ("COLLECTOR_BASE_URL", f"https://h/?key={CANARY}"),
        ("COLLECTOR_APIKEY", CANARY),
        ("COLLECTOR_DATABASE_URL", f"//u:{CANARY}@h"),
    ):
        with pytest.raises(SettingsError) as raised:
            open_engine(load({name: value}).database_url.get_secret_value())
        assert found_in("".join(traceback.format_exception_only(raised.value))) == []
        assert found_in("".join(traceback.format_exception(raised.value))) == [], "nor does a traceback"


@pytest.mark.parametrize(
    "environment",
    [
        {"COLLECTOR_DATABASE_URL": f"host=127.0.0.1 user=u password={CANARY} dbname=d"},
        {"COLLECTOR_DATABASE_URL": f"postgresql:u:{CANARY}@h/d"},
        {"COLLECTOR_DATABASE_URL": CANARY},
        {"COLLECTOR_API_KEY_FILE": KEY},
        {"COLLECTOR_API_KEY_FILE": f"no/such/{KEY}"},
        {"COLLECTOR_CONFIG": KEY},
        {"COLLECTOR_AUTH_SCHEME": f"apikey {KEY}"},
        {"COLLECTOR_BASE_URL": f"https://u%3A{CANARY}%40h"},
        {"COLLECTOR_API_KEY": KEY, "HTTPS_PROXY": f"u:{CANARY}"},
        {"COLLECTOR_API_KEY": KEY, "HTTPS_PROXY": f"http://127.0.0.1:1/?password={CANARY}"},
        {"COLLECTOR_API_KEY": KEY, "HTTPS_PROXY": f"http:u:{CANARY}"},
    ],
    ids=lambda environment: " ".join(environment),
)
@pytest.mark.parametrize("command", ["doctor --offline --settings", "poll"])
def test_a_secret_in_the_wrong_setting_is_not_shown_or_stored(
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    command: str,
) -> None:
    file = tmp_path / "collector.db"
    file.write_bytes(sqlite_template.read_bytes())
    url = f"sqlite:///{file}"
    usual = {
        "COLLECTOR_DATABASE_URL": url,
        "COLLECTOR_BASE_URL": "http://127.0.0.1:1",
        "COLLECTOR_INTERVAL": "1s",
    }
    for name, value in (usual | environment).items():
        monkeypatch.setenv(name, value)
    said = collector(*command.split())
    assert said.code in (0, 1, 2), said
    assert "Traceback" not in said.err
    assert found_in(said.out + said.err) == []
    assert [(where, hit) for where, text in everything_stored(url) for hit in found_in(text)] == []


@pytest.mark.parametrize(
    "line", ["api_key_file = {a = '@'}", "api_key = ['@']", "name = ['@']", "auth_scheme = '@'"]
)
def test_a_secret_of_a_wrong_type_is_not_shown(tmp_path: Path, line: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(line.replace("@", KEY))
    with pytest.raises(SettingsError) as raised:
        load({}, file)
    assert found_in(str(raised.value)) == []


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{CANARY}@127.0.0.1:1/name",
        f"postgresql://user@127.0.0.1:1/name?password={CANARY}",
        f"postgresql://user@127.0.0.1:1/name?sslpassword={CANARY}",
        f"postgresql://user:a@b{CANARY}@127.0.0.1:1/name",
        f"postgresql://user:{CANARY}@127.0.0.1:port/name",
        f"postgresql://user:{CANARY}@127.0.0.1:1/name?nonsense=1",
        f"postgresql://user:{CANARY}@[::1/name",
        f"mysql://user:{CANARY}@127.0.0.1/name",
        f"nonsense:{CANARY}",
    ],
)
@pytest.mark.parametrize("command", ["regions", "db upgrade"])
def test_a_database_that_cant_be_reached_does_not_show_its_password(url: str, command: str) -> None:
    said = collector(*command.split(), database_url=url)
    assert said.code in (1, 2)
    assert found_in(said.out + said.err) == []


def test_an_error_of_the_database_does_not_show_what_was_to_be_written() -> None:
    """Messages for people have no SQL and no parameters in them."""
    engine = open_engine(f"postgresql://user:{CANARY}@127.0.0.1:1/name")
    with pytest.raises(CollectorError) as raised:
        lease.acquire(engine, CANARY, CANARY)
    assert found_in(str(raised.value)) == []


# Through every fault, through a proxy with a password, into a database with a password

PROXY_PASSWORD = canary("proxy")
DATABASE_PASSWORD = canary("database")
HOST = "http://api.test"
"""Only the proxy knows it."""

POISON = body(poisoned())
ECHO = body(echoing())
LEAKY = KEY.encode()


def leaking(status: int) -> list[Step]:
    """What a refusal can carry: in its body, in its headers, in its status line."""
    said = f"{KEY} of https://u:{canary('refusal')}@x.example/?token={canary('refused')}"
    return [
        error(status, KEY, said, request_id=KEY, info=SECRET_FIELDS),
        reply(
            status, POISON, X_Request_Id=KEY, Location=f"//u:{canary('place')}@h/?key={KEY}", Retry_After=KEY
        ),
        raw(f"HTTP/1.1 {status} {said}\r\n\r\n".encode()),
    ]


LEAKS: list[Step] = [
    *(reply(body=said) for said in (POISON, ECHO, POISON)),
    # From a cache, and a page
    reply(body=POISON, Age="1800", X_Cache=f"HIT {KEY}"),
    reply(body=ECHO, Link=f'<//u:{canary("page")}@h/?key={KEY}>; rel="next"', X_Next_Page=KEY),
    # Connections and HTTP that break
    *(
        cut(begin + said[:900])
        for begin in (b"", OF_1000, CHUNKED + b"fff\r\n", IN_GZIP)
        for said in (POISON, ECHO)
    ),
    *(
        raw(begin + ECHO[:900])
        for begin in (b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nX: ", OF_1000, CHUNKED + LEAKY)
    ),
    *(
        raw(b"HTTP/1.1 200 OK\r\n%s: %s\r\n\r\n{}" % (name, LEAKY))
        for name in (
            b"Content-Length",
            b"Transfer-Encoding",
            b"Content-Encoding",
            b"Date",
            b"Set-Cookie",
            LEAKY,
        )
    ),
    raw(LEAKY + b"\r\n\r\n"),
    # Compression
    reply(body=gzip.compress(POISON)[:-9], Content_Encoding="gzip"),
    reply(body=POISON, Content_Encoding="gzip"),
    reply(body=gzip.compress(ECHO)),
    reply(body=BOMB, Content_Encoding="gzip", X_Request_Id=KEY),
    # Bodies that are no listing
    *(reply(body=said[:cut_at]) for said in (POISON, ECHO) for cut_at in (300, 900, -1)),
    reply(body=POISON + LEAKY),
    reply(body=POISON[:-1] + b"\xff" + LEAKY),
    reply(body=b'{"%s": NaN}' % LEAKY),
    reply(body=b'{"%s": 1, "%s": 2}' % (LEAKY, LEAKY)),
    reply(body=b'{"%s": "\0"}' % LEAKY),
    reply(body=b'{"%s":' % LEAKY * 100_000),
    reply(body=b"<html>" + POISON, Content_Type="text/html"),
    reply(body=body({"message": f"{KEY} //u:{canary('said')}@x", "exception_class": KEY, "request_id": KEY})),
    reply(body=body(list(SECRET_FIELDS.values()))),
    reply(body=body({"results": SECRET_FIELDS})),
    # Every class of status
    *(
        step
        for status in (101, 103, 202, 302, 400, 401, 403, 407, 429, 500, 503, 999)
        for step in leaking(status)
    ),
    reply(body=ECHO),
    reply(body=POISON),
]
SILENT: list[Step] = [stall(b""), stall(OF_1000 + ECHO[:900])]


@dataclass(frozen=True)
class Harmed:
    """A database that has been through all that."""

    url: str
    proxy: Server
    log: str
    reprs: str

    @property
    def settings(self) -> dict[str, str]:
        return {"database_url": self.url, "base_url": HOST, "api_key": KEY, "interval": "60s"}


def by_proxy(server: Server) -> dict[str, str]:
    where = f"http://user:{PROXY_PASSWORD}@127.0.0.1:{server.port}"
    return {
        "HTTP_PROXY": where,
        "HTTPS_PROXY": where,
        "http_proxy": where,
        "https_proxy": where,
        "NO_PROXY": "",
    }


@pytest.fixture(scope="module")
def harmed(shared_engine: sa.Engine) -> Iterator[Harmed]:
    url = shared_engine.url
    if url.get_backend_name() == "postgresql":  # which lets everybody in, whatever the password
        url = url.set(password=DATABASE_PASSWORD)
    said, shown = io.StringIO(), []
    with Server(*LEAKS) as server, pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
        for name, value in by_proxy(server).items():
            patch.setenv(name, value)
        engine, client = open_engine(url), Client(max_attempts=1)
        with logging_kept():
            usual = Source(base_url=HOST, api_key=KEY, interval=timedelta(seconds=60))
            runner = Runner(engine, usual, client.fetch, lease.process_name())
            sources = [(step, usual) for step in LEAKS]
            sources += [
                (step, usual.model_copy(update={"interval": timedelta(seconds=1)})) for step in SILENT
            ]
            sources += [(LEAKS[0], usual.model_copy(update={"base_url": "https://api.test"}))]
            sources += [(LEAKS[0], usual.model_copy(update={"api_key": None}))]
            for number, (step, source) in enumerate(sources):
                logs.configure(form="console" if number % 2 else "json")
                # Equal failures of one observer share a row, and the message of the first.
                runner.source = source.model_copy(update={"auth_scheme": f"scheme{number % 2}"})
                server.turn_to(step)
                runner.attempt()
                shown += [
                    repr(runner.last_result),
                    repr(runner.source),
                    repr(vars(runner)),
                    str(runner.last_result),
                ]
            # A proxy that nobody listens at
            patch.setenv("HTTP_PROXY", f"http://user:{PROXY_PASSWORD}@127.0.0.1:1")
            patch.setenv("http_proxy", f"http://user:{PROXY_PASSWORD}@127.0.0.1:1")
            dead = Client(max_attempts=1)
            runner.source, runner._fetch = usual, dead.fetch
            runner.attempt()
            runner.stop(1)
        for each in (client, dead):
            each.close()
        engine.dispose()
        assert all("proxy-authorization" in request.headers for request in server.requests)
        server.turn_to(reply(body=POISON))
        yield Harmed(url.render_as_string(hide_password=False), server, said.getvalue(), "\n".join(shown))


def test_no_secret_of_any_fault_is_stored_or_logged_or_shown(harmed: Harmed) -> None:
    stored = [*everything_stored(harmed.url), ("log", harmed.log), ("reprs", harmed.reprs)]
    assert [(where, hit) for where, text in stored for hit in found_in(text)] == []
    causes = {text for where, text in stored if where == "observations.cause"} - {"None"}
    assert causes == {*get_args(Cause)}, "not every way to fail was gone"
    assert all(cause in harmed.log for cause in causes)
    statuses = {text for where, text in stored if where == "observations.http_status"}
    assert {"202", "302", "400", "401", "403", "407", "429", "500", "503", "999"} <= statuses
    seqs = [text for where, text in stored if where == "observations.seq"]
    assert len(seqs) >= len(LEAKS), "a message of every failure is stored"
    if harmed.url.startswith("postgresql"):
        folder = Path(sa.make_url(harmed.url).query["host"])  # type: ignore[arg-type]
        names = set()
        for file in folder.rglob("*"):
            with suppress(OSError):  # the server goes on: files come and go
                if file.is_file():
                    assert found_in(file.read_bytes().decode("latin-1")) == [], file
                    names.add(file.parent.name)
        assert {"pg_wal", "pg_stat"} & names


COMMANDS = [
    # {new}: a file that does not exist yet. All that a command writes is searched, packed or not.
    "status",
    "status --format json",
    "regions",
    "regions --format json",
    "regions --format csv",
    "history 1",
    "history 1 --format json",
    "transitions",
    "transitions --format csv",
    "explain 1/region/1",
    "evidence 1",
    "evidence 2 --format json",
    "evidence 5",
    "coverage",
    "coverage --format json",
    "diff yesterday now",
    "diff yesterday now --format json",
    "doctor --settings",
    "doctor --offline",
    "poll",
    "poll --source nonsense",
    "audit head",
    "audit verify --format json --record",
    "audit anchors",
    "audit state 1 --at now",
    "audit pack --from yesterday -o {new}",
    "db current",
    "db check",
    "db upgrade",
    "db rebuild --check",
    "db rebuild",
    "db backup {new}",
    "db copy --to sqlite:///{new}",
    "export {new}",
    "export {new} --format csv --partition-by day",
    "export {new} --format jsonl --incremental",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_or_writes_a_secret(
    harmed: Harmed, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, value in by_proxy(harmed.proxy).items():
        monkeypatch.setenv(name, value)
    arguments = shlex.split(command.format(new=tmp_path / "new"))
    said: Said = collector(*arguments, **harmed.settings)
    assert said.out + said.err
    assert "Traceback" not in said.err
    refused = {"poll --source nonsense"} | ({"db backup {new}"} if "postgresql" in harmed.url else set())
    assert (said.code == 2) == (command in refused), said
    written = list(files_of(tmp_path))
    assert bool(written) == ("{new}" in command and command not in refused)
    texts = [("stdout", said.out), ("stderr", said.err), *written, *rows_of(harmed.url)]
    assert [(where, hit) for where, text in texts for hit in found_in(text)] == []


@pytest.mark.long
def test_the_service_logs_no_secret(harmed: Harmed, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    settings = harmed.settings | {"interval": "1s", "api_key_file": str(key_file)}
    del settings["api_key"]
    with Server(*LEAKS[-3:], *leaking(401), *LEAKS[:4]) as server:
        command = [sys.executable, "-m", "collector", "run"]
        with forks.Popen(
            command,
            env=environment(settings) | by_proxy(server),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            for _ in range(600):
                if len(server.requests) >= 7 or running.poll() is not None:
                    break
                signal.sigtimedwait([], 0.1)
            running.send_signal(signal.SIGTERM)
            _, log = running.communicate(timeout=60)
    assert '"outcome": "ok"' in log
    assert '"http_status": 401' in log
    assert found_in(log) == []
    assert [hit for _, text in everything_stored(harmed.url) for hit in found_in(text)] == []


def test_no_temporary_file_of_a_rebuild_holds_a_secret(
    harmed: Harmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = open_engine(harmed.url)
    seen: list[tuple[str, str]] = []

    def look(done: int, of: int) -> None:
        if done == 1 or of - done < 3:
            for file in tmp_path.rglob("*"):
                if file.is_file():
                    seen.extend(texts_of(file.name, file.read_bytes()))
            seen.extend(open_files())

    rederive.rebuild(engine, "gcore", check_only=True, progress=look)
    engine.dispose()
    assert {"scratch.db", "scratch.db-wal"} <= {where for where, _ in seen}
    assert [(where, hit) for where, text in seen for hit in found_in(text)] == []
    assert list(tmp_path.rglob("*")) == []


def test_the_copy_before_an_upgrade_holds_no_secret(harmed: Harmed) -> None:
    engine = open_engine(harmed.url)
    copy = migrate.copy_before_upgrade(engine, "0000")
    engine.dispose()
    if copy is None:
        assert harmed.url.startswith("postgresql"), "there, nothing is copied"
        return
    found = [*texts_of(copy.name, copy.read_bytes()), *rows_of(f"sqlite:///{copy}")]
    assert any(where == "payloads.body" for where, _ in found)
    assert [(where, hit) for where, text in found for hit in found_in(text)] == []
    copy.unlink()


def test_the_traceback_of_a_bug_shows_no_secret(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with a row stays loud, and shows the row: as it was to be stored."""
    says_no = {
        "sqlite": ["CREATE TRIGGER no BEFORE INSERT ON regions BEGIN SELECT RAISE(ABORT, 'a bug'); END"],
        "postgresql": [
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'a bug' USING ERRCODE = 'check_violation'; END $$",
            "CREATE TRIGGER no BEFORE INSERT ON regions FOR EACH ROW EXECUTE FUNCTION no()",
        ],
    }
    with writing(engine) as connection:
        for statement in says_no[engine.dialect.name]:
            connection.exec_driver_sql(statement)
    url = engine.url
    if url.get_backend_name() == "postgresql":
        url = url.set(password=DATABASE_PASSWORD)
    with Server(reply(body=POISON)) as server:
        for name, value in by_proxy(server).items():
            monkeypatch.setenv(name, value)
        said = collector(
            "poll", database_url=url.render_as_string(hide_password=False), base_url=HOST, api_key=KEY
        )
    assert said.code == 1
    assert "a bug" in said.err
    assert "[redacted]" in said.err, "the row is shown"
    assert found_in(said.out + said.err) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "proxy",
    [
        f"http://user:{CANARY}@127.0.0.1:port",
        f"http://user:{CANARY}@[::1",
        f"http://user:{CANARY}@127.0.0.1:1\n",
        f"http://user:{CANARY}#x@127.0.0.1:1",
        f"http://{CANARY}/x@127.0.0.1:1",
        f"ftp://user:{CANARY}@127.0.0.1:1",
        f"socks5://user:{CANARY}@127.0.0.1:1",
        f"user:{CANARY}@127.0.0.1:1",
        f"user:a@{CANARY}@127.0.0.1:1",
        f"http://user:{CANARY}@127.0.0.1:1",
    ],
)
@pytest.mark.parametrize("command", ["poll", "doctor"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cant_be_used_does_not_show_its_password(
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    command: str,
    proxy: str,
) -> None:
    for each in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(each, raising=False)
        monkeypatch.delenv(each.upper(), raising=False)
    monkeypatch.setenv(name, proxy)
    path = tmp_path / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    settings = {"database_url": f"sqlite:///{path}", "base_url": HOST, "api_key": KEY, "interval": "1s"}
    said = collector(command, **settings)
    assert said.code in (1, 2)
    assert "Traceback" not in said.err
    assert found_in(said.out + said.err) == []
    if command == "doctor":
        assert f"{name} is set" in said.out
