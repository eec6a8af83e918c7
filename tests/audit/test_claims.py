"""Claims in words: they say what spans say, name what is not known, and give the evidence."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from collector.anchors import Anchor
from collector.audit.anchoring.record import make
from collector.audit.claims import Claim, claim
from collector.audit.runs import observed, runs
from collector.database.transactions import reading
from collector.gcore.paths import Path
from collector.reports.spans import SpanFilter, spans
from collector.reports.words import show_time
from collector.store import pruning, redacting
from tests.support.builders import region
from tests.support.command import collector
from tests.support.history import History, failure


def claimed(history: History, region_id: int, at: float) -> Claim:
    with reading(history.engine) as connection:
        return claim(connection, 1, "gcore", region_id, history.time(at))


@pytest.fixture
def history(sqlite_engine: sa.Engine) -> History:
    """Active for three polls, out of sight for five minutes, in maintenance for two polls, gone."""
    history = History(sqlite_engine)
    two = region(2)
    for state in ("ACTIVE", "ACTIVE", "ACTIVE"):
        history.poll([region(1, state), two])  # 60, 120, 180
    for _ in range(4):
        history.poll(failure())
    history.poll([region(1), two])  # 480: after a gap
    history.poll([region(1, "MAINTENANCE"), two])  # 540
    history.poll([region(1, "MAINTENANCE"), two])  # 600
    history.poll([two])  # 660
    history.poll([two])  # 720
    return history


def test_a_claim_is_one_sentence(history: History) -> None:
    found = claimed(history, 1, 560)
    key = history.row("observers")["key_fingerprint"][:8]
    assert (found.is_known, found.state) == (True, "MAINTENANCE")
    assert found.sentence == (
        "Region 1 was in MAINTENANCE from 2026-05-01 12:09:00Z to at least 2026-05-01 12:09:59.500Z, "
        f"shown by 2 polls with key {key}; never contradicted."
    )
    assert found.unknown[:3] == (
        "MAINTENANCE began after 2026-05-01 12:07:59.500Z, and at the latest at 2026-05-01 12:09:00Z.",
        "It ended after 2026-05-01 12:09:59.500Z, and at the latest at 2026-05-01 12:11:00Z: then it was not listed.",
        "Polls are samples, at most 60 s apart: a change that was reversed between two of them was not seen.",
    )
    assert [row["seq"] for row in found.evidence] == [4, 5]


def test_blind_times_are_reported_and_nothing_is_claimed_about_them(history: History) -> None:
    found = claimed(history, 1, 100)
    assert found.sentence.startswith(
        "Region 1 was in ACTIVE from 2026-05-01 12:01:00Z to at least 2026-05-01 12:07:59.500Z, apart from one "
        "time when it could not be seen, shown by 4 polls with key "
    )
    assert "Between 2026-05-01 12:02:59.500Z and 2026-05-01 12:08:00Z it could not be seen." in found.unknown
    assert "It is not known when ACTIVE began: there was no earlier poll." in found.unknown
    assert claimed(history, 1, 300).sentence == (
        "It is not known in which state Region 1 was at 2026-05-01 12:05:00Z: it was ACTIVE at "
        "2026-05-01 12:02:59.500Z, and again at 2026-05-01 12:08:00Z."
    )


@pytest.mark.parametrize(
    ("at", "end"),
    [
        (0, ": it was first shown at 2026-05-01 12:01:00Z."),
        (520, ": it was ACTIVE at 2026-05-01 12:07:59.500Z, and MAINTENANCE at 2026-05-01 12:09:00Z."),
        (640, ": it was MAINTENANCE at 2026-05-01 12:09:59.500Z, and not listed at 2026-05-01 12:11:00Z."),
        (900, ": it was not listed at 2026-05-01 12:11:59.500Z, and no later answer shows it."),
    ],
)
def test_what_is_not_known_is_said_with_what_is_known_around_it(
    history: History, at: float, end: str
) -> None:
    found = claimed(history, 1, at)
    assert (found.is_known, found.state) == (False, None)
    assert found.sentence.endswith(end), found.sentence


def test_absence_is_claimed_by_complete_answers(history: History) -> None:
    found = claimed(history, 1, 700)
    assert (found.is_known, found.state) == (True, None)
    assert found.sentence.startswith(
        "Region 1 was not listed from 2026-05-01 12:11:00Z to at least 2026-05-01 12:11:59.500Z, shown by "
        "2 complete answers to key "
    )


def test_an_absent_region_is_not_said_to_be_out_of_sight(history: History) -> None:
    history.poll([region(2)], at=3000)
    found = claimed(history, 1, 700)
    assert ", apart from one time when that is not known, shown by " in found.sentence
    assert (
        f"Between {show_time(history.time(719.5))} and {show_time(history.time(3000))} that is not known."
        in (found.unknown)
    )
    last = f"Nothing later is known: the last complete answer was asked for at {show_time(history.time(2999.5))}."
    assert last in found.unknown


def test_a_change_of_key_makes_a_beginning_or_an_end_doubtful(history: History) -> None:
    assert "change of view" not in "\n".join(claimed(history, 1, 700).unknown)
    history.poll([region(1), region(2)])  # 780
    history.restart(api_key="key-two")
    history.poll([region(2)])
    history.poll([region(2)])
    seen, unseen = claimed(history, 1, 779), claimed(history, 1, 890)
    assert (seen.is_known, unseen.is_known, unseen.state) == (False, True, None)
    assert (
        "Another key or URL was used before, so its beginning may be a change of view only." in unseen.unknown
    )
    assert not any(" its end " in text for text in unseen.unknown)
    history.restart(api_key="key-three")
    history.poll([region(1), region(2)])
    unseen = claimed(history, 1, 890)
    assert (
        "Another key or URL was used after that, so its end may be a change of view only." in unseen.unknown
    )


def test_a_pruned_history_does_not_say_that_it_has_no_beginning(history: History) -> None:
    how: dict[str, Any] = {"made_at": history.time(history.at), "made_by": "a test"}
    pruning.prune(history.engine, "gcore", history.time(570), **how)
    found = claimed(history, 1, 560)
    assert found.unknown[0] == "MAINTENANCE may have begun earlier: earlier answers were pruned."
    assert (
        claimed(history, 2, 560).unknown[0] == "ACTIVE may have begun earlier: earlier answers were pruned."
    )
    assert claimed(history, 1, 700).unknown[0].startswith("Absence began after 2026-05-01 12:09:59.500Z")


def test_a_name_of_several_regions_is_refused_with_all_of_them(history: History) -> None:
    History(history.engine, name="other").poll([region(1)])
    url = history.engine.url.render_as_string(hide_password=False)
    said = collector("audit", "state", "1", "--at", "2026-05-01T12:05", database_url=url)
    said.refused(
        2, "'1' names 2 regions: region 1 of gcore, region 1 of other; give the id of one, and --source"
    )
    assert (
        collector(
            "audit", "state", "1", "--source", "gcore", "--at", "2026-05-01T12:01:30", database_url=url
        ).code
        == 0
    )


def test_a_claim_that_rests_on_redacted_answers_says_so(history: History) -> None:
    assert "redacted" not in "\n".join(claimed(history, 1, 560).unknown)
    how = {"made_at": history.time(history.at), "made_by": "a test"}
    redacting.redact(history.engine, "gcore", Path.parse("results[].display_name"), **how)
    assert (
        "In the answers of 1 of its observations, values were redacted later: for their other values, you have to "
        "trust the person who did that."
    ) in claimed(history, 1, 560).unknown


def test_one_poll_alone_shows_a_moment(sqlite_engine: sa.Engine) -> None:
    history = History(sqlite_engine)
    history.poll([region(1, "NEW\x1b[2J")])
    history.poll([region(1)])
    with reading(history.engine) as connection:
        first, _ = runs(connection, 1, 1, observed(connection, 1))
    assert not first.knows(history.time(60))
    sentence = claimed(history, 1, 90).sentence
    assert "\x1b" not in sentence


def test_a_claim_names_the_anchors_that_cover_it(history: History, tmp_path: Any) -> None:
    for name, at in (("one", 800), ("two", 900), ("one", 1000)):
        anchor = Anchor(name=name, to=f"file:{tmp_path}/{name}")  # type: ignore[arg-type]
        make(history.engine, "gcore", anchor, clock=lambda at=at: history.time(at))  # type: ignore[misc]
    assert [(a["number"], a["target"]) for a in claimed(history, 1, 560).anchors] == [(1, "one"), (2, "two")]


def test_claims_say_what_spans_say(told: History) -> None:
    """At every moment of a history in which everything happens."""
    with reading(told.engine) as connection:
        end = max(row["last_at"] for row in told.rows("observations", source_id=1))
        seconds = (end - told.time(0)).total_seconds()
        known = 0
        rows = observed(connection, 1)
        for region_id in range(1, 8):
            found = list(spans(connection, SpanFilter(source="gcore", keys=[("gcore", region_id)])))
            ours = list(runs(connection, 1, region_id, rows))
            for step in range(0, int(seconds), 7):
                moment = told.time(step)
                span = next((s for s in found if s["from_at"] < moment < s["until_at"]), None)
                run = next((r for r in ours if r.knows(moment)), None)
                said = "UNKNOWN" if run is None else run.state or "ABSENT"
                expected = {span["state"] if span else "UNKNOWN"}
                # A claim of absence rests on complete answers alone.
                expected |= {"UNKNOWN"} if expected == {"ABSENT"} else set()
                assert said in expected, (region_id, step, span, run)
                known += run is not None
    assert known > 200


def test_the_command_says_it_and_ends_with_a_code(told: History) -> None:
    if told.engine.dialect.name != "sqlite":
        return
    url = str(told.engine.url)
    found = [r["id"] for r in told.rows("regions", source_id=1)]
    said = collector(
        "audit", "state", str(found[0]), "--at", "2026-05-01T12:00:30", "--source", "gcore", database_url=url
    )
    assert said.code in (0, 3), said
    assert "Evidence from source gcore, about region" in said.out
    as_json = collector(
        "audit",
        "state",
        str(found[0]),
        "--at",
        "2026-05-01T12:00:30",
        "--source",
        "gcore",
        "--format",
        "json",
        database_url=url,
    )
    assert as_json.json["sentence"] == said.out.splitlines()[0]
    collector("audit", "state", "no such", "--at", "today", database_url=url).refused(2, "no region")
