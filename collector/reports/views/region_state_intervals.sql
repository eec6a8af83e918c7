-- One row: a region's stay in one state (or ABSENT), with bounds for its start, its end and its length.
-- It began between from_earliest and from_latest, and ended between to_earliest and to_latest. seconds_at_least counts known
-- time only, without unobserved time. Unobserved time has rows of its own with the state UNKNOWN, which lie inside the other
-- rows or between them. There is no upper bound if another key or another copy was used before or after.
-- Example: how long was each region in MAINTENANCE, at least and at most?
--   SELECT display_name, from_latest, seconds_at_least, seconds_at_most FROM region_state_intervals WHERE state = 'MAINTENANCE'
-- Columns:
--   source            = sources.name
--   region_id         = regions.id
--   slug              = regions.slug
--   display_name      = regions.display_name
--   zone              = regions.zone
--   country           = regions.country
--   state             = region_state_spans.state
--   from_earliest     time     Earliest possible start; NULL: no lower bound is known
--   from_latest       time     Latest possible start: the first answer that showed the state
--   to_earliest       time     Earliest possible end: the last confirmation of the state; if state is UNKNOWN, its end so far; NULL: pruned
--   to_latest         time     Latest possible end: the first answer that showed something else; NULL: none yet
--   seconds_at_least  double   Shortest possible length in seconds: known time only
--   seconds_at_most   double   Longest possible length in seconds; NULL: no upper bound is known
--   is_open           boolean  True if this is the newest state; then to_earliest is its last confirmation, and seconds_at_most is NULL
--   source_id         = region_versions.source_id
--   seq               = region_state_spans.seq
{% set entity = "region" %}
{% include "parts/state_intervals.sql" %}
SELECT
    s.name AS source,
    m.entity_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
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
LEFT JOIN regions r ON r.source_id = m.source_id AND r.id = m.entity_id
