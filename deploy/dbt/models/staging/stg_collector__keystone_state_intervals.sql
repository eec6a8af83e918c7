-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    keystone_id,
    keystone_url,
    state,
    from_earliest,
    from_latest,
    to_earliest,
    to_latest,
    min_seconds,
    max_seconds,
    open,
    seq
from {{ source('collector', 'keystone_state_intervals') }}
