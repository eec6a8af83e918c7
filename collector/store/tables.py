"""All tables. The comments of tables and columns are the data dictionary.

Evidence: sources, observers, payloads, observations. Everything else is derived from it and has natural
keys; webhook deliveries alone are work to be done.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any, get_type_hints

import sqlalchemy as sa

from collector.inventory.entities import ENTITIES, Kind, Region
from collector.store.engine import JsonList, UtcTime, time_check

DERIVATION_REVISION = 4
"""Raised whenever the same evidence would give other derived rows."""

MAX_LINKS = 16
"""So many answers may lie between an answer and the whole one that it rests on."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def _c(name: str, kind: Any, comment: str, *, null: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, comment=comment, **options)


def _table(name: str, comment: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    times = [
        time_check(name, p.name) for p in parts if isinstance(p, sa.Column) and isinstance(p.type, UtcTime)
    ]
    return sa.Table(name, metadata, *parts, *times, comment=comment)


def _check(name: str, sql: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(sql, name=f"ck_{name}")


def _source_id() -> sa.Column[Any]:
    return _c("source_id", sa.Integer, "The source; see sources", primary_key=True, autoincrement=False)


def _seq(comment: str, name: str = "seq", **options: Any) -> sa.Column[Any]:
    return _c(name, sa.BigInteger, comment, autoincrement=False, **options)


def _seen_by(table: str, *names: str) -> list[sa.ForeignKeyConstraint]:
    """Every fact points to the observation that saw it."""
    return [
        sa.ForeignKeyConstraint(
            ["source_id", name], ["observations.source_id", "observations.seq"], name=f"fk_{table}_{name}"
        )
        for name in names
    ]


def _one_of(column: str, *allowed: str) -> str:
    return f"{column} IN ({', '.join(repr(a) for a in allowed)})"


# Evidence

sources = _table(
    "sources",
    "One row: a named place to poll, as in the settings; with the lease of the process that polls it",
    sa.Column("id", sa.Integer, primary_key=True, comment="The source_id of all other tables"),
    _c("name", sa.Text, "Name in the settings"),
    _c("newest_seq", sa.BigInteger, "Number of the newest observation; 0 before the first"),
    _c("derivation_revision", sa.Integer, "Revision of the rules by which the derived tables were made"),
    _c("lease_owner", sa.Text, "Process that may write this source; NULL when released", null=True),
    _c("lease_expires_at", UtcTime, "By the database's clock", null=True),
    _c("lease_epoch", sa.BigInteger, "Grows with every change of the lease's owner"),
    _c("key_salt", sa.Text, "Salt of the key fingerprints; the same for all sources of a database"),
    sa.UniqueConstraint("name", name="uq_sources_name"),
    _check("sources_newest_seq", "newest_seq >= 0"),
)

observers = _table(
    "observers",
    "One row: who looked at a source: which key, at which URL",
    _source_id(),
    _c("id", sa.Integer, "Counts from 1 within the source", primary_key=True, autoincrement=False),
    _c(
        "key_fingerprint",
        sa.Text,
        "HMAC-SHA256 of the API key with the salt, first 32 hex digits; empty: there was no key",
    ),
    _c("base_url", sa.Text, "Base URL of the API"),
    _c("auth_scheme", sa.Text, "Word before the key in the Authorization header"),
    _c("first_used_at", UtcTime, "When this observer first polled"),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_observers_source_id"),
    sa.UniqueConstraint("source_id", "key_fingerprint", "base_url", "auth_scheme", name="uq_observers_who"),
)

payloads = _table(
    "payloads",
    "One row: one distinct answer of the API, secrets redacted",
    _source_id(),
    _c("address", sa.Text, "SHA-256 over the hashes of envelope and records", primary_key=True),
    _c("canonical_version", sa.Integer, "Version of the canonical form"),
    _c("size", sa.BigInteger, "Bytes of the canonical JSON of the whole answer"),
    _c("compressed_size", sa.BigInteger, "Bytes of body"),
    _c(
        "body",
        sa.LargeBinary,
        "The canonical JSON, compressed with zlib; where there is a base, of what changed over that",
    ),
    # No foreign key: SQLite could add one only by copying all answers. Each is kept by its observation anyway.
    _c("base", sa.Text, "Address of the answer over which this one is written; NULL: it is whole", null=True),
    sa.Column(
        "links",
        sa.Integer,
        # Beside its column, and with a default: so SQLite can add it to a table that has rows.
        _check("payloads_links", f"links BETWEEN 0 AND {MAX_LINKS} AND (links = 0) = (base IS NULL)"),
        nullable=False,
        server_default="0",
        comment="Number of answers under this one, down to a whole one; 0: it is whole",
    ),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_payloads_source_id"),
)

observations = _table(
    "observations",
    "One row: a stretch of consecutive polls of a source with the same outcome and content",
    _source_id(),
    _seq("Counts from 1 within the source, without holes", primary_key=True),
    _c(
        "outcome",
        sa.Text,
        "ok, partial (a page, or count differs), held (absences wait), failed; never changes",
    ),
    _c("first_at", UtcTime, "When the first poll was answered"),
    _c("last_at", UtcTime, "When the newest poll was answered"),
    _c("polls", sa.BigInteger, "Number of polls"),
    _c("listed", sa.Integer, "Number of records in the answer", null=True),
    _c("declared", sa.BigInteger, "The answer's own count", null=True),
    _c("rejected", sa.Integer, "Number of records that could not be used", null=True),
    _c(
        "missing",
        JsonList,
        "Ids of the regions that were present and not listed, judged at the first poll; NULL: none",
        null=True,
    ),
    _c("variants", sa.BigInteger, "Polls that said the same in another spelling; not kept as evidence"),
    _c("cause", sa.Text, "Why the poll failed", null=True),
    _c("http_status", sa.Integer, "Status of a refused poll", null=True),
    _c("exception_class", sa.Text, "As the API named it", null=True),
    _c("message", sa.Text, "Of the first failure of the stretch, scrubbed of the key", null=True),
    _c("request_id", sa.Text, "Of the first failure of the stretch", null=True),
    _c("first_asked_at", UtcTime, "When the request of the first poll was sent, less the age of its answer"),
    _c("last_asked_at", UtcTime, "When the request of the newest poll was sent, less the age of its answer"),
    _c("expected_interval_ms", sa.BigInteger, "Polls were expected so far apart; 2.5 times as much is a gap"),
    _c("longest_interval_ms", sa.BigInteger, "Longest time between two polls of the stretch; 0 for one poll"),
    _c("clock_offset_ms", sa.BigInteger, "This clock less the API's, at the first poll", null=True),
    _c("payload", sa.Text, "Address of the answer", null=True),
    _c("observer_id", sa.Integer, "Who looked; see observers"),
    _c("collector_version", sa.Text, "Version that opened the row"),
    _c("recorded_at", UtcTime, "When the row was opened"),
    _c("previous_digest", sa.Text, "digest of the row before; of the first row: 64 zeros"),
    _c("opening_digest", sa.Text, "SHA-256 over previous_digest and everything known at the first poll"),
    _c("digest", sa.Text, "SHA-256 over opening_digest and the final counters; NULL while open", null=True),
    _c("paging", sa.Text, "What makes the answer look like one page of several; NULL: nothing", null=True),
    _c(
        "age_ms",
        sa.BigInteger,
        "How old a cache said the answer was, at the first poll; NULL: it came from no cache",
        null=True,
    ),
    sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_observations_source_id"),
    sa.ForeignKeyConstraint(
        ["source_id", "payload"], ["payloads.source_id", "payloads.address"], name="fk_observations_payload"
    ),
    sa.ForeignKeyConstraint(
        ["source_id", "observer_id"], ["observers.source_id", "observers.id"], name="fk_observations_observer"
    ),
    _check("observations_outcome", _one_of("outcome", "ok", "partial", "held", "failed")),
    _check("observations_failed_has_cause", "(outcome = 'failed') = (cause IS NOT NULL)"),
    _check("observations_answer_has_payload", "(outcome = 'failed') = (payload IS NULL)"),
    _check("observations_times", "first_at <= last_at AND last_asked_at <= last_at"),
    _check("observations_polls", "polls >= 1"),
)

# Current state and versions

_BASES = ("baseline", "direct", "across_gap", "absence", "observer_change", "other_copy")

_TYPES: dict[Any, Any] = {
    str: sa.Text,
    int: sa.BigInteger,
    bool: sa.Boolean,
    datetime: UtcTime,
    tuple: JsonList,
}


def _sql_type(annotation: Any) -> Any:
    """`str | None` is Text; `tuple[…] | None` is a JSON list."""
    plain = next((a for a in getattr(annotation, "__args__", ()) if a is not type(None)), annotation)
    if getattr(annotation, "__origin__", None) is tuple or getattr(plain, "__origin__", None) is tuple:
        return JsonList
    return _TYPES[plain]


def _typed_columns(kind: Kind) -> list[sa.Column[Any]]:
    entity = ENTITIES[kind]
    hints = get_type_hints(entity)
    return [
        _c(f.name, _sql_type(hints[f.name]), f.metadata["doc"], null=f.name != "state")
        for f in fields(entity)
        if f.name != "id"
    ]


def _witness(kind: Kind, null: bool = False) -> list[sa.Column[Any]]:
    doc = "Region whose copy of the object counts: the lowest id that gives it"
    return [] if kind == "region" else [_c("witness_region_id", sa.BigInteger, doc, null=null)]


def _current(name: str, kind: Kind, id_comment: str) -> sa.Table:
    return _table(
        name,
        f"One row: a {kind.replace('_', ' ')} as last seen, present or absent",
        _source_id(),
        _c("id", sa.BigInteger, id_comment, primary_key=True, autoincrement=False),
        *_typed_columns(kind),
        *_witness(kind),
        _c("first_seen_at", UtcTime, "When it was first seen"),
        _c("changed_at", UtcTime, "When the newest change of any typed column was seen"),
        _c("absent_since", UtcTime, "When a complete answer no longer had it; NULL: present", null=True),
        _seq("Observation that saw the newest change"),
        _c("content_hash", sa.Text, "Hash of the typed columns, for comparing"),
        _c(
            "absent_not_before",
            UtcTime,
            "When the last poll that showed it, before it was absent, asked; NULL: present",
            null=True,
        ),
        *_seen_by(name, "seq"),
    )


def _versions(name: str, kind: Kind) -> sa.Table:
    key = f"{kind}_id"
    return _table(
        name,
        f"One row: a {kind.replace('_', ' ')} as it was during [valid_from, valid_to); absent: no row in force",
        _source_id(),
        # A region has a keystone_id of its own, but no region_id: the keys never collide.
        _c(key, sa.BigInteger, f"The {kind.replace('_', ' ')}", primary_key=True, autoincrement=False),
        _c("valid_from", UtcTime, "When it was first seen like this", primary_key=True),
        _c("valid_to", UtcTime, "When it was first seen otherwise or absent; NULL: still so", null=True),
        _c(
            "changed_fields",
            JsonList,
            "Columns that differ from the version before; NULL: none before",
            null=True,
        ),
        *_typed_columns(kind),
        *_witness(kind),
        _seq("Observation that first saw this version"),
        _c(
            "not_before",
            UtcTime,
            "The change lies between this time and valid_from; NULL: unbounded, it may always have been so",
            null=True,
        ),
        _c(
            "basis",
            sa.Text,
            "How sure the change is, as in state_transitions; NULL: not derived again since the upgrade",
            null=True,
        ),
        *_seen_by(name, "seq"),
        _check(f"{name}_interval", "valid_to IS NULL OR valid_from < valid_to"),
        _check(f"{name}_window", "not_before IS NULL OR not_before < valid_from"),
        _check(f"{name}_basis", _one_of("basis", *_BASES)),
        sa.Index(f"ix_{name}_valid_from", "source_id", "valid_from"),
        sa.Index(
            f"uq_{name}_open",
            "source_id",
            key,
            unique=True,
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        ),
    )


regions = _current("regions", "region", "Region id of the API")
keystones = _current("keystones", "keystone", "The regions' keystone_id")
metrics_databases = _current("metrics_databases", "metrics_database", "The regions' metrics_database_id")

region_volume_types = _table(
    "region_volume_types",
    "One row: one volume type of a region, as last seen",
    _source_id(),
    _c("region_id", sa.BigInteger, "The region", primary_key=True, autoincrement=False),
    _c("volume_type", sa.Text, "Name of the volume type", primary_key=True),
    sa.ForeignKeyConstraint(
        ["source_id", "region_id"], ["regions.source_id", "regions.id"], name="fk_region_volume_types_region"
    ),
)

region_versions = _versions("region_versions", "region")
keystone_versions = _versions("keystone_versions", "keystone")
metrics_database_versions = _versions("metrics_database_versions", "metrics_database")

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
TYPED: dict[Kind, tuple[str, ...]] = {
    kind: tuple(f.name for f in fields(entity) if f.name != "id") for kind, entity in ENTITIES.items()
}
assert "region_id" not in {f.name for f in fields(Region)}  # noqa: S101 - see _versions

# What happened


def _entity(*kinds: str) -> sa.Column[Any]:
    return _c("entity", sa.Text, f"Kind of entity: {', '.join(kinds)}", primary_key=True)


def _entity_id() -> sa.Column[Any]:
    return _c("entity_id", sa.BigInteger, "Its id", primary_key=True, autoincrement=False)


state_transitions = _table(
    "state_transitions",
    "One row: a change of state or of presence; its true time lies in [not_before, observed_at]",
    _source_id(),
    _entity("region", "keystone"),
    _entity_id(),
    _c("kind", sa.Text, "appeared, changed, disappeared, reappeared"),
    _c("from_state", sa.Text, "State before; NULL where not listed", null=True),
    _c("to_state", sa.Text, "State after; NULL where not listed", null=True),
    _c(
        "not_before",
        UtcTime,
        "When the last poll that confirmed the old state asked; of an appearance the last complete answer to the same "
        "key and URL; NULL: unbounded",
        null=True,
    ),
    _c("observed_at", UtcTime, "When the first poll that showed the new state was answered"),
    _c("basis", sa.Text, "baseline, direct, across_gap, absence, observer_change, other_copy"),
    _c("first_missing_at", UtcTime, "Of a disappearance: when it was first not shown", null=True),
    _seq("Observation that first showed the new state", primary_key=True),
    *_seen_by("state_transitions", "seq"),
    _check("state_transitions_entity", _one_of("entity", "region", "keystone")),
    _check("state_transitions_kind", _one_of("kind", "appeared", "changed", "disappeared", "reappeared")),
    _check("state_transitions_basis", _one_of("basis", *_BASES)),
    _check("state_transitions_window", "not_before IS NULL OR not_before < observed_at"),
    _check(
        "state_transitions_states",
        "(from_state IS NULL) = (kind IN ('appeared', 'reappeared'))"
        " AND (to_state IS NULL) = (kind = 'disappeared')",
    ),
    sa.Index("ix_state_transitions_observed_at", "source_id", "observed_at"),
)

unseen = _table(
    "unseen",
    "One row: an entity that is present was not shown for a while; its state then is unknown",
    _source_id(),
    _entity("region", "keystone", "metrics_database"),
    _entity_id(),
    _seq("First observation that did not show it", "missed_seq", primary_key=True),
    _c("from_at", UtcTime, "Answer of the last poll that showed it"),
    _c("missed_at", UtcTime, "Answer of the first poll that did not"),
    _c("until_at", UtcTime, "When it was shown again or found absent; NULL: still unseen", null=True),
    _c("cause", sa.Text, "partial, held, not_given, record_without_id, reference_not_stated"),
    _seq("Last observation that showed it", "shown_seq"),
    _seq("Observation that ended the span", "until_seq", null=True),
    _c(
        "last_asked_at",
        UtcTime,
        "Question of the last poll that showed it; NULL: not derived again since the upgrade",
        null=True,
    ),
    *_seen_by("unseen", "missed_seq", "shown_seq", "until_seq"),
    sa.Index(
        "ix_unseen_open",
        "source_id",
        "entity",
        "entity_id",
        sqlite_where=sa.text("until_at IS NULL"),
        postgresql_where=sa.text("until_at IS NULL"),
    ),
)

withheld_absences = _table(
    "withheld_absences",
    "One row: an answer that could not prove the absence of an entity that it names, or of a whole kind",
    _source_id(),
    _seq("The observation", primary_key=True),
    _entity("region", "keystone", "metrics_database"),
    _c("scope", sa.Text, "all, or the id of the entity", primary_key=True),
    _c("cause", sa.Text, "not_given, record_without_id, reference_not_stated"),
    *_seen_by("withheld_absences", "seq"),
)

unproven_absences = _table(
    "unproven_absences",
    "One row: a time for which the absence of an entity, or of every absent entity of a kind, is not proven",
    _source_id(),
    _entity("region", "keystone", "metrics_database"),
    _c("scope", sa.Text, "all, or the id of the entity", primary_key=True),
    _seq("First observation after the last proof", "missed_seq", primary_key=True),
    _c(
        "from_at",
        UtcTime,
        "Question of the last poll that proved it; if none had, of the first that named it",
    ),
    _c("until_at", UtcTime, "When it was proven again, or the entity shown; NULL: not yet", null=True),
    _seq("Observation that ended it", "until_seq", null=True),
    _seq("Last observation that proved it", "proven_seq", null=True),
    *_seen_by("unproven_absences", "missed_seq", "until_seq", "proven_seq"),
    sa.Index(
        "ix_unproven_absences_open",
        "source_id",
        sqlite_where=sa.text("until_at IS NULL"),
        postgresql_where=sa.text("until_at IS NULL"),
    ),
)

gaps = _table(
    "gaps",
    "One row: a time without any successful poll, longer than 2.5 expected intervals, that has ended",
    _source_id(),
    _seq("Observation that ended it", "until_seq", primary_key=True),
    _c(
        "from_at",
        UtcTime,
        "Answer of the last successful poll; of a source that failed at first, of its first poll",
    ),
    _c("until_at", UtcTime, "Answer of the next successful poll"),
    _c("last_asked_at", UtcTime, "Question of that last poll"),
    _c("cause", sa.Text, "Why most polls in it failed, or no_polls"),
    _c("failed_polls", sa.BigInteger, "Failed polls in it"),
    _c("error", sa.Text, "Message of the longest stretch of polls that failed for this cause", null=True),
    _seq("Last observation before it; 0: none"),
    *_seen_by("gaps", "until_seq"),
    _check("gaps_times", "from_at < until_at"),
)

rejected_records = _table(
    "rejected_records",
    "One row: a record of an answer that could not be used",
    _source_id(),
    _seq("The observation", primary_key=True),
    _c("position", sa.Integer, "Index in the canonical results", primary_key=True, autoincrement=False),
    _c("region_id", sa.BigInteger, "Its id, where it has a usable one", null=True),
    _c("reason", sa.Text, "not_an_object, no_usable_id, no_usable_state, duplicate_id"),
    _c("payload", sa.Text, "The record as canonical JSON, secrets redacted"),
    *_seen_by("rejected_records", "seq"),
)

schema_drift = _table(
    "schema_drift",
    "One row: something that the documented schema does not say, when it was first seen",
    _source_id(),
    _c("path", sa.Text, "Where in the answer", primary_key=True),
    _c(
        "kind",
        sa.Text,
        "unknown_field, missing_field, wrong_type, unusable_value, unknown_value, copies_differ",
        primary_key=True,
    ),
    _c("detail", sa.Text, "JSON type, or the value of enum-like text, or empty", primary_key=True),
    _c("first_seen_at", UtcTime, "When it was first seen"),
    _seq("Observation that first saw it"),
    *_seen_by("schema_drift", "seq"),
)

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

webhook_deliveries = _table(
    "webhook_deliveries",
    "One row: one event for one receiver, with a snapshot of the event",
    _source_id(),
    _c("receiver", sa.Text, "Name of the receiver in the settings", primary_key=True),
    _entity("region", "keystone"),
    _entity_id(),
    _seq("Observation that showed the event", primary_key=True),
    _c("event", sa.Text, "The event as JSON, as it was when it happened"),
    _c("created_at", UtcTime, "When it was queued"),
    _c("attempts", sa.Integer, "How often it was tried"),
    _c("next_try_at", UtcTime, "When to try next; NULL: delivered or given up", null=True),
    _c("delivered_at", UtcTime, "When the receiver took it", null=True),
    _c("last_error", sa.Text, "What the last try said", null=True),
    *_seen_by("webhook_deliveries", "seq"),
    sa.Index(
        "ix_webhook_deliveries_due",
        "next_try_at",
        sqlite_where=sa.text("next_try_at IS NOT NULL"),
        postgresql_where=sa.text("next_try_at IS NOT NULL"),
    ),
)
