"""Packs forged by who knows the checker: with all hashes made right, and digests as far as the head allows.

What a head covers can't be changed. So forgers leave out, cut, hide, and say more than was seen. Each is found, or the
checker says what the pack does not prove.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from collector.clock import time_text
from collector.database.engine import open_engine
from collector.inventory import chain
from tests.support.builders import answer, region
from tests.support.history import History, failure
from tests.support.packs import (
    Files,
    Json,
    build,
    checker,
    cut,
    edit,
    first,
    hide,
    in_pack,
    only,
    repacked,
    rows,
    said_of,
    written_again,
)

Forger = Callable[[Files], object]
ONE, TWO, THREE = region(1), region(2), region(3)
AWAY = TWO | {"state": "MAINTENANCE"}
"""Seconds after NOON, and what was answered; observations are numbered from 1."""
SAID: dict[int, Any] = {
    0: [ONE, TWO, THREE],  # 1
    60: [ONE, AWAY, THREE],  # 2
    120: [ONE, TWO | {"state": ""}, THREE],  # 3: 2 is named, and not shown
    180: [ONE, THREE],  # 4: 2 is absent
    240: failure("timeout"),  # 5
    300: failure("timeout"),
    360: failure("connect"),  # 6
    480: [ONE, TWO, THREE],  # 7: 2 is back, after a gap
    540: answer([ONE, TWO], count=3),  # 8
    600: [ONE, TWO, THREE | {"state": "NEW"}],  # 9: 3 changed, shown last before 540
    660: [ONE, TWO, THREE | {"state": "NEW"}, {"state": "NEW"}],  # 10: of nobody
    720: [ONE, TWO, THREE],  # 11
    780: [ONE, TWO, THREE],
    840: failure("timeout"),  # 12: the newest
}
END = 900


@pytest.fixture(scope="module")
def database(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("forgers") / "collector.db"
    path.write_bytes(sqlite_template.read_bytes())
    engine = open_engine(f"sqlite:///{path}")
    history = History(engine)
    for at, said in SAID.items():
        history.poll(said, at=at, took=1)
    history.verify()
    engine.dispose()
    return path


@pytest.fixture(scope="module")
def made(database: Path) -> Callable[..., Files]:
    def make(start: float = -60, end: float = END, **more: Any) -> Files:
        engine = open_engine(f"sqlite:///{database}")
        files = build(History(engine), start, end, **more)
        engine.dispose()
        return files

    return make


def heads(files: Files) -> dict[int, str]:
    return {row["seq"]: row["opening_digest"] for row in rows(files, "observations")}


def at(seconds: float) -> str:
    return time_text(History.time(seconds))


def all_of(*forgers: Forger) -> Forger:
    return lambda files: [forge(files) for forge in forgers]


def answers_of(begin: int, end: int) -> Forger:
    """Only the answers of these observations, and no observation before them."""
    return lambda files: cut(files, begin, end)


def claim(start: float, end: float) -> Forger:
    return in_pack(**{"from": at(start), "to": at(end), "made_at": at(END)})


def no_row(name: str, **where: Any) -> Forger:
    return only(name, lambda row: any(row[key] != value for key, value in where.items()))


def change(name: str, number: int, **values: Any) -> Forger:
    return edit(name, lambda all_: all_[number].update(values))


def transition(kind: str, **values: Any) -> Forger:
    """Edit the first transition of this kind."""
    return edit("transitions", lambda all_: first(all_, kind=kind).update(values))


def redact(*after: int) -> Forger:
    """Make redactions up, each after an observation, that let region 1 be in MAINTENANCE all the time."""

    def forge(files: Files) -> None:
        answers, left = rows(files, "answers"), []
        for one in answers:
            for record in one["records"]:
                if json.loads(record["text"]).get("id") == 1:
                    record["text"] = record["text"].replace('"ACTIVE"', '"MAINTENANCE"')
            texts = [one["envelope"], *(record["text"] for record in one["records"])]
            content = sha256(b"".join(sha256(text.encode()).digest() for text in texts)).hexdigest()
            left.append({"address": one["address"], "content": content, "redaction": len(after)})
        hashed = checker.digest_of([list(row.values()) for row in left])
        made: list[Json] = []
        for number, seq in enumerate(after, 1):
            facts = {"answers": hashed, "path": "results[].slug", "head": heads(files).get(seq)}
            row = {"number": number, "kind": "redaction", "made_at": at(0), "made_by": "me", "at_seq": seq}
            row |= {"facts": json.dumps(facts), "previous_digest": made[-1]["digest"] if made else "0" * 64}
            row["digest"] = checker.digest_of(
                [row["previous_digest"], "gcore", *(row[name] for name in checker.AMENDMENT)]
            )
            made.append(row)
        for name, found in (("answers", answers), ("redacted", left), ("amendments", made)):
            edit(name, lambda all_, found=found: all_.__setitem__(slice(None), found))(files)  # type: ignore[misc]
        edit(
            "claims",
            lambda all_: [row.update(state="MAINTENANCE") for row in all_ if row["region_id"] == 1],
        )(files)

    return forge


def merge(number: int) -> Forger:
    """Two stretches become one, whose digest is right."""

    def forge(all_: list[Json]) -> None:
        one, other = all_[number - 1], all_.pop(number)
        one |= {n: other[n] for n in ("last_at", "last_asked_at")} | {"polls": one["polls"] + other["polls"]}
        one |= {"longest_interval_ms": 60_000, "digest": chain.closing_digest(one)}

    return edit("observations", forge)


def swap(number: int) -> Forger:
    return edit("observations", lambda all_: all_.insert(number - 1, all_.pop(number)))


FOUND: dict[str, tuple[dict[str, Any], Forger, str]] = {
    "a begin that names who was there, and its disappearance left out": (
        {"start": 121},
        all_of(
            answers_of(3, 11),
            no_row("transitions", kind="disappeared"),
            only("unseen", lambda row: row["missed_seq"] > 3),
        ),
        "it begins with observation 3, which proves no absence of a region (it names 2 but does not show it)",
    ),
    "an end before a change whose window began in time": (
        {"start": 481, "end": 539.5},
        all_of(
            answers_of(7, 8), only("transitions", lambda row: row["seq"] < 9), only("unseen", lambda _: False)
        ),
        "answers up to observation 8 are not enough",
    ),
    "an end with an answer that was asked for before": (
        {"start": 481, "end": 599.5},
        all_of(answers_of(7, 9), only("unseen", lambda row: row["missed_seq"] < 10)),
        "answers up to observation 9 are not enough",
    ),
    "an end with an answer that proves no absence": (
        {"start": 481, "end": 650},
        answers_of(7, 10),
        "answers up to observation 10 are not enough",
    ),
    "answers up to a failure": ({}, in_pack(answers_up_to=12), "no answer belongs to observation 12"),
    "an unseen time that ended earlier": (
        {},
        change("unseen", 0, until_at=at(121), until_seq=3),
        "until_at is",
    ),
    "an unseen time that has not ended": (
        {},
        change("unseen", 0, until_at=None, until_seq=None),
        "until_at is",
    ),
    "an unseen time of another kind": ({}, change("unseen", 0, entity="metrics_database"), "is not among"),
    "an unseen time that begins with the answer": ({}, change("unseen", 0, from_at=at(61)), "from_at is"),
    "another first row": (
        {"start": 481},
        change("observations", 0, seq=1, previous_digest="0" * 64),
        "the opening digest does not match its facts",
    ),
    "a middle that is the first of all": (
        {"start": 481},
        edit(
            "observations", lambda all_: [r.update(seq=r["seq"] - all_[0]["seq"] + 1) for r in reversed(all_)]
        ),
        "the first observation has something before it",
    ),
    "two rows of one number": (
        {},
        edit("observations", lambda all_: all_.insert(4, dict(all_[3]))),
        "begins after the one before",
    ),
    "two failures made one": ({}, merge(5), "is missing"),
    "two rows swapped": ({}, swap(5), "begins after the one before"),
    "the tail left out, and the head of it named": (
        {},
        all_of(
            edit("observations", lambda all_: all_.pop()),
            edit("observations", lambda all_: all_[-1].update(digest=None)),
        ),
        "is not that of the observations",
    ),
    "the newest row closed": ({}, change("observations", -1, digest="0" * 64), "is closed"),
    "a stretch that went on over a gap": (
        {},
        change(
            "observations", 3, last_at=at(470), last_asked_at=at(469), polls=9, longest_interval_ms=60_000
        ),
        "begins after the one before",
    ),
    "a stretch that went on over failures": (
        {},
        change(
            "observations", 3, last_at=at(239), last_asked_at=at(238), polls=2, longest_interval_ms=59_000
        ),
        "its counters do not match its digest",
    ),
    "a poll more in the newest row": ({}, change("observations", -1, polls=2), "can't be"),
    "a newest row that goes on for ever": (
        {},
        change("observations", -1, polls=999, last_at=at(86_400), last_asked_at=at(86_399)),
        "an observation ends with its day",
    ),
    "counters that are no numbers": (
        {},
        change("observations", -1, variants=float("nan")),
        "NaN is not a number",
    ),
    "counters below zero": ({}, change("observations", -1, longest_interval_ms=-1), "no poll writes"),
    "a key that looked all the time": (
        {},
        change("observations", 6, key_fingerprint="0" * 32),
        "opening digest",
    ),
    "a gap in two pieces": (
        {},
        edit(
            "gaps",
            lambda all_: all_.__setitem__(
                slice(0, 1),
                [
                    all_[0] | {"until_at": at(300), "seconds": 120.0},
                    all_[0] | {"from_at": at(300), "seconds": 180.0},
                ],
            ),
        ),
        "gaps are not those",
    ),
    "a gap that ended at its first failure": (
        {},
        change("gaps", 0, until_at=at(240), seconds=60.0),
        "gaps are not those",
    ),
    "a gap by the cause of fewer polls": ({}, change("gaps", 0, cause="connect"), "cause is timeout"),
    "a gap that lasted no time": ({}, change("gaps", 0, seconds=True), "is not a number of seconds"),
    "a window that begins later": (
        {},
        transition("reappeared", not_before=at(300)),
        "not_before is",
    ),
    "a change that is as sure as can be": (
        {},
        transition("reappeared", basis="direct"),
        "basis is across_gap",
    ),
    "missing since later": (
        {},
        transition("disappeared", first_missing_at=at(180)),
        "first_missing_at is",
    ),
    "a number that is a text": (
        {},
        transition("disappeared", seq="4"),
        "not among the transitions",
    ),
    "a time in another zone": (
        {},
        transition("disappeared", observed_at="2026-05-01T14:03:00+02:00"),
        "observed_at is",
    ),
    "a region as a keystone": (
        {},
        edit(
            "transitions",
            lambda all_: first(all_, kind="disappeared", entity="region").update(entity="keystone"),
        ),
        "this is not among the transitions",
    ),
    "a record of nobody hidden in a pack of one region": (
        {"regions": {1}},
        hide('"state":"NEW"'),
        "rejected 1, but its answer contains 0 such records",
    ),
    "the unusable record of another hidden": (
        {"regions": {1}},
        hide('"state":""'),
        "rejected 1, but its answer contains 0 such records",
    ),
    "all records of a region hidden": (
        {"regions": {2}},
        all_of(hide('"id":2'), edit("transitions", list.clear), edit("unseen", list.clear)),
        "rejected 1, but its answer contains",
    ),
    "all usable records of a region hidden": (
        {"regions": {2}},
        all_of(hide('"state":"ACTIVE"'), hide('"state":"MAINTENANCE"')),
        "but it was not present",
    ),
    "one answer's record of a region hidden": (
        {"regions": {2}},
        hide('"state":"MAINTENANCE"'),
        "does not count region 2 as missing",
    ),
    "a pack of one region said to be of another that was missing": (
        {"regions": {1}},
        in_pack(regions=[1, 3]),
        "but it was not present",
    ),
    "a record more": (
        {},
        edit("answers", lambda all_: all_[0]["records"].append({"text": '{"id":9,"state":"ACTIVE"}'})),
        "content that does not match its address",
    ),
    "an envelope that says less": (
        {},
        edit("answers", lambda all_: all_[0].update(envelope='{"count":1}')),
        "content that does not match its address",
    ),
    "records in another order": (
        {},
        edit("answers", lambda all_: all_[0]["records"].reverse()),
        "content that does not match its address",
    ),
    "a redaction from before the pack, which no observation in it would contain": (
        {"start": 700},
        redact(3),
        "observation 9: amendment 1 can't have redacted its answer, which came later",
    ),
    "a redaction before one that an observation contains": (
        {"start": 700},
        redact(11, 3),
        "amendment 2: it can't have been made after observation 3",
    ),
    "a redaction after what was never observed": (
        {"start": 700},
        redact(99),
        "amendment 1: it can't have been made after observation 99",
    ),
    "a redaction that the next observation does not contain": (
        {"start": 700},
        redact(11),
        "observation 12: amended is None",
    ),
    "a begin before the first answer of the pack": ({"start": 481}, claim(100, END), "it begins later"),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_forgery_is_found(made: Callable[..., Files], tmp_path: Path, name: str) -> None:
    asked, forge, why = FOUND[name]
    files = made(**asked)
    head = heads(files)[12]
    assert said_of(files, tmp_path, head)[0].startswith("HOLDS: ")
    forged = dict(files)
    forge(forged)
    assert forged != files
    said = said_of(forged, tmp_path, head)
    assert said[0].startswith("BROKEN: "), said
    assert why in said[0]


def test_a_redaction_behind_the_newest_head_proves_nothing(
    made: Callable[..., Files], tmp_path: Path
) -> None:
    files = made(start=700)
    redact(12)(files)
    said, why = checker.examine(repacked(files, tmp_path / "pack.zip"), [heads(files)[12]], checker.Proof())
    assert "no given head covers what was left" in str(why)
    assert any(
        "redacted results[].slug" in line and ", not covered by any given head" in line for line in said
    )


# What is not found, since no digest covers it, is said


def test_how_long_the_newest_failure_went_on_is_said_to_be_open(
    made: Callable[..., Files], tmp_path: Path
) -> None:
    """Also where it began behind the time that is spoken of: its polls count in an open gap."""
    files = made(end=835)
    said = said_of(files, tmp_path, heads(files)[12])
    assert "observation 12 is open: no digest covers yet that 1 poll gave the same answer" in "\n".join(said)


def test_what_follows_the_last_head_that_was_given_is_said_to_be_uncovered(
    made: Callable[..., Files], tmp_path: Path
) -> None:
    """The newest answer's own opening is covered, and not how long it was given."""
    files = made(end=1200)
    head = heads(files)[11]

    def longer(all_: list[Json]) -> None:
        all_[10] |= {"last_at": at(839), "last_asked_at": at(838), "polls": 99, "longest_interval_ms": 60_000}

    edit("observations", longer)(files)
    written_again(files)
    edit("gaps", lambda all_: all_[-1].update(from_at=at(839)))(files)

    def as_long(all_: list[Json]) -> None:
        for claim in all_:
            if claim["last_seq"] == 11:
                claim |= {"until_at": at(838), "polls": claim["polls"] + 97}

    edit("claims", as_long)(files)
    _, why = checker.examine(repacked(files, tmp_path / "pack.zip"), [head], checker.Proof())
    assert "came after observation 11, nor how long that one went on" in why
    whole = repacked(made(end=1200), tmp_path / "pack.zip")
    assert checker.examine(whole, [heads(made())[12]], checker.Proof())[1] is None


def test_it_is_said_up_to_when_an_answer_was_seen(made: Callable[..., Files], tmp_path: Path) -> None:
    """A poll that failed saw nothing. How long the newest answer was given is covered once another row follows it."""
    assert ", as seen up to 2026-05-01 12:13:00Z" in said_of(made(end=830), tmp_path)[0]
    assert "as seen up to" not in said_of(made(end=780), tmp_path)[0]


def test_a_region_of_which_a_pack_has_no_record_is_named(made: Callable[..., Files], tmp_path: Path) -> None:
    """Region 1 was there all the time, and never missing. Who packs regions 2 can say that it speaks of 1, too."""
    files = made(regions={2})
    in_pack(regions=[1, 2])(files)
    said = said_of(files, tmp_path, heads(files)[12])
    assert said[0].startswith("HOLDS: ")
    assert [line for line in said if "no record of region 1 is given" in line]
    assert not [line for line in said if "no record of region 2" in line]


def test_a_key_that_looked_behind_the_answers_of_a_pack_is_said(history: History, tmp_path: Path) -> None:
    """What it sees first may have been there in any time before."""
    history.poll([region(1)], at=0)
    history.poll([region(1, "NEW")], at=120)
    quiet = build(history, 0, 100)
    history.change(api_key="another")
    history.poll([region(1, "NEW"), region(2)], at=180)
    files = build(history, 0, 100)
    assert [json.loads(each["pack.json"])["answers_up_to"] for each in (quiet, files)] == [2, 2]
    assert "another key or URL was used from observation 3 on" in "\n".join(said_of(files, tmp_path))
    assert "another key" not in "\n".join(said_of(quiet, tmp_path))


# True packs hold


def test_a_gap_is_open_by_the_longer_interval_also_where_the_later_polls_failed(
    history: History, tmp_path: Path, now: Any
) -> None:
    history.poll([region(1)], at=2500)
    history.restart(interval="600s")
    history.poll(failure("timeout"), at=3100)
    for end in (3300, 3590):
        files = build(history, 2400, end)
        assert rows(files, "gaps") == []
        assert said_of(files, tmp_path)[0].startswith("HOLDS: ")
