-- One row: a keystone that is present now, as last seen; the region is the one whose copy of it counts.
-- Example: which keystones are not initialized, and how many regions wait for them?
--   SELECT keystone_id, url, state, regions, last_seen_at FROM current_keystones WHERE state <> 'INITIALIZED'
SELECT
    s.name AS source,
    e.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    e.id AS keystone_id,  -- The regions' keystone_id
    e.url,
    e.state,
    e.username,
    e.has_password,
    e.keystone_federated_domain_id,
    e.created_on,
    e.own_id,
    CAST(COALESCE(n.regions, 0) AS BIGINT) AS regions,  -- How many regions that are present now refer to it
    e.first_seen_at,
    e.changed_at,
    CAST(COALESCE(
        (SELECT u.from_at FROM unseen u
         WHERE u.source_id = e.source_id AND u.entity = 'keystone' AND u.entity_id = e.id AND u.until_at IS NULL),
        (SELECT o.last_at FROM observations o
         WHERE o.source_id = e.source_id AND o.outcome <> 'failed' ORDER BY o.seq DESC LIMIT 1)
    ) AS UTC_TIME) AS last_seen_at  -- When the newest answer that showed it was answered
FROM keystones e
JOIN sources s ON s.id = e.source_id
LEFT JOIN regions r ON r.source_id = e.source_id AND r.id = e.witness_region_id
LEFT JOIN (
    SELECT p.source_id, p.keystone_id, COUNT(*) AS regions
    FROM regions p
    WHERE p.absent_since IS NULL
    GROUP BY p.source_id, p.keystone_id
) n ON n.source_id = e.source_id AND n.keystone_id = e.id
WHERE e.absent_since IS NULL
