-- One row: the share of a month (UTC) for which a region was ACTIVE, at least and at most.
-- The month starts with the first sighting of the region if that was later. It ends with the newest successful poll, or now while a
-- gap is open. Time in which the region was absent counts as not ACTIVE.
-- Example: which regions were certainly ACTIVE for less than 99.9 % of a month?
--   SELECT month, display_name, share_at_least, share_at_most FROM availability_monthly WHERE share_at_most < 0.999
-- Columns:
--   source            = sources.name
--   region_id         = regions.id
--   slug              = regions.slug
--   display_name      = regions.display_name
--   zone              = regions.zone
--   country           = regions.country
--   month             date     First day of the month
--   seconds           double   Length of the month in seconds, or of its part on record
--   seconds_at_least  double   Seconds known to be ACTIVE
--   seconds_at_most   double   Seconds possibly ACTIVE
--   seconds_unknown   double   Seconds in which the state is UNKNOWN
--   share_at_least    double   seconds_at_least divided by seconds, 0 to 1
--   share_at_most     double   seconds_at_most divided by seconds, 0 to 1
--   source_id         = region_versions.source_id
WITH days AS (
    SELECT
        d.*,
        MAX(CASE WHEN d.state = 'ACTIVE' THEN d.seconds_at_most END) OVER w AS at_most,
        ROW_NUMBER() OVER w AS nth_of_day,
        {{ first_of_month("d.day") }} AS month
    FROM daily_region_states d
    WINDOW w AS (
        PARTITION BY d.source, d.source_id, d.region_id, d.day
        ORDER BY d.day ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
),
months AS (
    SELECT
        d.source,
        d.source_id,
        d.region_id,
        d.slug,
        d.display_name,
        d.zone,
        d.country,
        d.month,
        SUM(d.seconds_at_least) OVER w AS seconds,
        SUM(CASE WHEN d.state = 'ACTIVE' THEN d.seconds_at_least ELSE 0 END) OVER w AS at_least,
        SUM(CASE WHEN d.nth_of_day = 1 THEN COALESCE(d.at_most, d.seconds_unobserved) ELSE 0 END) OVER w AS at_most,
        SUM(CASE WHEN d.state = 'UNKNOWN' THEN d.seconds_at_least ELSE 0 END) OVER w AS unknown,
        ROW_NUMBER() OVER w AS nth
    FROM days d
    WINDOW w AS (
        PARTITION BY d.source, d.source_id, d.region_id, d.month
        ORDER BY d.month ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
SELECT
    m.source,
    m.region_id,
    m.slug,
    m.display_name,
    m.zone,
    m.country,
    CAST(m.month AS {{ date }}) AS month,
    CAST(m.seconds AS DOUBLE PRECISION) AS seconds,
    CAST(m.at_least AS DOUBLE PRECISION) AS seconds_at_least,
    CAST(m.at_most AS DOUBLE PRECISION) AS seconds_at_most,
    CAST(m.unknown AS DOUBLE PRECISION) AS seconds_unknown,
    CAST(m.at_least / m.seconds AS DOUBLE PRECISION) AS share_at_least,
    CAST(CASE WHEN m.at_most < m.seconds THEN m.at_most / m.seconds ELSE 1 END AS DOUBLE PRECISION) AS share_at_most,
    m.source_id
FROM months m
WHERE m.nth = 1
