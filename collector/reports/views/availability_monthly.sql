-- One row: for which share of a month (UTC) a region was ACTIVE, at least and at most.
-- The month begins with the region's first sight, if that was later, and ends with the newest successful poll, or now
-- while a gap is open. Time in which the region was absent counts as not ACTIVE.
-- Example: which regions were ACTIVE for less than 99.9 % of a month, for sure?
--   SELECT month, display_name, share_at_least, share_at_most FROM availability_monthly WHERE share_at_most < 0.999
-- By windows and not by GROUP BY: into these SQLite carries what a query asks of one region.
-- Columns:
--   source            = sources.name
--   region_id         = regions.id
--   slug              = regions.slug
--   display_name      = regions.display_name
--   month             date     First day of the month
--   seconds           double   Length of the month, or of the part that is on record
--   seconds_at_least  double   Known to have been ACTIVE so long
--   seconds_at_most   double   Can have been ACTIVE so long
--   seconds_unknown   double   So long its state is UNKNOWN
--   share_at_least    double   Share of seconds
--   share_at_most     double   Share of seconds
WITH days AS (
    SELECT
        d.*,
        MAX(CASE WHEN d.state = 'ACTIVE' THEN d.seconds_at_most END) OVER w AS at_most,
        ROW_NUMBER() OVER w AS nth_of_day,
        {{ first_of_month("d.day") }} AS month
    FROM daily_region_states d
    WINDOW w AS (
        PARTITION BY d.source, d.region_id, d.day
        ORDER BY d.day ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
),
months AS (
    SELECT
        d.source,
        d.region_id,
        d.slug,
        d.display_name,
        d.month,
        SUM(d.seconds_at_least) OVER w AS seconds,
        SUM(CASE WHEN d.state = 'ACTIVE' THEN d.seconds_at_least ELSE 0 END) OVER w AS at_least,
        SUM(CASE WHEN d.nth_of_day = 1 THEN COALESCE(d.at_most, d.seconds_unobserved) ELSE 0 END) OVER w AS at_most,
        SUM(CASE WHEN d.state = 'UNKNOWN' THEN d.seconds_at_least ELSE 0 END) OVER w AS unknown,
        ROW_NUMBER() OVER w AS nth
    FROM days d
    WINDOW w AS (
        PARTITION BY d.source, d.region_id, d.month
        ORDER BY d.month ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
SELECT
    m.source,
    m.region_id,
    m.slug,
    m.display_name,
    CAST(m.month AS {{ date }}) AS month,
    CAST(m.seconds AS DOUBLE PRECISION) AS seconds,
    CAST(m.at_least AS DOUBLE PRECISION) AS seconds_at_least,
    CAST(m.at_most AS DOUBLE PRECISION) AS seconds_at_most,
    CAST(m.unknown AS DOUBLE PRECISION) AS seconds_unknown,
    CAST(m.at_least / m.seconds AS DOUBLE PRECISION) AS share_at_least,
    CAST(CASE WHEN m.at_most < m.seconds THEN m.at_most / m.seconds ELSE 1 END AS DOUBLE PRECISION) AS share_at_most
FROM months m
WHERE m.nth = 1
