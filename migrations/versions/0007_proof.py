"""Digests that are sent outside, and results of verifications, are stored.

Revision ID: 0007
Revises: 0006
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UTC_TIME = sa.TIMESTAMP(timezone=True)
TIME_PATTERN = (
    "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    ".[0-9][0-9][0-9][0-9][0-9][0-9]Z"
)


def upgrade() -> None:
    op.create_table(
        "anchors",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("number", sa.Integer(), "Counts from 1 within the source, without holes"),
        _c("target", sa.Text(), "Name of the anchor in the settings"),
        _c("kind", sa.Text(), "file, webhook, syslog or tsa (a time-stamping authority)"),
        _c("made_at", UTC_TIME, "When the value was made"),
        _c("seq", sa.BigInteger(), "Newest observation then; it and all before are covered"),
        _c("head", sa.Text(), "Its opening digest"),
        _c("last_asked_at", UTC_TIME, "Its last_asked_at as it stood"),
        _c("last_at", UTC_TIME, "Its last_at as it stood: the history is covered up to then"),
        _c("polls", sa.BigInteger(), "Its polls as they stood"),
        _c("longest_interval_ms", sa.BigInteger(), "Its longest_interval_ms as it stood"),
        _c("variants", sa.BigInteger(), "Its variants as they stood"),
        _c("previous_digest", sa.Text(), "digest of the anchor before; of the first one: 64 zeros"),
        _c("value", sa.Text(), "SHA-256 over all of that: what was given away"),
        _c(
            "signed_by",
            sa.Text(),
            "SHA-256 of the public key that signed; NULL: no key is configured",
            null=True,
        ),
        _c("signature", sa.Text(), "Ed25519 signature of what value is the hash of, in base64", null=True),
        _c("outcome", sa.Text(), "pending, anchored or failed"),
        _c("answered_at", UTC_TIME, "When that was known; NULL while pending", null=True),
        _c("attested_at", UTC_TIME, "The time that the authority put into its token", null=True),
        _c("token", sa.LargeBinary(), "The authority's answer, as it came (RFC 3161, DER)", null=True),
        _c("error", sa.Text(), "Why it failed", null=True),
        _c("digest", sa.Text(), "SHA-256 over value and what came of it; NULL while pending", null=True),
        sa.PrimaryKeyConstraint("source_id", "number", name="pk_anchors"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_anchors_source_id"),
        sa.CheckConstraint("number >= 1", name="ck_anchors_number"),
        sa.CheckConstraint("kind IN ('file', 'webhook', 'syslog', 'tsa')", name="ck_anchors_kind"),
        sa.CheckConstraint("outcome IN ('pending', 'anchored', 'failed')", name="ck_anchors_outcome"),
        sa.CheckConstraint("(outcome = 'pending') = (digest IS NULL)", name="ck_anchors_pending_is_open"),
        sa.CheckConstraint("(outcome = 'pending') = (answered_at IS NULL)", name="ck_anchors_answered"),
        sa.CheckConstraint("(outcome = 'failed') = (error IS NOT NULL)", name="ck_anchors_failed_has_error"),
        sa.CheckConstraint("token IS NULL OR kind = 'tsa'", name="ck_anchors_token"),
        *_times("anchors", "made_at", "last_asked_at", "last_at", "answered_at", "attested_at"),
        comment="One row: a digest of a history that was given to a place outside the database, or could not be",
    )
    op.create_table(
        "verifications",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("started_at", UTC_TIME, "When it began"),
        _c("finished_at", UTC_TIME, "When it had ended"),
        _c("verdict", sa.Text(), "good, stale (derived by older rules) or altered"),
        _c("seq", sa.BigInteger(), "Newest observation that was checked; 0: there was none"),
        _c("head", sa.Text(), "Its opening digest", null=True),
        _c(
            "anchored_seq",
            sa.BigInteger(),
            "Newest observation that an anchor proved; NULL: none did",
            null=True,
        ),
        _c("findings", sa.Integer(), "Number of findings on record; at most ten are told"),
        _c("first_finding", sa.Text(), "The first of them in words", null=True),
        _c("collector_version", sa.Text(), "Version that verified"),
        sa.PrimaryKeyConstraint("source_id", "started_at", name="pk_verifications"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_verifications_source_id"),
        sa.CheckConstraint("verdict IN ('good', 'stale', 'altered')", name="ck_verifications_verdict"),
        sa.CheckConstraint("started_at <= finished_at", name="ck_verifications_times"),
        *_times("verifications", "started_at", "finished_at"),
        comment="One row: a verification of a source whose result was kept",
    )


def downgrade() -> None:
    op.drop_table("verifications")
    op.drop_table("anchors")


def _c(name: str, kind: Any, comment: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, autoincrement=False, comment=comment)


def _times(table: str, *names: str) -> list[sa.CheckConstraint]:
    if op.get_context().dialect.name != "sqlite":
        return []
    return [
        sa.CheckConstraint(f"{name} GLOB '{TIME_PATTERN}'", name=f"ck_{table}_{name}_is_utc")
        for name in names
    ]
