"""A PostgreSQL database whose tables are divided by source, as a distributed one would divide them.

PostgreSQL itself then demands what a distributed database demands: every unique constraint and every foreign key
contains the source. And the locks of a transaction say which parts a statement touched, because the planner locks the
parts that the statement itself does not rule out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from collector.store.tables import metadata

NOT_DIVIDED = "uq_sources_name"
"""The only constraint without the number of the source: a name is unique in the whole database."""


def divide(url: sa.URL, sources: int) -> None:
    """Give each source a part of every table in a migrated database without rows.

    Constraints, indexes and foreign keys are those of the migrations. Raises what PostgreSQL says of one that can't be
    divided.
    """
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    tables = [str(table.name) for table in metadata.sorted_tables]
    with engine.connect() as connection:

        def run(statement: str) -> Any:
            return connection.exec_driver_sql(statement)

        run("ALTER SCHEMA public RENAME TO whole")
        run("CREATE SCHEMA public")
        run(f"ALTER TABLE whole.sources DROP CONSTRAINT {NOT_DIVIDED}")
        for table in tables:
            key = "id" if table == "sources" else "source_id"
            run(f"CREATE TABLE {table} (LIKE whole.{table} INCLUDING ALL) PARTITION BY LIST ({key})")
            for number in range(1, sources + 1):
                run(f"CREATE TABLE {part(table, number)} PARTITION OF {table} FOR VALUES IN ({number})")
        foreign = run(
            "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE contype = 'f' AND connamespace = 'whole'::regnamespace"
        ).all()
        for table, definition in foreign:
            run(f"ALTER TABLE {table.removeprefix('whole.')} ADD {definition.replace('whole.', '')}")
        # A plan for any value can't rule a part out.
        run(f"ALTER DATABASE {url.database} SET plan_cache_mode = 'force_custom_plan'")
    engine.dispose()


def part(table: str, number: int) -> str:
    return f"{table}_of_{number}"


@dataclass
class Touched:
    """What statements did to the parts of a source that is not theirs."""

    statements: set[str] = field(default_factory=set)
    """All that ran, without their values."""
    astray: dict[str, set[str]] = field(default_factory=dict)
    """Those that locked such a part, and the tables it was of."""


@contextmanager
def watching(engine: sa.Engine, other: int) -> Iterator[Touched]:
    """Notes which statements touch the parts of another source."""
    touched = Touched()
    question = (
        "SELECT DISTINCT NOW()::text, c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
        " WHERE l.pid = pg_backend_pid() AND c.relkind = 'r' AND c.relispartition"
    )

    def look(connection: sa.Connection, _: Any, statement: str, *__: Any) -> None:
        said = re.sub(r"%\(\w+\)s|%s", "?", " ".join(statement.split()))
        touched.statements.add(said)
        with connection.connection.dbapi_connection.cursor() as cursor:  # type: ignore[union-attr]
            cursor.execute(question)
            locked = cursor.fetchall()
        begun = locked[0][0] if locked else None
        before: tuple[Any, set[str]] = connection.info.get("locked", (None, set()))
        now = {name for _, name in locked if name.endswith(part("", other))}
        connection.info["locked"] = (begun, now)
        if new := now - (before[1] if before[0] == begun else set()):
            tables = {name.removesuffix(part("", other)) for name in new}
            touched.astray[said] = touched.astray.get(said, set()) | tables

    sa.event.listen(engine, "after_cursor_execute", look)
    try:
        yield touched
    finally:
        sa.event.remove(engine, "after_cursor_execute", look)
