{# What PostgreSQL spells otherwise. #}

{% set now = "CURRENT_TIMESTAMP" %}
{% set date = "DATE" %}
{% set far_future = "TIMESTAMP WITH TIME ZONE '2200-01-01 00:00:00Z'" %}

{% macro time(value) %}CAST({{ value }} AS TIMESTAMP WITH TIME ZONE){% endmacro %}

{% macro seconds_between(a, b) %}CAST(EXTRACT(EPOCH FROM ({{ b }} - {{ a }})) AS DOUBLE PRECISION){% endmacro %}

{% macro day_of(moment) %}CAST({{ moment }} AT TIME ZONE 'UTC' AS DATE){% endmacro %}
{% macro day_after(day) %}({{ day }} + 1){% endmacro %}
{% macro days_after(day, number) %}({{ day }} + {{ number }}){% endmacro %}
{% macro start_of(day) %}(CAST({{ day }} AS TIMESTAMP) AT TIME ZONE 'UTC'){% endmacro %}
{% macro first_of_month(day) %}CAST(date_trunc('month', {{ day }}) AS DATE){% endmacro %}

{% macro each_day(a, b, alias) -%}
LATERAL generate_series(0, {{ day_of(b) }} - {{ day_of(a) }}) AS {{ alias }}(key)
{%- endmacro %}

{# As SQLite has it. #}
{% macro time_text(value) %}to_char({{ value }} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'){% endmacro %}
