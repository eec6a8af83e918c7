-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    zone,
    country,
    metrics_database_id,
    host,
    port,
    username,
    has_password,
    own_id,
    regions,
    first_seen_at,
    changed_at,
    last_seen_at,
    source_id
from {{ source('collector', 'current_metrics_databases') }}
