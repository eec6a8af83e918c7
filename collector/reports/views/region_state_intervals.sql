-- One row: a region was in one state (or ABSENT) from a time in [from_earliest, from_latest] to one in
-- [to_earliest, to_latest]. seconds_at_least counts only time that is known: no gap, not unobserved.
-- That time has rows of its own, with the state UNKNOWN; they lie within the others, or between them.
-- is_open: the state is the newest one; then to_earliest is when it was last confirmed, and seconds_at_most is NULL.
-- Example: how long was each region in MAINTENANCE, at least and at most?
--   SELECT display_name, from_latest, seconds_at_least, seconds_at_most FROM region_state_intervals WHERE state = 'MAINTENANCE'
-- Columns:
--   source            = sources.name
--   region_id         = regions.id
--   slug              = regions.slug
--   display_name      = regions.display_name
--   state             = region_state_spans.state
--   from_earliest     time     It began not before this; NULL: unbounded
--   from_latest       time     It was first seen in this state
--   to_earliest       time     It was last confirmed in this state; of UNKNOWN, its end so far
--   to_latest         time     It was first seen otherwise; NULL: still so
--   seconds_at_least  double   Known to have lasted so long: without gaps and unobserved time
--   seconds_at_most   double   Can have lasted so long; NULL: unbounded, also where only another key or copy looked
--   is_open           boolean  True if it is the newest state
--   seq               bigint   Observation that first showed it; of UNKNOWN, the state before
{% set entity = "region" %}
{% include "parts/state_intervals.sql" %}
SELECT
    s.name AS source,
    m.entity_id AS region_id,
    r.slug,
    r.display_name,
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
LEFT JOIN regions r ON r.source_id = m.source_id AND r.id = m.entity_id
