-- One row: what is known about the state of a region from from_at to until_at.
-- For any time, from_at <= time AND time < until_at holds for exactly one row of each region that had been seen by then. The
-- state is ABSENT if the region was not listed, UNKNOWN if no poll showed its state. Unlike in region_state_spans, the newest
-- row has no real end: do not sum its length.
-- Example: in which state was every region on 15 November at noon?
--   SELECT display_name, state FROM region_states
--   WHERE from_at <= '2026-11-15T12:00:00.000000Z' AND '2026-11-15T12:00:00.000000Z' < until_at
-- Columns:
--   source             = sources.name
--   region_id          = regions.id
--   slug               = regions.slug
--   display_name       = regions.display_name
--   zone               = regions.zone
--   country            = regions.country
--   state              = region_state_spans.state
--   last_known_state   text     The state, or if that is UNKNOWN, the state known before
--   from_at            time     Start, included
--   until_at           time     End, not included; of the newest row 2200-01-01, so it is never NULL
--   last_confirmed_at  time     Up to when the state was confirmed; only the newest row goes on after that; NULL: state is UNKNOWN
--   cause              = region_state_spans.cause
--   source_id          = region_versions.source_id
--   seq                = region_state_spans.seq
{% set entity = "region" %}
{% include "parts/states.sql" %}
SELECT
    s.name AS source,
    p.entity_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
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
LEFT JOIN regions r ON r.source_id = p.source_id AND r.id = p.entity_id
WHERE p.from_at < p.until_at
