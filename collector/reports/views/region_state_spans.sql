-- One row: a span of time in which a region had one known state, or was ABSENT, or its state is UNKNOWN.
-- The spans of a region have no holes and no overlaps. They cover the time from its first sighting to the newest successful
-- poll, or to now while a gap is open. Known means: shown by the polls at both ends of the span and by all polls between them,
-- without a gap. A state that came and went between two polls can't be seen. UNKNOWN has a cause. change: only the moment of
-- a change between two polls is unknown, and the state was the earlier or the later one. unobserved: the state may have been
-- any, because no answer showed the region, or only another key asked, or the windows of two changes overlap.
-- Example: for how long is the state of each region unknown, and why?
--   SELECT display_name, cause, SUM(seconds) FROM region_state_spans WHERE state = 'UNKNOWN' GROUP BY 1, 2 ORDER BY 1, 2
-- Columns:
--   source         = sources.name
--   region_id      = regions.id
--   slug           = regions.slug
--   display_name   = regions.display_name
--   zone           = regions.zone
--   country        = regions.country
--   state          text     State, ABSENT or UNKNOWN; if the API itself uses one of these two words, it is in quotation marks
--   from_at        time     Start of the span
--   until_at       time     End of the span, not included: the next span starts here
--   seconds        double   Length in seconds
--   earlier_state  text     If state is UNKNOWN: the state known before; otherwise NULL
--   later_state    text     If state is UNKNOWN: the state known after; NULL: none yet
--   cause          text     Why state is UNKNOWN: change or unobserved; otherwise NULL
--   source_id      = region_versions.source_id
--   seq            bigint   Observation that first showed the state; if that is UNKNOWN, the state before it
{% set entity = "region" %}
{% include "parts/spans.sql" %}
SELECT
    s.name AS source,
    p.entity_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
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
LEFT JOIN regions r ON r.source_id = p.source_id AND r.id = p.entity_id
WHERE p.from_at < p.until_at
