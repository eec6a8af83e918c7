{# What the views of what is present now share. #}

{# When the newest answer that showed an entity was answered; `row` is that of the entity. #}
{% macro last_seen_at(entity, row) -%}
{% set answered_at -%}
COALESCE(
        (SELECT u.from_at FROM unseen u
         WHERE u.source_id = {{ row }}.source_id AND u.entity = '{{ entity }}' AND u.entity_id = {{ row }}.id
           AND u.until_at IS NULL),
        (SELECT o.last_at FROM observations o
         WHERE o.source_id = {{ row }}.source_id AND o.outcome <> 'failed' ORDER BY o.seq DESC LIMIT 1)
    )
{%- endset %}
{{ time(answered_at) }}
{%- endmacro %}

{# When the last answer before its disappearance that showed an absent entity was answered. Of a history that was pruned
   meanwhile, when that answer was asked for. #}
{% macro last_seen_before_absence(entity, row) -%}
{% set answered_at -%}
COALESCE(
        (SELECT u.from_at FROM unseen u
         WHERE u.source_id = {{ row }}.source_id AND u.until_seq = {{ row }}.seq AND u.entity = '{{ entity }}'
           AND u.entity_id = {{ row }}.id),
        (SELECT o.last_at FROM observations o
         WHERE o.source_id = {{ row }}.source_id AND o.seq < {{ row }}.seq AND o.outcome <> 'failed'
         ORDER BY o.seq DESC LIMIT 1),
        {{ row }}.absent_not_before
    )
{%- endset %}
{{ time(answered_at) }}
{%- endmacro %}

{# How many regions that are present now refer to each entity. #}
{% macro regions_by(reference) -%}
(
    SELECT p.source_id, p.{{ reference }}, COUNT(*) AS regions
    FROM regions p
    WHERE p.absent_since IS NULL
    GROUP BY p.source_id, p.{{ reference }}
)
{%- endmacro %}
