"""Histories may be pruned and redacted, and each prune and redaction is recorded.

Revision ID: 0009
Revises: 0008
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UTC_TIME = sa.TIMESTAMP(timezone=True)
TIME_PATTERN = (
    "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    ".[0-9][0-9][0-9][0-9][0-9][0-9]Z"
)
ADDED: tuple[tuple[str, str, Any, str], ...] = (
    (
        "observations",
        "amended",
        sa.Text(),
        "Digest of the newest row of amendments, if that was written since the observation before; NULL: none was",
    ),
    (
        "payloads",
        "content",
        sa.Text(),
        "Address of what is left, where values were redacted later; NULL: nothing was",
    ),
    ("payloads", "redaction", sa.Integer(), "Newest row of amendments that redacted something in it"),
)
"""Table, column, type and comment."""
NUMBER = "Number of the newest row of amendments; 0: nothing was pruned or redacted"
BODY = (
    "The canonical JSON, compressed with zlib; where there is a base, of what changed over that",
    "The canonical JSON, compressed with zlib; where there is a base, of what changed over that; empty: pruned",
)


REFERENCES: tuple[tuple[str, str], ...] = (
    ("regions", "seq"),
    ("keystones", "seq"),
    ("metrics_databases", "seq"),
    ("region_versions", "seq"),
    ("keystone_versions", "seq"),
    ("metrics_database_versions", "seq"),
    ("state_transitions", "seq"),
    ("unseen", "missed_seq"),
    ("unseen", "shown_seq"),
    ("unseen", "until_seq"),
    ("withheld_absences", "seq"),
    ("unproven_absences", "missed_seq"),
    ("unproven_absences", "until_seq"),
    ("unproven_absences", "proven_seq"),
    ("gaps", "until_seq"),
    ("rejected_records", "seq"),
    ("schema_drift", "seq"),
)
"""Table and column: foreign keys to observations.

PostgreSQL would scan each such table for each pruned observation; SQLite can switch the check off for a transaction.
"""


def upgrade() -> None:
    is_sqlite = op.get_context().dialect.name == "sqlite"
    op.add_column(
        "sources", sa.Column("amendments", sa.Integer(), nullable=False, server_default="0", comment=NUMBER)
    )
    for table, name, kind, comment in ADDED:
        op.add_column(table, sa.Column(name, kind, comment=comment))
    times = [
        sa.CheckConstraint(f"{name} GLOB '{TIME_PATTERN}'", name=f"ck_amendments_{name}_is_utc")
        for name in ("made_at", "begins_at", "pruned_from_at")
    ]
    op.create_table(
        "amendments",
        sa.Column(
            "source_id", sa.Integer(), autoincrement=False, nullable=False, comment="The source; see sources"
        ),
        sa.Column(
            "number",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="Counts from 1 within the source, without holes",
        ),
        sa.Column("kind", sa.Text(), nullable=False, comment="prune or redaction"),
        sa.Column("made_at", UTC_TIME, nullable=False, comment="When"),
        sa.Column("made_by", sa.Text(), nullable=False, comment="Who: user, host and process"),
        sa.Column(
            "at_seq",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Newest observation then; the one after it holds the digest of the newest such row",
        ),
        sa.Column(
            "facts", sa.Text(), nullable=False, comment="What was done, as canonical JSON: see docs/audit.md"
        ),
        sa.Column(
            "begins_seq",
            sa.BigInteger(),
            comment="Of a prune: the observation with whose state the history begins",
        ),
        sa.Column(
            "begins_at", UTC_TIME, comment="Of a prune: when that was first answered; what was before is gone"
        ),
        sa.Column("pruned_from_at", UTC_TIME, comment="Of a prune: when the first poll of all was answered"),
        sa.Column(
            "previous_digest",
            sa.Text(),
            nullable=False,
            comment="digest of the row before; of the first row: 64 zeros",
        ),
        sa.Column(
            "digest",
            sa.Text(),
            nullable=False,
            comment="SHA-256 over previous_digest and everything before it in this row",
        ),
        sa.Column(
            "snapshot",
            sa.LargeBinary(),
            nullable=True,
            comment="Of the newest prune: the state with which the history begins, canonical JSON compressed with zlib",
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_amendments_source_id"),
        sa.PrimaryKeyConstraint("source_id", "number", name="pk_amendments"),
        sa.CheckConstraint("kind IN ('prune', 'redaction')", name="ck_amendments_kind"),
        *(times if is_sqlite else []),
        comment="One row: what was taken out of a history that was on record already: its beginning, or a value",
    )
    if not is_sqlite:
        op.alter_column("payloads", "body", comment=BODY[1])
        op.drop_constraint("fk_observations_payload", "observations")
        for table, name in REFERENCES:
            op.drop_constraint(f"fk_{table}_{name}", table)


def downgrade() -> None:
    """Refuse the downgrade of a pruned or redacted history, since older versions need all of it."""
    found = op.get_bind().execute(sa.text("SELECT COUNT(*) FROM amendments")).scalar_one()
    if found:
        raise RuntimeError(
            "older versions can't verify a history that was pruned or redacted: keep this schema"
        )
    op.drop_table("amendments")
    for table, name, _, _ in reversed(ADDED):
        op.drop_column(table, name)
    op.drop_column("sources", "amendments")
    if op.get_context().dialect.name != "sqlite":
        op.alter_column("payloads", "body", comment=BODY[0])
        op.create_foreign_key(
            "fk_observations_payload",
            "observations",
            "payloads",
            ["source_id", "payload"],
            ["source_id", "address"],
        )
        for table, name in REFERENCES:
            op.create_foreign_key(
                f"fk_{table}_{name}", table, "observations", ["source_id", name], ["source_id", "seq"]
            )
