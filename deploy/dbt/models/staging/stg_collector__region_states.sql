-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    zone,
    country,
    state,
    last_known_state,
    from_at,
    until_at,
    last_confirmed_at,
    cause,
    source_id,
    seq
from {{ source('collector', 'region_states') }}
