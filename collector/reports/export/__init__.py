"""Tables and views as files, for tools that can't connect to the database.

1. what is in the folder, and if this export can continue it
2. in one read transaction: how far each source has come
3. each table and view, row by row: rows that had settled before are kept; rows that have settled since go into new
   files; all other rows are written again
4. the manifest
5. in one step, readers see this export instead of the former one
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from collector import __version__
from collector.database import migrate
from collector.errors import SchemaError
from collector.reports import views
from collector.reports.export.continuing import NotAgainError, describe, former_export, marks
from collector.reports.export.folder import MANIFEST, Sink, keep, open_folder
from collector.reports.export.formats import Row, writer_of
from collector.reports.export.manifest import MANIFEST_VERSION, Asked, File, Manifest, SourceState, Table
from collector.reports.export.relations import Mark, Relation, relations, settled, unsettled
from collector.store.tables import metadata, observations, sources

Progress = Callable[[int, int], None]
_STEPS = 1000
"""The progress of each table or view."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported, and if all of it is new."""

    manifest: Manifest
    goes_on: bool
    """True if files of the former export were kept."""
    anew_because: str | None
    """Why it did not continue the former export, although it was asked to."""


def export(
    connection: sa.Connection,
    path: Path,
    asked: Asked,
    *,
    made_at: datetime,
    incremental: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Export into a folder. The former export stays until this one is complete, and is then replaced.

    `connection`: in a transaction that reads one consistent state. `incremental`: continue the former export. Raises
    UsageError, ExportError, SchemaError with a message for people.
    """
    writer_of(asked.format)  # says at once what is missing
    if not views.are_current(connection):
        raise SchemaError(
            "the views of the database are not those of this version: run `collector db upgrade`"
        )
    with open_folder(path) as folder:
        chosen = [relation for relation in relations(connection) if asked.wants(relation.name)]
        folder.refuse_what_is_in_the_way_of(relation.name for relation in chosen)
        now = _source_states(connection, asked.source)
        schema = migrate.newest_revision()  # the caller checked that
        former, anew_because = None, None
        if incremental:
            try:
                former = former_export(connection, folder, asked, schema, now, chosen)
            except NotAgainError as error:
                anew_because = str(error)
        with folder.new() as new:
            number = folder.number + 1
            job = _Job(connection, asked, new, number, marks(now), former)
            tables = []
            for done, relation in enumerate(chosen):
                tables.append(job.export(relation, _part_of(progress, done, len(chosen))))
            manifest = Manifest(
                manifest_version=MANIFEST_VERSION,
                export=number,
                made_at=made_at,
                collector_version=__version__,
                schema=schema,
                asked=asked.in_words(),
                sources=tuple(now),
                tables=tuple(tables),
            )
            with Sink(new / MANIFEST) as sink:
                sink.write(manifest.to_json())
            folder.put_in_place(new)
    return Exported(manifest, former is not None, anew_because)


def _source_states(connection: sa.Connection, only: str | None) -> list[SourceState]:
    s, newest, closed = sources.c, observations.alias("newest"), observations.alias("closed")
    last = sa.select(sa.func.max(observations.c.seq)).where(
        observations.c.source_id == s.id, observations.c.digest.is_not(None)
    )
    query = (
        sa.select(
            s.name,
            s.id,
            s.newest_seq,
            s.derivation_revision,
            newest.c.opening_digest.label("head"),
            closed.c.seq,
            closed.c.first_at,
            closed.c.digest,
        )
        .outerjoin(newest, (newest.c.source_id == s.id) & (newest.c.seq == s.newest_seq))
        .outerjoin(closed, (closed.c.source_id == s.id) & (closed.c.seq == last.scalar_subquery()))
        .order_by(s.id)
    )
    if only is not None:
        query = query.where(s.name == only)
    return [
        SourceState(
            source=row.name,
            source_id=row.id,
            newest_seq=row.newest_seq,
            head=row.head,
            settled=None if row.seq is None else Mark(row.seq, row.first_at, row.digest),
            derivation_revision=row.derivation_revision,
        )
        for row in connection.execute(query)
    ]


def _ignore(*_: int) -> None:
    """For work whose duration is not worth showing."""


def _part_of(progress: Progress | None, done: int, all_: int) -> Progress:
    """The progress of one table, as a part of the whole."""

    def part(rows: int, of: int) -> None:
        if progress is not None:
            progress(done * _STEPS + (rows * _STEPS // of if of else 0), all_ * _STEPS)

    return part


@dataclass(frozen=True)
class _Job:
    """One export into a new folder."""

    connection: sa.Connection
    asked: Asked
    folder: Path
    number: int
    upto: dict[int, Mark | None]
    former: Manifest | None

    def export(self, relation: Relation, progress: Progress) -> Table:
        """One table or view."""
        files: list[File] = []
        if relation.settles_by is None:
            files += self._write(relation, "open", progress=progress)
        else:
            after: dict[int, Mark | None] = {}
            if self.former is not None:
                files += self._keep(self.former, relation.name)
                after = marks(self.former.sources)
            files += self._write(relation, "part", [settled(relation, after, self.upto)], progress)
            files += self._write(relation, "open", [unsettled(relation, self.upto)])
        if not files:  # a pattern that finds no file is an error to most readers
            files.append(self._write_file(relation, self._empty_place(relation), "open", iter(())))
        progress(1, 1)
        return Table(
            name=relation.name,
            kind=relation.kind,
            rows=sum(file.rows for file in files),
            time=relation.span.words if relation.span else None,
            grows=relation.settles_by is not None,
            columns=describe(relation),
            files=tuple(files),
        )

    def _keep(self, former: Manifest, name: str) -> list[File]:
        table = former.table(name)
        kept = [file for file in table.files if file.settled] if table else []
        for file in kept:
            keep(self.folder.parent / file.path, self.folder / file.path)
        return kept

    def _write(
        self,
        relation: Relation,
        stem: str,
        conditions: Sequence[sa.ColumnElement[bool]] = (),
        progress: Progress = _ignore,
    ) -> list[File]:
        """The rows that meet these conditions, in one file per day or source if that was asked for."""
        query, place = self._query(relation, conditions)
        options = {"yield_per": relation.batch}
        with self.connection.execute(query, execution_options=options) as result:
            batches = self._batches(relation, result, place, progress)
            return [
                self._write_file(relation, where, stem, (rows for _, rows in found))
                for where, found in groupby(batches, itemgetter(0))
            ]

    def _query(
        self, relation: Relation, conditions: Sequence[sa.ColumnElement[bool]]
    ) -> tuple[sa.Select[Any], Callable[[Row], str]]:
        """The source of the rows, ordered by folder, and the columns that determine a row's folder."""
        query = relation.query.where(*conditions)
        if self.asked.source is not None:
            query = query.where(relation.source == self.asked.source)
        if relation.span is not None:
            query = query.where(*relation.span.within(self.asked.since, self.asked.until))
            if self.asked.partition_by in ("day", "month"):
                query = query.add_columns(relation.span.dated.label("dated"))
                query = query.order_by(relation.span.dated, *relation.order)
                return query, self._date_folder
        return query.order_by(*relation.order), lambda row: self._folder_of(relation, row[0])

    def _batches(
        self, relation: Relation, result: sa.Result[Any], place: Callable[[Row], str], progress: Progress
    ) -> Iterator[tuple[str, list[Row]]]:
        width, done, all_ = len(relation.columns), 0, self._rows_of(relation)
        for chunk in result.partitions():
            for where, rows in groupby(chunk, place):
                yield where, [row[:width] for row in rows]
            done += len(chunk)
            progress(min(done, all_), all_)

    def _rows_of(self, relation: Relation) -> int:
        """Roughly how many there are, for the progress. Counting a view costs as much as reading it."""
        if relation.kind == "view":
            return 0
        table = metadata.tables[relation.name]
        return self.connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    def _write_file(
        self, relation: Relation, place: str, stem: str, batches: Iterator[Sequence[Row]]
    ) -> File:
        path = Path(relation.name) / place / f"{stem}-{self.number:06}.{self.asked.format}"
        rows = 0
        with Sink(self.folder / path) as sink:
            writer = writer_of(self.asked.format)(sink, relation.columns)
            for batch in batches:
                rows += len(batch)
                writer.write(batch)
            writer.finish()
        return File(path.as_posix(), rows, sink.size, sink.sha256, self.number, stem == "part")

    def _date_folder(self, row: Row) -> str:
        """The folder of the day or the month of a row; a month is named by its first day, as in views."""
        day = row[-1].isoformat()[:10]
        return f"day={day}" if self.asked.partition_by == "day" else f"month={day[:7]}-01"

    def _folder_of(self, relation: Relation, source: Any) -> str:
        """The folder of a source, if the table has one."""
        if self.asked.partition_by != "source" or relation.columns[0].name != "source":
            return ""
        return "source=" + "".join(c if c.isalnum() or c in "_.-" else quote(c, safe="") for c in source)

    def _empty_place(self, relation: Relation) -> str:
        if self.asked.partition_by in ("day", "month") and relation.span is not None:
            return f"{self.asked.partition_by}=1970-01-01"  # so that a reader reads the column as days
        return self._folder_of(relation, "__HIVE_DEFAULT_PARTITION__")
