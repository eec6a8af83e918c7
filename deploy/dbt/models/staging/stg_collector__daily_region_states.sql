-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    zone,
    country,
    day,
    state,
    seconds_at_least,
    seconds_at_most,
    seconds_unobserved,
    source_id
from {{ source('collector', 'daily_region_states') }}
