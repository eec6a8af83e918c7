"""The rules of history, each as the situation that it was made for."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from collector.database.transactions import writing
from collector.errors import ClockError, LeaseLostError, SchemaError
from collector.store import rederive
from collector.store.tables import DERIVATION_REVISION, sources
from tests.support.builders import MISSING, answer, keystone, region
from tests.support.history import History, failure
from tests.support.marks import long_on_postgresql

THREE = [region(1), region(2), region(3)]


@pytest.fixture(autouse=True)
def _derives_the_same_again(history: History):
    """Whatever a situation left: deriving it again from the evidence changes nothing, and after each poll a restart
    would forget nothing.
    """
    history.checks_memory = True
    yield
    result = history.rebuilt()
    assert result.different == 0, result.examples


def test_the_first_complete_answer_is_the_baseline(history: History) -> None:
    history.poll(THREE)
    found = history.transitions(entity_id=1)
    assert [(t["kind"], t["from_state"], t["to_state"], t["basis"]) for t in found] == [
        ("appeared", None, "ACTIVE", "baseline")
    ]
    assert found[0]["not_before"] is None


def test_a_change_lies_between_the_question_that_confirmed_the_old_and_the_answer_that_showed_the_new(
    history: History,
) -> None:
    history.poll([region(1, "NEW")], at=0, took=2)
    history.poll([region(1, "NEW")], at=60, took=3)
    history.poll([region(1, "ACTIVE")], at=120, took=4)
    change = history.transitions()[-1]
    assert (change["from_state"], change["to_state"], change["basis"]) == ("NEW", "ACTIVE", "direct")
    assert change["not_before"] == history.time(57)
    assert change["observed_at"] == history.time(120)
    versions = history.rows("region_versions")
    assert [(v["state"], v["valid_from"], v["valid_to"]) for v in versions] == [
        ("NEW", history.time(0), history.time(120)),
        ("ACTIVE", history.time(120), None),
    ]
    assert versions[1]["changed_fields"] == ("state",)


def test_there_and_back_are_two_changes(history: History) -> None:
    for state in ("ACTIVE", "MAINTENANCE", "ACTIVE"):
        history.poll([region(1, state)])
    assert [t["to_state"] for t in history.transitions()] == ["ACTIVE", "MAINTENANCE", "ACTIVE"]
    assert len(history.rows("payloads")) == 2


def test_a_region_that_vanishes_is_marked_absent_once(history: History) -> None:
    history.poll(THREE, at=0)
    history.poll(THREE[:2], at=60)
    history.poll(THREE[:2], at=120)
    gone = [t for t in history.transitions(entity_id=3) if t["kind"] == "disappeared"]
    assert len(gone) == 1
    assert (gone[0]["from_state"], gone[0]["to_state"], gone[0]["basis"]) == ("ACTIVE", None, "absence")
    assert gone[0]["not_before"] == history.time(-0.5)
    assert gone[0]["observed_at"] == gone[0]["first_missing_at"] == history.time(60)
    assert history.row("regions", id=3)["absent_since"] == history.time(60)


def test_a_region_that_comes_back_reappears_since_the_last_answer_without_it(history: History) -> None:
    history.poll(THREE, at=0)
    history.poll(THREE[:2], at=60)
    history.poll(THREE[:2], at=120)
    history.poll(THREE, at=180)
    back = history.transitions(entity_id=3)[-1]
    assert (back["kind"], back["from_state"], back["to_state"], back["basis"]) == (
        "reappeared",
        None,
        "ACTIVE",
        "direct",
    )
    assert back["not_before"] == history.time(119.5)
    assert history.row("regions", id=3)["absent_since"] is None


def test_a_partial_answer_applies_what_it_lists_and_concludes_no_absence(history: History) -> None:
    history.poll(THREE, at=0)
    result = history.poll(answer([region(1, "MAINTENANCE")], count=3), at=60)
    assert result.outcome == "partial"
    assert history.present() == {1, 2, 3}
    assert history.transitions()[-1]["to_state"] == "MAINTENANCE"
    assert [(u["entity_id"], u["cause"]) for u in history.rows("unseen", entity="region")] == [
        (2, "partial"),
        (3, "partial"),
    ]


def test_partial_then_complete_closes_the_unseen_spans_and_dates_a_change_from_before_them(
    history: History,
) -> None:
    history.poll(THREE, at=0)
    history.poll(answer([region(1)], count=3), at=60)
    history.poll([region(1), region(2, "MAINTENANCE"), region(3)], at=120)
    change = history.transitions(entity_id=2)[-1]
    assert (change["basis"], change["not_before"]) == ("across_gap", history.time(-0.5))
    spans = history.rows("unseen", entity="region")
    assert [(u["from_at"], u["missed_at"], u["until_at"]) for u in spans] == [
        (history.time(0), history.time(60), history.time(120))
    ] * 2


def test_a_false_empty_answer_before_a_real_disappearance_is_not_back_dated(history: History) -> None:
    history.poll(THREE, at=0)
    assert history.poll([], at=60).outcome == "held"
    assert history.present() == {1, 2, 3}
    history.poll(THREE, at=120)
    for at in (180, 240):
        assert history.poll([], at=at).outcome == "held"
    assert history.poll([], at=300).outcome == "ok"
    gone = history.transitions(entity_id=1)[-1]
    assert gone["kind"] == "disappeared"
    assert gone["not_before"] == history.time(119.5)
    assert gone["observed_at"] == history.time(300)
    assert gone["first_missing_at"] == history.time(180)


def test_one_missing_is_believed_and_two_of_four_are_held(history: History) -> None:
    four = [region(i) for i in (1, 2, 3, 4)]
    history.poll(four)
    assert history.poll(four[:3]).outcome == "ok"
    assert history.present() == {1, 2, 3}
    history.poll(four)
    assert history.poll(four[:2]).outcome == "held"
    assert history.present() == {1, 2, 3, 4}


def test_held_absences_survive_a_restart_and_need_the_same_missing_ids(history: History) -> None:
    history.poll(THREE)
    assert history.poll([]).outcome == "held"
    history.restart()
    assert history.poll([region(3)]).outcome == "held"  # shows 3: counting begins again
    assert history.poll([region(3)]).outcome == "held"
    history.restart()
    assert history.poll([region(3)]).outcome == "ok"
    assert history.present() == {3}


def test_failed_and_partial_polls_neither_count_nor_reset_what_is_held(history: History) -> None:
    history.poll(THREE)
    history.poll([])
    history.poll(failure())
    history.poll([])
    history.poll(answer([], count=3))
    assert history.poll([]).outcome == "ok"
    assert history.outcomes() == ["ok", "held", "failed", "held", "partial", "ok"]


def test_a_partial_answer_that_shows_a_missing_region_resets_what_is_held(history: History) -> None:
    history.poll(THREE)
    history.poll([])
    history.poll([])
    history.poll(answer([region(2)], count=3))
    assert history.poll([]).outcome == "held"


def test_an_answer_with_a_nameless_record_neither_counts_nor_resets_what_is_held(history: History) -> None:
    history.poll(THREE)
    history.poll([])
    history.poll([])
    assert history.poll([{"id": "7"}]).outcome == "ok"
    assert history.present() == {1, 2, 3}
    assert history.poll([]).outcome == "ok"
    assert history.present() == set()


def test_what_another_key_does_not_see_confirms_nothing(history: History) -> None:
    """It may see less by right; one false answer to the first key is not to be believed for that."""
    history.poll(THREE)
    history.change(api_key="key-two")
    assert [history.poll([]).outcome for _ in range(2)] == ["held", "held"]
    history.change(api_key="key-one")
    assert history.poll([]).outcome == "held"
    assert history.present() == {1, 2, 3}
    history.poll(THREE)
    assert [t["basis"] for t in history.transitions()] == ["baseline"] * 3


def test_two_keys_in_turn_each_confirm_what_they_miss_themselves(history: History) -> None:
    history.poll(THREE)
    outcomes = []
    for n in range(5):
        history.change(api_key=("key-one", "key-two")[n % 2])
        outcomes.append(history.poll([]).outcome)
    assert outcomes == ["held", "held", "held", "held", "ok"]
    assert {t["basis"] for t in history.transitions()[3:]} == {"absence"}


def test_another_key_that_sees_even_less_does_not_reset_what_is_held(history: History) -> None:
    history.poll(THREE)
    assert [history.poll([region(1)]).outcome for _ in range(2)] == ["held", "held"]
    history.change(api_key="key-two")
    assert history.poll([]).outcome == "held"
    history.change(api_key="key-one")
    assert history.poll([region(1)]).outcome == "ok"
    assert history.present() == {1}


def test_another_key_that_shows_a_missing_region_resets_what_is_held(history: History) -> None:
    history.poll(THREE)
    assert [history.poll([]).outcome for _ in range(2)] == ["held", "held"]
    history.change(api_key="key-two")
    assert history.poll([region(2)]).outcome == "held"
    history.change(api_key="key-one")
    assert history.poll([]).outcome == "held"
    assert history.present() == {1, 2, 3}


def test_the_scheme_word_is_not_another_key(history: History) -> None:
    history.poll(THREE)
    for scheme in ("APIKey", "apikey"):
        history.change(auth_scheme=scheme)
        assert history.poll([]).outcome == "held"
    assert history.poll([]).outcome == "ok"
    history.change(auth_scheme="Bearer")
    history.poll(THREE)
    found = history.transitions(entity_id=1)
    assert [t["basis"] for t in found] == ["baseline", "absence", "direct"]
    assert len(history.rows("observers")) == 3, "who looked is kept as it was"


def test_an_empty_first_answer_is_doubted(history: History) -> None:
    assert history.poll([]).outcome == "held"
    history.poll(THREE)
    assert {t["basis"] for t in history.transitions()} == {"baseline"}


def test_an_account_without_regions_is_believed_after_three_answers_and_stays_so(history: History) -> None:
    assert [history.poll([]).outcome for _ in range(3)] == ["held", "held", "ok"]
    history.poll(failure())
    assert history.poll([]).outcome == "ok"


def test_a_failed_poll_between_makes_a_change_across_a_gap(history: History) -> None:
    history.poll([region(1, "NEW")], at=0)
    history.poll(failure(), at=60)
    history.poll([region(1)], at=120)
    change = history.transitions()[-1]
    assert (change["basis"], change["not_before"]) == ("across_gap", history.time(-0.5))


def test_a_gap_inside_a_day_opens_a_new_stretch_of_the_same_payload(history: History) -> None:
    history.poll(THREE, at=0)
    history.poll(THREE, at=150)
    history.poll(THREE, at=301)
    assert [(o["seq"], o["polls"]) for o in history.rows("observations")] == [(1, 2), (2, 1)]
    assert len(history.rows("payloads")) == 1
    (gap,) = history.query("SELECT * FROM coverage_gaps WHERE until_at IS NOT NULL")
    assert (gap["seconds"], gap["cause"]) == (151.0, "no_polls")


def test_a_change_behind_a_gap_says_so(history: History) -> None:
    history.poll([region(1, "NEW")], at=0)
    history.poll([region(1)], at=151)
    assert history.transitions()[-1]["basis"] == "across_gap"


def test_midnight_opens_a_new_stretch_and_is_no_gap(history: History) -> None:
    noon = 12 * 3600.0
    history.poll(THREE, at=noon - 30)
    history.poll(THREE, at=noon + 30)
    history.poll([region(1, "NEW"), *THREE[1:]], at=noon + 90)
    assert [o["polls"] for o in history.rows("observations")] == [1, 1, 1]
    change = history.transitions(entity_id=1)[-1]
    assert (change["basis"], change["not_before"]) == ("direct", history.time(noon + 29.5))


def test_the_same_payload_after_a_failure_opens_a_new_stretch(history: History) -> None:
    history.poll(THREE)
    history.poll(failure())
    history.poll(THREE)
    assert history.outcomes() == ["ok", "failed", "ok"]
    assert len(history.transitions()) == 3


def test_equal_failures_are_one_stretch_and_others_are_not(history: History) -> None:
    history.poll(failure("http_status", http_status=503, message="first", request_id="a"))
    history.poll(failure("http_status", http_status=503, message="second", request_id="b"))
    history.poll(failure("http_status", http_status=500))
    rows = history.rows("observations")
    assert [(o["http_status"], o["polls"], o["message"]) for o in rows] == [
        (503, 2, "first"),
        (500, 1, "no connection"),
    ]


def test_a_key_that_shows_fewer_regions_is_not_taken_for_a_disappearance_like_any_other(
    history: History,
) -> None:
    history.poll(THREE)
    history.change(api_key="key-two")
    history.poll(THREE[:2])
    assert history.transitions(entity_id=3)[-1]["basis"] == "observer_change"
    history.change(api_key="key-one")
    history.poll(THREE)
    assert history.transitions(entity_id=3)[-1]["basis"] == "observer_change"
    assert len(history.rows("observers")) == 2


@pytest.mark.parametrize("other", [{"api_key": "key-two"}, {"base_url": "https://reseller.example"}])
@pytest.mark.parametrize("before", [False, True])
def test_a_key_that_comes_back_has_proven_no_absence_of_what_it_named(
    history: History, before: bool, other: dict[str, str]
) -> None:
    """Its last complete answer named the region in a record without a state; only that of another key, or from
    another URL, has none of it.
    """
    if before:
        history.poll([region(2)], at=-60)
        history.poll([region(2), {"id": "nameless"}], at=-30)  # proves no absence at all
    history.poll([region(1, ""), region(2)], at=0)
    own = {name: getattr(history.source, name) for name in other}
    history.change(**other)
    history.poll([region(2)], at=60)
    history.change(**own)
    history.poll([region(1), region(2)], at=120)
    found = history.transitions(entity_id=1)[-1]
    assert (found["kind"], found["basis"]) == ("appeared", "observer_change")
    assert found["not_before"] == (history.row("observations", seq=1)["last_asked_at"] if before else None)


def test_a_state_first_seen_with_another_key_has_basis_observer_change(history: History) -> None:
    history.poll([region(1, "NEW")])
    history.change(api_key="key-two")
    history.poll([region(1, "NEW")])
    history.poll([region(1)])
    assert history.transitions()[-1]["basis"] == "direct"
    history.change(api_key="key-one")
    history.poll([region(1, "NEW")])
    assert history.transitions()[-1]["basis"] == "observer_change"


def test_held_regions_keep_the_observer_that_last_showed_them(history: History) -> None:
    history.poll(THREE)
    history.change(api_key="key-two")
    for _ in range(3):
        history.poll([region(1)])
    assert history.present() == {1}
    assert history.transitions(entity_id=2)[-1]["basis"] == "observer_change"


def test_a_retry_that_takes_most_of_an_interval_does_not_narrow_the_window(history: History) -> None:
    history.poll([region(1, "NEW")], at=0, took=0.2)
    history.poll([region(1, "NEW")], at=100, took=54)
    history.poll([region(1)], at=160, took=55)
    change = history.transitions()[-1]
    assert change["not_before"] == history.time(46)
    assert change["observed_at"] == history.time(160)


def test_a_clock_that_steps_back_a_little_is_moved_forward(history: History) -> None:
    history.poll([region(1, "NEW")], at=60)
    history.poll([region(1)], at=30)
    first, second = history.rows("observations")
    assert second["first_at"] == first["last_at"] + timedelta(microseconds=1)
    assert second["first_asked_at"] == history.time(29.5)


@pytest.mark.parametrize("back", [61, 3600, 10 * 365 * 86400])
def test_a_clock_that_jumps_back_is_not_believed(history: History, back: float) -> None:
    history.poll(THREE, at=0)
    with pytest.raises(ClockError, match="set the clock"):
        history.poll([region(1, "NEW")], at=-back)
    assert len(history.rows("observations")) == 1


@pytest.mark.parametrize("hours", [-1.1, 1.1, 24 * 365])
def test_a_clock_that_differs_from_the_apis_is_not_believed(history: History, hours: float) -> None:
    with pytest.raises(ClockError, match="differs"):
        history.poll(THREE, clock_offset=timedelta(hours=hours))
    assert history.rows("observations") == []


def test_one_bad_record_for_ever_exempts_only_its_own_id(history: History) -> None:
    bad = region(3, state=MISSING)
    history.poll(THREE)
    history.poll([region(1), region(2), bad])
    history.poll([region(1), bad])
    history.poll([region(1), region(5), bad])
    assert history.present() == {1, 3, 5}
    assert history.transitions(entity_id=2)[-1]["kind"] == "disappeared"
    appeared = history.transitions(entity_id=5)[-1]
    assert (appeared["basis"], appeared["not_before"]) == ("direct", history.time(3 * 60 - 0.5))
    assert [u["cause"] for u in history.rows("unseen", entity="region")] == ["not_given"]
    assert {r["reason"] for r in history.rows("rejected_records")} == {"no_usable_state"}


def test_a_region_first_seen_as_a_bad_record_may_be_as_old_as_that(history: History) -> None:
    history.poll([region(1)], at=0)
    history.poll([region(1), region(2, state=7)], at=60)
    history.poll([region(1), region(2)], at=120)
    appeared = history.transitions(entity_id=2)[-1]
    assert (appeared["not_before"], appeared["basis"]) == (history.time(-0.5), "across_gap")


def test_a_record_without_an_id_withholds_all_absences_of_its_poll(history: History) -> None:
    history.poll(THREE)
    result = history.poll([region(1), region(2), region("7")])
    assert result.outcome == "ok"
    assert history.present() == {1, 2, 3}
    assert [w["cause"] for w in history.rows("withheld_absences", entity="region")] == ["record_without_id"]
    assert [u["cause"] for u in history.rows("unseen", entity="region")] == ["record_without_id"]
    history.poll([region(1), region(2)])
    assert history.present() == {1, 2}


def test_a_record_without_an_id_withholds_the_absences_of_keystones_too(history: History) -> None:
    history.poll([region(1), region(2)])
    history.poll([region("7", keystone_id=1001)])
    assert history.present("keystones") == {1001, 1002}
    assert {w["cause"] for w in history.rows("withheld_absences")} == {"record_without_id"}


def test_copies_of_one_id_that_differ_are_all_rejected_and_equal_ones_are_one(history: History) -> None:
    history.poll([region(1), region(2)])
    history.poll([region(1), region(1, "NEW"), region(2), region(2)])
    assert {r["reason"] for r in history.rows("rejected_records")} == {"duplicate_id"}
    assert history.row("regions", id=1)["state"] == "ACTIVE"
    assert history.present() == {1, 2}
    assert [u["entity_id"] for u in history.rows("unseen", entity="region")] == [1]


def test_three_point_zero_is_an_id_and_true_is_none(history: History) -> None:
    history.poll([region(3.0), region(True), region(2**63), region(-5), region(0)])
    assert history.present() == {3, -5, 0}
    assert [r["reason"] for r in history.rows("rejected_records")] == ["no_usable_id"] * 2


@long_on_postgresql("database_url")
def test_a_volatile_unknown_field_extends_the_stretch_and_is_kept_once_an_hour(history: History) -> None:
    for n in range(125):
        history.poll([region(1, uptime=n)], at=n * 60)
    rows = history.rows("observations")
    assert [(o["polls"], o["variants"]) for o in rows] == [(60, 59), (60, 59), (5, 4)]
    assert len(history.rows("region_versions")) == 1
    assert [(d["path"], d["detail"]) for d in history.rows("schema_drift")] == [
        ("results[].uptime", "number")
    ]


def test_a_new_unknown_field_is_on_record_at_once_even_if_nothing_else_changed(history: History) -> None:
    history.poll([region(1)], at=0)
    history.poll([region(1, colour="blue")], at=60)
    assert len(history.rows("observations")) == 2
    assert history.row("schema_drift", path="results[].colour")["first_seen_at"] == history.time(60)


def test_order_and_spelling_are_not_changes(history: History) -> None:
    one, two = region(1), region(2)
    history.poll([one, two])
    history.poll([two, one])
    history.poll([dict(reversed(one.items())), two])
    history.poll([one | {"created_on": "2019-12-31 23:59:59Z"}, two])
    history.poll([one | {"available_volume_types": ["ssd_hiiops", "standard", "standard"]}, two])
    (row,) = history.rows("observations")
    assert (row["polls"], row["variants"]) == (5, 2)
    assert len(history.rows("region_versions")) == 2


def test_a_null_list_and_an_empty_list_differ_and_null_and_missing_do_not(history: History) -> None:
    for volume_types in (None, MISSING, [], ["cold"]):
        history.poll([region(1, available_volume_types=volume_types)])
    assert [v["available_volume_types"] for v in history.rows("region_versions")] == [None, (), ("cold",)]


def test_a_keystone_omitted_for_months_is_unseen_and_not_absent(history: History) -> None:
    history.poll([region(1), region(2)], at=0)
    without = [region(i, keystone=MISSING, keystone_id=MISSING, keystone_name="x") for i in (1, 2)]
    for day in range(1, 60):
        history.poll(without, at=day * 86400)
    assert history.present("keystones") == {1001, 1002}
    assert {u["cause"] for u in history.rows("unseen", entity="keystone")} == {"reference_not_stated"}
    later = [region(1, keystone=keystone(1001, state="NEW")), region(2)]
    history.poll(later, at=60 * 86400)
    change = history.transitions("keystone", 1001)[-1]
    assert (change["from_state"], change["to_state"]) == ("INITIALIZED", "NEW")
    assert (change["basis"], change["not_before"]) == ("across_gap", history.time(-0.5))
    assert {u["until_at"] for u in history.rows("unseen")} == {history.time(60 * 86400)}


def test_a_keystone_whose_object_is_missing_while_its_id_is_given_is_unseen(history: History) -> None:
    history.poll([region(1), region(2)])
    history.poll([region(1, keystone=None), region(2, keystone=keystone(1002, state=""))])
    assert history.present("keystones") == {1001, 1002}
    assert [u["cause"] for u in history.rows("unseen", entity="keystone")] == ["not_given", "not_given"]


def test_a_keystone_that_no_region_refers_to_any_more_is_absent(history: History) -> None:
    history.poll([region(1), region(2)])
    history.poll([region(1), region(2, keystone_id=1001)])
    assert history.present("keystones") == {1001}
    assert history.transitions("keystone", 1002)[-1]["kind"] == "disappeared"


def test_a_keystone_is_not_absent_while_one_region_leaves_its_reference_open(history: History) -> None:
    history.poll([region(1), region(2)])
    history.poll([region(1), region(2, keystone_id=None, keystone=None)])
    assert history.present("keystones") == {1001, 1002}


def test_keystone_copies_that_contradict_while_their_witness_is_rejected_once(history: History) -> None:
    old, new = keystone(9, state="NEW"), keystone(9, state="INITIALIZED")
    one, two = region(1, keystone_id=9, keystone=new), region(2, keystone_id=9, keystone=old)
    history.poll([one, two])
    history.poll([one | {"state": None}, two])
    history.poll([one, two])
    found = history.transitions("keystone", 9)
    assert [(t["to_state"], t["basis"]) for t in found] == [
        ("INITIALIZED", "baseline"),
        ("NEW", "other_copy"),
        ("INITIALIZED", "other_copy"),
    ]
    assert [v["witness_region_id"] for v in history.rows("keystone_versions")] == [1, 2, 1]
    assert history.row("schema_drift", kind="copies_differ")["path"] == "results[].keystone.state"


def test_a_witness_that_moves_without_any_difference_is_no_version(history: History) -> None:
    shared = keystone(9)
    one, two = region(1, keystone_id=9, keystone=shared), region(2, keystone_id=9, keystone=shared)
    history.poll([one, two])
    history.poll([two])
    assert history.row("keystones", id=9)["witness_region_id"] == 2
    assert len(history.rows("keystone_versions")) == 1


def test_a_rejected_record_still_names_its_keystone(history: History) -> None:
    history.poll([region(1), region(2), region(3)])
    history.poll([region(1), region(2, state=None), region(3, keystone_id=1001)])
    assert history.present("keystones") == {1001, 1002}


def test_a_keystone_id_that_differs_from_the_objects_own_is_the_reference(history: History) -> None:
    two = region(2, keystone_id=MISSING, keystone=keystone(8))
    history.poll([region(1, keystone_id=5, keystone=keystone(77)), two])
    assert [(k["id"], k["own_id"]) for k in history.rows("keystones")] == [(5, 77), (8, 8)]
    assert history.row("regions", id=2)["keystone_id"] == 8


def test_an_unusable_keystone_id_is_not_guessed_from_the_object(history: History) -> None:
    history.poll([region(1, keystone_id=1001, keystone=keystone(5))])
    history.poll([region(1, keystone_id="1001", keystone=keystone(5))])
    assert history.present("keystones") == {1001}
    assert history.row("regions")["keystone_id"] is None
    assert [u["cause"] for u in history.rows("unseen", entity="keystone")] == ["reference_not_stated"]


def test_a_window_contains_the_truth_over_a_clock_step(history: History) -> None:
    history.poll([region(1, "NEW")], at=0)
    history.poll([region(1, "NEW")], at=-10, took=15)
    history.poll([region(1)], at=50)
    assert history.transitions()[-1]["not_before"] == history.time(-25)


def test_an_absence_is_known_only_while_complete_answers_say_so(history: History) -> None:
    history.poll(THREE, at=0)
    for at in (60, 120):
        history.poll([region(1), region(3)], at=at)
    for at in range(180, 3600, 60):
        history.poll(answer([region(1)], count=3), at=at)
    history.poll([region(1), region(3)], at=3600)
    (absent,) = history.query("SELECT seconds_at_least FROM region_state_intervals WHERE state = 'ABSENT'")
    assert absent["seconds_at_least"] == 59.5  # to the question of the last one


def test_a_writer_of_older_rules_cant_write_on(history: History) -> None:
    history.poll(THREE)
    with writing(history.engine) as connection:
        connection.execute(sa.update(sources).values(derivation_revision=DERIVATION_REVISION + 1))
    with pytest.raises(LeaseLostError, match="newer version"):
        history.poll(THREE)
    with pytest.raises(SchemaError, match="newer version"):
        rederive.rebuild(history.engine, "gcore")
    with writing(history.engine) as connection:
        connection.execute(sa.update(sources).values(derivation_revision=DERIVATION_REVISION))


def test_a_name_with_nul_costs_the_name_and_nothing_else(history: History) -> None:
    history.poll([region(1, display_name="Luxem\0bourg", slug="\ud800", country="LU")])
    row = history.row("regions")
    assert (row["display_name"], row["slug"], row["country"]) == (None, None, "LU")
    drift = history.rows("schema_drift")
    assert [(d["path"], d["kind"]) for d in drift] == [
        ("results[].display_name", "unusable_value"),
        ("results[].slug", "unusable_value"),
    ]


def test_unknown_states_are_kept_as_they_came(history: History) -> None:
    history.poll([region(1, "active"), region(2, "FROZEN", zone="MOON")])
    assert [r["state"] for r in history.rows("regions")] == ["active", "FROZEN"]
    assert {d["detail"] for d in history.rows("schema_drift", kind="unknown_value")} == {
        "active",
        "FROZEN",
        "MOON",
    }


def test_drift_is_bounded(history: History) -> None:
    history.poll([region(n, **{f"field_{n}": 1, "zone": f"ZONE_{n}"}) for n in range(1, 160)])
    assert len(history.rows("schema_drift", kind="unknown_field")) == 100
    assert len(history.rows("schema_drift", kind="unknown_value")) == 100


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"count":0,"results":[],"count":0}', "occurs twice"),
        (b'{"count":NaN,"results":[]}', "NaN is not JSON"),
        (b'{"count":0,"results":[' + b"[" * 100 + b"]" * 100 + b"]}", "deeper than 64"),
        (b"[" * 100_000, "deeper than 64"),
        (b'{"count":0,"results":["\xff"]}', "not valid UTF-8"),
        (b"<html>", "looks like an HTML page"),
        (b"", "the body is empty"),
        (b"[]", "the answer is a list"),
        (
            b'{"message":"sorry","exception_class":"Oops"}',
            "`results` is missing, not a list of regions: sorry",
        ),
        (b'{"results":{}}', "`results` is an object"),
    ],
)
def test_an_answer_that_cant_be_relied_on_fails_with_a_reason(
    history: History, raw: bytes, says: str
) -> None:
    history.poll(THREE)
    result = history.poll(raw)
    assert result.outcome == "failed"
    assert says in str(history.rows("observations")[-1]["message"])
    assert history.poll(THREE).outcome == "ok"
    assert history.present() == {1, 2, 3}


def test_two_sources_with_the_same_ids_have_histories_of_their_own(history: History) -> None:
    other = History(history.engine, name="preprod", base_url="https://preprod.example")
    history.poll([region(1)])
    other.poll([region(1, "NEW")])
    other.poll([region(1, "DELETED")])
    assert [r["state"] for r in history.rows("regions")] == ["ACTIVE", "DELETED"]
    assert len(history.rows("observations", source_id=1)) == 1
    assert other.rebuilt().different == 0
