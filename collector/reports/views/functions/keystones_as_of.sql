-- The keystones in force at a time; the region is the one whose copy counted then. As regions_as_of.
-- Example: which keystones were not initialized on 1 May?
--   SELECT keystone_id, url, state FROM keystones_as_of('2026-05-01') WHERE state <> 'INITIALIZED'
CREATE OR REPLACE FUNCTION keystones_as_of(moment TIMESTAMP WITH TIME ZONE)
RETURNS TABLE (
    source TEXT,
    region_id BIGINT,
    slug TEXT,
    display_name TEXT,
    keystone_id BIGINT,
{% for column in typed_columns("keystone") %}
    {{ column.name }} {{ column.sql }},
{% endfor %}
    first_seen_at TIMESTAMP WITH TIME ZONE,
    changed_at TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE
)
LANGUAGE SQL STABLE
BEGIN ATOMIC
    SELECT
        s.name,
        v.witness_region_id,
        r.slug,
        r.display_name,
        e.id,
{% for column in typed_columns("keystone") %}
        v.{{ column.name }},
{% endfor %}
        e.first_seen_at,
        v.valid_from,
        COALESCE(
            (SELECT MIN(u.from_at) FROM unseen u
             WHERE u.source_id = e.source_id AND u.entity = 'keystone' AND u.entity_id = e.id
               AND u.from_at <= moment AND (u.until_at IS NULL OR u.until_at > moment)),
            s.seen_at
        )
    FROM (
        {% include "parts/looked_at.sql" %}

    ) s
    JOIN keystones e ON e.source_id = s.id
    CROSS JOIN LATERAL (
        SELECT x.* FROM keystone_versions x
        WHERE x.source_id = e.source_id AND x.keystone_id = e.id AND x.valid_from <= moment
        ORDER BY x.valid_from DESC LIMIT 1
    ) v
    LEFT JOIN LATERAL (
        SELECT x.slug, x.display_name, x.valid_to FROM region_versions x
        WHERE x.source_id = v.source_id AND x.region_id = v.witness_region_id AND x.valid_from <= moment
        ORDER BY x.valid_from DESC LIMIT 1
    ) r ON r.valid_to IS NULL OR r.valid_to > moment
    WHERE v.valid_to IS NULL OR v.valid_to > moment;
END
