"""Pruned histories: what stays, what is proven, what a crash leaves, and what questions say."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector.audit import pack, retention
from collector.audit.pack import check
from collector.audit.verify import verify, verify_database, verify_source
from collector.database.transactions import reading, writing
from collector.errors import DatabaseError, IntegrityError, UsageError
from collector.inventory import chain
from collector.reports import views
from collector.reports.coverage import coverage
from collector.reports.inventory import RegionFilter, regions_as_of
from collector.reports.lead_time import lead_times
from collector.reports.spans import SpanFilter, spans
from collector.store import copying, pruning, snapshots
from collector.store.amendments import text_of
from collector.store.pruning import Pruned
from collector.store.tables import payloads
from tests.support.builders import answer, region
from tests.support.claims import agreed
from tests.support.databases import copy_of
from tests.support.history import History, failure
from tests.support.marks import long_on_postgresql
from tests.support.proofs import reseal
from tests.support.twins import Twins

STATES = ("ACTIVE", "MAINTENANCE", "ACTIVE", "FROZEN", "ACTIVE", "NEW")


def lived(history: History) -> History:
    """Two regions for some hours: one changes, one goes and comes back, and polls fail now and then."""
    for number, state in enumerate(STATES * 3):
        records = [region(1, state), region(2), region(3)]
        history.poll(records[: 2 if number % 6 == 3 else 3], at=history.at + 60)
        history.poll(failure(("connect", "timeout")[number % 2]), at=history.at + 60)
    history.poll([region(1, "ACTIVE"), region(2), region(3)])
    return history


def prune(history: History, seconds: float, **how: Any) -> Pruned:
    made_at = history.time(history.at)
    return retention.prune(
        history.engine, history.source.name, history.time(seconds), made_at=made_at, made_by="a test", **how
    )


@pytest.mark.long
def test_the_beginning_goes_and_the_rest_is_as_it_was(engine: sa.Engine) -> None:
    twins = Twins(engine)
    lived(twins)
    done = twins.prune(0.5)
    assert done is not None
    assert done.observations > 10
    lived(twins)
    twins.check()
    twins.prune(0.9)
    lived(twins)
    twins.check()
    assert not verify_database(engine, views.NAMES)


def test_what_is_polled_meanwhile_is_not_counted(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    def recorded() -> tuple[set[int], set[str]]:
        answers = {row["address"] for row in history.rows("payloads") if row["compressed_size"]}
        return {row["seq"] for row in history.rows("observations")}, answers

    for state in STATES * 3:
        history.poll([region(1, state, slug=f"at-{history.at:g}")])
    seqs, answers = recorded()
    monkeypatch.setattr(pruning, "ROUND", 5)

    def poll(_done: int, _all: int) -> None:
        for state in STATES:
            history.poll([region(1, state, slug=f"at-{history.at:g}")])

    done = prune(history, 720, progress=poll)
    left = recorded()
    assert (done.observations, done.answers) == (len(seqs - left[0]), len(answers - left[1]))
    assert done.observations > 5


def test_unchanged_polls_between_rounds_leave_the_chain_whole(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round then replaces the amendment of the previous one, which the poller has read already."""
    lived(history)
    history.poll([region(1, "ACTIVE"), region(2), region(3)])
    seq = history.rows("observations")[-1]["seq"]
    monkeypatch.setattr(pruning, "ROUND", 5)

    def poll(_done: int, _all: int) -> None:
        history.poll([region(1, "ACTIVE"), region(2), region(3)])

    done = prune(history, 1500, progress=poll)
    assert done.observations > 10
    assert history.rows("observations")[-1]["seq"] == seq
    assert [row["number"] for row in history.rows("amendments")] == [1]
    history.poll([region(1, "MAINTENANCE"), region(2), region(3)])
    history.verify()
    history.restart()
    history.poll([region(1, "ACTIVE"), region(2), region(3)])
    history.verify()


@long_on_postgresql("database_url")
def test_a_gap_counts_failures_that_were_pruned_while_it_went_on(engine: sa.Engine) -> None:
    twins = Twins(engine)
    twins.poll([region(1)])
    for cause in ("connect", "timeout", "protocol", "key"):
        twins.poll(failure(cause))
    done = twins.prune(1)
    assert done is not None
    assert done.observations > 0
    for cause in ("timeout", "connect"):
        twins.poll(failure(cause))
    twins.restart()
    twins.poll([region(1)])
    gap = twins.row("gaps", source_id=twins._id(twins.pruned))
    assert (gap["cause"], gap["failed_polls"]) == ("connect", 6), (
        "of two causes that are as frequent, the first one"
    )
    twins.check()


@pytest.mark.long
def test_heads_from_before_hold_where_their_observations_stay(history: History) -> None:
    lived(history)
    heads = {row["seq"]: row["opening_digest"] for row in history.rows("observations")}
    done = prune(history, 1200)
    assert done.begins is not None
    cut = done.begins.begins_seq
    found = verify(history.engine, "gcore", heads=list(heads.values()))
    assert {seq for seq in heads if heads[seq] in found.heads} >= {1, *range(cut, len(heads) + 1)}
    assert heads[cut - 1] not in found.heads
    lived(history)
    amended = [row for row in history.rows("observations") if row["amended"]]
    assert [row["seq"] for row in amended] == [len(heads) + 1]
    assert amended[0]["amended"] == history.row("amendments")["digest"]
    found = verify(history.engine, "gcore", heads=[amended[0]["amended"], heads[cut]])
    assert (found.verdict, len(found.heads)) == ("good", 2)


@long_on_postgresql("database_url")
def test_questions_about_what_was_pruned_say_so(history: History) -> None:
    lived(history)
    done = prune(history, 1200)
    assert done.begins is not None
    with reading(history.engine) as connection:
        with pytest.raises(UsageError, match="begins at"):
            regions_as_of(connection, history.time(600), RegionFilter())
        assert len(regions_as_of(connection, done.begins.begins_at, RegionFilter())) in (2, 3)
        gap = coverage(connection, "gcore")[-1]
        assert (gap["cause"], gap["until_at"]) == ("pruned", done.begins.begins_at)
        of_all = [row for row in spans(connection, SpanFilter()) if row["until_at"] <= done.begins.begins_at]
        assert {row["state"] for row in of_all} == {"UNKNOWN"}
        with pytest.raises(UsageError, match="begins at"):
            pack.build(connection, "gcore", history.time(600), history.time(9000), made_at=history.time(9000))


@long_on_postgresql("database_url")
def test_an_absence_is_unknown_too_before_the_beginning(history: History) -> None:
    for at in range(0, 1260, 60):
        history.poll(
            [region(1, display_name=f"at {at}"), region(2), *([region(3)] if at < 120 else [])], at=at
        )
    done = prune(history, 900)
    assert done.begins is not None
    told = agreed(history, "region", is_open=True)[3]
    before = [span.state for span in told if span.until_at and span.until_at <= done.begins.begins_at]
    assert set(before) == {"UNKNOWN"}
    after = told[len(before) :]
    assert [(span.state, span.from_at) for span in after[:1]] == [("ABSENT", done.begins.begins_at)]


@long_on_postgresql("database_url")
def test_an_answer_that_showed_what_others_miss_still_divides_their_confirmations(history: History) -> None:
    """Five of 31 regions are missing, so three answers in a row must agree; the second one showed them."""
    regions = [region(i) for i in range(1, 32)]
    history.poll(regions, at=0)
    history.poll(regions[5:], at=60)
    history.poll(answer(regions, count=32), at=120)
    history.poll(regions[5:], at=180)
    history.poll(failure(), at=240)
    history.poll(failure("connect"), at=300)
    done = prune(history, 260)
    assert done.begins is not None
    outcomes = [history.poll(regions[5:], at=at).outcome for at in (360, 420)]
    assert outcomes == ["held", "ok"]


@pytest.mark.parametrize(("before", "at_most"), [("MAINTENANCE", None), ("ACTIVE", 300.5)])
def test_what_began_before_the_beginning_of_a_history_is_bounded_only_by_what_stays(
    history: History, before: str, at_most: float | None
) -> None:
    """It was NEW already before MAINTENANCE, so the journey began then; a prune leaves no trace of that."""
    states = ["INACTIVE", "NEW", before, "NEW", "NEW", "MAINTENANCE", "NEW", "ACTIVE"]
    for n, state in enumerate(states):
        history.poll([region(1, state)], at=60 * n)
    prune(history, 270)
    with reading(history.engine) as connection:
        (row,) = lead_times(connection, from_state="NEW", to_state="ACTIVE")
        first, second, *_ = history.query(
            "SELECT state, from_latest, to_earliest, to_latest FROM region_state_intervals "
            "WHERE state <> 'UNKNOWN' ORDER BY from_latest"
        )
    assert (row["from_earliest"], row["seconds_at_most"]) == (at_most and history.time(119.5), at_most)
    assert (first["state"], second["state"]) == ("INACTIVE", "NEW")
    # Nothing is left of when it was INACTIVE but the first poll that showed it.
    assert first["to_earliest"] is None
    assert first["to_latest"] == second["from_latest"]


@long_on_postgresql("database_url")
def test_first_and_last_facts_stay(history: History) -> None:
    lived(history)
    before = {row["id"]: row["first_seen_at"] for row in history.rows("regions")}
    first = history.transitions()[0]
    prune(history, 1800)
    assert {row["id"]: row["first_seen_at"] for row in history.rows("regions")} == before
    assert history.transitions()[0] == first


@long_on_postgresql("database_url")
def test_a_pack_that_begins_where_the_history_begins_holds(history: History, tmp_path: Path) -> None:
    lived(history)
    done = prune(history, 1200)
    assert done.begins is not None
    lived(history)
    path = tmp_path / "pack.zip"
    with reading(history.engine) as connection:
        packed, verified = pack.build(
            connection,
            "gcore",
            done.begins.begins_at + timedelta(seconds=1),
            history.time(9000),
            made_at=history.time(9000),
        )
    path.write_bytes(packed)
    said = check.check(path, [str(verified.head)])
    assert said[0].startswith("HOLDS")
    assert any("history begins at" in line for line in said)


def _amend(connection: sa.Connection, **changes: Any) -> None:
    """Forge the amendment, with a digest that fits."""
    row = dict(connection.execute(sa.text("SELECT * FROM amendments")).mappings().one())
    facts = json.loads(row["facts"]) | changes
    row["facts"] = text_of(facts)
    connection.execute(
        sa.text("UPDATE amendments SET facts = :facts, digest = :digest"),
        {"facts": row["facts"], "digest": chain.amendment_digest("gcore", row)},
    )


def _other_state(connection: sa.Connection) -> None:
    body = connection.scalar(sa.text("SELECT snapshot FROM amendments"))
    text = zlib.decompress(body).decode().replace('"ACTIVE"', '"FROZEN"')
    connection.execute(sa.text("UPDATE amendments SET snapshot = :b"), {"b": snapshots.packed(text)})
    _amend(connection, snapshot=snapshots.hash_of(text))


FORGERIES: dict[str, Callable[[sa.Connection], Any]] = {
    "the snapshot altered, its hash too": _other_state,
    "the snapshot cut": lambda c: c.execute(
        sa.text("UPDATE amendments SET snapshot = substr(snapshot, 1, 50)")
    ),
    "the snapshot removed": lambda c: c.execute(sa.text("UPDATE amendments SET snapshot = NULL")),
    "the amendment removed": lambda c: c.execute(sa.text("DELETE FROM amendments")),
    "the amendment removed and counted off": lambda c: (
        c.execute(sa.text("DELETE FROM amendments")),
        c.execute(sa.text("UPDATE sources SET amendments = 0")),
    ),
    "the cut moved": lambda c: c.execute(sa.text("UPDATE amendments SET begins_seq = begins_seq + 1")),
    "the cut taken away": lambda c: c.execute(sa.text("UPDATE amendments SET begins_seq = NULL")),
    "the cut moved, its digest too": lambda c: _amend(c, begins_seq=20),
    "who did it": lambda c: c.execute(sa.text("UPDATE amendments SET made_by = 'nobody'")),
    "a kept observation removed": lambda c: c.execute(
        sa.text("DELETE FROM observations WHERE seq = (SELECT begins_seq FROM amendments)")
    ),
    "a kept observation edited": lambda c: c.execute(
        sa.text("UPDATE observations SET polls = 7 WHERE seq = 1")
    ),
    "an older observation slipped in": lambda c: c.execute(
        sa.text("UPDATE observations SET seq = 2 WHERE seq = 1")
    ),
    "a fact of then slipped in": lambda c: c.execute(
        sa.text(
            "UPDATE state_transitions SET from_state = 'FROZEN' WHERE seq = (SELECT begins_seq FROM amendments)"
        )
    ),
    "the first sight of a region": lambda c: c.execute(
        sa.text("UPDATE regions SET first_seen_at = changed_at WHERE id = 1")
    ),
    "the observation behind it does not know": lambda c: c.execute(
        sa.text("UPDATE observations SET amended = NULL WHERE amended IS NOT NULL")
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_beginning_is_found(sqlite_engine: sa.Engine, forgery: str) -> None:
    history = lived(History(sqlite_engine))
    prune(history, 1380)
    history.poll([region(1, "NEW"), region(2), region(3)])
    history.verify()
    with writing(sqlite_engine) as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        FORGERIES[forgery](connection)
        try:
            found = verify_after(connection)
        finally:
            connection.rollback()
    assert found == "altered"


def test_an_amendment_that_no_observation_knows_is_found(sqlite_engine: sa.Engine) -> None:
    """Even if all digests fit."""
    history = lived(History(sqlite_engine))
    prune(history, 1380)
    history.poll([region(1, "NEW"), region(2), region(3)])
    ((seq, kept),) = [
        (row["seq"], row["amended"]) for row in history.rows("observations") if row["amended"] is not None
    ]
    with writing(sqlite_engine) as connection:
        connection.execute(sa.text("UPDATE observations SET amended = NULL WHERE amended IS NOT NULL"))
        reseal(connection, since=seq)
        (found,) = verify_source(connection, "gcore").breaks
        connection.rollback()
    assert (found.key, found.field, found.stored, found.expected) == ({"seq": seq}, "amended", None, kept)


ROWS_OF_PRUNED_ANSWERS = {
    "removed": "DELETE FROM payloads WHERE compressed_size = 0",
    "with an answer": "UPDATE payloads SET body = (SELECT MAX(body) FROM payloads) WHERE compressed_size = 0",
    "with a size": "UPDATE payloads SET size = 7 WHERE compressed_size = 0",
    "of another form": "UPDATE payloads SET canonical_version = 7 WHERE compressed_size = 0",
    "of the beginning": "DELETE FROM payloads WHERE address IN (SELECT payload FROM observations WHERE seq = 5)",
}


@pytest.mark.parametrize("forged", ROWS_OF_PRUNED_ANSWERS)
def test_what_stays_of_pruned_answers_is_proven(engine: sa.Engine, forged: str) -> None:
    """Also on PostgreSQL, where nothing refers to these rows by a foreign key."""
    history = History(engine)
    for number in range(8):
        history.poll([region(1, display_name=f"Region {number}")])
    prune(history, 300)
    assert len(history.rows("payloads", compressed_size=0)) == 1
    history.verify()
    with writing(engine) as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.execute(sa.text(ROWS_OF_PRUNED_ANSWERS[forged]))
        try:
            found = verify_after(connection)
        finally:
            connection.rollback()
    assert found == "altered"


def test_a_pruned_answer_that_is_there_again_is_found(engine: sa.Engine) -> None:
    """Although its content fits its address."""
    history = History(engine)
    for number in range(8):
        history.poll([region(1, display_name=f"Region {number}")])
    before = {row["address"]: row for row in history.rows("payloads")}
    prune(history, 300)
    (emptied,) = history.rows("payloads", compressed_size=0)
    again = before[emptied["address"]]
    with writing(engine) as connection:
        changed = connection.execute(
            sa.update(payloads).where(payloads.c.address == again["address"]).values(**again)
        )
        assert changed.rowcount == 1
        found = verify_source(connection, "gcore").breaks
        connection.rollback()
    assert [(each.key, each.why) for each in found] == [
        ({"address": again["address"]}, "this answer was pruned, but is here again")
    ]


def verify_after(connection: sa.Connection) -> str:
    return verify_source(connection, "gcore").verdict


class Crash(BaseException):
    """The process ends."""


@pytest.mark.long
def test_a_crash_at_any_statement_leaves_it_before_or_after(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "ROUND", 12)
    history = lived(History(engine))
    engine.dispose()
    crashed, number = 0, 0
    while crashed == number:
        number += 4
        with copy_of(engine, tmp_path / f"{number}.db") as other:
            writes = iter(range(number, -1, -1))

            def crash(*event: Any, writes: Any = writes) -> None:
                if event[2].startswith(("DELETE", "UPDATE", "INSERT")) and not next(writes, 1):
                    raise Crash

            sa.event.listen(other, "before_cursor_execute", crash)
            copied = History(other)
            copied.at = history.at
            try:
                pruning.prune(
                    other,
                    "gcore",
                    history.time(1500),
                    made_at=history.time(history.at),
                    made_by="a test",
                )
            except Crash:
                crashed += 4
            sa.event.remove(other, "before_cursor_execute", crash)
            copied.verify()
            assert copied.rebuilt().different == 0
            prune(copied, 1500)
            copied.verify()
    assert crashed > 20


@long_on_postgresql("database_url")
def test_an_altered_history_is_not_pruned(history: History) -> None:
    lived(history)
    with writing(history.engine) as connection:
        connection.execute(sa.text("UPDATE regions SET state = 'FROZEN' WHERE id = 2"))
    with pytest.raises(IntegrityError, match="nothing was pruned"):
        prune(history, 1200)
    assert not history.rows("amendments")


def test_two_at_once_do_not_damage_the_history(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    lived(history)
    work_out = pruning._worked_out

    def work_out_slowly(*arguments: Any) -> Any:
        cut = work_out(*arguments)
        monkeypatch.undo()
        prune(history, history.at - 600)
        return cut

    monkeypatch.setattr(pruning, "_worked_out", work_out_slowly)
    with pytest.raises(DatabaseError, match="by another process meanwhile"):
        prune(history, history.at / 2)
    assert not verify_database(history.engine, views.NAMES)


@long_on_postgresql("database_url")
def test_a_pruned_history_can_be_copied(engine: sa.Engine, tmp_path: Path) -> None:
    history = lived(History(engine))
    prune(history, 1200)
    history.restart()
    from collector.database import migrate
    from collector.database.engine import open_engine

    sink = open_engine(f"sqlite:///{tmp_path / 'copy.db'}")
    migrate.upgrade(sink)
    copying.copy(engine, sink)
    assert verify(sink, "gcore").verdict == "good"
    sink.dispose()


@long_on_postgresql("database_url")
def test_what_is_said_again_after_it_was_pruned_is_stored_again(history: History) -> None:
    lived(history)
    prune(history, 1800)
    history.poll([region(1, "MAINTENANCE"), region(2), region(3)])
    history.poll([region(1, "FROZEN"), region(2)])
    history.verify()
    assert history.rebuilt().different == 0


@long_on_postgresql("database_url")
def test_an_old_answer_over_one_that_came_again_is_emptied(engine: sa.Engine) -> None:
    """The old answer stands over one that stays, because an answer that comes again keeps its row."""
    twins = Twins(engine)
    others = [region(number) for number in range(3, 40)]
    for first, second in (
        ("ACTIVE", "ACTIVE"),
        ("MAINTENANCE", "ACTIVE"),  # comes again after the cut
        ("FROZEN", "ACTIVE"),  # over that; region 1 is FROZEN at the cut, so the observation stays
        ("FROZEN", "NEW"),  # the cut
        ("MAINTENANCE", "ACTIVE"),
        ("MAINTENANCE", "NEW"),
    ):
        twins.poll([region(1, first), region(2, second), *others])
    rows = {row["address"]: row for row in twins.rows("payloads", source_id=2)}
    answers = [row["payload"] for row in twins.rows("observations", source_id=2)]
    assert rows[answers[2]]["base"] == answers[1] == answers[4]
    done = twins.prune(0.5)
    assert done is not None
    assert done.begins is not None
    assert done.begins.begins_seq == 4
    rows = {row["address"]: row for row in twins.rows("payloads", source_id=2)}
    assert [(rows[a]["links"], rows[a]["compressed_size"] > 0) for a in answers[1:4]] == [
        (0, True),
        (0, False),
        (0, True),
    ]
    twins.check()


@long_on_postgresql("database_url")
def test_time_without_proof_that_began_before_the_cut_is_recorded_later(engine: sa.Engine) -> None:
    """It begins with the observation after the last proof, so that observation stays."""
    twins = Twins(engine)
    twins.poll([region(1), region(2)])
    for state in ("NEW", "FROZEN", "ACTIVE", "NEW"):
        twins.poll(answer([region(1, state), region(2)], count=7))
    done = twins.prune(0.7)
    assert done is not None
    assert done.begins is not None
    assert done.begins.begins_seq == 4
    twins.poll([region(1), region(2)])
    (row,) = twins.rows("unproven_absences", source_id=2, entity="region")
    assert (row["proven_seq"], row["missed_seq"], row["until_seq"]) == (1, 2, 6)
    twins.check()


@long_on_postgresql("database_url")
def test_it_is_due_only_when_enough_has_come_together(engine: sa.Engine) -> None:
    history = History(engine)
    day = 86400
    for number in range(40):
        history.poll([region(1)], at=number * day)
    now = history.time(history.at)
    keep = timedelta(days=30)
    assert retention.due(engine, keep, now) == ["gcore"]
    retention.prune(engine, "gcore", now - keep, made_at=now, made_by="a test")
    assert retention.due(engine, keep, now + timedelta(hours=23)) == []
