-- One row: a keystone that is present now, as last seen.
-- Example: which keystones are not initialized, and how many regions wait for them?
--   SELECT keystone_id, url, state, regions, last_seen_at FROM current_keystones WHERE state <> 'INITIALIZED'
-- Columns:
--   source                        = sources.name
--   region_id                     bigint   The region whose copy of the keystone is used: the lowest region id that shows it
--   slug                          text     Short name of that region in URLs, as last seen
--   display_name                  text     Name of that region, as last seen
--   zone                          text     Zone of that region, as last seen
--   country                       text     Country of that region, as last seen
--   keystone_id                   bigint   Id of the keystone: the keystone_id of its regions
--   url                           = keystones.url
--   state                         = keystones.state
--   username                      = keystones.username
--   has_password                  = keystones.has_password
--   keystone_federated_domain_id  = keystones.keystone_federated_domain_id
--   created_on                    = keystones.created_on
--   own_id                        = keystones.own_id
--   regions                       bigint   Number of present regions that refer to it
--   first_seen_at                 = keystones.first_seen_at
--   changed_at                    = keystones.changed_at
--   last_seen_at                  = current_regions.last_seen_at
--   source_id                     = region_versions.source_id
{% from "parts/current.sql" import last_seen_at, regions_by %}
SELECT
    s.name AS source,
    e.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
    e.id AS keystone_id,
    e.url,
    e.state,
    e.username,
    e.has_password,
    e.keystone_federated_domain_id,
    e.created_on,
    e.own_id,
    CAST(COALESCE(n.regions, 0) AS BIGINT) AS regions,
    e.first_seen_at,
    e.changed_at,
    {{ last_seen_at("keystone", "e") }} AS last_seen_at,
    e.source_id
FROM keystones e
JOIN sources s ON s.id = e.source_id
LEFT JOIN regions r ON r.source_id = e.source_id AND r.id = e.witness_region_id
LEFT JOIN {{ regions_by("keystone_id") }} n ON n.source_id = e.source_id AND n.keystone_id = e.id
WHERE e.absent_since IS NULL
