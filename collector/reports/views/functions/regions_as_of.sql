-- The regions in force at a time: what current_regions would have said then, and nothing that was learned later.
-- last_seen_at says when each was last confirmed, as far as that is sure: of a time inside a stretch of equal polls, no
-- later than its longest interval before that time. One index seek a region.
-- Example: what was ACTIVE in EMEA on 1 May?
--   SELECT display_name, country, last_seen_at FROM regions_as_of('2026-05-01') WHERE state = 'ACTIVE' AND zone = 'EMEA'
CREATE OR REPLACE FUNCTION regions_as_of(moment TIMESTAMP WITH TIME ZONE)
RETURNS TABLE (
    source TEXT,
    region_id BIGINT,
{% for column in typed_columns("region") %}
    {{ column.name }} {{ column.sql }},
{% endfor %}
    keystone_state TEXT,
    first_seen_at TIMESTAMP WITH TIME ZONE,
    changed_at TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE
)
LANGUAGE SQL STABLE
BEGIN ATOMIC
    SELECT
        s.name,
        r.id,
{% for column in typed_columns("region") %}
        v.{{ column.name }},
{% endfor %}
        k.state,
        r.first_seen_at,
        v.valid_from,
        COALESCE(
            (SELECT MIN(u.from_at) FROM unseen u
             WHERE u.source_id = r.source_id AND u.entity = 'region' AND u.entity_id = r.id
               AND u.from_at <= moment AND (u.until_at IS NULL OR u.until_at > moment)),
            s.seen_at
        )
    FROM (
        {% include "parts/looked_at.sql" %}

    ) s
    JOIN regions r ON r.source_id = s.id
    CROSS JOIN LATERAL (
        SELECT x.* FROM region_versions x
        WHERE x.source_id = r.source_id AND x.region_id = r.id AND x.valid_from <= moment
        ORDER BY x.valid_from DESC LIMIT 1
    ) v
    LEFT JOIN LATERAL (
        SELECT x.state, x.valid_to FROM keystone_versions x
        WHERE x.source_id = v.source_id AND x.keystone_id = v.keystone_id AND x.valid_from <= moment
        ORDER BY x.valid_from DESC LIMIT 1
    ) k ON k.valid_to IS NULL OR k.valid_to > moment
    WHERE v.valid_to IS NULL OR v.valid_to > moment;
END
