-- What region_changes and keystone_changes share: rows of `changes`. ENTITY is region or keystone.
-- Sources come first, and by CROSS JOIN, which SQLite does not reorder: so the keys, which begin with source_id, find
-- one entity.
WITH fields AS (
    FIELDS_OF(ENTITY)
),
changes AS (
    SELECT
        s.name AS source,
        t.source_id,
        t.entity_id,
        t.observed_at,
        t.not_before,
        CAST(NULL AS TEXT) AS field,
        t.from_state AS old,
        t.to_state AS new,
        t.seq
    FROM sources s
    CROSS JOIN state_transitions t
    WHERE t.source_id = s.id AND t.entity = 'ENTITY' AND t.kind <> 'changed'
    UNION ALL
    SELECT
        s.name,
        v.source_id,
        v.ENTITY_id,
        v.valid_from,
        v.not_before,
        f.field,
        CAST(VALUE_OF(ENTITY, b, f.field) AS TEXT),
        CAST(VALUE_OF(ENTITY, v, f.field) AS TEXT),
        v.seq
    FROM sources s
    CROSS JOIN ENTITY_versions v
    CROSS JOIN ENTITY_versions b
    CROSS JOIN fields f
    WHERE v.source_id = s.id
        AND b.source_id = v.source_id AND b.ENTITY_id = v.ENTITY_id
        AND b.valid_from = (SELECT MAX(e.valid_from) FROM ENTITY_versions e
                            WHERE e.source_id = v.source_id AND e.ENTITY_id = v.ENTITY_id
                              AND e.valid_from < v.valid_from)
        AND v.changed_fields LIKE '%"' || f.field || '"%'
)
