"""Events for receivers: which wait, which were delivered, and the state of deliveries.

Nothing was ever written to the table that this replaces.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME_PATTERN = (
    "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    ".[0-9][0-9][0-9][0-9][0-9][0-9]Z"
)

UTC_TIME = sa.TIMESTAMP(timezone=True)
WAITING = "delivered_at IS NULL AND given_up_at IS NULL"


def upgrade() -> None:
    op.drop_index("ix_webhook_deliveries_due", "webhook_deliveries")
    op.drop_table("webhook_deliveries")
    op.create_table(
        "webhook_deliveries",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("receiver", sa.Text(), "Name of the receiver in the settings"),
        _c("seq", sa.BigInteger(), "Observation that showed the event"),
        _c(
            "ordinal",
            sa.Integer(),
            "Which event of the observation, as in the JSON API; 1000000001: a gap that opened after it, 1000000002: a "
            "verification that failed",
        ),
        _c("type", sa.Text(), "What happened: the CloudEvents type"),
        _c("event", sa.Text(), "The event as JSON, as it was when it happened"),
        _c("created_at", UTC_TIME, "When it was queued"),
        _c("attempts", sa.Integer(), "How often it was tried"),
        _c("delivered_at", UTC_TIME, "When the receiver took it", null=True),
        _c("given_up_at", UTC_TIME, "When it was given up, and became a dead letter", null=True),
        _c("last_error", sa.Text(), "Why the last attempt failed", null=True),
        sa.PrimaryKeyConstraint("source_id", "receiver", "seq", "ordinal", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_webhook_deliveries_source_id"),
        sa.CheckConstraint("delivered_at IS NULL OR given_up_at IS NULL", name="ck_webhook_deliveries_end"),
        *_times("webhook_deliveries", "created_at", "delivered_at", "given_up_at"),
        comment="One row: one event for one receiver, with a snapshot of the event",
    )
    op.create_index(
        "ix_webhook_deliveries_waiting",
        "webhook_deliveries",
        ["receiver", "source_id", "seq", "ordinal"],
        sqlite_where=sa.text(WAITING),
        postgresql_where=sa.text(WAITING),
    )
    op.create_table(
        "webhook_queues",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("receiver", sa.Text(), "Name of the receiver in the settings"),
        _c("failures", sa.Integer(), "Attempts that failed since the last one that succeeded"),
        _c("failing_since", UTC_TIME, "When the first of them failed; NULL: none did", null=True),
        _c("next_try_at", UTC_TIME, "When to try next; NULL: at once", null=True),
        _c("claimed_by", sa.Text(), "Process that delivers now", null=True),
        _c("claimed_until", UTC_TIME, "By the database's clock; then another may deliver", null=True),
        sa.PrimaryKeyConstraint("source_id", "receiver", name="pk_webhook_queues"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_webhook_queues_source_id"),
        *_times("webhook_queues", "failing_since", "next_try_at", "claimed_until"),
        comment="One row: how telling one receiver of one source goes; its events are delivered in order, by one "
        "process at a time",
    )


def downgrade() -> None:
    op.drop_table("webhook_queues")
    op.drop_index("ix_webhook_deliveries_waiting", "webhook_deliveries")
    op.drop_table("webhook_deliveries")
    op.create_table(
        "webhook_deliveries",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("receiver", sa.Text(), "Name of the receiver in the settings"),
        _c("entity", sa.Text(), "Kind of entity: region, keystone"),
        _c("entity_id", sa.BigInteger(), "Its id"),
        _c("seq", sa.BigInteger(), "Observation that showed the event"),
        _c("event", sa.Text(), "The event as JSON, as it was when it happened"),
        _c("created_at", UTC_TIME, "When it was queued"),
        _c("attempts", sa.Integer(), "How often it was tried"),
        _c("next_try_at", UTC_TIME, "When to try next; NULL: delivered or given up", null=True),
        _c("delivered_at", UTC_TIME, "When the receiver took it", null=True),
        _c("last_error", sa.Text(), "What the last try said", null=True),
        sa.PrimaryKeyConstraint(
            "source_id", "receiver", "entity", "entity_id", "seq", name="pk_webhook_deliveries"
        ),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_webhook_deliveries_seq",
        ),
        *_times("webhook_deliveries", "created_at", "next_try_at", "delivered_at"),
        comment="One row: one event for one receiver, with a snapshot of the event",
    )
    due = sa.text("next_try_at IS NOT NULL")
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["next_try_at"],
        sqlite_where=due,
        postgresql_where=due,
    )


def _c(name: str, kind: object, comment: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=null, comment=comment, autoincrement=False)  # type: ignore[arg-type]


def _times(table: str, *columns: str) -> list[sa.CheckConstraint]:
    """SQLite keeps times as text, so a constraint keeps the text well-formed."""
    return [
        sa.CheckConstraint(f"{column} GLOB '{TIME_PATTERN}'", name=f"ck_{table}_{column}_is_utc").ddl_if(
            dialect="sqlite"
        )
        for column in columns
    ]
