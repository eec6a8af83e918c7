"""The decisions about one observation, each rule of history with its counterexample. No database, no clock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from collector.inventory.changes import MAX_DRIFT, Changes, Gap, Transition, changes, new_drift
from collector.inventory.entities import (
    Drift,
    Keystone,
    Kind,
    Listing,
    MetricsDatabase,
    Region,
    Shown,
    Sighting,
)
from collector.inventory.known import Failures, Known, known_after
from collector.inventory.observation import Answered, Failed, Observation, Observer, Outcome, Poll

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
A, B = Observer("key-a", "https://api.example", "apikey"), Observer("key-b", "https://api.example", "apikey")


def moment(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def sighting(entity: Region | Keystone | MetricsDatabase, witness: int | None = None) -> Sighting:
    return Sighting(entity, witness)


def shown(*sightings: Sighting, named: Collection[int] = (), withheld: str | None = None) -> Shown:
    return Shown({s.entity.id: s for s in sightings}, frozenset(named), withheld)


class Source:
    """Observations one after the other, each decided by what is known after the one before."""

    def __init__(self) -> None:
        self.known = Known()
        self.newest: Observation | None = None
        self._proving: dict[int, Observation] = {}

    def _open(
        self, at: float, said: Answered | Failed, outcome: Outcome, who: Observer, interval: float
    ) -> Observation:
        poll = Poll(
            asked_at=moment(at - 1),
            answered_at=moment(at),
            observer=who,
            interval=timedelta(seconds=interval),
        ).after(self.newest)
        observation = Observation.opened(
            "gcore", self.newest, poll, 1, outcome, said, recorded_at=moment(at), collector_version="1"
        )
        if self.newest is not None:
            self.known = self.known.with_final(self.newest)
        return observation

    def see(
        self,
        *regions: Region,
        at: float,
        outcome: Outcome = "ok",
        named: Collection[int] = (),
        withheld: str | None = None,
        who: Observer = A,
        interval: float = 60,
        **others: Shown,
    ) -> Changes:
        """An answer that shows these regions: what it changes."""
        of_kind: dict[Kind, Shown] = {
            "region": shown(*map(sighting, regions), named=named, withheld=withheld),
            "keystone": others.get("keystone", shown()),
            "metrics_database": others.get("metrics_database", shown()),
        }
        listing = Listing(len(regions), len(regions), (), of_kind, (), frozenset())
        answer = Answered("address", len(regions), len(regions), 0, frozenset(), None)
        now = self._open(at, answer, outcome, who, interval)
        applied = self.known.applied
        if applied is None or applied.observer.access != who.access:
            self.known = self._known_to(who)
        decided = changes(now, listing, self.known)
        self.known = known_after(self.known, now, listing, decided)
        self.newest = now
        if decided.kinds["region"].withheld or outcome != "ok":
            self._proving.pop(now.seq, None)
        elif withheld is None:
            self._proving[now.seq] = now
        return decided

    def _known_to(self, who: Observer) -> Known:
        """As another key has it: what proved absences to this key and URL is searched again."""
        own = [o for o in self._proving.values() if o.observer.access == who.access]
        proofs = {
            kind: replace(proof, to_same_access=own[-1] if own else None)
            for kind, proof in self.known.proofs.items()
        }
        return replace(self.known, proofs=proofs)

    def again(self, at: float) -> None:
        """The same answer once more."""
        assert self.newest is not None
        poll = Poll(
            asked_at=moment(at - 1),
            answered_at=moment(at),
            observer=self.newest.observer,
            interval=self.newest.expected_interval,
        )
        self.newest = self.newest.extended(poll)
        if self.newest.seq in self._proving:
            self._proving[self.newest.seq] = self.newest

    def fail(self, at: float, cause: str = "connect") -> None:
        self.newest = self._open(at, Failed(cause, message=f"{cause} failed"), "failed", A, 60)


@pytest.fixture
def source() -> Source:
    return Source()


def region(number: int, state: str = "ACTIVE", **values: object) -> Region:
    return Region(id=number, state=state, **values)  # type: ignore[arg-type]


def only(decided: Changes) -> Transition:
    (transition,) = decided.transitions
    return transition


def window(transition: Transition) -> tuple[datetime | None, datetime]:
    return transition.not_before, transition.observed_at


# Windows and basis


def test_what_the_first_complete_answer_shows_may_always_have_been_so(source: Source) -> None:
    found = only(source.see(region(1), at=0))
    assert (found.kind, found.basis, found.from_state, found.to_state) == (
        "appeared",
        "baseline",
        None,
        "ACTIVE",
    )
    assert window(found) == (None, moment(0))


def test_a_change_lies_between_the_last_question_and_the_first_answer(source: Source) -> None:
    source.see(region(1, "NEW"), at=0)
    source.again(at=60)
    found = only(source.see(region(1), at=120))
    assert (found.kind, found.basis) == ("changed", "direct")
    assert window(found) == (moment(59), moment(120))


def test_across_a_failed_poll_a_change_is_not_direct(source: Source) -> None:
    source.see(region(1, "NEW"), at=0)
    source.fail(at=60)
    found = only(source.see(region(1), at=120))
    assert found.basis == "across_gap"
    assert window(found) == (moment(-1), moment(120))


def test_after_a_clock_was_set_back_nobody_knows_how_long_it_took(source: Source) -> None:
    source.see(region(1, "NEW"), at=30)
    assert only(source.see(region(1), at=0)).basis == "across_gap"


def test_two_and_a_half_intervals_are_no_gap_and_a_little_more_is_one(source: Source) -> None:
    source.see(region(1, "NEW"), at=0)
    decided = source.see(region(1), at=150)
    assert (only(decided).basis, decided.gap) == ("direct", None)
    decided = source.see(region(1, "NEW"), at=300.001)
    assert only(decided).basis == "across_gap"
    assert decided.gap is not None


def test_the_longer_of_two_intervals_says_what_a_gap_is(source: Source) -> None:
    source.see(region(1, "NEW"), at=0, interval=60)
    assert only(source.see(region(1), at=600, interval=600)).basis == "direct"
    assert only(source.see(region(1, "NEW"), at=1200, interval=60)).basis == "direct"


def test_an_unseen_entity_was_confirmed_by_the_last_poll_that_showed_it(source: Source) -> None:
    source.see(region(1, "NEW"), region(2), at=0)
    lost = source.see(region(2), at=60, named=[1])
    assert [(each.id, each.cause) for each in lost.kinds["region"].lost_sight] == [(1, "not_given")]
    decided = source.see(region(1), region(2), at=120)
    assert (only(decided).basis, *window(only(decided))) == ("across_gap", moment(-1), moment(120))
    assert [k.id for k in decided.kinds["region"].seen_again] == [1]


def test_a_version_has_a_window_also_where_no_state_changed(source: Source) -> None:
    source.see(region(1, display_name="old"), at=0)
    decided = source.see(region(1, display_name="new"), at=60)
    (version,) = decided.kinds["region"].versions
    assert decided.transitions == ()
    assert (version.event, version.changed_fields) == ("changed", ("display_name",))
    assert (version.window.not_before, version.window.basis) == (moment(-1), "direct")


# Absence


def test_only_an_ok_answer_proves_an_absence(source: Source) -> None:
    source.see(region(1), region(2), at=0)
    for at, outcome in ((60, "partial"), (120, "held")):
        decided = source.see(region(1), at=at, outcome=outcome)  # type: ignore[arg-type]
        assert decided.transitions == ()
    found = only(source.see(region(1), at=180))
    assert (found.kind, found.basis, found.first_missing_at) == ("disappeared", "absence", moment(60))
    assert window(found) == (moment(-1), moment(180)), "no dating back, and no later than it was last shown"


def test_what_is_named_or_withheld_is_not_absent(source: Source) -> None:
    source.see(region(1), region(2), at=0)
    assert source.see(region(1), at=60, named=[2]).transitions == ()
    decided = source.see(region(1), at=120, withheld="record_without_id")
    assert decided.transitions == ()
    assert decided.kinds["region"].withheld == ((None, "record_without_id"),)


def test_an_appearance_lies_after_the_last_complete_answer_without_it(source: Source) -> None:
    source.see(region(1), at=0)
    source.see(region(1), at=60, outcome="partial")
    found = only(source.see(region(1), region(2), at=120))
    assert (found.kind, found.basis) == ("appeared", "across_gap")
    assert window(found) == (moment(-1), moment(120)), "a partial answer proves no absence"


def test_an_answer_that_names_an_absent_entity_does_not_prove_its_absence(source: Source) -> None:
    source.see(region(1), at=0)
    decided = source.see(region(1), at=60, named=[2])
    ((doubted, doubt),) = decided.kinds["region"].doubted
    assert (doubted, doubt.missed_seq) == (2, 2)
    decided = source.see(region(1), region(2), at=120)
    assert window(only(decided)) == (moment(-1), moment(120))
    assert [each for each, _ in decided.kinds["region"].proven] == [2]


def test_a_doubt_ends_with_the_next_proof(source: Source) -> None:
    source.see(region(1), region(2), at=0)
    source.see(region(1), at=60)
    source.see(region(1), at=120, outcome="partial", named=[2])
    source.see(region(1), at=180, outcome="partial", named=[2])
    decided = source.see(region(1), at=240)
    ((entity_id, doubt),) = decided.kinds["region"].proven
    assert doubt.proof.last is not None
    assert (entity_id, doubt.proof.last.seq, doubt.missed_seq) == (2, 2, 3)
    assert not source.known.doubts


def test_proofs_of_absence_that_are_far_apart_leave_the_time_between_unproven(source: Source) -> None:
    source.see(region(1), region(2), at=0)
    source.see(region(1), at=60)
    for at in (120, 180):
        assert source.see(region(1), at=at, outcome="partial").kinds["region"].unproven_since is None
    decided = source.see(region(1), at=240)
    since = decided.kinds["region"].unproven_since
    assert since is not None
    assert since.seq == 2
    assert decided.gap is None, "the source was seen all the while"


# Observers and copies


def test_what_only_another_key_sees_may_always_have_been_there(source: Source) -> None:
    source.see(region(1), at=0)
    found = only(source.see(region(1), region(2), at=60, who=B))
    assert (found.basis, found.not_before) == ("observer_change", None)


def test_a_key_that_comes_back_knows_what_it_did_not_see_before(source: Source) -> None:
    source.see(region(1), at=0)
    source.see(region(1), at=60, who=B)
    found = only(source.see(region(1), region(2), at=120))
    assert (found.basis, found.not_before) == ("observer_change", moment(-1))


def test_a_return_to_other_eyes_lies_after_somebody_saw_it_last(source: Source) -> None:
    source.see(region(1), region(2), at=0)
    gone = only(source.see(region(1), at=60, who=B))
    assert (gone.kind, gone.basis) == ("disappeared", "observer_change")
    found = only(source.see(region(1), region(2), at=120))
    assert (found.kind, found.basis, found.not_before) == ("reappeared", "observer_change", moment(-1))


def test_an_answer_that_names_a_present_entity_is_no_proof_that_the_key_missed_it(source: Source) -> None:
    source.see(region(1), region(2), at=0)
    source.see(region(1), at=60, named=[2])
    source.see(region(1), at=120, who=B)
    found = only(source.see(region(1), region(2), at=180))
    assert (found.kind, found.basis, found.not_before) == ("reappeared", "observer_change", moment(-1))


def test_the_word_before_the_key_decides_nothing(source: Source) -> None:
    source.see(region(1, "NEW"), at=0)
    assert only(source.see(region(1), at=60, who=replace(A, auth_scheme="bearer"))).basis == "direct"


def test_a_change_with_the_witness_is_of_another_copy(source: Source) -> None:
    one, two = Keystone(id=9, state="NEW"), Keystone(id=9, state="INITIALIZED")
    source.see(region(1), region(2), at=0, keystone=shown(sighting(one, 1)))
    decided = source.see(region(1), region(2), at=60, keystone=shown(sighting(two, 2)))
    assert only(decided).basis == "other_copy"
    moved = source.see(region(1), region(2), at=120, keystone=shown(sighting(two, 1)))
    assert moved.transitions == ()
    assert [s.witness for s in moved.kinds["keystone"].witnesses] == [1]


def test_metrics_databases_have_versions_and_no_transitions(source: Source) -> None:
    old, new = MetricsDatabase(id=7, port=1), MetricsDatabase(id=7, port=2)
    source.see(region(1), at=0, metrics_database=shown(sighting(old, 1)))
    decided = source.see(region(1), at=60, metrics_database=shown(sighting(new, 1)))
    (version,) = decided.kinds["metrics_database"].versions
    assert decided.transitions == ()
    assert (version.changed_fields, version.window.basis) == (("port",), "direct")


def test_back_and_forth_is_two_changes(source: Source) -> None:
    source.see(region(1, "ACTIVE"), at=0)
    there = only(source.see(region(1, "MAINTENANCE"), at=60))
    back = only(source.see(region(1, "ACTIVE"), at=120))
    assert (there.to_state, back.from_state) == ("MAINTENANCE", "MAINTENANCE")


def test_a_repeated_answer_changes_nothing(source: Source) -> None:
    source.see(region(1), region(2), at=0)
    decided = source.see(region(2), region(1), at=60)
    assert (decided.transitions, decided.versions, decided.unseen, decided.gap) == ((), 0, 0, None)
    assert all(not each.lost_sight and not each.withheld for each in decided.kinds.values())


# Gaps


def test_a_gap_goes_from_answer_to_answer_and_says_why(source: Source) -> None:
    source.see(region(1), at=0)
    failures = (Failures("timeout", 2, 2, "slow", 2), Failures("connect", 2, 3, "no route", 2))
    source.fail(at=60)
    source.known = replace(source.known, failures=failures)
    gap = source.see(region(1), at=900).gap
    assert gap is not None
    assert gap == Gap(source_before(gap), moment(0), moment(-1), "timeout", 4, "slow")


def source_before(gap: Gap) -> Observation:
    assert gap.before is not None
    assert gap.before.seq == 1
    return gap.before


def test_a_gap_without_any_poll_says_so(source: Source) -> None:
    source.see(region(1), at=0)
    gap = source.see(region(1), at=900).gap
    assert gap is not None
    assert (gap.cause, gap.failed_polls, gap.error) == ("no_polls", 0, None)


def test_a_source_that_fails_at_first_is_blind_from_its_first_poll_on(source: Source) -> None:
    source.fail(at=0)
    source.known = replace(source.known, first=source.newest, failures=(Failures("connect", 1, 1, "x", 1),))
    gap = source.see(region(1), at=900).gap
    assert gap is not None
    assert (gap.before, gap.from_at, gap.failed_polls) == (None, moment(0), 1)


# Drift


def test_there_is_room_for_a_hundred_rows_of_drift_a_field() -> None:
    drift = {Drift("results[].zone", "unknown_value", f"{n:03}") for n in range(MAX_DRIFT + 5)}
    on_record = frozenset(sorted(drift)[:3])
    new = new_drift(drift, on_record)
    assert len(new) == MAX_DRIFT - 3
    assert not on_record & set(new)
    assert new_drift(drift, on_record.union(new)) == ()
