-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    {{ source_name() }} as source,
    t.keystone_id,
    t.valid_from,
    t.valid_to,
    t.changed_fields,
    t.url,
    t.state,
    t.username,
    t.has_password,
    t.keystone_federated_domain_id,
    t.created_on,
    t.own_id,
    t.witness_region_id,
    t.seq,
    t.not_before,
    t.basis
from {{ source('collector', 'keystone_versions') }} as t
{{ join_sources() }}
