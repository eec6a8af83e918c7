-- The regions in force at a time: what current_regions would have said then, and nothing that was learned later.
-- last_seen_at says when each was last confirmed, as far as that is sure: of a time inside a stretch of equal polls, no
-- later than its longest interval before that time. One index seek a region.
-- Example: what was ACTIVE in EMEA on 1 May?
--   SELECT display_name, country, last_seen_at FROM regions_as_of('2026-05-01') WHERE state = 'ACTIVE' AND zone = 'EMEA'
{% set asked = as_of("region") %}
CREATE OR REPLACE FUNCTION regions_as_of(moment TIMESTAMP WITH TIME ZONE)
RETURNS TABLE (
{% for name, type in asked.columns %}
    {{ name }} {{ type }}{{ "," if not loop.last }}
{% endfor %}
)
LANGUAGE SQL STABLE
BEGIN ATOMIC
{{ asked.sql }};
END
