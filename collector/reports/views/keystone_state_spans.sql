-- One row: a span of time in which a keystone's state is known to have been one (or ABSENT), or is UNKNOWN.
-- As region_state_spans; the region is the one whose copy of the keystone counts now, or counted last.
-- Example: how long was each keystone known to be in each state?
--   SELECT keystone_id, state, SUM(seconds) FROM keystone_state_spans GROUP BY keystone_id, state ORDER BY 1, 2
SPANS_OF(keystone)
SELECT
    s.name AS source,
    k.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    p.entity_id AS keystone_id,
    k.url AS keystone_url,
    CAST(p.state AS TEXT) AS state,  -- State, ABSENT or UNKNOWN; a state of the cloud that is called so, in quotation marks
    CAST(p.from_at AS UTC_TIME) AS from_at,  -- Beginning
    CAST(p.until_at AS UTC_TIME) AS until_at,  -- End
    CAST(SECONDS_BETWEEN(p.from_at, p.until_at) AS DOUBLE PRECISION) AS seconds,  -- Length
    CAST(p.earlier_state AS TEXT) AS earlier_state,  -- Of UNKNOWN: the state known before; else NULL
    CAST(p.later_state AS TEXT) AS later_state,  -- Of UNKNOWN: the state known after; NULL: none yet
    CAST(p.cause AS TEXT) AS cause,  -- Of UNKNOWN: change or unseen; else NULL
    p.seq  -- Observation that first showed the state, of UNKNOWN the state before
FROM spans p
JOIN sources s ON s.id = p.source_id
LEFT JOIN keystones k ON k.source_id = p.source_id AND k.id = p.entity_id
LEFT JOIN regions r ON r.source_id = k.source_id AND r.id = k.witness_region_id
WHERE p.from_at < p.until_at
