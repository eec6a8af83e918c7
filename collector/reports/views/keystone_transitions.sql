-- One row: a change of a keystone's state or presence; its true time lies in [not_before, observed_at].
-- The region is the one whose copy of the keystone counts.
-- Example: which keystones failed to initialize?
--   SELECT keystone_id, display_name, observed_at FROM keystone_transitions WHERE to_state = 'INITIALIZATION_FAILED'
-- Columns:
--   source            = sources.name
--   region_id         = regions.id
--   slug              = regions.slug
--   display_name      = regions.display_name
--   keystone_id       = current_keystones.keystone_id
--   keystone_url      text     Its address now
--   kind              = state_transitions.kind
--   from_state        = state_transitions.from_state
--   to_state          = state_transitions.to_state
--   not_before        = state_transitions.not_before
--   observed_at       = state_transitions.observed_at
--   window_seconds    = region_transitions.window_seconds
--   basis             = state_transitions.basis
--   first_missing_at  = state_transitions.first_missing_at
--   seq               = state_transitions.seq
SELECT
    s.name AS source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
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
    t.seq
-- Sources come first, and by CROSS JOIN, which SQLite does not reorder: so the key finds one entity.
FROM sources s
CROSS JOIN state_transitions t
LEFT JOIN keystones k ON k.source_id = t.source_id AND k.id = t.entity_id
LEFT JOIN regions r ON r.source_id = t.source_id AND r.id = k.witness_region_id
WHERE t.source_id = s.id AND t.entity = 'keystone'
