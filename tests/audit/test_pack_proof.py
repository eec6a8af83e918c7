"""What a pack says first, and what proves it: claims, anchors, and how the checker ends."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import sqlalchemy as sa
from asn1crypto import tsp

from collector.anchors import Anchor
from collector.audit.anchoring import record
from collector.audit.anchoring.outside import outside_of
from collector.audit.anchoring.places import PlaceError
from collector.audit.anchoring.record import make
from collector.audit.anchoring.signing import signer_of
from collector.audit.verify import verify
from collector.clock import time_text
from collector.errors import UsageError
from collector.gcore import paths
from collector.gcore.document import Record
from collector.reports.words import show_time
from collector.store import redacting
from tests.support.authority import Authority
from tests.support.builders import region
from tests.support.history import History, failure
from tests.support.packs import (
    CHECKER,
    Files,
    build,
    checker,
    edit,
    in_pack,
    of_an_older_version,
    repacked,
    rows,
    written_again,
)


def check(path: Path, *options: str | Path) -> tuple[int, list[str]]:
    command = [sys.executable, "-I", "-S", str(CHECKER), str(path), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def history(sqlite_engine: sa.Engine) -> History:
    history = History(sqlite_engine)
    two = region(2, display_name="Two <script>alert(1)</script>")
    for state in ("ACTIVE", "ACTIVE", "MAINTENANCE", "MAINTENANCE"):
        history.poll([region(1, state), two])
    history.poll(failure())
    history.poll([region(1, "MAINTENANCE"), two])
    history.poll([two])
    history.poll([two])
    return history


@pytest.fixture
def disk(tmp_path: Path) -> Anchor:
    return Anchor(name="disk", to=f"file:{tmp_path}/heads")  # type: ignore[arg-type]


def pack_head(path: Path) -> str:
    """The newest head that a pack names."""
    with zipfile.ZipFile(path) as archive:
        return str(json.loads(archive.read("pack.json"))["head"]["digest"])


def packed(files: Files, tmp_path: Path) -> Path:
    return repacked(files, tmp_path / "pack.zip")


def test_the_checker_states_each_claim_and_the_page_says_the_same(history: History, tmp_path: Path) -> None:
    files = build(history, 100, 1000)
    key = history.row("observers")["key_fingerprint"][:8]
    _, said = check(packed(files, tmp_path))
    claims = [line.strip() for line in said if line.endswith("never contradicted.")]
    assert claims[:3] == [
        "Region 1 was in ACTIVE from 2026-05-01 12:01:00Z to at least 2026-05-01 12:01:59.500Z, shown by 2 polls with "
        f"key {key}; never contradicted.",
        "Region 1 was in MAINTENANCE from 2026-05-01 12:03:00Z to at least 2026-05-01 12:05:59.500Z, shown by 3 polls "
        f"with key {key}; never contradicted.",
        "Region 1 was not listed from 2026-05-01 12:07:00Z to at least 2026-05-01 12:07:59.500Z, shown by 2 complete "
        f"answers to key {key}; never contradicted.",
    ]
    assert [line for line in said if line.startswith("region ")] == ["region 1:", "region 2:"]
    page = files["index.html"].decode()
    for claim in claims[:3]:
        assert claim in page
    assert "Two &lt;script&gt;alert(1)&lt;/script&gt; was in ACTIVE" in page
    assert "<script" not in page
    assert page.index("was in MAINTENANCE") < page.index("How to check it")


def test_of_an_absence_both_say_when_it_is_not_known(history: History, tmp_path: Path) -> None:
    history.poll([region(2)], at=3000)
    files = build(history, 100, 4000)
    _, said = check(packed(files, tmp_path))
    (claim,) = [line.strip() for line in said if "was not listed" in line and line.endswith("contradicted.")]
    assert ", apart from one time when that is not known, shown by " in claim
    assert claim in files["index.html"].decode()


@pytest.mark.parametrize("name", ["claims"])
def test_a_claim_that_says_more_is_found(history: History, tmp_path: Path, name: str) -> None:
    files = build(history, 100, 1000)
    head = json.loads(files["pack.json"])["head"]["digest"]
    edit(name, lambda all_: all_[1].update(polls=312))(files)
    code, said = check(packed(files, tmp_path), "--head", head)
    assert (code, said) == (
        1,
        ["BROKEN: region 1 from 2026-05-01T12:03:00.000000Z: polls is 3, the claim says 312"],
    )
    edit(name, lambda all_: all_[1].update(polls=3))(files)
    assert check(packed(files, tmp_path), "--head", head)[0] == 0
    edit(name, lambda all_: all_.pop())(files)
    assert check(packed(files, tmp_path), "--head", head)[0] == 1


def test_how_the_checker_ends(history: History, tmp_path: Path) -> None:
    files = build(history, 100, 1000)
    path = packed(files, tmp_path)
    head = json.loads(files["pack.json"])["head"]["digest"]
    assert check(path, "--head", head)[0] == 0
    code, said = check(path)
    assert (code, said[0].startswith("NOT PROVEN: source gcore"), "made up as a whole" in said[1]) == (
        3,
        True,
        True,
    )
    code, said = check(path, "--head", "0" * 64)
    assert (code, said[0].startswith("BROKEN: no observation has the head")) == (1, True)
    assert said[0].endswith("or it is of another history or source")
    code, said = check(tmp_path / "missing.zip", "--head", head)
    assert (code, said) == (
        3,
        [f"NOT CHECKED: {tmp_path}/missing.zip can't be read: No such file or directory"],
    )
    assert check(path, "--anchors", tmp_path / "missing")[0] == 3
    wrong = subprocess.run([sys.executable, str(CHECKER)], capture_output=True, check=False)
    assert wrong.returncode == 2


def test_the_page_does_not_say_that_there_is_no_more_than_the_pack(history: History, tmp_path: Path) -> None:
    """A pack of a time in the middle: there were earlier and later polls."""
    page = build(history, 230, 239)["index.html"].decode()
    assert "MAINTENANCE may have begun earlier: this pack contains no earlier answer." in page
    assert "It may have lasted longer: the last answer of this pack was asked for at " in page
    assert "no earlier poll" not in page
    assert "Nothing later is known" not in page
    whole = build(history, 0, 1000)["index.html"].decode()
    assert "It is not known when ACTIVE began: there was no earlier poll." in whole
    assert "Nothing later is known" in whole
    assert "this pack" not in whole.split("How to check it")[0]


def test_what_was_left_by_a_redaction_is_not_proven_by_older_heads(
    history: History, disk: Anchor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody denies the maintenance of region 1 by means of a redaction. Nothing older than that shows it."""
    make(history.engine, "gcore", disk, clock=lambda: history.time(600))

    def forged(record: Record, steps: Any) -> Record:
        left = really(record, steps)
        if left is record or left.id != 1:
            return left
        return Record(left.text.replace('"MAINTENANCE"', '"ACTIVE"'), 1)

    really = paths._cleaned
    monkeypatch.setattr(paths, "_cleaned", forged)
    made = redacting.redact(
        history.engine,
        "gcore",
        paths.Path.parse("results[].display_name"),
        made_at=history.time(history.at),
        made_by="a forger",
    )
    monkeypatch.undo()
    history.verify()
    path = packed(build(history, 100, 1000), tmp_path)
    code, said = check(path, "--anchors", disk.place)
    assert (code, said[0].startswith("NOT PROVEN")) == (3, True)
    assert said[0].endswith(", if you trust the person who redacted answers")
    assert said[1].startswith(
        "answers were redacted after observation 5, and no given head covers what was left"
    )
    assert str(made.digest) in said[1]
    code, said = check(path, "--head", str(made.digest))
    assert (code, said[0].endswith(", if you trust the person who redacted answers")) == (0, True)
    history.poll([region(1), region(2)])
    (*_, newest) = history.rows("observations")
    path = packed(build(history, 100, 1000), tmp_path)
    assert check(path, "--head", newest["opening_digest"])[0] == 0


def test_mistakes_of_the_person_who_checks_are_no_forgeries(history: History, tmp_path: Path) -> None:
    path = packed(build(history, 100, 1000), tmp_path)
    text = tmp_path / "text"
    text.write_text("no key, no certificate and no anchor\n")
    assert check(tmp_path)[1][0].endswith("Is a directory; give the file itself")
    assert check(path, "--ca-file", text) == (3, [f"NOT CHECKED: {text} holds no certificates in PEM"])
    assert check(path, "--public-key", text) == (3, [f"NOT CHECKED: {text} holds no public key in PEM"])
    code, said = check(path, "--anchors", text)
    assert (code, said[1]) == (
        3,
        "everything agrees with itself, but the pack may have been made up as a whole: "
        f"no line of {text} is an anchor in this pack",
    )
    command = [sys.executable, str(CHECKER), str(path), "--head", "5d0f"]
    wrong = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (wrong.returncode, "a head is 64 hex digits" in wrong.stderr) == (2, True)


def test_files_that_are_missing_or_strange_are_named(history: History, tmp_path: Path) -> None:
    files = build(history, 100, 1000)
    del files["gaps.jsonl"]
    files["more.html"] = b""
    said = "BROKEN: the files are not those of a pack: gaps.jsonl missing; more.html not part of a pack"
    assert check(packed(files, tmp_path)) == (1, [said])


def test_times_when_nothing_was_seen_are_listed(history: History, tmp_path: Path) -> None:
    files = build(history, 100, 1000)
    gaps = rows(files, "gaps")
    _, said = check(packed(files, tmp_path))
    assert len([line for line in said if line.startswith("nothing was seen between ")]) == len(gaps) > 0
    assert said[0].endswith("when nothing was seen")


def test_a_time_before_the_first_poll_is_refused(history: History) -> None:
    with pytest.raises(
        UsageError, match="begins at 2026-05-01 12:01:00Z: nothing is known about the time before"
    ):
        build(history, 0, 60)
    build(history, 0, 61)


def test_lines_outside_prove_a_pack_and_find_one_that_was_made_again(
    history: History, disk: Anchor, tmp_path: Path
) -> None:
    make(history.engine, "gcore", disk, clock=lambda: history.time(600))
    files = build(history, 100, 1000)
    path = packed(files, tmp_path)
    assert "1 anchor was not compared with anything outside" in "\n".join(check(path)[1])
    code, said = check(path, "--anchors", disk.place)
    assert (code, said[0].startswith("HOLDS: ")) == (0, True)
    assert "as seen up to 2026-05-01 12:08:00Z" in said[0], "its counters are covered too"
    assert "no digest covers yet" not in "\n".join(said)
    assert any(
        line.startswith("anchor 1 at disk, found outside the database: observation 5") for line in said
    )
    written_again(files)
    in_pack(head=json.loads(files["pack.json"])["head"])(files)
    edit("anchors", list.clear)(files)
    assert check(packed(files, tmp_path), "--anchors", disk.place)[0] == 3
    files = build(history, 100, 1000)
    edit("anchors", lambda all_: all_[0].update(polls=1))(files)
    assert (
        check(packed(files, tmp_path), "--anchors", disk.place)[1][0]
        == "BROKEN: anchor 1: its value does not match its statement"
    )


def test_an_anchor_proves_a_pack_also_if_its_place_did_not_say_that_it_arrived(
    history: History, disk: Anchor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(anchor: Anchor, row: Any) -> None:
        really(anchor, row)
        raise PlaceError("no answer")

    really = record.hand_out
    monkeypatch.setattr(record, "hand_out", lost)
    made = make(history.engine, "gcore", disk, clock=lambda: history.time(600))
    assert made is not None
    assert made.outcome == "failed"
    code, said = check(packed(build(history, 100, 1000), tmp_path), "--anchors", disk.place)
    assert (code, said[0].startswith("HOLDS: ")) == (0, True), said


@pytest.mark.parametrize(
    "line",
    [
        b'{"anchor": 1, "source": [], "number": {}, "value": ""}',
        b'{"anchor": 1, "source": "gcore", "number": 1, "value": []}',
        b'{"anchor": 1, "source": "gcore", "number": true, "value": "x"}',
        b'{"anchor": ' + b"[" * 60_000,
        b'{"anchor": 1, "anchor": 1}',
        b'{"anchor": NaN}',
        b'{"anchor": ' + b"9" * 5000 + b"}",
        b'{"anchor"\xff',
    ],
)
def test_whatever_else_is_in_a_log_does_not_stop_the_checker(
    history: History, disk: Anchor, tmp_path: Path, line: bytes
) -> None:
    """Anybody can write to many logs."""
    make(history.engine, "gcore", disk, clock=lambda: history.time(600))
    lines = Path(disk.place)
    lines.write_bytes(line + b"\n" + lines.read_bytes() + line)
    code, said = check(packed(build(history, 100, 1000), tmp_path), "--anchors", lines)
    assert (code, said[0].startswith("HOLDS: ")) == (0, True), said


def test_a_pack_that_begins_after_a_redaction_does_not_prove_the_redaction(
    history: History, tmp_path: Path
) -> None:
    redacting.redact(
        history.engine,
        "gcore",
        paths.Path.parse("results[].display_name"),
        made_at=history.time(history.at),
        made_by="me",
    )
    for state in ("NEW", "ACTIVE", "NEW"):
        history.poll([region(1, state), region(2)])
    for start, is_said in ((100, False), (history.at - 10, True)):
        path = packed(build(history, start, 1000), tmp_path)
        code, said = check(path, "--head", pack_head(path))
        (line,) = [line for line in said if line.startswith("redacted results[].display_name: by me")]
        assert (code, line.endswith(", not covered by any given head")) == (0, is_said), said


def test_no_name_hides_what_is_claimed(history: History, tmp_path: Path) -> None:
    """The whole sentence is printed, with all times, however long a name, a state, or the list of regions is."""
    name, long = "Luxembourg was in ACTIVE \u202e<b>" + "x" * 100_000, "MAINTENANCE" * 30
    history.poll([region(1, long, display_name=name), region(2, "ACTIVE")])
    history.poll([region(1, "ACTIVE", display_name=name), *(region(i) for i in range(2, 402))])
    history.poll([region(1, "ACTIVE", display_name=name), *(region(i) for i in range(2, 402))])
    for regions in (None, set(range(1, 402))):
        files = build(history, 500, 1000, regions=regions)
        path = packed(files, tmp_path)
        code, said = check(path, "--head", pack_head(path))
        assert code == 0, said
        assert " from 2026-05-01 12:08:20Z to 2026-05-01 12:16:40Z, as seen up to " in said[0]
        (line,) = [line for line in said if "xxx" in line and "was in MAINTENANCEMAINT" in line]
        assert " at some moment between 2026-05-01 12:08:59.500Z and 2026-05-01 12:09:00Z, shown by " in line
        assert len(line) < 600
        assert all(len(line) < 900 for line in said)
        if regions:
            assert "regions 1, 2, 3," in said[0]
            assert " 20 and 381 more, from" in said[0]
            assert any(line.startswith("regions of this pack: 381, 382,") for line in said)
        page = files["index.html"].decode()
        assert "\u202e" not in page
        assert len(page) < 2_000_000


def test_a_pack_of_another_history_does_not_hold_by_somebody_elses_lines(
    history: History, disk: Anchor, tmp_path: Path
) -> None:
    make(history.engine, "gcore", disk, clock=lambda: history.time(600))
    line = json.loads(Path(disk.place).read_text())
    Path(disk.place).write_text(json.dumps(line | {"value": "0" * 64}) + "\n")
    code, said = check(packed(build(history, 100, 1000), tmp_path), "--anchors", disk.place)
    assert (code, said[0]) == (1, "BROKEN: anchor 1 differs from the one that was sent")


@pytest.mark.long
def test_tokens_and_signatures_are_checked_by_openssl(history: History, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "tsa"), Authority(tmp_path / "other", "Another CA")
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    with authority.serving() as url:
        anchor = Anchor(name="tsa", to=f"tsa+{url}")  # type: ignore[arg-type]
        make(history.engine, "gcore", anchor, signer_of(key), clock=lambda: history.time(600))
    path = packed(build(history, 100, 1000), tmp_path)
    code, said = check(path)
    assert (code, "1 time stamp was not checked" in "\n".join(said)) == (3, True)
    code, said = check(path, "--ca-file", authority.ca_file)
    assert (code, any("time-stamped" in line for line in said)) == (0, True)
    stranger = tmp_path / "stranger.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "key2.pem"], check=True)
    subprocess.run(["openssl", "pkey", "-in", tmp_path / "key2.pem", "-pubout", "-out", stranger], check=True)
    code, said = check(path, "--public-key", stranger)
    assert (code, said[1].endswith(f"no anchor in this pack is signed with {stranger}")) == (3, True)
    code, said = check(path, "--ca-file", other.ca_file)
    assert (code, said[1].endswith(f"no anchor in this pack has a token for {other.ca_file}")) == (3, True)
    code, said = check(path, "--public-key", public)
    assert (code, any("could sign another history" in line for line in said)) == (0, True)
    assert said[0].endswith(", if you trust the owner of the signing key")
    for more in (("--ca-file", authority.ca_file), ("--head", pack_head(path))):
        code, said = check(path, "--public-key", public, *more)
        assert (code, "trust" in said[0]) == (0, False)


@pytest.mark.long
def test_the_certificates_of_one_authority_do_not_make_the_tokens_of_another_false(
    history: History, tmp_path: Path
) -> None:
    authorities = [Authority(tmp_path / name, f"CA {name}") for name in ("one", "two")]
    for number, authority in enumerate(authorities):
        with authority.serving() as url:
            anchor = Anchor(name=f"tsa{number}", to=f"tsa+{url}")  # type: ignore[arg-type]
            make(history.engine, "gcore", anchor, clock=lambda: history.time(600))
    files = build(history, 100, 1000)
    for authority in authorities:
        code, said = check(packed(files, tmp_path), "--ca-file", authority.ca_file)
        assert (code, said[0].startswith("HOLDS: ")) == (0, True), said
        assert any(line.startswith("1 time stamp was not checked") for line in said)

    def exchange(all_: list[Any]) -> None:
        row = all_[1] | {"token": all_[0]["token"]}
        token = hashlib.sha256(base64.b64decode(row["token"])).hexdigest()
        result = row | {"token": token}
        all_[1] = row | {"digest": checker.digest_of([row["value"], *(result[n] for n in checker.RESULT)])}

    edit("anchors", exchange)(files)
    said = check(packed(files, tmp_path), "--ca-file", authorities[0].ca_file)[1]
    assert said == ["BROKEN: anchor 2: its token is not valid"]


@pytest.mark.long
def test_the_time_of_a_time_stamp_is_the_one_that_the_authority_signed(
    history: History, tmp_path: Path
) -> None:
    """A forger makes a history up today, gets a true token for it, and writes an earlier time beside it."""
    authority = Authority(tmp_path / "tsa")
    with authority.serving() as url:
        anchor = Anchor(name="tsa", to=f"tsa+{url}")  # type: ignore[arg-type]
        made = make(history.engine, "gcore", anchor, clock=lambda: history.time(600))
    assert made is not None
    assert made.attested_at is not None
    files = build(history, 100, 1000)
    said = check(packed(files, tmp_path), "--ca-file", authority.ca_file)[1]
    assert any(f"time-stamped {show_time(made.attested_at)} by" in line for line in said)
    signed = base64.b64decode(rows(files, "anchors")[0]["token"])

    def forge(token: bytes, at: str) -> list[str]:
        def backdate(all_: list[Any]) -> None:
            (row,) = all_
            row |= {"attested_at": at, "token": base64.b64encode(token).decode()}
            result = row | {"token": hashlib.sha256(token).hexdigest()}
            row["digest"] = checker.digest_of([row["value"], *(result[name] for name in checker.RESULT)])

        forged = dict(files)
        edit("anchors", backdate)(forged)
        return check(packed(forged, tmp_path), "--ca-file", authority.ca_file)[1]

    broken = (
        f"BROKEN: anchor 1: its token is of {show_time(made.attested_at)}, anchors.jsonl says 2020-01-01T"
    )
    assert forge(signed, "2020-01-01T00:00:00.000000Z")[0].startswith(broken)
    answer = tsp.TimeStampResp.load(signed)
    answer["status"]["status_string"] = ["x\n\nTST info:\nTime stamp: Jan  1 00:00:00 2020 GMT\n"]
    lying = answer.dump(force=True)
    assert b"Jan  1 00:00:00 2020" in lying
    assert forge(lying, "2020-01-01T00:00:00.000000Z")[0].startswith(broken), "nobody signed the status"
    assert forge(lying, time_text(made.attested_at))[0].startswith("HOLDS: ")


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        ("Time stamp: Nov 30 21:15:03 2026 GMT", "2026-11-30T21:15:03.000000Z"),
        ("Time stamp: May  1 00:00:00.12 2026 GMT", "2026-05-01T00:00:00.120000Z"),
        ("Time stamp: Feb 29 23:59:59.1234567 2028 GMT", "2028-02-29T23:59:59.123456Z"),
        ("x Time stamp: May  1 00:00:00 2026 GMT", None),
        ("", None),
    ],
)
def test_the_time_of_a_token_is_read_as_openssl_prints_it(
    monkeypatch: pytest.MonkeyPatch, printed: str, read: str | None
) -> None:
    monkeypatch.setattr(
        checker, "openssl", lambda *_: f"Serial number: 0x02\n{printed}\nOrdering: no\n".encode()
    )
    assert checker.time_in_token(b"") == read


@pytest.mark.long
def test_a_token_outlives_the_certificate_that_signed_it(history: History, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tsa")
    ends_at = authority.expire_soon()
    with authority.serving() as url:
        anchor = Anchor(name="tsa", to=f"tsa+{url}", ca_file=authority.ca_file)  # type: ignore[arg-type]
        made = make(history.engine, "gcore", anchor, clock=lambda: history.time(600))
    assert made is not None
    assert made.outcome == "anchored", made.error
    sleep(max((ends_at - datetime.now(UTC)).total_seconds() + 1.1, 0))
    code, said = check(packed(build(history, 100, 1000), tmp_path), "--ca-file", authority.ca_file)
    assert (code, said[0].startswith("HOLDS: ")) == (0, True), said
    (place,) = verify(history.engine, "gcore", outside=outside_of([anchor])).anchored
    assert place.proof == "token"


def test_packs_of_the_first_format_are_checked_still(history: History, tmp_path: Path) -> None:
    files = build(history, 100, 1000)
    of_an_older_version(files)
    code, said = check(packed(files, tmp_path), "--head", json.loads(files["pack.json"])["head"]["digest"])
    assert (code, said[0].startswith("HOLDS: ")) == (0, True)
    assert any("was in MAINTENANCE from" in line for line in said)


def test_a_pack_of_one_region_claims_of_that_one_only(history: History) -> None:
    files = build(history, 100, 1000, regions={2})
    assert {row["region_id"] for row in rows(files, "claims")} == {2}
    assert "Region 1" not in files["index.html"].decode()
