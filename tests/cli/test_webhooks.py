"""`collector webhooks`, and what the documentation says of events: settings, and how to verify them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cloudevents.core.v1.event import CloudEvent

from collector.database.engine import open_engine
from collector.database.transactions import writing
from collector.errors import SettingsError
from collector.settings.loading import load
from collector.settings.origins import changes_that_wait, origins
from collector.store import outbox
from tests.support.builders import answer, body, region
from tests.support.command import Said, collector
from tests.support.history import History
from tests.support.loopback import Server, reply
from tests.support.paths import ROOT
from tests.support.receivers import OLD_SECRET, SECRET, Receiver, read
from tests.support.tools import tool

CANARY = "canary-0123456789abcdef"
Settings = dict[str, str]


def cloud(*states: str) -> Server:
    """An API whose only region goes through these states."""
    return Server(*(reply(body=body(answer([region(1, state)]))) for state in states))


def settings_of(url: str, hook: Receiver, **more: str) -> Settings:
    return {"database_url": url, "api_key": "k", "webhook_url": hook.url, "webhook_secret": SECRET, **more}


def polled(settings: Settings, *states: str) -> None:
    with cloud(*states) as server:
        for _ in states:
            said = collector("poll", **settings, base_url=server.url)
            assert said.code == 0, said


# The commands


def test_beside_cron_what_a_poll_brought_is_delivered_by_a_command(database_url: str, hook: Receiver) -> None:
    settings = settings_of(database_url, hook, public_url="https://collector.example/")
    polled(settings, "ACTIVE", "MAINTENANCE")
    assert hook.requests == []
    assert collector("webhooks", "deliver", **settings) == Said(0, "webhook: 1 delivered\n", "")
    (request,) = hook.requests
    event = read(request)
    assert isinstance(event, CloudEvent)
    assert event.get_data()["link"] == "https://collector.example/changes/gcore/2/region/1"
    assert collector("webhooks", "deliver", **settings) == Said(0, "webhook: nothing is due\n", "")
    assert collector("webhooks", "list", **settings).code == 0


def test_what_is_not_taken_is_listed_and_can_be_tried_again(sqlite_url: str, hook: Receiver) -> None:
    settings = settings_of(sqlite_url, hook)
    polled(settings, "ACTIVE", "MAINTENANCE", "DELETED")
    hook.status = 503
    said = collector("webhooks", "deliver", **settings)
    logged, words = said.err.splitlines()
    assert (said.code, said.out, words) == (1, "", "webhook: 1 not accepted, will be tried again")
    assert json.loads(logged)["event"] == "receiver_fails"
    said = collector("webhooks", "list", "--format", "json", **settings)
    (row,) = said.json
    assert said.code == 3
    assert (row["receiver"], row["waiting"], row["dead_letters"], row["failures"]) == ("webhook", 2, 0, 1)
    assert row["last_error"] == 'status 503: {"message": "not now"}'
    hook.status = 200
    assert collector("webhooks", "deliver", **settings).out == "webhook: nothing is due\n"
    said = collector("webhooks", "retry", "webhook", **settings)
    assert said.out == "0 dead letters queued again; everything that waits is due at once\n"
    assert collector("webhooks", "deliver", **settings).out == "webhook: 2 delivered\n"


def test_dead_letters_are_listed_with_their_events_and_sent_again(sqlite_url: str, hook: Receiver) -> None:
    settings = settings_of(sqlite_url, hook)
    polled(settings, "ACTIVE", "MAINTENANCE")
    engine = open_engine(sqlite_url)
    with writing(engine) as connection:
        connection.execute(
            sa.text(
                "UPDATE webhook_deliveries SET given_up_at = created_at, attempts = 30, last_error = 'status 500'"
            )
        )
    engine.dispose()
    assert collector("webhooks", "list", **settings).code == 3
    (letter,) = collector("webhooks", "list", "--dead", "--format", "json", **settings).json
    assert (letter["seq"], letter["ordinal"], letter["attempts"]) == (2, 2, 30)
    assert json.loads(letter["event"])["data"]["to_state"] == "MAINTENANCE"
    assert "status 500" in collector("webhooks", "list", "--dead", **settings).out
    elsewhere = collector("webhooks", "list", database_url=settings["database_url"])
    assert (elsewhere.code, "the settings of this command name no receiver" in elsewhere.err) == (3, True)
    assert collector("webhooks", "retry", "--observation", "3", **settings).out.startswith("0 dead letters")
    assert collector("webhooks", "retry", "--source", "gcore", **settings).out.startswith(
        "1 dead letter queued"
    )
    assert collector("webhooks", "deliver", "webhook", **settings).out == "webhook: 1 delivered\n"
    assert len(hook.taken) == 1


def test_a_receiver_is_tried_without_anything_happening(sqlite_url: str, hook: Receiver) -> None:
    settings = settings_of(sqlite_url, hook)
    assert collector("webhooks", "test", **settings) == Said(0, "webhook: accepted\n", "")
    event = read(hook.requests[0])
    assert event.get_type() == "gcore-collector.test"
    hook.status = 401
    said = collector("webhooks", "test", "webhook", **settings)
    assert (said.code, said.err) == (1, 'webhook: not accepted: status 401: {"message": "not now"}\n')


def test_a_receiver_that_cannot_be_used_is_named_once(sqlite_url: str, tmp_path: Path) -> None:
    settings = {"database_url": sqlite_url, "webhook_url": "https://x.example"}
    said = collector("webhooks", "test", **settings, webhook_secret_file=str(tmp_path / "none"))
    assert said.code == 1
    assert said.err.startswith("webhook: not accepted: the secret file ")
    assert said.err.count("webhook") == 1


def test_a_receiver_that_is_not_in_the_settings_is_refused_with_those_that_are(
    sqlite_url: str, hook: Receiver
) -> None:
    settings = settings_of(sqlite_url, hook)
    for command in ("test", "deliver", "list"):
        collector("webhooks", command, "other", **settings).refused(2, "'other'", "known are: webhook")
    none = {"database_url": sqlite_url}
    collector("webhooks", "deliver", **none).refused(2, "the settings name no receiver")
    assert collector("webhooks", "list", **none) == Said(
        0, "no events are sent: the settings name no receiver\n", ""
    )


def test_a_verification_that_fails_is_sent_if_that_is_asked_for(sqlite_url: str, hook: Receiver) -> None:
    settings = settings_of(sqlite_url, hook)
    polled(settings, "ACTIVE")
    assert collector("audit", "verify", "--tell", **settings).code == 0
    engine = open_engine(sqlite_url)
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE regions SET country = 'XX'"))
    assert collector("audit", "verify", **settings).code == 1
    assert History(engine).rows("webhook_deliveries") == []
    assert collector("audit", "verify", "--tell", **settings).code == 1
    engine.dispose()
    collector("webhooks", "deliver", **settings)
    (event,) = hook.taken
    assert event["type"] == "gcore-collector.verification_failed"
    assert "regions" in event["data"]["words"]
    without = {"database_url": sqlite_url}
    said = collector("audit", "verify", "--tell", **without)
    said.explains("the settings name no receiver")
    assert said.code == 1


def test_a_backup_tells_nobody_twice(sqlite_url: str, hook: Receiver, tmp_path: Path) -> None:
    settings = settings_of(sqlite_url, hook)
    polled(settings, "ACTIVE", "MAINTENANCE")
    copy = tmp_path / "backup.db"
    assert collector("db", "backup", str(copy), **settings).code == 0
    restored = settings | {"database_url": f"sqlite:///{copy}"}
    assert collector("webhooks", "deliver", **restored).out == "webhook: nothing is due\n"
    assert outbox.SET_ASIDE[:40] in collector("webhooks", "list", **restored).out
    assert collector("webhooks", "deliver", **settings).out == "webhook: 1 delivered\n"


def test_an_import_announces_nothing(sqlite_url: str, hook: Receiver, tmp_path: Path) -> None:
    for number, state in enumerate(("NEW", "ACTIVE"), 1):
        saved = tmp_path / "saved" / f"2026-05-0{number}T00:00:00Z.json"
        saved.parent.mkdir(exist_ok=True)
        saved.write_bytes(body(answer([region(1, state)])))
    settings = settings_of(sqlite_url, hook)
    assert collector("import", str(tmp_path / "saved"), "--source", "gcore", **settings).code == 0
    with cloud("ACTIVE", "MAINTENANCE") as server:
        for option in ("--accept-base-url", "--quiet"):
            assert collector("poll", option, **settings, base_url=server.url).code == 0
    assert collector("webhooks", "deliver", **settings).code == 0
    kinds = [event["type"].removeprefix("gcore-collector.") for event in hook.taken]
    assert kinds == ["gap_closed", "state_changed"]


def test_pages_are_served_at_another_address_where_there_are_receivers(hook: Receiver) -> None:
    settings = load({"COLLECTOR_WEBHOOK_URL": hook.url, "COLLECTOR_WEBHOOK_SECRET": SECRET})
    bound = settings.model_validate(settings.model_dump() | {"http_bind": "127.0.0.1:1"})
    assert bound.webhooks == settings.webhooks


# Settings


def test_receivers_stand_in_tables_and_one_in_variables(tmp_path: Path) -> None:
    (tmp_path / "new").write_text(SECRET)
    config = tmp_path / "collector.toml"
    config.write_text(f"""
        webhook_url = "https://one.example/hook"
        webhook_secret = "{OLD_SECRET}"
        public_url = "https://collector.example/"
        [[webhooks]]
        name = "two"
        url = "https://two.example/hook"
        secret_file = "new"
        kinds = ["drift"]
        sources = "gcore"
        give_up_after = "2d"
        [[webhooks]]
        name = "people"
        apprise = "mailto://user:{CANARY}@example.com"
        """)
    settings = load({"COLLECTOR_WEBHOOK_SECRET_FILE": str(tmp_path / "new")}, config)
    one, two, people = settings.webhooks
    assert [each.name for each in settings.webhooks] == ["webhook", "two", "people"]
    assert one.secret is None
    assert one.keys() == two.keys() != people.keys() == ()
    assert (two.kinds, two.sources, two.give_up_after.days) == (("drift",), ("gcore",), 2)
    assert settings.public_url == "https://collector.example"
    assert CANARY not in repr(settings) + str(settings)
    assert changes_that_wait(settings, load({}, None)) == ["COLLECTOR_PUBLIC_URL", "webhooks"]
    shown = {each.variable: each.value for each in origins({}, config)}
    assert shown["COLLECTOR_WEBHOOK_URL"] == shown["COLLECTOR_WEBHOOK_SECRET"] == "(not shown)"
    assert shown["COLLECTOR_WEBHOOK_KEEP"] == "2592000s"


URL = "url = 'https://one.example'\n"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (URL, "receiver w: it has no secret to sign with; make one with"),
        (URL + f"secret = '{CANARY}'", "receiver w: a secret is whsec_ and 24 to 64 random bytes"),
        (URL + f"secret = '{SECRET} {OLD_SECRET} {SECRET}'", "receiver w: write one secret, or"),
        (URL + f"secret = '{SECRET}'\nsecret_file = 'x'", "receiver w: secret and secret_file are both set"),
        (URL + "apprise = 'mailto://x'", "receiver w: give it a url (of a webhook) or an apprise URL"),
        ("", "receiver w: give it a url (of a webhook) or an apprise URL"),
        (f"url = 'ftp://{CANARY}'", "receiver w: url: write a URL like"),
        (f"apprise = '{CANARY}'", "receiver w: apprise: write an Apprise URL like"),
        (f"apprise = 'mailto://x'\nsecret = '{SECRET}'", "receiver w: messages to people are not signed"),
        (URL + "kinds = ['explosions']", "receiver w: kinds"),
        (URL + "timeout = '10m'", "receiver w: timeout"),
        (URL + "colour = 'red'", "there is no setting 'colour'"),
    ],
)
def test_a_receiver_that_cant_be_notified_is_refused_without_its_secrets(
    tmp_path: Path, table: str, why: str
) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(f"[[webhooks]]\nname = 'w'\n{table}")
    with pytest.raises(SettingsError) as raised:
        load({}, config)
    message = str(raised.value)
    assert why in message
    assert CANARY not in message
    assert SECRET not in message
    assert "\n" not in message


def test_two_receivers_of_one_name_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    one = f"[[webhooks]]\nname = 'w'\nurl = 'https://one.example'\nsecret = '{SECRET}'\n"
    config.write_text(one + one.replace("'w'", "'W'"))
    with pytest.raises(SettingsError, match="every receiver needs a name of its own"):
        load({}, config)


def test_the_doctor_looks_at_receivers_and_shows_none_of_their_secrets(
    sqlite_url: str, tmp_path: Path
) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(f"""
        [[webhooks]]
        name = "good"
        url = "https://x.example/{CANARY}"
        secret = "{SECRET}"
        [[webhooks]]
        name = "bad"
        url = "https://x.example/{CANARY}"
        secret_file = "missing.txt"
        """)
    asked = ("--config", str(config), "doctor", "--offline", "--settings")
    said = collector(*asked, database_url=sqlite_url, api_key="k")
    assert said.code == 1
    assert "receiver good: a webhook, its URL is not shown" in said.out
    assert "note  receiver good: it was not tried" in said.out
    assert re.search(r"bad +receiver bad: the secret file .*missing.txt can't be used", said.out)
    assert CANARY not in said.out + said.err
    assert SECRET not in said.out + said.err


# The page docs/events.md

PAGE = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    (found,) = [b for b in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if containing in b]
    return str(found)


@pytest.fixture
def request_of_the_page(hook: Receiver) -> Any:
    assert collector("webhooks", "test", webhook_url=hook.url, webhook_secret=SECRET).code == 0
    return hook.requests[0]


def test_the_python_of_the_page_tells_a_genuine_request_from_a_forged_one(request_of_the_page: Any) -> None:
    names: dict[str, Any] = {}
    exec(block("python", "is_genuine"), names)  # noqa: S102 - what the documentation tells people to run
    headers, sent = dict(request_of_the_page.headers), request_of_the_page.body
    assert names["is_genuine"](SECRET, headers, sent)
    assert not names["is_genuine"](OLD_SECRET, headers, sent)
    assert not names["is_genuine"](SECRET, headers, sent + b" ")
    assert not names["is_genuine"](SECRET, headers | {"webhook-timestamp": "1"}, sent)


def test_the_shell_of_the_page_prints_the_signature(request_of_the_page: Any, tmp_path: Path) -> None:
    tool("openssl", package="openssl")
    headers = request_of_the_page.headers
    (tmp_path / "body.json").write_bytes(request_of_the_page.body)
    given = {"SECRET": SECRET, "ID": headers["webhook-id"], "TIMESTAMP": headers["webhook-timestamp"]}
    done = subprocess.run(
        ["sh", "-c", block("sh", "openssl dgst")],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", **given},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.strip() == headers["webhook-signature"]


def test_the_secret_that_the_page_makes_is_one(tmp_path: Path) -> None:
    tool("openssl", package="openssl")
    line = block("sh", "openssl rand").splitlines()[0]
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    file = tmp_path / "secrets" / "hook"
    assert file.stat().st_mode & 0o777 == 0o600
    settings = load(
        {"COLLECTOR_WEBHOOK_URL": "https://x.example", "COLLECTOR_WEBHOOK_SECRET_FILE": str(file)}
    )
    assert len(settings.webhooks[0].keys()[0]) == 32


def test_the_settings_of_the_page_are_taken(tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(block("toml", "[[webhooks]]"))
    assert [each.name for each in load({}, config).webhooks] == ["inventory", "on-call"]


def test_the_example_of_the_page_is_an_event_as_it_is_sent(sqlite_engine: sa.Engine) -> None:
    from collector.service.webhooks.announcing import Announcer

    told = Announcer([Receiver.configured("https://x.example")], "https://collector.example")
    history = History(sqlite_engine, announce=told)
    names = {"display_name": "Luxembourg-2", "slug": "luxembourg-2"}
    history.poll([region(36, **names)])
    history.poll([region(36, "MAINTENANCE", **names)])
    sent = json.loads(history.row("webhook_deliveries")["event"])
    shown = json.loads(block("json", "specversion"))
    for each in (sent, shown):
        del each["id"], each["data"]["head"]  # the fingerprint of the key has a salt
        each["data"]["cursor"] = each["data"]["cursor"].partition("_")[0]
    assert shown == sent
