-- One row: a change of a region's state or presence.
-- It happened at an unknown moment between not_before and observed_at (an interval-censored event).
-- Example: what became ACTIVE, and how exactly is that known?
--   SELECT display_name, from_state, not_before, observed_at, basis FROM region_transitions WHERE to_state = 'ACTIVE'
-- Columns:
--   source            = sources.name
--   region_id         = regions.id
--   slug              = regions.slug
--   display_name      = regions.display_name
--   zone              = regions.zone
--   country           = regions.country
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
    t.entity_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
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
LEFT JOIN regions r ON r.source_id = t.source_id AND r.id = t.entity_id
WHERE t.source_id = s.id AND t.entity = 'region'
