"""What a poll costs, and that it is written as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.transactions import writing
from collector.errors import ClockError, LeaseLostError
from collector.gcore import jsontext, listing
from collector.gcore.reader import Reader
from collector.store import lease, writer
from collector.store.tables import observations, sources
from tests.support.builders import MISSING, answer, body, keystone, metrics_database, region
from tests.support.contents import contents
from tests.support.databases import copy_of
from tests.support.history import History, failure

_SET_UP = ("BEGIN", "SET LOCAL", "SET TRANSACTION")


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    """The statements that are executed within, without what only sets a transaction up."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(_SET_UP):
            seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often JSON was parsed and answers were understood."""
    counts = {"loads": 0, "listing_of": 0, "read": 0}

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            counts[name] += 1
            return function(*arguments)

        return call

    listing_of = counted("listing_of", listing.listing_of)
    monkeypatch.setattr(jsontext, "loads", counted("loads", jsontext.loads))
    monkeypatch.setattr(listing, "listing_of", listing_of)
    monkeypatch.setattr(writer, "listing_of", listing_of)
    monkeypatch.setattr(Reader, "read", counted("read", Reader.read))
    return counts


THREE = [
    region(1, metrics_database_id=1, metrics_database=metrics_database()),
    region(2, unknown_field={"a": 1}),
    region(3, keystone=MISSING),
    {"id": "not an id"},
]


# What a poll costs


def test_an_unchanged_poll_is_two_statements_and_parses_nothing(
    history: History, reads: dict[str, int]
) -> None:
    history.poll(THREE)
    for name in reads:
        reads[name] = 0
    for _ in range(3):
        with statements(history.engine) as seen:
            result = history.poll(THREE)
        assert len(seen) == 2, seen
        assert seen[0].startswith("UPDATE sources"), "the fence comes first"
        assert seen[1].startswith("UPDATE observations")
        assert result.outcome == "ok"
    assert reads == {"loads": 0, "listing_of": 0, "read": 0}
    assert history.row("observations")["polls"] == 4


def test_the_same_answer_with_other_key_order_and_spacing_is_two_statements(
    history: History, reads: dict[str, int]
) -> None:
    history.poll(THREE)
    document = answer([dict(reversed(r.items())) for r in reversed(THREE)])
    respelled = json.dumps(dict(reversed(document.items())), indent=3).encode()
    with statements(history.engine) as seen:
        history.poll(respelled)
    assert len(seen) == 2, seen
    assert reads["read"] == 2
    before = dict(reads)
    with statements(history.engine) as seen:
        history.poll(respelled)
    assert len(seen) == 2, seen
    assert reads == before, "the new spelling is remembered"
    assert history.row("observations")["polls"] == 3


def test_a_failing_poll_that_repeats_is_two_statements(history: History) -> None:
    history.poll(THREE)
    history.poll(failure("http_status", http_status=503))
    for message in ("one", "another"):
        with statements(history.engine) as seen:
            history.poll(failure("http_status", http_status=503, message=message, request_id=message))
        assert len(seen) == 2, seen
    assert [row["polls"] for row in history.rows("observations")] == [1, 3]


def test_an_answer_that_is_no_json_and_repeats_is_two_statements(history: History) -> None:
    history.poll(b"<html>")
    with statements(history.engine) as seen:
        history.poll(b"<html>")
    assert len(seen) == 2, seen


def test_a_partial_answer_that_repeats_is_two_statements(history: History) -> None:
    history.poll(THREE)
    history.poll(answer([region(1)], count=3))
    with statements(history.engine) as seen:
        assert history.poll(answer([region(1)], count=3)).outcome == "partial"
    assert len(seen) == 2, seen


def test_another_writer_in_between_makes_the_remembered_bytes_worthless(
    history: History, reads: dict[str, int]
) -> None:
    history.poll([region(1)], at=60)
    history.poll([region(1)], at=120)
    first, first_owner = history.writer, history.owner
    history.restart()
    history.poll([region(1), region(2)], at=180)
    history.restart()
    taken = lease.acquire(history.engine, "gcore", first_owner)
    first.lease = taken  # the same process comes back
    history._writer, history.owner = first, first_owner
    reads["loads"] = 0
    result = history.poll([region(1)], at=240)
    assert reads["loads"] > 0
    assert [t.kind for t in result.recorded.transitions] == ["disappeared", "disappeared"]


def test_equal_bytes_after_a_failure_open_a_row_of_their_own(history: History) -> None:
    for said in (THREE, failure(), THREE):
        history.poll(said)
    assert history.outcomes() == ["ok", "failed", "ok"]


def test_the_cost_of_a_change_does_not_grow_with_the_number_of_regions(engine: sa.Engine) -> None:
    def cost(number: int) -> int:
        history = History(engine, f"{number} regions")
        before = [region(i) for i in range(1, number + 1)]
        history.poll(before)
        with statements(engine) as seen:
            history.poll([region(1, "MAINTENANCE"), *before[1:]])
        return len(seen)

    assert cost(10) == cost(200)


# All or nothing

FIRST = [region(1, "NEW"), region(2), region(3), region(4), region(5)]
CHANGED = [
    region(1, "ACTIVE", slug="other", available_volume_types=["cold"]),
    region(3, keystone=MISSING),
    region(4, keystone=keystone(1004, state="NEW")),
    region(5, keystone_id=1004, keystone=keystone(1004, state="DELETED")),
    region(6, metrics_database_id=1, metrics_database=metrics_database(), not_documented=1),
    {"id": 7},
]


class _CrashError(Exception):
    """The process dies here."""


class _Crash:
    """Raises at the n-th statement, transaction set-up included; n = 0 never; or at the commit."""

    def __init__(self, engine: sa.Engine) -> None:
        self.at = self.seen = 0
        self.at_commit = False
        sa.event.listen(engine, "before_cursor_execute", self._execute)
        sa.event.listen(engine, "commit", self._commit)

    def arm(self, at: int = 0, *, at_commit: bool = False) -> None:
        self.at, self.seen, self.at_commit = at, 0, at_commit

    def _execute(self, *_: Any) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise _CrashError

    def _commit(self, *_: Any) -> None:
        if self.at_commit:
            raise _CrashError


@pytest.fixture
def twin(engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """A database in which nothing ever goes wrong. Both have the same salt."""
    monkeypatch.setattr(lease.secrets, "token_hex", lambda size: "ab" * size)
    with copy_of(engine, tmp_path / "twin.db") as other:
        yield other


Said = Any
SITUATIONS: dict[str, tuple[list[Said], Said]] = {
    "the first answer": ([], FIRST),
    "an unchanged answer": ([FIRST], FIRST),
    "a held answer": ([FIRST], [region(9)]),
    "a failure": ([FIRST], failure()),
    "a changed answer after a partial one": (
        [FIRST, answer([region(1)], count=5)],
        CHANGED,
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_crash_at_any_statement_leaves_the_database_as_before_and_the_next_poll_makes_up_for_it(
    engine: sa.Engine, twin: sa.Engine, situation: str
) -> None:
    before, said = SITUATIONS[situation]
    crash = _Crash(engine)

    def prepared(on: sa.Engine, name: str) -> History:
        history = History(on, name)
        for earlier in before:
            history.poll(earlier)
        _ = history.writer
        return history

    n = 0
    while True:
        n += 1
        name = f"source {n}"
        history, undisturbed = prepared(engine, name), prepared(twin, name)
        at = history.at + 60
        as_before = contents(engine)
        crash.arm(n)
        try:
            history.poll(said, at=at)
        except _CrashError:
            crash.arm()
        else:
            assert crash.seen < n, "an exception was swallowed"
            break
        assert contents(engine) == as_before, f"at statement {n}"
        history.poll(said, at=at)
        undisturbed.poll(said, at=at)
    assert n > 3
    crash.arm()
    undisturbed.poll(said, at=at)

    history, undisturbed = prepared(engine, "commit"), prepared(twin, "commit")
    as_before = contents(engine)
    crash.arm(at_commit=True)
    with pytest.raises(_CrashError):
        history.poll(said, at=at)
    crash.arm()
    assert contents(engine) == as_before
    for each in (history, undisturbed):
        each.poll(said, at=at)

    ours, theirs = contents(engine), contents(twin)
    for table in ours:
        assert ours[table] == theirs[table], table


def test_after_a_crash_the_remembered_answer_is_read_again(history: History, reads: dict[str, int]) -> None:
    crash = _Crash(history.engine)
    history.poll(FIRST, at=60)
    crash.arm(2)
    with pytest.raises(_CrashError):
        history.poll(FIRST, at=120)
    crash.arm()
    reads["loads"] = 0
    history.poll(FIRST, at=120)
    assert reads["loads"] == 1
    history.poll(FIRST, at=180)
    assert reads["loads"] == 1
    assert history.row("observations")["polls"] == 3


# What is not written


def test_a_writer_whose_lease_is_lost_writes_nothing_whatever_was_answered(history: History) -> None:
    history.poll(FIRST)
    with writing(history.engine) as connection:
        connection.execute(sa.update(sources).values(lease_owner="someone else", lease_epoch=99))
    before = contents(history.engine)
    for said in (FIRST, CHANGED, failure(), body([]), answer([], count=3)):
        with pytest.raises(LeaseLostError, match="gcore"):
            history.poll(said)
    assert contents(history.engine) == before


def test_a_clock_that_stepped_back_writes_nothing_not_even_for_equal_bytes(history: History) -> None:
    history.poll(FIRST, at=600)
    before = contents(history.engine)
    for said in (FIRST, CHANGED, failure()):
        with pytest.raises(ClockError):
            history.poll(said, at=0)
    assert contents(history.engine) == before


def test_every_poll_of_a_stretch_says_which_regions_it_misses(history: History) -> None:
    both, one = [region(1), region(2)], [region(1)]
    history.poll(both, at=0)
    cut = answer(one, count=2)
    assert [history.poll(cut, at=at).recorded.missing for at in (60, 120, 180)] == [{2}] * 3
    assert [history.poll(one, at=at).recorded.missing for at in (240, 300)] == [
        {2},
        set(),
    ]  # then it is absent


def test_a_held_answer_that_is_repeated_says_how_long_it_took_to_judge_it(history: History) -> None:
    history.poll([region(i) for i in range(1, 6)], at=0)
    held = [history.poll([region(1)], at=at) for at in (60, 120)]
    assert [result.outcome for result in held] == ["held", "held"]
    assert all(result.decide_seconds > 0 for result in held)


def forget_the_counters(history: History) -> None:
    """As when SQLite's write-ahead log is lost: the newest row is what its first poll left."""
    o = observations.c
    newest = history.rows("observations")[-1]
    first = {"last_at": newest["first_at"], "last_asked_at": newest["first_asked_at"], "polls": 1}
    with writing(history.engine) as connection:
        connection.execute(
            sa.update(observations).where(o.seq == newest["seq"]).values(longest_interval_ms=0, **first)
        )


def test_lost_counters_of_failures_count_in_the_gap_after_them(history: History) -> None:
    history.poll([region(1)])
    for cause in ("timeout", *["connect"] * 2, *["timeout"] * 3):
        history.poll(failure(cause, message=cause))
    forget_the_counters(history)
    history.poll([region(1)])
    gap = history.row("gaps")
    assert (gap["failed_polls"], gap["cause"]) == (6, "timeout")
    history.verify()


@pytest.mark.parametrize("key", ["key-one", "key-two"])
def test_a_window_begins_with_the_last_confirmation_even_if_its_counters_are_lost(
    history: History, key: str
) -> None:
    for _ in range(3):
        history.poll([region(1, "NEW"), region(2)])
    forget_the_counters(history)
    history.change(api_key=key)
    history.poll([region(1), region(3)])
    assert {t["not_before"] for t in history.transitions()[2:]} >= {history.time(179.5)}
    history.verify()
