"""Work to be done for others: events that the settings' receivers are to get."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.types import UtcTime, only_where
from collector.store.tables.parts import check, column, seq, source_id, table


def _receiver() -> sa.Column[str]:
    return column("receiver", sa.Text, "Name of the receiver in the settings", primary_key=True)


# No foreign key to observations: a row is complete by itself and outlives its observation.
webhook_deliveries = table(
    "webhook_deliveries",
    "One row: an event for a receiver, with a snapshot of the event",
    source_id(),
    _receiver(),
    seq("Observation that showed the event", primary_key=True),
    column(
        "ordinal",
        sa.Integer,
        "Number of the event in the observation, as in the JSON API; 1000000001: a gap that opened after it, "
        "1000000002: a failed verification",
        primary_key=True,
        autoincrement=False,
    ),
    column("type", sa.Text, "What happened: the CloudEvents type"),
    column("event", sa.Text, "The event as JSON, as it was when it happened"),
    column("created_at", UtcTime, "When it was queued"),
    column("attempts", sa.Integer, "How often it was tried"),
    column("delivered_at", UtcTime, "When the receiver accepted it", null=True),
    column("given_up_at", UtcTime, "When it was given up and became a dead letter", null=True),
    column("last_error", sa.Text, "Why the last attempt failed", null=True),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_webhook_deliveries_source_id"),
    check("webhook_deliveries_end", "delivered_at IS NULL OR given_up_at IS NULL"),
    sa.Index(
        "ix_webhook_deliveries_waiting",
        "receiver",
        "source_id",
        "seq",
        "ordinal",
        **only_where("delivered_at IS NULL AND given_up_at IS NULL"),
    ),
    # Delivered events stay for a month. Nobody reads them; they are only found to be deleted.
    sa.Index("ix_webhook_deliveries_delivered_at", "delivered_at", **only_where("delivered_at IS NOT NULL")),
    sa.Index(
        "ix_webhook_deliveries_dead", "receiver", "given_up_at", **only_where("given_up_at IS NOT NULL")
    ),
)

IS_WAITING = webhook_deliveries.c.delivered_at.is_(None) & webhook_deliveries.c.given_up_at.is_(None)
"""The condition of the first of these indexes: an event that was neither delivered nor given up."""
IS_DEAD = webhook_deliveries.c.given_up_at.is_not(None)

webhook_queues = table(
    "webhook_queues",
    "One row: the delivery from a source to a receiver; one process at a time delivers events in order",
    source_id(),
    _receiver(),
    column("failures", sa.Integer, "Failed attempts since the last successful one"),
    column("failing_since", UtcTime, "When the first of them failed; NULL: none did", null=True),
    column("next_try_at", UtcTime, "When to try next; NULL: at once", null=True),
    column("claimed_by", sa.Text, "Process that delivers now", null=True),
    column(
        "claimed_until", UtcTime, "Until when that process may deliver, by the database's clock", null=True
    ),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_webhook_queues_source_id"),
)
