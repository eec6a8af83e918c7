"""An index on the time alone finds what happened last, for any number of sources.

Revision ID: 0005
Revises: 0004
"""

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_state_transitions_newest": ("state_transitions", ["observed_at"], None),
    "ix_state_transitions_keystones": ("state_transitions", ["observed_at"], "entity = 'keystone'"),
    "ix_region_versions_newest": ("region_versions", ["valid_from"], "changed_fields <> '[\"state\"]'"),
    "ix_gaps_newest": ("gaps", ["from_at"], None),
    "ix_unseen_newest": ("unseen", ["missed_at"], None),
    "ix_unseen_missed_seq": ("unseen", ["source_id", "missed_seq"], None),
    "ix_unseen_until_seq": ("unseen", ["source_id", "until_seq"], None),
    "ix_schema_drift_newest": ("schema_drift", ["first_seen_at"], None),
}


def upgrade() -> None:
    for name, (table, columns, condition) in INDEXES.items():
        where = None if condition is None else text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for name, (table, _, _) in INDEXES.items():
        op.drop_index(name, table)
