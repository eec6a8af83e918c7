-- One row: a span of time in which a region's state is known to have been one (or ABSENT), or is UNKNOWN.
-- The spans of a region follow one another without holes and overlaps, from its first sight to the newest successful
-- poll, or to now while a gap is open. UNKNOWN names the states known before and after it. Its cause is change where
-- only the moment of a change between two polls is unknown (the state was the earlier, then the later one), and unseen
-- where it may have been in any state: no answer showed the region, or only another key did not see it, or the windows
-- of two changes overlap.
-- A state of the cloud that is itself called UNKNOWN or ABSENT stands in quotation marks: "UNKNOWN", "ABSENT".
-- Known means: shown by the polls at both ends of the span and by all between them, with no gap. A state that came and
-- went between two polls can't be seen.
-- Example: for how long is the state of each region unknown, and why?
--   SELECT display_name, cause, SUM(seconds) FROM region_state_spans WHERE state = 'UNKNOWN' GROUP BY 1, 2 ORDER BY 1, 2
SPANS_OF(region)
SELECT
    s.name AS source,
    p.entity_id AS region_id,
    r.slug,
    r.display_name,
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
LEFT JOIN regions r ON r.source_id = p.source_id AND r.id = p.entity_id
WHERE p.from_at < p.until_at
