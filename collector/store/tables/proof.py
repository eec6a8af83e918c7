"""Proof: which digests outside places received, and when the history was verified."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.store.tables.parts import check, column, number, one_of, seq, source_id, table

anchors = table(
    "anchors",
    "One row: an attempt to give a digest of a history to a place outside the database",
    source_id(),
    number(),
    column("target", sa.Text, "Name of the anchor in the settings"),
    column("kind", sa.Text, "file, webhook, syslog or tsa (a time-stamping authority)"),
    column("made_at", UtcTime, "When the value was computed"),
    # No foreign key: an observation may be pruned, and what was anchored of it stays.
    seq("Newest observation at that time; it and all earlier ones are covered"),
    column("head", sa.Text, "Its opening digest"),
    column("last_asked_at", UtcTime, "Its last_asked_at at that time"),
    column("last_at", UtcTime, "Its last_at at that time; the history is covered up to then"),
    column("polls", sa.BigInteger, "Its polls at that time"),
    column("longest_interval_ms", sa.BigInteger, "Its longest_interval_ms at that time"),
    column("variants", sa.BigInteger, "Its variants at that time"),
    column("previous_digest", sa.Text, "digest of the anchor before; 64 zeros in the first row"),
    column(
        "value",
        sa.Text,
        "SHA-256 over everything before it in this row: the value that was given to the place",
    ),
    column("signed_by", sa.Text, "SHA-256 of the public key of the signature; NULL: not signed", null=True),
    column(
        "signature",
        sa.Text,
        "Ed25519 signature of the content that value is the hash of, in base64",
        null=True,
    ),
    column("outcome", sa.Text, "pending, anchored or failed"),
    column("answered_at", UtcTime, "When the outcome was known; NULL while pending", null=True),
    column("attested_at", UtcTime, "Time in the token of the authority", null=True),
    column("token", sa.LargeBinary, "Answer of the authority, unchanged (RFC 3161, DER)", null=True),
    column("error", sa.Text, "Why it failed", null=True),
    column("digest", sa.Text, "SHA-256 over value and the result; NULL while pending", null=True),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_anchors_source_id"),
    check("anchors_number", "number >= 1"),
    check("anchors_kind", one_of("kind", "file", "webhook", "syslog", "tsa")),
    check("anchors_outcome", one_of("outcome", "pending", "anchored", "failed")),
    check("anchors_pending_is_open", "(outcome = 'pending') = (digest IS NULL)"),
    check("anchors_answered", "(outcome = 'pending') = (answered_at IS NULL)"),
    check("anchors_failed_has_error", "(outcome = 'failed') = (error IS NOT NULL)"),
    check("anchors_token", "token IS NULL OR kind = 'tsa'"),
)

verifications = table(
    "verifications",
    "One row: a verification of a source whose result was kept",
    source_id(),
    column("started_at", UtcTime, "When it began", primary_key=True),
    column("finished_at", UtcTime, "When it ended"),
    column("verdict", sa.Text, "good, stale (derived by older rules) or altered"),
    seq("Newest observation that was checked; 0: none"),
    column("head", sa.Text, "Its opening digest", null=True),
    column("anchored_seq", sa.BigInteger, "Newest observation that an anchor proved; NULL: none", null=True),
    column("findings", sa.Integer, "Number of findings, with at most ten alterations"),
    column("first_finding", sa.Text, "The first finding in words", null=True),
    column("collector_version", sa.Text, "Version of the collector that verified"),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_verifications_source_id"),
    check("verifications_verdict", one_of("verdict", "good", "stale", "altered")),
    check("verifications_times", "started_at <= finished_at"),
)
