"""Anchors: what is given away, what is recorded of it, and that what was altered since is found."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from collector.anchors import Anchor
from collector.audit.anchoring import timestamps
from collector.audit.anchoring.outside import Outside, outside_of
from collector.audit.anchoring.record import INTERRUPTED, Last, is_due, last_anchored, make
from collector.audit.anchoring.signing import Signer, signer_of
from collector.audit.findings import Findings, Verification
from collector.audit.verify import verify
from collector.audit.words import break_in_words
from collector.database.transactions import writing
from collector.errors import SettingsError
from collector.inventory import chain, statement
from collector.store.pruning import prune
from collector.store.tables import anchors, observations
from tests.support import loopback
from tests.support.authority import Authority
from tests.support.builders import region
from tests.support.command import collector
from tests.support.history import History

ONE = [region(1)]
TWO = [region(1, "MAINTENANCE")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def history(sqlite_engine: sa.Engine) -> History:
    history = History(sqlite_engine)
    for said in (ONE, ONE, TWO):
        history.poll(said)
    return history


@pytest.fixture
def disk(tmp_path: Path) -> Anchor:
    return Anchor(name="disk", to=f"file:{tmp_path}/heads")  # type: ignore[arg-type]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "signing.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)
    return path


def anchored(history: History, anchor: Anchor, at: float, signer: Signer | None = None) -> Any:
    made = make(history.engine, "gcore", anchor, signer, clock=lambda: history.time(at))
    assert made is not None
    return made


def verified(history: History, outside: Outside) -> Verification:
    return verify(history.engine, "gcore", outside=outside)


def found(history: History, outside: Outside) -> str:
    """The findings of an altered history, in one text."""
    checked = verified(history, outside)
    assert checked.verdict == "altered"
    return "; ".join(f"{b.table} {dict(b.key)} {b.field}: {b.why}" for b in checked.breaks)


def edit(history: History, table: sa.Table, where: dict[str, Any], **values: Any) -> None:
    with writing(history.engine) as connection:
        connection.execute(sa.update(table).filter_by(**where).values(**values))


def test_a_file_is_given_a_line_that_covers_the_open_observation(history: History, disk: Anchor) -> None:
    made = anchored(history, disk, 200)
    (line,) = Path(disk.place).read_text().splitlines()
    said = json.loads(line)
    row = history.row("observations", source_id=1, seq=2)
    assert (said["seq"], said["head"], said["polls"]) == (2, row["opening_digest"], 1)
    assert said["value"] == made.value == statement.value_of(said)
    assert made.outcome == "anchored"
    checked = verified(history, outside_of([disk]))
    (place,) = checked.anchored
    assert (checked.verdict, checked.proven_seq) == ("good", 2)
    assert (place.anchored, place.proof, place.until) == (1, "outside", row["last_at"])


def test_what_is_anchored_while_a_verification_goes_on_is_no_alteration(
    history: History, disk: Anchor
) -> None:
    anchored(history, disk, 200)
    read_before = outside_of([disk])
    anchored(history, disk, 300)
    checked = verified(history, read_before)
    (place,) = checked.anchored
    assert (checked.verdict, place.anchored, place.number, place.proof) == ("good", 2, 2, "outside")


@pytest.mark.long
def test_both_databases_anchor_and_check_alike(engine: sa.Engine, disk: Anchor, authority: Authority) -> None:
    history = History(engine)
    history.poll(ONE)
    with authority.serving() as url:
        tsa = Anchor(name="tsa", to=f"tsa+{url}", ca_file=authority.ca_file)  # type: ignore[arg-type]
        for at, anchor in ((60, disk), (70, tsa), (80, disk)):
            anchored(history, anchor, at)
    of_disk, of_tsa = verified(history, outside_of([disk, tsa])).anchored
    assert (of_disk.anchored, of_disk.proof, of_tsa.anchored, of_tsa.proof) == (2, "outside", 1, "token")
    edit(history, anchors, {"number": 2}, seq=2)
    assert "anchors {'number': 2} value" in found(history, Outside())


def test_what_is_given_and_proves_nothing_is_said(history: History, disk: Anchor, tmp_path: Path) -> None:
    """Otherwise a history whose anchors were deleted would seem to have passed the check."""
    public, other = tmp_path / "key.pem", tmp_path / "other.pem"
    for path in (public, other):
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)
    anchored(history, disk, 200, signer_of(public))
    authority = Authority(tmp_path / "tsa")
    nothing = tmp_path / "nothing"
    nothing.write_text("no anchor\n")
    url = history.engine.url.render_as_string(hide_password=False)

    def said(*options: str | Path) -> tuple[int, str]:
        done = collector("audit", "verify", *map(str, options), database_url=url)
        return done.code, done.out

    assert said("--anchors", disk.place, "--public-key", public)[0] == 0
    for options, text in (
        (
            ("--anchors", nothing),
            f"{nothing}: no line of it is an anchor of this database, so it proves nothing",
        ),
        (("--public-key", other), f"{other}: no anchor is signed with this key, so it proves nothing"),
        (
            ("--ca-file", authority.ca_file),
            f"{authority.ca_file}: no anchor has a token that it could check, so it proves nothing",
        ),
    ):
        code, out = said(*options)
        assert (code, text in out.splitlines()) == (3, True), out


def test_an_anchor_that_contradicts_the_history_proves_nothing_of_it(history: History, disk: Anchor) -> None:
    anchored(history, disk, 200)
    with closing(sqlite3.connect(history.engine.url.database or "")) as connection:
        connection.execute("UPDATE observations SET opening_digest = ? WHERE seq = 2", ("0" * 64,))
        connection.commit()
    checked = verified(history, outside_of([disk]))
    assert "observation 2 was a different one when anchor 1 was made" in found(history, outside_of([disk]))
    assert checked.proven_seq is None


def test_only_values_that_are_known_are_called_expected() -> None:
    values = Findings(())
    values.add("anchors", {"number": 2}, "its signature is not valid", "signature")
    values.add("observations", {"seq": 3}, "can't be so many", "polls", 9)
    values.add("regions", {"region_id": 1}, "not what the evidence says", "zone", "EMEA", None)
    assert [break_in_words(each) for each in values.breaks] == [
        "anchors (number 2), signature: its signature is not valid",
        "observations (seq 3), polls: stored 9; can't be so many",
        "regions (region_id 1), zone: stored EMEA, expected NULL; not what the evidence says",
    ]


def test_an_anchor_goes_on_to_hold_while_its_observation_grows_and_closes(
    history: History, disk: Anchor
) -> None:
    anchored(history, disk, 200)
    for said in (TWO, TWO, ONE):
        history.poll(said)
    anchored(history, disk, 500)
    checked = verified(history, outside_of([disk]))
    assert (checked.verdict, checked.proven_seq, checked.anchored[0].anchored) == ("good", 3, 2)


def test_counters_of_the_newest_observation_that_were_cut_back_are_found(
    history: History, disk: Anchor
) -> None:
    """No digest of the chain covers them yet: who edits them within their bounds is found by the anchor alone."""
    history.poll(TWO)
    history.poll(TWO)
    anchored(history, disk, 400)
    row = history.row("observations", source_id=1, seq=2)
    edit(
        history,
        observations,
        {"seq": 2},
        polls=1,
        last_at=row["first_at"],
        last_asked_at=row["first_asked_at"],
        longest_interval_ms=0,
    )
    assert verify(history.engine, "gcore").verdict == "altered"
    said = found(history, outside_of([disk]))
    assert "observations {'seq': 2} polls: anchor 1 contains its earlier value" in said


def test_a_history_that_was_made_again_as_a_whole_is_found_without_a_head(
    history: History, disk: Anchor
) -> None:
    anchored(history, disk, 200)
    with writing(history.engine) as connection:
        previous = chain.GENESIS
        observers = history.rows("observers")[0]
        for row in history.rows("observations"):
            row |= {"previous_digest": previous, "collector_version": "0.0.0"}
            row["opening_digest"] = chain.opening_digest("gcore", row, observers)
            is_newest = row["seq"] == 2
            row["digest"] = None if is_newest else chain.closing_digest(row)
            previous = row["digest"]
            connection.execute(sa.update(observations).filter_by(seq=row["seq"]).values(**row))
        (row,) = connection.execute(sa.select(anchors)).mappings()
        new = dict(row) | {"head": history_head(connection), "source": "gcore"}
        new["value"] = statement.value_of(new)
        new["digest"] = statement.result_digest(new)
        del new["source"]
        connection.execute(sa.update(anchors).values(**new))
    assert verify(history.engine, "gcore").verdict == "good"
    assert f"line 1 of {disk.place} contains a different one" in found(history, outside_of([disk]))


def history_head(connection: sa.Connection) -> str:
    return str(connection.scalar(sa.select(observations.c.opening_digest).where(observations.c.seq == 2)))


def test_anchors_that_were_taken_out_or_altered_are_found(history: History, disk: Anchor) -> None:
    for at in (200, 300, 400):
        history.poll(TWO)
        anchored(history, disk, at)
    good = history.rows("anchors")

    def restored() -> None:
        with writing(history.engine) as connection:
            connection.execute(sa.delete(anchors))
            connection.execute(sa.insert(anchors), good)

    with writing(history.engine) as connection:
        connection.execute(sa.delete(anchors).where(anchors.c.number == 2))
    assert "anchors {'number': 2} None: this row is missing" in found(history, Outside())
    with writing(history.engine) as connection:
        connection.execute(sa.delete(anchors).where(anchors.c.number == 3))
    assert "this row is missing: line 3 of" in found(history, outside_of([disk]))
    restored()
    edit(history, anchors, {"number": 2}, polls=1)
    assert "anchors {'number': 2} value: one of these was edited" in found(history, Outside())
    restored()
    edit(history, anchors, {"number": 2}, outcome="failed", error="it was away")
    assert "anchors {'number': 2} digest: one of these was edited" in found(history, Outside())
    restored()
    lines = Path(disk.place).read_text().splitlines()
    Path(disk.place).write_text(
        "\n".join([lines[0], lines[1].replace('"polls": ', '"polls": 1'), lines[2]]) + "\n"
    )
    assert "line 2 of" in (said := found(history, outside_of([disk])))
    assert "was edited or is incomplete" in said
    Path(disk.place).write_text(lines[0] + "\n" + lines[2] + "\n")
    assert "the file of 'disk' does not contain it" in found(history, outside_of([disk]))
    Path(disk.place).unlink()
    away = outside_of([disk])
    assert away.unread == {"disk": f"{disk.place} can't be read: No such file or directory"}
    assert verified(history, away).proven_seq is None


def test_an_anchor_of_an_observation_that_is_gone_is_a_finding_only_where_later_ones_are_too(
    history: History, disk: Anchor
) -> None:
    """What was at the beginning may be pruned: whether it was, the chain says. What was at the end may not."""
    anchored(history, disk, 200)
    history.poll(ONE)
    history.poll(TWO)
    anchored(history, disk, 400)
    gone = "which it anchors, is missing"
    for seq, is_found in ((2, False), (4, True)):
        with closing(sqlite3.connect(str(history.engine.url.database))) as raw, raw:
            raw.execute("DELETE FROM observations WHERE seq = ?", (seq,))
        assert (gone in found(history, outside_of([disk]))) == is_found


def test_an_authority_signs_the_value_and_its_token_is_checked_offline(
    history: History, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with authority.serving() as url:
        anchor = Anchor(name="tsa", to=f"tsa+{url}", ca_file=authority.ca_file)  # type: ignore[arg-type]
        made = anchored(history, anchor, 200)
    assert (made.outcome, made.error) == ("anchored", None)
    assert made.attested_at is not None
    (place,) = verified(history, outside_of([anchor])).anchored
    assert (place.proof, place.attested_at, place.proven_seq) == ("token", made.attested_at, 2)
    (place,) = verified(history, Outside()).anchored
    assert (place.proof, place.proven_seq) == ("unchecked token", None)
    with monkeypatch.context() as without:
        without.setattr(timestamps, "find_spec", lambda name: None)
        assert verified(history, Outside()).anchored[0].proof == "on record"
        with pytest.raises(SettingsError, match="not installed"):
            timestamps.check_available()
    # OpenSSL says the same, from what is in the database alone.
    token = tmp_path / "token.tsr"
    token.write_bytes(history.row("anchors")["token"])
    command = ["openssl", "ts", "-verify", "-in", token, "-digest", made.value, "-CAfile", authority.ca_file]
    assert b"Verification: OK" in subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.long
def test_a_token_of_somebody_else_or_of_something_else_does_not_hold(
    history: History, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "Another CA")
    query, _ = timestamps.request_of(b"something else")
    with authority.serving() as url:
        anchor = Anchor(name="tsa", to=f"tsa+{url}", ca_file=other.ca_file)  # type: ignore[arg-type]
        made = anchored(history, anchor, 200)
        assert made.outcome == "failed"
        anchor = Anchor(name="tsa", to=f"tsa+{url}")  # type: ignore[arg-type]
        assert anchored(history, anchor, 300).outcome == "anchored"
    trusting_another = outside_of([], ca_file=other.ca_file)
    assert "its token is not valid" in found(history, trusting_another)
    row = history.row("anchors", number=2)
    row |= {"token": authority.answer(query), "source": "gcore"}
    edit(history, anchors, {"number": 2}, token=row["token"], digest=statement.result_digest(row))
    assert "its token is not valid: it is for something else" in found(history, Outside())
    row["token"] = b"no token"
    edit(history, anchors, {"number": 2}, token=row["token"], digest=statement.result_digest(row))
    assert "its token is not valid: not an answer of a time-stamping authority" in found(history, Outside())


def test_a_place_that_is_away_is_recorded_and_keeps_no_other_waiting(history: History, disk: Anchor) -> None:
    with loopback.Server(loopback.reply(503)) as server:
        hook = Anchor(name="hook", to=f"{server.url}/?token=canary")  # type: ignore[arg-type]
        failed = anchored(history, hook, 200)
    gone = anchored(history, hook, 300)
    assert (failed.error, gone.error) == ("status 503", "no connection")
    assert anchored(history, disk, 400).outcome == "anchored"
    hook_place, disk_place = sorted(
        verified(history, outside_of([disk, hook])).anchored, key=lambda p: p.kind
    )[::-1]
    assert (hook_place.failed, hook_place.failing, disk_place.failed) == (2, gone.error, 0)
    assert "canary" not in repr(history.rows("anchors")) + repr(hook)


SOCKS = {"ALL_PROXY": "socks5://user:canary@proxy.example:1"}
NO_FILE = {"SSL_CERT_FILE": "/none/ca.pem"}


@pytest.mark.parametrize(
    "place", ["https://canary.example:port/x", f"tsa+https://{'a' * 70}.example/canary", "https://[canary/"]
)
def test_a_place_to_which_nothing_can_be_sent_is_refused(place: str) -> None:
    with pytest.raises(ValidationError, match="write a URL like https:") as raised:
        Anchor(name="hook", to=place)  # type: ignore[arg-type]
    assert "canary" not in raised.value.errors(include_input=False)[0]["msg"]


@pytest.mark.parametrize("kind", ["", "tsa+"])
@pytest.mark.parametrize(
    ("environment", "place", "why"),
    [
        ({}, "https://canary\u2603.example/x", "InvalidURL"),
        (SOCKS, "http://canary.example", "ALL_PROXY can't be used"),
        (NO_FILE, "https://canary.example", "SSL_CERT_FILE can't be used"),
    ],
)
def test_a_place_that_can_not_be_asked_is_recorded_too(
    history: History,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    environment: dict[str, str],
    place: str,
    why: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    failed = anchored(history, Anchor(name="hook", to=kind + place), 200)  # type: ignore[arg-type]
    assert failed.outcome == "failed"
    assert why in failed.error
    assert "canary" not in failed.error


def test_the_environment_of_a_place_may_name_networks_and_proxies_of_others(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8,fd00::/8")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with loopback.Server(loopback.reply(200)) as server:
        assert anchored(history, Anchor(name="hook", to=server.url), 200).outcome == "anchored"  # type: ignore[arg-type]


def test_a_webhook_and_syslog_are_given_the_same_line(history: History) -> None:
    with loopback.Server(loopback.reply(200)) as server:
        made = anchored(history, Anchor(name="hook", to=server.url), 200)  # type: ignore[arg-type]
        assert (made.outcome, server.requests[0].method) == ("anchored", "POST")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        port = listener.getsockname()[1]
        made = anchored(history, Anchor(name="log", to=f"syslog://127.0.0.1:{port}"), 300)  # type: ignore[arg-type]
        message = listener.recv(65536).decode()
    assert message.startswith("<85>1 2026-05-01T12:05:00.000000Z ")
    assert json.loads(message[message.index("{") :])["value"] == made.value
    with socket.create_server(("127.0.0.1", 0)) as server_socket:
        port = server_socket.getsockname()[1]
        made = anchored(history, Anchor(name="tcp", to=f"syslog+tcp://127.0.0.1:{port}"), 400)  # type: ignore[arg-type]
        connection, _ = server_socket.accept()
        with connection:
            framed = connection.recv(65536)
    length, _, message_bytes = framed.partition(b" ")
    assert (int(length), made.value in message_bytes.decode()) == (len(message_bytes), True)


def test_a_log_of_another_machine_counts_as_outside(history: History, tmp_path: Path) -> None:
    with loopback.Server(loopback.reply(200)) as server:
        anchored(history, Anchor(name="hook", to=server.url), 200)  # type: ignore[arg-type]
    row = history.row("anchors") | {"source": "gcore"}
    log = tmp_path / "messages"
    log.write_text(
        f"May  1 12:03:20 host kernel: hello\nMay  1 12:03:21 host gcore-collector[7]: {statement.line(row)}\n"
    )
    (place,) = verified(history, outside_of([], files=[log])).anchored
    assert place.proof == "outside"


def test_an_anchor_is_signed(history: History, disk: Anchor, key_file: Path, tmp_path: Path) -> None:
    signer = signer_of(key_file)
    anchored(history, disk, 200, signer)
    row = history.row("anchors") | {"source": "gcore"}
    assert row["signed_by"] == signer.signed_by
    with_key = outside_of([], key_file=key_file)
    (place,) = verified(history, with_key).anchored
    assert place.proof == "signature"
    message, signature, public = tmp_path / "message", tmp_path / "signature", tmp_path / "public.pem"
    message.write_bytes(statement.statement(row))
    signature.write_bytes(base64.b64decode(row["signature"]))
    subprocess.run(["openssl", "pkey", "-in", key_file, "-pubout", "-out", public], check=True)
    options = ["-pubin", "-inkey", public, "-rawin", "-in", message, "-sigfile", signature]
    subprocess.run(["openssl", "pkeyutl", "-verify", *options], check=True, capture_output=True)
    assert verified(history, outside_of([], key_file=public)).anchored[0].proof == "signature"
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], check=True, capture_output=True
    ).stdout
    assert hashlib.sha256(der).hexdigest() == signer.signed_by
    row["signature"] = base64.b64encode(bytes(64)).decode()
    edit(history, anchors, {}, signature=row["signature"], digest=statement.result_digest(row))
    assert "its signature is not valid" in found(history, with_key)


def test_an_anchor_that_was_interrupted_is_recorded_as_failed_by_the_next(
    history: History, disk: Anchor
) -> None:
    class Gone(BaseException):
        pass

    def dies() -> Any:
        raise Gone

    times: Iterator[Any] = iter([lambda: history.time(200), dies])
    with pytest.raises(Gone):
        make(history.engine, "gcore", disk, clock=lambda: next(times)())
    assert history.row("anchors")["outcome"] == "pending"
    assert verified(history, Outside()).verdict == "good"
    assert make(history.engine, "gcore", disk, clock=lambda: history.time(210)) is None, (
        "somebody may be at it"
    )
    assert anchored(history, disk, 400).number == 2
    assert history.row("anchors", number=1)["error"] == INTERRUPTED
    checked = verified(history, outside_of([disk]))
    assert (checked.verdict, checked.anchored[0].anchored) == ("good", 2), "the file has both"


def test_a_line_that_a_full_disk_cut_does_not_spoil_the_next(history: History, disk: Anchor) -> None:
    Path(disk.place).write_text('{"anchor": 1, "source": "gco')
    anchored(history, disk, 200)
    assert verified(history, outside_of([disk])).anchored[0].proof == "outside"


HOUR, PAUSE = timedelta(hours=1), timedelta(minutes=10)


@pytest.mark.parametrize(
    ("seconds", "newest", "is_it"),
    [
        (0, (2, 5), False),
        (3600, (2, 5), False),
        (3600, (2, 6), True),
        (3599, (2, 6), False),
        (599, (3, 1), False),
        (600, (3, 1), True),
        (-1, (2, 5), True),
        (3600, (2, 4), False),
        (3600, (1, 9), False),
    ],
)
def test_what_is_anchored_when(seconds: float, newest: tuple[int, int], is_it: bool) -> None:
    last = Last(2, 5, History.time(0))
    assert is_due(last, newest, History.time(seconds), HOUR, PAUSE) == is_it


def test_a_place_that_failed_is_not_asked_again_at_once(history: History, tmp_path: Path) -> None:
    away = Anchor(name="away", to=f"file:{tmp_path}/missing/heads")  # type: ignore[arg-type]
    assert anchored(history, away, 200).error == "No such file or directory"
    last = last_anchored(history.engine, "gcore", "away")
    assert not is_due(last, (2, 1), history.time(799), HOUR, PAUSE)
    assert is_due(last, (2, 1), history.time(800), HOUR, PAUSE)
    assert is_due(last_anchored(history.engine, "gcore", "other"), (2, 1), history.time(0), HOUR, PAUSE)


def test_nothing_is_anchored_before_the_first_poll(sqlite_engine: sa.Engine, disk: Anchor) -> None:
    assert make(sqlite_engine, "gcore", disk) is None
    assert not Path(disk.place).exists()


def test_a_pruned_history_verifies_against_its_anchors(sqlite_engine: sa.Engine, disk: Anchor) -> None:
    """Those of what is gone, too: no line outside is missing in the database, and the chain is still the one."""
    history, day = History(sqlite_engine), 86400
    for number in range(5):
        for state in ("ACTIVE", "MAINTENANCE"):
            history.poll([region(1, state)], at=number * day + (0 if state == "ACTIVE" else 60))
        anchored(history, disk, number * day + 300)
    now = history.time(5 * day)
    pruned = prune(sqlite_engine, "gcore", history.time(3 * day), made_at=now, made_by="test")
    assert pruned.observations > 0
    history.restart()
    history.poll([region(1)], at=5 * day)
    anchored(history, disk, 5 * day + 300)
    checked = verified(history, outside_of([disk]))
    assert (checked.verdict, checked.breaks, checked.proven_seq) == ("good", (), 11)
    edit(history, anchors, {"number": 1}, seq=1)
    assert "anchors {'number': 1} value" in found(history, outside_of([disk]))
