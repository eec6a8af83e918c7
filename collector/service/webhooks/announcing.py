"""Decides which events an observation causes, and for which receivers. Runs in the poll's transaction, after its
rows.

It reads what the JSON API reads, so both report the same events with the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from collector.receivers import EVENT_KINDS, EventKind, Receiver
from collector.reports.cloudevents import TYPE_PREFIX, cloud_event, text_of
from collector.reports.coverage import coverage
from collector.reports.cursors import Cursor, Position
from collector.reports.events import events
from collector.reports.filters import Row
from collector.reports.notices import Notice, cursor_at, notices
from collector.service.webhooks.messages import message
from collector.store.outbox import GAP_OPENED, VERIFICATION_FAILED, Delivery
from collector.store.tables import observations, sources

_ALL = 10_000_000
"""More events than one observation causes."""
MESSAGE_TYPE = f"{TYPE_PREFIX}message"
_HEAD = (
    sa.select(observations.c.source_id, observations.c.opening_digest)
    .join(sources, sources.c.id == observations.c.source_id)
    .where(sources.c.name == sa.bindparam("source"), observations.c.seq == sa.bindparam("seq"))
)


class Announcer:
    """Decides what the settings' receivers get."""

    def __init__(self, receivers: Sequence[Receiver], public_url: str | None = None) -> None:
        self.receivers = receivers
        self._public_url = public_url

    @property
    def names(self) -> list[str]:
        """The names of the receivers."""
        return [each.name for each in self.receivers]

    def __call__(
        self, connection: sa.Connection, source: str, seq: int, is_first: bool
    ) -> Sequence[Delivery]:
        """The deliveries of an observation. `is_first`: it is the first applied one of its source."""
        if not any(_may_want(each, source, is_first) for each in self.receivers):
            return ()
        return self._deliveries(happened(connection, source, seq), is_first=is_first)

    def gap_opened(self, connection: sa.Connection, source: str, now: datetime) -> Sequence[Delivery]:
        """The deliveries for an open gap; none if there is no gap."""
        gap = next((row for row in coverage(connection, source, limit=1) if row["until_at"] is None), None)
        if gap is None:
            return ()
        names = ("from_at", "until_at", "cause", "error", "failed_polls", "seconds")
        return self._of_source(
            connection,
            "gap_opened",
            source,
            max(gap["seq"], 1),
            GAP_OPENED,
            now,
            {"event": "gap", **{n: gap[n] for n in names}},
        )

    def verification_failed(
        self, connection: sa.Connection, source: str, found: str, now: datetime
    ) -> Sequence[Delivery]:
        """The deliveries for a failed verification. `found`: what is wrong, in words."""
        seq = connection.scalar(sa.select(sources.c.newest_seq).where(sources.c.name == source))
        row = {"event": "verification", "found": found}
        return self._of_source(
            connection, "verification_failed", source, seq or 0, VERIFICATION_FAILED, now, row
        )

    def _of_source(
        self,
        connection: sa.Connection,
        kind: EventKind,
        source: str,
        seq: int,
        ordinal: int,
        now: datetime,
        more: Row,
    ) -> Sequence[Delivery]:
        found = connection.execute(_HEAD, {"source": source, "seq": seq}).one_or_none()
        if found is None:
            return ()
        row = {"source": source, "seq": seq, "ordinal": ordinal, "observed_at": now, **more}
        cursor = cursor_at(found.source_id, Position(seq), found.opening_digest)
        return self._deliveries([Notice(kind, row, found.opening_digest, cursor)])

    def _deliveries(self, found: Sequence[Notice], *, is_first: bool = False) -> list[Delivery]:
        made: dict[int, str] = {}
        deliveries: list[Delivery] = []
        for receiver in self.receivers:
            wanted = [each for each in found if _is_wanted(receiver, each, is_first)]
            if not wanted:
                continue
            first = wanted[0].row
            if receiver.apprise is not None:
                text = text_of(message(wanted, self._public_url))
                deliveries.append(Delivery(receiver.name, first["seq"], first["ordinal"], MESSAGE_TYPE, text))
                continue
            for each in wanted:
                ordinal = each.row["ordinal"]
                if ordinal not in made:
                    made[ordinal] = text_of(cloud_event(each, self._public_url))
                kind = TYPE_PREFIX + each.kind
                deliveries.append(Delivery(receiver.name, each.row["seq"], ordinal, kind, made[ordinal]))
        return deliveries


def _may_want(receiver: Receiver, source: str, is_first: bool) -> bool:
    """True if any event of an observation of this source could pass a receiver's filters."""
    of_observations = set(receiver.kinds or EVENT_KINDS) - {"gap_opened", "verification_failed"}
    is_ours = not receiver.sources or source in receiver.sources
    return bool(of_observations) and is_ours and (receiver.baseline or not is_first)


def _is_wanted(receiver: Receiver, notice: Notice, is_first: bool) -> bool:
    """True if a notice passes a receiver's filters. `is_first`: its observation is the first applied one."""
    return receiver.wants(
        notice.kind,
        source=notice.row["source"],
        entity=notice.row.get("entity"),
        states=notice.states,
        is_baseline=is_first or notice.row.get("basis") == "baseline",
    )


def happened(connection: sa.Connection, source: str, seq: int) -> list[Notice]:
    """The notices of an observation, the newest one of its source."""
    source_id = connection.scalar(sa.select(sources.c.id).where(sources.c.name == source))
    assert source_id is not None  # noqa: S101 - the observation is of this source
    before = Cursor({source_id: Position(seq - 1)})
    return notices(connection, events(connection, before, source=source, limit=_ALL))
