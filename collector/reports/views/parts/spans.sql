{# What the views of spans and of intervals share: rows of `spans`. `entity` is region or keystone.
   The rule stands here for analysts, who ask in SQL. Our own reports take the same from `inventory/spans.py`, in a tenth
   of the time. Random worlds hold the two together; who changes one changes the other. #}
-- Each moment is judged by what covers it:
--   nothing         the state that was seen last is known
--   one window      in which a transition happened: it was in the state before, then in the one after; cause change
--   more windows, or blind time: it may have been in any state; cause unobserved
-- Blind is the time of a gap, and in which the entity was not shown; of an absence, the time between complete answers
-- that are too far apart, or in which one named it; and all of an absence that only another key saw.
WITH ends AS (
    -- Up to where spans go: the question of the newest poll that was applied, or now while a gap is open.
    SELECT
        n.source_id,
        n.last_asked_at,
        CASE WHEN {{ seconds_between("n.last_at", "n.now_at") }} * 1000 > 2.5 * n.interval_ms
             THEN n.now_at ELSE n.last_asked_at END AS end_at
    FROM (
        SELECT
            o.source_id,
            o.last_at,
            o.last_asked_at,
            CASE WHEN f.expected_interval_ms > o.expected_interval_ms
                 THEN f.expected_interval_ms ELSE o.expected_interval_ms END AS interval_ms,
            {{ now }} AS now_at
        -- By CROSS JOIN, which SQLite does not reorder, here and below: so keys, which begin with source_id, find few rows.
        FROM sources s
        CROSS JOIN observations o
        CROSS JOIN observations f
        WHERE o.source_id = s.id
            AND o.seq = (SELECT a.seq FROM observations a
                         WHERE a.source_id = s.id AND a.outcome <> 'failed' ORDER BY a.seq DESC LIMIT 1)
            AND f.source_id = s.id AND f.seq = s.newest_seq
    ) n
),
-- Times for which nothing is known of an entity that is present (1), or absent (0). entity_id NULL: of all; until_at
-- NULL: still open.
blind AS (
    SELECT e.source_id, e.id AS entity_id, 1 AS present, g.from_at, g.until_at
    FROM {{ entity }}s e
    JOIN (
        SELECT g.source_id, g.last_asked_at AS from_at, g.until_at
        FROM sources s
        CROSS JOIN gaps g
        WHERE g.source_id = s.id AND g.seq > 0
        UNION ALL
        -- What was before the beginning of a history that was pruned.
        SELECT a.source_id, a.pruned_from_at AS from_at, a.begins_at AS until_at
        FROM amendments a
        WHERE a.begins_at IS NOT NULL
        UNION ALL
        SELECT m.source_id, m.last_asked_at, NULL AS until_at
        FROM ends m
        WHERE m.last_asked_at < m.end_at
    ) g ON g.source_id = e.source_id
    UNION ALL
    -- What is not known of absences matters only to entities that were absent once.
    SELECT e.source_id, e.entity_id, 0 AS present, g.from_at, g.until_at
    FROM (
        SELECT DISTINCT t.source_id, t.entity_id
        FROM sources s
        CROSS JOIN state_transitions t
        WHERE t.source_id = s.id AND t.entity = '{{ entity }}' AND t.to_state IS NULL
    ) e
    JOIN (
        SELECT x.source_id, x.from_at, x.until_at
        FROM sources s
        CROSS JOIN unproven_absences x
        WHERE x.source_id = s.id AND x.entity = '{{ entity }}' AND x.scope = 'all'
        UNION ALL
        SELECT a.source_id, a.pruned_from_at AS from_at, a.begins_at AS until_at
        FROM amendments a
        WHERE a.begins_at IS NOT NULL
        UNION ALL
        -- The time since the last complete answer that withheld nothing.
        SELECT o.source_id, o.last_asked_at, NULL AS until_at
        FROM ends m
        JOIN observations o ON o.source_id = m.source_id AND o.seq = (
            SELECT a.seq FROM observations a
            WHERE a.source_id = m.source_id AND a.outcome = 'ok' AND NOT EXISTS (
                SELECT 1 FROM withheld_absences x
                WHERE x.source_id = a.source_id AND x.seq = a.seq AND x.entity = '{{ entity }}' AND x.scope = 'all')
            ORDER BY a.seq DESC LIMIT 1)
        WHERE o.last_asked_at < m.end_at
    ) g ON g.source_id = e.source_id
    UNION ALL
    SELECT u.source_id, u.entity_id, 1 AS present, u.last_asked_at, u.until_at
    FROM sources s
    CROSS JOIN unseen u
    WHERE u.source_id = s.id AND u.entity = '{{ entity }}'
    UNION ALL
    SELECT x.source_id, CAST(x.scope AS BIGINT) AS entity_id, 0 AS present, x.from_at, x.until_at
    FROM sources s
    CROSS JOIN unproven_absences x
    WHERE x.source_id = s.id AND x.entity = '{{ entity }}' AND x.scope <> 'all'
),
-- Each state with the window in which it began. Where another key saw less or more than the one before, nobody knows
-- what happened in the window, so it counts for two.
states AS (
    SELECT
        t.source_id,
        t.entity_id,
        t.seq,
        t.state,
        LEAD(t.state) OVER w AS next_state,
        CASE WHEN t.basis = 'observer_change' AND t.kind <> 'changed' THEN 2 ELSE 1 END AS windows,
        CASE WHEN t.basis = 'observer_change' AND t.to_state IS NULL THEN 1 ELSE 0 END AS is_out_of_sight,
        -- A later window never begins before an earlier one; one without a begin has no length here.
        CASE WHEN t.not_before IS NOT NULL
             THEN MIN(t.not_before) OVER (
                 PARTITION BY t.source_id, t.entity_id ORDER BY t.seq DESC ROWS UNBOUNDED PRECEDING)
             END AS not_before,
        t.observed_at,
        LEAD(t.observed_at) OVER w AS next_at,
        t.end_at
    FROM (
        SELECT
            x.*,
            e.end_at,
            -- In quotation marks, where the cloud's own word would be taken for one of ours.
            CASE WHEN x.to_state IS NULL THEN 'ABSENT'
                 WHEN UPPER(x.to_state) IN ('ABSENT', 'UNKNOWN') OR SUBSTR(x.to_state, 1, 1) = '"'
                 THEN '"' || x.to_state || '"'
                 ELSE x.to_state END AS state
        FROM ends e
        CROSS JOIN state_transitions x
        WHERE x.source_id = e.source_id AND x.entity = '{{ entity }}'
    ) t
    WINDOW w AS (PARTITION BY t.source_id, t.entity_id ORDER BY t.seq)
),
-- Where windows and blind times begin (1, 2) and end (-1, -2), and states begin (those with a seq).
edges AS (
    SELECT
        s.source_id,
        s.entity_id,
        CASE c.which WHEN 0 THEN s.not_before WHEN 2 THEN s.next_at WHEN 3 THEN s.end_at ELSE s.observed_at END AS at,
        CASE WHEN c.which = 1 THEN s.seq END AS seq,
        CASE WHEN c.which = 1 THEN s.state END AS state,
        CASE WHEN c.which = 1 THEN s.next_state END AS next_state,
        CASE WHEN c.which = 3 THEN 2 WHEN c.which = 4 THEN -2 WHEN s.not_before IS NULL THEN 0
             WHEN c.which = 0 THEN s.windows WHEN c.which = 1 THEN -s.windows ELSE 0 END AS windows,
        0 AS not_shown,
        CASE c.which WHEN 1 THEN s.is_out_of_sight WHEN 2 THEN -1 ELSE 0 END AS not_excluded,
        CASE WHEN c.which = 1 THEN s.end_at END AS end_at
    FROM states s
    CROSS JOIN (SELECT 0 AS which UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4) c
    WHERE c.which = 1
        OR c.which = 0 AND s.not_before IS NOT NULL
        OR c.which = 2 AND s.is_out_of_sight = 1 AND s.next_at IS NOT NULL
        -- What the newest answer showed first may have been over when it came: the next one may tell of a window that
        -- begins with the same question.
        OR c.which > 2 AND s.next_at IS NULL AND s.observed_at > s.end_at
    UNION ALL
    SELECT
        b.source_id,
        b.entity_id,
        CASE WHEN c.sign = 1 THEN b.from_at ELSE b.until_at END AS at,
        NULL AS seq,
        NULL AS state,
        NULL AS next_state,
        0 AS windows,
        c.sign * b.present AS not_shown,
        c.sign * (1 - b.present) AS not_excluded,
        NULL AS end_at
    FROM blind b
    CROSS JOIN (SELECT 1 AS sign UNION ALL SELECT -1) c
    WHERE c.sign = 1 OR b.until_at IS NOT NULL
),
-- What covers the time from each edge on; edges of the same moment say the same.
covered AS (
    SELECT
        d.source_id,
        d.entity_id,
        d.at,
        d.state,
        d.next_state,
        d.end_at,
        MAX(d.seq) OVER w AS seq,
        SUM(d.windows) OVER w AS windows,
        SUM(d.not_shown) OVER w AS not_shown,
        SUM(d.not_excluded) OVER w AS not_excluded
    FROM edges d
    WINDOW w AS (PARTITION BY d.source_id, d.entity_id ORDER BY d.at)
),
judged AS (
    SELECT
        j.source_id,
        j.entity_id,
        j.at,
        j.seq,
        j.state,
        j.next_state,
        j.end_at,
        -- In a window that of the later state counts too: it begins with the question of its first answer.
        CASE WHEN j.windows > 1 THEN 'unobserved'
             WHEN j.not_shown > 0 AND (j.state <> 'ABSENT' OR j.windows = 1 AND j.next_state <> 'ABSENT') THEN 'unobserved'
             WHEN j.not_excluded > 0 AND (j.state = 'ABSENT' OR j.windows = 1 AND j.next_state = 'ABSENT') THEN 'unobserved'
             WHEN j.windows = 1 THEN 'change'
             ELSE 'known' END AS verdict
    FROM (
        SELECT
            c.source_id,
            c.entity_id,
            c.at,
            c.seq,
            c.windows,
            c.not_shown,
            c.not_excluded,
            MAX(c.state) OVER w AS state,
            MAX(c.next_state) OVER w AS next_state,
            MAX(c.end_at) OVER w AS end_at
        FROM covered c
        WHERE c.seq IS NOT NULL
        WINDOW w AS (PARTITION BY c.source_id, c.entity_id, c.seq)
    ) j
),
begun AS (
    SELECT
        j.*,
        CASE WHEN j.seq = LAG(j.seq) OVER w AND j.verdict = LAG(j.verdict) OVER w THEN 0 ELSE 1 END AS is_new
    FROM judged j
    WINDOW w AS (PARTITION BY j.source_id, j.entity_id ORDER BY j.at)
),
-- Those of no length are to be left out.
spans AS (
    SELECT
        b.source_id,
        b.entity_id,
        b.seq,
        b.at AS from_at,
        COALESCE(LEAD(b.at) OVER w, b.end_at) AS until_at,
        CASE WHEN b.verdict = 'known' THEN b.state ELSE 'UNKNOWN' END AS state,
        CASE WHEN b.verdict <> 'known' THEN b.state END AS earlier_state,
        CASE b.verdict WHEN 'change' THEN b.next_state WHEN 'unobserved' THEN LEAD(b.state) OVER w END AS later_state,
        CASE WHEN b.verdict <> 'known' THEN b.verdict END AS cause
    FROM begun b
    WHERE b.is_new = 1
    WINDOW w AS (PARTITION BY b.source_id, b.entity_id ORDER BY b.at)
)
