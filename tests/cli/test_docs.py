"""The documentation says everything that there is: commands, settings, tables, views, words of the vocabulary."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from collector.cli import cli
from collector.reports import views
from collector.settings.loading import VARIABLES, load
from collector.store.tables import metadata
from tests.support.command import ALL_COMMANDS
from tests.support.paths import ROOT

DOCS = "\n".join(
    p.read_text(encoding="utf-8") for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
)


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert f"`{name}" in DOCS or f"\n{name}" in DOCS


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_help_has_an_example_and_every_option_a_text(name: str) -> None:
    command = ALL_COMMANDS[name]
    assert "Example" in (command.help or "")
    assert name.split()[-1] in (command.help or "").partition("Example")[2]
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.name


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_help_fits_a_terminal_of_80_columns(name: str) -> None:
    said = CliRunner().invoke(cli, [*name.split()[1:], "--help"], terminal_width=80)
    assert said.output.startswith("Usage:")
    assert [line for line in said.output.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_the_help_of_a_command_that_takes_times_says_how_they_are_written(name: str) -> None:
    said = CliRunner().invoke(cli, [*name.split()[1:], "--help"], terminal_width=80).output
    takes = re.search(r"\bTIME\b", said.partition("A TIME is")[0]) or "T1" in said
    assert ("without a zone: UTC" in said) == bool(takes)


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_documented(variable: str) -> None:
    assert f"`{variable}`" in DOCS


def test_documented_defaults_are_the_defaults() -> None:
    rows = re.findall(r"(?m)^\| `(COLLECTOR_\w+)` \| (none|`[^`]+`) \|", DOCS)
    assert {variable for variable, _ in rows} == set(VARIABLES)
    shown = [(variable, default.strip("`")) for variable, default in rows if default != "none"]
    assert len(shown) > 30
    for variable, default in shown:
        assert load({variable: default}) == load({}), variable


@pytest.mark.parametrize("name", [*metadata.tables, *views.NAMES, *views.FUNCTIONS])
def test_every_table_and_view_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


def test_documented_commands_and_settings_exist() -> None:
    words = {name.split()[1] for name in ALL_COMMANDS}
    documented = set(re.findall(r"^(?:\$ )?collector ([a-z-]+)", DOCS, re.MULTILINE))
    documented |= set(re.findall(r"`collector ([a-z-]+)", DOCS))
    assert documented <= words
    assert set(re.findall(r"(?<!_)COLLECTOR_[A-Z_]+", DOCS)) <= set(VARIABLES)


PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "docs" / "llms.txt",
    *sorted((ROOT / "deploy").rglob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_to_files_and_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^):]+))?\)", page.read_text(encoding="utf-8")):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Those that GitHub makes of the headings."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_index_for_language_models_lists_every_page() -> None:
    """docs/llms.txt, by https://llmstxt.org: a title, a summary, then lists of links with a description each."""
    lines = (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert next(line for line in lines[1:] if line).startswith("> ")
    items = [line for line in lines if line.startswith("-")]
    listed = [re.fullmatch(r"- \[[^]]+\]\(([^)]+)\): \S.*", line) for line in items]
    assert all(listed), items
    targets = {match[1] for match in listed if match}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= targets


def test_every_page_links_the_glossary() -> None:
    without = {page.name for page in PAGES[2:] if "glossary.md" not in page.read_text(encoding="utf-8")}
    assert without == {"glossary.md"}


def test_the_files_and_tests_that_recipes_name_exist() -> None:
    named = re.findall(r"`([^`\n]+)`", (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8"))
    paths = [re.fullmatch(r"((?:collector|tests|docs|deploy)/[\w/.-]+)(?:::(\w+))?", name) for name in named]
    files = {match[1] for match in paths if match and "NAME" not in match[1]}
    assert len(files) > 50
    assert {name for name in files if not (ROOT / name).exists()} == set()
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    tests = {match[2] for match in paths if match and match[2]} | {n for n in named if n.startswith("test_")}
    assert len(tests) > 8
    assert {name for name in tests if f"def {name}(" not in sources} == set()


def test_every_column_and_table_has_a_comment() -> None:
    for table in metadata.tables.values():
        assert table.comment
        assert all(column.comment for column in table.columns)
