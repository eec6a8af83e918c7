{# What region_state_intervals and keystone_state_intervals share: rows of `measured`. `entity` is region or keystone. #}
{% include "parts/spans.sql" %},
-- Each state, with what of it is known, and each time that is UNKNOWN.
-- By windows and not by GROUP BY: into these SQLite carries what a query asks of one entity.
grouped AS (
    SELECT
        p.source_id,
        p.entity_id,
        p.seq,
        p.cause,
        p.later_state,
        p.from_at,
        p.until_at,
        SUM(p.seconds) OVER w AS seconds,
        ROW_NUMBER() OVER w AS nth
    FROM (
        SELECT
            t.source_id, t.entity_id, t.seq, NULL AS cause, NULL AS later_state,
            t.observed_at AS from_at, t.observed_at AS until_at, 0 AS seconds, 1 AS is_state
        FROM sources s
        CROSS JOIN state_transitions t
        WHERE t.source_id = s.id AND t.entity = '{{ entity }}'
        UNION ALL
        SELECT
            q.source_id, q.entity_id, q.seq, q.cause, q.later_state,
            q.from_at, q.until_at, {{ seconds_between("q.from_at", "q.until_at") }}, 0
        FROM spans q
        WHERE q.from_at < q.until_at AND (q.cause IS NULL OR q.cause = 'unobserved')
    ) p
    WINDOW w AS (
        PARTITION BY p.source_id, p.entity_id, p.seq, p.cause, CASE WHEN p.cause IS NOT NULL THEN p.from_at END
        ORDER BY p.is_state DESC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
),
bounded AS (
    SELECT
        g.source_id,
        g.entity_id,
        g.seq,
        g.seconds,
        CASE WHEN g.cause IS NOT NULL THEN 'UNKNOWN'
             WHEN t.to_state IS NULL THEN 'ABSENT'
             WHEN UPPER(t.to_state) IN ('ABSENT', 'UNKNOWN') OR SUBSTR(t.to_state, 1, 1) = '"'
             THEN '"' || t.to_state || '"'
             ELSE t.to_state END AS state,
        CASE WHEN g.cause IS NULL THEN t.not_before ELSE g.from_at END AS from_earliest,
        CASE WHEN g.cause IS NULL THEN t.observed_at ELSE g.from_at END AS from_latest,
        CASE WHEN g.cause IS NOT NULL THEN g.until_at
             -- Between two transitions of the pruned time there may have been others.
             WHEN EXISTS (SELECT 1 FROM amendments a WHERE a.source_id = g.source_id AND a.begins_seq >= n.seq)
             THEN t.not_before
             WHEN n.seq IS NOT NULL THEN COALESCE(n.not_before, t.observed_at)
             -- The newest answer that confirmed it.
             WHEN t.to_state IS NOT NULL THEN COALESCE(
                 (SELECT u.last_asked_at FROM unseen u
                  WHERE u.source_id = g.source_id AND u.entity = '{{ entity }}' AND u.entity_id = g.entity_id
                    AND u.until_at IS NULL),
                 e.last_asked_at)
             ELSE (SELECT o.last_asked_at FROM observations o
                   WHERE o.source_id = g.source_id AND o.outcome = 'ok' AND NOT EXISTS (
                       SELECT 1 FROM withheld_absences x
                       WHERE x.source_id = o.source_id AND x.seq = o.seq AND x.entity = '{{ entity }}'
                         AND x.scope IN ('all', CAST(g.entity_id AS TEXT)))
                   ORDER BY o.seq DESC LIMIT 1)
        END AS to_earliest,
        CASE WHEN g.cause IS NULL THEN n.observed_at
             WHEN g.later_state IS NOT NULL THEN g.until_at END AS to_latest,
        -- Where another key or another region's copy looked than before, it may have been so before and after.
        CASE WHEN g.cause IS NULL AND (t.basis IN ('observer_change', 'other_copy')
                                       OR n.basis IN ('observer_change', 'other_copy')) THEN 0 ELSE 1 END AS is_bounded
    FROM grouped g
    JOIN ends e ON e.source_id = g.source_id
    JOIN state_transitions t ON t.source_id = g.source_id AND t.entity = '{{ entity }}' AND t.entity_id = g.entity_id
        AND t.seq = g.seq
    LEFT JOIN state_transitions n ON n.source_id = g.source_id AND n.entity = '{{ entity }}' AND n.entity_id = g.entity_id
        AND n.seq = (SELECT MIN(m.seq) FROM state_transitions m
                     WHERE m.source_id = g.source_id AND m.entity = '{{ entity }}' AND m.entity_id = g.entity_id
                       AND m.seq > g.seq)
    WHERE g.nth = 1
),
measured AS (
    SELECT
        b.source_id,
        b.entity_id,
        CAST(b.state AS TEXT) AS state,
        {{ time("b.from_earliest") }} AS from_earliest,
        {{ time("b.from_latest") }} AS from_latest,
        {{ time("b.to_earliest") }} AS to_earliest,
        {{ time("b.to_latest") }} AS to_latest,
        CAST(b.seconds AS DOUBLE PRECISION) AS seconds_at_least,
        CAST(CASE WHEN b.is_bounded = 1 THEN {{ seconds_between("b.from_earliest", "b.to_latest") }} END
            AS DOUBLE PRECISION) AS seconds_at_most,
        CAST(b.to_latest IS NULL AS BOOLEAN) AS is_open,
        b.seq
    FROM bounded b
)
