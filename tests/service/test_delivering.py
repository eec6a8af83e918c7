"""Delivery to receivers: signed, in order, at least once; and what happens if a receiver does not accept an event."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import sqlalchemy as sa
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError
from structlog.testing import LogCapture, ReturnLogger

from collector.clock import utc_now
from collector.database.transactions import writing
from collector.errors import SettingsError
from collector.reports.outbox import receivers as receivers_of
from collector.service.webhooks.announcing import Announcer
from collector.service.webhooks.companion import LONGEST_WAIT, Webhooks, clean, tellers_of
from collector.service.webhooks.delivering import LONGEST_PAUSE, Deliverer, pause_after
from collector.service.webhooks.once import deliver_once
from collector.service.webhooks.sending import Tell
from collector.service.webhooks.signing import headers_of
from collector.settings.loading import load
from collector.store import outbox
from collector.store.tables import webhook_queues
from tests.support.builders import region
from tests.support.history import NOON, History
from tests.support.loopback import Peer, Server, drip, head, raw, reset
from tests.support.receivers import OLD_SECRET, SECRET, Receiver, read
from tests.support.services import until

DAY = timedelta(days=1)


def teller_of(receiver: Any) -> Tell:
    (tell,) = tellers_of([receiver])
    return tell


def silence(peer: Peer) -> None:
    """Not a byte, until the server stops."""
    peer.rest(60)


class Stage:
    """A source whose region changes, and what delivers what that brings."""

    def __init__(self, engine: sa.Engine, *receivers: Any, names: tuple[str, ...] = ("gcore",)) -> None:
        self.engine, self.receivers = engine, receivers
        self.now = NOON + timedelta(hours=1)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.histories = {n: History(engine, n, announce=Announcer(receivers)) for n in names}
        for history in self.histories.values():
            history.poll([region(1)])

    def change(self, times: int = 1, source: str = "gcore") -> None:
        """A number of observations with two events each."""
        history = self.histories[source]
        for _ in range(times):
            state = f"S{len(history.rows('observations'))}"
            history.poll([region(1, state), region(2, state)][: 1 if state == "S0" else 2])

    def deliverer(self, receiver: Any = None, owner: str = "me") -> Deliverer:
        receiver = receiver or self.receivers[0]

        def count(name: str, outcome: str, times: int) -> None:
            self.counts[name, outcome] += times

        return Deliverer(
            self.engine, receiver, teller_of(receiver), owner, clock=lambda: self.now, count=count
        )

    def rows(self, **where: Any) -> list[dict[str, Any]]:
        rows = next(iter(self.histories.values())).rows("webhook_deliveries", **where)
        return sorted(rows, key=lambda row: (row["receiver"], row["source_id"], row["seq"], row["ordinal"]))

    def later(self, **more: float) -> None:
        self.now += timedelta(**more)


def places(events: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return [(e["data"]["source"], e["data"]["seq"], e["data"]["ordinal"]) for e in events]


@pytest.fixture(autouse=True)
def a_round_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round ends after a second, and the next one delivers the rest: on a busy machine, that is after few events."""
    monkeypatch.setattr("collector.service.webhooks.delivering._SETTLE_SECONDS", 60.0)


# What is sent


def test_others_can_verify_and_read_what_we_send(engine: sa.Engine) -> None:
    with Receiver() as hook:
        stage = Stage(engine, hook.settings())
        stage.change(3)
        assert stage.deliverer().round()
        assert not stage.deliverer().round()
    assert len(hook.requests) > 5
    for request, row in zip(hook.requests, stage.rows(), strict=True):
        event = read(request)
        assert request.body.decode() == row["event"]
        assert event.get_id() == request.headers["webhook-id"] == json.loads(row["event"])["id"]
        assert (event.get_source(), event.get_type()) == ("urn:gcore-collector:gcore", row["type"])
        assert event.get_datacontenttype() == "application/json"
        assert event.get_time() == datetime.fromisoformat(event.get_data()["observed_at"])
        assert (row["attempts"], row["delivered_at"]) == (1, stage.now)
        with pytest.raises(WebhookVerificationError):
            Verifier(OLD_SECRET).verify(request.body, dict(request.headers))
        with pytest.raises(WebhookVerificationError):
            Verifier(SECRET).verify(request.body.replace(b"gcore", b"other"), dict(request.headers))
    assert stage.counts == {("hook", "delivered"): len(hook.requests)}


def test_a_round_records_what_was_delivered_when_its_time_is_over(
    sqlite_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.service.webhooks.delivering._SETTLE_SECONDS", 0.0)
    with Receiver() as hook:
        stage = Stage(sqlite_engine, hook.settings())
        stage.change(3)
        events = len(stage.rows())
        for done in range(1, events + 1):
            assert stage.deliverer().round()
            assert [row["delivered_at"] is not None for row in stage.rows()].count(True) == done
        assert not stage.deliverer().round()
    assert len(hook.requests) == events > 3


def test_two_secrets_while_one_is_rotated(sqlite_engine: sa.Engine, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n{OLD_SECRET}\n")
    with Receiver() as hook:
        stage = Stage(sqlite_engine, hook.settings(secret=None, secret_file=file))
        deliverer = stage.deliverer()
        stage.change()
        deliverer.round()
        both = hook.requests[-1]
        file.write_text(SECRET)
        stage.change()
        deliverer.round()
        new = hook.requests[-1]
        file.write_text("whsec_short")
        stage.change()
        deliverer.round()
        assert hook.requests[-1] is new
    read(both, SECRET), read(both, OLD_SECRET), read(new, SECRET)
    with pytest.raises(WebhookVerificationError):
        read(new, OLD_SECRET)
    waiting = [row for row in stage.rows() if row["delivered_at"] is None]
    assert "24 to 64 random bytes" in waiting[0]["last_error"]
    assert "short" not in waiting[0]["last_error"]


def test_a_signature_is_as_standard_webhooks_has_it() -> None:
    at = datetime.fromisoformat("2026-11-30T10:00:00+00:00")
    headers = headers_of([b"a secret of thirty-two bytes len"], "1-2-abc", at, b'{"a":"\xc3\xa9"}')
    signed = Verifier(SECRET).sign("1-2-abc", at, '{"a":"é"}')
    assert headers == {
        "webhook-id": "1-2-abc",
        "webhook-timestamp": "1796032800",
        "webhook-signature": signed,
    }


def test_the_id_stays_and_the_signature_is_new_when_an_event_is_tried_again(engine: sa.Engine) -> None:
    with Receiver(503) as hook:
        stage = Stage(engine, hook.settings())
        stage.change()
        deliverer = stage.deliverer()
        deliverer.round()
        hook.status = 204
        stage.later(hours=1)
        until(lambda: int(utc_now().timestamp()) > int(hook.requests[0].headers["webhook-timestamp"]))
        deliverer.round()
    first, second = hook.requests[:2]
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    read(second)
    assert stage.rows()[0]["attempts"] == 2


# Refusals


def test_an_event_that_is_refused_holds_up_what_follows_it_of_its_source_alone(engine: sa.Engine) -> None:
    def decide(event: dict[str, Any]) -> int:
        return 500 if event["data"]["source"] == "b" and event["data"]["seq"] == 2 else 200

    with Receiver(decide=decide) as hook:
        stage = Stage(engine, hook.settings(), names=("b", "a"))
        for source in ("b", "a", "b", "a"):
            stage.change(source=source)
        deliverer = stage.deliverer()
        while deliverer.round():
            pass
        assert {event["data"]["source"] for event in hook.taken} == {"a"}
        hook.decide = None
        stage.later(minutes=1)
        while deliverer.round():
            pass
    for source in ("a", "b"):
        told = [place for place in places(hook.taken) if place[0] == source]
        assert told == sorted(told)
        assert (
            len(told)
            == len(set(told))
            == len([r for r in stage.rows() if r["source_id"] == (2 if source == "a" else 1)])
        )


def test_pauses_grow_to_an_hour_and_differ_by_chance() -> None:
    assert [pause_after(n, lambda: 1.0) for n in (1, 2, 3, 7, 50, 10_000)] == [5, 15, 45, 3600, 3600, 3600]
    assert pause_after(3, lambda: 0.0) == 45 * 0.75
    assert len({pause_after(3) for _ in range(20)}) > 1


def test_an_event_is_given_up_after_a_day_and_then_the_next_has_its_turn(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = LogCapture()
    monkeypatch.setattr(
        "collector.service.webhooks.delivering.log", structlog.wrap_logger(ReturnLogger(), [heard])
    )
    with Receiver(decide=lambda event: 500 if places([event])[0][1:] == (2, 2) else 200) as hook:
        stage = Stage(engine, hook.settings())
        stage.change(2)
        deliverer, began = stage.deliverer(), stage.now
        while deliverer.round() or stage.rows()[0]["given_up_at"] is None:
            stage.later(minutes=30)
        deliverer.round()
    dead, *others = stage.rows()
    assert DAY <= dead["given_up_at"] - began <= DAY + timedelta(hours=1, minutes=30)
    assert dead["last_error"] == 'status 500: {"message": "not now"}'
    assert 20 < dead["attempts"] < 40
    assert places(hook.taken) == [("gcore", row["seq"], row["ordinal"]) for row in others]
    assert {row["delivered_at"] is None for row in others} == {False}
    failed = dead["attempts"] - 1
    assert stage.counts == {
        ("hook", "given_up"): 1,
        ("hook", "failed"): failed,
        ("hook", "delivered"): len(others),
    }
    said = [line["event"] for line in heard.entries]
    assert (said.count("dead_letter"), said.count("receiver_fails")) == (1, 1)
    with stage.engine.connect() as connection:
        (standing,) = receivers_of(connection, ["hook"])
    assert (standing["waiting"], standing["dead_letters"], standing["failures"]) == (0, 1, 0)
    assert standing["last_error"] == dead["last_error"]

    assert outbox.retry(engine, "nobody") == outbox.retry(engine, "hook", seq=3) == 0
    assert outbox.retry(engine, "hook", source_id=1, seq=2) == 1
    with Receiver() as again:
        stage.deliverer(again.settings()).round()
    assert places(again.taken) == [("gcore", 2, 2)]


def test_what_waits_for_a_dead_receiver_dies_a_day_after_it_happened_not_one_a_day(
    sqlite_engine: sa.Engine,
) -> None:
    with Receiver(500) as hook:
        stage = Stage(sqlite_engine, hook.settings())
        stage.change(5)
        deliverer = stage.deliverer()
        for _ in range(26):
            while deliverer.round():
                pass
            stage.later(hours=1)
        stage.histories["gcore"].at = (stage.now - NOON).total_seconds()
        stage.change()
        while deliverer.round():
            pass
    rows = stage.rows()
    assert [row["given_up_at"] is not None for row in rows] == [row["seq"] < 7 for row in rows]
    assert {row["seq"] for row in rows} == set(range(2, 8))


def test_a_receiver_that_asks_for_peace_gets_it(sqlite_engine: sa.Engine) -> None:
    with Receiver(429, headers={"Retry-After": "600"}) as hook:
        stage = Stage(sqlite_engine, hook.settings())
        stage.change()
        stage.deliverer().round()
        (queue,) = stage.histories["gcore"].rows("webhook_queues")
        assert queue["next_try_at"] == stage.now + timedelta(seconds=600)
        assert (queue["failures"], queue["failing_since"]) == (1, stage.now)
    with Receiver(429, headers={"Retry-After": "999999999"}) as hook:
        stage.later(minutes=10)
        stage.deliverer(hook.settings()).round()
        (queue,) = stage.histories["gcore"].rows("webhook_queues")
        assert queue["next_try_at"] == stage.now + timedelta(seconds=LONGEST_PAUSE)
    with Receiver(
        429, headers={"Retry-After": format_datetime(utc_now() + timedelta(seconds=1800), usegmt=True)}
    ) as hook:
        stage.later(hours=2)
        stage.deliverer(hook.settings()).round()
        (queue,) = stage.histories["gcore"].rows("webhook_queues")
        assert timedelta(seconds=1740) < queue["next_try_at"] - stage.now <= timedelta(seconds=1800)


def test_a_clock_that_is_set_back_keeps_nobody_waiting_for_years(sqlite_engine: sa.Engine) -> None:
    with Receiver(500) as hook:
        stage = Stage(sqlite_engine, hook.settings())
        stage.change()
        stage.later(days=1000)
        stage.deliverer().round()
        stage.later(days=-999)
        stage.deliverer().round()
        assert len(hook.requests) == 2
        (queue,) = stage.histories["gcore"].rows("webhook_queues")
        assert queue["failing_since"] == stage.now
        stage.later(days=1)
        stage.deliverer().round()
        assert stage.rows()[0]["given_up_at"] == stage.now


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (reset, "the connection broke"),
        (silence, "no answer within 1 s"),
        (drip(head(200)[:-2], b"x: y\r\n"), "no answer within 1 s"),
        (raw(b"SSH-2.0-x\r\n"), "the connection broke"),
        (raw(head(302, [("Location", "http://127.0.0.1:1/elsewhere")])), "status 302"),
        *(
            (raw(head(302, [("Location", each)]) + b"no"), "status 302")
            for each in ("http://[", "mailto:a@b.example", "http://xn--\xe2.example/", "http://a\x01b/", "")
        ),
        (raw(head(429, [("Location", "mailto:x"), ("Retry-After", "9")])), "status 429"),
    ],
)
def test_what_a_receiver_does_wrong_ends_in_time_and_in_words(step: Any, why: str) -> None:
    with Server(step) as server:
        settings = Receiver.configured(
            f"{server.url}/canary-0123456789abcdef?token=canary-0123", timeout="1s"
        )
        began = monotonic()
        outcome = teller_of(settings)('{"id": "1"}')
        assert monotonic() - began < 5
    assert outcome.why is not None
    assert outcome.why.startswith(why)
    assert "canary" not in outcome.why


def test_no_error_shows_what_a_receiver_says_of_its_own_secrets(sqlite_engine: sa.Engine) -> None:
    body = b'{"error": "no hook canary-0123456789abcdef here", "token": "canary-0123456789abcdef"}'
    step = raw(head(404, [("Content-Length", str(len(body)))]) + body)
    with Server(step) as server:
        settings = Receiver.configured(f"{server.url}/services/canary-0123456789abcdef")
        why = teller_of(settings)('{"id": "1"}').why
        assert why is not None
        assert why.startswith("status 404")
        assert "canary-0123456789abcdef" not in why + repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", f"wrong signature: expected one with {SECRET}"),
        ("", f"wrong signature: expected one with {SECRET.removeprefix('whsec_')}"),
        ("?key=can%C3%A4ry%23w", "the key can\u00e4ry#w is unknown"),
    ],
)
def test_no_error_repeats_what_a_receiver_knows(path: str, said: str) -> None:
    body = said.encode()
    with Server(raw(head(403, [("Content-Length", str(len(body)))]) + body)) as server:
        why = teller_of(Receiver.configured(server.url + "/" + path))('{"id": "1"}').why
    assert why is not None
    assert why.startswith("status 403: ")
    assert "[redacted]" in why
    assert SECRET[6:20] not in why
    assert "ry#w" not in why


@pytest.mark.parametrize(
    "url",
    [
        "http://hook.example:99999/canary",
        "http://hook.example:canary/",
        "http://hook.example:0/canary",
        "http://[::1/canary",
        "http://[canary]/",
        "http://user:canary@/hook",
        "http://:80/canary",
        "http://canary..example/",
        f"http://canary{'a' * 60}.example/",
        "http://hook.example/canary\x7f",
        "http://hook.example/canary\ud800",
        "https:///canary",
        "ftp://hook.example/canary",
    ],
)
def test_a_url_to_which_nothing_can_be_sent_is_refused_without_being_shown(url: str, tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text(
        f'[[webhooks]]\nname = "hook"\nurl = {json.dumps(url.replace(chr(0xD800), chr(0x7F)))}\nsecret = "{SECRET}"\n'
    )
    with pytest.raises(SettingsError) as raised:
        load({}, file)
    assert "write a URL like https://host.example/path" in str(raised.value)
    assert "canary" not in str(raised.value)
    with pytest.raises(ValueError, match="write a URL like"):
        Receiver.configured(url)


def certified(folder: Path, *, name: str, days: int) -> ssl.SSLContext:
    """A server's certificate, signed by itself. `days`: until it ends."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), 1, now - timedelta(days=9), now + timedelta(days=days)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "server.pem", folder / "server.key"
    pem.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return context


@pytest.mark.parametrize(
    ("name", "days", "is_trusted", "why"),
    [
        ("localhost", 9, True, None),
        ("localhost", 9, False, "its certificate is not signed by an authority that is trusted here"),
        ("localhost", -1, True, "its certificate has expired"),
        ("canary.example", 9, True, "its certificate is of another host"),
    ],
)
def test_a_certificate_that_can_t_be_trusted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, days: int, is_trusted: bool, why: str | None
) -> None:
    tls = certified(tmp_path, name=name, days=days)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    with Server(raw(head(204)), tls=tls) as server:
        url = f"https://localhost:{server.port}/canary"
        said = teller_of(Receiver.configured(url))('{"id": "1"}').why
    if why is None:
        assert said is None
    else:
        assert str(said).startswith(f"no connection: {why}")
        assert "canary" not in str(said)


def test_a_receiver_that_does_not_speak_tls_and_a_proxy_that_refuses_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Server(raw(b"HTTP/1.1 200 OK\r\n\r\nno TLS from here on")) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
        why = teller_of(Receiver.configured("https://hook.example/canary"))('{"id": "1"}').why
        via = "no connection (by the proxy of HTTPS_PROXY)"
        assert why == f"{via}: TLS failed, perhaps because it is not spoken there"
    with Server(raw(b"HTTP/1.1 407 canary\r\n\r\n")) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary@127.0.0.1:{server.port}")
        why = teller_of(Receiver.configured("https://hook.example/canary"))('{"id": "1"}').why
        assert why == "no connection: the proxy refused it"
    monkeypatch.setenv("HTTPS_PROXY", "http://user:canary@127.0.0.1:1")
    why = teller_of(Receiver.configured("https://hook.example/canary"))('{"id": "1"}').why
    assert why == "no connection (by the proxy of HTTPS_PROXY)"


def test_nobody_there_is_said_without_the_url() -> None:
    why = teller_of(Receiver.configured("http://127.0.0.1:1/canary"))('{"id": "1"}').why
    assert why == "no connection"


# Several at once


def test_only_one_process_tells_a_receiver_of_a_source_at_a_time(engine: sa.Engine) -> None:
    with Receiver() as hook:
        stage = Stage(engine, hook.settings())
        stage.change()
        mine = outbox.claim(engine, "hook", 1, "me")
        assert mine is not None
        assert outbox.claim(engine, "hook", 1, "other") is None
        assert outbox.due(engine, "hook", stage.now) == []
        assert not stage.deliverer(owner="other").round()
        with writing(engine) as connection:  # the process was stopped for longer than its claim
            past = utc_now() - timedelta(hours=1)
            connection.execute(sa.update(webhook_queues).values(claimed_until=past))
        assert outbox.claim(engine, "hook", 1, "other") is not None
        told = outbox.Told(outbox.first_waiting(engine, mine, 1))
        assert not outbox.settle(engine, mine, told, stage.now)
        assert [row["delivered_at"] for row in stage.rows()] == [None] * len(stage.rows())


@pytest.mark.long
def test_many_threads_deliver_everything_in_order_and_once(engine: sa.Engine) -> None:
    with Receiver() as hook:
        stage = Stage(engine, hook.settings(), names=("a", "b", "c"))
        for name in stage.histories:
            stage.change(3, source=name)
        deliverers = [stage.deliverer(owner=f"p{n}") for n in range(4)]

        def work(deliverer: Deliverer) -> None:
            while outbox.due(engine, "hook", stage.now):
                deliverer.round()

        threads = [threading.Thread(target=work, args=(each,)) for each in deliverers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    told = places(hook.taken)
    assert len(told) == len(set(told)) == len(stage.rows())
    for name in stage.histories:
        of_source = [place for place in told if place[0] == name]
        assert of_source == sorted(of_source)


@contextmanager
def beside(engine: sa.Engine, *receivers: Any, **more: Any) -> Iterator[Webhooks]:
    """The threads that deliver beside a service."""
    options: dict[str, Any] = {"keep": DAY, "sources": lambda: (), "count": lambda *_: None}
    running = Webhooks(engine, Announcer(receivers), "me", **(options | more))
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.long
def test_a_receiver_that_hangs_delays_neither_a_poll_nor_another_receiver(engine: sa.Engine) -> None:
    with Receiver() as good, Receiver() as slow, Server(silence) as dead:
        slow.seconds = 0.1
        stage = Stage(
            engine,
            good.settings("good"),
            slow.settings("slow"),
            Receiver.configured(dead.url, name="dead", timeout="30s"),
        )
        with beside(engine, *stage.receivers) as running:
            stage.change()
            running._ring()
            until(lambda: dead.requests)
            stage.change(3)  # polls are written while one hangs
            running._ring()
            until(lambda: len(good.taken) == len(stage.rows(receiver="good")))
            assert len(slow.taken) < len(good.taken)
            until(lambda: len(slow.taken) == len(stage.rows(receiver="slow")))
            began = monotonic()
        assert monotonic() - began < 3
    for thread in running._threads:
        thread.join(30)
    assert places(good.taken) == places(slow.taken)
    assert {row["delivered_at"] for row in stage.rows(receiver="dead")} == {None}


def test_what_came_to_an_end_long_ago_is_forgotten(engine: sa.Engine) -> None:
    with Receiver() as hook:
        stage = Stage(engine, hook.settings(), hook.settings("gone"))
        stage.change()
        stage.deliverer().round()
        kept = len(stage.rows())
        clean(engine, ["hook"], timedelta(hours=1), lambda: stage.now)
        assert len(stage.rows()) == kept
        clean(engine, ["hook"], timedelta(hours=1), lambda: stage.now + timedelta(hours=2))
        assert {row["receiver"] for row in stage.rows()} == {"gone"}
        stage.now += LONGEST_WAIT + DAY
        clean(engine, ["gone", "hook"], DAY, lambda: stage.now)
        assert {row["given_up_at"] for row in stage.rows()} == {None}
        clean(engine, ["hook"], DAY, lambda: stage.now)
        assert {row["last_error"] for row in stage.rows()} == {
            "not delivered: its receiver is in the settings of no process"
        }
        assert len(stage.histories["gcore"].rows("webhook_queues")) == 1
        clean(engine, ["other"], DAY, lambda: stage.now + 2 * DAY)
        assert stage.rows() == stage.histories["gcore"].rows("webhook_queues") == []


def test_no_question_about_the_outbox_reads_what_was_delivered(sqlite_engine: sa.Engine) -> None:
    """There may be a month of it. Else metrics, pages, each look for work and each cleaning would read it all."""
    with Receiver() as hook:
        stage = Stage(sqlite_engine, hook.settings())
        stage.change(3)
        stage.deliverer().round()
    asked: list[tuple[str, Any]] = []

    def on_statement(_c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "webhook_deliveries" in statement:
            asked.append((statement, parameters))

    sa.event.listen(sqlite_engine, "before_cursor_execute", on_statement)
    with sqlite_engine.connect() as connection:
        receivers_of(connection, ["hook"])
    outbox.due(sqlite_engine, "hook", stage.now)
    clean(sqlite_engine, ["hook"], DAY, lambda: stage.now)
    sa.event.remove(sqlite_engine, "before_cursor_execute", on_statement)
    assert len(asked) > 6
    with sqlite_engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            steps = [row[3] for row in plan if "webhook_deliveries" in row[3]]
            assert steps, statement
            assert all(" INDEX ix_" in step or "SEARCH" in step for step in steps), (statement, steps)


# People


@pytest.mark.long  # Apprise imports all that it knows
def test_people_get_a_message_by_apprise(sqlite_engine: sa.Engine) -> None:
    with Receiver() as chat:
        where = chat.url.removeprefix("http://")
        people = Receiver.people(f"json://{where}")
        stage = Stage(sqlite_engine, people)
        stage.change(2)
        counts = deliver_once(sqlite_engine, [people], Announcer([people]), [], DAY)
        assert counts == {"people": {"delivered": 2}}
        assert [message["title"] for message in (request.event for request in chat.requests)] == [
            row["title"] for row in (json.loads(row["event"]) for row in stage.rows())
        ]
        assert chat.requests[0].event["message"].startswith("Region 1 went from ACTIVE to S1")
        chat.status = 500
        stage.change()
        assert deliver_once(sqlite_engine, [people], Announcer([people]), [], DAY) == {
            "people": {"failed": 1}
        }
    assert stage.rows()[-1]["last_error"] == "the service did not accept the message"


@pytest.mark.long
def test_no_level_of_the_log_shows_an_address_of_people(tmp_path: Path) -> None:
    """Apprise's libraries log requests with their paths."""
    script = """
import sys
from collector import logs
from collector.service.webhooks.people import People
from collector.receivers import Receiver
logs.configure(form="json", level="debug")
logs.logger("collector.test").debug("ours")
people = People(Receiver(name="people", apprise=sys.argv[1]))
print(people('{"title": "t", "body": "b", "notify_type": "info"}').why)
"""
    with Receiver() as chat:
        where = f"json://user:canarypw@{chat.url.removeprefix('http://')}/canary-path"
        done = subprocess.run(
            [sys.executable, "-c", script, where], capture_output=True, text=True, check=True
        )
        assert len(chat.requests) == 1
    assert done.stdout == "None\n"
    assert '"event": "ours"' in done.stderr
    assert "canary" not in done.stderr


@pytest.mark.long
def test_an_apprise_url_that_nobody_knows_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError) as raised:
        teller_of(Receiver.people("nothing://canary"))
    assert str(raised.value) == "receiver people: apprise is not a URL that Apprise knows"
