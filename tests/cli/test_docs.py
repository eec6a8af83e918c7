"""The documentation says everything that there is: commands, settings, tables, views, words of the vocabulary."""

from __future__ import annotations

import re

import click
import pytest

from collector.reports import views
from collector.settings import VARIABLES
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


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_documented(variable: str) -> None:
    assert f"`{variable}`" in DOCS


@pytest.mark.parametrize("name", [*metadata.tables, *views.NAMES, *views.FUNCTIONS])
def test_every_table_and_view_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


def test_documented_commands_and_settings_exist() -> None:
    words = {name.split()[1] for name in ALL_COMMANDS}
    documented = set(re.findall(r"^(?:\$ )?collector ([a-z-]+)", DOCS, re.MULTILINE))
    documented |= set(re.findall(r"`collector ([a-z-]+)", DOCS))
    assert documented <= words
    assert set(re.findall(r"(?<!_)COLLECTOR_[A-Z_]+", DOCS)) <= set(VARIABLES)


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_column_and_table_has_a_comment() -> None:
    for table in metadata.tables.values():
        assert table.comment
        assert all(column.comment for column in table.columns)
