-- One row: a metrics database that is present now, as last seen.
-- Example: which metrics databases serve several regions?
--   SELECT metrics_database_id, host, port, regions FROM current_metrics_databases WHERE regions > 1
-- Columns:
--   source               = sources.name
--   region_id            bigint   The region whose copy of the metrics database is used: the lowest region id that shows it
--   slug                 text     Short name of that region in URLs, as last seen
--   display_name         text     Name of that region, as last seen
--   zone                 text     Zone of that region, as last seen
--   country              text     Country of that region, as last seen
--   metrics_database_id  bigint   Id of the metrics database: the metrics_database_id of its regions
--   host                 = metrics_databases.host
--   port                 = metrics_databases.port
--   username             = metrics_databases.username
--   has_password         = metrics_databases.has_password
--   own_id               = metrics_databases.own_id
--   regions              bigint   Number of present regions that refer to it
--   first_seen_at        = metrics_databases.first_seen_at
--   changed_at           = metrics_databases.changed_at
--   last_seen_at         = current_regions.last_seen_at
--   source_id            = region_versions.source_id
{% from "parts/current.sql" import last_seen_at, regions_by %}
SELECT
    s.name AS source,
    e.witness_region_id AS region_id,
    r.slug,
    r.display_name,
    r.zone,
    r.country,
    e.id AS metrics_database_id,
    e.host,
    e.port,
    e.username,
    e.has_password,
    e.own_id,
    CAST(COALESCE(n.regions, 0) AS BIGINT) AS regions,
    e.first_seen_at,
    e.changed_at,
    {{ last_seen_at("metrics_database", "e") }} AS last_seen_at,
    e.source_id
FROM metrics_databases e
JOIN sources s ON s.id = e.source_id
LEFT JOIN regions r ON r.source_id = e.source_id AND r.id = e.witness_region_id
LEFT JOIN {{ regions_by("metrics_database_id") }} n ON n.source_id = e.source_id AND n.metrics_database_id = e.id
WHERE e.absent_since IS NULL
