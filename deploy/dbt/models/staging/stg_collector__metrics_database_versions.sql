-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    {{ source_name() }} as source,
    t.metrics_database_id,
    t.valid_from,
    t.valid_to,
    t.changed_fields,
    t.host,
    t.port,
    t.username,
    t.has_password,
    t.own_id,
    t.witness_region_id,
    t.seq,
    t.not_before,
    t.basis
from {{ source('collector', 'metrics_database_versions') }} as t
{{ join_sources() }}
