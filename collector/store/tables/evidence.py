"""Evidence: who was asked, who asked, what was answered, and when."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.types import JsonList, UtcTime, only_on_sqlite
from collector.store.tables.parts import check, column, number, one_of, seq, source_id, table

MAX_LINKS = 16
"""Maximum number of answers from one answer down to the whole one that it rests on."""


sources = table(
    "sources",
    "One row: a named place to poll, with the lease of the process that polls it",
    sa.Column("id", sa.Integer, primary_key=True, comment="The source_id in all other tables"),
    column("name", sa.Text, "Name in the settings"),
    column("newest_seq", sa.BigInteger, "Number of the newest observation; 0 before the first"),
    column("derivation_revision", sa.Integer, "Revision of the rules that made the derived tables"),
    column("lease_owner", sa.Text, "Process that may write this source; NULL when released", null=True),
    column("lease_expires_at", UtcTime, "When the lease ends, by the database's clock", null=True),
    column("lease_epoch", sa.BigInteger, "Grows with each change of the lease's owner"),
    column("key_salt", sa.Text, "Salt of the key fingerprints; the same for all sources of a database"),
    sa.Column(
        "amendments",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="Number of the newest row in amendments; 0: nothing was pruned or redacted",
    ),
    sa.Column(
        "corrections",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="Number of rebuilds that corrected derived rows",
    ),
    sa.UniqueConstraint("name", name="uq_sources_name"),
    check("sources_newest_seq", "newest_seq >= 0"),
)

observers = table(
    "observers",
    "One row: an observer of a source, that is, a key and a URL",
    source_id(),
    column("id", sa.Integer, "Counts from 1 within the source", primary_key=True, autoincrement=False),
    column(
        "key_fingerprint",
        sa.Text,
        "First 32 hex digits of the HMAC-SHA256 of the API key with the salt; empty: no key",
    ),
    column("base_url", sa.Text, "Base URL of the API"),
    column("auth_scheme", sa.Text, "Word before the key in the Authorization header"),
    column("first_used_at", UtcTime, "When this observer first polled"),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_observers_source_id"),
    sa.UniqueConstraint("source_id", "key_fingerprint", "base_url", "auth_scheme", name="uq_observers_who"),
)

payloads = table(
    "payloads",
    "One row: a distinct answer of the API, without secrets",
    source_id(),
    column("address", sa.Text, "SHA-256 over the hashes of the envelope and the records", primary_key=True),
    column("canonical_version", sa.Integer, "Version of the canonical form"),
    column("size", sa.BigInteger, "Size of the canonical JSON of the whole answer in bytes"),
    column("compressed_size", sa.BigInteger, "Size of body in bytes"),
    column(
        "body",
        sa.LargeBinary,
        "Canonical JSON, compressed with zlib: the answer, or its difference from base; empty: pruned",
    ),
    # No foreign key: SQLite could add one only by copying all answers. The observation of each answer keeps it
    # anyway.
    column(
        "base",
        sa.Text,
        "Address of the answer from which this one is stored as a difference; NULL: it is stored whole",
        null=True,
    ),
    sa.Column(
        "links",
        sa.Integer,
        # Beside its column and with a default, so that SQLite can add it to a table with rows.
        check("payloads_links", f"links BETWEEN 0 AND {MAX_LINKS} AND (links = 0) = (base IS NULL)"),
        nullable=False,
        server_default="0",
        comment="Number of differences down to an answer that is stored whole; 0: this one is",
    ),
    column(
        "content",
        sa.Text,
        "Address of the rest of the answer after a redaction; NULL: nothing was redacted",
        null=True,
    ),
    column(
        "redaction",
        sa.Integer,
        "Number of the newest row in amendments that redacted something in this answer",
        null=True,
    ),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_payloads_source_id"),
)

observations = table(
    "observations",
    "One row: a run of consecutive polls of a source with the same outcome and content",
    source_id(),
    seq("Counts from 1 within the source, without holes", primary_key=True),
    column(
        "outcome",
        sa.Text,
        "ok, partial (looks like one page), held (absences wait) or failed; never changes",
    ),
    column("first_at", UtcTime, "When the first poll was answered"),
    column("last_at", UtcTime, "When the newest poll was answered"),
    column("polls", sa.BigInteger, "Number of polls"),
    column("listed", sa.Integer, "Number of records in the answer", null=True),
    column("declared", sa.BigInteger, "The count that the answer states", null=True),
    column("rejected", sa.Integer, "Number of records that could not be used", null=True),
    column(
        "missing",
        JsonList,
        "Ids of the regions that were present but not listed, as judged at the first poll; NULL: none",
        null=True,
    ),
    column(
        "variants",
        sa.BigInteger,
        "Polls with the same content in another spelling, which are not kept as evidence",
    ),
    column("cause", sa.Text, "Why the poll failed", null=True),
    column("http_status", sa.Integer, "Status of a refused poll", null=True),
    column("exception_class", sa.Text, "Class of the error, as the API names it", null=True),
    column("message", sa.Text, "Message of the first failure, without the key", null=True),
    column("request_id", sa.Text, "Request id of the first failure", null=True),
    column(
        "first_asked_at", UtcTime, "When the request of the first poll was sent, minus the age of its answer"
    ),
    column(
        "last_asked_at", UtcTime, "When the request of the newest poll was sent, minus the age of its answer"
    ),
    column(
        "expected_interval_ms",
        sa.BigInteger,
        "Expected time between two polls; more than 2.5 times as much is a gap",
    ),
    column("longest_interval_ms", sa.BigInteger, "Longest time between two of its polls; 0 for one poll"),
    column(
        "clock_offset_ms",
        sa.BigInteger,
        "How far this machine's clock was ahead of the API's at the first poll",
        null=True,
    ),
    column("payload", sa.Text, "Address of the answer", null=True),
    column("observer_id", sa.Integer, "The observer; see observers"),
    column("collector_version", sa.Text, "Version of the collector that opened the row"),
    column("recorded_at", UtcTime, "When the row was opened"),
    column("previous_digest", sa.Text, "digest of the row before; 64 zeros in the first row"),
    column("opening_digest", sa.Text, "SHA-256 over previous_digest and everything known at the first poll"),
    column(
        "digest", sa.Text, "SHA-256 over opening_digest and the final counters; NULL while open", null=True
    ),
    column("paging", sa.Text, "The sign that the answer is one page of several; NULL: no sign", null=True),
    column(
        "age_ms",
        sa.BigInteger,
        "Age of the answer at the first poll, as a cache stated it; NULL: no cache answered",
        null=True,
    ),
    column(
        "amended",
        sa.Text,
        "Digest of the newest row in amendments that was written since the observation before; NULL: none",
        null=True,
    ),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_observations_source_id"),
    only_on_sqlite(
        sa.ForeignKeyConstraint(
            ["source_id", "payload"],
            ["payloads.source_id", "payloads.address"],
            name="fk_observations_payload",
        )
    ),
    sa.ForeignKeyConstraint(
        ["source_id", "observer_id"], ["observers.source_id", "observers.id"], name="fk_observations_observer"
    ),
    check("observations_outcome", one_of("outcome", "ok", "partial", "held", "failed")),
    check("observations_failed_has_cause", "(outcome = 'failed') = (cause IS NOT NULL)"),
    check("observations_answer_has_payload", "(outcome = 'failed') = (payload IS NULL)"),
    check("observations_times", "first_at <= last_at AND last_asked_at <= last_at"),
    check("observations_polls", "polls >= 1"),
)

amendments = table(
    "amendments",
    "One row: a recorded change of stored evidence: its beginning was pruned, or a value redacted",
    source_id(),
    number(),
    column("kind", sa.Text, "prune or redaction"),
    column("made_at", UtcTime, "When it was made"),
    column("made_by", sa.Text, "User, host and process that made it"),
    seq(
        "Newest observation at that time; the next one contains the digest of the newest amendment", "at_seq"
    ),
    column("facts", sa.Text, "Facts as canonical JSON; see docs/audit.md"),
    column(
        "begins_seq",
        sa.BigInteger,
        "For a prune: the observation after which the history begins",
        null=True,
    ),
    column(
        "begins_at",
        UtcTime,
        "For a prune: when that observation was first answered; everything before was deleted",
        null=True,
    ),
    column("pruned_from_at", UtcTime, "For a prune: when the very first poll was answered", null=True),
    column("previous_digest", sa.Text, "digest of the row before; 64 zeros in the first row"),
    column("digest", sa.Text, "SHA-256 over previous_digest and everything before it in this row"),
    column(
        "snapshot",
        sa.LargeBinary,
        "For the newest prune: the state with which the history begins, as canonical JSON compressed with zlib",
        null=True,
    ),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_amendments_source_id"),
    check("amendments_kind", one_of("kind", "prune", "redaction")),
)


def seen_by(table: str, *names: str) -> list[sa.ForeignKeyConstraint]:
    """Every fact refers to the observation that saw it."""
    return [
        only_on_sqlite(
            sa.ForeignKeyConstraint(
                ["source_id", name], ["observations.source_id", "observations.seq"], name=f"fk_{table}_{name}"
            )
        )
        for name in names
    ]
