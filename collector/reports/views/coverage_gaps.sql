-- One row: a time without any successful poll of a source, longer than 2.5 times the expected interval.
-- If the polls at its ends expected different intervals, the longer one counts. A source that failed from the start is not
-- covered from its first poll on. The pruned part of a history is one row with the cause pruned.
-- Example: when did no poll succeed for more than an hour?
--   SELECT source, from_at, until_at, cause FROM coverage_gaps WHERE seconds > 3600
-- Columns:
--   source        = sources.name
--   from_at       time     The last successful poll before it; if there was none, the first poll
--   until_at      time     The next successful poll; NULL: none yet, the gap is open
--   seconds       double   Length in seconds; of an open gap, until now
--   cause         text     Why most polls in it failed; no_polls: none was made; pruned: the history of this time was deleted
--   error         text     Message of the longest run of these failures
--   failed_polls  = gaps.failed_polls
--   transitions   bigint   Number of changes of state or presence whose window contains it
--   source_id     = region_versions.source_id
--   seq           bigint   Observation before it; 0: none
WITH applied AS (
    -- The last observation whose records were applied; of a source that failed from the first, its first one.
    SELECT
        s.id AS source_id,
        COALESCE((SELECT a.seq FROM observations a
                  WHERE a.source_id = s.id AND a.outcome <> 'failed' ORDER BY a.seq DESC LIMIT 1), 0) AS seq,
        s.newest_seq,
        {{ now }} AS now_at
    FROM sources s
),
open_gaps AS (
    SELECT
        a.source_id,
        a.seq,
        CASE WHEN a.seq = 0 THEN o.first_at ELSE o.last_at END AS from_at,
        a.now_at,
        CASE WHEN n.expected_interval_ms > o.expected_interval_ms
             THEN n.expected_interval_ms ELSE o.expected_interval_ms END AS interval_ms,
        (SELECT f.cause FROM observations f
         WHERE f.source_id = a.source_id AND f.seq > a.seq
         GROUP BY f.cause ORDER BY SUM(f.polls) DESC, MIN(f.seq) LIMIT 1) AS cause,
        (SELECT SUM(f.polls) FROM observations f WHERE f.source_id = a.source_id AND f.seq > a.seq) AS failed_polls
    FROM applied a
    JOIN observations o ON o.source_id = a.source_id AND o.seq = CASE WHEN a.seq = 0 THEN 1 ELSE a.seq END
    JOIN observations n ON n.source_id = a.source_id AND n.seq = a.newest_seq
),
measured AS (
    SELECT
        g.source_id,
        g.seq,
        g.from_at,
        g.until_at,
        {{ seconds_between("g.from_at", "g.until_at") }} AS seconds,
        g.cause,
        g.error,
        g.failed_polls,
        -- By the first complete answer after it that withheld nothing all has been seen or proven absent.
        (SELECT o.first_at FROM observations o
         WHERE o.source_id = g.source_id AND o.seq >= g.until_seq AND (
             o.seq = s.newest_seq OR o.outcome = 'ok' AND NOT EXISTS (
                 SELECT 1 FROM withheld_absences w
                 WHERE w.source_id = o.source_id AND w.seq = o.seq AND w.entity IN ('region', 'keystone')))
         ORDER BY o.seq LIMIT 1) AS whole_at
    FROM gaps g
    JOIN sources s ON s.id = g.source_id
    UNION ALL
    SELECT
        p.source_id,
        p.seq,
        p.from_at,
        NULL,
        {{ seconds_between("p.from_at", "p.now_at") }},
        COALESCE(p.cause, 'no_polls'),
        (SELECT f.message FROM observations f
         WHERE f.source_id = p.source_id AND f.seq > p.seq AND f.cause = p.cause
         ORDER BY f.polls DESC, f.seq LIMIT 1),
        COALESCE(p.failed_polls, 0),
        NULL
    FROM open_gaps p
    WHERE {{ seconds_between("p.from_at", "p.now_at") }} * 1000 > 2.5 * p.interval_ms
    UNION ALL
    SELECT
        a.source_id,
        0,
        a.pruned_from_at,
        a.begins_at,
        {{ seconds_between("a.pruned_from_at", "a.begins_at") }},
        'pruned',
        NULL,
        0,
        NULL
    FROM amendments a
    WHERE a.begins_at = (SELECT MAX(x.begins_at) FROM amendments x WHERE x.source_id = a.source_id)
)
SELECT
    s.name AS source,
    m.from_at,
    {{ time("m.until_at") }} AS until_at,
    CAST(m.seconds AS DOUBLE PRECISION) AS seconds,
    CAST(m.cause AS TEXT) AS cause,
    CAST(m.error AS TEXT) AS error,
    CAST(m.failed_polls AS BIGINT) AS failed_polls,
    CAST(
        (SELECT COUNT(*) FROM state_transitions t
         WHERE t.source_id = m.source_id AND t.observed_at >= m.until_at AND t.observed_at <= m.whole_at
           AND t.not_before <= m.from_at)
        + (SELECT COUNT(*) FROM unseen u
           JOIN state_transitions t ON t.source_id = u.source_id AND t.entity = u.entity
               AND t.entity_id = u.entity_id AND t.seq = u.until_seq
           WHERE u.source_id = m.source_id AND u.from_at <= m.from_at AND u.until_at > m.whole_at
             AND t.not_before <= m.from_at)
    AS BIGINT) AS transitions,
    m.source_id,
    m.seq
FROM measured m
JOIN sources s ON s.id = m.source_id
