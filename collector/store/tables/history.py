"""What happened: transitions, unseen spans, and anything unusual in the answers."""

from __future__ import annotations

import sqlalchemy as sa

from collector.database.types import UtcTime, only_where
from collector.inventory.entities import ENTITIES, WITH_STATE
from collector.store.tables.evidence import seen_by
from collector.store.tables.parts import (
    BASES,
    check,
    column,
    entity,
    entity_id,
    one_of,
    seq,
    source_id,
    table,
)

state_transitions = table(
    "state_transitions",
    "One row: a change of state or of presence; its true time lies in [not_before, observed_at]",
    source_id(),
    entity(*WITH_STATE),
    entity_id(),
    column("kind", sa.Text, "appeared, changed, disappeared, reappeared"),
    column("from_state", sa.Text, "State before; NULL: not listed", null=True),
    column("to_state", sa.Text, "State after; NULL: not listed", null=True),
    column(
        "not_before",
        UtcTime,
        "When the last poll that confirmed the old state was asked; for an appearance, the last complete answer to the "
        "same key and URL; NULL: no lower bound is known",
        null=True,
    ),
    column("observed_at", UtcTime, "When the first poll that showed the new state was answered"),
    column("basis", sa.Text, "baseline, direct, across_gap, absence, observer_change, other_copy"),
    column(
        "first_missing_at", UtcTime, "For a disappearance: when the entity was first not shown", null=True
    ),
    seq("Observation that first showed the new state", primary_key=True),
    *seen_by("state_transitions", "seq"),
    check("state_transitions_entity", one_of("entity", *WITH_STATE)),
    check("state_transitions_kind", one_of("kind", "appeared", "changed", "disappeared", "reappeared")),
    check("state_transitions_basis", one_of("basis", *BASES)),
    check("state_transitions_window", "not_before IS NULL OR not_before < observed_at"),
    check(
        "state_transitions_states",
        "(from_state IS NULL) = (kind IN ('appeared', 'reappeared'))"
        " AND (to_state IS NULL) = (kind = 'disappeared')",
    ),
    sa.Index("ix_state_transitions_observed_at", "source_id", "observed_at"),
    sa.Index("ix_state_transitions_newest", "observed_at"),
    sa.Index("ix_state_transitions_keystones", "observed_at", **only_where("entity = 'keystone'")),
)

unseen = table(
    "unseen",
    "One row: a time in which an entity that is present was not shown; its state is unknown then",
    source_id(),
    entity(*ENTITIES),
    entity_id(),
    seq("First observation that did not show it", "missed_seq", primary_key=True),
    column("from_at", UtcTime, "When the last poll that showed it was answered"),
    column("missed_at", UtcTime, "When the first poll that did not show it was answered"),
    column("until_at", UtcTime, "When it was shown again or found absent; NULL: still unseen", null=True),
    column("cause", sa.Text, "partial, held, not_given, record_without_id, reference_not_stated"),
    seq("Last observation that showed it", "shown_seq"),
    seq("Observation that ended the span", "until_seq", null=True),
    column(
        "last_asked_at",
        UtcTime,
        "When the last poll that showed it was asked; NULL: not derived since the upgrade",
        null=True,
    ),
    *seen_by("unseen", "missed_seq", "shown_seq", "until_seq"),
    sa.Index("ix_unseen_newest", "missed_at"),
    sa.Index("ix_unseen_missed_seq", "source_id", "missed_seq"),
    sa.Index("ix_unseen_until_seq", "source_id", "until_seq"),
    sa.Index(
        "ix_unseen_open",
        "source_id",
        "entity",
        "entity_id",
        **only_where("until_at IS NULL"),
    ),
)

withheld_absences = table(
    "withheld_absences",
    "One row: an answer that could not prove the absence of an entity that it names, or of a whole kind",
    source_id(),
    seq("The observation", primary_key=True),
    entity(*ENTITIES),
    column("scope", sa.Text, "all, or the id of the entity", primary_key=True),
    column("cause", sa.Text, "not_given, record_without_id, reference_not_stated"),
    *seen_by("withheld_absences", "seq"),
)

unproven_absences = table(
    "unproven_absences",
    "One row: a time in which the absence of an entity, or of every absent entity of a kind, is not proven",
    source_id(),
    entity(*ENTITIES),
    column("scope", sa.Text, "all, or the id of the entity", primary_key=True),
    seq("First observation after the last proof", "missed_seq", primary_key=True),
    column(
        "from_at",
        UtcTime,
        "When the last poll that proved it was asked; without such a poll, the first that named the entity",
    ),
    column(
        "until_at",
        UtcTime,
        "When the absence was proven again, or the entity was shown; NULL: not yet",
        null=True,
    ),
    seq("Observation that ended it", "until_seq", null=True),
    seq("Last observation that proved it", "proven_seq", null=True),
    *seen_by("unproven_absences", "missed_seq", "until_seq", "proven_seq"),
    sa.Index(
        "ix_unproven_absences_open",
        "source_id",
        **only_where("until_at IS NULL"),
    ),
)

gaps = table(
    "gaps",
    "One row: a time of more than 2.5 expected intervals without a successful poll, which has ended",
    source_id(),
    seq("Observation that ended it", "until_seq", primary_key=True),
    column(
        "from_at",
        UtcTime,
        "When the last successful poll was answered; without one, the first poll of the source",
    ),
    column("until_at", UtcTime, "When the next successful poll was answered"),
    column("last_asked_at", UtcTime, "When that last poll was asked"),
    column("cause", sa.Text, "Cause of most failed polls in it, or no_polls"),
    column("failed_polls", sa.BigInteger, "Number of failed polls in it"),
    column("error", sa.Text, "Message of the longest observation that failed with this cause", null=True),
    seq("Last observation before it; 0: none"),
    *seen_by("gaps", "until_seq"),
    check("gaps_times", "from_at < until_at"),
    sa.Index("ix_gaps_newest", "from_at"),
)

rejected_records = table(
    "rejected_records",
    "One row: a record of an answer that could not be used",
    source_id(),
    seq("The observation", primary_key=True),
    column("position", sa.Integer, "Index in the canonical results", primary_key=True, autoincrement=False),
    column("region_id", sa.BigInteger, "Its id, if that is usable", null=True),
    column("reason", sa.Text, "not_an_object, no_usable_id, no_usable_state, duplicate_id"),
    column("payload", sa.Text, "The record as canonical JSON, without secrets"),
    *seen_by("rejected_records", "seq"),
)

schema_drift = table(
    "schema_drift",
    "One row: something that the documented schema does not describe, when it was first seen",
    source_id(),
    column("path", sa.Text, "Path in the answer", primary_key=True),
    column(
        "kind",
        sa.Text,
        "unknown_field, missing_field, wrong_type, unusable_value, unknown_value, copies_differ",
        primary_key=True,
    ),
    column("detail", sa.Text, "JSON type, or the value of enum-like text, or empty", primary_key=True),
    column("first_seen_at", UtcTime, "When it was first seen"),
    seq("Observation that first saw it"),
    *seen_by("schema_drift", "seq"),
    sa.Index("ix_schema_drift_newest", "first_seen_at"),
)
