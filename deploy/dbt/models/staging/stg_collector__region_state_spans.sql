-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    zone,
    country,
    state,
    from_at,
    until_at,
    seconds,
    earlier_state,
    later_state,
    cause,
    source_id,
    seq
from {{ source('collector', 'region_state_spans') }}
