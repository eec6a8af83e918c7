-- One row: a field of a keystone that changed from old to new.
-- The change happened between not_before and observed_at. field is NULL if the keystone appeared (old is NULL) or
-- disappeared (new is NULL); then old and new are its state. A change may also come from the copy of another region that was
-- used before: see basis in keystone_transitions. Values are text, as in region_changes.
-- Example: which keystones moved to another URL?
--   SELECT keystone_id, old, new, observed_at FROM keystone_changes WHERE field = 'url'
-- Columns:
--   source        = current_keystones.source
--   region_id     = current_keystones.region_id
--   slug          = current_keystones.slug
--   display_name  = current_keystones.display_name
--   zone          = current_keystones.zone
--   country       = current_keystones.country
--   keystone_id   = current_keystones.keystone_id
--   observed_at   time     When the first poll that showed the new value was answered
--   not_before    time     When the last poll that confirmed the old value was asked; NULL: no lower bound is known
--   field         text     Column of keystone_versions that changed; NULL: the keystone appeared or disappeared
--   old           text     Value before, as text
--   new           text     Value after, as text
--   source_id     = region_versions.source_id
--   seq           = region_changes.seq
{% set entity = "keystone" %}
{% include "parts/changes.sql" %}
SELECT
    c.source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
    c.entity_id AS keystone_id,
    c.observed_at,
    {{ time("c.not_before") }} AS not_before,
    CAST(c.field AS TEXT) AS field,
    CAST(c.old AS TEXT) AS old,
    CAST(c.new AS TEXT) AS new,
    c.source_id,
    c.seq
FROM changes c
LEFT JOIN keystones k ON k.source_id = c.source_id AND k.id = c.entity_id
LEFT JOIN regions r ON r.source_id = c.source_id AND r.id = k.witness_region_id
