"""A migration adds and takes nothing away, so that replicas of the version before go on writing on the new schema."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command

from collector.database import migrate
from collector.database.engine import open_engine
from collector.database.transactions import migrating
from tests.support.databases import new_database

NEVER_USED = {("0006", "webhook_deliveries")}
"""By revision: tables that nothing had been written to."""
Columns = dict[tuple[str, str], tuple[str, bool, bool]]


def columns(engine: sa.Engine) -> Columns:
    """By table and column: type, whether it may be NULL, whether the database has a default for it."""
    inspector = sa.inspect(engine)
    return {
        (table, column["name"]): (str(column["type"]), column["nullable"], column["default"] is not None)
        for table in inspector.get_table_names()
        for column in inspector.get_columns(table)
    }


@pytest.mark.long
def test_what_an_older_version_writes_can_be_written_after_an_upgrade(postgresql_server: sa.URL) -> None:
    engine = open_engine(new_database(postgresql_server))
    before: Columns = {}
    for revision in migrate._revisions():
        with migrating(engine) as connection:
            config = migrate._config()
            config.attributes.update(connection=connection, direction="upgrade")
            command.upgrade(config, revision)
        after = columns(engine)
        known = {table for table, _ in before}
        for (table, name), (kind, nullable, has_default) in after.items():
            if (revision, table) in NEVER_USED:
                continue
            if (table, name) in before:
                old_kind, old_nullable, _ = before[table, name]
                assert (kind, nullable or not old_nullable) == (old_kind, True), f"{revision}: {table}.{name}"
            elif table in known:
                assert nullable or has_default, (
                    f"{revision}: {table}.{name} is asked of writers that do not know it"
                )
        gone = {key for key in before.keys() - after.keys() if (revision, key[0]) not in NEVER_USED}
        assert gone == set(), f"{revision}: take it away in a later version"
        before = after
    engine.dispose()
