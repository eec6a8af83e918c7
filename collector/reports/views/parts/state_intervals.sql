-- What region_state_intervals and keystone_state_intervals share: rows of `measured`. ENTITY is region or keystone.
SPANS_OF(ENTITY),
-- By windows and not by GROUP BY: into these SQLite carries what a query asks of one entity.
grouped AS (
    SELECT
        p.source_id,
        p.entity_id,
        p.seq,
        p.state,
        p.cause,
        p.later_state,
        MIN(p.from_at) OVER w AS from_at,
        MAX(p.until_at) OVER w AS until_at,
        SUM(SECONDS_BETWEEN(p.from_at, p.until_at)) OVER w AS seconds,
        ROW_NUMBER() OVER w AS nth
    FROM spans p
    WHERE p.cause IS NULL OR p.cause = 'unseen'
    WINDOW w AS (
        PARTITION BY p.source_id, p.entity_id, p.seq, p.cause, CASE WHEN p.cause = 'unseen' THEN p.from_at END
        ORDER BY p.seq ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
),
bounded AS (
    SELECT
        g.source_id,
        g.entity_id,
        g.seq,
        g.state,
        g.seconds,
        CASE WHEN g.cause IS NULL THEN t.not_before ELSE g.from_at END AS from_earliest,
        CASE WHEN g.cause IS NULL THEN t.observed_at ELSE g.from_at END AS from_latest,
        CASE WHEN g.cause IS NULL AND n.not_before IS NOT NULL THEN n.not_before ELSE g.until_at END AS to_earliest,
        CASE WHEN g.cause IS NULL THEN n.observed_at
             WHEN g.later_state IS NOT NULL THEN g.until_at END AS to_latest,
        -- Where another key or another region's copy looked than before, it may have been so before and after.
        CASE WHEN g.cause IS NULL AND (t.basis IN ('observer_change', 'other_copy')
                                       OR n.basis IN ('observer_change', 'other_copy')) THEN 0 ELSE 1 END AS is_bounded
    FROM grouped g
    JOIN state_transitions t ON t.source_id = g.source_id AND t.entity = 'ENTITY' AND t.entity_id = g.entity_id
        AND t.seq = g.seq
    LEFT JOIN state_transitions n ON n.source_id = g.source_id AND n.entity = 'ENTITY' AND n.entity_id = g.entity_id
        AND n.seq = (SELECT MIN(m.seq) FROM state_transitions m
                     WHERE m.source_id = g.source_id AND m.entity = 'ENTITY' AND m.entity_id = g.entity_id
                       AND m.seq > g.seq)
    WHERE g.nth = 1
),
measured AS (
    SELECT
        b.source_id,
        b.entity_id,
        CAST(b.state AS TEXT) AS state,  -- State, ABSENT or UNKNOWN
        CAST(b.from_earliest AS UTC_TIME) AS from_earliest,  -- It began not before this; NULL: unbounded
        CAST(b.from_latest AS UTC_TIME) AS from_latest,  -- It was first seen in this state
        CAST(b.to_earliest AS UTC_TIME) AS to_earliest,  -- It was last confirmed in this state
        CAST(b.to_latest AS UTC_TIME) AS to_latest,  -- It was first seen otherwise; NULL: still so
        CAST(b.seconds AS DOUBLE PRECISION) AS min_seconds,  -- Known to have lasted so long: without gaps and unseen time
        CAST(CASE WHEN b.is_bounded = 1 THEN SECONDS_BETWEEN(b.from_earliest, b.to_latest) END
            AS DOUBLE PRECISION) AS max_seconds,  -- Can have lasted so long; NULL: unbounded, also where only another key or copy looked
        CAST(b.to_latest IS NULL AS BOOLEAN) AS open,  -- Whether it is the newest state
        b.seq  -- Observation that first showed it; of UNKNOWN, the state before
    FROM bounded b
)
