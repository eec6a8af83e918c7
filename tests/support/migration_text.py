"""The statements of a migration that creates tables, printed for its `upgrade`.

python -m tests.support.migration_text flavors flavor_versions      after the tables were added to the models
"""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set
from functools import partial
from typing import Any, Literal

import sqlalchemy as sa
from alembic.autogenerate import render_python_code
from alembic.operations import ops

from collector.database.types import JsonList, UtcTime
from collector.store.tables import metadata

TYPES = {UtcTime: "sa.TIMESTAMP(timezone=True)", JsonList: "sa.Text()"}
"""What a migration says for types of ours: it imports nothing of the models."""


def statements(tables: Sequence[sa.Table]) -> str:
    """Python statements that create the tables and their indexes. Some constraints are for SQLite alone."""
    created: list[ops.MigrateOperation] = []
    for table in tables:
        created.append(ops.CreateTableOp.from_table(table))
        created += [
            ops.CreateIndexOp.from_index(i) for i in sorted(table.indexes, key=lambda each: str(each.name))
        ]
    # Alembic copies constraints without their condition.
    only = {c.name for table in tables for c in table.constraints if c._ddl_if is not None}
    text = str(render_python_code(ops.UpgradeOps(created), render_item=partial(_item, only)))
    return "\n".join(line for line in text.splitlines() if "###" not in line)


def _item(only: Set[Any], kind: str, item: Any, _context: Any) -> str | Literal[False]:
    if kind == "type":
        return TYPES.get(type(item), False)
    if not isinstance(item, sa.CheckConstraint | sa.ForeignKeyConstraint):
        return False
    if isinstance(item, sa.CheckConstraint):
        text = f"sa.CheckConstraint({str(item.sqltext)!r}, name={str(item.name)!r})"
    else:
        pairs = [[c.name for c in item.columns], [e.target_fullname for e in item.elements]]
        text = f"sa.ForeignKeyConstraint({pairs[0]!r}, {pairs[1]!r}, name={str(item.name)!r})"
    return text + ('.ddl_if(dialect="sqlite")' if item.name in only else "")


if __name__ == "__main__":
    if not sys.argv[1:] or not metadata.tables.keys() >= {*sys.argv[1:]}:
        sys.exit(f"{__doc__}\nTables: {', '.join(metadata.tables)}")
    print(statements([metadata.tables[name] for name in sys.argv[1:]]))
