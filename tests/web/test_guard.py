"""What stands before every answer."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from collector.database.engine import open_engine
from collector.errors import SettingsError
from collector.settings.models import Settings
from collector.web.data import WAITING, BusyError, Data
from collector.web.guard import HEADERS, MAX_TARGET, host_name
from tests.support.pages import Serve, serving

TOKEN = "a-token-of-twenty-four-c"


@pytest.fixture
def url(sqlite_template: Path) -> str:
    return f"sqlite:///{sqlite_template}"


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:8080", "10.1.2.3", "[::1]:9", "LOCALHOST.:1", "pages.example"]
)
def test_addresses_localhost_and_names_of_the_settings_are_ours(serve: Serve, url: str, host: str) -> None:
    client = serve(url, http_hosts=("pages.example",))
    assert client.get("/static/style.css", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "[::1", "localhost:x", "127.0.0.1.nip.io", "a b"]
)
def test_a_name_that_is_not_ours_is_refused(serve: Serve, url: str, host: str) -> None:
    said = serve(url).get("/static/style.css", headers={"host": host})
    assert said.status_code in (400, 421)


def test_what_is_no_host_has_no_name() -> None:
    assert [host_name(each) for each in ("", ":80", "[x]", "[::1]x", "a:b:c", "a:²")] == [None] * 6
    assert host_name("[::1]:80") == "::1"


def test_every_answer_says_what_a_browser_may_do_with_it(serve: Serve, url: str) -> None:
    client = serve(url)
    for path in ("/", "/static/style.css", "/nothing"):
        said = client.get(path)
        assert {name: said.headers.get(name) for name in HEADERS} == HEADERS
        assert "server" not in said.headers
    assert "unsafe-inline" not in HEADERS["content-security-policy"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_everything_only_reads(serve: Serve, url: str, method: str) -> None:
    said = serve(url).request(method, "/")
    assert (said.status_code, said.headers["allow"]) == (405, "GET, HEAD")


def test_long_addresses_and_bodies_are_refused(serve: Serve, url: str) -> None:
    client = serve(url)
    assert client.get("/", params={"q": "x" * MAX_TARGET}).status_code == 414
    assert client.request("GET", "/", content=b"a body").status_code == 413
    assert client.request("GET", "/", content=iter([b"a body"])).status_code == 413


def test_tokens_and_users_are_asked_for_and_only_health_is_open(
    serve: Serve, url: str, tmp_path: Path
) -> None:
    tokens, users = tmp_path / "tokens", tmp_path / "users"
    tokens.write_text(f"# for programs\n\n{TOKEN}\n")
    users.write_text("zoë:correct horse battery: staple\n")
    client = serve(url, http_token_file=tokens, http_users_file=users)

    def status(authorization: str | None, path: str = "/static/style.css") -> int:
        headers = {} if authorization is None else {"authorization": authorization}
        return client.get(path, headers=headers).status_code

    def basic(pair: str) -> str:
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    good = [
        f"Bearer {TOKEN}",
        f"bearer  {TOKEN}",
        basic(f"anybody:{TOKEN}"),
        basic("zoë:correct horse battery: staple"),
    ]
    bad = [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Token {TOKEN}",
        TOKEN,
        "Basic ???",
        basic(TOKEN),
        basic("zoë:"),
        basic("# for programs:x"),
    ]
    assert [status(each) for each in good] == [200] * len(good)
    assert [status(each) for each in bad] == [401] * len(bad)
    assert "Basic realm" in client.get("/").headers["www-authenticate"]
    twice = [("authorization", f"Bearer {TOKEN}")] * 2
    assert client.get("/", headers=twice).status_code == 401
    assert status(None, "/metrics") == 401
    assert status(None, "/healthz") != 401


def test_a_file_of_tokens_is_read_again_when_it_changes(serve: Serve, url: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    client = serve(url, http_token_file=tokens)

    def status(token: str) -> int:
        return client.get("/static/style.css", headers={"authorization": f"Bearer {token}"}).status_code

    new = "another-token-of-the-day"
    assert (status(TOKEN), status(new)) == (200, 401)
    tokens.write_text(new + "\n")
    assert (status(TOKEN), status(new)) == (401, 200)
    tokens.write_text("short")  # a mistake lets nobody in, and keeps nobody out
    assert (status(TOKEN), status(new), status("short")) == (401, 200, 401)
    tokens.unlink()
    assert status(new) == 200


@pytest.mark.parametrize(
    ("rule", "status"), [("open", (200, 404)), ("token", (401, 401)), ("off", (404, 404))]
)
def test_who_may_ask_for_health_and_metrics_is_a_setting(
    serve: Serve, url: str, tmp_path: Path, rule: str, status: tuple[int, int]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    client = serve(url, http_token_file=tokens, http_health=rule, http_metrics=rule)
    for path in ("/healthz", "/metrics"):
        assert client.get(path).status_code in status


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("# nothing", "is empty"),
        ("short", "line 1: a token needs at least"),
        (b"\xff\xfe\xff", "not text"),
    ],
)
def test_a_file_of_tokens_that_is_none_is_refused(tmp_path: Path, text: str | bytes, why: str) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError, match=why), serving("sqlite://", http_token_file=tokens):
        pass


def test_a_file_of_users_is_refused_without_repeating_what_stands_there(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("a-secret-without-a-user\n")
    with pytest.raises(SettingsError) as error, serving("sqlite://", http_users_file=users):
        pass
    assert "line 1: write user:password" in str(error.value)
    assert "a-secret" not in str(error.value)


def test_an_address_that_others_reach_needs_a_token_or_an_explicit_word(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="which others can reach"), serving(url, http_bind="0.0.0.0:0"):
        pass
    with serving(url, http_bind="0.0.0.0:0", http_unprotected=True) as client:
        assert client.get("/static/style.css").status_code == 200
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    with serving(url, http_bind="0.0.0.0:0", http_token_file=tokens) as client:
        assert client.get("/static/style.css").status_code == 401


def test_a_port_in_use_is_refused_in_one_line_that_says_what_to_do(url: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError) as error, serving(url, http_bind=bind):
            pass
    assert str(error.value).startswith(
        f"pages can't be served on {bind}: another program listens there; set "
    )


@pytest.mark.parametrize(
    "bind", ["8080", "127.0.0.1", ":8080", "::1:8080", "127.0.0.1:99999", "host:port", "a b:1"]
)
def test_an_address_that_is_none_is_refused(bind: str) -> None:
    with pytest.raises(ValueError, match="write an address and a port"):
        Settings(http_bind=bind)


def test_a_connection_that_does_not_ask_is_closed(
    serve: Serve, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.web.server.HEADER_SECONDS", 0.2)
    client = serve(url)
    with closing(socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=20)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")  # and nothing else
        assert slow.recv(100) == b""
    assert client.get("/static/style.css").status_code == 200


def test_what_is_more_than_can_wait_is_refused() -> None:
    """One is answered, eight wait, and the next one gets the answer to come again."""
    begun, over = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        over.wait(20)
        return "done"

    async def ask() -> list[object]:
        data = Data(lambda: open_engine("sqlite://"), threads=1)
        asked = [asyncio.create_task(data.run(work)) for _ in range(1 + WAITING)]
        await asyncio.to_thread(begun.wait, 20)
        with pytest.raises(BusyError):
            await data.run(work)
        over.set()
        found: list[object] = list(await asyncio.gather(*asked))
        found.append(await data.run(work))
        data.close()
        return found

    assert asyncio.run(ask()) == ["done"] * (2 + WAITING)


def test_those_who_wait_for_the_same_get_one_answer_to_a_question_that_began_after_they_came() -> None:
    begun, over, number = threading.Event(), threading.Event(), count(1)

    def work() -> int:
        begun.set()
        over.wait(20)
        return next(number)

    async def ask() -> list[object]:
        data = Data(lambda: open_engine("sqlite://"), threads=1)
        first = asyncio.create_task(data.run(work, "page"))
        await asyncio.to_thread(begun.wait, 20)
        rest = [asyncio.create_task(data.run(work, "page")) for _ in range(50)]  # more than can wait alone
        other = asyncio.create_task(data.run(work, "other"))
        await asyncio.sleep(0)
        rest[0].cancel()  # who gives up keeps nobody else from the answer
        over.set()
        found: list[object] = [await first, {await each for each in rest[1:]}, await other]
        found.append(await data.run(work, "page"))
        data.close()
        return found

    assert asyncio.run(ask()) == [1, {2}, 3, 4]
