"""The workflows of GitHub: accepted by their schema, and about the versions, systems and scripts that there are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.databases import GIVEN
from tests.support.deployed import run
from tests.support.paths import ROOT
from tests.support.tools import tool

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def workflow(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_check_jsonschema_accepts_them() -> None:
    check = tool("check-jsonschema", wheel="check-jsonschema")
    run(check, "--builtin-schema", "vendor.github-workflows", *FILES)


def test_every_supported_python_and_postgresql_is_tested() -> None:
    jobs = workflow(FOLDER / "ci.yml")["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    named = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert set(matrix["python"]) == named
    assert min(named, key=lambda v: int(v.split(".")[1])) == PROJECT["requires-python"].removeprefix(">=")
    assert {os.partition("-")[0] for os in matrix["os"]} == {"ubuntu", "macos"}
    postgresql = jobs["postgresql"]
    oldest = postgresql["strategy"]["matrix"]["version"][0]
    assert f"PostgreSQL ({oldest} or later)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert GIVEN in postgresql["env"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_they_have_no_more_rights_than_they_need(path: Path) -> None:
    said = workflow(path)
    assert said["permissions"] == {"contents": "read"}
    for name, job in said["jobs"].items():
        rights = {right for right, what in job.get("permissions", {}).items() if what == "write"}
        assert rights <= {"id-token", "attestations"}, name
        assert not rights or path.name == "release.yml", name
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            # What others write (a title, a branch) is no part of a script.
            assert "${{" not in step.get("run", ""), name
    assert "secrets." not in path.read_text(encoding="utf-8"), "trusted publishing needs none"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_they_run_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"(?:deploy|tests|docs|\.ci)/[\w./-]+", text):
        assert (ROOT / name.replace("$kind", "base")).exists(), name


def test_the_version_is_found_as_the_release_looks_for_it() -> None:
    (line,) = [line for line in (FOLDER / "release.yml").read_text().splitlines() if "__version__" in line]
    (code,) = re.findall(r"python -c '(.*)'", line)
    from collector import __version__

    assert run("python3", "-c", code, cwd=ROOT).strip() == __version__
