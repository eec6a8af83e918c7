-- One row: a keystone that was present at the given time, with its values as known then.
-- The region is the one whose copy was used then. The rules are those of regions_as_of.
-- Example: which keystones were not initialized on 1 May?
--   SELECT keystone_id, url, state FROM keystones_as_of('2026-05-01') WHERE state <> 'INITIALIZED'
{% set asked = as_of("keystone") %}
CREATE OR REPLACE FUNCTION keystones_as_of(moment TIMESTAMP WITH TIME ZONE)
RETURNS TABLE (
{% for name, type in asked.columns %}
    {{ name }} {{ type }}{{ "," if not loop.last }}
{% endfor %}
)
LANGUAGE SQL STABLE
BEGIN ATOMIC
{{ asked.sql }};
END
