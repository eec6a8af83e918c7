-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    state,
    from_at,
    until_at,
    seconds,
    earlier_state,
    later_state,
    cause,
    seq
from {{ source('collector', 'region_state_spans') }}
