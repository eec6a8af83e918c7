"""What is shipped below deploy/, as values."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.kustomize import containers, render
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "container" / "Dockerfile"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
BASE = KUBERNETES / "base"
Yaml = Any


def shipped() -> Iterator[tuple[str, str]]:
    """Every file below deploy/: its path there, and its text. Not what a user's own secrets are."""
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file() and "secrets" not in path.parts:
            yield str(path.relative_to(DEPLOY)), path.read_text(encoding="utf-8")


def run(*command: str | Path, **more: Any) -> str:
    """Run a command that must succeed; returns what it said."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300, **more
    )
    assert done.returncode == 0, (
        f"{shlex.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}"
    )
    return done.stdout


def commented(path: Path) -> list[str]:
    """The first block of commands in a file's opening comment: indented by three."""
    opening = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return [line[4:] for line in opening if line.startswith("#   ")]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """The instructions, comments left out and continued lines joined."""
    lines = (line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#"))
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def compose() -> Yaml:
    return yaml.safe_load(COMPOSE.read_text())


def deployment() -> Yaml:
    """That of the base of Kubernetes."""
    return yaml.safe_load((BASE / "deployment.yaml").read_text())


def all_containers() -> list[Yaml]:
    """Those of all pods of the base."""
    return list(containers(render(BASE)))
