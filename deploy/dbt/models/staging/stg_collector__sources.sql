-- Made by `python -m tests.support.dbt_package --write`; do not edit.
select
    id,
    name,
    newest_seq,
    derivation_revision,
    amendments
from {{ source('collector', 'sources') }}
