-- What the views of spans and of intervals share: rows of `spans`. ENTITY is region or keystone.
-- A state is known from the answer that first showed it to the question of the last poll that confirmed it, but not
-- in blind time: in a gap, while the entity was not shown, and, of an absence, between complete answers that are
-- further apart than the limit. All else is UNKNOWN. So spans have neither holes nor overlaps.
WITH ends AS (
    -- Up to where spans go: the question of the newest poll that was applied, or now while a gap is open.
    SELECT
        n.source_id,
        CASE WHEN SECONDS_BETWEEN(n.last_at, n.now_at) * 1000 > 2.5 * n.expected_interval_ms
             THEN n.now_at ELSE n.last_asked_at END AS end_at
    FROM (
        SELECT o.source_id, o.last_at, o.last_asked_at, o.expected_interval_ms, NOW AS now_at
        -- By CROSS JOIN, which SQLite does not reorder, here and below: so keys, which begin with source_id, find few rows.
        FROM sources s
        CROSS JOIN observations o
        WHERE o.source_id = s.id
            AND o.seq = (SELECT a.seq FROM observations a
                         WHERE a.source_id = s.id AND a.outcome <> 'failed' ORDER BY a.seq DESC LIMIT 1)
    ) n
),
-- Answers by which an entity is known to be present (1), or to be absent (0), each with the next.
answers AS (
    SELECT
        o.source_id, 1 AS present, o.last_at, o.last_asked_at, o.expected_interval_ms,
        LEAD(o.first_at) OVER (PARTITION BY o.source_id ORDER BY o.seq) AS next_at
    FROM observations o
    WHERE o.outcome <> 'failed'
    UNION ALL
    SELECT
        o.source_id, 0, o.last_at, o.last_asked_at, o.expected_interval_ms,
        LEAD(o.first_at) OVER (PARTITION BY o.source_id ORDER BY o.seq)
    FROM observations o
    WHERE o.outcome = 'ok' AND NOT EXISTS (
        SELECT 1 FROM withheld_absences w
        WHERE w.source_id = o.source_id AND w.seq = o.seq AND w.entity = 'ENTITY' AND w.scope = 'all')
),
-- Where they are too far apart. The last one closes the list: of no length, where it is the newest and no gap is open.
gaps AS (
    SELECT
        a.source_id,
        a.present,
        CASE WHEN a.next_at IS NULL AND e.end_at <= a.last_asked_at
             THEN a.last_at ELSE a.last_asked_at END AS from_at,
        COALESCE(a.next_at, CASE WHEN e.end_at <= a.last_asked_at THEN a.last_at ELSE e.end_at END) AS until_at
    FROM answers a
    JOIN ends e ON e.source_id = a.source_id
    WHERE a.next_at IS NULL OR SECONDS_BETWEEN(a.last_at, a.next_at) * 1000 > 2.5 * a.expected_interval_ms
),
blind AS (
    SELECT e.source_id, e.id AS entity_id, g.present, g.from_at, g.until_at
    FROM ENTITYs e
    JOIN gaps g ON g.source_id = e.source_id
    UNION ALL
    SELECT u.source_id, u.entity_id, 1, o.last_asked_at, COALESCE(u.until_at, e.end_at)
    FROM ends e
    CROSS JOIN unseen u
    JOIN observations o ON o.source_id = u.source_id AND o.seq = u.shown_seq
    WHERE u.source_id = e.source_id AND u.entity = 'ENTITY'
    UNION ALL
    -- Complete answers that named an absent entity without showing it, so that it may have been there at any time
    -- between the answers before and after that could prove it absent.
    SELECT
        w.source_id,
        CASE WHEN w.scope <> 'all' THEN CAST(w.scope AS BIGINT) END,
        0,
        COALESCE((SELECT b.last_asked_at FROM observations b
                  WHERE b.source_id = w.source_id AND b.seq < w.seq AND b.outcome = 'ok' AND NOT EXISTS (
                      SELECT 1 FROM withheld_absences x
                      WHERE x.source_id = b.source_id AND x.seq = b.seq AND x.entity = w.entity AND x.scope = 'all')
                  ORDER BY b.seq DESC LIMIT 1), o.first_asked_at),
        COALESCE((SELECT a.first_at FROM observations a
                  WHERE a.source_id = w.source_id AND a.seq > w.seq AND a.outcome = 'ok' AND NOT EXISTS (
                      SELECT 1 FROM withheld_absences x
                      WHERE x.source_id = a.source_id AND x.seq = a.seq AND x.entity = w.entity AND x.scope = 'all')
                  ORDER BY a.seq LIMIT 1), e.end_at)
    FROM withheld_absences w
    JOIN observations o ON o.source_id = w.source_id AND o.seq = w.seq
    JOIN ends e ON e.source_id = w.source_id
    WHERE w.entity = 'ENTITY' AND w.scope <> 'all'
),
-- The time between blind times: [since_at, from_at]; since_at NULL: from ever.
seen AS (
    SELECT
        b.source_id, b.entity_id, b.present, b.from_at,
        MAX(b.until_at) OVER (
            PARTITION BY b.source_id, b.entity_id, b.present ORDER BY b.from_at, b.until_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS since_at
    FROM blind b
),
-- From the answer that first showed a state to the question of the last poll that confirmed it.
states AS (
    SELECT
        t.source_id,
        t.entity_id,
        t.seq,
        COALESCE(t.to_state, 'ABSENT') AS state,
        CASE WHEN t.to_state IS NULL THEN 0 ELSE 1 END AS present,
        t.observed_at AS from_at,
        CASE
            WHEN n.seq IS NULL AND e.end_at > t.observed_at THEN e.end_at
            WHEN n.not_before > t.observed_at THEN n.not_before
            ELSE t.observed_at
        END AS until_at,
        e.end_at
    FROM ends e
    CROSS JOIN state_transitions t
    LEFT JOIN state_transitions n ON n.source_id = t.source_id AND n.entity = t.entity AND n.entity_id = t.entity_id
        AND n.seq = (SELECT MIN(m.seq) FROM state_transitions m
                     WHERE m.source_id = t.source_id AND m.entity = t.entity AND m.entity_id = t.entity_id
                       AND m.seq > t.seq)
    WHERE t.source_id = e.source_id AND t.entity = 'ENTITY'
),
-- What is known, in order: the moment at which each state was first seen, and its pieces of seen time.
known AS (
    SELECT
        k.*,
        LEAD(k.from_at) OVER w AS next_at,
        LEAD(k.state) OVER w AS next_state
    FROM (
        SELECT
            t.source_id, t.entity_id, t.seq, COALESCE(t.to_state, 'ABSENT') AS state, t.observed_at AS from_at,
            t.observed_at AS until_at, NULL AS seen_until, 0 AS is_piece, e.end_at
        FROM ends e
        CROSS JOIN state_transitions t
        WHERE t.source_id = e.source_id AND t.entity = 'ENTITY'
        UNION ALL
        SELECT
            i.source_id,
            i.entity_id,
            i.seq,
            i.state,
            CASE WHEN s.since_at > i.from_at THEN s.since_at ELSE i.from_at END,
            CASE WHEN s.from_at < i.until_at THEN s.from_at ELSE i.until_at END,
            s.from_at,
            1,
            i.end_at
        FROM states i
        JOIN seen s ON s.source_id = i.source_id AND s.entity_id = i.entity_id AND s.present = i.present
        WHERE s.from_at >= i.from_at AND (s.since_at IS NULL OR (s.since_at <= s.from_at AND s.since_at <= i.until_at))
    ) k
    WINDOW w AS (PARTITION BY k.source_id, k.entity_id ORDER BY k.seq, k.from_at, k.until_at, k.is_piece)
),
-- Each piece, and what is unknown after it. Those of no length are to be left out.
spans AS (
    SELECT
        k.source_id,
        k.entity_id,
        CASE WHEN p.known = 1 THEN k.from_at ELSE k.until_at END AS from_at,
        CASE WHEN p.known = 1 THEN k.until_at ELSE COALESCE(k.next_at, k.end_at) END AS until_at,
        CASE WHEN p.known = 1 THEN k.state ELSE 'UNKNOWN' END AS state,
        CASE WHEN p.known = 0 THEN k.state END AS earlier_state,
        CASE WHEN p.known = 0 THEN k.next_state END AS later_state,
        CASE WHEN p.known = 1 THEN NULL
             WHEN k.seen_until >= k.next_at THEN 'change'
             ELSE 'unseen' END AS cause,
        k.seq
    FROM known k
    CROSS JOIN (SELECT 1 AS known UNION ALL SELECT 0) p
    WHERE p.known = 1 OR k.until_at < COALESCE(k.next_at, k.end_at)
)
