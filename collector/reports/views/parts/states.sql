{# What region_states and keystone_states share: rows of `pieces`. `entity` is region or keystone. #}
{% include "parts/spans.sql" %},
pieces AS (
    SELECT
        p.source_id,
        p.entity_id,
        p.seq,
        p.from_at,
        COALESCE(p.next_at, {{ far_future }}) AS until_at,
        p.state,
        COALESCE(p.earlier_state, p.state) AS last_known_state,
        p.cause,
        -- The newest state may have been shown by an answer that was asked for before it is known from on.
        CASE WHEN p.cause IS NOT NULL THEN NULL
             WHEN p.next_at IS NOT NULL THEN p.next_at
             WHEN p.until_at > p.from_at THEN p.until_at
             ELSE p.from_at END AS last_confirmed_at
    FROM (
        SELECT q.*, LEAD(q.from_at) OVER (PARTITION BY q.source_id, q.entity_id ORDER BY q.from_at) AS next_at
        FROM spans q
    ) p
)
