-- What region_state_intervals and keystone_state_intervals share: rows of `measured`. ENTITY is region or keystone.
WITH steps AS (
    SELECT
        t.source_id,
        t.entity_id,
        t.to_state,
        t.seq,
        t.not_before AS from_earliest,
        t.observed_at AS from_latest,
        LEAD(t.not_before) OVER w AS next_not_before,
        LEAD(t.observed_at) OVER w AS to_latest,
        LEAD(t.seq) OVER w AS next_seq
    FROM state_transitions t
    WHERE t.entity = 'ENTITY'
    WINDOW w AS (PARTITION BY t.source_id, t.entity_id ORDER BY t.seq)
),
intervals AS (
    SELECT
        i.*,
        CASE
            WHEN i.to_latest IS NOT NULL THEN COALESCE(i.next_not_before, i.from_latest)
            WHEN i.to_state IS NULL THEN
                (SELECT o.last_at FROM observations o
                 WHERE o.source_id = i.source_id AND o.outcome = 'ok' AND NOT EXISTS (
                     SELECT 1 FROM withheld_absences w
                     WHERE w.source_id = o.source_id AND w.seq = o.seq AND w.entity = 'ENTITY'
                       AND w.scope IN ('all', CAST(i.entity_id AS TEXT)))
                 ORDER BY o.seq DESC LIMIT 1)
            ELSE COALESCE(
                (SELECT u.from_at FROM unseen u
                 WHERE u.source_id = i.source_id AND u.entity = 'ENTITY' AND u.entity_id = i.entity_id
                   AND u.until_at IS NULL),
                (SELECT o.last_at FROM observations o
                 WHERE o.source_id = i.source_id AND o.outcome <> 'failed' ORDER BY o.seq DESC LIMIT 1)
            )
        END AS to_earliest
    FROM steps i
),
-- Of an absence only complete answers know, and only those that withheld nothing of it.
absent AS (
    SELECT
        i.source_id, i.entity_id, i.seq, i.to_earliest,
        o.seq AS observation, o.first_at, o.last_at, o.expected_interval_ms
    FROM intervals i
    JOIN observations o ON o.source_id = i.source_id AND o.seq >= i.seq
        AND (i.next_seq IS NULL OR o.seq < i.next_seq) AND o.outcome = 'ok'
    WHERE i.to_state IS NULL AND NOT EXISTS (
        SELECT 1 FROM withheld_absences w
        WHERE w.source_id = o.source_id AND w.seq = o.seq AND w.entity = 'ENTITY'
          AND w.scope IN ('all', CAST(i.entity_id AS TEXT)))
),
absent_to AS (
    SELECT
        a.*,
        CASE
            WHEN n.observation = a.observation + 1
                AND SECONDS_BETWEEN(a.last_at, n.first_at) * 1000 <= 2.5 * a.expected_interval_ms
                AND n.first_at <= a.to_earliest
            THEN n.first_at
            WHEN a.last_at <= a.to_earliest THEN a.last_at
            WHEN a.first_at <= a.to_earliest THEN a.to_earliest
            ELSE a.first_at
        END AS until_at
    FROM absent a
    LEFT JOIN absent n ON n.source_id = a.source_id AND n.entity_id = a.entity_id AND n.seq = a.seq
        AND n.observation = a.observation + 1
),
known_absent AS (
    SELECT a.source_id, a.entity_id, a.seq, SUM(SECONDS_BETWEEN(a.first_at, a.until_at)) AS seconds
    FROM absent_to a
    GROUP BY a.source_id, a.entity_id, a.seq
),
gaps AS (
    SELECT s.id AS source_id, g.from_at, g.until_at
    FROM coverage_gaps g
    JOIN sources s ON s.name = g.source
    WHERE g.until_at IS NOT NULL
),
blind AS (
    SELECT g.source_id, u.entity_id, -1 AS sign,
        CASE WHEN g.from_at > u.from_at THEN g.from_at ELSE u.from_at END AS from_at,
        CASE WHEN g.until_at < u.until_at THEN g.until_at ELSE u.until_at END AS until_at
    FROM gaps g
    JOIN unseen u ON u.source_id = g.source_id AND u.from_at < g.until_at AND u.until_at > g.from_at
    WHERE u.entity = 'ENTITY'
    UNION ALL
    SELECT u.source_id, u.entity_id, 1, u.from_at, u.until_at
    FROM unseen u
    WHERE u.entity = 'ENTITY' AND u.until_at IS NOT NULL
    UNION ALL
    SELECT g.source_id, r.id, 1, g.from_at, g.until_at
    FROM gaps g
    JOIN ENTITYs r ON r.source_id = g.source_id
),
cut AS (
    SELECT i.source_id, i.entity_id, i.seq, b.sign,
        CASE WHEN b.from_at > i.from_latest THEN b.from_at ELSE i.from_latest END AS from_at,
        CASE WHEN b.until_at < i.to_earliest THEN b.until_at ELSE i.to_earliest END AS until_at
    FROM intervals i
    JOIN blind b ON b.source_id = i.source_id AND b.entity_id = i.entity_id
        AND b.from_at < i.to_earliest AND b.until_at > i.from_latest
),
unknown AS (
    SELECT c.source_id, c.entity_id, c.seq, SUM(c.sign * SECONDS_BETWEEN(c.from_at, c.until_at)) AS seconds
    FROM cut c
    GROUP BY c.source_id, c.entity_id, c.seq
),
measured AS (
    SELECT
        i.source_id,
        i.entity_id,
        CAST(COALESCE(i.to_state, 'ABSENT') AS TEXT) AS state,  -- State, or ABSENT
        i.from_earliest,  -- It began not before this; NULL: unbounded
        i.from_latest,  -- It was first seen in this state
        CAST(i.to_earliest AS UTC_TIME) AS to_earliest,  -- It was last confirmed in this state
        CAST(i.to_latest AS UTC_TIME) AS to_latest,  -- It was first seen otherwise; NULL: still so
        CAST(CASE
            WHEN i.to_state IS NULL THEN COALESCE(a.seconds, 0)
            WHEN SECONDS_BETWEEN(i.from_latest, i.to_earliest) > COALESCE(b.seconds, 0)
            THEN SECONDS_BETWEEN(i.from_latest, i.to_earliest) - COALESCE(b.seconds, 0)
            ELSE 0
        END AS DOUBLE PRECISION) AS min_seconds,  -- Known to have lasted so long: without gaps and unseen time
        CAST(SECONDS_BETWEEN(i.from_earliest, i.to_latest) AS DOUBLE PRECISION) AS max_seconds,  -- Can have lasted so long; NULL: unbounded
        CAST(i.to_latest IS NULL AS BOOLEAN) AS open,  -- Whether it is the newest state
        i.seq  -- Observation that first showed it
    FROM intervals i
    LEFT JOIN known_absent a ON a.source_id = i.source_id AND a.entity_id = i.entity_id AND a.seq = i.seq
    LEFT JOIN unknown b ON b.source_id = i.source_id AND b.entity_id = i.entity_id AND b.seq = i.seq
)
