-- One row: what is known about the state of a keystone from from_at to until_at.
-- The rules are those of region_states.
-- Example: in which state was every keystone on 15 November at noon?
--   SELECT keystone_id, state FROM keystone_states
--   WHERE from_at <= '2026-11-15T12:00:00.000000Z' AND '2026-11-15T12:00:00.000000Z' < until_at
-- Columns:
--   source             = current_keystones.source
--   region_id          = current_keystones.region_id
--   slug               = current_keystones.slug
--   display_name       = current_keystones.display_name
--   zone               = current_keystones.zone
--   country            = current_keystones.country
--   keystone_id        = current_keystones.keystone_id
--   keystone_url       text     URL of the keystone, as last seen
--   state              = region_states.state
--   last_known_state   = region_states.last_known_state
--   from_at            = region_states.from_at
--   until_at           = region_states.until_at
--   last_confirmed_at  = region_states.last_confirmed_at
--   cause              = region_states.cause
--   source_id          = region_versions.source_id
--   seq                = region_state_spans.seq
{% set entity = "keystone" %}
{% include "parts/states.sql" %}
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
    CAST(p.last_known_state AS TEXT) AS last_known_state,
    {{ time("p.from_at") }} AS from_at,
    {{ time("p.until_at") }} AS until_at,
    {{ time("p.last_confirmed_at") }} AS last_confirmed_at,
    CAST(p.cause AS TEXT) AS cause,
    p.source_id,
    p.seq
FROM pieces p
JOIN sources s ON s.id = p.source_id
LEFT JOIN keystones k ON k.source_id = p.source_id AND k.id = p.entity_id
LEFT JOIN regions r ON r.source_id = k.source_id AND r.id = k.witness_region_id
WHERE p.from_at < p.until_at
