-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    zone,
    country,
    kind,
    from_state,
    to_state,
    not_before,
    observed_at,
    window_seconds,
    basis,
    first_missing_at,
    source_id,
    seq
from {{ source('collector', 'region_transitions') }}
