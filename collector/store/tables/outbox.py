"""Work to be done for others."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.types import UtcTime, only_where
from collector.store.tables.evidence import seen_by
from collector.store.tables.parts import column, entity, entity_id, seq, source_id, table

webhook_deliveries = table(
    "webhook_deliveries",
    "One row: one event for one receiver, with a snapshot of the event",
    source_id(),
    column("receiver", sa.Text, "Name of the receiver in the settings", primary_key=True),
    entity("region", "keystone"),
    entity_id(),
    seq("Observation that showed the event", primary_key=True),
    column("event", sa.Text, "The event as JSON, as it was when it happened"),
    column("created_at", UtcTime, "When it was queued"),
    column("attempts", sa.Integer, "How often it was tried"),
    column("next_try_at", UtcTime, "When to try next; NULL: delivered or given up", null=True),
    column("delivered_at", UtcTime, "When the receiver took it", null=True),
    column("last_error", sa.Text, "What the last try said", null=True),
    *seen_by("webhook_deliveries", "seq"),
    sa.Index(
        "ix_webhook_deliveries_due",
        "next_try_at",
        **only_where("next_try_at IS NOT NULL"),
    ),
)
