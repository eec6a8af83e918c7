-- One row: a field of a keystone that changed, from old to new, at a time in [not_before, observed_at].
-- field is NULL where the keystone appeared (old is NULL) or disappeared (new is NULL): then old and new are its state.
-- The region is the one whose copy of the keystone counts now; a change may also come from another region's copy
-- that counted before, see basis in keystone_transitions. Values are text, as in region_changes.
-- Example: which keystones moved to another address?
--   SELECT keystone_id, old, new, observed_at FROM keystone_changes WHERE field = 'url'
-- Columns:
--   source        = sources.name
--   region_id     = regions.id
--   slug          = regions.slug
--   display_name  = regions.display_name
--   keystone_id   = current_keystones.keystone_id
--   observed_at   = region_changes.observed_at
--   not_before    = region_changes.not_before
--   field         = region_changes.field
--   old           = region_changes.old
--   new           = region_changes.new
--   seq           = region_changes.seq
{% set entity = "keystone" %}
{% include "parts/changes.sql" %}
SELECT
    c.source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    c.entity_id AS keystone_id,
    c.observed_at,
    {{ time("c.not_before") }} AS not_before,
    CAST(c.field AS TEXT) AS field,
    CAST(c.old AS TEXT) AS old,
    CAST(c.new AS TEXT) AS new,
    c.seq
FROM changes c
LEFT JOIN keystones k ON k.source_id = c.source_id AND k.id = c.entity_id
LEFT JOIN regions r ON r.source_id = c.source_id AND r.id = k.witness_region_id
