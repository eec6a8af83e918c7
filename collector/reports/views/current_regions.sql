-- One row: a region that is present now, with the state of its keystone and its metrics database.
-- Absent regions are in all_regions.
-- Example: which regions have GPUs now?
--   SELECT slug, country FROM current_regions WHERE has_ai_gpu AND state = 'ACTIVE'
-- Columns:
--   source                  = sources.name
--   region_id               = regions.id
--   slug                    = regions.slug
--   display_name            = regions.display_name
--   zone                    = regions.zone
--   country                 = regions.country
--   state                   = regions.state
--   access_level            = regions.access_level
--   endpoint_type           = regions.endpoint_type
--   has_ai                  = regions.has_ai
--   has_ai_gpu              = regions.has_ai_gpu
--   has_baremetal           = regions.has_baremetal
--   has_basic_vm            = regions.has_basic_vm
--   has_k8s                 = regions.has_k8s
--   has_kvm                 = regions.has_kvm
--   has_sfs                 = regions.has_sfs
--   has_ddos                = regions.has_ddos
--   available_volume_types  = regions.available_volume_types
--   keystone_id             = regions.keystone_id
--   keystone_name           = regions.keystone_name
--   keystone_state          text     State of its keystone; NULL while no answer shows it
--   keystone_url            text     URL of its keystone
--   metrics_database_id     = regions.metrics_database_id
--   metrics_database_host   text     Host of its metrics database
--   metrics_database_port   bigint   Port of its metrics database
--   created_on              = regions.created_on
--   first_seen_at           = regions.first_seen_at
--   changed_at              = regions.changed_at
--   last_seen_at            time     When the newest answer that showed it arrived
--   source_id               = region_versions.source_id
{% from "parts/current.sql" import last_seen_at %}
SELECT
    s.name AS source,
    r.id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
    r.state,
    r.access_level,
    r.endpoint_type,
    r.has_ai,
    r.has_ai_gpu,
    r.has_baremetal,
    r.has_basic_vm,
    r.has_k8s,
    r.has_kvm,
    r.has_sfs,
    r.has_ddos,
    r.available_volume_types,
    r.keystone_id,
    r.keystone_name,
    CAST(CASE WHEN NOT EXISTS (
        SELECT 1 FROM unseen u
        WHERE u.source_id = k.source_id AND u.entity = 'keystone' AND u.entity_id = k.id AND u.until_at IS NULL
    ) THEN k.state END AS TEXT) AS keystone_state,
    k.url AS keystone_url,
    r.metrics_database_id,
    m.host AS metrics_database_host,
    m.port AS metrics_database_port,
    r.created_on,
    r.first_seen_at,
    r.changed_at,
    {{ last_seen_at("region", "r") }} AS last_seen_at,
    r.source_id
FROM regions r
JOIN sources s ON s.id = r.source_id
LEFT JOIN keystones k ON k.source_id = r.source_id AND k.id = r.keystone_id AND k.absent_since IS NULL
LEFT JOIN metrics_databases m
    ON m.source_id = r.source_id AND m.id = r.metrics_database_id AND m.absent_since IS NULL
WHERE r.absent_since IS NULL
