-- One row: a keystone's stay in one state (or ABSENT), with bounds for its start, its end and its length.
-- The rules are those of region_state_intervals.
-- Example: how long did each keystone take to initialize, at least and at most?
--   SELECT keystone_id, seconds_at_least, seconds_at_most FROM keystone_state_intervals WHERE state = 'NEW' AND NOT is_open
-- Columns:
--   source            = current_keystones.source
--   region_id         = current_keystones.region_id
--   slug              = current_keystones.slug
--   display_name      = current_keystones.display_name
--   zone              = current_keystones.zone
--   country           = current_keystones.country
--   keystone_id       = current_keystones.keystone_id
--   keystone_url      text     URL of the keystone, as last seen
--   state             = region_state_intervals.state
--   from_earliest     = region_state_intervals.from_earliest
--   from_latest       = region_state_intervals.from_latest
--   to_earliest       = region_state_intervals.to_earliest
--   to_latest         = region_state_intervals.to_latest
--   seconds_at_least  = region_state_intervals.seconds_at_least
--   seconds_at_most   = region_state_intervals.seconds_at_most
--   is_open           = region_state_intervals.is_open
--   source_id         = region_versions.source_id
--   seq               = region_state_spans.seq
{% set entity = "keystone" %}
{% include "parts/state_intervals.sql" %}
SELECT
    s.name AS source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
    m.entity_id AS keystone_id,
    k.url AS keystone_url,
    m.state,
    m.from_earliest,
    m.from_latest,
    m.to_earliest,
    m.to_latest,
    m.seconds_at_least,
    m.seconds_at_most,
    m.is_open,
    m.source_id,
    m.seq
FROM measured m
JOIN sources s ON s.id = m.source_id
LEFT JOIN keystones k ON k.source_id = m.source_id AND k.id = m.entity_id
LEFT JOIN regions r ON r.source_id = m.source_id AND r.id = k.witness_region_id
