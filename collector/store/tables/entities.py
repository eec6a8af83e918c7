"""Entities: as last seen, and their earlier versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_type_hints

import sqlalchemy as sa
from msgspec import Struct

from collector.database.types import JsonList, UtcTime, only_where
from collector.inventory.entities import ENTITIES, NAMES, NESTED, Kind, Region, is_added
from collector.store.tables.evidence import seen_by
from collector.store.tables.parts import (
    BASES,
    check,
    column,
    one_of,
    seq,
    source_id,
    table,
)

_TYPES: dict[Any, Any] = {
    str: sa.Text,
    int: sa.BigInteger,
    bool: sa.Boolean,
    datetime: UtcTime,
    tuple: JsonList,
}


TYPED: dict[Kind, tuple[str, ...]] = {kind: NAMES[entity] for kind, entity in ENTITIES.items()}


def _sql_type(annotation: Any) -> Any:
    """`str | None` is Text; `tuple[…] | None` is a JSON list."""
    plain = next((a for a in getattr(annotation, "__args__", ()) if a is not type(None)), annotation)
    if getattr(annotation, "__origin__", None) is tuple or getattr(plain, "__origin__", None) is tuple:
        return JsonList
    return _TYPES[plain]


def typed_columns(entity: type[Struct], *, added: bool = False) -> list[sa.Column[Any]]:
    """The columns of an entity's fields, without the id.

    `added`: those of fields that a migration added. Databases append new columns, so they stand at the table's end.
    """
    hints = get_type_hints(entity, include_extras=True)
    return [
        column(name, _sql_type(hints[name].__origin__), meta.description, null=name != "state")
        for name in entity.__struct_fields__
        if name != "id" and is_added(meta := hints[name].__metadata__[0]) is added
    ]


def _witness(kind: Kind, null: bool = False) -> list[sa.Column[Any]]:
    doc = "Region whose copy of the object is used: the lowest id that contains it"
    return [column("witness_region_id", sa.BigInteger, doc, null=null)] if kind in NESTED else []


def _current(name: str, kind: Kind, id_comment: str) -> sa.Table:
    return table(
        name,
        f"One row: a {kind.replace('_', ' ')} as last seen, present or absent",
        source_id(),
        column("id", sa.BigInteger, id_comment, primary_key=True, autoincrement=False),
        *typed_columns(ENTITIES[kind]),
        *_witness(kind),
        column("first_seen_at", UtcTime, "When it was first seen"),
        column("changed_at", UtcTime, "When the newest change of a typed column was first seen"),
        column(
            "absent_since", UtcTime, "When a complete answer first did not list it; NULL: present", null=True
        ),
        seq("Observation that saw the newest change"),
        column("content_hash", sa.Text, "Hash of the typed columns, for comparison"),
        column(
            "absent_not_before",
            UtcTime,
            "When the last poll that showed it before its absence was asked; NULL: present",
            null=True,
        ),
        *typed_columns(ENTITIES[kind], added=True),
        *seen_by(name, "seq"),
    )


def _versions(name: str, kind: Kind) -> sa.Table:
    key = f"{kind}_id"
    return table(
        name,
        f"One row: a {kind.replace('_', ' ')} during [valid_from, valid_to); no row covers its absence",
        source_id(),
        # A region has a keystone_id but no region_id, so the keys never collide.
        column(key, sa.BigInteger, f"The {kind.replace('_', ' ')}", primary_key=True, autoincrement=False),
        column(
            "valid_from",
            UtcTime,
            "When it was first seen with these values (observation time)",
            primary_key=True,
        ),
        column(
            "valid_to",
            UtcTime,
            "When it was first seen with other values or absent; NULL: still in force",
            null=True,
        ),
        column(
            "changed_fields",
            JsonList,
            "Columns that differ from the version before; NULL: there is none",
            null=True,
        ),
        *typed_columns(ENTITIES[kind]),
        *_witness(kind),
        seq("Observation that first saw this version"),
        column(
            "not_before",
            UtcTime,
            "The change happened between this time and valid_from; NULL: no lower bound is known",
            null=True,
        ),
        column(
            "basis",
            sa.Text,
            "How sure the change is, as in state_transitions; NULL: not derived since the upgrade",
            null=True,
        ),
        *typed_columns(ENTITIES[kind], added=True),
        *seen_by(name, "seq"),
        check(f"{name}_interval", "valid_to IS NULL OR valid_from < valid_to"),
        check(f"{name}_window", "not_before IS NULL OR not_before < valid_from"),
        check(f"{name}_basis", one_of("basis", *BASES)),
        sa.Index(f"ix_{name}_valid_from", "source_id", "valid_from"),
        sa.Index(
            f"uq_{name}_open",
            "source_id",
            key,
            unique=True,
            **only_where("valid_to IS NULL"),
        ),
    )


regions = _current("regions", "region", "Region id of the API")
keystones = _current("keystones", "keystone", "keystone_id of the regions")
metrics_databases = _current("metrics_databases", "metrics_database", "metrics_database_id of the regions")

region_volume_types = table(
    "region_volume_types",
    "One row: one volume type of a region, as last seen",
    source_id(),
    column("region_id", sa.BigInteger, "The region", primary_key=True, autoincrement=False),
    column("volume_type", sa.Text, "Name of the volume type", primary_key=True),
    sa.ForeignKeyConstraint(
        ["source_id", "region_id"], ["regions.source_id", "regions.id"], name="fk_region_volume_types_region"
    ),
)

region_versions = _versions("region_versions", "region")
keystone_versions = _versions("keystone_versions", "keystone")
metrics_database_versions = _versions("metrics_database_versions", "metrics_database")
sa.Index(
    "ix_region_versions_newest",
    region_versions.c.valid_from,
    **only_where("changed_fields <> '[\"state\"]'"),  # a change of state alone is a transition
)

CURRENT: dict[Kind, sa.Table] = {
    "region": regions,
    "keystone": keystones,
    "metrics_database": metrics_databases,
}
VERSIONS: dict[Kind, sa.Table] = {
    "region": region_versions,
    "keystone": keystone_versions,
    "metrics_database": metrics_database_versions,
}
assert "region_id" not in Region.__struct_fields__  # noqa: S101 - see _versions
