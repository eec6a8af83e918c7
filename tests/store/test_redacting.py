"""A secret that slipped in under a name nobody expected: it goes, and what it was not stays provable."""

from __future__ import annotations

import json
import zlib
from pathlib import Path as File
from typing import Any

import pytest
import sqlalchemy as sa

from collector.audit import pack, retention
from collector.audit.pack import check
from collector.audit.verify import verify
from collector.database.transactions import reading, writing
from collector.database.vacuum import vacuum
from collector.errors import IntegrityError
from collector.gcore.paths import Path
from collector.service.webhooks.announcing import Announcer
from collector.store import pruning, redacting, rederive
from collector.store.redacting import Redacted
from collector.store.rederive import rebuild
from collector.store.tables import amendments
from tests.support.builders import keystone, region
from tests.support.command import collector
from tests.support.databases import copy_of
from tests.support.history import History
from tests.support.receivers import Receiver

SECRET = "hunter2hunter2"
NOTES = Path.parse("results[].keystone.extra.notes")


def told(number: int, state: str = "ACTIVE", **fields: Any) -> dict[str, Any]:
    extra = {"notes": f"{SECRET}{number}", "of": 1}
    return region(
        number, state, keystone_id=100 + number, keystone=keystone(100 + number, extra=extra), **fields
    )


def lived(history: History) -> History:
    for number, state in enumerate(("ACTIVE", "NEW", "ACTIVE", "FROZEN") * 5):
        history.poll(
            [told(1, state), told(2), region(3), {"id": "x", "keystone": {"extra": {"notes": SECRET}}}]
        )
        if number % 7 == 3:
            history.poll([told(1, state), told(2), region(3)])
    return history


def redact(history: History, path: Path = NOTES, future: bool = False) -> Redacted:
    name, how = history.source.name, {"made_at": history.time(history.at), "made_by": "a test"}
    return redacting.redact(history.engine, name, path, **how, future=future)  # type: ignore[arg-type]


def everything(history: History) -> str:
    """Everything in the database, with answers unpacked."""
    found = []
    for table in ("payloads", "amendments", "regions", "keystones", "keystone_versions", "rejected_records"):
        for row in history.rows(table):
            for value in row.values():
                if isinstance(value, bytes):
                    value = zlib.decompress(value) if value else b""
                found.append(str(value))
    found += [str(row) for row in history.rows("schema_drift") + history.rows("webhook_deliveries")]
    return "\n".join(found)


def test_it_goes_from_all_that_is_stored(history: History) -> None:
    lived(history)
    assert SECRET in everything(history)
    heads = [row["opening_digest"] for row in history.rows("observations")]
    with reading(history.engine) as connection:
        foreseen = redacting.foreseen(connection, "gcore", NOTES)
    done = redact(history)
    assert (done.answers, foreseen.answers) == (len(history.rows("payloads")),) * 2
    assert SECRET not in everything(history)
    found = verify(history.engine, "gcore", heads=[*heads, str(done.digest)])
    assert (found.verdict, len(found.heads)) == ("good", len(heads) + 1)
    assert history.rebuilt().different == 0


@pytest.mark.long
def test_later_polls_redact_it_at_once(history: History) -> None:
    lived(history)
    redact(history)
    lived(history)
    history.restart()
    lived(history)
    assert SECRET not in everything(history)
    history.verify()
    assert [bool(row["amended"]) for row in history.rows("observations")].count(True) == 1


def test_what_a_column_held_goes_from_derived_rows(history: History) -> None:
    keys = [keystone(101, url=f"https://{SECRET}.example/{n}") for n in range(3)]
    for each in keys:
        history.poll([region(1, keystone_id=101, keystone=each)])
    assert len(history.rows("keystone_versions")) == 3
    done = redact(history, Path.parse("results[].keystone.url"))
    assert done.derived
    assert [row["url"] for row in history.rows("keystone_versions")] == ["[redacted]"]
    assert SECRET not in everything(history)
    history.verify()


def test_events_lose_the_value_and_nothing_else(sqlite_engine: sa.Engine) -> None:
    """Also one that is a word of events themselves."""
    history = History(sqlite_engine, announce=Announcer([Receiver.configured("http://127.0.0.1:1/hook")]))
    for url in ("a", "keystone", "region"):
        history.poll([region(1, keystone_id=101, keystone=keystone(101, url=url))])
    before = [json.loads(row["event"]) for row in history.rows("webhook_deliveries")]
    redact(history, Path.parse("results[].keystone.url"))
    after = [json.loads(row["event"]) for row in history.rows("webhook_deliveries")]
    assert [each["data"].pop("changes") for each in before] == [
        [{"field": "url", "old": "a", "new": "keystone"}],
        [{"field": "url", "old": "keystone", "new": "region"}],
    ]
    redacted = [{"field": "url", "old": "[redacted]", "new": "[redacted]"}]
    assert [each["data"].pop("changes") for each in after] == [redacted, redacted]
    for each in (*before, *after):
        del each["data"]["words"]
    assert after == before


@pytest.mark.long
def test_a_pruned_history_is_redacted_too(history: History) -> None:
    history.poll([region(1, keystone_id=101, keystone=keystone(101, username=SECRET))])
    lived(history)
    retention.prune(
        history.engine, "gcore", history.time(900), made_at=history.time(history.at), made_by="a test"
    )
    redact(history, Path.parse("results[].keystone.username"))
    redact(history)
    lived(history)
    retention.prune(
        history.engine, "gcore", history.time(1500), made_at=history.time(history.at), made_by="a test"
    )
    assert SECRET not in everything(history)
    history.verify()
    assert history.rebuilt().different == 0


def test_its_bytes_are_not_left_in_the_file(sqlite_engine: sa.Engine) -> None:
    history = lived(History(sqlite_engine))
    history.poll([region(1, keystone_id=101, keystone=keystone(101, url=f"https://{SECRET}.example"))])
    redact(history, Path.parse("results[].keystone.url"))
    redact(history)
    history.restart()
    assert vacuum(sqlite_engine)
    sqlite_engine.dispose()
    file = File(str(sqlite_engine.url.database))
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in file.parent.glob(f"{file.name}*"))


def test_an_auditor_is_notified(history: History, tmp_path: File) -> None:
    lived(history)
    head = history.rows("observations")[-1]["opening_digest"]
    redact(history)
    path = tmp_path / "pack.zip"
    with reading(history.engine) as connection:
        packed, _ = pack.build(
            connection, "gcore", history.time(0), history.time(9000), made_at=history.time(9000)
        )
    path.write_bytes(packed)
    said = check.check(path, [head])
    assert said[0].startswith("HOLDS")
    assert any("redacted results[].keystone.extra.notes" in line for line in said)
    assert any("have to trust the person" in line for line in said)


def test_an_altered_history_is_not_redacted(sqlite_engine: sa.Engine) -> None:
    """Else an answer that somebody altered would count as what is left of a true one."""
    history = lived(History(sqlite_engine))
    with writing(sqlite_engine) as connection:
        connection.execute(sa.text("UPDATE payloads SET content = address WHERE base IS NULL"))
    how: Any = {"made_at": history.time(history.at), "made_by": "a test"}
    with pytest.raises(IntegrityError, match="nothing was redacted"):
        retention.redact(sqlite_engine, "gcore", NOTES, **how)
    assert not history.rows("amendments")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payloads SET content = address",
        "UPDATE payloads SET redaction = redaction + 1",
        "UPDATE payloads SET content = NULL, redaction = NULL",
        "DELETE FROM amendments",
        "UPDATE amendments SET facts = REPLACE(facts, 'extra', 'other')",
    ],
)
def test_a_forged_redaction_is_found(sqlite_engine: sa.Engine, statement: str) -> None:
    history = lived(History(sqlite_engine))
    redact(history)
    history.poll([told(1, "NEW")])
    history.verify()
    with writing(sqlite_engine) as connection:
        connection.execute(sa.text(statement))
    assert verify(sqlite_engine, "gcore").verdict == "altered"


def test_its_digest_covers_all_that_was_on_record_then(sqlite_engine: sa.Engine, tmp_path: File) -> None:
    """Who makes the history again can't keep the digest."""
    with copy_of(sqlite_engine, tmp_path / "forged.db") as engine:
        history, forged = History(sqlite_engine), History(engine)
        for state in ("ACTIVE", "NEW", "ACTIVE"):
            history.poll([region(1, state)])
        made = redact(history, future=True)
        row = history.row("amendments")
        for state in ("ACTIVE", "FROZEN", "ACTIVE"):
            forged.poll([region(1, state)])
        with writing(engine) as connection:
            connection.execute(sa.insert(amendments), row)
            connection.execute(sa.text("UPDATE sources SET amendments = 1"))
        (broken,) = verify(engine, "gcore", heads=[str(made.digest)]).breaks
    assert (broken.table, broken.why) == (
        "amendments",
        "observation 3 was a different one when this was done",
    )
    history.verify()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("results[].state", "identifies an entity or gives its state"),
        ("results", "identifies an entity or gives its state"),
        ("results.x", "is a list"),
        ("results[].", "is not a path"),
        ("a b", "is not a path"),
        ("", "needs at least one name"),
        ('results[]."state"', "identifies an entity or gives its state"),
        (r'results[]."st\u0061te"', "identifies an entity or gives its state"),
        ('"count"', "identifies an entity or gives its state"),
        (r'"\x"', "is not a name"),
    ],
)
def test_what_is_no_path_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Path.parse(text)


def test_names_in_quotation_marks() -> None:
    assert Path.parse('results[]."odd.name".x[][]').steps == ("results", None, "odd.name", "x", None, None)
    assert Path.parse('results[]."odd.name"."x"[]').text == 'results[]."odd.name".x[]'


def test_the_commands(sqlite_url: str) -> None:
    from collector.database.engine import open_engine

    engine = open_engine(sqlite_url)
    history = lived(History(engine))
    history.restart()
    engine.dispose()
    run = {"database_url": sqlite_url}
    assert "is in 6 answers" in collector("db", "redact", NOTES.text, "--dry-run", **run).out
    said = collector("db", "redact", NOTES.text, **run)
    assert (said.code, "was redacted in 6 answers" in said.out) == (0, True), said
    checked = collector("audit", "verify", **run).out
    assert f"redacted {NOTES.text} in 6 answers" in checked
    assert "BUT no checked head or anchor is newer than the last of these" in checked
    digest = said.out.split("proof: ")[1].split(";")[0]
    assert "BUT " not in collector("audit", "verify", "--head", digest, **run).out
    assert f"{NOTES.text} is redacted in every answer" in collector("doctor", "--offline", **run).out
    assert f"{NOTES.text} is redacted in every answer" in collector("coverage", **run).err
    assert collector("db", "redact", "results[].id", **run).code == 2
    again = collector("db", "redact", NOTES.text, **run)
    assert (again.code, "is redacted already; nothing changed" in again.out) == (0, True), again
    misspelled = "results[].keystone.extra.comments"
    said = collector("db", "redact", misspelled, **run)
    assert (said.code, "is in no stored answer; nothing changed" in said.out, "--future" in said.err) == (
        2,
        True,
        True,
    )
    assert misspelled not in collector("audit", "verify", **run).out
    said = collector("db", "redact", misspelled, "--future", **run)
    assert (said.code, "was redacted in 0 answers" in said.out) == (0, True), said
    assert f"redacted {misspelled} in 0 answers" in collector("audit", "verify", **run).out
    said = collector("db", "prune", "--keep", "1d", "--dry-run", **run)
    assert (said.code, "would begin" in said.out) == (0, True), said
    said = collector("db", "prune", "--keep", "1d", "--vacuum", **run)
    assert (said.code, "proof:" in said.out, "the file had" in said.out) == (0, True, True), said
    said = collector("audit", "verify", **run)
    assert (said.code, "was pruned" in said.out) == (0, True), said
    assert collector("regions", "--as-of", "2026-05-01T12:02", **run).code == 2
    assert "pruned" in collector("coverage", **run).out
    assert collector("db", "prune", **run).code == 2
    assert json.loads(collector("audit", "verify", "--format", "json", **run).out)["sources"][0]["begins"]


NAMES = Path.parse("results[].display_name")


def prune(history: History) -> None:
    how = {"made_at": history.time(history.at), "made_by": "a test"}
    pruning.prune(history.engine, history.source.name, history.time(history.at - 600), **how)  # type: ignore[arg-type]


def derive_again(history: History) -> None:
    rebuild(history.engine, history.source.name)


@pytest.mark.parametrize(
    ("one", "place"), [(redact, (redacting, "_plan")), (derive_again, (rederive, "compare"))]
)
@pytest.mark.parametrize("other", [lambda history: redact(history, NAMES), prune, derive_again])
def test_two_changes_at_once_leave_a_true_history(
    history: History, monkeypatch: pytest.MonkeyPatch, one: Any, place: tuple[Any, str], other: Any
) -> None:
    lived(history)
    with writing(history.engine) as connection:  # so that there is something to derive again
        connection.exec_driver_sql("UPDATE region_versions SET state = 'WRONG'")
        connection.exec_driver_sql("UPDATE regions SET state = 'WRONG'")
    work_out = getattr(*place)

    def work_out_slowly(*arguments: Any, **more: Any) -> Any:
        result = work_out(*arguments, **more)
        monkeypatch.undo()
        other(history)
        return result

    monkeypatch.setattr(*place, work_out_slowly)
    one(history)
    assert verify(history.engine, history.source.name).verdict == "good"
    rules = {json.loads(row["facts"]).get("path") for row in history.rows("amendments")}
    assert (SECRET in everything(history)) == (NOTES.text not in rules)
    names = {row["display_name"] for table in ("regions", "region_versions") for row in history.rows(table)}
    assert (names == {"[redacted]"}) == (NAMES.text in rules)
    if one is redact:
        assert NOTES.text in rules
