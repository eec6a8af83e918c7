-- One row: a field of a region that changed, from old to new, at a time in [not_before, observed_at].
-- field is NULL where the region appeared (old is NULL) or disappeared (new is NULL): then old and new are its state.
-- Where it returned, what differs from before its absence has rows of its own.
-- Values are text: true and false, times as 2026-05-01T12:00:00.000000Z, lists as JSON.
-- Example: which regions gained GPUs, and when?
--   SELECT display_name, not_before, observed_at FROM region_changes WHERE field = 'has_ai_gpu' AND new = 'true'
-- Columns:
--   source        = sources.name
--   region_id     = regions.id
--   slug          = regions.slug
--   display_name  = regions.display_name
--   observed_at   time     When the first poll that showed it so was answered
--   not_before    time     When the last poll that confirmed it as it was before asked; NULL: unbounded
--   field         text     Column of the versions' table; NULL: appeared or disappeared
--   old           text     Value before, as text
--   new           text     Value since, as text
--   seq           bigint   Observation that first showed it
{% set entity = "region" %}
{% include "parts/changes.sql" %}
SELECT
    c.source,
    c.entity_id AS region_id,
    r.slug,
    r.display_name,
    c.observed_at,
    {{ time("c.not_before") }} AS not_before,
    CAST(c.field AS TEXT) AS field,
    CAST(c.old AS TEXT) AS old,
    CAST(c.new AS TEXT) AS new,
    c.seq
FROM changes c
LEFT JOIN regions r ON r.source_id = c.source_id AND r.id = c.entity_id
