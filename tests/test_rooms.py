"""What the rooms of the house promise, and import-linter can't see."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

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


def importing_tests(tests: Path) -> list[str]:
    files = sorted(path.relative_to(tests).as_posix() for path in tests.rglob("*.py"))
    return [name for name in files if imports_a_test(ast.parse((tests / name).read_text(encoding="utf-8")))]


def imports_a_test(module: ast.Module) -> bool:
    names = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return any(re.match(r"tests\.(\w+\.)*test_", name) for name in names)


def test_nothing_imports_a_test_module() -> None:
    assert importing_tests(ROOT / "tests") == []


@pytest.mark.parametrize(
    "line",
    [
        "from tests.cli.test_cli import Said",
        "if json:\n    from tests.service import test_service",
        "import tests.test_rooms",
    ],
)
def test_a_module_that_imports_a_test_module_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "test_writer.py").write_text(f"import json\n{line}\n", encoding="utf-8")
    assert importing_tests(tmp_path) == ["store/test_writer.py"]
