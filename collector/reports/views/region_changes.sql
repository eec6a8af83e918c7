-- One row: a field of a region that changed from old to new.
-- The change happened between not_before and observed_at. field is NULL if the region appeared (old is NULL) or disappeared
-- (new is NULL); then old and new are its state. If the region came back, fields that differ from before its absence have
-- rows of their own. Values are text: true and false, times as 2026-05-01T12:00:00.000000Z, lists as JSON.
-- Example: which regions gained GPUs, and when?
--   SELECT display_name, not_before, observed_at FROM region_changes WHERE field = 'has_ai_gpu' AND new = 'true'
-- Columns:
--   source        = sources.name
--   region_id     = regions.id
--   slug          = regions.slug
--   display_name  = regions.display_name
--   zone          = regions.zone
--   country       = regions.country
--   observed_at   time     When the first poll that showed the new value was answered
--   not_before    time     When the last poll that confirmed the old value was asked; NULL: no lower bound is known
--   field         text     Column of region_versions that changed; NULL: the region appeared or disappeared
--   old           text     Value before, as text
--   new           text     Value after, as text
--   source_id     = region_versions.source_id
--   seq           bigint   Observation that first showed the new value
{% set entity = "region" %}
{% include "parts/changes.sql" %}
SELECT
    c.source,
    c.entity_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
    c.observed_at,
    {{ time("c.not_before") }} AS not_before,
    CAST(c.field AS TEXT) AS field,
    CAST(c.old AS TEXT) AS old,
    CAST(c.new AS TEXT) AS new,
    c.source_id,
    c.seq
FROM changes c
LEFT JOIN regions r ON r.source_id = c.source_id AND r.id = c.entity_id
