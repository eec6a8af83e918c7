-- One row: a region in one state on one day (UTC), with the time in that state at least and at most.
-- The seconds_at_least of all rows of a region and day, UNKNOWN included, add up to the whole day. The first day starts with
-- the first sighting of the region; the newest ends with the newest successful poll, or now while a gap is open.
-- seconds_at_most adds the time in which the region may have been in this state: the windows of its changes from or to this
-- state, and all of seconds_unobserved. A state without a row lasted seconds_unobserved at most.
-- Example: on which days was a region in MAINTENANCE, and for how long?
--   SELECT day, display_name, seconds_at_least, seconds_at_most FROM daily_region_states WHERE state = 'MAINTENANCE'
-- Columns:
--   source              = sources.name
--   region_id           = regions.id
--   slug                = regions.slug
--   display_name        = regions.display_name
--   zone                = regions.zone
--   country             = regions.country
--   day                 date     The day, in UTC
--   state               = region_state_spans.state
--   seconds_at_least    double   Seconds known to be in this state
--   seconds_at_most     double   Seconds possibly in this state
--   seconds_unobserved  double   Seconds of the day in which the region may have been in any state
--   source_id           = region_versions.source_id
WITH parts AS (
    SELECT
        p.source,
        p.source_id,
        p.region_id,
        p.slug,
        p.display_name,
        p.zone,
        p.country,
        p.state,
        p.earlier_state,
        p.later_state,
        p.cause,
        p.day,
        CASE WHEN p.from_at > {{ start_of("p.day") }} THEN p.from_at ELSE {{ start_of("p.day") }} END AS from_at,
        CASE WHEN p.until_at < {{ start_of("p.next_day") }} THEN p.until_at ELSE {{ start_of("p.next_day") }} END AS until_at
    FROM (
        SELECT q.*, {{ day_after("q.day") }} AS next_day
        FROM (
            SELECT s.*, {{ days_after(day_of("s.from_at"), "d.key") }} AS day
            FROM region_state_spans s
            CROSS JOIN {{ each_day("s.from_at", "s.until_at", "d") }}
        ) q
    ) p
),
measured AS (
    SELECT m.*, {{ seconds_between("m.from_at", "m.until_at") }} AS seconds
    FROM parts m
    WHERE m.from_at < m.until_at
),
-- What each part says of its own state, and of the states before and after it.
said AS (
    SELECT
        m.source,
        m.source_id,
        m.region_id,
        m.slug,
        m.display_name,
        m.zone,
        m.country,
        m.day,
        CASE c.which WHEN 0 THEN m.state WHEN 1 THEN m.earlier_state ELSE m.later_state END AS state,
        CASE c.which WHEN 0 THEN m.seconds ELSE 0 END AS known,
        CASE WHEN c.which > 0 AND m.cause = 'change' THEN m.seconds ELSE 0 END AS turning,
        CASE WHEN c.which = 0 AND m.cause = 'unobserved' THEN m.seconds ELSE 0 END AS unobserved,
        CASE WHEN c.which = 0 AND m.cause IS NOT NULL THEN 1 ELSE 0 END AS is_unknown
    FROM measured m
    CROSS JOIN (SELECT 0 AS which UNION ALL SELECT 1 UNION ALL SELECT 2) c
    WHERE c.which = 0 OR c.which = 1 AND m.cause IS NOT NULL
        OR c.which = 2 AND m.later_state IS NOT NULL AND m.later_state <> m.earlier_state
),
-- By windows and not by GROUP BY: into these SQLite carries what a query asks of one region.
of_the_state AS (
    SELECT
        a.*,
        SUM(a.known) OVER w AS seconds,
        SUM(a.turning) OVER w AS turned,
        SUM(a.unobserved) OVER w AS unobserved_in_it,
        ROW_NUMBER() OVER w AS nth
    FROM said a
    WINDOW w AS (
        PARTITION BY a.source, a.source_id, a.region_id, a.day, a.state, a.is_unknown
        ORDER BY a.state ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
),
of_the_day AS (
    SELECT b.*, SUM(b.unobserved_in_it) OVER (PARTITION BY b.source, b.source_id, b.region_id, b.day) AS unobserved_that_day
    FROM of_the_state b
    WHERE b.nth = 1
)
SELECT
    f.source,
    f.region_id,
    f.slug,
    f.display_name,
    f.zone,
    f.country,
    CAST(f.day AS {{ date }}) AS day,
    CAST(f.state AS TEXT) AS state,
    CAST(f.seconds AS DOUBLE PRECISION) AS seconds_at_least,
    CAST(CASE WHEN f.is_unknown = 1 THEN f.seconds ELSE f.seconds + f.turned + f.unobserved_that_day END
        AS DOUBLE PRECISION) AS seconds_at_most,
    CAST(f.unobserved_that_day AS DOUBLE PRECISION) AS seconds_unobserved,
    f.source_id
FROM of_the_day f
