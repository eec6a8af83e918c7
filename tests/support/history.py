"""Drives `poll()` with answers and times that a test makes up, and reads back what it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from msgspec import structs

from collector.audit.verify import verify
from collector.database.transactions import reading
from collector.gcore.exchange import Answer, Exchange, Failure, Request
from collector.inventory.entities import Kind, Listing
from collector.inventory.known import KnownEntity
from collector.poll import PollResult, poll
from collector.settings.models import Source
from collector.store import lease, rederive
from collector.store.comparison import Comparison
from collector.store.gather import gather
from collector.store.opening import open_writer
from collector.store.outbox import Announce
from collector.store.tables import metadata
from collector.store.writer import Writer
from tests.support import builders

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
NOTHING = Listing(0, 0, (), {}, (), frozenset())
Row = dict[str, Any]


def failure(cause: str = "connect", **fields: Any) -> Failure:
    """A failed answer; its times are filled in when it is polled."""
    return Failure(Exchange(NOON, NOON), cause, fields.pop("message", "no connection"), **fields)  # type: ignore[arg-type]


class History:
    """One source, polled by the real `poll()`; only HTTP is left out.

    Times are seconds after NOON. `poll(..., at=…)` is when the answer came; the request was sent `took`
    seconds before. Without `at`, polls follow one another by the interval.
    """

    def __init__(
        self, engine: sa.Engine, name: str = "gcore", announce: Announce | None = None, **source: Any
    ) -> None:
        self.engine, self.announce = engine, announce
        self.source = Source(name=name, api_key="key-one", **source)
        self.owner = lease.process_name()
        self.at = 0.0
        self.checks_memory = False
        """True if each poll is followed by `check_memory`."""
        self._writer: Writer | None = None

    @property
    def writer(self) -> Writer:
        if self._writer is None:
            self._writer = open_writer(
                self.engine, self.source, self.owner, accept_base_url=True, announce=self.announce
            )
        return self._writer

    def restart(self, **changes: Any) -> None:
        """A new process takes over, with changed settings perhaps: nothing is remembered."""
        if self._writer is not None:
            lease.release(self.engine, self._writer.lease)
        self._writer = None
        self.owner = lease.process_name()
        if changes:
            self.change(**changes)

    def change(self, **changes: Any) -> None:
        """Change settings of the source without a restart, as when a key file is rewritten."""
        self.source = Source.model_validate(self.source.model_dump() | changes)

    def poll(
        self,
        said: Any,
        *,
        at: float | None = None,
        took: float = 0.5,
        clock_offset: timedelta | None = None,
        **headers: Any,
    ) -> PollResult:
        """Poll once. `said`: a list of regions, a document, raw bytes, or a Failure.

        `headers`: what they say of the answer (`age`, `paging`, `total`), as in `Exchange`.
        """
        self.at = self.at + self.source.interval.total_seconds() if at is None else at
        answered_at = self.time(self.at)
        exchange = Exchange(answered_at - timedelta(seconds=took), answered_at, clock_offset, **headers)

        def fetch(request: Request) -> Answer | Failure:
            if isinstance(said, Failure):
                return Failure(
                    exchange,
                    said.cause,
                    said.message,
                    said.http_status,
                    said.exception_class,
                    said.request_id,
                )
            document = builders.answer(said) if isinstance(said, list) else said
            return Answer(exchange, document if isinstance(document, bytes) else builders.body(document))

        result = poll(self.source, fetch, self.writer, clock=lambda: answered_at)
        if self.checks_memory:
            self.check_memory()
        return result

    def check_memory(self) -> None:
        """What the writer remembers is what a process that starts now would read."""
        memory = self.writer._memory
        known = memory and memory.row and memory.known_to(memory.row.observer)
        if memory is None or memory.row is None or known is None:
            return
        with reading(self.engine) as connection:
            source_id, seq = self.writer.lease.source_id, memory.row.seq + 1
            read = gather(connection, source_id, seq, memory.row.observer, NOTHING)
        remembered = replace(known.with_final(memory.row), entities=_without_values(known.entities))
        assert remembered == replace(read, failures=(), first=None)

    @staticmethod
    def time(seconds: float) -> datetime:
        return NOON + timedelta(seconds=seconds)

    def rows(self, table: str, **where: Any) -> list[Row]:
        """Rows of a table in the order of its key."""
        t = metadata.tables[table]
        query = sa.select(t).filter_by(**where).order_by(*t.primary_key.columns)
        with reading(self.engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def row(self, table: str, **where: Any) -> Row:
        (row,) = self.rows(table, **where)
        return row

    def query(self, sql: str, **parameters: Any) -> list[Row]:
        with reading(self.engine) as connection:
            return [dict(row) for row in connection.execute(sa.text(sql), parameters).mappings()]

    def transitions(self, entity: str = "region", entity_id: int | None = None) -> list[Row]:
        """Transitions in the order in which they were observed."""
        where = {"entity": entity} | ({} if entity_id is None else {"entity_id": entity_id})
        return sorted(self.rows("state_transitions", **where), key=lambda row: (row["seq"], row["entity_id"]))

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.rows("observations")]

    def present(self, table: str = "regions") -> set[int]:
        return {row["id"] for row in self.rows(table) if row["absent_since"] is None}

    def verify(self) -> None:
        """The evidence is whole, and everything else follows from it."""
        found = verify(self.engine, self.source.name)
        assert found.verdict == "good", found.breaks

    def rebuilt(self) -> Comparison:
        """What a rebuild would change."""
        return rederive.rebuild(self.engine, self.source.name, check_only=True)


def _without_values(
    entities: Mapping[Kind, Mapping[int, KnownEntity]],
) -> Mapping[Kind, Mapping[int, KnownEntity]]:
    return {
        kind: {i: structs.replace(known, entity=None) for i, known in of_kind.items()}
        for kind, of_kind in entities.items()
    }
