"""What the rooms of the house promise, and import-linter can't see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES_A_DIALECT = re.compile(
    r"\bdialect\.name\b|\bget_backend_name\b|\bsqlalchemy\.dialects\b|\bsqlite_master\b|\bPRAGMA\b|\bpg_\w+"
    r"|\b(?:import|from) (?:sqlite3|psycopg)\b|[\"'](?:sqlite|postgresql)[\"']"
)
MAY = ("collector/database/", "collector/reports/views/")
"""The second spells the text of views for each database."""


def naming_a_dialect(root: Path) -> list[str]:
    files = sorted(path.relative_to(root).as_posix() for path in (root / "collector").rglob("*.py"))
    return [name for name in files if NAMES_A_DIALECT.search((root / name).read_text(encoding="utf-8"))]


def test_only_the_room_of_the_database_names_a_dialect() -> None:
    naming = naming_a_dialect(ROOT)
    assert [name for name in naming if not name.startswith(MAY)] == []
    assert {may for may in MAY for name in naming if name.startswith(may)} == set(MAY)


@pytest.mark.parametrize(
    "line", ['if engine.dialect.name == "sqlite":', "import sqlite3", 'raw.execute("PRAGMA x")']
)
def test_a_module_of_another_room_that_names_a_dialect_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "collector" / "store").mkdir(parents=True)
    (tmp_path / "collector" / "store" / "apply.py").write_text(f"{line}\n", encoding="utf-8")
    assert naming_a_dialect(tmp_path) == ["collector/store/apply.py"]
