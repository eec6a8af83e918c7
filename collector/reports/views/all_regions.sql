-- One row: a region that was ever seen, present or absent, with its attributes as last known.
-- This is the dimension table of regions: join facts to it on source_id and region_id.
-- Example: which regions are gone, since when, and what was their last state?
--   SELECT display_name, zone, state, absent_since FROM all_regions WHERE NOT is_present
-- Columns:
--   source                  = sources.name
--   region_id               = regions.id
--   slug                    = regions.slug
--   display_name            = regions.display_name
--   zone                    = regions.zone
--   country                 = regions.country
--   is_present              boolean  True if the newest answers list it; false if a complete answer no longer listed it
--   state                   text     State as last known; if it is absent, its state before it disappeared
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
--   metrics_database_id     = regions.metrics_database_id
--   created_on              = regions.created_on
--   first_seen_at           = regions.first_seen_at
--   last_seen_at            = current_regions.last_seen_at
--   absent_since            = regions.absent_since
--   changed_at              = regions.changed_at
--   source_id               = region_versions.source_id
{% from "parts/current.sql" import last_seen_at, last_seen_before_absence %}
SELECT
    s.name AS source,
    r.id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
    CAST(r.absent_since IS NULL AS BOOLEAN) AS is_present,
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
    r.metrics_database_id,
    r.created_on,
    r.first_seen_at,
    CASE WHEN r.absent_since IS NULL THEN {{ last_seen_at("region", "r") }}
         ELSE {{ last_seen_before_absence("region", "r") }} END AS last_seen_at,
    r.absent_since,
    r.changed_at,
    r.source_id
FROM regions r
JOIN sources s ON s.id = r.source_id
