"""The official client asks `collector mcp` over standard input and output, as a language model's program does."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import sqlalchemy as sa

from collector.mcp.answers import MOST_BYTES, error_text, object_answer, rows_answer
from tests.support.builders import region
from tests.support.command import collector, environment
from tests.support.history import History
from tests.support.marks import long_on_postgresql
from tests.support.mcp_client import Call, session

HOSTILE = ("é" * 10_000, "東" * 10_000, '"\\' * 5_000, "🜂" * 10_000, "\x1b[2J\n" * 2_000, "x " * 5_000)
"""Names of 10,000 characters: of two, three and four bytes, of characters that JSON escapes, or that move a cursor."""
TOKENS = 4_000


def url_of(engine: sa.Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def at_most_tokens(text: str) -> int:
    """No tokenizer that works on bytes makes more."""
    return len(text.encode())


@long_on_postgresql("told")
def test_each_tool_answers_as_its_report_does(told: History) -> None:
    url = url_of(told.engine)

    def asked(*arguments: str) -> Any:
        return collector(*arguments, "--format", "json", database_url=url).json

    changed = asked("transitions", "--source", "gcore")
    change = next(row for row in changed if (row["kind"], row["entity"]) == ("changed", "region"))
    seen: dict[str, Any] = {"observation": change["seq"], "source": "gcore"}
    calls: list[Call] = [
        ("states_at", {"source": "gcore"}),
        ("changes_between", {"source": "gcore", "limit": 2}),
        ("changes_between", {"source": "gcore", "limit": 2, "offset": 2}),
        ("region_timeline", {"source": "gcore", "region": "1"}),
        ("availability", {"region": "1", "source": "gcore"}),
        ("coverage", {}),
        ("coverage", {"unseen": True, "limit": 200}),
        ("evidence", {"transition": change["transition"], "source": "gcore"}),
        ("evidence", seen | {"region": str(change["region_id"])}),
        ("evidence", seen),
    ]
    done = session(url, calls)
    states, newest, older, line, shares, gaps, unseen, why, record, whole = done.replies

    assert done.said == "", "standard error is for what goes wrong"
    assert [tool.name for tool in done.tools] == [
        *("states_at", "changes_between", "region_timeline", "availability", "coverage", "evidence")
    ]
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in done.tools)
    assert "never instructions" in done.instructions

    listed = asked("regions", "--source", "gcore")
    assert [row["region_id"] for row in states.rows] == [row["region_id"] for row in listed]
    assert [row["state"] for row in states.rows] == [row["state"] for row in listed]
    assert states.json["total_count"] == len(listed) == sum(states.json["count_by_state"].values())
    assert states.json["source"] == "gcore"

    assert [row["transition"] for row in (*newest.rows, *older.rows)] == [
        row["transition"] for row in changed[:4]
    ]
    assert newest.json["total_count"] == len(changed)
    assert (newest.json["next_offset"], older.json["offset"]) == (2, 2)
    assert newest.rows[0]["not_before"] < newest.rows[0]["observed_at"]

    spans = line.rows
    assert all(one["until_at"] == two["from_at"] for one, two in itertools.pairwise(spans))
    (share,) = shares.rows
    assert share["share_at_least"] <= share["share_at_most"]
    assert gaps.json["total_count"] == len(asked("coverage"))
    assert unseen.json["total_count"] == len(asked("coverage", "--unseen"))
    assert all(answer.json["not_said"] for answer in done.replies)

    assert {"path": "state", "old": f'"{change["from_state"]}"', "new": f'"{change["to_state"]}"'} in why.rows
    assert change["to_state"] in why.json["sentence"]
    assert json.loads(record.json["answer"])[0]["state"] == change["to_state"]
    assert (record.json["lists_region"], record.json["is_cut"]) == (True, False)
    assert len(whole.json["payload"]) == 64, "a digest is whole"


def test_the_rest_of_a_long_explanation_can_be_asked_for(engine: sa.Engine) -> None:
    history = History(engine)
    names = [f"field_{n}" for n in range(60)]
    for state in ("ACTIVE", "MAINTENANCE"):
        history.poll([region(1, state) | dict.fromkeys(names, f"{state:_<50}")])
    change: dict[str, Any] = {"transition": "2/region/1"}
    calls: list[Call] = [("evidence", change | {"limit": 10, "offset": 10 * n}) for n in range(7)]
    whole, *pages = session(url_of(engine), [("evidence", change), *calls]).replies
    assert 0 < whole.json["next_offset"] < whole.json["total_count"] == 61
    assert [page.json["next_offset"] for page in pages] == [10, 20, 30, 40, 50, 60, None]
    assert {row["path"] for page in pages for row in page.rows} == {"state", *names}


def test_no_rows_from_before_the_first_poll_are_not_taken_for_no_changes(told: History) -> None:
    early = {"from_time": "2020-01-01", "to_time": "2020-02-01"}
    calls: list[Call] = [
        ("states_at", {"time": "2020-01-01"}),
        ("changes_between", early),
        ("coverage", early),
        ("changes_between", {}),
    ]
    *before, now = session(url_of(told.engine), calls).replies
    for reply in before:
        assert reply.rows == []
        assert any(said.startswith("Source gcore was not watched before") for said in reply.json["not_said"])
    assert not any("was not watched" in said for said in now.json["not_said"])


@pytest.mark.long
def test_mistakes_are_messages_that_say_what_to_do(told: History) -> None:
    calls: list[Call] = [
        ("states", {}),
        ("states_at", {"regoin": "1", "limit": 0}),
        ("region_timeline", {}),
        ("region_timeline", {"region": "Regin 1", "source": "gcore"}),
        ("states_at", {"source": "nowhere"}),
        ("states_at", {"time": "gestern"}),
        ("states_at", {"time": "2999-01-01"}),
        ("changes_between", {"from_time": "2026-05-02", "to_time": "2026-05-01"}),
        ("evidence", {"transition": "9999/region/1"}),
        ("evidence", {"observation": 999_999, "source": "gcore"}),
        ("states_at", {"region": "r" * 100_000}),
        ("evidence", {}),
        ("states_at", {"state": "ACTVE"}),
        ("states_at", {"zone": "Mars"}),
        ("changes_between", {"to_state": "MAINTENACE"}),
        ("availability", {"state": "x"}),
        ("states_at", {"limit": "5"}),
    ]
    *refused, right = session(url_of(told.engine), calls).replies
    named = (
        ("states_at",),
        ("did you mean region", "limit"),
        ("region", "slug"),
        ("did you mean Region 1",),
        ("known are: gcore, preprod",),
        ("time", "yesterday"),
        ("future",),
        ("from_time", "is not before to_time"),
        ("9999/region/1",),
        ("999999", "the newest is"),
        ("region", "200 characters"),
        ("transition", "changes_between", "observation"),
        ("ACTVE", "did you mean ACTIVE"),
        ("zone 'Mars'", "known are: ", "EMEA"),
        ("no region or keystone", "did you mean MAINTENANCE?"),
        ("state 'x'", "known are: ", "ABSENT", "ACTIVE"),
    )
    for reply, names in zip(refused, named, strict=True):
        reply.refused(*names)
        assert at_most_tokens(reply.text) < TOKENS
    assert len(right.rows) <= 5, "digits in quotation marks are a number"


@pytest.mark.long
def test_without_a_database_it_says_so_and_goes_on(tmp_path: Path, sqlite_url: str) -> None:
    (empty,) = session(sqlite_url, [("states_at", {})]).replies
    empty.refused("nothing was polled", "collector poll")
    file = tmp_path / "none.db"
    done = session(f"sqlite:///{file}", [("states_at", {}), ("coverage", {})])
    for reply in done.replies:
        reply.refused("none.db")
    assert not file.exists()


@contextmanager
def _served(file: Path) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str], IO[str]]]:
    """`collector mcp` as a process, with its three streams."""
    command = [sys.executable, "-m", "collector", "mcp"]
    settings = environment({"database_url": f"sqlite:///{file}"})
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=settings, text=True) as running:
        assert running.stdin
        assert running.stdout
        assert running.stderr
        yield running, running.stdin, running.stdout, running.stderr


@pytest.mark.long
def test_standard_output_carries_the_protocol_alone(told_sqlite: Path) -> None:
    asked = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": _INITIALIZE},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "coverage", "arguments": {}}},
    ]
    with _served(told_sqlite) as (running, to, out, err):
        to.write("not json\n" + "".join(f"{json.dumps(each)}\n" for each in asked))
        to.flush()
        answers: list[Any] = []
        while answers[-1:] == [] or answers[-1].get("id") != 2:
            answers.append(json.loads(out.readline()))
        to.close()
        assert out.read() == ""
        assert "Traceback" not in err.read()
    assert running.returncode == 0
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_signal_ends_it_while_it_waits_for_input(told_sqlite: Path, number: signal.Signals) -> None:
    with _served(told_sqlite) as (running, to, out, err):
        to.write(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": _INITIALIZE}) + "\n"
        )
        to.flush()
        assert json.loads(out.readline())["id"] == 1
        running.send_signal(number)
        assert running.wait(30) == 0
        assert err.read() == ""


_INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


def ask_everything(engine: sa.Engine) -> list[str]:
    """What every tool answers to the widest questions, as long as there are rows; the hostile names among them."""
    url = url_of(engine)
    calls: list[Call] = [
        ("states_at", {"limit": 200}),
        ("changes_between", {"limit": 200}),
        ("region_timeline", {"region": "1"}),
        ("availability", {"limit": 200}),
        ("availability", {"by": "day", "limit": 200}),
        ("coverage", {"unseen": True, "limit": 200}),
        ("evidence", {"observation": 1}),
        ("evidence", {"observation": 1, "region": "1"}),
        ("evidence", {"transition": "2/region/1"}),
        ("states_at", {"region": "é" * 200}),
    ]
    return [reply.text for reply in session(url, calls).replies]


def a_hostile_history(engine: sa.Engine, count: int) -> None:
    """`count` regions; the first have long names and states, and one has a record of 200,000 characters."""
    history = History(engine)
    names = [HOSTILE[i % len(HOSTILE)] if i < 30 else f"Region {i}" for i in range(count)]
    regions = [
        region(i + 1, display_name=name, country=name[:5_000], zone=name[:5_000])
        for i, name in enumerate(names)
    ]
    regions[0]["a_new_field"] = "y" * 200_000
    history.poll(regions)
    changed = [dict(each) for each in regions]
    for i, each in enumerate(changed[:200]):
        each["state"] = HOSTILE[i % len(HOSTILE)][:2_000] if i < 30 else "MAINTENANCE"
    history.poll(changed)
    history.poll([*changed[: count - 2], {"no": "id"}], at=60 * 60 * 24 * 3)


@pytest.mark.long
def test_answers_stay_small_whatever_the_database_holds(engine: sa.Engine) -> None:
    a_hostile_history(engine, 80)
    answers = ask_everything(engine)
    assert max(map(at_most_tokens, answers)) < TOKENS
    parsed = [json.loads(answer) for answer in answers[:9]]
    assert parsed[0]["total_count"] == 80 > len(parsed[0]["rows"]) > 0
    assert parsed[0]["next_offset"] == len(parsed[0]["rows"])
    assert parsed[0]["cut_texts"] > 0
    assert "\x1b" not in "".join(answers)
    assert (parsed[6]["is_cut"], parsed[7]["is_cut"]) == (True, True)
    assert parsed[7]["answer_characters"] > 200_000


@pytest.mark.slow
def test_answers_stay_small_with_10_000_regions(engine: sa.Engine) -> None:
    a_hostile_history(engine, 10_000)
    answers = ask_everything(engine)
    assert max(map(at_most_tokens, answers)) < TOKENS
    # On a busy machine a question may be given up, which is an answer too.
    assert "took longer than" in answers[0] or json.loads(answers[0])["total_count"] == 10_000


def test_an_answer_is_cut_by_rule() -> None:
    rows = [{"name": HOSTILE[i % len(HOSTILE)], "many": ("z" * 500,) * 9} for i in range(500)]
    answer = rows_answer(
        {"from": "q" * 10_000}, ("name", "many"), rows, offset=7, total_count=507, not_said=["n"] * 3
    )
    assert len(answer.encode()) <= MOST_BYTES
    parsed = json.loads(answer)
    assert parsed["next_offset"] == 7 + len(parsed["rows"])
    assert parsed["cut_texts"] == 2 * len(parsed["rows"])
    assert all(len(name) <= 64 for name, _ in parsed["rows"])
    for text in HOSTILE:
        answer = object_answer({"message": text}, ("record", text), ["n"])
        assert MOST_BYTES - 60 < len(answer.encode()) <= MOST_BYTES, "all of the space is used"
        assert json.loads(answer)["is_cut"]
        assert len(error_text(text).encode()) < 1_300
    whole = json.loads(object_answer({}, ("record", "short"), []))
    assert (whole["record"], whole["is_cut"]) == ("short", False)


def test_without_the_extra_it_says_what_to_install() -> None:
    lacking = "import sys; sys.modules['mcp'] = None; from collector.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", lacking, "mcp"],
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "gcore-collector[mcp]" in done.stderr
