-- One row: a field of a keystone that changed, from old to new, at a time in [not_before, observed_at].
-- field is NULL where the keystone appeared (old is NULL) or disappeared (new is NULL): then old and new are its state.
-- The region is the one whose copy of the keystone counts now; a change may also come from another region's copy
-- that counted before, see basis in keystone_transitions. Values are text, as in region_changes.
-- Example: which keystones moved to another address?
--   SELECT keystone_id, old, new, observed_at FROM keystone_changes WHERE field = 'url'
CHANGES_OF(keystone)
SELECT
    c.source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    c.entity_id AS keystone_id,  -- The regions' keystone_id
    c.observed_at,  -- When the first poll that showed it so was answered
    CAST(c.not_before AS UTC_TIME) AS not_before,  -- When the last poll that confirmed it as it was before asked; NULL: unbounded
    CAST(c.field AS TEXT) AS field,  -- Column of the versions' table; NULL: appeared or disappeared
    CAST(c.old AS TEXT) AS old,  -- Value before, as text
    CAST(c.new AS TEXT) AS new,  -- Value since, as text
    c.seq  -- Observation that first showed it
FROM changes c
LEFT JOIN keystones k ON k.source_id = c.source_id AND k.id = c.entity_id
LEFT JOIN regions r ON r.source_id = c.source_id AND r.id = k.witness_region_id
