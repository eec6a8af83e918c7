"""The checker of a pack compares every field that the collector reads."""

from __future__ import annotations

from collector.audit.pack import check
from collector.gcore import wire

MODELS = {
    "region": wire.RegionSerializerAi,
    "keystone": wire.KeystoneSerializerAi,
    "metrics_database": wire.MetricsDatabaseSerializer,
    "ddos_endpoint": wire.ServiceEndpointSerializer,
}
READ_OTHERWISE = {"region": {"id", "keystone_id", "metrics_database_id"}}
"""The id and the references: `check.reference_of` reads these."""
NAMES = {"number": "integer", "string": "text", "boolean": "flag"}


def kinds_of(kind: str) -> dict[str, str]:
    """By field: the name under which the checker knows how it is read."""
    readers = wire.readers_of(MODELS[kind])
    return {
        name: "time" if reader.is_time else NAMES[reader.json_type] + ("s" if reader.is_list else "")
        for name, reader in readers.items()
        if not (reader.is_secret or reader.is_object) and name not in READ_OTHERWISE.get(kind, ())
    }


def test_the_checker_reads_the_fields_that_the_collector_reads() -> None:
    assert check.FIELDS.keys() == MODELS.keys()
    for kind, fields in check.FIELDS.items():
        assert dict(field.split(":") for field in fields.split()) == kinds_of(kind), kind
