"""Clocks that are wrong: that jump, that stop, and `Date` headers that lie.

Beside the collector's clock the tests keep the true one. What is about one source is tested in this process, with
clocks that the test makes up; what is about processes with `collector run`, whose clock a file sets.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from collector.audit.verify import verify
from collector.database.transactions import reading
from collector.errors import ClockError
from collector.gcore.client import Client
from collector.gcore.exchange import Answer, Exchange, Failure, Request
from collector.reports.status import SourceStatus, statuses
from collector.service.runner import Runner
from collector.settings.models import Source
from collector.simulator.scenario import KEY
from collector.store import lease
from tests.support import forks
from tests.support.builders import answer, body, region
from tests.support.command import environment
from tests.support.history import NOON, History
from tests.support.loopback import Peer, Server, Step, reply
from tests.support.services import Running, Start, events, looking_into, until

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
YEAR = 365 * DAY
TICK = timedelta(microseconds=1)
LEASE = 60 * SECOND
START_OF_TIME, END_OF_TIME = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Skewed:
    """A runner on a machine whose clock is wrong. The cloud keeps the true time; a poll takes two seconds of it, and
    the answer is true half-way."""

    def __init__(self, engine: sa.Engine, *, dates: bool = True) -> None:
        self.now = NOON
        """True time."""
        self.error = timedelta()
        """The machine's clock less true time."""
        self.error_within = timedelta()
        """What becomes of the error while the next poll is under way."""
        self.dates = dates
        self.states: list[tuple[datetime, str]] = [(NOON - DAY, "NEW")]
        """True time of each turn, and the state from then on."""
        self.down = False
        self.history = History(engine)
        source = Source(name="gcore", api_key="key-one")
        self.runner = Runner(engine, source, self._fetch, lease.process_name(), self.clock)

    def clock(self) -> datetime:
        return self.now + self.error

    def turn_to(self, state: str) -> None:
        """The region changes now."""
        self.states.append((self.now, state))

    def _fetch(self, request: Request) -> Answer | Failure:
        asked_at = self.clock()
        self.now += SECOND
        said = body(answer([region(1, self.states[-1][1])]))
        self.error += self.error_within
        self.error_within = timedelta()
        offset = max(self.clock(), asked_at) - self.now if self.dates and not self.down else None
        self.now += SECOND
        exchange = Exchange(asked_at, max(self.clock(), asked_at), offset)
        return Failure(exchange, "connect", "no connection") if self.down else Answer(exchange, said)

    def poll(self, after: timedelta = 58 * SECOND) -> bool:
        """One scheduled poll. Returns whether it was written."""
        self.now += after
        before = self.polls()
        self.runner.attempt()
        return self.polls() > before

    def polls(self) -> int:
        return sum(row["polls"] for row in self.history.rows("observations"))

    def status(self) -> SourceStatus:
        """As the machine itself tells it."""
        with reading(self.history.engine) as connection:
            (status,) = statuses(connection, self.clock())
        return status


@pytest.fixture
def skewed(engine: sa.Engine) -> Iterator[Skewed]:
    skewed = Skewed(engine)
    yield skewed
    check(skewed.history)


def check(history: History) -> None:
    """Time moves forward only, and everything follows from the evidence."""
    source = history.row("sources", name=history.source.name)
    rows = history.rows("observations", source_id=source["id"])
    assert all(row["first_asked_at"] <= row["first_at"] <= row["last_at"] for row in rows)
    assert all(row["last_asked_at"] <= row["last_at"] for row in rows)
    assert all(before["last_at"] < after["first_at"] for before, after in pairwise(rows))
    found = verify(history.engine, history.source.name)
    assert found.verdict == "good", found


# Jumps


@pytest.mark.parametrize(
    "jump", [HOUR + MINUTE, 3 * DAY, 10 * YEAR, -HOUR - MINUTE, -3 * DAY, -10 * YEAR], ids=str
)
def test_a_clock_that_jumps_is_found_out_by_the_date_said_once_and_forgotten_when_it_is_right_again(
    skewed: Skewed, jump: timedelta
) -> None:
    assert skewed.poll()
    assert skewed.poll()
    with capture_logs() as lines:
        skewed.error = jump
        assert not any(skewed.poll() for _ in range(4))
        assert skewed.status().verdict == "stale"
        assert skewed.runner.condition == "refused"
        assert skewed.runner.kept == 0
        skewed.turn_to("ACTIVE")
        skewed.error = timedelta()
        assert skewed.poll()
    (refused,) = events(lines, "not_written")
    assert "set the clock" in refused["error"]
    assert len(events(lines, "recovered")) == 1
    assert skewed.status().verdict == "good"
    change = skewed.history.transitions()[-1]
    assert (change["to_state"], change["basis"]) == ("ACTIVE", "across_gap")
    assert change["not_before"] <= skewed.states[-1][0] <= change["observed_at"]


@pytest.mark.parametrize("jump", [-HOUR, -3 * MINUTE], ids=str)
def test_a_clock_that_jumps_back_where_nobody_tells_the_date_is_refused_until_it_has_caught_up(
    engine: sa.Engine, jump: timedelta
) -> None:
    skewed = Skewed(engine, dates=False)
    assert skewed.poll()
    skewed.error = jump
    assert not skewed.poll()
    status = skewed.status()
    assert status.verdict == "stale"
    assert "is in the future" in status.why
    skewed.turn_to("ACTIVE")
    turned, last = skewed.states[-1][0], NOON + MINUTE
    while not skewed.poll():
        assert skewed.clock() < last
    assert skewed.poll()
    assert skewed.status().verdict == "good"
    change = skewed.history.transitions()[-1]
    assert change["not_before"] - LEASE <= turned <= change["observed_at"] - jump
    check(skewed.history)


@pytest.mark.parametrize("step", [-59 * SECOND, -SECOND, -TICK, SECOND, 59 * SECOND], ids=str)
def test_a_clock_that_is_set_by_seconds_costs_no_poll(skewed: Skewed, step: timedelta) -> None:
    skewed.poll()
    skewed.poll()
    skewed.error = step
    skewed.now += SECOND
    skewed.turn_to("ACTIVE")
    assert skewed.poll(SECOND)
    assert skewed.poll()
    rows = skewed.history.rows("observations")
    assert [row["outcome"] for row in rows] == ["ok", "ok"]
    change = skewed.history.transitions()[-1]
    # Moved forward by 58 s: nobody knows how much time passed since the answer before.
    assert change["basis"] == ("across_gap" if step == -59 * SECOND else "direct")
    assert change["not_before"] - abs(step) <= skewed.states[-1][0] <= change["observed_at"] + abs(step)
    assert skewed.status().verdict == "good"


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 40))])
def test_over_any_steps_of_the_clock_windows_contain_the_true_time_as_far_as_the_clock_was_right(
    skewed: Skewed, seed: int
) -> None:
    """A wrong clock moves a window by its error at most, and polls that are off by more than an hour are not there."""
    chance = random.Random(seed)
    largest, states = timedelta(), ["NEW", "ACTIVE", "MAINTENANCE"]
    written = 0
    for n in range(60):
        if chance.random() < 0.3:
            steps = [timedelta(), 20 * SECOND, 59 * MINUTE, 61 * MINUTE, 5 * YEAR]
            skewed.error = chance.choice([-1, 1]) * chance.choice(steps)
        if chance.random() < 0.3:
            skewed.turn_to(states[n % 3])
        skewed.down = chance.random() < 0.1 and abs(skewed.error) < HOUR
        if skewed.poll(chance.choice([SECOND, 58 * SECOND, 10 * MINUTE])):
            written += 1
            largest = max(largest, abs(skewed.error))
            assert largest < HOUR
    assert written >= 5
    for change in skewed.history.transitions():
        since = change["not_before"] or START_OF_TIME + 2 * HOUR
        assert any(
            state == change["to_state"] and since - largest <= at <= change["observed_at"] + largest
            for at, state in skewed.states
        ), change


@pytest.mark.parametrize("within", [-3 * YEAR, -HOUR - MINUTE, HOUR + MINUTE, 3 * YEAR], ids=str)
def test_a_clock_that_is_set_right_while_a_poll_is_under_way_leaves_no_time_that_never_was(
    skewed: Skewed, within: timedelta
) -> None:
    skewed.error, skewed.error_within = -within, within
    assert not skewed.poll()
    assert skewed.poll()
    assert all(abs(row["first_at"] - skewed.now) < 5 * MINUTE for row in skewed.history.rows("observations"))


def test_a_failure_over_which_the_clock_was_set_forward_is_not_written(skewed: Skewed) -> None:
    skewed.down, skewed.error, skewed.error_within = True, -3 * YEAR, 3 * YEAR
    with capture_logs() as lines:
        assert not skewed.poll()
    assert "set meanwhile" in events(lines, "not_written")[0]["error"]
    assert skewed.poll()


def test_after_a_poll_that_was_written_years_ahead_nothing_is_until_then_and_status_says_so(
    engine: sa.Engine,
) -> None:
    skewed = Skewed(engine, dates=False)
    skewed.poll()
    skewed.error = 5 * YEAR
    assert skewed.poll(), "nobody could know"
    seen = skewed.history.rows("observations")
    skewed.error = timedelta()
    with capture_logs() as lines:
        assert not any(skewed.poll() for _ in range(3))
    (refused,) = events(lines, "not_written")
    assert "docs/history.md" in refused["error"]
    status = skewed.status()
    assert (status.verdict, "2031-04-30" in status.why) == ("stale", True)
    assert skewed.history.rows("observations") == seen
    # Under another name it goes on at once.
    other = History(engine, "gcore-2")
    assert other.poll([region(1)]).outcome == "ok"
    # And so it does when that time has come.
    skewed.now += 5 * YEAR
    assert skewed.poll()
    check(skewed.history)


def test_a_machine_that_begins_in_1970_goes_on_when_its_clock_comes_right(skewed: Skewed) -> None:
    skewed.down = True
    skewed.error = datetime(1970, 1, 1, tzinfo=UTC) - NOON
    assert skewed.poll()
    skewed.down = False
    assert not skewed.poll(), "the first answer tells the date"
    skewed.error = timedelta()
    assert skewed.poll()
    assert skewed.status().verdict == "good"
    (baseline,) = skewed.history.transitions()
    assert baseline["basis"] == "baseline"


@pytest.mark.parametrize("end", [START_OF_TIME, END_OF_TIME], ids=["year 1", "year 9999"])
def test_at_the_ends_of_time_polls_are_written_or_refused_and_nothing_breaks(
    history: History, end: datetime
) -> None:
    at = (end - NOON) // TICK / 1_000_000

    def poll(moment: datetime) -> str:
        history.time = lambda _seconds: moment  # type: ignore[method-assign]  # seconds as a float are too coarse
        return history.poll([region(1)], at=at, took=0).outcome

    if end.year == 1:
        assert poll(end) == "ok"
        assert poll(end) == "ok"
        assert poll(end + YEAR) == "ok"
    else:
        assert poll(end - DAY) == "ok"
        assert poll(end) == "ok"
        with pytest.raises(ClockError, match="end of time"):
            poll(end)
        with pytest.raises(ClockError, match="set the clock"):
            poll(NOON)
    check(history)


@pytest.mark.parametrize("back", [TICK, 30 * SECOND], ids=str)
def test_a_moved_time_may_cross_midnight_and_everything_can_be_derived_again(
    history: History, back: timedelta
) -> None:
    """The moved time decides on which day a poll lies, and is stored in the row."""
    midnight = 12 * 3600.0
    history.poll([region(1, "NEW")], at=midnight - 0.000001)
    assert history.rows("observations")[0]["last_at"] == history.time(midnight) - TICK
    history.poll([region(1, "NEW")], at=midnight - back.total_seconds())
    history.poll([region(1, "ACTIVE")], at=midnight - back.total_seconds() + 0.000001)
    rows = history.rows("observations")
    assert [row["first_at"] - history.time(midnight) for row in rows[1:]] == [timedelta(), TICK]
    assert [row["first_at"].day for row in rows] == [1, 2, 2]
    assert [t["basis"] for t in history.transitions()] == ["baseline", "across_gap"]
    check(history)


def test_a_moved_time_just_within_the_gap_limit_and_just_beyond_it(history: History) -> None:
    history.poll([region(1, "NEW")], at=0)
    history.poll([region(1, "NEW")], at=-50)  # is moved to 0 and a microsecond
    history.poll([region(1, "NEW")], at=150.000001)
    assert [row["polls"] for row in history.rows("observations")] == [3]
    history.poll([region(1, "NEW")], at=300.000002)
    history.poll([region(1, "NEW")], at=290)
    history.poll([region(1, "ACTIVE")], at=450.000003)
    rows = history.rows("observations")
    assert [row["polls"] for row in rows] == [3, 2, 1]
    assert history.transitions()[-1]["basis"] == "direct"
    history.poll([region(1, "NEW")], at=450 + 150.000004)
    assert history.transitions()[-1]["basis"] == "across_gap"
    check(history)


# What `Date` says


def dated(date: str | None) -> Step:
    return reply(body=body(answer([region(1)])), **({} if date is None else {"Date": date}))


@contextmanager
def asked(engine: sa.Engine, *dates: str | None) -> Iterator[Callable[[], Runner]]:
    """A runner that asks a server which says these dates, one after the other. Each call is a poll a minute later."""
    now = NOON
    client = Client(clock=lambda: now)
    with Server(*map(dated, dates)) as server:
        source = Source(name="gcore", api_key="key-one", base_url=server.url)
        runner = Runner(engine, source, client.fetch, lease.process_name(), lambda: now)

        def poll() -> Runner:
            nonlocal now
            runner.attempt()
            now += MINUTE
            return runner

        yield poll
    client.close()


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("date", "is_written"),
    [
        (http_date(NOON - 59 * MINUTE), True),
        (http_date(NOON + 59 * MINUTE), True),
        (http_date(NOON - 61 * MINUTE), False),
        (http_date(NOON + 61 * MINUTE), False),
        (http_date(NOON - 10 * YEAR), False),
        (http_date(NOON + 10 * YEAR), False),
        ("Fri, 01 May 2026 12:59:60 GMT", True),
        ("Thu, 30 Apr 2026 23:59:60 GMT", False),
        ("Fri, 01 May 2026 14:00:00 +0200", True),
        ("Fri, 01 May 2026 12:00:00 +0200", False),
        ("Fri, 31 Dec 9999 23:59:59 GMT", False),
        ("Mon, 01 Jan 0001 00:00:00 GMT", False),
        ("Fri, 31 Dec 99999 23:59:59 GMT", True),
        (None, True),
        ("", True),
        ("yesterday", True),
        ("1777636800", True),
        ("Fri, 32 May 2026 12:00:00 GMT", True),
        ("Fri, 01 May 2026 25:61:61 GMT", True),
        ("\xff" * 500, True),
    ],
)
def test_a_date_that_differs_by_more_than_an_hour_is_believed_and_one_that_is_none_is_not(
    engine: sa.Engine, date: str | None, is_written: bool
) -> None:
    with asked(engine, date) as poll:
        runner = poll()
    assert (runner.condition, runner.last_result is not None) == (
        None if is_written else "refused",
        is_written,
    )


def test_dates_that_change_from_poll_to_poll_cost_only_the_polls_that_they_belong_to(
    engine: sa.Engine,
) -> None:
    dates = [
        http_date(NOON),
        http_date(NOON + YEAR),
        "nonsense",
        http_date(NOON - 2 * HOUR),
        http_date(NOON + 30 * MINUTE),
        None,
    ]
    with asked(engine, *dates) as poll, capture_logs() as lines:
        conditions = [poll().condition for _ in dates]
    assert conditions == [None, "refused", None, "refused", None, None]
    history = History(engine)
    assert sum(row["polls"] for row in history.rows("observations")) == 4
    assert len(events(lines, "not_written")) == len(events(lines, "recovered")) == 2
    check(history)


def test_a_clock_that_is_set_back_between_question_and_answer_is_found_out_by_the_date(
    engine: sa.Engine,
) -> None:
    """The answer can't come before the question, so the wrong time would be written."""
    readings = iter([NOON + 3 * YEAR])
    client = Client(clock=lambda: next(readings, NOON))
    with Server(dated(http_date(NOON))) as server:
        source = Source(name="gcore", api_key="key-one", base_url=server.url)
        runner = Runner(engine, source, client.fetch, lease.process_name(), lambda: NOON)
        runner.attempt()
        assert (runner.condition, runner.last_result) == ("refused", None)
        runner.attempt()
    client.close()
    assert runner.condition is None
    assert [row["first_at"] for row in History(engine).rows("observations")] == [NOON]


def test_a_commit_that_was_in_doubt_is_not_repeated_after_a_clock_that_stepped_back(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    skewed = Skewed(engine)
    skewed.poll()
    skewed.error = -59 * SECOND
    really_commit, left = engine.dialect.do_commit, [1]

    def lose_the_confirmation(connection: Any) -> None:
        really_commit(connection)
        if left:
            left.pop()
            raise engine.dialect.loaded_dbapi.OperationalError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(engine.dialect, "do_commit", lose_the_confirmation)
        skewed.runner.attempt()
    assert skewed.runner.condition == "database"
    skewed.poll()
    assert skewed.polls() == 3
    check(skewed.history)


# Zones

LOCAL = """
import json, sys
from datetime import UTC, datetime, timedelta
import sqlalchemy as sa
from collector import logs
from collector.cli.times import parse_time
from collector.reports.transitions import TransitionFilter, transitions
from collector.reports.words import transition_in_words
from collector.database.engine import open_engine
from collector.database.transactions import reading
from collector.service.schedule import Schedule
from tests.support.builders import region
from tests.support.history import History

engine, start = open_engine(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
history = History(engine)
history.time = lambda seconds: start + timedelta(seconds=seconds)
for n in range(12):
    states = ("NEW", "ACTIVE") if n % 2 else ("ACTIVE", "NEW")
    history.poll([region(1, states[0], created_on="2026-03-29T02:30:00")], at=n * 900.0)
schedule = Schedule()
schedule.put("gcore", timedelta(hours=1), lambda: None)
with reading(engine) as connection:
    said = [transition_in_words(row) for row in transitions(connection, TransitionFilter())]
tables = ("observations", "regions", "region_versions", "state_transitions")
other = {"opening_digest", "previous_digest", "digest"} if len(sys.argv) > 3 else set()
rows = {t: [{k: v for k, v in r.items() if k not in other} for r in history.rows(t)] for t in tables}
ahead = schedule.next_run("gcore") - datetime.now(UTC)
assert abs(ahead) < timedelta(minutes=5), ahead
assert history.rebuilt().different == 0
raw = []
if engine.dialect.name == "sqlite":
    with reading(engine) as connection:
        raw = [list(row) for row in connection.exec_driver_sql("SELECT first_at, last_at FROM observations")]
print(json.dumps([rows, said, str(parse_time("2026-03-29 02:30", datetime(2027, 1, 1, tzinfo=UTC))), raw], default=str))
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("zone", "before"),
    [
        ("Europe/Berlin", "2026-03-29T00:00:00+00:00"),
        ("Europe/Berlin", "2026-10-25T00:00:00+00:00"),
        pytest.param("Australia/Lord_Howe", "2026-04-04T14:00:00+00:00", marks=pytest.mark.slow),
        pytest.param("America/St_Johns", "2026-11-01T03:30:00+00:00", marks=pytest.mark.slow),
        pytest.param("Pacific/Kiritimati", "2026-12-31T09:00:00+00:00", marks=pytest.mark.slow),
        pytest.param("Pacific/Apia", "2011-12-30T09:00:00+00:00", marks=pytest.mark.slow),
    ],
)
def test_a_change_to_or_from_summer_time_changes_nothing(
    database_url: str, tmp_path: Path, zone: str, before: str
) -> None:
    """The same history in every zone of the machine: run twice, beside UTC."""

    def lived(zone: str, url: str) -> Any:
        done = forks.run(
            [sys.executable, "-c", LOCAL, url, before, "no digests"],
            env=environment({}) | {"TZ": zone},
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    twin = tmp_path / "twin.db"
    if database_url.startswith("sqlite"):
        twin.write_bytes((tmp_path / "collector.db").read_bytes())
        there = f"sqlite:///{twin}"
    else:
        from tests.support.databases import new_database

        url = sa.make_url(database_url)
        there = new_database(url, url.database).render_as_string(hide_password=False)
    ours, utc = lived(zone, database_url), lived("UTC", there)
    assert ours == utc
    rows = ours[0]["observations"]
    assert [row["first_at"] for row in rows] == [
        str(datetime.fromisoformat(before) + n * 15 * MINUTE) for n in range(12)
    ]
    assert ours[0]["regions"][0]["created_on"] == "2026-03-29 02:30:00+00:00", "naive times are UTC"
    assert ours[2] == "2026-03-29 02:30:00+00:00"


# The service, by a clock that a file sets

WRONG_CLOCK = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from apscheduler.schedulers import base
import collector.clock

step = Path(sys.argv.pop(1))

class Wrong(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(seconds=float(step.read_text()))

base.datetime = Wrong
collector.clock.utc_now = lambda: Wrong.now(UTC)
from collector.cli import main
main()
"""
"""All that reads the wall clock in a running service; leases are judged by the database's."""


class Clocked:
    """`collector run`, or another command, on a machine whose clock is set by the test."""

    def __init__(self, folder: Path, run: Start, url: str) -> None:
        self._start, self._url = run, url
        self._step, self._script = folder / "step", folder / "wrong_clock.py"
        self._script.write_text(WRONG_CLOCK)
        self.set(timedelta())

    def set(self, error: timedelta) -> None:
        new = self._step.with_suffix(".new")
        new.write_text(str(error.total_seconds()))
        new.replace(self._step)

    def command(self, *arguments: str) -> Sequence[str]:
        return [sys.executable, str(self._script), str(self._step), *arguments]

    def run(self, base_url: str) -> Running:
        return self._start(
            self._url,
            command=self.command("run"),
            imported=forks.LIBRARIES,
            base_url=base_url,
            interval="1s",
        )

    def exit_code(self, *arguments: str) -> int:
        """What another command says, by the same clock."""
        known = environment({"database_url": self._url, "api_key": KEY})
        command = self.command(*arguments)
        return forks.run(command, imported=forks.LIBRARIES, env=known, timeout=60).returncode


@pytest.fixture
def clocked(tmp_path: Path, start: Start, sqlite_url: str) -> Clocked:
    return Clocked(tmp_path, start, sqlite_url)


def true_date(peer: Peer) -> None:
    dated(http_date(datetime.now(UTC)))(peer)


@pytest.mark.long
def test_a_service_whose_clock_jumps_back_and_forth_by_years_refuses_meanwhile_and_goes_on_by_itself(
    clocked: Clocked,
    sqlite_url: str,
) -> None:
    with Server(true_date) as server:
        service = clocked.run(server.url)
        service.until_polled(2)
        for n, jump in enumerate((30 * YEAR, -30 * YEAR), 1):
            clocked.set(jump)
            service.until("not_written", n, condition="refused")
            asked = len(server.requests)
            until(lambda asked=asked: len(server.requests) >= asked + 3)  # it goes on asking
            assert clocked.exit_code("status") == 1
            clocked.set(timedelta())
            service.until("recovered", n)
            service.until_polled(2)
        assert service.stop() == 0
    assert service.lines("clock_set_back")
    assert service.lines("stuck") == []
    with looking_into(sqlite_url) as history:
        assert set(history.outcomes()) == {"ok"}
        moments = [row["last_at"] for row in history.rows("observations")]
        assert all(abs(moment - datetime.now(UTC)) < HOUR for moment in moments)
        check(history)


@pytest.mark.long
def test_a_service_whose_clock_is_set_back_without_a_date_asks_on_at_its_interval(clocked: Clocked) -> None:
    with Server(dated(None)) as server:
        service = clocked.run(server.url)
        service.until_polled(2)
        clocked.set(-HOUR)
        (refused,) = service.until("not_written")
        assert "already polled" in refused["error"]
        asked = len(server.requests)
        until(lambda: len(server.requests) >= asked + 3)
        assert clocked.exit_code("status") == 1
        clocked.set(timedelta())
        service.until("recovered")
        assert service.stop() == 0


@pytest.mark.long
def test_a_service_that_was_stopped_like_a_machine_asleep_makes_one_poll_for_all_that_it_missed(
    clocked: Clocked,
    sqlite_url: str,
) -> None:
    """A process that stands still while its clock goes on by an hour, and wakes up in the middle of nothing."""
    with Server(dated(None)) as server:
        service = clocked.run(server.url)
        service.until_polled(2)
        service.send(signal.SIGSTOP)
        sleep(0.2)
        asked = len(server.requests)
        clocked.set(HOUR)
        service.send(signal.SIGCONT)
        service.until_polled(3)
        assert len(server.requests) - asked < 60, "3600 runs were missed, and are not made up for"
        assert service.stop() == 0
    with looking_into(sqlite_url) as history:
        (gap,) = history.query(
            "SELECT seconds, cause FROM coverage_gaps WHERE until_at IS NOT NULL AND seconds > 3000"
        )
        assert gap["cause"] == "no_polls"
        check(history)
