-- One row: a keystone was in one state (or ABSENT) from a time in [from_earliest, from_latest] to one in
-- [to_earliest, to_latest]. seconds_at_least counts only time that is known: no gap, not unobserved.
-- That time has rows of its own, with the state UNKNOWN; they lie within the others, or between them.
-- is_open: the state is the newest one; then to_earliest is when it was last confirmed, and seconds_at_most is NULL.
-- The region is the one whose copy of the keystone counts.
-- Example: how long did each keystone take to initialize, at least and at most?
--   SELECT keystone_id, seconds_at_least, seconds_at_most FROM keystone_state_intervals WHERE state = 'NEW' AND NOT is_open
-- Columns:
--   source            = sources.name
--   region_id         = regions.id
--   slug              = regions.slug
--   display_name      = regions.display_name
--   keystone_id       = current_keystones.keystone_id
--   keystone_url      = keystone_transitions.keystone_url
--   state             = region_state_spans.state
--   from_earliest     = region_state_intervals.from_earliest
--   from_latest       = region_state_intervals.from_latest
--   to_earliest       = region_state_intervals.to_earliest
--   to_latest         = region_state_intervals.to_latest
--   seconds_at_least  = region_state_intervals.seconds_at_least
--   seconds_at_most   = region_state_intervals.seconds_at_most
--   is_open           = region_state_intervals.is_open
--   seq               = region_state_intervals.seq
{% set entity = "keystone" %}
{% include "parts/state_intervals.sql" %}
SELECT
    s.name AS source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
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
    m.seq
FROM measured m
JOIN sources s ON s.id = m.source_id
LEFT JOIN keystones k ON k.source_id = m.source_id AND k.id = m.entity_id
LEFT JOIN regions r ON r.source_id = m.source_id AND r.id = k.witness_region_id
