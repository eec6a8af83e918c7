{# The name of a row's source. The lake has it in each row; a table on PostgreSQL has the number of a row of `sources`. #}
{% macro source_name() %}
    {%- if target.type == 'duckdb' -%} t.source {%- else -%} s.name {%- endif -%}
{% endmacro %}

{% macro join_sources() %}
    {%- if target.type != 'duckdb' -%}
        inner join {{ source('collector', 'sources') }} as s on s.id = t.source_id
    {%- endif -%}
{% endmacro %}
