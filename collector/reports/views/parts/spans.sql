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
        m.source_id,
        m.entity_id,
        m.seq,
        m.state,
        m.present,
        m.from_at,
        CASE
            WHEN m.next_seq IS NULL AND m.end_at > m.from_at THEN m.end_at
            WHEN m.next_not_before > m.from_at THEN m.next_not_before
            ELSE m.from_at
        END AS until_at,
        m.end_at
    FROM (
        SELECT
            t.source_id,
            t.entity_id,
            t.seq,
            COALESCE(t.to_state, 'ABSENT') AS state,
            CASE WHEN t.to_state IS NULL THEN 0 ELSE 1 END AS present,
            t.observed_at AS from_at,
            LEAD(t.seq) OVER w AS next_seq,
            LEAD(t.not_before) OVER w AS next_not_before,
            e.end_at
        FROM ends e
        CROSS JOIN state_transitions t
        WHERE t.source_id = e.source_id AND t.entity = 'ENTITY'
        WINDOW w AS (PARTITION BY t.source_id, t.entity_id ORDER BY t.seq)
    ) m
),
-- The beginnings of states and of seen time in one order (not joined: that would be each state with each seen time),
-- so that at each it is known which state it is then, and until when seen time goes.
begun AS (
    SELECT
        b.*,
        MAX(b.seq) OVER w AS state_seq,
        MAX(CASE WHEN b.present = 1 THEN b.seen_until END) OVER w AS shown_until,
        MAX(CASE WHEN b.present = 0 THEN b.seen_until END) OVER w AS excluded_until
    FROM (
        SELECT
            i.source_id, i.entity_id, i.seq, i.state, i.present, i.from_at, i.until_at, NULL AS seen_until, i.end_at,
            1 AS is_state
        FROM states i
        UNION ALL
        SELECT s.source_id, s.entity_id, NULL, NULL, s.present, s.since_at, NULL, s.from_at, NULL, 0
        FROM seen s
        WHERE s.since_at IS NULL OR s.since_at <= s.from_at
    ) b
    WINDOW w AS (
        PARTITION BY b.source_id, b.entity_id
        ORDER BY CASE WHEN b.from_at IS NULL THEN 0 ELSE 1 END, b.from_at, b.is_state, b.seq, b.seen_until
        ROWS UNBOUNDED PRECEDING
    )
),
-- One state in each partition: its own row, and the beginnings of seen time in it.
together AS (
    SELECT
        b.source_id,
        b.entity_id,
        b.state_seq AS seq,
        MAX(b.state) OVER w AS state,
        b.from_at,
        MAX(b.until_at) OVER w AS until_at,
        MAX(b.end_at) OVER w AS end_at,
        b.is_state,
        CASE WHEN b.is_state = 0 AND b.present <> MAX(CASE WHEN b.is_state = 1 THEN b.present END) OVER w THEN NULL
             WHEN b.present = 1 THEN b.shown_until
             ELSE b.excluded_until END AS seen_until
    FROM begun b
    WINDOW w AS (PARTITION BY b.source_id, b.entity_id, b.state_seq)
),
-- What is known, in order: the moment at which each state was first seen, and its pieces of seen time.
known AS (
    SELECT
        k.*,
        LEAD(k.from_at) OVER w AS next_at,
        LEAD(k.state) OVER w AS next_state
    FROM (
        SELECT
            b.source_id,
            b.entity_id,
            b.seq,
            b.state,
            b.from_at,
            CASE WHEN c.is_piece = 0 THEN b.from_at
                 WHEN b.seen_until < b.until_at THEN b.seen_until
                 ELSE b.until_at END AS until_at,
            CASE WHEN c.is_piece = 1 THEN b.seen_until END AS seen_until,
            c.is_piece,
            b.end_at
        FROM together b
        CROSS JOIN (SELECT 0 AS is_piece UNION ALL SELECT 1) c
        WHERE b.seq IS NOT NULL AND (
            c.is_piece = 0 AND b.is_state = 1
            OR c.is_piece = 1 AND b.from_at <= b.seen_until AND b.from_at <= b.until_at
        )
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
