"""Deriving a history again: by newer rules, by stricter ones, and while others read and poll."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, TypeAdapter

from collector.audit.verify import verify
from collector.database.transactions import reading, writing
from collector.errors import SchemaError
from collector.gcore import documented, listing, wire
from collector.store import rederive
from collector.store.rederive import rebuild
from collector.store.tables import (
    DERIVATION_REVISION,
    DERIVED,
    region_versions,
    region_volume_types,
    regions,
    state_transitions,
)
from tests.support.builders import region
from tests.support.history import History

Readers = dict[str, Any]
HOUR = 3600.0


@contextmanager
def parser(change: Callable[[Readers], Readers]) -> Iterator[None]:
    """Another version of the collector, which understands regions otherwise."""
    ours, whole = wire.readers_of, documented.read

    def theirs(model: type[BaseModel]) -> Readers:
        readers = dict(ours(model))
        return change(readers) if model is wire.RegionSerializerAi else readers

    listing._remembered.cache_clear()
    wire.readers_of = theirs  # type: ignore[assignment]
    documented.read = lambda _raw: None
    try:
        yield
    finally:
        wire.readers_of, documented.read = ours, whole
        listing._remembered.cache_clear()


def without(*names: str) -> Callable[[Readers], Readers]:
    return lambda readers: {name: reader for name, reader in readers.items() if name not in names}


def only_active(readers: Readers) -> Readers:
    """A parser to which every other state is unusable."""
    adapter: TypeAdapter[Any] = TypeAdapter(Literal["ACTIVE"])
    return readers | {"state": replace(readers["state"], adapter=adapter)}


def no_id_over_two(readers: Readers) -> Readers:
    return readers | {"id": replace(readers["id"], adapter=TypeAdapter(Literal[1, 2]))}


def derived(history: History) -> dict[str, list[dict[str, Any]]]:
    return {table.name: history.rows(table.name) for table in DERIVED}


def test_a_field_that_was_kept_as_evidence_only_is_filled_back(history: History) -> None:
    """An older version did not know `has_ai_gpu`; the newer one has its history from the first poll on."""
    history.change(interval="2h")
    polls = [(False, "ACTIVE"), (True, "ACTIVE"), (True, "MAINTENANCE"), (False, "MAINTENANCE")]
    with parser(without("has_ai_gpu")):
        for number, (gpu, state) in enumerate(polls):
            history.poll([region(1, state, has_ai_gpu=gpu), region(2)], at=number * 2 * HOUR)
        assert {row["has_ai_gpu"] for row in history.rows("region_versions")} == {None}
        drift = [(row["path"], row["kind"]) for row in history.rows("schema_drift")]
        assert ("results[].has_ai_gpu", "unknown_field") in drift
        assert len(history.rows("region_versions", region_id=1)) == 2
    found = rebuild(history.engine, "gcore")
    assert found.different > 0
    versions = history.rows("region_versions", region_id=1)
    assert [(v["valid_from"], v["has_ai_gpu"], v["state"], v["changed_fields"]) for v in versions] == [
        (history.time(0), False, "ACTIVE", None),
        (history.time(2 * HOUR), True, "ACTIVE", ("has_ai_gpu",)),
        (history.time(4 * HOUR), True, "MAINTENANCE", ("state",)),
        (history.time(6 * HOUR), False, "MAINTENANCE", ("has_ai_gpu",)),
    ]
    assert history.row("regions", id=1)["has_ai_gpu"] is False
    assert history.row("regions", id=1)["changed_at"] == history.time(6 * HOUR)
    assert ("results[].has_ai_gpu", "unknown_field") not in [
        (row["path"], row["kind"]) for row in history.rows("schema_drift")
    ]
    assert verify(history.engine, "gcore").verdict == "good"


def test_what_is_filled_back_is_what_would_have_been_polled(history: History) -> None:
    def live(name: str) -> History:
        return History(history.engine, name=name, interval="2h")

    def poll(each: History) -> None:
        for number, gpu in enumerate((None, True, False, True)):
            each.poll([region(1, has_ai_gpu=gpu), region(2, has_k8s=gpu)], at=number * 2 * HOUR)

    older, newer = live("older"), live("newer")
    with parser(without("has_ai_gpu", "has_k8s")):
        poll(older)
    poll(newer)
    rebuild(history.engine, "older")

    def rows(source: int) -> dict[str, list[dict[str, Any]]]:
        return {
            table.name: [row | {"source_id": 0} for row in history.rows(table.name, source_id=source)]
            for table in DERIVED
        }

    assert rows(1) == rows(2)


@pytest.mark.parametrize("stricter", [only_active, no_id_over_two, without("state"), without("id")])
def test_a_stricter_parser_invents_no_disappearance(
    history: History, stricter: Callable[[Readers], Readers]
) -> None:
    """What it can't use any more is unseen, or was never there; nothing is said to have gone."""
    if stricter is not only_active and stricter is not no_id_over_two:
        stricter = _unusable(stricter)
    polls = [
        [region(1), region(2), region(3)],
        [region(1), region(2, "MAINTENANCE"), region(3)],
        [region(1), region(2, "MAINTENANCE"), region(3, "NEW")],
        [region(1), region(2), region(3, "NEW")],
    ]
    for records in polls:
        history.poll(records)
    with parser(stricter):
        rebuild(history.engine, "gcore")
        kinds = {row["kind"] for row in history.rows("state_transitions")}
        assert "disappeared" not in kinds
        assert verify(history.engine, "gcore").verdict == "good"
    assert rebuild(history.engine, "gcore").different > 0
    states = [t["to_state"] for t in history.transitions("region", 2)]
    assert states == ["ACTIVE", "MAINTENANCE", "ACTIVE"]


def _unusable(leave_out: Callable[[Readers], Readers]) -> Callable[[Readers], Readers]:
    """A parser that takes no value of a field at all."""

    def change(readers: Readers) -> Readers:
        (name,) = readers.keys() - leave_out(readers).keys()
        nothing: TypeAdapter[Any] = TypeAdapter(Literal["nothing at all"])
        return readers | {name: replace(readers[name], adapter=nothing)}

    return change


def test_only_what_differs_is_written(history: History) -> None:
    for number in range(6):
        history.poll([region(i, "NEW" if number == i else "ACTIVE") for i in range(8)])
    before = derived(history)
    with writing(history.engine) as connection:
        connection.execute(
            sa.update(region_versions).where(region_versions.c.region_id == 3).values(country="XX")
        )
        connection.execute(sa.delete(state_transitions).where(state_transitions.c.entity_id == 2))
        connection.execute(sa.update(regions).where(regions.c.id == 5).values(zone="NOWHERE"))
    written: list[str] = []

    @sa.event.listens_for(history.engine, "after_cursor_execute")
    def count(_c: Any, cursor: Any, statement: str, parameters: Any, _x: Any, many: bool) -> None:
        verb, *words = statement.split()
        if verb in ("INSERT", "UPDATE", "DELETE"):
            written.extend(
                [f"{verb} {words[words.index('FROM') + 1] if verb == 'DELETE' else words[verb == 'INSERT']}"]
                * (len(parameters) if many else 1)
            )

    found = rebuild(history.engine, "gcore")
    sa.event.remove(history.engine, "after_cursor_execute", count)
    assert derived(history) == before
    versions = len([v for v in before["region_versions"] if v["region_id"] == 3])
    lost = len([t for t in before["state_transitions"] if t["entity_id"] == 2])
    assert found.different == versions + lost + 1
    changes = [each for each in written if each != "UPDATE sources"]
    assert sorted(changes) == sorted(
        ["DELETE region_versions", "INSERT region_versions"] * versions
        + ["INSERT state_transitions"] * lost
        + ["UPDATE regions"]
    )


def test_polls_and_readers_go_on_while_it_derives(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded meanwhile is derived too, in another round."""
    for number in range(5):
        history.poll([region(1, "NEW" if number % 2 else "ACTIVE"), region(2)])
    with writing(history.engine) as connection:
        connection.execute(sa.update(region_versions).values(country="XX"))
    polled = []
    compare = rederive.compare

    def slowly(*arguments: Any) -> Any:
        if len(polled) < 2:
            polled.append(history.poll([region(1, f"STATE-{len(polled)}"), region(2)]))
            with reading(history.engine) as connection:
                assert connection.scalar(sa.select(sa.func.count()).select_from(regions)) == 2
        return compare(*arguments)

    monkeypatch.setattr(rederive, "compare", slowly)
    rebuild(history.engine, "gcore")
    assert len(polled) == 2
    assert {row["country"] for row in history.rows("region_versions")} == {"LU"}
    assert verify(history.engine, "gcore").verdict == "good"


def test_a_rebuild_that_breaks_changes_nothing(history: History) -> None:
    for number in range(4):
        history.poll([region(1, "NEW" if number % 2 else "ACTIVE"), region(2)])
    with writing(history.engine) as connection:
        connection.execute(sa.update(region_versions).values(country="XX"))
        connection.execute(sa.update(regions).values(country="XX"))
    before = derived(history)

    @sa.event.listens_for(history.engine, "before_cursor_execute")
    def fail(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO region_versions"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(history.engine, "gcore")
    sa.event.remove(history.engine, "before_cursor_execute", fail)
    assert derived(history) == before
    assert rebuild(history.engine, "gcore").different > 0


@contextmanager
def in_between(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> Iterator[None]:
    """Something happens once after the comparison, and before the differences are written."""
    really, done = rederive.writing, []

    def writing(engine: sa.Engine) -> Any:
        if not done:
            done.append(True)
            action()
        return really(engine)

    with monkeypatch.context() as patch:
        patch.setattr(rederive, "writing", writing)
        yield
    assert done


@pytest.mark.parametrize("table", [region_versions, state_transitions, region_volume_types, regions], ids=str)
def test_two_rebuilds_at_once_mend_it_once(
    history: History, monkeypatch: pytest.MonkeyPatch, table: sa.Table
) -> None:
    for number in range(4):
        history.poll([region(1, "NEW" if number % 2 else "ACTIVE"), region(2)])
    before = derived(history)
    with writing(history.engine) as connection:
        if table is regions:
            connection.execute(sa.delete(region_volume_types))
        connection.execute(sa.delete(table))
    with in_between(monkeypatch, lambda: rebuild(history.engine, "gcore")):
        rebuild(history.engine, "gcore")
    assert derived(history) == before


def test_what_a_newer_version_derived_meanwhile_is_left_alone(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version's rebuild was paused: what it found to differ is outdated."""
    history.poll([region(1, has_ai_gpu=True)])

    def upgrade() -> None:
        with parser(without("has_ai_gpu")), monkeypatch.context() as patch:
            patch.setattr(rederive, "DERIVATION_REVISION", DERIVATION_REVISION + 1)
            rebuild(history.engine, "gcore")

    with writing(history.engine) as connection:
        connection.execute(sa.update(regions).values(country="XX"))
    with in_between(monkeypatch, upgrade), pytest.raises(SchemaError, match="newer version"):
        rebuild(history.engine, "gcore")
    assert history.row("sources")["derivation_revision"] == DERIVATION_REVISION + 1
    assert history.row("regions")["has_ai_gpu"] is None


def test_what_an_older_version_derived_meanwhile_is_compared_again(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.poll([region(1, has_ai_gpu=True)])

    def downgrade() -> None:
        with parser(without("has_ai_gpu")), monkeypatch.context() as patch:
            patch.setattr(rederive, "DERIVATION_REVISION", DERIVATION_REVISION - 1)
            rebuild(history.engine, "gcore")

    with in_between(monkeypatch, downgrade):
        assert rebuild(history.engine, "gcore").different > 0
    assert history.row("regions")["has_ai_gpu"] is True
    history.verify()


def test_a_writer_reads_again_what_a_rebuild_corrected(history: History) -> None:
    """It gathered an edited row before the rebuild, and would go on from it."""
    history.poll([region(1), region(2)])
    history.restart()
    with writing(history.engine) as connection:
        for table in (regions, region_versions):
            key = table.c.id if table is regions else table.c.region_id
            edited = {"state": "EDITED"} | ({"content_hash": "0" * 64} if "content_hash" in table.c else {})
            connection.execute(sa.update(table).where(key == 1).values(edited))
    history.poll([region(1), region(2, "MAINTENANCE")])
    assert rebuild(history.engine, "gcore").different > 0
    history.checks_memory = True
    history.poll([region(1), region(2, "ACTIVE")])
    history.poll([region(1, "MAINTENANCE"), region(2, "ACTIVE")])
    changed = [row for row in history.transitions() if row["kind"] == "changed"]
    assert [(row["entity_id"], row["from_state"], row["to_state"]) for row in changed] == [
        (2, "ACTIVE", "MAINTENANCE"),
        (2, "MAINTENANCE", "ACTIVE"),
        (1, "ACTIVE", "MAINTENANCE"),
    ]
    assert verify(history.engine, "gcore").verdict == "good"


def test_a_rebuild_that_finds_nothing_to_correct_makes_no_writer_read_again(history: History) -> None:
    history.poll([region(1)])
    before = history.row("sources")
    assert rebuild(history.engine, "gcore").different == 0
    assert history.row("sources") == before
