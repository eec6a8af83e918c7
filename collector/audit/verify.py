"""Checks that a history is what was seen, from the evidence up, in one read transaction per source.

    1. chain      every observation: number, link to the previous one, both digests; the observers (`audit.evidence`)
    2. payloads   every answer: its content against its address, its form, what it is written over, and that an
                  observation refers to it (`audit.evidence`)
    3. derived    everything else is derived again, and compared row by row with what is stored
    4. anchors    the digests that were sent outside: unchanged, and of this history (`audit.anchoring.stored`)
    5. database   damage that the database itself reports, rows of no source (`verify_database`)

A step is skipped if an earlier one found something, because nothing can be proven from altered evidence. Somebody who
can write the database can also compute all digests again, or delete the newest observations: only a head that was
kept outside, or an anchor, shows that. `UNPROVEN` names what no step covers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from collector.audit.amended import Start
from collector.audit.anchoring.outside import Outside
from collector.audit.anchoring.stored import Anchored, check_anchors
from collector.audit.evidence import check_chain, check_payloads
from collector.audit.findings import MAX_BREAKS, Break, Findings, Verdict, Verification, readable
from collector.database.catalog import catalog_errors
from collector.database.health import integrity_errors, shape_errors
from collector.database.transactions import reading
from collector.errors import IntegrityError
from collector.inventory import chain
from collector.reports import views
from collector.store.comparison import Comparison, compare, scratch_database
from collector.store.rederive import Progress, replay
from collector.store.sources import source_id_of
from collector.store.tables import DERIVATION_REVISION, metadata, payloads, sources

UNPROVEN: Mapping[str, tuple[str, ...]] = {
    "sources": (
        "id",
        "lease_owner",
        "lease_expires_at",
        "lease_epoch",
        "key_salt",
        "derivation_revision",
        "corrections",
    ),
    "observations (the newest of a source, until it is anchored or the next one opens)": chain.CLOSING,
    "verifications": ("all",),
    "webhook_deliveries": ("all",),
    "webhook_queues": ("all",),
}
"""Columns that can be edited without being found: they are work in progress, or say nothing about the API."""


NOTHING = Outside()


def verify(
    engine: sa.Engine,
    source: str,
    *,
    heads: Collection[str] = (),
    outside: Outside = NOTHING,
    progress: Progress | None = None,
) -> Verification:
    """Check one source, in a read transaction of its own. See `verify_source`."""
    with reading(engine) as live:
        return verify_source(live, source, heads=heads, outside=outside, progress=progress)


def verify_source(
    live: sa.Connection,
    source: str,
    *,
    heads: Collection[str] = (),
    outside: Outside = NOTHING,
    progress: Progress | None = None,
) -> Verification:
    """Check one source.

    `heads`: digests that were kept outside, to be found in the chain. `outside`: what its anchors are compared with.
    `progress` is called with the number of answers and observations done, and of all. Raises UsageError if there is
    no such source, SchemaError if a newer version derived its history.
    """
    source_id = source_id_of(live, source)
    s = sources.c
    query = sa.select(s.newest_seq, s.derivation_revision).where(s.id == source_id)
    row = live.execute(query).first()
    assert row is not None  # noqa: S101 - its id was found above
    found = Findings(heads)
    for name, value in row._mapping.items():
        if type(value) is not int:
            found.add("sources", {"name": source}, "not a whole number", name, value)
    start = Start(None, None, "", {})
    with readable("observations", found):
        start = check_chain(live, source_id, source, row.newest_seq, found)
    answers = _count(live, payloads, source_id)
    steps = answers + found.observations

    def after(done: int, _: int) -> None:
        if progress:
            progress(answers + done, steps)

    with readable("payloads", found):
        for number, _ in enumerate(check_payloads(live, source_id, start, found)):
            if progress:
                progress(number + 1, steps)
    of_anchors = Findings(())
    anchored: tuple[Anchored, ...] = ()
    with readable("anchors", of_anchors):
        anchored = check_anchors(live, source_id, source, outside, of_anchors)
    comparison = None
    if not found.breaks:
        with readable("(derived tables)", found):
            comparison = _check_derived(live, source_id, found, after)
    is_older = comparison is not None and row.derivation_revision < DERIVATION_REVISION
    verdict: Verdict = "good"
    if found.breaks or (comparison and comparison.different):
        verdict = "altered"
    if is_older:
        verdict = "stale"
    if of_anchors.breaks:
        verdict = "altered"
        found.breaks += of_anchors.breaks[: max(MAX_BREAKS - len(found.breaks), 1)]
    return Verification(
        source=source,
        verdict=verdict,
        head=found.head,
        observations=found.observations,
        polls=found.polls,
        payloads=found.payloads,
        derived_rows=comparison.rows if comparison else None,
        different=comparison.different if comparison else 0,
        breaks=tuple(found.breaks),
        heads=found.heads,
        anchored=anchored,
        newest_seq=row.newest_seq,
        begins=start.begins,
        amendments=tuple(found.amendments),
    )


def verify_database(engine: sa.Engine, names: Collection[str] = ()) -> list[Break]:
    """What is wrong with the database as a whole.

    That is damage, a schema that the migrations do not make, and rows of sources that do not exist. `names`: our
    views. Nothing else may depend on them, and those of this version must have our definitions.
    """
    found = Findings(())
    with reading(engine) as connection:
        for text in integrity_errors(connection, metadata, thorough=True):
            found.add("(database)", {}, text)
        there = set(sa.inspect(connection).get_table_names())
        for name in ("id", "name"):
            column = sources.c[name]
            for value in connection.scalars(sa.select(column).group_by(column).having(sa.func.count() > 1)):
                found.add("sources", {name: value}, "this row exists more than once")
        for table in metadata.sorted_tables:
            if "source_id" in table.c and table.name in there:
                is_known = sa.exists().where(sources.c.id == table.c.source_id)
                strange = sa.select(table.c.source_id).where(~is_known).distinct()
                for source_id in connection.scalars(strange):
                    found.add(table.name, {"source_id": source_id}, "rows of a source that does not exist")
        is_current = bool(names) and views.are_current(connection)
        for text in (
            *shape_errors(connection, metadata),
            *catalog_errors(connection, metadata, names, views.FUNCTIONS if is_current else ()),
            *(views.altered(connection) if is_current else ()),
        ):
            found.add("(database)", {}, text)
    return found.breaks


def _check_derived(
    live: sa.Connection, source_id: int, found: Findings, progress: Progress
) -> Comparison | None:
    with scratch_database() as scratch:
        try:
            done = replay(live, scratch, source_id, 0, progress)
        except IntegrityError as error:
            found.add("payloads", {}, str(error))
            return None
        comparison = compare(live, scratch, source_id, done)
    for example in comparison.examples:
        if example.stored is None:
            found.add(example.table, example.key, "this row is missing", expected=example.derived)
        elif example.derived is None:
            why = "this row does not follow from the evidence"
            found.add(example.table, example.key, why, stored=example.stored)
        elif not example.fields():
            found.add(example.table, example.key, "this row exists more than once")
        for name, stored, derived in example.fields():
            found.add(example.table, example.key, "not what the evidence says", name, stored, derived)
    return comparison


def _count(connection: sa.Connection, table: sa.Table, source_id: int) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(table.c.source_id == source_id)
    return connection.scalar(query) or 0
