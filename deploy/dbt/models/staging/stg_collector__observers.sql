-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    {{ source_name() }} as source,
    t.id,
    t.key_fingerprint,
    t.base_url,
    t.auth_scheme,
    t.first_used_at
from {{ source('collector', 'observers') }} as t
{{ join_sources() }}
