"""A writer sees that a rebuild corrected rows that it may remember.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COMMENT = "Number of rebuilds that corrected derived rows"


def upgrade() -> None:
    """Add the counter. Older versions don't write it, and go on as before."""
    op.add_column(
        "sources", sa.Column("corrections", sa.Integer(), nullable=False, server_default="0", comment=COMMENT)
    )


def downgrade() -> None:
    """Drop the counter."""
    op.drop_column("sources", "corrections")
