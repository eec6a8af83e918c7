"""Several replicas of a collector on one database, and everything that can come between reading and committing.

A state machine drives the real runners, writers and leases on real databases. Each attempt runs in its own thread and
can be stopped before any statement, before a commit and after it: to pause there, to lose its connection, or to die.
Each replica has its own clock. The test moves the database's clock, which decides about the leases. After every step,
the ledger of what was truly committed is compared with the database and with the log.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from structlog.testing import capture_logs

from collector.audit.verify import verify
from collector.database import timeouts
from collector.database.engine import open_engine
from collector.database.timeouts import LEASE_SECONDS
from collector.errors import DatabaseError
from collector.gcore.exchange import Answer, Exchange, Failure, Request
from collector.inventory.observation import Poll
from collector.poll import PollResult, Seen, write
from collector.service import runner as runner_module
from collector.service.keeper import Keeper
from collector.service.outage import Outage
from collector.service.runner import Runner
from collector.settings.models import Source
from collector.store import lease
from collector.store.tables import metadata
from collector.store.writer import Writer
from tests.support.builders import answer, body, region
from tests.support.databases import new_database, outage
from tests.support.history import NOON, History, failure
from tests.support.state_machines import explore

PATIENCE = 60.0
SOURCES = ("one", "two")
KEPT = 4
"""How many answers are kept while the database is away: few, so that there is sometimes no space for more."""

LONG = [region(1), region(2), region(3)]
ANSWERS: list[Any] = [
    [region(1, "NEW")],
    [region(1, "ACTIVE"), region(2)],
    LONG,
    LONG[:1],
    failure("timeout"),
    failure("connect"),
]

Place = Literal["answer", "statement", "commit", "committed"]
Action = Literal["pause", "break", "die"]


class Killed(BaseException):
    """`kill -9`: nothing of ours runs any more in this attempt."""


@dataclass(frozen=True)
class Disturbance:
    """What happens in an attempt, and where: after an answer, before a statement, before a commit, or after it."""

    is_writing: bool
    """Once there is an answer; else while the lease is taken."""
    place: Place
    passed: int
    """How many such places are passed first."""
    action: Action


_thread = threading.local()
_names = count(1)


# The database, and its clock


@dataclass
class Database:
    """One database for a test; `clean` empties it, `set_clock` makes its clock stand at a time."""

    url: str
    clean: Callable[[], None]
    set_clock: Callable[[datetime], None]
    prepare: Callable[[sa.Engine], None] = lambda _: None
    """Called with every engine that is opened."""
    engines: list[sa.Engine] = field(default_factory=list)
    """One engine for each replica, and one for the checks. They are kept, because each compiles every statement."""

    @property
    def is_postgresql(self) -> bool:
        return self.url.startswith("postgresql")


@contextmanager
def sqlite(template: Path, folder: Path) -> Iterator[Database]:
    """Its clock is the function `strftime`, which every connection replaces by our own."""
    path = folder / "model.db"
    now = NOON

    def strftime(form: str, _: str, modifier: str) -> str:
        assert form == "%Y-%m-%dT%H:%M:%f"
        moment = now + timedelta(seconds=int(modifier.removesuffix(" seconds")))
        return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")

    def connect(raw: Any, _: Any) -> None:
        raw.create_function("strftime", 3, strftime)
        raw.execute("PRAGMA busy_timeout = 20").close()
        raw.execute("PRAGMA synchronous = OFF").close()

    def clean() -> None:
        for each in folder.glob("model.db*"):
            each.unlink()
        shutil.copy(template, path)

    def set_clock(at: datetime) -> None:
        nonlocal now
        now = at

    yield Database(
        f"sqlite:///{path}", clean, set_clock, lambda engine: sa.event.listen(engine, "connect", connect)
    )


@contextmanager
def postgresql(template: sa.URL) -> Iterator[Database]:
    """Its clock is the function `clock_timestamp`; the search path finds one of our own first."""
    url = new_database(template, template.database)
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)

    def execute(*statements: str) -> None:
        with admin.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    execute(
        "CREATE SCHEMA clock",
        "CREATE TABLE clock.stands (at timestamptz NOT NULL)",
        f"INSERT INTO clock.stands VALUES ('{NOON.isoformat()}')",
        "CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE"
        " AS 'SELECT at FROM clock.stands'",
        f"ALTER DATABASE {url.database} SET search_path = clock, public, pg_catalog",
    )
    tables = ", ".join(metadata.tables)
    yield Database(
        url.render_as_string(hide_password=False),
        lambda: execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"),
        lambda at: execute(f"UPDATE clock.stands SET at = '{at.isoformat()}'"),
    )
    admin.dispose()


# Replicas


class Attempt:
    """One `Runner.attempt` in a thread; it rests when it is paused or over."""

    def __init__(self, slot: Slot, says: Any, disturbance: Disturbance | None) -> None:
        self.slot, self.says, self.disturbance = slot, says, disturbance
        self.passed: Counter[Place] = Counter()
        self.is_paused = self.is_over = self.is_killed = False
        self.error: BaseException | None = None
        self.in_hand: tuple[Poll, Writer] | None = None
        """What is being written."""
        self.fetched = False
        self._go_on, self._rests = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._first_line = len(slot.replica.model.lines)

    def start(self, *, wait: bool = True) -> None:
        self._thread.start()
        if wait:
            self.rest()

    def go_on(self, disturbance: Disturbance | None = None, *, wait: bool = True) -> None:
        """Out of the pause. Places are counted from there."""
        self.disturbance, self.is_paused = disturbance, False
        self.passed.clear()
        self._rests.clear()
        self._go_on.set()
        if wait:
            self.rest()

    def rest(self) -> None:
        assert self._rests.wait(PATIENCE), "an attempt hangs"
        if self.is_over:
            self._thread.join(PATIENCE)
            if self.error is not None:
                self.slot.replica.model.is_broken = True
                raise self.error

    @property
    def lines(self) -> list[Any]:
        """What this attempt logged."""
        lines = self.slot.replica.model.lines[self._first_line :]
        return [line for line in lines if line["thread"] == self._thread.ident]

    def come_to(self, place: Place, raw: Any = None) -> None:
        """In the thread of the attempt: here something may happen."""
        if self.is_killed:
            raise Killed
        passed, disturbance = self.passed[place], self.disturbance
        if disturbance is None or (disturbance.is_writing, disturbance.place) != (self.fetched, place):
            return
        self.passed[place] += 1
        if disturbance.passed != passed:
            return
        action = disturbance.action
        if action == "pause":
            self.is_paused = True
            self._go_on.clear()
            self._rests.set()
            self._go_on.wait()
            if self.is_killed:
                raise Killed
        elif action == "die":
            self.is_killed = True
            raise Killed
        elif raw is not None:
            if self.slot.replica.model.database.is_postgresql:
                getattr(raw, "dbapi_connection", raw).close()
            raise self.slot.replica.engine.dialect.loaded_dbapi.OperationalError("the connection broke")

    def _run(self) -> None:
        _thread.attempt = self
        try:
            self.slot.runner.attempt()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where the attempt is waited for
            self.error = error
        finally:
            self.is_over = True
            self._rests.set()


@dataclass(eq=False)
class Slot:
    """One source of one replica."""

    replica: Replica
    source: str
    runner: Runner
    fetched: int = 0
    written: int = 0
    reported: int = 0
    """Answers of which a line says that they are lost."""
    attempt: Attempt | None = None

    def lost(self) -> int:
        """Answers that were fetched, and are neither written nor kept."""
        return self.fetched - self.written - self.runner.kept


class Replica:
    """A process: an engine, a name, a clock, and a runner for each source."""

    def __init__(self, model: Model, number: int, offset: float) -> None:
        self.model, self.number, self.offset = model, number, offset
        self.owner = f"host-{number}:{next(_names)}:abc"
        self.engine = model.database.engines[number]
        self.away = Outage()
        self.slots = {name: self._slot(name) for name in SOURCES}

    def clock(self) -> datetime:
        return NOON + timedelta(seconds=self.model.now + self.offset)

    def renew(self, source: str) -> None:
        """A new runner, as after SIGHUP."""
        self.slots[source] = self._slot(source)

    def _slot(self, source: str) -> Slot:
        setting = Source(name=source, api_key="key-one")
        return Slot(
            self, source, Runner(self.engine, setting, self._fetch, self.owner, self.clock, away=self.away)
        )

    def _fetch(self, _: Request) -> Answer | Failure:
        attempt: Attempt = _thread.attempt
        asked_at = self.clock()
        exchange = Exchange(asked_at, asked_at + timedelta(seconds=0.5))
        attempt.slot.fetched += 1
        attempt.fetched = True
        self.model.said[id(asked_at)] = (exchange, attempt.says)
        attempt.come_to("answer")
        if isinstance(attempt.says, Failure):
            return Failure(exchange, attempt.says.cause, attempt.says.message)
        return Answer(exchange, body(answer(attempt.says)))


def disturbed(engine: sa.Engine) -> sa.Engine:
    """Every statement and commit of an attempt is a place where it may be disturbed."""
    dialect: Any = engine.dialect
    really_execute, really_commit = dialect.do_execute, dialect.do_commit

    def execute(cursor: Any, *arguments: Any) -> None:
        attempt: Attempt | None = getattr(_thread, "attempt", None)
        if attempt is not None:
            attempt.come_to("statement", cursor.connection)
        really_execute(cursor, *arguments)

    def commit(raw: Any) -> None:
        attempt: Attempt | None = getattr(_thread, "attempt", None)
        if attempt is not None:
            attempt.come_to("commit", raw)
        really_commit(raw)
        if attempt is not None:
            if attempt.in_hand is not None:
                attempt.slot.replica.model.enter(attempt.slot, *attempt.in_hand)
            attempt.come_to("committed", raw)

    dialect.do_execute, dialect.do_commit = execute, commit
    return engine


@dataclass(frozen=True)
class Entry:
    """A poll that was truly committed."""

    epoch: int
    seq: int


def disturbances(*actions: Action) -> st.SearchStrategy[Disturbance | None]:
    """To take a lease and look at the source is two transactions, to write one, now and then one more."""
    action = st.sampled_from(actions)
    return st.one_of(
        st.just(Disturbance(True, "committed", 0, actions[0])),
        st.builds(Disturbance, st.just(True), st.sampled_from(["commit", "committed"]), st.just(0), action),
        st.builds(Disturbance, st.just(True), st.just("statement"), st.integers(0, 12), action),
        st.none(),
        st.builds(Disturbance, st.just(True), st.just("answer"), st.just(0), action),
        st.builds(Disturbance, st.just(False), st.just("statement"), st.integers(0, 9), action),
        st.builds(
            Disturbance, st.just(False), st.sampled_from(["commit", "committed"]), st.integers(0, 1), action
        ),
    )


@dataclass(frozen=True)
class Turn:
    """One attempt, a number of seconds after the last one, by a clock that moved."""

    says: Any
    disturbance: Disturbance | None
    seconds: float
    drift: float


def turns() -> st.SearchStrategy[Turn]:
    return st.builds(
        Turn,
        st.sampled_from(ANSWERS),
        disturbances("break", "break", "pause", "die"),
        st.sampled_from([0.0, 1.0, 20.0, LEASE_SECONDS + 1.0]),
        st.sampled_from([0.0, -2.0, 2.0]),
    )


class Model(RuleBasedStateMachine):
    """Three replicas, two sources."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.stack = ExitStack()
        self.stack.enter_context(pytest.MonkeyPatch.context()).setattr(runner_module, "write", self._write)
        self.lines: list[Any] = self.stack.enter_context(capture_logs(processors=[_with_thread]))
        self.now = 0.0
        self.said: dict[int, tuple[Exchange, Any]] = {}
        self.ledger: dict[str, dict[int, Entry]] = {name: {} for name in SOURCES}
        self.writers: dict[tuple[str, int], Writer] = {}
        self.epochs: Counter[str] = Counter()
        self.known_dead: set[str] = set()
        self.outage: ExitStack | None = None
        self.outage_left = 0
        self.is_broken = False
        """An unexpected exception was raised. Its consequences must not hide it."""
        self.left: list[Slot] = []
        """Slots that were stopped while an attempt was under way."""
        for engine in database.engines:
            engine.dispose()
        self.database.clean()
        self.database.set_clock(NOON)
        self.engine = database.engines[-1]
        self.history = History(self.engine)
        self.replicas = [Replica(self, n, 0.0) for n in range(3)]
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(lease, "is_dead", self.known_dead.__contains__)
        patch.setattr(runner_module, "MAX_KEPT", KEPT)

    # What happens

    @rule(
        number=st.integers(0, 2),
        source=st.sampled_from(SOURCES),
        turns=st.lists(turns(), min_size=1, max_size=6),
    )
    def attempts(self, number: int, source: str, turns: list[Turn]) -> None:
        for turn in turns:
            self.time_passes(turn.seconds)
            self.drift(number, turn.drift)
            self.attempt(number, source, turn.says, turn.disturbance)

    @rule(source=st.sampled_from(SOURCES), turns=st.lists(turns(), min_size=1, max_size=6))
    def attempts_of_all(self, source: str, turns: list[Turn]) -> None:
        for n, turn in enumerate(turns):
            self.time_passes(turn.seconds)
            self.attempt(n % 3, source, turn.says, turn.disturbance)

    def attempt(self, number: int, source: str, says: Any, disturbance: Disturbance | None) -> None:
        slot = self.replicas[number].slots[source]
        if slot.attempt is None:
            slot.attempt = Attempt(slot, says, disturbance)
            slot.attempt.start()
            self._settle(slot.attempt)
            self.outage_left -= 1
            if self.outage is not None and self.outage_left <= 0:
                self.database_comes_back()

    @precondition(lambda self: self.paused)
    @rule(which=st.integers(0, 5), disturbance=disturbances("break", "pause", "die"))
    def go_on(self, which: int, disturbance: Disturbance | None) -> None:
        attempt = self.paused[which % len(self.paused)]
        attempt.go_on(disturbance)
        self._settle(attempt)

    @precondition(lambda self: self.paused and self.database.is_postgresql and not self.outage)
    @rule(which=st.integers(0, 5), number=st.integers(0, 2), says=st.sampled_from(ANSWERS))
    def overtake(self, which: int, number: int, says: Any) -> None:
        """While one attempt is paused, another comes; perhaps it waits for a row lock when the first goes on."""
        first = self.paused[which % len(self.paused)]
        slot = self.replicas[number].slots[first.slot.source]
        if slot.attempt is None:
            slot.attempt = second = Attempt(slot, says, None)
            second.start(wait=False)
            ends = monotonic() + 0.1
            while not second.is_over and monotonic() < ends:
                sleep(0.005)
            first.go_on(wait=False)
            first.rest()
            second.rest()
            self._settle(first)
            self._settle(second)

    @precondition(lambda self: self.paused and self.database.is_postgresql and not self.outage)
    @rule()
    def evict(self) -> None:
        """What the server does when a transaction was idle for too long."""
        self.history.query(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
        )

    @rule(seconds=st.sampled_from([1.0, 20.0, LEASE_SECONDS - 1.0, LEASE_SECONDS + 1.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.outage is None:
            self.database.set_clock(NOON + timedelta(seconds=self.now))

    @rule(number=st.integers(0, 2), seconds=st.sampled_from([-70.0, -2.0, -0.5, 30.0]))
    def drift(self, number: int, seconds: float) -> None:
        replica = self.replicas[number]
        replica.offset = max(-120.0, min(120.0, replica.offset + seconds))

    @rule(number=st.integers(0, 2), is_noticed=st.booleans())
    def kill(self, number: int, is_noticed: bool) -> None:
        """`kill -9`, and a new process. `is_noticed`: others on its host can tell."""
        self._die(self.replicas[number], is_noticed=is_noticed)

    @rule(number=st.integers(0, 2))
    def take_for_dead(self, number: int) -> None:
        """Another sees no such process, though it lives: the fence must stop it."""
        self.known_dead.add(self.replicas[number].owner)

    @rule(number=st.integers(0, 2))
    def restart(self, number: int) -> None:
        """SIGTERM, and a new process."""
        replica = self.replicas[number]
        for name in SOURCES:
            self._stop(replica, name)
        self.replicas[number] = Replica(self, number, replica.offset)

    @rule(number=st.integers(0, 2), source=st.sampled_from(SOURCES))
    def reload(self, number: int, source: str) -> None:
        """SIGHUP with other settings for a source."""
        self._stop(self.replicas[number], source)
        self.replicas[number].renew(source)

    @rule(number=st.integers(0, 2), says=st.sampled_from(ANSWERS))
    def keep(self, number: int, says: Any) -> None:
        replica = self.replicas[number]
        now: list[str] = []
        runners = {name: slot.runner for name, slot in replica.slots.items()}
        with suppress(DatabaseError):
            Keeper(replica.engine, replica.owner, runners, now.append).round()
        for name in now:
            self.attempt(number, name, says, None)

    @precondition(lambda self: self.outage is None and (self.database.is_postgresql or not self.paused))
    @rule(attempts=st.integers(1, 8))
    def database_goes(self, attempts: int) -> None:
        """It is back after a number of attempts."""
        self.engine.dispose()
        self.outage = ExitStack()
        self.outage.enter_context(outage(self.database.url))
        self.outage_left = attempts

    def database_comes_back(self) -> None:
        assert self.outage is not None
        self.outage.close()
        self.outage = None
        self.database.set_clock(NOON + timedelta(seconds=self.now))

    # How it is brought about

    @property
    def paused(self) -> list[Attempt]:
        slots = [slot for replica in self.replicas for slot in replica.slots.values()] + self.left
        return [slot.attempt for slot in slots if slot.attempt is not None and not slot.attempt.is_over]

    def _write(self, source: Source, seen: Seen, writer: Writer, clock: Any) -> PollResult:
        """The real `write`, in a wrapper that tells what it is about."""
        attempt: Attempt = _thread.attempt
        attempt.in_hand = (seen.poll, writer)
        try:
            result = write(source, seen, writer, clock)
        finally:
            attempt.in_hand = None
        attempt.slot.written += 1
        entry = self.ledger[source.name].get(id(seen.poll.asked_at))
        assert entry is not None, "reported as written, and not committed"
        assert entry.seq == result.recorded.seq
        return result

    def enter(self, slot: Slot, poll: Poll, writer: Writer) -> None:
        """Just after a commit: who wrote, in which epoch, into which observation."""
        held = writer.lease
        row = self.history.row("sources", name=slot.source)
        assert self.writers.setdefault((slot.source, held.epoch), writer) is writer, (
            "two writers in one epoch"
        )
        entries = self.ledger[slot.source]
        assert all(entry.epoch <= held.epoch for entry in entries.values()), "written after a successor wrote"
        if not any(a is not slot.attempt and not a.is_paused for a in self.paused):
            assert row["lease_epoch"] == held.epoch, "written after a successor took the lease"
        entries.setdefault(id(poll.asked_at), Entry(held.epoch, row["newest_seq"]))

    def _settle(self, attempt: Attempt) -> None:
        """After an attempt has ended: count what it reported, and remove what it killed."""
        slot = attempt.slot
        if not attempt.is_over:
            return
        slot.attempt = None
        if attempt.is_killed:
            self._die(slot.replica, is_noticed=True)
            return
        slot.reported += told_lost(attempt.lines)
        if attempt.fetched and slot.runner.condition == "refused":
            slot.reported += 1
        if slot in self.left:
            self.left.remove(slot)
            assert slot.lost() == slot.reported, "an answer was lost silently"
            assert slot.runner.kept == 0

    def _stop(self, replica: Replica, source: str) -> None:
        slot = replica.slots[source]
        first = len(self.lines)
        in_time = slot.runner.stop(0.0)
        assert in_time == (slot.attempt is None)
        slot.reported += told_lost(self.lines[first:])
        if in_time:
            assert slot.runner.kept == 0
            assert slot.lost() == slot.reported, "an answer was lost silently"
        else:
            self.left.append(slot)

    def _die(self, replica: Replica, *, is_noticed: bool) -> None:
        if replica not in self.replicas:  # it was left, and a thread of it still hung
            self.left = [slot for slot in self.left if slot.replica is not replica or slot.attempt]
        slots = [*replica.slots.values(), *(slot for slot in self.left if slot.replica is replica)]
        for slot in slots:
            if slot.attempt is not None:
                slot.attempt.is_killed = True
                slot.attempt.go_on()
                slot.attempt = None
        self.left = [slot for slot in self.left if slot.replica is not replica]
        if is_noticed:
            self.known_dead.add(replica.owner)
        if replica in self.replicas:
            self.replicas[replica.number] = Replica(self, replica.number, replica.offset)

    # What must hold

    @invariant()
    def nothing_is_lost_silently(self) -> None:
        for replica in self.replicas:
            for slot in replica.slots.values():
                if slot.attempt is None:
                    # If there is no space for many, the log has a line at the first, and one at the end.
                    untold = max(slot.runner._forgotten - 1, 0)
                    assert slot.lost() == slot.reported + untold, (
                        "an answer was lost silently, or reported twice"
                    )

    @invariant()
    def every_poll_is_counted_once(self) -> None:
        if self.outage is not None:
            return
        for source in self.history.rows("sources"):
            name = source["name"]
            assert source["lease_epoch"] >= self.epochs[name], "epochs only grow"
            self.epochs[name] = source["lease_epoch"]
            rows = self.history.rows("observations", source_id=source["id"])
            assert [row["seq"] for row in rows] == list(range(1, source["newest_seq"] + 1))
            polls = Counter(entry.seq for entry in self.ledger[name].values())
            assert {row["seq"]: row["polls"] for row in rows} == polls
            kinds: defaultdict[int, set[bool]] = defaultdict(set)
            for key, entry in self.ledger[name].items():
                kinds[entry.seq].add(isinstance(self.said[key][1], Failure))
            assert {row["seq"]: {row["outcome"] == "failed"} for row in rows} == kinds
            for row in rows:
                assert row["first_at"] <= row["last_at"]
                assert row["last_asked_at"] <= row["last_at"]
            for row, later in pairwise(rows):
                assert row["last_at"] < later["first_at"], "time only moves forward"

    def teardown(self) -> None:
        try:
            if not self.is_broken:
                self._end()
        finally:
            for attempt in self.paused:
                attempt.is_killed = True
                with suppress(BaseException):
                    attempt.go_on()
            if self.outage is not None:
                self.outage.close()
            for replica in self.replicas:
                replica.engine.dispose()
            self.engine.dispose()
            self.stack.close()

    def _end(self) -> None:
        """All troubles are over: every source is polled again, nothing is kept back, and the history is right."""
        if self.outage is not None:
            self.database_comes_back()
        while self.paused:
            self.go_on(0, None)
        for replica in self.replicas:
            replica.offset = 200.0
        for _ in range(2):
            self.time_passes(LEASE_SECONDS + 1.0)
            for name in SOURCES:
                self.attempt(0, name, LONG, None)
        for name in SOURCES:
            assert self.replicas[0].slots[name].runner.condition is None
            assert self.replicas[0].slots[name].runner.kept == 0
        self.nothing_is_lost_silently()
        for number in range(3):
            self.restart(number)
        assert not self.left
        self.every_poll_is_counted_once()
        for name in SOURCES:
            assert finds_nothing(self.engine, name)
        for line in self.lines:
            assert line["log_level"] != "error", line


def _with_thread(_: Any, __: str, line: Any) -> Any:
    return line | {"thread": threading.get_ident()}


def told_lost(lines: list[Any]) -> int:
    """Answers of which these lines say that they are lost."""
    return sum(
        line["given_up"] if line["event"] == "lease_lost" else line["polls"]
        for line in lines
        if line["event"] in ("lease_lost", "given_up")
    ) + sum(line["event"] == "poll_refused" for line in lines)


def finds_nothing(engine: sa.Engine, source: str) -> bool:
    return verify(engine, source).verdict == "good"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    # Who meets the lock of a paused attempt on SQLite waits in vain: one step is taken at a time. On PostgreSQL the
    # paused attempt may go on meanwhile.
    monkeypatch.setattr(timeouts, "LOCK_SECONDS", 0.02 if request.param == "sqlite" else 0.25)
    if request.param == "sqlite":
        with sqlite(request.getfixturevalue("sqlite_template"), tmp_path) as database:
            yield database
    else:
        with postgresql(request.getfixturevalue("postgresql_template")) as database:
            yield database


def live(database: Database, examples: int, steps: int) -> None:
    database.engines = [disturbed(open_engine(database.url)) for _ in range(3)] + [open_engine(database.url)]
    database.clean()
    for engine in database.engines:
        database.prepare(engine)
        engine.connect().close()  # the first connection is made under a lock: nobody may pause there
    explore(partial(Model, database), examples, steps)


@pytest.mark.long
def test_whatever_happens_to_replicas_no_poll_is_lost_silently_or_counted_twice(database: Database) -> None:
    live(database, 4 if database.is_postgresql else 8, 30)


@pytest.mark.slow
def test_whatever_happens_to_replicas_for_long_no_poll_is_lost_silently_or_counted_twice(
    database: Database,
) -> None:
    live(database, 500 if database.is_postgresql else 3000, 40)
