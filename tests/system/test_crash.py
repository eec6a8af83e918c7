"""`kill -9` at every statement boundary: a poll is in the database as a whole or not at all.

A warm process (everything is imported, no engine is made) forks a child for each shot. The child plays a scripted
history through the real `poll()` and kills itself at the n-th boundary: before or after a statement, before or after
a COMMIT, and on PostgreSQL just after the COMMIT was sent. What must stand there then is known from an undisturbed
run: the rows as they were after each commit. Another child takes over and plays the rest.

A few shots, spread over all boundaries, run always; many with `-m slow`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

import pytest
import sqlalchemy as sa

from collector.database.engine import open_engine
from collector.service.webhooks.announcing import Announcer
from collector.store import lease
from collector.store.tables import DERIVED, gaps, metadata, observations, sources, unseen
from tests.support import forks
from tests.support.contents import Contents, contents, is_trusted
from tests.support.databases import new_database
from tests.support.history import History
from tests.support.paths import ROOT
from tests.support.receivers import Receiver
from tests.support.script import STORY, play

PATIENCE = 60.0
Json = dict[str, Any]
TOLD = Announcer([Receiver.configured("http://127.0.0.1:1/hook")])
"""There is a receiver, so that polls write events too."""


# The script


# Boundaries

Reach = Callable[[str, Callable[[], None]], None]


def watch(engine: sa.Engine, reach: Reach) -> None:
    """Call `reach` at every boundary, with its name, and with what else is done there if the process is to die."""

    def nothing() -> None:
        pass

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        reach(f"before {statement[:60]}", nothing)

    def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        reach(f"after {statement[:60]}", nothing)

    really_commit = engine.dialect.do_commit

    def commit(connection: Any) -> None:
        def send() -> None:
            connection.pgconn.send_query(b"COMMIT")
            connection.pgconn.flush()

        reach("before COMMIT", nothing)
        if engine.dialect.name == "postgresql":
            reach("COMMIT sent", send)
        really_commit(connection)
        reach("after COMMIT", nothing)

    sa.event.listen(engine, "before_cursor_execute", before)
    sa.event.listen(engine, "after_cursor_execute", after)
    engine.dialect.do_commit = commit  # type: ignore[method-assign]


@dataclass(frozen=True)
class Boundary:
    """A moment at which a process can die."""

    number: int
    name: str
    commits: int
    """Commits before it."""

    @property
    def is_of_commit(self) -> bool:
        return "COMMIT" in self.name


@dataclass
class Undisturbed:
    """What a run in which nobody dies passes through."""

    boundaries: list[Boundary] = field(default_factory=list)
    states: list[Contents] = field(default_factory=list)
    """The rows after a number of commits."""
    finished: list[int] = field(default_factory=list)
    """Step → commits when it had been polled."""
    outcomes: list[str] = field(default_factory=list)

    def steps_in(self, state: Contents) -> int:
        """How many steps a database holds that looks like this."""
        commits = max(number for number, each in enumerate(self.states) if each == state)
        return sum(finished <= commits for finished in self.finished)


def run_undisturbed(url: str) -> Undisturbed:
    run = Undisturbed()
    engine, beside = open_engine(url), open_engine(url)
    run.states.append(contents(beside))

    def reach(name: str, _: Callable[[], None]) -> None:
        if name == "after COMMIT":
            run.states.append(contents(beside))
        run.boundaries.append(Boundary(len(run.boundaries) + 1, name, len(run.states) - 1))

    watch(engine, reach)
    history = History(engine, announce=TOLD)
    for number in range(len(STORY)):
        run.outcomes.append(play(history, number).outcome)
        run.finished.append(len(run.states) - 1)
    engine.dispose()
    beside.dispose()
    return run


# Lives


def tell(**facts: Any) -> None:
    """One line to the test, that a later SIGKILL can't take back."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def live(url: str, die_at: int, first: int) -> None:
    """Play the script from step `first` on, and die at that boundary (0: never)."""
    engine = open_engine(url)
    reached = 0

    def reach(name: str, at_last: Callable[[], None]) -> None:
        nonlocal reached
        reached += 1
        if reached == die_at:
            tell(dies=name)
            at_last()
            os.kill(os.getpid(), signal.SIGKILL)

    watch(engine, reach)
    history = History(engine, announce=TOLD)
    for number in range(first, len(STORY)):
        recorded = play(history, number).recorded
        tell(step=number, seq=recorded.seq, opening_digest=recorded.head, polls=recorded.polls)
    engine.dispose()


def be_warm() -> None:
    """The process that forks: reads orders from stdin, a line each."""
    import psycopg  # noqa: F401 - once, and not in each child

    same_salt()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(**json.loads(line))
                code = 0
            except BaseException:  # noqa: BLE001 - goes to the test's output
                traceback.print_exc()
            os._exit(code)
        tell(ended=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def same_salt() -> None:
    """Databases are comparable where their salt is the same."""
    lease.secrets.token_hex = lambda size=32: "ab" * size  # type: ignore[assignment]


@dataclass(frozen=True)
class Life:
    """The facts about a child that has exited."""

    polled: list[Json]
    """The polls that it reported as recorded."""
    died: str | None
    ended: int


class Warm:
    """The warm process, seen from the test."""

    def __init__(self) -> None:
        self._process = forks.Popen(
            [sys.executable, "-c", "from tests.system.test_crash import be_warm; be_warm()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )

    def live(self, url: str, *, die_at: int = 0, first: int = 0) -> Life:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"url": url, "die_at": die_at, "first": first}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        polled, died = [], None
        for line in self._process.stdout:
            said = json.loads(line)
            if "ended" in said:
                return Life(polled, died, said["ended"])
            if "dies" in said:
                died = said["dies"]
            else:
                polled.append(said)
        raise AssertionError("the warm process ended")

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    process = Warm()
    yield process
    process.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes databases with our schema, all of one kind."""
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")

        def make() -> str:
            path = tmp_path_factory.mktemp("crash") / "collector.db"
            shutil.copy(template, path)
            return f"sqlite:///{path}"

        return make
    server = request.getfixturevalue("postgresql_template")
    return lambda: new_database(server, server.database).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def undisturbed(new_url: Callable[[], str]) -> Undisturbed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease.secrets, "token_hex", lambda size=32: "ab" * size)
        return run_undisturbed(new_url())


def spread(boundaries: list[Boundary], number: int) -> list[Boundary]:
    """How many of them, evenly over the run, with more than their share of commits."""
    of_commit = [b for b in boundaries if b.is_of_commit]
    others = [b for b in boundaries if not b.is_of_commit]
    commits = min(number * 2 // 5, len(of_commit))
    return sorted(
        _evenly(of_commit, commits) + _evenly(others, min(number - commits, len(others))),
        key=lambda boundary: boundary.number,
    )


def _evenly(boundaries: list[Boundary], number: int) -> list[Boundary]:
    return [boundaries[(2 * n + 1) * len(boundaries) // (2 * number)] for n in range(number)]


def leave_alone(engine: sa.Engine) -> None:
    """Wait until the server has noticed that the client is dead."""
    if engine.dialect.name != "postgresql":
        return
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )
    ends = monotonic() + PATIENCE
    while True:
        with engine.connect() as connection:
            if not connection.exec_driver_sql(others).scalar():
                return
        assert monotonic() < ends, "a session outlives its client"
        sleep(0.01)


MAY_DIFFER = {
    *("polls", "last_at", "last_asked_at", "longest_interval_ms", "variants", "recorded_at"),
    *("digest", "previous_digest", "opening_digest"),
}
"""What a poll that is repeated changes in the observation that it extends, and in the digests after it."""


def without_repeats(rows: Contents) -> Contents:
    """What a repeated poll must not change: everything derived, and the observations except their counters.

    Unseen spans and gaps have such counters too: `from_at`, when the newest poll before was answered, and the number
    of failed polls.
    """

    def but(table: sa.Table, names: Collection[str]) -> list[tuple[Any, ...]]:
        stays = [number for number, column in enumerate(table.columns) if column.name not in names]
        return [tuple(row[n] for n in stays) for row in rows[table.name]]

    found = {table.name: rows[table.name] for table in DERIVED}
    return found | {
        "observations": but(observations, MAY_DIFFER),
        "unseen": but(unseen, ("from_at",)),
        "gaps": but(gaps, ("from_at", "failed_polls")),
    }


def with_first_number(rows: Contents) -> Contents:
    """The same, the only source being number 1: PostgreSQL gives no number twice, also if who got it was killed."""
    first = {table.name: next(iter(table.columns)).name for table in metadata.sorted_tables}
    ours = {name for name, column in first.items() if column == "source_id"} | {sources.name}
    return {name: [(1, *row[1:]) for row in all_] if name in ours else all_ for name, all_ in rows.items()}


def shoot(warm: Warm, url: str, undisturbed: Undisturbed, boundary: Boundary) -> None:
    """One shot: a child dies at this boundary, its state is held against the undisturbed run, another takes over."""
    life = warm.live(url, die_at=boundary.number)
    assert (life.ended, life.died) == (-signal.SIGKILL, boundary.name)
    engine = open_engine(url)
    history = History(engine)
    leave_alone(engine)

    state = contents(engine)
    allowed = undisturbed.states[boundary.commits :][: 2 if boundary.name == "COMMIT sent" else 1]
    assert state in allowed, "half a poll, or a committed one was lost, or one came from nowhere"
    for poll in life.polled:
        row = history.row("observations", seq=poll["seq"])
        assert row["opening_digest"] == poll["opening_digest"]
        assert row["polls"] >= poll["polls"]

    stored = undisturbed.steps_in(state)
    assert stored >= len(life.polled)
    was_told = stored == len(life.polled)
    polls_again = not was_told and undisturbed.outcomes[stored - 1] != "held" and boundary.number % 2 == 0
    rest = warm.live(url, first=stored - polls_again)
    assert rest.ended == 0
    is_trusted(history, {poll["opening_digest"] for poll in life.polled + rest.polled})
    ours, theirs = with_first_number(contents(engine)), undisturbed.states[-1]
    if polls_again:
        ours, theirs = without_repeats(ours), without_repeats(theirs)
    assert ours == theirs
    engine.dispose()


# Shots

FEW, MANY = 14, 250
"""Shots on each of both databases."""


@pytest.mark.long
@pytest.mark.parametrize("number", range(FEW), ids=lambda n: f"shot {n + 1}")
def test_a_kill_leaves_the_poll_whole_or_out_and_the_next_process_goes_on(
    warm: Warm, new_url: Callable[[], str], undisturbed: Undisturbed, number: int
) -> None:
    shoot(warm, new_url(), undisturbed, spread(undisturbed.boundaries, FEW)[number])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(MANY), ids=lambda n: f"shot {n + 1}")
def test_a_kill_at_nearly_any_boundary_leaves_the_poll_whole_or_out(
    warm: Warm, new_url: Callable[[], str], undisturbed: Undisturbed, number: int
) -> None:
    shoot(warm, new_url(), undisturbed, spread(undisturbed.boundaries, MANY)[number])


@pytest.mark.long
def test_the_script_has_it_all(undisturbed: Undisturbed) -> None:
    """Else the shots would miss what matters."""
    assert set(undisturbed.outcomes) == {"ok", "partial", "held", "failed"}
    assert undisturbed.outcomes.count("held") == 2
    rows = undisturbed.states[-1]
    empty = [name for name in rows if not rows[name]]
    assert sorted(empty) == ["amendments", "anchors", "verifications", "webhook_queues"]
    assert len(rows["observers"]) == 2
    assert len(undisturbed.boundaries) > MANY
