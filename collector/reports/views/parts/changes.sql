{# What region_changes and keystone_changes share: rows of `changes`. `entity` is region or keystone. #}
{# A column of the row `row` as text, the same on both databases, whose name is `f.field`. All is cast to text, since
   DuckDB reads a view on an attached SQLite file by its own rules. #}
{% macro value_of(row) -%}
CAST(CASE f.field
{% for column in typed_columns(entity) %}
{% set value = row ~ "." ~ column.name %}
            WHEN '{{ column.name }}' THEN {% if column.word == "boolean" -%}
                CASE WHEN {{ value }} THEN 'true' WHEN NOT {{ value }} THEN 'false' END
                {%- elif column.word == "time" %}{{ time_text(value) }}
                {%- elif column.word in ("text", "list") %}{{ value }}
                {%- else %}CAST({{ value }} AS TEXT)
                {%- endif %}

{% endfor %}
        END AS TEXT)
{%- endmacro %}
-- Sources come first, and by CROSS JOIN, which SQLite does not reorder: so the keys, which begin with source_id, find
-- one entity.
WITH fields AS (
{% for column in typed_columns(entity) %}
    {{ "SELECT CAST('" ~ column.name ~ "' AS TEXT) AS field" if loop.first else "UNION ALL SELECT '" ~ column.name ~ "'" }}
{% endfor %}
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
    WHERE t.source_id = s.id AND t.entity = '{{ entity }}' AND t.kind <> 'changed'
    UNION ALL
    SELECT
        s.name,
        v.source_id,
        v.{{ entity }}_id,
        v.valid_from,
        v.not_before,
        f.field,
        {{ value_of("b") }},
        {{ value_of("v") }},
        v.seq
    FROM sources s
    CROSS JOIN {{ entity }}_versions v
    CROSS JOIN {{ entity }}_versions b
    CROSS JOIN fields f
    WHERE v.source_id = s.id
        AND b.source_id = v.source_id AND b.{{ entity }}_id = v.{{ entity }}_id
        AND b.valid_from = (SELECT MAX(e.valid_from) FROM {{ entity }}_versions e
                            WHERE e.source_id = v.source_id AND e.{{ entity }}_id = v.{{ entity }}_id
                              AND e.valid_from < v.valid_from)
        AND v.changed_fields LIKE '%"' || f.field || '"%'
)
