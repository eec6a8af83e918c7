{# Each source with the time up to a moment for which it is sure that a successful poll was answered no earlier: of a
   stretch that goes on beyond the moment only its ends and its longest interval are on record. #}
SELECT
    n.id,
    n.name,
    CASE WHEN o.last_at <= moment THEN o.last_at
         ELSE GREATEST(o.first_at, moment - (o.longest_interval_ms + 1) * INTERVAL '1 millisecond') END AS seen_at
FROM sources n
LEFT JOIN LATERAL (
    SELECT a.first_at, a.last_at, a.longest_interval_ms FROM observations a
    WHERE a.source_id = n.id AND a.outcome <> 'failed' AND a.first_at <= moment
    ORDER BY a.seq DESC LIMIT 1
) o ON TRUE
