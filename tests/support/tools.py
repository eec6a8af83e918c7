"""Programs that tests start, beside this Python or on PATH."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


def tool(name: str, *, wheel: str | None = None, package: str | None = None) -> str:
    """The path of a program.

    One that comes with a wheel must be there, since `.[test]` installs it. A test that needs a Debian package is
    skipped where that is missing.
    """
    places = (str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin")
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None and package is not None:
        pytest.skip(f"{name} is missing: apt-get install {package}")
    assert found, f"{name} is missing: it comes with the wheel {wheel}, in the extra `test`"
    return found
