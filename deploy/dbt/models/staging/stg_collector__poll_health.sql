-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    day,
    polls,
    ok_polls,
    partial_polls,
    held_polls,
    failed_polls,
    failed_key,
    failed_connect,
    failed_timeout,
    failed_protocol,
    failed_http_status,
    failed_too_large,
    failed_not_json,
    failed_not_a_listing,
    failed_stale,
    seconds,
    longest_gap_seconds,
    share_covered,
    source_id
from {{ source('collector', 'poll_health') }}
