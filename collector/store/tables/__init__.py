"""All tables. The comments of tables and columns are the data dictionary.

    evidence     sources, observers, payloads, observations, amendments
    entities     derived: each entity as last seen, and its versions
    history      derived: transitions, unseen spans, rejected records, drift
    outbox       work to be done for others
    proof        digests that outside places received, and results of verifications

Derived rows have natural keys.
"""

from __future__ import annotations

import sqlalchemy as sa

from collector.store.tables.entities import (
    CURRENT,
    TYPED,
    VERSIONS,
    keystone_versions,
    keystones,
    metrics_database_versions,
    metrics_databases,
    region_versions,
    region_volume_types,
    regions,
)
from collector.store.tables.evidence import MAX_LINKS, amendments, observations, observers, payloads, sources
from collector.store.tables.history import (
    gaps,
    rejected_records,
    schema_drift,
    state_transitions,
    unproven_absences,
    unseen,
    withheld_absences,
)
from collector.store.tables.outbox import IS_DEAD, IS_WAITING, webhook_deliveries, webhook_queues
from collector.store.tables.parts import metadata
from collector.store.tables.proof import anchors, verifications

__all__ = [
    "CURRENT",
    "DERIVATION_REVISION",
    "DERIVED",
    "IS_DEAD",
    "IS_WAITING",
    "MAX_LINKS",
    "TYPED",
    "VERSIONS",
    "amendments",
    "anchors",
    "gaps",
    "keystone_versions",
    "keystones",
    "metadata",
    "metrics_database_versions",
    "metrics_databases",
    "observations",
    "observers",
    "payloads",
    "region_versions",
    "region_volume_types",
    "regions",
    "rejected_records",
    "schema_drift",
    "sources",
    "state_transitions",
    "unproven_absences",
    "unseen",
    "verifications",
    "webhook_deliveries",
    "webhook_queues",
    "withheld_absences",
]

DERIVATION_REVISION = 6
"""Increased whenever the same evidence would give other derived rows."""

DERIVED: tuple[sa.Table, ...] = (
    *CURRENT.values(),
    region_volume_types,
    *VERSIONS.values(),
    state_transitions,
    unseen,
    withheld_absences,
    unproven_absences,
    gaps,
    rejected_records,
    schema_drift,
)
"""Everything that follows from observations and payloads, parents before children."""
