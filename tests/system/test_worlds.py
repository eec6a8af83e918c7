"""Random worlds against the rules of history: see tests/support/worlds.py for what is compared with what.

One state machine, run on three databases: SQLite in memory for numbers, a SQLite file and PostgreSQL
because that is where histories live.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from collector.database import migrate
from collector.database.engine import open_engine
from collector.gcore.exchange import Failure
from tests.support.claims import check_claims
from tests.support.history import History, failure
from tests.support.marks import slow_on_postgresql
from tests.support.state_machines import explore
from tests.support.twins import Twins
from tests.support.worlds import (
    DATABASE_IDS,
    KEYS,
    KEYSTONE_IDS,
    LEFT_OUT,
    NESTED,
    REGION_IDS,
    SPELLINGS,
    UNKNOWN,
    UNUSABLE,
    Birth,
    Change,
    Cloud,
    Flaw,
    Garbage,
    NoReference,
    OtherWords,
    Put,
    Twice,
    When,
    World,
    new_history,
)

SECOND, HOUR = 1000, 3600_000

regions = st.sampled_from(REGION_IDS)
keystones = st.sampled_from(KEYSTONE_IDS)
databases = st.sampled_from((None, *DATABASE_IDS))
states = st.sampled_from(("ACTIVE", "NEW", "MAINTENANCE", "FROZEN", "DELETING", "Deleted"))
keystone_states = st.sampled_from(("INITIALIZED", "NEW", "THAWING"))
births = st.builds(
    Birth,
    state=st.one_of(states, states, st.none()),
    keystone=keystones,
    database=databases,
    lag=st.sampled_from((0, 0, 90 * SECOND)),
)
clouds = st.builds(
    Cloud,
    births=st.fixed_dictionaries(dict.fromkeys(REGION_IDS, births)),
    keystones=st.fixed_dictionaries(dict.fromkeys(KEYSTONE_IDS, keystone_states)),
    hidden=st.frozensets(regions, max_size=4),
)

later = st.sampled_from((0, 1, 30 * SECOND, 60 * SECOND + 250, 5 * 60 * SECOND))
"""From the newest answer to a change in the cloud: before, during, or after the next poll."""


def turns(what: str, ids: tuple[int, ...], to: st.SearchStrategy[Any]) -> st.SearchStrategy[Change]:
    return st.builds(Change, what=st.just(what), id=st.sampled_from(ids), value=to, after=later)


changes = st.one_of(
    turns("state", REGION_IDS, states),
    turns("state", REGION_IDS, states),
    turns("state", REGION_IDS, st.none()),
    turns("name", REGION_IDS, st.sampled_from(("Berlin", "Oslo"))),
    turns("keystone", REGION_IDS, keystones),
    turns("keystone's state", KEYSTONE_IDS, keystone_states),
    turns("keystone's state", KEYSTONE_IDS, keystone_states),
    turns("metrics_database", REGION_IDS, databases),
    turns("database's port", DATABASE_IDS, st.integers(1, 3)),
)

tooks = st.sampled_from((0, 500, 5 * SECOND, 40 * SECOND))
moments = st.sampled_from((0.0, 0.5, 1.0))
ages = st.sampled_from((1 * SECOND, 30 * SECOND, 59 * SECOND, 90 * SECOND, 2 * HOUR))
cuts = st.sampled_from(
    [*({"count": count} for count in (7, 99, None, "2")), {"next": None}, {"limit": 20}, {"hasMore": True}]
)
PAUSES: dict[str, Any] = {
    "as expected": lambda world: world.interval - 500,
    "soon": lambda world: SECOND,
    "just no gap": lambda world: world.interval * 5 // 2 - 500,
    "just a gap": lambda world: world.interval * 5 // 2 - 499,
    "long": lambda world: 3 * HOUR,
    "at midnight": lambda world: max(world.until_midnight() - 500, 0),
    "just before midnight": lambda world: max(world.until_midnight() - 501, 0),
}
pauses = st.sampled_from(("as expected", *PAUSES))

one_or_all = st.one_of(st.integers(0, 5), st.none())
values: dict[str, tuple[Any, ...]] = {
    "state": (LEFT_OUT, None, "", 7),
    "id": (LEFT_OUT, None, "7", True, 1.5, 2**63),
    "display_name": (LEFT_OUT, None, 7),
    "created_on": (LEFT_OUT, *SPELLINGS),
    "available_volume_types": (LEFT_OUT, None, [], ["ssd_hiiops", "standard", "standard"]),
    UNKNOWN: (1, 2, 3),
    "keystone": (LEFT_OUT, None, "gone"),
    "keystone_id": (LEFT_OUT, None, "x"),
    "keystone.id": (LEFT_OUT, None),
    "keystone.state": (LEFT_OUT, None, ""),
    "keystone.password": (LEFT_OUT, None),
    "metrics_database": (LEFT_OUT, None, 7),
    "metrics_database_id": (LEFT_OUT, None, "x"),
    "metrics_database.id": (LEFT_OUT, None),
    "metrics_database.port": (LEFT_OUT, "9097"),
}


def puts(*paths: str) -> st.SearchStrategy[Put]:
    return st.sampled_from(paths).flatmap(
        lambda path: st.builds(Put, st.just(path), st.sampled_from(values[path]), one_or_all)
    )


doubles = st.sampled_from(
    [("state", "INACTIVE"), ("state", LEFT_OUT), (UNKNOWN, 4), ("keystone.state", "NEW"), ("keystone", None)]
).flatmap(lambda pair: st.builds(Twice, st.integers(0, 5), st.just(pair[0]), st.just(pair[1])))
flaws: st.SearchStrategy[Flaw] = st.one_of(
    puts("id"),
    puts("state"),
    puts("keystone", "keystone_id", "keystone.id", "keystone.state"),
    puts("created_on", UNKNOWN),
    puts(*values),
    st.builds(NoReference, st.sampled_from(NESTED), one_or_all),
    doubles,
    st.builds(Garbage, st.sampled_from((7, "x", None, [], {})), st.one_of(st.none(), st.integers(0, 5))),
    st.builds(OtherWords, st.booleans()),
)
some_flaws = st.lists(flaws, min_size=1, max_size=3)

failures: st.SearchStrategy[Failure | bytes] = st.sampled_from(
    (
        failure("connect"),
        failure("timeout", message="first"),
        failure("timeout", message="second"),
        failure("http_status", http_status=500),
        failure("http_status", http_status=503),
        failure("http_status", http_status=503, exception_class="Overloaded"),
        *UNUSABLE,
    )
)


class Worlds(RuleBasedStateMachine):
    """The rules are what may happen in the cloud, on the way and in the collector. After every poll, `World` compares
    the rows of the database with the expected ones."""

    world: World

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__()
        self.engine = engine

    @initialize(cloud=clouds)
    def a_cloud(self, cloud: Cloud) -> None:
        self.world = World(self.new_history(), cloud)

    def new_history(self) -> History:
        return new_history(self.engine)

    def teardown(self) -> None:
        if hasattr(self, "world") and self.world.sound:
            self.world.check_at_the_end()
            check_claims(self.world)

    def when(self, pause: str, took: int = 500, moment: float = 0.5, age: int = 0) -> When:
        return When(PAUSES[pause](self.world), took, moment, age)

    # In the cloud

    @rule(changes=st.lists(changes, min_size=1, max_size=4))
    def the_cloud_changes(self, changes: list[Change]) -> None:
        for change in changes:
            self.world.cloud.change(self.world.now, change)

    @rule(staying=st.sets(regions, max_size=2), after=later)
    def most_regions_vanish(self, staying: Collection[int], after: int) -> None:
        for region in set(REGION_IDS) - set(staying):
            self.world.cloud.change(self.world.now, Change("state", region, None, after))

    @rule(state=states, after=later)
    def all_regions_are_there(self, state: str, after: int) -> None:
        for region in REGION_IDS:
            self.world.cloud.change(self.world.now, Change("state", region, state, after))

    # Polls

    @rule(pause=pauses, took=tooks, moment=moments)
    def poll(self, pause: str, took: int, moment: float) -> None:
        self.world.poll(self.when(pause, took, moment))

    @rule(pause=pauses, moment=moments, age=ages, flaws=st.one_of(st.just([]), some_flaws))
    def poll_through_a_cache(self, pause: str, moment: float, age: int, flaws: list[Flaw]) -> None:
        self.world.poll(self.when(pause, 500, moment, age), flaws)

    @rule(times=st.integers(2, 4))
    def poll_steadily(self, times: int) -> None:
        for _ in range(times):
            self.world.poll(self.when("as expected"))

    @rule(pause=pauses, flaws=some_flaws, times=st.sampled_from((1, 1, 2)))
    def poll_with_flaws(self, pause: str, flaws: list[Flaw], times: int) -> None:
        for _ in range(times):
            self.world.poll(self.when(pause), flaws)

    @rule(pause=pauses, only=st.sets(regions), said=cuts)
    def poll_a_listing_that_is_cut(self, pause: str, only: Collection[int], said: dict[str, Any]) -> None:
        when = self.when(pause)
        self.world.hear(self.world.answer(when, only=only) | said, when)

    @rule(pause=pauses, only=st.sets(regions, max_size=1), flaws=st.one_of(st.just([]), some_flaws))
    def poll_a_false_listing(self, pause: str, only: Collection[int], flaws: list[Flaw]) -> None:
        """Complete to all appearance. What nobody could tell from the truth is not asked for."""
        when = self.when(pause)
        document = self.world.answer(when, flaws, only)
        if not self.world.would_believe(document):
            self.world.hear(document, when)

    @rule(pause=pauses, said=failures, times=st.sampled_from((1, 1, 2)))
    def poll_in_vain(self, pause: str, said: Failure | bytes, times: int) -> None:
        for _ in range(times):
            self.world.hear(said, self.when(pause))

    @rule(hours=st.sampled_from((-30, -2, 2, 30)))
    def poll_by_a_wrong_clock(self, hours: int) -> None:
        when = self.when("as expected")
        assert self.world.hear(self.world.answer(when), when, clock_error=hours * HOUR) is None

    # The collector

    @rule(seconds=st.sampled_from((-59, -30, -2, 1, 45)))
    def the_clock_is_set(self, seconds: int) -> None:
        self.world.offset += seconds * SECOND

    @rule()
    def the_writer_restarts(self) -> None:
        self.world.restart()

    @rule(key=st.sampled_from(KEYS))
    def the_key_changes(self, key: str) -> None:
        self.world.use_key(key)

    @rule(seconds=st.sampled_from((20, 60, 300)))
    def the_interval_changes(self, seconds: int) -> None:
        self.world.set_interval(seconds)


class PrunedWorlds(Worlds):
    """A second history of the same polls, which is pruned now and then."""

    def new_history(self) -> Twins:
        return Twins(self.engine)

    @rule(share=st.sampled_from((0.2, 0.5, 0.8, 1.0)))
    def the_past_is_pruned(self, share: float) -> None:
        assert isinstance(self.world.history, Twins)
        self.world.history.prune(share)

    def teardown(self) -> None:
        if hasattr(self, "world") and self.world.sound:
            assert isinstance(self.world.history, Twins)
            self.world.history.check()


@pytest.fixture
def memory() -> Iterator[sa.Engine]:
    engine = open_engine("sqlite://")
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


def test_worlds_in_memory(memory: sa.Engine) -> None:
    explore(partial(Worlds, memory), examples=10, steps=40)


@pytest.mark.long
def test_worlds_in_a_database(engine: sa.Engine) -> None:
    explore(partial(Worlds, engine), examples=5, steps=40)


@pytest.mark.long
@slow_on_postgresql("database_url")
def test_worlds_whose_past_is_pruned(engine: sa.Engine) -> None:
    explore(partial(PrunedWorlds, engine), examples=6, steps=40)


@pytest.mark.slow
def test_hundreds_of_worlds_whose_past_is_pruned(memory: sa.Engine) -> None:
    explore(partial(PrunedWorlds, memory), examples=500, steps=50)


@pytest.mark.slow
def test_thousands_of_worlds_in_memory(memory: sa.Engine) -> None:
    explore(partial(Worlds, memory), examples=3000, steps=50)


@pytest.mark.slow
def test_hundreds_of_worlds_in_a_database(engine: sa.Engine) -> None:
    explore(partial(Worlds, engine), examples=300, steps=50)
