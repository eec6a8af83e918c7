-- The tables and views of the collector, with types, for DuckDB on an attached SQLite file; made by
-- `python -m tests.support.duckdb_views --write`. First attach the file as `c`, then read this one:
--
--   ATTACH 'collector.db' AS c (TYPE sqlite, READ_ONLY);
--   .read docs/duckdb.sql
--
-- A TIMESTAMP is in UTC. What rows and columns mean is in docs/data-dictionary.md.

-- Tables: DuckDB knows their types, but for booleans, and asks SQLite for what it needs of them.

CREATE OR REPLACE VIEW sources AS SELECT * FROM c.sources;
CREATE OR REPLACE VIEW observers AS SELECT * FROM c.observers;
CREATE OR REPLACE VIEW payloads AS SELECT * FROM c.payloads;
CREATE OR REPLACE VIEW observations AS SELECT * FROM c.observations;
CREATE OR REPLACE VIEW amendments AS SELECT * FROM c.amendments;
CREATE OR REPLACE VIEW regions AS SELECT * REPLACE (
    has_ai::BOOLEAN AS has_ai,
    has_ai_gpu::BOOLEAN AS has_ai_gpu,
    has_baremetal::BOOLEAN AS has_baremetal,
    has_basic_vm::BOOLEAN AS has_basic_vm,
    has_k8s::BOOLEAN AS has_k8s,
    has_kvm::BOOLEAN AS has_kvm,
    has_sfs::BOOLEAN AS has_sfs,
    has_ddos::BOOLEAN AS has_ddos
) FROM c.regions;
CREATE OR REPLACE VIEW keystones AS SELECT * REPLACE (
    has_password::BOOLEAN AS has_password
) FROM c.keystones;
CREATE OR REPLACE VIEW metrics_databases AS SELECT * REPLACE (
    has_password::BOOLEAN AS has_password
) FROM c.metrics_databases;
CREATE OR REPLACE VIEW region_volume_types AS SELECT * FROM c.region_volume_types;
CREATE OR REPLACE VIEW region_versions AS SELECT * REPLACE (
    has_ai::BOOLEAN AS has_ai,
    has_ai_gpu::BOOLEAN AS has_ai_gpu,
    has_baremetal::BOOLEAN AS has_baremetal,
    has_basic_vm::BOOLEAN AS has_basic_vm,
    has_k8s::BOOLEAN AS has_k8s,
    has_kvm::BOOLEAN AS has_kvm,
    has_sfs::BOOLEAN AS has_sfs,
    has_ddos::BOOLEAN AS has_ddos
) FROM c.region_versions;
CREATE OR REPLACE VIEW keystone_versions AS SELECT * REPLACE (
    has_password::BOOLEAN AS has_password
) FROM c.keystone_versions;
CREATE OR REPLACE VIEW metrics_database_versions AS SELECT * REPLACE (
    has_password::BOOLEAN AS has_password
) FROM c.metrics_database_versions;
CREATE OR REPLACE VIEW state_transitions AS SELECT * FROM c.state_transitions;
CREATE OR REPLACE VIEW unseen AS SELECT * FROM c.unseen;
CREATE OR REPLACE VIEW withheld_absences AS SELECT * FROM c.withheld_absences;
CREATE OR REPLACE VIEW unproven_absences AS SELECT * FROM c.unproven_absences;
CREATE OR REPLACE VIEW gaps AS SELECT * FROM c.gaps;
CREATE OR REPLACE VIEW rejected_records AS SELECT * FROM c.rejected_records;
CREATE OR REPLACE VIEW schema_drift AS SELECT * FROM c.schema_drift;
CREATE OR REPLACE VIEW webhook_deliveries AS SELECT * FROM c.webhook_deliveries;
CREATE OR REPLACE VIEW webhook_queues AS SELECT * FROM c.webhook_queues;
CREATE OR REPLACE VIEW anchors AS SELECT * FROM c.anchors;
CREATE OR REPLACE VIEW verifications AS SELECT * FROM c.verifications;

-- Views: SQLite answers each as a whole, and its columns get their types here.

-- One row: a region that is present now, with the state of its keystone and its metrics database.
CREATE OR REPLACE VIEW current_regions AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    state::VARCHAR AS state,
    country::VARCHAR AS country,
    zone::VARCHAR AS zone,
    access_level::VARCHAR AS access_level,
    endpoint_type::VARCHAR AS endpoint_type,
    has_ai::BOOLEAN AS has_ai,
    has_ai_gpu::BOOLEAN AS has_ai_gpu,
    has_baremetal::BOOLEAN AS has_baremetal,
    has_basic_vm::BOOLEAN AS has_basic_vm,
    has_k8s::BOOLEAN AS has_k8s,
    has_kvm::BOOLEAN AS has_kvm,
    has_sfs::BOOLEAN AS has_sfs,
    has_ddos::BOOLEAN AS has_ddos,
    available_volume_types::VARCHAR AS available_volume_types,
    keystone_id::BIGINT AS keystone_id,
    keystone_name::VARCHAR AS keystone_name,
    keystone_state::VARCHAR AS keystone_state,
    keystone_url::VARCHAR AS keystone_url,
    metrics_database_id::BIGINT AS metrics_database_id,
    metrics_database_host::VARCHAR AS metrics_database_host,
    metrics_database_port::BIGINT AS metrics_database_port,
    created_on::TIMESTAMP AS created_on,
    first_seen_at::TIMESTAMP AS first_seen_at,
    changed_at::TIMESTAMP AS changed_at,
    last_seen_at::TIMESTAMP AS last_seen_at
FROM sqlite_query('c', 'SELECT * FROM current_regions');

-- One row: a keystone that is present now, as last seen; the region is the one whose copy of it counts.
CREATE OR REPLACE VIEW current_keystones AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    keystone_id::BIGINT AS keystone_id,
    url::VARCHAR AS url,
    state::VARCHAR AS state,
    username::VARCHAR AS username,
    has_password::BOOLEAN AS has_password,
    keystone_federated_domain_id::VARCHAR AS keystone_federated_domain_id,
    created_on::TIMESTAMP AS created_on,
    own_id::BIGINT AS own_id,
    regions::BIGINT AS regions,
    first_seen_at::TIMESTAMP AS first_seen_at,
    changed_at::TIMESTAMP AS changed_at,
    last_seen_at::TIMESTAMP AS last_seen_at
FROM sqlite_query('c', 'SELECT * FROM current_keystones');

-- One row: a metrics database that is present now, as last seen; the region is the one whose copy of it counts.
CREATE OR REPLACE VIEW current_metrics_databases AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    metrics_database_id::BIGINT AS metrics_database_id,
    host::VARCHAR AS host,
    port::BIGINT AS port,
    username::VARCHAR AS username,
    has_password::BOOLEAN AS has_password,
    own_id::BIGINT AS own_id,
    regions::BIGINT AS regions,
    first_seen_at::TIMESTAMP AS first_seen_at,
    changed_at::TIMESTAMP AS changed_at,
    last_seen_at::TIMESTAMP AS last_seen_at
FROM sqlite_query('c', 'SELECT * FROM current_metrics_databases');

-- One row: a change of a region's state or presence; its true time lies in [not_before, observed_at].
CREATE OR REPLACE VIEW region_transitions AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    kind::VARCHAR AS kind,
    from_state::VARCHAR AS from_state,
    to_state::VARCHAR AS to_state,
    not_before::TIMESTAMP AS not_before,
    observed_at::TIMESTAMP AS observed_at,
    window_seconds::DOUBLE AS window_seconds,
    basis::VARCHAR AS basis,
    first_missing_at::TIMESTAMP AS first_missing_at,
    seq::BIGINT AS seq
FROM sqlite_query('c', 'SELECT * FROM region_transitions');

-- One row: a change of a keystone's state or presence; its true time lies in [not_before, observed_at].
CREATE OR REPLACE VIEW keystone_transitions AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    keystone_id::BIGINT AS keystone_id,
    keystone_url::VARCHAR AS keystone_url,
    kind::VARCHAR AS kind,
    from_state::VARCHAR AS from_state,
    to_state::VARCHAR AS to_state,
    not_before::TIMESTAMP AS not_before,
    observed_at::TIMESTAMP AS observed_at,
    window_seconds::DOUBLE AS window_seconds,
    basis::VARCHAR AS basis,
    first_missing_at::TIMESTAMP AS first_missing_at,
    seq::BIGINT AS seq
FROM sqlite_query('c', 'SELECT * FROM keystone_transitions');

-- One row: a field of a region that changed, from old to new, at a time in [not_before, observed_at].
CREATE OR REPLACE VIEW region_changes AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    observed_at::TIMESTAMP AS observed_at,
    not_before::TIMESTAMP AS not_before,
    field::VARCHAR AS field,
    old::VARCHAR AS old,
    new::VARCHAR AS new,
    seq::BIGINT AS seq
FROM sqlite_query('c', 'SELECT * FROM region_changes');

-- One row: a field of a keystone that changed, from old to new, at a time in [not_before, observed_at].
CREATE OR REPLACE VIEW keystone_changes AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    keystone_id::BIGINT AS keystone_id,
    observed_at::TIMESTAMP AS observed_at,
    not_before::TIMESTAMP AS not_before,
    field::VARCHAR AS field,
    old::VARCHAR AS old,
    new::VARCHAR AS new,
    seq::BIGINT AS seq
FROM sqlite_query('c', 'SELECT * FROM keystone_changes');

-- One row: a time without any successful poll of a source, longer than 2.5 expected intervals; where the polls at its
CREATE OR REPLACE VIEW coverage_gaps AS
SELECT
    source::VARCHAR AS source,
    from_at::TIMESTAMP AS from_at,
    until_at::TIMESTAMP AS until_at,
    seconds::DOUBLE AS seconds,
    cause::VARCHAR AS cause,
    error::VARCHAR AS error,
    failed_polls::BIGINT AS failed_polls,
    transitions::BIGINT AS transitions,
    seq::BIGINT AS seq
FROM sqlite_query('c', 'SELECT * FROM coverage_gaps');

-- One row: a span of time in which a region's state is known to have been one (or ABSENT), or is UNKNOWN.
CREATE OR REPLACE VIEW region_state_spans AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    state::VARCHAR AS state,
    from_at::TIMESTAMP AS from_at,
    until_at::TIMESTAMP AS until_at,
    seconds::DOUBLE AS seconds,
    earlier_state::VARCHAR AS earlier_state,
    later_state::VARCHAR AS later_state,
    cause::VARCHAR AS cause,
    seq::BIGINT AS seq
FROM sqlite_query('c', 'SELECT * FROM region_state_spans');

-- One row: a span of time in which a keystone's state is known to have been one (or ABSENT), or is UNKNOWN.
CREATE OR REPLACE VIEW keystone_state_spans AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    keystone_id::BIGINT AS keystone_id,
    keystone_url::VARCHAR AS keystone_url,
    state::VARCHAR AS state,
    from_at::TIMESTAMP AS from_at,
    until_at::TIMESTAMP AS until_at,
    seconds::DOUBLE AS seconds,
    earlier_state::VARCHAR AS earlier_state,
    later_state::VARCHAR AS later_state,
    cause::VARCHAR AS cause,
    seq::BIGINT AS seq
FROM sqlite_query('c', 'SELECT * FROM keystone_state_spans');

-- One row: a region was in one state (or ABSENT) from a time in [from_earliest, from_latest] to one in
CREATE OR REPLACE VIEW region_state_intervals AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    state::VARCHAR AS state,
    from_earliest::TIMESTAMP AS from_earliest,
    from_latest::TIMESTAMP AS from_latest,
    to_earliest::TIMESTAMP AS to_earliest,
    to_latest::TIMESTAMP AS to_latest,
    seconds_at_least::DOUBLE AS seconds_at_least,
    seconds_at_most::DOUBLE AS seconds_at_most,
    is_open::BOOLEAN AS is_open,
    seq::BIGINT AS seq
FROM sqlite_query('c', 'SELECT * FROM region_state_intervals');

-- One row: a keystone was in one state (or ABSENT) from a time in [from_earliest, from_latest] to one in
CREATE OR REPLACE VIEW keystone_state_intervals AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    keystone_id::BIGINT AS keystone_id,
    keystone_url::VARCHAR AS keystone_url,
    state::VARCHAR AS state,
    from_earliest::TIMESTAMP AS from_earliest,
    from_latest::TIMESTAMP AS from_latest,
    to_earliest::TIMESTAMP AS to_earliest,
    to_latest::TIMESTAMP AS to_latest,
    seconds_at_least::DOUBLE AS seconds_at_least,
    seconds_at_most::DOUBLE AS seconds_at_most,
    is_open::BOOLEAN AS is_open,
    seq::BIGINT AS seq
FROM sqlite_query('c', 'SELECT * FROM keystone_state_intervals');

-- One row: a region in one state on one day (UTC): for how long at least, and at most.
CREATE OR REPLACE VIEW daily_region_states AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    day::DATE AS day,
    state::VARCHAR AS state,
    seconds_at_least::DOUBLE AS seconds_at_least,
    seconds_at_most::DOUBLE AS seconds_at_most,
    seconds_unobserved::DOUBLE AS seconds_unobserved
FROM sqlite_query('c', 'SELECT * FROM daily_region_states');

-- One row: for which share of a month (UTC) a region was ACTIVE, at least and at most.
CREATE OR REPLACE VIEW availability_monthly AS
SELECT
    source::VARCHAR AS source,
    region_id::BIGINT AS region_id,
    slug::VARCHAR AS slug,
    display_name::VARCHAR AS display_name,
    month::DATE AS month,
    seconds::DOUBLE AS seconds,
    seconds_at_least::DOUBLE AS seconds_at_least,
    seconds_at_most::DOUBLE AS seconds_at_most,
    seconds_unknown::DOUBLE AS seconds_unknown,
    share_at_least::DOUBLE AS share_at_least,
    share_at_most::DOUBLE AS share_at_most
FROM sqlite_query('c', 'SELECT * FROM availability_monthly');

-- One row: a day (UTC) of a source, from its first poll to now, also one without any poll.
CREATE OR REPLACE VIEW poll_health AS
SELECT
    source::VARCHAR AS source,
    day::DATE AS day,
    polls::BIGINT AS polls,
    ok_polls::BIGINT AS ok_polls,
    partial_polls::BIGINT AS partial_polls,
    held_polls::BIGINT AS held_polls,
    failed_polls::BIGINT AS failed_polls,
    failed_key::BIGINT AS failed_key,
    failed_connect::BIGINT AS failed_connect,
    failed_timeout::BIGINT AS failed_timeout,
    failed_protocol::BIGINT AS failed_protocol,
    failed_http_status::BIGINT AS failed_http_status,
    failed_too_large::BIGINT AS failed_too_large,
    failed_not_json::BIGINT AS failed_not_json,
    failed_not_a_listing::BIGINT AS failed_not_a_listing,
    failed_stale::BIGINT AS failed_stale,
    seconds::DOUBLE AS seconds,
    longest_gap_seconds::DOUBLE AS longest_gap_seconds,
    share_covered::DOUBLE AS share_covered
FROM sqlite_query('c', 'SELECT * FROM poll_health');
