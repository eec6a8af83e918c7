-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    from_at,
    until_at,
    seconds,
    cause,
    error,
    failed_polls,
    transitions,
    source_id,
    seq
from {{ source('collector', 'coverage_gaps') }}
