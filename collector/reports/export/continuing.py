"""Decides if an incremental export can continue the one in the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from collector.errors import ExportError, UsageError
from collector.reports.export.folder import Folder
from collector.reports.export.manifest import Asked, Manifest, SourceState, Table
from collector.reports.export.relations import Mark, Relation, settled
from collector.store.tables import observations


class NotAgainError(Exception):
    """Why everything has to be exported again: the former export is no longer what the database says."""


def former_export(
    connection: sa.Connection,
    folder: Folder,
    asked: Asked,
    schema: str,
    now: Sequence[SourceState],
    relations: Sequence[Relation],
) -> Manifest | None:
    """The export to continue; None if there is none yet.

    Raises UsageError if the options differ, ExportError if it is of another history, NotAgainError if everything has
    to be exported again.
    """
    data = folder.manifest()
    if data is None:
        return None
    try:
        former = Manifest.from_json(data)
    except ValueError:
        raise NotAgainError("its manifest can't be read") from None
    _same_question(former, asked)
    _same_history(connection, former, now)
    if former.schema != schema:
        raise NotAgainError(f"it was made of schema {former.schema}, the database has {schema}")
    revisions = {each.source_id: each.derivation_revision for each in now}
    for state in former.sources:
        if revisions[state.source_id] != state.derivation_revision:
            raise NotAgainError(f"the history of {state.source} was derived again, by other rules")
    for relation in relations:
        if relation.settles_by is not None:
            _same_rows(connection, folder, relation, former.table(relation.name), marks(former.sources))
    return former


def marks(states: Sequence[SourceState]) -> dict[int, Mark | None]:
    """How far each source is settled, by its id."""
    return {state.source_id: state.settled for state in states}


def describe(relation: Relation) -> tuple[Mapping[str, object], ...]:
    """The columns, as the manifest lists them."""
    return tuple({"name": c.name, "type": c.word, "nullable": c.nullable} for c in relation.columns)


def _same_question(former: Manifest, asked: Asked) -> None:
    then, now = former.asked, asked.in_words()
    if then != now:
        names = [name for name in now if then.get(name) != now[name]]
        said = "; ".join(f"--{name.replace('_', '-')} was {_said(then.get(name))}" for name in names)
        raise UsageError(
            f"the export in this folder was made with other options ({said}): use the same ones, name another folder, "
            "or leave --incremental out to replace it"
        )


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "not given"
    return "not given" if value is None else str(value)


def _same_history(connection: sa.Connection, former: Manifest, now: Sequence[SourceState]) -> None:
    """The digest of an observation covers everything that came before it."""
    known = {state.source: state for state in now}
    o = observations.c
    for then in former.sources:
        here = known.get(then.source)
        is_same = here is not None and here.source_id == then.source_id
        if is_same and then.settled is not None:
            query = sa.select(o.digest).where(o.source_id == then.source_id, o.seq == then.settled.seq)
            is_same = connection.scalar(query) == then.settled.digest
        if not is_same:
            what = f"observation {then.settled.seq}" if then.settled else "the id"
            raise ExportError(
                f"the export in this folder is of another history: {what} of {then.source!r} is not the one that was "
                "exported; name another folder, or leave --incremental out to replace it"
            )


def _same_rows(
    connection: sa.Connection,
    folder: Folder,
    relation: Relation,
    then: Table | None,
    upto: Mapping[int, Mark | None],
) -> None:
    """True if settled rows have the same number as before, and their files are there."""
    if then is None or list(then.columns) != list(describe(relation)):
        raise NotAgainError(f"{relation.name} has other columns")
    kept = [file for file in then.files if file.settled]
    for file in kept:
        path = folder.path / file.path
        is_inside = file.path.startswith(f"{relation.name}/") and ".." not in file.path.split("/")
        if not is_inside or not path.is_file() or path.stat().st_size != file.bytes:
            raise NotAgainError(f"{file.path} is missing or was changed")
    query = relation.query.where(settled(relation, {}, upto))
    rows = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
    if rows != sum(file.rows for file in kept):
        raise NotAgainError(f"the rows of {relation.name} were derived again")
