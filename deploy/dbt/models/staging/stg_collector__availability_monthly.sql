-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    zone,
    country,
    month,
    seconds,
    seconds_at_least,
    seconds_at_most,
    seconds_unknown,
    share_at_least,
    share_at_most,
    source_id
from {{ source('collector', 'availability_monthly') }}
