"""The columns and constraints that all tables are made of."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from collector.database.types import UtcTime, time_check

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def column(name: str, kind: Any, comment: str, *, null: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, comment=comment, **options)


def table(name: str, comment: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    times = [
        time_check(name, p.name) for p in parts if isinstance(p, sa.Column) and isinstance(p.type, UtcTime)
    ]
    return sa.Table(name, metadata, *parts, *times, comment=comment)


def check(name: str, sql: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(sql, name=f"ck_{name}")


def source_id() -> sa.Column[Any]:
    return column("source_id", sa.Integer, "The source; see sources", primary_key=True, autoincrement=False)


def seq(comment: str, name: str = "seq", **options: Any) -> sa.Column[Any]:
    return column(name, sa.BigInteger, comment, autoincrement=False, **options)


def number() -> sa.Column[Any]:
    return column(
        "number",
        sa.Integer,
        "Counts from 1 within the source, without holes",
        primary_key=True,
        autoincrement=False,
    )


def one_of(column: str, *allowed: str) -> str:
    return f"{column} IN ({', '.join(repr(a) for a in allowed)})"


BASES = ("baseline", "direct", "across_gap", "absence", "observer_change", "other_copy")


def entity(*kinds: str) -> sa.Column[Any]:
    return column("entity", sa.Text, f"Kind of entity: {', '.join(kinds)}", primary_key=True)


def entity_id() -> sa.Column[Any]:
    return column("entity_id", sa.BigInteger, "Id of the entity", primary_key=True, autoincrement=False)
