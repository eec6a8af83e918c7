"""Versions carry their window, unseen spans their last question; gaps and unproven absences are rows.

What the new columns and tables hold is derived: they are filled when the history is derived again.

Revision ID: 0003
Revises: 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UTC_TIME = sa.TIMESTAMP(timezone=True)
TIME_PATTERN = (
    "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    ".[0-9][0-9][0-9][0-9][0-9][0-9]Z"
)
CURRENT = ("regions", "keystones", "metrics_databases")
VERSIONS = ("region_versions", "keystone_versions", "metrics_database_versions")
BASES = ("baseline", "direct", "across_gap", "absence", "observer_change", "other_copy")
ENTITY = "Kind of entity: region, keystone, metrics_database"
SOURCE = "The source; see sources"


def upgrade() -> None:
    for table in CURRENT:
        _add_time(
            table,
            "absent_not_before",
            "When the last poll that showed it, before it was absent, asked; NULL: present",
        )
    for table in VERSIONS:
        _add_time(
            table,
            "not_before",
            "The change lies between this time and valid_from; NULL: unbounded, it may always have been so",
        )
        allowed = ", ".join(f"'{basis}'" for basis in BASES)
        _add(
            table,
            "basis",
            sa.Text(),
            "How sure the change is, as in state_transitions; NULL: not derived again since the upgrade",
            (f"ck_{table}_basis", f"basis IN ({allowed})"),
            (f"ck_{table}_window", "not_before IS NULL OR not_before < valid_from"),
        )
    _add_time(
        "unseen",
        "last_asked_at",
        "Question of the last poll that showed it; NULL: not derived again since the upgrade",
    )
    op.create_table(
        "unproven_absences",
        _c("source_id", sa.Integer(), SOURCE),
        _c("entity", sa.Text(), ENTITY),
        _c("scope", sa.Text(), "all, or the id of the entity"),
        _c("missed_seq", sa.BigInteger(), "First observation after the last proof"),
        _c("last_asked_at", UTC_TIME, "Question of the last poll that proved it; NULL: none had", null=True),
        _c("until_at", UTC_TIME, "When it was proven again, or the entity shown; NULL: not yet", null=True),
        _c("until_seq", sa.BigInteger(), "Observation that ended it", null=True),
        _c("proven_seq", sa.BigInteger(), "Last observation that proved it", null=True),
        sa.PrimaryKeyConstraint("source_id", "entity", "scope", "missed_seq", name="pk_unproven_absences"),
        *_seen_by("unproven_absences", "missed_seq", "until_seq", "proven_seq"),
        *_times("unproven_absences", "last_asked_at", "until_at"),
        comment="One row: a time for which the absence of an entity, or of every absent entity of a kind, is not proven",
    )
    op.create_index(
        "ix_unproven_absences_open",
        "unproven_absences",
        ["source_id"],
        sqlite_where=sa.text("until_at IS NULL"),
        postgresql_where=sa.text("until_at IS NULL"),
    )
    op.create_table(
        "gaps",
        _c("source_id", sa.Integer(), SOURCE),
        _c("until_seq", sa.BigInteger(), "Observation that ended it"),
        _c(
            "from_at",
            UTC_TIME,
            "Answer of the last successful poll; of a source that failed at first, of its first poll",
        ),
        _c("until_at", UTC_TIME, "Answer of the next successful poll"),
        _c("last_asked_at", UTC_TIME, "Question of that last poll"),
        _c("cause", sa.Text(), "Why most polls in it failed, or no_polls"),
        _c("failed_polls", sa.BigInteger(), "Failed polls in it"),
        _c(
            "error",
            sa.Text(),
            "Message of the longest stretch of polls that failed for this cause",
            null=True,
        ),
        _c("seq", sa.BigInteger(), "Last observation before it; 0: none"),
        sa.PrimaryKeyConstraint("source_id", "until_seq", name="pk_gaps"),
        *_seen_by("gaps", "until_seq"),
        sa.CheckConstraint("from_at < until_at", name="ck_gaps_times"),
        *_times("gaps", "from_at", "until_at", "last_asked_at"),
        comment="One row: a time without any successful poll, longer than 2.5 expected intervals, that has ended",
    )


def downgrade() -> None:
    op.drop_table("gaps")
    op.drop_table("unproven_absences")
    _drop("unseen", "last_asked_at")
    for table in VERSIONS:
        _drop(table, "basis", f"ck_{table}_basis", f"ck_{table}_window")
        _drop(table, "not_before")
    for table in CURRENT:
        _drop(table, "absent_not_before")


def _c(name: str, kind: Any, comment: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, autoincrement=False, comment=comment)


def _is_utc(table: str, name: str) -> tuple[str, str]:
    return f"ck_{table}_{name}_is_utc", f"{name} GLOB '{TIME_PATTERN}'"


def _times(table: str, *names: str) -> list[sa.CheckConstraint]:
    """SQLite has no time type: a constraint keeps the text well-formed."""
    checks = [_is_utc(table, name) for name in names]
    return [sa.CheckConstraint(sql, name=label).ddl_if(dialect="sqlite") for label, sql in checks]


def _seen_by(table: str, *names: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint(
            ["source_id", name], ["observations.source_id", "observations.seq"], name=f"fk_{table}_{name}"
        )
        for name in names
    ]


def _add_time(table: str, name: str, comment: str) -> None:
    is_sqlite = op.get_context().dialect.name == "sqlite"
    _add(table, name, UTC_TIME, comment, *([_is_utc(table, name)] if is_sqlite else []))


def _add(table: str, name: str, kind: Any, comment: str, *checks: tuple[str, str]) -> None:
    """SQLite adds no constraint to a table, but a column with constraints."""
    if op.get_context().dialect.name == "sqlite":
        inline = " ".join(f"CONSTRAINT {label} CHECK ({sql})" for label, sql in checks)
        op.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind.compile(op.get_context().dialect)} {inline}")
        return
    op.add_column(table, sa.Column(name, kind, comment=comment))
    for label, sql in checks:
        op.create_check_constraint(label, table, sql)


def _drop(table: str, name: str, *checks: str) -> None:
    """SQLite drops the constraints of a column with it."""
    if op.get_context().dialect.name != "sqlite":
        for label in checks:
            op.drop_constraint(label, table)
    op.drop_column(table, name)
