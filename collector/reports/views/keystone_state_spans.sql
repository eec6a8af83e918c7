-- One row: a span of time in which a keystone had one known state, or was ABSENT, or its state is UNKNOWN.
-- The rules are those of region_state_spans.
-- Example: how long did each keystone take to initialize, in known time?
--   SELECT keystone_id, SUM(seconds) FROM keystone_state_spans WHERE state = 'NEW' GROUP BY keystone_id ORDER BY keystone_id
-- Columns:
--   source         = current_keystones.source
--   region_id      = current_keystones.region_id
--   slug           = current_keystones.slug
--   display_name   = current_keystones.display_name
--   zone           = current_keystones.zone
--   country        = current_keystones.country
--   keystone_id    = current_keystones.keystone_id
--   keystone_url   text     URL of the keystone, as last seen
--   state          = region_state_spans.state
--   from_at        = region_state_spans.from_at
--   until_at       = region_state_spans.until_at
--   seconds        = region_state_spans.seconds
--   earlier_state  = region_state_spans.earlier_state
--   later_state    = region_state_spans.later_state
--   cause          = region_state_spans.cause
--   source_id      = region_versions.source_id
--   seq            = region_state_spans.seq
{% set entity = "keystone" %}
{% include "parts/spans.sql" %}
SELECT
    s.name AS source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
    p.entity_id AS keystone_id,
    k.url AS keystone_url,
    CAST(p.state AS TEXT) AS state,
    {{ time("p.from_at") }} AS from_at,
    {{ time("p.until_at") }} AS until_at,
    CAST({{ seconds_between("p.from_at", "p.until_at") }} AS DOUBLE PRECISION) AS seconds,
    CAST(p.earlier_state AS TEXT) AS earlier_state,
    CAST(p.later_state AS TEXT) AS later_state,
    CAST(p.cause AS TEXT) AS cause,
    p.source_id,
    p.seq
FROM spans p
JOIN sources s ON s.id = p.source_id
LEFT JOIN keystones k ON k.source_id = p.source_id AND k.id = p.entity_id
LEFT JOIN regions r ON r.source_id = k.source_id AND r.id = k.witness_region_id
WHERE p.from_at < p.until_at
