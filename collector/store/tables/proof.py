"""Proof: which digests outside places received, and when the history was verified."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.types import UtcTime
from collector.store.tables.parts import check, column, number, one_of, seq, source_id, table

anchors = table(
    "anchors",
    "One row: a digest of a history that was given to a place outside the database, or could not be",
    source_id(),
    number(),
    column("target", sa.Text, "Name of the anchor in the settings"),
    column("kind", sa.Text, "file, webhook, syslog or tsa (a time-stamping authority)"),
    column("made_at", UtcTime, "When the value was made"),
    # No foreign key: an observation may be pruned, and what was anchored of it stays.
    seq("Newest observation then; it and all before are covered"),
    column("head", sa.Text, "Its opening digest"),
    column("last_asked_at", UtcTime, "Its last_asked_at as it stood"),
    column("last_at", UtcTime, "Its last_at as it stood: the history is covered up to then"),
    column("polls", sa.BigInteger, "Its polls as they stood"),
    column("longest_interval_ms", sa.BigInteger, "Its longest_interval_ms as it stood"),
    column("variants", sa.BigInteger, "Its variants as they stood"),
    column("previous_digest", sa.Text, "digest of the anchor before; of the first one: 64 zeros"),
    column("value", sa.Text, "SHA-256 over all of that: what was given away"),
    column(
        "signed_by", sa.Text, "SHA-256 of the public key that signed; NULL: no key is configured", null=True
    ),
    column("signature", sa.Text, "Ed25519 signature of what value is the hash of, in base64", null=True),
    column("outcome", sa.Text, "pending, anchored or failed"),
    column("answered_at", UtcTime, "When that was known; NULL while pending", null=True),
    column("attested_at", UtcTime, "The time that the authority put into its token", null=True),
    column("token", sa.LargeBinary, "The authority's answer, as it came (RFC 3161, DER)", null=True),
    column("error", sa.Text, "Why it failed", null=True),
    column("digest", sa.Text, "SHA-256 over value and what came of it; NULL while pending", null=True),
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
    column("finished_at", UtcTime, "When it had ended"),
    column("verdict", sa.Text, "good, stale (derived by older rules) or altered"),
    seq("Newest observation that was checked; 0: there was none"),
    column("head", sa.Text, "Its opening digest", null=True),
    column(
        "anchored_seq", sa.BigInteger, "Newest observation that an anchor proved; NULL: none did", null=True
    ),
    column("findings", sa.Integer, "Number of findings on record; at most ten are told"),
    column("first_finding", sa.Text, "The first of them in words", null=True),
    column("collector_version", sa.Text, "Version that verified"),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_verifications_source_id"),
    check("verifications_verdict", one_of("verdict", "good", "stale", "altered")),
    check("verifications_times", "started_at <= finished_at"),
)
