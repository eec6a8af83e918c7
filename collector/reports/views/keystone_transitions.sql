-- One row: a change of a keystone's state or presence.
-- It happened at an unknown moment between not_before and observed_at (an interval-censored event).
-- Example: which keystones failed to initialize?
--   SELECT keystone_id, display_name, observed_at FROM keystone_transitions WHERE to_state = 'INITIALIZATION_FAILED'
-- Columns:
--   source            = current_keystones.source
--   region_id         = current_keystones.region_id
--   slug              = current_keystones.slug
--   display_name      = current_keystones.display_name
--   zone              = current_keystones.zone
--   country           = current_keystones.country
--   keystone_id       = current_keystones.keystone_id
--   keystone_url      text     URL of the keystone, as last seen
--   kind              = state_transitions.kind
--   from_state        = state_transitions.from_state
--   to_state          = state_transitions.to_state
--   not_before        = state_transitions.not_before
--   observed_at       = state_transitions.observed_at
--   window_seconds    double   Seconds from not_before to observed_at; NULL: not_before is unknown
--   basis             = state_transitions.basis
--   first_missing_at  = state_transitions.first_missing_at
--   source_id         = region_versions.source_id
--   seq               = state_transitions.seq
SELECT
    s.name AS source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
    t.entity_id AS keystone_id,
    k.url AS keystone_url,
    t.kind,
    t.from_state,
    t.to_state,
    t.not_before,
    t.observed_at,
    CAST({{ seconds_between("t.not_before", "t.observed_at") }} AS DOUBLE PRECISION) AS window_seconds,
    t.basis,
    t.first_missing_at,
    t.source_id,
    t.seq
-- Sources come first, and by CROSS JOIN, which SQLite does not reorder: so the key finds one entity.
FROM sources s
CROSS JOIN state_transitions t
LEFT JOIN keystones k ON k.source_id = t.source_id AND k.id = t.entity_id
LEFT JOIN regions r ON r.source_id = t.source_id AND r.id = k.witness_region_id
WHERE t.source_id = s.id AND t.entity = 'keystone'
