"""Virtual environments for programs whose dependencies are not those of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def new_venv(folder: Path, requirements: Path) -> Path:
    """A virtual environment with these requirements, from the index of pip. Returns the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    programs = folder / "bin"
    install = [
        str(programs / "pip"),
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        str(requirements),
    ]
    done = subprocess.run(install, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return programs
