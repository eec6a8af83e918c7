-- One row: a span of time in which a keystone's state is known to have been one (or ABSENT), or is UNKNOWN.
-- As region_state_spans; the region is the one whose copy of the keystone counts now, or counted last.
-- Example: how long was each keystone known to be in each state?
--   SELECT keystone_id, state, SUM(seconds) FROM keystone_state_spans GROUP BY keystone_id, state ORDER BY 1, 2
-- Columns:
--   source         = sources.name
--   region_id      = regions.id
--   slug           = regions.slug
--   display_name   = regions.display_name
--   keystone_id    = current_keystones.keystone_id
--   keystone_url   = keystone_transitions.keystone_url
--   state          = region_state_spans.state
--   from_at        = region_state_spans.from_at
--   until_at       = region_state_spans.until_at
--   seconds        = region_state_spans.seconds
--   earlier_state  = region_state_spans.earlier_state
--   later_state    = region_state_spans.later_state
--   cause          = region_state_spans.cause
--   seq            = region_state_spans.seq
{% set entity = "keystone" %}
{% include "parts/spans.sql" %}
SELECT
    s.name AS source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    p.entity_id AS keystone_id,
    k.url AS keystone_url,
    CAST(p.state AS TEXT) AS state,
    {{ time("p.from_at") }} AS from_at,
    {{ time("p.until_at") }} AS until_at,
    CAST({{ seconds_between("p.from_at", "p.until_at") }} AS DOUBLE PRECISION) AS seconds,
    CAST(p.earlier_state AS TEXT) AS earlier_state,
    CAST(p.later_state AS TEXT) AS later_state,
    CAST(p.cause AS TEXT) AS cause,
    p.seq
FROM spans p
JOIN sources s ON s.id = p.source_id
LEFT JOIN keystones k ON k.source_id = p.source_id AND k.id = p.entity_id
LEFT JOIN regions r ON r.source_id = k.source_id AND r.id = k.witness_region_id
WHERE p.from_at < p.until_at
