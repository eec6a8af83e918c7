"""The digest of the views' texts has a column; the comment of its table says what people want to know.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COMMENT = "Digest of the texts of views and functions, by which the collector sees if they are current"


def upgrade() -> None:
    """SQLite keeps the texts themselves."""
    if op.get_context().dialect.name == "sqlite":
        return
    op.add_column("alembic_version", sa.Column("views_digest", sa.Text(), comment=COMMENT))
    op.create_table_comment("alembic_version", "One row: the revision of the schema")
    op.alter_column("alembic_version", "version_num", comment="Number of the newest migration")


def downgrade() -> None:
    """Older versions write the digest into the comment of the table."""
    if op.get_context().dialect.name != "sqlite":
        op.drop_column("alembic_version", "views_digest")
        op.alter_column("alembic_version", "version_num", comment=None)
        op.drop_table_comment("alembic_version")
