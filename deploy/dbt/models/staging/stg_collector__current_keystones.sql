-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    source,
    region_id,
    slug,
    display_name,
    zone,
    country,
    keystone_id,
    url,
    state,
    username,
    has_password,
    keystone_federated_domain_id,
    created_on,
    own_id,
    regions,
    first_seen_at,
    changed_at,
    last_seen_at,
    source_id
from {{ source('collector', 'current_keystones') }}
