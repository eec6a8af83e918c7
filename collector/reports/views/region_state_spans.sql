-- One row: a span of time in which a region's state is known to have been one (or ABSENT), or is UNKNOWN.
-- The spans of a region follow one another without holes and overlaps, from its first sight to the newest successful
-- poll, or to now while a gap is open. UNKNOWN names the states known before and after it. Its cause is change where
-- only the moment of a change between two polls is unknown (the state was the earlier, then the later one), and unobserved
-- where it may have been in any state: no answer showed the region, or only another key did not see it, or the windows
-- of two changes overlap.
-- A state of the cloud that is itself called UNKNOWN or ABSENT stands in quotation marks: "UNKNOWN", "ABSENT".
-- Known means: shown by the polls at both ends of the span and by all between them, with no gap. A state that came and
-- went between two polls can't be seen.
-- Example: for how long is the state of each region unknown, and why?
--   SELECT display_name, cause, SUM(seconds) FROM region_state_spans WHERE state = 'UNKNOWN' GROUP BY 1, 2 ORDER BY 1, 2
-- Columns:
--   source         = sources.name
--   region_id      = regions.id
--   slug           = regions.slug
--   display_name   = regions.display_name
--   state          text     State, ABSENT or UNKNOWN; a state of the cloud that is called so, in quotation marks
--   from_at        time     Beginning
--   until_at       time     End
--   seconds        double   Length
--   earlier_state  text     Of UNKNOWN: the state known before; else NULL
--   later_state    text     Of UNKNOWN: the state known after; NULL: none yet
--   cause          text     Of UNKNOWN: change or unobserved; else NULL
--   seq            bigint   Observation that first showed the state, of UNKNOWN the state before
{% set entity = "region" %}
{% include "parts/spans.sql" %}
SELECT
    s.name AS source,
    p.entity_id AS region_id,
    r.slug,
    r.display_name,
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
LEFT JOIN regions r ON r.source_id = p.source_id AND r.id = p.entity_id
WHERE p.from_at < p.until_at
