-- One row: a day (UTC) of a source, with its polls, failures and coverage.
-- Days run from the first poll to now, days without polls included; after a prune, from the start of what is left. Time is
-- covered if it lies in no row of coverage_gaps. The first day starts with the first poll, and today ends now.
-- Example: on which days was less than 99 % of the time covered, and why?
--   SELECT source, day, share_covered, polls, failed_polls FROM poll_health WHERE share_covered < 0.99
-- Columns:
--   source                = sources.name
--   day                   = daily_region_states.day
--   polls                 bigint   Number of polls
--   ok_polls              bigint   Polls with a complete answer
--   partial_polls         bigint   Polls whose answer may be only one page
--   held_polls            bigint   Polls whose answer missed suspiciously much; its absences wait for confirmation
--   failed_polls          bigint   Polls without a usable answer
--   failed_key            bigint   Failed polls: no API key was available
--   failed_connect        bigint   Failed polls: no connection, or TLS failed
--   failed_timeout        bigint   Failed polls: no complete answer in time
--   failed_protocol       bigint   Failed polls: the connection broke, or the response was not HTTP
--   failed_http_status    bigint   Failed polls: an HTTP status other than 200
--   failed_too_large      bigint   Failed polls: the answer was larger than the limit
--   failed_not_json       bigint   Failed polls: the answer was not valid JSON
--   failed_not_a_listing  bigint   Failed polls: JSON, but no list of regions
--   failed_stale          bigint   Failed polls: from a cache, and possibly older than the answer before
--   seconds               double   Length of the day in seconds, or of its part from the first poll until now
--   longest_gap_seconds   double   Longest part of one gap within the day, in seconds; 0: none
--   share_covered         double   Share of seconds without a gap, 0 to 1
--   source_id             = region_versions.source_id
WITH RECURSIVE looked AS (
    SELECT o.source_id, MIN(o.first_at) AS from_at, MAX(o.last_at) AS last_at, {{ now }} AS now_at
    FROM observations o
    WHERE NOT EXISTS (SELECT 1 FROM amendments a WHERE a.source_id = o.source_id AND a.begins_seq > o.seq)
    GROUP BY o.source_id
),
spans AS (
    SELECT l.source_id, l.from_at, CASE WHEN l.now_at > l.last_at THEN l.now_at ELSE l.last_at END AS until_at
    FROM looked l
),
days AS (
    SELECT p.source_id, {{ day_of("p.from_at") }} AS day, {{ day_after(day_of("p.from_at")) }} AS next_day, p.from_at, p.until_at
    FROM spans p
    UNION ALL
    SELECT d.source_id, d.next_day, {{ day_after("d.next_day") }}, d.from_at, d.until_at
    FROM days d
    WHERE d.next_day <= {{ day_of("d.until_at") }}
),
bounds AS (
    SELECT
        d.source_id,
        d.day,
        CASE WHEN d.from_at > {{ start_of("d.day") }} THEN d.from_at ELSE {{ start_of("d.day") }} END AS from_at,
        CASE WHEN d.until_at < {{ start_of("d.next_day") }} THEN d.until_at ELSE {{ start_of("d.next_day") }} END AS until_at
    FROM days d
),
missed AS (
    SELECT
        b.source_id,
        b.day,
        CASE WHEN g.from_at > b.from_at THEN g.from_at ELSE b.from_at END AS from_at,
        CASE WHEN g.until_at < b.until_at THEN g.until_at ELSE b.until_at END AS until_at
    FROM coverage_gaps g
    JOIN sources s ON s.name = g.source
    JOIN bounds b ON b.source_id = s.id AND b.until_at > g.from_at
        AND (g.until_at IS NULL OR b.from_at < g.until_at)
),
missing AS MATERIALIZED (
    SELECT
        m.source_id,
        m.day,
        SUM({{ seconds_between("m.from_at", "m.until_at") }}) AS seconds,
        MAX({{ seconds_between("m.from_at", "m.until_at") }}) AS longest
    FROM missed m
    GROUP BY m.source_id, m.day
),
polled AS MATERIALIZED (
    SELECT
        o.source_id,
        {{ day_of("o.first_at") }} AS day,
        SUM(o.polls) AS polls,
        SUM(CASE WHEN o.outcome = 'ok' THEN o.polls ELSE 0 END) AS ok,
        SUM(CASE WHEN o.outcome = 'partial' THEN o.polls ELSE 0 END) AS partial,
        SUM(CASE WHEN o.outcome = 'held' THEN o.polls ELSE 0 END) AS held,
        SUM(CASE WHEN o.outcome = 'failed' THEN o.polls ELSE 0 END) AS failed,
        SUM(CASE WHEN o.cause = 'key' THEN o.polls ELSE 0 END) AS failed_key,
        SUM(CASE WHEN o.cause = 'connect' THEN o.polls ELSE 0 END) AS failed_connect,
        SUM(CASE WHEN o.cause = 'timeout' THEN o.polls ELSE 0 END) AS failed_timeout,
        SUM(CASE WHEN o.cause = 'protocol' THEN o.polls ELSE 0 END) AS failed_protocol,
        SUM(CASE WHEN o.cause = 'http_status' THEN o.polls ELSE 0 END) AS failed_http_status,
        SUM(CASE WHEN o.cause = 'too_large' THEN o.polls ELSE 0 END) AS failed_too_large,
        SUM(CASE WHEN o.cause = 'not_json' THEN o.polls ELSE 0 END) AS failed_not_json,
        SUM(CASE WHEN o.cause = 'not_a_listing' THEN o.polls ELSE 0 END) AS failed_not_a_listing,
        SUM(CASE WHEN o.cause = 'stale' THEN o.polls ELSE 0 END) AS failed_stale
    FROM observations o
    WHERE NOT EXISTS (SELECT 1 FROM amendments a WHERE a.source_id = o.source_id AND a.begins_seq > o.seq)
    GROUP BY o.source_id, {{ day_of("o.first_at") }}
),
measured AS (
    SELECT
        b.source_id,
        b.day,
        {{ seconds_between("b.from_at", "b.until_at") }} AS seconds,
        COALESCE(m.seconds, 0) AS missing,
        COALESCE(m.longest, 0) AS longest
    FROM bounds b
    LEFT JOIN missing m ON m.source_id = b.source_id AND m.day = b.day
)
SELECT
    s.name AS source,
    CAST(m.day AS {{ date }}) AS day,
    CAST(COALESCE(p.polls, 0) AS BIGINT) AS polls,
    CAST(COALESCE(p.ok, 0) AS BIGINT) AS ok_polls,
    CAST(COALESCE(p.partial, 0) AS BIGINT) AS partial_polls,
    CAST(COALESCE(p.held, 0) AS BIGINT) AS held_polls,
    CAST(COALESCE(p.failed, 0) AS BIGINT) AS failed_polls,
    CAST(COALESCE(p.failed_key, 0) AS BIGINT) AS failed_key,
    CAST(COALESCE(p.failed_connect, 0) AS BIGINT) AS failed_connect,
    CAST(COALESCE(p.failed_timeout, 0) AS BIGINT) AS failed_timeout,
    CAST(COALESCE(p.failed_protocol, 0) AS BIGINT) AS failed_protocol,
    CAST(COALESCE(p.failed_http_status, 0) AS BIGINT) AS failed_http_status,
    CAST(COALESCE(p.failed_too_large, 0) AS BIGINT) AS failed_too_large,
    CAST(COALESCE(p.failed_not_json, 0) AS BIGINT) AS failed_not_json,
    CAST(COALESCE(p.failed_not_a_listing, 0) AS BIGINT) AS failed_not_a_listing,
    CAST(COALESCE(p.failed_stale, 0) AS BIGINT) AS failed_stale,
    CAST(m.seconds AS DOUBLE PRECISION) AS seconds,
    CAST(m.longest AS DOUBLE PRECISION) AS longest_gap_seconds,
    CAST(CASE WHEN m.seconds > 0 THEN (m.seconds - m.missing) / m.seconds END AS DOUBLE PRECISION) AS share_covered,
    m.source_id
FROM measured m
JOIN sources s ON s.id = m.source_id
LEFT JOIN polled p ON p.source_id = m.source_id AND p.day = m.day
