"""Evidence: who was asked, who asked, what was answered, and when."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.types import JsonList, UtcTime, only_on_sqlite
from collector.store.tables.parts import check, column, number, one_of, seq, source_id, table

MAX_LINKS = 16
"""Maximum number of answers from one answer down to the whole one that it rests on."""


sources = table(
    "sources",
    "One row: a named place to poll, as in the settings; with the lease of the process that polls it",
    sa.Column("id", sa.Integer, primary_key=True, comment="The source_id of all other tables"),
    column("name", sa.Text, "Name in the settings"),
    column("newest_seq", sa.BigInteger, "Number of the newest observation; 0 before the first"),
    column("derivation_revision", sa.Integer, "Revision of the rules by which the derived tables were made"),
    column("lease_owner", sa.Text, "Process that may write this source; NULL when released", null=True),
    column("lease_expires_at", UtcTime, "By the database's clock", null=True),
    column("lease_epoch", sa.BigInteger, "Grows with every change of the lease's owner"),
    column("key_salt", sa.Text, "Salt of the key fingerprints; the same for all sources of a database"),
    sa.Column(
        "amendments",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="Number of the newest row of amendments; 0: nothing was pruned or redacted",
    ),
    sa.UniqueConstraint("name", name="uq_sources_name"),
    check("sources_newest_seq", "newest_seq >= 0"),
)

observers = table(
    "observers",
    "One row: who looked at a source: which key, at which URL",
    source_id(),
    column("id", sa.Integer, "Counts from 1 within the source", primary_key=True, autoincrement=False),
    column(
        "key_fingerprint",
        sa.Text,
        "HMAC-SHA256 of the API key with the salt, first 32 hex digits; empty: there was no key",
    ),
    column("base_url", sa.Text, "Base URL of the API"),
    column("auth_scheme", sa.Text, "Word before the key in the Authorization header"),
    column("first_used_at", UtcTime, "When this observer first polled"),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_observers_source_id"),
    sa.UniqueConstraint("source_id", "key_fingerprint", "base_url", "auth_scheme", name="uq_observers_who"),
)

payloads = table(
    "payloads",
    "One row: one distinct answer of the API, secrets redacted",
    source_id(),
    column("address", sa.Text, "SHA-256 over the hashes of envelope and records", primary_key=True),
    column("canonical_version", sa.Integer, "Version of the canonical form"),
    column("size", sa.BigInteger, "Bytes of the canonical JSON of the whole answer"),
    column("compressed_size", sa.BigInteger, "Bytes of body"),
    column(
        "body",
        sa.LargeBinary,
        "The canonical JSON, compressed with zlib; where there is a base, of what changed over that; empty: pruned",
    ),
    # No foreign key: SQLite could add one only by copying all answers. The observation of each answer keeps it
    # anyway.
    column(
        "base", sa.Text, "Address of the answer over which this one is written; NULL: it is whole", null=True
    ),
    sa.Column(
        "links",
        sa.Integer,
        # Beside its column and with a default, so that SQLite can add it to a table with rows.
        check("payloads_links", f"links BETWEEN 0 AND {MAX_LINKS} AND (links = 0) = (base IS NULL)"),
        nullable=False,
        server_default="0",
        comment="Number of answers under this one, down to a whole one; 0: it is whole",
    ),
    column(
        "content",
        sa.Text,
        "Address of what is left, where values were redacted later; NULL: nothing was",
        null=True,
    ),
    column("redaction", sa.Integer, "Newest row of amendments that redacted something in it", null=True),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_payloads_source_id"),
)

observations = table(
    "observations",
    "One row: a stretch of consecutive polls of a source with the same outcome and content",
    source_id(),
    seq("Counts from 1 within the source, without holes", primary_key=True),
    column(
        "outcome",
        sa.Text,
        "ok, partial (a page, or count differs), held (absences wait), failed; never changes",
    ),
    column("first_at", UtcTime, "When the first poll was answered"),
    column("last_at", UtcTime, "When the newest poll was answered"),
    column("polls", sa.BigInteger, "Number of polls"),
    column("listed", sa.Integer, "Number of records in the answer", null=True),
    column("declared", sa.BigInteger, "The answer's own count", null=True),
    column("rejected", sa.Integer, "Number of records that could not be used", null=True),
    column(
        "missing",
        JsonList,
        "Ids of the regions that were present and not listed, judged at the first poll; NULL: none",
        null=True,
    ),
    column("variants", sa.BigInteger, "Polls that said the same in another spelling; not kept as evidence"),
    column("cause", sa.Text, "Why the poll failed", null=True),
    column("http_status", sa.Integer, "Status of a refused poll", null=True),
    column("exception_class", sa.Text, "As the API named it", null=True),
    column("message", sa.Text, "Of the first failure of the stretch, scrubbed of the key", null=True),
    column("request_id", sa.Text, "Of the first failure of the stretch", null=True),
    column(
        "first_asked_at", UtcTime, "When the request of the first poll was sent, less the age of its answer"
    ),
    column(
        "last_asked_at", UtcTime, "When the request of the newest poll was sent, less the age of its answer"
    ),
    column(
        "expected_interval_ms", sa.BigInteger, "Polls were expected so far apart; 2.5 times as much is a gap"
    ),
    column(
        "longest_interval_ms", sa.BigInteger, "Longest time between two polls of the stretch; 0 for one poll"
    ),
    column("clock_offset_ms", sa.BigInteger, "This clock less the API's, at the first poll", null=True),
    column("payload", sa.Text, "Address of the answer", null=True),
    column("observer_id", sa.Integer, "Who looked; see observers"),
    column("collector_version", sa.Text, "Version that opened the row"),
    column("recorded_at", UtcTime, "When the row was opened"),
    column("previous_digest", sa.Text, "digest of the row before; of the first row: 64 zeros"),
    column("opening_digest", sa.Text, "SHA-256 over previous_digest and everything known at the first poll"),
    column(
        "digest", sa.Text, "SHA-256 over opening_digest and the final counters; NULL while open", null=True
    ),
    column(
        "paging", sa.Text, "What makes the answer look like one page of several; NULL: nothing", null=True
    ),
    column(
        "age_ms",
        sa.BigInteger,
        "How old a cache said the answer was, at the first poll; NULL: it came from no cache",
        null=True,
    ),
    column(
        "amended",
        sa.Text,
        "Digest of the newest row of amendments, if that was written since the observation before; NULL: none was",
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
    "One row: what was taken out of a history that was on record already: its beginning, or a value",
    source_id(),
    number(),
    column("kind", sa.Text, "prune or redaction"),
    column("made_at", UtcTime, "When"),
    column("made_by", sa.Text, "Who: user, host and process"),
    seq("Newest observation then; the one after it holds the digest of the newest such row", "at_seq"),
    column("facts", sa.Text, "What was done, as canonical JSON: see docs/audit.md"),
    column(
        "begins_seq",
        sa.BigInteger,
        "Of a prune: the observation with whose state the history begins",
        null=True,
    ),
    column(
        "begins_at", UtcTime, "Of a prune: when that was first answered; what was before is gone", null=True
    ),
    column("pruned_from_at", UtcTime, "Of a prune: when the first poll of all was answered", null=True),
    column("previous_digest", sa.Text, "digest of the row before; of the first row: 64 zeros"),
    column("digest", sa.Text, "SHA-256 over previous_digest and everything before it in this row"),
    column(
        "snapshot",
        sa.LargeBinary,
        "Of the newest prune: the state with which the history begins, canonical JSON compressed with zlib",
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
