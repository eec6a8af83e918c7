"""Versions have their window, unseen spans their last request; gaps and unproven absences are rows.

The contents of the new columns and tables are derived: they are filled when the history is derived again.

Revision ID: 0003
Revises: 0002
"""

from collections.abc import Callable
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
BASES = ("baseline", "direct", "across_gap", "absence", "observer_change", "other_copy")
_ABSENT: dict[str, Any] = {
    "absent_not_before": (
        UTC_TIME,
        "When the last poll that showed it, before it was absent, asked; NULL: present",
    ),
}
_WINDOW: dict[str, Any] = {
    "not_before": (
        UTC_TIME,
        "The change lies between this time and valid_from; NULL: unbounded, it may always have been so",
        ("ck_{table}_window", "not_before IS NULL OR not_before < valid_from"),
    ),
    "basis": (
        sa.Text(),
        "How sure the change is, as in state_transitions; NULL: not derived again since the upgrade",
        ("ck_{table}_basis", f"basis IN ({', '.join(map(repr, BASES))})"),
    ),
}
ADDED: dict[str, dict[str, Any]] = {
    "region_versions": _WINDOW,
    "keystone_versions": _WINDOW,
    "metrics_database_versions": _WINDOW,
    "unseen": {
        "last_asked_at": (
            UTC_TIME,
            "Question of the last poll that showed it; NULL: not derived again since the upgrade",
        ),
    },
    "regions": _ABSENT,
    "keystones": _ABSENT,
    "metrics_databases": _ABSENT,
}
"""By table and column: type, comment, and constraints as (name, condition)."""
ENTITY = "Kind of entity: region, keystone, metrics_database"
SOURCE = "The source; see sources"


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        _remake(_with)
    else:
        for table, columns in ADDED.items():
            for name, (kind, comment, *checks) in columns.items():
                op.add_column(table, sa.Column(name, kind, comment=comment))
                for label, sql in checks:
                    op.create_check_constraint(label.format(table=table), table, sql)
    op.create_table(
        "unproven_absences",
        _c("source_id", sa.Integer(), SOURCE),
        _c("entity", sa.Text(), ENTITY),
        _c("scope", sa.Text(), "all, or the id of the entity"),
        _c("missed_seq", sa.BigInteger(), "First observation after the last proof"),
        _c(
            "from_at",
            UTC_TIME,
            "Question of the last poll that proved it; if none had, of the first that named it",
        ),
        _c("until_at", UTC_TIME, "When it was proven again, or the entity shown; NULL: not yet", null=True),
        _c("until_seq", sa.BigInteger(), "Observation that ended it", null=True),
        _c("proven_seq", sa.BigInteger(), "Last observation that proved it", null=True),
        sa.PrimaryKeyConstraint("source_id", "entity", "scope", "missed_seq", name="pk_unproven_absences"),
        *_seen_by("unproven_absences", "missed_seq", "until_seq", "proven_seq"),
        *_times("unproven_absences", "from_at", "until_at"),
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
    if op.get_context().dialect.name == "sqlite":
        _remake(_without)
        return
    for table, columns in ADDED.items():
        for name, (_, _, *checks) in columns.items():
            for label, _ in checks:
                op.drop_constraint(label.format(table=table), table)
            op.drop_column(table, name)


def _c(name: str, kind: Any, comment: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, autoincrement=False, comment=comment)


def _is_utc(table: str, name: str) -> str:
    """SQLite has no time type, so a constraint keeps the text well-formed."""
    return f"CONSTRAINT ck_{table}_{name}_is_utc CHECK ({name} GLOB '{TIME_PATTERN}')"


def _times(table: str, *names: str) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(f"{name} GLOB '{TIME_PATTERN}'", name=f"ck_{table}_{name}_is_utc").ddl_if(
            dialect="sqlite"
        )
        for name in names
    ]


def _seen_by(table: str, *names: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint(
            ["source_id", name], ["observations.source_id", "observations.seq"], name=f"fk_{table}_{name}"
        )
        for name in names
    ]


# SQLite can't add a constraint to an existing table, so the tables are created again from their own text.


def _remake(changed: Callable[[str, list[tuple[str, str]]], str]) -> None:
    connection = op.get_bind()
    tables = ["region_volume_types", *ADDED]
    schema = {
        name: list(
            connection.execute(
                sa.text(
                    "SELECT sql FROM sqlite_master WHERE tbl_name = :name AND sql IS NOT NULL ORDER BY rootpage"
                ),
                {"name": name},
            ).scalars()
        )
        for name in tables
    }
    columns = {}
    for name in tables:  # tables that refer to others come first
        op.execute(f"CREATE TEMP TABLE kept_{name} AS SELECT * FROM {name}")  # noqa: S608 - our own names
        columns[name] = [row[1] for row in connection.execute(sa.text(f"PRAGMA table_info({name})"))]
        op.execute(f"DROP TABLE {name}")
    for name in reversed(tables):
        for text in sorted(schema[name], key=lambda text: not text.startswith("CREATE TABLE")):
            is_table = text.startswith("CREATE TABLE") and name in ADDED
            op.execute(sa.text(changed(text, _parts(name)).replace(":", r"\:") if is_table else text))
        there = {row[1] for row in connection.execute(sa.text(f"PRAGMA table_info({name})"))}
        names = ", ".join(each for each in columns[name] if each in there)
        op.execute(f"INSERT INTO {name} ({names}) SELECT {names} FROM kept_{name}")  # noqa: S608 - our own names
        op.execute(f"DROP TABLE kept_{name}")


def _parts(table: str) -> list[tuple[str, str]]:
    """The new parts of a CREATE TABLE: columns and constraints."""
    parts = []
    for name, (kind, _, *checks) in ADDED[table].items():
        is_time = kind is UTC_TIME
        parts.append(("column", f"{name} {'TIMESTAMP' if is_time else 'TEXT'}"))
        parts += [("check", _is_utc(table, name))] if is_time else []
        parts += [("check", f"CONSTRAINT {label.format(table=table)} CHECK ({sql})") for label, sql in checks]
    return parts


def _with(text: str, added: list[tuple[str, str]]) -> str:
    columns = "".join(f"{part}, \n\t" for what, part in added if what == "column")
    checks = "".join(f", \n\t{part}" for what, part in added if what == "check")
    begin, end = text.index("CONSTRAINT"), text.rindex(")")
    return text[:begin] + columns + text[begin:end].rstrip() + checks + "\n)"


def _without(text: str, added: list[tuple[str, str]]) -> str:
    for what, part in added:
        text = text.replace(f"{part}, \n\t" if what == "column" else f", \n\t{part}", "")
    return text
