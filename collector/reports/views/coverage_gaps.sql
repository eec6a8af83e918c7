-- One row: a time without any successful poll of a source, longer than 2.5 expected intervals; where the polls at its
-- ends expected different intervals, of the longer one.
-- until_at is NULL while the gap is open. cause: no_polls, or why most polls of that time failed.
-- Example: when were we blind for more than an hour?
--   SELECT source, from_at, until_at, cause FROM coverage_gaps WHERE seconds > 3600
-- A source that failed from the first is not covered from its first poll on.
WITH applied AS (
    SELECT
        o.source_id,
        0 AS seq,
        o.first_at AS from_at,
        o.expected_interval_ms,
        (SELECT MIN(a.first_at) FROM observations a
         WHERE a.source_id = o.source_id AND a.outcome <> 'failed') AS until_at,
        (SELECT MIN(a.seq) FROM observations a
         WHERE a.source_id = o.source_id AND a.outcome <> 'failed') AS next_seq,
        (SELECT a.expected_interval_ms FROM observations a
         WHERE a.source_id = o.source_id AND a.outcome <> 'failed' ORDER BY a.seq LIMIT 1) AS next_interval_ms,
        NOW AS now_at
    FROM observations o
    WHERE o.seq = 1 AND o.outcome = 'failed'
    UNION ALL
    SELECT
        o.source_id,
        o.seq,
        o.last_at AS from_at,
        o.expected_interval_ms,
        LEAD(o.first_at) OVER w AS until_at,
        LEAD(o.seq) OVER w AS next_seq,
        LEAD(o.expected_interval_ms) OVER w AS next_interval_ms,
        NOW AS now_at
    FROM observations o
    WHERE o.outcome <> 'failed'
    WINDOW w AS (PARTITION BY o.source_id ORDER BY o.seq)
),
measured AS (
    SELECT
        a.*,
        CASE WHEN a.until_at IS NULL THEN SECONDS_BETWEEN(a.from_at, a.now_at)
             ELSE SECONDS_BETWEEN(a.from_at, a.until_at) END AS seconds,
        CASE WHEN COALESCE(a.next_interval_ms, n.expected_interval_ms) > a.expected_interval_ms
             THEN COALESCE(a.next_interval_ms, n.expected_interval_ms) ELSE a.expected_interval_ms END AS interval_ms,
        -- By the first complete answer after it that withheld nothing all has been seen or proven absent.
        (SELECT o.first_at FROM observations o
         WHERE o.source_id = a.source_id AND o.seq >= a.next_seq AND (
             o.seq = s.newest_seq OR o.outcome = 'ok' AND NOT EXISTS (
                 SELECT 1 FROM withheld_absences w
                 WHERE w.source_id = o.source_id AND w.seq = o.seq AND w.entity IN ('region', 'keystone')))
         ORDER BY o.seq LIMIT 1) AS whole_at
    FROM applied a
    JOIN sources s ON s.id = a.source_id
    JOIN observations n ON n.source_id = s.id AND n.seq = s.newest_seq
),
blamed AS (
    SELECT
        m.*,
        (SELECT f.cause FROM observations f
         WHERE f.source_id = m.source_id AND f.seq > m.seq AND (m.next_seq IS NULL OR f.seq < m.next_seq)
         GROUP BY f.cause ORDER BY SUM(f.polls) DESC, MIN(f.seq) LIMIT 1) AS cause
    FROM measured m
    WHERE m.seconds * 1000 > 2.5 * m.interval_ms
)
SELECT
    s.name AS source,
    m.from_at,  -- The newest successful poll before; of a source that failed from the first, its first poll
    CAST(m.until_at AS UTC_TIME) AS until_at,  -- The next successful poll; NULL: none yet
    CAST(m.seconds AS DOUBLE PRECISION) AS seconds,  -- Length, until now while it is open
    CAST(COALESCE(m.cause, 'no_polls') AS TEXT) AS cause,  -- Of most failed polls in it, or no_polls
    CAST(
        (SELECT f.message FROM observations f
         WHERE f.source_id = m.source_id AND f.seq > m.seq AND (m.next_seq IS NULL OR f.seq < m.next_seq)
             AND f.cause = m.cause
         ORDER BY f.polls DESC, f.seq LIMIT 1)
    AS TEXT) AS error,  -- Message of the longest stretch of those polls
    CAST(COALESCE(
        (SELECT SUM(f.polls) FROM observations f
         WHERE f.source_id = m.source_id AND f.seq > m.seq AND (m.next_seq IS NULL OR f.seq < m.next_seq)),
        0
    ) AS BIGINT) AS failed_polls,  -- Failed polls in it
    CAST(
        (SELECT COUNT(*) FROM state_transitions t
         WHERE t.source_id = m.source_id AND t.observed_at >= m.until_at AND t.observed_at <= m.whole_at
           AND t.not_before <= m.from_at)
        + (SELECT COUNT(*) FROM unseen u
           JOIN state_transitions t ON t.source_id = u.source_id AND t.entity = u.entity
               AND t.entity_id = u.entity_id AND t.seq = u.until_seq
           WHERE u.source_id = m.source_id AND u.from_at <= m.from_at AND u.until_at > m.whole_at
             AND t.not_before <= m.from_at)
    AS BIGINT) AS transitions,  -- Changes of state or presence whose window spans it
    m.seq  -- Observation before it; 0: none
FROM blamed m
JOIN sources s ON s.id = m.source_id
