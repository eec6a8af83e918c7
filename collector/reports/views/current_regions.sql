-- One row: a region that is present now, with the state of its keystone and its metrics database.
-- Example: which regions have GPUs now?
--   SELECT slug, country FROM current_regions WHERE has_ai_gpu AND state = 'ACTIVE'
SELECT
    s.name AS source,
    r.id AS region_id,
    r.slug,
    r.display_name,
    r.state,
    r.country,
    r.zone,
    r.access_level,
    r.endpoint_type,
    r.has_ai,
    r.has_ai_gpu,
    r.has_baremetal,
    r.has_basic_vm,
    r.has_k8s,
    r.has_kvm,
    r.has_sfs,
    r.has_ddos,
    r.available_volume_types,
    r.keystone_id,
    r.keystone_name,
    CAST(CASE WHEN NOT EXISTS (
        SELECT 1 FROM unseen u
        WHERE u.source_id = k.source_id AND u.entity = 'keystone' AND u.entity_id = k.id AND u.until_at IS NULL
    ) THEN k.state END AS TEXT) AS keystone_state,  -- State of its keystone; NULL while that is not shown
    k.url AS keystone_url,  -- Address of its keystone
    r.metrics_database_id,
    m.host AS metrics_database_host,  -- Host of its metrics database
    m.port AS metrics_database_port,  -- Port of its metrics database
    r.created_on,
    r.first_seen_at,
    r.changed_at,
    CAST(COALESCE(
        (SELECT u.from_at FROM unseen u
         WHERE u.source_id = r.source_id AND u.entity = 'region' AND u.entity_id = r.id AND u.until_at IS NULL),
        (SELECT o.last_at FROM observations o
         WHERE o.source_id = r.source_id AND o.outcome <> 'failed' ORDER BY o.seq DESC LIMIT 1)
    ) AS UTC_TIME) AS last_seen_at  -- When the newest answer that showed it was answered
FROM regions r
JOIN sources s ON s.id = r.source_id
LEFT JOIN keystones k ON k.source_id = r.source_id AND k.id = r.keystone_id AND k.absent_since IS NULL
LEFT JOIN metrics_databases m
    ON m.source_id = r.source_id AND m.id = r.metrics_database_id AND m.absent_since IS NULL
WHERE r.absent_since IS NULL
