"""The rows of a database, and if they can be trusted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from collector.audit.verify import verify, verify_database
from collector.database.transactions import reading
from collector.store.tables import metadata
from tests.support.history import History


def is_trusted(history: History, heads: Collection[str] = ()) -> None:
    """The auditor's check finds nothing, and these heads in the chain."""
    found = verify(history.engine, history.source.name, heads=heads)
    assert found.verdict == "good", found.breaks
    assert set(found.heads) == set(heads)
    assert verify_database(history.engine) == []


LEASE_COLUMNS = {"lease_owner", "lease_expires_at", "lease_epoch"}
Contents = dict[str, list[tuple[Any, ...]]]


def contents(engine: sa.Engine) -> Contents:
    """All rows of all tables as they are stored, except the lease."""
    found = {}
    with reading(engine) as connection:
        for name, table in metadata.tables.items():
            columns = ", ".join(c.name for c in table.columns if c.name not in LEASE_COLUMNS)
            order = ", ".join(c.name for c in table.primary_key.columns)
            rows = connection.exec_driver_sql(f"SELECT {columns} FROM {name} ORDER BY {order}").all()
            found[name] = [tuple(row) for row in rows]
    return found
