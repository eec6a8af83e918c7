-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    zone,
    country,
    state,
    from_earliest,
    from_latest,
    to_earliest,
    to_latest,
    seconds_at_least,
    seconds_at_most,
    is_open,
    source_id,
    seq
from {{ source('collector', 'region_state_intervals') }}
