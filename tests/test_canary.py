"""Secrets never land: canaries go through real polls, and are then looked for everywhere.

A canary is a secret that stands nowhere else. All of them begin with the same word, so that one search
finds any of them, whole or cut.
"""

from __future__ import annotations

import re
import traceback
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.errors import CollectorError, SettingsError
from collector.gcore.client import Answer, Client, Exchange, Request
from collector.poll import open_writer, poll
from collector.settings import Source, load
from collector.store import lease
from collector.store.engine import open_engine, reading
from collector.store.tables import metadata
from tests.builders import answer, body, keystone, metrics_database, region
from tests.loopback import Server, error, reply
from tests.test_cli import collector, process

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
    return answer([first, strange, refused], meta={"auth": SECRET_FIELDS}, next_page_token=canary("envelope"))


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


def everything_stored(url: str) -> Iterator[tuple[str, str]]:
    """All texts of a database, with where they stand; answers also as they were before compression."""
    engine = open_engine(url)
    with reading(engine) as connection:
        for table in metadata.tables.values():
            for row in connection.execute(sa.select(table)).mappings():
                for column, value in row.items():
                    if isinstance(value, bytes):
                        yield f"{table.name}.{column}", zlib.decompress(value).decode()
                        value = value.decode("latin-1")
                    yield f"{table.name}.{column}", str(value)
    engine.dispose()
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        files = sorted(path.parent.iterdir())
        assert path in files
        for file in files:
            yield file.name, file.read_bytes().decode("latin-1")
            yield f"{file.name} as UTF-16", file.read_bytes().decode("utf-16-le", "replace")


@pytest.fixture
def own_folder(database_url: str, tmp_path: Path) -> str:
    """The database; a file has a folder for itself."""
    if not database_url.startswith("sqlite"):
        return database_url
    folder = tmp_path / "database"
    folder.mkdir()
    Path(database_url.removeprefix("sqlite:///")).rename(folder / "collector.db")
    return f"sqlite:///{folder / 'collector.db'}"


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
