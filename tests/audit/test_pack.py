"""Audit packs: what they hold, that they can be checked alone, and that a forged one fails."""

from __future__ import annotations

import hashlib
import json
import random
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.audit import pack
from collector.clock import time_text
from collector.database.engine import open_engine
from collector.database.transactions import reading, writing
from collector.errors import UsageError
from collector.store.pruning import prune
from collector.store.tables import state_transitions
from tests.support import builders
from tests.support.builders import region
from tests.support.command import collector
from tests.support.history import NOON, History, failure
from tests.support.packs import (
    CHECKER,
    Files,
    Json,
    build,
    edit,
    first,
    hide,
    in_pack,
    of_an_older_version,
    only,
    repacked,
    rows,
    written_again,
)


def check(path: Path, *heads: str) -> tuple[int, str]:
    """Run the checker alone: another folder, no site-packages, nothing of ours."""
    command = [
        sys.executable,
        "-I",
        "-S",
        str(CHECKER),
        str(path),
        *(x for h in heads for x in ("--head", h)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=path.parent, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def checked(files: Files, tmp_path: Path, *heads: str) -> tuple[int, str]:
    """With the head that the pack itself names, where none is given."""
    if not heads:
        facts = json.loads(files["pack.json"])
        heads = (facts["head"]["digest"],)
    return check(repacked(files, tmp_path / "pack.zip"), *heads)


def test_a_pack_of_everything_holds(told: History, tmp_path: Path) -> None:
    files = build(told)
    head = told.row("observations", source_id=1, seq=16)["opening_digest"]
    code, said = checked(files, tmp_path, head)
    assert code == 0, said
    assert said.splitlines()[0] == (
        "HOLDS: source gcore, all regions and keystones, from 2026-05-01 12:01:00Z to 2026-05-01 13:00:00Z, "
        "as seen up to 2026-05-01 12:28:00Z, apart from 3 times when nothing was seen"
    )
    assert "observation 16 is open" in said
    assert f"head {head}: observation 16" in said
    assert len(rows(files, "transitions")) == len(told.rows("state_transitions", source_id=1))
    assert len(rows(files, "unseen")) == len(told.rows("unseen", source_id=1))
    assert len(rows(files, "observations")) == 16
    assert {row["address"] for row in rows(files, "answers")} == {
        row["address"] for row in told.rows("payloads", source_id=1)
    }
    facts = json.loads(files["pack.json"])
    assert (facts["regions"], facts["source"], facts["verification"]["verdict"]) == (None, "gcore", "good")
    assert head in files["README.txt"].decode()
    assert files["check.py"] == CHECKER.read_bytes()


@pytest.mark.long
def test_a_pack_of_any_time_holds_and_has_the_transitions_that_touch_it(
    told: History, tmp_path: Path
) -> None:
    transitions = told.rows("state_transitions", source_id=1)
    for start in range(0, 1800, 210):
        end = start + 300
        files = build(told, start, end)
        code, said = checked(files, tmp_path)
        assert code == 0, said
        expected = [
            (t["seq"], t["entity"], t["entity_id"])
            for t in transitions
            if t["observed_at"] >= told.time(start) and (t["not_before"] or t["observed_at"]) < told.time(end)
        ]
        found = [(t["seq"], t["entity"], t["entity_id"]) for t in rows(files, "transitions")]
        assert sorted(found) == sorted(expected)


def test_a_pack_of_one_region_discloses_no_other(told: History, tmp_path: Path) -> None:
    files = build(told, regions={3})
    code, said = checked(files, tmp_path)
    assert code == 0, said
    unusable = [json.loads(r["payload"]) for r in told.rows("rejected_records", source_id=1)]
    given = [json.loads(r["text"]) for a in rows(files, "answers") for r in a["records"] if "text" in r]
    others = [record for record in given if record.get("id") != 3]
    assert len(others) < len(given)
    assert others, "what could not be used may be of any region"
    assert [record for record in others if record not in unusable] == []
    everything = b"".join(content for name, content in files.items() if name != "check.py")
    assert b"region-3" in everything
    for other in (b"region-4", b"region-5", b"region-6"):
        assert other not in everything
    assert {(t["entity"], t["entity_id"]) for t in rows(files, "transitions")} == {("region", 3)}
    expected = [t for t in told.transitions("region", 3) if t["source_id"] == 1]
    assert len(rows(files, "transitions")) == len(expected)


def test_a_disappearance_in_a_pack_of_one_region_rests_on_the_observation(
    told: History, tmp_path: Path
) -> None:
    files = build(told, regions={5})
    assert [t["kind"] for t in rows(files, "transitions")] == ["appeared", "disappeared"]
    assert checked(files, tmp_path)[0] == 0


# Forgery. Each forger has made the hashes in pack.json right.


def swap_states(answers: list[Json]) -> None:
    for answer in answers:
        for record in answer["records"]:
            record["text"] = record["text"].replace('"MAINTENANCE"', '"ACTIVE"')


def tell_otherwise(files: Files) -> None:
    """Other answers, and all addresses and digests computed again over them: right in itself."""
    moved = {}

    def forge(answers: list[Json]) -> None:
        for answer in answers:
            for record in answer["records"]:
                record["text"] = record["text"].replace(
                    '"display_name":"Region 4"', '"display_name":"Forged"'
                )
            digest = hashlib.sha256(hashlib.sha256(answer["envelope"].encode()).digest())
            for record in answer["records"]:
                digest.update(hashlib.sha256(record["text"].encode()).digest())
            moved[answer["address"]] = answer["address"] = digest.hexdigest()

    edit("answers", forge)(files)
    edit("observations", lambda rows: [row.update(payload=moved.get(row["payload"])) for row in rows])(files)
    written_again(files)


def say_nothing(**changes: Any) -> Callable[[Files], None]:
    """A pack that says that nothing happened, with these in pack.json."""

    def forge(files: Files) -> None:
        files.update({f"{name}.jsonl": b"" for name in ("transitions", "unseen")})
        if "from" in changes:  # what has not ended yet has to be there whenever it begins
            edit("gaps", lambda rows: rows.__delitem__(slice(0, -1)))(files)
        in_pack(**changes)(files)

    return forge


def say_twice(files: Files) -> None:
    """Readers differ in which of two values they take."""
    files["observations.jsonl"] = files["observations.jsonl"].replace(
        b'"outcome": "failed"', b'"outcome": "ok", "outcome": "failed"'
    )


FORGERIES: dict[str, Callable[[Files], None]] = {
    "an answer twice": edit("answers", lambda rows: rows.append(rows[0])),
    "an unseen span left out": edit("unseen", lambda rows: rows.pop()),
    "an unseen span that ends earlier": edit(
        "unseen", lambda rows: rows[0].update(until_at=rows[0]["missed_at"], until_seq=rows[0]["missed_seq"])
    ),
    "an unseen span that begins later": edit(
        "unseen", lambda rows: rows[0].update(from_at=rows[0]["missed_at"])
    ),
    "another cause of an unseen span": edit("unseen", lambda rows: rows[0].update(cause="nobody knows")),
    "missing since another time": edit(
        "transitions",
        lambda rows: first(rows, kind="disappeared").update(first_missing_at="2026-05-01T12:00:00.000000Z"),
    ),
    "a return that is the first appearance": edit(
        "transitions", lambda rows: first(rows, kind="reappeared").update(kind="appeared")
    ),
    "an appearance with an open window": edit(
        "transitions",
        lambda rows: next(r for r in rows if r["kind"] == "appeared" and r["not_before"]).update(
            not_before=None, basis="baseline"
        ),
    ),
    "an id that is only equal": edit("transitions", lambda rows: rows[-1].update(entity_id=3.0)),
    "a field more in a transition": edit("transitions", lambda rows: rows[-1].update(note="trust me")),
    "another cause of a gap": edit("gaps", lambda rows: rows[0].update(cause="nobody knows")),
    "fewer failed polls in a gap": edit("gaps", lambda rows: rows[0].update(failed_polls=99)),
    "fewer seconds in a gap": edit("gaps", lambda rows: rows[0].update(seconds=1.0)),
    "two values of one name": say_twice,
    "a begin in other digits": say_nothing(**{"from": "２026-05-01T12:00:00.000000Z"}),
    "a region by its text": say_nothing(regions=["3"]),
    "no region": say_nothing(regions=[]),
    "a state in the answers": edit("answers", swap_states),
    "a record left out": edit("answers", lambda rows: rows[0]["records"].pop()),
    "a record hidden and another hash": edit(
        "answers", lambda rows: rows[0]["records"].__setitem__(0, {"hash": "0" * 64})
    ),
    "an answer left out": edit("answers", lambda rows: rows.pop()),
    "a transition left out": edit("transitions", lambda rows: rows.pop()),
    "the first transition left out": edit("transitions", lambda rows: rows.pop(0)),
    "a transition that never was": edit(
        "transitions", lambda rows: rows.append(rows[-1] | {"entity_id": 4, "from_state": "ACTIVE"})
    ),
    "a transition twice": edit("transitions", lambda rows: rows.append(rows[-1])),
    "another state in a transition": edit("transitions", lambda rows: rows[-1].update(to_state="DELETED")),
    "a transition seen earlier": edit(
        "transitions", lambda rows: rows[-1].update(observed_at="2026-05-01T12:25:59.500000Z")
    ),
    "a narrower window": edit(
        "transitions", lambda rows: rows[-1].update(not_before="2026-05-01T12:25:58.500000Z")
    ),
    "a surer basis": edit("transitions", lambda rows: first(rows, basis="across_gap").update(basis="direct")),
    "another kind": edit("transitions", lambda rows: first(rows, kind="changed").update(kind="appeared")),
    "a gap left out": edit("gaps", lambda rows: rows.pop()),
    "a shorter gap": edit("gaps", lambda rows: rows[0].update(until_at="2026-05-01T12:04:00.000000Z")),
    "a gap that never was": edit(
        "gaps",
        lambda rows: rows.append(rows[0] | {"from_at": NOON.isoformat(), "until_at": "2026-05-01T12:01:00Z"}),
    ),
    "an unseen span that never was": edit(
        "unseen", lambda rows: rows.append(rows[0] | {"entity": "region", "entity_id": 3, "missed_seq": 2})
    ),
    "an observation left out": edit("observations", lambda rows: rows.pop(5)),
    "the newest observation left out": edit("observations", lambda rows: rows.pop()),
    "a failure made a success": edit("observations", lambda rows: rows[2].update(outcome="ok", cause=None)),
    "a time in an observation": edit(
        "observations", lambda rows: rows[3].update(last_asked_at="2026-05-01T12:04:00.000000Z")
    ),
    "another number of polls": edit("observations", lambda rows: rows[3].update(polls=99)),
    "another key looked": edit("observations", lambda rows: rows[9].update(key_fingerprint="f" * 32)),
    "missing regions in an observation": edit("observations", lambda rows: rows[4].update(missing=None)),
    "another source": in_pack(source="preprod"),
    "another head": in_pack(head={"seq": 16, "digest": "0" * 64}),
    "no answers, and an end before them": lambda files: files.update(
        {
            "answers.jsonl": b"",
            "pack.json": files["pack.json"].replace(b'"answers_up_to": 16', b'"answers_up_to": 0'),
        }
    ),
    "a file more": lambda files: files.update({"more.txt": b"trust me"}),
    "no gaps at all": lambda files: files.update({"gaps.jsonl": b""}),
    "no file of gaps": lambda files: files.__delitem__("gaps.jsonl"),
    "another format": in_pack(format=3),
    "an older format": in_pack(format=1),
}


@pytest.fixture(scope="module")
def true_pack(told_sqlite: Path) -> Files:
    """One pack for all forgers."""
    engine = open_engine(f"sqlite:///{told_sqlite}")
    files = build(History(engine))
    engine.dispose()
    return files


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_pack_is_broken(true_pack: Files, tmp_path: Path, name: str) -> None:
    files = dict(true_pack)
    FORGERIES[name](files)
    assert files != true_pack
    code, said = checked(files, tmp_path)
    assert code == 1
    assert said.startswith("BROKEN: ")
    assert said.count("\n") == 1


def test_hashes_that_are_not_made_right_are_found_too(true_pack: Files, tmp_path: Path) -> None:
    path = tmp_path / "pack.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in true_pack.items():
            archive.writestr(name, content + b"\n" if name == "queries.sql" else content)
    code, said = check(path)
    assert (code, said) == (1, "BROKEN: queries.sql does not have the hash that pack.json gives\n")


def test_a_pack_that_was_made_up_as_a_whole_needs_a_head_from_outside(
    true_pack: Files, tmp_path: Path
) -> None:
    """And is found by it."""
    files = dict(true_pack)
    head = json.loads(files["pack.json"])["head"]["digest"]
    assert checked(files, tmp_path, head)[0] == 0
    tell_otherwise(files)
    of_an_older_version(files)
    assert checked(files, tmp_path)[0] == 0
    code, said = checked(files, tmp_path, head)
    assert code == 1
    assert f"no observation has the head {head}" in said


def test_what_no_head_covers_is_said(true_pack: Files, tmp_path: Path) -> None:
    heads = {row["seq"]: row["opening_digest"] for row in rows(true_pack, "observations")}
    code, said = checked(true_pack, tmp_path, heads[5], heads[6].upper())
    assert code == 3
    first, why, *rest = said.splitlines()
    assert first.startswith("NOT PROVEN: ")
    assert why.startswith("no given head covers what came after observation 6")
    uncovered = [line for line in rest if line.endswith(", not covered by any given head")]
    assert len(uncovered) == sum(t["seq"] > 6 for t in rows(true_pack, "transitions")) > 0
    claims = rows(true_pack, "claims")
    assert said.count("it may have been made up") == sum(c["first_seq"] > 6 for c in claims) > 0
    partly = sum(c["first_seq"] <= 6 <= c["last_seq"] for c in claims)
    assert said.count("covered by a given head up to ") == partly > 0
    assert "given head" not in checked(true_pack, tmp_path, heads[16])[1]


def test_a_head_does_not_cover_how_long_its_own_observation_went_on(told: History, tmp_path: Path) -> None:
    """The last answer of a pack may have been given for longer than the time in question. The claim says so."""
    found = 0
    for end in (400, 700, 1000):
        files = build(told, 0, end)
        up_to = json.loads(files["pack.json"])["answers_up_to"]
        heads = {row["seq"]: row for row in rows(files, "observations")}
        if up_to == max(heads) or heads[up_to]["first_at"] < time_text(told.time(end)):
            continue
        code, said = checked(files, tmp_path, heads[up_to]["opening_digest"])
        assert code == 0, said
        last = sum(claim["last_seq"] == up_to for claim in rows(files, "claims"))
        assert said.count(f"it does not cover how long observation {up_to} went on") == last
        found += last
        code, said = checked(files, tmp_path, heads[up_to + 1]["opening_digest"])
        assert (code, "went on" in said) == (0, False)
    assert found


def test_a_reader_that_stops_reading_is_no_accident(true_pack: Files, tmp_path: Path) -> None:
    path = repacked(true_pack, tmp_path / "pack.zip")
    command = [sys.executable, str(CHECKER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 3


def put(name: str, content: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({name: content})


HOSTILE: dict[str, Callable[[Files], None]] = {
    "nested JSON": put("transitions.jsonl", b"[" * 200_000),
    "nested records": edit(
        "answers", lambda rows: rows[0]["records"][0].update(text="[" * 100_000 + "]" * 100_000)
    ),
    "a number of many digits": put("transitions.jsonl", b"9" * 10_000),
    "a number without end": put("gaps.jsonl", b'{"from_at": 1e999999999}'),
    "a list": put("observations.jsonl", b"[1, 2]\n"),
    "null": put("unseen.jsonl", b"null\n"),
    "no text": put("answers.jsonl", b"\xff\xfe"),
    "an end that is no number": in_pack(answers_up_to="all"),
    "what a terminal obeys": edit("gaps", lambda rows: rows[0].update(cause="\x1b[2J\r\nHOLDS\n")),
    "a name that a terminal obeys": put("a\nHOLDS\x1b[2J", b""),
    "half a character": edit("gaps", lambda rows: rows[0].update(cause="\ud800")),
    "a time of no calendar": in_pack(to="2026-13-99T00:00:00.000000Z"),
    "facts that fill the memory": in_pack(more=[0] * ((1 << 22) + 2)),
    "a row that fills the memory": put("gaps.jsonl", b"[" + b"[]," * (1 << 22) + b"[]]"),
    "a digest of another type": edit("observations", lambda rows: rows[0].update(opening_digest=[])),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_pack_that_is_made_to_harm_its_reader_is_broken(
    true_pack: Files, tmp_path: Path, name: str
) -> None:
    files = dict(true_pack)
    HOSTILE[name](files)
    code, said = checked(files, tmp_path)
    assert code == 1
    assert said.startswith("BROKEN: ")
    assert said.count("\n") == 1
    assert said.rstrip("\n").isprintable()


@pytest.mark.parametrize("what", ["file_size", "compress_type", "flag_bits"])
def test_a_zip_that_is_not_as_it_says_is_broken(true_pack: Files, tmp_path: Path, what: str) -> None:
    """Much larger, packed in a way that nobody knows, or under a password."""
    path = repacked(true_pack, tmp_path / "pack.zip")
    with zipfile.ZipFile(path, "a") as archive:
        entry = archive.getinfo("answers.jsonl")
        setattr(entry, what, {"file_size": 1 << 31, "compress_type": 77, "flag_bits": 1}[what])
        archive.comment = b"written again"
    code, said = check(path)
    assert (code, said.startswith("BROKEN: ")) == (1, True), said


def test_a_link_in_a_zip_is_broken(true_pack: Files, tmp_path: Path) -> None:
    """Whoever unpacks it and opens the page would open something else."""
    path = repacked(true_pack, tmp_path / "pack.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo("index.html").external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.comment = b"written again"
    assert check(path) == (1, "BROKEN: index.html is a link or the like, not a file\n")


def test_a_terminal_without_arrows_does_not_stop_the_checker(true_pack: Files, tmp_path: Path) -> None:
    path = repacked(true_pack, tmp_path / "pack.zip")
    done = subprocess.run(
        [sys.executable, str(CHECKER), str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert "ACTIVE \\u2192 MAINTENANCE" in done.stdout


# What is odd, but true, holds.


def test_copies_of_one_region_that_say_the_same_are_one(history: History, tmp_path: Path) -> None:
    """Ids 3 and 3.0, other spellings of times, unknown fields: none of that makes two."""
    copy = region(3, created_on="2024-01-01T00:00:00")
    alike = copy | {"id": 3.0, "created_on": "2024-01-01 00:00:00Z", "news": 1, "has_k8s": copy["has_k8s"]}
    other = copy | {"keystone": copy["keystone"] | {"state": "NEW"}}
    history.poll([region(1), copy])
    history.poll([region(1), copy, alike])
    history.poll([region(1), copy, other])
    history.poll([region(1, "NEW"), copy, {"state": "NEW"}])
    assert [row["rejected"] for row in history.rows("observations")] == [0, 0, 2, 1]
    for regions in (None, {1}, {3}, {1, 3}):
        code, said = checked(build(history, regions=regions), tmp_path)
        assert code == 0, said


def test_a_pack_that_begins_when_a_region_is_shown_again_holds(history: History, tmp_path: Path) -> None:
    history.poll([region(1), region(2)], at=0)
    history.poll(builders.answer([region(1)]) | {"count": 2}, at=60)
    history.poll([region(1), region(2, "NEW")], at=120)
    history.poll([region(1), region(2, "NEW")], at=180)
    for start in (119, 120, 121):
        files = build(history, start, 150)
        code, said = checked(files, tmp_path)
        assert code == 0, said
        assert len(rows(files, "transitions")) == (start <= 120)


@pytest.mark.parametrize(
    ("regions", "why"),
    [({2}, "observation 2 does not count region 2 as missing"), (None, "hides a record")],
)
def test_an_answer_in_which_a_region_is_neither_shown_nor_missing_needs_its_record(
    history: History, tmp_path: Path, regions: set[int] | None, why: str
) -> None:
    """Also where the answer proves no absence: in a pack of one region the observation tells whom it listed."""
    history.poll([region(1), region(2)], at=0)
    history.poll(builders.answer([region(1), region(2, "MAINTENANCE")]) | {"count": 3}, at=60)
    history.poll([region(1), region(2)], at=120)
    files = build(history, regions=regions)
    assert checked(files, tmp_path)[0] == 0
    hide("MAINTENANCE")(files)
    only("transitions", lambda row: row["kind"] == "appeared")(files)
    code, said = checked(files, tmp_path)
    assert (code, why in said) == (1, True), said


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all"])
def test_what_is_no_pack_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pack.zip"
    path.write_bytes(content)
    code, said = check(path)
    assert code == 1
    assert said.startswith(f"BROKEN: {path} is no zip file, or not all of one: ")


# The command


def test_the_command_writes_a_pack_that_its_own_checker_accepts(told: History, tmp_path: Path) -> None:
    url = told.engine.url.render_as_string(hide_password=False)
    path = tmp_path / "may.zip"
    arguments = ["audit", "pack", "--source", "gcore", "--from", "2026-05-01", "-o", str(path)]
    said = collector(*arguments, database_url=url)
    assert said.code == 0, said
    assert hashlib.sha256(path.read_bytes()).hexdigest() in said.out
    code, told_us = check(path)
    assert (code, told_us.startswith("NOT PROVEN: source gcore, ")) == (3, True)
    again = collector(*arguments, database_url=url)
    assert (again.code, "exists already" in again.err) == (2, True)
    for options, why in (
        (["--from", "2026-05-02", "--to", "2026-05-01", "--source", "gcore"], "is not before"),
        (["--from", "2026-05-01", "--source", "gcore", "--region", "atlantis"], "there is no region"),
        (["--from", "2026-05-01"], "one source"),
        (["--from", "2026-05-01", "--source", "nowhere"], "there is no source"),
    ):
        refused = collector("audit", "pack", *options, "-o", str(tmp_path / "no.zip"), database_url=url)
        assert (refused.code, why in refused.err) == (2, True), refused
    lost = collector(*arguments[:-1], str(tmp_path / "nowhere" / "x.zip"), database_url=url)
    assert (lost.code, "does not exist" in lost.err) == (2, True)
    assert sorted(p.name for p in tmp_path.glob("*.zip*")) == ["may.zip"]


def test_an_altered_history_is_not_packed(told: History, tmp_path: Path) -> None:
    with writing(told.engine) as connection:
        connection.execute(
            sa.update(state_transitions).where(state_transitions.c.seq == 4).values(to_state="DELETED")
        )
    url = told.engine.url.render_as_string(hide_password=False)
    path = tmp_path / "x.zip"
    said = collector(
        "audit", "pack", "--source", "gcore", "--from", "2026-05-01", "-o", str(path), database_url=url
    )
    assert said.code == 1
    assert "altered" in said.err
    assert not path.exists()


@pytest.mark.parametrize("name", ["README.txt", "queries.sql", "check.py"])
def test_what_is_beside_the_listings_is_in_the_wheel(name: str) -> None:
    assert Path(pack.__file__).with_name(name).is_file()


# Whatever legal oddity happens, a pack of a true history holds


def odd_records(chance: random.Random) -> list[Any]:
    """Up to five records: copies, ids and states that are none, objects that are missing or empty."""
    found: list[Any] = []
    for _ in range(chance.randint(0, 4)):
        number = chance.choice([1, 2, 3])
        record: Any = region(number, chance.choice(["ACTIVE", "NEW", "MAINTENANCE"]))
        odd: list[Json] = [
            {},
            {},
            {"id": float(number)},
            {"id": chance.choice([None, str(number), number + 0.5, 2**70, True])},
            {"state": chance.choice(["", None, "odd\nstate", 7, "a\0"])},
            {"keystone": chance.choice([None, {"state": "NEW"}, {"id": 1, "state": ""}])},
            {"keystone": None, "keystone_id": None},
            {"keystone_id": chance.choice([1, 2, "x", None])},
            {"metrics_database": chance.choice([None, {}, "x", {"id": 5}, {"id": None}])},
            {"metrics_database": None, "metrics_database_id": chance.choice([None, 10])},
        ]
        record |= chance.choice(odd)
        found.append(chance.choice([record] * 12 + [None, 7, "x", [record]]))
        if chance.random() < 0.2:
            same = [
                {},
                {"news": 1},
                {"created_on": "2024-01-01 00:00:00Z"},
                {"state": "NEW"},
                {"slug": "other"},
            ]
            found.append(record | chance.choice(same))
    return found


SEEDS = [3, *(pytest.param(i, marks=pytest.mark.slow) for i in range(4, 200))]


def odd_history(folder: Path, template: Path, chance: random.Random) -> History:
    """Up to 14 polls of odd answers at odd times, with other keys and intervals now and then."""
    database = folder / "collector.db"
    database.write_bytes(template.read_bytes())
    history = History(open_engine(f"sqlite:///{database}"), name=chance.choice(["gcore", "größe", "日本"]))
    said: list[Any] = [builders.answer([region(1)])]
    at = chance.choice([0, 3600 * 12 - 120])
    for _ in range(chance.randint(2, 14)):
        at += chance.choice([60, 60, 60, 30, 150, 200, 0, 3600 * 3])
        document = builders.answer(odd_records(chance))
        document |= chance.choice([{}] * 6 + [{"count": c} for c in (99, None, "x")])
        said.append(chance.choice([document] * 6 + [said[-1]] * 2 + [failure("timeout")]))
        if chance.random() < 0.15:
            history.restart(**chance.choice([{"api_key": "key-two"}, {"interval": timedelta(seconds=30)}]))
        history.poll(said[-1], at=at, took=chance.choice([0.0, 0.5, 5, 100]))
    return history


def odd_packs(
    history: History, chance: random.Random, folder: Path
) -> Iterator[tuple[datetime, UsageError | None]]:
    """Build and check packs of all and of some regions, from and to any time at which something was seen.

    Returns the end of each, and why it was refused.
    """
    observations = history.rows("observations")
    if all(row["outcome"] == "failed" for row in observations):
        return
    day = timedelta(days=1)
    marks = sorted({row[n] for row in observations for n in ("first_at", "last_at", "last_asked_at")})
    marks = [marks[0] - day, *marks, marks[-1] + day]
    for start, end in [(marks[0], marks[-1]), *(sorted(chance.sample(marks, 2)) for _ in range(3))]:
        for regions in (None, {1}, {2, 3}, {77}):
            try:
                with reading(history.engine) as connection:
                    packed, found = pack.build(
                        connection, history.source.name, start, end, made_at=end, regions=regions
                    )
            except UsageError as error:
                yield end, error
                continue
            path = folder / "pack.zip"
            path.write_bytes(packed)
            code, told = check(path, found.head or "")
            assert code == 0, (start, end, regions, told)
            yield end, None


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_packs_of_odd_histories_hold(tmp_path: Path, sqlite_template: Path, seed: int) -> None:
    """Only one that ends before the history begins is refused."""
    chance = random.Random(seed)
    history = odd_history(tmp_path, sqlite_template, chance)
    begins = history.rows("observations")[0]["first_at"]
    for end, refused in odd_packs(history, chance, tmp_path):
        assert (refused is not None) == (end <= begins)
        assert refused is None or re.search(r"the history of .* begins at", str(refused))
    history.engine.dispose()


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_packs_of_pruned_odd_histories_hold(tmp_path: Path, sqlite_template: Path, seed: int) -> None:
    """One that would rest on pruned answers is refused."""
    chance = random.Random(seed)
    history = odd_history(tmp_path, sqlite_template, chance)
    until = chance.choice(history.rows("observations"))["last_at"]
    prune(history.engine, history.source.name, until, made_at=history.time(history.at), made_by="a test")
    for _, refused in odd_packs(history, chance, tmp_path):
        assert refused is None or re.search("begins at|were pruned|no poll has succeeded", str(refused))
    history.engine.dispose()


def test_a_pack_of_some_regions_does_not_need_what_another_region_needs(
    history: History, tmp_path: Path
) -> None:
    """Region 2 came back after its absence had begun in the pruned time, as only another key had seen."""
    both = [region(1), region(2)]
    history.change(interval="10m")
    history.poll(both)
    history.poll([region(1)])
    history.restart(api_key="key-two")
    for state in ("MAINTENANCE", "ACTIVE", "MAINTENANCE"):
        history.poll([region(1, state)])
    history.restart(api_key="key-one")
    history.poll(both)
    history.poll([region(1, "MAINTENANCE"), region(2)])
    history.poll([region(1, "MAINTENANCE"), region(2, "MAINTENANCE")])
    whole = build(history, 3000, 5000)
    assert checked(whole, tmp_path)[0] == 0
    one = build(history, 3000, 5000, regions={1})
    assert len(rows(one, "observations")) < len(rows(whole, "observations"))
    prune(history.engine, "gcore", history.time(2400), made_at=history.time(history.at), made_by="a test")
    came_back = time_text(history.time(3600))
    why = f"answers that were pruned: region 2 reappeared at {came_back}; choose a time after {came_back}, or name"
    for regions in (None, {2}, {1, 2}):
        with pytest.raises(UsageError, match=why):
            build(history, 3000, 5000, regions=regions)
    for start, regions in ((3000, {1}), (3601, None), (3601, {2})):
        code, said = checked(build(history, start, 5000, regions=regions), tmp_path)
        assert code == 0, said
