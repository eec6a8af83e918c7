{# What SQLite spells otherwise: times are text of one width, days their first ten characters. #}

{% set now = "(strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z')" %}
{% set date = "TEXT" %}
{% set far_future = "'2200-01-01T00:00:00.000000Z'" %}

{# SQLite has no type of times to cast to; a cast to TEXT would hide from DuckDB and others that it is one. #}
{% macro time(value) %}({{ value }}){% endmacro %}

{% macro seconds_between(a, b) -%}
(CAST(strftime('%s', substr({{ b }}, 1, 19)) AS INTEGER) - CAST(strftime('%s', substr({{ a }}, 1, 19)) AS INTEGER) + (CAST(substr({{ b }}, 21, 6) AS REAL) - CAST(substr({{ a }}, 21, 6) AS REAL)) / 1000000)
{%- endmacro %}

{% macro day_of(moment) %}substr({{ moment }}, 1, 10){% endmacro %}
{% macro day_after(day) %}date({{ day }}, '+1 day'){% endmacro %}
{% macro days_after(day, number) %}date({{ day }}, '+' || {{ number }} || ' days'){% endmacro %}
{% macro start_of(day) %}({{ day }} || 'T00:00:00.000000Z'){% endmacro %}
{% macro first_of_month(day) %}(substr({{ day }}, 1, 8) || '01'){% endmacro %}

{# SQLite has no series of numbers, but reads JSON arrays: of [0,0,…] the keys count. #}
{% macro each_day(a, b, alias) -%}
json_each('[' || substr(replace(hex(zeroblob(1 + CAST(julianday({{ day_of(b) }}) - julianday({{ day_of(a) }}) AS INTEGER))), '00', ',0'), 2) || ']') {{ alias }}
{%- endmacro %}

{# Else DuckDB, which reads a view on an attached file by its own rules, takes it for a time. #}
{% macro time_text(value) %}CAST({{ value }} AS TEXT){% endmacro %}
