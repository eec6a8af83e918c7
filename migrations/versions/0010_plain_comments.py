"""Comments of tables and columns are in plain words.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = {
    "sources": (
        "One row: a named place to poll, as in the settings; with the lease of the process that polls it",
        "One row: a named place to poll, with the lease of the process that polls it",
    ),
    "observers": (
        "One row: who looked at a source: which key, at which URL",
        "One row: an observer of a source, that is, a key and a URL",
    ),
    "payloads": (
        "One row: one distinct answer of the API, secrets redacted",
        "One row: a distinct answer of the API, without secrets",
    ),
    "observations": (
        "One row: a stretch of consecutive polls of a source with the same outcome and content",
        "One row: a run of consecutive polls of a source with the same outcome and content",
    ),
    "amendments": (
        "One row: what was taken out of a history that was on record already: its beginning, or a value",
        "One row: a recorded change of stored evidence: its beginning was pruned, or a value redacted",
    ),
    "region_versions": (
        "One row: a region as it was during [valid_from, valid_to); absent: no row in force",
        "One row: a region during [valid_from, valid_to); no row covers its absence",
    ),
    "keystone_versions": (
        "One row: a keystone as it was during [valid_from, valid_to); absent: no row in force",
        "One row: a keystone during [valid_from, valid_to); no row covers its absence",
    ),
    "metrics_database_versions": (
        "One row: a metrics database as it was during [valid_from, valid_to); absent: no row in force",
        "One row: a metrics database during [valid_from, valid_to); no row covers its absence",
    ),
    "unseen": (
        "One row: an entity that is present was not shown for a while; its state then is unknown",
        "One row: a time in which an entity that is present was not shown; its state is unknown then",
    ),
    "unproven_absences": (
        "One row: a time for which the absence of an entity, or of every absent entity of a kind, is not proven",
        "One row: a time in which the absence of an entity, or of every absent entity of a kind, is not proven",
    ),
    "gaps": (
        "One row: a time without any successful poll, longer than 2.5 expected intervals, that has ended",
        "One row: a time of more than 2.5 expected intervals without a successful poll, which has ended",
    ),
    "schema_drift": (
        "One row: something that the documented schema does not say, when it was first seen",
        "One row: something that the documented schema does not describe, when it was first seen",
    ),
    "webhook_deliveries": (
        "One row: one event for one receiver, with a snapshot of the event",
        "One row: an event for a receiver, with a snapshot of the event",
    ),
    "webhook_queues": (
        "One row: how telling one receiver of one source goes; its events are delivered in order, by one process at a time",
        "One row: the delivery from a source to a receiver; one process at a time delivers events in order",
    ),
    "anchors": (
        "One row: a digest of a history that was given to a place outside the database, or could not be",
        "One row: an attempt to give a digest of a history to a place outside the database",
    ),
}
"""By table: the comment before and after."""

COLUMNS = (
    (
        "id",
        ("sources",),
        "The source_id of all other tables",
        "The source_id in all other tables",
    ),
    (
        "derivation_revision",
        ("sources",),
        "Revision of the rules by which the derived tables were made",
        "Revision of the rules that made the derived tables",
    ),
    (
        "lease_expires_at",
        ("sources",),
        "By the database's clock",
        "When the lease ends, by the database's clock",
    ),
    (
        "lease_epoch",
        ("sources",),
        "Grows with every change of the lease's owner",
        "Grows with each change of the lease's owner",
    ),
    (
        "amendments",
        ("sources",),
        "Number of the newest row of amendments; 0: nothing was pruned or redacted",
        "Number of the newest row in amendments; 0: nothing was pruned or redacted",
    ),
    (
        "key_fingerprint",
        ("observers",),
        "HMAC-SHA256 of the API key with the salt, first 32 hex digits; empty: there was no key",
        "First 32 hex digits of the HMAC-SHA256 of the API key with the salt; empty: no key",
    ),
    (
        "address",
        ("payloads",),
        "SHA-256 over the hashes of envelope and records",
        "SHA-256 over the hashes of the envelope and the records",
    ),
    (
        "size",
        ("payloads",),
        "Bytes of the canonical JSON of the whole answer",
        "Size of the canonical JSON of the whole answer in bytes",
    ),
    (
        "compressed_size",
        ("payloads",),
        "Bytes of body",
        "Size of body in bytes",
    ),
    (
        "body",
        ("payloads",),
        "The canonical JSON, compressed with zlib; where there is a base, of what changed over that; empty: pruned",
        "Canonical JSON, compressed with zlib: the answer, or its difference from base; empty: pruned",
    ),
    (
        "base",
        ("payloads",),
        "Address of the answer over which this one is written; NULL: it is whole",
        "Address of the answer from which this one is stored as a difference; NULL: it is stored whole",
    ),
    (
        "links",
        ("payloads",),
        "Number of answers under this one, down to a whole one; 0: it is whole",
        "Number of differences down to an answer that is stored whole; 0: this one is",
    ),
    (
        "content",
        ("payloads",),
        "Address of what is left, where values were redacted later; NULL: nothing was",
        "Address of the rest of the answer after a redaction; NULL: nothing was redacted",
    ),
    (
        "redaction",
        ("payloads",),
        "Newest row of amendments that redacted something in it",
        "Number of the newest row in amendments that redacted something in this answer",
    ),
    (
        "outcome",
        ("observations",),
        "ok, partial (a page, or count differs), held (absences wait), failed; never changes",
        "ok, partial (looks like one page), held (absences wait) or failed; never changes",
    ),
    (
        "declared",
        ("observations",),
        "The answer's own count",
        "The count that the answer states",
    ),
    (
        "missing",
        ("observations",),
        "Ids of the regions that were present and not listed, judged at the first poll; NULL: none",
        "Ids of the regions that were present but not listed, as judged at the first poll; NULL: none",
    ),
    (
        "variants",
        ("observations",),
        "Polls that said the same in another spelling; not kept as evidence",
        "Polls with the same content in another spelling, which are not kept as evidence",
    ),
    (
        "exception_class",
        ("observations",),
        "As the API named it",
        "Class of the error, as the API names it",
    ),
    (
        "message",
        ("observations",),
        "Of the first failure of the stretch, scrubbed of the key",
        "Message of the first failure, without the key",
    ),
    (
        "request_id",
        ("observations",),
        "Of the first failure of the stretch",
        "Request id of the first failure",
    ),
    (
        "first_asked_at",
        ("observations",),
        "When the request of the first poll was sent, less the age of its answer",
        "When the request of the first poll was sent, minus the age of its answer",
    ),
    (
        "last_asked_at",
        ("observations",),
        "When the request of the newest poll was sent, less the age of its answer",
        "When the request of the newest poll was sent, minus the age of its answer",
    ),
    (
        "expected_interval_ms",
        ("observations",),
        "Polls were expected so far apart; 2.5 times as much is a gap",
        "Expected time between two polls; more than 2.5 times as much is a gap",
    ),
    (
        "longest_interval_ms",
        ("observations",),
        "Longest time between two polls of the stretch; 0 for one poll",
        "Longest time between two of its polls; 0 for one poll",
    ),
    (
        "clock_offset_ms",
        ("observations",),
        "This clock less the API's, at the first poll",
        "How far this machine's clock was ahead of the API's at the first poll",
    ),
    (
        "observer_id",
        ("observations",),
        "Who looked; see observers",
        "The observer; see observers",
    ),
    (
        "collector_version",
        ("observations",),
        "Version that opened the row",
        "Version of the collector that opened the row",
    ),
    (
        "previous_digest",
        (
            "observations",
            "amendments",
        ),
        "digest of the row before; of the first row: 64 zeros",
        "digest of the row before; 64 zeros in the first row",
    ),
    (
        "paging",
        ("observations",),
        "What makes the answer look like one page of several; NULL: nothing",
        "The sign that the answer is one page of several; NULL: no sign",
    ),
    (
        "age_ms",
        ("observations",),
        "How old a cache said the answer was, at the first poll; NULL: it came from no cache",
        "Age of the answer at the first poll, as a cache stated it; NULL: no cache answered",
    ),
    (
        "amended",
        ("observations",),
        "Digest of the newest row of amendments, if that was written since the observation before; NULL: none was",
        "Digest of the newest row in amendments that was written since the observation before; NULL: none",
    ),
    (
        "made_at",
        ("amendments",),
        "When",
        "When it was made",
    ),
    (
        "made_by",
        ("amendments",),
        "Who: user, host and process",
        "User, host and process that made it",
    ),
    (
        "at_seq",
        ("amendments",),
        "Newest observation then; the one after it holds the digest of the newest such row",
        "Newest observation at that time; the next one contains the digest of the newest amendment",
    ),
    (
        "facts",
        ("amendments",),
        "What was done, as canonical JSON: see docs/audit.md",
        "Facts as canonical JSON; see docs/audit.md",
    ),
    (
        "begins_seq",
        ("amendments",),
        "Of a prune: the observation with whose state the history begins",
        "For a prune: the observation after which the history begins",
    ),
    (
        "begins_at",
        ("amendments",),
        "Of a prune: when that was first answered; what was before is gone",
        "For a prune: when that observation was first answered; everything before was deleted",
    ),
    (
        "pruned_from_at",
        ("amendments",),
        "Of a prune: when the first poll of all was answered",
        "For a prune: when the very first poll was answered",
    ),
    (
        "snapshot",
        ("amendments",),
        "Of the newest prune: the state with which the history begins, canonical JSON compressed with zlib",
        "For the newest prune: the state with which the history begins, as canonical JSON compressed with zlib",
    ),
    (
        "state",
        (
            "regions",
            "region_versions",
        ),
        "State as the API gives it (ACTIVE, NEW, …); unknown ones are kept",
        "State as the API gives it (ACTIVE, NEW, …); unknown states are kept",
    ),
    (
        "zone",
        (
            "regions",
            "region_versions",
        ),
        "EMEA, APAC, AMERICAS, RUSSIA_AND_CIS; unknown ones are kept",
        "EMEA, APAC, AMERICAS, RUSSIA_AND_CIS; unknown zones are kept",
    ),
    (
        "access_level",
        (
            "regions",
            "region_versions",
        ),
        "core or edge; unknown ones are kept",
        "core or edge; unknown values are kept",
    ),
    (
        "endpoint_type",
        (
            "regions",
            "region_versions",
        ),
        "admin, internal or public; unknown ones are kept",
        "admin, internal or public; unknown values are kept",
    ),
    (
        "has_ai",
        (
            "regions",
            "region_versions",
        ),
        "AI clusters can be created",
        "True if AI clusters can be created",
    ),
    (
        "has_ai_gpu",
        (
            "regions",
            "region_versions",
        ),
        "GPU clusters can be created",
        "True if GPU clusters can be created",
    ),
    (
        "has_baremetal",
        (
            "regions",
            "region_versions",
        ),
        "Bare-metal servers can be created",
        "True if bare-metal servers can be created",
    ),
    (
        "has_basic_vm",
        (
            "regions",
            "region_versions",
        ),
        "Basic virtual machines can be created",
        "True if basic virtual machines can be created",
    ),
    (
        "has_k8s",
        (
            "regions",
            "region_versions",
        ),
        "Managed Kubernetes is available",
        "True if managed Kubernetes is available",
    ),
    (
        "has_kvm",
        (
            "regions",
            "region_versions",
        ),
        "Virtual machines can be created",
        "True if virtual machines can be created",
    ),
    (
        "has_sfs",
        (
            "regions",
            "region_versions",
        ),
        "Shared file systems are available",
        "True if shared file systems are available",
    ),
    (
        "has_ddos",
        (
            "regions",
            "region_versions",
        ),
        "DDoS protection is available",
        "True if DDoS protection is available",
    ),
    (
        "keystone_id",
        (
            "regions",
            "region_versions",
        ),
        "The region's keystone: keystone_id, else the id in its keystone object",
        "The region's keystone: keystone_id, otherwise the id in its keystone object",
    ),
    (
        "metrics_database_id",
        (
            "regions",
            "region_versions",
        ),
        "The region's metrics database: metrics_database_id, else the id in its metrics_database object",
        "The region's metrics database: metrics_database_id, otherwise the id in its metrics_database object",
    ),
    (
        "novnc_proxy_url",
        (
            "regions",
            "region_versions",
        ),
        "noVNC console proxy",
        "URL of the noVNC console proxy",
    ),
    (
        "serial_proxy_url",
        (
            "regions",
            "region_versions",
        ),
        "Serial console proxy",
        "URL of the serial console proxy",
    ),
    (
        "spice_proxy_url",
        (
            "regions",
            "region_versions",
        ),
        "SPICE console proxy",
        "URL of the SPICE console proxy",
    ),
    (
        "task_id",
        (
            "regions",
            "region_versions",
        ),
        "Deprecated by the API: task that works on the region",
        "Deprecated by the API: task that is running on the region",
    ),
    (
        "created_on",
        (
            "regions",
            "region_versions",
        ),
        "When the API says the region was created; naive times taken as UTC",
        "When the region was created, according to the API; a time without a zone is read as UTC",
    ),
    (
        "changed_at",
        (
            "regions",
            "keystones",
            "metrics_databases",
        ),
        "When the newest change of any typed column was seen",
        "When the newest change of a typed column was first seen",
    ),
    (
        "absent_since",
        (
            "regions",
            "keystones",
            "metrics_databases",
        ),
        "When a complete answer no longer had it; NULL: present",
        "When a complete answer first did not list it; NULL: present",
    ),
    (
        "content_hash",
        (
            "regions",
            "keystones",
            "metrics_databases",
        ),
        "Hash of the typed columns, for comparing",
        "Hash of the typed columns, for comparison",
    ),
    (
        "absent_not_before",
        (
            "regions",
            "keystones",
            "metrics_databases",
        ),
        "When the last poll that showed it, before it was absent, asked; NULL: present",
        "When the last poll that showed it before its absence was asked; NULL: present",
    ),
    (
        "id",
        ("keystones",),
        "The regions' keystone_id",
        "keystone_id of the regions",
    ),
    (
        "state",
        (
            "keystones",
            "keystone_versions",
        ),
        "INITIALIZED, NEW, … as the API gives it; unknown ones are kept",
        "State as the API gives it (INITIALIZED, NEW, …); unknown states are kept",
    ),
    (
        "username",
        (
            "keystones",
            "keystone_versions",
        ),
        "Administrative user",
        "Name of the administrative user",
    ),
    (
        "has_password",
        (
            "keystones",
            "metrics_databases",
            "keystone_versions",
            "metrics_database_versions",
        ),
        "Whether a password was given (never the password); NULL: key missing",
        "True if a password was present (it is never stored); NULL: the field was missing",
    ),
    (
        "created_on",
        (
            "keystones",
            "keystone_versions",
        ),
        "When the API says it was created; naive times taken as UTC",
        "When it was created, according to the API; a time without a zone is read as UTC",
    ),
    (
        "witness_region_id",
        (
            "keystones",
            "metrics_databases",
            "keystone_versions",
            "metrics_database_versions",
        ),
        "Region whose copy of the object counts: the lowest id that gives it",
        "Region whose copy of the object is used: the lowest id that contains it",
    ),
    (
        "id",
        ("metrics_databases",),
        "The regions' metrics_database_id",
        "metrics_database_id of the regions",
    ),
    (
        "username",
        (
            "metrics_databases",
            "metrics_database_versions",
        ),
        "User",
        "User name",
    ),
    (
        "valid_from",
        (
            "region_versions",
            "keystone_versions",
            "metrics_database_versions",
        ),
        "When it was first seen like this",
        "When it was first seen with these values (observation time)",
    ),
    (
        "valid_to",
        (
            "region_versions",
            "keystone_versions",
            "metrics_database_versions",
        ),
        "When it was first seen otherwise or absent; NULL: still so",
        "When it was first seen with other values or absent; NULL: still in force",
    ),
    (
        "changed_fields",
        (
            "region_versions",
            "keystone_versions",
            "metrics_database_versions",
        ),
        "Columns that differ from the version before; NULL: none before",
        "Columns that differ from the version before; NULL: there is none",
    ),
    (
        "not_before",
        (
            "region_versions",
            "keystone_versions",
            "metrics_database_versions",
        ),
        "The change lies between this time and valid_from; NULL: unbounded, it may always have been so",
        "The change happened between this time and valid_from; NULL: no lower bound is known",
    ),
    (
        "basis",
        (
            "region_versions",
            "keystone_versions",
            "metrics_database_versions",
        ),
        "How sure the change is, as in state_transitions; NULL: not derived again since the upgrade",
        "How sure the change is, as in state_transitions; NULL: not derived since the upgrade",
    ),
    (
        "entity_id",
        (
            "state_transitions",
            "unseen",
        ),
        "Its id",
        "Id of the entity",
    ),
    (
        "from_state",
        ("state_transitions",),
        "State before; NULL where not listed",
        "State before; NULL: not listed",
    ),
    (
        "to_state",
        ("state_transitions",),
        "State after; NULL where not listed",
        "State after; NULL: not listed",
    ),
    (
        "not_before",
        ("state_transitions",),
        "When the last poll that confirmed the old state asked; of an appearance the last complete answer to the same key and URL; NULL: unbounded",
        "When the last poll that confirmed the old state was asked; for an appearance, the last complete answer to the same key and URL; NULL: no lower bound is known",
    ),
    (
        "first_missing_at",
        ("state_transitions",),
        "Of a disappearance: when it was first not shown",
        "For a disappearance: when the entity was first not shown",
    ),
    (
        "from_at",
        ("unseen",),
        "Answer of the last poll that showed it",
        "When the last poll that showed it was answered",
    ),
    (
        "missed_at",
        ("unseen",),
        "Answer of the first poll that did not",
        "When the first poll that did not show it was answered",
    ),
    (
        "last_asked_at",
        ("unseen",),
        "Question of the last poll that showed it; NULL: not derived again since the upgrade",
        "When the last poll that showed it was asked; NULL: not derived since the upgrade",
    ),
    (
        "from_at",
        ("unproven_absences",),
        "Question of the last poll that proved it; if none had, of the first that named it",
        "When the last poll that proved it was asked; without such a poll, the first that named the entity",
    ),
    (
        "until_at",
        ("unproven_absences",),
        "When it was proven again, or the entity shown; NULL: not yet",
        "When the absence was proven again, or the entity was shown; NULL: not yet",
    ),
    (
        "from_at",
        ("gaps",),
        "Answer of the last successful poll; of a source that failed at first, of its first poll",
        "When the last successful poll was answered; without one, the first poll of the source",
    ),
    (
        "until_at",
        ("gaps",),
        "Answer of the next successful poll",
        "When the next successful poll was answered",
    ),
    (
        "last_asked_at",
        ("gaps",),
        "Question of that last poll",
        "When that last poll was asked",
    ),
    (
        "cause",
        ("gaps",),
        "Why most polls in it failed, or no_polls",
        "Cause of most failed polls in it, or no_polls",
    ),
    (
        "failed_polls",
        ("gaps",),
        "Failed polls in it",
        "Number of failed polls in it",
    ),
    (
        "error",
        ("gaps",),
        "Message of the longest stretch of polls that failed for this cause",
        "Message of the longest observation that failed with this cause",
    ),
    (
        "region_id",
        ("rejected_records",),
        "Its id, where it has a usable one",
        "Its id, if that is usable",
    ),
    (
        "payload",
        ("rejected_records",),
        "The record as canonical JSON, secrets redacted",
        "The record as canonical JSON, without secrets",
    ),
    (
        "path",
        ("schema_drift",),
        "Where in the answer",
        "Path in the answer",
    ),
    (
        "ordinal",
        ("webhook_deliveries",),
        "Which event of the observation, as in the JSON API; 1000000001: a gap that opened after it, 1000000002: a verification that failed",
        "Number of the event in the observation, as in the JSON API; 1000000001: a gap that opened after it, 1000000002: a failed verification",
    ),
    (
        "delivered_at",
        ("webhook_deliveries",),
        "When the receiver took it",
        "When the receiver accepted it",
    ),
    (
        "given_up_at",
        ("webhook_deliveries",),
        "When it was given up, and became a dead letter",
        "When it was given up and became a dead letter",
    ),
    (
        "failures",
        ("webhook_queues",),
        "Attempts that failed since the last one that succeeded",
        "Failed attempts since the last successful one",
    ),
    (
        "claimed_until",
        ("webhook_queues",),
        "By the database's clock; then another may deliver",
        "Until when that process may deliver, by the database's clock",
    ),
    (
        "made_at",
        ("anchors",),
        "When the value was made",
        "When the value was computed",
    ),
    (
        "seq",
        ("anchors",),
        "Newest observation then; it and all before are covered",
        "Newest observation at that time; it and all earlier ones are covered",
    ),
    (
        "last_asked_at",
        ("anchors",),
        "Its last_asked_at as it stood",
        "Its last_asked_at at that time",
    ),
    (
        "last_at",
        ("anchors",),
        "Its last_at as it stood: the history is covered up to then",
        "Its last_at at that time; the history is covered up to then",
    ),
    (
        "polls",
        ("anchors",),
        "Its polls as they stood",
        "Its polls at that time",
    ),
    (
        "longest_interval_ms",
        ("anchors",),
        "Its longest_interval_ms as it stood",
        "Its longest_interval_ms at that time",
    ),
    (
        "variants",
        ("anchors",),
        "Its variants as they stood",
        "Its variants at that time",
    ),
    (
        "previous_digest",
        ("anchors",),
        "digest of the anchor before; of the first one: 64 zeros",
        "digest of the anchor before; 64 zeros in the first row",
    ),
    (
        "value",
        ("anchors",),
        "SHA-256 over all of that: what was given away",
        "SHA-256 over everything before it in this row: the value that was given to the place",
    ),
    (
        "signed_by",
        ("anchors",),
        "SHA-256 of the public key that signed; NULL: no key is configured",
        "SHA-256 of the public key of the signature; NULL: not signed",
    ),
    (
        "signature",
        ("anchors",),
        "Ed25519 signature of what value is the hash of, in base64",
        "Ed25519 signature of the content that value is the hash of, in base64",
    ),
    (
        "answered_at",
        ("anchors",),
        "When that was known; NULL while pending",
        "When the outcome was known; NULL while pending",
    ),
    (
        "attested_at",
        ("anchors",),
        "The time that the authority put into its token",
        "Time in the token of the authority",
    ),
    (
        "token",
        ("anchors",),
        "The authority's answer, as it came (RFC 3161, DER)",
        "Answer of the authority, unchanged (RFC 3161, DER)",
    ),
    (
        "digest",
        ("anchors",),
        "SHA-256 over value and what came of it; NULL while pending",
        "SHA-256 over value and the result; NULL while pending",
    ),
    (
        "finished_at",
        ("verifications",),
        "When it had ended",
        "When it ended",
    ),
    (
        "seq",
        ("verifications",),
        "Newest observation that was checked; 0: there was none",
        "Newest observation that was checked; 0: none",
    ),
    (
        "anchored_seq",
        ("verifications",),
        "Newest observation that an anchor proved; NULL: none did",
        "Newest observation that an anchor proved; NULL: none",
    ),
    (
        "findings",
        ("verifications",),
        "Number of findings on record; at most ten are told",
        "Number of findings, with at most ten alterations",
    ),
    (
        "first_finding",
        ("verifications",),
        "The first of them in words",
        "The first finding in words",
    ),
    (
        "collector_version",
        ("verifications",),
        "Version that verified",
        "Version of the collector that verified",
    ),
)
"""A column, the tables that have it with this comment, and the comment before and after."""


def upgrade() -> None:
    _comment(1)


def downgrade() -> None:
    _comment(0)


def _comment(which: int) -> None:
    """SQLite keeps no comments."""
    if op.get_context().dialect.name == "sqlite":
        return
    for table, texts in TABLES.items():
        op.create_table_comment(table, texts[which])
    for column, tables, *comments in COLUMNS:
        for table in tables:
            op.alter_column(table, column, comment=comments[which])
