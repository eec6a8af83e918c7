-- One row: a field of a region that changed, from old to new, at a time in [not_before, observed_at].
-- field is NULL where the region appeared (old is NULL) or disappeared (new is NULL): then old and new are its state.
-- Where it returned, what differs from before its absence has rows of its own.
-- Values are text: true and false, times as 2026-05-01T12:00:00.000000Z, lists as JSON.
-- Example: which regions gained GPUs, and when?
--   SELECT display_name, not_before, observed_at FROM region_changes WHERE field = 'has_ai_gpu' AND new = 'true'
CHANGES_OF(region)
SELECT
    c.source,
    c.entity_id AS region_id,
    r.slug,
    r.display_name,
    c.observed_at,  -- When the first poll that showed it so was answered
    CAST(c.not_before AS UTC_TIME) AS not_before,  -- When the last poll that confirmed it as it was before asked; NULL: unbounded
    CAST(c.field AS TEXT) AS field,  -- Column of the versions' table; NULL: appeared or disappeared
    CAST(c.old AS TEXT) AS old,  -- Value before, as text
    CAST(c.new AS TEXT) AS new,  -- Value since, as text
    c.seq  -- Observation that first showed it
FROM changes c
LEFT JOIN regions r ON r.source_id = c.source_id AND r.id = c.entity_id
