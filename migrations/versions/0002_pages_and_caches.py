"""Observations record signs of paging, and the age of a cached answer.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COMMENTS = {
    ("observations", "outcome"): (
        "ok, partial (count differs), held (absences wait), failed; never changes",
        "ok, partial (a page, or count differs), held (absences wait), failed; never changes",
    ),
    ("observations", "first_asked_at"): (
        "When the request of the first poll was sent",
        "When the request of the first poll was sent, less the age of its answer",
    ),
    ("observations", "last_asked_at"): (
        "When the request of the newest poll was sent",
        "When the request of the newest poll was sent, less the age of its answer",
    ),
    ("state_transitions", "not_before"): (
        "When the last poll that confirmed the old state asked; NULL: unbounded",
        "When the last poll that confirmed the old state asked; of an appearance the last complete answer to the same "
        "key and URL; NULL: unbounded",
    ),
}
"""By table and column: the old and the new comment."""
WITHHELD = (
    "One row: a complete answer that could not prove the absence of an entity, or of a whole kind",
    "One row: an answer that could not prove the absence of an entity that it names, or of a whole kind",
)


def upgrade() -> None:
    op.add_column(
        "observations",
        sa.Column(
            "paging", sa.Text(), comment="What makes the answer look like one page of several; NULL: nothing"
        ),
    )
    op.add_column(
        "observations",
        sa.Column(
            "age_ms",
            sa.BigInteger(),
            comment="How old a cache said the answer was, at the first poll; NULL: it came from no cache",
        ),
    )
    _comment(1)


def downgrade() -> None:
    op.drop_column("observations", "age_ms")
    op.drop_column("observations", "paging")
    _comment(0)


def _comment(which: int) -> None:
    """SQLite has no comments."""
    if op.get_context().dialect.name == "sqlite":
        return
    for (table, column), texts in COMMENTS.items():
        op.alter_column(table, column, comment=texts[which])
    op.create_table_comment("withheld_absences", WITHHELD[which])
