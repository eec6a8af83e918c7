-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    zone,
    country,
    observed_at,
    not_before,
    field,
    old,
    new,
    source_id,
    seq
from {{ source('collector', 'region_changes') }}
