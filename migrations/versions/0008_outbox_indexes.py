"""Indexes find events that were delivered or given up.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_webhook_deliveries_delivered_at": (["delivered_at"], "delivered_at IS NOT NULL"),
    "ix_webhook_deliveries_dead": (["receiver", "given_up_at"], "given_up_at IS NOT NULL"),
}
"""By name: the columns, and the condition on the rows."""


def upgrade() -> None:
    for name, (columns, where) in INDEXES.items():
        only = sa.text(where)
        op.create_index(name, "webhook_deliveries", columns, sqlite_where=only, postgresql_where=only)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, "webhook_deliveries")
