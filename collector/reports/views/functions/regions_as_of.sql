-- One row: a region that was present at the given time, with its values as known then.
-- It answers what current_regions would have answered then, without anything that was learned later. last_seen_at is the
-- latest time at which the region was certainly confirmed by then. It takes one index lookup per region.
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
