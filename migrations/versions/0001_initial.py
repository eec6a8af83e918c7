"""All tables: evidence (sources, observers, payloads, observations), what is derived from it, deliveries.

Revision ID: 0001
Revises:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UTC_TIME = sa.TIMESTAMP(timezone=True)
SERIAL = "The source_id of all other tables"
TIME_PATTERN = (
    "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    ".[0-9][0-9][0-9][0-9][0-9][0-9]Z"
)


def upgrade() -> None:
    op.create_table(
        "sources",
        _c("id", sa.Integer(), SERIAL),
        _c("name", sa.Text(), "Name in the settings"),
        _c("newest_seq", sa.BigInteger(), "Number of the newest observation; 0 before the first"),
        _c(
            "derivation_revision", sa.Integer(), "Revision of the rules by which the derived tables were made"
        ),
        _c("lease_owner", sa.Text(), "Process that may write this source; NULL when released", null=True),
        _c("lease_expires_at", UTC_TIME, "By the database's clock", null=True),
        _c("lease_epoch", sa.BigInteger(), "Grows with every change of the lease's owner"),
        _c("key_salt", sa.Text(), "Salt of the key fingerprints; the same for all sources of a database"),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
        sa.CheckConstraint("newest_seq >= 0", name="ck_sources_newest_seq"),
        sa.UniqueConstraint("name", name="uq_sources_name"),
        *_times("sources", "lease_expires_at"),
        comment="One row: a named place to poll, as in the settings; with the lease of the process that polls it",
    )
    op.create_table(
        "observers",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("id", sa.Integer(), "Counts from 1 within the source"),
        _c(
            "key_fingerprint",
            sa.Text(),
            "HMAC-SHA256 of the API key with the salt, first 32 hex digits; empty: there was no key",
        ),
        _c("base_url", sa.Text(), "Base URL of the API"),
        _c("auth_scheme", sa.Text(), "Word before the key in the Authorization header"),
        _c("first_used_at", UTC_TIME, "When this observer first polled"),
        sa.PrimaryKeyConstraint("source_id", "id", name="pk_observers"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_observers_source_id"),
        sa.UniqueConstraint(
            "source_id", "key_fingerprint", "base_url", "auth_scheme", name="uq_observers_who"
        ),
        *_times("observers", "first_used_at"),
        comment="One row: who looked at a source: which key, at which URL",
    )
    op.create_table(
        "payloads",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("address", sa.Text(), "SHA-256 over the hashes of envelope and records"),
        _c("canonical_version", sa.Integer(), "Version of the canonical form"),
        _c("size", sa.BigInteger(), "Bytes of the canonical JSON"),
        _c("compressed_size", sa.BigInteger(), "Bytes of body"),
        _c("body", sa.LargeBinary(), "The canonical JSON, compressed with zlib"),
        sa.PrimaryKeyConstraint("source_id", "address", name="pk_payloads"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_payloads_source_id"),
        comment="One row: one distinct answer of the API, secrets redacted",
    )
    op.create_table(
        "observations",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("seq", sa.BigInteger(), "Counts from 1 within the source, without holes"),
        _c("outcome", sa.Text(), "ok, partial (count differs), held (absences wait), failed; never changes"),
        _c("first_at", UTC_TIME, "When the first poll was answered"),
        _c("last_at", UTC_TIME, "When the newest poll was answered"),
        _c("polls", sa.BigInteger(), "Number of polls"),
        _c("listed", sa.Integer(), "Number of records in the answer", null=True),
        _c("declared", sa.BigInteger(), "The answer's own count", null=True),
        _c("rejected", sa.Integer(), "Number of records that could not be used", null=True),
        _c(
            "missing",
            sa.Text(),
            "Ids of the regions that were present and not listed, judged at the first poll; NULL: none",
            null=True,
        ),
        _c("variants", sa.BigInteger(), "Polls that said the same in another spelling; not kept as evidence"),
        _c("cause", sa.Text(), "Why the poll failed", null=True),
        _c("http_status", sa.Integer(), "Status of a refused poll", null=True),
        _c("exception_class", sa.Text(), "As the API named it", null=True),
        _c("message", sa.Text(), "Of the first failure of the stretch, scrubbed of the key", null=True),
        _c("request_id", sa.Text(), "Of the first failure of the stretch", null=True),
        _c("first_asked_at", UTC_TIME, "When the request of the first poll was sent"),
        _c("last_asked_at", UTC_TIME, "When the request of the newest poll was sent"),
        _c(
            "expected_interval_ms",
            sa.BigInteger(),
            "Polls were expected so far apart; 2.5 times as much is a gap",
        ),
        _c(
            "longest_interval_ms",
            sa.BigInteger(),
            "Longest time between two polls of the stretch; 0 for one poll",
        ),
        _c("clock_offset_ms", sa.BigInteger(), "This clock less the API's, at the first poll", null=True),
        _c("payload", sa.Text(), "Address of the answer", null=True),
        _c("observer_id", sa.Integer(), "Who looked; see observers"),
        _c("collector_version", sa.Text(), "Version that opened the row"),
        _c("recorded_at", UTC_TIME, "When the row was opened"),
        _c("previous_digest", sa.Text(), "digest of the row before; of the first row: 64 zeros"),
        _c(
            "opening_digest", sa.Text(), "SHA-256 over previous_digest and everything known at the first poll"
        ),
        _c(
            "digest",
            sa.Text(),
            "SHA-256 over opening_digest and the final counters; NULL while open",
            null=True,
        ),
        sa.PrimaryKeyConstraint("source_id", "seq", name="pk_observations"),
        sa.CheckConstraint(
            "(outcome = 'failed') = (payload IS NULL)", name="ck_observations_answer_has_payload"
        ),
        sa.CheckConstraint(
            "(outcome = 'failed') = (cause IS NOT NULL)", name="ck_observations_failed_has_cause"
        ),
        sa.CheckConstraint("outcome IN ('ok', 'partial', 'held', 'failed')", name="ck_observations_outcome"),
        sa.CheckConstraint("polls >= 1", name="ck_observations_polls"),
        sa.CheckConstraint("first_at <= last_at AND last_asked_at <= last_at", name="ck_observations_times"),
        sa.ForeignKeyConstraint(
            ["source_id", "observer_id"],
            ["observers.source_id", "observers.id"],
            name="fk_observations_observer",
        ),
        sa.ForeignKeyConstraint(
            ["source_id", "payload"],
            ["payloads.source_id", "payloads.address"],
            name="fk_observations_payload",
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_observations_source_id"),
        *_times("observations", "first_at", "last_at", "first_asked_at", "last_asked_at", "recorded_at"),
        comment="One row: a stretch of consecutive polls of a source with the same outcome and content",
    )
    op.create_table(
        "regions",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("id", sa.BigInteger(), "Region id of the API"),
        _c("slug", sa.Text(), "Short name in URLs; may change or be swapped between ids", null=True),
        _c("display_name", sa.Text(), "Name shown to people; may change", null=True),
        _c("state", sa.Text(), "State as the API gives it (ACTIVE, NEW, …); unknown ones are kept"),
        _c("country", sa.Text(), "Two-letter country code, as given", null=True),
        _c("zone", sa.Text(), "EMEA, APAC, AMERICAS, RUSSIA_AND_CIS; unknown ones are kept", null=True),
        _c("access_level", sa.Text(), "core or edge; unknown ones are kept", null=True),
        _c("endpoint_type", sa.Text(), "admin, internal or public; unknown ones are kept", null=True),
        _c("has_ai", sa.Boolean(), "AI clusters can be created", null=True),
        _c("has_ai_gpu", sa.Boolean(), "GPU clusters can be created", null=True),
        _c("has_baremetal", sa.Boolean(), "Bare-metal servers can be created", null=True),
        _c("has_basic_vm", sa.Boolean(), "Basic virtual machines can be created", null=True),
        _c("has_k8s", sa.Boolean(), "Managed Kubernetes is available", null=True),
        _c("has_kvm", sa.Boolean(), "Virtual machines can be created", null=True),
        _c("has_sfs", sa.Boolean(), "Shared file systems are available", null=True),
        _c("has_ddos", sa.Boolean(), "DDoS protection is available", null=True),
        _c(
            "available_volume_types",
            sa.Text(),
            "Sorted JSON list of volume types; NULL (not given) differs from [] (none)",
            null=True,
        ),
        _c(
            "keystone_id",
            sa.BigInteger(),
            "The region's keystone: keystone_id, else the id in its keystone object",
            null=True,
        ),
        _c("keystone_name", sa.Text(), "Name of the keystone, as the region gives it", null=True),
        _c(
            "metrics_database_id",
            sa.BigInteger(),
            "The region's metrics database: metrics_database_id, else the id in its metrics_database object",
            null=True,
        ),
        _c("external_network_id", sa.Text(), "OpenStack id of the external network; may be empty", null=True),
        _c("vlan_physical_network", sa.Text(), "Physical network that carries VLANs", null=True),
        _c("novnc_proxy_url", sa.Text(), "noVNC console proxy", null=True),
        _c("serial_proxy_url", sa.Text(), "Serial console proxy", null=True),
        _c("spice_proxy_url", sa.Text(), "SPICE console proxy", null=True),
        _c("task_id", sa.Text(), "Deprecated by the API: task that works on the region", null=True),
        _c(
            "created_on",
            UTC_TIME,
            "When the API says the region was created; naive times taken as UTC",
            null=True,
        ),
        _c(
            "ddos_endpoint_id",
            sa.BigInteger(),
            "Deprecated by the API: the region's DDoS endpoint",
            null=True,
        ),
        _c("ddos_id", sa.BigInteger(), "Deprecated: id in the DDoS endpoint object", null=True),
        _c("ddos_region_id", sa.BigInteger(), "Deprecated: region id in the DDoS endpoint object", null=True),
        _c("ddos_service", sa.Text(), "Deprecated: service of the DDoS endpoint", null=True),
        _c("ddos_url", sa.Text(), "Deprecated: URL of the DDoS endpoint", null=True),
        _c("ddos_version", sa.Text(), "Deprecated: version of the DDoS endpoint", null=True),
        _c("ddos_client_ids", sa.Text(), "Deprecated: sorted JSON list of client ids", null=True),
        _c("ddos_created_on", UTC_TIME, "Deprecated: when the DDoS endpoint was created", null=True),
        _c("ddos_updated_at", UTC_TIME, "Deprecated: when the DDoS endpoint was updated", null=True),
        _c("first_seen_at", UTC_TIME, "When it was first seen"),
        _c("changed_at", UTC_TIME, "When the newest change of any typed column was seen"),
        _c("absent_since", UTC_TIME, "When a complete answer no longer had it; NULL: present", null=True),
        _c("seq", sa.BigInteger(), "Observation that saw the newest change"),
        _c("content_hash", sa.Text(), "Hash of the typed columns, for comparing"),
        sa.PrimaryKeyConstraint("source_id", "id", name="pk_regions"),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"], ["observations.source_id", "observations.seq"], name="fk_regions_seq"
        ),
        *_times(
            "regions",
            "created_on",
            "ddos_created_on",
            "ddos_updated_at",
            "first_seen_at",
            "changed_at",
            "absent_since",
        ),
        comment="One row: a region as last seen, present or absent",
    )
    op.create_table(
        "keystones",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("id", sa.BigInteger(), "The regions' keystone_id"),
        _c("url", sa.Text(), "Address of the keystone API", null=True),
        _c("state", sa.Text(), "INITIALIZED, NEW, … as the API gives it; unknown ones are kept"),
        _c("username", sa.Text(), "Administrative user", null=True),
        _c(
            "has_password",
            sa.Boolean(),
            "Whether a password was given (never the password); NULL: key missing",
            null=True,
        ),
        _c("keystone_federated_domain_id", sa.Text(), "Federated domain; may be empty", null=True),
        _c("created_on", UTC_TIME, "When the API says it was created; naive times taken as UTC", null=True),
        _c(
            "own_id",
            sa.BigInteger(),
            "The id inside the keystone object; may differ from keystone_id or be NULL",
            null=True,
        ),
        _c(
            "witness_region_id",
            sa.BigInteger(),
            "Region whose copy of the object counts: the lowest id that gives it",
        ),
        _c("first_seen_at", UTC_TIME, "When it was first seen"),
        _c("changed_at", UTC_TIME, "When the newest change of any typed column was seen"),
        _c("absent_since", UTC_TIME, "When a complete answer no longer had it; NULL: present", null=True),
        _c("seq", sa.BigInteger(), "Observation that saw the newest change"),
        _c("content_hash", sa.Text(), "Hash of the typed columns, for comparing"),
        sa.PrimaryKeyConstraint("source_id", "id", name="pk_keystones"),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"], ["observations.source_id", "observations.seq"], name="fk_keystones_seq"
        ),
        *_times("keystones", "created_on", "first_seen_at", "changed_at", "absent_since"),
        comment="One row: a keystone as last seen, present or absent",
    )
    op.create_table(
        "metrics_databases",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("id", sa.BigInteger(), "The regions' metrics_database_id"),
        _c("host", sa.Text(), "Host name or address", null=True),
        _c("port", sa.BigInteger(), "Port, as given", null=True),
        _c("username", sa.Text(), "User", null=True),
        _c(
            "has_password",
            sa.Boolean(),
            "Whether a password was given (never the password); NULL: key missing",
            null=True,
        ),
        _c(
            "own_id",
            sa.BigInteger(),
            "The id inside the object; may differ from metrics_database_id",
            null=True,
        ),
        _c(
            "witness_region_id",
            sa.BigInteger(),
            "Region whose copy of the object counts: the lowest id that gives it",
        ),
        _c("first_seen_at", UTC_TIME, "When it was first seen"),
        _c("changed_at", UTC_TIME, "When the newest change of any typed column was seen"),
        _c("absent_since", UTC_TIME, "When a complete answer no longer had it; NULL: present", null=True),
        _c("seq", sa.BigInteger(), "Observation that saw the newest change"),
        _c("content_hash", sa.Text(), "Hash of the typed columns, for comparing"),
        sa.PrimaryKeyConstraint("source_id", "id", name="pk_metrics_databases"),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_metrics_databases_seq",
        ),
        *_times("metrics_databases", "first_seen_at", "changed_at", "absent_since"),
        comment="One row: a metrics database as last seen, present or absent",
    )
    op.create_table(
        "region_volume_types",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("region_id", sa.BigInteger(), "The region"),
        _c("volume_type", sa.Text(), "Name of the volume type"),
        sa.PrimaryKeyConstraint("source_id", "region_id", "volume_type", name="pk_region_volume_types"),
        sa.ForeignKeyConstraint(
            ["source_id", "region_id"],
            ["regions.source_id", "regions.id"],
            name="fk_region_volume_types_region",
        ),
        comment="One row: one volume type of a region, as last seen",
    )
    op.create_table(
        "region_versions",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("region_id", sa.BigInteger(), "The region"),
        _c("valid_from", UTC_TIME, "When it was first seen like this"),
        _c("valid_to", UTC_TIME, "When it was first seen otherwise or absent; NULL: still so", null=True),
        _c(
            "changed_fields",
            sa.Text(),
            "Columns that differ from the version before; NULL: none before",
            null=True,
        ),
        _c("slug", sa.Text(), "Short name in URLs; may change or be swapped between ids", null=True),
        _c("display_name", sa.Text(), "Name shown to people; may change", null=True),
        _c("state", sa.Text(), "State as the API gives it (ACTIVE, NEW, …); unknown ones are kept"),
        _c("country", sa.Text(), "Two-letter country code, as given", null=True),
        _c("zone", sa.Text(), "EMEA, APAC, AMERICAS, RUSSIA_AND_CIS; unknown ones are kept", null=True),
        _c("access_level", sa.Text(), "core or edge; unknown ones are kept", null=True),
        _c("endpoint_type", sa.Text(), "admin, internal or public; unknown ones are kept", null=True),
        _c("has_ai", sa.Boolean(), "AI clusters can be created", null=True),
        _c("has_ai_gpu", sa.Boolean(), "GPU clusters can be created", null=True),
        _c("has_baremetal", sa.Boolean(), "Bare-metal servers can be created", null=True),
        _c("has_basic_vm", sa.Boolean(), "Basic virtual machines can be created", null=True),
        _c("has_k8s", sa.Boolean(), "Managed Kubernetes is available", null=True),
        _c("has_kvm", sa.Boolean(), "Virtual machines can be created", null=True),
        _c("has_sfs", sa.Boolean(), "Shared file systems are available", null=True),
        _c("has_ddos", sa.Boolean(), "DDoS protection is available", null=True),
        _c(
            "available_volume_types",
            sa.Text(),
            "Sorted JSON list of volume types; NULL (not given) differs from [] (none)",
            null=True,
        ),
        _c(
            "keystone_id",
            sa.BigInteger(),
            "The region's keystone: keystone_id, else the id in its keystone object",
            null=True,
        ),
        _c("keystone_name", sa.Text(), "Name of the keystone, as the region gives it", null=True),
        _c(
            "metrics_database_id",
            sa.BigInteger(),
            "The region's metrics database: metrics_database_id, else the id in its metrics_database object",
            null=True,
        ),
        _c("external_network_id", sa.Text(), "OpenStack id of the external network; may be empty", null=True),
        _c("vlan_physical_network", sa.Text(), "Physical network that carries VLANs", null=True),
        _c("novnc_proxy_url", sa.Text(), "noVNC console proxy", null=True),
        _c("serial_proxy_url", sa.Text(), "Serial console proxy", null=True),
        _c("spice_proxy_url", sa.Text(), "SPICE console proxy", null=True),
        _c("task_id", sa.Text(), "Deprecated by the API: task that works on the region", null=True),
        _c(
            "created_on",
            UTC_TIME,
            "When the API says the region was created; naive times taken as UTC",
            null=True,
        ),
        _c(
            "ddos_endpoint_id",
            sa.BigInteger(),
            "Deprecated by the API: the region's DDoS endpoint",
            null=True,
        ),
        _c("ddos_id", sa.BigInteger(), "Deprecated: id in the DDoS endpoint object", null=True),
        _c("ddos_region_id", sa.BigInteger(), "Deprecated: region id in the DDoS endpoint object", null=True),
        _c("ddos_service", sa.Text(), "Deprecated: service of the DDoS endpoint", null=True),
        _c("ddos_url", sa.Text(), "Deprecated: URL of the DDoS endpoint", null=True),
        _c("ddos_version", sa.Text(), "Deprecated: version of the DDoS endpoint", null=True),
        _c("ddos_client_ids", sa.Text(), "Deprecated: sorted JSON list of client ids", null=True),
        _c("ddos_created_on", UTC_TIME, "Deprecated: when the DDoS endpoint was created", null=True),
        _c("ddos_updated_at", UTC_TIME, "Deprecated: when the DDoS endpoint was updated", null=True),
        _c("seq", sa.BigInteger(), "Observation that first saw this version"),
        sa.PrimaryKeyConstraint("source_id", "region_id", "valid_from", name="pk_region_versions"),
        sa.CheckConstraint("valid_to IS NULL OR valid_from < valid_to", name="ck_region_versions_interval"),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_region_versions_seq",
        ),
        *_times(
            "region_versions", "valid_from", "valid_to", "created_on", "ddos_created_on", "ddos_updated_at"
        ),
        comment="One row: a region as it was during [valid_from, valid_to); absent: no row in force",
    )
    op.create_index("ix_region_versions_valid_from", "region_versions", ["source_id", "valid_from"])
    _index(
        "uq_region_versions_open",
        "region_versions",
        ["source_id", "region_id"],
        unique=True,
        where="valid_to IS NULL",
    )
    op.create_table(
        "keystone_versions",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("keystone_id", sa.BigInteger(), "The keystone"),
        _c("valid_from", UTC_TIME, "When it was first seen like this"),
        _c("valid_to", UTC_TIME, "When it was first seen otherwise or absent; NULL: still so", null=True),
        _c(
            "changed_fields",
            sa.Text(),
            "Columns that differ from the version before; NULL: none before",
            null=True,
        ),
        _c("url", sa.Text(), "Address of the keystone API", null=True),
        _c("state", sa.Text(), "INITIALIZED, NEW, … as the API gives it; unknown ones are kept"),
        _c("username", sa.Text(), "Administrative user", null=True),
        _c(
            "has_password",
            sa.Boolean(),
            "Whether a password was given (never the password); NULL: key missing",
            null=True,
        ),
        _c("keystone_federated_domain_id", sa.Text(), "Federated domain; may be empty", null=True),
        _c("created_on", UTC_TIME, "When the API says it was created; naive times taken as UTC", null=True),
        _c(
            "own_id",
            sa.BigInteger(),
            "The id inside the keystone object; may differ from keystone_id or be NULL",
            null=True,
        ),
        _c(
            "witness_region_id",
            sa.BigInteger(),
            "Region whose copy of the object counts: the lowest id that gives it",
        ),
        _c("seq", sa.BigInteger(), "Observation that first saw this version"),
        sa.PrimaryKeyConstraint("source_id", "keystone_id", "valid_from", name="pk_keystone_versions"),
        sa.CheckConstraint("valid_to IS NULL OR valid_from < valid_to", name="ck_keystone_versions_interval"),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_keystone_versions_seq",
        ),
        *_times("keystone_versions", "valid_from", "valid_to", "created_on"),
        comment="One row: a keystone as it was during [valid_from, valid_to); absent: no row in force",
    )
    op.create_index("ix_keystone_versions_valid_from", "keystone_versions", ["source_id", "valid_from"])
    _index(
        "uq_keystone_versions_open",
        "keystone_versions",
        ["source_id", "keystone_id"],
        unique=True,
        where="valid_to IS NULL",
    )
    op.create_table(
        "metrics_database_versions",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("metrics_database_id", sa.BigInteger(), "The metrics database"),
        _c("valid_from", UTC_TIME, "When it was first seen like this"),
        _c("valid_to", UTC_TIME, "When it was first seen otherwise or absent; NULL: still so", null=True),
        _c(
            "changed_fields",
            sa.Text(),
            "Columns that differ from the version before; NULL: none before",
            null=True,
        ),
        _c("host", sa.Text(), "Host name or address", null=True),
        _c("port", sa.BigInteger(), "Port, as given", null=True),
        _c("username", sa.Text(), "User", null=True),
        _c(
            "has_password",
            sa.Boolean(),
            "Whether a password was given (never the password); NULL: key missing",
            null=True,
        ),
        _c(
            "own_id",
            sa.BigInteger(),
            "The id inside the object; may differ from metrics_database_id",
            null=True,
        ),
        _c(
            "witness_region_id",
            sa.BigInteger(),
            "Region whose copy of the object counts: the lowest id that gives it",
        ),
        _c("seq", sa.BigInteger(), "Observation that first saw this version"),
        sa.PrimaryKeyConstraint(
            "source_id", "metrics_database_id", "valid_from", name="pk_metrics_database_versions"
        ),
        sa.CheckConstraint(
            "valid_to IS NULL OR valid_from < valid_to", name="ck_metrics_database_versions_interval"
        ),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_metrics_database_versions_seq",
        ),
        *_times("metrics_database_versions", "valid_from", "valid_to"),
        comment="One row: a metrics database as it was during [valid_from, valid_to); absent: no row in force",
    )
    op.create_index(
        "ix_metrics_database_versions_valid_from", "metrics_database_versions", ["source_id", "valid_from"]
    )
    _index(
        "uq_metrics_database_versions_open",
        "metrics_database_versions",
        ["source_id", "metrics_database_id"],
        unique=True,
        where="valid_to IS NULL",
    )
    op.create_table(
        "state_transitions",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("entity", sa.Text(), "Kind of entity: region, keystone"),
        _c("entity_id", sa.BigInteger(), "Its id"),
        _c("kind", sa.Text(), "appeared, changed, disappeared, reappeared"),
        _c("from_state", sa.Text(), "State before; NULL where not listed", null=True),
        _c("to_state", sa.Text(), "State after; NULL where not listed", null=True),
        _c(
            "not_before",
            UTC_TIME,
            "When the last poll that confirmed the old state asked; NULL: unbounded",
            null=True,
        ),
        _c("observed_at", UTC_TIME, "When the first poll that showed the new state was answered"),
        _c("basis", sa.Text(), "baseline, direct, across_gap, absence, observer_change, other_copy"),
        _c("first_missing_at", UTC_TIME, "Of a disappearance: when it was first not shown", null=True),
        _c("seq", sa.BigInteger(), "Observation that first showed the new state"),
        sa.PrimaryKeyConstraint("source_id", "entity", "entity_id", "seq", name="pk_state_transitions"),
        sa.CheckConstraint(
            "basis IN ('baseline', 'direct', 'across_gap', 'absence', 'observer_change', 'other_copy')",
            name="ck_state_transitions_basis",
        ),
        sa.CheckConstraint("entity IN ('region', 'keystone')", name="ck_state_transitions_entity"),
        sa.CheckConstraint(
            "kind IN ('appeared', 'changed', 'disappeared', 'reappeared')", name="ck_state_transitions_kind"
        ),
        sa.CheckConstraint(
            "(from_state IS NULL) = (kind IN ('appeared', 'reappeared')) AND (to_state IS NULL) = (kind = 'disappeared')",
            name="ck_state_transitions_states",
        ),
        sa.CheckConstraint(
            "not_before IS NULL OR not_before < observed_at", name="ck_state_transitions_window"
        ),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_state_transitions_seq",
        ),
        *_times("state_transitions", "not_before", "observed_at", "first_missing_at"),
        comment="One row: a change of state or of presence; its true time lies in [not_before, observed_at]",
    )
    op.create_index("ix_state_transitions_observed_at", "state_transitions", ["source_id", "observed_at"])
    op.create_table(
        "unseen",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("entity", sa.Text(), "Kind of entity: region, keystone, metrics_database"),
        _c("entity_id", sa.BigInteger(), "Its id"),
        _c("missed_seq", sa.BigInteger(), "First observation that did not show it"),
        _c("from_at", UTC_TIME, "Answer of the last poll that showed it"),
        _c("missed_at", UTC_TIME, "Answer of the first poll that did not"),
        _c("until_at", UTC_TIME, "When it was shown again or found absent; NULL: still unseen", null=True),
        _c("cause", sa.Text(), "partial, held, not_given, record_without_id, reference_not_stated"),
        _c("shown_seq", sa.BigInteger(), "Last observation that showed it"),
        _c("until_seq", sa.BigInteger(), "Observation that ended the span", null=True),
        sa.PrimaryKeyConstraint("source_id", "entity", "entity_id", "missed_seq", name="pk_unseen"),
        sa.ForeignKeyConstraint(
            ["source_id", "missed_seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_unseen_missed_seq",
        ),
        sa.ForeignKeyConstraint(
            ["source_id", "shown_seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_unseen_shown_seq",
        ),
        sa.ForeignKeyConstraint(
            ["source_id", "until_seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_unseen_until_seq",
        ),
        *_times("unseen", "from_at", "missed_at", "until_at"),
        comment="One row: an entity that is present was not shown for a while; its state then is unknown",
    )
    _index(
        "ix_unseen_open",
        "unseen",
        ["source_id", "entity", "entity_id"],
        unique=False,
        where="until_at IS NULL",
    )
    op.create_table(
        "withheld_absences",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("seq", sa.BigInteger(), "The observation"),
        _c("entity", sa.Text(), "Kind of entity: region, keystone, metrics_database"),
        _c("scope", sa.Text(), "all, or the id of the entity"),
        _c("cause", sa.Text(), "not_given, record_without_id, reference_not_stated"),
        sa.PrimaryKeyConstraint("source_id", "seq", "entity", "scope", name="pk_withheld_absences"),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_withheld_absences_seq",
        ),
        comment="One row: a complete answer that could not prove the absence of an entity, or of a whole kind",
    )
    op.create_table(
        "rejected_records",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("seq", sa.BigInteger(), "The observation"),
        _c("position", sa.Integer(), "Index in the canonical results"),
        _c("region_id", sa.BigInteger(), "Its id, where it has a usable one", null=True),
        _c("reason", sa.Text(), "not_an_object, no_usable_id, no_usable_state, duplicate_id"),
        _c("payload", sa.Text(), "The record as canonical JSON, secrets redacted"),
        sa.PrimaryKeyConstraint("source_id", "seq", "position", name="pk_rejected_records"),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_rejected_records_seq",
        ),
        comment="One row: a record of an answer that could not be used",
    )
    op.create_table(
        "schema_drift",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("path", sa.Text(), "Where in the answer"),
        _c(
            "kind",
            sa.Text(),
            "unknown_field, missing_field, wrong_type, unusable_value, unknown_value, copies_differ",
        ),
        _c("detail", sa.Text(), "JSON type, or the value of enum-like text, or empty"),
        _c("first_seen_at", UTC_TIME, "When it was first seen"),
        _c("seq", sa.BigInteger(), "Observation that first saw it"),
        sa.PrimaryKeyConstraint("source_id", "path", "kind", "detail", name="pk_schema_drift"),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"], ["observations.source_id", "observations.seq"], name="fk_schema_drift_seq"
        ),
        *_times("schema_drift", "first_seen_at"),
        comment="One row: something that the documented schema does not say, when it was first seen",
    )
    op.create_table(
        "webhook_deliveries",
        _c("source_id", sa.Integer(), "The source; see sources"),
        _c("receiver", sa.Text(), "Name of the receiver in the settings"),
        _c("entity", sa.Text(), "Kind of entity: region, keystone"),
        _c("entity_id", sa.BigInteger(), "Its id"),
        _c("seq", sa.BigInteger(), "Observation that showed the event"),
        _c("event", sa.Text(), "The event as JSON, as it was when it happened"),
        _c("created_at", UTC_TIME, "When it was queued"),
        _c("attempts", sa.Integer(), "How often it was tried"),
        _c("next_try_at", UTC_TIME, "When to try next; NULL: delivered or given up", null=True),
        _c("delivered_at", UTC_TIME, "When the receiver took it", null=True),
        _c("last_error", sa.Text(), "What the last try said", null=True),
        sa.PrimaryKeyConstraint(
            "source_id", "receiver", "entity", "entity_id", "seq", name="pk_webhook_deliveries"
        ),
        sa.ForeignKeyConstraint(
            ["source_id", "seq"],
            ["observations.source_id", "observations.seq"],
            name="fk_webhook_deliveries_seq",
        ),
        *_times("webhook_deliveries", "created_at", "next_try_at", "delivered_at"),
        comment="One row: one event for one receiver, with a snapshot of the event",
    )
    _index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["next_try_at"],
        unique=False,
        where="next_try_at IS NOT NULL",
    )


def downgrade() -> None:
    for table in (
        "webhook_deliveries",
        "schema_drift",
        "rejected_records",
        "withheld_absences",
        "unseen",
        "state_transitions",
        "metrics_database_versions",
        "keystone_versions",
        "region_versions",
        "region_volume_types",
        "metrics_databases",
        "keystones",
        "regions",
        "observations",
        "payloads",
        "observers",
        "sources",
    ):
        op.drop_table(table)


def _c(name: str, kind: sa.types.TypeEngine[Any], comment: str, *, null: bool = False) -> sa.Column[Any]:
    numbered = name == "id" and comment == SERIAL
    return sa.Column(name, kind, nullable=null, comment=comment, autoincrement=numbered)


def _times(table: str, *columns: str) -> list[sa.CheckConstraint]:
    """SQLite keeps times as text, so a constraint keeps the text well-formed."""
    return [
        sa.CheckConstraint(f"{column} GLOB '{TIME_PATTERN}'", name=f"ck_{table}_{column}_is_utc").ddl_if(
            dialect="sqlite"
        )
        for column in columns
    ]


def _index(name: str, table: str, columns: list[str], *, unique: bool, where: str) -> None:
    """A partial index."""
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)
